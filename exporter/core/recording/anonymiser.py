"""Replaces in an answer of the cloud what is not known to be harmless. Pure.

`fields.py` says what may stay. Ids, and names of users, are replaced by made-up ones, each by the same one
wherever it is found, also inside of a text. They are made with a random key that nobody keeps, so that nobody
can find out what they were. Of a text goes:

    what is known       secrets, users and ids that the configuration or any answer so far has named
    what looks like it  secrets by their names (`exporter.core.scrub`) or shape, ids, mail and IP addresses
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import chain, count
from typing import Any
from urllib.parse import quote, unquote

from exporter.core.classifier.classifier import LONGEST_EXAMINED
from exporter.core.recording.fields import CONTAINERS, FIELDS, Field
from exporter.core.scrub import SECRET, printable, scrub

# How often what was done to which field: (path, what).
Changes = Counter[tuple[str, str]]
LEFT_OUT, REPLACED, CHANGED, UNKNOWN = "left out", "replaced", "changed", "unknown, only its type kept"

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_HEX, _DIGITS, _FIRST_DIGITS = "0123456789abcdef", "0123456789", "123456789"
# A made-up id has at least so many characters: of shorter ones there are too few.
SHORTEST_MADE_UP = 8
# Shorter ids, and shorter names as a part of a word, are found in texts by accident.
SHORTEST_INSIDE = 6
_SHORTEST_USER = 2
_SHORTEST_SECRET = 4
# A word of an enumeration, a version or a flavour is not longer; nor is the name of a key.
_LONGEST_WORD = 64

_NUMBER = re.compile(r"\s*(?:[+-]?[0-9]{1,20}(?:\.[0-9]{1,20})?|true|false)\s*", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z_]{1,32}")
_UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_ID = rf"{_UUID}|(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{{16,}}"
# A web token; a signature or token, which no word is as long as; a secret access key; an access key's id.
_KEYS_AND_TOKENS = (
    r"eyJ[a-z0-9_-]{8,}(?:\.[a-z0-9_-]+)*"
    r"|[a-z0-9+/=_-]{64,}"
    r"|(?-i:(?=[a-z0-9]*[A-Z])(?=[A-Z0-9]*[a-z])(?=[A-Za-z]*[0-9])[A-Za-z0-9]{36,})"
    r"|(?-i:(?<![A-Za-z0-9])(?=[A-Z]*[0-9])(?=[0-9]*[A-Z])[A-Z0-9]{20}(?![A-Za-z0-9]))"
)
_ADDRESS = (
    r"[a-z0-9._%+-]{1,64}@[a-z0-9-]{1,63}(?:\.[a-z0-9-]{1,63})+"
    r"|(?<![0-9.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9.])"
)

_PARTS = ("logs", "events", "monitor")
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_SECONDS = re.compile(r"[0-9]{1,9}")
_MEDIA_TYPE = re.compile(r"[A-Za-z]+/[A-Za-z0-9.+-]+(?:;\s*charset=[A-Za-z0-9-]+)?")
# The headers that say something about the answer itself, and what each looks like.
HEADERS: Mapping[str, re.Pattern[str]] = {
    "Content-Type": _MEDIA_TYPE,
    "Date": _HTTP_DATE,
    "Retry-After": re.compile(rf"{_SECONDS.pattern}|{_HTTP_DATE.pattern}"),
}


class Anonymiser:
    """One for a whole recording. Not thread-safe.

    Args:
        key: random, of this recording alone; up to 64 bytes.
        secrets: of the configuration.
        users: names of users, domains and access keys of the configuration.
        ids: of the configuration.

    """

    def __init__(
        self, key: bytes, secrets: Iterable[str] = (), users: Iterable[str] = (), ids: Iterable[str] = ()
    ) -> None:
        self._key = key
        self._made_up: dict[str, str] = {}  # by the real one in lower case
        self._taken: set[str] = set()
        self._secrets: set[str] = set()
        self._known: set[str] = set()  # found by their spelling alone, since they do not look like ids
        self._strict = self._lenient = re.compile("")
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                self._secrets |= {secret.lower(), _folded(secret), quote(secret, safe="").lower()}
        for user in users:
            self._learn(user, _SHORTEST_USER)
        for each in ids:
            self._learn(each, SHORTEST_INSIDE)
        self._compile()

    # --- the parts of an answer --------------------------------------------------------------------

    def body(self, body: Any, changes: Changes) -> Any:
        """A body, which is JSON or a text; counts in `changes` what was done to it."""
        known = len(self._known)
        for field, value in _fields(body, ""):
            if field.treatment in ("id", "user") and isinstance(value, str | int):
                self._learn(str(value), _SHORTEST_USER if field.treatment == "user" else SHORTEST_INSIDE)
        if len(self._known) > known:
            self._compile()
        if isinstance(body, dict):
            return self._object(body, "", changes)
        if isinstance(body, str):
            return self._counted(self._text(body), body, "body", CHANGED, changes)
        return self._typed(body, "body", changes)

    def path(self, path: str) -> str:
        """`/v1/{project_id}/services/{service_id}/logs` with other ids."""
        version, project_id, *rest = path.strip("/").split("/")
        known = ("services", *_PARTS)  # nothing else is asked for
        shown = [each if each in known else self._id_segment(each) for each in (project_id, *rest)]
        return "/".join(("", version, *shown))

    def query(self, query: Mapping[str, str]) -> dict[str, str]:
        """The query with another workspace; of a value that is neither number nor word, its type."""
        return {
            key: self.made_up(value)
            if key == "workspace_id"
            else value
            if _NUMBER.fullmatch(value) or _WORD.fullmatch(value)
            else _type_of(value)
            for key, value in query.items()
        }

    def headers(self, headers: Mapping[str, str], changes: Changes) -> dict[str, str]:
        """The headers of `HEADERS`; the names of those given are in lower case."""
        kept = {
            name: headers[name.lower()]
            for name, shape in HEADERS.items()
            if shape.fullmatch(headers.get(name.lower(), ""))
        }
        for name in headers.keys() - {name.lower() for name in kept}:
            changes[f"header {self._text(name)}", LEFT_OUT] += 1
        return kept

    def made_up(self, value: str) -> str:
        """What stands for an id: of the same shape, and the same each time. Empty and 0 stay."""
        real = value.lower()
        if not real.strip() or real == "0":  # 0 is the default workspace
            return value
        if real not in self._made_up:
            self._made_up[real] = self._invent(real)
        made_up = self._made_up[real]
        if value.isupper():  # digits may have become letters
            return made_up.upper()
        cased = [new.upper() if old.isupper() else new for old, new in zip(value, made_up, strict=False)]
        return "".join(cased) + made_up[len(cased) :]

    # --- the values of a body ----------------------------------------------------------------------

    def _object(self, value: Mapping[str, Any], path: str, changes: Changes) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, part in value.items():
            below = _below(path, key)
            field = _field(path, key)
            expected = below in FIELDS or not CONTAINERS.isdisjoint((below, f"{below}[]"))
            name = key if expected else self._text(key)[:_LONGEST_WORD]
            told = _below(path, name)
            if part is None:
                found[name] = None
            elif field is not None and field.treatment == "drop":
                changes[told, LEFT_OUT] += 1
            elif field is not None:
                found[name] = self._value(field, part, told, changes)
            elif below in CONTAINERS and isinstance(part, dict):
                found[name] = self._object(part, below, changes)
            elif f"{below}[]" in CONTAINERS and isinstance(part, list):
                found[name] = [
                    self._object(row, f"{below}[]", changes)
                    if isinstance(row, dict)
                    else self._typed(row, f"{below}[]", changes)
                    for row in part
                ]
            else:
                found[name] = self._typed(part, told, changes)
        return found

    def _value(self, field: Field, value: Any, path: str, changes: Changes) -> Any:
        if isinstance(value, dict | list):
            # Empty, so that a reader finds it as unusable as before; the text of its type could be used.
            return self._counted(type(value)(), value, path, LEFT_OUT, changes)
        if field.treatment in ("id", "user") and not isinstance(value, bool | float):
            # Without white space around it, as a reader takes it, and as it is in paths.
            new = self.made_up(str(value).lstrip("-") if isinstance(value, int) else value.strip())
            return self._counted(type(value)(new), value, path, REPLACED, changes)
        if isinstance(value, bool | int | float):
            return self._typed(value, path, changes) if self._is_known(str(value)) else value
        if field.treatment == "number" and not _NUMBER.fullmatch(value):
            return self._typed(value, path, changes)
        strict = field.treatment == "text" or (
            field.treatment == "keep" and (len(value) > _LONGEST_WORD or len(value.split()) > 1)
        )
        return self._counted(self._text(value, strict=strict), value, path, CHANGED, changes)

    def _typed(self, value: Any, path: str, changes: Changes) -> Any:
        if value in ("", [], {}):
            return value  # nothing in it
        changes[path, UNKNOWN] += 1
        return _type_of(value)

    def _counted(self, new: Any, old: Any, path: str, what: str, changes: Changes) -> Any:
        if new != old:
            changes[path, what] += 1
        return new

    def _text(self, text: str, *, strict: bool = True) -> str:
        # Scrubbed first: an invisible character in the middle of a name would hide it.
        pattern = self._strict if strict else self._lenient
        return pattern.sub(self._replacement, scrub(text, LONGEST_EXAMINED))

    def _replacement(self, found: re.Match[str]) -> str:
        if found.lastgroup == "secret" or _folded(found[0]) in self._secrets:
            return SECRET
        return self.made_up(found[0])

    # --- what is known -----------------------------------------------------------------------------

    def _is_known(self, number: str) -> bool:
        number = number.lower()
        return len(number) >= SHORTEST_INSIDE and (number in self._known or number in self._secrets)

    def _learn(self, value: str, shortest: int) -> None:
        """From now on it is replaced in texts too."""
        value = _folded(value)
        if len(value) >= shortest and not re.fullmatch(_ID, value):
            self._known.add(value)

    def _compile(self) -> None:
        known = "|".join(map(_spelled, sorted(self._known | self._secrets, key=len, reverse=True)))
        lenient = rf"(?P<known>{known or '(?!)'})|(?P<id>{_ID})|(?P<secret>{_KEYS_AND_TOKENS})"
        self._lenient = re.compile(lenient, re.IGNORECASE)
        self._strict = re.compile(rf"{lenient}|(?P<address>{_ADDRESS})", re.IGNORECASE)

    def _id_segment(self, segment: str) -> str:
        return quote(self.made_up(unquote(segment)), safe="")

    def _invent(self, real: str) -> str:
        padding = real[-1] if real[-1].isalnum() else "x"
        shape = real.ljust(SHORTEST_MADE_UP, padding)
        tries = (_filled(shape, self._random(f"{number}/{real}")) for number in count())
        made_up = next(found for found in tries if found not in self._taken and found != real)
        self._taken.add(made_up)
        return made_up

    def _random(self, text: str) -> Iterator[int]:
        """Bytes without an end."""
        return chain.from_iterable(
            blake2b(f"{block}/{text}".encode("utf-8", "replace"), key=self._key).digest() for block in count()
        )


def _fields(value: Any, path: str) -> Iterator[tuple[Field, Any]]:
    """The known fields of a body, with their values."""
    if isinstance(value, list):
        for row in value:
            yield from _fields(row, f"{path}[]")
    elif isinstance(value, dict):
        for key, part in value.items():
            field = _field(path, key)
            if field is not None:
                yield field, part
            else:
                yield from _fields(part, _below(path, key))


def _field(path: str, key: str) -> Field | None:
    return FIELDS.get(_below(path, key)) or FIELDS.get(_below(path, "*"))


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _type_of(value: Any) -> Any:
    if isinstance(value, bool):
        return "<boolean>"
    if isinstance(value, int | float):
        return "<number>"
    if isinstance(value, str):
        return "<string>"
    if value is None:
        return None
    return "<object>" if isinstance(value, dict) else "<array>"


def _folded(text: str) -> str:
    return " ".join(printable(text).split()).lower()


def _spelled(text: str) -> str:
    inside = re.escape(text)
    return inside if len(text) >= SHORTEST_INSIDE else rf"(?<![a-z0-9]){inside}(?![a-z0-9])"


def _filled(shape: str, random: Iterable[int]) -> str:
    """Other letters and digits at the same places."""
    alphanumeric = [character for character in shape if character.isalnum()]
    hexadecimal = bool(alphanumeric) and set(alphanumeric) <= set(_HEX) and not set(_DIGITS).isdisjoint(shape)
    digits = set(shape) <= set(_DIGITS)
    made_up = ""
    for place, (character, number) in enumerate(zip(shape, random, strict=False)):
        if not character.isalnum() and alphanumeric:
            made_up += character if character in "-_.@ :/" else "_"
            continue
        if digits:
            pool = _DIGITS if place else _FIRST_DIGITS  # a number has no 0 in front
        elif hexadecimal:
            pool = _HEX
        else:
            pool = _DIGITS if character in _DIGITS else _LETTERS
        made_up += pool[number % len(pool)]
    return made_up
