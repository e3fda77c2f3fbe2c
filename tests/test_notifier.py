"""Pushed alerts, from the cloud to each Alertmanager, also after restarts and outages."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog import wrap_logger
from structlog.testing import CapturingLogger

from exporter.adapters.alertmanager import AlertmanagerClient
from exporter.adapters.http_client import HttpClient
from exporter.adapters.prometheus.exposition import Exposition
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.database import Store
from exporter.config import Config, load
from exporter.core.alerting.notifications import ALERTNAME, Alert, Key, NotifierOptions
from exporter.core.classifier.classifier import Classifier
from exporter.core.links import LinkOptions
from exporter.core.metrics.families import PROJECT_FAMILIES, Options, service_families
from exporter.core.source import Unreachable
from exporter.engine.notifier import SendLoop
from exporter.engine.reporter import Reporter
from exporter.factory import alertmanagers, notifier_options, send_loops
from tests import certificates
from tests.fake_alertmanager import FakeAlertmanager, Held
from tests.fakes import NOW, Clock, Cloud, FaultyStore
from tests.live.processes import until
from tests.poller_harness import MINUTE, SECOND, PollerHarness, project

TIMEOUT_SECONDS = 5.0
HOUR = 60 * MINUTE
RESEND = MINUTE
LEASE = 14 * MINUTE
# What two scrapes are taken to be apart until they are seen.
ASSUMED_GAP = 2 * MINUTE
CAUSE = "failed to pull image, retry later"
LINKS = LinkOptions("http://exporter.example")
CLOSED_PORT = "http://127.0.0.1:1"  # refuses every connection


class PushingExporter(PollerHarness):
    """An exporter that pushes; a restart is another one on the same store."""

    def __init__(
        self,
        cloud: Cloud,
        clock: Clock,
        *urls: str,
        store: Store | None = None,
        resend: int = RESEND,
        **changes: Any,
    ) -> None:
        super().__init__(cloud, clock, store, **changes)
        self.metrics.retain(["prod"], urls)
        how = NotifierOptions({}, LINKS, Classifier(), resend, 20 * SECOND)
        self.how = how
        self.publisher.show_on(Exposition(service_families(Options()), PROJECT_FAMILIES), how)
        self.poller.configure([project("prod", cloud, **changes)])
        reporter = Reporter(wrap_logger(self.log), self.metrics)
        self.loops = [
            SendLoop(
                url,
                AlertmanagerClient(url, HttpClient(TIMEOUT_SECONDS), dict),
                self.poller.alerts,
                how,
                self.metrics,
                reporter,
                clock,
                raised,
            )
            for url in urls
        ]
        self._due = dict.fromkeys(self.loops, 0)
        self.publisher._on_alerts = self.wake

    def settle(self) -> int | None:
        """Do what the poller does, then run each send loop that is due or has a changed alert."""
        due = super().settle()
        for loop, due_at in self._due.items():
            if due_at <= self.clock():
                self._due[loop] = loop.step()
        return due

    def wake(self) -> None:
        """Let every send loop look again: a thread that waits does not notice that the clock was set."""
        self._due = dict.fromkeys(self.loops, 0)

    def counted(self, url: str, outcome: str) -> float:
        found = self.own(
            "modelarts_exporter_alertmanager_notifications_total", alertmanager=url, outcome=outcome
        )
        return found or 0


def raised(error: BaseException) -> None:
    raise error


@pytest.fixture(name="server")
def _server(cloud: Cloud) -> Iterator[FakeAlertmanager]:
    with FakeAlertmanager() as server:
        server.clock = cloud.clock
        yield server


@pytest.fixture(name="cloud")
def _cloud() -> Cloud:
    """A cloud with a service that runs."""
    cloud = Cloud(Clock())
    cloud.add("a")
    return cloud


def fail(cloud: Cloud, service_id: str = "a", cause: str = CAUSE) -> None:
    """A deployment that starts now and fails at once."""
    now = cloud.clock.now
    cloud.update(service_id, now, "FAIL")
    cloud.change(service_id, status="failed", transition_at=now)
    if cause:
        cloud.event(service_id, now, "abnormal", cause)


def succeed(cloud: Cloud, service_id: str = "a") -> None:
    cloud.update(service_id, cloud.clock.now, "SUCCESS")
    cloud.change(service_id, status="running", transition_at=cloud.clock.now)


def lose(cloud: Cloud) -> None:
    """From now on nothing of it can be read."""
    cloud.failures = dict.fromkeys(("list", "logs", "events"), Unreachable("No answer came."))


def held(server: FakeAlertmanager) -> Held:
    (found,) = server.alerts.values()
    return found


def firing(server: FakeAlertmanager, now: int) -> list[str]:
    return sorted(dict(labels)["service_id"] for labels, held in server.alerts.items() if held.firing(now))


# --- from the cloud to Alertmanager --------------------------------------------------------------------


def test_a_failed_deployment_is_sent_with_its_cause_and_its_end(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    clock = cloud.clock
    exporter = PushingExporter(cloud, clock, server.url)
    exporter.pass_time(MINUTE)
    assert server.seen == []
    fail(cloud)
    exporter.pass_time(31 * SECOND)
    assert held(server).annotations["cause"] == CAUSE
    assert held(server).ends_at > clock() + 3 * RESEND
    exporter.pass_time(10 * MINUTE)
    assert firing(server, clock()) == ["a"]
    assert 9 <= len(server.seen) <= 12

    succeed(cloud)
    exporter.pass_time(30 * SECOND)
    assert firing(server, clock()) == ["a"]
    exporter.pass_time(RESEND + SECOND)
    assert firing(server, clock()) == []
    assert held(server).annotations["cause"] == CAUSE
    sent = len(server.seen)
    exporter.pass_time(30 * MINUTE)
    assert 14 <= len(server.seen) - sent <= 16
    assert exporter.publisher.snapshot.alerts == {}


def test_the_text_of_the_cause_is_awaited(cloud: Cloud, server: FakeAlertmanager) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud, cause="")
    exporter.pass_time(31 * SECOND)
    assert server.seen == []
    cloud.event("a", cloud.clock(), "abnormal", CAUSE)
    exporter.pass_time(11 * SECOND)
    assert [dict(labels)["alertname"] for labels in server.alerts] == [ALERTNAME]
    assert held(server).annotations["cause"] == CAUSE
    assert len(server.seen) == 1


@pytest.mark.parametrize("how", ["stopped", "deleted"])
def test_a_service_that_is_stopped_or_deleted_ends_its_alert(
    cloud: Cloud, server: FakeAlertmanager, how: str
) -> None:
    cloud.add("b")
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    if how == "stopped":
        cloud.change("a", status="stopped")
    else:
        cloud.remove("a")
    exporter.pass_time(30 * SECOND)
    assert firing(server, cloud.clock()) == ["a"]
    exporter.pass_time(RESEND + ASSUMED_GAP)
    assert server.names == ["a"]
    assert firing(server, cloud.clock()) == []
    assert held(server).annotations["cause"] == CAUSE


def test_an_outage_of_the_cloud_ends_no_alert(cloud: Cloud, server: FakeAlertmanager) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    lose(cloud)
    for _ in range(30):
        exporter.pass_time(MINUTE)
        assert firing(server, cloud.clock()) == ["a"]


def test_a_retry_that_runs_or_fails_changes_the_text_and_not_the_alert(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    began = held(server).starts_at
    retry = cloud.clock()
    cloud.update("a", retry, "RUNNING")
    cloud.change("a", status="deploying", transition_at=retry)
    exporter.pass_time(5 * MINUTE)
    assert firing(server, cloud.clock()) == ["a"]
    cloud.update("a", retry, "FAIL")
    cloud.event("a", cloud.clock(), "abnormal", "out of memory")
    cloud.change("a", status="failed", transition_at=cloud.clock())
    exporter.pass_time(MINUTE)
    assert held(server).annotations["cause_reason"] == "out_of_memory"
    assert held(server).starts_at == began
    assert len(server.alerts) == 1


# --- ends, and the scrapes that come before them -------------------------------------------------------


def scraped(exporter: PushingExporter, every: int, times: int) -> None:
    for _ in range(times):
        exporter.pass_time(every)
        exporter.scrape()


@pytest.mark.parametrize("every", [15 * SECOND, MINUTE, 2 * MINUTE])
def test_an_end_comes_one_resend_later_and_as_much_later_as_scrapes_are_apart(
    cloud: Cloud, server: FakeAlertmanager, every: int
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    scraped(exporter, every, 8)
    succeed(cloud)
    cloud.change("a", status="running", transition_at=cloud.clock())
    seen = cloud.clock() + 30 * SECOND  # the next list at the latest
    while firing(server, cloud.clock()):
        scraped(exporter, every, 1)
    assert RESEND + every <= cloud.clock() - seen + 30 * SECOND
    assert cloud.clock() - seen <= RESEND + every + every
    assert held(server).ends_at <= seen


def test_until_scrapes_are_seen_an_end_waits_as_long_as_they_may_be_apart(
    cloud: Cloud, server: FakeAlertmanager, store: Callable[[], Store]
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url, store=store())
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    succeed(cloud)
    exporter = PushingExporter(cloud, cloud.clock, server.url, store=store())
    exporter.pass_time(RESEND + ASSUMED_GAP - 10 * SECOND)
    assert firing(server, cloud.clock()) == ["a"]
    scraped(exporter, 5 * SECOND, 2)
    exporter.pass_time(30 * SECOND)
    assert firing(server, cloud.clock()) == []


# --- clocks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [-HOUR, 5 * MINUTE, HOUR])
def test_a_clock_that_is_wrong_neither_loses_nor_keeps_an_alert_and_is_told_of_once(
    cloud: Cloud, server: FakeAlertmanager, behind: int
) -> None:
    clock = cloud.clock
    server.clock = lambda: clock() + behind
    exporter = PushingExporter(cloud, clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    assert firing(server, server.clock()) == ["a"]
    assert held(server).ends_at > server.clock() + LEASE - MINUTE
    succeed(cloud)
    exporter.pass_time(MINUTE + RESEND + ASSUMED_GAP)
    assert firing(server, server.clock()) == []
    assert exporter.counted(server.url, "failed") == 0
    (line,) = [call for call in exporter.log.calls if "clock" in call.args[0]]
    assert f"ahead_seconds={behind // 1000}" in line.args[0]


def test_an_alert_that_was_over_on_arrival_is_counted_as_failed_and_sent_again_with_the_right_time(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    clock = cloud.clock
    true = clock.ticks() - clock()
    server.clock = lambda: clock.ticks() - true
    exporter = PushingExporter(cloud, clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    clock.step(-20 * MINUTE)
    exporter.wake()
    exporter.pass_time(RESEND)
    assert exporter.counted(server.url, "failed") == 1
    assert held(server).ends_at > server.clock() + LEASE - MINUTE
    clock.step(20 * MINUTE)
    exporter.pass_time(2 * RESEND)
    assert exporter.counted(server.url, "failed") == 1
    told = [call.args[0] for call in exporter.log.calls if "clock" in call.args[0]]
    assert ["over on arrival" in line for line in told].count(True) == 1
    assert "agree again" in told[-1]


def test_each_alertmanager_is_sent_times_of_its_own_clock(cloud: Cloud) -> None:
    clock = cloud.clock
    with FakeAlertmanager() as one, FakeAlertmanager() as other:
        one.clock, other.clock = (lambda: clock() - HOUR), (lambda: clock() + HOUR)
        exporter = PushingExporter(cloud, clock, one.url, other.url)
        exporter.settle()
        fail(cloud)
        exporter.pass_time(MINUTE)
        for server in (one, other):
            assert server.clock is not None
            assert firing(server, server.clock()) == ["a"]
            assert 0 <= server.clock() - held(server).starts_at <= MINUTE


# --- a push that is dead before there is anything to push -------------------------------------------------


def test_an_alertmanager_that_takes_nothing_is_noticed_within_a_minute_although_nothing_fails(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.pass_time(10 * MINUTE)
    assert (server.seen, server.empty) == ([], 11)
    assert exporter.counted(server.url, "sent") == 11
    server.authorization = "Bearer another"
    exporter.pass_time(5 * MINUTE)
    assert exporter.counted(server.url, "failed") == 5
    assert exporter.counted(server.url, "sent") == 11
    assert len([call for call in exporter.log.calls if "cannot push" in call.args[0]]) == 1


def test_a_credential_that_is_refused_is_tried_every_minute_however_long_the_resend_interval(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url, resend=10 * MINUTE)
    server.authorization = "Bearer another"
    exporter.settle()
    fail(cloud)
    exporter.pass_time(10 * MINUTE)
    assert exporter.counted(server.url, "failed") >= 10
    server.authorization = None
    exporter.pass_time(MINUTE)
    assert firing(server, cloud.clock()) == ["a"]


# --- Alertmanagers -------------------------------------------------------------------------------------


def test_every_alertmanager_gets_alerts_and_a_dead_one_delays_no_other(cloud: Cloud) -> None:
    with FakeAlertmanager() as one, FakeAlertmanager() as other:
        exporter = PushingExporter(cloud, cloud.clock, CLOSED_PORT, one.url, other.url)
        exporter.settle()
        fail(cloud)
        exporter.pass_time(MINUTE)
        assert firing(one, cloud.clock()) == firing(other, cloud.clock()) == ["a"]
        assert exporter.counted(one.url, "sent") == exporter.counted(other.url, "sent") > 0
        assert exporter.counted(one.url, "failed") == exporter.counted(CLOSED_PORT, "sent") == 0
        # Every five seconds, for about half a minute.
        assert exporter.counted(CLOSED_PORT, "failed") >= 5


def test_an_alertmanager_that_comes_back_gets_alerts_within_seconds(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(31 * SECOND)
    server.restart()
    server.faults = ["close"] * 9
    exporter.pass_time(2 * MINUTE)
    assert firing(server, cloud.clock()) == ["a"]
    problems = [call.args[0] for call in exporter.log.calls if "push" in call.args[0]]
    assert len(problems) == 2, "one line that sending fails, and one that it works again"


def test_one_that_refuses_the_credential_is_not_asked_again_and_again(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    server.authorization = "Bearer another"
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(10 * MINUTE)
    assert {seen.status for seen in server.seen} == {401}
    assert len(server.seen) <= 11
    server.authorization = None
    exporter.pass_time(RESEND)
    assert firing(server, cloud.clock()) == ["a"]


def test_a_bad_alert_keeps_no_good_one_back_now_or_later(cloud: Cloud, server: FakeAlertmanager) -> None:
    for service_id in "bcde":
        cloud.add(service_id)
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    for service_id in "abcde":
        fail(cloud, service_id)
    server.bad = {"c"}
    exporter.pass_time(31 * SECOND)
    assert firing(server, cloud.clock()) == ["a", "b", "d", "e"]
    first = len(server.seen)
    exporter.pass_time(3 * MINUTE)
    later = [
        (seen.status, sorted(labels["service_id"] for labels in seen.labels)) for seen in server.seen[first:]
    ]
    assert later == [(200, ["a", "b", "d", "e"]), (400, ["c"])] * 3
    assert exporter.counted(server.url, "sent") == server.empty + 4 * 4
    assert exporter.counted(server.url, "failed") == 4
    assert len([call for call in exporter.log.calls if "push" in call.args[0]]) == 1


def test_more_than_a_batch_is_sent_in_several(cloud: Cloud, server: FakeAlertmanager) -> None:
    names = [f"s{at:03}" for at in range(150)]
    for name in names:
        cloud.add(name)
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    for name in names:
        fail(cloud, name)
    exporter.pass_time(MINUTE)
    assert firing(server, cloud.clock()) == names
    assert max(len(seen.labels) for seen in server.seen) <= 64


# --- restarts and replicas -----------------------------------------------------------------------------


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Callable[[], Store]:
    opened: list[Store] = []

    def reopened() -> Store:
        for store in opened:
            store.close()
        opened.append(Store.open(str(tmp_path / "store")))
        return opened[-1]

    return reopened


def test_a_restart_neither_loses_repeats_nor_ends_an_alert(
    cloud: Cloud, server: FakeAlertmanager, store: Callable[[], Store]
) -> None:
    clock = cloud.clock
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    before = held(server)
    for _ in range(3):
        clock.forward(90 * SECOND)
        assert firing(server, clock()) == ["a"]
        exporter = PushingExporter(cloud, clock, server.url, store=store())
        exporter.pass_time(10 * SECOND)
        assert firing(server, clock()) == ["a"]
        now = held(server)
        assert (now.starts_at, now.annotations) == (before.starts_at, before.annotations)
    assert len(server.alerts) == 1

    clock.forward(MINUTE)
    succeed(cloud)
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    exporter.pass_time(10 * SECOND)
    assert firing(server, clock()) == ["a"]
    # The end was seen but not sent yet; the next process sends it.
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    exporter.pass_time(RESEND + ASSUMED_GAP)
    assert firing(server, clock()) == []


def test_a_failure_that_was_over_when_the_exporter_came_back_after_hours_pages_nobody(
    cloud: Cloud, server: FakeAlertmanager, store: Callable[[], Store]
) -> None:
    clock = cloud.clock
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    clock.forward(MINUTE)
    succeed(cloud)
    clock.forward(3 * 60 * MINUTE)
    assert firing(server, clock()) == []
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    for _ in range(20):
        exporter.pass_time(MINUTE)
        assert firing(server, clock()) == []


def test_a_cloud_that_is_out_at_the_restart_ends_no_alert(
    cloud: Cloud, server: FakeAlertmanager, store: Callable[[], Store]
) -> None:
    clock = cloud.clock
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    lose(cloud)
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    for _ in range(60):
        exporter.pass_time(10 * SECOND)
        assert firing(server, clock()) == ["a"]


def test_two_replicas_send_one_alert(cloud: Cloud, server: FakeAlertmanager) -> None:
    one = PushingExporter(cloud, cloud.clock, server.url)
    cloud.clock.forward(7 * SECOND)
    other = PushingExporter(cloud, cloud.clock, server.url)
    for exporter in (one, other):
        exporter.settle()
    fail(cloud)
    for _ in range(60):
        for exporter in (one, other):
            exporter.pass_time(2 * SECOND)
    assert len(server.seen) >= 4
    assert len(server.alerts) == 1
    succeed(cloud)
    ends = []
    for _ in range(120):
        for exporter in (one, other):
            exporter.pass_time(2 * SECOND)
            ends.append(firing(server, cloud.clock()) == [])
    assert ends == sorted(ends), "once it was over it stayed so"
    assert ends[-1]


def test_a_service_that_another_exporter_has_by_now_is_not_spoken_of(
    cloud: Cloud, server: FakeAlertmanager, store: Callable[[], Store]
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url, store=store())
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    sent = len(server.seen)
    exporter = PushingExporter(
        cloud, cloud.clock, server.url, store=store(), selection="shard 2", wants=lambda row: False
    )
    exporter.pass_time(20 * MINUTE)
    assert len(server.seen) == sent


def test_an_exporter_that_is_down_for_ten_minutes_ends_no_alert(
    cloud: Cloud, server: FakeAlertmanager, store: Callable[[], Store]
) -> None:
    clock = cloud.clock
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE + 59 * SECOND)  # and killed just before it would have sent again
    began = held(server).starts_at
    clock.forward(10 * MINUTE)
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    for _ in range(30):
        assert firing(server, clock()) == ["a"]
        exporter.pass_time(10 * SECOND)
    assert held(server).starts_at == began


def test_the_alert_of_an_exporter_that_never_comes_back_ends_with_its_lease(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    cloud.clock.forward(LEASE + SECOND)
    assert firing(server, cloud.clock()) == []


def test_with_the_store_of_yesterday_nothing_is_sent_of_a_service_before_it_was_read(
    cloud: Cloud, server: FakeAlertmanager, store: Callable[[], Store]
) -> None:
    clock = cloud.clock
    cloud.add("still")
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    exporter.settle()
    for service_id in ("a", "still"):
        fail(cloud, service_id)
    exporter.pass_time(MINUTE)
    clock.forward(24 * HOUR)
    succeed(cloud)
    lose(cloud)
    before = len(server.seen)
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    exporter.pass_time(HOUR)
    assert len(server.seen) == before
    cloud.failures = {}
    for _ in range(60):
        exporter.pass_time(20 * SECOND)
        assert "a" not in firing(server, clock())
    assert firing(server, clock()) == ["still"]


def test_a_store_that_does_not_know_of_the_latest_failure_ends_no_alert_of_a_replica(
    cloud: Cloud, server: FakeAlertmanager, store: Callable[[], Store]
) -> None:
    clock, other = cloud.clock, replica_of(cloud)
    exporter = PushingExporter(cloud, clock, server.url)
    outdated = PushingExporter(other, clock, server.url, store=store())
    fail(cloud)
    for each in (exporter, outdated):
        each.pass_time(MINUTE)
    succeed(cloud)
    outdated.pass_time(MINUTE)
    clock.forward(MINUTE)
    fail(cloud)
    exporter.pass_time(MINUTE)
    lose(other)
    outdated = PushingExporter(other, clock, server.url, store=store())
    for _ in range(60):
        for each in (exporter, outdated):
            each.pass_time(10 * SECOND)
            assert firing(server, clock()) == ["a"]


def replica_of(cloud: Cloud) -> Cloud:
    """The same cloud by another way, which fails on its own."""
    other = Cloud(cloud.clock)
    other.rows, other.updates, other.events = cloud.rows, cloud.updates, cloud.events
    return other


@pytest.mark.parametrize("lists", [True, False])
def test_what_a_replica_that_sees_has_ended_is_not_begun_again_by_one_that_is_blind(
    cloud: Cloud, server: FakeAlertmanager, lists: bool
) -> None:
    clock, other = cloud.clock, replica_of(cloud)
    seeing = PushingExporter(cloud, clock, server.url)
    blind = PushingExporter(other, clock, server.url)
    for exporter in (seeing, blind):
        exporter.settle()
    fail(cloud)
    for _ in range(10):
        for exporter in (seeing, blind):
            exporter.pass_time(10 * SECOND)
    lose(other)
    blind.pass_time(MINUTE)
    succeed(cloud)
    server.lists = lists
    ended = []
    for _ in range(120):
        for exporter in (seeing, blind):
            exporter.pass_time(5 * SECOND)
            ended.append(firing(server, clock()) == [])
    told = [call.args[0] for call in blind.log.calls if "cannot list alerts" in call.args[0]]
    assert len(told) == (not lists)
    assert ended[-1] == lists, "without the list it goes on, as one that is alone must"
    assert not lists or ended == sorted(ended)


def test_what_a_replica_has_ended_is_not_begun_again_by_one_that_cannot_store(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    clock, store = cloud.clock, FaultyStore.open("")
    seeing = PushingExporter(cloud, clock, server.url)
    full = PushingExporter(cloud, clock, server.url, store=store)
    for exporter in (seeing, full):
        exporter.settle()
    fail(cloud)
    for exporter in (seeing, full):
        exporter.pass_time(MINUTE)
    store.faults = ["fails"] * 1000
    succeed(cloud)
    ended = []
    for _ in range(120):
        for exporter in (seeing, full):
            exporter.pass_time(5 * SECOND)
            ended.append(firing(server, clock()) == [])
    assert ended[-1]
    assert ended == sorted(ended)


def test_a_failure_that_was_read_is_told_although_the_list_cannot_be(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    cloud.failures = {"list": Unreachable("No answer came.")}
    exporter.pass_time(MINUTE)
    fail(cloud)
    exporter.pass_time(6 * MINUTE)
    assert firing(server, cloud.clock()) == ["a"]


def test_an_alert_that_is_lost_with_its_alertmanager_comes_back_when_the_service_is_read(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    lose(cloud)
    exporter.pass_time(MINUTE)
    server.restart()
    exporter.pass_time(10 * MINUTE)
    assert firing(server, cloud.clock()) == []
    cloud.failures = {}
    exporter.pass_time(6 * MINUTE)
    assert firing(server, cloud.clock()) == ["a"]


def test_a_blind_exporter_waits_for_an_alertmanager_that_is_down(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url, CLOSED_PORT)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    lose(cloud)
    server.listing_fault = 503
    exporter.pass_time(2 * MINUTE)
    server.listing_fault = None
    exporter.pass_time(10 * SECOND)
    assert held(server).ends_at > cloud.clock() + LEASE - 20 * SECOND


def test_stop_and_start_with_an_old_failure_tell_nobody_again(cloud: Cloud, server: FakeAlertmanager) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    cloud.change("a", status="stopped", transition_at=cloud.clock())
    exporter.pass_time(10 * MINUTE)
    assert firing(server, cloud.clock()) == []
    cloud.change("a", status="running", transition_at=cloud.clock())
    for _ in range(60):
        exporter.pass_time(30 * SECOND)
        assert firing(server, cloud.clock()) == []
    fail(cloud)
    exporter.pass_time(MINUTE)
    assert firing(server, cloud.clock()) == ["a"]


@pytest.mark.parametrize("name", ["prod", "new"])
@pytest.mark.parametrize("options_change_too", [False, True])
def test_a_project_that_is_renamed_or_gets_another_id_is_told_of_once_and_the_old_alert_ends(
    cloud: Cloud, server: FakeAlertmanager, name: str, options_change_too: bool
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(6 * MINUTE)
    if options_change_too:
        exporter.publisher.show_on(Exposition(service_families(Options()), PROJECT_FAMILIES), exporter.how)
    exporter.poller.configure([project(name, cloud, project_id="1" * 32)])
    ends: list[bool] = []
    for _ in range(40):
        exporter.pass_time(10 * SECOND)
        now = cloud.clock()
        named = {dict(labels)["project"]: each.firing(now) for labels, each in server.alerts.items()}
        assert named[name] or len(ends) == 0
        ends.append(not named["prod"])
    assert ends == sorted(ends)
    assert ends[-1] == (name == "new")


@pytest.mark.parametrize("options_change_too", [False, True])
def test_the_alerts_of_a_project_that_is_taken_out_end(
    cloud: Cloud, server: FakeAlertmanager, options_change_too: bool
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(6 * MINUTE)
    lose(cloud)
    exporter.pass_time(MINUTE)
    if options_change_too:
        exporter.publisher.show_on(Exposition(service_families(Options()), PROJECT_FAMILIES), exporter.how)
    exporter.poller.configure([])
    exporter.pass_time(RESEND + SECOND)
    assert firing(server, cloud.clock()) == []


def test_a_project_that_was_taken_out_and_comes_back_is_read_before_it_is_told_of(
    cloud: Cloud, server: FakeAlertmanager
) -> None:
    exporter = PushingExporter(cloud, cloud.clock, server.url)
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    exporter.poller.configure([])
    exporter.pass_time(HOUR)
    succeed(cloud)
    lose(cloud)
    exporter.poller.configure([project("prod", cloud)])
    exporter.pass_time(HOUR)
    cloud.failures = {}
    exporter.pass_time(MINUTE)
    assert firing(server, cloud.clock()) == []
    assert held(server).ends_at < cloud.clock() - 2 * HOUR + 10 * MINUTE


def test_a_service_that_moves_to_another_shard_is_neither_ended_nor_told_of_again(
    cloud: Cloud, server: FakeAlertmanager, store: Callable[[], Store]
) -> None:
    clock = cloud.clock
    exporter = PushingExporter(cloud, clock, server.url, store=store())
    exporter.settle()
    fail(cloud)
    exporter.pass_time(MINUTE)
    began = held(server).starts_at
    clock.forward(30 * SECOND)
    left = PushingExporter(
        cloud, clock, server.url, store=store(), selection="shard 0 of 2", wants=lambda row: False
    )
    left.pass_time(2 * MINUTE)
    taker = PushingExporter(cloud, clock, server.url, selection="shard 1 of 2")
    for _ in range(120):
        for shard in (left, taker):
            shard.pass_time(5 * SECOND)
            assert firing(server, clock()) == ["a"]
    assert held(server).starts_at >= began
    succeed(cloud)
    taker.pass_time(MINUTE + RESEND + ASSUMED_GAP)
    assert firing(server, clock()) == []


# --- threads -------------------------------------------------------------------------------------------


class PushedAlerts:
    """A send loop with a thread of its own, and the alerts that it sends."""

    def __init__(self, url: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self.alerts: dict[Key, Alert] = {}
        self.bugs: list[BaseException] = []
        log = wrap_logger(CapturingLogger())
        metrics = SelfMetrics(["prod"], [url], version="0", revision="0")
        how = NotifierOptions({}, LINKS, Classifier(), 3600 * SECOND, 0)
        self.loop = SendLoop(
            url,
            AlertmanagerClient(url, HttpClient(timeout), dict),
            lambda: self.alerts,
            how,
            metrics,
            Reporter(log, metrics),
            lambda: NOW,
            self.bugs.append,
        )

    def add(self, service_id: str) -> None:
        labels = (("alertname", ALERTNAME), ("service_id", service_id))
        self.alerts[("prod", service_id)] = Alert(labels, (), f"http://x/{service_id}", NOW, NOW)
        self.loop.wake()


def contains(name: str, names: Sequence[str]) -> bool:
    return name in names


def test_a_thread_sends_as_soon_as_something_changes_until_it_is_stopped(server: FakeAlertmanager) -> None:
    pushed = PushedAlerts(server.url)
    pushed.loop.start()
    for service_id in ("a", "b"):
        pushed.add(service_id)
        until(lambda: server.names, partial(contains, service_id))
    pushed.loop.stop()
    pushed.add("c")
    assert pushed.loop.step() > NOW
    assert (server.names, pushed.bugs) == (["a", "b"], [])


def test_an_alertmanager_that_hangs_delays_neither_the_others_nor_the_end(server: FakeAlertmanager) -> None:
    with FakeAlertmanager() as other:
        server.faults = ["hang"]
        both = [PushedAlerts(server.url), PushedAlerts(other.url)]
        for pushed in both:
            pushed.loop.start()
            pushed.add("a")
        until(lambda: other.names)
        assert server.names == []
        for pushed in both:
            pushed.loop.stop()


def test_an_error_that_ends_a_thread_is_reported_as_a_bug(server: FakeAlertmanager) -> None:
    pushed = PushedAlerts(server.url)
    pushed.alerts = None  # type: ignore[assignment]
    pushed.loop.start()
    (bug,) = until(lambda: pushed.bugs)
    assert isinstance(bug, AttributeError | TypeError)


# --- from the configuration ----------------------------------------------------------------------------


def configured(directory: Path, section: str) -> Config:
    file = directory / "config.yml"
    file.write_text(
        "projects: [{project_id: p, endpoint: 'https://cloud.example', auth: {token_file: token}}]\n"
        + section
    )
    (directory / "token").write_text("t")
    return load(file, {"PASSWORD": "pa:ss"})


def loops_of(config: Config, pushed: PushedAlerts) -> list[SendLoop]:
    how = notifier_options(config, "http://exporter.example/")
    metrics = SelfMetrics(["p"], alertmanagers(config), version="0", revision="0")
    reporter = Reporter(wrap_logger(CapturingLogger()), metrics)
    return send_loops(config, how, lambda: pushed.alerts, metrics, reporter, lambda: NOW, raised)


def test_nothing_is_pushed_unless_it_is_configured(tmp_path: Path) -> None:
    config = configured(tmp_path, "")
    assert notifier_options(config, "http://exporter.example") is None
    assert loops_of(config, PushedAlerts(CLOSED_PORT)) == []


@pytest.mark.parametrize(
    ("section", "header"),
    [
        ("basic_auth: {username: me, password: '${PASSWORD}'}", "Basic bWU6cGE6c3M="),
        ("bearer_token_file: bearer", "Bearer abc"),
    ],
)
def test_each_alertmanager_is_signed_in_to_over_tls(tmp_path: Path, section: str, header: str) -> None:
    authority = certificates.for_loopback(tmp_path)
    (tmp_path / "bearer").write_text("abc\n")
    with (
        FakeAlertmanager(certificate=authority, authorization=header) as one,
        FakeAlertmanager(certificate=authority, authorization=header) as other,
    ):
        config = configured(
            tmp_path,
            f"alertmanager: {{urls: ['{one.url}', '{other.url}'], {section}, tls: {{ca_file: {authority}}}}}",
        )
        pushed = PushedAlerts(CLOSED_PORT)
        pushed.add("a")
        for loop in loops_of(config, pushed):
            loop.step()
        assert one.names == other.names == ["a"]


def test_a_token_that_was_renewed_is_used(tmp_path: Path) -> None:
    file = tmp_path / "bearer"
    file.write_text("old")
    with FakeAlertmanager(authorization="Bearer new") as server:
        config = configured(
            tmp_path,
            f"alertmanager: {{urls: ['{server.url}'], bearer_token_file: {file}, resend_interval: 1s}}",
        )
        pushed = PushedAlerts(CLOSED_PORT)
        pushed.add("a")
        (loop,) = loops_of(config, pushed)
        loop.step()
        file.unlink()
        loop.step()
        assert server.names == []
        file.write_text("new")
        loop.step()
        assert server.names == ["a"]
