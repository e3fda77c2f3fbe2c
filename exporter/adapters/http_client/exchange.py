"""Connections whose every wait ends by the deadline of the exchange that they serve.

urllib3 bounds each single wait for a socket. A server that sends a byte now and then, in a head, in the size
of a chunk, in a TLS handshake or in a proxy's answer to CONNECT, is then waited for without end. Here each
call of a socket may take what is left of the whole exchange, and no more. What cannot be bounded is the
system's resolver: a lookup that is too late is left alone in a thread of its own, which ends with it.
"""

import io
import queue
import socket
import ssl
import threading
import time
from contextvars import ContextVar
from enum import Enum
from http.client import HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected, parse_headers
from typing import Any
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

# A TCP connection is there after three lost SYNs (1 + 2 + 4 s) or not at all.
CONNECT_TIMEOUT_SECONDS = 10.0


class Step(Enum):
    """What an exchange is about: one after the other; a kept connection begins with the last one."""

    NAME = "name"
    TCP = "tcp"
    TUNNEL = "tunnel"
    TLS = "tls"
    ANSWER = "answer"


class Exchange:
    """One request and its answer, in one thread.

    Attributes:
        seconds: how long it may take.
        step: what is under way.
        peer: with whom, as host and port.
        with_proxy: whether that is a proxy.
        connected: whether a new connection was made for it.
        received: whether a byte of an answer has come.

    """

    def __init__(self, seconds: float, url: str) -> None:
        self.seconds = seconds
        self.step = Step.ANSWER
        self.peer = _peer_of(url)
        self.with_proxy = False
        self.connected = False
        self.received = False
        self._deadline = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds that are left, more than 0. Raises `TimeoutError`."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def connect(self, host: str, port: int, options: Any, *, proxy: bool) -> socket.socket:
        """A new TCP connection. Raises `OSError`, and `UnicodeError` for a name that cannot be one."""
        self.begin(Step.NAME, host, port, proxy=proxy)
        self.connected = True
        addresses = _addresses(host, port, self.remaining())
        self.step = Step.TCP
        failed: OSError | None = None
        for family, kind, protocol, _, address in addresses:
            sock = BoundedSocket(family, kind, protocol)
            try:
                for option in options or ():
                    sock.setsockopt(*option)
                sock.settimeout(min(CONNECT_TIMEOUT_SECONDS, self.remaining()))
                sock.connect(address)
            except BaseException as error:
                sock.close()
                if not isinstance(error, OSError):
                    raise
                failed = failed or error
            else:
                return sock
        raise failed or OSError("the name has no address")

    def begin(self, step: Step, host: str, port: int, *, proxy: bool = False) -> None:
        """Note what is under way with whom."""
        self.step = step
        self.with_proxy = proxy
        self.peer = ("the proxy " if proxy else "") + _shown(host, port)


current: ContextVar[Exchange] = ContextVar("current")
"""The exchange that the calling thread is in: it is needed where the libraries between know nothing of it."""


class BoundedSocket(socket.socket):
    """A socket that waits no longer than the exchange under way may take."""

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        """See the base."""
        self._bound()
        data = super().recv(*args, **kwargs)
        current.get().received |= len(data) > 0
        return data

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """See the base."""
        self._bound()
        count = super().recv_into(*args, **kwargs)
        current.get().received |= count > 0
        return count

    def send(self, *args: Any, **kwargs: Any) -> int:
        """See the base."""
        self._bound()
        return super().send(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        """See the base."""
        self._bound()
        super().sendall(*args, **kwargs)

    def _bound(self) -> None:
        # A timeout of Python's sockets is for the whole of a call, also where TLS makes several of it.
        self.settimeout(current.get().remaining())


class BoundedTlsSocket(BoundedSocket, ssl.SSLSocket):
    """The same with TLS: the `sslsocket_class` of a context."""

    def do_handshake(self, block: bool = False) -> None:
        """See the base."""
        self._bound()
        super().do_handshake(block)


class _Lines(io.BufferedReader):
    """The lines of an answer; http.client would take the end of the connection for an empty one."""

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        if not line:
            raise RemoteDisconnected("the connection was closed")
        if not line.endswith(b"\n") and len(line) != size:
            raise IncompleteRead(line)
        return line


class _Response(HTTPResponse):
    """An answer whose head must be whole, after any number of interim ones.

    http.client passes over 100 alone, and takes a 103 for the answer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = _Lines(self.fp.detach())

    def begin(self) -> None:
        """See the base. urllib3 would find two lengths too, and leave the socket open."""
        super().begin()
        values = ",".join(self.headers.get_all("content-length", []))
        if len({value.strip() for value in values.split(",")}) > 1:
            raise HTTPException("The answer has two lengths.")

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 < status < 200:
                return version, status, reason
            parse_headers(self.fp)


class _Connection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        proxy = self.proxy is not None
        sock = current.get().connect(self._dns_host, self.port, self.socket_options, proxy=proxy)
        current.get().step = Step.ANSWER
        return sock


class _TlsConnection(HTTPSConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        proxy = self.proxy is not None
        sock = current.get().connect(self._dns_host, self.port, self.socket_options, proxy=proxy)
        current.get().step = Step.TLS
        return sock

    def _tunnel(self) -> None:
        exchange = current.get()
        exchange.step = Step.TUNNEL
        super()._tunnel()
        assert self._tunnel_host is not None, "there is no tunnel without its end"
        exchange.begin(Step.TLS, self._tunnel_host, self._tunnel_port or self.default_port)

    def connect(self) -> None:
        """See the base."""
        super().connect()
        current.get().step = Step.ANSWER

    @property
    def is_connected(self) -> bool:
        """Whether the next request may use it: not if something came that nobody asked for.

        urllib3 looks for that at the socket alone, and not at what TLS has read of it already.
        """
        unread = isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0
        return super().is_connected and not unread


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


POOLS: dict[str, type[HTTPConnectionPool]] = {"http": _Pool, "https": _TlsPool}
"""What a pool manager of urllib3 needs to make connections that are bounded."""


def _addresses(host: str, port: int, seconds: float) -> list[Any]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass  # not an address but a name
    found: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            found.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            found.put(error)

    threading.Thread(target=look_up, name=f"resolve-{host}", daemon=True).start()
    try:
        addresses = found.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(addresses, Exception):
        raise addresses
    return addresses


def _peer_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        return _shown(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    except ValueError:
        return ""


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
