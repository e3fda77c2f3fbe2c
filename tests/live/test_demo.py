"""Within two minutes the demo shows every metric that this program has."""

import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.expected_series import STATUSES
from tests.live.processes import PATIENCE_SECONDS, Process, until

pytestmark = pytest.mark.live

# The promise of the demo.
WITHIN_SECONDS = 120

SERVICE = (
    "update_result",
    "update_failing",
    "updates_total",
    "updates_running",
    "oldest_running_update_timestamp_seconds",
    "last_update_timestamp_seconds",
    "last_success_timestamp_seconds",
    "last_failure_timestamp_seconds",
    "update_duration_seconds_sum",
    "update_duration_seconds_count",
    "restore_duration_seconds_sum",
    "restore_duration_seconds_count",
    "last_update_nodes",
    "update_nodes_total",
    "model_info",
    "pool_info",
    "model_traffic_weight_ratio",
    "model_instances",
    "model_cpu_cores",
    "model_memory_bytes",
    "model_gpus",
    "last_failure_info",
    "events_total",
    "abnormal_events_total",
    "last_event_timestamp_seconds",
    "deploy_phase_duration_seconds",
    "deploy_phase_start_timestamp_seconds",
    "info",
    "status",
    "invocations_total",
    "failed_invocations_total",
    "up",
    "last_poll_timestamp_seconds",
)

PROJECT = (
    "edge_node_operation_success",
    "up",
    "services",
    "project_info",
    "update_duration_seconds_bucket",
    "update_duration_seconds_sum",
    "update_duration_seconds_count",
    "restore_duration_seconds_bucket",
    "restore_duration_seconds_sum",
    "restore_duration_seconds_count",
)

EXPORTER = (
    "build_info",
    "web_info",
    "shard_info",
    "api_requests_total",
    "api_rate_limit",
    "api_throttled_total",
    "api_request_duration_seconds_bucket",
    "api_request_duration_seconds_sum",
    "api_request_duration_seconds_count",
    "poll_duration_seconds_bucket",
    "poll_duration_seconds_sum",
    "poll_duration_seconds_count",
    "poll_interval_seconds",
    "sweep_duration_seconds",
    "last_list_timestamp_seconds",
    "torn_reads_total",
    "ledger_anomalies_total",
    "audit_differences_total",
    "audit_last_success_timestamp_seconds",
    "unknown_values_total",
    "unclassified_events_total",
    "clock_skew_seconds",
    "token_expiry_timestamp_seconds",
    "store_commit_duration_seconds_bucket",
    "store_commit_duration_seconds_sum",
    "store_commit_duration_seconds_count",
    "store_size_bytes",
    "config_last_reload_successful",
    "config_last_reload_success_timestamp_seconds",
    "alertmanager_notifications_total",
    "alerts_firing",
)

OTHERS = ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "python_info")

NAMES = {
    *(f"modelarts_service_{name}" for name in SERVICE),
    *(f"modelarts_{name}" for name in PROJECT),
    *(f"modelarts_exporter_{name}" for name in EXPORTER),
    *OTHERS,
}

# A value that is there at 0 from the start has not been seen: these must have been more than that.
_RESULTS = ("SUCCESS", "FAIL")
_PHASES = ("image_build", "environment", "scheduling", "image_pull", "startup")
_REASONS = (
    "insufficient_resources",
    "image_pull",
    "image_build",
    "health_check",
    "crash",
    "out_of_memory",
    "timeout",
    "quota",
    "billing",
    "storage",
    "credentials",
    "rollback",
    "node",
    "other",
)
VALUES = {
    *(("modelarts_service_update_result", "result", value) for value in (*_RESULTS, "RUNNING")),
    *(("modelarts_service_updates_total", "result", value) for value in _RESULTS),
    *(("modelarts_service_update_duration_seconds_count", "result", value) for value in _RESULTS),
    *(("modelarts_update_duration_seconds_count", "result", value) for value in _RESULTS),
    *(("modelarts_service_update_nodes_total", "result", value) for value in ("success", "failed")),
    *(("modelarts_service_last_update_nodes", "result", value) for value in ("success", "failed")),
    *(("modelarts_edge_node_operation_success", "operation", value) for value in ("deploy", "delete")),
    *(("modelarts_service_events_total", "event_type", value) for value in ("normal", "abnormal")),
    *(("modelarts_service_last_event_timestamp_seconds", "event_type", v) for v in ("normal", "abnormal")),
    *(("modelarts_service_deploy_phase_duration_seconds", "phase", value) for value in _PHASES),
    *(("modelarts_service_deploy_phase_start_timestamp_seconds", "phase", value) for value in _PHASES),
    *(("modelarts_service_abnormal_events_total", "reason", value) for value in _REASONS),
    *(("modelarts_service_status", "status", value) for value in STATUSES if value != "other"),
    ("modelarts_exporter_alertmanager_notifications_total", "outcome", "sent"),
    *(("modelarts_exporter_api_requests_total", "endpoint", v) for v in ("token", "list", "logs", "events")),
}
MORE_THAN_ZERO = (
    "modelarts_service_restore_duration_seconds_count",
    "modelarts_restore_duration_seconds_count",
    "modelarts_service_failed_invocations_total",
    "modelarts_service_invocations_total",
    "modelarts_service_update_failing",
    "modelarts_exporter_alerts_firing",
)

Seen = tuple[str, ...]


@pytest.fixture(name="demo")
def _demo(tmp_path: Path) -> Iterator[Process]:
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [sys.executable, "-m", "exporter", "demo", "--web.listen-address=127.0.0.1:0"]
    with Process(command, tmp_path / "demo.log", empty) as demo:
        yield demo


@pytest.mark.timeout(240)
def test_within_two_minutes_the_demo_has_shown_every_metric_and_then_ends_at_a_signal(
    demo: Process, tmp_path: Path
) -> None:
    lines = until(lambda: printed(demo), lambda lines: lines and lines[-1].startswith("Ctrl-C"))
    began = time.monotonic()
    assert [line.split(":")[0] for line in lines[:-1]] == [
        "exporter",
        "emulator",
        "alertmanager",
        "prometheus",
        "grafana",
    ]
    urls = [url for line in lines for url in re.findall(r"http://[^\s)]+", line)[:1]]
    until(lambda: all(answers(url) for url in urls), bool)
    processes = children(demo.child.pid)
    assert len(processes) == 2  # Prometheus and Alertmanager

    wanted = {*((name,) for name in NAMES), *VALUES, *((name, ">", "0") for name in MORE_THAN_ZERO)}
    soonest: dict[Seen, float] = {}  # seconds after the URLs were printed

    def missing() -> set[Seen]:
        for seen in scrape(urls[0]) - soonest.keys():
            soonest[seen] = time.monotonic() - began
        return wanted - soonest.keys()

    while (left := missing()) and time.monotonic() < began + WITHIN_SECONDS:
        # As often as a scraper would: what is there for less than a second was not shown.
        demo_lives(demo, 1.0)
    assert not left, f"not seen within {WITHIN_SECONDS} s: {sorted(left)}"
    print(sorted((round(soonest[seen], 1), seen) for seen in wanted)[-5:])  # noqa: T201 - how near it was, for -s

    demo.child.send_signal(signal.SIGINT)
    assert demo.child.wait(PATIENCE_SECONDS) == 0
    assert [pid for pid in processes if Path(f"/proc/{pid}").exists()] == []
    assert list((tmp_path / "empty").iterdir()) == []


def printed(demo: Process) -> list[str]:
    """The lines on stdout; log lines begin with a time."""
    assert demo.child.poll() is None, demo.log.read_text()
    return [line for line in demo.log.read_text().splitlines() if not line.startswith("ts=")]


def answers(url: str) -> bool:
    """Whether something is there; the emulator answers its root with a 404."""
    try:
        return requests.get(url, timeout=PATIENCE_SECONDS).status_code in {200, 404}
    except requests.ConnectionError:
        return False


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def demo_lives(demo: Process, seconds: float) -> None:
    """Let time pass while the demo runs."""
    end = time.monotonic() + seconds

    def over() -> bool:
        assert demo.child.poll() is None, demo.log.read_text()
        return time.monotonic() >= end

    until(over)


def scrape(url: str) -> set[Seen]:
    """What one scrape shows: names; those with more than 0; and labels' values where that is so."""
    found: set[Seen] = set()
    for family in text_string_to_metric_families(requests.get(url, timeout=PATIENCE_SECONDS).text):
        for sample in family.samples:
            found.add((sample.name,))
            if sample.value > 0 or sample.name == "modelarts_edge_node_operation_success":
                found.add((sample.name, ">", "0"))
                found |= {(sample.name, label, value) for label, value in sample.labels.items()}
    return found
