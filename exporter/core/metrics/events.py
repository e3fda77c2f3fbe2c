"""The metrics of a service's events: the cause of a failure, counts, and the phases of a deployment."""

from collections.abc import Iterable

from exporter.core.accounting import phases
from exporter.core.accounting.labels import ServiceView
from exporter.core.accounting.service_state import EVENTS, REASON
from exporter.core.metrics.family import Family, Sample, counter, counters_of, gauge, per_label, seconds
from exporter.core.records import EVENT_TYPES
from exporter.core.scrub import scrub

_FAILURE_INFO = "service_last_failure_info"


def _failure_reason(view: ServiceView) -> Iterable[Sample]:
    """One series a service, present exactly while it fails."""
    if not view.state.failing:
        return ()
    cause = view.state.cause
    return (Sample("", (*view.labels, ("reason", cause.reason if cause else "other")), 1),)


def _failure_info(view: ServiceView) -> Iterable[Sample]:
    cause = view.state.cause
    # A label is kept shorter than the text on pages and in alerts.
    message = scrub(cause.message) if cause else ""
    return [
        sample._replace(labels=(*sample.labels, ("message", message))) for sample in _failure_reason(view)
    ]


def _reasons(view: ServiceView) -> Iterable[Sample]:
    names = sorted(name for name in view.state.counters.values if name.startswith(REASON))
    return counters_of("reason", {name.removeprefix(REASON): name for name in names})(view)


def _last_event(view: ServiceView) -> Iterable[Sample]:
    times = view.state.last_events
    shown = {each: seconds(times[each]) for each in EVENT_TYPES if each in times}
    return per_label(view, "event_type", shown)


def _phase_durations(view: ServiceView) -> Iterable[Sample]:
    return per_label(view, "phase", phases.durations(view.state.phases))


def _phase_start(view: ServiceView) -> Iterable[Sample]:
    under_way = view.state.under_way
    current = phases.current(view.state.phases, under_way[-1].update_time) if under_way else None
    return per_label(view, "phase", {current[0]: seconds(current[1])} if current else {})


def failure_info(*, message: bool) -> Family:
    """The cause of the failure that lasts, with or without its text in a label."""
    text = "Cause of the newest failed update, present while the service fails; always 1."
    if message:
        return gauge(_FAILURE_INFO, text, _failure_info, "reason", "message")
    return gauge(_FAILURE_INFO, text, _failure_reason, "reason")


FAMILIES = (
    counter(
        "service_events_total",
        "Events.",
        counters_of("event_type", {each: EVENTS + each for each in EVENT_TYPES}),
        "event_type",
    ),
    counter(
        "service_abnormal_events_total",
        "Abnormal events, and normal ones that tell of a failure, by cause.",
        _reasons,
        "reason",
    ),
    gauge(
        "service_last_event_timestamp_seconds", "When the newest event occurred.", _last_event, "event_type"
    ),
    gauge(
        "service_deploy_phase_duration_seconds",
        "Of the newest deployment that finished the phase.",
        _phase_durations,
        "phase",
    ),
    gauge(
        "service_deploy_phase_start_timestamp_seconds",
        "When the phase began that an open update is in now.",
        _phase_start,
        "phase",
    ),
)
