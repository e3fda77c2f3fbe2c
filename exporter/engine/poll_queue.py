"""Whose turn it is: the services of one project in the order of the schedule, and those being read.

Owned by the writer thread. Times are ticks (ms) of a clock that never steps back.
"""

import heapq
from collections.abc import Callable, Iterable

import msgspec

from exporter.core.accounting.service_state import ServiceState
from exporter.core.polling import schedule
from exporter.core.polling.schedule import NextPoll, PollIntervals, PollState
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
        self._polled: dict[str, PollState] = {}
        self._next_polls: dict[str, NextPoll] = {}  # not due yet
        self._by_due: list[tuple[int, str]] = []
        self._urgency: dict[str, int] = {}  # due, and waiting for a fetcher
        self._ready: list[tuple[int, str]] = []
        self._reading: dict[str, bool] = {}  # by service_id: whether its last read had failed

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
        under_way, self._reading = self._reading, {}
        for state in states:
            if state.row.service_id in under_way:
                self.plan(state, now)

    def next_due(self) -> int | None:
        """When a service will be due that is not due yet."""
        return self._by_due[0][0] if self._by_due else None

    @property
    def reading(self) -> int:
        """Jobs under way."""
        return len(self._reading)

    def overdue(self, now: int) -> frozenset[str]:
        """The services that are due and not read yet, and those being read."""
        self._collect(now)
        return frozenset(self._urgency.keys() | self._reading.keys())

    def begin(self, state: ServiceState, now: int) -> None:
        """A service is there that was not, or must be read anew."""
        self._polled[state.row.service_id] = PollState()
        self.plan(state, now)

    def changed(self, state: ServiceState, now: int) -> None:
        """The service's row changed beyond its call totals."""
        service_id = state.row.service_id
        self._polled[service_id] = msgspec.structs.replace(self._polled[service_id], changed_at=now)
        self.plan(state, now)

    def end(self, service_id: str) -> None:
        """The service is gone."""
        for memory in (self._polled, self._next_polls, self._urgency, self._reading):
            memory.pop(service_id, None)

    def was_read(self, result: PollResult, state: ServiceState, now: int) -> None:
        """A job is done, and made this of the account."""
        job = result.job
        polled = self._polled[job.service_id]
        asked = result.detail is not None and state.settled is not None
        self._polled[job.service_id] = msgspec.structs.replace(
            polled,
            tried_at=job.begun,
            full_at=job.begun if result.whole else polled.full_at,
            failures=0 if result.error is None else polled.failures + 1,
            asked_why=state.settled.update_time if asked and state.settled else polled.asked_why,
        )
        self.plan(state, now)

    def returned(self, service_id: str) -> None:
        """The service's fetcher is free again."""
        self._reading.pop(service_id, None)

    def plan(self, state: ServiceState, now: int) -> None:
        """Find the service's next turn."""
        service_id = state.row.service_id
        if service_id in self._reading:
            return
        next_poll = schedule.next_poll(state, self._polled[service_id], self._intervals, now)
        if service_id in self._urgency:
            if next_poll.due <= now:
                self._await(service_id, next_poll.urgency)
        elif self._next_polls.get(service_id) != next_poll:
            self._next_polls[service_id] = next_poll
            heapq.heappush(self._by_due, (next_poll.due, service_id))

    def next_job(self, account_of: Callable[[str], ServiceState], now: int) -> PollJob | None:
        """The most urgent job, or None.

        Half of the fetchers at most work on services whose last read failed, so that a broken service
        that lets every request run into its timeout delays no other.
        """
        self._collect(now)
        passed_over: list[tuple[int, str]] = []
        job = None
        while self._ready and job is None:
            urgency, service_id = heapq.heappop(self._ready)
            if self._urgency.get(service_id) != urgency:
                continue  # an older entry of one that became more urgent, or is gone
            if self._polled[service_id].failures and sum(self._reading.values()) >= max(
                self._concurrency // 2, 1
            ):
                passed_over.append((urgency, service_id))
                continue
            job = self._job(account_of(service_id), now)
        self._put_back(passed_over)
        return job

    def _put_back(self, entries: Iterable[tuple[int, str]]) -> None:
        for entry in entries:
            heapq.heappush(self._ready, entry)

    def _job(self, state: ServiceState, now: int) -> PollJob:
        service_id = state.row.service_id
        polled = self._polled[service_id]
        del self._urgency[service_id]
        self._reading[service_id] = polled.failures > 0
        return PollJob(
            service_id,
            begun=Ticks(now),
            update_time_filter=schedule.instant(state, polled, self._intervals, now),
            had_updates=state.newest is not None,
            events_after=state.events.watermark,
            detail=schedule.wants_detail(state, polled),
        )

    def _collect(self, now: int) -> None:
        while self._by_due and self._by_due[0][0] <= now:
            due, service_id = heapq.heappop(self._by_due)
            next_poll = self._next_polls.get(service_id)
            if next_poll is not None and next_poll.due == due:
                del self._next_polls[service_id]
                self._await(service_id, next_poll.urgency)

    def _await(self, service_id: str, urgency: int) -> None:
        if urgency < self._urgency.get(service_id, urgency + 1):
            self._urgency[service_id] = urgency
            heapq.heappush(self._ready, (urgency, service_id))
