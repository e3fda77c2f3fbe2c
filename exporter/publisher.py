"""What readers see: the last snapshot, and which counters have shown their 0 in it.

Written by the writer thread alone, after the commit; every other thread reads `snapshot` and takes no lock.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

from exporter.adapters.exposition import Exposition, Page
from exporter.core.counters import Counters
from exporter.core.views import ProjectView, ServiceView
from exporter.course import Course, ProjectStatus

# (project, service_id); of the project itself the service_id is "".
Key = tuple[str, str]


class Snapshot(NamedTuple):
    """Everything that readers see, as of one commit."""

    page: Page
    projects: tuple[ProjectStatus, ...]


class Publisher:
    """See the module."""

    def __init__(self, exposition: Exposition) -> None:
        self._exposition = exposition
        # By page: how many were published before it. By counter: the first page that showed its 0.
        self._numbers: WeakKeyDictionary[Page, int] = WeakKeyDictionary()
        self._unscraped: dict[Key, dict[str, int]] = {}
        self._number = 0
        self._releases: dict[Key, int] = {}  # when (ms) a held value must be shown, scraped or not
        self.snapshot = Snapshot(exposition.page(), ())

    def show_on(self, exposition: Exposition) -> None:
        """Show on other families from the next `publish` on, which has to name everything."""
        self._exposition = exposition

    def publish(self, courses: Mapping[str, Course], changed: Iterable[Key]) -> None:
        """Show what changed; a key that no course knows any more is shown no more."""
        self._number += 1
        services: dict[Key, ServiceView | None] = {}
        projects: dict[str, ProjectView | None] = {}
        for key in changed:
            name, service_id = key
            course = courses.get(name)
            counters = None
            if service_id:
                account = course.project.services.get(service_id) if course else None
                services[key] = ServiceView(name, account) if account is not None else None
                counters = account.counters if account is not None else None
            else:
                projects[name] = course.view() if course else None
                counters = course.project.fleet.counters if course else None
            self._remember(key, counters)
        self._exposition.update(services, projects)
        page = self._exposition.page()
        self._numbers[page] = self._number
        self.snapshot = Snapshot(page, tuple(course.status() for course in courses.values()))

    def taken_by(self, page: Page) -> Mapping[Key, Iterable[str]]:
        """The counters whose 0 a scrape of `page` has taken."""
        number = self._numbers.get(page, 0)
        taken = {
            key: [n for n, first in names.items() if first <= number]
            for key, names in self._unscraped.items()
        }
        return {key: names for key, names in taken.items() if names}

    def overdue(self, now: int) -> Mapping[Key, Iterable[str]]:
        """The subjects, with no names, that have held a value back for long enough by `now` (ms)."""
        return {key: () for key, release in self._releases.items() if release <= now}

    def _remember(self, key: Key, counters: Counters | None) -> None:
        self._releases.pop(key, None)
        if counters is None or not counters.unscraped:
            self._unscraped.pop(key, None)
            return
        before = self._unscraped.get(key, {})
        self._unscraped[key] = {name: before.get(name, self._number) for name in counters.unscraped}
        release = counters.first_release()
        if release is not None:
            self._releases[key] = release
