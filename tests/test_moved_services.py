"""What a service that moves from one shard to another does to counters, gauges and alerts."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

import msgspec
import pytest

from exporter.adapters.store.database import Store
from exporter.core.polling.schedule import PollIntervals
from exporter.core.polling.shard import Shard, owner
from exporter.core.records import ServiceRow
from exporter.core.source import Unreachable
from tests.fakes import Clock, Cloud
from tests.poller_harness import MINUTE, POLICY, SECOND, PollerHarness

SUCCEEDED = "modelarts_service_update_duration_seconds_count{{result=SUCCESS,service_id={}}}"
PROJECT_SUCCEEDED = "modelarts_update_duration_seconds_count{result=SUCCESS}"
FAILED = "modelarts_service_updates_total{{result=FAIL,service_id={}}}"
FAILING = "modelarts_service_update_failing{{service_id={}}}"
ABNORMAL = "modelarts_service_events_total{{event_type=abnormal,service_id={}}}"
PULLS = "modelarts_service_abnormal_events_total{{reason=image_pull,service_id={}}}"
PACE = PollIntervals(interval=10 * SECOND, active_interval=10 * SECOND, sweep_interval=MINUTE)
PULL = "failed to pull image, retry later"


def wants(shard: Shard, row: ServiceRow) -> bool:
    return shard.has(row.service_id)


class Shards:
    """Exporters that share a fleet, each with a store of its own, and a Prometheus that scrapes them."""

    def __init__(self, clock: Clock, cloud: Cloud) -> None:
        self.clock, self.cloud = clock, cloud
        self.stores: dict[int, Store] = {}
        self.running: dict[int, PollerHarness] = {}
        self.seen: dict[tuple[int, str], list[float]] = defaultdict(list)

    def start(self, total: int, **changes: object) -> None:
        """Replace those that run by so many; the stores stay, also those of shards that are gone."""
        self.running = {}
        for index in range(total):
            store = self.stores.setdefault(index, Store.open(""))
            found = {
                "selection": f"{index} of {total}",
                "wants": partial(wants, Shard(index, total)),
                "intervals": PACE,
            }
            harness = PollerHarness(self.cloud, self.clock, store, **{**found, **changes})  # type: ignore[arg-type]
            self.running[index] = harness

    def pass_time(self, milliseconds: int) -> None:
        """Let time pass, and scrape every ten seconds."""
        for _ in range(milliseconds // (10 * SECOND)):
            for harness in self.running.values():
                harness.settle()
            self.scrape()
            self.clock.forward(10 * SECOND)

    def scrape(self) -> None:
        for index, harness in self.running.items():
            for series, value in harness.scrape().items():
                self.seen[index, series].append(value)

    def shown(self, series: str) -> list[float]:
        """What the shards that run say."""
        return [found[series] for each in self.running.values() if series in (found := each.samples())]

    def steps(self, series: str) -> float:
        """All that `sum(increase(…))` ever sees: the steps of the series of each shard."""
        return sum(
            max(after - before, 0)
            for index in self.stores
            for before, after in zip(self.seen[index, series], self.seen[index, series][1:], strict=False)
        )


@pytest.fixture(name="shards")
def _shards() -> Shards:
    clock = Clock()
    return Shards(clock, Cloud(clock))


def moving(before: int, after: int) -> Iterator[str]:
    """Ids of services that another number of shards moves."""
    ids = (f"s{number}" for number in range(1000))
    return (each for each in ids if owner(each, before) != owner(each, after))


def test_what_a_moved_service_did_before_is_no_step_of_its_counters_and_what_it_does_then_is(
    shards: Shards,
) -> None:
    moved = next(moving(2, 3))
    shards.cloud.add(moved)
    shards.start(2)
    shards.pass_time(MINUTE)
    for _ in range(3):
        shards.clock.forward(SECOND)
        shards.cloud.update(moved, shards.clock(), "FAIL")
        shards.cloud.event(moved, shards.clock(), "abnormal", PULL)
    shards.pass_time(2 * MINUTE)
    shards.start(3)
    shards.pass_time(MINUTE)
    for series in (FAILED, ABNORMAL, PULLS):
        assert (shards.shown(series.format(moved)), shards.steps(series.format(moved))) == ([3], 3)
    shards.cloud.update(moved, shards.clock(), "FAIL")
    shards.pass_time(2 * MINUTE)
    assert (shards.shown(FAILED.format(moved)), shards.steps(FAILED.format(moved))) == ([4], 4)


@pytest.mark.parametrize("count_history", [True, False])
def test_a_service_that_comes_back_to_a_shard_has_counted_the_time_between_without_a_step(
    shards: Shards, *, count_history: bool
) -> None:
    moved = next(moving(2, 3))
    policy = msgspec.structs.replace(POLICY, count_history=count_history)
    shards.cloud.add(moved)
    shards.start(2, policy=policy)
    shards.pass_time(MINUTE)
    shards.cloud.update(moved, shards.clock(), "FAIL")
    shards.cloud.event(moved, shards.clock(), "abnormal", PULL)
    shards.pass_time(2 * MINUTE)
    shards.start(3, policy=policy)
    shards.pass_time(MINUTE)
    shards.cloud.update(moved, shards.clock(), "FAIL")
    shards.cloud.event(moved, shards.clock(), "abnormal", PULL)
    shards.pass_time(2 * MINUTE)
    shards.start(2, policy=policy)
    shards.seen.clear()  # Prometheus is asked for less than the time between
    shards.cloud.failures[f"logs {moved}"] = shards.cloud.failures[f"events {moved}"] = Unreachable("")
    shards.pass_time(MINUTE)  # so that it is scraped before it is read
    shards.cloud.failures.clear()
    shards.pass_time(2 * MINUTE)
    for series in (FAILED, ABNORMAL, PULLS):
        assert shards.shown(series.format(moved)) == [2 if count_history else 1]
        assert shards.steps(series.format(moved)) == 0
    shards.cloud.update(moved, shards.clock(), "FAIL")
    shards.pass_time(2 * MINUTE)
    assert shards.steps(FAILED.format(moved)) == 1


def test_a_service_that_comes_back_shows_nothing_of_its_logs_before_they_are_read_again(
    shards: Shards,
) -> None:
    moved = next(moving(2, 3))
    shards.cloud.add(moved)
    shards.start(2)
    shards.pass_time(MINUTE)
    shards.cloud.update(moved, shards.clock(), "FAIL")
    shards.cloud.event(moved, shards.clock(), "abnormal", PULL)
    shards.pass_time(2 * MINUTE)
    assert shards.shown(FAILING.format(moved)) == [1]
    shards.start(3)
    shards.pass_time(MINUTE)
    shards.cloud.update(moved, shards.clock(), "SUCCESS")
    shards.pass_time(2 * MINUTE)
    shards.cloud.failures[f"logs {moved}"] = shards.cloud.failures[f"events {moved}"] = Unreachable("")
    for _ in range(2):  # also after a restart
        shards.start(2)
        shards.pass_time(MINUTE)
        assert shards.shown(f"modelarts_service_up{{service_id={moved}}}") == [0]
        for series in (FAILING, FAILED, ABNORMAL, PULLS):
            assert shards.shown(series.format(moved)) == []
    del shards.cloud.failures[f"logs {moved}"]
    shards.pass_time(2 * MINUTE)
    assert (shards.shown(FAILING.format(moved)), shards.shown(FAILED.format(moved))) == ([0], [1])
    assert shards.shown(ABNORMAL.format(moved)) == []
    shards.cloud.failures.clear()
    shards.pass_time(2 * MINUTE)
    assert shards.shown(ABNORMAL.format(moved)) == [1]


def test_a_value_that_no_scrape_had_seen_is_no_step_either_when_its_service_comes_back(
    shards: Shards,
) -> None:
    moved = next(moving(2, 3))
    shards.start(2)
    shards.pass_time(MINUTE)
    shards.cloud.add(moved)
    shards.cloud.update(moved, shards.clock(), "FAIL")
    for harness in shards.running.values():
        harness.pass_time(MINUTE)
    assert shards.shown(FAILED.format(moved)) == [0]
    for total in (3, 2):
        shards.start(total)
        shards.pass_time(MINUTE)
        assert (shards.shown(FAILED.format(moved)), shards.steps(FAILED.format(moved))) == ([1], 0)


def test_an_update_that_is_open_while_its_service_moves_is_counted_once_with_its_duration(
    shards: Shards,
) -> None:
    moved = next(moving(2, 3))
    shards.cloud.add(moved)
    shards.start(2)
    shards.pass_time(MINUTE)
    begun = shards.clock()
    shards.cloud.update(moved, begun, "RUNNING")
    shards.pass_time(MINUTE)
    shards.start(3)
    shards.pass_time(MINUTE)
    shards.cloud.update(moved, begun, "SUCCESS")
    shards.pass_time(2 * MINUTE)
    assert (shards.shown(SUCCEEDED.format(moved)), shards.steps(SUCCEEDED.format(moved))) == ([1], 1)
    assert (sum(shards.shown(PROJECT_SUCCEEDED)), shards.steps(PROJECT_SUCCEEDED)) == (1, 1)


def test_a_service_that_stays_goes_on_also_with_what_it_did_while_no_shard_ran(shards: Shards) -> None:
    stays = next(f"s{number}" for number in range(100) if owner(f"s{number}", 2) == owner(f"s{number}", 3))
    shards.cloud.add(stays)
    shards.start(2)
    shards.pass_time(MINUTE)
    shards.cloud.update(stays, shards.clock(), "FAIL")
    shards.pass_time(MINUTE)
    shards.clock.forward(MINUTE)
    shards.cloud.update(stays, shards.clock(), "FAIL")
    shards.start(3)
    assert shards.shown(FAILED.format(stays)) == [1]
    shards.pass_time(MINUTE)
    assert (shards.shown(FAILED.format(stays)), shards.steps(FAILED.format(stays))) == ([2], 2)
