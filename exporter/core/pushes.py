"""What the sidecar tells Alertmanager, and when: identity by labels, a lease renewed, an end told."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from exporter.core.account import Account, Trouble
from exporter.core.causes import Classifier
from exporter.core.moments import iso
from exporter.core.records import ABNORMAL, Model
from exporter.core.remedies import REMEDIES
from exporter.core.scrub import scrub
from exporter.core.views import ServiceView

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


class Push(msgspec.Struct, frozen=True):
    """One alert. Times in ms; `ended` is None while it fires, `ready` when it may be sent first."""

    labels: Pairs
    annotations: Pairs
    page: str
    since: int
    ready: int
    ended: int | None = None


class Alerting(NamedTuple):
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


class Message(msgspec.Struct, frozen=True):
    """An alert as it is sent at one moment (ms); `ends_at` in the past says that it is over."""

    push: Push
    starts_at: int
    ends_at: int


class Sent(NamedTuple):
    """What an Alertmanager was last told of an alert, and when (ms); `rejected`: it found it bad."""

    push: Push
    at: int
    rejected: bool = False


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
    ready = alarm.since if account.cause is not None else alarm.since + alerting.cause_wait
    if account.read_at is None or account.read_at < alerting.since:
        # After hours of silence its lease has run out, and it may be over by now: that would be a false page.
        ready = max(ready, alerting.since + alerting.resend)
    page = _page(alerting.external_url, account.row.service_id, view.project)
    return Push(
        labels=tuple(sorted((name, value) for name, value in labels.items() if value)),
        annotations=_annotations(view, alerting.classifier, page),
        page=page,
        since=alarm.since,
        ready=ready,
        ended=alarm.ended,
    )


def _page(external_url: str, service_id: str, project: str) -> str:
    # Two projects may have a service of the same id.
    path, name = (quote(part, safe="", errors="replace") for part in (service_id, project))
    return f"{external_url}/services/{path}?project={name}"


def _annotations(view: ServiceView, classifier: Classifier, page: str) -> Pairs:
    account = view.account
    cause = account.cause
    found = {
        "summary": _SUMMARY,
        "description": _description(view),
        "cause": cause.message if cause else "",
        "cause_reason": cause.reason if cause else _OTHER,
        "cause_time": iso(cause.occur_time) if cause else "",
        "remedy": _remedy(cause, classifier),
        "model": _models(account.settled.models if account.settled else ()),
        "recent_events": "\n".join(_line(trouble) for trouble in account.troubles[-RECENT_EVENTS:]),
        "runbook_url": f"{RUNBOOKS}/{ALERTNAME}.md",
        "dashboard_url": page,
    }
    return tuple((key, value) for key, value in found.items() if value)


def _description(view: ServiceView) -> str:
    account = view.account
    about = f"service {_name(account)} in project {view.project}"
    if account.settled is None or not account.failing:
        # Told only where nobody remembers the failure: an end keeps the words of its beginning.
        return f"The failed deployment of {about} is over"
    why = f": {account.cause.message}" if account.cause else "; the event log names no cause"
    return f"The update of {about} at {iso(account.settled.update_time)} failed{why}"


def _name(account: Account) -> str:
    return scrub(account.row.service_name or account.row.service_id)


def _models(models: Iterable[Model]) -> str:
    return scrub(", ".join(f"{model.model_name} {model.model_version}" for model in models), _LONGEST_MODELS)


def _remedy(cause: Trouble | None, classifier: Classifier) -> str:
    if cause is None:
        return REMEDIES[_OTHER]
    # The text was scrubbed and cut; where that changed what it tells, the reason still holds.
    finding = classifier.classify(ABNORMAL, cause.message)
    return finding.remedy if finding.reason == cause.reason else REMEDIES.get(cause.reason, "")


def _line(trouble: Trouble) -> str:
    return f"{iso(trouble.occur_time)} {trouble.message}"


def due(
    pushes: Mapping[Key, Push], sent: Mapping[Key, Sent], now: int, alerting: Alerting
) -> tuple[list[Key], int]:
    """What to tell an Alertmanager that was told `sent`, and when (ms) to ask again at the latest."""
    found = []
    again = now + alerting.resend
    for key, push in pushes.items():
        at = _next(push, sent.get(key), now, alerting)
        if at is not None and at <= now:
            found.append(key)
        elif at is not None:
            again = min(again, at)
    return found, again


def _next(push: Push, last: Sent | None, now: int, alerting: Alerting) -> int | None:
    """When (ms) to tell of it; None if there is nothing left to tell.

    A clock that was set back must not make anything wait for longer than it would have to.
    """
    if push.ended is not None:
        # The rule's alert, which this one hides, has to end first, or its end is told as a new page.
        told = push.ended + alerting.resend
        if push.ended <= now < told:
            return told
        if is_over(push, now, alerting):
            return None
    elif (last is None or last.push.ended is not None) and (
        0 < push.ready - now <= max(alerting.cause_wait, alerting.resend)
    ):
        return push.ready
    if last is not None and last.push == push and 0 <= now - last.at < alerting.resend:
        return last.at + alerting.resend
    return now


def message(push: Push, now: int, alerting: Alerting) -> Message:
    """What to say of an alert at `now` (ms)."""
    ends_at = now + LEASE_RESENDS * alerting.resend
    if push.ended is not None:
        ends_at = min(push.ended + alerting.resend, now)
    # An Alertmanager refuses what ends before it starts; our clock may have been set back in between.
    return Message(push, min(push.since, now, ends_at), ends_at)


def is_over(push: Push, now: int, alerting: Alerting) -> bool:
    """Whether there is nothing left to tell."""
    return push.ended is not None and now >= push.ended + alerting.resend + END_REPEATED_MS


def batches(keys: Sequence[Key], sent: Mapping[Key, Sent]) -> list[Sequence[Key]]:
    """What to send at once: good ones together, and after them each alone that was rejected before."""
    bad = {key for key in keys if key in sent and sent[key].rejected}
    good = [key for key in keys if key not in bad]
    full = [good[at : at + LARGEST_BATCH] for at in range(0, len(good), LARGEST_BATCH)]
    return [*full, *([key] for key in keys if key in bad)]
