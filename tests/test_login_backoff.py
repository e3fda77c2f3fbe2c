"""When a refused credential is tried again, and the limiter that threads and projects share."""

import threading
from contextlib import suppress
from operator import itemgetter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.adapters.modelarts.login_limiter import LoginLimiter, Permit
from exporter.core.polling.login_backoff import REFUSED_WITHIN_MS, LoginBackoff
from exporter.core.source import Forbidden, Refused

from .fakes import Clock

FIVE_MINUTES = 300_000


def test_what_a_refusal_says_from_try_to_try_is_all_but_the_time_of_the_next() -> None:
    refusal = Refused("The password is wrong.", "It is tried again at 10:00.")
    assert str(refusal) == "The password is wrong. It is tried again at 10:00."
    assert refusal.lasting == "The password is wrong."
    assert Forbidden("No permission.").lasting == "No permission."


def test_what_was_never_refused_may_be_tried_by_as_many_as_a_window_allows() -> None:
    assert LoginBackoff().next_try() is None
    assert LoginBackoff().room(0) == 4


def test_the_wait_doubles_and_four_refusals_fill_the_window() -> None:
    refusals, now, waits = LoginBackoff(), 0, []
    for _ in range(5):
        refusals = refusals.refused(now)
        due = refusals.next_try()
        assert due is not None
        waits.append(due - now)
        now = due
    # 2 + 4 + 8 s, then the window; the fifth is 300.001 s after the first, its own wait is 32 s.
    assert waits == [2_000, 4_000, 8_000, FIVE_MINUTES + 1 - 14_000, 32_000]


@given(st.lists(st.integers(0, 400_000), max_size=60))
def test_however_often_it_is_tried_no_five_minutes_have_a_fifth_refusal(pauses: list[int]) -> None:
    refusals, now, times = LoginBackoff(), 0, []
    for pause in pauses:
        now += pause
        if refusals.room(now):
            refusals = refusals.refused(now)
            times.append(now)
    for first, fifth in zip(times, times[4:], strict=False):
        assert fifth - first > FIVE_MINUTES


def test_the_longest_wait_is_five_minutes() -> None:
    refusals, now = LoginBackoff(), 0
    for _ in range(30):
        refusals = refusals.refused(now)
        due = refusals.next_try()
        assert due is not None
        assert due - now <= FIVE_MINUTES + 1
        now = due


def test_an_acceptance_ends_the_wait_but_not_the_window() -> None:
    backoff = LoginBackoff().refused(0).refused(10).forgiven()
    assert backoff.next_try() is None
    assert backoff.room(20) == backoff.room(FIVE_MINUTES) == 2
    assert backoff.room(FIVE_MINUTES + 1) == 3
    full = backoff.refused(20).refused(30).forgiven()
    assert full.next_try() == FIVE_MINUTES + 1
    assert (full.room(FIVE_MINUTES), full.room(FIVE_MINUTES + 1)) == (0, 1)


def test_a_locked_credential_waits_for_the_end_of_the_lock() -> None:
    refusals = LoginBackoff().refused(0).locked(1_000)
    assert refusals.room(1_000 + FIVE_MINUTES) == 0
    assert refusals.room(1_000 + FIVE_MINUTES + 1) == 1


# The limiter


def test_while_refused_nobody_gets_a_permit_and_hears_when_the_next_try_is() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock)
    permit = limiter.enter("old")
    permit.refused("HTTP 401.")
    permit.release()
    clock.forward(500)
    with pytest.raises(Refused, match=r"^HTTP 401\. The next try is in 2 s\.$"):
        limiter.enter("old")
    clock.forward(1_500)
    probe = limiter.enter("old")
    with pytest.raises(Refused, match="being made"):
        limiter.enter("old")
    probe.accepted()
    probe.release()
    for _ in range(3):  # with the refusal they are four
        limiter.enter("old")
    assert limiter.enter_now("old") is None


def test_a_changed_secret_is_tried_at_once_and_the_old_one_stays_refused() -> None:
    limiter = LoginLimiter(Clock())
    limiter.enter("old").refused("no.")
    limiter.enter("new").release()
    with pytest.raises(Refused):
        limiter.enter("old")


def test_after_a_reset_a_secret_is_tried_at_once_but_no_fifth_time() -> None:
    limiter = LoginLimiter(Clock())
    for _ in range(4):
        permit = limiter.enter("s")
        permit.refused("no.")
        permit.release()
        limiter.retry_now()
    with pytest.raises(Refused, match="in 301 s"):
        limiter.enter("s")


def test_one_permit_counts_one_refusal_however_often_it_is_told() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock)
    permit = limiter.enter("s")
    for _ in range(4):
        permit.refused("no.")
    permit.release()
    permit.release()
    clock.forward(2_000)
    limiter.enter("s")


def test_a_success_that_was_asked_before_the_refusal_proves_nothing() -> None:
    limiter = LoginLimiter(Clock())
    early, wrong = limiter.enter("s"), limiter.enter("s")
    wrong.refused("no.")
    early.accepted()
    early.release()
    wrong.release()
    with pytest.raises(Refused):
        limiter.enter("s")


def test_a_lock_told_by_the_cloud_is_waited_for() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock)
    permit = limiter.enter("s")
    permit.refused("locked.", locked=True)
    permit.release()
    clock.forward(FIVE_MINUTES)
    with pytest.raises(Refused, match="in 1 s"):
        limiter.enter("s")


def test_a_watched_secret_is_refused_alike_but_any_number_may_be_out() -> None:
    limiter = LoginLimiter(Clock())
    permits = [limiter.watch("token") for _ in range(20)]
    permits[0].refused("no.")
    permits[0].release()
    with pytest.raises(Refused):
        limiter.watch("token")


def test_a_fifth_thread_waits_for_the_outcome_of_the_first_four() -> None:
    limiter = LoginLimiter(Clock())
    out = [limiter.enter("s") for _ in range(4)]
    heard: list[str] = []

    def fifth() -> None:
        try:
            limiter.enter("s")
        except Refused as error:
            heard.append(str(error))

    waiting = threading.Thread(target=fifth)
    waiting.start()
    out[0].refused("bad signature.")
    waiting.join(10)
    assert heard == ["bad signature. The next try is in 2 s."]


def test_threads_that_all_hold_a_wrong_key_are_refused_four_times_at_most() -> None:
    limiter = LoginLimiter(Clock())
    shown: list[None] = []

    def sign() -> None:
        for _ in range(5):
            try:
                permit = limiter.enter("wrong")
            except Refused:
                continue
            shown.append(None)
            permit.refused("no.")
            permit.release()

    threads = [threading.Thread(target=sign) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert 1 <= len(shown) <= 4


def test_of_an_accepted_secret_only_requests_may_be_refused_that_are_just_out() -> None:
    clock = Clock()
    limiter = LoginLimiter(clock)
    first = limiter.enter("s")
    first.accepted()
    first.release()
    out = []
    for _ in range(5):
        out += [limiter.enter("s") for _ in range(4)]
        assert limiter.enter_now("s") is None
        clock.forward(REFUSED_WITHIN_MS)
    assert len(out) == 20
    # Five minutes without an acceptance, and nothing is known of it any more.
    clock.forward(FIVE_MINUTES + 1)
    assert limiter.enter_now("s") is None


def test_who_waits_for_an_accepted_secret_goes_on_without_an_answer() -> None:
    limiter = LoginLimiter()  # its own clock
    first = limiter.enter("s")
    first.accepted()
    first.release()
    assert len([limiter.enter("s") for _ in range(9)]) == 9


class RevocableSecret:
    """A cloud that judges a request when it is sent. A refusal is back in time, an acceptance need not be."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.limiter = LoginLimiter(self.clock)
        self.good = True
        self.out: list[tuple[int, bool, Permit]] = []  # when the answer comes, and which
        self.refusals: list[int] = []

    def ask(self, delay: int) -> None:
        """As many requests as are let out, whose answers take so long."""
        with suppress(Refused):
            while (permit := self.limiter.enter_now("s")) is not None:
                self.out.append((self.clock.now + delay * (40 if self.good else 1), self.good, permit))
                self.refusals += [] if self.good else [self.clock.now]

    def wait(self, milliseconds: int) -> None:
        end = self.clock.now + milliseconds
        for answer in sorted((each for each in self.out if each[0] <= end), key=itemgetter(0)):
            self.out.remove(answer)
            self.clock.now, good, permit = answer
            permit.accepted() if good else permit.refused("no.")
            permit.release()
        self.clock.now = end

    def revoke(self, _: int) -> None:
        self.good = False

    def restore(self, _: int) -> None:
        self.good = True

    def reset(self, _: int) -> None:
        self.limiter.retry_now()


steps = st.one_of(
    st.tuples(st.just("ask"), st.integers(1, REFUSED_WITHIN_MS)),
    st.tuples(st.just("wait"), st.one_of(st.integers(1, 500), st.integers(1_000, 200_000))),
    st.tuples(st.sampled_from(["revoke", "restore", "reset"]), st.just(0)),
)


@settings(max_examples=400)
@given(st.lists(steps, max_size=40))
def test_a_secret_that_is_revoked_at_any_moment_is_never_refused_five_times_in_five_minutes(
    script: list[tuple[str, int]],
) -> None:
    secret = RevocableSecret()
    for step, amount in script:
        getattr(secret, step)(amount)
    for first, fifth in zip(secret.refusals, secret.refusals[4:], strict=False):
        assert fifth - first > FIVE_MINUTES
