"""The poll loop: what is due is read, counted, written, and only then shown.

One thread runs `run`. From then on it alone calls the projects, the repository and the publisher; every other
thread sends it messages and reads the last snapshot. A step is always the same:

    1. handle every message: answers of the cloud, scrapes, a new configuration
    2. collect what changed as one change set; write it in one transaction
    3. show it, then log and count it
    4. start what is due

If the write fails, nothing is shown and nothing new is asked; the same change is written again later. While
answers come in quickly, 2 and 3 are done for all those of a quarter of a second together.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar

from exporter.adapters.prometheus.exposition import Page
from exporter.adapters.store.database import Store
from exporter.adapters.store.errors import StoreError
from exporter.core.accounting.history import History
from exporter.core.alerting.notifications import Alert, unconfirmed
from exporter.core.pages.update_feed import FoundUpdates, UpdateQuery
from exporter.core.times import EpochMs, Ticks
from exporter.engine.changes import ChangeSet, ProjectKey
from exporter.engine.fetch import Job, Result, fetch
from exporter.engine.held_counters import HeldCounters, Key
from exporter.engine.project_poller import ProjectPoller, ProjectResources
from exporter.engine.project_state import ProjectSettings
from exporter.engine.reporter import Reporter
from exporter.engine.repository import Repository
from exporter.engine.scrape_gap import ScrapeGap
from exporter.engine.snapshot import Publisher

# The loop wakes at least this often, so that `/-/healthy` can tell a slow loop from a dead one.
_LONGEST_WAIT_MS = 1000

# A page waits this long for the loop; a commit of a whole large fleet takes less.
_LONGEST_HISTORY_WAIT_SECONDS = 5.0

# A commit, a page and what else is made once for each step take milliseconds, however little has changed.
# Where much does, four of them a second are enough: nobody scrapes more often than that.
_WRITE_EVERY_MS = 250

# A disk that is full stays so for a while.
_WRITE_AGAIN_MS = 10_000

# Deleted services are kept for days, so an hour more is nothing. One call forgets a page of them, some 10 ms;
# while more are left, it is called once a second.
_FORGET_EVERY_MS = 3_600_000
_FORGET_MORE_MS = 1000

T = TypeVar("T")
Setup = tuple[ProjectSettings, ProjectResources]


class Poller:
    """See the module.

    Args:
        store: opened; the loop's thread owns it from now on.
        publisher: where readers look.
        reporter: the log and the self-metrics.
        clock: the time, which may step.
        ticks: the clock that never steps back.

    """

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        reporter: Reporter,
        clock: Callable[[], EpochMs],
        ticks: Callable[[], Ticks],
    ) -> None:
        self._publisher, self._reporter = publisher, reporter
        self._repository = Repository(store, reporter.damaged)
        self._clock, self._ticks = clock, ticks
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._projects: dict[str, ProjectPoller] = {}
        self._removed: set[str] = set()  # projects that are still shown, and are no longer read
        self._held = HeldCounters()
        self._scrapes = ScrapeGap(ticks())
        self._stopping = False
        self._paused_until = self._forget_due = self._write_due = ticks()
        self.store_error: StoreError | None = None  # of the last write, if it failed
        self._keep_deleted: int | None = None
        self.ticked_at = ticks()

    # --- from other threads ------------------------------------------------------------------------

    def tell(self, message: Callable[[], None]) -> None:
        """Have the loop's thread run `message`."""
        self._inbox.put(message)

    def scraped(self, page: Page) -> None:
        """A scrape has taken the whole of `page`."""
        tick = self._ticks()

        def take() -> None:
            self._scrapes.taken(tick)
            self._release(self._held.scraped(page.number))

        self.tell(take)

    def read_now(self, project: str, service_id: str | None) -> None:
        """Somebody says that this service is being deployed; None: he asks for the list of its project."""
        self.tell(partial(self._read_now, project, service_id))

    def history(self, project: str, service_id: str) -> History | None:
        """A service's last events and updates. Raises `TimeoutError` if they cannot be read now."""

        def look() -> History | None:
            found = self._projects.get(project)
            return self._repository.history(found.settings.key, service_id) if found else None

        return self._look(look)

    def updates(self, query: UpdateQuery, service_ids: Collection[str] | None) -> FoundUpdates:
        """A page of the settled updates of all services. Raises `TimeoutError` if it cannot be read now.

        `service_ids` are those that the query's `service` is the name of; None for all services.
        """
        return self._look(
            lambda: self._repository.updates(
                [project.settings.key for project in self._projects.values()], query, service_ids
            )
        )

    def _look(self, read: Callable[[], T]) -> T:
        """What the loop's thread reads from the store. Raises `TimeoutError`."""
        answers: SimpleQueue[tuple[T] | StoreError] = SimpleQueue()

        def look() -> None:
            try:
                answers.put((read(),))
            except StoreError as error:  # a page is no reason to end
                answers.put(error)

        self.tell(look)
        try:
            answer = answers.get(timeout=_LONGEST_HISTORY_WAIT_SECONDS)
        except Empty:
            raise TimeoutError("the poll loop is busy") from None
        if isinstance(answer, StoreError):
            raise TimeoutError("the store cannot be read") from answer
        return answer[0]

    def alerts(self) -> Mapping[Key, Alert]:
        """The alerts to push. While nothing can be stored they stand still, so none of them is confirmed."""
        alerts = self._publisher.snapshot.alerts
        return alerts if self.store_error is None else unconfirmed(alerts)

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
            due = self.step(gather=True)
            if self._stopping:
                break
            wait = _LONGEST_WAIT_MS if due is None else min(max(due - self._ticks(), 0), _LONGEST_WAIT_MS)
            try:
                message = self._inbox.get(timeout=wait / 1000)
            except Empty:
                continue
            message()
        self._write_and_show()
        self.close()

    def close(self) -> None:
        """Let the threads of all projects go; what is under way is not waited for."""
        for project in self._projects.values():
            project.stop()

    def caught_up(self) -> bool:
        """Whether every project was listed, or failed to be, and nothing that was due is unread."""
        tick = self._ticks()
        return all(project.caught_up(tick) for project in self._projects.values())

    def step(self, *, gather: bool = False) -> int | None:
        """Do one step, see the module.

        `gather`: do not write yet if that was done a moment ago.
        Returns when (ticks) something will be due next; None if only a message can change that.
        """
        self.ticked_at = self._ticks()
        while True:
            try:
                message = self._inbox.get_nowait()
            except Empty:
                break
            message()
        self._release(dict.fromkeys(self._held.overdue(self._clock()), ()))
        gathers = gather and self._paused_until <= self._ticks() < self._write_due
        written = gathers or (self._write_and_show() and self._forget())
        if self._stopping:
            return None
        if not written or self._ticks() < self._paused_until:
            return self._paused_until
        for name, project in self._projects.items():
            for job in project.take_due(self._clock(), self._ticks()):
                project.resources.fetcher.submit(partial(self._fetch, name, project.resources, job))
        dues = [due for project in self._projects.values() if (due := project.next_due()) is not None]
        return min([*dues, self._write_due] if gathers else dues, default=None)

    def _stop(self) -> None:
        self._stopping = True

    # --- the configuration -------------------------------------------------------------------------

    def check(self, keys: Iterable[ProjectKey]) -> None:
        """Raise `StoreError` if the store cannot tell what is known of a project that is new."""
        known = {project.settings.key for project in self._projects.values()}
        for key in keys:
            if key not in known:
                self._repository.load(key, self._clock())

    def configure(self, setups: Sequence[Setup], keep_deleted: int | None = None) -> bool:
        """Read these projects and no others. What stays the same goes on as if nothing had happened.

        A service that was deleted, or a project that was taken out, longer ago than `keep_deleted` ms is
        forgotten; None: it never is.
        Returns whether the change is shown; it is not while the store cannot be written.
        """
        self._keep_deleted, self._forget_due = keep_deleted, self._ticks()
        wanted = {settings.name: (settings, resources) for settings, resources in setups}
        tick = self._ticks()
        for name, project in list(self._projects.items()):
            if name not in wanted or wanted[name][0].key != project.settings.key:
                project.stop()
                self._removed.add(name)
                del self._projects[name]
        for name, (settings, resources) in wanted.items():
            if name in self._projects:
                self._projects[name].reconfigure(settings, resources, tick)
            else:
                stored = self._repository.load(settings.key, self._clock())
                self._projects[name] = ProjectPoller(settings, resources, stored, tick)
        return self._write_and_show()

    def _read_now(self, name: str, service_id: str | None) -> None:
        project = self._projects.get(name)
        if project is None:
            return
        if service_id is None:
            if project.list_now(self._ticks()):
                self._reporter.told(name)
        elif (row := project.poll_now(service_id, self._clock(), self._ticks())) is not None:
            self._reporter.told(name, row)

    # --- on a thread of the project ----------------------------------------------------------------

    def _fetch(self, name: str, resources: ProjectResources, job: Job) -> None:
        try:
            answer = partial(self._answered, name, resources, job, fetch(resources.source, job))
        except BaseException as error:  # noqa: BLE001 - a bug of ours; a thread that just ends would hide it
            answer = partial(_raise, error)
        self.tell(answer)

    def _answered(self, name: str, resources: ProjectResources, job: Job, result: Result) -> None:
        project = self._projects.get(name)
        # What was asked with resources that are no longer in force is asked again with the new ones.
        if project is not None and project.resources is resources:
            try:
                project.answered(job, result, self._clock(), self._ticks())
            except StoreError as error:  # the next list asks the store again
                self._not_written(error)

    # --- write, then show --------------------------------------------------------------------------

    def _release(self, taken: Mapping[Key, Iterable[str]]) -> None:
        for (name, service_id), names in taken.items():
            if name in self._projects:
                self._projects[name].release(service_id, frozenset(names), self._clock())

    def _write_and_show(self) -> bool:
        """Write what changed and show it. Returns False if it could not be written."""
        if self._ticks() < self._paused_until:
            return False
        found = {name: change for name, p in self._projects.items() if (change := p.change()) is not None}
        change_set = ChangeSet(tuple(found.values()), frozenset(self._removed))
        if not change_set and not self._publisher.pending:
            return True
        begun = self._ticks()
        try:
            if self._repository.write(change_set):
                self._reporter.stored((self._ticks() - begun) / 1000, self._repository.size())
        except StoreError as error:
            return self._not_written(error)
        self.store_error = None
        self._write_due = Ticks(begun + _WRITE_EVERY_MS)
        for name, change in found.items():
            self._projects[name].written(change)
        self._removed.clear()
        counters = self._publisher.publish(change_set, self._clock(), self._scrapes.at(self._ticks()))
        self._held.shown(self._publisher.snapshot.page.number, counters)
        self._reporter.report(change_set)
        return True

    def _forget(self) -> bool:
        """Forget some of what was deleted, or not configured any more, long ago.

        Returns False if that could not be written.
        """
        tick, now = self._ticks(), self._clock()
        if self._keep_deleted is None or tick < self._forget_due:
            return True
        try:
            configured = {project.settings.key for project in self._projects.values()}
            more = self._repository.forget(configured, EpochMs(now - self._keep_deleted), now)
        except StoreError as error:
            return self._not_written(error)
        self._forget_due = Ticks(tick + (_FORGET_MORE_MS if more else _FORGET_EVERY_MS))
        return True

    def _not_written(self, error: StoreError) -> bool:
        self.store_error = error
        self._reporter.not_stored(error)
        self._paused_until = Ticks(self._ticks() + _WRITE_AGAIN_MS)
        return False


def _raise(error: BaseException) -> None:
    raise error
