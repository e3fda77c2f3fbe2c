"""The HTTP side, asked over real connections on 127.0.0.1."""

import asyncio
import base64
import gzip
import http.client
import queue
import select
import shutil
import socket
import ssl
import subprocess
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import bcrypt
import pytest
import requests

from exporter.adapters.web.accept import gzip_wanted, openmetrics_wanted
from exporter.adapters.web.app import WebApp
from exporter.adapters.web.connection import Deadlines
from exporter.adapters.web.fair_queue import client_of
from exporter.adapters.web.message import Request, Response
from exporter.adapters.web.server import WebServer
from exporter.adapters.web.tls import TlsServer
from exporter.config.web import WebConfig, WebConfigWatch
from tests.page_examples import Fleet, Shown

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
# As Prometheus 2.53 and 3 send it.
ACCEPT_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
ACCEPT_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
WAIT = 20  # seconds until a test gives up on something that takes milliseconds


class Page:
    """A page that says how it was asked for."""

    def __init__(self, size: int = 100) -> None:
        self.text = b"x" * size

    def body(self, *, openmetrics: bool, gzip: bool, tail: bytes) -> list[bytes]:
        text = self.text + (b"openmetrics " if openmetrics else b"text ") + tail
        return [zipped(text)] if gzip else [text[:50], text[50:]]


def zipped(text: bytes) -> bytes:
    return gzip.compress(text)


class Tls(NamedTuple):
    cert_file: str
    key_file: str
    client_ca_file: str | None = None
    client_auth_type: str | None = None
    min_version: str | None = None
    max_version: str | None = None


class Config(NamedTuple):
    tls: TlsServer | None = None
    headers: Mapping[str, str] = {}
    users: Mapping[str, str] = {}


class World:
    """What the application asks, and what it was told."""

    def __init__(self) -> None:
        self.page = Page()
        self.scraped: list[Page] = []
        self.told = threading.Event()
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.healthy = (True, "ok")
        self.ready = (False, "project prod has not been listed yet")
        self.reloaded = (True, "reloaded")
        self.fleet = Fleet()
        self.fleet.project("prod")

    def snapshot(self) -> Shown:
        self.entered.set()
        assert self.go_on.wait(WAIT)
        return self.fleet.snapshot()._replace(page=self.page)

    def on_scraped(self, page: Page) -> None:
        self.scraped.append(page)
        self.told.set()

    def app(self, **other: Any) -> WebApp[Page]:
        arguments: dict[str, Any] = {
            "on_scraped": self.on_scraped,
            "render_self_metrics": lambda openmetrics: (
                b"own in openmetrics" if openmetrics else b"own in text"
            ),
            "healthy": lambda: self.healthy,
            "ready": lambda: self.ready,
            "reload": lambda: self.reloaded,
            **self.fleet.doors(),
            "snapshot": self.snapshot,
            "version": "1.2.3",
            "max_requests": 2,
        }
        return WebApp(**{**arguments, **other})


@pytest.fixture
def world() -> World:
    return World()


@contextmanager
def serving(
    app: WebApp[Page], config: Config | WebConfig | None = None, **other: Any
) -> Iterator[tuple[WebServer, str]]:
    """The server and its base URL."""
    errors: list[str] = []
    server = WebServer(["127.0.0.1:0"], app, config, on_error=errors.append, **other)
    server.start()
    try:
        yield server, f"{'https' if config and config.tls else 'http'}://{server.addresses[0]}"
    finally:
        server.stop()
    assert errors == []


@pytest.fixture
def url(world: World) -> Iterator[str]:
    with serving(world.app()) as (_, base):
        yield base


def get(address: str, accept: str = "*/*", encoding: str = "identity", **other: Any) -> requests.Response:
    headers = {"Accept": accept, "Accept-Encoding": encoding}
    return requests.get(address, headers=headers, timeout=WAIT, **other)


def raw(base: str, sent: bytes) -> bytes:
    """What a socket answers to these bytes until it ends."""
    host, port = base.split("//")[1].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=WAIT) as client:
        client.sendall(sent)
        answer = b""
        while part := client.recv(65536):
            answer += part
        return answer


# -- what is sent


@pytest.mark.parametrize("accept", [ACCEPT_2, ACCEPT_3])
def test_prometheus_gets_openmetrics(url: str, accept: str) -> None:
    answer = get(f"{url}/metrics", accept)
    assert answer.headers["Content-Type"] == OPENMETRICS
    assert answer.content == b"x" * 100 + b"openmetrics own in openmetrics"


def test_a_browser_gets_the_text_format(url: str) -> None:
    answer = get(f"{url}/metrics", "text/html,application/xhtml+xml,*/*;q=0.8")
    assert answer.headers["Content-Type"] == TEXT
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    assert answer.headers["Content-Length"] == "116"
    assert "Content-Encoding" not in answer.headers
    assert answer.content == b"x" * 100 + b"text own in text"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/openmetrics-text", True),
        ("Application/OpenMetrics-Text; Version=1.0.0", True),
        ('application/openmetrics-text; version="1.0.0"', True),
        ("application/openmetrics-text; version=0.0.1", False),
        ("application/openmetrics-text; version=2.0.0", False),
        ("application/openmetrics-text; q=0", False),
        ("application/openmetrics-text; q=0, */*", False),
        ("application/openmetrics-text; q=0.3, text/plain; q=0.5", False),
        ("application/openmetrics-text; q=0.5, text/plain; q=0.3", True),
        ("text/plain; q=0.3, application/openmetrics-text; q=0.5", True),
        ("text/plain, application/openmetrics-text", False),
        ("application/openmetrics-text, text/plain", True),
        ("application/openmetrics-text; q=x, text/plain; q=0.1", False),
        (",;, application/openmetrics-text;;", True),
    ],
)
def test_accept_decides_by_quality_then_by_order(accept: str, *, wanted: bool) -> None:
    assert openmetrics_wanted(accept) is wanted


@pytest.mark.parametrize(
    ("encoding", "wanted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("gzip, deflate, br", True),
        ("deflate", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzip;q=0, *", False),
        ("*", True),
        ("*;q=0", False),
        ("identity, gzip;q=0.1", True),
        ("identity", False),
    ],
)
def test_gzip_is_sent_where_it_is_allowed(encoding: str, *, wanted: bool) -> None:
    assert gzip_wanted(encoding) is wanted


def by_requests(address: str, folder: Path) -> bytes:
    del folder
    return get(address, encoding="gzip").content


def by_zlib(address: str, folder: Path) -> bytes:
    del folder
    answer = get(address, encoding="gzip", stream=True)
    assert answer.headers["Content-Encoding"] == "gzip"
    return zlib.decompress(answer.raw.read(), wbits=16 + zlib.MAX_WBITS)


def by_curl(address: str, folder: Path) -> bytes:
    command = ["curl", "--silent", "--fail", "--compressed", "--output", str(folder / "got"), address]
    subprocess.run(command, check=True)
    return (folder / "got").read_bytes()


# curl is not on every machine, and asks in its own way where it is.
CLIENTS = [by_requests, by_zlib, *([by_curl] if shutil.which("curl") else [])]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_reads_a_gzip_scrape(
    client: Callable[[str, Path], bytes], url: str, tmp_path: Path
) -> None:
    assert client(f"{url}/metrics", tmp_path) == b"x" * 100 + b"text own in text"


def test_a_large_page_arrives_whole_in_many_pieces(world: World, url: str) -> None:
    world.page = Page(5_000_000)
    answer = get(f"{url}/metrics")
    assert answer.content == b"x" * 5_000_000 + b"text own in text"
    assert answer.headers["Content-Length"] == str(len(answer.content))


def test_head_tells_what_get_would_send(url: str) -> None:
    asked = {"headers": {"Accept-Encoding": "identity"}, "timeout": WAIT}
    head, whole = requests.head(f"{url}/metrics", **asked), requests.get(f"{url}/metrics", **asked)  # type: ignore[arg-type]
    assert head.content == b""
    for answer in (head, whole):
        answer.headers.pop("Date")
    assert head.headers == whole.headers


# -- who was told


def test_a_whole_scrape_is_told_with_its_page(world: World, url: str) -> None:
    get(f"{url}/metrics")
    assert world.told.wait(WAIT)
    assert world.scraped == [world.page]


def test_a_head_is_no_scrape(world: World, url: str) -> None:
    requests.head(f"{url}/metrics", timeout=WAIT)
    get(f"{url}/metrics")
    assert world.told.wait(WAIT)
    assert len(world.scraped) == 1


def test_a_scrape_that_the_client_never_took_in_is_not_told_and_stop_does_not_wait_for_it(
    world: World,
) -> None:
    world.page = Page(50_000_000)  # more than the buffers between two sockets hold
    with serving(world.app()) as (server, base):
        host, port = base.split("//")[1].rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=WAIT) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(100)
            server.stop()
            workers = [thread for thread in threading.enumerate() if thread.name.startswith("web")]
            for worker in workers:
                worker.join(5)  # left alone, it would wait ten seconds for the client
            assert not any(worker.is_alive() for worker in workers)
    assert world.scraped == []


def test_a_scrape_that_the_client_gives_up_halfway_is_not_told_though_it_fits_into_the_buffers(
    world: World, url: str
) -> None:
    given_up, taken = Page(20_000), Page(100)
    world.page = given_up
    host, port = url.split("//")[1].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=WAIT) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(10)
    world.page = taken
    get(f"{url}/metrics")
    assert world.told.wait(WAIT)
    assert world.scraped == [taken]


def test_a_scrape_that_waits_in_our_buffers_is_not_told(world: World) -> None:
    world.page = Page(60_000)
    deadlines = Deadlines(delivered=0.01, answer=0.3)
    with serving(world.app(), deadlines=deadlines) as (server, _), socket.socket() as client:
        host, port = server.addresses[0].rsplit(":", 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(WAIT)
        client.connect((host, int(port)))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        poll = select.poll()
        poll.register(client, 0)  # an end is always told
        assert poll.poll(WAIT * 1000)
    assert world.scraped == []


def test_a_scrape_over_a_kept_connection_is_told_by_the_next_request(world: World, url: str) -> None:
    with requests.Session() as session:
        session.get(f"{url}/metrics", timeout=WAIT)
        session.get(f"{url}/-/healthy", timeout=WAIT)
        assert world.scraped == [world.page]


def test_a_scrape_over_a_connection_that_stays_open_is_told_after_a_while(world: World) -> None:
    with serving(world.app(), deadlines=Deadlines(delivered=0.1)) as (_, base), requests.Session() as session:
        session.get(f"{base}/metrics", timeout=WAIT)
        assert world.told.wait(WAIT)
        assert world.scraped == [world.page]


def test_a_scrape_by_the_oldest_version_of_http_is_told(world: World, url: str) -> None:
    assert raw(url, b"GET /metrics HTTP/1.0\r\n\r\n").endswith(b"own in text")
    assert world.told.wait(WAIT)
    assert world.scraped == [world.page]


# -- the protocol


def test_a_whole_url_is_a_path(url: str) -> None:
    for target in (
        b"http://elsewhere/-/healthy",
        b"HTTP://elsewhere:80/-/healthy?x=http://y",
        b"/%2D/healthy",
    ):
        answer = raw(url, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
    for target in (b"http://elsewhere", b"http://elsewhere?x"):
        answer = raw(url, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"Content-Type: text/html" in answer
    assert raw(url, b"GET http://[x HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert raw(url, b"GET * HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 404 ")


def test_requests_sent_at_once_are_answered_in_their_order(url: str) -> None:
    paths = [b"/-/healthy", b"/-/ready", b"/nothing", b"/-/healthy"]
    asked = b"".join(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n" for path in paths)
    answer = raw(url, asked + b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    parts = answer.split(b"HTTP/1.1 ")[1:]
    assert [part[:3] for part in parts] == [b"200", b"503", b"404", b"200", b"200"]
    assert parts[-1].endswith(b"\r\n\r\n")


def test_a_client_that_waits_with_its_body_is_told_to_go_on(url: str) -> None:
    host, port = url.split("//")[1].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=WAIT) as client:
        client.sendall(
            b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(b"{}")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_body_without_an_end_is_refused(url: str) -> None:
    head = b"POST /-/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(url, head + (b"8000\r\n" + b"a" * 0x8000 + b"\r\n") * 3)
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b"Connection: close" in answer


# -- routes


def test_health_and_readiness_answer_with_their_reason(world: World, url: str) -> None:
    healthy, ready = get(f"{url}/-/healthy"), get(f"{url}/-/ready")
    assert (healthy.status_code, healthy.text) == (200, "ok\n")
    assert (ready.status_code, ready.text) == (503, "project prod has not been listed yet\n")
    world.healthy, world.ready = (False, "the poll loop stands still"), (True, "ready")
    healthy, ready = get(f"{url}/-/healthy"), get(f"{url}/-/ready")
    assert (healthy.status_code, healthy.text) == (503, "the poll loop stands still\n")
    assert (ready.status_code, ready.text) == (200, "ready\n")


def test_reload_answers_with_its_outcome(world: World, url: str) -> None:
    answer = requests.post(f"{url}/-/reload", timeout=WAIT)
    assert (answer.status_code, answer.text) == (200, "reloaded\n")
    world.reloaded = (False, "config.yml:3: poll.interval: must be above 0")
    answer = requests.post(f"{url}/-/reload", timeout=WAIT)
    assert (answer.status_code, answer.text) == (500, "config.yml:3: poll.interval: must be above 0\n")


def test_reload_is_forbidden_unless_enabled(world: World) -> None:
    with serving(world.app(reload=None)) as (_, base):
        answer = requests.post(f"{base}/-/reload", timeout=WAIT)
        assert answer.status_code == 403
        assert "--web.enable-lifecycle" in answer.text


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/metrics/", "/-/", "/style.css/..", "/%2e%2e/etc/passwd", "/services", "/services/a/b"],
)
def test_unknown_paths_are_not_found(url: str, path: str) -> None:
    assert raw(url, f"GET {path} HTTP/1.0\r\n\r\n".encode()).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
@pytest.mark.parametrize(
    "path", ["/", "/metrics", "/-/healthy", "/services/x", "/api/v1/services", "/api/v1/services/x"]
)
def test_other_methods_are_not_allowed(url: str, method: str, path: str) -> None:
    answer = requests.request(method, f"{url}{path}", timeout=WAIT)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/v1/services", 405),
        ("DELETE", "/api/v1/services/x", 405),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/api/v1/services/x", 404),
        ("GET", "/api/v1/services?page=many", 400),
    ],
)
def test_errors_of_the_api_are_json(url: str, method: str, path: str, status: int) -> None:
    answer = requests.request(method, f"{url}{path}", timeout=WAIT)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/json")
    assert list(answer.json()) == ["error"]


def test_a_failure_of_ours_and_a_refused_user_are_json_in_the_api_too(world: World) -> None:
    errors: list[str] = []
    world.fleet.now = None  # type: ignore[assignment]
    server = WebServer(["127.0.0.1:0"], world.app(), on_error=errors.append)
    server.start()
    try:
        for status in (500, 401):
            answer = get(f"http://{server.addresses[0]}/api/v1/services")
            assert (answer.status_code, list(answer.json())) == (status, ["error"])
            server.configure(Config(users=USERS))
    finally:
        server.stop()
    assert len(errors) == 1


def test_reload_by_get_is_not_allowed(url: str) -> None:
    answer = get(f"{url}/-/reload")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_the_metrics_can_be_elsewhere_even_at_the_root(world: World) -> None:
    with serving(world.app(telemetry_path="/probe")) as (_, base):
        assert get(f"{base}/probe").headers["Content-Type"] == TEXT
        assert get(f"{base}/metrics").status_code == 404
        assert 'href="probe"' in get(f"{base}/").text
    with serving(world.app(telemetry_path="/")) as (_, base):
        assert get(f"{base}/").headers["Content-Type"] == TEXT


def test_the_style_sheet_is_our_own(url: str) -> None:
    answer = get(f"{url}/style.css")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert "url(" not in answer.text
    assert "@import" not in answer.text


@pytest.mark.parametrize("path", ["/", "/metrics", "/nothing", "/-/ready", "/services/x", "/api/v1/services"])
def test_every_answer_carries_the_safety_headers(url: str, path: str) -> None:
    headers = get(f"{url}{path}").headers
    assert "default-src 'none'; style-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


# -- limits


def test_one_scrape_too_many_is_refused_and_everything_else_still_answers(world: World) -> None:
    with serving(world.app(max_requests=1)) as (_, base):
        world.go_on.clear()
        answers: list[int] = []
        first = threading.Thread(target=lambda: answers.append(get(f"{base}/metrics").status_code))
        first.start()
        try:
            assert world.entered.wait(WAIT)
            refused = get(f"{base}/metrics")
            assert (refused.status_code, refused.text) == (
                503,
                "1 scrapes are under way already, try later\n",
            )
            assert get(f"{base}/-/healthy").status_code == 200
        finally:
            world.go_on.set()
            first.join()
        assert answers == [200]
        assert world.told.wait(WAIT)
        for _ in range(3):  # the place was given back each time
            assert requests.head(f"{base}/metrics", timeout=WAIT).status_code == 200


def from_address(base: str, address: str, method: str, path: str) -> int:
    """The status of the answer to a client at this address of loopback."""
    host, port = base.split("//")[1].rsplit(":", 1)
    with closing(http.client.HTTPConnection(host, int(port), WAIT, (address, 0))) as connection:
        connection.request(method, path)
        return connection.getresponse().status


def test_who_asks_for_many_pages_keeps_nobody_else_from_one_or_from_a_reload(world: World) -> None:
    world.go_on.clear()
    answers: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()

    def ask(address: str) -> None:
        answers.put((address, from_address(base, address, "GET", "/")))

    with serving(world.app()) as (_, base):
        many = [threading.Thread(target=ask, args=("127.0.0.2",)) for _ in range(30)]
        another = threading.Thread(target=ask, args=("127.0.0.1",))
        for thread in many:
            thread.start()
        try:
            # Eight are made, sixteen wait.
            assert [answers.get(timeout=WAIT) for _ in range(6)] == [("127.0.0.2", 503)] * 6
            another.start()
            assert answers.get(timeout=WAIT) == ("127.0.0.2", 503)  # it has made room
            assert from_address(base, "127.0.0.1", "POST", "/-/reload") == 200
        finally:
            world.go_on.set()
            for thread in (*many, another):
                thread.join()
        assert sorted(answers.get() for _ in range(24)) == [("127.0.0.1", 200)] + [("127.0.0.2", 200)] * 23


def test_many_scrapes_at_once_all_get_the_whole_page(world: World) -> None:
    world.page = Page(1_000_000)
    with serving(world.app(max_requests=16)) as (_, base):
        sizes: list[int] = []
        threads = [
            threading.Thread(target=lambda: sizes.append(len(get(f"{base}/metrics").content)))
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sizes == [1_000_016] * 16


def test_a_place_is_given_back_when_a_page_cannot_be_made(world: World) -> None:
    def broken() -> Shown:
        raise RuntimeError("no page")

    app = world.app(snapshot=broken, max_requests=1)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            asyncio.run(app.answer(Request("GET", "/metrics")))


def test_a_failure_of_ours_is_reported_with_its_place(world: World) -> None:
    errors: list[str] = []

    def broken() -> Shown:
        raise RuntimeError("no page today")

    server = WebServer(["127.0.0.1:0"], world.app(snapshot=broken), on_error=errors.append)
    server.start()
    try:
        assert get(f"http://{server.addresses[0]}/metrics").status_code == 500
    finally:
        server.stop()
    assert len(errors) == 1
    assert "no page today" in errors[0]
    assert "in broken" in errors[0]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", b"431"),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: a\r\n" * 10_000 + b"\r\n", b"431"),
        (b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"413"),
        (b"nonsense\r\n\r\n", b"400"),
    ],
)
def test_oversized_and_broken_heads_are_refused(url: str, head: bytes, status: bytes) -> None:
    assert raw(url, head).split()[1] == status


def test_who_is_refused_may_end_what_it_was_sending(url: str) -> None:
    host, port = url.split("//")[1].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=WAIT) as client:
        client.sendall(b"GET /" + b"a" * 40_000)
        assert client.recv(1000).startswith(b"HTTP/1.1 414 ")
        client.sendall(b"a" * 5_000_000)


# -- users


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


USERS = {"prometheus": hashed("s3cret"), "jürgen": hashed("päss:wörd"), "long": hashed("a" * 72)}


PATHS = [
    *["/metrics", "/", "/-/healthy", "/-/ready", "/nothing", "/style.css", "/services/x"],
    *["/api/v1/services", "/api/v1/services/x"],
]


@pytest.mark.parametrize("path", PATHS)
def test_every_path_asks_for_a_user(world: World, path: str) -> None:
    with serving(world.app(), Config(users=USERS)) as (_, base):
        answer = get(f"{base}{path}")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
        assert requests.post(f"{base}/-/reload", timeout=WAIT).status_code == 401
        assert not world.entered.is_set()
        assert get(f"{base}{path}", auth=("prometheus", "s3cret")).status_code in (200, 404, 503)


@pytest.mark.parametrize(
    ("user", "password", "status"),
    [
        ("prometheus", "s3cret", 200),
        ("prometheus", "wrong", 401),
        ("prometheus", "", 401),
        ("prometheus", "s3cret\0", 401),
        ("nobody", "s3cret", 401),
        ("", "", 401),
        ("jürgen", "päss:wörd", 200),
        ("long", "a" * 72, 200),
        ("long", "a" * 71, 401),
        ("long", "a" * 100, 200),  # bcrypt reads 72 bytes of it, here as elsewhere
    ],
)
def test_only_the_right_password_of_a_known_user_comes_in(
    world: World, user: str, password: str, status: int
) -> None:
    with serving(world.app(), Config(users=USERS)) as (_, base):
        for _ in range(2):  # the second time it may be remembered
            assert get(f"{base}/metrics", auth=(user.encode(), password.encode())).status_code == status


@pytest.mark.parametrize("value", ["", "Basic", "Basic !", "Basic é", "Bearer abc", "Basic YWJj"])
def test_an_authorization_that_is_none_is_refused(world: World, value: str) -> None:
    app = world.app()
    app.configure(USERS, {})
    answer = asyncio.run(app.answer(Request("GET", "/metrics", headers={"authorization": value})))
    assert answer.status == 401


def test_bcrypt_is_asked_once_for_a_password_that_was_right(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    check = bcrypt.checkpw

    def counting(password: bytes, known: bytes) -> bool:
        asked.append(password)
        return check(password, known)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    app = world.app()
    app.configure(USERS, {})
    token = base64.b64encode(b"prometheus:s3cret").decode()
    request = Request("GET", "/-/healthy", headers={"authorization": f"Basic {token}"})
    assert [asyncio.run(app.answer(request)).status for _ in range(3)] == [200] * 3
    assert len(asked) == 1


def test_a_user_nobody_knows_costs_a_bcrypt_as_well(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def agreeing(password: bytes, known: bytes) -> bool:
        del known
        asked.append(password)
        return True

    monkeypatch.setattr(bcrypt, "checkpw", agreeing)
    app = world.app()
    app.configure(USERS, {})
    token = base64.b64encode(b"nobody:s3cret").decode()
    request = Request("GET", "/-/healthy", headers={"authorization": f"Basic {token}"})
    assert asyncio.run(app.answer(request)).status == 401
    assert len(asked) == 1


def test_who_guesses_many_passwords_holds_up_nobody_who_is_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, checks = threading.Event(), []

    def slow(password: bytes, known: bytes) -> bool:
        checks.append(password)
        assert go_on.wait(WAIT)
        return False

    with serving(world.app(), Config(users=USERS)) as (_, base):
        known = ("prometheus", "s3cret")
        assert get(f"{base}/-/healthy", auth=known).status_code == 200
        monkeypatch.setattr(bcrypt, "checkpw", slow)
        statuses: list[int] = []
        answered = threading.Semaphore(0)

        def guess() -> None:
            statuses.append(get(f"{base}/-/healthy", auth=("x", "y")).status_code)
            answered.release()

        guessing = [threading.Thread(target=guess) for _ in range(40)]
        for thread in guessing:
            thread.start()
        try:
            assert all(answered.acquire(timeout=WAIT) for _ in range(40 - 16))
            assert get(f"{base}/metrics", auth=known).status_code == 200
        finally:
            go_on.set()
            for thread in guessing:
                thread.join()
        assert statuses == [503] * (40 - 16) + [401] * 16
        assert len(checks) == 16


class Guessers:
    """Clients at several addresses of loopback, whose passwords are checked when the test says so."""

    def __init__(self, base: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._port = int(base.rsplit(":", 1)[1])
        self._permits = threading.Semaphore(0)
        self._check = bcrypt.checkpw
        self._threads: list[threading.Thread] = []
        self.checked: list[str] = []
        self.answers: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        monkeypatch.setattr(bcrypt, "checkpw", self._checkpw)

    def _checkpw(self, password: bytes, known: bytes) -> bool:
        self.checked.append(password.decode())
        assert self._permits.acquire(timeout=WAIT)
        return self._check(password, known)

    def ask(self, address: str, password: str = "") -> None:
        """Ask from there, with this password or a wrong one of its own; the answer is put in `answers`."""
        token = base64.b64encode(f"prometheus:{password or address}".encode()).decode()

        def talk() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, WAIT, (address, 0))
            with closing(connection):
                connection.request("GET", "/metrics", headers={"Authorization": f"Basic {token}"})
                self.answers.put((address, connection.getresponse().status))

        self._threads.append(threading.Thread(target=talk))
        self._threads[-1].start()

    def answered(self, number: int) -> list[tuple[str, int]]:
        """The next so many answers."""
        return [self.answers.get(timeout=WAIT) for _ in range(number)]

    def check(self, number: int) -> None:
        """Let so many passwords be checked."""
        self._permits.release(number)

    def end(self) -> None:
        """Answer everybody."""
        self.check(1000)
        for thread in self._threads:
            thread.join()


@contextmanager
def guessing(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guessers]:
    with serving(world.app(), Config(users=USERS)) as (_, base):
        guessers = Guessers(base, monkeypatch)
        try:
            yield guessers
        finally:
            guessers.end()


def test_who_guesses_many_passwords_keeps_out_nobody_at_another_address(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guessing(world, monkeypatch) as guessers:
        for _ in range(60):
            guessers.ask("127.0.0.2")
        # One is checked, 15 wait.
        assert guessers.answered(60 - 16) == [("127.0.0.2", 503)] * (60 - 16)
        guessers.ask("127.0.0.1", "s3cret")
        assert guessers.answered(1) == [("127.0.0.2", 503)]  # it has made room
        guessers.check(2)
        assert guessers.answered(2) == [("127.0.0.2", 401), ("127.0.0.1", 200)]
        assert guessers.checked[:2] == ["127.0.0.2", "s3cret"]


def test_guessers_at_more_addresses_than_may_wait_keep_nobody_out_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with guessing(world, monkeypatch) as guessers:
        for number in range(2, 2 + 16):
            guessers.ask(f"127.0.0.{number}")
            guessers.ask(f"127.0.0.{number}")
        assert {status for _, status in guessers.answered(16)} == {503}
        first = guessers.checked[0]
        guessers.check(1)
        assert guessers.answered(1) == [(first, 401)]
        guessers.ask(first)
        guessers.ask(first)
        assert guessers.answered(1) == [(first, 503)]  # there was room for one
        guessers.ask("127.0.0.1", "s3cret")
        assert guessers.answered(1) == [(first, 503)]  # it has had its turn, so it makes room
        guessers.check(1000)
        assert ("127.0.0.1", 200) in guessers.answered(16)
        assert "s3cret" in guessers.checked[:17]


@pytest.mark.parametrize(
    ("guesser", "other", "scraper_gets"),
    [
        ("2001:db8::{}", "2001:db8:0:1::1", 200),
        ("2001:db8::{}", "2001:db8::ffff", 503),  # the same network, so the same client
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", 200),
        ("192.0.2.1", "::ffff:192.0.2.1", 503),
        ("fe80::{}%eth0", "fe80:0:0:1::1", 200),
    ],
)
def test_a_network_of_ipv6_is_one_client(world: World, guesser: str, other: str, scraper_gets: int) -> None:
    app = world.app()
    app.configure(USERS, {})

    async def ask(address: str, password: str) -> int:
        token = base64.b64encode(f"prometheus:{password}".encode()).decode()
        headers = {"authorization": f"Basic {token}"}
        return (
            await app.answer(Request("GET", "/-/healthy", headers=headers, client=client_of(address)))
        ).status

    async def all_at_once() -> int:
        guesses = [ask(guesser.format(number), "wrong") for number in range(1, 1 + 20)]
        return (await asyncio.gather(*guesses, ask(other, "s3cret")))[-1]

    assert asyncio.run(all_at_once()) == scraper_gets


def test_whose_client_goes_while_it_waits_gives_its_turn_to_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, checks = world.app(), []
    app.configure(USERS, {})

    def wrong(password: bytes, known: bytes) -> bool:
        del known
        checks.append(password)
        return False

    monkeypatch.setattr(bcrypt, "checkpw", wrong)

    async def some_go() -> list[int]:
        tokens = [base64.b64encode(f"prometheus:{number}".encode()).decode() for number in range(6)]
        tasks = [
            asyncio.create_task(app.answer(Request("GET", "/", headers={"authorization": f"Basic {token}"})))
            for token in tokens
        ]
        await asyncio.sleep(0)
        for gone in (tasks[0], tasks[2], tasks[3]):  # the first has its turn, the others wait
            gone.cancel()
        return [answer.status for answer in await asyncio.gather(tasks[1], tasks[4], tasks[5])]

    assert asyncio.run(some_go()) == [401] * 3
    assert [password for password in checks if password != b"0"] == [b"1", b"4", b"5"]


def test_whose_client_goes_just_when_another_has_to_make_room_is_no_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = world.app()
    app.configure(USERS, {})
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, known: False)

    def ask(number: int, client: str) -> asyncio.Task[Response]:
        token = base64.b64encode(f"prometheus:{number}".encode()).decode()
        request = Request("GET", "/", headers={"authorization": f"Basic {token}"}, client=client)
        return asyncio.create_task(app.answer(request))

    async def newest_goes() -> int:
        tasks = [ask(number, "192.0.2.1") for number in range(16)]
        await asyncio.sleep(0)
        newcomer = ask(16, "192.0.2.2")
        tasks[-1].cancel()
        return (await asyncio.gather(newcomer, *tasks[:-1]))[0].status

    assert asyncio.run(newest_goes()) == 401


def test_a_user_whom_a_reload_leaves_alone_need_not_prove_the_password_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(world.app(), Config(users=USERS)) as (server, base):
        assert get(f"{base}/metrics", auth=("prometheus", "s3cret")).status_code == 200
        assert get(f"{base}/metrics", auth=("long", "a" * 72)).status_code == 200
        monkeypatch.setattr(bcrypt, "checkpw", lambda password, known: False)
        server.configure(Config(users={**USERS, "new": hashed("two"), "long": hashed("three")}))
        assert get(f"{base}/metrics", auth=("prometheus", "s3cret")).status_code == 200
        assert get(f"{base}/metrics", auth=("long", "a" * 72)).status_code == 401


def test_a_reload_exchanges_users_and_headers(world: World) -> None:
    with serving(world.app(), Config(users={"old": hashed("one")}, headers={"X-A": "1"})) as (server, base):
        assert get(f"{base}/metrics", auth=("old", "one")).headers["X-A"] == "1"
        server.configure(Config(users={"new": hashed("two")}, headers={"X-B": "2"}))
        assert get(f"{base}/metrics", auth=("old", "one")).status_code == 401
        answer = get(f"{base}/metrics", auth=("new", "two"))
        assert (answer.status_code, answer.headers["X-B"]) == (200, "2")
        assert "X-A" not in answer.headers


def test_a_configured_header_stands_in_place_of_ours(world: World) -> None:
    with serving(world.app(), Config(headers={"content-security-policy": "default-src 'self'"})) as (_, base):
        assert get(f"{base}/").headers["Content-Security-Policy"] == "default-src 'self'"


# -- TLS


class Certificates(NamedTuple):
    """Paths of PEM files; one authority signs all."""

    authority: str
    server: str
    server_key: str
    other: str
    other_key: str
    client: tuple[str, str]
    locked_key: str


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    openssl(*new, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:false"]
    for name in ("server", "other", "client"):
        where = ["-addext", "subjectAltName=IP:127.0.0.1"]
        openssl(
            *new, *signed, *where, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"
        )
    openssl("ec", "-in", "server.key", "-aes256", "-passout", "pass:hidden", "-out", "locked.key")
    path = {name.name: str(name) for name in folder.iterdir()}
    return Certificates(
        authority=path["ca.pem"],
        server=path["server.pem"],
        server_key=path["server.key"],
        other=path["other.pem"],
        other_key=path["other.key"],
        client=(path["client.pem"], path["client.key"]),
        locked_key=path["locked.key"],
    )


def test_https_serves_what_http_serves(world: World, pem: Certificates) -> None:
    with serving(world.app(), Config(tls=Tls(pem.server, pem.server_key), users=USERS)) as (_, base):
        answer = get(f"{base}/metrics", encoding="gzip", auth=("prometheus", "s3cret"), verify=pem.authority)
        assert (answer.status_code, answer.content) == (200, b"x" * 100 + b"text own in text")
        assert get(f"{base}/metrics", verify=pem.authority).status_code == 401


def test_a_large_page_arrives_whole_over_https(world: World, pem: Certificates) -> None:
    world.page = Page(5_000_000)
    with serving(world.app(), Config(tls=Tls(pem.server, pem.server_key))) as (_, base):
        assert len(get(f"{base}/metrics", verify=pem.authority).content) == 5_000_016
        assert world.told.wait(WAIT)


def test_a_silent_client_does_not_hold_up_the_others(world: World, pem: Certificates) -> None:
    with serving(world.app(), Config(tls=Tls(pem.server, pem.server_key))) as (server, base):
        host, port = server.addresses[0].rsplit(":", 1)
        with socket.create_connection((host, int(port))):
            assert requests.get(f"{base}/-/healthy", verify=pem.authority, timeout=5).status_code == 200


def test_plain_http_to_the_https_port_is_told_so(world: World, pem: Certificates) -> None:
    with serving(world.app(), Config(tls=Tls(pem.server, pem.server_key))) as (server, _):
        answer = raw(f"http://{server.addresses[0]}", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert f"Content-Length: {len(body)}".encode() in head
        assert b"https://" in body


def agreed(server: WebServer, pem: Certificates, version: ssl.TLSVersion) -> str | None:
    """The version of TLS that a client of this version and the server agree on."""
    context = ssl.create_default_context(cafile=pem.authority)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # asking for an old version is the test
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    host, port = server.addresses[0].rsplit(":", 1)
    try:
        with (
            socket.create_connection((host, int(port)), timeout=WAIT) as plain,
            context.wrap_socket(plain, server_hostname=host) as client,
        ):
            return client.version()
    except ssl.SSLError:
        return None


def test_old_versions_of_tls_are_refused_unless_configured(world: World, pem: Certificates) -> None:
    with serving(world.app(), Config(tls=Tls(pem.server, pem.server_key))) as (server, _):
        assert agreed(server, pem, ssl.TLSVersion.TLSv1_1) is None
        assert agreed(server, pem, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
        assert agreed(server, pem, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
        server.configure(Config(tls=Tls(pem.server, pem.server_key, min_version="TLS13")))
        assert agreed(server, pem, ssl.TLSVersion.TLSv1_2) is None
        server.configure(Config(tls=Tls(pem.server, pem.server_key, max_version="TLS12")))
        assert agreed(server, pem, ssl.TLSVersion.TLSv1_3) is None


def test_a_client_certificate_can_be_required(world: World, pem: Certificates) -> None:
    tls = Tls(pem.server, pem.server_key, pem.authority, "RequireAndVerifyClientCert")
    with serving(world.app(), Config(tls=tls)) as (_, base):
        with pytest.raises(requests.ConnectionError):
            get(f"{base}/metrics", verify=pem.authority)
        assert get(f"{base}/metrics", verify=pem.authority, cert=pem.client).status_code == 200


def test_a_client_certificate_can_be_optional(world: World, pem: Certificates) -> None:
    tls = Tls(pem.server, pem.server_key, pem.authority, "VerifyClientCertIfGiven")
    with serving(world.app(), Config(tls=tls)) as (_, base):
        assert get(f"{base}/metrics", verify=pem.authority).status_code == 200
        assert get(f"{base}/metrics", verify=pem.authority, cert=pem.client).status_code == 200


def name(server: WebServer, pem: Certificates) -> object:
    """Whose certificate the server shows."""
    host, port = server.addresses[0].rsplit(":", 1)
    context = ssl.create_default_context(cafile=pem.authority)
    with (
        socket.create_connection((host, int(port)), timeout=WAIT) as plain,
        context.wrap_socket(plain, server_hostname=host) as client,
    ):
        shown: Any = client.getpeercert()
        return shown["subject"][0][0][1]


def test_a_reload_exchanges_the_certificate_and_turns_tls_off_and_on(world: World, pem: Certificates) -> None:
    with serving(world.app(), Config(tls=Tls(pem.server, pem.server_key))) as (server, _):
        assert name(server, pem) == "server"
        server.configure(Config(tls=Tls(pem.other, pem.other_key)))
        assert name(server, pem) == "other"
        server.configure(Config())
        assert get(f"http://{server.addresses[0]}/-/healthy").status_code == 200
        server.configure(Config(tls=Tls(pem.server, pem.server_key)))
        assert name(server, pem) == "server"


def test_a_certificate_that_changes_is_shown_without_a_reload(
    world: World, pem: Certificates, tmp_path: Path
) -> None:
    for kind in ("server", "other"):
        for name_, ending in (("cert", "pem"), ("key", "key")):
            shutil.copy(Path(pem.server).with_name(f"{kind}.{ending}"), tmp_path / f"{kind}.{name_}")
    web_config = tmp_path / "web.yml"
    web_config.write_text("tls_server_config: {cert_file: server.cert, key_file: server.key}\n")
    put_in_force = threading.Event()
    refused: list[str] = []

    def apply(loaded: WebConfig) -> None:
        server.configure(loaded)
        put_in_force.set()

    watch = WebConfigWatch(web_config, apply, refused.append)
    with serving(world.app(), watch.load(), look=watch.look, look_seconds=0.01) as (server, _):
        assert name(server, pem) == "server"
        for ending in ("cert", "key"):
            (tmp_path / f"other.{ending}").replace(tmp_path / f"server.{ending}")
        assert put_in_force.wait(WAIT)
        assert name(server, pem) == "other"
    assert len(refused) <= 1


def test_a_failure_in_looking_is_told_and_ends_nothing(world: World) -> None:
    errors: list[str] = []
    twice = threading.Semaphore(0)

    def look() -> None:
        twice.release()
        raise RuntimeError("blind")

    server = WebServer(["127.0.0.1:0"], world.app(), look=look, look_seconds=0.01, on_error=errors.append)
    server.start()
    try:
        assert all(twice.acquire(timeout=WAIT) for _ in range(2))
        assert get(f"http://{server.addresses[0]}/-/healthy").status_code == 200
    finally:
        server.stop()
    assert "RuntimeError: blind" in errors[0]


def test_a_bad_web_config_is_one_sentence_and_changes_nothing(world: World, pem: Certificates) -> None:
    bad: list[tuple[Tls, str]] = [
        (Tls("/no/cert", pem.server_key), "/no/cert"),
        (Tls(pem.server, pem.other_key), pem.other_key),
        (Tls(pem.server, pem.locked_key), pem.locked_key),
        (Tls(pem.server, pem.server_key, "/no/ca"), "/no/ca"),
        (
            Tls(pem.server, pem.server_key, min_version="SSL3"),
            "min_version: 'SSL3' is not known, allowed is TLS10",
        ),
        (Tls(pem.server, pem.server_key, client_auth_type="Maybe"), "client_auth_type: 'Maybe'"),
    ]
    with serving(world.app(), Config(users=USERS)) as (server, base):
        for tls, named in bad:
            with pytest.raises((OSError, ValueError)) as caught:
                server.configure(Config(tls=tls))
            assert named in str(caught.value)
            assert "\n" not in str(caught.value)
            assert get(f"{base}/metrics").status_code == 401
            assert get(f"{base}/metrics", auth=("prometheus", "s3cret")).status_code == 200


# -- listening


def test_a_port_that_is_taken_is_named_in_one_sentence_and_nothing_is_left_listening(world: World) -> None:
    with serving(world.app()) as (first, _):
        second = WebServer(["127.0.0.1:0", first.addresses[0]], world.app())
        with pytest.raises(OSError, match=f"^cannot listen on {first.addresses[0]}: address already in use$"):
            second.start()
        host, port = second.addresses[0].rsplit(":", 1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), timeout=WAIT)


def test_a_host_that_is_not_there_is_named(world: World) -> None:
    server = WebServer(["host.invalid:0"], world.app())
    with pytest.raises(OSError, match=r"^cannot listen on host\.invalid:0: [a-z ]+$"):
        server.start()


@pytest.mark.parametrize(
    "address", ["", "10155", "localhost", ":", ":x", ":99999", "::1:80", "[::1]", ":-1", ":²"]
)
def test_what_is_no_address_is_refused(world: World, address: str) -> None:
    with pytest.raises(ValueError, match="is no address to listen on"):
        WebServer([address], world.app())


def test_several_addresses_are_served(world: World) -> None:
    server = WebServer(["127.0.0.1:0", "localhost:0"], world.app())
    server.start()
    try:
        assert len(set(server.addresses)) == 2
        for address in server.addresses:
            assert get(f"http://{address}/-/healthy").status_code == 200
    finally:
        server.stop()


def test_a_bare_port_means_every_interface(world: World) -> None:
    # Not started: a test listens on loopback only.
    (address,) = WebServer([":10155"], world.app()).addresses
    assert address in ("[::]:10155", "0.0.0.0:10155")
    assert WebServer(["[::1]:10155"], world.app()).addresses == ["[::1]:10155"]


def test_nothing_listens_after_stop_and_stopping_twice_is_fine(world: World) -> None:
    with serving(world.app()) as (server, base):
        assert get(f"{base}/-/healthy").status_code == 200
        server.stop()
        with pytest.raises(requests.ConnectionError):
            get(f"{base}/-/healthy")


def test_connections_are_kept_for_the_next_scrape(url: str) -> None:
    with requests.Session() as session:
        for _ in range(3):
            answer = session.get(f"{url}/metrics", timeout=WAIT)
            assert "close" not in answer.headers.get("Connection", "")
