"""The loop around the core: what it reads and when, what it shows, and what it makes of failures."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from exporter.adapters.store.database import Store
from exporter.core.accounting.counters import LONGEST_HOLD_MS
from exporter.core.formats import iso
from exporter.core.records import ServiceRow
from exporter.core.source import (
    Forbidden,
    Gone,
    NotUnderstood,
    Refused,
    RemoteError,
    Stopping,
    Throttled,
    Torn,
    Unreachable,
)
from exporter.engine.fetch import PollJob
from tests.fakes import NOW, Clock, Cloud, FaultyStore, Inline, Later
from tests.poller_harness import MINUTE, PACE, POLICY, SECOND, PollerHarness, project

HOUR = 60 * MINUTE
PULL = "failed to pull image, retry later"
UP = "modelarts_service_up{{service_id={}}}"
FAILED = "modelarts_service_updates_total{{result=FAIL,service_id={}}}"
ABNORMAL = "modelarts_service_events_total{{event_type=abnormal,service_id={}}}"
ALL_ERRORS = (RemoteError, Unreachable, Refused, Forbidden, Throttled, Torn, NotUnderstood)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cloud(clock: Clock) -> Cloud:
    """One service, "a", without any history."""
    cloud = Cloud(clock)
    cloud.add("a")
    return cloud


def started(cloud: Cloud, clock: Clock, store: Store | None = None, **changes: object) -> PollerHarness:
    """A rig whose first start is over and whose zeros were scraped."""
    rig = PollerHarness(cloud, clock, store, **changes)  # type: ignore[arg-type]
    rig.settle()
    rig.scrape()
    return rig


def requests(cloud: Cloud) -> Counter[str]:
    return Counter(endpoint for endpoint, _ in cloud.calls)


# --- born at zero -----------------------------------------------------------------------------------


def test_a_service_that_is_created_and_fails_between_two_polls_shows_its_zero_first(
    cloud: Cloud, clock: Clock
) -> None:
    rig = started(cloud, clock)
    cloud.add("b", invocations=5)
    cloud.update("b", clock(), "FAIL")
    cloud.event("b", clock(), "abnormal", PULL)
    rig.pass_time(30 * SECOND)
    names = [FAILED.format("b"), ABNORMAL.format("b")]
    names += ["modelarts_service_abnormal_events_total{reason=image_pull,service_id=b}"]
    names += ["modelarts_service_invocations_total{service_id=b}"]
    first, second = rig.scrape(), rig.scrape()
    assert [first[name] for name in names] == [0, 0, 0, 0]
    assert [second[name] for name in names] == [1, 1, 1, 5]
    # Gauges never wait.
    assert first["modelarts_service_update_failing{service_id=b}"] == 1


def test_without_a_scrape_a_zero_is_held_for_two_minutes(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    cloud.event("a", clock(), "abnormal", PULL)
    cloud.change("a", status="failed")
    rig.pass_time(30 * SECOND)
    reason = "modelarts_service_abnormal_events_total{reason=image_pull,service_id=a}"
    assert rig.samples()[reason] == 0
    rig.pass_time(LONGEST_HOLD_MS - SECOND)
    assert rig.samples()[reason] == 0
    rig.pass_time(SECOND)
    assert rig.samples()[reason] == 1


def test_a_scrape_of_an_older_page_tells_nothing_of_what_came_later(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    page = rig.publisher.snapshot.page
    cloud.event("a", clock(), "abnormal", PULL)
    cloud.change("a", status="failed")
    rig.pass_time(30 * SECOND)
    rig.poller.scraped(page)
    rig.settle()
    assert rig.samples()["modelarts_service_abnormal_events_total{reason=image_pull,service_id=a}"] == 0


def test_a_clock_that_steps_back_holds_a_zero_no_longer(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    cloud.event("a", clock(), "abnormal", PULL)
    cloud.change("a", status="failed")
    rig.pass_time(30 * SECOND)
    clock.step(-HOUR)
    rig.pass_time(LONGEST_HOLD_MS)
    assert rig.samples()["modelarts_service_abnormal_events_total{reason=image_pull,service_id=a}"] == 1


def test_a_cloud_whose_clock_is_slow_does_not_shorten_the_hold(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    clock.step(HOUR)
    cloud.add("b")
    cloud.update("b", clock.true, "FAIL")
    rig.pass_time(MINUTE)
    assert [rig.scrape()[FAILED.format("b")] for _ in "ab"] == [0, 1]


def test_what_was_scraped_is_known_after_a_restart_too(cloud: Cloud, clock: Clock, tmp_path: Path) -> None:
    rig = started(cloud, clock, Store.open(str(tmp_path)))
    cloud.add("b")
    cloud.update("b", clock(), "FAIL")
    cloud.add("c")
    rig.pass_time(30 * SECOND)
    assert rig.scrape()[FAILED.format("b")] == 0
    rig.store.close()
    cloud.update("c", clock(), "FAIL")
    clock.forward(HOUR)
    # What was shown is shown at once, and a zero that was scraped needs not be shown again.
    rig = PollerHarness(cloud, clock, Store.open(str(tmp_path)))
    assert rig.samples()[FAILED.format("b")] == 1
    rig.settle()
    assert rig.samples()[FAILED.format("c")] == 1
    rig.store.close()


def test_a_zero_that_was_not_scraped_is_held_anew_after_a_restart(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    cloud.add("b")
    cloud.update("b", clock(), "FAIL")
    rig.pass_time(30 * SECOND)
    clock.forward(HOUR)
    rig = PollerHarness(cloud, clock, rig.store)
    rig.settle()
    assert [rig.scrape()[FAILED.format("b")] for _ in "ab"] == [0, 1]


def test_call_totals_do_not_fall_over_a_restart(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    cloud.change("a", invocations=1000)
    rig.pass_time(30 * SECOND)
    cloud.failures["list"] = Unreachable("")
    rig = PollerHarness(cloud, clock, rig.store)
    assert rig.samples()["modelarts_service_invocations_total{service_id=a}"] == 1000


# --- first start and discovery ----------------------------------------------------------------------


@pytest.mark.parametrize(("count", "shown"), [(True, 1), (False, 0)])
def test_what_was_in_the_log_at_the_first_start_is_counted_or_left_out(
    cloud: Cloud, clock: Clock, *, count: bool, shown: int
) -> None:
    cloud.update("a", NOW - MINUTE, "FAIL")
    cloud.event("a", NOW - MINUTE, "abnormal", PULL)
    rig = PollerHarness(cloud, clock, policy=msgspec.structs.replace(POLICY, count_history=count))
    rig.settle()
    first = rig.scrape()
    assert (first[FAILED.format("a")], first[ABNORMAL.format("a")]) == (shown, shown)
    assert first["modelarts_service_update_failing{service_id=a}"] == 1


def test_a_service_is_history_until_its_first_read_is_committed(cloud: Cloud, clock: Clock) -> None:
    cloud.update("a", NOW - MINUTE, "FAIL")
    cloud.failures["logs"] = Unreachable("")
    rig = PollerHarness(cloud, clock)
    rig.pass_time(MINUTE)
    assert FAILED.format("a") not in rig.scrape()
    rig = PollerHarness(cloud, clock, rig.store)
    cloud.failures.clear()
    rig.settle()
    assert rig.scrape()[FAILED.format("a")] == 1


def test_the_first_start_is_the_first_complete_list(cloud: Cloud, clock: Clock) -> None:
    cloud.complete = False
    rig = PollerHarness(cloud, clock)
    rig.pass_time(MINUTE)
    cloud.complete = True
    cloud.add("b")
    cloud.update("b", NOW - MINUTE, "FAIL")
    rig.pass_time(MINUTE)
    assert rig.scrape()[FAILED.format("b")] == 1


def test_another_selection_of_services_is_another_first_start(cloud: Cloud, clock: Clock) -> None:
    cloud.add("b", service_name="unwanted")
    cloud.update("a", NOW, "FAIL")
    cloud.update("b", NOW, "FAIL")
    rig = started(cloud, clock)
    assert UP.format("b") not in rig.samples()
    rig = PollerHarness(cloud, clock, rig.store, selection="more", wants=lambda row: True)
    rig.settle()
    shown = rig.scrape()
    assert (shown[FAILED.format("a")], shown[FAILED.format("b")]) == (1, 1)


def test_a_service_that_is_no_longer_wanted_goes(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    cloud.change("a", service_name="unwanted")
    rig.pass_time(30 * SECOND)
    assert UP.format("a") not in rig.samples()
    assert rig.samples()["modelarts_services{}"] == 0


# --- deletion ---------------------------------------------------------------------------------------


def test_a_service_goes_after_two_complete_lists_without_it_and_keeps_its_counts(
    cloud: Cloud, clock: Clock
) -> None:
    cloud.update("a", NOW, "FAIL")
    rig = started(cloud, clock)
    row = cloud.rows.pop("a")
    cloud.failures["logs a"] = cloud.failures["events a"] = Unreachable("")
    rig.pass_time(30 * SECOND)
    assert UP.format("a") in rig.samples()
    rig.pass_time(30 * SECOND)
    assert UP.format("a") not in rig.samples()
    cloud.failures.clear()
    cloud.rows["a"] = row
    cloud.update("a", clock(), "FAIL")
    rig.pass_time(30 * SECOND)
    assert rig.samples()[FAILED.format("a")] == 2


def test_one_list_without_it_is_forgotten_when_it_shows_again(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    cloud.failures["logs a"] = cloud.failures["events a"] = Unreachable("")
    for _ in range(4):
        row = cloud.rows.pop("a")
        rig.pass_time(30 * SECOND)
        cloud.rows["a"] = row
        rig.pass_time(30 * SECOND)
    assert UP.format("a") in rig.samples()


@pytest.mark.parametrize(("complete", "malformed"), [(False, 0), (True, 1)])
def test_a_list_that_misses_rows_deletes_nothing_and_hides_nothing(
    cloud: Cloud, clock: Clock, *, complete: bool, malformed: int
) -> None:
    cloud.add("b")
    rig = started(cloud, clock)
    cloud.rows.pop("a")
    cloud.failures["logs a"] = cloud.failures["events a"] = Unreachable("")
    cloud.complete, cloud.malformed = complete, malformed
    cloud.add("c")
    rig.pass_time(10 * MINUTE)
    shown = rig.samples()
    assert (UP.format("a") in shown, shown[UP.format("b")], shown[UP.format("c")]) == (True, 1, 1)
    assert shown["modelarts_up{}"] == complete
    unknown = rig.own("modelarts_exporter_unknown_values_total", project="prod", field="services") or 0
    assert (unknown > 0) == bool(malformed)


@pytest.mark.parametrize("endpoint", ["logs", "events"])
def test_a_service_whose_logs_say_that_it_does_not_exist_goes_at_once(
    cloud: Cloud, clock: Clock, endpoint: str
) -> None:
    rig = started(cloud, clock)
    cloud.failures[f"{endpoint} a"] = Gone("no such service")
    cloud.change("a", status="deleting")
    rig.pass_time(30 * SECOND)
    assert UP.format("a") not in rig.samples()


def test_a_service_that_was_gone_by_mistake_comes_back_with_its_counts(cloud: Cloud, clock: Clock) -> None:
    cloud.update("a", NOW, "FAIL")
    rig = started(cloud, clock)
    cloud.failures["logs a"] = Gone("no such service")
    rig.pass_time(PACE.sweep_interval)
    assert UP.format("a") not in rig.samples()
    cloud.failures.clear()
    rig.pass_time(PACE.sweep_interval + 30 * SECOND)
    assert rig.samples()[FAILED.format("a")] == 1


# --- failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["logs", "events"])
@pytest.mark.parametrize("error", ALL_ERRORS)
def test_a_read_that_fails_sets_up_to_0_keeps_what_is_known_and_loses_nothing(
    cloud: Cloud, clock: Clock, endpoint: str, error: type[RemoteError]
) -> None:
    cloud.update("a", NOW, "FAIL")
    cloud.event("a", NOW, "abnormal", PULL)
    rig = started(cloud, clock)
    rig.scrape()
    cloud.failures[f"{endpoint} a"] = error("no")
    cloud.change("a", status="failed")
    rig.pass_time(MINUTE)
    shown = rig.scrape()
    assert (shown[UP.format("a")], shown[FAILED.format("a")], shown[ABNORMAL.format("a")]) == (0, 1, 1)
    assert shown["modelarts_service_last_poll_timestamp_seconds{service_id=a}"] == NOW / 1000
    cloud.update("a", clock(), "FAIL")
    cloud.event("a", clock(), "abnormal", PULL)
    cloud.failures.clear()
    rig.pass_time(PACE.sweep_interval + MINUTE)
    shown = rig.scrape()
    assert (shown[UP.format("a")], shown[FAILED.format("a")], shown[ABNORMAL.format("a")]) == (1, 2, 2)


@pytest.mark.parametrize("error", ALL_ERRORS)
def test_a_list_that_fails_keeps_everything_and_says_so(
    cloud: Cloud, clock: Clock, error: type[RemoteError]
) -> None:
    cloud.update("a", NOW, "FAIL")
    rig = started(cloud, clock)
    before = rig.samples()
    cloud.failures["list"] = error("no")
    rig.pass_time(40 * SECOND)
    after = rig.samples()
    assert {n for n in before if before[n] != after[n]} <= {
        "modelarts_up{}",
        "modelarts_service_last_poll_timestamp_seconds{service_id=a}",
    }
    assert after["modelarts_up{}"] == 0
    status = rig.publisher.snapshot.projects[0]
    assert (status.up, status.error, status.listed_at) == (False, "no", NOW)
    cloud.failures.clear()
    rig.pass_time(40 * SECOND)
    assert rig.samples()["modelarts_up{}"] == 1


def test_a_torn_read_is_counted_and_read_again(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    cloud.failures["events a"] = Torn("torn")
    cloud.change("a", status="failed")
    rig.pass_time(30 * SECOND)
    cloud.failures = {"list": Torn("torn")}
    rig.pass_time(30 * SECOND)
    assert rig.own("modelarts_exporter_torn_reads_total", project="prod") == 2
    assert rig.samples()[UP.format("a")] == 1


def test_a_service_without_an_update_log_is_up(cloud: Cloud, clock: Clock) -> None:
    cloud.unsupported.add("a")
    shown = started(cloud, clock).samples()
    assert shown[UP.format("a")] == 1
    assert shown["modelarts_service_update_failing{service_id=a}"] == 0
    assert [name for name in shown if name.startswith("modelarts_service_update") and "_total" in name] == []


def test_an_update_log_that_is_refused_though_it_held_entries_is_a_failure(
    cloud: Cloud, clock: Clock
) -> None:
    cloud.update("a", NOW, "FAIL")
    rig = started(cloud, clock)
    cloud.unsupported.add("a")
    rig.pass_time(PACE.sweep_interval)
    shown = rig.samples()
    assert (shown[UP.format("a")], shown["modelarts_service_update_failing{service_id=a}"]) == (0, 1)


def test_the_detail_tells_why_a_service_failed_where_no_event_does(cloud: Cloud, clock: Clock) -> None:
    cloud.detail["a"] = "No resources are available for the selected specification."
    rig = started(cloud, clock)
    cloud.update("a", clock(), "FAIL")
    cloud.change("a", status="failed")
    rig.pass_time(MINUTE)
    names = [name for name in rig.samples() if name.startswith("modelarts_service_last_failure_info")]
    assert ["reason=insufficient_resources" in name for name in names] == [True]
    assert requests(cloud)["detail"] == 1


def test_while_the_credential_is_refused_only_lists_are_tried(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    for endpoint in ("list", "logs", "events"):
        cloud.failures[endpoint] = Refused("wrong")
    cloud.add("b")
    rig.pass_time(PACE.sweep_interval)
    cloud.calls.clear()
    rig.pass_time(PACE.sweep_interval)
    assert set(requests(cloud)) == {"list"}
    assert rig.poller.caught_up()
    cloud.failures.clear()
    rig.pass_time(5 * SECOND)
    assert rig.samples()[UP.format("b")] == 1


def test_a_read_that_is_refused_has_the_list_try_the_credential_at_once(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    cloud.failures["logs"] = Refused("wrong")
    cloud.add("b")
    rig.pass_time(30 * SECOND)
    assert [endpoint for endpoint, _ in cloud.calls[-3:]] == ["list", "logs", "list"]


def test_the_first_list_decides_whether_services_are_read(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    cloud.failures["list"] = Unreachable("")
    cloud.calls.clear()
    rig = PollerHarness(cloud, clock, rig.store)
    rig.settle()
    # The cloud cannot be listed, but the credential was not refused.
    assert requests(cloud) == {"list": 1, "logs": 1, "events": 1}


# --- one service never hides another ----------------------------------------------------------------


class Hanging(Inline):
    """Fetchers that never come back from some services."""

    def __init__(self) -> None:
        self.hang: set[str] = set()
        self.busy: list[str] = []

    def submit(self, work: Callable[[], None]) -> None:
        assert isinstance(work, partial)
        job = work.args[-1]
        if isinstance(job, PollJob) and job.service_id in self.hang:
            self.busy.append(job.service_id)
        else:
            work()


def test_services_that_fail_hide_no_other(cloud: Cloud, clock: Clock) -> None:
    for number in range(20):
        cloud.add(f"bad-{number}")
        cloud.failures[f"logs bad-{number}"] = NotUnderstood("no JSON")
    rig = started(cloud, clock)
    cloud.update("a", clock(), "FAIL")
    rig.pass_time(PACE.sweep_interval)
    shown = rig.samples()
    assert shown[FAILED.format("a")] == 1
    assert sum(shown[UP.format(f"bad-{number}")] for number in range(20)) == 0


def test_half_of_the_fetchers_at_most_are_left_to_services_that_fail(cloud: Cloud, clock: Clock) -> None:
    fetchers = Hanging()
    for number in range(20):
        cloud.add(f"bad-{number}")
        cloud.failures[f"logs bad-{number}"] = Unreachable("timeout")
    rig = started(cloud, clock, fetchers=fetchers)
    fetchers.hang = {f"bad-{number}" for number in range(20)}
    cloud.update("a", clock(), "FAIL")
    cloud.add("new")
    rig.pass_time(PACE.sweep_interval)
    assert len(fetchers.busy) == 2
    shown = rig.samples()
    assert (shown[FAILED.format("a")], shown[UP.format("new")]) == (1, 1)


def test_a_single_fetcher_is_left_to_services_that_fail_too(cloud: Cloud, clock: Clock) -> None:
    cloud.failures["logs a"] = Unreachable("timeout")
    rig = started(cloud, clock, concurrency=1)
    cloud.failures.clear()
    rig.pass_time(MINUTE)
    assert rig.samples()[UP.format("a")] == 1


# --- the store --------------------------------------------------------------------------------------


def test_while_the_store_fails_the_old_values_are_shown_and_nothing_is_lost(
    cloud: Cloud, clock: Clock
) -> None:
    store = FaultyStore.open("")
    rig = started(cloud, clock, store)
    before = rig.samples()
    store.faults = ["fails"] * 5
    cloud.update("a", clock(), "FAIL")
    cloud.change("a", status="failed")
    cloud.add("b")
    rig.pass_time(40 * SECOND)
    assert rig.samples() == before
    rig.pass_time(2 * MINUTE)
    shown = rig.samples()
    assert (shown[FAILED.format("a")], shown[UP.format("b")]) == (1, 1)
    failed, again = (call.args[0] for call in rig.log.calls if "store" in call.args[0])
    assert "cannot store what was read" in failed, "a state that lasts is told once"
    assert "what is read is stored again" in again


def test_a_deletion_that_could_not_be_stored_is_made_up_for(cloud: Cloud, clock: Clock) -> None:
    store = FaultyStore.open("")
    rig = started(cloud, clock, store)
    cloud.remove("a")
    store.faults = ["fails"] * 3
    rig.pass_time(PACE.sweep_interval + MINUTE)
    assert UP.format("a") not in rig.samples()


def test_a_first_start_that_could_not_be_stored_is_still_the_first(cloud: Cloud, clock: Clock) -> None:
    store = FaultyStore.open("")
    store.faults = ["fails"] * 3
    cloud.update("a", NOW, "FAIL")
    rig = PollerHarness(cloud, clock, store)
    rig.pass_time(2 * MINUTE)
    assert rig.samples()[FAILED.format("a")] == 1


# --- several projects, and reloads ------------------------------------------------------------------


def test_two_projects_are_kept_apart(cloud: Cloud, clock: Clock) -> None:
    other = Cloud(clock)
    other.add("a")
    other.update("a", NOW, "FAIL")
    rig = started(cloud, clock)
    rig.poller.configure([project("prod", cloud), project("test", other)])
    other.failures["logs a"] = cloud.failures["list"] = Unreachable("")
    rig.pass_time(MINUTE)
    other.failures.clear()
    rig.pass_time(MINUTE)
    text = rig.text()
    labels = 'result="FAIL",service_id="a",service_name="name-a"'
    assert f'modelarts_service_updates_total{{project="prod",{labels}}} 0.0' in text
    assert f'modelarts_service_updates_total{{project="test",{labels}}} 1.0' in text
    assert 'modelarts_up{project="prod"} 0.0' in text
    assert 'modelarts_up{project="test"} 1.0' in text


def test_a_reload_keeps_what_is_known_and_drops_projects_that_are_gone(cloud: Cloud, clock: Clock) -> None:
    other = Cloud(clock)
    other.add("z")
    cloud.update("a", NOW, "FAIL")
    rig = started(cloud, clock)
    rig.poller.configure([project("prod", cloud), project("test", other)])
    rig.settle()
    assert UP.format("z") in rig.samples()
    rig.poller.configure([project("prod", cloud)])
    shown = rig.samples()
    assert (shown[FAILED.format("a")], shown["modelarts_up{}"]) == (1, 1)
    assert not any("test" in line for line in rig.text().splitlines())
    assert rig.publisher.snapshot.projects[0].listed_at == NOW


def test_another_project_of_the_same_name_begins_anew(cloud: Cloud, clock: Clock) -> None:
    cloud.update("a", NOW, "FAIL")
    rig = started(cloud, clock)
    rig.poller.configure([project("prod", Cloud(clock), project_id="1" * 32)])
    assert "modelarts_up{}" not in rig.samples()
    assert UP.format("a") not in rig.samples()
    rig.poller.configure([project("prod", cloud)])
    assert rig.samples()[FAILED.format("a")] == 1


def test_what_was_under_way_at_a_reload_is_not_waited_for(cloud: Cloud, clock: Clock) -> None:
    fetchers = Later()
    rig = PollerHarness(cloud, clock, fetchers=fetchers)
    rig.settle()
    rig.poller.configure([project("prod", cloud)])
    rig.settle()
    cloud.add("b")
    fetchers.work()  # an answer of before, with a service that the new list does not know yet
    rig.settle()
    shown = rig.samples()
    assert (shown[UP.format("a")], UP.format("b") in shown) == (1, False)


def test_a_read_that_was_given_up_says_nothing(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    before = rig.samples()
    cloud.failures["logs a"] = cloud.failures["list"] = Stopping("stopping")
    cloud.change("a", status="failed")
    rig.pass_time(PACE.sweep_interval)
    assert rig.samples() == before


def test_the_loop_ends_when_it_is_told_to(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    loop = Thread(target=rig.poller.run)
    loop.start()
    rig.poller.stop()
    loop.join(timeout=10)
    assert not loop.is_alive()


# --- what it costs ----------------------------------------------------------------------------------


def fleet(clock: Clock, size: int) -> Cloud:
    cloud = Cloud(clock)
    for number in range(size):
        cloud.add(f"service-{number}")
    return cloud


def bill(rig: PollerHarness, milliseconds: int) -> Counter[str]:
    rig.cloud.calls.clear()
    rig.pass_time(milliseconds)
    return requests(rig.cloud)


def test_a_quiet_fleet_costs_one_list_an_interval_and_two_reads_a_service_and_sweep(clock: Clock) -> None:
    rig = started(fleet(clock, 50), clock)
    spent = bill(rig, HOUR)
    sweeps = HOUR // PACE.sweep_interval
    assert spent["list"] == pytest.approx(HOUR // PACE.interval, abs=1)
    assert spent["logs"] == spent["events"] == pytest.approx(50 * sweeps, abs=5)


def test_a_change_costs_four_quick_looks(clock: Clock) -> None:
    rig = started(fleet(clock, 50), clock)
    quiet = bill(rig, HOUR)
    for number in range(10):
        rig.cloud.change(f"service-{number}", operation_time=number)
    spent = bill(rig, HOUR)
    # One at once and three more; one of them may fall together with a sweep, or be one more request.
    assert spent["logs"] - quiet["logs"] == pytest.approx(10 * 4, abs=10)
    assert spent["events"] - quiet["events"] == pytest.approx(10 * 4, abs=10)
    assert spent["list"] == pytest.approx(quiet["list"], abs=1)


def test_call_totals_alone_cost_nothing(clock: Clock) -> None:
    rig = started(fleet(clock, 20), clock)
    quiet = bill(rig, 10 * MINUTE)
    rig.cloud.calls.clear()
    for minute in range(10):
        for number in range(20):
            rig.cloud.change(f"service-{number}", invocations=minute, failed_invocations=minute)
        rig.pass_time(MINUTE)
    assert requests(rig.cloud) == quiet


def test_an_open_update_is_read_at_the_active_interval_by_its_entry_alone(clock: Clock) -> None:
    cloud = fleet(clock, 1)
    rig = started(cloud, clock)
    cloud.update("service-0", clock(), "RUNNING")
    cloud.change("service-0", status="deploying")
    rig.pass_time(MINUTE)
    asked: list[int | None] = []
    read = cloud.read_updates

    def watched(service_id: str, instant: int | None = None) -> object:
        asked.append(instant)
        return read(service_id, instant)

    cloud.read_updates = watched  # type: ignore[method-assign, assignment]
    rig.pass_time(10 * MINUTE)
    assert len(asked) == pytest.approx(10 * MINUTE / PACE.active_interval, abs=3)
    assert asked.count(None) == pytest.approx(10 * MINUTE / PACE.sweep_interval, abs=1)
    assert set(asked) == {None, NOW}
    cloud.update("service-0", NOW, "FAIL")
    rig.pass_time(PACE.active_interval)
    assert rig.samples()[FAILED.format("service-0")] == 1


def test_an_open_update_that_left_its_instant_is_looked_for_in_the_whole_log(clock: Clock) -> None:
    cloud = fleet(clock, 1)
    rig = started(cloud, clock)
    cloud.update("service-0", clock(), "RUNNING")
    cloud.change("service-0", status="deploying")
    rig.pass_time(MINUTE)
    cloud.updates["service-0"].clear()
    rig.pass_time(PACE.active_interval)
    assert rig.samples()["modelarts_service_updates_running{service_id=service-0}"] == 0


def test_full_reads_are_spread_evenly_over_the_sweep_interval(clock: Clock) -> None:
    size = 600
    rig = started(fleet(clock, size), clock)
    rig.pass_time(PACE.sweep_interval)
    counts = []
    for _ in range(PACE.sweep_interval // SECOND):
        rig.cloud.calls.clear()
        rig.pass_time(SECOND)
        counts.append(requests(rig.cloud)["logs"])
    mean = size * SECOND / PACE.sweep_interval
    assert sum(counts) == size
    assert max(counts) <= 5 * mean


def test_a_service_that_fails_for_long_costs_little(clock: Clock) -> None:
    rig = started(fleet(clock, 1), clock)
    rig.cloud.failures["logs"] = NotUnderstood("no JSON")
    rig.pass_time(20 * MINUTE)
    assert bill(rig, HOUR)["logs"] <= HOUR // PACE.sweep_interval + 1


def test_an_unwanted_service_costs_nothing(clock: Clock) -> None:
    cloud = fleet(clock, 1)
    cloud.rows["x"] = ServiceRow("x", "unwanted")
    rig = started(cloud, clock)
    rig.pass_time(10 * MINUTE)
    assert not any(service_id == "x" for _, service_id in cloud.calls)


# --- the log -------------------------------------------------------------------------------------------


def test_a_failed_update_is_a_line_that_a_person_can_read(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    at = clock()
    cloud.update("a", at, "FAIL")
    cloud.change("a", status="failed")
    rig.pass_time(MINUTE)
    (line,) = (call.args[0] for call in rig.log.calls if "update settled" in call.args[0])
    assert iso(at) in line
    assert "FAIL" in line
