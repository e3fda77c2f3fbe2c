"""A web server in a process of its own, that may open few files; `python -m tests.web_process --help`."""

import argparse
import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, NamedTuple

from exporter.adapters.web.app import WebApp
from exporter.adapters.web.server import WebServer
from tests.page_examples import Fleet

PAGE_BYTES = 5_000_000  # more than the buffers between two sockets hold


class Big:
    """A page that no buffer holds."""

    def body(self, *, openmetrics: bool, gzip: bool, tail: bytes) -> list[bytes]:
        return [b"x" * 1000] * (PAGE_BYTES // 1000)


class Tls(NamedTuple):
    cert_file: str
    key_file: str
    client_ca_file: str | None = None
    client_auth_type: str | None = None
    min_version: str | None = None
    max_version: str | None = None


class Config(NamedTuple):
    tls: Tls | None = None
    headers: Mapping[str, str] = {}
    users: Mapping[str, str] = {}


def application(**other: Any) -> WebApp[Any]:
    """An application whose page is big."""
    fleet = Fleet()
    doors = {**fleet.doors(), "snapshot": lambda: fleet.snapshot()._replace(page=Big()), **other}
    return WebApp(
        on_scraped=lambda page: None,
        render_self_metrics=lambda openmetrics: b"",
        healthy=lambda: (True, "ok"),
        ready=lambda: (True, "ok"),
        reload=lambda: (True, "ok"),
        **doors,
    )


@contextmanager
def web_process(*, certificate: Path | None = None, files: int = 1024, taken: int = 0) -> Iterator[str]:
    """The `host:port` of a server that may open so many files, and has taken so many for itself."""
    command = [sys.executable, "-m", "tests.web_process", f"--files={files}", f"--taken={taken}"]
    with Popen([*command, str(certificate or "")], stdout=PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.send_signal(signal.SIGTERM)
            assert child.wait() == 0


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("certificate", help="PEM file with the key; empty for plain HTTP")
    parser.add_argument("--files", type=int, help="most open files")
    parser.add_argument("--taken", type=int, help="how many of them are open already")
    asked = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (asked.files, most))
    tls = Tls(asked.certificate, asked.certificate) if asked.certificate else None
    server = WebServer(["127.0.0.1:0"], application(), Config(tls))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    server.start()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(asked.taken)]
    print(server.addresses[0], flush=True)  # noqa: T201
    signal.sigwait([signal.SIGTERM])
    for descriptor in opened:
        os.close(descriptor)
    server.stop()


if __name__ == "__main__":
    main()
