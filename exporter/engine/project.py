"""One project while the program runs: its services, and what each answer makes of them.

Owned by the writer thread. Answers stage changes; `settle` makes them the truth once they are durable,
`discard` forgets them when they could not be made so.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from exporter.core.accounting import project_totals as fleets
from exporter.core.accounting import service_state as accounts
from exporter.core.accounting.apply_events import apply_events
from exporter.core.accounting.apply_updates import CountingPolicy, apply_updates
from exporter.core.accounting.counters import release
from exporter.core.accounting.project_totals import ProjectTotals
from exporter.core.accounting.service_state import Outcome, ServiceState
from exporter.core.alerting.alert_state import with_alert_state
from exporter.core.classifier.classifier import Classifier
from exporter.core.polling.schedule import PollIntervals
from exporter.core.records import EventWindow, ServiceList, ServiceRow, UpdateWindow
from exporter.core.source import Gone
from exporter.engine.fetch import PollJob, PollResult
from exporter.engine.poll_queue import PollQueue


class ProjectSettings(NamedTuple):
    """What the configuration says of a project, as far as the reading of it goes."""

    name: str
    project_id: str
    endpoint: str
    selection: str  # a change of it is another first start
    wants: Callable[[ServiceRow], bool]
    intervals: PollIntervals
    policy: CountingPolicy
    classifier: Classifier
    concurrency: int
    resolve_delay: int  # ms that the end of an alarm waits before it is told


class Project:
    """The services of one project; times of the schedule are ticks (ms), all others ms since the epoch."""

    def __init__(
        self,
        settings: ProjectSettings,
        stored: Mapping[str, ServiceState],
        totals: ProjectTotals | None,
        recall: Callable[[str, int], ServiceState | None],
    ) -> None:
        self.settings = settings
        # One that another exporter has by now, or nobody any more, is not ours to speak of: that would end,
        # or keep, the alert that the other one pushes.
        self.services = {sid: state for sid, state in stored.items() if settings.wants(state.row)}
        self.totals = totals if totals is not None else fleets.opened(settings.selection)
        if self.totals.selection != settings.selection:
            self.totals = msgspec.structs.replace(self.totals, selection=settings.selection, started=False)
        self.up: bool | None = None
        self._recall = recall
        self._staged: dict[str, ServiceState | None] = {}
        self._staged_totals: ProjectTotals | None = None
        self._absences: dict[str, int] = {}
        self._gone: dict[str, tuple[ServiceRow, int]] = {}  # the last row, and when (ticks) the logs said so
        self.queue = PollQueue(settings.intervals, settings.concurrency)
        for state in self.services.values():
            self.queue.begin(state, 0)

    def next_job(self, now: int) -> PollJob | None:
        """The most urgent job, or None; `now` in ticks."""
        return self.queue.next_job(self.services.__getitem__, now)

    # --- what an answer makes of it ----------------------------------------------------------------

    def _current(self, service_id: str) -> ServiceState | None:
        return self._staged[service_id] if service_id in self._staged else self.services.get(service_id)

    def _stage(self, service_id: str, state: ServiceState | None) -> None:
        self._staged[service_id] = state

    def listed(self, services: ServiceList, now: int, tick: int) -> list[tuple[str, Outcome]]:
        """Take over a list: new services, changed ones, and those that are gone."""
        totals = self._staged_totals or self.totals
        outcomes = []
        for row in services.rows:
            self._absences.pop(row.service_id, None)
            if not self.settings.wants(row) or self._is_gone(row, tick):
                if row.service_id in self.services:
                    self._stage(row.service_id, None)
                continue
            outcomes.append(
                (row.service_id, self._listed_row(row, now, tick, preexisting=not totals.started))
            )
        if services.complete:
            if not totals.started:
                self._staged_totals = msgspec.structs.replace(totals, started=True)
            # A row that could not be read may be any of the missing ones.
            if not services.malformed:
                present = {row.service_id for row in services.rows}
                self._count_absences(present)
                self._gone = {sid: gone for sid, gone in self._gone.items() if sid in present}
        return outcomes

    def _is_gone(self, row: ServiceRow, tick: int) -> bool:
        """Whether its logs said that it does not exist, and the list, a little late, shows the same row."""
        last, told_at = self._gone.get(row.service_id, (None, 0))
        # A list that insists is asked about: it may have been the logs that were wrong.
        asked_again = told_at + self.settings.intervals.sweep_interval
        return last == accounts.without_call_totals(row) and tick < asked_again

    def _listed_row(self, row: ServiceRow, now: int, tick: int, *, preexisting: bool) -> Outcome:
        before = self._current(row.service_id)
        if before is None:
            before = self._recall(row.service_id, now)
            outcome = (
                accounts.with_row(before, row, now)
                if before
                else accounts.opened(row, now, preexisting=preexisting)
            )
            self._stage(row.service_id, self._with_alert(outcome.state, now))
            self.queue.begin(outcome.state, tick)
            return outcome
        outcome = accounts.with_row(before, row, now)
        if outcome.state is not before:
            self._stage(row.service_id, self._with_alert(outcome.state, now))
        if accounts.without_call_totals(row) != accounts.without_call_totals(before.row):
            self.queue.changed(outcome.state, tick)
        return outcome

    def _with_alert(self, state: ServiceState, now: int) -> ServiceState:
        return with_alert_state(state, now, self.settings.resolve_delay)

    def _count_absences(self, present: set[str]) -> None:
        for service_id in self.services.keys() - present:
            self._absences[service_id] = self._absences.get(service_id, 0) + 1
            if self._absences[service_id] >= 2:  # one list may be wrong, two in a row are not
                self._stage(service_id, None)

    def read(self, result: PollResult, now: int, tick: int) -> Outcome | None:
        """Take over what came of a job; None for a service that is gone."""
        service_id = result.job.service_id
        self.queue.returned(service_id)
        state = self._current(service_id)
        if state is None:
            return None
        if isinstance(result.updates, Gone) or isinstance(result.events, Gone):
            self._gone[service_id] = (accounts.without_call_totals(state.row), tick)
            self._stage(service_id, None)
            return None
        outcome = self._apply(state, result, now)
        state = msgspec.structs.replace(outcome.state, up=result.error is None)
        if result.error is None:
            state = msgspec.structs.replace(state, read_at=now)
        state = self._with_alert(state, now)
        outcome = msgspec.structs.replace(outcome, state=state)
        self._stage(service_id, state)
        self._observe(outcome, now)
        self.queue.was_read(result, state, tick)
        return outcome

    def _apply(self, state: ServiceState, result: PollResult, now: int) -> Outcome:
        policy, classifier = self.settings.policy, self.settings.classifier
        steps = []
        # Updates first: what settled then ends the phase of its own deployment, not of one that events begin.
        if isinstance(result.updates, UpdateWindow):
            steps.append(apply_updates(state, result.updates, policy, now))
            state = steps[-1].state
        if isinstance(result.events, EventWindow):
            steps.append(apply_events(state, result.events, policy, classifier, now))
            state = steps[-1].state
        if isinstance(result.detail, ServiceRow):
            state = accounts.with_error(state, result.detail.error_msg, classifier)
        return accounts.joined(state, steps)

    def _observe(self, outcome: Outcome, now: int) -> None:
        if outcome.observations:
            self._staged_totals = fleets.observe(
                self._staged_totals or self.totals, outcome.observations, now
            )

    def release(
        self, scraped: Mapping[str, Iterable[str]], scraped_of_project: Iterable[str], now: int
    ) -> None:
        """Let held counters go: those named, by service_id and of the project, and those held long enough."""
        for service_id, names in scraped.items():
            state = self._current(service_id)
            if state is None:
                continue
            counters = release(state.counters, now, names)
            if counters is not state.counters:
                self._stage(service_id, msgspec.structs.replace(state, counters=counters))
        totals = self._staged_totals or self.totals
        counters = release(totals.counters, now, scraped_of_project)
        if counters is not totals.counters:
            self._staged_totals = msgspec.structs.replace(totals, counters=counters)

    # --- becoming true -----------------------------------------------------------------------------

    def staged(self) -> tuple[Mapping[str, ServiceState | None], ProjectTotals | None]:
        """What is not durable yet: accounts by service_id (None: gone), and the project's own state."""
        return self._staged, self._staged_totals

    def settle(self) -> None:
        """Everything staged is durable now."""
        for service_id, state in self._staged.items():
            if state is not None:
                self.services[service_id] = state
                continue
            self.services.pop(service_id, None)
            self._absences.pop(service_id, None)
            self.queue.end(service_id)
        self.totals = self._staged_totals or self.totals
        self._staged, self._staged_totals = {}, None

    def discard(self, tick: int) -> None:
        """Nothing staged could be made durable; what was read must be read again."""
        for service_id in self._staged:
            state = self.services.get(service_id)
            if state is not None:
                self.queue.begin(state, tick)
            else:
                self.queue.end(service_id)
        self._staged, self._staged_totals = {}, None
