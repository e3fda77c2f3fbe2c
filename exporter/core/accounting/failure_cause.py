"""Which event is shown as the cause of the newest failed update.

Events of a failure are *evidence* or *summaries*. Evidence says something about the cause: the container was
out of memory, a module is missing, an image cannot be pulled. A summary says only that it failed: the service
did not start, timed out, was rolled back. The classifier grades each text by what it proves (`Evidence`), and
the choice follows these rules:

1. Only events of the update count: from its begin to a little after its end, and before the next update.
   Of one that was retried in place, those of the last attempt that ended.
2. The highest grade wins; of equal grades the first, because what comes later is often its consequence.
3. A chosen cause is stored. It is replaced only by a higher grade, so it never changes between equals, also
   when the events that led to it are no longer kept.
4. A failed step that the cloud repeated with success is no cause: a failed pull before "pull image success".

The text of the error in the service's detail is graded in the same way.
"""

from collections.abc import Sequence

import msgspec

from exporter.core.accounting.service_state import FailureEvent, ServiceState
from exporter.core.classifier.classifier import Classifier
from exporter.core.classifier.evidence import Evidence
from exporter.core.classifier.failure_rules import FAILURES
from exporter.core.classifier.remedies import REMEDIES
from exporter.core.classifier.step_rules import PHASES
from exporter.core.records import ABNORMAL

# Where nobody saw the update settle: the longest deployment the cloud allows is two hours.
LONGEST_DEPLOYMENT_MS = 2 * 3600 * 1000
# A rollback is reported up to a minute after the result, and an event may be written later still.
LATE_EVENTS_MS = 5 * 60 * 1000

# A crash loop writes thousands. The first of each kind is kept beside these latest ones.
FAILURE_EVENTS_KEPT = 32

# The cloud repeats these by itself before it gives up: their events end with "retry later".
_REPEATED_PHASES = ("scheduling", "image_pull")
_REPEATED = {rule.reason: rule.phase for rule in FAILURES if rule.phase in _REPEATED_PHASES}


def with_failure_events(state: ServiceState, found: Sequence[FailureEvent]) -> ServiceState:
    """The state with new events of failures, and the cause chosen anew."""
    events = sorted({*state.failure_events, *found}, key=_order)
    state = msgspec.structs.replace(state, failure_events=tuple(events))
    graded = [
        msgspec.structs.replace(event, evidence=Evidence.RECOVERED)
        if succeeded_later(state, event)
        else event
        for event in events
    ]
    cause = None if state.cause is not None and succeeded_later(state, state.cause) else state.cause
    return with_cause(msgspec.structs.replace(state, failure_events=_bounded(state, graded), cause=cause))


def with_cause(state: ServiceState) -> ServiceState:
    """The state with the cause of its newest settled update; None while that did not fail."""
    return msgspec.structs.replace(state, cause=_cause(state))


def _cause(state: ServiceState) -> FailureEvent | None:
    begin = state.attempt_begin
    if state.settled is None or begin is None or not state.failing:
        return None
    settled_at = state.settled_at if state.settled_at is not None else begin + LONGEST_DEPLOYMENT_MS
    end = settled_at + LATE_EVENTS_MS
    if state.newest is not None and state.newest.update_time > state.settled.update_time:
        end = min(end, state.newest.update_time)
    # The cause that is stored stands first: it wins against its equals.
    stored = (state.cause,) if state.cause is not None else ()
    candidates = [
        event
        for event in (*stored, *state.failure_events)
        if begin <= event.occur_time < end and event.grade > Evidence.RECOVERED
    ]
    return max(candidates, key=lambda event: event.grade, default=None)


def _order(event: FailureEvent) -> tuple[int, str]:
    return (event.occur_time, event.message)


def _bounded(state: ServiceState, events: Sequence[FailureEvent]) -> tuple[FailureEvent, ...]:
    """The latest events, and the first of each kind: of the newest update, and of what was before it."""
    newest_begin = state.newest.update_time if state.newest is not None else 0
    firsts: dict[tuple[str, int, bool], FailureEvent] = {}
    for event in events:
        firsts.setdefault((event.reason, event.grade, event.occur_time >= newest_begin), event)
    return tuple(sorted({*firsts.values(), *events[-FAILURE_EVENTS_KEPT:]}, key=_order))


def remedy_of(cause: FailureEvent | None, classifier: Classifier) -> str:
    """What to do about a failure; None: no event tells its cause."""
    if cause is None:
        return REMEDIES["other"]
    # The text was scrubbed and cut; where that changed what it tells, the reason still holds.
    finding = classifier.classify(ABNORMAL, cause.message)
    return finding.remedy if finding.reason == cause.reason else REMEDIES.get(cause.reason, "")


def succeeded_later(state: ServiceState, event: FailureEvent) -> bool:
    """Whether the cloud repeated the failed step with success, for every model of the same deployment."""
    phase = _REPEATED.get(event.reason)
    if phase is None or event.occur_time < state.phases.begin:
        return False
    # What follows the result, a rollback or the next update is a step of another deployment.
    others = [each.occur_time for each in state.failure_events if each.reason == "rollback"]
    others += [state.settled_at] if state.settled_at is not None else []
    others += [state.newest.update_time] if state.newest is not None else []
    end = min((time for time in others if time > event.occur_time), default=None)
    ends = [
        step.time
        for step in state.phases.steps
        if step.ends and PHASES[step.phase] == phase and (end is None or step.time < end)
    ]
    models = len(state.newest.models) if state.newest is not None else 0
    return len(ends) >= max(models, 1) and ends[-1] > event.occur_time
