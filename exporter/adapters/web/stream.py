"""The bytes of one connection, plain or under TLS, on a socket that never blocks."""

import asyncio
import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

# Read at a time: many heads fit in it, and a client that sends without end is looked at between two reads.
_READ_BYTES = 16 * 1024
# Linger for no second: the kernel drops what it has, and resets the connection (socket(7), SO_LINGER).
_AT_ONCE = struct.pack("ii", 1, 0)
# How often we look whether the other side has acknowledged everything; nothing tells us when it does.
_ACKNOWLEDGED_SECONDS = 0.1


class Stream:
    """One connection.

    Each method may wait for the client as long as it likes; who calls it sets the deadline, with
    `asyncio.timeout`. Bytes may be lost when that strikes, so the connection ends then. All raise OSError
    when the client has gone.

    Args:
        accepted: as the listening socket gave it.
        context: how to speak TLS; None: plainly.

    """

    def __init__(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        accepted.setblocking(False)
        # An answer goes out in a few large writes; none is to wait for the one before to be acknowledged.
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls: ssl.SSLSocket | None = None
        self._socket = accepted
        if context is not None:
            self._socket = self._tls = context.wrap_socket(
                accepted, server_side=True, do_handshake_on_connect=False
            )

    async def handshake(self) -> bool:
        """Agree on TLS, where it is spoken; False if the client speaks plain HTTP, as we do from now on."""
        if self._tls is None:
            return True
        try:
            await self._done(self._tls.do_handshake, reads=True)
        except ssl.SSLError as error:
            if error.reason != "HTTP_REQUEST":
                raise
            self._socket, self._tls = socket.socket(fileno=self._tls.detach()), None
            self._socket.setblocking(False)
            return False
        return True

    async def receive(self) -> bytes:
        """The next bytes; none: the client sends no more."""
        return await self._done(partial(self._socket.recv, _READ_BYTES), reads=True)

    async def send(self, data: bytes, on_wait: Callable[[], None]) -> None:
        """Hand all of it over; `on_wait` is called whenever the client has to read before we can go on."""
        rest = memoryview(data)
        while rest:
            rest = rest[await self._done(partial(self._socket.send, rest), reads=False, on_wait=on_wait) :]

    def end(self) -> None:
        """Send no more, and tell the client so."""
        if self._tls is not None:
            # It asks for the client's farewell too, and does not wait for it. ValueError: no handshake yet.
            with suppress(OSError, ValueError):
                self._tls.unwrap()
        self._socket.shutdown(socket.SHUT_WR)

    async def drain(self) -> None:
        """Take in what the client still sends, until it ends.

        Closing a socket with unread bytes takes back an answer that is still on its way.
        """
        while await self._done(partial(socket.socket.recv, self._socket, _READ_BYTES), reads=True):
            pass

    async def delivered(self, patience: float) -> bool:
        """Whether the client has got all that was sent, as far as can be known.

        Its system must have acknowledged every byte. That is no proof that the client has read them: one that
        gives up halfway and closes has unread bytes, so its system resets the connection. We wait for that
        `patience` seconds. The next request, or an end without a reset, is an answer before that.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._ready(reads=True)
        while not self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            if not _unacknowledged(self._socket):
                return True
            await asyncio.sleep(_ACKNOWLEDGED_SECONDS)
        return False

    def close(self) -> None:
        """Let go of the socket, and of what the client has not read, which the kernel would keep for long."""
        with suppress(OSError):
            if _unacknowledged(self._socket):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._socket.close()

    async def _done(
        self, attempt: Callable[[], T], *, reads: bool, on_wait: Callable[[], None] = lambda: None
    ) -> T:
        """The result of `attempt`, which is made again whenever the socket is ready for it."""
        while True:
            try:
                return attempt()
            except ssl.SSLWantReadError:  # TLS may read in order to write, and the other way round
                reads = True
            except ssl.SSLWantWriteError:
                reads = False
            except BlockingIOError:
                pass
            on_wait()
            await self._ready(reads=reads)

    async def _ready(self, *, reads: bool) -> None:
        loop, descriptor = asyncio.get_running_loop(), self._socket.fileno()
        ready = loop.create_future()
        if reads:
            loop.add_reader(descriptor, _wake, ready)
        else:
            loop.add_writer(descriptor, _wake, ready)
        try:
            await ready
        finally:
            if reads:
                loop.remove_reader(descriptor)
            else:
                loop.remove_writer(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _unacknowledged(connected: socket.socket) -> int:
    """Bytes that the other side's system has not acknowledged (tcp(7), SIOCOUTQ)."""
    answer: Any = fcntl.ioctl(connected, termios.TIOCOUTQ, bytes(4))
    size: int = struct.unpack("i", answer)[0]
    return size
