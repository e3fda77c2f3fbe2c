"""When a failed deployment is worth waking somebody, and when that is over."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.accounting.service_state import AlertState, ServiceState
from exporter.core.alerting.alert_state import with_alert_state
from exporter.core.records import FAIL, STATUSES, SUCCESS, ServiceRow, Update
from tests.fakes import NOW

SECOND = 1000
MINUTE = 60 * SECOND
SETTLING = MINUTE


def state(result: str = FAIL, status: str = "failed", alert: AlertState | None = None) -> ServiceState:
    """A service whose newest settled update ended so, a minute ago."""
    update = Update(NOW - MINUTE, result)
    return ServiceState(
        row=ServiceRow("a", "shop", status=status), newest=update, settled=update, alert=alert
    )


def seen(of: ServiceState, now: int = NOW) -> AlertState | None:
    return with_alert_state(of, now, SETTLING).alert


RAISED = AlertState(NOW)
ENDED = AlertState(NOW, NOW + MINUTE)
STOPPED = AlertState(NOW, NOW + MINUTE, stopped_with=NOW - MINUTE)


def test_a_failed_update_raises_an_alarm() -> None:
    assert seen(state()) == RAISED


@pytest.mark.parametrize(
    "quiet",
    [
        state(SUCCESS),
        state(status="stopped"),
        msgspec.structs.replace(state(), settled=None),
        msgspec.structs.replace(state(SUCCESS), newest=Update(NOW, "RUNNING")),
    ],
)
def test_success_a_stop_on_purpose_and_a_service_without_updates_raise_none(quiet: ServiceState) -> None:
    assert with_alert_state(quiet, NOW, SETTLING) is quiet


@pytest.mark.parametrize("status", sorted({*STATUSES, "", "unheard of"} - {"stopped"}))
def test_a_failure_is_one_whatever_the_status_but_a_stop_says(status: str) -> None:
    assert seen(state(status=status)) == RAISED


def test_it_stays_as_it_is_while_the_failure_lasts_and_another_update_runs_or_fails() -> None:
    retried = msgspec.structs.replace(state(alert=RAISED), newest=Update(NOW, "RUNNING"))
    assert with_alert_state(retried, NOW + MINUTE, SETTLING) is retried
    again = msgspec.structs.replace(retried, settled=Update(NOW, FAIL))
    assert with_alert_state(again, NOW + MINUTE, SETTLING) is again


@pytest.mark.parametrize(
    ("over", "end"),
    [(state(SUCCESS, "running", RAISED), ENDED), (state(FAIL, "stopped", RAISED), STOPPED)],
)
def test_it_ends_with_a_success_or_a_stop_and_that_moment_stays(over: ServiceState, end: AlertState) -> None:
    ended = with_alert_state(over, NOW + MINUTE, SETTLING)
    assert ended.alert == end
    assert with_alert_state(ended, NOW + 2 * MINUTE, SETTLING) is ended


@pytest.mark.parametrize(
    ("gap", "same"), [(0, True), (SETTLING - 1, True), (SETTLING, False), (60 * MINUTE, False)]
)
def test_a_failure_before_the_end_was_sent_is_the_same_alert_and_a_later_one_is_another(
    gap: int, same: bool
) -> None:
    now = NOW + MINUTE + gap
    failed = msgspec.structs.replace(state(alert=ENDED), settled=Update(NOW + MINUTE, FAIL))
    assert seen(failed, now) == (RAISED if same else AlertState(now))


def test_a_service_that_was_stopped_with_a_failure_and_is_started_again_raises_only_a_later_one() -> None:
    later = NOW + 60 * MINUTE
    started = state(FAIL, "running", STOPPED)
    assert with_alert_state(started, later, SETTLING) is started
    failed = msgspec.structs.replace(started, settled=Update(later, FAIL))
    assert seen(failed, later) == AlertState(later)
    # Before its end was sent the alert was never over, so there is nothing to be told anew.
    assert seen(started, NOW + MINUTE) == RAISED


def test_after_a_success_even_a_failure_of_the_same_time_is_a_new_one() -> None:
    succeeded = with_alert_state(state(SUCCESS, "running", STOPPED), NOW + 2 * MINUTE, SETTLING)
    assert succeeded.alert == ENDED
    retried = msgspec.structs.replace(succeeded, settled=Update(NOW - MINUTE, FAIL))
    assert seen(retried, NOW + 60 * MINUTE) == AlertState(NOW + 60 * MINUTE)


# --- over any history ----------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.integers(1, 3 * SETTLING),  # each failure is of another update
        st.sampled_from([FAIL, SUCCESS]),
        st.sampled_from(["running", "failed", "stopped"]),
    ),
    max_size=20,
)


@given(steps)
def test_it_is_raised_exactly_while_the_service_fails_and_was_not_stopped(
    history: list[tuple[int, str, str]],
) -> None:
    now, of = NOW, state(SUCCESS)
    for passed, result, status in history:
        now += passed
        before = of.alert
        of = msgspec.structs.replace(state(result, status), settled=Update(now, result), alert=before)
        of = with_alert_state(of, now, SETTLING)
        alert = of.alert
        raised = alert is not None and alert.resolved_at is None
        assert raised == (result == FAIL and status != "stopped")
        if alert is not None:
            assert alert.active_at <= (now if alert.resolved_at is None else alert.resolved_at)
        if before is not None:
            assert alert is not None, "a firing alert is never dropped, so that its end can be sent"
            assert alert.active_at == before.active_at or before.resolved_at is not None
        # What is stored is all there is: the next process goes on as this one would have.
        stored = msgspec.msgpack.decode(msgspec.msgpack.encode(of), type=ServiceState)
        assert with_alert_state(stored, now, SETTLING) == of
