"""What the pages and the JSON tell, asked of the rest of the program."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from exporter.core.accounting.history import History
from exporter.core.pages.filters import parse_filter, parse_project
from exporter.core.pages.overview import Overview, ProjectStatus, Services, find_service, overview
from exporter.core.pages.service_page import Remedy, ServicePage, service_page


class StatusReader(NamedTuple):
    """The doors to what is known; any thread may use them.

    `services` are those present, by project and id, and never change. `history` is what the store keeps of
    a service by project and id, None for nothing; it raises `TimeoutError` while the store is busy. `clock`
    is in ms. `remedy` says what can be done about an event's text.
    """

    services: Callable[[], Services]
    projects: Callable[[], Sequence[ProjectStatus]]
    history: Callable[[str, str], History | None]
    clock: Callable[[], int]
    remedy: Remedy

    def overview(self, query: str) -> tuple[Overview, int]:
        """The page of the fleet that a query string asks for, and its time (ms). Raises `BadQueryError`."""
        now = self.clock()
        return overview(self.services(), self.projects(), parse_filter(query), now), now

    def service(self, service_id: str, query: str) -> tuple[ServicePage | None, int]:
        """The page of a service, None if it is not known, and its time (ms). Raises `BadQueryError`."""
        view, others = find_service(self.services(), service_id, parse_project(query))
        if view is None:
            return None, self.clock()
        history, was_read = None, True
        try:
            history = self.history(view.project, service_id)
        except TimeoutError:
            was_read = False
        now = self.clock()
        return service_page(view, history, now, self.remedy, others, history_read=was_read), now
