"""What docs/operations.md says: its commands do it, with a running exporter where they need one."""

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.emulator import Cloud, Server

from .commands import RunningExporter, configured, project, samples, value
from .live.processes import PATIENCE_SECONDS, until

PAGE = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()
DB = "modelarts-exporter.db"
TOTAL = "modelarts_service_updates_total"
WRITABLE = "modelarts_exporter_store_writable"
LISTED = "modelarts_exporter_last_list_timestamp_seconds"


def commands(heading: str) -> list[str]:
    """The blocks of commands below a heading of the page that this machine can run; none needs a cluster."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert blocks
    programs = [block.split()[0] for block in blocks]
    return [b for b, name in zip(blocks, programs, strict=True) if name != "kubectl" and shutil.which(name)]


def shell(commands: str, directory: Path) -> None:
    """Run commands as an operator does, in the directory that the exporter was started in."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-euc", commands],
        cwd=directory,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(name="cloud")
def _cloud() -> Cloud:
    return Cloud(lambda: time.time_ns() // 1_000_000)


@pytest.fixture(name="url")
def _url(cloud: Cloud) -> Iterator[str]:
    with Server(cloud) as server:
        yield server.url


@pytest.fixture(name="exporter")
def _exporter(cloud: Cloud, url: str, tmp_path: Path) -> Iterator[RunningExporter]:
    """One that has counted what its cloud has forgotten by now."""
    services = [cloud.add_service(name=name) for name in ("mnist", "resnet")]
    for service_id in services:
        cloud.add_update(service_id, "SUCCESS")
        cloud.add_event(service_id, "abnormal", "failed to pull image, retry later")
    with RunningExporter(tmp_path, configured(tmp_path, project(url))) as exporter:
        exporter.ready()
        for service_id in services:
            exporter.await_value(1, TOTAL, service_id=service_id, result="SUCCESS")
            cloud.service(service_id).updates.clear()
            cloud.service(service_id).events.clear()
        yield exporter


def numbers(exporter: RunningExporter) -> set[str]:
    """The counters of its services."""
    text = exporter.metrics()
    assert sum(sample.value for sample in samples(text, TOTAL, result="SUCCESS")) == 2
    return {
        line for line in text.splitlines() if re.match(r"modelarts_service_\w+_(total|sum|count)\{", line)
    }


@pytest.mark.parametrize("command", commands("Backup"))
def test_an_exporter_on_the_backup_of_a_running_one_shows_the_same_numbers(
    exporter: RunningExporter, url: str, tmp_path: Path, command: str
) -> None:
    shell(command, tmp_path)
    second = tmp_path / "second"
    (second / "data").mkdir(parents=True)
    shutil.copy(tmp_path / "copy.db", second / "data" / DB)
    with RunningExporter(second, configured(second, project(url))) as copy:
        copy.ready()
        assert numbers(copy) == numbers(exporter)
        assert value(exporter.metrics(), WRITABLE) == 1
        assert (copy.end(), exporter.end()) == (0, 0)


def test_a_backup_is_restored_in_the_place_of_a_damaged_store(
    exporter: RunningExporter, tmp_path: Path
) -> None:
    shell(commands("Backup")[-1], tmp_path)
    before = numbers(exporter)
    exporter.kill()
    (tmp_path / "data" / DB).write_bytes(b"no store" * 1000)
    (restore,) = commands("Restore")
    shell(restore, tmp_path)
    exporter.start()
    exporter.ready()
    assert numbers(exporter) == before
    assert exporter.end() == 0


def test_a_store_that_was_made_small_shows_the_same_numbers(
    exporter: RunningExporter, tmp_path: Path
) -> None:
    before = numbers(exporter)
    assert exporter.end() == 0
    (shrink,) = commands("Size")
    shell(shrink, tmp_path)
    exporter.start()
    exporter.ready()
    assert numbers(exporter) == before
    assert exporter.end() == 0


def test_an_exporter_that_cannot_store_shows_nothing_new_says_so_and_goes_on_once_it_can(
    exporter: RunningExporter, cloud: Cloud, tmp_path: Path
) -> None:
    service_id = cloud.add_service(name="new")
    exporter.await_value(0, TOTAL, service_id=service_id, result="FAIL")
    # As on a full disk: what makes a file longer than the log is by now is refused.
    pid = exporter.child.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    size = (tmp_path / "data" / f"{DB}-wal").stat().st_size
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    cloud.add_update(service_id, "FAIL")
    exporter.await_value(0, WRITABLE)
    shown = exporter.metrics()
    listed = value(shown, LISTED)
    assert listed is not None
    # The list is read every second.
    until(lambda: time.time() - listed, lambda age: age > 3)
    still = exporter.metrics()
    for name in (LISTED, "modelarts_up"):
        assert value(still, name) == value(shown, name)
    assert value(still, TOTAL, service_id=service_id, result="FAIL") == 0
    assert (exporter.get("/-/healthy").ok, exporter.get("/").ok) == (True, True)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    exporter.await_value(1, WRITABLE)
    exporter.await_value(1, TOTAL, service_id=service_id, result="FAIL")
    assert (value(exporter.metrics(), LISTED) or 0) > listed
    assert exporter.end() == 0
    assert exporter.output().count("cannot store what was read") == 1
