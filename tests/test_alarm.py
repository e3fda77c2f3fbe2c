"""When a failed deployment is worth waking somebody, and when that is over."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.account import Account, Alarm
from exporter.core.alarm import with_alarm
from exporter.core.records import FAIL, STATUSES, SUCCESS, ServiceRow, Update
from tests.fakes import NOW

SECOND = 1000
MINUTE = 60 * SECOND
SETTLING = MINUTE


def account(result: str = FAIL, status: str = "failed", alarm: Alarm | None = None) -> Account:
    """A service whose newest settled update ended so, a minute ago."""
    update = Update(NOW - MINUTE, result)
    return Account(row=ServiceRow("a", "shop", status=status), newest=update, settled=update, alarm=alarm)


def seen(of: Account, now: int = NOW) -> Alarm | None:
    return with_alarm(of, now, SETTLING).alarm


RAISED = Alarm(NOW)
ENDED = Alarm(NOW, NOW + MINUTE)


def test_a_failed_update_raises_an_alarm() -> None:
    assert seen(account()) == RAISED


@pytest.mark.parametrize(
    "quiet",
    [
        account(SUCCESS),
        account(status="stopped"),
        msgspec.structs.replace(account(), settled=None),
        msgspec.structs.replace(account(SUCCESS), newest=Update(NOW, "RUNNING")),
    ],
)
def test_success_a_stop_on_purpose_and_a_service_without_updates_raise_none(quiet: Account) -> None:
    assert with_alarm(quiet, NOW, SETTLING) is quiet


@pytest.mark.parametrize("status", sorted({*STATUSES, "", "unheard of"} - {"stopped"}))
def test_a_failure_is_one_whatever_the_status_but_a_stop_says(status: str) -> None:
    assert seen(account(status=status)) == RAISED


def test_it_stays_as_it_is_while_the_failure_lasts_and_another_update_runs_or_fails() -> None:
    retried = msgspec.structs.replace(account(alarm=RAISED), newest=Update(NOW, "RUNNING"))
    assert with_alarm(retried, NOW + MINUTE, SETTLING) is retried
    again = msgspec.structs.replace(retried, settled=Update(NOW, FAIL))
    assert with_alarm(again, NOW + MINUTE, SETTLING) is again


@pytest.mark.parametrize("over", [account(SUCCESS, "running", RAISED), account(FAIL, "stopped", RAISED)])
def test_it_ends_with_a_success_or_a_stop_and_that_moment_stays(over: Account) -> None:
    ended = with_alarm(over, NOW + MINUTE, SETTLING)
    assert ended.alarm == ENDED
    assert with_alarm(ended, NOW + 2 * MINUTE, SETTLING) is ended


@pytest.mark.parametrize(
    ("gap", "same"), [(0, True), (SETTLING - 1, True), (SETTLING, False), (60 * MINUTE, False)]
)
def test_a_failure_before_the_end_was_told_is_the_same_alarm_and_a_later_one_is_another(
    gap: int, same: bool
) -> None:
    now = NOW + MINUTE + gap
    failed = msgspec.structs.replace(account(alarm=ENDED), settled=Update(NOW + MINUTE, FAIL))
    assert seen(failed, now) == (RAISED if same else Alarm(now))


# --- over any history ----------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(
        st.integers(0, 3 * SETTLING),
        st.sampled_from([FAIL, SUCCESS]),
        st.sampled_from(["running", "failed", "stopped"]),
    ),
    max_size=20,
)


@given(steps)
def test_it_is_raised_exactly_while_the_service_fails_and_was_not_stopped(
    history: list[tuple[int, str, str]],
) -> None:
    now, of = NOW, account(SUCCESS)
    for passed, result, status in history:
        now += passed
        before = of.alarm
        of = msgspec.structs.replace(account(result, status), alarm=before)
        of = with_alarm(of, now, SETTLING)
        alarm = of.alarm
        raised = alarm is not None and alarm.ended is None
        assert raised == (result == FAIL and status != "stopped")
        if alarm is not None:
            assert alarm.since <= (now if alarm.ended is None else alarm.ended)
        if before is not None:
            assert alarm is not None, "what was raised is never forgotten, so that its end can be told"
            assert alarm.since == before.since or before.ended is not None
        # What is stored is all there is: the next process goes on as this one would have.
        stored = msgspec.msgpack.decode(msgspec.msgpack.encode(of), type=Account)
        assert with_alarm(stored, now, SETTLING) == of
