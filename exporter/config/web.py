"""The file of `--web.config.file`: TLS, users and headers of our server, in exporter-toolkit's format."""

import hashlib
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from exporter.config import ConfigError, load_section, values
from exporter.config.section import Fault, Section

_HEADERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {  # what the toolkit lets users set, with the values it accepts; empty: any
        "Content-Security-Policy": (),
        "Strict-Transport-Security": (),
        "X-Content-Type-Options": ("nosniff",),
        "X-Frame-Options": ("deny", "sameorigin"),
        "X-XSS-Protection": (),
    }
)
_CLIENT_AUTH = (
    "NoClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
)
_VERSIONS = ("TLS10", "TLS11", "TLS12", "TLS13")  # oldest first
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")


def _file(text: str, directory: Path) -> Path:
    return values.readable(text, directory)


def _hash(text: str, _: Path) -> str:
    if not _BCRYPT.fullmatch(text):
        raise values.Unfit
    return text


def _header(text: str, _: Path) -> str:
    # A character above U+00FF cannot be written in a head, a control character would end the line.
    if not re.fullmatch(r"[\x20-\x7e\xa0-\xff]*", text):
        raise values.Unfit
    return text


def _filled_in(headers: Any) -> Any:
    return {n: text for n, text in headers.items() if text} if isinstance(headers, dict) else headers


FILE = values.Kind("the path of a readable file", _file)
HASH = values.Kind("a bcrypt hash, as `htpasswd -nBC 10 NAME` prints it after the colon", _hash, secret=True)
HEADER = values.Kind("text that fits in one line of a head", _header)
VERSION = values.choice(*_VERSIONS)

Version = Annotated[Literal["TLS10", "TLS11", "TLS12", "TLS13"], VERSION]
Words = tuple[Annotated[str, values.TEXT], ...]


class TlsServer(Section):
    """The server's certificate, and whether clients need one. Paths start from the directory of the file."""

    cert_file: Annotated[Path, FILE] = Field(description="The server's certificate with its chain, PEM.")
    key_file: Annotated[Path, FILE] = Field(description="Its private key, PEM, without a password.")
    client_ca_file: Annotated[Path, values.CERTIFICATES] | None = Field(
        default=None, description="Certificates of the authorities that sign client certificates, PEM."
    )
    client_auth_type: Annotated[str, values.choice(*_CLIENT_AUTH)] = Field(
        default="NoClientCert",
        description="Whether clients need a certificate. To accept only clients with a valid one, set "
        "RequireAndVerifyClientCert. RequestClientCert and RequireAnyClientCert are errors, because they "
        "verify nothing.",
    )
    min_version: Version = Field(default="TLS12", description="Oldest TLS version that is accepted.")
    max_version: Version = Field(default="TLS13", description="Newest TLS version that is accepted.")
    cipher_suites: Words = Field(
        default=(), description="Accepted but not used: OpenSSL's own choice is safe and kept up to date."
    )
    curve_preferences: Words = Field(default=(), description="Accepted but not used, for the same reason.")
    prefer_server_cipher_suites: Annotated[bool, values.BOOLEAN] = Field(
        default=True, description="Accepted but not used, for the same reason."
    )

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Client certificates are verified by an authority or not at all; versions in order."""
        kind, authority = data.get("client_auth_type"), data.get("client_ca_file")
        if authority is not None and kind in (None, "NoClientCert"):
            remedy = "set it to RequireAndVerifyClientCert"
            yield (
                ("client_ca_file",),
                f"is set, but client_auth_type asks no client for a certificate; {remedy}",
            )
        if kind in ("RequestClientCert", "RequireAnyClientCert"):
            remedy = "use VerifyClientCertIfGiven or RequireAndVerifyClientCert, with client_ca_file"
            fault = f"{kind} takes certificates that nobody has verified, which is not supported; {remedy}"
            yield ("client_auth_type",), fault
        elif authority is None and kind in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert"):
            yield ("client_auth_type",), f"{kind} needs client_ca_file, the authorities to verify with"
        oldest, newest = data.get("min_version", "TLS12"), data.get("max_version", "TLS13")
        if oldest in _VERSIONS and newest in _VERSIONS and _VERSIONS.index(oldest) > _VERSIONS.index(newest):
            yield ("min_version",), f"{oldest} is newer than max_version {newest}"

    @model_validator(mode="after")
    def _pair(self) -> Self:
        """Certificate and key are read together: only OpenSSL knows whether they fit."""
        try:
            # Without a password of our own OpenSSL would ask for one on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                self.cert_file, self.key_file, password=lambda: ""
            )
        except ssl.SSLError:
            message = "cert_file and key_file are not a PEM certificate and its unencrypted private key"
            raise values.wrong(message) from None
        return self


class HttpServer(Section):
    """What is sent with every answer."""

    http2: Annotated[bool, values.BOOLEAN] = Field(
        default=False, description="Accepted but not used: scrapes gain nothing from HTTP/2."
    )
    headers: Annotated[Mapping[str, Annotated[str, HEADER]], BeforeValidator(_filled_in)] = Field(
        default_factory=dict,
        description=f"Headers of every answer. Allowed: {', '.join(f'`{name}`' for name in _HEADERS)}. An "
        "empty one is not sent.",
    )

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Only the toolkit's headers, with its values."""
        headers = data.get("headers")
        for name, value in headers.items() if isinstance(headers, dict) else ():
            if name not in _HEADERS:
                yield ("headers", name), f"cannot be set; allowed are {', '.join(_HEADERS)}"
            elif value and _HEADERS[name] and value not in _HEADERS[name]:
                yield ("headers", name), f"must be {' or '.join(_HEADERS[name])}"


class WebFile(Section):
    """The whole file."""

    tls_server_config: TlsServer | None = Field(default=None, description="Without it, plain HTTP.")
    http_server_config: HttpServer = Field(default=HttpServer(), description="Headers.")
    basic_auth_users: Mapping[str, Annotated[str, HASH]] = Field(
        default_factory=dict,
        description="Users, each with the bcrypt hash of the password. Every path needs one of them. While "
        "many passwords are tried, the IP addresses that they come from take turns. Empty: "
        "no password is needed.",
    )

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """Names that a client can send."""
        users = data.get("basic_auth_users")
        for name in users if isinstance(users, dict) else ():
            if not name or ":" in name:
                yield (
                    ("basic_auth_users", name),
                    "is not a user name; it must not be empty or contain a colon",
                )


@dataclass(frozen=True)
class WebConfig:
    """How our server answers.

    Attributes:
        tls: None for plain HTTP.
        headers: for every answer.
        users: names and bcrypt hashes; empty lets everybody in.

    """

    tls: TlsServer | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, str] = field(default_factory=dict, repr=False)


class WebConfigWatch:
    """Loads the web config, and loads it again when its file or one that it names has changed.

    Files are compared by their content: a Kubernetes secret changes by a symbolic link, and times may stay.

    Args:
        path: of the web config file; empty: there is none.
        apply: puts a web config in force; raises OSError or ValueError for one that cannot be used.
        on_refused: told why a change leaves the old one in force; once for each reason in a row.

    """

    def __init__(
        self, path: str | Path, apply: Callable[[WebConfig], None], on_refused: Callable[[str], None]
    ) -> None:
        self._path = path
        self._apply = apply
        self._on_refused = on_refused
        self._seen: Mapping[Path, bytes] = {}
        self._refused = ""

    def load(self) -> WebConfig:
        """Read the file; `look` compares with what is there now. Raises `ConfigError`."""
        if not self._path:
            return WebConfig()
        own = {Path(self._path): _digest(Path(self._path))}  # before it is read: what comes later is a change
        config = load_web_config(self._path)
        tls = config.tls
        named = (tls.cert_file, tls.key_file, tls.client_ca_file) if tls is not None else ()
        self._seen = own | {file: _digest(file) for file in named if file is not None}
        return config

    def look(self) -> None:
        """Put what has changed in force; a certificate whose key has not come yet is tried again."""
        before = self._seen
        if all(_digest(file) == digest for file, digest in before.items()):
            self._refused = ""
            return
        try:
            self._apply(self.load())
        except (ConfigError, OSError, ValueError) as error:
            self._seen = before
            if str(error) != self._refused:
                self._refused = str(error)
                self._on_refused(self._refused)
        else:
            self._refused = ""


def _digest(file: Path) -> bytes:
    """What tells a file's content from another; of one that cannot be read, nothing."""
    try:
        return hashlib.sha256(file.read_bytes()).digest()
    except OSError:
        return b""


def load_web_config(path: str | Path) -> WebConfig:
    """Read the file; `$` has no meaning in it, because hashes are full of them.

    Raises:
        ConfigError: with every problem.

    """
    file = load_section(path, WebFile, environ=None)
    headers = MappingProxyType(dict(file.http_server_config.headers))
    users = MappingProxyType(dict(file.basic_auth_users))
    return WebConfig(file.tls_server_config, headers, users)
