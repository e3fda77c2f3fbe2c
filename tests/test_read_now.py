"""A pipeline says that it has started a deployment: by HTTP, and what the poll loop makes of that."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
import requests
import yaml

from exporter.core.polling.shard import Shard
from exporter.core.source import NotUnderstood
from exporter.emulator import Cloud as EmulatedCloud
from exporter.emulator import Server

from .commands import POLL, RunningExporter, configured, project, value
from .fakes import Clock, Cloud, Later
from .live.processes import PATIENCE_SECONDS, until
from .poller_harness import MINUTE, PACE, SECOND, PollerHarness

ACTIVE = PACE.active_interval
HOUR = 60 * MINUTE


class Fleet:
    """A service "a" and two others whose first start is over, and the requests since then."""

    def __init__(self, fetchers: Later | None = None) -> None:
        self.clock = Clock()
        self.cloud = Cloud(self.clock)
        for service_id in ("a", "b", "c"):
            self.cloud.add(service_id)
        self.rig = PollerHarness(self.cloud, self.clock, fetchers=fetchers)
        self.rig.settle()
        self.rig.pass_time(MINUTE)
        self.cloud.calls.clear()

    def told(self, service_id: str | None = "a") -> None:
        self.rig.poller.read_now("prod", service_id)
        self.rig.settle()

    def reads(self, milliseconds: int = 0) -> Counter[str]:
        """What is asked of "a", and how often the list, in this time; reads by the sweep are left out."""
        self.rig.pass_time(milliseconds)
        found = Counter(endpoint for endpoint, service_id in self.cloud.calls if service_id in ("", "a"))
        self.cloud.calls.clear()
        return found

    def lines(self) -> list[str]:
        return [call.args[0] for call in self.rig.log.calls if "asked to" in call.args[0]]


@pytest.fixture(name="fleet")
def _fleet() -> Fleet:
    return Fleet()


# -- the poll loop


def test_it_is_read_at_once_and_then_at_the_active_interval(fleet: Fleet) -> None:
    fleet.told()
    assert fleet.reads() == {"logs": 1, "events": 1}
    assert fleet.reads(5 * ACTIVE)["logs"] == 5


def test_without_an_update_it_is_read_so_for_ten_minutes(fleet: Fleet) -> None:
    fleet.told()
    assert fleet.reads(10 * MINUTE)["logs"] == pytest.approx(60, abs=2)
    assert fleet.reads(HOUR)["logs"] == pytest.approx(HOUR // PACE.sweep_interval, abs=1)


def test_an_update_that_shows_late_is_followed_to_its_end(fleet: Fleet) -> None:
    fleet.told()
    begun = fleet.clock()
    fleet.rig.pass_time(9 * MINUTE)
    fleet.cloud.update("a", begun, "RUNNING")
    fleet.rig.pass_time(ACTIVE)
    fleet.cloud.calls.clear()
    assert fleet.reads(10 * MINUTE)["logs"] == pytest.approx(60, abs=2)
    fleet.cloud.update("a", begun, "SUCCESS")
    fleet.rig.pass_time(ACTIVE)
    fleet.cloud.calls.clear()
    assert fleet.reads(HOUR)["logs"] == pytest.approx(HOUR // PACE.sweep_interval, abs=1)


def test_an_update_that_is_over_when_it_shows_ends_it(fleet: Fleet) -> None:
    fleet.cloud.update("a", fleet.clock() - 50 * SECOND, "FAIL")
    fleet.told()
    assert fleet.rig.samples()["modelarts_service_update_failing{service_id=a}"] == 1
    fleet.cloud.calls.clear()
    # Three quick looks, as after any change, since entries may still follow.
    assert fleet.reads(PACE.sweep_interval - ACTIVE)["logs"] <= 3 + 1


def test_an_update_of_before_is_not_taken_for_it(fleet: Fleet) -> None:
    fleet.cloud.update("a", fleet.clock() - 2 * MINUTE, "SUCCESS")
    fleet.told()
    fleet.cloud.calls.clear()
    assert fleet.reads(5 * MINUTE)["logs"] >= 30


def test_a_flood_costs_no_more_than_a_deployment_and_is_told_once(fleet: Fleet) -> None:
    for _ in range(10 * 20):
        for _ in range(50):
            fleet.rig.poller.read_now("prod", "a")
            fleet.rig.poller.read_now("prod", None)
        fleet.rig.pass_time(SECOND // 2)
    spent = fleet.reads()
    seconds = 10 * 20 // 2
    assert spent["logs"] == pytest.approx(seconds * SECOND // ACTIVE, abs=2)
    assert spent["list"] <= seconds * SECOND // ACTIVE + 2
    assert len(fleet.lines()) == pytest.approx(2 * seconds * SECOND // ACTIVE, abs=2)


def test_it_goes_before_the_others(fleet: Fleet) -> None:
    for service_id in ("b", "c"):
        fleet.cloud.update(service_id, fleet.clock(), "RUNNING")
        fleet.cloud.change(service_id, status="deploying", transition_at=fleet.clock())
    fleet.rig.pass_time(PACE.interval + ACTIVE - 1)
    fleet.cloud.calls.clear()
    fleet.clock.forward(ACTIVE)  # both are due
    fleet.told()
    assert next(service_id for _, service_id in fleet.cloud.calls if service_id) == "a"


def test_one_whose_reads_fail_is_tried_at_once_and_then_less_and_less_often(fleet: Fleet) -> None:
    fleet.cloud.failures["logs a"] = NotUnderstood("no JSON")
    fleet.told()
    assert fleet.reads()["logs"] == 1
    assert fleet.reads(10 * MINUTE)["logs"] < 10


def test_what_is_told_while_it_is_read_is_read_again() -> None:
    later = Later()
    clock = Clock()
    cloud = Cloud(clock)
    cloud.add("a")
    rig = PollerHarness(cloud, clock, fetchers=later)

    def step() -> list[str]:
        rig.poller.step()
        cloud.calls.clear()
        later.work()
        rig.poller.step()
        return [endpoint for endpoint, _ in cloud.calls]

    assert step() == ["list"]
    assert step() == ["logs", "events"]
    clock.forward(PACE.sweep_interval)
    rig.poller.step()  # the list and the service are being read
    assert len(later.waiting) == 2
    clock.forward(SECOND)
    for service_id in ("a", None):
        rig.poller.read_now("prod", service_id)
    assert step() == ["list", "logs", "events"]
    assert sorted(step()) == ["events", "list", "logs"]


def test_the_list_is_read_at_once_and_then_as_ever(fleet: Fleet) -> None:
    fleet.told(None)
    assert fleet.reads() == {"list": 1}
    assert fleet.reads(10 * PACE.interval)["list"] == 10


def test_a_service_or_a_project_that_is_gone_by_then_changes_nothing(fleet: Fleet) -> None:
    fleet.told("gone")
    fleet.rig.poller.read_now("gone", "a")
    fleet.rig.settle()
    assert (fleet.reads(), fleet.lines()) == ({}, [])


# -- HTTP


@pytest.fixture(name="cloud")
def _cloud() -> EmulatedCloud:
    return EmulatedCloud(lambda: time.time_ns() // 1_000_000)


@pytest.fixture(name="url")
def _url(cloud: EmulatedCloud) -> Iterator[str]:
    with Server(cloud) as server:
        yield server.url


# Nothing is read because it is due.
IDLE = {**POLL, "interval": "1h", "active_interval": "100ms", "sweep_interval": "1h"}
LIFECYCLE = "--web.enable-lifecycle"


def posted(exporter: RunningExporter, query: str = "", **options: object) -> tuple[int, str]:
    answer = requests.post(f"{exporter.url}/-/poll{query}", timeout=PATIENCE_SECONDS, **options)  # type: ignore[arg-type]
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    return answer.status_code, answer.text


def test_a_deployment_is_seen_at_once_and_to_its_end(cloud: EmulatedCloud, url: str, tmp_path: Path) -> None:
    service_id = cloud.add_service(name="mnist")
    cloud.add_update(service_id, "SUCCESS", at=cloud.clock() - HOUR)
    config = configured(tmp_path, project(url), poll=IDLE)
    with RunningExporter(tmp_path, config, LIFECYCLE) as exporter:
        exporter.ready()
        exporter.await_value(1, "modelarts_service_updates_total", result="SUCCESS")
        accepted = (
            f"mnist ({service_id} in project prod) is read now, and often until its deployment is over.\n"
        )
        begun = cloud.begin_update(service_id)
        assert posted(exporter, "?project=prod&service=mnist") == (202, accepted)
        exporter.await_value(1, "modelarts_service_updates_running")
        cloud.settle(service_id, begun)
        exporter.await_value(2, "modelarts_service_updates_total", result="SUCCESS")
        assert posted(exporter, f"?service={service_id}") == (202, accepted)
        lines = exporter.output().count('event="asked to read a service now"')
        assert 1 <= lines <= 2


def test_a_service_that_is_new_is_found_by_asking_again(
    cloud: EmulatedCloud, url: str, tmp_path: Path
) -> None:
    config = configured(tmp_path, project(url), poll=IDLE)
    with RunningExporter(tmp_path, config, LIFECYCLE) as exporter:
        exporter.ready()
        cloud.add_service(name="new")
        unknown = "There is no service new in prod. If it is new, ask again: the list is being read now.\n"
        assert posted(exporter, "?service=new") == (404, unknown)
        until(lambda: posted(exporter, "?service=new")[0], lambda code: code == 202)


def test_what_is_asked_wrongly_is_refused_with_a_sentence(
    cloud: EmulatedCloud, url: str, tmp_path: Path
) -> None:
    other = cloud.add_project("f" * 32)
    ids = [cloud.add_service(name="twice"), cloud.add_service(other, name="twice")]
    both = sorted((f"{ids[0]} in project prod", f"{ids[1]} in project second"))
    config = configured(tmp_path, project(url), project(url, "second", project_id=other), poll=IDLE)
    with RunningExporter(tmp_path, config, LIFECYCLE) as exporter:
        exporter.ready()
        for query, code, text in (
            ("", 202, "The services of prod, second are listed now."),
            ("?project=second", 202, "The services of second are listed now."),
            ("?project=third", 404, "There is no project third."),
            ("?project=third&service=twice", 404, "There is no project third."),
            ("?project=second&service=twice", 202, f"twice ({ids[1]} in project second) is read now, "),
            (
                "?service=twice",
                400,
                f"More than one service is called twice: {', '.join(both)}. Give",
            ),
            ("?service=", 400, "service must be given once, and not be empty."),
            ("?service=a&service=b", 400, "service must be given once, and not be empty."),
            ("?servcie=a", 400, "servcie is not known; there are project and service."),
            ("?service=%1b%5b2J", 404, "There is no service [2J in prod, second."),
        ):
            found = posted(exporter, query)
            assert (found[0], found[1].startswith(text)) == (code, True), (query, found)
        for method in ("GET", "HEAD", "PUT"):
            answer = requests.request(method, f"{exporter.url}/-/poll", timeout=PATIENCE_SECONDS)
            assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_it_is_forbidden_unless_enabled(cloud: EmulatedCloud, url: str, tmp_path: Path) -> None:
    with RunningExporter(tmp_path, configured(tmp_path, project(url), poll=IDLE)) as exporter:
        exporter.ready()
        assert posted(exporter) == (403, "not enabled, see --web.enable-lifecycle\n")


def test_it_needs_the_password(cloud: EmulatedCloud, url: str, tmp_path: Path) -> None:
    web = tmp_path / "web.yml"
    hashed = bcrypt.hashpw(b"hunter2", bcrypt.gensalt(rounds=4)).decode()
    web.write_text(yaml.safe_dump({"basic_auth_users": {"ci": hashed}}))
    config = configured(tmp_path, project(url), poll=IDLE)
    with RunningExporter(tmp_path, config, LIFECYCLE, f"--web.config.file={web}") as exporter:
        until(lambda: "event=listening" in exporter.output())
        assert posted(exporter)[0] == 401
        until(lambda: posted(exporter, auth=("ci", "hunter2"))[0], lambda code: code == 202)


def test_a_service_of_another_shard_is_404_and_says_so(
    cloud: EmulatedCloud, url: str, tmp_path: Path
) -> None:
    ids = [cloud.add_service(name=f"service-{number}") for number in range(20)]
    ours = next(each for each in ids if Shard(0, 2).has(each))
    theirs = next(each for each in ids if not Shard(0, 2).has(each))
    config = configured(tmp_path, project(url), poll=IDLE)
    flags = (LIFECYCLE, "--shard.index=0", "--shard.total=2")
    with RunningExporter(tmp_path, config, *flags) as exporter:
        exporter.ready()
        assert posted(exporter, f"?service={ours}")[0] == 202
        code, text = posted(exporter, f"?service={theirs}")
        assert (code, text.endswith("This is shard 0 of 2; the service belongs to another shard.\n")) == (
            404,
            True,
        )
        name = cloud.service(theirs).fields["service_name"]
        code, text = posted(exporter, f"?service={name}")
        assert (code, text.endswith("the service may belong to another shard.\n")) == (404, True)


def test_it_never_goes_above_the_rate_limit(cloud: EmulatedCloud, url: str, tmp_path: Path) -> None:
    ids = [cloud.add_service(name=f"service-{number}") for number in range(15)]
    config = configured(tmp_path, project(url, rate_limit=20), poll=IDLE)
    with RunningExporter(tmp_path, config, LIFECYCLE) as exporter:
        exporter.ready()
        until(lambda: value(exporter.metrics(), "modelarts_services") == len(ids))
        for service_id in ids:
            posted(exporter, f"?service={service_id}")
        until(lambda: sum(request.endpoint == "events" for request in cloud.requests), lambda n: n >= 22)
        times = sorted(request.at for request in cloud.requests if request.endpoint != "token")
        # A second's worth may go at once, where it was saved up; and four that are under way may be held up.
        assert all(later - first >= 1000 for first, later in zip(times, times[46:], strict=False))
        assert not re.search("Traceback", exporter.output())
