"""What an answer other than 200 means: an error of `exporter.core.source` with one sentence. Pure.

The codes are explained in "Error Codes" of ModelArts, API Reference (`ModelArts.…`), and of API Gateway,
User Guide (`APIG.…`, in older regions `APIGW.…`). One code is sent with several HTTP statuses, so the
status decides what an error is, and the code only what to do about it.
"""

import html
import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from exporter.adapters.http_client import http_date_ms
from exporter.core.source import Forbidden, Gone, Refused, RemoteError, Throttled

# What the cloud says about an error is quoted up to this length: the longest documented text fits.
QUOTED_CHARACTERS = 200
# Longer waits are taken for a mistake: the longest window that a gateway counts in is a day.
LONGEST_WAIT_SECONDS = 86_400.0

_CODE_KEYS = ("error_code", "errorCode", "code")
_TEXT_KEYS = ("error_msg", "errorMsg", "message", "title")

_UNIT_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
# APIG.0308, a 429: "… policy user over ratelimit,limit:5,time:1 minute".
_GATEWAY_WINDOW = re.compile(
    r"limit:\s*(\d{1,9})\s*,\s*time:\s*(\d{1,9})\s*(second|minute|hour|day)", re.IGNORECASE
)
# IAM.0012, a 429: "… Threshold: 5 times per 60 seconds".
_IAM_WINDOW = re.compile(r"(\d{1,9}) times? per (\d{1,9}) second", re.IGNORECASE)

# A signature is 64 hexadecimal digits and a token is longer: no word of a language is as long.
_LONG_WORD = re.compile(r"[A-Za-z0-9+/=_-]{64,}")
_ASSIGNED_SECRET = re.compile(
    r"\b(signature|x-auth-token|x-security-token|token|secret|password|sk)=[^\s,;&\"']+", re.IGNORECASE
)
_TAG = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)

_INVALID_KEY = "ModelArts.0206"  # a 403 that says: invalid AK/SK
_NO_SUCH_SERVICE = "ModelArts.3502"  # a 404 that says: the service does not exist; any other 404 is an error

_REMEDIES = {
    "ModelArts.0204": "sign in with the scope of a project",  # the token has no projectId
    "ModelArts.0206": "check the access key and its secret key",
    "ModelArts.0207": "sign in with the scope of a project",  # likewise
    "ModelArts.0210": "check that project_id is the project of this credential",  # they do not match
    "ModelArts.0212": "sign in with the scope of a project",  # the token has no project
    "ModelArts.4116": "settle the account's arrears",  # the account is in arrears
    "ModelArts.4118": "the account is suspended: ask who owns it",
}
_GATEWAY_REMEDIES = {
    "0101": "check the endpoint: it does not publish this API",
    "0310": "the project is not available: check project_id and the account",
    "0401": "the address is blocked: ask who manages the access control of the gateway",
    "0402": "the account is blocked: ask who manages the access control of the gateway",
    "0802": "the API is not allowed in this region: check the endpoint",
}


class Rejected(RemoteError):  # noqa: N818 - the class says what happened, the base that it is an error
    """The cloud did not like the request (400). `code` is the cloud's own, or empty."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class NoSuchPath(RemoteError):  # noqa: N818
    """The cloud has no such call (404): not a service that is gone."""


def error_of(
    asked: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: int,
    permission: str = "",
    secrets: Collection[str] = (),
) -> RemoteError:
    """The error that an answer stands for.

    Args:
        asked: what was tried, the beginning of the sentence.
        status: HTTP, not 2xx.
        headers: names in lower case.
        body: as it came.
        now: ms since the epoch, for a `Retry-After` that is a date.
        permission: the action that a 403 wants granted.
        secrets: what must not be quoted even if the cloud quotes it.

    """
    code, text = _code_and_text(body)
    # IAM's code is the status, and so is the heading of an error page: once is enough.
    what = f"HTTP {status}" + (f" {code}" if code not in ("", str(status)) else "")
    quoted = re.sub(rf"^(?:{status}\b\s*)+", "", clean(text, secrets))
    remedy = _remedy(status, code, permission)
    message = f"{asked} failed with {what}" + (f": {quoted.rstrip('.')}" if quoted else "")
    message += f" ({remedy})." if remedy else "."
    return _error(status, code, message, text, headers, now).advising(remedy)


def _error(
    status: int, code: str, message: str, text: str, headers: Mapping[str, str], now: int
) -> RemoteError:
    if status == 401 or (status == 403 and code.casefold() == _INVALID_KEY.casefold()):
        return Refused(message)
    if status == 403:
        return Forbidden(message)
    if status == 404:
        is_about_service = code.casefold() == _NO_SUCH_SERVICE.casefold()
        return Gone(message) if is_about_service else NoSuchPath(message)
    if status == 429:
        window, allowed = _window(text)
        wait = _retry_after(headers, now)
        return Throttled(message, window if wait is None else wait, allowed)
    if status == 400:
        return Rejected(message, code)
    return RemoteError(message)


def clean(text: str, secrets: Collection[str] = ()) -> str:
    """A text from outside as it may be quoted: one line, without secrets, of bounded length."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, "<secret>")
    text = _ASSIGNED_SECRET.sub(r"\1=<secret>", text)
    text = _LONG_WORD.sub("<secret>", text)
    printable = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(printable.split())
    return line if len(line) <= QUOTED_CHARACTERS else line[: QUOTED_CHARACTERS - 1] + "…"


_BAD_LOGIN = "check domain, username, password and project_id"
_BAD_SIGNATURE = "check the key or the token, and the clock of this machine"


def _remedy(status: int, code: str, permission: str) -> str:
    prefix, _, number = code.partition(".")
    gateway = prefix.upper() in {"APIG", "APIGW"}
    remedy = _GATEWAY_REMEDIES.get(number, "") if gateway else _REMEDIES.get(code, "")
    if not remedy and status == 403 and permission:
        remedy = f"grant the permission {permission}"
    if not remedy and status == 401:
        # Only a sign-in needs no permission.
        remedy = _BAD_SIGNATURE if permission else _BAD_LOGIN
    if not remedy and status == 407:
        remedy = "the proxy wants a user and a password: set proxy_basic_auth"
    if not remedy and status == 494:
        remedy = "the token is too long for the gateway: use an access key"
    if not remedy and 300 <= status < 400:
        remedy = "redirects are not followed: check the endpoint"
    return remedy


def _code_and_text(body: bytes) -> tuple[str, str]:
    """Code and message in any of the shapes that the parts of the cloud answer with."""
    text = body.decode("utf-8-sig", errors="replace")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return "", html.unescape(_TAG.sub(" ", text[: 64 * 1024]))  # beyond that there is no message
    if not isinstance(document, dict):
        return "", text
    nested = [value for value in document.values() if isinstance(value, dict)]
    for candidate in (document, *nested):
        code, message = _first(candidate, _CODE_KEYS), _first(candidate, _TEXT_KEYS)
        if code or message:
            return clean(code)[:64], message
    return "", text if document else ""


def _first(document: Mapping[str, Any], keys: Collection[str]) -> str:
    for key in keys:
        value = document.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""


def _window(text: str) -> tuple[float | None, float | None]:
    """The length of the window that a text names, in seconds, and the rate it allows."""
    if found := _GATEWAY_WINDOW.search(text):
        count, seconds = int(found[1]), int(found[2]) * _UNIT_SECONDS[found[3].lower()]
    elif found := _IAM_WINDOW.search(text):
        count, seconds = int(found[1]), int(found[2])
    else:
        return None, None
    if seconds == 0:
        return None, None
    return min(float(seconds), LONGEST_WAIT_SECONDS), count / seconds or None


def _retry_after(headers: Mapping[str, str], now: int) -> float | None:
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        at = http_date_ms(value)
        if at is None:
            return None
        # A date is on the cloud's clock, so the wait is measured on it too where it is known.
        told = http_date_ms(headers.get("date", ""))
        seconds = (at - (now if told is None else told)) / 1000
    if not math.isfinite(seconds):
        return None
    return min(max(0.0, seconds), LONGEST_WAIT_SECONDS)
