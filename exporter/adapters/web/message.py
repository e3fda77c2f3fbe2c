"""A request and an answer of HTTP, as values."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from http import HTTPStatus
from typing import NamedTuple, Self
from urllib.parse import unquote, urlsplit

Verdict = tuple[bool, str]  # whether it is well, and the reason

# Under it every answer is JSON, errors too: who asks there is a program.
API = "/api/v1"


class Request(NamedTuple):
    """A request; its body, which means nothing to us, is left out.

    Attributes:
        path: as sent, with its percent signs; whoever splits it decodes the parts.
        query: what followed the question mark, as sent.
        headers: by name in small letters.
        client: whom the address belongs to that it came from, see `fair_queue.client_of`.

    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = {}
    client: str = "127.0.0.1"

    @classmethod
    def parse(cls, method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Self:
        """Take a request apart. Raises ValueError for a target that is no URL."""
        path, _, query = target.decode("ascii").partition("?")
        if not path.startswith("/"):  # a proxy asks for the whole URL (RFC 9112, section 3.2.2)
            path = urlsplit(path).path or "/"
        texts: dict[str, str] = {}
        for name, value in headers:  # a header that comes twice is one list (RFC 9110, section 5.3)
            key, text = name.decode("ascii"), value.decode("latin-1")
            texts[key] = f"{texts[key]}, {text}" if key in texts else text
        return cls(method.decode("ascii"), path, query, texts)


class Response(NamedTuple):
    """An answer; `on_delivered` is called once the client has got all of it, as far as can be known."""

    status: HTTPStatus
    content_type: str
    body: Sequence[bytes]
    headers: Mapping[str, str] = {}
    on_delivered: Callable[[], None] | None = None


def text_response(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """One sentence as plain text."""
    body = f"{text}\n".encode("utf-8", "replace")
    return Response(status, "text/plain; charset=utf-8", [body], headers or {})


def verdict(found: Verdict, otherwise: HTTPStatus) -> Response:
    """The reason as plain text, with 200 if it is well."""
    well, reason = found
    return text_response(HTTPStatus.OK if well else otherwise, reason)


def json_response(found: object, status: HTTPStatus = HTTPStatus.OK) -> Response:
    """What was found, for programs."""
    return Response(status, "application/json", [_encoded(found), b"\n"], {"Cache-Control": "no-store"})


def tagged_response(request: Request, content: Callable[[int], object], now: int) -> Response:
    """What was found as of `now` (ms), with an ETag; 304 to a client that has it already.

    The tag is that of the content as of the year 1970: of all of it except for the times and ages that tell
    when the answer was made, and would never be the same twice.
    """
    digest = blake2b(_encoded(content(0)), digest_size=12).hexdigest()
    headers = {"Cache-Control": "no-store", "ETag": f'W/"{digest}"', "Vary": "Accept-Encoding"}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if known & {"*", f'"{digest}"'}:
        return Response(HTTPStatus.NOT_MODIFIED, "", [], headers)
    return json_response(content(now))._replace(headers=headers)


def _encoded(found: object) -> bytes:
    return json.dumps(found, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def error_response(
    path: str, status: HTTPStatus, sentence: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Why there is no other answer: as JSON where all is JSON, else as plain text."""
    if not f"{unquote(path)}/".startswith(f"{API}/"):
        return text_response(status, sentence, headers)
    response = json_response({"error": sentence}, status)
    return response._replace(headers={**response.headers, **(headers or {})})
