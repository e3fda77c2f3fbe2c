"""What to tell of an exchange that brought no answer: with whom, in which step, why, and what to do.

The sentence never quotes the libraries' own: those hold URLs, proxies with passwords, and headers.
"""

import http.client
import re
import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3

from exporter.adapters.http_client.exchange import CONNECT_TIMEOUT_SECONDS, Exchange, Step
from exporter.adapters.http_client.trust import TrustUnreadable
from exporter.core.scrub import scrub
from exporter.core.source import NotUnderstood, RemoteError, Unreachable

# How http.client, and urllib3 in its place, tell that a proxy refused CONNECT.
_TUNNEL_REFUSED = re.compile(r"Tunnel connection failed: (\d{3})\s*(.*)", re.DOTALL)
_TUNNEL_REMEDIES = {
    "403": "allow the host on the proxy, or name it in NO_PROXY",
    "407": "set proxy_basic_auth",
}
_ADDRESS = "check the scheme and the port of the address"
_PROXY_ADDRESS = "check proxy_url, or HTTPS_PROXY of the environment"
_LONGEST_REASON = 80  # characters of a proxy's own words


class TooLarge(requests.RequestException):
    """The body is larger than it may be; `limit_bytes` says how large that is."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__()
        self.limit_bytes = limit_bytes


def causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it, the innermost last."""
    return list(_causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def failure(error: BaseException, exchange: Exchange) -> RemoteError:
    """The error for a reader; `error` is what the libraries raised."""
    chain = causes(error)
    for cause in chain:
        if isinstance(cause, TooLarge):
            return NotUnderstood(f"The answer is larger than {cause.limit_bytes // 1024 // 1024} MiB.")
        if isinstance(cause, urllib3.exceptions.DecodeError):
            return NotUnderstood("The answer is not compressed as it says.")
        if isinstance(cause, TrustUnreadable):
            return Unreachable(f"No request was sent: {cause}.")
    source = f" from {exchange.peer}" if exchange.peer else ""
    why, remedy = _reason(chain, exchange)
    if remedy:
        why += f"; {remedy}"
    return Unreachable(f"No answer came{source}: {why}.").advising(remedy)


def _reason(chain: list[BaseException], exchange: Exchange) -> tuple[str, str]:
    """Why no answer came, and what to do about it, "" for nothing certain."""
    late = any(isinstance(cause, TimeoutError | urllib3.exceptions.TimeoutError) for cause in chain)
    match exchange.step:
        case Step.NAME:
            why = "not within the timeout" if late else _innermost(chain)
            remedy = _PROXY_ADDRESS if exchange.with_proxy else "check the address and the resolver"
            return f"its name cannot be resolved ({why})", remedy
        case Step.TCP:
            seconds = min(CONNECT_TIMEOUT_SECONDS, exchange.seconds)
            why = f"no connection within {seconds:g} s" if late else _innermost(chain)
            remedy = "check the address, the port, and whether a proxy_url is needed"
            return why, _PROXY_ADDRESS if exchange.with_proxy else remedy
        case Step.TUNNEL:
            return _tunnel_reason(chain, late=late)
        case Step.TLS:
            return _tls_reason(chain, late=late)
        case Step.ANSWER:
            return _answer_reason(chain, exchange, late=late)


def _tunnel_reason(chain: list[BaseException], *, late: bool) -> tuple[str, str]:
    for cause in chain:
        if found := _TUNNEL_REFUSED.match(str(cause)):
            said = scrub(f"{found[1]} {found[2]}", _LONGEST_REASON)
            remedy = _TUNNEL_REMEDIES.get(found[1], "ask who runs the proxy")
            return f"it refused CONNECT with HTTP {said}", remedy
    return (
        "it took longer than the timeout to CONNECT" if late else f"CONNECT failed ({_innermost(chain)})",
        "",
    )


def _tls_reason(chain: list[BaseException], *, late: bool) -> tuple[str, str]:
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            remedy = "set ca_file to the authority that signed it"
            if "mismatch" in cause.verify_message:
                remedy = "check the address"
            elif "expired" in cause.verify_message:
                remedy = "ask who runs the server"
            return f"its certificate was not accepted ({cause.verify_message})", remedy
        if isinstance(cause, ssl.SSLError) and cause.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST"}:
            return "its port speaks plain HTTP, not TLS", _ADDRESS
    return (
        "the TLS handshake took longer than the timeout" if late else f"TLS failed ({_innermost(chain)})"
    ), ""


def _answer_reason(chain: list[BaseException], exchange: Exchange, *, late: bool) -> tuple[str, str]:
    if late:
        return f"it took longer than the timeout of {exchange.seconds:g} s", ""
    for cause in chain:
        if isinstance(cause, http.client.RemoteDisconnected):
            return "the connection was closed before an answer", ""
        if isinstance(cause, http.client.IncompleteRead):
            return "the connection was closed in the middle of the answer", ""
        if isinstance(cause, http.client.BadStatusLine):
            return "what came is not HTTP", _ADDRESS
    if isinstance(chain[-1], http.client.HTTPException | urllib3.exceptions.HTTPError | ValueError):
        return f"the answer is malformed ({type(chain[-1]).__name__})", ""
    return _innermost(chain), ""


def _innermost(chain: list[BaseException]) -> str:
    """The cause in the words of the system, or its class, which has no secrets."""
    innermost = chain[-1]
    if isinstance(innermost, ssl.SSLError) and innermost.reason:
        return innermost.reason.lower().replace("_", " ")
    if isinstance(innermost, OSError) and innermost.strerror:
        return innermost.strerror
    return (
        "no such name" if isinstance(innermost, UnicodeError | socket.gaierror) else type(innermost).__name__
    )
