"""What a service's state tells somebody who waits, for every history of its log and by hand."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.accounting.apply_updates import CountingPolicy, apply_updates
from exporter.core.accounting.awaited import LOG_LAG_MS, Awaited, Standing, awaited, usual_seconds
from exporter.core.accounting.history import PastEvent
from exporter.core.accounting.service_state import ServiceState, opened
from exporter.core.records import FAIL, RUNNING, SUCCESS, ServiceRow, Update, UpdateWindow
from tests.fakes import NOW

SECOND = 1000
MINUTE = 60 * SECOND
POLICY = CountingPolicy(lateness=10 * MINUTE, longest_guess=5 * MINUTE)

Log = frozenset[tuple[int, str]]


def read(logs: Sequence[Sequence[tuple[int, str]]], status: str = "running", **row: Any) -> ServiceState:
    """A service after its update log was read as these logs, one after the other."""
    state = opened(ServiceRow("s", status=status, **row), NOW, preexisting=False).state
    for number, log in enumerate(logs):
        at = NOW + number * 10 * SECOND
        rows = tuple(Update(NOW + time, result) for time, result in log)
        state = apply_updates(state, UpdateWindow(rows, at, answered_at=at), POLICY, at).state
    return state


def expected(logs: Sequence[Sequence[tuple[int, str]]], since: int) -> tuple[Standing, int | None]:
    """The same of the logs alone, without any accounting."""
    ever = {time for log in logs for time, _ in log}
    newest = max(ever, default=None)
    if newest is None or newest < since:
        return Standing.NOT_BEGUN, None
    # The log as it is now decides; what it has forgotten stays as it was.
    shown = [{result for time, result in log if time == newest} for log in logs]
    last = next(results for results in reversed(shown) if results)
    if FAIL in last:
        return Standing.FAILED, newest
    if SUCCESS in last:
        return Standing.SUCCEEDED, newest
    return (Standing.OPEN if shown[-1] else Standing.LOST), newest


entries = st.tuples(st.integers(-5, 0), st.sampled_from([SUCCESS, FAIL, RUNNING, "PAUSED"]))
some_logs = st.lists(st.lists(entries, max_size=4), min_size=1, max_size=5)


@given(some_logs, st.integers(-6, 1))
def test_the_newest_update_since_then_decides_as_the_log_shows_it_last(
    logs: list[list[tuple[int, str]]], since: int
) -> None:
    standing, update = awaited(read(logs), NOW + since, NOW + MINUTE)
    assert (standing, None if update is None else update.update_time - NOW) == expected(logs, since)


@given(some_logs, st.integers(-6, 1), st.randoms())
def test_neither_the_order_of_a_log_nor_a_second_read_of_it_matters(
    logs: list[list[tuple[int, str]]], since: int, random: object
) -> None:
    shuffled = [sorted(log, key=lambda _: random.random()) for log in logs for _ in range(2)]  # type: ignore[attr-defined]
    one, other = (awaited(read(each), NOW + since, NOW) for each in (logs, shuffled))
    assert (one.standing, one.update) == (other.standing, other.update)


@given(some_logs)
def test_only_a_success_is_told_as_one(logs: list[list[tuple[int, str]]]) -> None:
    standing, update = awaited(read(logs), 0, NOW)
    if standing is Standing.SUCCEEDED:
        assert update is not None
        last = [result for log in logs for time, result in log if NOW + time == update.update_time]
        assert SUCCESS in last
    assert standing.is_end == (standing in (Standing.SUCCEEDED, Standing.FAILED))


# -- a service that is stopped


@pytest.mark.parametrize(
    ("stopped", "clock", "standing"),
    [
        (-1, LOG_LAG_MS, Standing.OPEN),  # before the update began, so it is being started again
        (0, LOG_LAG_MS, Standing.STOPPED),
        (MINUTE, MINUTE + LOG_LAG_MS - 1, Standing.OPEN),
        (MINUTE, MINUTE + LOG_LAG_MS, Standing.STOPPED),
    ],
)
def test_an_open_update_of_a_service_that_was_stopped_is_over_once_the_log_had_time_to_say_so(
    stopped: int, clock: int, standing: Standing
) -> None:
    state = read([[(0, RUNNING)]], "stopped", transition_at=NOW + stopped)
    assert awaited(state, NOW, NOW + clock).standing is standing


@pytest.mark.parametrize("status", ["running", "deploying", "stopping", "failed"])
def test_another_status_ends_nothing(status: str) -> None:
    state = read([[(0, RUNNING)]], status, transition_at=NOW)
    assert awaited(state, NOW, NOW + 10 * LOG_LAG_MS).standing is Standing.OPEN


def test_a_stop_of_which_the_time_is_not_known_ends_nothing() -> None:
    assert awaited(read([[(0, RUNNING)]], "stopped"), NOW, NOW + 10 * LOG_LAG_MS).standing is Standing.OPEN


@pytest.mark.parametrize("result", [SUCCESS, FAIL])
def test_a_result_goes_before_a_stop(result: str) -> None:
    state = read([[(0, result)]], "stopped", transition_at=NOW)
    found = awaited(state, NOW, NOW + 10 * LOG_LAG_MS)
    assert found == Awaited({SUCCESS: Standing.SUCCEEDED, FAIL: Standing.FAILED}[result], state.newest)


def test_an_update_of_a_minute_ahead_hides_none_of_now() -> None:
    state = read([[(0, RUNNING), (10 * MINUTE, SUCCESS)]])
    assert awaited(state, NOW, NOW).standing is Standing.OPEN


# -- what is usual


def deployment(begin: int, pull: float, *, pulled: bool = True, twice: bool = False) -> list[PastEvent]:
    found = [
        PastEvent(begin, "normal", "", mark="begin"),
        PastEvent(begin + SECOND, "normal", "", phase="image_pull", mark="start"),
    ]
    if twice:
        found.append(PastEvent(begin + 2 * SECOND, "normal", "", mark="begin"))
    if pulled:
        at = begin + SECOND + int(pull * SECOND)
        found.append(PastEvent(at, "normal", "", phase="image_pull", mark="end"))
    return found


def test_the_median_of_the_last_six_deployments_is_usual() -> None:
    times = [900, 10, 20, 30, 40, 50, 60]
    events = [event for n, pull in enumerate(times) for event in deployment(NOW + n * 60 * MINUTE, pull)]
    assert usual_seconds(reversed(events), NOW + 600 * MINUTE) == {"image_pull": 30}
    assert usual_seconds(events, NOW + 2 * 60 * MINUTE) == {"image_pull": 10}  # of those before alone


def test_a_phase_that_did_not_end_or_only_hours_later_is_left_out() -> None:
    hanging = deployment(NOW, 0, pulled=False)
    restarted = deployment(NOW + 60 * MINUTE, 3 * 3600)
    assert usual_seconds([*hanging, *restarted], NOW + 1000 * MINUTE) == {}


def test_a_deployment_that_is_announced_twice_is_one() -> None:
    assert usual_seconds(deployment(NOW, 5, twice=True), NOW + 60 * MINUTE) == {"image_pull": 5}


def test_what_is_no_step_or_before_the_first_deployment_says_nothing() -> None:
    before = deployment(NOW, 5)[1:]
    assert usual_seconds([PastEvent(NOW, "normal", "ready"), *before], NOW + 60 * MINUTE) == {}


def test_the_row_alone_changes_nothing_of_what_was_read() -> None:
    state = read([[(0, SUCCESS)]])
    assert awaited(msgspec.structs.replace(state, row=ServiceRow("s")), NOW, NOW) == awaited(state, NOW, NOW)
