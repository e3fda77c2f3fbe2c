"""What one poll asks of the cloud, and the threads that do it."""

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from exporter.core.accounting.audit import Audit, Span
from exporter.core.records import EventWindow, ServiceList, ServiceRow, UpdateWindow
from exporter.core.source import Gone, Refused, RemoteError, Source, Stopping, Throttled
from exporter.core.times import Ticks

T = TypeVar("T")


class ListJob(msgspec.Struct, frozen=True, gc=False):
    """Read the list of services."""

    begun: Ticks


class PollJob(msgspec.Struct, frozen=True, gc=False):
    """Read the logs of one service. Times of entries are ms since the epoch."""

    service_id: str
    begun: Ticks
    update_time_filter: int | None = None  # read only this entry of the update log
    had_updates: bool = False  # its update log was read before, and held something
    events_after: int | None = None  # read only events later than this
    detail: bool = False  # read no log, but why the service failed, as its detail tells


class AuditJob(msgspec.Struct, frozen=True, gc=False):
    """Read closed days of an event log once more, to compare them with what was counted."""

    service_id: str
    counted: Audit
    span: Span


Job = ListJob | PollJob | AuditJob


class PollResult(NamedTuple):
    """What a poll brought; None where it was not asked for, or not reached."""

    job: PollJob
    updates: UpdateWindow | RemoteError | None = None
    events: EventWindow | RemoteError | None = None
    detail: ServiceRow | RemoteError | None = None

    @property
    def whole(self) -> bool:
        """Whether the whole update log was read."""
        return isinstance(self.updates, UpdateWindow) and self.updates.instant is None

    def has(self, kind: type[RemoteError]) -> bool:
        """Whether any part failed like this."""
        return any(isinstance(part, kind) for part in (self.updates, self.events, self.detail))

    @property
    def error(self) -> RemoteError | None:
        """The first thing that went wrong."""
        return next(
            (part for part in (self.updates, self.events, self.detail) if isinstance(part, RemoteError)), None
        )


class AuditResult(NamedTuple):
    """What the read of closed days brought."""

    job: AuditJob
    events: EventWindow | RemoteError


# What comes of a job.
Result = ServiceList | RemoteError | PollResult | AuditResult

# After one of these the next request for the same service would fail in the same way.
_ENDS_THE_JOB = (Gone, Refused, Throttled, Stopping)


def fetch(source: Source, job: Job) -> Result:
    """Do a job."""
    if isinstance(job, ListJob):
        return list_services(source)
    if isinstance(job, AuditJob):
        after = job.span.read_after
        return AuditResult(job, _or_error(lambda: source.read_events(job.service_id, after, spare=True)))
    return poll_service(source, job)


def list_services(source: Source) -> ServiceList | RemoteError:
    """Read the list."""
    return _or_error(source.list_services)


def poll_service(source: Source, job: PollJob) -> PollResult:
    """Read both logs of a service; a failure of one does not hide the other. Or read its detail instead."""
    if job.detail:
        return PollResult(job, detail=_or_error(lambda: source.read_detail(job.service_id)))
    updates = _read_updates(source, job)
    if isinstance(updates, _ENDS_THE_JOB):
        return PollResult(job, updates)
    return PollResult(job, updates, _or_error(lambda: source.read_events(job.service_id, job.events_after)))


def _read_updates(source: Source, job: PollJob) -> UpdateWindow | RemoteError:
    if job.update_time_filter is not None:
        one = _or_error(lambda: source.read_updates(job.service_id, job.update_time_filter))
        if isinstance(one, _ENDS_THE_JOB):
            return one
        if isinstance(one, UpdateWindow) and any(
            u.update_time == job.update_time_filter for u in one.updates
        ):
            return one
        # The filter was refused, or the entry is no longer there: the whole log tells what became of it.
    whole = _or_error(lambda: source.read_updates(job.service_id))
    if isinstance(whole, UpdateWindow) and not whole.supported and job.had_updates:
        return RemoteError("The update log is refused (400), though it held entries before.")
    return whole


def _or_error(read: Callable[[], T]) -> T | RemoteError:
    try:
        return read()
    except RemoteError as error:
        return error


class Fetcher(Protocol):
    """Where jobs are done."""

    def submit(self, work: Callable[[], None]) -> None:
        """Do `work` soon; it passes its result on by itself and raises nothing."""

    def stop(self) -> None:
        """Take no more work."""


class FetchPool:
    """A fixed number of daemon threads; one that hangs does not delay the end of the process."""

    def __init__(self, name: str, count: int) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._name, self._count = name, 0
        self.resize(count)

    def resize(self, count: int) -> None:
        """Go on with another number of threads; what is under way is finished."""
        for number in range(self._count, count):
            Thread(target=self._serve, name=f"{self._name}-{number}", daemon=True).start()
        for _ in range(count, self._count):
            self._work.put(None)
        self._count = count

    def submit(self, work: Callable[[], None]) -> None:
        """Queue the work."""
        self._work.put(work)

    def stop(self) -> None:
        """Let every thread end after what it does now."""
        self.resize(0)

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            work()
