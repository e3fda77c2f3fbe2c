"""One project while the program runs: its services, and what each answer makes of them.

Owned by the writer thread. Answers stage changes; `settle` makes them the truth once they are durable,
`discard` forgets them when they could not be made so.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from exporter.core import account as accounts
from exporter.core import fleet as fleets
from exporter.core.account import Account, Outcome
from exporter.core.alarm import with_alarm
from exporter.core.causes import Classifier
from exporter.core.counters import release
from exporter.core.events import apply_events
from exporter.core.fleet import Fleet
from exporter.core.records import EventWindow, ServiceList, ServiceRow, UpdateWindow
from exporter.core.schedule import Pace
from exporter.core.source import Gone
from exporter.core.updates import Policy, apply_updates
from exporter.fetching import Job, Reading
from exporter.turns import Turns


class Settings(NamedTuple):
    """What the configuration says of a project, as far as the reading of it goes."""

    name: str
    project_id: str
    endpoint: str
    selection: str  # a change of it is another first start
    wants: Callable[[ServiceRow], bool]
    pace: Pace
    policy: Policy
    classifier: Classifier
    concurrency: int
    alarm_settling: int  # ms that the end of an alarm waits before it is told


class Project:
    """The services of one project; times of the schedule are ticks (ms), all others ms since the epoch."""

    def __init__(
        self,
        settings: Settings,
        stored: Mapping[str, Account],
        fleet: Fleet | None,
        recall: Callable[[str, int], Account | None],
    ) -> None:
        self.settings = settings
        # One that another exporter has by now, or nobody any more, is not ours to speak of: that would end,
        # or keep, the alert that the other one pushes.
        self.services = {sid: account for sid, account in stored.items() if settings.wants(account.row)}
        self.fleet = fleet if fleet is not None else fleets.opened(settings.selection)
        if self.fleet.selection != settings.selection:
            self.fleet = msgspec.structs.replace(self.fleet, selection=settings.selection, started=False)
        self.up: bool | None = None
        self._recall = recall
        self._staged: dict[str, Account | None] = {}
        self._staged_fleet: Fleet | None = None
        self._absences: dict[str, int] = {}
        self._gone: dict[str, tuple[ServiceRow, int]] = {}  # the last row, and when (ticks) the logs said so
        self.turns = Turns(settings.pace, settings.concurrency)
        for account in self.services.values():
            self.turns.begin(account, 0)

    def next_job(self, now: int) -> Job | None:
        """The most urgent job, or None; `now` in ticks."""
        return self.turns.next_job(self.services.__getitem__, now)

    # --- what an answer makes of it ----------------------------------------------------------------

    def _current(self, service_id: str) -> Account | None:
        return self._staged[service_id] if service_id in self._staged else self.services.get(service_id)

    def _stage(self, service_id: str, account: Account | None) -> None:
        self._staged[service_id] = account

    def listed(self, services: ServiceList, now: int, tick: int) -> list[tuple[str, Outcome]]:
        """Take over a list: new services, changed ones, and those that are gone."""
        fleet = self._staged_fleet or self.fleet
        outcomes = []
        for row in services.rows:
            self._absences.pop(row.service_id, None)
            if not self.settings.wants(row) or self._is_gone(row, tick):
                if row.service_id in self.services:
                    self._stage(row.service_id, None)
                continue
            outcomes.append((row.service_id, self._listed_row(row, now, tick, history=not fleet.started)))
        if services.complete:
            if not fleet.started:
                self._staged_fleet = msgspec.structs.replace(fleet, started=True)
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
        asked_again = told_at + self.settings.pace.sweep_interval
        return last == accounts.without_call_totals(row) and tick < asked_again

    def _listed_row(self, row: ServiceRow, now: int, tick: int, *, history: bool) -> Outcome:
        before = self._current(row.service_id)
        if before is None:
            before = self._recall(row.service_id, now)
            outcome = (
                accounts.with_row(before, row, now) if before else accounts.opened(row, now, history=history)
            )
            self._stage(row.service_id, self._alarmed(outcome.account, now))
            self.turns.begin(outcome.account, tick)
            return outcome
        outcome = accounts.with_row(before, row, now)
        if outcome.account is not before:
            self._stage(row.service_id, self._alarmed(outcome.account, now))
        if accounts.without_call_totals(row) != accounts.without_call_totals(before.row):
            self.turns.changed(outcome.account, tick)
        return outcome

    def _alarmed(self, account: Account, now: int) -> Account:
        return with_alarm(account, now, self.settings.alarm_settling)

    def _count_absences(self, present: set[str]) -> None:
        for service_id in self.services.keys() - present:
            self._absences[service_id] = self._absences.get(service_id, 0) + 1
            if self._absences[service_id] >= 2:  # one list may be wrong, two in a row are not
                self._stage(service_id, None)

    def read(self, reading: Reading, now: int, tick: int) -> Outcome | None:
        """Take over what came of a job; None for a service that is gone."""
        service_id = reading.job.service_id
        self.turns.returned(service_id)
        account = self._current(service_id)
        if account is None:
            return None
        if isinstance(reading.updates, Gone) or isinstance(reading.events, Gone):
            self._gone[service_id] = (accounts.without_call_totals(account.row), tick)
            self._stage(service_id, None)
            return None
        outcome = self._apply(account, reading, now)
        account = msgspec.structs.replace(outcome.account, up=reading.error is None)
        if reading.error is None:
            account = msgspec.structs.replace(account, read_at=now)
        account = self._alarmed(account, now)
        outcome = msgspec.structs.replace(outcome, account=account)
        self._stage(service_id, account)
        self._observe(outcome, now)
        self.turns.was_read(reading, account, tick)
        return outcome

    def _apply(self, account: Account, reading: Reading, now: int) -> Outcome:
        policy, classifier = self.settings.policy, self.settings.classifier
        steps = []
        # Updates first: what settled then ends the phase of its own deployment, not of one that events begin.
        if isinstance(reading.updates, UpdateWindow):
            steps.append(apply_updates(account, reading.updates, policy, now))
            account = steps[-1].account
        if isinstance(reading.events, EventWindow):
            steps.append(apply_events(account, reading.events, policy, classifier, now))
            account = steps[-1].account
        if isinstance(reading.detail, ServiceRow):
            account = accounts.with_error(account, reading.detail.error_msg, classifier)
        return accounts.joined(account, steps)

    def _observe(self, outcome: Outcome, now: int) -> None:
        if outcome.observations:
            self._staged_fleet = fleets.observe(self._staged_fleet or self.fleet, outcome.observations, now)

    def release(
        self, scraped: Mapping[str, Iterable[str]], scraped_of_fleet: Iterable[str], now: int
    ) -> None:
        """Let held counters go: those named, by service_id and of the project, and those held long enough."""
        for service_id, names in scraped.items():
            account = self._current(service_id)
            if account is None:
                continue
            counters = release(account.counters, now, names)
            if counters is not account.counters:
                self._stage(service_id, msgspec.structs.replace(account, counters=counters))
        fleet = self._staged_fleet or self.fleet
        counters = release(fleet.counters, now, scraped_of_fleet)
        if counters is not fleet.counters:
            self._staged_fleet = msgspec.structs.replace(fleet, counters=counters)

    # --- becoming true -----------------------------------------------------------------------------

    def staged(self) -> tuple[Mapping[str, Account | None], Fleet | None]:
        """What is not durable yet: accounts by service_id (None: gone), and the project's own state."""
        return self._staged, self._staged_fleet

    def settle(self) -> None:
        """Everything staged is durable now."""
        for service_id, account in self._staged.items():
            if account is not None:
                self.services[service_id] = account
                continue
            self.services.pop(service_id, None)
            self._absences.pop(service_id, None)
            self.turns.end(service_id)
        self.fleet = self._staged_fleet or self.fleet
        self._staged, self._staged_fleet = {}, None

    def discard(self, tick: int) -> None:
        """Nothing staged could be made durable; what was read must be read again."""
        for service_id in self._staged:
            account = self.services.get(service_id)
            if account is not None:
                self.turns.begin(account, tick)
            else:
                self.turns.end(service_id)
        self._staged, self._staged_fleet = {}, None
