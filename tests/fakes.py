"""Fakes that work: a cloud in memory behind the source's door, fetchers without threads, clocks by hand."""

from collections.abc import Callable

from exporter.core.records import Event, EventWindow, ServiceList, ServiceRow, Update, UpdateWindow
from exporter.core.source import Gone, RemoteError

NOW = 1_700_000_000_000


class Clock:
    """Milliseconds that stand still until they are moved."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def forward(self, milliseconds: int) -> None:
        self.now += milliseconds


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

    def add(self, service_id: str, status: str = "running", **fields: object) -> None:
        row = {"service_id": service_id, "service_name": f"name-{service_id}", "infer_type": "real-time"}
        self.rows[service_id] = ServiceRow(**{**row, "status": status, **fields})  # type: ignore[arg-type]
        self.updates.setdefault(service_id, [])
        self.events.setdefault(service_id, [])

    def update(self, service_id: str, time: int, result: str, **fields: object) -> None:
        self.updates[service_id] = [u for u in self.updates[service_id] if u.update_time != time]
        self.updates[service_id].append(Update(time, result, **fields))  # type: ignore[arg-type]

    def event(self, service_id: str, time: int, kind: str, text: str) -> None:
        self.events[service_id].append(Event(time, kind, text))

    def remove(self, service_id: str) -> None:
        del self.rows[service_id]

    def _answer(self, endpoint: str, service_id: str = "") -> None:
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
        return ServiceRow(service_id, row.service_name, status=row.status, error_msg=self.detail.get(service_id, ""))

    def read_updates(self, service_id: str, instant: int | None = None) -> UpdateWindow:
        self._answer("logs", service_id)
        shown = [u for u in self.updates[service_id] if instant in (None, u.update_time)]
        return UpdateWindow(tuple(shown), self.clock(), instant)

    def read_events(self, service_id: str, after: int | None = None) -> EventWindow:
        self._answer("events", service_id)
        shown = [e for e in self.events[service_id] if after is None or e.occur_time > after]
        return EventWindow(tuple(shown), self.clock(), after)


class Inline:
    """Fetchers that do the work where they stand."""

    def submit(self, work: Callable[[], None]) -> None:
        work()

    def stop(self) -> None:
        """Nothing runs that could be stopped."""
