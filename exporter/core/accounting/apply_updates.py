"""What a read of the update log makes of an account."""

from collections import Counter
from collections.abc import Sequence

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
    result_rank,
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


class CountingPolicy(msgspec.Struct, frozen=True):
    """What the operator decides about counting.

    `lateness`: how many ms after its date an entry may appear. `longest_guess`: how many ms the moment
    of settling may be uncertain before no duration is taken. `count_history`: whether what was in the
    log at the very first start is counted.
    """

    lateness: int
    longest_guess: int
    count_history: bool = True


def apply_updates(state: ServiceState, window: UpdateWindow, policy: CountingPolicy, now: int) -> Outcome:
    """The account after a whole read of the update log, or of one instant of it; `now` on our clock (ms)."""
    preexisting = state.updates.preexisting
    rows = sorted(window.updates, key=_order)
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
    posted = _posted(settled_rows, applied.growth)
    settling = _Settling(state, rows, window.observed_at, policy.longest_guess)
    after = msgspec.structs.replace(
        state,
        updates=applied.ledger,
        newest=_newest(state.newest, rows),
        settled=_newest(state.settled, settled_rows),
        open=_open(state, open_rows, shown, applied.ledger, window),
        last_success=_latest(state.last_success, settled_rows, SUCCESS),
        last_failure=_latest(state.last_failure, settled_rows, FAIL),
    )
    after, observations = _settle(after, state, posted, settling)
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
        updates=() if preexisting else tuple(posted),
        past_updates=tuple(PastUpdate(update, settling.instant(update)) for update in posted),
    )


def _order(update: Update) -> tuple[tuple[int, int], bytes]:
    # By content where the rank is equal: what is made of a window must not depend on its order.
    return (result_rank(update), msgspec.msgpack.encode(update))


def _newest(before: Update | None, rows: Sequence[Update]) -> Update | None:
    """The newer of what is known and the last of the rows; of equals the row: it is the fresher one."""
    known = () if before is None else (before,)
    return max((*rows[-1:], *known), key=result_rank, default=None)


def _posted(settled_rows: Sequence[Update], growth: dict[Key, int]) -> list[Update]:
    """The settled rows that are counted now, oldest first; each as often as its key grew."""
    left = dict(growth)
    posted = []
    for update in reversed(settled_rows):
        key = Key(update.update_time, update.result)
        if left.get(key, 0) > 0:
            left[key] -= 1
            posted.append(update)
    return posted[::-1]


def _open(
    state: ServiceState,
    open_rows: Sequence[Update],
    shown: Counter[Key],
    after: ledger.Ledger,
    window: UpdateWindow,
) -> tuple[Update, ...]:
    """The open updates. RUNNING beside a settled entry of the same time is one update, settled."""
    settled_times = {key.time for key in shown} | {tally.key.time for tally in after.live}
    kept = [u for u in state.open if window.instant is not None and u.update_time != window.instant]
    return tuple(
        sorted((*kept, *(u for u in open_rows if u.update_time not in settled_times)), key=result_rank)
    )


def _latest(before: int | None, rows: Sequence[Update], result: str) -> int | None:
    return max((*_times(before), *(u.update_time for u in rows if u.result == result)), default=None)


def _times(time: int | None) -> tuple[int, ...]:
    return () if time is None else (time,)


class _Settling:
    """When updates settled, as near as the log and the service's row can tell; the API has no such field."""

    def __init__(
        self, before: ServiceState, rows: Sequence[Update], observed_at: int, longest_guess: int
    ) -> None:
        self._preexisting = before.updates.preexisting
        self._row = before.row
        self._read_at = before.read_at
        self._seen_open = {update.update_time for update in before.open}
        self._starts = sorted({update.update_time for update in rows})
        self._observed_at = observed_at
        self._longest_guess = longest_guess

    def instant(self, update: Update) -> int | None:
        """The moment in ms; None where nobody was watching."""
        if self._preexisting:
            return None
        earliest = update.update_time
        if self._read_at is not None:
            if update.update_time not in self._seen_open and update.update_time < self._read_at:
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
    after: ServiceState, before: ServiceState, posted: Sequence[Update], settling: _Settling
) -> tuple[ServiceState, tuple[Observation, ...]]:
    """Walk the updates that settled, oldest first: durations, outages and what ended them."""
    current, settled_at, outage_since = before.settled, before.settled_at, before.outage_since
    deployment_phases = before.phases
    observations = []
    for update in posted:
        at = settling.instant(update)
        if at is not None:
            observations.append(Observation(update.result, (at - update.update_time) / 1000))
            deployment_phases = phases.with_result(
                deployment_phases, update.update_time, at, succeeded=update.result == SUCCESS
            )
        if current is not None and result_rank(update) < result_rank(current):
            continue  # an older update that settled late decides nothing
        failed_before = current is not None and current.result == FAIL
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
