"""A project on its way through the poller: where it is read, and how far its present poll has come."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from exporter.core.accounting.labels import ProjectView
from exporter.core.source import Source
from exporter.engine.fetch import Fetcher
from exporter.engine.project import Project, ProjectSettings


class ProjectResources(NamedTuple):
    """What belongs to one project from outside: where it is read, by whom, and how all of it ends."""

    settings: ProjectSettings
    source: Source
    fetchers: Fetcher
    stop: Callable[[], None]
    rate: Callable[[], float]


class ProjectStatus(NamedTuple):
    """A project in a word, for pages and for readiness."""

    name: str
    up: bool | None  # None: not listed yet
    error: str
    services: int
    listed_at: int | None  # last complete list, ms


class Course:
    """A project and its lane, and how far its present cycle has come."""

    def __init__(self, lane: ProjectResources, project: Project) -> None:
        self.lane, self.project = lane, project
        self.key = (lane.settings.name, lane.settings.project_id)
        self.list_due: int | None = 0  # ticks; None while it is being read
        self.list_begun = 0
        self.listed_at: int | None = None
        self.error = ""
        self.refused = True  # until the first list has shown that the credential is taken
        self.touched = True
        self._cycle_begun: int | None = None
        self._waiting: set[str] = set()

    @property
    def busy(self) -> int:
        """Requests under way, at most one a fetcher."""
        return self.project.queue.result + (self.list_due is None)

    @property
    def may_read(self) -> bool:
        """Whether services are read: not while it is unknown whether the credential is taken."""
        return not self.refused

    def next_due(self) -> int | None:
        """When (ticks) this project wants the loop back; None while only an answer can change anything."""
        dues = [] if self.list_due is None else [self.list_due]
        service = self.project.queue.next_due()
        if service is not None and self.may_read and self.busy < self.project.settings.concurrency:
            dues.append(service)
        return min(dues, default=None)

    def caught_up(self, tick: int) -> bool:
        """Whether it was listed, or failed to be, and nothing that was due is unread."""
        return self.project.up is not None and (self.refused or not self.project.queue.overdue(tick))

    def begin_cycle(self, begun: int, tick: int) -> Iterable[float]:
        """A poll is a list and the reads that were due with it; the next begins when it is done.

        Returns the duration in seconds of each poll that is over.
        """
        due = self.project.queue.overdue(tick)
        if self._cycle_begun is None:
            self._cycle_begun, self._waiting = begun, set(due)
        else:
            self._waiting &= due  # some may be gone
        return self._end_cycle(tick)

    def end_read(self, service_id: str, tick: int) -> Iterable[float]:
        """A service was read. Returns the duration in seconds of the poll, if that was its last."""
        self._waiting.discard(service_id)
        return self._end_cycle(tick)

    def _end_cycle(self, tick: int) -> Iterable[float]:
        if self._cycle_begun is None or self._waiting:
            return ()
        begun, self._cycle_begun = self._cycle_begun, None
        return ((tick - begun) / 1000,)

    def view(self) -> ProjectView:
        """The project as the exposition sees it."""
        settings, project = self.project.settings, self.project
        return ProjectView(
            settings.name,
            settings.project_id,
            settings.endpoint,
            project.up,
            len(project.services),
            project.totals,
        )

    def status(self) -> ProjectStatus:
        """The project in a word."""
        return ProjectStatus(
            self.key[0], self.project.up, self.error, len(self.project.services), self.listed_at
        )
