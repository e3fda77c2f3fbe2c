"""Reads that outlast a 429, with a clock that only their own sleep moves."""

from collections.abc import Callable
from itertools import repeat

import pytest

from exporter.commands.patient_source import PATIENCE_SECONDS, PatientSource
from exporter.core.records import EventWindow, ServiceList, ServiceRow, UpdateWindow
from exporter.core.source import Forbidden, RemoteError, Stopping, Throttled

ROW = ServiceRow("a", "shop")


class Cloud:
    """A source whose next reads of a detail fail like this; the others have no answer at all."""

    def __init__(self, *errors: RemoteError) -> None:
        self.errors = list(errors)
        self.reads = 0

    def read_detail(self, service_id: str) -> ServiceRow:
        self.reads += 1
        if self.errors:
            raise self.errors.pop(0)
        return ROW

    def list_services(self) -> ServiceList:
        raise NotImplementedError

    def read_updates(self, service_id: str, instant: int | None = None) -> UpdateWindow:
        raise NotImplementedError

    def read_events(self, service_id: str, after: int | None = None, *, spare: bool = False) -> EventWindow:
        raise NotImplementedError


class World:
    """A cloud, and a patient source of it."""

    def __init__(self, *errors: RemoteError) -> None:
        self.cloud = Cloud(*errors)
        self.slept: list[float] = []
        self.told: list[float] = []
        self.stopped = 0
        self.during_sleep: Callable[[], object] = lambda: None
        self.source = PatientSource(
            self.cloud, self._stop, self.told.append, lambda: int(sum(self.slept) * 1000), self._sleep
        )

    def _stop(self) -> None:
        self.stopped += 1

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.during_sleep()


def test_it_waits_as_long_as_the_cloud_says_and_tells_so_once() -> None:
    world = World(Throttled("a", 60), Throttled("b"), Throttled("c", 2.5))
    assert world.source.read_detail("a") is ROW
    assert (world.slept, world.told) == ([60, 0, 2.5], [60])
    assert not world.stopped


def test_its_patience_ends_and_nothing_is_asked_then() -> None:
    world = World(*(Throttled("no", wait) for wait in repeat(60, 100)))
    with pytest.raises(Throttled, match=f"^no The command waits for {PATIENCE_SECONDS} s at most"):
        world.source.read_detail("a")
    assert (sum(world.slept), world.stopped) == (PATIENCE_SECONDS, 1)
    asked = world.cloud.reads
    with pytest.raises(Throttled, match="at most"):
        world.source.read_detail("b")
    assert (world.cloud.reads, world.stopped) == (asked, 1)


def test_a_wait_that_is_too_long_is_not_begun() -> None:
    world = World(Throttled("no", PATIENCE_SECONDS + 1))
    with pytest.raises(Throttled, match="at most"):
        world.source.read_detail("a")
    assert (world.slept, world.told) == ([], [])


def test_any_answer_renews_the_patience() -> None:
    world = World(*(Throttled("no", 60) for _ in range(5)))
    world.source.read_detail("a")
    world.cloud.errors = [Throttled("no", 60) for _ in range(5)]
    assert world.source.read_detail("a") is ROW
    assert (sum(world.slept), len(world.told)) == (2 * PATIENCE_SECONDS, 2)


def test_who_waits_for_the_rate_limit_when_the_patience_ends_is_told_why() -> None:
    world = World(Throttled("no", 3600))
    with pytest.raises(Throttled):
        world.source.read_detail("a")
    assert world.stopped
    world = World(Throttled("no", 1), Stopping("over"))

    def another_gives_up() -> None:
        world.during_sleep = lambda: None
        mine, world.cloud.errors = world.cloud.errors, [Throttled("no", 3600)]
        with pytest.raises(Throttled):
            world.source.read_detail("b")
        world.cloud.errors = mine

    world.during_sleep = another_gives_up
    with pytest.raises(Throttled, match="at most"):
        world.source.read_detail("a")


@pytest.mark.parametrize("error", [Forbidden("no"), Stopping("over")])
def test_other_errors_are_the_answer(error: RemoteError) -> None:
    world = World(error)
    with pytest.raises(type(error)):
        world.source.read_detail("a")
    assert world.cloud.reads == 1
