"""Processes that a test starts, waits for and ends."""

import random
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

import requests

T = TypeVar("T")

# Two shared cores may do nothing for seconds; nothing that is waited for here takes more than one by itself.
PATIENCE_SECONDS = 30.0
_INTERVAL_SECONDS = 0.05


def until(
    what: Callable[[], T], wanted: Callable[[T], object] = bool, seconds: float = PATIENCE_SECONDS
) -> T:
    """Call `what` until its result is as wanted, and return it; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not wanted(answer := what()):
        assert time.monotonic() < end, f"still not so after {seconds} s: {answer!r:.4000}"
        time.sleep(_INTERVAL_SECONDS)
    return answer


def free_port() -> int:
    """A port of loopback that is not in use now, and that nobody is given who asks for any port.

    The kernel has a range of ports for those who do not name one: clients, and servers on port 0. A port of
    that range may be gone before the program that is told of it listens there.
    """
    first_of_the_kernel = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    # By chance, because tests run side by side; below 10,000 are the ports of well-known servers.
    for port in random.SystemRandom().sample(range(10_000, first_of_the_kernel), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("none of a hundred ports is free")


class Process:
    """A child process with its output in a file; a context manager that ends it."""

    def __init__(self, command: Sequence[str], log: Path, cwd: Path | None = None) -> None:
        self.command, self.log, self._cwd = command, log, cwd
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def child(self) -> subprocess.Popen[bytes]:
        """The process as it was last started."""
        assert self._child is not None, "it was not started"
        return self._child

    def start(self) -> None:
        """Start it, or start it again; its output is appended to the file."""
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(self.command, stdout=output, stderr=output, cwd=self._cwd)

    def wait_for(self, url: str) -> None:
        """Wait until `url` returns 200; AssertionError with its output if the process ends before."""

        def answers() -> bool:
            assert self.child.poll() is None, f"ended with {self.child.returncode}: {self.log.read_text()}"
            return responds(url)

        until(answers)

    def end(self) -> int:
        """End it with SIGTERM; returns its exit code."""
        self.child.terminate()
        return self.child.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.child.kill()
        self.child.wait(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.poll() is None:
            self.kill()


def responds(url: str) -> bool:
    """Whether `url` returns 200."""
    try:
        return requests.get(url, timeout=PATIENCE_SECONDS).ok
    except requests.ConnectionError:
        return False
