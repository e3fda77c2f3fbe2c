"""Which service of a project is read next.

`exporter.core.polling.schedule` says when a service is due and how urgent it is; this keeps them in order.
A service is in one of three places:

    not due yet     ordered by when it will be due
    due             ordered by urgency, and within one urgency by age; it waits for a fetcher
    being read      until its answer is here; then it is planned anew

A service that is due only moves forward: a change of its row makes it more urgent, nothing makes it less so.
Only the poll loop's thread uses it. Times are ticks (ms) of a clock that never steps back.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable

import msgspec

from exporter.core.accounting.service_state import ServiceState
from exporter.core.polling import schedule
from exporter.core.polling.schedule import NextPoll, PollIntervals, PollState, Rank, Urgency
from exporter.core.times import Ticks
from exporter.engine.fetch import PollJob, PollResult


class PollQueue:
    """See the module.

    Args:
        intervals: the configured intervals.
        concurrency: how many fetchers there are.

    """

    def __init__(self, intervals: PollIntervals, concurrency: int) -> None:
        self._intervals, self._concurrency = intervals, concurrency
        self._poll_states: dict[str, PollState] = {}
        self._untried: set[str] = set()  # of these, the ones that were not tried yet
        self._tried_in_vain: set[str] = set()  # and those that could never be read
        self._next_polls: dict[str, NextPoll] = {}  # not due yet
        self._by_due: list[tuple[int, str]] = []
        self._waiting: dict[str, NextPoll] = {}  # due
        # By urgency, and by whether the last read failed. Stale entries are dropped only when they reach the
        # front.
        self._lines: defaultdict[tuple[Urgency, bool], list[tuple[Rank, str]]] = defaultdict(list)
        self._reading: dict[str, PollJob] = {}
        self._failed_before: set[str] = set()  # of those being read, whose last read had failed
        self._turn = 0
        # A sweep begins when the one before it ended, and ends when every service was tried since.
        self._sweep_begun: int | None = None  # None until there is a service
        self._sweep_waits_for: set[str] = set()
        self._last_sweep_ms = self._this_sweep_ms = 0

    def reconfigure(
        self, intervals: PollIntervals, concurrency: int, states: Iterable[ServiceState], now: int
    ) -> None:
        """Go on with other intervals; whoever is due already stays so."""
        self._concurrency = concurrency
        if intervals != self._intervals:
            self._intervals = intervals
            for state in states:
                self.plan(state, now)

    def abandon_reads(self, states: Iterable[ServiceState], now: int) -> None:
        """Nothing that is under way will be answered; it is due again."""
        under_way, self._reading, self._failed_before = self._reading, {}, set()
        for state in states:
            if state.row.service_id in under_way:
                self.plan(state, now)

    def next_due(self) -> int | None:
        """When a service will be due that is not due yet."""
        return self._by_due[0][0] if self._by_due else None

    def overdue(self, now: int) -> frozenset[str]:
        """The services that are due and not read yet, and those being read."""
        self._collect(now)
        return frozenset(self._waiting.keys() | self._reading.keys())

    @property
    def sweep_ms(self) -> int:
        """How long it takes at present to read every service once, at least `sweep_interval`.

        It is the time of the last sweep, or of the present one if that has lasted longer already. A service
        that cannot be read counts as read once it was tried.
        """
        return max(self._intervals.sweep_interval, self._last_sweep_ms, self._this_sweep_ms)

    def restart_sweep(self, now: int) -> None:
        """Nothing may be read at present; how long that lasts is no part of the time that a sweep takes."""
        self._sweep_begun, self._sweep_waits_for = now, set(self._poll_states)
        self._this_sweep_ms = 0

    def _swept(self, service_id: str, now: int) -> None:
        self._sweep_waits_for.discard(service_id)
        if self._sweep_begun is not None:
            self._this_sweep_ms = now - self._sweep_begun
        if not self._sweep_waits_for:
            self._last_sweep_ms = self._this_sweep_ms
            self.restart_sweep(now)

    def begin(self, state: ServiceState, now: int) -> None:
        """A service is there that was not, or must be read anew."""
        if self._sweep_begun is None:
            self._sweep_begun = now
        self._sweep_waits_for.add(state.row.service_id)
        self._untried.add(state.row.service_id)
        changed = schedule.changed_before(state, self._intervals)
        self._poll_states[state.row.service_id] = PollState(changed_at=now if changed else None)
        self.plan(state, now)

    def changed(self, state: ServiceState, now: int) -> None:
        """The service's row changed beyond its call totals."""
        service_id = state.row.service_id
        poll_state = self._poll_states[service_id]
        self._poll_states[service_id] = msgspec.structs.replace(poll_state, changed_at=now)
        self.plan(state, now)

    def told(self, state: ServiceState, now: int, since: int) -> bool:
        """Somebody says that the service is being deployed, by an update that began at `since` (epoch, ms).

        Returns False if that was said within `active_interval` and changes nothing: whoever says it again and
        again gets no more reads than a service to which something happens.
        """
        service_id = state.row.service_id
        poll_state = self._poll_states[service_id]
        if poll_state.told_at is not None and now < poll_state.told_at + self._intervals.active_interval:
            return False
        self._poll_states[service_id] = msgspec.structs.replace(
            poll_state, changed_at=now, told_at=now, told_since=since
        )
        self.plan(state, now)
        return True

    def end(self, service_id: str) -> None:
        """The service is gone."""
        for memory in (self._poll_states, self._next_polls, self._waiting, self._reading):
            memory.pop(service_id, None)
        self._failed_before.discard(service_id)
        for waited_for in (self._sweep_waits_for, self._untried, self._tried_in_vain):
            waited_for.discard(service_id)

    @property
    def first_reads(self) -> tuple[int, int, int]:
        """How many services there are; how many of them were tried yet; how many of these were never read."""
        total = len(self._poll_states)
        return total, total - len(self._untried), len(self._tried_in_vain)

    def was_read(self, result: PollResult, state: ServiceState, now: int) -> None:
        """A read is over, and `state` is what it made of the service."""
        job = result.job
        poll_state = self._poll_states[job.service_id]
        self._untried.discard(job.service_id)
        if result.error is None:
            self._tried_in_vain.discard(job.service_id)
        elif poll_state.succeeded_at is None:
            self._tried_in_vain.add(job.service_id)
        self._poll_states[job.service_id] = msgspec.structs.replace(
            poll_state,
            tried_at=job.begun,
            succeeded_at=job.begun if result.error is None else poll_state.succeeded_at,
            full_at=job.begun if result.whole else poll_state.full_at,
            failures=0 if result.error is None else poll_state.failures + 1,
        )
        self._swept(job.service_id, now)
        self.plan(state, now)

    def returned(self, job: PollJob) -> bool:
        """A job is done. Returns False if it is not the service's last one: its result is too old."""
        if self._reading.get(job.service_id) is not job:
            return False
        del self._reading[job.service_id]
        self._failed_before.discard(job.service_id)
        return True

    def plan(self, state: ServiceState, now: int) -> None:
        """Find out when the service is read next."""
        service_id = state.row.service_id
        if service_id in self._reading:
            return
        next_poll = schedule.next_poll(state, self._poll_states[service_id], self._intervals, now)
        if next_poll.due <= now:
            self._next_polls.pop(service_id, None)
            self._wait(service_id, next_poll)
        elif service_id not in self._waiting and self._next_polls.get(service_id) != next_poll:
            self._next_polls[service_id] = next_poll
            heapq.heappush(self._by_due, (next_poll.due, service_id))

    def next_job(self, state_of: Callable[[str], ServiceState], now: int) -> PollJob | None:
        """The read that is next, or None if no service is due; it is under way from here on."""
        self._collect(now)
        for urgency in schedule.order_of_turn(self._turn):
            service_id = self._take(urgency)
            if service_id is not None:
                self._turn += 1
                return self._job(state_of(service_id), now)
        return None

    def detail_job(self, state: ServiceState, now: int) -> PollJob | None:
        """The read of the detail that tells why the newest update failed, if no event does; once for each."""
        service_id = state.row.service_id
        if not schedule.wants_detail(state, self._poll_states[service_id]):
            return None
        return PollJob(service_id, begun=Ticks(now), detail=True)

    def detail_read(self, state: ServiceState) -> None:
        """The detail of a service's newest update was read; it is not asked for again."""
        service_id = state.row.service_id
        poll_state = msgspec.structs.replace(self._poll_states[service_id], asked_why=state.attempt_begin)
        self._poll_states[service_id] = poll_state

    def _take(self, urgency: Urgency) -> str | None:
        """The first in line of those with this urgency.

        Half of the fetchers at most work on services whose last read failed, so that a broken service
        that lets every request run into its timeout delays no other.
        """
        may_fail = len(self._failed_before) < max(self._concurrency // 2, 1)
        lines = [
            self._lines[urgency, failed]
            for failed in (False, True)
            if (may_fail or not failed) and self._drop_stale(urgency, failed)
        ]
        if not lines:
            return None
        _, service_id = heapq.heappop(min(lines, key=lambda line: line[0]))
        del self._waiting[service_id]
        return service_id

    def _drop_stale(self, urgency: Urgency, failed: bool) -> bool:
        """Drop the entries in front that are stale. Returns whether one is left."""
        line = self._lines[urgency, failed]
        while line:
            rank, service_id = line[0]
            waiting = self._waiting.get(service_id)
            if waiting is not None and (waiting.urgency, waiting.rank) == (urgency, rank):
                return True
            heapq.heappop(line)
        return False

    def _job(self, state: ServiceState, now: int) -> PollJob:
        service_id = state.row.service_id
        poll_state = self._poll_states[service_id]
        if poll_state.failures:
            self._failed_before.add(service_id)
        self._reading[service_id] = PollJob(
            service_id,
            begun=Ticks(now),
            update_time_filter=schedule.update_time_filter(state, poll_state, self._intervals, now),
            had_updates=state.newest is not None,
            events_after=state.events.watermark,
        )
        return self._reading[service_id]

    def _collect(self, now: int) -> None:
        while self._by_due and self._by_due[0][0] <= now:
            due, service_id = heapq.heappop(self._by_due)
            next_poll = self._next_polls.get(service_id)
            if next_poll is not None and next_poll.due == due:
                del self._next_polls[service_id]
                self._wait(service_id, next_poll)

    def _wait(self, service_id: str, next_poll: NextPoll) -> None:
        before = self._waiting.get(service_id)
        if before is None or (next_poll.urgency, next_poll.rank) < (before.urgency, before.rank):
            self._waiting[service_id] = next_poll
            line = self._lines[next_poll.urgency, self._poll_states[service_id].failures > 0]
            heapq.heappush(line, (next_poll.rank, service_id))
