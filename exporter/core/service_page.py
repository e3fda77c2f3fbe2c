"""One service on a page: how it stands, what to do, its last updates, and its events as a story."""

from collections.abc import Callable
from typing import NamedTuple

from exporter.core.account import Account
from exporter.core.deployments import Deployment, last_deployments
from exporter.core.history import History, PastEvent, PastUpdate
from exporter.core.phases import finished
from exporter.core.records import ABNORMAL, ServiceRow, Update
from exporter.core.remedies import REMEDIES
from exporter.core.standing import Standing, standing_of
from exporter.core.timeline import Race, Strip, race, strip
from exporter.core.views import ServiceView

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
    """An event, and what can be done about it; "" where there is nothing to do."""

    event: PastEvent
    remedy: str

    @property
    def abnormal(self) -> bool:
        """Whether it tells of something wrong, whatever type the cloud gave it."""
        return bool(self.event.reason) or self.event.event_type == ABNORMAL


class TroubleLine(NamedTuple):
    """What went wrong in a deployment, told once for all `times`; `after`: seconds from its begin."""

    after: float
    text: str
    times: int
    reason: str
    remedy: str


class ServicePage(NamedTuple):
    """The page of one service. Newest first; times are ms. `troubles` has those of each deployment.

    `others` are the projects that have a service of the same id. `history_read` is False where the store
    could not say what is kept: updates and events are then missing, not absent.
    """

    standing: Standing
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
    troubles: tuple[tuple[TroubleLine, ...], ...]
    race: Race
    strip: Strip | None


def service_page(
    view: ServiceView,
    history: History | None,
    now: int,
    remedy: Remedy,
    others: tuple[str, ...] = (),
    *,
    history_read: bool = True,
) -> ServicePage:
    """The page at `now` (ms); no history is one that is empty."""
    account, kept = view.account, history or History()
    deployments = last_deployments(kept, account.open, now)
    return ServicePage(
        standing=standing_of(view, now),
        row=account.row,
        others=others,
        history_read=history_read,
        edge=account.edge,
        failure=_failure(account, remedy),
        last_success=account.last_success,
        last_failure=account.last_failure,
        phases=tuple(finished(account.phases).items()),
        updates=_updates(kept, account),
        events=tuple(_event_line(event, remedy) for event in reversed(kept.events)),
        deployments=deployments,
        troubles=tuple(_troubles(each, remedy) for each in deployments),
        race=race(deployments),
        strip=strip(kept, account.open, now),
    )


def _failure(account: Account, remedy: Remedy) -> Failure | None:
    if not account.failing:
        return None
    cause = account.cause
    if cause is None:
        return Failure("other", "", None, REMEDIES["other"])
    return Failure(
        cause.reason, cause.message, cause.occur_time, _remedy(remedy, cause.message, cause.reason)
    )


def _updates(history: History, account: Account) -> tuple[UpdateLine, ...]:
    lines = [_update_line(past) for past in history.updates]
    lines += [UpdateLine(update, None, None) for update in account.open]
    return tuple(sorted(lines, key=lambda line: -line.update.update_time))


def _update_line(past: PastUpdate) -> UpdateLine:
    seconds = None if past.settled_at is None else max(past.settled_at - past.update.update_time, 0) / 1000
    return UpdateLine(past.update, past.settled_at, seconds)


def _event_line(event: PastEvent, remedy: Remedy) -> EventLine:
    return EventLine(event, _remedy(remedy, event.text, event.reason) if event.reason else "")


def _troubles(deployment: Deployment, remedy: Remedy) -> tuple[TroubleLine, ...]:
    lines: dict[str, TroubleLine] = {}
    for event in deployment.troubles:
        told = lines.get(event.text)
        if told is not None:
            lines[event.text] = told._replace(times=told.times + event.times)
        else:
            after = (event.occur_time - deployment.begin) / 1000
            found = _event_line(event, remedy).remedy
            lines[event.text] = TroubleLine(after, event.text, event.times, event.reason, found)
    return tuple(lines.values())


def _remedy(remedy: Remedy, text: str, reason: str) -> str:
    # What is kept of a text may be too little to tell its cause by.
    return remedy(text) or REMEDIES.get(reason, "")
