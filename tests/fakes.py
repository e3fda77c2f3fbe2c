"""Fakes that work: a cloud in memory behind the source's door, fetchers without threads, clocks by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from exporter.adapters.store.database import Store, StoreError
from exporter.core.records import Event, EventWindow, ServiceList, ServiceRow, Update, UpdateWindow
from exporter.core.source import Gone, RemoteError
from exporter.core.times import EpochMs, Ticks

NOW = 1_700_000_000_000


class Crash(BaseException):
    """The process is gone in the middle of what it did; no code under test may catch it."""


class Clock:
    """Milliseconds that stand still until they are moved: ours, and the cloud's, which never steps."""

    def __init__(self, now: int = NOW) -> None:
        self.now = self.true = now

    def __call__(self) -> EpochMs:
        return EpochMs(self.now)

    def ticks(self) -> Ticks:
        """A clock that never steps back."""
        return Ticks(self.true)

    def forward(self, milliseconds: int) -> None:
        self.now += milliseconds
        self.true += milliseconds

    def step(self, milliseconds: int) -> None:
        """Our clock is set; time itself goes on."""
        self.now += milliseconds

    def seen(self) -> int:
        """What a read is dated: the slower of both."""
        return min(self.now, self.true)


class Cloud:
    """One project: services with their two logs, and failures to come by endpoint."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.rows: dict[str, ServiceRow] = {}
        self.updates: dict[str, list[Update]] = {}
        self.events: dict[str, list[Event]] = {}
        self.failures: dict[str, RemoteError] = {}
        self.complete = True
        self.malformed = 0
        self.calls: list[tuple[str, str]] = []
        self.detail: dict[str, str] = {}
        self.unsupported: set[str] = set()  # services without an update log
        self.crash_after: int | None = None  # this many answers more, and the asker dies of the next

    def add(self, service_id: str, status: str = "running", **fields: Any) -> None:
        row = {"service_id": service_id, "service_name": f"name-{service_id}", "infer_type": "real-time"}
        self.rows[service_id] = ServiceRow(**{**row, "status": status, **fields})
        self.updates.setdefault(service_id, [])
        self.events.setdefault(service_id, [])

    def change(self, service_id: str, **fields: Any) -> None:
        """The service's row says something new."""
        self.rows[service_id] = msgspec.structs.replace(self.rows[service_id], **fields)

    def update(self, service_id: str, time: int, result: str, **fields: Any) -> None:
        """An update begins, or the one of this time settles in place."""
        self.updates[service_id] = [u for u in self.updates[service_id] if u.update_time != time]
        self.append(service_id, time, result, **fields)

    def append(self, service_id: str, time: int, result: str, **fields: Any) -> None:
        """One more entry, also beside others of the same time."""
        self.updates[service_id].append(Update(time, result, **fields))

    def event(self, service_id: str, time: int, kind: str, text: str) -> None:
        self.events[service_id].append(Event(time, kind, text))

    def remove(self, service_id: str) -> None:
        del self.rows[service_id]

    def _answer(self, endpoint: str, service_id: str = "") -> None:
        if self.crash_after is not None:
            self.crash_after -= 1
            if self.crash_after < 0:
                self.crash_after = None
                raise Crash
        self.calls.append((endpoint, service_id))
        for key in (endpoint, f"{endpoint} {service_id}"):
            if key in self.failures:
                raise self.failures[key]
        if service_id and service_id not in self.rows:
            raise Gone(f"Service {service_id} does not exist.")

    def list_services(self) -> ServiceList:
        self._answer("list")
        return ServiceList(tuple(self.rows.values()), self.complete, self.malformed)

    def read_detail(self, service_id: str) -> ServiceRow:
        self._answer("detail", service_id)
        row = self.rows[service_id]
        return msgspec.structs.replace(row, error_msg=self.detail.get(service_id, ""))

    def read_updates(self, service_id: str, instant: int | None = None) -> UpdateWindow:
        self._answer("logs", service_id)
        if service_id in self.unsupported:
            return UpdateWindow((), self.clock.seen(), supported=False, answered_at=self.clock.true)
        shown = [u for u in self.updates[service_id] if instant in (None, u.update_time)]
        return UpdateWindow(tuple(shown), self.clock.seen(), instant, answered_at=self.clock.true)

    def read_events(self, service_id: str, after: int | None = None, *, spare: bool = False) -> EventWindow:
        self._answer("audit" if spare else "events", service_id)
        shown = [e for e in self.events[service_id] if after is None or e.occur_time > after]
        return EventWindow(tuple(shown), self.clock.seen(), after, answered_at=self.clock.true)


class Inline:
    """Fetchers that do the work where they stand."""

    def submit(self, work: Callable[[], None]) -> None:
        work()

    def stop(self) -> None:
        """Nothing runs that could be stopped."""


class Later:
    """Fetchers that do the work when they are told to, in any order."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, work: Callable[[], None]) -> None:
        self.waiting.append(work)

    def stop(self) -> None:
        """Nothing runs that could be stopped."""

    def work(self) -> None:
        """Do all that waits now."""
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()


class FaultyStore(Store):
    """A store of which commits can be made to fail, or to be the last thing the process does."""

    def __init__(self, *opened: Any) -> None:
        super().__init__(*opened)
        # Of the next commits: "ok", "fails", "fails after", "dies before", "dies after".
        self.faults: list[str] = []

    def commit(self, changes: Sequence[Any]) -> None:
        fault = self.faults.pop(0) if self.faults else "ok"
        if fault == "fails":
            raise StoreError("The disk is full.")
        if fault == "dies before":
            raise Crash
        super().commit(changes)
        if fault == "fails after":
            raise StoreError("The disk did not say that it was done.")
        if fault == "dies after":
            raise Crash
