"""One exchange over HTTP: it ends by its deadline, says what failed, and knows whom to trust and ask."""

import gzip
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exporter.adapters.http_client import NO_PROXY, Answer, HttpClient, client, trust
from exporter.core.source import NotUnderstood, Unreachable

from . import certificates
from .raw_server import LINGER_NOT, Proxy, RawServer, answering, dripping, head, raw_server, silent

Handler = Callable[[RawServer, socket.socket], None]

IMPATIENT_SECONDS = 0.3
# Where the steps before the one that hangs must have been done, also on a busy machine.
UNHURRIED_SECONDS = 2.0
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may sit behind a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(name="authority")
def _authority(tmp_path: Path) -> Path:
    return certificates.for_loopback(tmp_path, "cloud.invalid")


@pytest.fixture(name="tls")
def _tls(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority)
    return context


def told(url: str, http: HttpClient | None = None) -> str:
    """What is told of a request that brings no answer."""
    with pytest.raises(Unreachable) as error:
        (http or HttpClient(IMPATIENT_SECONDS)).get(url, {"X-Auth-Token": "s3cr3t"})
    assert "s3cr3t" not in str(error.value)
    return str(error.value)


# The deadline


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        pytest.param(b"", b" ", id="status line"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", b"x", id="header"),
        pytest.param(b"", b"HTTP/1.1 100 Continue\r\n\r\n", id="100 Continue"),
        pytest.param(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", id="103 Early Hints"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"x", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", b"x", id="body without a length"),
        pytest.param(CHUNKED, b"0", id="size of a chunk"),
        pytest.param(CHUNKED + b"1;", b"x", id="extension of a chunk"),
        pytest.param(CHUNKED, b"1\r\nx\r\n", id="chunks"),
        pytest.param(CHUNKED + b"0\r\n", b"X: y\r\n", id="trailers"),
    ],
)
def test_a_server_that_answers_drop_by_drop_meets_the_deadline(start: bytes, drop: bytes) -> None:
    with raw_server(dripping(start, drop)) as server:
        assert "longer than the timeout of 0.3 s" in told(server.url)


@pytest.mark.parametrize(
    "flood",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"X: y\r\n", b"x", b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"],
)
def test_a_flood_in_place_of_an_answer_ends_too(flood: bytes) -> None:
    def pour(server: RawServer, connection: socket.socket) -> None:
        server.read_head(connection)
        connection.sendall(b"" if flood.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n")
        while not server.stopped.is_set():
            connection.sendall(flood * 1000)

    with raw_server(pour) as server:
        assert told(server.url).startswith(f"No answer came from {server.address}: ")


def test_a_silent_server_meets_the_deadline() -> None:
    with raw_server(silent) as server:
        expected = f"No answer came from {server.address}: it took longer than the timeout of 0.3 s."
        assert told(server.url) == expected


def test_a_tls_handshake_that_trickles_meets_the_deadline() -> None:
    def trickle(server: RawServer, connection: socket.socket) -> None:
        connection.recv(65_536)
        server.send(connection, (bytes([byte]) for byte in b"\x16\x03\x03\x40\x00" + bytes(16_384)))

    with raw_server(trickle) as server:
        url = server.url.replace("http:", "https:")
        expected = f"No answer came from {server.address}: the TLS handshake took longer than the timeout."
        assert told(url, HttpClient(UNHURRIED_SECONDS)) == expected


def test_a_proxy_whose_answer_to_connect_trickles_meets_the_deadline() -> None:
    with raw_server(dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")) as proxy:
        http = HttpClient(UNHURRIED_SECONDS, proxy_url=proxy.url)
        expected = (
            f"No answer came from the proxy {proxy.address}: it took longer than the timeout to CONNECT."
        )
        assert told("https://cloud.invalid/", http) == expected


def test_after_a_slow_connect_the_handshake_has_what_is_left(tls: ssl.SSLContext) -> None:
    def connect_and_hang(server: RawServer, connection: socket.socket) -> None:
        server.read_head(connection)
        server.send(connection, [b"HTTP/1.1 200 OK\r\n", b"\r\n"])
        silent(server, connection)

    with raw_server(connect_and_hang) as proxy:
        assert "handshake took longer" in told(
            "https://cloud.invalid/", HttpClient(UNHURRIED_SECONDS, proxy_url=proxy.url)
        )


def test_a_resolver_that_hangs_meets_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve, free = socket.getaddrinfo, threading.Event()

    def hang(host: str, port: int, **options: int) -> object:
        if not options.get("flags"):
            free.wait(60)
        return resolve(host, port, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    expected = (
        "No answer came from cloud.invalid:80: its name cannot be resolved (not within the timeout); "
        "check the address and the resolver."
    )
    assert told("http://cloud.invalid/", HttpClient(1)) == expected
    free.set()


def test_a_name_with_several_addresses_is_tried_until_one_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(answering(OK)) as server, closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = int(server.address.partition(":")[2])
        dead = free.getsockname()
        free.close()
        kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
        answer = [(*kind, dead), (*kind, ("127.0.0.1", port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
        assert HttpClient(10).get("http://cloud.invalid/", {}).body == b"{}"


# What an answer is


def test_interim_answers_are_passed_over_and_the_next_request_has_its_own_answer() -> None:
    def handle(server: RawServer, connection: socket.socket) -> None:
        while asked := server.read_head(connection):
            path = asked.split(b" ")[1]
            interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(interim + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + path)

    with raw_server(handle) as server:
        http = HttpClient(10)
        assert [http.get(f"{server.url}{path}", {}).body for path in ("/a", "/b")] == [b"/a", b"/b"]
        assert server.connections == 1


def test_chunks_are_one_body() -> None:
    with raw_server(answering(CHUNKED, b"1\r\n{\r\n", b"1;x=y\r\n}\r\n0\r\nX: y\r\n\r\n")) as server:
        assert HttpClient(10).get(server.url, {}).body == b"{}"


def test_a_compressed_answer_is_read() -> None:
    body = gzip.compress(b"{}")
    with raw_server(answering(head(len(body), "Content-Encoding: gzip"), body)) as server:
        assert HttpClient(10).get(server.url, {}) == Answer(
            200,
            {"content-length": str(len(body)), "connection": "close", "content-encoding": "gzip"},
            b"{}",
        )


def test_what_is_not_compressed_as_it_says_is_not_understood() -> None:
    with (
        raw_server(answering(head(4, "Content-Encoding: gzip"), b"oops")) as server,
        pytest.raises(NotUnderstood, match="not compressed"),
    ):
        HttpClient(10).get(server.url, {})


def test_a_compressed_answer_that_grows_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BODY_CAP_BYTES", 1024 * 1024)
    body = gzip.compress(b" " * 50_000_000, 1)
    with (
        raw_server(answering(head(len(body), "Content-Encoding: gzip"), body)) as server,
        pytest.raises(NotUnderstood, match="larger than 1 MiB"),
    ):
        HttpClient(10).get(server.url, {})


def test_what_was_signed_is_sent_verbatim() -> None:
    with raw_server(answering(OK)) as server:
        HttpClient(10).get(f"{server.url}/a%7Eb?c=%2F%20", {})
    assert server.asked[0].startswith(b"GET /a%7Eb?c=%2F%20 HTTP/1.1")


def test_a_netrc_file_does_not_replace_the_signature(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("default login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with raw_server(answering(OK)) as server:
        HttpClient(1).get(server.url, {"Authorization": "SDK-HMAC-SHA256 x"})
    assert b"Authorization: SDK-HMAC-SHA256 x" in server.asked[0]


@pytest.mark.parametrize(
    "odd",
    [
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"X: y\r\n" * 101,
        b"X: " + b"y" * 70_000 + b"\r\n",
    ],
)
def test_an_answer_that_is_malformed_is_told_as_such(odd: bytes) -> None:
    with raw_server(answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + odd)) as server:
        assert told(server.url, HttpClient(10)).startswith(
            f"No answer came from {server.address}: the answer is malformed ("
        )


# A kept connection


def test_what_comes_behind_an_answer_is_not_the_next_one(tls: ssl.SSLContext) -> None:
    def handle(server: RawServer, connection: socket.socket) -> None:
        path = server.read_head(connection).split(b" ")[1]
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + path
        # All of it in one record of TLS, of which the reader takes the first 8 KiB.
        connection.sendall(answer.ljust(8_192) + OK.replace(b"{}", b"no"))
        silent(server, connection)

    with raw_server(handle, tls) as server:
        http = HttpClient(10, insecure_skip_verify=True)
        assert [http.get(f"{server.url}{path}", {}).body for path in ("/a", "/b")] == [b"/a", b"/b"]


def closes_when_asked_again(close: Callable[[socket.socket], None]) -> Handler:
    """Each connection answers once, then takes the next request and is closed."""

    def handle(server: RawServer, connection: socket.socket) -> None:
        if server.read_head(connection):
            connection.sendall(OK)
        if server.read_head(connection):
            close(connection)

    return handle


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)


@pytest.mark.parametrize("close", [reset, lambda _: None])
def test_a_get_on_a_kept_connection_that_is_closed_is_sent_again_on_a_new_one(
    close: Callable[[socket.socket], None],
) -> None:
    with raw_server(closes_when_asked_again(close)) as server:
        http = HttpClient(10)
        for _ in range(3):
            assert http.get(server.url, {}).status == 200
        assert (len(server.asked), server.connections) == (5, 3)


def test_over_tls_too(tls: ssl.SSLContext, authority: Path) -> None:
    with raw_server(closes_when_asked_again(lambda _: None), tls) as server:
        http = HttpClient(10, str(authority))
        for _ in range(3):
            assert http.get(server.url, {}).status == 200
        assert server.connections == 3


def test_a_post_is_never_sent_again() -> None:
    with raw_server(closes_when_asked_again(lambda _: None)) as server:
        http = HttpClient(10)
        http.get(server.url, {})
        with pytest.raises(Unreachable, match=r"closed before an answer|Connection reset by peer"):
            http.post(server.url, {}, {})
        assert len(server.asked) == 2


@pytest.mark.parametrize(
    "answer", [b"", b"H", b"HTTP/1.1 200 OK\r\nX", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"]
)
def test_a_new_connection_that_is_closed_is_a_failure(answer: bytes) -> None:
    with raw_server(answering(answer)) as server:
        assert told(server.url).startswith(f"No answer came from {server.address}: ")
        assert len(server.asked) == 1


def test_a_kept_connection_that_is_closed_within_an_answer_is_a_failure() -> None:
    def handle(server: RawServer, connection: socket.socket) -> None:
        server.read_head(connection)
        connection.sendall(OK)
        server.read_head(connection)
        connection.sendall(b"H")

    with raw_server(handle) as server:
        http = HttpClient(10)
        http.get(server.url, {})
        told(server.url, http)
        assert len(server.asked) == 2


def test_the_second_try_ends_by_the_same_deadline() -> None:
    def handle(server: RawServer, connection: socket.socket) -> None:
        if server.connections == 1:
            closes_when_asked_again(lambda _: None)(server, connection)
        else:
            silent(server, connection)

    with raw_server(handle) as server:
        http = HttpClient(UNHURRIED_SECONDS)
        http.get(server.url, {})
        assert "longer than the timeout" in told(server.url, http)


# What is told


def test_a_name_that_is_unknown_is_told_with_what_to_do() -> None:
    expected = (
        "No answer came from cloud.invalid:443: its name cannot be resolved (Name or service not known); "
        "check the address and the resolver."
    )
    assert told("https://cloud.invalid/v1?token=s3cr3t", HttpClient(10)) == expected


def test_nobody_listening_is_told_with_the_address() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    expected = (
        f"No answer came from {address}: Connection refused; check the address, the port, and whether a "
        "proxy_url is needed."
    )
    assert told(f"http://{address}", HttpClient(10)) == expected


def test_a_port_that_speaks_plain_http_is_told_apart() -> None:
    def plain(server: RawServer, connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with raw_server(plain) as server:
        expected = (
            f"No answer came from {server.address}: its port speaks plain HTTP, not TLS; "
            "check the scheme and the port of the address."
        )
        assert told(server.url.replace("http:", "https:"), HttpClient(10)) == expected


def test_a_port_that_speaks_tls_is_told_apart(tls: ssl.SSLContext) -> None:
    with raw_server(silent, tls) as server:
        message = told(server.url.replace("https:", "http:"), HttpClient(10))
    assert message.startswith(f"No answer came from {server.address}: ")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("407 Proxy Authentication Required", "407 Proxy Authentication Required; set proxy_basic_auth."),
        ("403 Forbidden", "403 Forbidden; allow the host on the proxy, or name it in NO_PROXY."),
        ("502 token=abc\x1b", "502 token=<secret>; ask who runs the proxy."),
    ],
)
def test_a_proxy_that_refuses_connect_is_told_with_its_status(status: str, said: str) -> None:
    with raw_server(Proxy(refusal=status)) as proxy:
        message = told("https://cloud.invalid/", HttpClient(10, proxy_url=proxy.url))
    assert message == f"No answer came from the proxy {proxy.address}: it refused CONNECT with HTTP {said}"


@pytest.mark.parametrize("url", ["modelarts.example", "https://", "http://[::1", "http://a..b"])
def test_an_address_that_is_none_is_unreachable(url: str) -> None:
    told(url)


def test_a_header_that_cannot_be_sent_is_not_quoted() -> None:
    with pytest.raises(Unreachable) as error:
        HttpClient(1).get("http://127.0.0.1:1/", {"X-Auth-Token": "secret\r\nvalue"})
    assert "secret" not in str(error.value)


# Trust


def test_a_certificate_is_checked_unless_the_config_says_otherwise(
    tls: ssl.SSLContext, authority: Path
) -> None:
    with raw_server(answering(OK), tls) as server:
        expected = (
            f"No answer came from {server.address}: its certificate was not accepted "
            "(self-signed certificate); set ca_file to the authority that signed it."
        )
        assert told(server.url, HttpClient(10)) == expected
        assert server.asked == []
        assert HttpClient(10, str(authority)).get(server.url, {}).body == b"{}"
        assert HttpClient(10, insecure_skip_verify=True).get(server.url, {}).body == b"{}"


def test_a_certificate_for_another_name_is_told_apart(tls: ssl.SSLContext, authority: Path) -> None:
    with raw_server(answering(OK), tls) as server:
        port = server.address.partition(":")[2]
        message = told(f"https://localhost:{port}", HttpClient(10, str(authority)))
    assert "not valid for 'localhost'.); check the address." in message


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_the_environment_names_whom_to_trust(
    name: str, tls: ssl.SSLContext, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "authorities"
    directory.mkdir()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    hashed = certificates.subject_hash(authority)
    (directory / f"{hashed}.0").write_bytes(authority.read_bytes())
    monkeypatch.setenv(name, str(directory if name == "SSL_CERT_DIR" else authority))
    with raw_server(answering(OK), tls) as server:
        assert HttpClient(10).get(server.url, {}).body == b"{}"


def test_the_config_goes_before_the_environment_and_pythons_variable_before_openssls(
    tls: ssl.SSLContext, authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    other = certificates.for_loopback(tmp_path / "other")
    with raw_server(answering(OK), tls) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(other))
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
        assert HttpClient(10).get(server.url, {}).body == b"{}"
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
        told(server.url, HttpClient(10))
        assert HttpClient(10, str(authority)).get(server.url, {}).body == b"{}"


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_authority_file_that_cannot_be_used_is_named_and_no_other_is_trusted(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    why = "No such file or directory" if content is None else "it holds no certificates"
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    expected = f"No request was sent: the authorities in {file} (SSL_CERT_FILE) cannot be read: {why}."
    assert told("https://127.0.0.1:1/", HttpClient(10)) == expected
    assert "(ca_file)" in told("https://127.0.0.1:1/", HttpClient(1, str(file)))


def test_a_system_without_authorities_has_those_of_mozilla(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = ssl.DefaultVerifyPaths(None, str(tmp_path), "", "", "", "")  # type: ignore[arg-type]
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    assert len(trust.tls_context(None, insecure_skip_verify=False).get_ca_certs()) > 50


# Proxies


@pytest.fixture(name="cloud")
def _cloud(tls: ssl.SSLContext) -> Iterator[RawServer]:
    with raw_server(answering(OK), tls) as server:
        yield server


@pytest.mark.parametrize("login", [None, "us er:p@ss:wörd"])
def test_a_request_goes_through_the_configured_proxy(
    login: str | None, cloud: RawServer, authority: Path
) -> None:
    user, _, password = (login or "").partition(":")
    with raw_server(Proxy(login)) as proxy, raw_server(answering(OK)) as plain:
        http = HttpClient(
            10,
            str(authority),
            proxy_url=proxy.url,
            proxy_login=None if login is None else lambda: (user, password),
        )
        assert http.get(cloud.url, {"X-Auth-Token": "s3cr3t"}).body == b"{}"
        assert proxy.asked[0].startswith(b"CONNECT " + cloud.address.encode())
        assert b"s3cr3t" not in proxy.asked[0]
        assert b"Proxy-Authorization" not in cloud.asked[0]
        assert http.get(f"{plain.url}/a%7Eb", {}).body == b"{}"
        assert proxy.asked[1].startswith(f"GET {plain.url}/a%7Eb ".encode())


def test_a_changed_password_of_the_proxy_is_used_at_once(authority: Path, cloud: RawServer) -> None:
    passwords = iter(["old", "new"])
    with raw_server(Proxy("u:new")) as proxy:
        http = HttpClient(10, str(authority), proxy_url=proxy.url, proxy_login=lambda: ("u", next(passwords)))
        assert "407 Proxy Authentication Required; set proxy_basic_auth" in told(cloud.url, http)
        assert http.get(cloud.url, {}).status == 200


def test_a_password_of_the_proxy_that_cannot_be_read_is_told_and_nothing_is_sent(tmp_path: Path) -> None:
    def read() -> tuple[str, str]:
        return "u", (tmp_path / "gone").read_text()

    expected = "No request was sent: the proxy's password cannot be read: No such file or directory."
    assert (
        told("http://127.0.0.1:1", HttpClient(1, proxy_url="http://127.0.0.1:1", proxy_login=read))
        == expected
    )


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_proxy_of_the_environment_counts_where_the_config_says_nothing(
    name: str, cloud: RawServer, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = {"cloud.invalid:443": cloud.address}
    with raw_server(Proxy("u:p", hosts=hosts)) as proxy, raw_server(Proxy(hosts=hosts)) as configured:
        monkeypatch.setenv(name, proxy.url.replace("://", "://u:p@"))
        assert HttpClient(10, str(authority)).get("https://cloud.invalid/", {}).body == b"{}"
        assert len(proxy.asked) == 1
        HttpClient(10, str(authority), proxy_url=configured.url).get("https://cloud.invalid/", {})
        assert (len(proxy.asked), len(configured.asked)) == (1, 1)
        told("https://cloud.invalid/", HttpClient(1, proxy_url=NO_PROXY))
        monkeypatch.setenv("NO_PROXY", "example.org,.invalid")
        told("https://cloud.invalid/", HttpClient(10))
        assert len(proxy.asked) == 1


def test_a_proxy_for_http_is_none_for_https_and_none_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with raw_server(answering(OK)) as server:
        hosts = {"cloud.invalid": server.address}
        with raw_server(Proxy(hosts=hosts)) as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            assert HttpClient(10).get("http://cloud.invalid/", {}).body == b"{}"
            assert HttpClient(10).get(server.url, {}).body == b"{}"
            told("https://cloud.invalid/", HttpClient(10))
            assert len(proxy.asked) == 1


def test_a_proxy_may_speak_tls_itself(tls: ssl.SSLContext, authority: Path, cloud: RawServer) -> None:
    with raw_server(Proxy("u:p"), tls) as proxy:
        http = HttpClient(10, str(authority), proxy_url=proxy.url, proxy_login=lambda: ("u", "p"))
        assert http.get(cloud.url, {}).body == b"{}"


def test_a_refusal_by_the_proxy_of_a_plain_request_is_an_answer() -> None:
    with raw_server(Proxy("u:p")) as proxy:
        assert HttpClient(10, proxy_url=proxy.url).get("http://cloud.invalid/", {}).status == 407
