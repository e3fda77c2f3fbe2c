"""Which service's closed days are compared next with what was counted of them.

Once an hour all services are looked through, and the comparisons that are due are spread over that hour. A
comparison is one read; what comes of it is for `exporter.core.accounting.audit`. One that fails is due again
in the next hour. Only the poll loop's thread uses this. Times are ticks (ms) unless they are called `now`.
"""

from collections import deque
from collections.abc import Mapping

from exporter.core.accounting import audit
from exporter.core.accounting.service_state import ServiceState
from exporter.core.times import EpochMs, Ticks
from exporter.engine.fetch import AuditJob

# A day closes for all services at the same moment; nobody waits for what is found, and the cloud should not
# see a peak.
_LOOK_EVERY_MS = 3_600_000


class AuditQueue:
    """See the module; `begins` is when it looks for the first time."""

    def __init__(self, begins: Ticks) -> None:
        self._look_due = self._next_at = begins
        self._waiting: deque[str] = deque()
        self._gap = 0  # between two comparisons
        self._under_way: AuditJob | None = None

    def look(self, services: Mapping[str, ServiceState], lateness: int, now: EpochMs, tick: Ticks) -> bool:
        """Look through all services if it is time. Returns whether that showed nothing to compare."""
        if tick < self._look_due:
            return False
        self._look_due = Ticks(tick + _LOOK_EVERY_MS)
        self._waiting = deque(
            service_id for service_id, state in services.items() if _span(state, lateness, now) is not None
        )
        self._gap = _LOOK_EVERY_MS // max(len(self._waiting), 1)
        return not self._waiting and self._under_way is None

    def next_job(
        self, services: Mapping[str, ServiceState], lateness: int, now: EpochMs, tick: Ticks
    ) -> AuditJob | None:
        """The comparison that is next, None for none yet; it is under way from here on."""
        if self._under_way is not None or tick < self._next_at:
            return None
        while self._waiting:
            state = services.get(self._waiting.popleft())
            if state is not None and (span := _span(state, lateness, now)) is not None:
                self._next_at = Ticks(tick + self._gap)
                self._under_way = AuditJob(state.row.service_id, state.audit, span)
                return self._under_way
        return None

    def returned(self, job: AuditJob) -> None:
        """A job is done."""
        if self._under_way is job:
            self._under_way = None

    def abandon(self) -> None:
        """What is under way will not be answered."""
        self._under_way = None


def _span(state: ServiceState, lateness: int, now: EpochMs) -> audit.Span | None:
    return audit.span(state.audit, state.events.watermark, now, lateness)
