"""How a service stands: one word for it, the worst that holds, since when, and why."""

from typing import NamedTuple

from exporter.core.accounting.labels import ServiceView
from exporter.core.accounting.phases import current
from exporter.core.accounting.service_state import ServiceState
from exporter.core.records import DEPLOYING_STATUSES

# As the alert ModelArtsUpdateStuck: the cloud gives up by itself after 20 minutes, unless told otherwise.
STUCK_MS = 30 * 60 * 1000


class State(NamedTuple):
    """A word for how services stand; `urgent`: somebody should look, the one that came last first.

    `runbook` is the alert that fires if it lasts; "" for none.
    """

    name: str
    label: str
    meaning: str
    urgent: bool = False
    runbook: str = ""


STATES = (
    State("failing", "Failing", "the newest settled update failed", True, "ModelArtsUpdateFailed"),
    State(
        "failed", "Failed", "the cloud calls it failed: nothing of it serves", True, "ModelArtsServiceFailed"
    ),
    State("stuck", "Stuck", "an update has been open for more than 30 minutes", True, "ModelArtsUpdateStuck"),
    State(
        "unreadable",
        "Unreadable",
        "the last read of its logs failed; older data is shown",
        True,
        "ModelArtsServiceDataStale",
    ),
    State(
        "degraded",
        "Degraded",
        "the cloud calls it concerning: a part of it does not work",
        True,
        "ModelArtsServiceDegraded",
    ),
    State("updating", "Updating", "an update is under way"),
    State("new", "New", "it was listed, but its logs were not read yet"),
    State("ok", "OK", "the newest settled update succeeded, or there was none"),
    State("stopped", "Stopped", "it was stopped; what failed before is no concern now"),
)
"""Worst first."""


class ServiceHealth(NamedTuple):
    """One service in a line. Times are ms; "" and None stand for what is not so or not known.

    `since` is when the state began, as near as is known. `reason` and `message` are those of the failure
    that lasts; `phase` is that of an open update. `newest_at` and `result` are the newest update's. `old`:
    it could not be read last time, or not for too long; what is said of it may no longer be so.
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
    old: bool

    @property
    def urgent(self) -> bool:
        """Whether somebody should look at it."""
        return any(state.urgent for state in STATES if state.name == self.state)


def state_of(service: ServiceState, now: int) -> str:
    """The worst state that holds at `now` (ms)."""
    status = service.row.status
    state = "ok"
    if status == "stopped":
        state = "stopped"
    elif service.failing:
        state = "failing"
    elif status == "failed":
        state = "failed"
    elif service.under_way and now - service.under_way[0].update_time > STUCK_MS:
        state = "stuck"
    elif service.up is False:
        state = "unreadable"
    elif status == "concerning":
        state = "degraded"
    elif service.under_way or status in DEPLOYING_STATUSES:
        state = "updating"
    elif service.up is None:
        state = "new"
    return state


def since_of(service: ServiceState, state: str) -> int | None:
    """When (ms) the state began, as near as is known."""
    settled = service.settled
    if state == "unreadable":
        return service.read_at
    if state == "failing" and service.outage_since is not None:
        return service.outage_since
    if state in ("failing", "ok") and settled is not None:
        return service.settled_at or settled.update_time
    if state in ("stuck", "updating") and service.under_way:
        return service.under_way[0].update_time
    return None if state == "new" else service.row.transition_at


def is_old(service: ServiceState, old_before: int) -> bool:
    """Whether what is known is old: it could not be read last time, or was read before this instant (ms)."""
    return service.read_at is not None and (service.up is False or service.read_at < old_before)


def health_of(view: ServiceView, now: int, old_before: int = 0) -> ServiceHealth:
    """How the service stands at `now` (ms); what was read before `old_before` (ms) is old."""
    service = view.state
    row = service.row
    state = state_of(service, now)
    cause = service.cause if service.failing else None
    open_since = service.under_way[0].update_time if service.under_way else None
    phase = current(service.phases, open_since) if open_since is not None else None
    return ServiceHealth(
        project=view.project,
        service_id=row.service_id,
        service_name=row.service_name,
        state=state,
        since=since_of(service, state),
        status=row.status,
        result=service.result,
        newest_at=service.newest.update_time if service.newest else None,
        open_since=open_since,
        phase=phase[0] if phase else "",
        reason=cause.reason if cause else "other" if service.failing else "",
        message=cause.message if cause else "",
        up=service.up,
        read_at=service.read_at,
        old=is_old(service, old_before),
    )
