"""Serves the application over HTTP or HTTPS: one thread with an event loop talks to all clients.

A slow, silent or lost client costs a socket and some kilobytes, never a thread, and not for long: each step
has a deadline (`connection`), and when too many are connected some have to go (`connection_limiter`).
"""

import asyncio
import os
import resource
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from traceback import format_exc
from typing import Any, Protocol

from exporter.adapters.web.app import WebApp
from exporter.adapters.web.connection import Connection, Deadlines
from exporter.adapters.web.connection_limiter import ConnectionLimiter
from exporter.adapters.web.fair_queue import client_of
from exporter.adapters.web.stream import SendThreads, Stream
from exporter.adapters.web.tls import TlsServer, server_context

# Of the descriptors that the process may have; the others are for the cloud, the store and the log.
_SHARE_OF_DESCRIPTORS = 0.5
# However many descriptors there are: an idle connection under TLS takes some 50 kB.
_MOST_CONNECTIONS = 1000
# When descriptors have run out all the same, how long until the next connection is accepted.
_PAUSE_SECONDS = 0.1
# What `stop` leaves to requests under way, of the second that it may take.
_GRACE_SECONDS = 0.5
# What it waits for those that were cut off.
_CUT_SECONDS = 0.4
# Threads beyond those that make answers: those that send, and one each for a password, a reload, and files.
_OTHER_THREADS = 3 + SendThreads.MOST
# Connections that wait to be accepted: more than any number of scrapers opens at once.
_BACKLOG = 128
# A certificate is renewed days before the old one ends, but a password that was taken back should end soon.
LOOK_SECONDS = 5.0


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
        look: called now and then, never in the thread that serves, to see whether files have changed.
        look_seconds: how often.
        deadlines: for clients.
        on_error: told of a failure in a request that is not the client's, with where it happened.

    Raises:
        ValueError: an address that is none, or what `configure` raises.

    """

    def __init__(
        self,
        listen: Sequence[str],
        app: WebApp[Any],
        web_config: WebConfig | None = None,
        look: Callable[[], None] | None = None,
        look_seconds: float = LOOK_SECONDS,
        deadlines: Deadlines | None = None,
        on_error: Callable[[str], None] = lambda text: print(text, file=sys.stderr),  # noqa: T201
    ) -> None:
        self._app = app
        self._listen = list(listen)
        self._addresses = [_parsed(address) for address in listen]
        self._sockets: list[socket.socket] = []
        self._context: ssl.SSLContext | None = None
        self._look = look
        self._look_seconds = look_seconds
        self._deadlines = deadlines or Deadlines()
        self._on_error = on_error
        self._limiter = ConnectionLimiter(_most_connections(), app.most_at_once)
        self._send_threads = SendThreads()
        self._stopping = asyncio.Event()
        self._thread: threading.Thread | None = None
        if web_config is not None:
            self.configure(web_config)

    @property
    def addresses(self) -> list[str]:
        """Where it listens, with the ports that were chosen for 0."""
        return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self._addresses]

    def configure(self, web_config: WebConfig) -> None:
        """Go on with this file's users, headers and certificate; connections that are open keep theirs.

        Raises:
            OSError: a file cannot be used, and nothing has changed.
            ValueError: a value is not known, and nothing has changed.

        """
        context = server_context(web_config.tls) if web_config.tls else None
        self._app.configure(web_config.users, web_config.headers)
        self._context = context

    def start(self) -> None:
        """Listen, and serve from a thread of its own until `stop`.

        Raises:
            OSError: an address cannot be had, and none is listened at; one sentence.

        """
        for place, given in enumerate(self._listen):
            try:
                listening = _listening(*self._addresses[place])
            except OSError as error:
                for other in self._sockets:
                    other.close()
                raise OSError(f"cannot listen on {given}: {_reason(error)}") from error
            self._sockets.append(listening)
            self._addresses[place] = listening.getsockname()[:2]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; give requests under way half a second, then cut them off."""
        if self._thread is not None and self._thread.is_alive():
            with suppress(RuntimeError):  # it has just ended
                self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join(_GRACE_SECONDS + 2 * _CUT_SECONDS)

    def _run(self) -> None:
        threads = ThreadPoolExecutor(self._app.most_at_once + _OTHER_THREADS, thread_name_prefix="web")
        self._loop.set_default_executor(threads)
        self._loop.set_exception_handler(lambda _, context: self._on_error(str(context)))
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            self._loop.close()

    async def _serve(self) -> None:
        for listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)
        looking = asyncio.create_task(self._keep_looking())
        await self._stopping.wait()
        looking.cancel()
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        self._limiter.drop_waiting()
        for seconds in (_GRACE_SECONDS, _CUT_SECONDS):
            if self._limiter.open:
                await asyncio.wait(self._limiter.open, timeout=seconds)
            self._limiter.drop_all()

    async def _keep_looking(self) -> None:
        while self._look is not None:
            await asyncio.sleep(self._look_seconds)
            try:
                await asyncio.to_thread(self._look)
            except Exception:  # noqa: BLE001 - a bug of ours, which does not end the looking
                self._on_error(format_exc())

    def _accept(self, listening: socket.socket) -> None:
        try:
            accepted, (address, *_) = listening.accept()
        except (BlockingIOError, ConnectionError):
            return  # gone before we came to it
        except OSError:
            # The others have left us no descriptor. The client waits, and so do we, lest we ask without end.
            self._limiter.make_room()
            self._loop.remove_reader(listening)
            self._loop.call_later(_PAUSE_SECONDS, self._accept_again, listening)
            return
        if not self._limiter.admit():
            accepted.close()
            return
        try:
            stream = Stream(accepted, self._context, self._send_threads)
        except OSError:
            accepted.close()
            return
        connection = Connection(
            stream, self._app, self._limiter, self._deadlines, self._on_error, client_of(address)
        )
        task = self._loop.create_task(connection.run())
        task.add_done_callback(lambda _: stream.close())
        self._limiter.enter(task)

    def _accept_again(self, listening: socket.socket) -> None:
        if not self._stopping.is_set():
            self._loop.add_reader(listening, self._accept, listening)


def _most_connections() -> int:
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return _MOST_CONNECTIONS
    return min(_MOST_CONNECTIONS, int(descriptors * _SHARE_OF_DESCRIPTORS))


def _reason(error: OSError) -> str:
    """Without the address, which `socket.create_server` adds to the system's words."""
    known = isinstance(error, socket.gaierror) or error.errno is None
    return (str(error.strerror or error) if known else os.strerror(error.errno or 0)).lower()


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the first of the host's addresses that can be had. Raises OSError."""
    failure: OSError | None = None
    for family, _, _, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        both = family == socket.AF_INET6 and host == "::"
        try:
            listening = socket.create_server(where, family=family, backlog=_BACKLOG, dualstack_ipv6=both)
        except OSError as error:
            failure = failure or error
        else:
            listening.setblocking(False)
            return listening
    raise failure or OSError(f"{host} has no address")


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
