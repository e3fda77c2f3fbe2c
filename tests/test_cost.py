"""What a cycle and a change may cost, counted in operations, so that it holds on every machine.

Seconds are measured by `make bench`. Here the same is done with a small fleet and with one ten times as
large, and the counts must be the same: a change costs what it changes, not what there is.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from exporter.adapters.prometheus.exposition import Exposition
from exporter.adapters.store.database import Change, Store
from exporter.core.metrics.families import PROJECT_FAMILIES, Options, service_families
from exporter.core.metrics.family import Family
from exporter.core.polling.schedule import PollIntervals
from tests.fakes import Clock, Cloud, Later
from tests.poller_harness import MINUTE, SECOND, PollerHarness

SIZES = (20, 200)
# Full reads are another matter: none is due while something is counted.
INTERVALS = PollIntervals(30 * SECOND, 10 * SECOND, 24 * 60 * MINUTE)


class CountedStore(Store):
    """A store that counts its commits, their records and their bytes."""

    counts: Counter[str]

    def commit(self, changes: Sequence[Change]) -> None:
        """See the base."""
        self.counts["commits"] += 1
        for change in changes:
            self.counts[type(change).__name__] += 1
            self.counts["bytes"] += len(change.blob)
        super().commit(changes)


class Fleet:
    """An exporter that has read everything and was scraped, and counts of what it does from then on."""

    def __init__(self, size: int, fetchers: Later | None = None) -> None:
        self.clock = Clock()
        self.cloud = Cloud(self.clock)
        for number in range(size):
            service_id = f"{number:04}"
            self.cloud.add(service_id, invocations=5)
            self.cloud.update(service_id, self.clock() - MINUTE, "SUCCESS")
            self.cloud.event(service_id, self.clock() - MINUTE, "normal", "start to deploy service")
        self.counts: Counter[str] = Counter()
        store = CountedStore.open("")
        store.counts = self.counts
        self.rig = PollerHarness(self.cloud, self.clock, store, intervals=INTERVALS)
        families = [self._counted(family) for family in service_families(Options())]
        self.rig.publisher.show_on(Exposition(families, PROJECT_FAMILIES), None)
        self.rig.pass_time(15 * MINUTE)
        self.rig.scrape()
        self.rig.pass_time(15 * MINUTE)
        self.counts.clear()
        self.cloud.calls.clear()

    def _counted(self, family: Family) -> Family:
        def samples(subject: Any) -> Any:
            self.counts["rendered"] += 1
            return family.samples(subject)

        return family._replace(samples=samples)

    def list_now(self) -> None:
        """Read the list, and what it shows to be due."""
        self.rig.poller.read_now("prod", None)
        self.rig.settle()

    def done(self) -> Counter[str]:
        """What was done since the last call; "rendered" in services."""
        found = self.counts + Counter(kind for kind, _ in self.cloud.calls)
        found["rendered"] //= len(service_families(Options()))
        self.counts.clear()
        self.cloud.calls.clear()
        return +found


@pytest.fixture(name="fleets")
def _fleets() -> list[Fleet]:
    return [Fleet(size) for size in SIZES]


def test_a_list_in_which_nothing_changed_is_read_and_nothing_else(fleets: list[Fleet]) -> None:
    for fleet in fleets:
        before = fleet.rig.publisher.snapshot.services
        fleet.done()
        fleet.rig.pass_time(INTERVALS.interval)
        assert fleet.done() == {"list": 1}
        after = fleet.rig.publisher.snapshot.services
        assert all(after[key].state is view.state for key, view in before.items())


def test_a_change_costs_the_same_in_a_small_fleet_and_in_a_large_one(fleets: list[Fleet]) -> None:
    found = []
    for fleet in fleets:
        fleet.done()
        fleet.cloud.update("0007", fleet.clock(), "FAIL")
        fleet.cloud.event("0007", fleet.clock(), "abnormal", "failed to pull image, retry later")
        fleet.cloud.change("0007", transition_at=fleet.clock(), status="failed")
        fleet.list_now()
        found.append(fleet.done())
    small, large = found
    assert small == large
    assert (small["list"], small["logs"], small["events"], small["detail"]) == (1, 1, 1, 0)
    assert small["rendered"] <= 2, "once for its row, once for what was read"
    assert small["commits"] <= 2
    assert small["ServiceChange"] <= 2
    assert small["CallsChange"] == 0, "its call totals are what they were"


def test_other_call_totals_are_written_for_their_service_alone(fleets: list[Fleet]) -> None:
    found = []
    for fleet in fleets:
        fleet.done()
        fleet.cloud.change("0003", invocations=1000)
        fleet.list_now()
        found.append(fleet.done())
    small, large = found
    for done in found:
        assert done["CallsChange"] == 1
        assert done["ServiceChange"] == done["ProjectChange"] == 0
        assert done["rendered"] == 1
    assert small["bytes"] == large["bytes"] < 100


def test_answers_of_the_same_moment_share_a_commit_and_a_page() -> None:
    fleet = Fleet(SIZES[0])
    later = Later()
    rig = PollerHarness(fleet.cloud, fleet.clock, fleet.rig.store, later, concurrency=16, intervals=INTERVALS)
    poller = rig.poller
    poller.step(gather=True)
    while later.waiting:  # the list first, then every service
        fleet.clock.forward(1)
        later.waiting.pop(0)()
        poller.step(gather=True)
    page = rig.publisher.snapshot.page.number
    fleet.counts.clear()
    fleet.clock.forward(SECOND)
    poller.step(gather=True)
    assert fleet.counts["commits"] == 1
    assert rig.publisher.snapshot.page.number == page + 1
    assert fleet.counts["ServiceChange"] > SIZES[0] / 2
