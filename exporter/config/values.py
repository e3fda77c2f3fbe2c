"""The kinds of single values: what each accepts, and how it says what it does not accept."""

import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from exporter.config.secret import HIDDEN, Secret, SecretFile, SecretUnreadable
from exporter.config.text import one_line, quoted

_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}  # largest first
_PART = r"(?:([0-9]{1,9})%s)?"
_DURATION = re.compile("".join(_PART % unit for unit in _UNITS))
# Nothing here is meant to take a year: what is longer is a slip of the unit.
_LONGEST_MS = 366 * _UNITS["d"]
# A socket waits for at most 2^31 ms; an hour holds up one fetcher as long as anybody could want.
_LONGEST_TIMEOUT_MS = _UNITS["h"]


class Unfit(ValueError):  # noqa: N818 - the class says what happened
    """A value is not of its kind; the text follows the value (`has no host`), empty for `is not <kind>`."""

    def __init__(self, reason: str = "", *, hide: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hide = hide  # whether the value may hold a secret although its kind does not


class Kind:
    """One kind of value, as an annotation that pydantic validates by.

    `parse` takes the text and the directory that relative paths start from, and raises `Unfit`. Values
    that are not text are taken as they are: they come from code, which the type checker has read.
    """

    def __init__(self, what: str, parse: Callable[[str, Path], Any], *, secret: bool = False) -> None:
        self.what = what  # with its article: "a URL"
        self.secret = secret
        self._parse = parse

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(self._validate)

    def _validate(self, value: Any, info: ValidationInfo) -> Any:
        shape = {type(None): "has no value", list: "is a list"}.get(type(value))
        if isinstance(value, dict):
            shape = "is a mapping"
        if shape:
            raise wrong(f"{shape}; must be {self.what}")
        if not isinstance(value, str):
            return value
        directory = info.context.directory if info.context else Path()
        try:
            return self._parse(str(value), directory)
        except Unfit as unfit:
            shown = HIDDEN if self.secret or unfit.hide else quoted(value)
            if unfit.reason:
                raise wrong(f"{shown} {unfit.reason}; must be {self.what}") from None
            raise wrong(f"{shown} is not {self.what}") from None


def wrong(message: str) -> PydanticCustomError:
    """An error whose text is all that is said about a value."""
    return PydanticCustomError("rule", message)


def parse_duration(text: str) -> int:
    """A duration such as `500ms`, `30s` or `1h30m` in ms.

    Raises:
        ValueError: anything else, or more than a year; the text is a sentence.

    """
    try:
        return _duration(text, Path())
    except Unfit as unfit:
        raise ValueError(f"{quoted(text)} {unfit.reason or 'is not ' + DURATION.what}") from None


def format_duration(milliseconds: int) -> str:
    """The shortest spelling that `parse_duration` reads back."""
    text = ""
    for unit, size in _UNITS.items():
        count, milliseconds = divmod(milliseconds, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def choice(*allowed: str) -> Kind:
    """One of a few words."""
    words = set(allowed)

    def parse(text: str, _: Path) -> str:
        if text not in words:
            raise Unfit
        return text

    return Kind("one of " + ", ".join(allowed), parse)


def _text(text: str, _: Path) -> str:
    if not text:
        raise Unfit("is empty")
    if not one_line(text):
        raise Unfit("holds line breaks or control characters")
    return text


def _matching(pattern: str) -> Callable[[str, Path], str]:
    compiled = re.compile(pattern)

    def parse(text: str, _: Path) -> str:
        if not compiled.fullmatch(text):
            raise Unfit
        return text

    return parse


def _url(text: str, _: Path) -> str:
    hide = "@" in text or "?" in text  # both are where people put credentials
    try:
        url = urlsplit(text)
        url.port  # noqa: B018 - raises where it is not a number
    except ValueError:
        raise Unfit(hide=hide) from None
    if url.scheme not in {"http", "https"} or re.search(r"[\s\\]", text):
        raise Unfit(hide=hide)
    if "@" in url.netloc:
        raise Unfit("has user information before the host", hide=True)
    if not url.hostname:
        raise Unfit("has no host", hide=hide)
    if url.query or url.fragment:
        raise Unfit("has a query or a fragment", hide=True)
    return text.rstrip("/")


def _console(text: str, _: Path) -> str:
    place = r"\{(?:project|service)_id\}"
    if not re.fullmatch(rf"https?://[^\s\\@{{}}/?#]+(?:[/?#](?:[^\s\\{{}}]|{place})*)?", text):
        raise Unfit(hide="@" in text)
    return text


def _proxy(text: str, directory: Path) -> str:
    return text if text == "none" else _url(text, directory)


def _count(text: str, _: Path) -> int:
    # Each is a thread; a thousand is more than any endpoint lets one user have.
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= 1000:
        raise Unfit
    return int(text)


def _positive(text: str, _: Path) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text) or float(text) == 0:
        raise Unfit
    return float(text)


def _boolean(text: str, _: Path) -> bool:
    if text.lower() not in {"true", "false"}:
        raise Unfit
    return text.lower() == "true"


def _duration(text: str, _: Path) -> int:
    match = _DURATION.fullmatch(text)
    if not text or not match:
        raise Unfit
    total = sum(int(count or 0) * size for count, size in zip(match.groups(), _UNITS.values(), strict=True))
    if total > _LONGEST_MS:
        raise Unfit("is longer than a year")
    return total


def _positive_duration(text: str, directory: Path) -> int:
    if not (duration := _duration(text, directory)):
        raise Unfit
    return duration


def _timeout(text: str, directory: Path) -> int:
    if (duration := _positive_duration(text, directory)) > _LONGEST_TIMEOUT_MS:
        raise Unfit("is longer than an hour")
    return duration


def _pattern(flags: re.RegexFlag) -> Callable[[str, Path], re.Pattern[str]]:
    def parse(text: str, _: Path) -> re.Pattern[str]:
        if not text:
            raise Unfit("is empty")
        try:
            return re.compile(text, flags)
        except re.error as error:
            raise Unfit(f"cannot be compiled: {error}") from None
        except (OverflowError, RecursionError):
            raise Unfit("cannot be compiled: it is too large") from None

    return parse


def _secret(text: str, _: Path) -> Secret:
    if not text.removeprefix("\ufeff"):
        raise Unfit("is empty")
    if not one_line(text):
        raise Unfit("holds line breaks or control characters")
    return Secret(text.removeprefix("\ufeff"))


def _secret_file(text: str, directory: Path) -> SecretFile:
    file = SecretFile(directory / _text(text, directory))
    try:
        file.read()
    except SecretUnreadable as unreadable:
        raise Unfit(f"cannot be read: {unreadable.strerror}") from None
    return file


def readable(text: str, directory: Path) -> Path:
    """A path, relative to `directory`, of a file that can be read now."""
    path = directory / _text(text, directory)
    try:
        path.read_bytes()
    except OSError as error:
        raise Unfit(f"cannot be read: {error.strerror}") from None
    return path


def _certificates(text: str, directory: Path) -> Path:
    path = readable(text, directory)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        raise Unfit("holds no certificates") from None
    return path


TEXT = Kind("text in one line", _text)
ID = Kind("an id of up to 128 letters, digits, - and _", _matching(r"[A-Za-z0-9_-]{1,128}"))
URL = Kind("a URL such as https://host or https://host/path, without user:password@", _url)
CONSOLE_URL = Kind("a URL that may have {project_id} and {service_id} in it, and no other braces", _console)
PROXY = Kind("a URL such as http://host:3128, without user:password@, or none", _proxy)
COUNT = Kind("a whole number from 1 to 1000", _count)
POSITIVE = Kind("a number above 0 and below 1000000, such as 0.5", _positive)
BOOLEAN = Kind("true or false", _boolean)
DURATION = Kind("a duration such as 0s, 500ms or 10m", _duration)
POSITIVE_DURATION = Kind("a duration above 0 such as 500ms, 30s or 1h30m", _positive_duration)
TIMEOUT = Kind("a duration above 0 and up to 1h, such as 45s", _timeout)
# As Prometheus reads them: a line break is a character like any other, so `.*` is every name there can be.
PATTERN = Kind("a regular expression", _pattern(re.DOTALL))
CAUSE_PATTERN = Kind("a regular expression", _pattern(re.IGNORECASE))
REASON = Kind("a name of lower-case letters and _, such as gpu_driver", _matching(r"[a-z_]+"))
SECRET = Kind("text in one line", _secret, secret=True)
SECRET_FILE = Kind("the path of a readable file that holds the secret", _secret_file)
CERTIFICATES = Kind("the path of a readable file of PEM certificates", _certificates)
