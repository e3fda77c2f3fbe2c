"""Computes SDK-HMAC-SHA256 signatures from the published algorithm, without any code of the client.

Source: API Gateway User Guide, AK/SK-based authentication ("API Request Signing Guide").
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

ALGORITHM = "SDK-HMAC-SHA256"
# How old, or how far in the future, a signature may be (API Request Signing Guide: 15 minutes).
WINDOW_MS = 15 * 60_000
_FORM = re.compile(rf"{ALGORITHM} +Access=([^,]+), *SignedHeaders=([^,]+), *Signature=([0-9a-f]+)")


@dataclass(frozen=True)
class Authorization:
    """The parts of an Authorization header."""

    access: str
    signed_headers: tuple[str, ...]
    signature: str


def parse_authorization(header: str) -> Authorization | None:
    """The parts of the header; None if it has another form."""
    match = _FORM.fullmatch(header.strip())
    if match is None:
        return None
    return Authorization(match[1], tuple(match[2].lower().split(";")), match[3])


def parse_date(text: str) -> int | None:
    """The time of an X-Sdk-Date header (`20240102T030405Z`) in ms; None if it has another form."""
    try:
        moment = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(moment.timestamp()) * 1000


def format_date(ms: int) -> str:
    """A time in ms as an X-Sdk-Date header."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


def signature(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    signed_headers: tuple[str, ...],
    body: bytes,
    secret: str,
) -> str:
    """The right signature of a request, in hex.

    Args:
        method: of the request.
        path: as sent, percent-encoded or not.
        query: as sent; a `+` in it is a plus sign, only `%20` is a space.
        headers: by name in lower case; must hold `x-sdk-date`.
        signed_headers: names in lower case.
        body: as sent.
        secret: the secret key.

    """
    segments = [_encode(unquote(segment)) for segment in path.split("/")]
    canonical_path = "/".join(segments)
    if not canonical_path.endswith("/"):
        canonical_path += "/"
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    decoded = sorted((unquote(name), unquote(value)) for name, _, value in pairs)
    canonical_query = "&".join(f"{_encode(name)}={_encode(value)}" for name, value in decoded)
    names = sorted(signed_headers)
    canonical_headers = "".join(f"{name}:{headers.get(name, '').strip()}\n" for name in names)
    canonical = "\n".join(
        [
            method.upper(),
            canonical_path,
            canonical_query,
            canonical_headers,
            ";".join(names),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"{ALGORITHM}\n{headers['x-sdk-date']}\n{hashed}"
    return hmac.new(secret.encode(), to_sign.encode(), hashlib.sha256).hexdigest()


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")
