"""Which event tells why the newest failed update failed."""

import msgspec

from exporter.core.accounting.service_state import FailureEvent, ServiceState

# Where nobody saw the update settle: the longest deployment the cloud allows is two hours.
LONGEST_DEPLOYMENT_MS = 2 * 3600 * 1000
# A rollback reports up to a minute after the result, an event may be written later still.
AFTERMATH_MS = 5 * 60 * 1000

# A crash loop writes thousands; the cause stands among the latest of an update, or is kept already.
TROUBLES_KEPT = 32

# These say that it failed, others say why. The more telling wins, among equals the latest.
_SYMPTOMS = {"other": 0, "rollback": 1, "timeout": 2}
_TELLING = 3


def with_failure_events(state: ServiceState, found: tuple[FailureEvent, ...]) -> ServiceState:
    """The account with new troubles noted and the cause chosen anew."""
    failure_events = sorted((*state.failure_events, *found), key=lambda failure: failure.occur_time)
    return with_cause(msgspec.structs.replace(state, failure_events=tuple(failure_events[-TROUBLES_KEPT:])))


def with_cause(state: ServiceState) -> ServiceState:
    """The account with the cause of its newest settled update; None while that did not fail."""
    return msgspec.structs.replace(state, cause=_cause(state))


def _cause(state: ServiceState) -> FailureEvent | None:
    if state.settled is None or not state.failing:
        return None
    begin = state.settled.update_time
    settled_at = state.settled_at if state.settled_at is not None else begin + LONGEST_DEPLOYMENT_MS
    end = settled_at + AFTERMATH_MS
    if state.newest is not None and state.newest.update_time > begin:
        end = min(end, state.newest.update_time)
    known = (state.cause,) if state.cause is not None else ()
    candidates = [failure for failure in (*known, *state.failure_events) if begin <= failure.occur_time < end]
    return max(candidates, key=_telling, default=None)


def _telling(failure: FailureEvent) -> tuple[int, int]:
    return (_SYMPTOMS.get(failure.reason, _TELLING), failure.occur_time)
