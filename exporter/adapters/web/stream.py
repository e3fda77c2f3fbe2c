"""The bytes of one connection, plain or under TLS, on a socket that never blocks."""

import asyncio
import fcntl
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

# Read at a time: many heads fit in it, and a client that sends without end is looked at between two reads.
_READ_BYTES = 16 * 1024
# Linger for no second: the kernel drops what it has, and resets the connection (socket(7), SO_LINGER).
_AT_ONCE = struct.pack("ii", 1, 0)
# A smaller answer fits into the buffers of the two systems, and needs no thread.
_LARGE_BYTES = 256 * 1024
# For how long a larger one may have a thread. A network of 1 Gbit/s takes 6 MB in this time, one machine all
# of it; a client that takes longer is sent the rest by the event loop.
_PATIENCE_SECONDS = 0.05
# Pieces that one call of the system takes (IOV_MAX of Linux).
_MOST_PIECES = 1024
# What one call sends under TLS: a record, however much it is given (RFC 8446, 5.1).
_RECORD_BYTES = 16 * 1024
# How often we look whether the other side has acknowledged everything; nothing tells us when it does.
_ACKNOWLEDGED_SECONDS = 0.1


class SendThreads:
    """How many threads of a server may wait for clients; all streams of its event loop share it."""

    MOST = 4  # two Prometheus, and two for whoever does not read

    def __init__(self) -> None:
        self.free = self.MOST


class Stream:
    """One connection.

    Each method may wait for the client as long as it likes; who calls it sets the deadline, with
    `asyncio.timeout`. Bytes may be lost when that strikes, so the connection ends then. All raise OSError
    when the client has gone.

    Args:
        accepted: as the listening socket gave it.
        context: how to speak TLS; None: plainly.
        threads: of the server, for large answers.

    """

    def __init__(
        self, accepted: socket.socket, context: ssl.SSLContext | None, threads: "SendThreads"
    ) -> None:
        self._threads = threads
        accepted.setblocking(False)
        # An answer goes out in a few large writes; none is to wait for the one before to be acknowledged.
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        timeout = struct.pack("ll", 0, int(_PATIENCE_SECONDS * 1_000_000))  # a timeval: seconds, microseconds
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
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

    async def send(self, pieces: Sequence[bytes], on_wait: Callable[[], None]) -> None:
        """Hand all of it over; `on_wait` is called whenever the client has to read before we can go on."""
        rest = _Unsent(pieces)
        if self._tls is None and rest.size >= _LARGE_BYTES and self._threads.free:
            self._threads.free -= 1
            on_wait()
            try:
                await asyncio.to_thread(self._send_patiently, rest)
            finally:
                self._threads.free += 1
        while rest.size:
            rest.drop(await self._done(partial(self._send_some, rest), reads=False, on_wait=on_wait))

    def _send_patiently(self, rest: "_Unsent") -> None:
        """Send what the client takes in a moment, waiting for it in the kernel.

        A page takes dozens of calls if each sends what fits, and at each of them the interpreter's lock is
        let go and waited for. Here it is done in a few.
        """
        end = time.monotonic() + _PATIENCE_SECONDS
        try:
            self._socket.setblocking(True)
            while rest.size and time.monotonic() < end:
                rest.drop(self._socket.sendmsg(rest.head(_MOST_PIECES)))
        except BlockingIOError:
            pass
        finally:
            with suppress(OSError):  # closed meanwhile
                self._socket.setblocking(False)

    def _send_some(self, rest: "_Unsent") -> int:
        if self._tls is not None:
            return self._tls.send(rest.first(_RECORD_BYTES))
        return self._socket.sendmsg(rest.head(_MOST_PIECES))

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


class _Unsent:
    """What is left of an answer."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces: list[bytes | memoryview] = [piece for piece in pieces if piece]
        self._next = 0
        self.size = sum(map(len, self._pieces))

    def head(self, most: int) -> list[bytes | memoryview]:
        """The next pieces."""
        return self._pieces[self._next : self._next + most]

    def first(self, most: int) -> bytes:
        """The next bytes, copied."""
        taken: list[bytes | memoryview] = []
        place = self._next
        while most > 0 and place < len(self._pieces):
            piece = memoryview(self._pieces[place])[:most]
            taken.append(piece)
            most -= len(piece)
            place += 1
        return b"".join(taken)

    def drop(self, count: int) -> None:
        """So many bytes were sent."""
        self.size -= count
        while count:
            piece = self._pieces[self._next]
            if count < len(piece):
                self._pieces[self._next] = memoryview(piece)[count:]
                return
            count -= len(piece)
            self._next += 1


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _unacknowledged(connected: socket.socket) -> int:
    """Bytes that the other side's system has not acknowledged (tcp(7), SIOCOUTQ)."""
    answer: Any = fcntl.ioctl(connected, termios.TIOCOUTQ, bytes(4))
    size: int = struct.unpack("i", answer)[0]
    return size
