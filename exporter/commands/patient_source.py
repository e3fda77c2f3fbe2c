"""A source for commands that end: where the cloud answers 429, it waits and asks again."""

import time
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

from exporter.adapters.modelarts.rate_limiter import monotonic_ms
from exporter.core.records import EventWindow, ServiceList, ServiceRow, UpdateWindow
from exporter.core.source import Source, Stopping, Throttled

T = TypeVar("T")

# How long a project is waited for that answers nothing but 429: five times the usual window of a gateway,
# which is a minute. Whoever shares the user's quota has had enough of it by then, or never has.
PATIENCE_SECONDS = 300


class PatientSource:
    """Reads of one project that outlast a 429, and all fail when the patience ends. Threads may share it.

    Any answer renews the patience, so that a long read at a low rate comes to its end.

    Args:
        source: what reads.
        stop: lets no more requests out, and ends the waiting of those that wait for the rate limit.
        waits: told for how many seconds nothing is asked, when that begins; 0: the cloud does not say.
        clock: ms that never step back.
        sleep: waits for so many seconds.

    """

    def __init__(
        self,
        source: Source,
        stop: Callable[[], None],
        waits: Callable[[float], None],
        clock: Callable[[], int] = monotonic_ms,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._source, self._stop, self._waits = source, stop, waits
        self._clock, self._sleep = clock, sleep
        self._lock = Lock()
        self._throttled_since: int | None = None  # ms; None: not since the last answer
        self._given_up: Throttled | None = None

    def list_services(self) -> ServiceList:
        """See `Source`."""
        return self._read(self._source.list_services)

    def read_detail(self, service_id: str) -> ServiceRow:
        """See `Source`."""
        return self._read(lambda: self._source.read_detail(service_id))

    def read_updates(self, service_id: str, instant: int | None = None) -> UpdateWindow:
        """See `Source`."""
        return self._read(lambda: self._source.read_updates(service_id, instant))

    def read_events(self, service_id: str, after: int | None = None, *, spare: bool = False) -> EventWindow:
        """See `Source`."""
        return self._read(lambda: self._source.read_events(service_id, after, spare=spare))

    def _read(self, read: Callable[[], T]) -> T:
        while True:
            if self._given_up is not None:
                raise Throttled(str(self._given_up))
            try:
                found = read()
            except Throttled as error:
                self._wait(error)
            except Stopping:
                if self._given_up is None:
                    raise
            else:
                self._throttled_since = None
                return found

    def _wait(self, error: Throttled) -> None:
        """Wait for as long as the cloud says; what it leaves open, the rate limit waits for."""
        wait = error.wait_seconds or 0.0
        with self._lock:
            now = self._clock()
            begins = self._throttled_since is None
            if self._throttled_since is None:
                self._throttled_since = now
            too_long = now + wait * 1000 > self._throttled_since + PATIENCE_SECONDS * 1000
            if too_long and self._given_up is None:
                self._given_up = Throttled(f"{error} The command waits for {PATIENCE_SECONDS} s at most.")
                self._stop()
        if not too_long:
            if begins:
                self._waits(wait)
            self._sleep(wait)
