"""Serves an emulated or replayed cloud over HTTP/1.1 with keep-alive, a thread for each connection."""

import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from exporter.emulator import gateway
from exporter.emulator.cloud import Cloud
from exporter.emulator.http_messages import Request, Response

# So that an idle client does not hold a thread forever; no test pauses that long between two polls.
IDLE_SECONDS = 120


class HandlerServer:
    """Serves on `address` (host, port; port 0 takes a free one) from `start` to `stop`.

    Also a context manager. ModelArts and IAM are at the same address: ModelArts at `url`, IAM at `url/v3`.

    Args:
        handle: makes the responses; threads call it at the same time.
        clock: the cloud's time in ms since the epoch, for the Date header.
        address: where to listen.

    """

    def __init__(
        self, handle: Callable[[Request], Response], clock: Callable[[], int], address: tuple[str, int]
    ) -> None:
        self._http = _HTTPServer(address, handle, clock)
        self._thread: Thread | None = None

    @property
    def url(self) -> str:
        """Its base URL, without a slash at the end."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> Self:
        """Response from now on, in threads of its own."""
        # shutdown() waits for a poll interval; the default of half a second would slow every test.
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the socket and every connection; delayed responses that still wait are not sent."""
        self._http.stopping.set()
        if self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._thread = None
        self._http.server_close()
        self._http.close_connections()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Server(HandlerServer):
    """Serves an emulated cloud."""

    def __init__(self, cloud: Cloud, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.cloud = cloud
        super().__init__(partial(gateway.handle, cloud), cloud.clock, address)


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # close_connections() does that; else an idle client would delay the stop
    request_queue_size = 128  # an exporter with many threads may connect with all of them at once

    def __init__(
        self, address: tuple[str, int], handle: Callable[[Request], Response], clock: Callable[[], int]
    ) -> None:
        self.handle, self.clock = handle, clock
        self.stopping = Event()
        self.connections: set[Any] = set()
        self.guard = Lock()
        self.served = 0
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnects early; print any other error, which is a bug."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        """Close every connection, which also ends its thread."""
        with self.guard:
            for connection in self.connections:
                with suppress(OSError):  # the client closed it first
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True  # headers and body are two writes; else each response waits 40 ms
    server: _HTTPServer

    def setup(self) -> None:
        super().setup()
        with self.server.guard:
            self.server.connections.add(self.connection)

    def finish(self) -> None:
        with self.server.guard:
            self.server.connections.discard(self.connection)
        super().finish()

    def _handle(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(
            method=self.command,
            path=url.path,
            query=url.query,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
        )
        response = self.server.handle(request)
        if response.delay:
            self.server.stopping.wait(response.delay)
        self._send(response)

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - names that the base class looks for

    def _send(self, response: Response) -> None:
        if response.sending == "nothing":
            self.close_connection = True
            return
        with self.server.guard:
            self.server.served += 1
            request_id = f"{self.server.served:032x}"
        self.send_response_only(response.status)
        self.send_header("Server", self.version_string())
        for name, value in {"Date": self.date_time_string(), **response.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.send_header("X-Request-Id", request_id)
        self.end_headers()
        if response.sending == "cut":
            self.close_connection = True
            self.wfile.write(response.body[: len(response.body) // 2])
        else:
            self.wfile.write(response.body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header has the time of the cloud, not of this machine."""
        return http_date(self.server.clock() / 1000 if timestamp is None else timestamp)

    def version_string(self) -> str:
        return "api-gateway"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Print nothing: `Cloud.requests` is the log."""


def http_date(seconds: float) -> str:
    """An instant as a Date header has it."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)
