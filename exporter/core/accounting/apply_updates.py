"""Applies a read of the update log to a service's state.

The ledger says what is counted; it never takes anything back. Everything else in the state follows the log:

1. What a read shows of an instant replaces what was known of it. An instant that it does not show stays as it
   was, because the API forgets; only an open update that has left the log is no longer open.
2. An update that is retried in place shows first one result, then RUNNING, then another result, all with the
   same `update_time`. Each result is counted once. While the retry runs the update is open, and the result
   before it is still the newest settled one; then the new result takes its place. The same result again is
   not counted again, but it decides anew when the update settled, since when the service fails, and why.
3. A result that is shown beside others of the same instant is an update of its own. Only one that is shown no
   more while others of its instant are was replaced.
4. An update dated in the future is counted when it is read. It is neither the newest nor the newest settled
   one while there is an earlier one; the first read after its time makes it so.
5. A read of a single instant says nothing about others. So the newest success and failure are remembered with
   the one before each, for the case that the newest one turns into something else.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from exporter.core.accounting import counters, ledger, phases
from exporter.core.accounting.failure_cause import with_cause
from exporter.core.accounting.history import PastUpdate
from exporter.core.accounting.ledger import Key
from exporter.core.accounting.service_state import (
    DURATION_COUNT,
    DURATION_SUM,
    EDGE_COUNTERS,
    NODES_FAILED,
    NODES_SUCCEEDED,
    RESTORE_COUNT,
    RESTORE_SUM,
    UPDATE_COUNTERS,
    UPDATES,
    Observation,
    Outcome,
    ServiceState,
    age_rank,
)
from exporter.core.records import (
    FAIL,
    OPERATIONS,
    RUNNING,
    SUCCESS,
    TRANSITIONAL_STATUSES,
    Update,
    UpdateWindow,
)


class CountingPolicy(msgspec.Struct, frozen=True, gc=False):
    """What the operator decides about counting.

    `lateness`: how many ms after its date an entry may appear. `longest_guess`: how many ms the moment
    of settling may be uncertain before no duration is taken. `count_history`: whether what was in the
    log at the very first start is counted.
    """

    lateness: int
    longest_guess: int
    count_history: bool = True


class _LogRead(NamedTuple):
    """What one read of the update log shows; `clock` is the cloud's at the answer (ms).

    `settled` and `open` are sorted by age, so that nothing depends on the order inside the window. `shown`
    has how often each settled entry is shown.
    """

    settled: list[Update]
    open: list[Update]
    shown: Counter[Key]
    clock: int

    def rank(self, update: Update) -> tuple[bool, int, int]:
        """Its place by age."""
        return age_rank(update, self.clock)

    def newest(self, known: Update | None, rows: Sequence[Update]) -> Update | None:
        """The newest of sorted rows and of what is known, unless the rows show the same instant."""
        kept = () if known is None or any(_same_instant(known, row) for row in rows) else (known,)
        return max((*kept, *rows[-1:]), key=self.rank, default=None)

    def last_two(self, known: Sequence[int | None], result: str) -> Sequence[int | None]:
        """When the newest update that settled so began, and the one before it."""
        shown = {update.update_time for update in self.settled}
        times = {time for time in known if time is not None and time not in shown}
        times |= {update.update_time for update in self.settled if update.result == result}
        return (*sorted(times, key=lambda time: (time <= self.clock, time), reverse=True), None, None)[:2]

    def shows(self, update: Update) -> bool:
        """Whether it shows this settled update."""
        return Key(update.update_time, update.result) in self.shown

    def replaces(self, update: Update | None) -> bool:
        """Whether it shows another result at the instant of a settled update, and no more that one."""
        if update is None or self.shows(update):
            return False
        return any(_same_instant(update, row) for row in self.settled)


def apply_updates(state: ServiceState, window: UpdateWindow, policy: CountingPolicy, now: int) -> Outcome:
    """The state after a whole read of the update log, or of one instant of it; `now` on our clock (ms)."""
    if not window.supported:
        return Outcome(_without_log(state))
    preexisting = state.updates.preexisting
    clock = window.observed_at if window.answered_at is None else window.answered_at
    rows = sorted(window.updates, key=lambda update: _order(update, clock))
    settled_rows = [update for update in rows if update.settled]
    open_rows = [update for update in rows if not update.settled]
    shown = Counter(Key(update.update_time, update.result) for update in settled_rows)
    applied = ledger.apply(
        state.updates,
        ledger.Read(
            settled=shown,
            now=window.observed_at,
            open_instants=frozenset(update.update_time for update in open_rows),
            instant=window.instant,
            answered_at=window.answered_at,
        ),
        policy.lateness,
    )
    read = _LogRead(settled_rows, open_rows, shown, clock)
    last_success, earlier_success = read.last_two((state.last_success, state.earlier_success), SUCCESS)
    last_failure, earlier_failure = read.last_two((state.last_failure, state.earlier_failure), FAIL)
    after = msgspec.structs.replace(
        state,
        updates=applied.ledger,
        newest=read.newest(state.newest, rows),
        settled=read.newest(state.settled, settled_rows),
        open=_open(state, read, window),
        last_success=last_success,
        last_failure=last_failure,
        earlier_success=earlier_success,
        earlier_failure=earlier_failure,
    )
    after = msgspec.structs.replace(after, attempt_at=_attempt_at(state, after, read))
    posted = _posted(settled_rows, applied.growth)
    decided = _decided(state, after, posted, read)
    settling = _Settling(state, read, window.observed_at, policy.longest_guess)
    after, observations = _settle(after, state, decided, len(posted), settling)
    amounts = _amounts(posted, observations)
    totals = state.counters
    if preexisting:
        totals = counters.born(totals, UPDATE_COUNTERS)
    if after.edge:
        totals = counters.born(totals, EDGE_COUNTERS)
    if policy.count_history or not preexisting:
        totals = counters.add(totals, amounts, now, preexisting=preexisting)
    return Outcome(
        with_cause(msgspec.structs.replace(after, counters=totals)),
        observations=observations,
        anomalies=applied.anomalies,
        unknown=_unknown_values(state, after, open_rows),
        updates=() if preexisting else tuple(decided),
        past_updates=tuple(PastUpdate(update, settling.instant(update)) for update in decided),
    )


def _without_log(state: ServiceState) -> ServiceState:
    """The state after the API said that this kind of service has no update log (a 400).

    It may say so only at first. A log that never answered otherwise has no counters, and what it shows when
    it does is history.
    """
    if state.updates.read_once:
        return state
    return msgspec.structs.replace(
        state,
        updates=ledger.Ledger(preexisting=True),
        counters=counters.without(state.counters, (*UPDATE_COUNTERS, *EDGE_COUNTERS)),
    )


def _order(update: Update, clock: int) -> tuple[tuple[bool, int, int], bytes]:
    # By content where the rank is equal: what is made of a window must not depend on its order.
    return (age_rank(update, clock), msgspec.msgpack.encode(update))


def _same_instant(one: Update | None, other: Update | None) -> bool:
    return one is not None and other is not None and one.update_time == other.update_time


def _posted(settled_rows: Sequence[Update], growth: Mapping[Key, int]) -> list[Update]:
    """The settled rows that are counted now, oldest first; each as often as its key grew."""
    left = dict(growth)
    posted = []
    for update in reversed(settled_rows):
        key = Key(update.update_time, update.result)
        if left.get(key, 0) > 0:
            left[key] -= 1
            posted.append(update)
    return posted[::-1]


def _open(state: ServiceState, read: _LogRead, window: UpdateWindow) -> tuple[Update, ...]:
    """The open updates. RUNNING beside a settled entry of the same time is one update, settled."""
    settled_times = {key.time for key in read.shown}
    kept = [u for u in state.open if window.instant is not None and u.update_time != window.instant]
    found = (*kept, *(u for u in read.open if u.update_time not in settled_times))
    return tuple(sorted(found, key=lambda update: update.update_time))


def _attempt_at(before: ServiceState, after: ServiceState, read: _LogRead) -> int | None:
    """After which moment (ms) the last attempt of the newest settled update began, if it was retried."""
    if not _same_instant(before.settled, after.settled):
        return None
    had_begun, runs = (
        any(_same_instant(update, after.settled) for update in state.open) for state in (before, after)
    )
    if had_begun or not (runs or read.replaces(before.settled)):
        return before.attempt_at
    known = [time for time in (before.read_at, before.settled_at) if time is not None]
    return max(known, default=None)


def _decided(
    before: ServiceState, after: ServiceState, posted: Sequence[Update], read: _LogRead
) -> list[Update]:
    """The updates that settled since the last read: those that are counted, then one that is not."""
    newest = after.settled
    if newest is None or newest in posted or not read.shows(newest):
        return [*posted]
    retry_has_ended = any(_same_instant(update, newest) for update in before.open)
    is_another = before.settled is None or read.rank(before.settled) != read.rank(newest)
    return [*posted, newest] if retry_has_ended or is_another else [*posted]


class _Settling:
    """When updates settled, as near as the log and the service's row can tell; the API has no such field."""

    def __init__(self, before: ServiceState, read: _LogRead, observed_at: int, longest_guess: int) -> None:
        self.read = read
        self._preexisting = before.updates.preexisting
        self._row = before.row
        self._read_at = before.read_at
        self._awaited = {update.update_time for update in before.open}
        if before.settled is not None and read.replaces(before.settled):
            self._awaited.add(before.settled.update_time)
        self._starts = sorted(
            {row.update_time for row in (*read.settled, *read.open) if row.update_time <= read.clock}
        )
        self._observed_at = observed_at
        self._longest_guess = longest_guess

    def instant(self, update: Update) -> int | None:
        """The moment in ms; None where nobody was watching."""
        if self._preexisting:
            return None
        earliest = update.update_time
        if self._read_at is not None:
            if update.update_time not in self._awaited and update.update_time < self._read_at:
                return None  # it appeared late: how long it had been settled by then cannot be told
            earliest = max(earliest, self._read_at)
        following = [start for start in self._starts if start > update.update_time]
        changed = self._row.transition_at
        if (
            not following
            and changed is not None
            and self._row.status not in TRANSITIONAL_STATUSES
            and earliest <= changed <= self._observed_at
        ):
            return changed
        latest = self._observed_at
        if following and earliest < following[0] < latest:
            latest = following[0]  # the next update began when this one was over
        return max(latest, update.update_time) if latest - earliest <= self._longest_guess else None


def _settle(
    after: ServiceState,
    before: ServiceState,
    decided: Sequence[Update],
    counted: int,
    settling: _Settling,
) -> tuple[ServiceState, tuple[Observation, ...]]:
    """Walk the updates that settled, the first `counted` of which are counted: durations and outages."""
    read = settling.read
    current, settled_at, outage_since = before.settled, before.settled_at, before.outage_since
    deployment_phases = before.phases
    observations = []
    for number, update in enumerate(decided):
        at = settling.instant(update)
        is_ahead = update.update_time > read.clock
        if at is not None and number < counted:
            observations.append(Observation(update.result, (at - update.update_time) / 1000))
        if at is not None and not is_ahead:
            deployment_phases = phases.with_result(
                deployment_phases, update.update_time, at, succeeded=update.result == SUCCESS
            )
        if current is not None and _is_older(update, current, read):
            continue  # an older update that settled late decides nothing
        failed_before = current is not None and current.result == FAIL and current.update_time <= read.clock
        if update.result == FAIL and not failed_before:
            outage_since = at
        if update.result == SUCCESS:
            if failed_before and outage_since is not None and at is not None:
                observations.append(Observation("", max(at - outage_since, 0) / 1000))
            outage_since = None
        current, settled_at = update, at
    changed = msgspec.structs.replace(
        after, settled_at=settled_at, outage_since=outage_since, phases=deployment_phases
    )
    return changed, tuple(observations)


def _is_older(update: Update, current: Update, read: _LogRead) -> bool:
    if _same_instant(update, current) and read.replaces(current):
        return False
    return read.rank(update) < read.rank(current)


def _amounts(posted: Sequence[Update], observations: Sequence[Observation]) -> dict[str, float]:
    amounts: Counter[str] = Counter()
    for update in posted:
        amounts[UPDATES + update.result] += 1
        amounts[NODES_SUCCEEDED] += update.nodes_succeeded or 0
        amounts[NODES_FAILED] += update.nodes_failed or 0
    totals: dict[str, float] = {name: float(amount) for name, amount in amounts.items() if amount}
    for seen in observations:
        total, count = (
            (DURATION_SUM + seen.result, DURATION_COUNT + seen.result)
            if seen.result
            else (RESTORE_SUM, RESTORE_COUNT)
        )
        totals[total] = totals.get(total, 0) + seen.seconds
        totals[count] = totals.get(count, 0) + 1
    return totals


def _unknown_values(
    before: ServiceState, after: ServiceState, open_rows: Sequence[Update]
) -> tuple[tuple[str, str], ...]:
    known = {(update.update_time, update.result) for update in before.open}
    found = [
        ("result", update.result)
        for update in open_rows
        if update.result != RUNNING and (update.update_time, update.result) not in known
    ]
    if after.newest is not None and after.newest != before.newest:
        found += [("operation", n.operation) for n in after.newest.nodes if n.operation not in OPERATIONS]
    return tuple(found)
