"""How far the first reads of all services are: the estimate, the log, `/-/ready`, the page and the JSON."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from exporter.core.polling.progress import Progress, advanced, begin, is_worth_a_line, seconds_left, told
from exporter.core.source import Unreachable
from exporter.emulator import Cloud as EmulatedCloud
from exporter.emulator import Server, Switches
from exporter.emulator.faults import Fault
from exporter.emulator.http_messages import Response
from exporter.engine.changes import ProjectStatus
from tests.commands import RunningExporter, configured
from tests.commands import project as section
from tests.fakes import NOW, Clock, Cloud, Later
from tests.live.processes import PATIENCE_SECONDS, until
from tests.poller_harness import MINUTE, SECOND, PollerHarness, project

HOUR = 60 * MINUTE


def steadily(total: int, done: int, milliseconds: int, steps: int = 100) -> Progress:
    """Work of which so much was done in this time, at an even pace."""
    found = begin(NOW, total)
    for step in range(1, steps + 1):
        found = advanced(found, NOW + milliseconds * step // steps, total, done * step // steps, 0)
    return found


# -- the estimate


@pytest.mark.parametrize(
    ("total", "done", "milliseconds", "left"),
    [
        (10_000, 9, 20 * SECOND, None),  # too few
        (10_000, 500, 9 * SECOND, None),  # too soon
        (10_000, 100, 10 * SECOND, 1080),  # 990 s
        (100, 50, 10 * SECOND, 10),
        (100, 99, 10 * SECOND, 10),  # never 0 before the end
        (1000, 100, 10 * SECOND, 90),
        (600, 100, 12 * SECOND, 60),
        (10_000, 1_240, 50 * SECOND, 360),  # 353 s
        (10_000, 1_000, 10 * MINUTE, 90 * 60),
        (10_000, 1_000, HOUR, 9 * 3600),
        (100_000, 1_000, HOUR, 99 * 3600),
        (1000, 1000, HOUR, None),  # done
    ],
)
def test_the_time_left_is_what_the_rest_takes_at_this_pace_rounded_up(
    total: int, done: int, milliseconds: int, left: int | None
) -> None:
    assert seconds_left(steadily(total, done, milliseconds), NOW + milliseconds) == left


def test_the_estimate_grows_while_nothing_is_done() -> None:
    found = steadily(1200, 600, MINUTE)
    estimates = [seconds_left(found, found.at + pause * SECOND) for pause in (0, 15, 30, 60, 600)]
    assert estimates == [60, 90, 90, 120, 720]


def test_a_pace_that_has_changed_counts_within_two_minutes() -> None:
    slow = found = steadily(10_000, 2000, 10 * MINUTE)
    for second in range(1, 121):  # a tenth as fast
        slow = advanced(slow, found.at + second * SECOND, 10_000, 2000 + second // 3, 0)
    assert seconds_left(found, found.at) == 40 * 60
    assert seconds_left(slow, slow.at) == 7 * 3600  # 23,880 s; the pace since the begin says 47 min


def test_a_pace_of_one_in_a_minute_is_measured_over_as_long_as_it_takes() -> None:
    assert seconds_left(steadily(100, 50, 50 * MINUTE), NOW + 50 * MINUTE) == 50 * 60


@pytest.mark.parametrize("step", [-HOUR, HOUR])
def test_a_clock_that_is_set_spoils_the_estimate_for_minutes_only(step: int) -> None:
    found = steadily(10_000, 1000, 100 * SECOND)
    for second in range(1, 181):
        found = advanced(found, NOW + 100 * SECOND + step + second * SECOND, 10_000, 1000 + second * 10, 0)
    assert seconds_left(found, found.at) == 12 * 60  # 720 s
    assert found.seconds >= 0


def test_words_say_what_was_tried_in_vain_and_no_time_that_is_not_known() -> None:
    early = advanced(begin(NOW, 10_000), NOW + SECOND, 10_000, 12, 3)
    assert told(early, NOW + SECOND) == "12 of 10,000 services read (3 could not be)"
    assert told(steadily(10_000, 1_240, 50 * SECOND), NOW + 50 * SECOND) == (
        "1,240 of 10,000 services read, about 6 min left"
    )
    assert told(steadily(10_000, 100, 100 * SECOND), NOW + 100 * SECOND, "metrics written") == (
        "100 of 10,000 metrics written, about 3 h left"
    )


def test_the_log_tells_it_after_ten_seconds_then_ever_more_seldom_and_at_the_end() -> None:
    found, before, lines = begin(NOW, 3600), None, []
    for second in range(1, 1601):
        found = advanced(found, NOW + second * SECOND, 1600, second, 0)
        if is_worth_a_line(found, before):
            before = found
            lines.append(second)
    assert lines == [10, 20, 40, 80, 160, 320, 620, 920, 1220, 1520, 1600]
    assert not is_worth_a_line(found, before)


# -- a project as the poll loop drives it


class Life:
    """A cold start of many services, of which `concurrency` are read in each second."""

    def __init__(self, services: int) -> None:
        self.clock, self.fetchers = Clock(), Later()
        self.cloud = Cloud(self.clock)
        for number in range(services):
            self.cloud.add(f"s{number:03}")
        self.rig = PollerHarness(self.cloud, self.clock, fetchers=self.fetchers)

    def pass_seconds(self, seconds: int) -> None:
        for _ in range(seconds):
            self.rig.poller.step()
            self.clock.forward(SECOND)
            self.fetchers.work()
            self.rig.poller.step()

    @property
    def status(self) -> ProjectStatus:
        (found,) = self.rig.publisher.snapshot.projects
        return found

    @property
    def told(self) -> str:
        assert self.status.first_reads is not None
        return told(self.status.first_reads, self.clock())

    def lines(self) -> list[str]:
        """The lines of the log about it, without time and level."""
        plain = [re.sub(r"\x1b\[\d+m", "", str(call.args[0])) for call in self.rig.log.calls]
        wanted = ("services are being read", "all services were read")
        return [
            " ".join(line.split("] ", 1)[1].split()) for line in plain if any(each in line for each in wanted)
        ]


def test_a_cold_start_tells_how_far_it_is_and_how_long_it_took() -> None:
    life = Life(200)
    life.rig.poller.step()
    assert life.rig.publisher.snapshot.projects[0].first_reads is None, "nobody knows how many there are"
    life.pass_seconds(1)
    assert life.told == "0 of 200 services read"
    life.pass_seconds(25)
    assert life.told == "100 of 200 services read, about 30 s left"
    life.pass_seconds(40)
    assert life.status.first_reads is not None
    assert life.status.first_reads.finished
    assert life.lines() == [
        "services are being read failed=0 project=prod seconds_left=40 services=200 tried=40",
        "services are being read failed=0 project=prod seconds_left=30 services=200 tried=80",
        "services are being read failed=0 project=prod seconds_left=20 services=200 tried=159",
        "all services were read failed=0 project=prod seconds=51.0 services=200",
    ]


def test_services_that_cannot_be_read_count_as_tried_so_that_it_ends() -> None:
    life = Life(40)
    life.cloud.failures["logs s001"] = life.cloud.failures["events s002"] = Unreachable("No answer.")
    life.pass_seconds(12)
    assert life.lines() == ["all services were read failed=2 project=prod seconds=10.0 services=40"]


def test_a_service_that_is_read_at_the_second_try_is_none_that_could_not_be() -> None:
    life = Life(200)
    life.cloud.failures["logs"] = Unreachable("No answer.")
    life.pass_seconds(4)
    assert life.told == "12 of 200 services read (12 could not be)"
    life.cloud.failures.clear()
    for _, service_id in [call for call in life.cloud.calls if call[0] == "logs"]:
        life.cloud.change(service_id, transition_at=life.clock())  # so that it is not the last in line
    life.pass_seconds(60)
    assert life.lines()[-1].startswith("all services were read failed=0 project=prod ")


def test_services_that_come_and_go_meanwhile_count_and_those_that_come_later_do_not() -> None:
    life = Life(200)
    life.pass_seconds(2)
    life.cloud.add("new")
    for number in range(100, 200):
        life.cloud.remove(f"s{number}")
    life.pass_seconds(70)  # a service is gone once two lists lack it, or its logs do
    first_reads = life.status.first_reads
    assert first_reads is not None
    assert first_reads.finished
    assert 101 <= first_reads.total < 110  # of those that went, some had been read before
    life.cloud.add("late")
    life.pass_seconds(31)
    assert life.status.services == 102
    assert life.status.first_reads == first_reads
    assert len([line for line in life.lines() if line.startswith("all")]) == 1


def test_a_list_that_is_torn_does_not_tell_how_many_there_are() -> None:
    life = Life(200)
    life.cloud.complete = False
    life.pass_seconds(20)
    assert life.status.first_reads is None
    life.cloud.complete = True
    life.pass_seconds(12)
    assert life.told.startswith("1")
    assert "of 200 services read" in life.told


def test_a_restart_reads_all_of_an_old_store_again_and_says_so() -> None:
    life = Life(20)
    life.pass_seconds(10)
    life.rig = PollerHarness(life.cloud, life.clock, life.rig.store, life.fetchers)
    life.pass_seconds(3)
    assert life.told == "8 of 20 services read"


def test_a_reload_that_adds_a_project_or_asks_for_other_services_begins_anew() -> None:
    life = Life(20)
    life.pass_seconds(10)
    second = Cloud(life.clock)
    for number in range(60):
        second.add(f"t{number:03}")
    first, added = project("prod", life.cloud, life.fetchers), project("lab", second, life.fetchers)
    resources = first[1]._replace(source=life.cloud)
    life.rig.poller.configure([(first[0], resources), added])
    life.pass_seconds(3)
    statuses = {each.name: each.first_reads for each in life.rig.publisher.snapshot.projects}
    assert statuses["prod"] is not None
    assert statuses["lab"] is not None
    assert (statuses["prod"].finished, statuses["lab"].done, statuses["lab"].total) == (True, 8, 60)

    for number in range(30):
        life.cloud.add(f"u{number:03}")
    filtered = first[0]._replace(selection="more")
    life.rig.poller.configure([(filtered, resources), added])
    life.pass_seconds(2)
    statuses = {each.name: each.first_reads for each in life.rig.publisher.snapshot.projects}
    assert statuses["prod"] is not None
    assert (statuses["prod"].done, statuses["prod"].total) == (24, 50)


# -- what a user sees of a running exporter


@pytest.fixture(name="cloud")
def _cloud() -> EmulatedCloud:
    pages_of_one = Switches(max_limit=1, over_limit="clamp")
    return EmulatedCloud(lambda: time.time_ns() // 1_000_000, pages_of_one)


@pytest.fixture(name="url")
def _url(cloud: EmulatedCloud) -> Iterator[str]:
    with Server(cloud) as server:
        yield server.url


class Gate:
    """Holds up the answers of the cloud."""

    def __init__(self) -> None:
        self._is_open = Event()

    def wait(self, response: Response) -> Response:
        assert self._is_open.wait(PATIENCE_SECONDS)
        return response

    def open(self) -> None:
        self._is_open.set()


def test_ready_the_page_and_the_json_say_how_far_a_start_is_until_it_is_over(
    cloud: EmulatedCloud, url: str, tmp_path: Path
) -> None:
    for name in ("mnist", "churn"):
        cloud.add_service(name=name)
    lists, events = Gate(), Gate()
    cloud.faults.add(Fault(lists.wait, "list", skip=1), Fault(events.wait, "events"))
    listed = "Every project was listed, or has failed and said so.\n"
    with RunningExporter(tmp_path, configured(tmp_path, section(url))) as exporter:
        exporter.wait_for(f"{exporter.url}/-/healthy")
        ready = until(lambda: exporter.get("/-/ready"), lambda answer: answer.text.count("\n") > 1)
        assert ready.status_code == 503
        assert ready.text == "Not listed yet: prod.\nProject prod: 1 of 2 services listed.\n"

        lists.open()
        exporter.ready()
        ready = until(lambda: exporter.get("/-/ready"), lambda answer: answer.text != listed)
        assert ready.status_code == 200
        assert ready.text == f"{listed}Project prod: 0 of 2 services read.\n"
        assert "prod</bdi>: 0 of 2 services read.<" in exporter.get("/").text
        (shown,) = exporter.get("/api/v1/services").json()["projects"]
        assert shown["first_reads"].pop("start_time").endswith("Z")
        assert shown["first_reads"] == {"services": 2, "tried": 0, "failed": 0, "seconds_left": None}

        events.open()
        until(lambda: exporter.get("/-/ready").text, lambda text: text == listed)
        assert "services read" not in exporter.get("/").text
        (shown,) = exporter.get("/api/v1/services").json()["projects"]
        assert shown["first_reads"] is None
    last = r'event="all services were read" project=prod services=2 failed=0 seconds=\d+\.\d\n'
    assert re.search(last, exporter.output())
