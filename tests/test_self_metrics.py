"""The exporter's own metrics are there from the start, lint clean, and come and go with the projects."""

import shutil
import subprocess

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter.adapters.prometheus.self_metrics import SelfMetrics

P = "modelarts_exporter_"
Series = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def metrics() -> SelfMetrics:
    return SelfMetrics(["prod", "test"], ["http://am:9093"], version="1.2.3", revision="abc")


def series(metrics: SelfMetrics) -> dict[Series, float]:
    families = parse_text(metrics.render(openmetrics=False).decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for each in families
        for sample in each.samples
    }


def value(metrics: SelfMetrics, name: str, **labels: str) -> float | None:
    return series(metrics).get((P + name, frozenset(labels.items())))


def test_every_counter_of_a_project_and_of_an_alertmanager_exists_at_zero(metrics: SelfMetrics) -> None:
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
    shown = series(metrics)
    for project in ("prod", "test"):
        for name, labels in expected:
            assert shown[name, frozenset({("project", project), *labels})] == 0
    assert (
        value(metrics, "alertmanager_notifications_total", alertmanager="http://am:9093", outcome="sent") == 0
    )
    failed = value(
        metrics, "alertmanager_notifications_total", alertmanager="http://am:9093", outcome="failed"
    )
    assert failed == 0


def test_each_call_is_seen_in_its_metric(metrics: SelfMetrics) -> None:
    metrics.request("prod", "logs", "502", 0.3)
    metrics.throttled("prod")
    metrics.torn("prod")
    metrics.anomaly("prod", "vanished")
    metrics.audit_difference("prod", "missing")
    metrics.audited("prod", 1.6e9)
    metrics.unknown("prod", "status")
    metrics.unclassified("prod")
    metrics.clock_skew("prod", -1.5)
    metrics.token_expiry("prod", 1.8e9)
    metrics.listed("prod", 1.7e9)
    metrics.poll_duration("prod", 2)
    metrics.poll_interval("prod", 30)
    metrics.sweep_duration("prod", 300)
    metrics.external_url("http://before:10155")
    metrics.external_url("http://exporter:10155")
    metrics.shard(1, 3)
    metrics.rate("prod", 4.5)
    metrics.commit(0.002)
    metrics.store_size(4096)
    metrics.notifications("http://am:9093", "failed", 1)
    metrics.alerts_firing("ModelArtsDeploymentFailure", 2)
    assert value(metrics, "api_requests_total", project="prod", endpoint="logs", code="502") == 1
    assert value(metrics, "api_request_duration_seconds_sum", project="prod", endpoint="logs") == 0.3
    assert value(metrics, "api_throttled_total", project="prod") == 1
    assert value(metrics, "torn_reads_total", project="prod") == 1
    assert value(metrics, "ledger_anomalies_total", project="prod", kind="vanished") == 1
    assert value(metrics, "audit_differences_total", project="prod", kind="missing") == 1
    assert value(metrics, "audit_differences_total", project="prod", kind="extra") == 0
    assert value(metrics, "audit_last_success_timestamp_seconds", project="prod") == 1.6e9
    assert value(metrics, "unknown_values_total", project="prod", field="status") == 1
    assert value(metrics, "unclassified_events_total", project="prod") == 1
    assert value(metrics, "clock_skew_seconds", project="prod") == -1.5
    assert value(metrics, "token_expiry_timestamp_seconds", project="prod") == 1.8e9
    assert value(metrics, "last_list_timestamp_seconds", project="prod") == 1.7e9
    assert value(metrics, "poll_duration_seconds_sum", project="prod") == 2
    assert value(metrics, "poll_interval_seconds", project="prod") == 30
    assert value(metrics, "sweep_duration_seconds", project="prod") == 300
    assert value(metrics, "web_info", external_url="http://exporter:10155") == 1
    assert value(metrics, "web_info", external_url="http://before:10155") is None
    assert value(metrics, "shard_info", index="1", total="3") == 1
    assert value(metrics, "api_rate_limit", project="prod") == 4.5
    assert value(metrics, "store_commit_duration_seconds_sum") == 0.002
    assert value(metrics, "store_size_bytes") == 4096
    assert value(metrics, "store_writable") == 1
    metrics.commit_failed()
    assert value(metrics, "store_writable") == 0
    notifications = {"alertmanager": "http://am:9093", "outcome": "failed"}
    assert value(metrics, "alertmanager_notifications_total", **notifications) == 1
    assert value(metrics, "alerts_firing", alertname="ModelArtsDeploymentFailure") == 2


def test_a_failed_reload_leaves_the_time_of_the_last_good_one(metrics: SelfMetrics) -> None:
    metrics.reload(ok=True, epoch_seconds=100)
    metrics.reload(ok=False, epoch_seconds=200)
    assert value(metrics, "config_last_reload_successful") == 0
    assert value(metrics, "config_last_reload_success_timestamp_seconds") == 100


def test_the_build_and_the_process_are_described(metrics: SelfMetrics) -> None:
    shown = series(metrics)
    builds = [dict(labels) for name, labels in shown if name == f"{P}build_info"]
    assert [(build["version"], build["revision"]) for build in builds] == [("1.2.3", "abc")]
    names = {name for name, _ in shown}
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "python_info"} <= names
    assert "python_gc_collections_total" in names


def test_a_reload_takes_projects_and_alertmanagers_away_and_adds_new_ones_at_zero(
    metrics: SelfMetrics,
) -> None:
    metrics.listed("prod", 1)
    metrics.audited("prod", 1)
    metrics.throttled("test")
    metrics.retain(["test", "new"], ["http://other:9093"])
    shown = series(metrics)
    assert {dict(labels)["project"] for _, labels in shown if "project" in dict(labels)} == {"test", "new"}
    assert {dict(labels)["alertmanager"] for _, labels in shown if "alertmanager" in dict(labels)} == {
        "http://other:9093"
    }
    assert value(metrics, "api_throttled_total", project="test") == 1
    assert value(metrics, "api_throttled_total", project="new") == 0


def test_two_exporters_in_one_process_share_nothing(metrics: SelfMetrics) -> None:
    SelfMetrics(["prod"], [], "1", "2").throttled("prod")
    assert value(metrics, "api_throttled_total", project="prod") == 0


@pytest.mark.parametrize("openmetrics", [True, False])
def test_no_creation_times_are_shown(metrics: SelfMetrics, *, openmetrics: bool) -> None:
    assert b"_created" not in metrics.render(openmetrics)


def test_openmetrics_parses_once_its_end_is_added(metrics: SelfMetrics) -> None:
    metrics.request("prod", "logs", "200", 0.3)
    text = metrics.render(openmetrics=True)
    assert b"# EOF" not in text
    names = {each.name for each in parse_openmetrics(text.decode() + "# EOF\n")}  # type: ignore[no-untyped-call]
    assert f"{P}api_requests" in names


@pytest.mark.live
def test_promtool_finds_nothing_to_say(metrics: SelfMetrics) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool comes with Debian's prometheus"
    metrics.alerts_firing("A", 1)
    linted = subprocess.run(
        [promtool, "check", "metrics"],
        input=metrics.render(openmetrics=False),
        capture_output=True,
        check=False,
    )
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, b"")
