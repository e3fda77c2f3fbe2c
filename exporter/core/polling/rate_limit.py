"""How many requests one project may send: a token bucket that learns from the cloud's refusals.

Times are integer milliseconds of any clock that never steps back; rates are requests per second.
"""

import math
from dataclasses import dataclass, replace
from enum import IntEnum

# How fast a learned rate comes back: by this part of the configured one, once a minute. From the lowest
# rate it takes ten minutes, ten times the usual window of a gateway: enough to see that each step is borne.
GROWTH_STEP = 0.1
GROWTH_STEP_MS = 60_000

# Without `Retry-After` and without a window in the text, the first pause is the finest window that a
# gateway counts in (a second), doubled at each further refusal up to its usual one (a minute).
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0

# Halving stops at one request a minute; a rate that the cloud names itself may be lower.
SLOWEST_HALVED_RATE = 1 / 60

# The bucket holds what one second lets through: a gateway counts per second at the finest, so a larger
# burst could break a limit that the rate respects. Never less than one, or nothing could ever go.
BURST_SECONDS = 1.0

# Float noise: far below a request, far above the rounding of a day's worth of additions.
_EPSILON = 1e-6


class Priority(IntEnum):
    """Which of the requests that wait goes next; among equals chance decides."""

    FIRST = 0
    USUAL = 1
    LAST = 2


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """The state of the bucket; every change gives a new one.

    Args:
        limit: the configured rate, > 0; the learned one never exceeds it.
        since: when the other values held. While a pause lasts this is its end, in the future.
        tokens: requests that could go at `since`.
        learned: the rate at `since`.
        grows_at: when a learned rate below the limit next rises by a step.
        strikes: refusals in a row that named no time to wait.
        paused_until: end of the last pause.

    """

    limit: float
    since: int
    tokens: float
    learned: float
    grows_at: int = 0
    strikes: int = 0
    paused_until: int | None = None

    @classmethod
    def full(cls, limit: float, now: int) -> "TokenBucket":
        """A bucket that nothing has been taken from."""
        return cls(limit=limit, since=now, tokens=max(1.0, limit * BURST_SECONDS), learned=limit)

    def with_limit(self, limit: float, now: int) -> "TokenBucket":
        """The same under another configured rate: a pause goes on, and what was learned downwards stays."""
        state = self._advanced(now)
        learned = limit if state.learned >= state.limit else min(limit, state.learned)
        return replace(state, limit=limit, learned=learned, tokens=min(state.tokens, max(1.0, learned)))

    def rate(self, now: int) -> float:
        """The rate in force at `now`."""
        return self._advanced(now).learned

    def ready_at(self, now: int) -> int:
        """When the next request may go: `now`, or the first millisecond after it with a whole token."""
        state = self._advanced(now)
        ready = state.since + max(0.0, 1 - _EPSILON / 2 - state.tokens) * 1000 / state.learned
        # Beyond the next step it comes sooner; there are at most ten.
        return state.ready_at(state.grows_at) if state.grows_by(ready) else math.ceil(ready)

    def is_full(self, now: int) -> bool:
        """Whether requests have gone unused: nothing was refused lately, and no more tokens fit."""
        state = self._advanced(now)
        full = state.tokens >= max(1.0, state.limit * BURST_SECONDS) - _EPSILON
        return full and state.since <= now and state.learned >= state.limit

    def take(self, now: int) -> "TokenBucket":
        """One request goes. Only to be called when `ready_at(now) <= now`."""
        state = self._advanced(now)
        assert state.since <= now, "a request was taken during a pause"
        assert state.tokens >= 1 - _EPSILON, "a request was taken before its time"
        return replace(state, tokens=max(0.0, state.tokens - 1))

    def throttled(
        self, now: int, wait_seconds: float | None = None, allowed_per_second: float | None = None
    ) -> "TokenBucket":
        """The cloud answered 429: nothing goes until the wait is over, and the rate is lower after it.

        Args:
            now: when the answer came.
            wait_seconds: from `Retry-After` or the window that the text names; None: not told.
            allowed_per_second: the rate that the text names; None (or 0): the present one is halved.

        """
        paused = self.since > now
        # Several requests are in flight when the first refusal comes: those that follow it during the
        # pause tell of the same excess, so they neither halve the rate nor double the pause once more.
        strikes = self.strikes
        if wait_seconds is None and not paused:
            strikes = strikes + 1 if self._is_repeated(now) else 1
        if wait_seconds is None:
            wait_seconds = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(max(strikes, 1) - 1, 16))
        state = self._advanced(now)
        rate = state.learned
        if allowed_per_second:
            rate = min(rate, allowed_per_second)
        elif not paused:
            rate = min(rate, max(rate / 2, SLOWEST_HALVED_RATE))
        until = max(now + math.ceil(max(0.0, wait_seconds) * 1000), state.since)
        return replace(
            state,
            since=until,
            # At the end of the pause one request may go, not a burst: the cloud has just said enough.
            tokens=min(1.0, state.tokens + rate * (until - state.since) / 1000),
            learned=rate,
            grows_at=until + GROWTH_STEP_MS,
            strikes=strikes,
            paused_until=until,
        )

    def _is_repeated(self, now: int) -> bool:
        """Whether the last pause ended so recently that this refusal belongs to the same trouble."""
        return self.paused_until is not None and now - self.paused_until <= LONGEST_PAUSE_SECONDS * 1000

    def grows_by(self, time: float) -> bool:
        """Whether the rate rises by `time`."""
        return self.learned < self.limit and self.grows_at <= time

    def _advanced(self, now: int) -> "TokenBucket":
        """The bucket as it is at `now`: filled at one rate up to each step, at most ten steps."""
        state = self
        while state.since < now:
            until = state.grows_at if state.grows_by(now) else now
            tokens = state.tokens + state.learned * (until - state.since) / 1000
            state = replace(state, since=until, tokens=min(tokens, max(1.0, state.learned * BURST_SECONDS)))
            if state.grows_by(until):
                grown = min(state.limit, state.learned + state.limit * GROWTH_STEP)
                state = replace(state, learned=grown, grows_at=until + GROWTH_STEP_MS)
        return state
