"""SDK-HMAC-SHA256: the signature of a request with an access key, as the cloud's gateway checks it.

The signed text is the request in a canonical form: method, path, query, headers, the names of the
signed headers, and the hash of the body, each on its own line.
"""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote, urlsplit

ALGORITHM = "SDK-HMAC-SHA256"
DATE_HEADER = "X-Sdk-Date"
DATE_FORMAT = "%Y%m%dT%H%M%SZ"  # of the UTC time


def authorization(
    method: str, url: str, headers: Mapping[str, str], body: bytes, access_key: str, secret_key: str
) -> str:
    """The value of the `Authorization` header.

    Args:
        method: upper case.
        url: as it will be sent, percent-encoded.
        headers: the headers to sign, all of them; `Host` and `X-Sdk-Date` must be among them.
        body: as it will be sent.
        access_key: the key's name.
        secret_key: the key.

    """
    signed = {name.lower(): value.strip() for name, value in headers.items()}
    names = ";".join(sorted(signed))
    digest = hashlib.sha256(canonical_request(method, url, signed, body).encode()).hexdigest()
    text = f"{ALGORITHM}\n{signed[DATE_HEADER.lower()]}\n{digest}"
    signature = hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).hexdigest()
    return f"{ALGORITHM} Access={access_key}, SignedHeaders={names}, Signature={signature}"


def canonical_request(method: str, url: str, signed: Mapping[str, str], body: bytes) -> str:
    """The text whose hash is signed; the names in `signed` are lower case, the values stripped."""
    parts = urlsplit(url)
    lines = [
        method,
        _canonical_path(parts.path),
        _canonical_query(parts.query),
        *(f"{name}:{signed[name]}" for name in sorted(signed)),
        "",
        ";".join(sorted(signed)),
        hashlib.sha256(body).hexdigest(),
    ]
    return "\n".join(lines)


def _canonical_path(path: str) -> str:
    # The trailing slash is in the canonical form only, never in the request.
    encoded = "/".join(quote(unquote(segment), safe="-_.~") for segment in path.split("/"))
    return encoded if encoded.endswith("/") else encoded + "/"


def _canonical_query(query: str) -> str:
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
