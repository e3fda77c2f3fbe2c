"""A past that `backfill` wrote, in a real Prometheus that goes on with the living exporter."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from exporter.emulator import Cloud, Server
from tests.commands import RunningExporter, configured, project
from tests.dashboard_files import ROOT, Query, all_queries
from tests.live.processes import until
from tests.live.prometheus import Prometheus

pytestmark = [pytest.mark.live, pytest.mark.timeout(480)]

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

PANEL_RANGE = "2d"
FILLED = {
    "$__range:1m": f"{PANEL_RANGE}:1m",
    "$__range:$__interval": f"{PANEL_RANGE}:1h",
    "$__range_s": str(2 * 86400),
    "$__range": PANEL_RANGE,
    "$__rate_interval": "1d",
    "$__interval": "1d",
    "${__from}": "0",
    "$project": ".+",
    "$service": ".+",
}
# What only the running exporter knows, how reading the cloud went; and what nobody was told then.
WITHOUT_A_PAST = ("modelarts_exporter_", "modelarts_up", "ALERTS")


class Setup(NamedTuple):
    """The living system after the past was put in; `failures` and `successes` are those of the past."""

    cloud: Cloud
    service_id: str
    exporter: RunningExporter
    prometheus: Prometheus
    failures: int
    successes: int
    seam: float  # epoch seconds


def follow_the_page(begin: str, directory: Path, **places: str) -> None:
    """Run the command of docs/backfill.md that begins so, with these places instead of the page's."""
    page = (ROOT / "docs" / "backfill.md").read_text("utf-8")
    (command,) = (line for line in page.splitlines() if line.startswith(begin))
    for name, place in places.items():
        command, found = re.subn(rf"(--{name}=)\S+", rf"\g<1>{place}", command)
        assert found == 1, name
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-ec", command],
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def move(blocks: Path, storage: Path) -> None:
    """The page's `mv`."""
    storage.mkdir(exist_ok=True)
    found = list(blocks.iterdir())
    assert found
    for block in found:
        block.rename(storage / block.name)


@pytest.fixture(name="setup", scope="module")
def _setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    directory = tmp_path_factory.mktemp("backfill")
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    now = cloud.clock()
    service_id = cloud.add_service(name="mnist")
    results = [result for _ in range(8) for result in ("FAIL", "SUCCESS", "SUCCESS")]
    for number, result in enumerate(results):
        began = now - 5 * DAY + (number + 1) * 290 * MINUTE
        cloud.add_update(service_id, result, at=began)
        cloud.add_event(service_id, "normal", "start to deploy service", began)
        cloud.add_event(service_id, "normal", "[mnist 0.0.1] starting model", began + 30_000)
        if result == "FAIL":
            cloud.add_event(service_id, "abnormal", "failed to pull image, retry later", began + MINUTE)
            cloud.add_event(service_id, "abnormal", "Failed to start service mnist.", began + 5 * MINUTE)
        else:
            cloud.add_event(service_id, "normal", "Service mnist started.", began + 100_000)
    with ExitStack() as stack:
        config = configured(directory, project(stack.enter_context(Server(cloud)).url))
        past, storage = directory / "past.om", directory / "tsdb"
        follow_the_page("modelarts-exporter backfill", directory, since="6d")
        seam = max(float(line.rsplit(" ", 1)[1]) for line in past.read_text().splitlines() if line[0] != "#")
        follow_the_page("promtool tsdb create-blocks-from openmetrics", directory)
        move(directory / "blocks", storage)

        exporter = stack.enter_context(RunningExporter(directory, config))
        exporter.ready()
        prometheus = stack.enter_context(Prometheus(directory, exporter.address, retention="100d"))
        until(lambda: prometheus.value("modelarts_up"))
        # The recorded series have no past of their own.
        shutil.copy(ROOT / "alerts" / "modelarts.rules.yml", directory)
        follow_the_page("python3 -c", directory)
        keep_what_the_dashboard_reads(directory / "delivery.rules.yml")
        follow_the_page("promtool tsdb create-blocks-from rules", directory, url=prometheus.url)
        move(directory / "recorded", storage)
        assert prometheus.end() == 0
        prometheus.start()  # it takes up new blocks once a minute, and when it starts
        yield Setup(
            cloud, service_id, exporter, prometheus, results.count("FAIL"), results.count("SUCCESS"), seam
        )


def keep_what_the_dashboard_reads(file: Path) -> None:
    """Leave the rules in the file whose series the dashboard reads; all of them would take minutes."""
    (group,) = yaml.safe_load(file.read_text("utf-8"))["groups"]
    read = {name for query in delivery_queries() for name in re.findall(r"\w+(?::\w+)+", query.expr)}
    group["rules"] = [rule for rule in group["rules"] if rule["record"] in read]
    file.write_text(yaml.safe_dump({"groups": [group]}))


def delivery_queries() -> list[Query]:
    """The queries of the dashboard that can have a past."""
    return [
        query
        for query in all_queries()
        if query.place.startswith("modelarts-delivery / ")
        and not any(name in query.expr for name in WITHOUT_A_PAST)
    ]


def grown(prometheus: Prometheus, counter: str, window: str = "7d") -> float | None:
    """What `increase()` says of all series of a counter, past and living; it is about that, not exactly."""
    return prometheus.value(f"sum(increase({counter}[{window}]))")


def test_increase_across_the_seam_is_what_happened_and_nothing_more(setup: Setup) -> None:
    cloud, prometheus = setup.cloud, setup.prometheus
    failed = 'modelarts_service_updates_total{result="FAIL"}'
    succeeded = 'modelarts_service_updates_total{result="SUCCESS"}'
    abnormal = 'modelarts_service_events_total{event_type="abnormal"}'
    assert grown(prometheus, failed) == pytest.approx(setup.failures, rel=0.01)
    assert grown(prometheus, succeeded) == pytest.approx(setup.successes, rel=0.01)
    assert grown(prometheus, abnormal) == pytest.approx(2 * setup.failures, rel=0.01)
    # Nothing happened in the last three hours, and beginning to look is no news.
    for counter in (failed, succeeded, abnormal):
        assert grown(prometheus, counter, "3h") == 0

    with cloud.lock:
        begun = cloud.begin_update(setup.service_id)
        cloud.settle(setup.service_id, begun, "FAIL")
    living = f'{failed[:-1]},job="modelarts-exporter"}}'
    until(lambda: prometheus.value(living), lambda value: value == setup.failures + 1)
    # So many scrapes that what increase() adds at both ends of them is little.
    until(lambda: prometheus.value(f"count_over_time({living}[3h])"), lambda count: count and count > 15)
    assert grown(prometheus, failed) == pytest.approx(setup.failures + 1, abs=0.3)
    assert grown(prometheus, failed, "3h") == pytest.approx(1, abs=0.3)
    assert grown(prometheus, succeeded) == pytest.approx(setup.successes, rel=0.01)


def test_durations_of_the_past_have_quantiles(setup: Setup) -> None:
    buckets = 'increase(modelarts_update_duration_seconds_bucket{result="SUCCESS"}[7d])'
    half = setup.prometheus.value(f"histogram_quantile(0.5, sum by (le) ({buckets}))")
    assert half is not None
    assert 60 < half <= 120  # the bucket of 100 s
    counted = grown(setup.prometheus, 'modelarts_update_duration_seconds_count{result="SUCCESS"}')
    assert counted == pytest.approx(setup.successes, rel=0.01)


def test_every_query_of_the_delivery_dashboard_has_a_past(setup: Setup) -> None:
    queries = delivery_queries()
    assert len(queries) > 15
    at = setup.seam - 60  # when nothing living was there yet
    empty = []
    for query in queries:
        expr = query.expr
        for name, value in FILLED.items():
            expr = expr.replace(name, value)
        if query.instant:
            found = setup.prometheus._ask("query", query=expr, time=at)
        else:
            found = setup.prometheus._ask("query_range", query=expr, start=at - 4 * 86400, end=at, step=86400)
        if not found:
            empty.append((query.place, expr))
    assert empty == []
