"""The loop around the core: what it reads and when, what it shows, and what it makes of failures."""

import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from threading import Thread

import msgspec
import pytest

from exporter.adapters.store.database import ProjectChange, ServiceChange, Store, StoreError
from exporter.core.accounting.counters import LONGEST_HOLD_MS
from exporter.core.accounting.history import History
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
from tests.poller_harness import MINUTE, PACE, POLICY, SECOND, PollerHarness, project, settings

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


def test_the_detail_is_asked_again_when_a_retry_in_place_has_failed_too(cloud: Cloud, clock: Clock) -> None:
    cloud.detail["a"] = "No resources are available for the selected specification."
    rig = started(cloud, clock)
    begun = clock()
    for attempt, error in enumerate((cloud.detail["a"], "ModelArts.3520: no port", "cannot mount obs"), 1):
        cloud.update("a", begun, "RUNNING")
        cloud.change("a", status="deploying")
        rig.pass_time(5 * MINUTE)
        cloud.detail["a"] = error
        cloud.update("a", begun, "FAIL")
        cloud.change("a", status="failed")
        rig.pass_time(5 * MINUTE)
        assert any(error in name for name in rig.lines())
        assert requests(cloud)["detail"] == attempt


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


def test_while_nothing_can_be_stored_the_times_stand_still_and_a_metric_says_why(
    cloud: Cloud, clock: Clock
) -> None:
    store = FaultyStore.open("")
    rig = PollerHarness(cloud, clock, store)
    writable, listed = "modelarts_exporter_store_writable", "modelarts_exporter_last_list_timestamp_seconds"
    assert rig.own(writable) == 1
    rig.settle()
    rig.scrape()
    store.faults = ["fails"] * 1000
    cloud.update("a", clock(), "FAIL")
    cloud.change("a", status="failed")
    rig.pass_time(MINUTE)
    before = rig.samples(), rig.own(listed)
    assert rig.own(writable) == 0
    cloud.failures["list"] = Unreachable("")
    rig.pass_time(HOUR)
    assert (rig.samples(), rig.own(listed)) == before
    assert rig.own(writable) == 0
    cloud.failures.clear()
    store.faults.clear()
    rig.pass_time(MINUTE)
    assert rig.own(writable) == 1
    assert (rig.own(listed) or 0) * SECOND > clock() - MINUTE
    assert rig.samples()[FAILED.format("a")] == 1


def test_a_list_that_only_came_while_nothing_could_be_stored_is_not_told_as_read(
    cloud: Cloud, clock: Clock
) -> None:
    store = FaultyStore.open("")
    store.faults = ["fails"] * 1000
    rig = PollerHarness(cloud, clock, store)
    rig.pass_time(HOUR)
    assert rig.own("modelarts_exporter_last_list_timestamp_seconds", project="prod") is None
    assert rig.own("modelarts_exporter_store_writable") == 0
    assert "modelarts_up{}" not in rig.samples()


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


def test_a_service_that_was_deleted_long_ago_is_forgotten_while_the_loop_runs(
    cloud: Cloud, clock: Clock
) -> None:
    cloud.add("b")
    cloud.update("a", NOW - MINUTE, "FAIL")
    rig = started(cloud, clock)
    rig.poller.configure([project("prod", cloud)], keep_deleted=5 * HOUR)
    key, row = ("prod", "0" * 32), cloud.rows.pop("a")
    rig.pass_time(4 * HOUR)
    assert rig.store.service(key, "a") is not None
    assert history_of(rig, "a") is not None
    rig.pass_time(3 * HOUR)
    assert (rig.store.service(key, "a"), history_of(rig, "a")) == (None, None)
    assert rig.store.service(key, "b") is not None
    cloud.rows["a"] = row
    cloud.updates["a"].clear()  # as the API's retention does
    rig.pass_time(MINUTE)
    assert (rig.samples()[FAILED.format("a")], rig.samples()[UP.format("a")]) == (0, 1)


def test_a_project_that_was_taken_out_long_ago_is_forgotten_and_is_new_when_it_comes_back(
    cloud: Cloud, clock: Clock
) -> None:
    cloud.update("a", NOW - MINUTE, "FAIL")
    rig = started(cloud, clock)
    cloud.update("a", clock(), "FAIL")
    rig.pass_time(HOUR)
    both, other = [project("prod", cloud), project("other", Cloud(clock))], project("other", Cloud(clock))
    key = ("prod", "0" * 32)
    rig.poller.configure([other], keep_deleted=5 * HOUR)
    rig.pass_time(4 * HOUR)
    rig.poller.configure(both, keep_deleted=5 * HOUR)
    rig.pass_time(MINUTE)
    assert rig.scrape()[FAILED.format("a")] == 2
    rig.poller.configure([other], keep_deleted=5 * HOUR)
    rig.pass_time(4 * HOUR)
    assert rig.store.service(key, "a") is not None
    rig.pass_time(3 * HOUR)
    assert (rig.store.service(key, "a"), rig.store.project(key)) == (None, None)
    cloud.updates["a"].pop()
    rig.poller.configure(both, keep_deleted=5 * HOUR)
    rig.pass_time(MINUTE)
    assert rig.samples()[FAILED.format("a")] == 1  # as at a very first start, history is counted


def test_many_are_forgotten_second_by_second(clock: Clock) -> None:
    cloud = fleet(clock, 600)
    rig = started(cloud, clock)
    rig.poller.configure([project("prod", cloud)], keep_deleted=10 * MINUTE)
    cloud.rows.clear()
    rig.pass_time(HOUR + MINUTE)  # the first look after they went
    rig.pass_time(HOUR - 2 * MINUTE)
    seen = []
    for _ in range(2 * MINUTE // SECOND):
        seen.append(len(dict(rig.store.services(("prod", "0" * 32), present=False))))
        rig.pass_time(SECOND)
    assert sorted(set(seen)) == [0, 88, 344, 600]
    assert (seen.count(344), seen.count(88)) == (1, 1)


def test_forgetting_that_fails_is_tried_again_and_told(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = started(cloud, clock)

    def full(*_: object) -> bool:
        raise StoreError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(rig.store, "forget", full)
        rig.poller.configure([project("prod", cloud)], keep_deleted=HOUR)
        rig.pass_time(MINUTE)
        assert rig.own("modelarts_exporter_store_writable") == 0
    rig.pass_time(PACE.sweep_interval)
    assert rig.own("modelarts_exporter_store_writable") == 1
    assert (rig.own("modelarts_exporter_last_list_timestamp_seconds") or 0) * SECOND > clock() - MINUTE


# --- damaged records --------------------------------------------------------------------------------


def flip(directory: Path, table: str, service_id: str = "") -> None:
    """Turn one bit of a record over, in the file, as a failing disk does."""
    where = f"{table} WHERE service_id = '{service_id}'" if service_id else table
    with closing(sqlite3.connect(directory / "modelarts-exporter.db")) as file, file:
        ((row, blob),) = file.execute(f"SELECT rowid, blob FROM {where}").fetchall()
        blob = blob[:-1] + bytes([blob[-1] ^ 1])
        file.execute(f"UPDATE {table} SET blob = ? WHERE rowid = ?", (blob, row))


def logged(rig: PollerHarness, event: str) -> list[dict[str, str]]:
    """The keys and values of the log's lines of an event."""
    lines = [re.sub(r"\x1b\[\d+m", "", call.args[0]) for call in rig.log.calls]
    return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in lines if event in line]


def damaged(rig: PollerHarness) -> list[dict[str, str]]:
    """What the log says of damaged records."""
    return logged(rig, "a record of the store is damaged")


def history_of(rig: PollerHarness, service_id: str) -> History | None:
    """A service's history, as a page asks for it."""
    found: list[History | None] = []
    asking = Thread(target=lambda: found.append(rig.poller.history("prod", service_id)))
    asking.start()
    while asking.is_alive():  # the asker waits for the loop
        rig.settle()
        asking.join(0.001)
    return found[0]


@pytest.fixture
def failed_twice(cloud: Cloud, clock: Clock) -> Cloud:
    """Of two services with old entries, "a" is failing."""
    cloud.add("b")
    for service_id in ("a", "b"):
        cloud.update(service_id, NOW - 2 * MINUTE, "FAIL", nodes_failed=1)
        cloud.event(service_id, NOW - 2 * MINUTE, "abnormal", PULL)
    cloud.update("b", NOW - MINUTE, "SUCCESS")
    return cloud


@pytest.mark.parametrize("count", [True, False])
def test_a_damaged_service_costs_that_service_alone_and_its_old_entries_are_no_news(
    failed_twice: Cloud, clock: Clock, tmp_path: Path, *, count: bool
) -> None:
    cloud, policy = failed_twice, msgspec.structs.replace(POLICY, count_history=count)
    started(cloud, clock, Store.open(str(tmp_path)), policy=policy).store.close()
    cloud.update("b", clock(), "FAIL")
    flip(tmp_path, "service", "a")
    rig = PollerHarness(cloud, clock, Store.open(str(tmp_path)), policy=policy)
    assert FAILED.format("a") not in rig.samples()
    rig.settle()
    shown = rig.scrape()
    # As at a first start: the first value is what the log holds, or 0, and is shown at once.
    assert (shown[FAILED.format("a")], shown[ABNORMAL.format("a")]) == (count, count)
    assert shown["modelarts_service_update_failing{service_id=a}"] == 1
    assert rig.scrape() == shown | {FAILED.format("b"): 1 + count}
    assert [line["service_id"] for line in logged(rig, "update settled")] == ["b"]
    assert damaged(rig) == [{"project": "prod", "record": "service", "service_id": "a"}]
    rig.store.close()
    rig = PollerHarness(cloud, clock, Store.open(str(tmp_path)), policy=policy)
    assert damaged(rig) == []
    assert rig.samples()[FAILED.format("a")] == count
    rig.store.close()


def test_a_damaged_service_that_was_deleted_is_history_when_it_comes_back(
    failed_twice: Cloud, clock: Clock, tmp_path: Path
) -> None:
    cloud = failed_twice
    rig = started(cloud, clock, Store.open(str(tmp_path)))
    row = cloud.rows.pop("a")
    rig.pass_time(2 * MINUTE)
    flip(tmp_path, "service", "a")
    cloud.rows["a"] = row
    rig.pass_time(MINUTE)
    assert rig.samples()[FAILED.format("a")] == 1
    assert damaged(rig) == [{"project": "prod", "record": "service", "service_id": "a"}]
    rig.store.close()


def test_a_damaged_project_begins_its_totals_anew_and_keeps_its_services(
    failed_twice: Cloud, clock: Clock, tmp_path: Path
) -> None:
    cloud = failed_twice
    rig = started(cloud, clock, Store.open(str(tmp_path)))
    cloud.update("b", clock(), "SUCCESS")
    cloud.change("b", operation_time=1)
    rig.pass_time(MINUTE)
    rig.scrape()
    durations = "modelarts_update_duration_seconds_count{result=SUCCESS}"
    assert rig.samples()[durations] == 1
    rig.store.close()
    flip(tmp_path, "project")
    cloud.add("new")
    cloud.update("new", NOW, "FAIL")
    rig = PollerHarness(cloud, clock, Store.open(str(tmp_path)))
    assert rig.samples()[FAILED.format("a")] == 1
    rig.settle()
    shown = rig.scrape()
    assert (shown[durations], shown[FAILED.format("a")], shown[FAILED.format("b")]) == (0, 1, 1)
    # Which services are new is not known: the next list is a first one again.
    assert shown[FAILED.format("new")] == 1
    assert damaged(rig) == [{"project": "prod", "record": "project"}]
    rig.store.close()


CALLS = "modelarts_service_invocations_total{{service_id={}}}"


def test_what_was_gathered_is_written_at_the_end(cloud: Cloud, clock: Clock) -> None:
    rig = started(cloud, clock)
    cloud.change("a", invocations=1000)
    clock.forward(30 * SECOND)
    rig.settle()
    cloud.change("a", invocations=2000)
    rig.poller.read_now("prod", None)
    rig.poller.step(gather=True)  # a moment after the last write
    rig.poller.stop()
    rig.poller.run()
    cloud.failures["list"] = Unreachable("")
    assert PollerHarness(cloud, clock, rig.store).samples()[CALLS.format("a")] == 2000


def test_damaged_call_totals_fall_back_on_those_of_the_service(
    cloud: Cloud, clock: Clock, tmp_path: Path
) -> None:
    cloud.add("b")
    rig = started(cloud, clock, Store.open(str(tmp_path)))
    for service_id in "ab":
        cloud.change(service_id, invocations=1000)
    rig.pass_time(30 * SECOND)
    rig.store.close()
    flip(tmp_path, "calls", "a")
    cloud.failures["list"] = Unreachable("")
    rig = PollerHarness(cloud, clock, Store.open(str(tmp_path)))
    assert [rig.samples()[CALLS.format(service_id)] for service_id in "ab"] == [0, 1000]
    assert damaged(rig) == [{"project": "prod", "record": "calls", "service_id": "a"}]
    rig.store.close()


def test_call_totals_of_a_store_that_kept_them_all_in_one_record_are_taken_over(
    cloud: Cloud, clock: Clock, tmp_path: Path
) -> None:
    rig = started(cloud, clock, Store.open(str(tmp_path)))
    rig.store.close()
    with closing(sqlite3.connect(tmp_path / "modelarts-exporter.db")) as file, file:
        file.execute("DELETE FROM calls")
        record = msgspec.msgpack.decode(file.execute("SELECT blob FROM project").fetchone()[0])
    store = Store.open(str(tmp_path))
    whole = msgspec.msgpack.encode({**record, "calls": {"a": (1000.0, 5.0)}})
    store.commit([ProjectChange(settings().key, whole)])
    store.close()
    cloud.failures["list"] = Unreachable("")
    for _ in range(2):
        rig = PollerHarness(cloud, clock, Store.open(str(tmp_path)))
        assert rig.samples()[CALLS.format("a")] == 1000
        rig.store.close()
    with closing(sqlite3.connect(tmp_path / "modelarts-exporter.db")) as file:
        assert file.execute("SELECT blob FROM project").fetchone()[0] == msgspec.msgpack.encode(record)


def test_a_damaged_history_is_empty_on_its_page_and_grows_again_with_the_next_event(
    failed_twice: Cloud, clock: Clock, tmp_path: Path
) -> None:
    cloud = failed_twice
    rig = started(cloud, clock, Store.open(str(tmp_path)))
    for service_id in ("a", "b"):
        flip(tmp_path, "past", service_id)
    assert [history_of(rig, "a"), history_of(rig, "a")] == [None, None]
    for service_id in ("a", "b"):
        cloud.event(service_id, clock(), "abnormal", PULL)
        cloud.change(service_id, operation_time=1)
    rig.pass_time(MINUTE)
    for service_id in ("a", "b"):
        assert rig.samples()[ABNORMAL.format(service_id)] == 2
        kept = history_of(rig, service_id)
        assert kept is not None
        assert [event.occur_time for event in kept.events] == [NOW]
    told = [(entry["service_id"], entry["record"]) for entry in damaged(rig)]
    assert told == [("a", "past"), ("b", "past")]
    assert rig.own("modelarts_exporter_store_writable") == 1
    rig.store.close()


def test_a_page_that_cannot_be_read_from_the_store_does_not_end_the_loop(
    cloud: Cloud, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = started(cloud, clock, Store.open(str(tmp_path)))

    def unreadable(*_: object) -> bytes:
        raise StoreError("disk I/O error")

    monkeypatch.setattr(rig.store, "past", unreadable)
    asked: list[BaseException] = []

    def ask() -> None:
        try:
            rig.poller.history("prod", "a")
        except TimeoutError as error:
            asked.append(error)

    asking = Thread(target=ask)
    asking.start()
    while asking.is_alive():
        rig.settle()
        asking.join(0.001)
    assert [str(error) for error in asked] == ["the store cannot be read"]
    rig.store.close()


def test_a_store_with_fields_of_a_newer_version_is_refused_with_a_sentence(
    cloud: Cloud, clock: Clock, tmp_path: Path
) -> None:
    store = Store.open(str(tmp_path))
    started(cloud, clock, store)
    key = ("prod", "0" * 32)
    fields = msgspec.msgpack.decode(store.service(key, "a") or b"")
    store.commit([ServiceChange(key, "a", msgspec.msgpack.encode(fields | {"later": 1}), present=True)])
    with pytest.raises(StoreError, match=r"what this version does not know \(.*`later`\): run the newer"):
        PollerHarness(cloud, clock, store)
    store.close()


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


def test_the_time_of_a_sweep_is_shown_and_a_refused_login_is_no_part_of_it(clock: Clock) -> None:
    rig = started(fleet(clock, 5), clock)
    took = rig.own("modelarts_exporter_sweep_duration_seconds", project="prod")
    assert took == PACE.sweep_interval / SECOND
    assert rig.publisher.snapshot.projects[0].sweep_ms == PACE.sweep_interval
    for endpoint in ("list", "logs", "events"):
        rig.cloud.failures[endpoint] = Refused("no")
    rig.pass_time(HOUR)
    rig.cloud.failures.clear()
    rig.pass_time(2 * PACE.sweep_interval)
    took = rig.own("modelarts_exporter_sweep_duration_seconds", project="prod")
    assert took == pytest.approx(PACE.sweep_interval / SECOND, rel=0.1)


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
