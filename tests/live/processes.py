"""Real processes that a test starts, waits for and ends, each by its own pid."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import requests
import yaml

from exporter.emulator import DEFAULT_DOMAIN, DEFAULT_PASSWORD, DEFAULT_PROJECT, DEFAULT_USER

T = TypeVar("T")

# Two shared cores may stand still for seconds; nothing waited for here takes more than one by itself.
PATIENCE_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.05


def until(
    what: Callable[[], T], wanted: Callable[[T], object] = bool, seconds: float = PATIENCE_SECONDS
) -> T:
    """Ask until the answer is as wanted, and give it; AssertionError with the last answer after `seconds`."""
    end = time.monotonic() + seconds
    while not wanted(answer := what()):
        assert time.monotonic() < end, f"still not so after {seconds} s: {answer!r:.4000}"
        time.sleep(_LOOK_AGAIN_SECONDS)
    return answer


def free_port() -> int:
    """A port of loopback that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A child with its output in a file; a context manager that leaves nothing behind."""

    def __init__(self, command: Sequence[str], log: Path, cwd: Path | None = None) -> None:
        self.command, self.log, self._cwd = command, log, cwd
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def child(self) -> subprocess.Popen[bytes]:
        """The process as it was last started."""
        assert self._child is not None, "it was not started"
        return self._child

    def start(self) -> None:
        """Start it, again or for the first time; its output goes behind what is there."""
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(self.command, stdout=output, stderr=output, cwd=self._cwd)

    def wait_for(self, url: str) -> None:
        """Return when `url` answers 200; AssertionError, with what it said, when it ends before."""

        def answers() -> bool:
            assert self.child.poll() is None, f"ended with {self.child.returncode}: {self.log.read_text()}"
            return is_there(url)

        until(answers)

    def end(self) -> int:
        """Ask it to end; its exit code."""
        self.child.terminate()
        return self.child.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.child.kill()
        self.child.wait(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.kill()


def is_there(url: str) -> bool:
    """Whether `url` answers 200."""
    try:
        return requests.get(url, timeout=PATIENCE_SECONDS).ok
    except requests.ConnectionError:
        return False


class Exporter(Process):
    """`modelarts-exporter run` on the cloud at `url`, on an address that outlives a restart."""

    def __init__(self, directory: Path, url: str, **project: Any) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        user = {
            "iam_endpoint": f"{url}/v3",
            "domain": DEFAULT_DOMAIN,
            "username": DEFAULT_USER,
            "password": DEFAULT_PASSWORD,
        }
        row = {"name": "prod", "project_id": DEFAULT_PROJECT, "endpoint": url, "auth": {"password": user}}
        # As short as the intervals can be and still let two cores breathe.
        poll = {"interval": "1s", "active_interval": "500ms", "sweep_interval": "5s", "lateness": "5s"}
        config = directory / "config.yml"
        config.write_text(yaml.safe_dump({"projects": [{**row, "rate_limit": 100, **project}], "poll": poll}))
        command = [sys.executable, "-m", "exporter", "run", f"--config.file={config}"]
        command += [f"--web.listen-address={self.address}", f"--storage.path={directory / 'store'}"]
        super().__init__(command, directory / "exporter.log", directory)

    def start(self) -> None:
        """Start it, and wait until it has something to show."""
        super().start()
        self.wait_for(f"{self.url}/-/ready")
