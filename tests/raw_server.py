"""Servers of a few lines, for what no honest server sends: each connection is handled by a function."""

import socket
import ssl
import struct
import threading
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import repeat

LINGER_NOT = struct.pack("ii", 1, 0)  # close with a reset
_DROP_SECONDS = 0.005


class RawServer:
    """What a running server was asked, and how it answers.

    Args:
        handle: is called with each new connection, in a thread of its own; an `OSError` ends it.
        url: its address.

    """

    def __init__(self, handle: Callable[["RawServer", socket.socket], None], url: str) -> None:
        self.handle = handle
        self.url = url
        self.asked: list[bytes] = []
        self.connections = 0
        self.stopped = threading.Event()

    @property
    def address(self) -> str:
        """Host and port."""
        return self.url.partition("://")[2]

    def read_head(self, connection: socket.socket) -> bytes:
        """The head of one request; empty when the client has gone."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                return b""
            head += byte
        self.asked.append(head)
        return head

    def send(self, connection: socket.socket, pieces: Iterable[bytes]) -> None:
        """Piece by piece, until the client or the test has enough."""
        for piece in pieces:
            connection.sendall(piece)
            if self.stopped.wait(_DROP_SECONDS):
                return


@contextmanager
def raw_server(
    handle: Callable[[RawServer, socket.socket], None], tls: ssl.SSLContext | None = None
) -> Iterator[RawServer]:
    """A server on loopback whose connections are all handled by one function."""
    threads: list[threading.Thread] = []

    def talk(connection: socket.socket) -> None:
        with suppress(OSError), closing(connection):  # the client may go, as some tests want it to
            talking = tls.wrap_socket(connection, server_side=True) if tls else connection
            with closing(talking):
                open_connections.append(talking)
                handle(server, talking)

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            server.connections += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=talk, args=(connection,))
            threads.append(thread)
            thread.start()

    open_connections: list[socket.socket] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        scheme = "https" if tls else "http"
        server = RawServer(handle, f"{scheme}://127.0.0.1:{listening.getsockname()[1]}")
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server
        finally:
            server.stopped.set()
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join(10)
            for connection in open_connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


def answering(*pieces: bytes) -> Callable[[RawServer, socket.socket], None]:
    """One request, then these pieces, then the end of the connection."""

    def handle(server: RawServer, connection: socket.socket) -> None:
        if server.read_head(connection):
            server.send(connection, pieces)

    return handle


def dripping(start: bytes, drop: bytes) -> Callable[[RawServer, socket.socket], None]:
    """One request, then a start, then drops without end."""

    def handle(server: RawServer, connection: socket.socket) -> None:
        if server.read_head(connection):
            connection.sendall(start)
            server.send(connection, repeat(drop))

    return handle


def silent(server: RawServer, connection: socket.socket) -> None:
    """Takes everything and says nothing."""
    while connection.recv(65_536):
        pass


def head(length: int, *lines: str, status: str = "200 OK") -> bytes:
    """The head of an answer after which the connection is closed."""
    return "\r\n".join(
        [f"HTTP/1.1 {status}", f"Content-Length: {length}", "Connection: close", *lines, "", ""]
    ).encode()


class Proxy:
    """A forward proxy that works: it tunnels CONNECT, and passes an absolute URL on.

    Args:
        login: `user:password` to insist on; None: everybody may use it.
        refusal: the status line that CONNECT is refused with; empty: it is not.
        hosts: where names lead to; the resolver of a test knows none.

    """

    def __init__(
        self, login: str | None = None, refusal: str = "", hosts: Mapping[str, str] | None = None
    ) -> None:
        self.login = login
        self.hosts = hosts or {}
        self.refusal = refusal

    def __call__(self, server: RawServer, connection: socket.socket) -> None:
        """Handle one connection."""
        request = server.read_head(connection)
        method, target, _ = request.split(b"\r\n")[0].split(b" ")
        expected = b"Proxy-Authorization: Basic " + b64encode((self.login or "").encode())
        if self.login is not None and expected not in request:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        elif self.refusal:
            connection.sendall(f"HTTP/1.1 {self.refusal}\r\n\r\n".encode())
        elif method == b"CONNECT":
            with self._connected(target) as onward:
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(onward, connection))
                back.start()
                _pump(connection, onward)
                back.join(10)
        else:
            host, slash, path = target.removeprefix(b"http://").partition(b"/")
            request = request.replace(target, (slash or b"/") + path, 1)
            with self._connected(host) as onward:
                onward.sendall(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                threading.Thread(target=_pump, args=(connection, onward), daemon=True).start()
                _pump(onward, connection)

    def _connected(self, address: bytes) -> socket.socket:
        host, _, port = self.hosts.get(address.decode(), address.decode()).rpartition(":")
        return socket.create_connection((host, int(port)), timeout=10)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
