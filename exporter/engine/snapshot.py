"""What readers see: the last snapshot, replaced by one assignment after each commit."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import msgspec

from exporter.adapters.prometheus.exposition import Exposition, Page
from exporter.core.accounting.counters import Counters
from exporter.core.accounting.labels import ProjectView, ServiceView
from exporter.core.accounting.service_state import visible
from exporter.core.alerting.notifications import Alert, NotifierOptions, alert_of, is_over, with_end_ready
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
        # By project, the services that were read since it can be listed: what is known of them is true.
        self._seen: dict[str, set[str]] = {}
        self.snapshot = Snapshot(exposition.page(), (), {}, {})

    def show_on(self, exposition: Exposition, options: NotifierOptions | None) -> None:
        """Show other families and alerts from the next `publish` on; until then all stays as it is."""
        self._exposition, self._options, self._render_all = exposition, options, True

    @property
    def pending(self) -> bool:
        """Whether the next `publish` shows something even if nothing has changed."""
        return self._render_all

    def publish(self, changes: ChangeSet, now: EpochMs, scrape_gap: int) -> Mapping[Key, Counters | None]:
        """Show what changed by `now`. Returns the counters that the page shows otherwise than before.

        `scrape_gap` is how far scrapes are apart, in ms.
        """
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
                services[name, service_id] = (
                    ServiceView(name, visible(state.after)) if state.present else None
                )
        shown = _updated(before.services, services)
        news = self._look(changes)
        self._views, self._statuses = _updated(self._views, projects), statuses
        alerts = self._alerts(before.alerts, services, shown, news, now, scrape_gap)
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

    def _look(self, changes: ChangeSet) -> set[Key]:
        """Take over what was read, or can be read no more. Returns the services of which that is news."""
        news: set[Key] = set()
        for name in changes.removed:
            self._seen.pop(name, None)
        for change in changes.projects:
            name = change.status.name
            seen = self._seen.setdefault(name, set())
            before = self._views.get(name)
            if change.view.up is False and before is not None and before.up is not False:
                news |= {(name, service_id) for service_id in seen}
                seen.clear()
            for poll in change.polls:
                service_id = poll.result.job.service_id
                if (service_id in seen) != (poll.result.error is None):
                    news.add((name, service_id))
                    seen ^= {service_id}
        return news

    def _alerts(
        self,
        before: Mapping[Key, Alert],
        changed: Mapping[Key, ServiceView | None],
        shown: Mapping[Key, ServiceView],
        news: set[Key],
        now: EpochMs,
        scrape_gap: int,
    ) -> Mapping[Key, Alert]:
        options = self._options
        if options is None:
            return {}
        # How far scrapes are apart may be known only now.
        alerts = {
            key: with_end_ready(alert, options, scrape_gap) if now < alert.ready_at else alert
            for key, alert in before.items()
        }
        looked_at = {key: shown[key] for key in alerts if key in news and key in shown}
        for key, view in {**looked_at, **(shown if self._render_all else {}), **changed}.items():
            found = None if view is None else self._alert(view, options, scrape_gap)
            alert = _alert_after(alerts.pop(key, None), found, options, now, scrape_gap, gone=view is None)
            if alert is not None:
                alerts[key] = alert
        return {key: alert for key, alert in alerts.items() if not is_over(alert, now)}

    def _alert(self, view: ServiceView, options: NotifierOptions, scrape_gap: int) -> Alert | None:
        return alert_of(
            view,
            options,
            self._views[view.project].project_id,
            scrape_gap=scrape_gap,
            confirmed=view.state.row.service_id in self._seen[view.project],
        )


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
    before: Alert | None,
    found: Alert | None,
    options: NotifierOptions,
    now: EpochMs,
    scrape_gap: int,
    *,
    gone: bool,
) -> Alert | None:
    """The alert of a service after `found`; if the service is gone, its alert ends with it."""
    if before is None or (found is None and not gone):
        return found
    if found is None and before.resolved_at is not None:
        return before
    if found is None:
        ended = msgspec.structs.replace(before, resolved_at=now, confirmed=True)
        return with_end_ready(ended, options, scrape_gap)
    if found.resolved_at is None or found.active_at != before.active_at:
        return found
    # An end keeps the words of its beginning, and once it may be sent it does not change.
    ready_at = before.ready_at if before.resolved_at == found.resolved_at else found.ready_at
    return msgspec.structs.replace(
        before, resolved_at=found.resolved_at, ready_at=ready_at, confirmed=found.confirmed
    )
