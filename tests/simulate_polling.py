# ruff: noqa: T201 - it prints what it measured
"""How long a change waits for its read, on a clock of its own; by hand: `python -m tests.simulate_polling`.

The queue and the schedule are the real ones. The cloud is a rate limit and nothing else: a request goes out
every 1/rate seconds, a read is two of them, a list one for each thousand services. No time passes.
"""

import heapq
import random
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from exporter.core.accounting.audit import DAY_MS, Audit
from exporter.core.accounting.ledger import Ledger
from exporter.core.accounting.service_state import ServiceState
from exporter.core.polling.schedule import PollIntervals
from exporter.core.records import EventWindow, ServiceRow, Update, UpdateWindow
from exporter.core.times import EpochMs, Ticks
from exporter.engine.audit_queue import AuditQueue
from exporter.engine.fetch import PollJob, PollResult
from exporter.engine.poll_queue import PollQueue

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
INTERVALS = PollIntervals(interval=30 * SECOND, active_interval=10 * SECOND, sweep_interval=5 * MINUTE)
CONCURRENCY = 4  # the default
PAGE = 1000  # rows in one answer to a list
EPOCH = 1_700_000_000_000  # what our clock shows at tick 0
DEPLOYMENT = 10 * MINUTE  # how long one takes

# The changes of rows that every measurement here has: one in a minute for each thousand services.
CHANGES_PER_MS = 1 / (1000 * MINUTE)


class Wait(NamedTuple):
    """A change that was read: when the list showed it and how long it took from then, in ms."""

    shown_at: int
    lasted: int


class Project:
    """Services in the cloud, and the exporter that reads them.

    Args:
        size: how many services there are.
        read_before: whether an earlier process has read each of them within the last hour.
        deploying: how many deploy at any moment; when one is done, another one begins.
        stuck: how many have an update that has been open for a day, and stays so.
        rate: requests per second.
        audits: whether closed days are compared, of every service in every hour: far more than there will be.

    """

    def __init__(
        self,
        size: int,
        *,
        read_before: bool,
        deploying: int = 0,
        stuck: int = 0,
        rate: float = 5.0,
        audits: bool = False,
    ) -> None:
        self.random = random.Random(size)
        self._read_before = read_before
        self.size, self.milliseconds_per_request = size, round(SECOND / rate)
        self.now = self._started = HOUR
        self.all_read_after: int | None = None  # ms from the start
        self.waits: list[Wait] = []
        self.reads: Counter[str] = Counter()
        self._last_reads: dict[str, tuple[str, int]] = {}  # of what kind it was then, and when
        self.longest_gap: dict[str, int] = {}  # by kind of service, ms between two reads of one
        self.queue = PollQueue(INTERVALS, CONCURRENCY)
        self._audits = AuditQueue(Ticks(self.now)) if audits else None
        self.audited = 0
        self._busy, self._next_request_at = 0, self.now
        self._answers: list[tuple[int, int, Callable[[], None]]] = []
        self._changes: list[str] = []  # that no list has shown yet
        self.unread_changes: dict[str, int] = {}  # that a list has shown and no read has seen, with the time
        self._ends: dict[str, int] = {}  # when the deployments end
        self.services = {sid: self._service(sid, read_before) for sid in map(str, range(size))}
        self.stuck = self.random.sample(list(self.services), stuck)
        for service_id in self.stuck:
            self._open(service_id, -24 * HOUR)
        self._next_change_at = self.now
        self._draw_next_change()
        for service_id in self.random.sample([s for s in self.services if s not in self.stuck], deploying):
            self._deploy(service_id, self.now - self.random.randrange(DEPLOYMENT))
        if read_before:
            self._begin_all()
        self._listed_once = False
        self._list_due: int | None = self.now

    def _service(self, service_id: str, read_before: bool) -> ServiceState:
        read_at = EPOCH + self.now - self.random.randrange(HOUR) if read_before else None
        ledger = Ledger(preexisting=not read_before)
        audit = Audit(since=EPOCH - 2 * DAY_MS) if self._audits else Audit()
        return ServiceState(
            ServiceRow(service_id), updates=ledger, events=ledger, read_at=read_at, audit=audit
        )

    def _begin_all(self) -> None:
        for service in self.services.values():
            self.queue.begin(service, self.now)

    def change_now(self) -> str:
        """Let the row of a quiet service change. Returns its id."""
        while True:
            service_id = str(self.random.randrange(self.size))
            if self.kind(service_id) == "quiet":
                self._changes.append(service_id)
                return service_id

    def kind(self, service_id: str) -> str:
        """What happens to a service: "deploying", "stuck" or "quiet"."""
        if service_id in self._ends:
            return "deploying"
        return "stuck" if self.services[service_id].open else "quiet"

    def run(self, milliseconds: int, watch: Callable[[PollJob], None] = lambda job: None) -> None:
        """Let the exporter work for so long; `watch` is told each job that is begun."""
        end = self.now + milliseconds
        while True:
            self._begin_what_is_due(watch)
            self._begin_audit()
            moments = [self.now + SECOND] if self._audits else []  # the loop looks every second
            moments += [self._next_change_at, *(answer[0] for answer in self._answers[:1])]
            if self._busy < CONCURRENCY:
                service_due = self.queue.next_due() if self._listed_once else None
                moments += [due for due in (self._list_due, service_due) if due is not None]
            if min(moments) > end:
                self.now = end
                return
            self.now = max(self.now, min(moments))
            if self._next_change_at <= self.now:
                self.change_now()
                self._draw_next_change()
            while self._answers and self._answers[0][0] <= self.now:
                heapq.heappop(self._answers)[2]()

    def _draw_next_change(self) -> None:
        self._next_change_at += round(self.random.expovariate(self.size * CHANGES_PER_MS)) + 1

    def _begin_what_is_due(self, watch: Callable[[PollJob], None]) -> None:
        if self._list_due is not None and self._list_due <= self.now:
            self._list_due = None
            begun, changes, self._changes = self.now, self._changes, []
            self._ask(-(-self.size // PAGE), lambda: self._listed(begun, changes))
        while self._listed_once and self._busy < CONCURRENCY:
            job = self.queue.next_job(self.services.__getitem__, self.now)
            if job is None:
                return
            watch(job)
            self._ask(2, partial(self._was_read, job))

    def _begin_audit(self) -> None:
        """As `ProjectPoller` does it: only where it delays nothing."""
        if self._audits is None or not self._listed_once:
            return
        now = EpochMs(EPOCH + self.now)
        self._audits.look(self.services, 0, now, Ticks(self.now))
        dues = [due for due in (self._list_due, self.queue.next_due()) if due is not None]
        made_up = self.now + self.milliseconds_per_request
        if self._busy or self._list_due is None or min(dues) < made_up or self._next_request_at > self.now:
            return
        job = self._audits.next_job(self.services, 0, now, Ticks(self.now))
        if job is not None:
            self.audited += 1
            self._next_request_at = made_up
            answered: Callable[[], None] = partial(self._audits.returned, job)
            heapq.heappush(self._answers, (made_up, 0, answered))

    def _ask(self, requests: int, answered: Callable[[], None]) -> None:
        self._busy += 1
        self._next_request_at = (
            max(self._next_request_at, self.now) + requests * self.milliseconds_per_request
        )
        heapq.heappush(self._answers, (self._next_request_at, self.random.getrandbits(32), answered))

    def _listed(self, begun: int, changes: Sequence[str]) -> None:
        self._busy -= 1
        self._list_due = max(begun + INTERVALS.interval, self.now)
        if not self._listed_once and not self._read_before:
            self._begin_all()
        self._listed_once = True
        for service_id in changes:
            service = self.services[service_id]
            row = msgspec.structs.replace(service.row, operation_time=EPOCH + begun)
            self.services[service_id] = msgspec.structs.replace(service, row=row)
            self.unread_changes.setdefault(service_id, self.now)
            self.queue.changed(self.services[service_id], self.now)

    def _was_read(self, job: PollJob) -> None:
        self._busy -= 1
        service_id, kind = job.service_id, self.kind(job.service_id)
        self.reads[kind] += 1
        kind_before, read_before = self._last_reads.get(service_id, ("", 0))
        if kind == kind_before:
            self.longest_gap[kind] = max(self.longest_gap.get(kind, 0), self.now - read_before)
        if service_id in self.unread_changes and self.unread_changes[service_id] <= job.begun:
            shown_at = self.unread_changes.pop(service_id)
            self.waits.append(Wait(shown_at, self.now - shown_at))
        read = Ledger()
        service = msgspec.structs.replace(
            self.services[service_id],
            updates=read,
            events=Ledger(watermark=EPOCH + self.now),
            read_at=EPOCH + self.now,
        )
        if self._ends.get(service_id, job.begun + 1) <= job.begun:
            del self._ends[service_id]
            service = msgspec.structs.replace(service, open=())
            self._deployment_seen()
        self.services[service_id] = service
        self._last_reads[service_id] = (self.kind(service_id), self.now)
        if self.all_read_after is None and len(self._last_reads) == self.size:
            self.all_read_after = self.now - self._started
        self.queue.returned(job)
        updates = UpdateWindow(service.open, EPOCH + self.now, job.update_time_filter)
        self.queue.was_read(
            PollResult(job, updates, EventWindow((), EPOCH + self.now)), self.services[service_id], self.now
        )

    def _deployment_seen(self) -> None:
        """The end of a deployment was read: another one begins."""
        self._deploy(self.change_now(), self.now)

    def _deploy(self, service_id: str, begun: int) -> None:
        self._open(service_id, begun)
        self._ends[service_id] = begun + DEPLOYMENT

    def _open(self, service_id: str, begun: int) -> None:
        update = Update(EPOCH + begun, "RUNNING")
        self.services[service_id] = msgspec.structs.replace(self.services[service_id], open=(update,))


class Figures(NamedTuple):
    """What one measurement found; times in ms."""

    changes: int
    median: float  # of the waits
    longest: int
    all_read: int | None  # from the start until every service was read; None: not within the measurement
    deploying_gap: int  # the longest time between two reads of a service that deploys
    stuck_share: float  # of all reads


def measure(project: Project, milliseconds: int, *, after: int = 0) -> Figures:
    """Run a project for so long; what is measured begins `after` ms from now."""
    project.run(after)
    begun, already = project.now, len(project.waits)
    project.longest_gap.clear()
    project.reads.clear()
    project.run(milliseconds)
    # A change that still waits has waited for at least so long: to leave it out would be flattering.
    lasted = [wait.lasted for wait in project.waits[already:] if wait.shown_at >= begun]
    lasted += [project.now - shown_at for shown_at in project.unread_changes.values() if shown_at >= begun]
    return Figures(
        len(lasted),
        statistics.median(lasted) if lasted else 0,
        max(lasted, default=0),
        project.all_read_after,
        project.longest_gap.get("deploying", 0),
        project.reads["stuck"] / project.reads.total(),
    )


SITUATIONS: dict[str, Callable[[int], tuple[Project, int]]] = {
    "first start": lambda size: (Project(size, read_before=False), 0),
    "restart": lambda size: (Project(size, read_before=True), 0),
    "steady": lambda size: (Project(size, read_before=True), 2 * HOUR),
    "1 % deploying": lambda size: (Project(size, read_before=True, deploying=size // 100), 2 * HOUR),
}


def main(sizes: Sequence[int]) -> None:
    """Print the table."""
    print("services  situation        changes  p50 s   max s   all read after min   longest gap deploying s")
    for size in sizes:
        for name, build in SITUATIONS.items():
            project, after = build(size)
            found = measure(project, 2 * HOUR, after=after)
            everything = "-" if found.all_read is None else round(found.all_read / MINUTE)
            waits = f"{found.changes:9}{found.median / SECOND:7.1f}{found.longest / SECOND:8.1f}"
            print(f"{size:8}  {name:15}{waits}{everything:>21}{found.deploying_gap / SECOND:26.0f}")
    found = measure(Project(500, read_before=True, stuck=25), HOUR, after=HOUR)
    print(
        f"500 services, 25 of them with an update open since yesterday: {found.stuck_share:.0%} of all reads"
    )


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1000, 2000, 10_000])
