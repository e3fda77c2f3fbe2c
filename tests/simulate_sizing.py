# ruff: noqa: T201 - it prints what it measured
"""The large rows of docs/sizing.md; by hand: `python -m tests.simulate_sizing`, a minute.

The queue and the schedule are the real ones, on an emulated clock, as in `tests.simulate_polling`. Below what
happened stands what `exporter.core.polling.sizing` computes.
"""

import heapq
import statistics
import sys
from collections.abc import Sequence
from typing import NamedTuple

from exporter.core.polling.sizing import DAY, Freshness, Load, size
from exporter.engine.fetch import PollJob
from tests.simulate_polling import CONCURRENCY, DEPLOYMENT, HOUR, INTERVALS, MINUTE, PAGE, SECOND, Project

SIZES = (10, 100, 1000, 2000, 5000, 10_000, 50_000, 100_000)
RATES = (5.0, 50.0)  # requests a second: the default, and what a cloud would have to allow for the largest


class Fleet(Project):
    """A project whose services are deployed at random; their rows change at the beginning and the end."""

    def __init__(self, load: Load) -> None:
        self._starts_per_ms = load.deployments_per_day / DAY
        self._next_start_at = 0
        self._ends_to_come: list[tuple[int, str]] = []
        self._unseen_starts: dict[str, int] = {}
        self._unseen_ends: dict[str, int] = {}
        self.starts_seen: list[int] = []  # how long each beginning waited for a read, in ms
        self.ends_seen: list[int] = []
        self.requests = 0
        super().__init__(load.services, read_before=True, rate=load.rate_limit)
        self._next_start_at = self.now
        self._draw_next_change()

    def _draw_next_change(self) -> None:
        if self._next_start_at <= self.now:
            self._next_start_at = self.now + round(self.random.expovariate(self._starts_per_ms)) + 1
        self._next_change_at = min([self._next_start_at, *(at for at, _ in self._ends_to_come[:1])])

    def change_now(self) -> str:
        if self._ends_to_come and self._ends_to_come[0][0] <= self.now:
            ended, service_id = heapq.heappop(self._ends_to_come)
            self._changes.append(service_id)
            self._unseen_ends[service_id] = ended
            return service_id
        service_id = super().change_now()
        self._unseen_starts[service_id] = self.now
        self._deploy(service_id, self.now)
        heapq.heappush(self._ends_to_come, (self.now + DEPLOYMENT, service_id))
        return service_id

    def _deployment_seen(self) -> None:
        """Nothing: the next one begins when it does, whoever has seen the last one."""

    def _ask(self, requests: int, *rest: object) -> None:
        self.requests += requests
        super()._ask(requests, *rest)  # type: ignore[arg-type]

    def _was_read(self, job: PollJob) -> None:
        for unseen, seen in ((self._unseen_starts, self.starts_seen), (self._unseen_ends, self.ends_seen)):
            if unseen.get(job.service_id, self.now + 1) <= job.begun:
                seen.append(self.now - unseen.pop(job.service_id))
        super()._was_read(job)


class Simulated(NamedTuple):
    """What happened."""

    requests_per_hour: float
    sweep: int  # ms
    freshness: Freshness


def simulate(load: Load) -> Simulated:
    """Let the exporter reach its pace, and measure for an hour, or until 150 were deployed."""
    fleet = Fleet(load)
    fleet.run(round(max(HOUR, 1.2 * size(load).sweep)))  # until the first sweep is over
    for seen in (fleet.starts_seen, fleet.ends_seen):
        seen.clear()
    fleet.requests = 0
    lasts = round(max(HOUR, 150 / load.deployments_per_day * DAY))
    fleet.run(lasts)
    start, end = (statistics.quantiles(seen, n=100) for seen in (fleet.starts_seen, fleet.ends_seen))
    fresh = Freshness(start[49], start[98], end[49], end[98])
    return Simulated(fleet.requests / lasts * HOUR, fleet.queue.sweep_ms, fresh)


def default_load(services: int, rate_limit: float) -> Load:
    """Each service is deployed once a day, for ten minutes."""
    return Load(
        services, services, rate_limit, INTERVALS, DEPLOYMENT, shards=1, concurrency=CONCURRENCY, page=PAGE
    )


def row(requests_per_hour: float, sweep: float, fresh: Freshness) -> str:
    """The columns of the table."""
    times = (fresh.start_p50, fresh.start_p99, fresh.end_p50, fresh.end_p99)
    return f"{requests_per_hour:12,.0f}{sweep / MINUTE:9.0f}" + "".join(f"{at / SECOND:9.0f}" for at in times)


def main(sizes: Sequence[int]) -> None:
    """Print the table: of each size a row that was simulated, and one that was computed."""
    names = ("sweep min", "start p50", "p99 s", "end p50", "p99 s")
    print("services  rate              requests/h" + "".join(f"{name:>9}" for name in names))
    for rate in RATES:
        for services in sizes:
            load = default_load(services, rate)
            computed = size(load)
            if computed.freshness is None:
                print(f"{services:8}{rate:6.0f}  the limit is too small for this many changes")
                continue
            print(f"{services:8}{rate:6.0f}  simulated{row(*simulate(load))}")
            of_computed = row(computed.requests_per_hour, computed.sweep, computed.freshness)
            print(f"{'':14}  computed {of_computed}", flush=True)


if __name__ == "__main__":
    main([int(services) for services in sys.argv[1:]] or SIZES)
