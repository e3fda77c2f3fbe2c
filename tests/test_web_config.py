import os
from pathlib import Path

import pytest

from exporter.config import ConfigError
from exporter.config.web import TlsServer, WebConfig, WebConfigWatch, load_web_config
from tests import certificates

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"

# A certificate of its own making for localhost, its key, and the same key under the password "abcd".
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUcoJ2PPGKCo+wYhsar8aM9NqJJOUwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMzAyMTgyNVoYDzIxMjYxMDMw
MDIxODI1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAS9aCEeYdLTmmZ8z7p6jQPpSWAy9aujFX1yq5sdQCJJtWHVhuIfuuNF
i6Fe2QvezzmH+3wqd7UOUb2G/3l9fPreo1MwUTAdBgNVHQ4EFgQUAbiVl5QHCYEd
AOPouSp3SKOh51owHwYDVR0jBBgwFoAUAbiVl5QHCYEdAOPouSp3SKOh51owDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiBO8gGRm6xwqAmBkZyQ/1L3
f4ceiOpKCnmmL6iHmpgRFgIhAIjHLOmn6XTbrQ01ZxLaGusTPzRvnGF3x1pdUmWh
DGOT
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg/UH+4s9X2wtaLKfk
Apa1Umcme45uIZV5jBGvrWHuUs6hRANCAAS9aCEeYdLTmmZ8z7p6jQPpSWAy9auj
FX1yq5sdQCJJtWHVhuIfuuNFi6Fe2QvezzmH+3wqd7UOUb2G/3l9fPre
-----END PRIVATE KEY-----
"""
OTHER_KEY = """\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIFqEJK2buCnfd9k2rsNSEez3A9y53khO1HKUZaud2/mSoAoGCCqGSM49
AwEHoUQDQgAE/YmnzWyJIA5BT7XujHbJZEY8UAS0v4LbJaYgwBrrjwgPcFvKMopM
kTMcmc2IjhMIgCn09ahYZWSNsImg9IscvA==
-----END EC PRIVATE KEY-----
"""
LOCKED_KEY = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAg6lRH8s2iKLwICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEJisH0Q9OrI143rOY5gpFpUEgZAQ
4EpeikMuxnSdALM8qcCK81XHJVIg6c0Y1WJe2d9dH9IQWF+mIonBh2E07QYayPFQ
NQGsTLeV2miy3zWQKXK6IkHV8puK8yLXXwNRSau07raj8u5FyAq31r68MnwSmsjO
9dxcOvQAiVM6+tEbAiNcgm886aDkVq68wx+841MM8/1MCpxXji5IaMKL2ZR0Lfw=
-----END ENCRYPTED PRIVATE KEY-----
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "web").mkdir()
    files = {"cert.pem": CERTIFICATE, "key.pem": KEY, "other.pem": OTHER_KEY, "locked.pem": LOCKED_KEY}
    for name, text in files.items():
        (tmp_path / "web" / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(text: str) -> WebConfig:
    Path("web/web.yml").write_text(text)
    return load_web_config("web/web.yml")


def tls(lines: str = "", key: str = "key.pem") -> str:
    text = f"tls_server_config:\n  cert_file: cert.pem\n  key_file: {key}\n"
    return text + "".join(f"  {line}\n" for line in lines.splitlines())


def headers(line: str) -> str:
    return f"http_server_config:\n  headers:\n    {line}\n"


# What is wrong, the text, and every line of the error after the file's name. A message stays in one piece,
# however long, so that it can be searched for.
# ruff: noqa: E501
# fmt: off
MISTAKES: list[tuple[str, ...]] = [
    ("no text at all", "",
     "1: (document): is empty"),
    ("an unknown key", "tls_config: {cert_file: cert.pem}\n",
     "1: tls_config: is not a known key; did you mean tls_server_config? allowed here: tls_server_config, http_server_config, basic_auth_users"),
    ("TLS without files", "tls_server_config: {}\n",
     "1: tls_server_config.cert_file: is missing; must be the path of a readable file",
     "1: tls_server_config.key_file: is missing; must be the path of a readable file"),
    ("a certificate that is not there", "tls_server_config: {cert_file: absent.pem, key_file: key.pem}\n",
     '1: tls_server_config.cert_file: "absent.pem" cannot be read: No such file or directory; must be the path of a readable file'),
    ("a key in place of the certificate", "tls_server_config: {cert_file: key.pem, key_file: key.pem}\n",
     "1: tls_server_config: cert_file and key_file are not a PEM certificate and its unencrypted private key"),
    ("the key of another certificate", tls(key="other.pem"),
     "1: tls_server_config: cert_file and key_file are not a PEM certificate and its unencrypted private key"),
    ("a key under a password", tls(key="locked.pem"),
     "1: tls_server_config: cert_file and key_file are not a PEM certificate and its unencrypted private key"),
    ("client authorities without a certificate", tls("client_ca_file: key.pem\nclient_auth_type: RequireAndVerifyClientCert"),
     '4: tls_server_config.client_ca_file: "key.pem" holds no certificates; must be the path of a readable file of PEM certificates'),
    ("client authorities that nobody is measured by", tls("client_ca_file: cert.pem"),
     "4: tls_server_config.client_ca_file: is set, but client_auth_type asks no client for a certificate; set it to RequireAndVerifyClientCert"),
    ("verification without authorities", tls("client_auth_type: RequireAndVerifyClientCert"),
     "4: tls_server_config.client_auth_type: RequireAndVerifyClientCert needs client_ca_file, the authorities to verify with"),
    ("client certificates that nobody verifies", tls("client_auth_type: RequireAnyClientCert"),
     "4: tls_server_config.client_auth_type: RequireAnyClientCert takes certificates that nobody has verified, which is not supported; use VerifyClientCertIfGiven or RequireAndVerifyClientCert, with client_ca_file"),
    ("an unknown kind of client authentication", tls("client_auth_type: Always"),
     '4: tls_server_config.client_auth_type: "Always" is not one of NoClientCert, RequestClientCert, RequireAnyClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert'),
    ("a restriction that would not be kept", tls("client_allowed_sans: [a]"),
     "4: tls_server_config.client_allowed_sans: is not a known key; allowed here: cert_file, key_file, client_ca_file, client_auth_type, min_version, max_version, cipher_suites, curve_preferences, prefer_server_cipher_suites"),
    ("an unknown version", tls("min_version: TLS1.2"),
     '4: tls_server_config.min_version: "TLS1.2" is not one of TLS10, TLS11, TLS12, TLS13'),
    ("versions in the wrong order", tls("min_version: TLS13\nmax_version: TLS12"),
     "4: tls_server_config.min_version: TLS13 is newer than max_version TLS12"),
    ("a newest version below the default oldest", tls("max_version: TLS11"),
     "1: tls_server_config.min_version: TLS12 is newer than max_version TLS11"),
    ("a header that is not the user's", headers("Server: mine"),
     "3: http_server_config.headers.Server: cannot be set; allowed are Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection"),
    ("a value that the header does not have", headers("X-Frame-Options: DENY"),
     "3: http_server_config.headers.X-Frame-Options: must be deny or sameorigin"),
    ("a header of two lines", headers('X-XSS-Protection: "0\\r\\nSet-Cookie: a"'),
     '3: http_server_config.headers.X-XSS-Protection: "0\\r\\nSet-Cookie: a" is not text that fits in one line of a head'),
    ("headers as a list", headers("- X-Frame-Options"),
     "2: http_server_config.headers: must be a mapping of names to values"),
    ("a password in the clear", "basic_auth_users: {alice: hunter2}\n",
     "1: basic_auth_users.alice: <secret> is not a bcrypt hash, as `htpasswd -nBC 10 NAME` prints it after the colon"),
    ("a hash that was cut", f"basic_auth_users:\n  alice: {HASH[:-1]}\n",
     "2: basic_auth_users.alice: <secret> is not a bcrypt hash, as `htpasswd -nBC 10 NAME` prints it after the colon"),
    ("a user without a hash", "basic_auth_users:\n  alice:\n",
     "2: basic_auth_users.alice: has no value; must be a bcrypt hash, as `htpasswd -nBC 10 NAME` prints it after the colon"),
    ("a name with a colon", f'basic_auth_users: {{"alice:b": {HASH}}}\n',
     "1: basic_auth_users.alice…: is not a user name; it must not be empty or contain a colon"),
    ("a user given twice", f"basic_auth_users:\n  alice: {HASH}\n  alice: {HASH}\n",
     "3: basic_auth_users.alice: is given twice, first on line 2; a key may stand only once"),
]
# fmt: on


@pytest.mark.parametrize("mistake", MISTAKES, ids=[name for name, *_ in MISTAKES])
def test_a_mistake_is_told_with_line_key_rule_and_no_secret(mistake: tuple[str, ...]) -> None:
    _, text, *lines = mistake
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    assert str(caught.value).splitlines() == [f"web/web.yml:{line}" for line in lines]
    assert "hunter2" not in str(caught.value)
    assert HASH[:-1] not in str(caught.value)


def test_tls_has_the_documented_defaults_and_paths_from_the_files_directory() -> None:
    assert loaded(tls()).tls == TlsServer(
        cert_file=Path("web/cert.pem"),
        key_file=Path("web/key.pem"),
        client_ca_file=None,
        client_auth_type="NoClientCert",
        min_version="TLS12",
        max_version="TLS13",
    )


def test_an_absolute_path_stays() -> None:
    web = loaded(tls().replace("cert.pem", str(Path("web/cert.pem").resolve())))
    assert web.tls
    assert web.tls.cert_file == Path("web/cert.pem").resolve()


def test_what_the_format_knows_and_openssl_decides_is_accepted() -> None:
    web = loaded(
        tls(
            """\
client_ca_file: cert.pem
client_auth_type: RequireAndVerifyClientCert
min_version: TLS13
cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
curve_preferences: [X25519]
prefer_server_cipher_suites: true
"""
        )
        + "http_server_config: {http2: true}\n"
    )
    assert web.tls
    assert (web.tls.client_ca_file, web.tls.client_auth_type, web.tls.min_version) == (
        Path("web/cert.pem"),
        "RequireAndVerifyClientCert",
        "TLS13",
    )


def test_headers_are_taken_and_blank_ones_are_not_set() -> None:
    web = loaded(
        headers(
            "X-Frame-Options: deny\n    X-Content-Type-Options: nosniff\n    Content-Security-Policy:\n"
            '    X-XSS-Protection: ""\n    Strict-Transport-Security: max-age=1'
        )
    )
    assert dict(web.headers) == {
        "X-Frame-Options": "deny",
        "X-Content-Type-Options": "nosniff",
        "Strict-Transport-Security": "max-age=1",
    }


@pytest.mark.parametrize("variant", ["2a", "2b", "2y"])
def test_users_have_their_hashes_and_nobody_sees_them(variant: str) -> None:
    known = HASH.replace("2y", variant)
    web = loaded(f"basic_auth_users:\n  alice: {known}\n")
    assert dict(web.users) == {"alice": known}
    assert known not in repr(web)


def test_a_dollar_has_no_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HOME", "/nowhere")
    assert (
        loaded(headers("Content-Security-Policy: ${HOME}$$")).headers["Content-Security-Policy"]
        == "${HOME}$$"
    )


@pytest.mark.parametrize("text", ["{}", "tls_server_config:\nbasic_auth_users: {}\nhttp_server_config:\n"])
def test_a_file_that_asks_for_nothing_is_plain_http_for_everybody(text: str) -> None:
    assert loaded(text) == WebConfig()


class Watched:
    """A web config whose certificate, key and users change while it is watched."""

    def __init__(self, folder: Path) -> None:
        (folder / "later").mkdir()
        self.now = certificates.for_loopback(folder / "web").read_text()
        self.later = certificates.for_loopback(folder / "later").read_text()
        self.applied: list[WebConfig] = []
        self.refused: list[str] = []
        self.watch = WebConfigWatch("web/web.yml", self.applied.append, self.refused.append)
        self.write(self.now, self.now)
        Path("web/web.yml").write_text(tls())
        self.watch.load()

    def write(self, certificate: str = "", key: str = "") -> None:
        """Change the file of what is given."""
        if certificate:
            Path("web/cert.pem").write_text(certificate)
        if key:
            Path("web/key.pem").write_text(key)

    def look(self) -> tuple[int, int]:
        """How often a config was put in force and refused, after one more look."""
        self.watch.look()
        return len(self.applied), len(self.refused)


@pytest.fixture
def watched(home: Path) -> Watched:
    return Watched(home)


def test_nothing_is_put_in_force_while_no_file_changes(watched: Watched) -> None:
    Path("web/web.yml").touch()
    assert watched.look() == (0, 0)


def test_a_pair_is_put_in_force_when_both_files_fit_and_told_once_before(watched: Watched) -> None:
    watched.write(certificate=watched.later)
    assert [watched.look() for _ in range(3)] == [(0, 1)] * 3
    assert "cert_file and key_file are not" in watched.refused[0]
    watched.write(key=watched.later)
    assert [watched.look() for _ in range(3)] == [(1, 1)] * 3
    watched.write(key=watched.now)
    assert watched.look() == (1, 2)


def test_a_change_that_is_taken_back_is_no_change_and_told_again_when_it_returns(watched: Watched) -> None:
    for told in (1, 2):
        watched.write(key=watched.later)
        assert watched.look() == (0, told)
        watched.write(key=watched.now)
        assert watched.look() == (0, told)


def test_a_file_that_is_gone_for_a_moment_is_told_once(watched: Watched) -> None:
    Path("web/cert.pem").unlink()
    assert [watched.look() for _ in range(2)] == [(0, 1)] * 2
    watched.write(certificate=watched.now)
    assert watched.look() == (0, 1)


def test_a_secret_that_changes_by_its_link_alone_is_put_in_force(watched: Watched) -> None:
    # As Kubernetes does it: the files are links through a folder that is a link, and times may be the same.
    for name, text in (("one", watched.now), ("two", watched.later)):
        Path("web", name).mkdir()
        for file in ("cert.pem", "key.pem"):
            Path("web", name, file).write_text(text)
            os.utime(Path("web", name, file), ns=(0, 0))
    Path("web/data").symlink_to("one")
    Path("web/web.yml").write_text(
        "tls_server_config:\n  cert_file: data/cert.pem\n  key_file: data/key.pem\n"
    )
    assert watched.look() == (1, 0)
    Path("web/new").symlink_to("two")
    Path("web/new").replace("web/data")
    assert [watched.look() for _ in range(2)] == [(2, 0)] * 2


def test_users_and_authorities_that_change_are_put_in_force(watched: Watched) -> None:
    Path("web/ca.pem").write_text(CERTIFICATE)
    asked = tls("client_auth_type: RequireAndVerifyClientCert\nclient_ca_file: ca.pem")
    Path("web/web.yml").write_text(f"{asked}basic_auth_users:\n  alice: {HASH}\n")
    assert watched.look() == (1, 0)
    assert dict(watched.applied[0].users) == {"alice": HASH}
    Path("web/ca.pem").write_text(CERTIFICATE * 2)
    assert watched.look() == (2, 0)


def test_a_config_that_cannot_be_put_in_force_is_tried_again(watched: Watched) -> None:
    in_the_way = [OSError("cannot use the certificate")] * 2

    def apply(web_config: WebConfig) -> None:
        if in_the_way:
            raise in_the_way.pop()
        watched.applied.append(web_config)

    watched.watch = WebConfigWatch("web/web.yml", apply, watched.refused.append)
    watched.watch.load()
    watched.write(watched.later, watched.later)
    assert [watched.look() for _ in range(4)] == [(0, 1), (0, 1), (1, 1), (1, 1)]


def test_without_a_file_there_is_nothing_to_watch(watched: Watched) -> None:
    watched.watch = WebConfigWatch("", watched.applied.append, watched.refused.append)
    assert watched.watch.load() == WebConfig()
    assert watched.look() == (0, 0)
