"""Whose certificates are trusted: the configured file, else the environment's, else the system's.

The environment names them in `REQUESTS_CA_BUNDLE`, which is for Python, or else in `SSL_CERT_FILE` and
`SSL_CERT_DIR`, which are for every program that uses OpenSSL. For a system without authorities, such as a
slim container image, there are Mozilla's, which come with the package certifi.
"""

import os
import ssl
import stat
from pathlib import Path

from certifi import where

from exporter.adapters.http_client.exchange import BoundedTlsSocket


class TrustUnreadable(OSError):  # noqa: N818 - the class says what happened
    """The authorities cannot be read; the message says which."""


def tls_context(ca_file: str | None, *, insecure_skip_verify: bool) -> ssl.SSLContext:
    """How a server's certificate is checked. Raises `TrustUnreadable`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = BoundedTlsSocket
    if insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context.hostname_checks_common_name = False  # as browsers; urllib3's own context does the same
    named = _named(ca_file)
    for source, path in named:
        try:
            _load(context, path)
        except OSError as error:  # also ssl.SSLError: the file holds no certificates
            reason = "it holds no certificates" if isinstance(error, ssl.SSLError) else error.strerror
            raise TrustUnreadable(f"the authorities in {path} ({source}) cannot be read: {reason}") from error
    if not named and _system_has_authorities():
        context.load_default_certs()
    elif not named:
        context.load_verify_locations(where())
    return context


def _named(ca_file: str | None) -> list[tuple[str, str]]:
    """Who names which file or directory; empty: nobody does."""
    if ca_file is not None:
        return [("ca_file", ca_file)]
    if bundle := os.environ.get("REQUESTS_CA_BUNDLE"):
        return [("REQUESTS_CA_BUNDLE", bundle)]
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    return [(name, path) for name in names if (path := os.environ.get(name))]


def _load(context: ssl.SSLContext, path: str) -> None:
    # OpenSSL takes a directory that is not there for an empty one.
    directory = stat.S_ISDIR(Path(path).stat().st_mode)
    context.load_verify_locations(**{"capath" if directory else "cafile": path})


def _system_has_authorities() -> bool:
    paths = ssl.get_default_verify_paths()
    # In a directory OpenSSL looks for files that are named by a hash, such as `5ad8a5d6.0`.
    return paths.cafile is not None or (
        paths.capath is not None and any(Path(paths.capath).glob("????????.[0-9]"))
    )
