"""The command `backfill`, through the command line, on an emulated cloud."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter.cli import main
from exporter.core.metrics.families import UNKNOWN_OF_THE_PAST
from exporter.emulator import Cloud, Server, Switches, faults, model

from .commands import Config, configured, password, project
from .live.processes import PATIENCE_SECONDS, until

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

STARTED = "Service mnist started."
START_FAILED = "Failed to start service mnist."

# What happens to one series: its values by time in seconds.
Past = dict[str, dict[float, float]]


@pytest.fixture(name="cloud")
def _cloud() -> Cloud:
    return Cloud(lambda: time.time_ns() // 1_000_000)


@pytest.fixture(name="url")
def _url(cloud: Cloud) -> Iterator[str]:
    with Server(cloud) as server:
        yield server.url


class Result(NamedTuple):
    """What the command left behind."""

    code: int
    text: str  # of the file; "" if there is none
    err: str

    @property
    def past(self) -> Past:
        """The values of each series by time."""
        found: Past = defaultdict(dict)
        for line in self.text.splitlines():
            if not line.startswith("#"):
                series, value, at = line.rsplit(" ", 2)
                assert float(at) not in found[series], line
                found[series][float(at)] = float(value)
        return found

    def values(self, name: str, **labels: str) -> list[float]:
        """The values of the one series of this name with these labels, in the order of time."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [
            series
            for series in self.past
            if series.partition("{")[0] == name and all(each in series for each in wanted)
        ]
        assert len(found) == 1, found
        return list(self.past[found[0]].values())


Backfill = Callable[..., Result]


@pytest.fixture(name="backfill")
def _backfill(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Backfill:
    """Run the command on some projects; flags go before those that are given here."""

    def run(*projects: Config, flags: tuple[str, ...] = (), **sections: object) -> Result:
        config, output = configured(tmp_path, *projects, **sections), tmp_path / "past.om"
        given = {"--since": "3d", "--step": "1h", "--output": str(output)}
        given |= dict(flag.split("=", 1) for flag in flags)
        capfd.readouterr()
        code = main(["backfill", f"--config.file={config}", *(f"{k}={v}" for k, v in given.items())])
        assert list(tmp_path.glob("*.part")) == []
        return Result(code, output.read_text() if output.is_file() else "", capfd.readouterr().err)

    return run


def fail_and_restore(cloud: Cloud, now: int, name: str = "mnist") -> str:
    """A service that failed two days ago, for an hour, and was restored a day ago, in ten minutes."""
    service_id = cloud.add_service(name=name)
    began = now - 2 * DAY
    cloud.add_update(service_id, "FAIL", at=began)
    cloud.add_event(service_id, "normal", "start to deploy service", began)
    cloud.add_event(service_id, "abnormal", "failed to pull image, retry later", began + MINUTE)
    cloud.add_event(service_id, "abnormal", START_FAILED, began + HOUR)
    began = now - DAY
    cloud.add_update(service_id, "SUCCESS", at=began, models=[model("als")])
    cloud.add_event(service_id, "normal", "start to deploy service", began)
    cloud.add_event(service_id, "normal", "[als 0.0.1] starting model", began + MINUTE)
    cloud.add_event(service_id, "normal", STARTED, began + 10 * MINUTE)
    return service_id


def changes(values: list[float]) -> list[float]:
    """The values without repetitions."""
    return [values[0], *(after for before, after in pairwise(values) if after != before)]


# -- what is in it


def test_a_counter_is_0_before_its_first_step_and_steps_where_it_happened(
    backfill: Backfill, cloud: Cloud, url: str
) -> None:
    now = cloud.clock()
    fail_and_restore(cloud, now)
    result = backfill(project(url))
    assert (result.code, result.err) == (0, "prod: 1 services, all were read.\n")
    (failures,) = (
        values for series, values in result.past.items() if "updates_total" in series and "FAIL" in series
    )
    times = list(failures)
    assert list(failures.values()) == [0.0] * 2 + [1.0] * (len(times) - 2)
    # The step before the begin, the one within the hour that it took, and those from its end on.
    began = now / 1000 - 2 * 86400
    assert began - 3600 <= times[0] < began <= times[1] < began + 3600 <= times[2]
    steps = {round(after - before) for before, after in pairwise(times)}
    assert steps == {3600, 1}  # and one more, where the living series begin
    assert abs(times[-1] - now / 1000) < 60


def test_its_steps_are_of_updates_events_reasons_durations_and_phases(
    backfill: Backfill, cloud: Cloud, url: str
) -> None:
    fail_and_restore(cloud, cloud.clock())
    result = backfill(project(url))
    assert changes(result.values("modelarts_service_update_failing")) == [0, 1, 0]
    assert changes(result.values("modelarts_service_updates_running")) == [0, 1, 0]
    assert changes(result.values("modelarts_service_events_total", event_type="abnormal")) == [0, 1, 2]
    assert changes(result.values("modelarts_service_abnormal_events_total", reason="crash")) == [0, 1]
    assert changes(result.values("modelarts_service_deploy_phase_duration_seconds", phase="startup")) == [540]
    info = result.values("modelarts_service_last_failure_info", reason="image_pull")
    assert info == [1.0] * 23  # the steps from its end to the next deployment's
    # The running exporter has seen no update settle, so it begins to count durations at 0.
    durations = "modelarts_service_update_duration_seconds_sum"
    assert changes(result.values(durations, result="FAIL")) == [0, 3600, 0]
    assert changes(result.values("modelarts_service_restore_duration_seconds_sum")) == [0, 83400, 0]


def test_the_histograms_of_the_project_add_up_its_services(
    backfill: Backfill, cloud: Cloud, url: str
) -> None:
    now = cloud.clock()
    fail_and_restore(cloud, now)
    fail_and_restore(cloud, now - 5 * HOUR, "another")
    result = backfill(project(url))
    fleet = "modelarts_update_duration_seconds"
    assert changes(result.values(f"{fleet}_bucket", result="SUCCESS", le="300.0")) == [0]
    assert changes(result.values(f"{fleet}_bucket", result="SUCCESS", le="600.0")) == [0, 1, 2, 0]
    assert changes(result.values(f"{fleet}_sum", result="SUCCESS")) == [0, 600, 1200, 0]
    assert changes(result.values("modelarts_restore_duration_seconds_count")) == [0, 1, 2, 0]
    assert changes(result.values("modelarts_services")) == [1, 2]
    assert changes(result.values("modelarts_project_info")) == [1]


def test_what_ends_and_comes_back_leaves_a_gap(backfill: Backfill, cloud: Cloud, url: str) -> None:
    now = cloud.clock()
    service_id = cloud.add_service(name="mnist")
    for days, result in ((3, "FAIL"), (2, "SUCCESS"), (1, "FAIL")):
        cloud.add_update(service_id, result, at=now - days * DAY)
    past = backfill(project(url), flags=("--since=4d", "--step=1m")).past
    (shown,) = (values for series, values in past.items() if "last_failure_info" in series)
    gaps = [after - before for before, after in pairwise(shown) if after - before > 60]
    assert gaps == [86400 + 60]
    assert len(shown) == 2 * 24 * 60 + 1


def test_each_log_is_read_once(backfill: Backfill, cloud: Cloud, url: str) -> None:
    for number in range(30):
        fail_and_restore(cloud, cloud.clock(), f"service-{number}")
    assert backfill(project(url)).code == 0
    asked = Counter((request.endpoint, request.service_id) for request in cloud.requests)
    del asked["token", None]
    assert set(asked.values()) == {1}
    assert len(asked) == 1 + 2 * 30


def test_with_a_later_since_counters_begin_with_what_was_counted_by_then(
    backfill: Backfill, cloud: Cloud, url: str
) -> None:
    fail_and_restore(cloud, cloud.clock())
    result = backfill(project(url), flags=("--since=30h",))
    assert result.values("modelarts_service_updates_total", result="FAIL") == [1.0] * 31
    assert changes(result.values("modelarts_service_updates_total", result="SUCCESS")) == [0, 1]
    assert changes(result.values("modelarts_service_events_total", event_type="normal")) == [1, 4]


@pytest.mark.parametrize("form", ["seconds", "RFC 3339"])
def test_since_may_be_a_time(backfill: Backfill, cloud: Cloud, url: str, form: str) -> None:
    fail_and_restore(cloud, cloud.clock())
    begin = int(time.time()) - 30 * 3600
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begin)) if form == "RFC 3339" else str(begin)
    result = backfill(project(url), flags=(f"--since={since}",))
    first = min(min(values) for values in result.past.values())
    assert begin <= first < begin + 3600


def test_the_page_names_every_metric_that_has_no_past_and_no_other() -> None:
    page = (Path(__file__).parents[1] / "docs" / "backfill.md").read_text("utf-8")
    table = page.partition("These metrics have no past:")[2].partition("##")[0]
    assert set(re.findall(r"`(modelarts_\w+)`", table)) == UNKNOWN_OF_THE_PAST


# -- the form


def test_every_step_is_openmetrics_and_every_series_is_in_the_order_of_time(
    backfill: Backfill, cloud: Cloud, url: str
) -> None:
    populate(cloud)
    text = backfill(project(url)).text
    lines = text.splitlines()
    assert lines[-1] == "# EOF"
    # The parser takes a histogram of one time only, so each time is a text of its own.
    times = sorted({line.rsplit(" ", 1)[1] for line in lines if not line.startswith("#")}, key=float)
    assert len(times) > 10
    for at in (*times[::7], times[-1]):
        part = [line for line in lines if line.startswith("#") or line.endswith(f" {at}")]
        families = list(parse_openmetrics("\n".join(part) + "\n"))  # type: ignore[no-untyped-call]
        assert len({family.name for family in families}) == len(families) > 20
    # The rest of the rules: a metric's samples stand together, in the order of time.
    seen: set[str] = set()
    last: tuple[str, float] = ("", 0.0)
    for line in lines:
        if not line.startswith("#"):
            series, _, at = line.rsplit(" ", 2)
            metric = metric_of(series)
            assert metric == last[0] or metric not in seen, line
            assert metric != last[0] or float(at) >= last[1], line
            seen.add(metric)
            last = (metric, float(at))


def metric_of(series: str) -> str:
    """The family and its labels without `le`: what belongs together."""
    name, _, labels = series.partition("{")
    for suffix in ("_bucket", "_sum", "_count"):
        if "duration" in name:
            name = name.removesuffix(suffix)
    return name + ",".join(label for label in labels.split(",") if not label.startswith("le="))


# -- the seam


def populate(cloud: Cloud) -> None:
    """Services of every kind, with everything that their logs can hold."""
    now = cloud.clock()
    fail_and_restore(cloud, now)
    cloud.add_service(name="nothing-happened")
    batch = cloud.add_service(name="batch", infer_type="batch")
    cloud.add_event(batch, "normal", "服务mnist已启动", now - DAY)
    edge = cloud.add_service(name="edge", infer_type="edge", nodes=[{"id": "n", "name": "gate"}])
    nodes = [{"node_id": "n", "node_name": "gate", "operation": "deploy", "result": False}]
    cloud.add_update(edge, "FAIL", at=now - 7 * HOUR, nodes=nodes)
    twins = cloud.add_service(name='odd "name"\\')
    for result in ("SUCCESS", "FAIL", "SUCCESS", "RUNNING"):
        cloud.add_update(twins, result, at=now - 5 * HOUR)
    for _ in range(3):
        cloud.add_event(twins, "abnormal", "a text that no rule knows", now - 4 * HOUR)
    cloud.add_update(twins, "CANCELLED", at=now - 3 * HOUR)
    ahead = cloud.add_service(name="ahead")
    cloud.add_update(ahead, "FAIL", at=now + HOUR)
    cloud.add_event(ahead, "abnormal", START_FAILED, now + HOUR)
    open_one = cloud.add_service(name="open")
    cloud.begin_update(open_one, at=now - 20 * MINUTE)
    explained = cloud.add_service(name="explained")
    cloud.add_update(explained, "FAIL", at=now - 6 * HOUR)
    cloud.set_status(explained, "failed", error_msg="ModelArts.3520: no port")


@pytest.mark.parametrize("history", ["count", "skip"])
@pytest.mark.parametrize(
    "switches", [Switches(), Switches(running="appended", batch_logs="error")], ids=["a", "b"]
)
def test_the_last_samples_are_what_the_exporter_shows_first(
    backfill: Backfill,
    cloud: Cloud,
    url: str,
    history: str,
    switches: Switches,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    cloud.switches = switches
    populate(cloud)
    past = backfill(project(url), history=history).past
    end = max(max(values) for values in past.values())
    last = {series: values[end] for series, values in past.items() if end in values}

    assert main(["once", f"--config.file={tmp_path / 'config.yml'}"]) == 0
    lines = [line.rsplit(" ", 1) for line in capfd.readouterr().out.splitlines() if line[0] != "#"]
    shown = {series: float(value) for series, value in lines if is_known_of_the_past(series)}
    assert last == shown
    assert len(last) > 100


def is_known_of_the_past(series: str) -> bool:
    name = series.partition("{")[0]
    of_services = name.startswith("modelarts_") and not name.startswith("modelarts_exporter_")
    return of_services and name not in UNKNOWN_OF_THE_PAST


@pytest.mark.parametrize("history", ["count", "skip"])
def test_what_the_counters_grew_by_is_what_happened(
    backfill: Backfill, cloud: Cloud, url: str, history: str
) -> None:
    populate(cloud)
    past = backfill(project(url), history=history).past
    totals = cloud.truth_totals()
    for name, label, kind in [("updates_total", "result", "update"), ("events_total", "event_type", "event")]:
        for value in {value for what, value in totals if what == kind}:
            grown = sum(
                max(after - before, 0)
                for series, values in past.items()
                if series.startswith(f"modelarts_service_{name}{{") and f'{label}="{value}"' in series
                for before, after in pairwise(values.values())
            )
            # What is dated in the future is in no step of the past; it is there when the exporter begins.
            ahead = 0 if history == "count" else value in ("FAIL", "abnormal")
            assert grown == totals[kind, value] - ahead, (name, value)


def test_counters_fall_only_where_the_living_exporter_begins_at_0(
    backfill: Backfill, cloud: Cloud, url: str
) -> None:
    populate(cloud)
    past = backfill(project(url)).past
    falling = set()
    for series, values in past.items():
        name = series.partition("{")[0]
        if name.endswith(("_total", "_count", "_sum", "_bucket")):
            *before, last = values.values()
            assert before == sorted(before), series
            if before and last < before[-1]:
                falling.add(name.rpartition("_")[0])
    assert falling == {
        f"modelarts_{of}{what}_duration_seconds" for of in ("", "service_") for what in ("update", "restore")
    }


# -- what can go wrong


def test_a_service_that_cannot_be_read_is_named_and_the_others_are_there(
    backfill: Backfill, cloud: Cloud, url: str
) -> None:
    now = cloud.clock()
    bad = fail_and_restore(cloud, now, "bad\x1b[31m")
    fail_and_restore(cloud, now, "good")
    cloud.faults.add(faults.error(403, "ModelArts.0203", "Forbidden", service_id=bad, times=None))
    result = backfill(project(url))
    assert result.code == 1
    told, summary = result.err.splitlines()
    assert told.startswith(f"prod: service bad [31m ({bad}) could not be read: ")
    assert "modelarts:service:getLogs" in told
    assert summary == "prod: 2 services, 1 could not be read."
    assert {series.partition("service_name=")[2][:6] for series in result.past if "service_id" in series} == {
        '"good"'
    }
    assert result.values("modelarts_services")[-1] == 2


def test_a_service_that_is_deleted_meanwhile_is_no_error(backfill: Backfill, cloud: Cloud, url: str) -> None:
    gone = cloud.add_service(name="gone")
    fail_and_restore(cloud, cloud.clock())
    cloud.faults.add(faults.error(404, "ModelArts.3502", "gone", service_id=gone, times=None))
    result = backfill(project(url))
    assert (result.code, result.err) == (0, "prod: 1 services, all were read.\n")
    assert "gone" not in result.text


def test_what_fails_once_is_read_again(backfill: Backfill, cloud: Cloud, url: str) -> None:
    fail_and_restore(cloud, cloud.clock())
    for endpoint in ("list", "logs", "events"):
        cloud.faults.add(faults.html(502, endpoint=endpoint))
    assert backfill(project(url)).code == 0


def test_a_project_that_cannot_be_listed_costs_no_other_one(
    backfill: Backfill, cloud: Cloud, url: str
) -> None:
    fail_and_restore(cloud, cloud.clock())
    locked_out = project(url, "locked-out", auth=password(url, "not the password"))
    result = backfill(locked_out, project(url))
    assert result.code == 1
    refused, read = result.err.splitlines()
    assert refused.startswith("locked-out: the list could not be read: ")
    assert read == "prod: 1 services, all were read."
    assert "not the password" not in result.err + result.text
    assert 'project="locked-out"' not in result.text
    assert changes(result.values("modelarts_service_updates_total", result="FAIL")) == [0, 1]


def test_where_nothing_can_be_listed_the_file_of_before_stays(
    backfill: Backfill, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    (tmp_path / "past.om").write_text("before")
    result = backfill(project(url, auth=password(url, "wrong")))
    assert (result.code, result.text) == (1, "before")


def test_only_what_the_config_and_the_shard_ask_for_is_in_it(
    backfill: Backfill, cloud: Cloud, url: str
) -> None:
    for number in range(12):
        cloud.add_service(name=f"s-{number:02}")
    row = project(url, services={"exclude_names": ["s-03"]})
    found = []
    for index in range(3):
        past = backfill(row, flags=(f"--shard.index={index}", "--shard.total=3")).past
        found += [series for series in past if series.startswith("modelarts_service_info")]
    assert len(found) == len(set(found)) == 11


@pytest.mark.parametrize(
    "flags",
    [
        ("--since=1h", "--step=2h"),
        ("--step=100ms",),
        ("--step=x",),
        ("--since=2999-01-01T00:00:00Z",),
        ("--since=yesterday",),
        ("--since=2020-01-01T00:00:00",),
        ("--since=300d", "--step=1s"),
    ],
)
def test_a_past_that_makes_no_sense_is_wrong_usage(
    backfill: Backfill, url: str, flags: tuple[str, ...]
) -> None:
    try:
        code = backfill(project(url), flags=flags).code
    except SystemExit as end:  # argparse
        code = int(str(end.code))
    assert code == 2


def test_what_is_no_file_is_not_replaced(backfill: Backfill, url: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    result = backfill(project(url), flags=(f"--output={tmp_path / 'pipe'}",))
    assert result.code == 1
    assert "pipe is not a file" in result.err
    assert (tmp_path / "pipe").is_fifo()


def command(directory: Path, url: str) -> list[str]:
    config = configured(directory, project(url))
    return [sys.executable, "-m", "exporter", "backfill", f"--config.file={config}", "--output=past.om"]


def test_an_interrupt_leaves_nothing_behind(cloud: Cloud, url: str, tmp_path: Path) -> None:
    fail_and_restore(cloud, cloud.clock())
    cloud.faults.add(faults.slow(3600, endpoint="events", times=None))
    child = subprocess.Popen(command(tmp_path, url), cwd=tmp_path, stderr=subprocess.PIPE)
    until(lambda: [request for request in [*cloud.requests] if request.endpoint == "logs"])
    assert (tmp_path / "past.om.part").exists()
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=PATIENCE_SECONDS)
    assert (child.returncode, told) == (130, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yml"]
