"""All that is known of one service: a value that each read replaces by its successor."""

from collections.abc import Iterable
from math import inf

import msgspec

from exporter.core.accounting.audit import Audit
from exporter.core.accounting.counters import Counters, born, let_go, report, without
from exporter.core.accounting.history import PastEvent, PastUpdate
from exporter.core.accounting.ledger import Anomaly, Ledger
from exporter.core.accounting.phases import Phases
from exporter.core.classifier.classifier import LEAST_EVIDENCE, Classifier
from exporter.core.classifier.evidence import Evidence
from exporter.core.records import (
    ABNORMAL,
    EVENT_TYPES,
    FAIL,
    INFER_TYPES,
    RUNNING,
    SETTLED_RESULTS,
    STATUSES,
    SUCCESS,
    Event,
    ServiceRow,
    Update,
)
from exporter.core.scrub import scrub

# Names of counters; the part behind the colon becomes a label.
UPDATES = "updates:"
DURATION_SUM = "duration_sum:"
DURATION_COUNT = "duration_count:"
RESTORE_SUM = "restore_sum"
RESTORE_COUNT = "restore_count"
NODES = "nodes:"
NODES_SUCCEEDED = NODES + "success"
NODES_FAILED = NODES + "failed"
EVENTS = "events:"
REASON = "reason:"
INVOCATIONS = "invocations"
FAILED_INVOCATIONS = "failed_invocations"

EDGE = "edge"

# Of an event's text: a failed build brings lines of its log; receivers of alerts break on much longer ones.
LONGEST_MESSAGE = 500

UPDATE_COUNTERS = (
    *(prefix + result for prefix in (UPDATES, DURATION_SUM, DURATION_COUNT) for result in SETTLED_RESULTS),
    RESTORE_SUM,
    RESTORE_COUNT,
)
EDGE_COUNTERS = (NODES_SUCCEEDED, NODES_FAILED)
EVENT_COUNTERS = tuple(EVENTS + event_type for event_type in EVENT_TYPES)
ROW_COUNTERS = (INVOCATIONS, FAILED_INVOCATIONS)

# The fields of a state that the update log decides, beside its ledger and counters.
_OF_THE_UPDATE_LOG = (
    *("newest", "settled", "settled_at", "attempt_at", "open", "last_success", "last_failure"),
    *("earlier_success", "earlier_failure", "outage_since", "cause", "alert"),
)


class FailureEvent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """An event of a failure, scrubbed, that may be the cause of a failed update."""

    occur_time: int
    reason: str
    message: str
    evidence: Evidence | None = None  # None: stored by a version that did not grade

    @property
    def grade(self) -> Evidence:
        """What the text proves about the cause; the reasons without a built-in rule are the user's."""
        if self.evidence is not None:
            return self.evidence
        return LEAST_EVIDENCE.get(self.reason, Evidence.SPECIFIC)


class AlertState(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A failure worth an alert, in ms: since when we know of it, and when it was over.

    `stopped_with` is the update_time of the failure with which the service was stopped.
    """

    active_at: int
    resolved_at: int | None = None
    stopped_with: int | None = None


class ServiceState(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One service: what was counted, and the newest of everything that was ever read.

    Times are ms. `settled` is the newest update with a final result, `settled_at` when it got it, as
    near as can be told. `attempt_at` is None unless that update was retried in place: then the retry began
    after this. `earlier_success` and `earlier_failure` are the newest ones before `last_success` and
    `last_failure`. `outage_since` is when the first failure of the present row of them settled.
    `events_ahead_of` is the cloud's clock at the last read of events if that showed later ones.
    """

    row: ServiceRow
    updates: Ledger = Ledger()
    events: Ledger = Ledger()
    counters: Counters = Counters()
    newest: Update | None = None
    settled: Update | None = None
    settled_at: int | None = None
    attempt_at: int | None = None
    open: tuple[Update, ...] = ()
    last_success: int | None = None
    last_failure: int | None = None
    earlier_success: int | None = None
    earlier_failure: int | None = None
    outage_since: int | None = None
    failure_events: tuple[FailureEvent, ...] = ()
    cause: FailureEvent | None = None
    phases: Phases = Phases()
    last_events: dict[str, int] = {}
    events_ahead_of: int | None = None
    audit: Audit = Audit()
    alert: AlertState | None = None
    read_at: int | None = None  # last read of both logs that succeeded
    up: bool | None = None  # whether the last read did; None before the first

    @property
    def failing(self) -> bool:
        """Whether the newest settled update failed; a retry that runs does not change it."""
        return self.settled is not None and self.settled.result == FAIL

    @property
    def is_explained(self) -> bool:
        """Whether the known cause tells more than that the newest update failed."""
        return self.cause is not None and self.cause.grade > Evidence.SUMMARY

    @property
    def result(self) -> str:
        """Result of the newest update; "" without one, RUNNING for an open one."""
        if self.newest is None:
            return ""
        if self.newest.settled:
            return self.newest.result
        if any(update.update_time == self.newest.update_time for update in self.open):
            return RUNNING
        # The open entry has gone from the log without a result: the newest known result stands.
        return self.settled.result if self.settled else ""

    @property
    def under_way(self) -> tuple[Update, ...]:
        """The open updates that go on, oldest first; neither overtaken nor dated in the future.

        Where a newer update has settled, an older one that is still open decides nothing any more.
        """
        last = inf if self.newest is None else self.newest.update_time
        first = 0 if self.settled is None else self.settled.update_time
        if first > last:
            first = 0  # `settled` is dated in the future, as everything that settled is
        return tuple(update for update in self.open if first <= update.update_time <= last)

    @property
    def attempt_begin(self) -> int | None:
        """When the attempt began that `settled` is the end of; None without one."""
        if self.settled is None:
            return None
        begin = self.settled.update_time
        retry_runs = any(update.update_time == begin for update in self.open)
        return begin if self.attempt_at is None or retry_runs else max(begin, self.attempt_at)

    @property
    def edge(self) -> bool:
        """Whether it deploys to edge nodes."""
        return self.row.infer_type == EDGE or (
            self.newest is not None and self.newest.nodes_succeeded is not None
        )


class Observation(msgspec.Struct, frozen=True, gc=False):
    """A duration in seconds, for the fleet's histograms; `result` is "" for a time to restore."""

    result: str
    seconds: float


class PostedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that was counted for the first time, `times` times, and its cause ("" for none)."""

    event: Event
    times: int
    reason: str
    remedy: str


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """A service after something was read, and what is to be counted and logged of that step."""

    state: ServiceState
    observations: tuple[Observation, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()  # (field, value) of enumerations
    updates: tuple[Update, ...] = ()  # settled now: counted, or the same result again in place
    events: tuple[PostedEvent, ...] = ()  # counted now
    unclassified: int = 0
    past_updates: tuple[PastUpdate, ...] = ()  # for the pages, history too
    past_events: tuple[PastEvent, ...] = ()


def opened(row: ServiceRow, now: int, *, preexisting: bool) -> Outcome:
    """The state of a service seen for the first time.

    `preexisting`: it was there before we were; its counters appear with what its logs hold by then.
    """
    state = ServiceState(
        row=row, updates=Ledger(preexisting=preexisting), events=Ledger(preexisting=preexisting)
    )
    counters = Counters()
    if not preexisting:
        edge = EDGE_COUNTERS if state.edge else ()
        counters = born(counters, (*UPDATE_COUNTERS, *edge, *EVENT_COUNTERS, *ROW_COUNTERS))
    totals = dict.fromkeys(ROW_COUNTERS, 0.0) | _call_totals(row)
    counters = report(counters, totals, now, preexisting=preexisting)
    return Outcome(msgspec.structs.replace(state, counters=counters), unknown=_unknown_values(None, row))


def with_row(state: ServiceState, row: ServiceRow, now: int) -> Outcome:
    """The state after a list, or a detail, showed its service again; the same object if nothing changed."""
    if row == state.row:
        return Outcome(state)
    counters = report(state.counters, _call_totals(row), now)
    if row.infer_type == EDGE and not state.updates.preexisting:
        counters = born(counters, EDGE_COUNTERS)
    unknown = _unknown_values(state.row, row)
    return Outcome(msgspec.structs.replace(state, row=row, counters=counters), unknown=unknown)


def returned(state: ServiceState) -> ServiceState:
    """The state of a service that somebody else has read since we did: what it did meanwhile is no news.

    It is counted by the next read of each log, and until then that log's part of the state is not `visible`.
    """
    return msgspec.structs.replace(
        state,
        updates=msgspec.structs.replace(state.updates, preexisting=True),
        events=msgspec.structs.replace(state.events, preexisting=True),
        counters=let_go(state.counters),
        read_at=None,
        up=None,
    )


def visible(state: ServiceState) -> ServiceState:
    """The part of a state that may be shown.

    Nothing of a log that somebody else has read after us: its counters would step when we read it again, and
    its failures may be over.
    """
    if state.updates.is_behind:
        empty = ServiceState(state.row)
        hidden = {name: getattr(empty, name) for name in _OF_THE_UPDATE_LOG}
        state = _without(state, (*UPDATE_COUNTERS, *EDGE_COUNTERS))
        state = msgspec.structs.replace(state, updates=Ledger(preexisting=True), **hidden)
    if state.events.is_behind:
        reasons = [name for name in state.counters.values if name.startswith(REASON)]
        state = _without(state, (*EVENT_COUNTERS, *reasons))
        state = msgspec.structs.replace(
            state, events=Ledger(preexisting=True), failure_events=(), phases=Phases(), last_events={}
        )
    return state


def _without(state: ServiceState, names: Iterable[str]) -> ServiceState:
    return msgspec.structs.replace(state, counters=without(state.counters, names))


def without_call_totals(row: ServiceRow) -> ServiceRow:
    """The part of a row whose change means that something happened to the service."""
    return msgspec.structs.replace(row, invocations=None, failed_invocations=None)


def with_error(state: ServiceState, error_msg: str, classifier: Classifier) -> ServiceState:
    """The state after the detail's error was read: it is the cause if it proves more than the present one."""
    begin = state.attempt_begin
    if begin is None or not state.failing or not error_msg.strip():
        return state
    finding = classifier.classify(ABNORMAL, error_msg)
    if state.cause is not None and finding.evidence <= state.cause.grade:
        return state
    message = scrub(error_msg, LONGEST_MESSAGE)
    failure = FailureEvent(begin, finding.reason, message, finding.evidence)
    return msgspec.structs.replace(state, cause=failure)


def _call_totals(row: ServiceRow) -> dict[str, float]:
    totals = ((INVOCATIONS, row.invocations), (FAILED_INVOCATIONS, row.failed_invocations))
    return {name: float(total) for name, total in totals if total is not None}


def _unknown_values(before: ServiceRow | None, row: ServiceRow) -> tuple[tuple[str, str], ...]:
    found = []
    if row.status and row.status not in STATUSES and (before is None or before.status != row.status):
        found.append(("status", row.status))
    if (
        row.infer_type
        and row.infer_type not in INFER_TYPES
        and (before is None or before.infer_type != row.infer_type)
    ):
        found.append(("infer_type", row.infer_type))
    return tuple(found)


def age_rank(update: Update, clock: int) -> tuple[bool, int, int]:
    """Order of updates by age at a time of the cloud's clock (ms), the newest last.

    What is dated in the future counts as older than all that is not. Two updates in one millisecond have no
    order of their own; a failure must not be hidden, so it is the newest, and an open one is the oldest.
    """
    return (
        update.update_time <= clock,
        update.update_time,
        {SUCCESS: 1, FAIL: 2}.get(update.result, 0),
    )


def joined(state: ServiceState, steps: Iterable[Outcome]) -> Outcome:
    """One outcome of several steps that led to `state`."""
    outcomes = list(steps)
    return Outcome(
        state,
        observations=tuple(item for step in outcomes for item in step.observations),
        anomalies=tuple(item for step in outcomes for item in step.anomalies),
        unknown=tuple(item for step in outcomes for item in step.unknown),
        updates=tuple(item for step in outcomes for item in step.updates),
        events=tuple(item for step in outcomes for item in step.events),
        unclassified=sum(step.unclassified for step in outcomes),
        past_updates=tuple(item for step in outcomes for item in step.past_updates),
        past_events=tuple(item for step in outcomes for item in step.past_events),
    )
