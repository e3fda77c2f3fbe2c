"""What the poll loop keeps to when things come together: reloads, refusals, services that come and go."""

from collections import Counter
from threading import Thread

import msgspec
import pytest

from exporter.adapters.prometheus.exposition import Exposition
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.database import Store
from exporter.adapters.store.errors import StoreError
from exporter.core.accounting.history import History
from exporter.core.alerting.notifications import NotifierOptions
from exporter.core.classifier.classifier import Classifier
from exporter.core.links import LinkOptions
from exporter.core.metrics.families import PROJECT_FAMILIES, Options, service_families
from exporter.core.source import Forbidden, NotUnderstood, Refused, Unreachable
from exporter.engine.static_services import StaticServices
from tests.fakes import Clock, Cloud, FaultyStore, Later
from tests.poller_harness import MINUTE, PACE, SECOND, PollerHarness, project


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="cloud")
def _cloud(clock: Clock) -> Cloud:
    return Cloud(clock)


def show_anew(harness: PollerHarness, **labels: str) -> None:
    """What a reload does that changes the labels of alerts."""
    options = NotifierOptions(labels, LinkOptions("http://exporter.example"), Classifier(), MINUTE, 0)
    harness.publisher.show_on(Exposition(service_families(Options()), PROJECT_FAMILIES), options)


def told(harness: PollerHarness, event: str) -> int:
    return sum(event in str(call.kwargs) or event in str(call.args) for call in harness.log.calls)


# --- reloads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("goes", ["service", "project"])
def test_an_alert_ends_with_what_a_reload_takes_out_also_if_it_changes_all_alerts(
    cloud: Cloud, clock: Clock, goes: str
) -> None:
    harness = PollerHarness(cloud, clock)
    show_anew(harness)
    cloud.add("a")
    harness.pass_time(MINUTE)
    cloud.update("a", clock(), "FAIL")
    cloud.change("a", status="failed")
    harness.pass_time(MINUTE)
    (alert,) = harness.publisher.snapshot.alerts.values()
    assert alert.resolved_at is None
    show_anew(harness, team="ml")
    nothing = project("prod", cloud, wants=lambda _row: False, selection="none")
    harness.poller.configure(
        [nothing] if goes == "service" else [project("other", Cloud(clock), project_id="1" * 32)]
    )
    (alert,) = harness.publisher.snapshot.alerts.values()
    assert alert.resolved_at == clock()


def test_a_reload_that_changes_only_what_is_shown_shows_it_at_once(cloud: Cloud, clock: Clock) -> None:
    harness = PollerHarness(cloud, clock)
    cloud.add("a")
    harness.settle()
    before = harness.publisher.snapshot.page.number
    harness.publisher.show_on(Exposition(service_families(Options(edge_nodes=False)), PROJECT_FAMILIES), None)
    assert harness.poller.configure([project("prod", cloud)])
    assert harness.publisher.snapshot.page.number == before + 1
    assert "modelarts_service_info" in harness.text()


def test_a_shorter_interval_is_in_force_at_once(cloud: Cloud, clock: Clock) -> None:
    setup, resources = project("prod", cloud)
    slow = setup._replace(intervals=msgspec.structs.replace(PACE, interval=60 * MINUTE))
    harness = PollerHarness(cloud, clock)
    harness.poller.configure([(slow, resources)])
    harness.pass_time(5 * MINUTE)
    lists = cloud.calls.count(("list", ""))
    harness.poller.configure([(setup, resources)])
    harness.pass_time(MINUTE)
    assert cloud.calls.count(("list", "")) >= lists + 2


def test_what_was_left_out_at_a_restart_comes_back_with_the_calls_that_were_shown(
    cloud: Cloud, clock: Clock
) -> None:
    store = Store.open("")
    cloud.add("a", invocations=1000)
    cloud.add("b", invocations=5)
    shown = "modelarts_service_invocations_total{service_id=a}"
    first = PollerHarness(cloud, clock, store)
    first.pass_time(MINUTE)
    cloud.change("a", invocations=1500)
    first.pass_time(MINUTE)
    assert first.scrape()[shown] == 1500
    without = PollerHarness(cloud, clock, store, wants=lambda row: row.service_id != "a", selection="b")
    cloud.change("b", invocations=6)
    without.pass_time(MINUTE)
    again = PollerHarness(cloud, clock, store)
    seen = [again.samples().get(shown)]
    again.pass_time(MINUTE)
    seen.append(again.samples()[shown])
    assert seen in ([None, 1500], [1500, 1500])


def test_a_removed_alertmanager_gets_no_series_back_from_a_send_under_way() -> None:
    metrics = SelfMetrics(["prod"], ["one", "two"], version="", revision="")
    metrics.retain(["prod"], ["two"])
    metrics.notifications("one", "sent", 1)
    assert 'alertmanager="one"' not in metrics.render(openmetrics=False).decode()


# --- refusals ----------------------------------------------------------------------------------------------


def test_a_refusal_that_lasts_is_logged_once_and_shown_once(cloud: Cloud, clock: Clock) -> None:
    harness = PollerHarness(cloud, clock)
    cloud.add("a")
    harness.settle()
    page = harness.publisher.snapshot.page.number
    for second in range(120):
        cloud.failures["list"] = Refused("The password is wrong.", f"The next try is in {300 - second} s.")
        harness.pass_time(SECOND)
    assert told(harness, "cannot list services") == 1
    assert harness.publisher.snapshot.page.number <= page + 2
    assert harness.publisher.snapshot.projects[0].error == "The password is wrong."


@pytest.mark.parametrize("endpoint", ["logs", "events"])
def test_a_refusal_is_noticed_in_whichever_log_it_comes(cloud: Cloud, clock: Clock, endpoint: str) -> None:
    harness = PollerHarness(cloud, clock)
    for service_id in ("a", "b"):
        cloud.add(service_id)
    harness.pass_time(MINUTE)
    cloud.failures["logs"] = NotUnderstood("no JSON")
    cloud.failures[endpoint] = cloud.failures["list"] = Refused("no.")
    cloud.calls.clear()
    harness.pass_time(10 * PACE.sweep_interval)
    # The first read finds out; from then on the list alone asks whether it is accepted again.
    assert Counter(name for name, _ in cloud.calls)["logs"] <= 1


# --- services that come, go, and fail to be read -----------------------------------------------------------


def test_a_service_that_cannot_be_read_is_named_if_services_are_not_discovered(
    cloud: Cloud, clock: Clock
) -> None:
    for service_id in ("a", "b"):
        cloud.add(service_id)
    cloud.failures["detail b"] = Forbidden("Reading service b failed (grant modelarts:service:get).")
    harness = PollerHarness(cloud, clock)
    setup, resources = project("prod", cloud)
    static = resources._replace(source=StaticServices(cloud, ["a", "b"]))
    harness.poller.configure([(setup, static)])
    harness.pass_time(2 * MINUTE)
    assert harness.publisher.snapshot.projects[0].error.startswith("Reading service b failed")
    assert harness.own("modelarts_exporter_torn_reads_total", project="prod") == 0
    assert told(harness, "grant modelarts:service:get") == 1


def test_why_a_service_failed_is_asked_again_only_if_nobody_answered(cloud: Cloud, clock: Clock) -> None:
    harness = PollerHarness(cloud, clock)
    cloud.add("a")
    harness.pass_time(MINUTE)
    cloud.update("a", clock(), "FAIL")
    cloud.change("a", status="failed")
    cloud.detail["a"] = "ModelArts.3520: no port"
    cloud.failures["detail"] = Unreachable("No answer came.")
    harness.pass_time(MINUTE)
    assert told(harness, "cannot read why a service failed") > 0
    del cloud.failures["detail"]
    harness.pass_time(PACE.sweep_interval)
    assert any("no port" in name for name in harness.lines())
    asked = cloud.calls.count(("detail", "a"))
    harness.pass_time(3 * PACE.sweep_interval)
    assert cloud.calls.count(("detail", "a")) == asked


def test_the_answer_to_an_older_read_changes_nothing(cloud: Cloud, clock: Clock) -> None:
    later = Later()
    harness = PollerHarness(cloud, clock, fetchers=later)
    cloud.add("a")
    harness.settle()
    later.work()
    harness.settle()
    (slow,) = later.waiting
    later.waiting.clear()
    for present in (False, False, True):  # it goes and comes back while it is read
        if present:
            cloud.add("a")
        else:
            cloud.rows.pop("a", None)
        clock.forward(PACE.interval)
        harness.settle()
        later.work()
        harness.settle()
    later.work()
    harness.settle()
    cloud.update("a", clock(), "SUCCESS")
    before = harness.lines()
    slow()
    harness.settle()
    assert harness.lines() == before


def test_a_commit_that_was_kept_although_it_failed_adds_no_text_twice(cloud: Cloud, clock: Clock) -> None:
    store = FaultyStore.open("")
    harness = PollerHarness(cloud, clock, store)
    cloud.add("a")
    harness.pass_time(MINUTE)
    cloud.event("a", clock(), "abnormal", "failed to pull image, retry later")
    store.faults = ["fails after"] * 3
    harness.pass_time(10 * MINUTE)
    assert store.faults == []
    found: list[History | None] = []
    asking = Thread(target=lambda: found.append(harness.poller.history("prod", "a")))
    asking.start()
    while asking.is_alive():
        harness.settle()
        asking.join(0.001)
    assert found[0] is not None
    assert [event.text for event in found[0].events] == ["failed to pull image, retry later"]


class UnreadableStore(FaultyStore):
    """A store of which no record can be read as long as `unreadable` says so."""

    unreadable = False

    def service(self, project: tuple[str, str], service_id: str) -> bytes | None:
        if self.unreadable:
            raise StoreError("The disk does not answer.")
        return super().service(project, service_id)


def test_a_store_that_cannot_be_read_for_a_while_ends_nothing_and_makes_no_news(
    cloud: Cloud, clock: Clock
) -> None:
    store = UnreadableStore.open("")
    harness = PollerHarness(cloud, clock, store)
    cloud.add("a")
    harness.pass_time(MINUTE)
    store.unreadable = True
    cloud.add("b")
    harness.pass_time(2 * MINUTE)
    assert harness.samples()["modelarts_services{}"] == 1
    store.unreadable = False
    harness.pass_time(2 * MINUTE)
    assert harness.samples()["modelarts_services{}"] == 2
