"""Where every request of one project waits until the rate allows it."""

import threading
import time
from collections.abc import Callable

from exporter.core.polling.rate_limit import Priority, TokenBucket
from exporter.core.source import Stopping
from exporter.core.times import Ticks


def monotonic_ms() -> Ticks:
    """Milliseconds that never step back; their zero has no meaning."""
    return Ticks(time.monotonic_ns() // 1_000_000)


class RateLimiter:
    """A `TokenBucket` that threads share.

    Args:
        limit_per_second: the configured `rate_limit`, > 0.
        clock: milliseconds of a clock that never steps back.
        after: the limiter of the same cloud that this one takes over from, with what it has learned.

    """

    def __init__(
        self,
        limit_per_second: float,
        clock: Callable[[], int] = monotonic_ms,
        after: "RateLimiter | None" = None,
    ) -> None:
        self._clock = clock
        bucket = TokenBucket.full(limit_per_second, clock()) if after is None else after.bucket
        self._bucket = bucket.with_limit(limit_per_second, clock())
        self._changed = threading.Condition()
        self._stopped = False
        self._waiting = dict.fromkeys(Priority, 0)  # how many requests wait

    def enter(self, priority: Priority = Priority.USUAL) -> None:
        """Return when one request may go, and none of a higher priority waits.

        Raises `Stopping` once `stop` was called, also while waiting.
        """
        with self._changed:
            self._waiting[priority] += 1
            try:
                while not self._stopped:
                    now = self._clock()
                    ready = self._bucket.ready_at(now)
                    is_next = not any(self._waiting[higher] for higher in Priority if higher < priority)
                    if ready <= now and is_next:
                        self._bucket = self._bucket.take(now)
                        return
                    # Until those of a higher priority have gone, only their going wakes the others.
                    self._changed.wait((ready - now) / 1000 if is_next else None)
            finally:
                self._waiting[priority] -= 1
                if priority < Priority.LAST:
                    self._changed.notify_all()
        raise Stopping("The exporter is stopping.")

    def limit(self, limit_per_second: float) -> None:
        """Go on with another configured `rate_limit`; what was learned, a pause and who waits stay."""
        with self._changed:
            self._bucket = self._bucket.with_limit(limit_per_second, self._clock())
            self._changed.notify_all()

    @property
    def bucket(self) -> TokenBucket:
        """What is known of the cloud's limit."""
        with self._changed:
            return self._bucket

    def throttled(self, wait_seconds: float | None, allowed_per_second: float | None) -> None:
        """The cloud answered 429; what it said about the wait and the rate, as far as it did."""
        with self._changed:
            self._bucket = self._bucket.throttled(self._clock(), wait_seconds, allowed_per_second)

    def rate(self) -> float:
        """The rate in force, in requests per second."""
        with self._changed:
            return self._bucket.rate(self._clock())

    def has_spare(self) -> bool:
        """Whether a request now would be one that otherwise goes unused."""
        with self._changed:
            return self._bucket.is_full(self._clock())

    def stop(self) -> None:
        """Let nothing more through, and wake who waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
