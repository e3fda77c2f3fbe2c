"""What `once`, `record` and `backfill` show on a terminal while they work, and that it goes again."""

import os
import pty
import re
import signal
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from exporter import log
from exporter.cli import main
from exporter.emulator import Cloud, Server
from exporter.emulator.faults import Fault
from exporter.emulator.http_messages import Response
from tests.commands import configured, project
from tests.live.processes import until

CLEAR = "\r\x1b[K"
NOTHING_YET = "." * 10


class Terminal:
    """A terminal that stderr is, and what was drawn on it."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self._theirs = os.fdopen(theirs, "w")
        self._drawn = b""

    def main(self, *arguments: str) -> int:
        """Run a command of which stderr is the terminal. Returns its exit code."""
        with redirect_stderr(self._theirs):
            return main(arguments)

    def drawn(self) -> list[str]:
        """What was drawn so far, cut where a line was deleted."""
        while True:
            try:
                piece = os.read(self._ours, 4096)
            except OSError:  # there is no more yet, or the other side has closed
                break
            self._drawn += piece
        return self._drawn.decode().split(CLEAR)

    def close(self) -> None:
        self._theirs.close()
        os.close(self._ours)


@pytest.fixture(name="terminal")
def _terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    yield terminal
    terminal.close()


@pytest.fixture(name="cloud")
def _cloud() -> Cloud:
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    cloud.add_service(name="mnist")
    return cloud


@pytest.fixture(name="config")
def _config(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.chdir(tmp_path)
    with Server(cloud) as server:
        yield f"--config.file={configured(tmp_path, project(server.url))}"


def test_once_shows_how_far_it_is(
    cloud: Cloud, config: str, terminal: Terminal, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def wait(response: Response) -> Response:
        until(terminal.drawn, lambda lines: f"[{NOTHING_YET}] 0 of 1 services of prod read" in lines)
        return response

    cloud.faults.add(Fault(wait, "events"))
    assert terminal.main("once", config) == 0
    assert terminal.drawn()[-1] == "prod: 1 services, all were read.\r\n"
    assert CLEAR.encode() not in capfdbinary.readouterr().out


def test_record_shows_how_far_it_is_and_how_long_it_goes_on(
    cloud: Cloud, config: str, terminal: Terminal
) -> None:
    line = r"\[\.{10}\] 0 of 1 services of prod read; recording for \d+ s more"

    def interrupt(response: Response) -> Response:
        until(terminal.drawn, lambda lines: any(re.fullmatch(line, each) for each in lines))
        os.kill(os.getpid(), signal.SIGINT)
        return response

    cloud.faults.add(Fault(interrupt, "events"))
    assert terminal.main("record", config, "--output=r.jsonl", "--for=59s") == 130
    assert "recording for" not in terminal.drawn()[-1]


def test_backfill_shows_how_far_it_is(cloud: Cloud, config: str, terminal: Terminal) -> None:
    def wait(response: Response) -> Response:
        until(terminal.drawn, lambda lines: f"[{NOTHING_YET}] 0 of 2 services of prod read" in lines)
        return response

    cloud.add_update(cloud.add_service(name="churn"), "SUCCESS")
    cloud.faults.add(Fault(wait, "events"))
    assert terminal.main("backfill", config, "--output=past.om") == 0
    assert terminal.drawn()[-1] == "prod: 2 services, all were read.\r\n"


@pytest.mark.parametrize("kind", ["", "dumb"])
def test_on_a_terminal_that_cannot_delete_a_line_nothing_is_drawn(
    config: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("TERM", kind)
    assert terminal.main("once", config) == 0
    assert terminal.drawn() == ["prod: 1 services, all were read.\r\n"]


def test_a_line_of_the_log_takes_the_place_of_the_line_that_is_drawn(tmp_path: Path) -> None:
    file = tmp_path / "terminal"
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY)
    output = log.LogOutput(descriptor)
    output.before_line = CLEAR
    output.write("one\n")
    output.before_line = ""
    output.write("two\n")
    output.close()
    os.close(descriptor)
    assert file.read_bytes() == f"{CLEAR}one\ntwo\n".encode()
