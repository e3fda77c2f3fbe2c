"""What a read of the update log makes of an account."""

from collections.abc import Sequence

import msgspec
import pytest

from exporter.core.accounting.apply_updates import CountingPolicy, apply_updates
from exporter.core.accounting.service_state import (
    DURATION_COUNT,
    DURATION_SUM,
    EDGE_COUNTERS,
    NODES_FAILED,
    NODES_SUCCEEDED,
    RESTORE_COUNT,
    RESTORE_SUM,
    UPDATE_COUNTERS,
    UPDATES,
    Observation,
    Outcome,
    ServiceState,
    opened,
    with_row,
)
from exporter.core.records import Model, NodeResult, ServiceRow, Update, UpdateWindow
from tests.fakes import NOW

SECOND = 1000
MINUTE = 60 * SECOND
POLICY = CountingPolicy(lateness=10 * MINUTE, longest_guess=5 * MINUTE)
SKIP = msgspec.structs.replace(POLICY, count_history=False)


def service(*, preexisting: bool = False, **row: object) -> ServiceState:
    fields = {"service_id": "s", "infer_type": "real-time", "status": "running", **row}
    return opened(msgspec.convert(fields, ServiceRow), NOW, preexisting=preexisting).state


def read(
    state: ServiceState,
    *updates: Update,
    at: int = NOW,
    instant: int | None = None,
    policy: CountingPolicy = POLICY,
) -> Outcome:
    """A read at `at`, after which both logs count as read."""
    outcome = apply_updates(state, UpdateWindow(updates, at, instant), policy, at)
    return msgspec.structs.replace(outcome, state=msgspec.structs.replace(outcome.state, read_at=at))


def reads(state: ServiceState, *log: tuple[int, Sequence[Update]]) -> ServiceState:
    for at, updates in log:
        state = read(state, *updates, at=at).state
    return state


def update(seconds: int, result: str, **fields: object) -> Update:
    return msgspec.convert({"update_time": NOW + seconds * SECOND, "result": result, **fields}, Update)


def at(seconds: int) -> int:
    return NOW + seconds * SECOND


def total(state: ServiceState, name: str) -> float:
    return state.counters.values[name]


# --- newest, failing, open --------------------------------------------------------------------------


def test_the_newest_update_is_that_of_the_latest_time_whatever_settles_last() -> None:
    state = reads(
        service(),
        (at(20), [update(0, "RUNNING"), update(10, "SUCCESS")]),
        (at(60), [update(0, "FAIL"), update(10, "SUCCESS")]),
    )
    assert (state.result, state.failing) == ("SUCCESS", False)
    assert (state.last_success, state.last_failure) == (at(10), at(0))


def test_a_service_keeps_failing_while_a_retry_runs() -> None:
    state = reads(
        service(), (at(20), [update(0, "FAIL")]), (at(40), [update(0, "FAIL"), update(30, "RUNNING")])
    )
    assert (state.result, state.failing) == ("RUNNING", True)
    assert [u.update_time for u in state.open] == [at(30)]


def test_without_updates_there_is_no_result() -> None:
    state = read(service()).state
    assert (state.result, state.failing, state.updates.read_once) == ("", False, True)


def test_of_two_updates_in_one_millisecond_the_failure_shows() -> None:
    for rows in ([update(0, "FAIL"), update(0, "SUCCESS")], [update(0, "SUCCESS"), update(0, "FAIL")]):
        state = read(service(), *rows).state
        assert (state.result, state.failing) == ("FAIL", True)
        assert (total(state, UPDATES + "FAIL"), total(state, UPDATES + "SUCCESS")) == (1, 1)


def test_running_beside_a_settled_entry_of_its_time_is_one_update_settled() -> None:
    state = read(service(), update(0, "RUNNING"), update(0, "FAIL")).state
    assert (state.result, state.open, total(state, UPDATES + "FAIL")) == ("FAIL", (), 1)


def test_an_unknown_result_counts_as_open_and_is_reported_once() -> None:
    first = read(service(), update(0, "PAUSED"))
    assert (first.state.result, len(first.state.open)) == ("RUNNING", 1)
    assert first.unknown == (("result", "PAUSED"),)
    again = read(first.state, update(0, "PAUSED"))
    assert again.unknown == ()
    settled = read(again.state, update(0, "SUCCESS")).state
    assert (settled.result, total(settled, UPDATES + "SUCCESS")) == ("SUCCESS", 1)


def test_an_open_update_that_left_a_whole_log_is_no_longer_open() -> None:
    state = reads(
        service(), (at(10), [update(0, "FAIL"), update(5, "RUNNING")]), (at(20), [update(0, "FAIL")])
    )
    assert (state.open, state.result) == ((), "FAIL")
    alone = reads(service(), (at(10), [update(5, "RUNNING")]), (at(20), []))
    assert (alone.open, alone.result) == ((), "")


def test_a_read_of_one_instant_is_about_that_update_only() -> None:
    before = reads(service(), (at(10), [update(0, "RUNNING"), update(5, "RUNNING")]))
    state = read(before, update(5, "SUCCESS"), at=at(20), instant=at(5)).state
    assert [u.update_time for u in state.open] == [at(0)]
    assert state.result == "SUCCESS"


def test_what_the_retention_drops_stays_known() -> None:
    state = reads(service(), (at(10), [update(0, "FAIL")]), (at(20), []))
    assert (state.result, state.failing, state.last_failure) == ("FAIL", True, at(0))
    assert total(state, UPDATES + "FAIL") == 1


def test_the_newest_update_shows_what_its_entry_says_now() -> None:
    early = update(0, "RUNNING", nodes_succeeded=1, nodes_failed=0)
    later = update(0, "RUNNING", nodes_succeeded=5, nodes_failed=2)
    state = reads(service(infer_type="edge"), (at(10), [early]), (at(20), [later]))
    assert state.newest == later


def test_a_window_in_another_order_makes_the_same_account() -> None:
    rows = [
        update(0, "FAIL", models=[{"model_id": "a"}]),
        update(0, "FAIL", models=[{"model_id": "b"}]),
        update(0, "RUNNING"),
    ]
    assert read(service(), *rows) == read(service(), *rows[::-1])


# --- history ----------------------------------------------------------------------------------------


def test_history_is_the_first_value_shown_at_once_and_has_no_durations() -> None:
    outcome = read(service(preexisting=True), update(-60, "FAIL"), update(-30, "RUNNING"))
    counters = outcome.state.counters
    assert (counters.shown(UPDATES + "FAIL"), counters.shown(UPDATES + "SUCCESS")) == (1, 0)
    assert counters.values[DURATION_COUNT + "FAIL"] == 0
    assert (outcome.observations, outcome.updates) == ((), ())


def test_skip_leaves_history_out_of_the_counters_but_not_of_the_gauges() -> None:
    state = read(service(preexisting=True), update(-60, "FAIL"), update(-30, "RUNNING"), policy=SKIP).state
    assert (total(state, UPDATES + "FAIL"), state.failing, state.last_failure) == (0, True, at(-60))
    later = read(state, update(-60, "FAIL"), update(-30, "FAIL"), at=at(60), policy=SKIP).state
    assert total(later, UPDATES + "FAIL") == 1


def test_the_counters_of_a_service_that_was_there_appear_with_its_first_read() -> None:
    before = service(preexisting=True)
    assert not set(UPDATE_COUNTERS) & before.counters.values.keys()
    assert set(UPDATE_COUNTERS) <= read(before).state.counters.values.keys()
    assert set(UPDATE_COUNTERS) <= service().counters.values.keys()


# --- durations --------------------------------------------------------------------------------------


def durations(outcome: Outcome) -> list[tuple[str, float]]:
    return [(seen.result, seen.seconds) for seen in outcome.observations]


def test_an_update_settles_when_the_status_of_its_service_changed() -> None:
    state = reads(service(), (at(10), [update(0, "RUNNING")]))
    state = with_row(state, msgspec.structs.replace(state.row, transition_at=at(95)), at(100)).state
    outcome = read(state, update(0, "SUCCESS"), at=at(100))
    assert durations(outcome) == [("SUCCESS", 95)]
    assert (total(outcome.state, DURATION_SUM + "SUCCESS"), outcome.state.settled_at) == (95, at(95))


@pytest.mark.parametrize(
    ("status", "changed"), [("deploying", 95), ("running", 5), ("running", 300), ("running", None)]
)
def test_without_a_change_of_status_that_fits_it_settled_at_the_latest_when_it_was_read(
    status: str, changed: int | None
) -> None:
    state = reads(service(), (at(10), [update(0, "RUNNING")]))
    transition = None if changed is None else at(changed)
    row = msgspec.structs.replace(state.row, status=status, transition_at=transition)
    state = with_row(state, row, at(100)).state
    assert durations(read(state, update(0, "FAIL"), at=at(100))) == [("FAIL", 100)]


def test_an_update_is_over_when_the_next_one_begins() -> None:
    state = reads(service(), (at(10), [update(0, "RUNNING")]))
    outcome = read(state, update(0, "FAIL"), update(40, "RUNNING"), at=at(100))
    assert durations(outcome) == [("FAIL", 40)]


def test_an_update_that_came_and_settled_between_two_reads_took_that_long_at_most() -> None:
    state = reads(service(), (at(0), []))
    assert durations(read(state, update(30, "SUCCESS"), at=at(100))) == [("SUCCESS", 70)]


def test_no_duration_is_guessed_after_a_long_time_without_a_read() -> None:
    state = reads(service(), (at(10), [update(0, "RUNNING")]))
    assert durations(read(state, update(0, "FAIL"), at=at(10 + 301))) == []
    # A change of the row has the time, however long ago that was.
    state = with_row(state, msgspec.structs.replace(state.row, transition_at=at(95)), at(900)).state
    assert durations(read(state, update(0, "FAIL"), at=at(900))) == [("FAIL", 95)]


def test_an_update_that_shows_up_late_has_no_duration() -> None:
    state = reads(service(), (at(100), []))
    outcome = read(state, update(50, "FAIL"), at=at(110))
    assert (durations(outcome), total(outcome.state, UPDATES + "FAIL")) == ([], 1)


def test_an_update_dated_in_the_future_took_no_time() -> None:
    state = reads(service(), (at(0), []))
    outcome = read(state, update(500, "SUCCESS"), at=at(10))
    assert durations(outcome) == [("SUCCESS", 0)]
    assert [anomaly.kind for anomaly in outcome.anomalies] == ["future"]


def test_an_update_dated_in_the_future_does_not_end_the_one_before_it() -> None:
    state = reads(service(transition_at=at(30)), (at(5), []))
    outcome = read(state, update(10, "FAIL"), update(5000, "RUNNING"), at=at(60))
    assert durations(outcome) == [("FAIL", 20)]


def test_an_update_dated_in_the_future_ends_no_deployment() -> None:
    state = reads(service(), (at(0), []), (at(10), [update(500, "SUCCESS")]))
    assert state.phases.settling is None
    state = reads(state, (at(40), [update(500, "SUCCESS"), update(20, "FAIL")]))
    assert (state.phases.settling is not None and state.phases.settling.update_time) == at(20)


def test_a_result_that_was_replaced_between_two_reads_settled_between_them() -> None:
    state = reads(service(), (at(0), []), (at(20), [update(10, "FAIL")]))
    outcome = read(state, update(10, "SUCCESS"), at=at(60))
    assert durations(outcome) == [("SUCCESS", 50), ("", 40)]
    assert (outcome.state.settled_at, outcome.state.outage_since) == (at(60), None)


def test_a_new_service_has_the_duration_of_its_first_update() -> None:
    assert durations(read(service(), update(0, "FAIL"), at=at(30))) == [("FAIL", 30)]


# --- time to restore --------------------------------------------------------------------------------


def test_an_outage_lasts_from_the_first_failure_to_the_success_that_ends_it() -> None:
    log = [update(10, "FAIL")]
    state = reads(service(), (at(0), []), (at(20), log))
    log = [*log, update(30, "FAIL")]
    state = reads(state, (at(40), log))
    outcome = read(state, *log, update(50, "SUCCESS"), at=at(70))
    assert outcome.observations[-1] == Observation("", 50)
    assert (total(outcome.state, RESTORE_SUM), total(outcome.state, RESTORE_COUNT)) == (50, 1)
    assert outcome.state.outage_since is None


def test_a_failure_and_its_repair_within_one_read_are_an_outage_too() -> None:
    state = reads(service(), (at(0), []))
    outcome = read(state, update(10, "FAIL"), update(30, "SUCCESS"), at=at(40))
    assert durations(outcome) == [("FAIL", 20), ("SUCCESS", 10), ("", 10)]


def test_an_outage_of_unknown_begin_has_no_duration() -> None:
    state = read(service(preexisting=True), update(-60, "FAIL")).state
    outcome = read(state, update(-60, "FAIL"), update(10, "SUCCESS"), at=at(40))
    assert durations(outcome) == [("SUCCESS", 30)]
    assert not outcome.state.failing


def test_an_older_update_that_settles_late_decides_nothing() -> None:
    state = reads(service(), (at(10), [update(0, "RUNNING"), update(5, "SUCCESS")]))
    late = read(state, update(0, "FAIL"), update(5, "SUCCESS"), at=at(20)).state
    assert (late.failing, late.outage_since) == (False, None)
    assert total(late, UPDATES + "FAIL") == 1


def test_a_success_after_a_success_restores_nothing() -> None:
    state = reads(service(), (at(0), []), (at(20), [update(10, "SUCCESS")]))
    outcome = read(state, update(10, "SUCCESS"), update(30, "SUCCESS"), at=at(40))
    assert durations(outcome) == [("SUCCESS", 10)]


# --- edge -------------------------------------------------------------------------------------------


def test_nodes_are_summed_over_the_settled_updates_of_edge_services() -> None:
    running = update(0, "RUNNING", nodes_succeeded=1, nodes_failed=0)
    failed = update(0, "FAIL", nodes_succeeded=3, nodes_failed=2)
    state = reads(service(infer_type="edge"), (at(5), [running]))
    assert total(state, NODES_SUCCEEDED) == 0
    state = reads(state, (at(10), [failed]), (at(20), [failed, update(15, "SUCCESS", nodes_succeeded=5)]))
    assert (total(state, NODES_SUCCEEDED), total(state, NODES_FAILED)) == (8, 2)


def test_only_edge_services_have_node_counters() -> None:
    assert not set(EDGE_COUNTERS) & read(service(), update(0, "SUCCESS")).state.counters.values.keys()
    assert set(EDGE_COUNTERS) <= service(infer_type="edge").counters.values.keys()
    shown_by_its_log = read(service(), update(0, "SUCCESS", nodes_succeeded=1, nodes_failed=0)).state
    assert set(EDGE_COUNTERS) <= shown_by_its_log.counters.values.keys()
    known_by_a_later_list = with_row(service(), ServiceRow("s", infer_type="edge"), NOW).state
    assert set(EDGE_COUNTERS) <= known_by_a_later_list.counters.values.keys()


def test_an_unknown_operation_on_a_node_is_reported_once() -> None:
    row = update(0, "SUCCESS", nodes_succeeded=1, nodes=[NodeResult("n", "n", "reboot", succeeded=True)])
    first = read(service(infer_type="edge"), row)
    assert first.unknown == (("operation", "reboot"),)
    assert read(first.state, row).unknown == ()


def test_a_service_without_an_update_log_has_no_counters_of_updates_unless_it_had_some_before() -> None:
    no_log = UpdateWindow((), NOW, supported=False)
    new = apply_updates(service(), no_log, POLICY, NOW).state
    assert not set(UPDATE_COUNTERS) & set(new.counters.values)
    known = read(service(), update(0, "FAIL")).state
    assert apply_updates(known, no_log, POLICY, NOW).state == known


def test_the_outcome_has_what_was_counted() -> None:
    row = update(0, "FAIL", models=[Model("m")])
    outcome = read(service(), row)
    assert outcome.updates == (row,)
    assert read(outcome.state, row).updates == ()
