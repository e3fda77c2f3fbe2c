"""Who is read, and when next."""

import msgspec
import pytest

from exporter.core.accounting.service_state import FailureEvent, ServiceState, opened
from exporter.core.polling.schedule import (
    NextPoll,
    PollIntervals,
    PollState,
    instant,
    is_active,
    next_poll,
    slot,
    slot_passed,
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


def service(*opens: int, status: str = "running") -> ServiceState:
    state = opened(ServiceRow("s", status=status), NOW, preexisting=False).state
    return msgspec.structs.replace(state, open=tuple(Update(time, "RUNNING") for time in opens))


def test_a_service_that_was_never_read_is_due_at_once() -> None:
    assert next_poll(service(), PollState(), PACE, 77) == NextPoll(77, 77)


def test_a_quiet_service_is_due_at_its_own_slot() -> None:
    polled = PollState(tried_at=AFTER_SLOT)
    assert next_poll(service(), polled, PACE, AFTER_SLOT).due == NEXT_SLOT
    assert next_poll(service(), PollState(tried_at=NEXT_SLOT - 1), PACE, 0).due == NEXT_SLOT
    assert next_poll(service(), PollState(tried_at=NEXT_SLOT), PACE, 0).due == NEXT_SLOT + PACE.sweep_interval


def test_slots_are_spread_evenly() -> None:
    counts = [0] * 10
    for number in range(10_000):
        counts[slot(f"service-{number}", PACE.sweep_interval) * 10 // PACE.sweep_interval] += 1
    assert min(counts) > 900
    assert max(counts) < 1100


@pytest.mark.parametrize(
    "state", [service(NOW), *[service(status=s) for s in ("deploying", "pending", "waiting")]]
)
def test_a_service_in_which_something_goes_on_is_read_at_the_active_interval(state: ServiceState) -> None:
    planned = next_poll(state, PollState(tried_at=AFTER_SLOT), PACE, AFTER_SLOT)
    assert planned.due == AFTER_SLOT + PACE.active_interval
    # And before those that are only swept.
    assert planned.urgency == planned.due - PACE.sweep_interval


def test_a_service_in_which_something_goes_on_is_swept_all_the_same() -> None:
    assert next_poll(service(NOW), PollState(tried_at=NEXT_SLOT - SECOND), PACE, 0).due == NEXT_SLOT


def test_a_change_of_the_row_is_looked_at_at_once_and_three_times_more() -> None:
    changed = AFTER_SLOT + 5 * SECOND
    polled = PollState(tried_at=AFTER_SLOT, changed_at=changed)
    assert next_poll(service(), polled, PACE, changed) == NextPoll(changed, changed - PACE.sweep_interval)
    looks = []
    tried = changed
    while is_active(service(), PollState(tried_at=tried, changed_at=changed), PACE):
        tried = next_poll(service(), PollState(tried_at=tried, changed_at=changed), PACE, tried).due
        looks.append((tried - changed) // SECOND)
    assert looks == [10, 20, 30]


def test_a_failing_service_is_tried_less_and_less_often_but_at_every_sweep() -> None:
    waits = [
        next_poll(service(NOW), PollState(tried_at=AFTER_SLOT, failures=n), PACE, AFTER_SLOT).due - AFTER_SLOT
        for n in (1, 2, 3, 4, 5, 6, 100)
    ]
    assert [wait // SECOND for wait in waits] == [10, 20, 40, 80, 160, 300, 300]


def test_a_failing_service_goes_before_nobody() -> None:
    planned = next_poll(service(NOW), PollState(tried_at=AFTER_SLOT, failures=1), PACE, AFTER_SLOT)
    assert planned.urgency == planned.due


def test_while_one_update_is_open_only_its_entry_is_read() -> None:
    polled = PollState(tried_at=AFTER_SLOT, full_at=AFTER_SLOT)
    assert instant(service(5), polled, PACE, AFTER_SLOT + 10 * SECOND) == 5


@pytest.mark.parametrize(
    ("state", "polled", "now"),
    [
        (service(), PollState(full_at=AFTER_SLOT), AFTER_SLOT),
        (service(5, 6), PollState(full_at=AFTER_SLOT), AFTER_SLOT),
        (service(5), PollState(), AFTER_SLOT),
        (service(5), PollState(full_at=AFTER_SLOT, failures=1), AFTER_SLOT),
        (service(5), PollState(full_at=AFTER_SLOT, changed_at=AFTER_SLOT), AFTER_SLOT),
        (service(5), PollState(full_at=AFTER_SLOT), NEXT_SLOT),
    ],
    ids=["none open", "two open", "never read whole", "failed", "changed since", "its slot came"],
)
def test_the_whole_log_is_read_where_one_entry_would_not_tell(
    state: ServiceState, polled: PollState, now: int
) -> None:
    assert instant(state, polled, PACE, now) is None


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
    assert not wants_detail(msgspec.structs.replace(failed, settled=Update(NOW, "SUCCESS")), PollState())
    assert not wants_detail(service(status="failed"), PollState())
    running = msgspec.structs.replace(failed, row=ServiceRow("s", status="running"))
    assert not wants_detail(running, PollState())
