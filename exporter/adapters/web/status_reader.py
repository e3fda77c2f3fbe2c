"""What the pages and the JSON tell, asked of the rest of the program."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from exporter.adapters.web.snapshot import Snapshot
from exporter.core.accounting.history import History
from exporter.core.links import LinkOptions, links_of
from exporter.core.pages.filters import Selection, ServiceFilter, parse_filter, parse_project, parse_selection
from exporter.core.pages.overview import Overview, ProjectStatus, find_service, old_before, overview
from exporter.core.pages.service_page import Remedy, ServicePage, service_page
from exporter.core.pages.update_feed import FoundUpdate, FoundUpdates, UpdateQuery, parse_updates_query
from exporter.core.service_lookup import Candidate, called


class MissingService(NamedTuple):
    """No project has a service of this id; one of these projects may not have been read."""

    projects: Sequence[ProjectStatus]


class UpdatesPage(NamedTuple):
    """Settled updates, newest first, each with its service's name; `next_cursor` is "" on the last page."""

    updates: Sequence[tuple[FoundUpdate, str]]
    next_cursor: str


class StatusReader(NamedTuple):
    """The doors to what is known; any thread may use them.

    Each request takes one `snapshot`. `history` is what the store keeps of a service by project and id, None
    for nothing. `updates` is a page of the settled updates of all services, or of these ids. Both raise
    `TimeoutError` while the store is busy. `clock` is in ms. `remedy` says what can be done about an event's
    text. `links` are the configured ones.
    """

    snapshot: Callable[[], Snapshot[Any]]
    history: Callable[[str, str], History | None]
    updates: Callable[[UpdateQuery, Collection[str] | None], FoundUpdates]
    clock: Callable[[], int]
    remedy: Remedy
    links: Callable[[], LinkOptions]

    def overview(self, query: str) -> tuple[Overview, int]:
        """The page of the fleet that a query string asks for, and its time (ms). Raises `BadQueryError`."""
        return self._overview(parse_filter(query), Selection())

    def selection(self, query: str) -> tuple[Overview, int]:
        """As `overview`, with everything that a program may ask for. Raises `BadQueryError`."""
        return self._overview(*parse_selection(query))

    def _overview(self, service_filter: ServiceFilter, selection: Selection) -> tuple[Overview, int]:
        now, snapshot = self.clock(), self.snapshot()
        return overview(snapshot.services, snapshot.projects, service_filter, now, selection), now

    def newest_updates(self, query: str) -> tuple[UpdatesPage, int]:
        """The settled updates that a query string asks for. Raises `BadQueryError` and `TimeoutError`."""
        wanted = parse_updates_query(query)
        service_ids = None
        if wanted.service:
            views = self.snapshot().services.values()
            candidates = (Candidate(view.project, view.state.row) for view in views)
            service_ids = {found.row.service_id for found in called(candidates, wanted.service)}
        found = self.updates(wanted, service_ids)
        services = self.snapshot().services
        shown = [
            (update, view.state.row.service_name)
            for update in found.updates
            # What is gone since then, or not shown yet, has no name.
            if (view := services.get((update.place.project, update.place.service_id))) is not None
        ]
        return UpdatesPage(shown, found.rest.cursor() if found.rest else ""), self.clock()

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
