"""What a read of the update log makes of an account."""

from collections.abc import Sequence

import msgspec
import pytest

from exporter.core.account import (
    DURATION_COUNT,
    DURATION_SUM,
    EDGE_COUNTERS,
    NODES_FAILED,
    NODES_SUCCEEDED,
    RESTORE_COUNT,
    RESTORE_SUM,
    UPDATE_COUNTERS,
    UPDATES,
    Account,
    Observation,
    Outcome,
    opened,
    with_row,
)
from exporter.core.records import Model, NodeResult, ServiceRow, Update, UpdateWindow
from exporter.core.updates import Policy, apply_updates
from tests.fakes import NOW

SECOND = 1000
MINUTE = 60 * SECOND
POLICY = Policy(lateness=10 * MINUTE, longest_guess=5 * MINUTE)
SKIP = msgspec.structs.replace(POLICY, count_history=False)


def service(*, history: bool = False, **row: object) -> Account:
    fields = {"service_id": "s", "infer_type": "real-time", "status": "running", **row}
    return opened(msgspec.convert(fields, ServiceRow), NOW, history=history).account


def read(
    account: Account,
    *updates: Update,
    at: int = NOW,
    instant: int | None = None,
    policy: Policy = POLICY,
) -> Outcome:
    """A read at `at`, after which both logs count as read."""
    outcome = apply_updates(account, UpdateWindow(updates, at, instant), policy, at)
    return msgspec.structs.replace(outcome, account=msgspec.structs.replace(outcome.account, read_at=at))


def reads(account: Account, *log: tuple[int, Sequence[Update]]) -> Account:
    for at, updates in log:
        account = read(account, *updates, at=at).account
    return account


def update(seconds: int, result: str, **fields: object) -> Update:
    return msgspec.convert({"update_time": NOW + seconds * SECOND, "result": result, **fields}, Update)


def at(seconds: int) -> int:
    return NOW + seconds * SECOND


def total(account: Account, name: str) -> float:
    return account.counters.values[name]


# --- newest, failing, open --------------------------------------------------------------------------


def test_the_newest_update_is_that_of_the_latest_time_whatever_settles_last() -> None:
    account = reads(
        service(),
        (at(20), [update(0, "RUNNING"), update(10, "SUCCESS")]),
        (at(60), [update(0, "FAIL"), update(10, "SUCCESS")]),
    )
    assert (account.result, account.failing) == ("SUCCESS", False)
    assert (account.last_success, account.last_failure) == (at(10), at(0))


def test_a_service_keeps_failing_while_a_retry_runs() -> None:
    account = reads(
        service(), (at(20), [update(0, "FAIL")]), (at(40), [update(0, "FAIL"), update(30, "RUNNING")])
    )
    assert (account.result, account.failing) == ("RUNNING", True)
    assert [u.update_time for u in account.open] == [at(30)]


def test_without_updates_there_is_no_result() -> None:
    account = read(service()).account
    assert (account.result, account.failing, account.updates.known) == ("", False, True)


def test_of_two_updates_in_one_millisecond_the_failure_shows() -> None:
    for rows in ([update(0, "FAIL"), update(0, "SUCCESS")], [update(0, "SUCCESS"), update(0, "FAIL")]):
        account = read(service(), *rows).account
        assert (account.result, account.failing) == ("FAIL", True)
        assert (total(account, UPDATES + "FAIL"), total(account, UPDATES + "SUCCESS")) == (1, 1)


def test_running_beside_a_settled_entry_of_its_time_is_one_update_settled() -> None:
    account = read(service(), update(0, "RUNNING"), update(0, "FAIL")).account
    assert (account.result, account.open, total(account, UPDATES + "FAIL")) == ("FAIL", (), 1)


def test_an_unknown_result_counts_as_open_and_is_told_once() -> None:
    first = read(service(), update(0, "PAUSED"))
    assert (first.account.result, len(first.account.open)) == ("RUNNING", 1)
    assert first.unknown == (("result", "PAUSED"),)
    again = read(first.account, update(0, "PAUSED"))
    assert again.unknown == ()
    settled = read(again.account, update(0, "SUCCESS")).account
    assert (settled.result, total(settled, UPDATES + "SUCCESS")) == ("SUCCESS", 1)


def test_an_open_update_that_left_a_whole_log_is_no_longer_open() -> None:
    account = reads(
        service(), (at(10), [update(0, "FAIL"), update(5, "RUNNING")]), (at(20), [update(0, "FAIL")])
    )
    assert (account.open, account.result) == ((), "FAIL")
    alone = reads(service(), (at(10), [update(5, "RUNNING")]), (at(20), []))
    assert (alone.open, alone.result) == ((), "")


def test_a_read_of_one_instant_tells_of_that_update_alone() -> None:
    before = reads(service(), (at(10), [update(0, "RUNNING"), update(5, "RUNNING")]))
    account = read(before, update(5, "SUCCESS"), at=at(20), instant=at(5)).account
    assert [u.update_time for u in account.open] == [at(0)]
    assert account.result == "SUCCESS"


def test_what_the_retention_drops_stays_known() -> None:
    account = reads(service(), (at(10), [update(0, "FAIL")]), (at(20), []))
    assert (account.result, account.failing, account.last_failure) == ("FAIL", True, at(0))
    assert total(account, UPDATES + "FAIL") == 1


def test_the_newest_update_shows_what_its_entry_says_now() -> None:
    early = update(0, "RUNNING", nodes_succeeded=1, nodes_failed=0)
    later = update(0, "RUNNING", nodes_succeeded=5, nodes_failed=2)
    account = reads(service(infer_type="edge"), (at(10), [early]), (at(20), [later]))
    assert account.newest == later


def test_a_window_in_another_order_makes_the_same_account() -> None:
    rows = [
        update(0, "FAIL", models=[{"model_id": "a"}]),
        update(0, "FAIL", models=[{"model_id": "b"}]),
        update(0, "RUNNING"),
    ]
    assert read(service(), *rows) == read(service(), *rows[::-1])


# --- history ----------------------------------------------------------------------------------------


def test_history_is_the_first_value_shown_at_once_and_has_no_durations() -> None:
    outcome = read(service(history=True), update(-60, "FAIL"), update(-30, "RUNNING"))
    counters = outcome.account.counters
    assert (counters.shown(UPDATES + "FAIL"), counters.shown(UPDATES + "SUCCESS")) == (1, 0)
    assert counters.values[DURATION_COUNT + "FAIL"] == 0
    assert (outcome.observations, outcome.updates) == ((), ())


def test_skip_leaves_history_out_of_the_counters_but_not_of_the_gauges() -> None:
    account = read(service(history=True), update(-60, "FAIL"), update(-30, "RUNNING"), policy=SKIP).account
    assert (total(account, UPDATES + "FAIL"), account.failing, account.last_failure) == (0, True, at(-60))
    later = read(account, update(-60, "FAIL"), update(-30, "FAIL"), at=at(60), policy=SKIP).account
    assert total(later, UPDATES + "FAIL") == 1


def test_the_counters_of_a_service_that_was_there_appear_with_its_first_read() -> None:
    before = service(history=True)
    assert not set(UPDATE_COUNTERS) & before.counters.values.keys()
    assert set(UPDATE_COUNTERS) <= read(before).account.counters.values.keys()
    assert set(UPDATE_COUNTERS) <= service().counters.values.keys()


# --- durations --------------------------------------------------------------------------------------


def durations(outcome: Outcome) -> list[tuple[str, float]]:
    return [(seen.result, seen.seconds) for seen in outcome.observations]


def test_an_update_settles_when_the_status_of_its_service_changed() -> None:
    account = reads(service(), (at(10), [update(0, "RUNNING")]))
    account = with_row(account, msgspec.structs.replace(account.row, transition_at=at(95)), at(100)).account
    outcome = read(account, update(0, "SUCCESS"), at=at(100))
    assert durations(outcome) == [("SUCCESS", 95)]
    assert (total(outcome.account, DURATION_SUM + "SUCCESS"), outcome.account.settled_at) == (95, at(95))


@pytest.mark.parametrize(
    ("status", "changed"), [("deploying", 95), ("running", 5), ("running", 300), ("running", None)]
)
def test_without_a_change_of_status_that_fits_it_settled_at_the_latest_when_it_was_read(
    status: str, changed: int | None
) -> None:
    account = reads(service(), (at(10), [update(0, "RUNNING")]))
    transition = None if changed is None else at(changed)
    row = msgspec.structs.replace(account.row, status=status, transition_at=transition)
    account = with_row(account, row, at(100)).account
    assert durations(read(account, update(0, "FAIL"), at=at(100))) == [("FAIL", 100)]


def test_an_update_is_over_when_the_next_one_begins() -> None:
    account = reads(service(), (at(10), [update(0, "RUNNING")]))
    outcome = read(account, update(0, "FAIL"), update(40, "RUNNING"), at=at(100))
    assert durations(outcome) == [("FAIL", 40)]


def test_an_update_that_came_and_settled_between_two_reads_took_that_long_at_most() -> None:
    account = reads(service(), (at(0), []))
    assert durations(read(account, update(30, "SUCCESS"), at=at(100))) == [("SUCCESS", 70)]


def test_no_duration_is_guessed_where_nobody_looked_for_long() -> None:
    account = reads(service(), (at(10), [update(0, "RUNNING")]))
    assert durations(read(account, update(0, "FAIL"), at=at(10 + 301))) == []
    # A change of the row tells it however long ago that was.
    account = with_row(account, msgspec.structs.replace(account.row, transition_at=at(95)), at(900)).account
    assert durations(read(account, update(0, "FAIL"), at=at(900))) == [("FAIL", 95)]


def test_an_update_that_shows_up_late_has_no_duration() -> None:
    account = reads(service(), (at(100), []))
    outcome = read(account, update(50, "FAIL"), at=at(110))
    assert (durations(outcome), total(outcome.account, UPDATES + "FAIL")) == ([], 1)


def test_an_update_dated_in_the_future_took_no_time() -> None:
    account = reads(service(), (at(0), []))
    outcome = read(account, update(500, "SUCCESS"), at=at(10))
    assert durations(outcome) == [("SUCCESS", 0)]
    assert [anomaly.kind for anomaly in outcome.anomalies] == ["future"]


def test_a_new_service_has_the_duration_of_its_first_update() -> None:
    assert durations(read(service(), update(0, "FAIL"), at=at(30))) == [("FAIL", 30)]


# --- time to restore --------------------------------------------------------------------------------


def test_an_outage_lasts_from_the_first_failure_to_the_success_that_ends_it() -> None:
    log = [update(10, "FAIL")]
    account = reads(service(), (at(0), []), (at(20), log))
    log = [*log, update(30, "FAIL")]
    account = reads(account, (at(40), log))
    outcome = read(account, *log, update(50, "SUCCESS"), at=at(70))
    assert outcome.observations[-1] == Observation("", 50)
    assert (total(outcome.account, RESTORE_SUM), total(outcome.account, RESTORE_COUNT)) == (50, 1)
    assert outcome.account.outage_since is None


def test_a_failure_and_its_repair_within_one_read_are_an_outage_too() -> None:
    account = reads(service(), (at(0), []))
    outcome = read(account, update(10, "FAIL"), update(30, "SUCCESS"), at=at(40))
    assert durations(outcome) == [("FAIL", 20), ("SUCCESS", 10), ("", 10)]


def test_an_outage_of_unknown_begin_has_no_duration() -> None:
    account = read(service(history=True), update(-60, "FAIL")).account
    outcome = read(account, update(-60, "FAIL"), update(10, "SUCCESS"), at=at(40))
    assert durations(outcome) == [("SUCCESS", 30)]
    assert not outcome.account.failing


def test_an_older_update_that_settles_late_decides_nothing() -> None:
    account = reads(service(), (at(10), [update(0, "RUNNING"), update(5, "SUCCESS")]))
    late = read(account, update(0, "FAIL"), update(5, "SUCCESS"), at=at(20)).account
    assert (late.failing, late.outage_since) == (False, None)
    assert total(late, UPDATES + "FAIL") == 1


def test_a_success_after_a_success_restores_nothing() -> None:
    account = reads(service(), (at(0), []), (at(20), [update(10, "SUCCESS")]))
    outcome = read(account, update(10, "SUCCESS"), update(30, "SUCCESS"), at=at(40))
    assert durations(outcome) == [("SUCCESS", 10)]


# --- edge -------------------------------------------------------------------------------------------


def test_nodes_are_summed_over_the_settled_updates_of_edge_services() -> None:
    running = update(0, "RUNNING", nodes_succeeded=1, nodes_failed=0)
    failed = update(0, "FAIL", nodes_succeeded=3, nodes_failed=2)
    account = reads(service(infer_type="edge"), (at(5), [running]))
    assert total(account, NODES_SUCCEEDED) == 0
    account = reads(account, (at(10), [failed]), (at(20), [failed, update(15, "SUCCESS", nodes_succeeded=5)]))
    assert (total(account, NODES_SUCCEEDED), total(account, NODES_FAILED)) == (8, 2)


def test_only_edge_services_have_node_counters() -> None:
    assert not set(EDGE_COUNTERS) & read(service(), update(0, "SUCCESS")).account.counters.values.keys()
    assert set(EDGE_COUNTERS) <= service(infer_type="edge").counters.values.keys()
    shown_by_its_log = read(service(), update(0, "SUCCESS", nodes_succeeded=1, nodes_failed=0)).account
    assert set(EDGE_COUNTERS) <= shown_by_its_log.counters.values.keys()
    told_by_a_later_list = with_row(service(), ServiceRow("s", infer_type="edge"), NOW).account
    assert set(EDGE_COUNTERS) <= told_by_a_later_list.counters.values.keys()


def test_an_unknown_operation_on_a_node_is_told_once() -> None:
    row = update(0, "SUCCESS", nodes_succeeded=1, nodes=[NodeResult("n", "n", "reboot", succeeded=True)])
    first = read(service(infer_type="edge"), row)
    assert first.unknown == (("operation", "reboot"),)
    assert read(first.account, row).unknown == ()


def test_what_was_counted_is_told() -> None:
    row = update(0, "FAIL", models=[Model("m")])
    outcome = read(service(), row)
    assert outcome.updates == (row,)
    assert read(outcome.account, row).updates == ()
