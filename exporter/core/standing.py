"""How a service stands: one word for it, the worst that holds, since when, and why."""

from typing import NamedTuple

from exporter.core.account import Account
from exporter.core.phases import current
from exporter.core.views import ServiceView

# As the alert ModelArtsUpdateStuck: the cloud gives up by itself after 20 minutes, unless told otherwise.
STUCK_MS = 30 * 60 * 1000

_UNDER_WAY = ("deploying", "pending", "waiting")


class State(NamedTuple):
    """A word for how services stand; `urgent`: somebody should look, the one that came last first."""

    name: str
    label: str
    meaning: str
    urgent: bool = False


STATES = (
    State("failing", "Failing", "the newest settled update failed", urgent=True),
    State("failed", "Down", "the cloud calls it failed: nothing of it serves", urgent=True),
    State("stuck", "Stuck", "an update has been open for more than 30 minutes", urgent=True),
    State("unreadable", "Unreadable", "the last read of its logs failed; older data is shown", urgent=True),
    State("degraded", "Degraded", "the cloud calls it concerning: a part of it does not work", urgent=True),
    State("updating", "Updating", "an update is under way"),
    State("new", "Not read yet", "it was listed, but its logs were not read yet"),
    State("ok", "OK", "the newest settled update succeeded, or there was none"),
    State("stopped", "Stopped", "it was stopped; what failed before is no concern now"),
)
"""Worst first."""


class Standing(NamedTuple):
    """One service in a line. Times are ms; "" and None stand for what is not so or not known.

    `since` is when the state began, as near as is known. `reason` and `message` are those of the failure
    that lasts; `phase` is that of an open update. `newest_at` and `result` are the newest update's.
    """

    project: str
    service_id: str
    service_name: str
    state: str
    since: int | None
    status: str
    result: str
    newest_at: int | None
    open_since: int | None
    phase: str
    reason: str
    message: str
    up: bool | None
    read_at: int | None


def state_of(account: Account, now: int) -> str:
    """The worst state that holds at `now` (ms)."""
    status = account.row.status
    state = "ok"
    if status == "stopped":
        state = "stopped"
    elif account.failing:
        state = "failing"
    elif status == "failed":
        state = "failed"
    elif account.open and now - account.open[0].update_time > STUCK_MS:
        state = "stuck"
    elif account.up is False:
        state = "unreadable"
    elif status == "concerning":
        state = "degraded"
    elif account.open or status in _UNDER_WAY:
        state = "updating"
    elif account.up is None:
        state = "new"
    return state


def since_of(account: Account, state: str) -> int | None:
    """When (ms) the state began, as near as is known."""
    settled = account.settled
    if state == "unreadable":
        return account.read_at
    if state == "failing" and account.outage_since is not None:
        return account.outage_since
    if state in ("failing", "ok") and settled is not None:
        return account.settled_at or settled.update_time
    if state in ("stuck", "updating") and account.open:
        return account.open[0].update_time
    return None if state == "new" else account.row.transition_at


def standing_of(view: ServiceView, now: int) -> Standing:
    """How the service stands at `now` (ms)."""
    account = view.account
    row = account.row
    state = state_of(account, now)
    cause = account.cause if account.failing else None
    open_since = account.open[0].update_time if account.open else None
    phase = current(account.phases, open_since) if open_since is not None else None
    return Standing(
        project=view.project,
        service_id=row.service_id,
        service_name=row.service_name,
        state=state,
        since=since_of(account, state),
        status=row.status,
        result=account.result,
        newest_at=account.newest.update_time if account.newest else None,
        open_since=open_since,
        phase=phase[0] if phase else "",
        reason=cause.reason if cause else "other" if account.failing else "",
        message=cause.message if cause else "",
        up=account.up,
        read_at=account.read_at,
    )
