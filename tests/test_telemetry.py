"""The exporter's own metrics are there from the start, lint clean, and come and go with the projects."""

import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.adapters.telemetry import Telemetry

P = "modelarts_exporter_"
Series = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(["prod", "test"], ["http://am:9093"], version="1.2.3", revision="abc")


def series(telemetry: Telemetry) -> dict[Series, float]:
    families = parse_text(telemetry.render(openmetrics=False).decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for each in families
        for sample in each.samples
    }


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return series(telemetry).get((P + name, frozenset(labels.items())))


def test_every_counter_of_a_project_and_of_an_alertmanager_exists_at_zero(telemetry: Telemetry) -> None:
    expected = {
        *((f"{P}{name}_total", ()) for name in ("api_throttled", "torn_reads", "unclassified_events")),
        (f"{P}poll_duration_seconds_count", ()),
        *((f"{P}ledger_anomalies_total", (("kind", k),)) for k in ("vanished", "changed", "future")),
        *(
            (f"{P}unknown_values_total", (("field", field),))
            for field in ("result", "status", "event_type", "infer_type", "operation", "services")
        ),
        *(
            (f"{P}api_requests_total", (("endpoint", endpoint), ("code", code)))
            for endpoint in ("list", "detail", "logs", "events")
            for code in ("200", "error")
        ),
        *((f"{P}api_requests_total", (("endpoint", "token"), ("code", code))) for code in ("201", "error")),
        *(
            (f"{P}api_request_duration_seconds_count", (("endpoint", endpoint),))
            for endpoint in ("token", "list", "detail", "logs", "events")
        ),
    }
    shown = series(telemetry)
    for project in ("prod", "test"):
        for name, labels in expected:
            assert shown[name, frozenset({("project", project), *labels})] == 0
    assert (
        value(telemetry, "alertmanager_notifications_total", alertmanager="http://am:9093", outcome="sent")
        == 0
    )
    failed = value(
        telemetry, "alertmanager_notifications_total", alertmanager="http://am:9093", outcome="failed"
    )
    assert failed == 0


def test_each_call_is_seen_in_its_metric(telemetry: Telemetry) -> None:
    telemetry.request("prod", "logs", "502", 0.3)
    telemetry.throttled("prod")
    telemetry.torn("prod")
    telemetry.anomaly("prod", "vanished")
    telemetry.unknown("prod", "status")
    telemetry.unclassified("prod")
    telemetry.clock_skew("prod", -1.5)
    telemetry.token_expiry("prod", 1.8e9)
    telemetry.listed("prod", 1.7e9)
    telemetry.poll_duration("prod", 2)
    telemetry.poll_interval("prod", 30)
    telemetry.rate("prod", 4.5)
    telemetry.commit(0.002)
    telemetry.store_size(4096)
    telemetry.notifications("http://am:9093", "failed", 1)
    telemetry.alerts_firing("ModelArtsDeploymentFailure", 2)
    assert value(telemetry, "api_requests_total", project="prod", endpoint="logs", code="502") == 1
    assert value(telemetry, "api_request_duration_seconds_sum", project="prod", endpoint="logs") == 0.3
    assert value(telemetry, "api_throttled_total", project="prod") == 1
    assert value(telemetry, "torn_reads_total", project="prod") == 1
    assert value(telemetry, "ledger_anomalies_total", project="prod", kind="vanished") == 1
    assert value(telemetry, "unknown_values_total", project="prod", field="status") == 1
    assert value(telemetry, "unclassified_events_total", project="prod") == 1
    assert value(telemetry, "clock_skew_seconds", project="prod") == -1.5
    assert value(telemetry, "token_expiry_timestamp_seconds", project="prod") == 1.8e9
    assert value(telemetry, "last_list_timestamp_seconds", project="prod") == 1.7e9
    assert value(telemetry, "poll_duration_seconds_sum", project="prod") == 2
    assert value(telemetry, "poll_interval_seconds", project="prod") == 30
    assert value(telemetry, "api_rate_limit", project="prod") == 4.5
    assert value(telemetry, "store_commit_duration_seconds_sum") == 0.002
    assert value(telemetry, "store_size_bytes") == 4096
    notifications = {"alertmanager": "http://am:9093", "outcome": "failed"}
    assert value(telemetry, "alertmanager_notifications_total", **notifications) == 1
    assert value(telemetry, "alerts_firing", alertname="ModelArtsDeploymentFailure") == 2


def test_a_failed_reload_leaves_the_time_of_the_last_good_one(telemetry: Telemetry) -> None:
    telemetry.reload(ok=True, epoch_seconds=100)
    telemetry.reload(ok=False, epoch_seconds=200)
    assert value(telemetry, "config_last_reload_successful") == 0
    assert value(telemetry, "config_last_reload_success_timestamp_seconds") == 100


def test_the_build_and_the_process_are_described(telemetry: Telemetry) -> None:
    shown = series(telemetry)
    builds = [dict(labels) for name, labels in shown if name == f"{P}build_info"]
    assert [(build["version"], build["revision"]) for build in builds] == [("1.2.3", "abc")]
    names = {name for name, _ in shown}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "python_info"} <= names
    assert "python_gc_collections_total" in names


def test_a_reload_takes_projects_and_alertmanagers_away_and_adds_new_ones_at_zero(
    telemetry: Telemetry,
) -> None:
    telemetry.listed("prod", 1)
    telemetry.throttled("test")
    telemetry.retain(["test", "new"], ["http://other:9093"])
    shown = series(telemetry)
    assert {dict(labels)["project"] for _, labels in shown if "project" in dict(labels)} == {"test", "new"}
    assert {dict(labels)["alertmanager"] for _, labels in shown if "alertmanager" in dict(labels)} == {
        "http://other:9093"
    }
    assert value(telemetry, "api_throttled_total", project="test") == 1
    assert value(telemetry, "api_throttled_total", project="new") == 0


def test_two_exporters_in_one_process_share_nothing(telemetry: Telemetry) -> None:
    Telemetry(["prod"], [], "1", "2").throttled("prod")
    assert value(telemetry, "api_throttled_total", project="prod") == 0


@pytest.mark.parametrize("openmetrics", [True, False])
def test_no_creation_times_are_shown(telemetry: Telemetry, *, openmetrics: bool) -> None:
    assert b"_created" not in telemetry.render(openmetrics)


def test_openmetrics_parses_once_its_end_is_added(telemetry: Telemetry) -> None:
    telemetry.request("prod", "logs", "200", 0.3)
    text = telemetry.render(openmetrics=True)
    assert b"# EOF" not in text
    names = {each.name for each in parse_openmetrics(text.decode() + "# EOF\n")}  # type: ignore[no-untyped-call]
    assert f"{P}api_requests" in names


@pytest.mark.live
def test_promtool_finds_nothing_to_say(telemetry: Telemetry) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool comes with Debian's prometheus"
    telemetry.alerts_firing("A", 1)
    linted = subprocess.run(
        [promtool, "check", "metrics"],
        input=telemetry.render(openmetrics=False),
        capture_output=True,
        check=False,
    )
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, b"")
