"""Which alerts are sent to Alertmanager and when: one identity, a lease renewed, an end repeated."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from exporter.core.accounting.labels import ServiceView
from exporter.core.accounting.service_state import FailureEvent, ServiceState
from exporter.core.classifier.classifier import Classifier
from exporter.core.classifier.remedies import REMEDIES
from exporter.core.formats import iso
from exporter.core.records import ABNORMAL, Model
from exporter.core.scrub import scrub

ALERTNAME = "ModelArtsDeploymentFailure"
SEVERITY = "critical"
SOURCE = "modelarts-exporter"
# The rules' alerts link to the same place, see alerts/config.yml.
RUNBOOKS = "https://github.com/modelarts-exporter/modelarts-exporter/blob/main/docs/runbooks"

# Two sends may fail and the alert still stands; Prometheus leases its own alerts for as long.
LEASE_RESENDS = 4
# As long as Prometheus repeats an end: an Alertmanager that was down in the meantime learns of it.
END_REPEATED_MS = 15 * 60 * 1000
# The last three events tell the story; more is read on the service's page.
RECENT_EVENTS = 3
# What Prometheus sends at once.
LARGEST_BATCH = 64
# Receivers such as chat and SMS break on long texts; three times the longest published list of models.
_LONGEST_MODELS = 500

_SUMMARY = "The deployment of a ModelArts service failed."
_OTHER = "other"

Key = tuple[str, str]  # project, service_id
Pairs = tuple[tuple[str, str], ...]


class Alert(msgspec.Struct, frozen=True):
    """One alert. Times in ms; `resolved_at`: None while it fires; `ready_at`: when it may be sent first."""

    labels: Pairs
    annotations: Pairs
    page: str
    active_at: int
    ready_at: int
    resolved_at: int | None = None


class NotifierOptions(NamedTuple):
    """What every push has in common.

    `labels` are the configured ones; `external_url` is where readers find the pages. `resend`: ms between
    two sends of one alert. `cause_wait`: ms that the first send waits for the cause. `since`: when (ms)
    this began to be told; what is only known from before is looked at again before it is told, but not
    for longer than one resend.
    """

    labels: Mapping[str, str]
    external_url: str
    classifier: Classifier
    resend: int
    cause_wait: int
    since: int = 0


class PostableAlert(msgspec.Struct, frozen=True):
    """An alert as it is sent at one moment (ms); `ends_at` in the past says that it is over."""

    alert: Alert
    starts_at: int
    ends_at: int


class LastSend(NamedTuple):
    """What an Alertmanager was last told of an alert, and when (ms); `rejected`: it found it bad."""

    alert: Alert
    at: int
    rejected: bool = False


def alert_of(view: ServiceView, options: NotifierOptions) -> Alert | None:
    """The alert of a service; None where it has none."""
    state = view.state
    alert = state.alert
    if alert is None:
        return None
    labels = {
        **options.labels,
        "alertname": ALERTNAME,
        "severity": SEVERITY,
        "source": SOURCE,
        **dict(view.labels),
    }
    # A summary ("failed to start") is no cause yet: the event that proves one may be read next.
    ready = alert.active_at if state.is_explained else alert.active_at + options.cause_wait
    if state.read_at is None or state.read_at < options.since:
        # After hours of silence its lease has run out, and it may be over by now: that would be a false page.
        ready = max(ready, options.since + options.resend)
    page = _page(options.external_url, state.row.service_id, view.project)
    return Alert(
        labels=tuple(sorted((name, value) for name, value in labels.items() if value)),
        annotations=_annotations(view, options.classifier, page),
        page=page,
        active_at=alert.active_at,
        ready_at=ready,
        resolved_at=alert.resolved_at,
    )


def _page(external_url: str, service_id: str, project: str) -> str:
    # Two projects may have a service of the same id.
    path, name = (quote(part, safe="", errors="replace") for part in (service_id, project))
    return f"{external_url}/services/{path}?project={name}"


def _annotations(view: ServiceView, classifier: Classifier, page: str) -> Pairs:
    state = view.state
    cause = state.cause
    found = {
        "summary": _SUMMARY,
        "description": _description(view),
        "cause": cause.message if cause else "",
        "cause_reason": cause.reason if cause else _OTHER,
        "cause_time": iso(cause.occur_time) if cause else "",
        "remedy": _remedy(cause, classifier),
        "model": _models(state.settled.models if state.settled else ()),
        "recent_events": "\n".join(_line(failure) for failure in state.failure_events[-RECENT_EVENTS:]),
        "runbook_url": f"{RUNBOOKS}/{ALERTNAME}.md",
        "dashboard_url": page,
    }
    return tuple((key, value) for key, value in found.items() if value)


def _description(view: ServiceView) -> str:
    state = view.state
    about = f"service {_name(state)} in project {view.project}"
    if state.settled is None or not state.failing:
        # Told only where nobody remembers the failure: an end keeps the words of its beginning.
        return f"The failed deployment of {about} is over"
    why = f": {state.cause.message}" if state.cause else "; the event log names no cause"
    return f"The update of {about} at {iso(state.settled.update_time)} failed{why}"


def _name(state: ServiceState) -> str:
    return scrub(state.row.service_name or state.row.service_id)


def _models(models: Iterable[Model]) -> str:
    return scrub(", ".join(f"{model.model_name} {model.model_version}" for model in models), _LONGEST_MODELS)


def _remedy(cause: FailureEvent | None, classifier: Classifier) -> str:
    if cause is None:
        return REMEDIES[_OTHER]
    # The text was scrubbed and cut; where that changed what it tells, the reason still holds.
    finding = classifier.classify(ABNORMAL, cause.message)
    return finding.remedy if finding.reason == cause.reason else REMEDIES.get(cause.reason, "")


def _line(failure: FailureEvent) -> str:
    return f"{iso(failure.occur_time)} {failure.message}"


def due(
    alerts: Mapping[Key, Alert], sent: Mapping[Key, LastSend], now: int, options: NotifierOptions
) -> tuple[list[Key], int]:
    """What to tell an Alertmanager that was told `sent`, and when (ms) to ask again at the latest."""
    found = []
    again = now + options.resend
    for key, alert in alerts.items():
        at = _next(alert, sent.get(key), now, options)
        if at is not None and at <= now:
            found.append(key)
        elif at is not None:
            again = min(again, at)
    return found, again


def _next(alert: Alert, last: LastSend | None, now: int, options: NotifierOptions) -> int | None:
    """When (ms) to tell of it; None if there is nothing left to tell.

    A clock that was set back must not make anything wait for longer than it would have to.
    """
    if alert.resolved_at is not None:
        # The rule's alert, which this one hides, has to end first, or its end is told as a new page.
        told = alert.resolved_at + options.resend
        if alert.resolved_at <= now < told:
            return told
        if is_over(alert, now, options):
            return None
    elif (last is None or last.alert.resolved_at is not None) and (
        0 < alert.ready_at - now <= max(options.cause_wait, options.resend)
    ):
        return alert.ready_at
    if last is not None and last.alert == alert and 0 <= now - last.at < options.resend:
        return last.at + options.resend
    return now


def postable(alert: Alert, now: int, options: NotifierOptions) -> PostableAlert:
    """What to say of an alert at `now` (ms)."""
    ends_at = now + LEASE_RESENDS * options.resend
    if alert.resolved_at is not None:
        ends_at = min(alert.resolved_at + options.resend, now)
    # An Alertmanager refuses what ends before it starts; our clock may have been set back in between.
    return PostableAlert(alert, min(alert.active_at, now, ends_at), ends_at)


def is_over(alert: Alert, now: int, options: NotifierOptions) -> bool:
    """Whether there is nothing left to tell."""
    return alert.resolved_at is not None and now >= alert.resolved_at + options.resend + END_REPEATED_MS


def batches(keys: Sequence[Key], sent: Mapping[Key, LastSend]) -> list[Sequence[Key]]:
    """What to send at once: good ones together, and after them each alone that was rejected before."""
    bad = {key for key in keys if key in sent and sent[key].rejected}
    good = [key for key in keys if key not in bad]
    full = [good[at : at + LARGEST_BATCH] for at in range(0, len(good), LARGEST_BATCH)]
    return [*full, *([key] for key in keys if key in bad)]
