"""Serves the application over HTTP or HTTPS from a pool of threads."""

import logging
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from traceback import format_exc
from typing import Any, Protocol

from cheroot import wsgi
from cheroot.makefile import MakeFile
from cheroot.server import HTTPConnection
from cheroot.ssl import Adapter

from exporter.adapters.web.app import WebApp
from exporter.adapters.web.tls import TlsServer, server_context

# Threads beyond those for scrapes: for health checks and pages, and to refuse what is too much.
_SPARE_THREADS = 8
# A head of Prometheus has some 500 bytes, of a browser with cookies a few thousand.
_HEAD_BYTES = 32 * 1024
# No request has a body that means anything.
_BODY_BYTES = 64 * 1024
# How long a client may be silent halfway; Prometheus gives up a scrape after 10 s by default.
_TIMEOUT_SECONDS = 10
# How often the accepting thread looks whether it is to stop; `stop` waits for it.
_TICK_SECONDS = 0.1
# What `stop` leaves to requests under way, of the second that it may take.
_GRACE_SECONDS = 0.5
# What it waits for those that were cut off; after it, only an application that hangs is still at work.
_CUT_SECONDS = 0.4
# Connections that wait to be accepted: more than any number of scrapers opens at once.
_BACKLOG = 128

_PLAIN_ON_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 38\r\n\r\n"
    b"This port speaks HTTPS, ask https://.\n"
)


class WebConfig(Protocol):
    """What is needed of a web config file."""

    @property
    def tls(self) -> TlsServer | None:
        """How to speak TLS; None: plain HTTP."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent with every answer."""

    @property
    def users(self) -> Mapping[str, str]:
        """Their bcrypt hashes by name; none: everyone may come in."""


class WebServer:
    """Serves an application at several addresses until stopped.

    Args:
        listen: `host:port`, `[v6]:port`, or `:port` for every interface of both IP versions.
        app: the application.
        web_config: TLS, users and headers; None: none of them.
        on_error: told of a failure in a request that is not the client's, with where it happened.

    Raises:
        ValueError: an address that is none, or what `configure` raises.

    """

    def __init__(
        self,
        listen: Sequence[str],
        app: WebApp[Any],
        web_config: WebConfig | None = None,
        on_error: Callable[[str], None] = lambda text: print(text, file=sys.stderr),  # noqa: T201
    ) -> None:
        self._app = app
        self._servers = [_Server(_parsed(address), address, app, on_error) for address in listen]
        if web_config is not None:
            self.configure(web_config)

    @property
    def addresses(self) -> list[str]:
        """Where it listens, with the ports that were chosen for 0."""
        return [server.address for server in self._servers]

    def configure(self, web_config: WebConfig) -> None:
        """Go on with this file's users, headers and certificate; connections that are open keep theirs.

        Raises:
            OSError: a file cannot be used, and nothing has changed.
            ValueError: a value is not known, and nothing has changed.

        """
        adapter = _Tls(server_context(web_config.tls)) if web_config.tls else None
        self._app.configure(web_config.users, web_config.headers)
        for server in self._servers:
            server.ssl_adapter = adapter

    def start(self) -> None:
        """Listen, and serve from threads of its own; they keep the process alive until `stop`.

        Raises:
            OSError: an address cannot be had, and none is listened at; one sentence.

        """
        try:
            for server in self._servers:
                server.listen()
        except OSError:
            self.stop()
            raise

    def stop(self) -> None:
        """Listen no more; give requests under way half a second, then cut them off."""
        stopping = [threading.Thread(target=server.stop, daemon=True) for server in self._servers]
        for thread in stopping:
            thread.start()
        for seconds in (_GRACE_SECONDS, _CUT_SECONDS):
            deadline = time.monotonic() + seconds
            for thread in stopping:
                thread.join(max(deadline - time.monotonic(), 0))
            for server in self._servers:
                server.cut()


class _Tls(Adapter):
    """Wraps a connection; the handshake is the business of the thread that serves it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def bind(self, sock: socket.socket) -> socket.socket:
        return sock

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        return self.context.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False
        ), self.get_environ()

    def get_environ(self) -> dict[str, str]:
        return {"wsgi.url_scheme": "https", "HTTPS": "on"}

    def makefile(self, sock: socket.socket, mode: str = "r", bufsize: int = -1) -> Any:
        return MakeFile(sock, mode, bufsize)


class _Connection(HTTPConnection):
    """A connection that its server can find, and that shakes hands in the thread that serves it."""

    def __init__(self, server: "_Server", sock: socket.socket, makefile: Any = MakeFile) -> None:
        super().__init__(server, sock, makefile)
        server.open.add(self)

    def communicate(self) -> bool:
        try:
            if isinstance(self.socket, ssl.SSLSocket) and self.socket.version() is None:
                self.socket.do_handshake()
            return bool(super().communicate())  # type: ignore[no-untyped-call]
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                self._explain()
        except OSError:
            pass  # the client has gone, or is silent: its business
        return False

    def _explain(self) -> None:
        """Answer plain HTTP on a port of HTTPS below the TLS layer."""
        with suppress(OSError), socket.socket(fileno=os.dup(self.socket.fileno())) as plain:
            plain.recv(_HEAD_BYTES)  # closing with unread bytes would take the answer back
            plain.sendall(_PLAIN_ON_TLS)

    def close(self) -> None:
        self.server.open.discard(self)
        super().close()


class _Server(wsgi.Server):
    """One listening address."""

    ConnectionClass = _Connection
    max_request_header_size = _HEAD_BYTES
    max_request_body_size = _BODY_BYTES
    expiration_interval = _TICK_SECONDS

    def __init__(
        self, where: tuple[str, int], given: str, app: WebApp[Any], on_error: Callable[[str], None]
    ) -> None:
        super().__init__(
            where,
            app,
            numthreads=app.max_requests + _SPARE_THREADS,
            server_name="modelarts-exporter",
            request_queue_size=_BACKLOG,
            timeout=_TIMEOUT_SECONDS,
            shutdown_timeout=1,  # beyond what `stop` waits: it cuts connections off itself
        )
        self.keep_alive_conn_limit = app.max_requests
        self.open: set[_Connection] = set()
        self._given = given
        self._on_error = on_error
        self._failure: OSError | None = None

    @property
    def address(self) -> str:
        host, port = self.bind_addr
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def listen(self) -> None:
        try:
            self.prepare()
        except OSError as error:
            cause = self._failure or error
            reason = (cause.strerror or str(cause)).lower()
            raise OSError(f"cannot listen on {self._given}: {reason}") from error
        threading.Thread(target=self.serve, name=f"web {self._given}", daemon=True).start()

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002 - cheroot's name
        """Bind as cheroot does, but keep why it failed, and close what was not used."""
        sock: socket.socket = self.prepare_socket(self.bind_addr, family, type, proto, self.nodelay, None)
        try:
            sock.bind(self.bind_addr)
        except OSError as error:
            self._failure = error
            sock.close()
            raise
        self.socket, self.bind_addr = sock, sock.getsockname()[:2]
        return sock

    def cut(self) -> None:
        """Break every connection off, so that no thread waits for its client any longer."""
        for connection in list(self.open):
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Pass on what is our fault; below that are clients that go away."""
        if level >= logging.ERROR:
            self._on_error(f"{msg}\n{format_exc()}" if traceback else msg)


def _parsed(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    known = colon and port.isascii() and port.isdigit() and int(port) <= 65535
    if not known or (":" in host and not bracketed):
        raise ValueError(f"{address!r} is no address to listen on: host:port, [IPv6]:port or :port")
    return host.strip("[]") or _every_interface(), int(port)


def _every_interface() -> str:
    """IPv6's word for it, which takes IPv4 in as well, where the kernel has IPv6; else IPv4's."""
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("::", 0))
        return "::"
    return "0.0.0.0"  # noqa: S104 - what `:port` asks for
