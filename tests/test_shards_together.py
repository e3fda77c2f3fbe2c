"""Shards as processes: together they show the fleet once, and go on when one dies or another comes."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.core.polling.shard import owner
from exporter.emulator import Cloud, Server

from .commands import RunningExporter, configured, project
from .live.processes import until

SERVICES = 15
UPDATES = "modelarts_service_updates_total"
ABNORMAL = "modelarts_service_abnormal_events_total"
SERVICE_DURATIONS = "modelarts_service_update_duration_seconds_count"
PROJECT_DURATIONS = "modelarts_update_duration_seconds_count"


def shards(directory: Path, config: str, total: int, stack: ExitStack) -> list[RunningExporter]:
    """So many shards, which have just been started. The stores of those that ran before are still there."""
    started = []
    for index in range(total):
        (directory / str(index)).mkdir(exist_ok=True)
        flags = (f"--shard.index={index}", f"--shard.total={total}")
        started.append(stack.enter_context(RunningExporter(directory / str(index), config, *flags)))
    return started


def pages(exporters: Iterable[RunningExporter]) -> list[str]:
    return [exporter.metrics() for exporter in exporters]


def values(page: str, name: str) -> list[tuple[str, float]]:
    """The samples of a family with their service_id; a parser of the whole page takes long."""
    lines = re.findall(rf"^{name}({{.*}})? (\S+)$", page, re.MULTILINE)
    return [("".join(re.findall(r'service_id="(.*?)"', labels)), float(value)) for labels, value in lines]


def services(page: str) -> set[str]:
    """The services that a shard knows something of."""
    return {service_id for service_id, _ in values(page, "modelarts_service_update_failing")}


def totals(found: Iterable[str], name: str) -> Counter[str]:
    """`sum by (service_id)` over all shards."""
    sums: Counter[str] = Counter()
    for page in found:
        for service_id, value in values(page, name):
            sums[service_id] += int(value)
    return sums


def added(found: Iterable[str], name: str) -> float:
    """`sum` over all shards."""
    return sum(value for page in found for _, value in values(page, name))


class Fleet:
    """Some services of an emulated cloud, and what has happened to each of them."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.ids = [cloud.add_service(name=f"s-{number}") for number in range(SERVICES)]
        self.times = 0

    def fail(self) -> None:
        """An update of each service fails."""
        self.times += 1
        for service_id in self.ids:
            self.cloud.add_update(service_id, "FAIL")
            self.cloud.add_event(service_id, "abnormal", "failed to pull image, retry later")

    def of_shards(self, total: int) -> list[set[str]]:
        """The services of each shard."""
        return [{each for each in self.ids if owner(each, total) == index} for index in range(total)]

    def is_shown_by(self, found: Iterable[str]) -> bool:
        """Whether all that has happened was counted, once."""
        wanted = Counter(dict.fromkeys(self.ids, self.times))
        return totals(found, UPDATES) == totals(found, ABNORMAL) == wanted


@pytest.fixture(name="fleet")
def _fleet() -> Fleet:
    return Fleet(Cloud(lambda: time.time_ns() // 1_000_000))


@pytest.fixture(name="config")
def _config(fleet: Fleet, tmp_path: Path) -> Iterator[str]:
    with Server(fleet.cloud) as server:
        yield configured(tmp_path, project(server.url, rate_limit=90))


def test_three_shards_cover_the_fleet_once_and_one_that_dies_takes_its_own_services(
    fleet: Fleet, config: str, tmp_path: Path
) -> None:
    fleet.fail()
    with ExitStack() as stack:
        three = shards(tmp_path, config, 3, stack)
        for exporter in three:
            exporter.ready()
        found = until(lambda: pages(three), fleet.is_shown_by)
        assert list(map(services, found)) == fleet.of_shards(3)
        assert added(found, "modelarts_services") == SERVICES
        assert added(found, "modelarts_exporter_api_rate_limit") == pytest.approx(90)
        assert 'shard="0 of 3" requests_per_second=30.0' in three[0].output()
        three.pop(1).kill()
        fleet.fail()
        found = until(lambda: pages(three), lambda found: set(totals(found, UPDATES).values()) == {2})
        assert list(map(services, found)) == fleet.of_shards(3)[::2]
        # Durations of the project are those of the shard's own services, so that they add up.
        for page in found:
            assert added([page], PROJECT_DURATIONS) == added([page], SERVICE_DURATIONS)


@pytest.mark.long
def test_four_shards_in_place_of_three_take_over_what_moves_as_history(
    fleet: Fleet, config: str, tmp_path: Path
) -> None:
    fleet.fail()
    for total in (3, 4):
        with ExitStack() as stack:
            running = shards(tmp_path, config, total, stack)
            for exporter in running:
                exporter.ready()
            moved: set[float] = set()

            def look(running: list[RunningExporter] = running, moved: set[float] = moved) -> list[str]:
                found = pages(running)
                moved.update(value for _, value in values(found[-1], ABNORMAL))
                return found

            found = until(look, fleet.is_shown_by)
            assert list(map(services, found)) == fleet.of_shards(total)
            assert moved == {float(fleet.times)}
            for exporter in running:
                assert exporter.end() == 0
        fleet.fail()


def test_from_three_to_four_shards_the_fourth_takes_over_and_nobody_loses_or_doubles_anything(
    fleet: Fleet, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for total in (3, 4, 3):
        fleet.fail()
        found = []
        for index in range(total):
            asked = len(fleet.cloud.requests)
            flags = [
                f"--shard.index={index}",
                f"--shard.total={total}",
                f"--storage.path={tmp_path / str(index)}",
            ]
            assert main(["once", f"--config.file={config}", *flags]) == 0
            found.append(capsys.readouterr().out)
            # A shard pays for the list and for its own services.
            requests = list(fleet.cloud.requests)[asked:]
            assert Counter(each.endpoint for each in requests)["list"] == 1
            read = {each.service_id for each in requests if each.service_id}
            assert read == services(found[-1]) == fleet.of_shards(total)[index]
        assert fleet.is_shown_by(found)
        assert added(found, "modelarts_services") == SERVICES
