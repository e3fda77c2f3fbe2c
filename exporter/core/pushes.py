"""What the sidecar tells Alertmanager, and when: identity by labels, a lease renewed, an end told."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from exporter.core.account import Trouble
from exporter.core.causes import Classifier
from exporter.core.records import ABNORMAL
from exporter.core.scrub import scrub
from exporter.core.views import ServiceView

ALERTNAME = "ModelArtsDeploymentFailure"
SEVERITY = "critical"
SOURCE = "modelarts-exporter"
RUNBOOKS = "https://github.com/modelarts-exporter/modelarts-exporter/blob/main/docs/runbooks"

# Two sends may fail and the alert still stands; Prometheus leases its own alerts for as long.
LEASE_RESENDS = 4
# As long as Prometheus repeats an end: an Alertmanager that was down in the meantime learns of it.
END_REPEATED_MS = 15 * 60 * 1000
# The last three events tell the story; more is read on the service's page.
RECENT_EVENTS = 3

_SUMMARY = "The deployment of a ModelArts service failed."

Pairs = tuple[tuple[str, str], ...]


class Push(msgspec.Struct, frozen=True):
    """One alert. Times in ms; `ended` is None while it fires, `ready` when it may be sent first."""

    labels: Pairs
    annotations: Pairs
    page: str
    began: int
    ready: int
    ended: int | None = None


class Alerting(NamedTuple):
    """What every push has in common.

    `labels` are the configured ones; `external_url` is where readers find the pages. `resend`: ms between
    two sends of one alert. `cause_wait`: ms that the first send waits for the cause.
    """

    labels: Mapping[str, str]
    external_url: str
    classifier: Classifier
    resend: int
    cause_wait: int


class Message(msgspec.Struct, frozen=True):
    """An alert as it is sent now; `ends_at` in the past says that it is over."""

    push: Push
    ends_at: int
    resolved: bool


class Sent(NamedTuple):
    """The last time that an Alertmanager took an alert."""

    push: Push
    resolved: bool
    at: int


def push_of(view: ServiceView, alerting: Alerting) -> Push | None:
    """The alert of a service; None where it has none."""
    account = view.account
    alarm = account.alarm
    if alarm is None:
        return None
    labels = {
        **alerting.labels,
        "alertname": ALERTNAME,
        "severity": SEVERITY,
        "source": SOURCE,
        **dict(view.labels),
    }
    page = f"{alerting.external_url}/"
    return Push(
        labels=tuple(sorted((name, value) for name, value in labels.items() if value)),
        annotations=_annotations(view, alerting.classifier, page),
        page=page,
        began=alarm.began,
        ready=alarm.seen if account.cause is not None else alarm.seen + alerting.cause_wait,
        ended=alarm.ended,
    )


def _annotations(view: ServiceView, classifier: Classifier, page: str) -> Pairs:
    account = view.account
    cause = account.cause
    update = account.settled
    name = scrub(account.row.service_name or account.row.service_id)
    when = _time(update.update_time) if update else ""
    models = ", ".join(scrub(f"{m.model_name} {m.model_version}") for m in update.models) if update else ""
    why = f": {cause.message}" if cause else "; the event log names no cause"
    about = f"The update of service {name} in project {view.project} at {when} failed{why}"
    if not account.failing:
        # Told only where nobody remembers the failure: an end keeps the words of its beginning.
        about = f"The failed deployment of service {name} in project {view.project} is over"
    found = {
        "summary": _SUMMARY,
        "description": about,
        "cause": cause.message if cause else "",
        "cause_reason": cause.reason if cause else "other",
        "cause_time": _time(cause.occur_time) if cause else "",
        "remedy": classifier.classify(ABNORMAL, cause.message).remedy if cause else "",
        "model": models,
        "recent_events": "\n".join(_line(trouble) for trouble in account.troubles[-RECENT_EVENTS:]),
        "runbook_url": f"{RUNBOOKS}/{ALERTNAME}.md",
        "dashboard_url": page,
    }
    return tuple((key, value) for key, value in found.items() if value)


def _line(trouble: Trouble) -> str:
    return f"{_time(trouble.occur_time)} {trouble.message}"


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def due(
    pushes: Mapping[tuple[str, str], Push], sent: Mapping[tuple[str, str], Sent], now: int, alerting: Alerting
) -> tuple[dict[tuple[str, str], Message], int]:
    """What to send now to an Alertmanager that took `sent`, and when (ms) to ask again at the latest."""
    messages = {}
    again = now + alerting.resend
    for key, push in pushes.items():
        last = sent.get(key)
        message, at = _message(push, last, now, alerting)
        if message is not None:
            messages[key] = message
        again = min(again, at)
    return messages, max(again, now)


def _message(push: Push, last: Sent | None, now: int, alerting: Alerting) -> tuple[Message | None, int]:
    ends_at = now + LEASE_RESENDS * alerting.resend
    resolved = False
    never = now + alerting.resend
    if push.ended is None:
        if last is None and now < push.ready:
            return None, push.ready
    else:
        # The rule's alert, which this one hides, has to end first, or its end is told as a new page.
        ends_at, resolved = push.ended + alerting.resend, True
        if now < ends_at:
            return None, ends_at
        if now >= ends_at + END_REPEATED_MS:
            return None, never
    if (
        last is not None
        and last.push == push
        and last.resolved == resolved
        and now < last.at + alerting.resend
    ):
        return None, last.at + alerting.resend
    return Message(push, ends_at, resolved), never


def is_over(push: Push, now: int, alerting: Alerting) -> bool:
    """Whether there is nothing left to tell."""
    return push.ended is not None and now >= push.ended + alerting.resend + END_REPEATED_MS
