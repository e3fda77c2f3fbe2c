"""How many requests a project may send, and the rate limiter that its threads share."""

import threading
from functools import partial
from operator import eq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.adapters.modelarts.rate_limiter import RateLimiter
from exporter.core.polling.rate_limit import Priority, TokenBucket
from exporter.core.source import Stopping

from .fakes import Clock
from .live.processes import until

SLACK = 1e-3  # float noise


def drain(bucket: TokenBucket, start: int, end: int) -> list[int]:
    """Take as early as allowed; when each request went."""
    taken, now = [], start
    while (now := bucket.ready_at(now)) <= end:
        bucket = bucket.take(now)
        taken.append(now)
    return taken


@settings(deadline=None)
@given(st.floats(0.05, 50), st.integers(0, 20_000), st.integers(1, 20_000))
def test_no_window_has_more_than_its_rate_and_a_burst(limit: float, start: int, length: int) -> None:
    taken = drain(TokenBucket.full(limit, 0), 0, 40_000)
    inside = [at for at in taken if start <= at < start + length]
    assert len(inside) <= limit * length / 1000 + max(1.0, limit) + SLACK


steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(0, 3_000)),
        st.tuples(
            st.just("429"),
            st.integers(0, 3_000),
            st.one_of(st.none(), st.floats(0, 90)),
            st.one_of(st.none(), st.floats(0, 20)),
        ),
    ),
    max_size=60,
)


@settings(deadline=None)
@given(st.floats(0.05, 50), steps)
def test_with_refusals_no_window_has_more_than_the_limit_and_none_falls_into_a_pause(
    limit: float, script: list[tuple[str, int, float | None, float | None]]
) -> None:
    bucket, now = TokenBucket.full(limit, 0), 0
    taken: list[int] = []
    pauses: list[tuple[int, int]] = []
    for kind, wait, *told in script:
        now += wait
        if kind == "429":
            bucket = bucket.throttled(now, *told)
            if told[0] is not None:
                pauses.append((now, now + int(told[0] * 1000)))
        else:
            now = bucket.ready_at(now)
            bucket = bucket.take(now)
            taken.append(now)
        assert 0 < bucket.rate(now) <= limit
    for at, start in enumerate(taken):
        for number, end in enumerate(taken[at:], start=1):
            assert number <= limit * (end - start) / 1000 + max(1.0, limit) + 1 + SLACK
    assert not any(start < at < end for at in taken for start, end in pauses)


def test_a_burst_is_what_one_second_lets_through() -> None:
    assert drain(TokenBucket.full(5, 0), 0, 600) == [0, 0, 0, 0, 0, 200, 400, 600]


def test_a_slow_rate_still_lets_the_first_request_through() -> None:
    assert drain(TokenBucket.full(0.1, 0), 0, 20_000) == [0, 10_000, 20_000]


def test_a_refusal_stops_everything_for_the_time_it_names() -> None:
    bucket = TokenBucket.full(5, 0).throttled(0, 60, 5 / 60)
    assert bucket.ready_at(0) == bucket.ready_at(59_999) == 60_000
    assert bucket.rate(60_000) == pytest.approx(5 / 60)
    with pytest.raises(AssertionError, match="pause"):
        bucket.take(59_999)


def test_nothing_is_taken_before_its_time() -> None:
    bucket = TokenBucket.full(1, 0).take(0)
    with pytest.raises(AssertionError, match="before its time"):
        bucket.take(900)


def test_without_a_named_rate_the_present_one_is_halved() -> None:
    assert TokenBucket.full(8, 0).throttled(0, 1).rate(1_000) == 4


def test_halving_ends_at_one_request_a_minute() -> None:
    bucket = TokenBucket.full(0.02, 0).throttled(0, 0)
    assert bucket.rate(0) == pytest.approx(1 / 60)


def test_halving_never_raises_a_rate_that_is_lower_already() -> None:
    bucket = TokenBucket.full(5, 0).throttled(0, 0, 0.001)
    assert bucket.throttled(0, 0).rate(0) == pytest.approx(0.001)


def test_a_named_rate_above_the_present_one_raises_nothing() -> None:
    assert TokenBucket.full(5, 0).throttled(0, 1, 100).rate(1_000) == 5


def test_the_rate_grows_back_by_a_tenth_of_the_limit_a_minute_and_no_further() -> None:
    bucket = TokenBucket.full(10, 0).throttled(0, 0, 4)
    assert [bucket.rate(minute * 60_000) for minute in range(8)] == pytest.approx([4, 5, 6, 7, 8, 9, 10, 10])


def test_requests_follow_the_growing_rate() -> None:
    bucket = TokenBucket.full(1, 0).throttled(0, 0, 0.1)
    # A minute each at 0.1, 0.2, … 1.0 per second; without growth it would be 60 requests.
    assert len(drain(bucket, 0, 600_000)) == pytest.approx(330, abs=2)


def test_a_wait_longer_than_the_regrowth_ends_at_the_full_rate() -> None:
    bucket = TokenBucket.full(0.001, 0).throttled(0, 0, 0.0009).take(0)
    ready = bucket.ready_at(0)
    assert 1_000_000 < ready < 1_020_000
    bucket.take(ready)


def test_without_a_time_the_pause_doubles_from_a_second_to_a_minute() -> None:
    bucket, now, pauses = TokenBucket.full(5, 0), 0, []
    for _ in range(9):
        bucket = bucket.throttled(now)
        pauses.append(bucket.ready_at(now) - now)
        now = bucket.ready_at(now)
        bucket = bucket.take(now)
    assert pauses[:7] == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]
    assert pauses[7:] == [60_000, 60_000]


def test_after_a_quiet_minute_the_pause_begins_at_a_second_again() -> None:
    bucket = TokenBucket.full(5, 0).throttled(0).throttled(1_000).throttled(70_000)
    assert bucket.ready_at(70_000) == 71_000


def test_refusals_of_requests_that_were_in_flight_count_as_one() -> None:
    bucket = TokenBucket.full(8, 0).throttled(0).throttled(10).throttled(20)
    assert bucket.rate(1_020) == pytest.approx(4, rel=0.01)
    assert bucket.ready_at(20) == 1_020


def test_a_shorter_wait_does_not_end_a_longer_pause() -> None:
    assert TokenBucket.full(8, 0).throttled(0, 60).throttled(10, 1).ready_at(10) == 60_000


def test_the_rate_limiter_lets_a_burst_pass_and_learns() -> None:
    clock = Clock()
    rate_limiter = RateLimiter(5, clock)
    for _ in range(5):
        rate_limiter.enter()
    rate_limiter.throttled(10, 0.5)
    assert rate_limiter.rate() == 0.5
    clock.forward(10_000)
    rate_limiter.enter()


def test_a_stopped_rate_limiter_wakes_who_waits_and_lets_nobody_in() -> None:
    clock = Clock()
    rate_limiter = RateLimiter(1, clock)
    rate_limiter.enter()
    ended: list[str] = []

    def wait() -> None:
        try:
            rate_limiter.enter()
        except Stopping:
            ended.append("stopped")

    waiting = threading.Thread(target=wait)
    waiting.start()
    rate_limiter.stop()
    waiting.join(10)
    assert ended == ["stopped"]
    with pytest.raises(Stopping):
        rate_limiter.enter()


def test_the_rate_limiter_waits_for_its_own_clock() -> None:
    rate_limiter = RateLimiter(1000)
    for _ in range(1005):
        rate_limiter.enter()
    assert rate_limiter.rate() == 1000


# --- another configured rate ----------------------------------------------------------------------------


def test_another_limit_is_in_force_at_once_where_nothing_was_learned() -> None:
    for limit in (2.0, 20.0):
        bucket = TokenBucket.full(5, 0).with_limit(limit, 1000)
        assert (bucket.rate(1000), bucket.limit) == (limit, limit)


def test_another_limit_ends_no_pause_and_forgets_no_learned_rate() -> None:
    paused = TokenBucket.full(5, 0).throttled(0, wait_seconds=60, allowed_per_second=1)
    for limit in (2.0, 20.0):
        bucket = paused.with_limit(limit, 1000)
        assert bucket.ready_at(1000) == 60_000
        assert bucket.rate(60_000) == 1


def test_of_the_requests_that_wait_the_one_of_the_highest_priority_goes_first() -> None:
    clock = Clock()
    limiter = RateLimiter(20, clock)
    for _ in range(20):
        limiter.enter()  # what a second holds
    order: list[str] = []

    def ask(priority: Priority) -> None:
        limiter.enter(priority)
        order.append(priority.name)

    wanted = [Priority.LAST, *[Priority.USUAL] * 5, Priority.FIRST]
    threads = [threading.Thread(target=ask, args=(priority,)) for priority in wanted]
    for thread in threads:
        thread.start()
    until(lambda: sum(limiter._waiting.values()), partial(eq, len(threads)))
    for gone in range(1, 8):
        clock.forward(50)
        until(lambda: len(order), partial(eq, gone))
    for thread in threads:
        thread.join()
    assert order == ["FIRST", *["USUAL"] * 5, "LAST"]


def test_a_request_is_to_spare_if_the_bucket_is_full_at_the_configured_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(5, clock)
    assert limiter.has_spare()
    limiter.enter(Priority.LAST)
    assert not limiter.has_spare()
    clock.forward(200)
    assert limiter.has_spare()
    limiter.throttled(1, None)
    assert not limiter.has_spare()
    clock.forward(1000)
    assert not limiter.has_spare()
    clock.forward(11 * 60_000)  # the rate has grown back
    assert limiter.has_spare()
