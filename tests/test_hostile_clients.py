"""Clients that are slow, silent or too many: `/metrics` and `/-/healthy` answer as if they were not there."""

import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from exporter.adapters.web.connection import Deadlines
from exporter.adapters.web.server import WebServer
from tests import certificates
from tests.web_process import PAGE_BYTES, Config, Tls, application, web_process

MANY = 500
WAIT = 20  # seconds until a test gives up on something that takes milliseconds
# Of many connections at once, some may be told to try again before all are taken in.
SHORT = 0.05


class Kind(NamedTuple):
    """What a hostile client sends at first, what it sends and reads again and again, and whether to HTTPS."""

    first: bytes
    then: bytes = b""
    reads: int = 0
    tls: bool = False


KINDS = {
    "silent": Kind(b""),
    "half a head": Kind(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: ", b"a"),
    "half a body": Kind(b"POST /-/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", b"a"),
    "no reader": Kind(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
    "slow reader": Kind(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", reads=1000),
    "no reader, and asks for more": Kind(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20),
    "half a TLS handshake": Kind(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x00", tls=True),
    "silent before TLS": Kind(b"", tls=True),
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates.for_loopback(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def enough_files() -> None:
    """The other ends of all connections are in the tests' own process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 2 * MANY:
        wanted = 2 * MANY if hard == resource.RLIM_INFINITY else min(2 * MANY, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Crowd:
    """Many connections to one server that are up to no good."""

    def __init__(self, address: str, kind: Kind, many: int, stack: ExitStack) -> None:
        host, port = address.rsplit(":", 1)
        self._kind = kind
        self._clients = []
        for _ in range(many):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(WAIT)
            client.connect((host, int(port)))
            client.setblocking(False)
            self._clients.append(client)
            self._say(client, kind.first)

    def go_on(self) -> None:
        """Each says or reads a little more, and none ever ends."""
        for client in self._clients:
            self._say(client, self._kind.then)
            with suppress(BlockingIOError, ConnectionError):
                client.recv(self._kind.reads)

    def ended(self) -> int:
        """How many the server has hung up on."""
        poll = select.poll()
        for client in self._clients:
            poll.register(client, select.POLLRDHUP)
        return len(poll.poll(0))

    def _say(self, client: socket.socket, words: bytes) -> None:
        with suppress(BlockingIOError, ConnectionError):  # it was thrown out; the others remain
            client.send(words)


@contextmanager
def crowd(address: str, kind: Kind, many: int = MANY) -> Iterator[Crowd]:
    with ExitStack() as stack:
        yield Crowd(address, kind, many, stack)


def answers(address: str, certificate: Path | None) -> float:
    """Ask for the page and the health on new connections; the longest that one took, in seconds."""
    base = f"{'https' if certificate else 'http'}://{address}"
    longest = 0.0
    for path, size in (("/metrics", PAGE_BYTES), ("/-/healthy", 3)):
        begun = time.perf_counter()
        verify, headers = str(certificate) if certificate else True, {"Accept-Encoding": "identity"}
        answer = requests.get(base + path, timeout=WAIT, verify=verify, headers=headers)
        longest = max(longest, time.perf_counter() - begun)
        assert (answer.status_code, len(answer.content)) == (200, size)
    return longest


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_many_hostile_clients_stop_nobody(kind: Kind, certificate: Path) -> None:
    shown = certificate if kind.tls else None
    with web_process(certificate=shown) as address:
        alone = answers(address, shown)
        with crowd(address, kind) as clients:
            beside = 0.0
            for _ in range(5):
                beside = max(beside, answers(address, shown))
                clients.go_on()
    print(f"longest answer: {alone * 1e3:.0f} ms alone, {beside * 1e3:.0f} ms beside {MANY} others")  # noqa: T201


@pytest.mark.parametrize("kind", ["silent", "half a head", "slow reader"])
def test_more_connections_than_descriptors_stop_nobody(kind: str) -> None:
    with web_process(files=128) as address, crowd(address, KINDS[kind], 300) as clients:
        for _ in range(3):
            answers(address, None)
            clients.go_on()


def test_half_of_the_descriptors_are_left_to_the_rest_of_the_program() -> None:
    with web_process(files=128) as address, crowd(address, KINDS["silent"], 200) as clients:
        answers(address, None)
        assert clients.ended() >= 200 - 128 // 2


def test_descriptors_that_others_have_taken_stop_nobody() -> None:
    # Ten are the interpreter's and the server's, so some ten are left for connections.
    with web_process(files=128, taken=108) as address, crowd(address, KINDS["silent"], 60):
        for _ in range(3):
            answers(address, None)


@contextmanager
def serving(deadlines: Deadlines, certificate: Path | None = None, **other: Any) -> Iterator[str]:
    errors: list[str] = []
    tls = Tls(str(certificate), str(certificate)) if certificate else None
    server = WebServer(
        ["127.0.0.1:0"], application(**other), Config(tls), deadlines=deadlines, on_error=errors.append
    )
    server.start()
    try:
        yield server.addresses[0]
    finally:
        server.stop()
    assert errors == []


@contextmanager
def who_reads_nothing(address: str) -> Iterator[socket.socket]:
    """A client that has asked for the page, which waits for it in part already."""
    host, port = address.rsplit(":", 1)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(WAIT)
        client.connect((host, int(port)))
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1)
        yield client


def is_cut_off(client: socket.socket, within: float = WAIT) -> bool:
    """Whether the connection was reset; what was sent before is not read."""
    poll = select.poll()
    poll.register(client, 0)  # an end is always told
    return bool(poll.poll(within * 1000))


def ended(address: str, first: bytes, then: bytes) -> bytes:
    """Send the first bytes, then the others again and again; what came until the server hung up."""
    host, port = address.rsplit(":", 1)
    got = b""
    with socket.create_connection((host, int(port)), timeout=WAIT) as client:
        client.sendall(first)
        client.settimeout(SHORT)
        begun = time.monotonic()
        while time.monotonic() - begun < WAIT:
            try:
                part = client.recv(65536)
                if not part:
                    return got
                got += part
                client.send(then)
            except TimeoutError:
                client.send(then)
            except ConnectionError:
                return got
    raise AssertionError("The server never hung up.")


@pytest.mark.parametrize("kind", [name for name in KINDS if "reader" not in name], ids=lambda name: name)
def test_a_request_has_one_deadline_for_all_of_it(kind: str, certificate: Path) -> None:
    asked = KINDS[kind]
    with serving(Deadlines(request=0.3), certificate if asked.tls else None) as address:
        assert ended(address, asked.first, asked.then) == b""


def test_a_head_after_the_first_one_has_its_deadline_too() -> None:
    with serving(Deadlines(request=0.3)) as address:
        healthy = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
        assert ended(address, healthy + healthy[:20], b"a").count(b"200 OK") == 1


def test_a_connection_that_nobody_uses_ends() -> None:
    with serving(Deadlines(idle=0.3)) as address:
        got = ended(address, b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n", b"")
        assert got.startswith(b"HTTP/1.1 200 OK")


def test_who_reads_nothing_is_cut_off() -> None:
    with serving(Deadlines(answer=0.3)) as address, who_reads_nothing(address) as client:
        assert is_cut_off(client)


def test_of_too_many_who_read_nothing_the_first_are_cut_off() -> None:
    with serving(Deadlines(), max_requests=1) as address, ExitStack() as stack:
        clients = [stack.enter_context(who_reads_nothing(address)) for _ in range(12)]
        most = 1 + 8 + 2  # scrapes, pages, and requests to poll
        assert all(is_cut_off(client) for client in clients[: 12 - most])
        assert not any(is_cut_off(client, within=0) for client in clients[12 - most :])
        answers(address, None)


def test_a_small_answer_cuts_nobody_off() -> None:
    with serving(Deadlines(), max_requests=1) as address, ExitStack() as stack:
        clients = [stack.enter_context(who_reads_nothing(address)) for _ in range(9)]
        for _ in range(20):
            assert requests.get(f"http://{address}/-/healthy", timeout=WAIT).status_code == 200
        assert not any(is_cut_off(client, within=0) for client in clients)
