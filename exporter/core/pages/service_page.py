"""The page of one service: its state, what to do, its last updates, events and deployments."""

from collections.abc import Callable
from typing import NamedTuple

from exporter.core.accounting.history import History, PastEvent, PastUpdate
from exporter.core.accounting.labels import ServiceView
from exporter.core.accounting.phases import durations
from exporter.core.accounting.service_state import ServiceState
from exporter.core.classifier.remedies import REMEDIES
from exporter.core.links import ServiceLinks
from exporter.core.pages.deployments import Deployment, last_deployments
from exporter.core.pages.service_health import ServiceHealth, health_of
from exporter.core.pages.timeline import DeploymentChart, Timeline, deployment_chart, timeline
from exporter.core.records import ABNORMAL, ServiceRow, Update

Remedy = Callable[[str], str]  # an event's text to what can be done


class Failure(NamedTuple):
    """The cause of the failure that lasts; `at` (ms) is None and the texts say little where none is known."""

    reason: str
    message: str
    at: int | None
    remedy: str


class UpdateLine(NamedTuple):
    """An update; `settled_at` (ms) and `seconds` are None where nobody watched it settle, or it has not."""

    update: Update
    settled_at: int | None
    seconds: float | None


class EventLine(NamedTuple):
    """An event and its remedy; "" where there is nothing to do."""

    event: PastEvent
    remedy: str

    @property
    def abnormal(self) -> bool:
        """Whether it is a failure, whatever type the cloud gave it."""
        return bool(self.event.reason) or self.event.event_type == ABNORMAL


class FailureLine(NamedTuple):
    """A failure of a deployment, one line for all `times`; `after`: seconds from the deployment's begin."""

    after: float
    text: str
    times: int
    reason: str
    remedy: str


class ServicePage(NamedTuple):
    """The page of one service. Newest first; times are ms. `failure_lines` has those of each deployment.

    `others` are the projects that have a service of the same id. `history_read` is False where the store
    could not say what is kept: updates and events are then missing, not absent. `project_error`: why its
    project cannot be listed; "" if it can.
    """

    health: ServiceHealth
    row: ServiceRow
    others: tuple[str, ...]
    history_read: bool
    edge: bool
    failure: Failure | None
    last_success: int | None
    last_failure: int | None
    phases: tuple[tuple[str, float], ...]
    updates: tuple[UpdateLine, ...]
    events: tuple[EventLine, ...]
    deployments: tuple[Deployment, ...]
    failure_lines: tuple[tuple[FailureLine, ...], ...]
    deployment_chart: DeploymentChart
    timeline: Timeline | None
    links: ServiceLinks = ServiceLinks()
    project_error: str = ""


def service_page(
    view: ServiceView,
    history: History | None,
    now: int,
    remedy: Remedy,
    others: tuple[str, ...] = (),
    *,
    history_read: bool = True,
    old_before: int = 0,
) -> ServicePage:
    """The page at `now` (ms); no history is an empty one, what was read before `old_before` (ms) is old."""
    state, kept = view.state, history or History()
    deployments = last_deployments(kept, state.open, now)
    return ServicePage(
        health=health_of(view, now, old_before),
        row=state.row,
        others=others,
        history_read=history_read,
        edge=state.edge,
        failure=_failure(state, remedy),
        last_success=state.last_success,
        last_failure=state.last_failure,
        phases=tuple(durations(state.phases).items()),
        updates=_updates(kept, state),
        events=tuple(_event_line(event, remedy) for event in reversed(kept.events)),
        deployments=deployments,
        failure_lines=tuple(_failure_lines(each, remedy) for each in deployments),
        deployment_chart=deployment_chart(deployments),
        timeline=timeline(kept, state.open, now),
    )


def _failure(state: ServiceState, remedy: Remedy) -> Failure | None:
    if not state.failing:
        return None
    cause = state.cause
    if cause is None:
        return Failure("other", "", None, REMEDIES["other"])
    return Failure(
        cause.reason, cause.message, cause.occur_time, _remedy(remedy, cause.message, cause.reason)
    )


def _updates(history: History, state: ServiceState) -> tuple[UpdateLine, ...]:
    lines = [update_line(past) for past in history.updates]
    lines += [UpdateLine(update, None, None) for update in state.open]
    return tuple(sorted(lines, key=lambda line: -line.update.update_time))


def update_line(past: PastUpdate) -> UpdateLine:
    """A settled update with how long it took."""
    seconds = None if past.settled_at is None else max(past.settled_at - past.update.update_time, 0) / 1000
    return UpdateLine(past.update, past.settled_at, seconds)


def _event_line(event: PastEvent, remedy: Remedy) -> EventLine:
    return EventLine(event, _remedy(remedy, event.text, event.reason) if event.reason else "")


def _failure_lines(deployment: Deployment, remedy: Remedy) -> tuple[FailureLine, ...]:
    lines: dict[str, FailureLine] = {}
    for event in deployment.failure_events:
        line = lines.get(event.text)
        if line is not None:
            lines[event.text] = line._replace(times=line.times + event.times)
        else:
            after = (event.occur_time - deployment.begin) / 1000
            found = _event_line(event, remedy).remedy
            lines[event.text] = FailureLine(after, event.text, event.times, event.reason, found)
    return tuple(lines.values())


def _remedy(remedy: Remedy, text: str, reason: str) -> str:
    # What is kept of a text may be too little to tell its cause by.
    return remedy(text) or REMEDIES.get(reason, "")
