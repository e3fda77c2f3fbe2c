"""One minute with many changes: the totals stay right, and memory and open files do not grow."""

import time
from pathlib import Path

import pytest
import requests

from tests.live.conftest import Pipeline
from tests.live.processes import PATIENCE_SECONDS, until
from tests.random_activity import RandomActivity

pytestmark = pytest.mark.live

SERVICES = 200
SECONDS = 60
# Until then every service was read some times, every code path was run, and every pool is filled.
WARM_UP_SECONDS = 15
CHANGES_PER_SECOND = 20
# 900 changes leave their keys in the ledger for a few seconds only; measured growth: 1 to 3 MiB, of
# allocator arenas. A leak of one answer (100 kB) a second would be 4.5 MiB.
GROWTH_MIB = 12.0
# Connections of the scrapes that are under way, more or less.
MORE_FILES = 6

ACCEPT = {
    "text": "text/plain; version=0.0.4",
    "openmetrics": "application/openmetrics-text; version=1.0.0",
}


@pytest.mark.timeout(180)
def test_a_minute_of_a_changing_fleet(pipeline: Pipeline) -> None:
    # A tick of the exporter reads at most 100 services a second, so it takes two to have seen all.
    activity = RandomActivity(pipeline.cloud, 1, lateness=2_500, quiet=30_000, most=SERVICES + 10)
    activity.populate(SERVICES)
    until(
        lambda: pipeline.prometheus.value("count(modelarts_service_last_poll_timestamp_seconds)"),
        lambda read: read == SERVICES,
    )
    began = time.monotonic()
    memory: list[float] = []
    files: list[int] = []
    for second in range(SECONDS):
        for place in range(CHANGES_PER_SECOND):
            activity.act()
            moment = began + second + place / CHANGES_PER_SECOND
            until(lambda moment=moment: time.monotonic() >= moment)  # type: ignore[misc]
        scrape(pipeline)
        if second >= WARM_UP_SECONDS:
            memory.append(resident_mib(pipeline.exporter.child.pid))
            files.append(open_files(pipeline.exporter.child.pid))

    third = len(memory) // 3
    growth = median(memory[-third:]) - median(memory[:third])
    before = median(memory[:third])
    print(f"resident {before:.1f} MiB {growth:+.1f}, open files {files[0]} to {files[-1]}")  # noqa: T201 - for -s
    assert growth < GROWTH_MIB, memory
    assert median(files[-third:]) <= median(files[:third]) + MORE_FILES, files
    pipeline.wait_until_correct()


def scrape(pipeline: Pipeline) -> None:
    """Scrape both formats."""
    for form, accept in ACCEPT.items():
        answer = requests.get(
            f"{pipeline.exporter.url}/metrics", headers={"Accept": accept}, timeout=PATIENCE_SECONDS
        )
        assert answer.headers["Content-Type"].startswith(accept.partition(";")[0])
        assert answer.content.endswith(b"# EOF\n") == (form == "openmetrics")


def median(values: list[float] | list[int]) -> float:
    return sorted(values)[len(values) // 2]


def resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20  # pages of Linux on the machines that run this


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
