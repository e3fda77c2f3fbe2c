"""The log never stops the program, whatever becomes of who reads it; and no end is without a sentence."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from exporter import log
from exporter.emulator import Cloud, Server

from .commands import RunningExporter, configured, project, value
from .live.processes import PATIENCE_SECONDS, until

LOST = "modelarts_exporter_log_errors_total"
COUNTED = "modelarts_service_updates_total"


@pytest.fixture(name="cloud")
def _cloud() -> Cloud:
    return Cloud(lambda: time.time_ns() // 1_000_000)


@pytest.fixture(name="url")
def _url(cloud: Cloud) -> Iterator[str]:
    with Server(cloud) as server:
        yield server.url


class LoggingTo(RunningExporter):
    """An exporter whose stderr is a file descriptor of the test's."""

    def __init__(self, directory: Path, config: str, stderr: int, *flags: str) -> None:
        super().__init__(directory, config, *flags)
        self._stderr = stderr

    def start(self) -> None:
        self._child = subprocess.Popen(
            self.command, cwd=self._cwd, stdout=subprocess.DEVNULL, stderr=self._stderr
        )


@contextmanager
def full_disk() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@contextmanager
def reader_that_is_gone() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@contextmanager
def reader_that_takes_nothing() -> Iterator[int]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    while True:  # until the pipe is full
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)  # a write that waits ends
    # A thread may have lines left for this number, which must not become that of another test's file.
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a device
        os.dup2(nothing.fileno(), writing)


@pytest.mark.parametrize("stderr", [full_disk, reader_that_is_gone, reader_that_takes_nothing])
def test_a_log_that_cannot_be_written_stops_nothing(
    cloud: Cloud, url: str, tmp_path: Path, stderr: Callable[[], AbstractContextManager[int]]
) -> None:
    service_id = cloud.add_service(name="mnist")
    with (
        stderr() as descriptor,
        LoggingTo(tmp_path, configured(tmp_path, project(url)), descriptor) as exporter,
    ):
        exporter.ready()
        for count in (1, 2, 3):  # each failure is a line in the log, or would be
            cloud.add_update(service_id, "FAIL")
            exporter.await_value(count, COUNTED, result="FAIL")
        if stderr is not reader_that_takes_nothing:
            until(lambda: value(exporter.metrics(), LOST), lambda lost: (lost or 0) >= 3)
        assert exporter.end() == 0


def test_a_closed_stderr_costs_lines_and_puts_none_into_another_file(
    cloud: Cloud, url: str, tmp_path: Path
) -> None:
    cloud.add_service(name="mnist")
    config = configured(tmp_path, project(url))
    exporter = RunningExporter(tmp_path, config)
    exporter.command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *exporter.command]
    with exporter:
        exporter.ready()
        until(lambda: value(exporter.metrics(), LOST), lambda lost: (lost or 0) >= 2)
        assert b"event=" not in (tmp_path / "data" / "modelarts-exporter.lock").read_bytes()
        assert exporter.end() == 0


def test_lines_beyond_the_backlog_are_lost_and_counted() -> None:
    with reader_that_takes_nothing() as descriptor:
        lost: list[None] = []
        output = log.LogOutput(descriptor)
        for _ in range(2 * log._LONGEST_BACKLOG):
            output.write("line\n")
        output.count_errors(lambda: lost.append(None))
        assert log._LONGEST_BACKLOG - 1 <= len(lost) <= log._LONGEST_BACKLOG
        output.close()


def test_the_log_tells_what_is_in_use_and_what_was_found_once(cloud: Cloud, url: str, tmp_path: Path) -> None:
    cloud.add_service(name="mnist")
    config = configured(tmp_path, project(url))
    with RunningExporter(tmp_path, config) as exporter:
        exporter.ready()
        exporter.await_value(1, "modelarts_service_up")
        lists = "modelarts_exporter_api_requests_total"
        until(
            lambda: value(exporter.metrics(), lists, endpoint="list", code="200"),
            lambda count: count is not None and count > 3,
        )
        cloud.add_service(name="second")
        exporter.await_value(2, "modelarts_services")
        assert exporter.end() == 0
        told = exporter.output()
    assert "event=starting version=" in told
    assert f"config={config}" in told
    assert "store=data/" in told
    assert [
        line.split("services=")[1] for line in told.splitlines() if 'event="services listed"' in line
    ] == [
        "1",
        "2",
    ]


# --- every end has a sentence and a code ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "method"),
    [("project_poller", "ProjectPoller.take_due"), ("fetch", "poll_service"), ("fetch", "FetchPool._serve")],
)
def test_a_thread_that_fails_ends_the_process_with_a_sentence(
    cloud: Cloud, url: str, tmp_path: Path, module: str, method: str
) -> None:
    cloud.add_service(name="mnist")
    config = configured(tmp_path, project(url))
    code = f"""
import sys
from exporter import cli
from exporter.engine import {module} as module
def broken(*_):
    raise ZeroDivisionError("a mistake")
module.{method} = broken
sys.exit(cli.main(sys.argv[1:]))
"""
    flags = [f"--config.file={config}", "--web.listen-address=127.0.0.1:0", "--storage.path="]
    done = subprocess.run(
        [sys.executable, "-c", code, *flags],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "modelarts-exporter: ended by a mistake in the program, please report it: "
        "ZeroDivisionError: a mistake"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("command", "serves"), [(["--config.file=x"], True), (["once"], False)])
def test_a_signal_before_anything_is_imported_ends_it_as_later(
    number: signal.Signals, command: list[str], serves: bool
) -> None:
    code = f"""
import os, signal, sys
class Import:
    def find_spec(self, name, *_):
        if name == "exporter.cli":
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Import())
sys.argv[1:] = {command}
from exporter.__main__ import main
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert (done.returncode, done.stdout, done.stderr) == (0 if serves else 128 + number, "", "")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["chek-config", "x.yml"], "'chek-config' is no command; did you mean check-config?"),
        (["frobnicate"], "'frobnicate' is no command; the commands are run, "),
    ],
)
def test_an_unknown_command_is_named(given: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *given],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"modelarts-exporter: {sentence}")
