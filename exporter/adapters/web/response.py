"""An answer to an HTTP request, as a value."""

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

PLAIN = "text/plain; charset=utf-8"

Environ = dict[str, Any]
Verdict = tuple[bool, str]  # whether it is well, and the reason


class Response(NamedTuple):
    """An answer; `finish` is called once, with whether the client was handed all of it."""

    status: HTTPStatus
    content_type: str
    body: Sequence[bytes]
    headers: Mapping[str, str] = {}
    finish: Callable[[bool], None] = lambda whole: None  # noqa: ARG005


def said(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """One sentence as plain text."""
    return Response(status, PLAIN, [f"{text}\n".encode("utf-8", "replace")], headers or {})


def verdict(found: Verdict, otherwise: HTTPStatus) -> Response:
    """The reason as plain text, with 200 if it is well."""
    well, reason = found
    return said(HTTPStatus.OK if well else otherwise, reason)
