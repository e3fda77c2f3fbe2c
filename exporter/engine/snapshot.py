"""What readers see: the last snapshot, replaced by one assignment after each commit."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from exporter.adapters.prometheus.exposition import Exposition, Page
from exporter.core.accounting.counters import Counters
from exporter.core.accounting.labels import ProjectView, ServiceView
from exporter.core.alerting.notifications import Alert, NotifierOptions, alert_of, is_over
from exporter.core.times import EpochMs
from exporter.engine.changes import ChangeSet, ProjectStatus
from exporter.engine.held_counters import Key

Id = TypeVar("Id")
Subject = TypeVar("Subject")


class Snapshot(NamedTuple):
    """Everything that readers see, as of one commit. Nothing in it ever changes."""

    page: Page
    projects: tuple[ProjectStatus, ...]
    services: Mapping[Key, ServiceView]  # those present
    alerts: Mapping[Key, Alert]  # every alert that there is to tell of


class Publisher:
    """Makes the next snapshot of the last one and a change; only the poll loop's thread calls it.

    Args:
        exposition: empty.
        on_alerts: called when the alerts of `snapshot` changed.

    """

    def __init__(self, exposition: Exposition, on_alerts: Callable[[], None] = lambda: None) -> None:
        self._exposition, self._on_alerts = exposition, on_alerts
        self._options: NotifierOptions | None = None  # None: no alert is pushed
        self._render_all = False  # at the next publish, not only what changed
        self._views: dict[str, ProjectView] = {}
        self._statuses: dict[str, ProjectStatus] = {}
        self.snapshot = Snapshot(exposition.page(), (), {}, {})

    def show_on(self, exposition: Exposition, options: NotifierOptions | None) -> None:
        """Show other families and alerts from the next `publish` on; until then all stays as it is."""
        self._exposition, self._options, self._render_all = exposition, options, True

    @property
    def pending(self) -> bool:
        """Whether the next `publish` shows something even if nothing has changed."""
        return self._render_all

    def publish(self, changes: ChangeSet, now: EpochMs) -> Mapping[Key, Counters | None]:
        """Show what changed by `now`. Returns the counters that the page shows otherwise than before."""
        before = self.snapshot
        projects: dict[str, ProjectView | None] = dict.fromkeys(changes.removed)
        services: dict[Key, ServiceView | None] = {
            key: None for key in (before.services if changes.removed else ()) if key[0] in changes.removed
        }
        statuses = {name: s for name, s in self._statuses.items() if name not in changes.removed}
        for change in changes.projects:
            name = change.status.name
            projects[name], statuses[name] = change.view, change.status
            for service_id, state in change.services.items():
                services[name, service_id] = ServiceView(name, state.after) if state.present else None
        shown = _updated(before.services, services)
        alerts = self._alerts(before.alerts, {**services, **shown} if self._render_all else services, now)
        self._views, self._statuses = _updated(self._views, projects), statuses
        number = before.page.number + 1
        if self._render_all:
            self._exposition.update(shown, self._views, number)
        else:
            self._exposition.update(services, projects, number)
        self._render_all = False
        self.snapshot = Snapshot(self._exposition.page(), tuple(statuses.values()), shown, alerts)
        if alerts != before.alerts:
            self._on_alerts()
        return {
            **{key: view.state.counters if view else None for key, view in services.items()},
            **{(name, ""): view.totals.counters if view else None for name, view in projects.items()},
        }

    def _alerts(
        self, before: Mapping[Key, Alert], services: Mapping[Key, ServiceView | None], now: EpochMs
    ) -> Mapping[Key, Alert]:
        options = self._options
        if options is None:
            return {}
        alerts = dict(before)
        for key, view in services.items():
            alert = _alert_after(alerts.pop(key, None), view, now, options)
            if alert is not None:
                alerts[key] = alert
        return {key: alert for key, alert in alerts.items() if not is_over(alert, now, options)}


def _updated(before: Mapping[Id, Subject], changes: Mapping[Id, Subject | None]) -> dict[Id, Subject]:
    # A copy, because readers hold the one before: ten thousand entries take a fifth of a millisecond.
    after = dict(before)
    for key, subject in changes.items():
        if subject is None:
            after.pop(key, None)
        else:
            after[key] = subject
    return after


def _alert_after(
    before: Alert | None, view: ServiceView | None, now: EpochMs, options: NotifierOptions
) -> Alert | None:
    if view is None:
        # The service is gone, and its alert ends with it.
        firing = before is not None and before.resolved_at is None
        return msgspec.structs.replace(before, resolved_at=now) if before is not None and firing else before
    alert = alert_of(view, options)
    ended = alert is not None and alert.resolved_at is not None
    if alert is not None and before is not None and ended and alert.active_at == before.active_at:
        # A resolved alert keeps the labels and annotations that it fired with.
        return msgspec.structs.replace(before, resolved_at=alert.resolved_at)
    return alert
