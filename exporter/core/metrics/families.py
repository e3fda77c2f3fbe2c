"""What is exposed of the services and projects: tables, one row a metric."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from exporter.core.accounting import project_totals as totals
from exporter.core.accounting.labels import ServiceView
from exporter.core.accounting.service_state import (
    EVENTS,
    FAILED_INVOCATIONS,
    INVOCATIONS,
    UPDATES,
    ServiceState,
)
from exporter.core.metrics import samples
from exporter.core.metrics.family import Family, Kind, Sample
from exporter.core.records import EVENT_TYPES, SETTLED_RESULTS, Model

Samples = Callable[[Any], Iterable[Sample]]

MODEL = ("model_id", "model_name", "model_version")


class Options(msgspec.Struct, frozen=True):
    """What the configuration decides about the tables."""

    failure_message: bool = True
    edge_nodes: bool = True


def _row(kind: Kind) -> Callable[..., Family]:
    def row(name: str, about: str, of: Samples, *labels: str) -> Family:
        return Family(f"modelarts_{name}", kind, about, labels, of)

    return row


gauge, counter, summary, histogram = _row("gauge"), _row("counter"), _row("summary"), _row("histogram")


def at(pick: Callable[[ServiceState], int | None]) -> Samples:
    """Samples of a time in ms that an account has, or has not."""
    return samples.time_of(pick)


def model(pick: Callable[[Model], float | None]) -> Samples:
    """Samples of a number that a model has, or has not."""
    return samples.model_value(pick)


def counted(prefix: str, label: str, keys: tuple[str, ...]) -> Samples:
    """Samples of the counters of one prefix, by what follows it."""
    return lambda view: samples.counters_of(view, prefix, label, keys)


def total(name: str) -> Samples:
    """The sample of one counter."""
    return lambda view: samples.counter_of(view, name)


SERVICE_FAMILIES: tuple[Family, ...] = (
    gauge(
        "service_info",
        "What the service is; always 1.",
        samples.service_info,
        "infer_type",
        "workspace_id",
        "owner",
    ),
    gauge("service_status", "1 for the present status, 0 for the others.", samples.status, "status"),
    gauge("service_up", "1 if the last read of the service's logs and events succeeded.", samples.up),
    gauge(
        "service_last_poll_timestamp_seconds",
        "When the service was last read with success.",
        at(lambda a: a.read_at),
    ),
    counter("service_invocations_total", "Calls, as the API reports them.", total(INVOCATIONS)),
    counter(
        "service_failed_invocations_total",
        "Failed calls, as the API reports them.",
        total(FAILED_INVOCATIONS),
    ),
    gauge(
        "service_update_result",
        "1 for the result of the newest update, 0 for the others.",
        samples.update_result,
        "result",
    ),
    gauge(
        "service_update_failing",
        "1 if the newest settled update failed; stays 1 while a retry runs.",
        samples.update_failing,
    ),
    counter(
        "service_updates_total", "Settled updates.", counted(UPDATES, "result", SETTLED_RESULTS), "result"
    ),
    gauge("service_updates_running", "Open updates.", samples.updates_running),
    gauge(
        "service_oldest_running_update_timestamp_seconds",
        "When the oldest open update began.",
        samples.oldest_running,
    ),
    gauge(
        "service_last_update_timestamp_seconds",
        "When the newest update began.",
        at(lambda a: a.newest.update_time if a.newest else None),
    ),
    gauge(
        "service_last_success_timestamp_seconds",
        "When the newest update that succeeded began.",
        at(lambda a: a.last_success),
    ),
    gauge(
        "service_last_failure_timestamp_seconds",
        "When the newest update that failed began.",
        at(lambda a: a.last_failure),
    ),
    summary(
        "service_update_duration_seconds",
        "From an update's begin to its settling.",
        samples.update_duration,
        "result",
    ),
    summary(
        "service_restore_duration_seconds",
        "From the settling of a first failure to that of the success that ended it.",
        samples.restore_duration,
    ),
    gauge(
        "service_last_update_nodes", "Edge nodes of the newest update.", samples.last_update_nodes, "result"
    ),
    counter(
        "service_update_nodes_total",
        "Edge nodes, summed over the settled updates.",
        samples.nodes_total,
        "result",
    ),
    gauge(
        "edge_node_operation_success",
        "1 if the newest update's operation on the node succeeded.",
        samples.node_operations,
        "node_id",
        "node_name",
        "operation",
    ),
    gauge(
        "service_model_info",
        "A model of the newest update; always 1.",
        samples.model_info,
        *MODEL,
        "specification",
    ),
    gauge(
        "service_model_traffic_weight_ratio",
        "Share of the traffic, 0 to 1.",
        model(lambda m: None if m.weight is None else m.weight / 100),
        *MODEL,
    ),
    gauge("service_model_instances", "Instances asked for.", model(lambda m: m.instances), *MODEL),
    gauge(
        "service_model_cpu_cores",
        "CPU cores of the custom specification.",
        model(lambda m: m.cpu_cores),
        *MODEL,
    ),
    gauge(
        "service_model_memory_bytes",
        "Memory of the custom specification.",
        model(samples.memory_bytes),
        *MODEL,
    ),
    gauge("service_model_gpus", "GPUs of the custom specification.", model(lambda m: m.gpus), *MODEL),
    gauge(
        "service_last_failure_info",
        "Cause of the newest failed update, present while the service fails; always 1.",
        samples.failure_info,
        "reason",
        "message",
    ),
    counter("service_events_total", "Events.", counted(EVENTS, "event_type", EVENT_TYPES), "event_type"),
    counter(
        "service_abnormal_events_total",
        "Abnormal events, and normal ones that tell of a failure, by cause.",
        samples.reasons,
        "reason",
    ),
    gauge(
        "service_last_event_timestamp_seconds",
        "When the newest event occurred.",
        samples.last_event,
        "event_type",
    ),
    gauge(
        "service_deploy_phase_duration_seconds",
        "Of the newest deployment that finished the phase.",
        samples.phase_durations,
        "phase",
    ),
    gauge(
        "service_deploy_phase_start_timestamp_seconds",
        "When the phase began that an open update is in now.",
        samples.phase_start,
        "phase",
    ),
)

PROJECT_FAMILIES: tuple[Family, ...] = (
    gauge(
        "up",
        "1 if the last list of the project's services succeeded.",
        lambda v: samples.one(v, None if v.up is None else float(v.up)),
    ),
    gauge("services", "Services watched.", lambda v: samples.one(v, v.services)),
    gauge("project_info", "What the project is; always 1.", samples.project_info, "project_id", "endpoint"),
    histogram(
        "update_duration_seconds",
        "From an update's begin to its settling, over the project.",
        samples.fleet_durations,
        "result",
    ),
    histogram(
        "restore_duration_seconds",
        "From a first failure's settling to that of the success that ended it, over the project.",
        lambda v: samples.histogram(v, totals.RESTORE, ()),
    ),
)


def _without_message(view: ServiceView) -> Iterable[Sample]:
    for sample in samples.failure_info(view):
        yield sample._replace(labels=tuple(pair for pair in sample.labels if pair[0] != "message"))


def service_families(options: Options) -> tuple[Family, ...]:
    """The services' table as the configuration wants it."""
    rows = []
    for row in SERVICE_FAMILIES:
        if row.name == "modelarts_edge_node_operation_success" and not options.edge_nodes:
            continue
        if row.name == "modelarts_service_last_failure_info" and not options.failure_message:
            rows.append(row._replace(labels=("reason",), samples=_without_message))
            continue
        rows.append(row)
    return tuple(rows)
