"""What the pages and the JSON tell, asked of the rest of the program."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from exporter.adapters.web.snapshot import Snapshot
from exporter.core.accounting.history import History
from exporter.core.links import LinkOptions, links_of
from exporter.core.pages.filters import parse_filter, parse_project
from exporter.core.pages.overview import Overview, ProjectStatus, find_service, old_before, overview
from exporter.core.pages.service_page import Remedy, ServicePage, service_page


class MissingService(NamedTuple):
    """No project has a service of this id; one of these projects may not have been read."""

    projects: Sequence[ProjectStatus]


class StatusReader(NamedTuple):
    """The doors to what is known; any thread may use them.

    Each request takes one `snapshot`. `history` is what the store keeps of a service by project and id, None
    for nothing; it raises `TimeoutError` while the store is busy. `clock` is in ms. `remedy` says what can be
    done about an event's text. `links` are the configured ones.
    """

    snapshot: Callable[[], Snapshot[Any]]
    history: Callable[[str, str], History | None]
    clock: Callable[[], int]
    remedy: Remedy
    links: Callable[[], LinkOptions]

    def overview(self, query: str) -> tuple[Overview, int]:
        """The page of the fleet that a query string asks for, and its time (ms). Raises `BadQueryError`."""
        now, snapshot = self.clock(), self.snapshot()
        return overview(snapshot.services, snapshot.projects, parse_filter(query), now), now

    def service(self, service_id: str, query: str) -> tuple[ServicePage | MissingService, int]:
        """The page of a service and its time (ms). Raises `BadQueryError`."""
        snapshot = self.snapshot()
        view, others = find_service(snapshot.services, service_id, parse_project(query))
        if view is None:
            return MissingService(snapshot.projects), self.clock()
        history, was_read = None, True
        try:
            history = self.history(view.project, service_id)
        except TimeoutError:
            was_read = False
        now = self.clock()
        project = next((each for each in snapshot.projects if each.name == view.project), None)
        limit = old_before(project, now)
        page = service_page(view, history, now, self.remedy, others, history_read=was_read, old_before=limit)
        if project is None:
            return page, now
        links = links_of(self.links(), view.project, project.project_id, service_id)
        error = project.error if project.up is False else ""
        return page._replace(links=links, project_error=error), now
