"""Reads the whole logs of many services, a few at a time, in the order in which they are asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import SimpleQueue

from exporter.core.accounting.service_state import ServiceState
from exporter.core.polling.schedule import PollState, wants_detail
from exporter.core.records import ServiceList, ServiceRow
from exporter.core.source import (
    Forbidden,
    Gone,
    NotUnderstood,
    Refused,
    RemoteError,
    Source,
    Stopping,
    Unreachable,
)
from exporter.core.times import EpochMs, Ticks
from exporter.engine.fetch import PollJob, PollResult, list_services, poll_service
from exporter.engine.project_poller import ProjectResources
from exporter.engine.project_state import ProjectSettings, ProjectState, RecalledService, StoredProject

# A torn read is read again, and a 429 or an error of the server passes.
_TRIES = 3
# These stay as they are, or take a whole timeout each.
_LASTING = (Forbidden, Gone, NotUnderstood, Refused, Stopping, Unreachable)

# Services that are read or wait to be used, for each thread: enough that no thread waits for the accounting.
_AHEAD = 2

_BEGUN = Ticks(0)  # nothing is asked of how long a read took


def read_list(source: Source) -> ServiceList | RemoteError:
    """The service list; one that stays torn is not complete."""
    listed = list_services(source)
    for _ in range(_TRIES - 1):
        if isinstance(listed, _LASTING) or (isinstance(listed, ServiceList) and listed.complete):
            break
        listed = list_services(source)
    return listed


def read_services(
    resources: ProjectResources, rows: Iterable[ServiceRow], concurrency: int
) -> Iterator[tuple[ServiceRow, PollResult]]:
    """Both whole logs of each service, in the order of `rows`; few results wait at the same time."""
    under_way: deque[tuple[ServiceRow, SimpleQueue[Callable[[], PollResult]]]] = deque()
    for row in rows:
        answer: SimpleQueue[Callable[[], PollResult]] = SimpleQueue()
        resources.fetcher.submit(partial(_read, resources.source, row, answer))
        under_way.append((row, answer))
        if len(under_way) >= _AHEAD * concurrency:
            yield _first(under_way)
    while under_way:
        yield _first(under_way)


def _first(
    under_way: deque[tuple[ServiceRow, SimpleQueue[Callable[[], PollResult]]]],
) -> tuple[ServiceRow, PollResult]:
    row, answer = under_way.popleft()
    return row, answer.get()()


def _read(source: Source, row: ServiceRow, answer: SimpleQueue[Callable[[], PollResult]]) -> None:
    job = PollJob(row.service_id, _BEGUN)
    try:
        result = poll_service(source, job)
        for _ in range(_TRIES - 1):
            if result.error is None or isinstance(result.error, _LASTING):
                break
            result = poll_service(source, job)
    except BaseException as error:  # noqa: BLE001 - a bug of ours, which a thread that just ends would hide
        answer.put(partial(_raise, error))
    else:
        answer.put(lambda: result)


def _raise(error: BaseException) -> PollResult:
    raise error


class PresentService:
    """A service as the running exporter shows it first: by the same code, on a store that is empty.

    Args:
        settings: of its project.
        polled: what was read of it.
        now: ms.

    """

    def __init__(self, settings: ProjectSettings, row: ServiceRow, polled: PollResult, now: EpochMs) -> None:
        nothing = StoredProject({}, None, lambda _service_id, _now: RecalledService(None))
        self._project = ProjectState(settings, nothing)
        self._project.apply_list(ServiceList((row,)), now, _BEGUN)
        self._project.apply_poll(polled, now, _BEGUN)
        self._service_id = row.service_id

    @property
    def state(self) -> ServiceState:
        """What is known of it."""
        return self._project.services[self._service_id]

    def explain(self, source: Source) -> str:
        """Read why it failed if the running exporter would. Returns the text of its detail, "" for none."""
        if not wants_detail(self.state, PollState()):
            return ""
        result = poll_service(source, PollJob(self._service_id, _BEGUN, detail=True))
        self._project.apply_detail(result)
        return result.detail.error_msg if isinstance(result.detail, ServiceRow) else ""
