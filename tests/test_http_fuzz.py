"""Whatever a server sends, a request ends with an answer or an error, and the next one has its own answer.

`make test` tries a few hundred conversations, `make fuzz` many more.
"""

import socket
import ssl
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.adapters.http_client import Answer, HttpClient
from exporter.core.source import NotUnderstood, Unreachable

from . import certificates
from .raw_server import LINGER_NOT, RawServer, raw_server

# Long enough for an honest answer on a busy machine, since only those that wait on purpose take it.
DEADLINE_SECONDS = 0.5

WHOLE = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'5;a=b\r\n{"a":\r\n2\r\n1}\r\n0\r\nX-Trailer: y\r\n\r\n'
)  # fmt: skip


@dataclass
class Script:
    """What a server sends for the path `/odd`, and how it ends; any other path has an honest answer."""

    sent: bytes = b""
    end: str = "close"


class OddServer:
    """One server for many conversations."""

    def __init__(self) -> None:
        self.script = Script()
        self.server: RawServer
        self._numbers = count()

    def __call__(self, server: RawServer, connection: socket.socket) -> None:
        while asked := server.read_head(connection):
            path = asked.split(b" ")[1]
            if path != b"/odd":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))
                continue
            connection.sendall(self.script.sent)
            if self.script.end == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            if self.script.end == "wait":
                continue  # for the next request, as after a whole answer
            return

    def ask(self, sent: bytes, end: str) -> Answer | Unreachable | NotUnderstood:
        """What comes of it, by a client that is asked something else after that."""
        self.script = Script(sent, end)
        http = HttpClient(DEADLINE_SECONDS, insecure_skip_verify=True)
        try:
            outcome: Answer | Unreachable | NotUnderstood = http.get(f"{self.server.url}/odd", {})
        except (Unreachable, NotUnderstood) as error:
            outcome = error
        path = f"/honest/{next(self._numbers)}"
        patient = HttpClient(30, insecure_skip_verify=True)
        patient._local = http._local  # the same connections
        assert patient.get(f"{self.server.url}{path}", {}).body == path.encode()
        return outcome


@pytest.fixture(name="odd", scope="module", params=["http", "https"])
def _odd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OddServer]:
    context = None
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.for_loopback(tmp_path_factory.mktemp("tls")))
    odd = OddServer()
    with raw_server(odd, context) as odd.server:
        yield odd


def test_an_answer_that_is_whole_is_taken(odd: OddServer) -> None:
    outcome = odd.ask(WHOLE, "wait")
    assert isinstance(outcome, Answer)
    assert (outcome.status, outcome.body) == (200, b'{"a":1}')


@pytest.mark.parametrize("end", ["close", "reset"])
def test_an_answer_that_is_cut_anywhere_is_no_answer(odd: OddServer, end: str) -> None:
    for at in range(len(WHOLE)):
        assert isinstance(odd.ask(WHOLE[:at], end), Unreachable), at


line = st.sampled_from(
    [
        b"Content-Length: 2", b"Content-Length: 0", b"Content-Length: -1", b"Content-Length: x",
        b"Content-Length: 99999999999999999999", b"Content-Length: 2\r\nContent-Length: 3",
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: x",
        b"Content-Encoding: gzip", b"Content-Encoding: deflate",
        b"Content-Encoding: br", b"Content-Encoding: x",
        b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade\r\nUpgrade: h2c",
        b"Location: /elsewhere", b"Date: never", b"Set-Cookie: a=b", b" folded", b"no colon", b": no name",
        b"X: " + b"x" * 70_000, b"X: \xff\x00", b"X:\r y", *[b"Y: y\r\n" * 101],
    ]
)  # fmt: skip
status = st.sampled_from(
    [
        b"HTTP/1.1 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.0 200 OK",
        b"HTTP/1.1 100 Continue", b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 103 Early Hints",
        b"HTTP/1.1 199 x", b"HTTP/1.1 302 Found", b"HTTP/1.1 407 Proxy Authentication Required",
        b"HTTP/1.1 999 x", b"HTTP/1.1 99 x", b"HTTP/1.1 200", b"HTTP/1.1  ",
        b"HTTP/2 200 OK", b"HTTP/0.9 200 OK",
        b"ICY 200 OK", b"", b"\x15\x03\x01\x00\x02\x02\x46", b"HTTP/1.1 200 " + b"x" * 70_000,
    ]
)  # fmt: skip
piece = st.one_of(
    st.sampled_from(
        [
            b"{}", b"", b"2\r\n{}\r\n", b"2;x=y\r\n{}\r\n", b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"-1\r\n",
            b"x\r\n", b"ffffffffffffffffffff\r\n", b"2\r\n{}", b"\r\n", zlib.compress(b"{}"), b"\x1f\x8b\x08",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
        ]
    ),
    st.binary(max_size=8),
)  # fmt: skip


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    sent = b""
    for _ in range(draw(st.integers(1, 3))):
        lines = [draw(status), *draw(st.lists(line, max_size=3))]
        sent += b"\r\n".join(lines) + b"\r\n\r\n"
    return sent + b"".join(draw(st.lists(piece, max_size=4)))


# A server that waits for more costs the whole deadline; it is tried less often.
@given(answers(), st.sampled_from(["close"] * 12 + ["reset"] * 6 + ["wait"]))
def test_whatever_is_sent_a_request_ends_and_the_next_has_its_own_answer(
    odd: OddServer, sent: bytes, end: str
) -> None:
    odd.ask(sent, end)
