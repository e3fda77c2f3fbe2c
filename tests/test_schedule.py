"""When a service is read next, and which goes first."""

from typing import Any

import msgspec
import pytest

from exporter.core.accounting.service_state import FailureEvent, ServiceState, opened
from exporter.core.classifier.evidence import Evidence
from exporter.core.polling.schedule import (
    NextPoll,
    PollIntervals,
    PollState,
    Urgency,
    changed_before,
    next_poll,
    order_of_turn,
    slot,
    slot_passed,
    update_time_filter,
    urgency,
    wants_detail,
)
from exporter.core.records import ServiceRow, Update
from tests.fakes import NOW

SECOND = 1000
PACE = PollIntervals(interval=30 * SECOND, active_interval=10 * SECOND, sweep_interval=300 * SECOND)
SLOT = slot("s", PACE.sweep_interval)
# A tick just after the slot of "s": the next sweep is a whole interval away.
AFTER_SLOT = SLOT + 1000 * PACE.sweep_interval + 1
NEXT_SLOT = SLOT + 1001 * PACE.sweep_interval


MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


def service(*opens: int, status: str = "running", **fields: Any) -> ServiceState:
    state = opened(ServiceRow("s", status=status), NOW, preexisting=True).state
    return msgspec.structs.replace(state, open=tuple(Update(time, "RUNNING") for time in opens), **fields)


def row(**fields: Any) -> ServiceRow:
    return ServiceRow("s", **fields)


def read(at: int, **fields: Any) -> PollState:
    """What is remembered after a good read."""
    return PollState(**{"tried_at": at, "succeeded_at": at, "full_at": at, **fields})


def wait_after_a_read(state: ServiceState, **fields: Any) -> int:
    return next_poll(state, read(AFTER_SLOT, **fields), PACE, AFTER_SLOT).due - AFTER_SLOT


def test_a_service_that_was_never_read_is_due_at_once() -> None:
    assert next_poll(service(), PollState(), PACE, 77) == NextPoll(77, Urgency.QUIET, (0, SLOT))


def test_a_quiet_service_is_due_at_its_own_slot() -> None:
    assert next_poll(service(), read(AFTER_SLOT), PACE, AFTER_SLOT).due == NEXT_SLOT
    assert next_poll(service(), read(NEXT_SLOT - 1), PACE, 0).due == NEXT_SLOT
    assert next_poll(service(), read(NEXT_SLOT), PACE, 0).due == NEXT_SLOT + PACE.sweep_interval


def test_slots_are_spread_evenly() -> None:
    counts = [0] * 10
    for number in range(10_000):
        counts[slot(f"service-{number}", PACE.sweep_interval) * 10 // PACE.sweep_interval] += 1
    assert min(counts) > 900
    assert max(counts) < 1100


# --- what happens to a service ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", [service(NOW), *[service(status=s) for s in ("deploying", "pending", "waiting")]]
)
def test_a_service_to_which_something_happens_is_read_at_the_active_interval(state: ServiceState) -> None:
    assert wait_after_a_read(state) == PACE.active_interval
    assert urgency(state, read(AFTER_SLOT), PACE) == Urgency.ACTIVE


def test_a_service_to_which_something_happens_is_swept_all_the_same() -> None:
    assert next_poll(service(NOW), read(NEXT_SLOT - SECOND), PACE, 0).due == NEXT_SLOT


@pytest.mark.parametrize(
    ("age", "wait"),
    [
        (0, 10 * SECOND),
        (30 * MINUTE, 10 * SECOND),
        (HOUR, 20 * SECOND),
        (2 * HOUR, 40 * SECOND),
        (10 * HOUR, 200 * SECOND),
    ],
)
def test_an_update_that_is_open_for_long_is_read_less_and_less_often(age: int, wait: int) -> None:
    an_update = service(NOW, read_at=NOW + age)
    a_status = service(row=row(status="deploying", transition_at=NOW), read_at=NOW + age)
    assert wait_after_a_read(an_update) == wait_after_a_read(a_status) == wait
    assert urgency(an_update, read(AFTER_SLOT), PACE) == Urgency.ACTIVE


def test_an_update_that_is_open_for_very_long_is_only_swept() -> None:
    state = service(NOW, read_at=NOW + 15 * HOUR)
    assert wait_after_a_read(state) == NEXT_SLOT - AFTER_SLOT
    assert urgency(state, read(AFTER_SLOT), PACE) == Urgency.QUIET


def test_a_deployment_is_as_old_as_the_newest_that_is_known_of_it() -> None:
    since_yesterday = NOW - 24 * HOUR
    retried = service(since_yesterday, NOW, read_at=NOW)
    restarted = service(since_yesterday, row=row(status="deploying", transition_at=NOW), read_at=NOW)
    assert wait_after_a_read(retried) == wait_after_a_read(restarted) == PACE.active_interval
    undated = service(since_yesterday, row=row(status="deploying"), read_at=NOW)
    assert wait_after_a_read(undated) == NEXT_SLOT - AFTER_SLOT


def test_an_open_update_with_a_newer_settled_one_behind_it_is_only_swept() -> None:
    state = service(NOW, settled=Update(NOW + 1, "SUCCESS"))
    assert wait_after_a_read(state) == NEXT_SLOT - AFTER_SLOT
    assert urgency(state, read(AFTER_SLOT), PACE) == Urgency.QUIET
    retried_in_place = service(NOW, settled=Update(NOW, "FAIL"))
    assert wait_after_a_read(retried_in_place) == PACE.active_interval


def test_a_change_of_the_row_is_looked_at_at_once_and_three_times_more() -> None:
    changed = AFTER_SLOT + 5 * SECOND
    planned = next_poll(service(), read(AFTER_SLOT, changed_at=changed), PACE, changed)
    assert planned == NextPoll(changed, Urgency.CHANGED, (2, changed))
    looks = []
    tried = changed
    while urgency(service(), read(tried, changed_at=changed), PACE) == Urgency.ACTIVE:
        tried = next_poll(service(), read(tried, changed_at=changed), PACE, tried).due
        looks.append((tried - changed) // SECOND)
    assert looks == [10, 20, 30]


def test_a_change_of_the_row_brings_an_old_update_back_to_the_front() -> None:
    state = service(NOW, read_at=NOW + 15 * HOUR)
    assert urgency(state, read(AFTER_SLOT, changed_at=AFTER_SLOT + 1), PACE) == Urgency.CHANGED
    assert wait_after_a_read(state, changed_at=AFTER_SLOT) == PACE.active_interval


def test_a_service_whose_reads_fail_is_tried_less_and_less_often_but_at_every_sweep() -> None:
    waits = [wait_after_a_read(service(NOW), failures=n) for n in (1, 2, 3, 4, 5, 6, 100)]
    assert [wait // SECOND for wait in waits] == [10, 20, 40, 80, 160, 300, 300]


def test_a_change_is_not_known_before_a_read_of_it_has_succeeded() -> None:
    changed = AFTER_SLOT - 1
    for failures in (1, 100):
        poll_state = PollState(tried_at=AFTER_SLOT, changed_at=changed, failures=failures)
        assert urgency(service(), poll_state, PACE) == Urgency.CHANGED
        poll_state = msgspec.structs.replace(poll_state, succeeded_at=changed - HOUR)
        assert urgency(service(), poll_state, PACE) == Urgency.CHANGED


# --- who goes first -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", [service(settled=Update(NOW, "FAIL")), service(status="failed")], ids=["update", "status"]
)
def test_a_service_that_was_failing_goes_before_a_quiet_one(state: ServiceState) -> None:
    assert urgency(state, PollState(), PACE) == urgency(state, read(AFTER_SLOT), PACE) == Urgency.FAILING
    assert Urgency.CHANGED < Urgency.ACTIVE < Urgency.FAILING < Urgency.QUIET


def test_of_two_quiet_services_the_one_goes_first_that_was_read_longer_ago() -> None:
    never, then, lately = service(), service(read_at=NOW), service(read_at=NOW + 1)
    ranks = [next_poll(state, PollState(), PACE, 5).rank for state in (never, then, lately)]
    ranks += [next_poll(lately, read(at), PACE, 5).rank for at in (1, 2, AFTER_SLOT)]
    assert ranks == sorted(set(ranks))


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        (False, service()),  # history of the first start
        (False, service(read_at=NOW)),
        (False, service(row=row(transition_at=NOW - 31 * SECOND, operation_time=5), read_at=NOW)),
        (True, service(row=row(transition_at=NOW - 29 * SECOND), read_at=NOW)),
        (True, service(row=row(operation_time=NOW + HOUR), read_at=NOW)),
        (True, opened(row(), NOW, preexisting=False).state),  # new
    ],
)
def test_a_service_may_have_changed_before_the_start(changed: bool, state: ServiceState) -> None:
    assert changed_before(state, PACE) == changed


def test_each_urgency_has_its_share_of_the_turns() -> None:
    first = [order_of_turn(turn)[0] for turn in range(100, 108)]
    assert [first.count(each) for each in Urgency] == [4, 2, 1, 1]
    for start in range(8):
        four = [order_of_turn(turn)[0] for turn in range(start, start + 4)]
        assert (four.count(Urgency.CHANGED), four.count(Urgency.ACTIVE)) == (2, 1)
    assert all(sorted(order_of_turn(turn)) == list(Urgency) for turn in range(8))
    # What is right after a start, when everything is due.
    assert order_of_turn(0) == tuple(Urgency)


# --- what is read -------------------------------------------------------------------------------------


def test_while_one_update_is_open_only_its_entry_is_read() -> None:
    poll_state = read(AFTER_SLOT)
    assert update_time_filter(service(5), poll_state, PACE, AFTER_SLOT + 10 * SECOND) == 5


@pytest.mark.parametrize(
    ("state", "poll_state", "now"),
    [
        (service(), PollState(full_at=AFTER_SLOT), AFTER_SLOT),
        (service(5, 6), PollState(full_at=AFTER_SLOT), AFTER_SLOT),
        (service(5), PollState(), AFTER_SLOT),
        (service(5), PollState(full_at=AFTER_SLOT, failures=1), AFTER_SLOT),
        (service(5), PollState(full_at=AFTER_SLOT, changed_at=AFTER_SLOT), AFTER_SLOT),
        (service(5), PollState(full_at=AFTER_SLOT), NEXT_SLOT),
        (service(5, settled=Update(6, "FAIL")), PollState(full_at=AFTER_SLOT), AFTER_SLOT),
    ],
    ids=[
        "none open",
        "two open",
        "never read whole",
        "failed",
        "changed since",
        "its slot came",
        "overtaken",
    ],
)
def test_the_whole_log_is_read_where_one_entry_would_not_tell(
    state: ServiceState, poll_state: PollState, now: int
) -> None:
    assert update_time_filter(state, poll_state, PACE, now) is None


def test_a_slot_passes_once_in_an_interval() -> None:
    assert slot_passed("s", NEXT_SLOT - 1, NEXT_SLOT, PACE.sweep_interval)
    assert not slot_passed("s", NEXT_SLOT, NEXT_SLOT + PACE.sweep_interval - 1, PACE.sweep_interval)


def test_the_detail_is_asked_for_once_for_each_failure_that_nothing_explains() -> None:
    failed = msgspec.structs.replace(service(status="failed"), settled=Update(NOW, "FAIL"))
    assert wants_detail(failed, PollState())
    assert not wants_detail(failed, PollState(asked_why=NOW))
    assert wants_detail(failed, PollState(asked_why=NOW - 1))
    assert not wants_detail(
        msgspec.structs.replace(failed, cause=FailureEvent(NOW, "quota", "")), PollState()
    )
    summed_up = FailureEvent(NOW, "crash", "Failed to start service s.", Evidence.SUMMARY)
    assert wants_detail(msgspec.structs.replace(failed, cause=summed_up), PollState())
    assert not wants_detail(msgspec.structs.replace(failed, settled=Update(NOW, "SUCCESS")), PollState())
    assert not wants_detail(service(status="failed"), PollState())
    running = msgspec.structs.replace(failed, row=ServiceRow("s", status="running"))
    assert not wants_detail(running, PollState())
