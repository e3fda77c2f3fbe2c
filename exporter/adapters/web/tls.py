"""The TLS side of the web server, from the `tls_server_config` of a web config file."""

import ssl
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")

_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}
# The two other policies of the format ask for a certificate without verifying it, which ssl cannot do.
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


class TlsServer(Protocol):
    """What is needed of `tls_server_config`; an empty value or None stands for the default."""

    @property
    def cert_file(self) -> Path | str:
        """The certificate and its chain, PEM."""

    @property
    def key_file(self) -> Path | str:
        """Its private key, PEM, without a passphrase."""

    @property
    def client_ca_file(self) -> Path | str | None:
        """What client certificates are verified with, PEM."""

    @property
    def client_auth_type(self) -> str | None:
        """NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert."""

    @property
    def min_version(self) -> str | None:
        """TLS10 to TLS13, TLS12 by default."""

    @property
    def max_version(self) -> str | None:
        """TLS10 to TLS13, the newest by default."""


def server_context(tls: TlsServer) -> ssl.SSLContext:
    """Read the files.

    Raises:
        OSError: a file cannot be read or used; one sentence that names it.
        ValueError: a value that is not known; one sentence.

    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _one_of(_VERSIONS, tls.min_version or "TLS12", "min_version")
    if tls.max_version:
        context.maximum_version = _one_of(_VERSIONS, tls.max_version, "max_version")
    try:
        # An empty passphrase, lest OpenSSL asks for one on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except OSError as error:
        raise OSError(
            f"cannot use the certificate {tls.cert_file} with the key {tls.key_file}: {_reason(error)}"
        ) from error
    if tls.client_ca_file:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except OSError as error:
            raise OSError(f"cannot use the client CA {tls.client_ca_file}: {_reason(error)}") from error
    context.verify_mode = _one_of(_CLIENT_AUTH, tls.client_auth_type or "NoClientCert", "client_auth_type")
    return context


def _one_of(known: dict[str, T], value: str, key: str) -> T:
    if value not in known:
        raise ValueError(f"{key}: {value!r} is not known, allowed is {', '.join(known)}")
    return known[value]


def _reason(error: OSError) -> str:
    """OpenSSL's reasons are in capitals with underscores; the system's are sentences."""
    return getattr(error, "reason", None) or error.strerror or str(error)
