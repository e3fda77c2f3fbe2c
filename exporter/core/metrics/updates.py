"""The metrics of a service's updates: results, durations, times, edge nodes."""

from collections.abc import Iterable

from exporter.core.accounting.labels import Labels, ServiceView, label_text
from exporter.core.accounting.service_state import (
    DURATION_COUNT,
    DURATION_SUM,
    NODES_FAILED,
    NODES_SUCCEEDED,
    RESTORE_COUNT,
    RESTORE_SUM,
    UPDATES,
)
from exporter.core.metrics.family import (
    Sample,
    counter,
    counters_of,
    gauge,
    one,
    per_label,
    summary,
    time_of,
)
from exporter.core.records import RESULTS, SETTLED_RESULTS


def _is_known(view: ServiceView) -> bool:
    """Whether the log was read, or there is none; before that nothing is claimed: a 0 would end an alert."""
    return view.state.updates.read_once or view.state.read_at is not None


def _result(view: ServiceView) -> Iterable[Sample]:
    if not _is_known(view):
        return ()
    return per_label(view, "result", {result: float(view.state.result == result) for result in RESULTS})


def _failing(view: ServiceView) -> Iterable[Sample]:
    return one(view, float(view.state.failing) if _is_known(view) else None)


def _running(view: ServiceView) -> Iterable[Sample]:
    return one(view, len(view.state.open) if _is_known(view) else None)


def _duration(view: ServiceView) -> Iterable[Sample]:
    counters = view.state.counters
    for result in SETTLED_RESULTS:
        if DURATION_COUNT + result in counters.values:
            labels = (*view.labels, ("result", result))
            yield Sample("_count", labels, counters.shown(DURATION_COUNT + result))
            yield Sample("_sum", labels, counters.shown(DURATION_SUM + result))


def _restore_duration(view: ServiceView) -> Iterable[Sample]:
    counters = view.state.counters
    if RESTORE_COUNT in counters.values:
        yield Sample("_count", view.labels, counters.shown(RESTORE_COUNT))
        yield Sample("_sum", view.labels, counters.shown(RESTORE_SUM))


def _last_nodes(view: ServiceView) -> Iterable[Sample]:
    newest = view.state.newest
    if newest is None:
        return ()
    counts = {"success": newest.nodes_succeeded, "failed": newest.nodes_failed}
    return per_label(view, "result", {k: float(v) for k, v in counts.items() if v is not None})


def _node_operations(view: ServiceView) -> Iterable[Sample]:
    newest = view.state.newest
    found: dict[Labels, bool] = {}
    for node in newest.nodes if newest else ():
        labels = (
            ("node_id", label_text(node.node_id)),
            ("node_name", label_text(node.node_name)),
            ("operation", label_text(node.operation)),
        )
        # A node listed twice is one series; its failure must show.
        found[labels] = found.get(labels, True) and node.succeeded
    return [Sample("", view.labels + labels, float(succeeded)) for labels, succeeded in found.items()]


FAMILIES = (
    gauge(
        "service_update_result",
        "1 for the result of the newest update, 0 for the others.",
        _result,
        "result",
    ),
    gauge(
        "service_update_failing",
        "1 if the newest settled update failed; stays 1 while a retry runs.",
        _failing,
    ),
    counter(
        "service_updates_total",
        "Settled updates.",
        counters_of("result", {result: UPDATES + result for result in SETTLED_RESULTS}),
        "result",
    ),
    gauge("service_updates_running", "Open updates.", _running),
    gauge(
        "service_oldest_running_update_timestamp_seconds",
        "When the oldest open update began.",
        time_of(lambda state: state.under_way[0].update_time if state.under_way else None),
    ),
    gauge(
        "service_last_update_timestamp_seconds",
        "When the newest update began.",
        time_of(lambda state: state.newest.update_time if state.newest else None),
    ),
    gauge(
        "service_last_success_timestamp_seconds",
        "When the newest update that succeeded began.",
        time_of(lambda state: state.last_success),
    ),
    gauge(
        "service_last_failure_timestamp_seconds",
        "When the newest update that failed began.",
        time_of(lambda state: state.last_failure),
    ),
    summary(
        "service_update_duration_seconds",
        "From an update's begin to its settling.",
        _duration,
        "result",
    ),
    summary(
        "service_restore_duration_seconds",
        "From the settling of a first failure to that of the success that ended it.",
        _restore_duration,
    ),
    gauge("service_last_update_nodes", "Edge nodes of the newest update.", _last_nodes, "result"),
    counter(
        "service_update_nodes_total",
        "Edge nodes, summed over the settled updates.",
        counters_of("result", {"success": NODES_SUCCEEDED, "failed": NODES_FAILED}),
        "result",
    ),
)

# One series a node, which may be many: the configuration can leave them out.
EDGE_NODE_FAMILIES = (
    gauge(
        "edge_node_operation_success",
        "1 if the newest update's operation on the node succeeded.",
        _node_operations,
        "node_id",
        "node_name",
        "operation",
    ),
)
