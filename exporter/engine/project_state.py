"""What is known of one project while the program runs, and what of it is not written yet."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from exporter.core.accounting import audit, project_totals, service_state
from exporter.core.accounting.apply_events import apply_events
from exporter.core.accounting.apply_updates import CountingPolicy, apply_updates
from exporter.core.accounting.counters import release
from exporter.core.accounting.labels import ProjectView
from exporter.core.accounting.project_totals import ProjectTotals
from exporter.core.accounting.service_state import Outcome, ServiceState, without_call_totals
from exporter.core.alerting.alert_state import with_alert_state
from exporter.core.classifier.classifier import Classifier
from exporter.core.polling.schedule import PollIntervals
from exporter.core.records import EventWindow, ServiceList, ServiceRow, UpdateWindow
from exporter.core.source import Gone
from exporter.core.times import EpochMs, Ticks
from exporter.engine.changes import ProjectKey, ProjectStatus, StateChange
from exporter.engine.fetch import AuditJob, PollResult

_TORN = "The list was torn; what was read of it is shown."


class ProjectSettings(NamedTuple):
    """What the configuration says about reading a project."""

    name: str
    project_id: str
    endpoint: str
    selection: str  # a fingerprint of the filter; when it changes, what the next list has is preexisting
    wants: Callable[[ServiceRow], bool]
    intervals: PollIntervals
    policy: CountingPolicy
    classifier: Classifier
    concurrency: int
    resolve_delay: int  # ms that the end of an alert waits before it is told

    @property
    def key(self) -> ProjectKey:
        """What tells the project from others, also in the store."""
        return (self.name, self.project_id)


class RecalledService(NamedTuple):
    """What the store knows of a service that is not among the present ones; None for nothing."""

    state: ServiceState | None
    damaged: bool = False  # it was known, and its record cannot be used


class StoredProject(NamedTuple):
    """What the store knows of a project; `recall` finds a service that was deleted before, at a time (ms)."""

    services: Mapping[str, ServiceState]
    totals: ProjectTotals | None
    recall: Callable[[str, EpochMs], RecalledService]


class ListEffects(NamedTuple):
    """The service_ids that a list showed to be new, changed or gone."""

    new: list[str]
    changed: list[str]
    gone: list[str]


class ProjectState:
    """The services of one project; only its `ProjectPoller` calls it.

    An answer changes the state at once. What changed since the last write is remembered, so that one frozen
    change can be written and shown; until it is written, nobody else sees it.
    """

    def __init__(self, settings: ProjectSettings, stored: StoredProject) -> None:
        self.settings = settings
        self.up: bool | None = None
        self.error = ""
        self.listed_at: EpochMs | None = None
        # A service that another exporter reads by now is not ours: that exporter pushes and ends its alert.
        self.services = {sid: state for sid, state in stored.services.items() if settings.wants(state.row)}
        self.totals = stored.totals or project_totals.opened(settings.selection)
        self._recall = stored.recall
        self._absences: dict[str, int] = {}
        self._deleted: dict[
            str, tuple[ServiceRow, Ticks]
        ] = {}  # the last row, and when its logs answered 404
        self._before: dict[str, ServiceState | None] = {}  # of each service that changed since the last write
        self._gone: dict[str, ServiceState] = {}  # the last state of those that went since the last write
        self._totals_before = self.totals
        self._select(settings)
        for service_id, state in stored.services.items():
            if service_id not in self.services:
                # Its record is written with the calls that were shown last; the project's leaves them out.
                self._before[service_id] = self._gone[service_id] = state

    # --- the configuration -------------------------------------------------------------------------

    def reconfigure(self, settings: ProjectSettings) -> list[str]:
        """Go on with other settings. Returns the services that are no longer asked for."""
        self.settings = settings
        self._select(settings)
        unwanted = [sid for sid, state in self.services.items() if not settings.wants(state.row)]
        for service_id in unwanted:
            self._remove(service_id)
        return unwanted

    def _select(self, settings: ProjectSettings) -> None:
        if self.totals.selection != settings.selection:
            self.totals = msgspec.structs.replace(self.totals, selection=settings.selection, started=False)

    # --- lists -------------------------------------------------------------------------------------

    def list_failed(self, error: str) -> None:
        """The list could not be read."""
        self.up, self.error = False, error

    def apply_list(
        self, listed: ServiceList, now: EpochMs, tick: Ticks
    ) -> tuple[ListEffects, list[tuple[str, Outcome]]]:
        """Take over a list. Returns what it shows, and what was counted, by service_id.

        Raises `StoreError`, with nothing changed, if the store cannot tell whether a service is new.
        """
        effects, outcomes = ListEffects([], [], []), []
        first = not self.totals.started
        unknown = {row.service_id for row in listed.rows} - self.services.keys() - self._gone.keys()
        recalled = {service_id: self._recall(service_id, now) for service_id in unknown}
        for row in listed.rows:
            self._absences.pop(row.service_id, None)
            known = self.services.get(row.service_id)
            if known is not None and row is known.row:
                continue  # the list before had this very record
            if self.settings.wants(row) and not self._is_deleted(row, tick):
                stored = recalled.get(row.service_id, RecalledService(None))
                outcome = self._apply_row(row, stored, now, effects, preexisting=first)
                if outcome.unknown:  # nothing else comes of a row
                    outcomes.append((row.service_id, outcome))
            elif row.service_id in self.services:
                self._remove(row.service_id)
                effects.gone.append(row.service_id)
        self.up = listed.complete
        self.error = "" if listed.complete else listed.error or _TORN
        if listed.complete:
            self.listed_at = now
            if first:
                self.totals = msgspec.structs.replace(self.totals, started=True)
            # A row that could not be decoded may be any of the missing services.
            if not listed.malformed:
                present = {row.service_id for row in listed.rows}
                self._remove_absent(present, effects)
                self._deleted = {sid: told for sid, told in self._deleted.items() if sid in present}
        return effects, outcomes

    def _is_deleted(self, row: ServiceRow, tick: Ticks) -> bool:
        """Whether its logs answered that it does not exist, and the list still shows the row of before.

        If the list still shows it one sweep later, it is polled again: the 404 may have been wrong.
        """
        last, answered_at = self._deleted.get(row.service_id, (None, 0))
        return (
            last == without_call_totals(row) and tick < answered_at + self.settings.intervals.sweep_interval
        )

    def _apply_row(
        self,
        row: ServiceRow,
        stored: RecalledService,
        now: EpochMs,
        effects: ListEffects,
        *,
        preexisting: bool,
    ) -> Outcome:
        service_id = row.service_id
        before = self.services.get(service_id)
        known = before or self._gone.get(service_id)
        if known is None:
            known, damaged = stored
            # What its logs hold may have been counted before, so that none of it is news.
            preexisting = preexisting or damaged
            # Another selection of services may be another shard's: what it counted meanwhile is no news.
            known = service_state.returned(known) if known is not None and preexisting else known
        if known is None:
            outcome = service_state.opened(row, now, preexisting=preexisting)
        else:
            outcome = service_state.with_row(known, row, now)
        if outcome.state is not before:
            self._set(service_id, self._with_alert(outcome.state, now))
        if before is None:
            effects.new.append(service_id)
        elif without_call_totals(row) != without_call_totals(before.row):
            effects.changed.append(service_id)
        return outcome

    def _remove_absent(self, present: set[str], effects: ListEffects) -> None:
        for service_id in self.services.keys() - present:
            self._absences[service_id] = self._absences.get(service_id, 0) + 1
            if self._absences[service_id] >= 2:  # one list may be wrong, two in a row are not
                self._remove(service_id)
                effects.gone.append(service_id)

    # --- polls of a service ------------------------------------------------------------------------

    def apply_poll(self, result: PollResult, now: EpochMs, tick: Ticks) -> Outcome | None:
        """Take over what a poll brought. Returns what was counted; None if the service is gone."""
        service_id = result.job.service_id
        state = self.services.get(service_id)
        if state is None:
            return None
        if isinstance(result.updates, Gone) or isinstance(result.events, Gone):
            self._deleted[service_id] = (without_call_totals(state.row), tick)
            self._remove(service_id)
            return None
        outcome = self._applied(state, result, now)
        state = msgspec.structs.replace(outcome.state, up=result.error is None)
        if result.error is None:
            state = msgspec.structs.replace(state, read_at=now)
        state = self._with_alert(state, now)
        self._set(service_id, state)
        if outcome.observations:
            self.totals = project_totals.observe(self.totals, outcome.observations, now)
        return msgspec.structs.replace(outcome, state=state)

    def apply_detail(self, result: PollResult) -> ServiceState | None:
        """Take over why a service failed, if its detail says so. Returns the service; None if it is gone."""
        service_id = result.job.service_id
        state = self.services.get(service_id)
        if state is not None and isinstance(result.detail, ServiceRow):
            explained = service_state.with_error(state, result.detail.error_msg, self.settings.classifier)
            if explained is not state:
                self._set(service_id, explained)
        return self.services.get(service_id)

    def apply_audit(self, job: AuditJob, events: EventWindow) -> tuple[audit.Difference, ...] | None:
        """Compare what was counted with a read. Returns None if that has changed since the read began."""
        state = self.services.get(job.service_id)
        if state is None or state.audit is not job.counted:
            return None
        left, differences = audit.compared(state.audit, job.span, events.events)
        self._set(job.service_id, msgspec.structs.replace(state, audit=left))
        return differences

    def _applied(self, state: ServiceState, result: PollResult, now: EpochMs) -> Outcome:
        policy, classifier = self.settings.policy, self.settings.classifier
        steps = []
        # Updates first: an update that settled ends the phase of its own deployment, not of the next one.
        if isinstance(result.updates, UpdateWindow):
            steps.append(apply_updates(state, result.updates, policy, now))
            state = steps[-1].state
        if isinstance(result.events, EventWindow):
            steps.append(apply_events(state, result.events, policy, classifier, now))
            state = steps[-1].state
        return service_state.joined(state, steps)

    def _with_alert(self, state: ServiceState, now: EpochMs) -> ServiceState:
        return with_alert_state(state, now, self.settings.resolve_delay)

    # --- counters that show 0 until that was scraped -----------------------------------------------

    def release(self, service_id: str, names: frozenset[str], now: EpochMs) -> None:
        """Show the values of these counters, and of those held for long enough; "" is the project itself."""
        if not service_id:
            counters = release(self.totals.counters, now, names)
            if counters is not self.totals.counters:
                self.totals = msgspec.structs.replace(self.totals, counters=counters)
        elif (state := self.services.get(service_id)) is not None:
            counters = release(state.counters, now, names)
            if counters is not state.counters:
                self._set(service_id, msgspec.structs.replace(state, counters=counters))

    # --- what is not written yet -------------------------------------------------------------------

    def unwritten(self) -> tuple[dict[str, StateChange], bool]:
        """What changed since `written`, or since the start: services by id, and whether the totals did."""
        services = {}
        for service_id, before in self._before.items():
            state = self.services.get(service_id)
            services[service_id] = StateChange(
                before, state or self._gone[service_id], present=state is not None
            )
        return services, self.totals is not self._totals_before

    def written(self) -> None:
        """All of it is in the store."""
        self._before, self._gone, self._totals_before = {}, {}, self.totals

    def _set(self, service_id: str, state: ServiceState) -> None:
        self._before.setdefault(service_id, self.services.get(service_id))
        self._gone.pop(service_id, None)
        self.services[service_id] = state

    def _remove(self, service_id: str) -> None:
        state = self.services.pop(service_id)
        self._before.setdefault(service_id, state)
        self._gone[service_id] = state
        self._absences.pop(service_id, None)

    # --- for readers -------------------------------------------------------------------------------

    def view(self) -> ProjectView:
        """The project as the exposition sees it."""
        settings = self.settings
        return ProjectView(
            settings.name, settings.project_id, settings.endpoint, self.up, len(self.services), self.totals
        )

    def status(self) -> ProjectStatus:
        """How reading it goes."""
        name, project_id = self.settings.key
        return ProjectStatus(name, project_id, self.up, self.error, len(self.services), self.listed_at)
