"""What readers see: the last snapshot, and which counters have shown their 0 in it.

Written by the writer thread alone, after the commit; every other thread reads `snapshot` and takes no lock.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

import msgspec

from exporter.adapters.prometheus.exposition import Exposition, Page
from exporter.core.accounting.counters import LONGEST_HOLD_MS, Counters
from exporter.core.accounting.labels import ProjectView, ServiceView
from exporter.core.alerting.notifications import Alert, NotifierOptions, alert_of, is_over
from exporter.engine.course import Course, ProjectStatus

# (project, service_id); of the project itself the service_id is "".
Key = tuple[str, str]


class Snapshot(NamedTuple):
    """Everything that readers see, as of one commit."""

    page: Page
    projects: tuple[ProjectStatus, ...]
    alerts: Mapping[Key, Alert]  # every alert there is to tell of
    services: Mapping[Key, ServiceView]  # those present


class Publisher:
    """See the module.

    Args:
        exposition: empty.
        options: None: no alert is pushed.

    """

    def __init__(self, exposition: Exposition, options: NotifierOptions | None = None) -> None:
        self._exposition = exposition
        self._notifier_options = options
        # By page: how many were published before it. By counter: the first page that showed its 0.
        self._numbers: WeakKeyDictionary[Page, int] = WeakKeyDictionary()
        self._unscraped: dict[Key, dict[str, int]] = {}
        self._number = 0
        self._releases: dict[Key, int] = {}  # when (ms) a held value must be shown, scraped or not
        self.snapshot = Snapshot(exposition.page(), (), {}, {})
        self.on_alerts: Callable[[], None] = lambda: None  # told that `snapshot.pushes` changed

    def show_on(self, exposition: Exposition, options: NotifierOptions | None) -> None:
        """Show other families and alerts from the next `publish` on, which has to name everything."""
        self._exposition = exposition
        self._notifier_options = options

    def publish(self, courses: Mapping[str, Course], changed: Iterable[Key], now: int) -> None:
        """Show what changed by `now` (ms); a key that no course knows any more is shown no more."""
        self._number += 1
        services: dict[Key, ServiceView | None] = {}
        projects: dict[str, ProjectView | None] = {}
        alerts = {
            key: alert
            for key, alert in self.snapshot.alerts.items()
            if self._notifier_options is not None and not is_over(alert, now, self._notifier_options)
        }
        for key in changed:
            name, service_id = key
            course = courses.get(name)
            counters = None
            if service_id:
                state = course.project.services.get(service_id) if course else None
                services[key] = view = ServiceView(name, state) if state is not None else None
                _note_alert(alerts, key, view, now, self._notifier_options)
                counters = state.counters if state is not None else None
            else:
                projects[name] = course.view() if course else None
                counters = course.project.totals.counters if course else None
            self._remember(key, counters)
        self._exposition.update(services, projects)
        page = self._exposition.page()
        self._numbers[page] = self._number
        before = self.snapshot
        statuses = tuple(course.status() for course in courses.values())
        self.snapshot = Snapshot(page, statuses, alerts, _with_changes(before.services, services))
        if alerts != before.alerts:
            self.on_alerts()

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
        return {
            key: ()
            for key, release in self._releases.items()
            # A clock that stepped back must not hold a value for longer.
            if not release - LONGEST_HOLD_MS <= now < release
        }

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


def _with_changes(
    before: Mapping[Key, ServiceView], changes: Mapping[Key, ServiceView | None]
) -> Mapping[Key, ServiceView]:
    if not changes:
        return before
    # A copy, because readers hold the one before: ten thousand entries take a fifth of a millisecond.
    after = dict(before)
    for key, view in changes.items():
        if view is None:
            after.pop(key, None)
        else:
            after[key] = view
    return after


def _note_alert(
    alerts: dict[Key, Alert], key: Key, view: ServiceView | None, now: int, options: NotifierOptions | None
) -> None:
    before = alerts.pop(key, None)
    if options is None:
        return
    if view is not None:
        alert = alert_of(view, options)
        if (
            alert is not None
            and before is not None
            and alert.resolved_at is not None
            and alert.active_at == before.active_at
        ):
            alert = msgspec.structs.replace(before, resolved_at=alert.resolved_at)
    elif before is not None and before.resolved_at is None:
        # The service is gone, and its alert ends with it.
        alert = msgspec.structs.replace(before, resolved_at=now)
    else:
        alert = before
    if alert is not None and not is_over(alert, now, options):
        alerts[key] = alert
