"""Pure functions from a service or project to the samples of one metric each."""

from collections.abc import Callable, Iterable, Mapping

from exporter.core.accounting import phases
from exporter.core.accounting import project_totals as totals
from exporter.core.accounting.labels import Labels, ProjectView, ServiceView, label_text
from exporter.core.accounting.service_state import (
    DURATION_COUNT,
    DURATION_SUM,
    NODES_FAILED,
    NODES_SUCCEEDED,
    REASON,
    RESTORE_COUNT,
    RESTORE_SUM,
    ServiceState,
)
from exporter.core.metrics.family import Sample
from exporter.core.records import EVENT_TYPES, RESULTS, SETTLED_RESULTS, STATUSES, Model
from exporter.core.scrub import scrub

OTHER = "other"

BYTES_PER_MB = 1024 * 1024  # the API's MB is the MiB of its flavours


def _seconds(milliseconds: float) -> float:
    return milliseconds / 1000


def _per_label(
    view: ServiceView | ProjectView, name: str, values: Mapping[str, float], suffix: str = ""
) -> Iterable[Sample]:
    return [Sample(suffix, (*view.labels, (name, key)), value) for key, value in values.items()]


def one(view: ServiceView | ProjectView, value: float | None) -> Iterable[Sample]:
    """One sample without further labels, or none."""
    return () if value is None else (Sample("", view.labels, value),)


def counters_of(view: ServiceView, prefix: str, label: str, keys: Iterable[str]) -> Iterable[Sample]:
    """A sample for each existing counter of a prefix."""
    totals = view.state.counters
    return _per_label(view, label, {k: totals.shown(prefix + k) for k in keys if prefix + k in totals.values})


def counter_of(view: ServiceView, name: str) -> Iterable[Sample]:
    """The sample of one counter, if it exists."""
    totals = view.state.counters
    return one(view, totals.shown(name) if name in totals.values else None)


def update_result(view: ServiceView) -> Iterable[Sample]:
    """All three results, so that each is 0 before it is 1."""
    if not view.state.updates.read_once:
        return ()  # nothing is known yet, and nothing is claimed: a 0 would end an alert
    return _per_label(view, "result", {result: float(view.state.result == result) for result in RESULTS})


def update_duration(view: ServiceView) -> Iterable[Sample]:
    """Sum and count of each result."""
    totals = view.state.counters
    for result in SETTLED_RESULTS:
        if DURATION_COUNT + result in totals.values:
            labels = (*view.labels, ("result", result))
            yield Sample("_count", labels, totals.shown(DURATION_COUNT + result))
            yield Sample("_sum", labels, totals.shown(DURATION_SUM + result))


def restore_duration(view: ServiceView) -> Iterable[Sample]:
    """Sum and count."""
    totals = view.state.counters
    if RESTORE_COUNT in totals.values:
        yield Sample("_count", view.labels, totals.shown(RESTORE_COUNT))
        yield Sample("_sum", view.labels, totals.shown(RESTORE_SUM))


def update_failing(view: ServiceView) -> Iterable[Sample]:
    """Nothing before the first read."""
    return one(view, float(view.state.failing) if view.state.updates.read_once else None)


def updates_running(view: ServiceView) -> Iterable[Sample]:
    """Nothing before the first read."""
    return one(view, len(view.state.open) if view.state.updates.read_once else None)


def oldest_running(view: ServiceView) -> Iterable[Sample]:
    """Nothing without an open update."""
    times = [update.update_time for update in view.state.open]
    return one(view, _seconds(min(times)) if times else None)


def time_of(pick: Callable[[ServiceState], int | None]) -> Callable[[ServiceView], Iterable[Sample]]:
    """A function that shows a time in ms as seconds."""

    def samples(view: ServiceView) -> Iterable[Sample]:
        time = pick(view.state)
        return one(view, None if time is None else _seconds(time))

    return samples


def last_update_nodes(view: ServiceView) -> Iterable[Sample]:
    """Only where the API counted nodes."""
    newest = view.state.newest
    if newest is None:
        return ()
    counts = {"success": newest.nodes_succeeded, "failed": newest.nodes_failed}
    return _per_label(view, "result", {k: float(v) for k, v in counts.items() if v is not None})


def nodes_total(view: ServiceView) -> Iterable[Sample]:
    """Exists for edge services only."""
    totals = view.state.counters
    names = {"success": NODES_SUCCEEDED, "failed": NODES_FAILED}
    return _per_label(view, "result", {k: totals.shown(n) for k, n in names.items() if n in totals.values})


def node_operations(view: ServiceView) -> Iterable[Sample]:
    """One sample a node and operation."""
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


def _models(view: ServiceView) -> tuple[Model, ...]:
    newest = view.state.newest
    return newest.models if newest else ()


def _model_labels(model: Model) -> Labels:
    return (
        ("model_id", label_text(model.model_id)),
        ("model_name", label_text(model.model_name)),
        ("model_version", label_text(model.model_version)),
    )


def model_info(view: ServiceView) -> Iterable[Sample]:
    """One sample a model and specification."""
    rows = dict.fromkeys(
        (*_model_labels(m), ("specification", label_text(m.specification))) for m in _models(view)
    )
    return [Sample("", view.labels + labels, 1) for labels in rows]


def model_value(pick: Callable[[Model], float | None]) -> Callable[[ServiceView], Iterable[Sample]]:
    """A function that shows a number of each model that has it."""

    def samples(view: ServiceView) -> Iterable[Sample]:
        found: dict[Labels, float] = {}
        for model in _models(view):
            value = pick(model)
            if value is not None:
                # One model with two configurations is one series: what it has in all.
                labels = _model_labels(model)
                found[labels] = found.get(labels, 0) + value
        return [Sample("", view.labels + labels, value) for labels, value in found.items()]

    return samples


def memory_bytes(model: Model) -> float | None:
    """The memory a model asks for, in bytes."""
    return None if model.memory_mb is None else model.memory_mb * BYTES_PER_MB


def failure_info(view: ServiceView) -> Iterable[Sample]:
    """One series a service, present exactly while it fails."""
    if not view.state.failing:
        return ()
    cause = view.state.cause
    message = scrub(cause.message) if cause else ""  # a label is kept shorter than what alerts and pages show
    labels = (("reason", cause.reason if cause else OTHER), ("message", message))
    return (Sample("", view.labels + labels, 1),)


def reasons(view: ServiceView) -> Iterable[Sample]:
    """One sample for each reason there ever was."""
    reasons = sorted(n.removeprefix(REASON) for n in view.state.counters.values if n.startswith(REASON))
    return counters_of(view, REASON, "reason", reasons)


def last_event(view: ServiceView) -> Iterable[Sample]:
    """One sample for each type there ever was."""
    times = view.state.last_events
    return _per_label(
        view, "event_type", {kind: _seconds(times[kind]) for kind in EVENT_TYPES if kind in times}
    )


def phase_durations(view: ServiceView) -> Iterable[Sample]:
    """One sample for each phase that was ever finished."""
    return _per_label(view, "phase", phases.finished(view.state.phases))


def phase_start(view: ServiceView) -> Iterable[Sample]:
    """At most one sample, while an update is open."""
    if not view.state.open:
        return ()
    newest = max(update.update_time for update in view.state.open)
    now = phases.current(view.state.phases, newest)
    return _per_label(view, "phase", {now[0]: _seconds(now[1])} if now else {})


def service_info(view: ServiceView) -> Iterable[Sample]:
    """One sample."""
    row = view.state.row
    labels = (
        ("infer_type", label_text(row.infer_type)),
        ("workspace_id", label_text(row.workspace_id)),
        ("owner", label_text(row.owner)),
    )
    return (Sample("", view.labels + labels, 1),)


def status(view: ServiceView) -> Iterable[Sample]:
    """All of the API's statuses and `other`; nothing before one is known."""
    status = view.state.row.status
    if not status:
        return ()
    present = status if status in STATUSES else OTHER
    return _per_label(view, "status", {name: float(name == present) for name in (*STATUSES, OTHER)})


def up(view: ServiceView) -> Iterable[Sample]:
    """Nothing before the first read."""
    return one(view, None if view.state.up is None else float(view.state.up))


def histogram(view: ProjectView, name: str, labels: Labels) -> Iterable[Sample]:
    """Buckets, count and sum of one histogram."""
    counts, total = totals.cumulative(view.totals, name)
    for bound, count in counts:
        yield Sample(
            "_bucket", (*view.labels, *labels, ("le", "+Inf" if bound is None else str(bound))), count
        )
    yield Sample("_count", view.labels + labels, counts[-1][1])
    yield Sample("_sum", view.labels + labels, total)


def fleet_durations(view: ProjectView) -> Iterable[Sample]:
    """One histogram a result."""
    for result in SETTLED_RESULTS:
        yield from histogram(view, totals.DURATION + result, (("result", result),))


def project_info(view: ProjectView) -> Iterable[Sample]:
    """One sample."""
    labels = (("project_id", view.project_id), ("endpoint", view.endpoint))
    return (Sample("", view.labels + labels, 1),)
