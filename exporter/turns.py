"""Whose turn it is: the services of one project in the order of the schedule, and those being read.

Owned by the writer thread. Times are ticks (ms) of a clock that never steps back.
"""

import heapq
from collections.abc import Callable, Iterable

import msgspec

from exporter.core import schedule
from exporter.core.account import Account
from exporter.core.schedule import Pace, Turn, Watch
from exporter.fetching import Job, Reading


class Turns:
    """See the module.

    Args:
        pace: the configured intervals.
        concurrency: how many fetchers there are.

    """

    def __init__(self, pace: Pace, concurrency: int) -> None:
        self._pace, self._concurrency = pace, concurrency
        self._watches: dict[str, Watch] = {}
        self._turns: dict[str, Turn] = {}  # not due yet
        self._by_due: list[tuple[int, str]] = []
        self._urgency: dict[str, int] = {}  # due, and waiting for a fetcher
        self._ready: list[tuple[int, str]] = []
        self._reading: dict[str, bool] = {}  # by service_id: whether its last read had failed

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

    def begin(self, account: Account, now: int) -> None:
        """A service is there that was not, or must be read anew."""
        self._watches[account.row.service_id] = Watch()
        self.plan(account, now)

    def changed(self, account: Account, now: int) -> None:
        """The service's row changed beyond its call totals."""
        service_id = account.row.service_id
        self._watches[service_id] = msgspec.structs.replace(self._watches[service_id], changed_at=now)
        self.plan(account, now)

    def end(self, service_id: str) -> None:
        """The service is gone."""
        for memory in (self._watches, self._turns, self._urgency, self._reading):
            memory.pop(service_id, None)

    def was_read(self, reading: Reading, account: Account, now: int) -> None:
        """A job is done, and made this of the account."""
        job = reading.job
        watch = self._watches[job.service_id]
        asked = reading.detail is not None and account.settled is not None
        self._watches[job.service_id] = msgspec.structs.replace(
            watch,
            tried_at=job.begun,
            full_at=job.begun if reading.whole else watch.full_at,
            failures=0 if reading.error is None else watch.failures + 1,
            asked_why=account.settled.update_time if asked and account.settled else watch.asked_why,
        )
        self.plan(account, now)

    def returned(self, service_id: str) -> None:
        """The service's fetcher is free again."""
        self._reading.pop(service_id, None)

    def plan(self, account: Account, now: int) -> None:
        """Find the service's next turn."""
        service_id = account.row.service_id
        if service_id in self._reading:
            return
        turn = schedule.next_poll(account, self._watches[service_id], self._pace, now)
        if service_id in self._urgency:
            if turn.due <= now:
                self._await(service_id, turn.urgency)
        elif self._turns.get(service_id) != turn:
            self._turns[service_id] = turn
            heapq.heappush(self._by_due, (turn.due, service_id))

    def next_job(self, account_of: Callable[[str], Account], now: int) -> Job | None:
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
            if self._watches[service_id].failures and sum(self._reading.values()) >= max(
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

    def _job(self, account: Account, now: int) -> Job:
        service_id = account.row.service_id
        watch = self._watches[service_id]
        del self._urgency[service_id]
        self._reading[service_id] = watch.failures > 0
        return Job(
            service_id,
            begun=now,
            instant=schedule.instant(account, watch, self._pace, now),
            logged=account.newest is not None,
            after=account.events.final_until,
            detail=schedule.wants_detail(account, watch),
        )

    def _collect(self, now: int) -> None:
        while self._by_due and self._by_due[0][0] <= now:
            due, service_id = heapq.heappop(self._by_due)
            turn = self._turns.get(service_id)
            if turn is not None and turn.due == due:
                del self._turns[service_id]
                self._await(service_id, turn.urgency)

    def _await(self, service_id: str, urgency: int) -> None:
        if urgency < self._urgency.get(service_id, urgency + 1):
            self._urgency[service_id] = urgency
            heapq.heappush(self._ready, (urgency, service_id))
