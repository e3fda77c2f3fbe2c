"""The processes of a measurement: started, measured from outside, ended."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import yaml

from tests.live.processes import free_port, until

PROJECT_ID = "0" * 32
THREADS = 8
# Whatever is waited for takes minutes at most on two cores that others use too.
_PATIENCE_SECONDS = 600.0
_NO_LIMIT = 5000  # the machine is measured, not a limit
_LOOK_SECONDS = 0.02
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def get(url: str, *, packed: bool = False, method: str = "GET") -> bytes:
    """The body of a URL as it is sent."""
    headers = {"Accept-Encoding": "gzip"} if packed else {}
    request = urllib.request.Request(url, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer:
        body: bytes = answer.read()
        return body


@contextmanager
def server(module: str, *arguments: str) -> Iterator[str]:
    """A server of this folder; gives its address, which it prints on its first line."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child.stdout.readline().strip()
        finally:
            child.kill()


def client(module: str, *arguments: str) -> Any:
    """What a client of this folder prints, a JSON document."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


class Exporter:
    """`modelarts-exporter run` on a fleet, in a folder of its own; a context manager that ends it.

    Args:
        directory: for its config, store and log.
        fleet: the address of the fleet's server.
        interval: how often it lists the services.

    """

    def __init__(self, directory: Path, fleet: str, interval: str = "5s") -> None:
        self.directory, self.fleet = directory, fleet
        self.url = f"http://127.0.0.1:{free_port()}"
        (directory / "token").write_text("any-token-will-do")
        project = {
            "name": "prod",
            "project_id": PROJECT_ID,
            "endpoint": fleet,
            "auth": {"token_file": str(directory / "token")},
            "rate_limit": _NO_LIMIT,
            "concurrency": THREADS,
        }
        # The interval of full reads is so long that none is due.
        poll = {"interval": interval, "active_interval": "10s", "sweep_interval": "24h"}
        (directory / "config.yml").write_text(yaml.safe_dump({"projects": [project], "poll": poll}))

    def start(self) -> None:
        """Start it, or start it again on what it has stored."""
        address = self.url.removeprefix("http://")
        command = [sys.executable, "-m", "exporter", "--config.file=config.yml"]
        self._resources = ExitStack()
        log = self._resources.enter_context((self.directory / "log").open("ab"))
        self.began = time.perf_counter()
        self.child = subprocess.Popen(
            [*command, f"--web.listen-address={address}"], cwd=self.directory, stdout=log, stderr=log
        )

    def stop(self) -> None:
        """End it as an operator does."""
        self.child.terminate()
        self.child.wait(_PATIENCE_SECONDS)
        self._resources.close()

    def limit(self, rate: int) -> None:
        """Go on with so many requests a second."""
        config = self.directory / "config.yml"
        config.write_text(config.read_text().replace(f"rate_limit: {_NO_LIMIT}", f"rate_limit: {rate}"))
        self.child.send_signal(signal.SIGHUP)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        self._resources.close()

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def memory(self, *, peak: bool = False) -> float:
        """MiB that are resident, or were at the most."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        line = next(each for each in status.splitlines() if each.startswith("VmHWM" if peak else "VmRSS"))
        return int(line.split()[1]) / 1024

    def ready(self) -> float:
        """Wait until it is ready; the seconds since it was started."""
        while True:
            assert self.child.poll() is None, (self.directory / "log").read_text()
            with suppress(OSError):
                get(f"{self.url}/-/ready")
                return time.perf_counter() - self.began
            time.sleep(_LOOK_SECONDS)

    def sum_of(self, name: str) -> float:
        """The sum of all samples of a metric on the page."""
        page = get(f"{self.url}/metrics").decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in page if line.startswith(name + "{"))


def asked(fleet: str) -> dict[str, int]:
    """How many requests of each kind a fleet has answered."""
    counts: dict[str, int] = json.loads(get(f"{fleet}/bench"))
    return counts


def wait_for_reads(exporter: Exporter, services: int) -> None:
    """Wait until every service was read and is shown."""
    until(lambda: asked(exporter.fleet).get("events", 0) >= services, seconds=_PATIENCE_SECONDS)
    line = b"\nmodelarts_service_last_poll_timestamp_seconds{"
    page = f"{exporter.url}/metrics"
    until(lambda: get(page).count(line) >= services, seconds=_PATIENCE_SECONDS)


def wait_for_sum(exporter: Exporter, name: str, least: float) -> None:
    """Wait until the samples of a metric add up to that."""
    exporter.ready()
    until(lambda: exporter.sum_of(name) >= least, seconds=_PATIENCE_SECONDS)


def wait_for_lists(fleet: str, least: int) -> None:
    """Wait until a fleet was asked for so many pages of its list."""
    until(lambda: asked(fleet).get("list", 0) >= least, seconds=_PATIENCE_SECONDS)
