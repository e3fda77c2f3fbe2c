"""The emulated cloud on a socket: HTTP/1.1 with keep-alive, one thread a connection."""

import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from exporter.emulator import gateway
from exporter.emulator.answers import Answer, Request
from exporter.emulator.cloud import Cloud

# An idle client must not hold a thread for ever; longer than any client's pause between polls in a test.
IDLE_SECONDS = 120


class Server:
    """Serves a cloud on `address` (host, port; port 0 takes a free one) from `start` to `stop`.

    Also a context manager. ModelArts and IAM answer on the same address: `url` and `url/v3`.
    """

    def __init__(self, cloud: Cloud, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.cloud = cloud
        self._http = _HTTPServer(address, cloud)
        self._thread: Thread | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> Self:
        """Answer from now on, in threads of its own."""
        # shutdown() waits for a poll interval; the default of half a second would slow every test.
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close the socket and every connection; slow answers still waiting are given up."""
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


class _HTTPServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # connections are closed by hand, else an idle client delays the stop
    request_queue_size = 128  # of one exporter with many fetchers, all at once

    def __init__(self, address: tuple[str, int], cloud: Cloud) -> None:
        self.cloud = cloud
        self.stopping = Event()
        self.connections: set[Any] = set()
        self.guard = Lock()
        self.served = 0
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is its own business; anything else is a bug and shows."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def close_connections(self) -> None:
        """End every conversation; the threads that hold them end by that."""
        with self.guard:
            for connection in self.connections:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True  # head and body are two writes; else each answer waits 40 ms
    server: _HTTPServer

    def setup(self) -> None:
        super().setup()
        with self.server.guard:
            self.server.connections.add(self.connection)

    def finish(self) -> None:
        with self.server.guard:
            self.server.connections.discard(self.connection)
        super().finish()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(
            method=self.command,
            path=url.path,
            query=url.query,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
        )
        answer = gateway.answer(self.server.cloud, request)
        if answer.delay:
            self.server.stopping.wait(answer.delay)
        self._send(answer)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - names that the base class looks for

    def _send(self, answer: Answer) -> None:
        if answer.sending == "nothing":
            self.close_connection = True
            return
        with self.server.guard:
            self.server.served += 1
            request_id = f"{self.server.served:032x}"
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("X-Request-Id", request_id)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if answer.sending == "cut":
            self.close_connection = True
            self.wfile.write(answer.body[: len(answer.body) // 2])
        else:
            self.wfile.write(answer.body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date header tells the cloud's time, not the machine's."""
        seconds = self.server.cloud.clock() / 1000 if timestamp is None else timestamp
        return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)

    def version_string(self) -> str:
        return "api-gateway"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Quiet: `Cloud.requests` is the log."""
