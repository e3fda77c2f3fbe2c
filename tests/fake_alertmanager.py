"""An Alertmanager on loopback that accepts and refuses alerts as the API v2 of the real one does.

What it refuses, and with which status, was tried on versions 0.25 and 0.33; what it makes of an end in its
future, on 0.25.
"""

import json
import re
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

Labels = frozenset[tuple[str, str]]

_FILTER = re.compile(r'(\w+)="(.*)"')
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_LONGEST_HANG_SECONDS = 30


class Held(NamedTuple):
    """An alert as it was last received; times in ms."""

    annotations: dict[str, str]
    starts_at: int
    ends_at: int
    page: str

    def firing(self, now: int) -> bool:
        return now < self.ends_at


class Seen(NamedTuple):
    """One request, and the status of the response."""

    status: int
    labels: list[dict[str, Any]]
    headers: dict[str, str]


class FakeAlertmanager:
    """A context manager; `alerts` are those that it has, `seen` the requests so far.

    Args:
        certificate: a PEM file with certificate and key; None: no TLS.
        authorization: the required Authorization header; None: none is required.

    `empty` counts the posts without an alert that it took; they are not in `seen`. `clock` is its own (ms);
    None: it sends no date, and judges nothing by it. `lists` says whether it lets its alerts be listed;
    `listing_fault` is the status of the responses to those who try.
    `bad` has the `service_id`s of alerts to refuse. `faults` are the responses to the next requests: a
    status, "close" (no response), or "hang" (no response until it is stopped).

    """

    def __init__(self, certificate: Path | None = None, authorization: str | None = None) -> None:
        self.authorization = authorization
        self.alerts: dict[Labels, Held] = {}
        self.seen: list[Seen] = []
        self.empty = 0
        self.clock: Callable[[], int] | None = None
        self.lists = True
        self.listing_fault: int | None = None
        self.bad: set[str] = set()
        self.faults: list[int | str] = []
        self.ended = threading.Event()
        self._scheme = "http"
        self._http = _Server(("127.0.0.1", 0), self)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        """Its URL, with a path prefix as behind a proxy."""
        return f"{self._scheme}://127.0.0.1:{self._http.server_address[1]}/prefix"

    @property
    def names(self) -> list[str]:
        """The `service_id`s of its alerts."""
        return sorted(dict(labels).get("service_id", "") for labels in self.alerts)

    def restart(self) -> None:
        """Lose all alerts, as a restart does."""
        self.alerts.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str]:
        """Status and body of the response to one POST."""
        labels: list[dict[str, Any]] = []
        status, text = self._answer(path, headers, body, labels)
        if status == 200 and not labels:
            self.empty += 1
        else:
            self.seen.append(Seen(status, labels, headers))
        return status, text

    def listed(self, path: str, headers: dict[str, str]) -> tuple[int, str]:
        """Status and body of the response to one GET: the alerts that fire and pass every filter."""
        if self.listing_fault is not None:
            return self.listing_fault, "fault"
        if self.authorization not in (None, headers.get("authorization")) or not self.lists:
            return 403, "Forbidden"
        asked = urlsplit(path)
        assert asked.path == "/prefix/api/v2/alerts"
        filters = [_FILTER.fullmatch(text) for text in parse_qs(asked.query)["filter"]]
        wanted = {found.groups() for found in filters if found is not None}
        now = self.clock() if self.clock else 0
        firing = [
            dict(labels) for labels, held in self.alerts.items() if held.firing(now) and wanted <= labels
        ]
        return 200, json.dumps([{"labels": labels, "status": {"state": "active"}} for labels in firing])

    def _answer(
        self, path: str, headers: dict[str, str], body: bytes, labels: list[dict[str, Any]]
    ) -> tuple[int, str]:
        if path != "/prefix/api/v2/alerts":
            return 404, "404 page not found"
        if self.authorization not in (None, headers.get("authorization")):
            return 401, "Unauthorized"
        if headers.get("content-type") != "application/json":
            return 415, '{"code":415,"message":"unsupported media type"}'
        alerts = json.loads(body)
        labels += [alert.get("labels", {}) for alert in alerts]
        if not all(_is_uri(alert.get("generatorURL", "http://x/")) for alert in alerts):
            return 422, '{"code":606,"message":"generatorURL must be of type uri"}'
        bad = [problem for alert in alerts if (problem := self._take(alert))]
        return (400, json.dumps("; ".join(bad))) if bad else (200, "")

    def _take(self, alert: dict[str, Any]) -> str:
        """What is wrong with an alert; "" if it was accepted."""
        labels, annotations = alert.get("labels", {}), alert.get("annotations", {})
        pairs = [*labels.items(), *annotations.items()]
        if not any(labels.values()):
            return "at least one label pair required"
        if not all(_NAME.fullmatch(name) and isinstance(value, str) for name, value in pairs):
            return "invalid label set"
        if labels.get("service_id") in self.bad:
            return "this one is bad"
        try:
            starts_at, ends_at = (_time(alert[key]) for key in ("startsAt", "endsAt"))
        except ValueError:
            return "invalid time"
        if ends_at < starts_at:
            return "start time must be before end time"
        known = frozenset((name, value) for name, value in labels.items() if value)
        before = self.alerts.get(known)
        if self.clock and before and before.ends_at > ends_at > self.clock():
            ends_at = before.ends_at  # what is no end yet shortens no lease
        self.alerts[known] = Held(annotations, starts_at, ends_at, alert["generatorURL"])
        return ""


def _is_uri(text: str) -> bool:
    url = urlsplit(text)
    return bool(url.scheme and url.netloc)


def _time(text: str) -> int:
    time = datetime.fromisoformat(text)
    assert time.tzinfo is not None, "without a zone it is no RFC 3339"
    return round(time.timestamp() * 1000)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a connection that hangs on purpose is not waited for

    def __init__(self, address: tuple[str, int], owner: FakeAlertmanager) -> None:
        self.owner = owner
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnects or does not trust the certificate."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _LONGEST_HANG_SECONDS
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._respond(*self.server.owner.listed(self.path, headers))

    def do_POST(self) -> None:
        owner = self.server.owner
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers["content-length"]))
        fault = owner.faults.pop(0) if owner.faults else None
        if fault == "hang":
            owner.ended.wait(_LONGEST_HANG_SECONDS)
        if fault in ("hang", "close"):
            self.close_connection = True
            return
        status, text = (fault, "fault") if isinstance(fault, int) else owner.answer(self.path, headers, body)
        if isinstance(fault, int):
            owner.seen.append(Seen(fault, [], headers))
        self._respond(status, text)

    def _respond(self, status: int, text: str) -> None:
        clock = self.server.owner.clock
        with suppress(ConnectionError):
            self.send_response_only(status)
            if clock is not None:
                self.send_header("Date", format_datetime(datetime.fromtimestamp(clock() / 1000, UTC), True))
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Print nothing: `seen` is the log."""
