"""Where every request of one project waits until the rate allows it."""

import threading
import time
from collections.abc import Callable

from exporter.core.polling.rate_limit import TokenBucket
from exporter.core.source import Stopping


def monotonic_ms() -> int:
    """Milliseconds that never step back; their zero has no meaning."""
    return time.monotonic_ns() // 1_000_000


class RateLimiter:
    """A `TokenBucket` that threads share.

    Args:
        limit_per_second: the configured `rate_limit`, > 0.
        clock: milliseconds of a clock that never steps back.

    """

    def __init__(self, limit_per_second: float, clock: Callable[[], int] = monotonic_ms) -> None:
        self._clock = clock
        self._bucket = TokenBucket.full(limit_per_second, clock())
        self._changed = threading.Condition()
        self._stopped = False

    def enter(self) -> None:
        """Return when one request may go. Raises `Stopping` once `stop` was called, also while waiting."""
        with self._changed:
            while not self._stopped:
                now = self._clock()
                ready = self._bucket.ready_at(now)
                if ready <= now:
                    self._bucket = self._bucket.take(now)
                    return
                self._changed.wait((ready - now) / 1000)
        raise Stopping("The exporter is stopping.")

    def throttled(self, wait_seconds: float | None, allowed_per_second: float | None) -> None:
        """The cloud answered 429; what it said about the wait and the rate, as far as it did."""
        with self._changed:
            self._bucket = self._bucket.throttled(self._clock(), wait_seconds, allowed_per_second)

    def rate(self) -> float:
        """The rate in force, in requests per second."""
        with self._changed:
            return self._bucket.rate(self._clock())

    def stop(self) -> None:
        """Let nothing more through, and wake who waits."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
