"""The shell around the core: what is due is read, applied, committed, and only then published.

One writer thread runs `run`. Every other thread hands it messages and reads the last `Snapshot`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue

from exporter.adapters.prometheus.exposition import Page
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.database import Store
from exporter.adapters.store.errors import StoreError
from exporter.core.accounting.history import History
from exporter.core.accounting.service_state import Outcome
from exporter.core.records import ServiceList
from exporter.core.source import Refused, RemoteError, Stopping
from exporter.engine.course import Course, ProjectResources
from exporter.engine.fetch import PollJob, PollResult, list_services, read_service
from exporter.engine.publisher import Key, Publisher
from exporter.engine.reporter import Reporter
from exporter.engine.repository import Repository

# While a credential is refused no request goes out before its time; asking this often only notices
# at once when its file was mended.
_REFUSED_AGAIN_MS = 1000

# The loop wakes at least this often, so that `/-/healthy` can tell a slow loop from a dead one.
_LONGEST_NAP_MS = 1000

# A page may wait this long for the writer: a commit of a whole large fleet takes less.
_LONGEST_LOOK_SECONDS = 5.0

# A disk that is full stays so for a while; what could not be kept is read again then.
_STORE_AGAIN_MS = 10_000


class Poller:
    """See the module.

    Args:
        store: opened; this thread owns it from now on.
        publisher: where readers look.
        metrics: the exporter's own metrics.
        reporter: the log.
        clock: ms since the epoch; may step.
        ticks: ms of a clock that never steps back.

    """

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        metrics: SelfMetrics,
        reporter: Reporter,
        clock: Callable[[], int],
        ticks: Callable[[], int],
    ) -> None:
        self._books, self._publisher = Repository(store), publisher
        self._metrics, self._reporter = metrics, reporter
        self._clock, self._ticks = clock, ticks
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._courses: dict[str, Course] = {}
        self._outcomes: list[tuple[Course, str, Outcome]] = []
        self._stopping = False
        self._paused_until = ticks()
        self.ticked_at = ticks()

    # --- from other threads ------------------------------------------------------------------------

    def tell(self, message: Callable[[], None]) -> None:
        """Have the writer thread run `message`."""
        self._inbox.put(message)

    def scraped(self, page: Page) -> None:
        """A scrape has taken the whole of `page`."""
        self.tell(partial(self._scraped, page))

    def history(self, project: str, service_id: str) -> History | None:
        """A service's last events and updates. Raises `TimeoutError` if the writer is busy for too long."""
        answers: SimpleQueue[History | None] = SimpleQueue()

        def look() -> None:
            course = self._courses.get(project)
            answers.put(None if course is None else self._books.history(course.key, service_id))

        self.tell(look)
        try:
            return answers.get(timeout=_LONGEST_LOOK_SECONDS)
        except Empty:
            raise TimeoutError("the writer thread is busy") from None

    def stop(self) -> None:
        """End `run` after the commit under way."""
        self.tell(self._stop)

    @property
    def idle(self) -> bool:
        """Whether no message waits."""
        return self._inbox.empty()

    # --- the loop ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Work until `stop`; whatever it raises is a bug of ours or a store that cannot be used."""
        while not self._stopping:
            due = self.step()
            nap = _LONGEST_NAP_MS if due is None else min(max(due - self._ticks(), 0), _LONGEST_NAP_MS)
            try:
                message = self._inbox.get(timeout=nap / 1000)
            except Empty:
                continue
            message()
        self.close()

    def close(self) -> None:
        """Let the lanes go; what is under way is not waited for."""
        for course in self._courses.values():
            course.lane.stop()
            course.lane.fetchers.stop()

    def caught_up(self) -> bool:
        """Whether every project was listed, or failed to be, and nothing that was due is unread."""
        tick = self._ticks()
        return all(course.caught_up(tick) for course in self._courses.values())

    def step(self) -> int | None:
        """Handle every message, make it durable, show it, and start what is due.

        Returns when (ticks) something will be due next; None if only a message can tell.
        """
        self.ticked_at = self._ticks()
        while True:
            try:
                message = self._inbox.get_nowait()
            except Empty:
                break
            message()
        self._release(self._publisher.overdue(self._clock()))
        self._commit()
        tick = self._ticks()
        if self._stopping or tick < self._paused_until:
            return None if self._stopping else self._paused_until
        for course in self._courses.values():
            self._dispatch(course, tick)
        return min((due for c in self._courses.values() if (due := c.next_due()) is not None), default=None)

    def _stop(self) -> None:
        self._stopping = True

    def adopt(self, lanes: Sequence[ProjectResources]) -> None:
        """Work on these projects and no others; what is known of those that stay is kept."""
        self._commit()
        kept = {}
        gone: set[Key] = set()
        self.close()
        for name, course in self._courses.items():
            gone |= {(name, service_id) for service_id in (*course.project.services, "")}
        for lane in lanes:
            before = self._courses.get(lane.settings.name)
            course = Course(lane, self._books.open(lane.settings, self._clock()))
            if before is not None and before.key == course.key:
                course.listed_at, course.project.up = before.listed_at, before.project.up
            kept[lane.settings.name] = course
            self._metrics.poll_interval(lane.settings.name, lane.settings.intervals.interval / 1000)
        self._courses = kept
        self._publisher.publish(
            kept,
            gone | {(n, sid) for n, c in kept.items() for sid in (*c.project.services, "")},
            self._clock(),
        )

    # --- what is due -------------------------------------------------------------------------------

    def _dispatch(self, course: Course, tick: int) -> None:
        project, lane = course.project, course.lane
        if course.list_due is not None and course.list_due <= tick:
            course.list_due, course.list_begun = None, tick
            lane.fetchers.submit(partial(self._list, course, tick))
        while course.may_read and course.busy < project.settings.concurrency:
            job = project.next_job(tick)
            if job is None:
                break
            lane.fetchers.submit(partial(self._read, course, job))

    def _list(self, course: Course, begun: int) -> None:
        self._answer(lambda: partial(self._listed, course, begun, list_services(course.lane.source)))

    def _read(self, course: Course, job: PollJob) -> None:
        self._answer(lambda: partial(self._was_read, course, read_service(course.lane.source, job)))

    def _answer(self, ask: Callable[[], Callable[[], None]]) -> None:
        try:
            answer = ask()
        except BaseException as error:  # noqa: BLE001 - a bug of ours; a fetcher that just ends would hide it
            answer = partial(_raise, error)
        self.tell(answer)

    # --- what came of it ---------------------------------------------------------------------------

    def _is_current(self, course: Course) -> bool:
        return self._courses.get(course.project.settings.name) is course

    def _listed(self, course: Course, begun: int, result: ServiceList | RemoteError) -> None:
        if not self._is_current(course) or isinstance(result, Stopping):
            return
        name, project, tick = course.key[0], course.project, self._ticks()
        again = _REFUSED_AGAIN_MS if isinstance(result, Refused) else project.settings.intervals.interval
        course.list_due = max(begun + again, tick)
        course.refused = isinstance(result, Refused)
        if isinstance(result, RemoteError):
            self._reporter.list_failed(name, result, before=course.error)
            course.error, project.up = str(result), False
        else:
            outcomes = project.listed(result, self._clock(), tick)
            self._outcomes += [(course, service_id, outcome) for service_id, outcome in outcomes]
            self._reporter.listed(name, result, before=course.error)
            project.up = result.complete
            course.error = "" if result.complete else "The list was torn; what was read of it is shown."
            if result.complete:
                course.listed_at = self._clock()
                self._metrics.listed(name, course.listed_at / 1000)
            for seconds in course.begin_cycle(begun, tick):
                self._metrics.poll_duration(name, seconds)
        course.touched = True

    def _was_read(self, course: Course, result: PollResult) -> None:
        if not self._is_current(course):
            return
        name, service_id = course.key[0], result.job.service_id
        if isinstance(result.error, Stopping):
            return
        before = course.project.services.get(service_id)
        outcome = course.project.read(result, self._clock(), self._ticks())
        if isinstance(result.error, Refused):
            # One request finds out when the credential is taken again; it is the list.
            course.refused = True
            if course.list_due is not None:
                course.list_due = self._ticks()
        self._reporter.was_read(name, result, before)
        if outcome is not None:
            self._outcomes.append((course, service_id, outcome))
        for seconds in course.end_read(service_id, self._ticks()):
            self._metrics.poll_duration(name, seconds)

    # --- held counters -----------------------------------------------------------------------------

    def _scraped(self, page: Page) -> None:
        self._release(self._publisher.taken_by(page))

    def _release(self, taken: Mapping[Key, Iterable[str]]) -> None:
        for name, course in self._courses.items():
            services = {sid: names for (project, sid), names in taken.items() if project == name and sid}
            course.project.release(services, taken.get((name, ""), ()), self._clock())

    # --- commit, then publish ----------------------------------------------------------------------

    def _commit(self) -> None:
        shown: set[Key] = set()
        for name, course in self._courses.items():
            staged, totals = course.project.staged()
            shown |= {(name, service_id) for service_id in staged}
            if staged or totals is not None or course.touched:
                shown.add((name, ""))
        changes = self._books.changes(self._courses.values(), self._outcomes)
        try:
            if changes:
                self._metrics.commit(self._timed(partial(self._books.write, changes)))
                self._metrics.store_size(self._books.size())
                self._reporter.stored()
        except StoreError as error:
            self._reporter.not_stored(error)
            self._outcomes.clear()
            self._paused_until = self._ticks() + _STORE_AGAIN_MS
            for course in self._courses.values():
                course.project.discard(self._ticks())
            return
        for course in self._courses.values():
            course.project.settle()
            course.touched = False
            self._metrics.rate(course.key[0], course.lane.rate())
        self._tell_outcomes()
        if shown:
            self._publisher.publish(self._courses, shown, self._clock())

    def _timed(self, work: Callable[[], None]) -> float:
        begun = self._ticks()
        work()
        return (self._ticks() - begun) / 1000

    def _tell_outcomes(self) -> None:
        for course, service_id, outcome in self._outcomes:
            self._reporter.counted(course.key[0], service_id, outcome)
        self._outcomes.clear()


def _raise(error: BaseException) -> None:
    raise error
