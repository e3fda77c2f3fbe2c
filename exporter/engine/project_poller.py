"""One project as the poll loop drives it: what is due, and what each answer makes of it.

The loop asks `take_due` for jobs, has them done elsewhere, and hands each result to `answered`. Every change
of a project's state happens in a call of this object, on the loop's thread. Nothing here waits for the cloud.

    take_due  ->  ListJob, PollJob        the queue says which services are due; an AuditJob if none is
    answered  ->  the state changes       counted, but seen by nobody yet
    change    ->  ProjectChange           what is not written yet, as one frozen value
    written   ->                          the value is durable; readers may see it
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from exporter.core.accounting.service_state import Outcome
from exporter.core.polling import progress
from exporter.core.polling.progress import Progress
from exporter.core.polling.schedule import BEGAN_BEFORE_MS
from exporter.core.records import ServiceList, ServiceRow
from exporter.core.source import Refused, RemoteError, Source, Stopping, Throttled, Unreachable
from exporter.core.times import EpochMs, Ticks
from exporter.engine.audit_queue import AuditQueue
from exporter.engine.changes import (
    AuditOutcome,
    ListOutcome,
    PollOutcome,
    ProjectChange,
    StateChange,
)
from exporter.engine.fetch import AuditJob, AuditResult, Fetcher, Job, ListJob, PollJob, PollResult, Result
from exporter.engine.poll_queue import PollQueue
from exporter.engine.project_state import ProjectSettings, ProjectState, StoredProject

# While a credential is refused, nothing is sent before its next try is due. Trying this often only notices
# at once when the credential's file was changed.
_REFUSED_AGAIN_MS = 1000


# After one of these, why a service failed is asked for again at its next poll.
_ASK_AGAIN = (Unreachable, Throttled, Refused)


class ProjectResources(NamedTuple):
    """How a project is read: where, by which threads, how fast, and how all of it ends."""

    source: Source
    fetcher: Fetcher
    stop: Callable[[], None]
    rate: Callable[[], float]
    has_spare: Callable[[], bool] = lambda: True  # whether a request now would be one that goes unused


class ProjectPoller:
    """See the module.

    Args:
        settings: from the configuration.
        resources: how it is read.
        stored: what is known of it from before.
        tick: now.

    """

    def __init__(
        self, settings: ProjectSettings, resources: ProjectResources, stored: StoredProject, tick: Ticks
    ) -> None:
        self.resources = resources
        self._state = ProjectState(settings, stored)
        self._queue = PollQueue(settings.intervals, settings.concurrency)
        for state in self._state.services.values():
            self._queue.begin(state, tick)
        self._details: deque[PollJob] = deque()  # reads of why a service failed, asked for by a poll
        self._under_way = 0  # polls and reads of details
        # What the first sweep brings is worth more than to look at it twice.
        self._audits = AuditQueue(Ticks(tick + settings.intervals.sweep_interval))
        self._list_begun = tick
        self._list_due: Ticks | None = tick  # None while it is being read
        self._list_told_at: Ticks | None = None  # when somebody last asked for it
        self._list_again = False  # that was while it was being read
        self._login_refused = True  # until the first list has shown that the credential is accepted
        self._first_reads: Progress | None = None  # since the start, or since other services are asked for
        self._cycle_begun: Ticks | None = None
        self._cycle_waits_for: set[str] = set()
        self._outcomes: list[tuple[str, Outcome]] = []
        self._lists: list[ListOutcome] = []
        self._polls: list[PollOutcome] = []
        self._poll_seconds: list[float] = []
        self._audit_outcomes: list[AuditOutcome] = []
        self._last_written: ProjectChange | None = None

    @property
    def settings(self) -> ProjectSettings:
        """The settings in force."""
        return self._state.settings

    # --- the configuration -------------------------------------------------------------------------

    def reconfigure(self, settings: ProjectSettings, resources: ProjectResources, tick: Ticks) -> None:
        """Go on with other settings. With other resources, what is under way is asked for again."""
        replaced = resources is not self.resources
        filter_changed = settings.selection != self.settings.selection
        if filter_changed:
            self._first_reads = None
        for service_id in self._state.reconfigure(settings):
            self._queue.end(service_id)
        if replaced:
            self.stop()
            self.resources = resources
            self._list_due, self._login_refused = tick, True
            self._queue.abandon_reads(self._state.services.values(), tick)
            self._under_way = 0
            self._audits.abandon()
        elif self._list_due is not None:
            due = tick if filter_changed else Ticks(self._list_begun + settings.intervals.interval)
            self._list_due = min(self._list_due, due)
        self._queue.reconfigure(settings.intervals, settings.concurrency, self._state.services.values(), tick)

    def stop(self) -> None:
        """Let the threads go; what is under way is not waited for."""
        self.resources.stop()
        self.resources.fetcher.stop()

    # --- what is due -------------------------------------------------------------------------------

    def take_due(self, now: EpochMs, tick: Ticks) -> list[Job]:
        """The jobs to do now; each is under way from here on."""
        jobs: list[Job] = []
        if self._list_due is not None and self._list_due <= tick:
            self._list_due, self._list_begun = None, tick
            jobs.append(ListJob(tick))
        while self._has_room:
            if self._details:
                job: PollJob | None = self._details.popleft()
            else:
                job = self._queue.next_job(self._state.services.__getitem__, tick)
            if job is None:
                break
            self._under_way += 1
            jobs.append(job)
        return [*jobs, *self._take_audit(now, tick)]

    def _take_audit(self, now: EpochMs, tick: Ticks) -> list[AuditJob]:
        services, lateness = self._state.services, self.settings.policy.lateness
        if self._audits.look(services, lateness, now, tick):
            self._audit_outcomes.append(AuditOutcome(now))
        job = self._audits.next_job(services, lateness, now, tick) if self._is_idle(tick) else None
        return [] if job is None else [job]

    def _is_idle(self, tick: Ticks) -> bool:
        """Whether one request more delays no other.

        Nothing is being read; the request will be made up for before anything is due; and even if its answer
        takes long, a thread is left.
        """
        if self._under_way or self._list_due is None or not self._has_room or self.settings.concurrency < 2:
            return False
        due = self.next_due()
        made_up = tick + 1000 / self.resources.rate()
        return (due is None or due >= made_up) and self.resources.has_spare()

    def list_now(self, tick: Ticks) -> bool:
        """Somebody asks for the list. Returns False if somebody did so within `active_interval`."""
        again = self.settings.intervals.active_interval
        if self._list_told_at is not None and tick < self._list_told_at + again:
            return False
        self._list_told_at = tick
        if self._list_due is None:
            self._list_again = True  # what is being read may be older than what he knows
        else:
            self._list_due = tick
        return True

    def poll_now(self, service_id: str, now: EpochMs, tick: Ticks) -> ServiceRow | None:
        """Somebody says that the service is being deployed. Returns its row if that is news."""
        state = self._state.services.get(service_id)
        if state is None or not self._queue.told(state, tick, now - BEGAN_BEFORE_MS):
            return None
        return state.row

    @property
    def _has_room(self) -> bool:
        """Whether a service may be polled: a thread is free, and the credential is not refused."""
        under_way = self._under_way + (self._list_due is None)
        return not self._login_refused and under_way < self.settings.concurrency

    def next_due(self) -> int | None:
        """When (ticks) there will be something to do; None while only an answer can change that."""
        dues = [self._list_due, self._queue.next_due() if self._has_room else None]
        return min((due for due in dues if due is not None), default=None)

    def caught_up(self, tick: Ticks) -> bool:
        """Whether it was listed, or failed to be, and no service that was due is unread."""
        reading = self._details or self._under_way or self._queue.overdue(tick)
        return self._state.up is not None and (self._login_refused or not reading)

    # --- answers -----------------------------------------------------------------------------------

    def answered(self, job: Job, result: Result, now: EpochMs, tick: Ticks) -> None:
        """Take over the result of a job."""
        if isinstance(result, AuditResult):
            self._audited(result, now)
            return
        if not isinstance(result, PollResult):
            assert isinstance(job, ListJob), "only a list has such a result"
            if not isinstance(result, Stopping):  # then nobody asked the cloud
                self._listed(job.begun, result, now, tick)
            return
        self._under_way -= 1
        if isinstance(result.error, Stopping):
            return
        if result.job.detail:
            self._detail_read(result)
        elif self._queue.returned(result.job):
            self._polled(result, now, tick)
        if result.has(Refused):
            # The list alone finds out when the credential is accepted again.
            self._login_refused = True
            if self._list_due is not None:
                self._list_due = tick

    def _listed(self, begun: Ticks, result: ServiceList | RemoteError, now: EpochMs, tick: Ticks) -> None:
        self._login_refused = isinstance(result, Refused)
        wait = _REFUSED_AGAIN_MS if self._login_refused else self.settings.intervals.interval
        self._list_due = tick if self._list_again else Ticks(max(begun + wait, tick))
        self._list_again = False
        before = self._state.error
        if not self._login_refused or (isinstance(result, RemoteError) and result.lasting != before):
            self._lists.append(ListOutcome(now, result, before))
        if self._login_refused:
            self._queue.restart_sweep(tick)
        if isinstance(result, RemoteError):
            self._state.list_failed(result.lasting)
            return
        effects, outcomes = self._state.apply_list(result, now, tick)
        self._outcomes += outcomes
        for service_id in effects.new:
            self._queue.begin(self._state.services[service_id], tick)
        for service_id in effects.changed:
            self._queue.changed(self._state.services[service_id], tick)
        for service_id in effects.gone:
            self._queue.end(service_id)
        if self._first_reads is None and result.complete:
            self._first_reads = progress.begin(now, *self._queue.first_reads)
        self._count_first_reads(now)
        self._begin_cycle(begun, tick)

    def _polled(self, result: PollResult, now: EpochMs, tick: Ticks) -> None:
        service_id = result.job.service_id
        before = self._state.services.get(service_id)
        outcome = self._state.apply_poll(result, now, tick)
        if outcome is None:
            self._queue.end(service_id)
        else:
            self._outcomes.append((service_id, outcome))
            self._queue.was_read(result, outcome.state, tick)
            detail = self._queue.detail_job(outcome.state, tick)
            if detail is not None:
                self._details.append(detail)
        self._polls.append(PollOutcome(result, before))
        self._count_first_reads(now)
        self._cycle_waits_for.discard(service_id)
        self._end_cycle(tick)

    def _count_first_reads(self, now: EpochMs) -> None:
        """Say how far they are; once all were tried they are over, whatever services come later."""
        if self._first_reads is not None and not self._first_reads.finished:
            self._first_reads = progress.advanced(self._first_reads, now, *self._queue.first_reads)

    def _detail_read(self, result: PollResult) -> None:
        state = self._state.apply_detail(result)
        if state is not None and not isinstance(result.error, _ASK_AGAIN):
            self._queue.detail_read(state)
        self._polls.append(PollOutcome(result, state))

    def _audited(self, result: AuditResult, now: EpochMs) -> None:
        """Take over a comparison. An error says nothing of the service: its own reads tell how it is."""
        job, events = result
        self._audits.returned(job)
        state = self._state.services.get(job.service_id)
        if state is None or isinstance(events, Stopping):
            return
        if isinstance(events, RemoteError):
            self._audit_outcomes.append(AuditOutcome(now, state.row, events))
        elif (differences := self._state.apply_audit(job, events)) is not None:
            self._audit_outcomes.append(AuditOutcome(now, state.row, differences=differences))

    # A cycle starts with a list and ends when every service that was due then was read. Lists in between
    # start no cycle.

    def _begin_cycle(self, begun: Ticks, tick: Ticks) -> None:
        due = self._queue.overdue(tick)
        if self._cycle_begun is None:
            self._cycle_begun, self._cycle_waits_for = begun, set(due)
        else:
            self._cycle_waits_for &= due  # some may be gone
        self._end_cycle(tick)

    def _end_cycle(self, tick: Ticks) -> None:
        if self._cycle_begun is not None and not self._cycle_waits_for:
            self._poll_seconds.append((tick - self._cycle_begun) / 1000)
            self._cycle_begun = None

    def release(self, service_id: str, names: frozenset[str], now: EpochMs) -> None:
        """Show these counters, whose 0 was scraped or held for long enough; "": the project's own."""
        self._state.release(service_id, names, now)

    # --- what changed ------------------------------------------------------------------------------

    def change(self) -> ProjectChange | None:
        """What changed since the last one that was `written`; None for nothing."""
        services, totals_changed = self._state.unwritten()
        if self._last_written is None:
            # The first one shows what was in the store, which needs no writing.
            services = {sid: StateChange(s, s) for sid, s in self._state.services.items()} | services
        found = ProjectChange(
            self.settings.key,
            self._state.view(),
            self._state.status(),
            services,
            totals_changed,
            tuple(self._outcomes),
            tuple(self._lists),
            tuple(self._polls),
            tuple(self._poll_seconds),
            tuple(self._audit_outcomes),
        )
        if found == self._last_written:
            return None
        # That it goes on changing is no reason to write.
        sweep_ms = self._queue.sweep_ms
        status = found.status._replace(sweep_ms=sweep_ms, first_reads=self._first_reads)
        return found._replace(status=status, rate=self.resources.rate(), sweep_seconds=sweep_ms / 1000)

    def written(self, change: ProjectChange) -> None:
        """The change is in the store and shown."""
        self._state.written()
        told = (self._outcomes, self._lists, self._polls, self._poll_seconds, self._audit_outcomes)
        for each in told:
            each.clear()
        status = change.status._replace(sweep_ms=0, first_reads=None)
        self._last_written = ProjectChange(change.key, change.view, status)
