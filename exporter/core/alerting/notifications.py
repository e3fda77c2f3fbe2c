"""What the sidecar tells Alertmanager, and when: identity by labels, a lease renewed, an end told.

Who may tell what, so that nobody is paged for what is known and no end is false:

    an alert is confirmed    its service was read by this process, and can still be read: its beginning and
                             its end are sent, and while it fires it is sent again and again
    an alert is not          known from the store, or from before the cloud went out of reach: it is renewed
                             where it still stands, and neither begun nor ended; a replica that sees more may
                             have ended it meanwhile
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from exporter.core.accounting.failure_cause import remedy_of
from exporter.core.accounting.labels import ServiceView
from exporter.core.accounting.service_state import FailureEvent, ServiceState
from exporter.core.classifier.classifier import Classifier
from exporter.core.formats import iso
from exporter.core.links import RUNBOOKS_PATH, LinkOptions, links_of
from exporter.core.records import Model
from exporter.core.scrub import scrub

ALERTNAME = "ModelArtsDeploymentFailure"
SOURCE = "modelarts-exporter"

# For so long an exporter may be down, and none of its alerts ends.
LONGEST_DOWNTIME_MS = 10 * 60 * 1000
# Beyond that: the last send may be one resend old, and two may fail before one arrives.
LEASE_RESENDS = 4
# A send that was refused is tried again at least this often, whatever the resend interval: an alert on
# failing pushes needs several failures within its window. As often a peer hears from us at least.
HEARTBEAT_MS = 60 * 1000
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


class Alert(msgspec.Struct, frozen=True, gc=False):
    """One alert, see the module. Times in ms.

    `ready_at`: when it may be sent first, or once it is over, when its end may. `resolved_at`: None while it
    fires.
    """

    labels: Pairs
    annotations: Pairs
    page: str
    active_at: int
    ready_at: int
    resolved_at: int | None = None
    confirmed: bool = True


class NotifierOptions(NamedTuple):
    """What every push has in common.

    `labels` are the configured ones. `resend`: ms between two sends of one alert. `cause_wait`: ms that the
    first send waits for the cause.
    """

    labels: Mapping[str, str]
    links: LinkOptions
    classifier: Classifier
    resend: int
    cause_wait: int
    severity: str = "critical"


class PostableAlert(msgspec.Struct, frozen=True, gc=False):
    """An alert as it is sent at one moment (ms); `ends_at` in the past says that it is over."""

    alert: Alert
    starts_at: int
    ends_at: int


class LastSend(NamedTuple):
    """What an Alertmanager was last told of an alert, and when (ms).

    `rejected`: it found it bad. `withheld`: it was not told, because the alert is not confirmed and does not
    stand there.
    """

    alert: Alert
    at: int
    rejected: bool = False
    withheld: bool = False


def alert_of(
    view: ServiceView,
    options: NotifierOptions,
    project_id: str = "",
    *,
    scrape_gap: int = 0,
    confirmed: bool = True,
) -> Alert | None:
    """The alert of a service; None where it has none.

    Args:
        view: the service.
        options: what every push has in common.
        project_id: for the link to the console.
        scrape_gap: how far scrapes are apart (ms).
        confirmed: see the module.

    """
    state = view.state
    alert = state.alert
    if alert is None:
        return None
    labels = {
        **options.labels,
        "alertname": ALERTNAME,
        "severity": options.severity,
        "source": SOURCE,
        **dict(view.labels),
    }
    # A summary ("failed to start") is no cause yet: the event that proves one may be read next.
    ready = alert.active_at if state.is_explained else alert.active_at + options.cause_wait
    links = _links(options.links, view, project_id)
    return with_end_ready(
        Alert(
            labels=tuple(sorted((name, value) for name, value in labels.items() if value)),
            annotations=_annotations(view, options.classifier, links),
            page=links["dashboard_url"],
            active_at=alert.active_at,
            ready_at=ready,
            resolved_at=alert.resolved_at,
            confirmed=confirmed,
        ),
        options,
        scrape_gap,
    )


def unconfirmed(alerts: Mapping[Key, Alert]) -> Mapping[Key, Alert]:
    """The same alerts, of which none is confirmed."""
    return {key: msgspec.structs.replace(alert, confirmed=False) for key, alert in alerts.items()}


def with_end_ready(alert: Alert, options: NotifierOptions, scrape_gap: int) -> Alert:
    """The alert, if it is over with the time when its end may be sent.

    The rule's alert, which this one hides, has to end first, or its end is told as a new page. It ends after
    the next scrape and an evaluation, which is no longer than one resend.
    """
    if alert.resolved_at is None:
        return alert
    return msgspec.structs.replace(alert, ready_at=alert.resolved_at + options.resend + scrape_gap)


def _links(options: LinkOptions, view: ServiceView, project_id: str) -> dict[str, str]:
    service_id = view.state.row.service_id
    elsewhere = links_of(options, view.project, project_id, service_id)
    project, service_id = (quote(part, safe="", errors="replace") for part in (view.project, service_id))
    runbooks = options.runbooks_url or f"{options.external_url}{RUNBOOKS_PATH}"
    return {
        "runbook_url": f"{runbooks}/{ALERTNAME}",
        # Two projects may have a service of the same id.
        "dashboard_url": f"{options.external_url}/services/{service_id}?project={project}",
        "grafana_url": elsewhere.grafana,
        "console_url": elsewhere.console,
    }


def _annotations(view: ServiceView, classifier: Classifier, links: Mapping[str, str]) -> Pairs:
    state = view.state
    cause = state.cause
    found = {
        "summary": _SUMMARY,
        "description": _description(view),
        "cause": cause.message if cause else "",
        "cause_reason": cause.reason if cause else _OTHER,
        "cause_time": iso(cause.occur_time) if cause else "",
        "remedy": remedy_of(cause, classifier),
        "model": _models(state.settled.models if state.settled else ()),
        "recent_events": "\n".join(_line(failure) for failure in state.failure_events[-RECENT_EVENTS:]),
        **links,
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
        if not alert.confirmed or is_over(alert, now):
            return None
        if alert.resolved_at <= now < alert.ready_at:
            return alert.ready_at
    elif (last is None or last.withheld or last.alert.resolved_at is not None) and (
        0 < alert.ready_at - now <= options.cause_wait
    ):
        return alert.ready_at
    again = min(options.resend, HEARTBEAT_MS) if last is not None and last.rejected else options.resend
    if last is not None and last.alert == alert and 0 <= now - last.at < again:
        return last.at + again
    return now


def postable(alert: Alert, now: int, options: NotifierOptions, ahead: int = 0) -> PostableAlert:
    """What to say of an alert at `now` (ms) to an Alertmanager whose clock is `ahead` (ms) of ours.

    It judges by its own clock whether an alert is over. An end in its future would be no end: it would keep
    the lease that it was given last.
    """
    if alert.resolved_at is None:
        ends_at = now + LONGEST_DOWNTIME_MS + LEASE_RESENDS * options.resend
    else:
        ends_at = min(alert.resolved_at, now)
    # An Alertmanager refuses what ends before it starts; our clock may have been set back in between.
    starts_at = min(alert.active_at, now, ends_at)
    return PostableAlert(alert, starts_at + ahead, ends_at + ahead)


def is_over(alert: Alert, now: int) -> bool:
    """Whether there is nothing left to tell."""
    return alert.resolved_at is not None and now >= alert.ready_at + END_REPEATED_MS


def batches(keys: Sequence[Key], sent: Mapping[Key, LastSend]) -> list[Sequence[Key]]:
    """What to send at once: good ones together, and after them each alone that was rejected before."""
    bad = {key for key in keys if key in sent and sent[key].rejected}
    good = [key for key in keys if key not in bad]
    full = [good[at : at + LARGEST_BATCH] for at in range(0, len(good), LARGEST_BATCH)]
    return [*full, *([key] for key in keys if key in bad)]
