"""Reads one service again and again until its deployment is over; what it means is said by the core.

    find    the service, by id or name
    read    its logs and its detail, at `active_interval`
    apply   to the same state that the exporter keeps
    tell    what is new, and the end

Everything that asks the cloud runs on another thread, so that nothing takes longer than the timeout.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import NamedTuple, NoReturn, TypeVar

import msgspec

from exporter.adapters.modelarts.rate_limiter import monotonic_ms
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.app import VERSION, now_ms, revision
from exporter.commands.since import Since
from exporter.commands.wait.screen import Screen
from exporter.config import Config, format_duration, load
from exporter.core.accounting import project_totals
from exporter.core.accounting.awaited import Awaited, Standing, awaited, usual_seconds
from exporter.core.accounting.failure_cause import remedy_of
from exporter.core.accounting.history import PastEvent
from exporter.core.accounting.phases import of_update
from exporter.core.accounting.service_state import ServiceState
from exporter.core.formats import age_seconds, iso, length
from exporter.core.polling.shard import Shard
from exporter.core.records import NodeResult, ServiceList, ServiceRow, Update, UpdateWindow
from exporter.core.scrub import scrub
from exporter.core.service_lookup import Candidate, ambiguous, called, is_service_id
from exporter.core.source import Forbidden, Gone, Refused, RemoteError, Source, Torn
from exporter.core.times import EpochMs, Ticks
from exporter.engine.fetch import Fetcher, PollJob, PollResult, list_services, poll_service
from exporter.engine.poller import Setup
from exporter.engine.project_state import ProjectSettings, ProjectState, RecalledService, StoredProject
from exporter.factory import ProjectFactory

SUCCEEDED = 0
UNREADABLE = 1
WRONG_USAGE = 2
FAILED = 3
TIMED_OUT = 4

# To ask again would bring the same answer, until somebody changes something.
_FINAL_ERRORS = (Refused, Forbidden, Gone)

# How often the live line shows another time.
_REDRAW_MS = 1000

# As long as a pushed alert waits for the text of the cause unless configured.
_CAUSE_WAIT_MS = 20_000

T = TypeVar("T")


def run(wanted: str, config_file: str, project: str, since: Since, timeout: int) -> int:
    """Wait for the end of a service's newest update, for `timeout` ms at most. Returns the exit code."""
    config = load(config_file, os.environ)
    screen = Screen()
    try:
        return _Wait(config, config_file, project, since, timeout, screen).run(wanted)
    except _End as end:
        screen.error(f"modelarts-exporter: {end}")
        return end.code
    finally:
        screen.live("")


class _End(Exception):  # noqa: N818 - the class says what happened
    """Nothing is left to wait for, and it was no result; the message is a sentence."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class _TimeIsUp(Exception):  # noqa: N818 - likewise
    """The timeout has passed."""


class _Patience:
    """The time that is left, and how it is spent; `look` is called about once a second meanwhile."""

    def __init__(self, timeout: int, look: Callable[[], None]) -> None:
        self._end, self._look = monotonic_ms() + timeout, look

    def answer(self, fetcher: Fetcher, work: Callable[[], T]) -> T:
        """What `work` returns, done on another thread. Raises `_TimeIsUp`."""
        answers: SimpleQueue[Callable[[], T]] = SimpleQueue()

        def do() -> None:
            try:
                found = work()
                answers.put(lambda: found)
            except BaseException as error:  # noqa: BLE001 - a bug of ours; it is raised where it is waited for
                answers.put(partial(_raise, error))

        fetcher.submit(do)
        answer = self._first(answers, self._end)
        if answer is None:
            raise _TimeIsUp
        return answer()

    def pause(self, milliseconds: int) -> None:
        """Let time pass. Raises `_TimeIsUp`."""
        over = monotonic_ms() + milliseconds
        self._first(SimpleQueue[None](), min(over, self._end))
        if over > self._end:
            raise _TimeIsUp

    def _first(self, answers: SimpleQueue[T], end: int) -> T | None:
        while (left := end - monotonic_ms()) > 0:
            self._look()
            try:
                return answers.get(timeout=min(left, _REDRAW_MS) / 1000)
            except Empty:
                continue
        return None


def _raise(error: BaseException) -> NoReturn:
    raise error


class _Read(NamedTuple):
    """One read of the service."""

    logs: PollResult
    detail: PollResult | None  # None: the logs say that it would fail

    @property
    def errors(self) -> Sequence[RemoteError]:
        """What failed."""
        parts = (self.logs.updates, self.logs.events, self.detail and self.detail.detail)
        return [part for part in parts if isinstance(part, RemoteError)]


class _Followed:
    """One service as the exporter would know it, with no more than what was read since the start."""

    def __init__(self, settings: ProjectSettings, row: ServiceRow) -> None:
        # The filters of the configuration say what is shown, not what may be waited for.
        settings = settings._replace(wants=lambda _row: True)
        # The project has started before, so that the moment of settling of what is read first is told too.
        totals = msgspec.structs.replace(project_totals.opened(settings.selection), started=True)
        known = StoredProject({}, totals, lambda _id, _now: RecalledService(None))
        self._project = ProjectState(settings, known)
        self._service_id = row.service_id
        self.classifier = settings.classifier
        self.events: list[PastEvent] = []
        self._apply_row(row, now_ms())

    @property
    def state(self) -> ServiceState:
        """What is known of it."""
        return self._project.services[self._service_id]

    def read(self, source: Source) -> _Read:
        """Ask the cloud; changes nothing."""
        state = self.state
        job = PollJob(
            self._service_id,
            Ticks(0),
            had_updates=state.newest is not None,
            events_after=state.events.watermark,
        )
        logs = poll_service(source, job)
        if isinstance(logs.error, _FINAL_ERRORS):
            return _Read(logs, None)
        return _Read(logs, poll_service(source, PollJob(self._service_id, Ticks(0), detail=True)))

    def apply(self, read: _Read, now: EpochMs) -> None:
        """Take over what was read of a service that exists; what failed changes nothing."""
        if read.detail is not None and isinstance(read.detail.detail, ServiceRow):
            self._apply_row(read.detail.detail, now)
        outcome = self._project.apply_poll(read.logs, now, Ticks(0))
        assert outcome is not None, "the service exists"
        self.events.extend(outcome.past_events)
        if read.detail is not None and self.state.row.status == "failed":
            self._project.apply_detail(read.detail)

    def _apply_row(self, row: ServiceRow, now: EpochMs) -> None:
        self._project.apply_list(ServiceList((row,)), now, Ticks(0))


class _Wait:
    def __init__(
        self, config: Config, config_file: str, project: str, since: Since, timeout: int, screen: Screen
    ) -> None:
        names = [each.name for each in config.projects]
        if project and project not in names:
            known = ", ".join(names)
            raise _End(WRONG_USAGE, f"{config_file} has no project {scrub(project)}; it has {known}.")
        metrics = SelfMetrics(names, [], version=VERSION, revision=revision())
        setups = ProjectFactory(Shard(), metrics, now_ms).setups(config)
        self._setups = [setup for setup in setups if project in ("", setup[0].name)]
        self._interval = config.poll.active_interval
        self._cause_wait = config.alertmanager.cause_wait if config.alertmanager else _CAUSE_WAIT_MS
        self._since, self._started = since, now_ms()
        self._timeout, self._screen = timeout, screen
        self._patience = _Patience(timeout, self._show_live)
        self._ahead: int | None = None  # ms that the cloud's clock is ahead of ours
        self._error: RemoteError | None = None  # of the last read, if it failed
        self._error_told = ""
        self._title = ""  # the service, as it is told
        self._awaited = Awaited(Standing.NOT_BEGUN)
        self._followed: _Followed | None = None
        self._phases: dict[str, bool] = {}  # those that were told: whether they are over
        self._usual: dict[str, float] = {}  # seconds by phase

    def run(self, wanted: str) -> int:
        """Do it. Returns the exit code, or raises `_End`."""
        try:
            (settings, resources), row = self._find(wanted)
            self._title = f"{scrub(row.service_name)} ({scrub(row.service_id)})"
            self._followed = _Followed(settings, row)
            return self._follow(self._followed, resources.source, resources.fetcher)
        except _TimeIsUp:
            return self._timed_out(wanted)

    # --- find ----------------------------------------------------------------------------------------

    def _find(self, wanted: str) -> tuple[Setup, ServiceRow]:
        if is_service_id(wanted):
            for setup in self._setups:
                row = self._asked(setup, lambda source: _detail_or_none(source, wanted))
                if row is not None:
                    return setup, row
        by_project = {setup[0].name: setup for setup in self._setups}
        found = [
            Candidate(project, row)
            for project, setup in by_project.items()
            for row in self._asked(setup, _whole_list).rows
        ]
        matches = called(found, wanted)
        if not matches:
            names = ", ".join(by_project)
            raise _End(UNREADABLE, f"There is no service {scrub(wanted)} in {names}.")
        if len(matches) > 1:
            raise _End(WRONG_USAGE, f"{ambiguous(wanted, matches)} Give the id, and --project.")
        return by_project[matches[0].project], matches[0].row

    def _asked(self, setup: Setup, ask: Callable[[Source], T | RemoteError]) -> T:
        """The answer to a question, which is asked until there is one."""
        resources = setup[1]
        while True:
            answer = self._patience.answer(resources.fetcher, lambda: ask(resources.source))
            if not isinstance(answer, RemoteError):
                self._error = None
                return answer
            if isinstance(answer, _FINAL_ERRORS):
                raise _End(UNREADABLE, str(answer))
            self._failed(answer)
            self._patience.pause(self._interval)

    def _failed(self, error: RemoteError) -> None:
        """A read failed, and is tried again."""
        self._error = error
        if error.lasting != self._error_told:
            self._error_told = error.lasting
            self._screen.error(f"modelarts-exporter: {scrub(str(error))} Asking again.")

    # --- read and tell -------------------------------------------------------------------------------

    def _follow(self, followed: _Followed, source: Source, fetcher: Fetcher) -> int:
        failed_since: int | None = None
        while True:
            read = self._patience.answer(fetcher, partial(followed.read, source))
            final = [error for error in read.errors if isinstance(error, _FINAL_ERRORS)]
            if final:
                raise _End(UNREADABLE, str(final[0]))
            window = read.logs.updates
            if isinstance(window, UpdateWindow):
                if not window.supported:
                    kind = scrub(followed.state.row.infer_type) or "this type"
                    raise _End(
                        UNREADABLE,
                        f"{self._title} has no update log: the cloud keeps none of {kind} services.",
                    )
                self._error = None
                followed.apply(read, now_ms())
                self._decide(followed, window)
            elif window is not None:
                self._failed(window)
            wait, standing = self._interval, self._awaited.standing
            if standing is Standing.FAILED and not followed.state.is_explained:
                # The event that tells why may be shown a little later than the result.
                failed_since = monotonic_ms() if failed_since is None else failed_since
                wait = min(wait, failed_since + self._cause_wait - monotonic_ms())
            else:
                failed_since = None
                wait = 0 if standing.is_end else wait
            if wait <= 0:
                return self._ended(followed)
            self._patience.pause(wait)

    def _decide(self, followed: _Followed, window: UpdateWindow) -> None:
        clock = window.observed_at if window.answered_at is None else window.answered_at
        if self._ahead is None:
            self._ahead = clock - now_ms()
            self._screen.line(f"waiting for an update of {self._title} since {iso(self._begin)}")
        before, self._awaited = self._awaited, awaited(followed.state, self._begin, clock)
        update = self._awaited.update
        if update is None:
            return
        if before.update is None or before.update.update_time != update.update_time:
            overtaken = "overtook that of " + iso(before.update.update_time) if before.update else "has begun"
            self._screen.line(f"update of {iso(update.update_time)} {overtaken}")
            self._phases = {}
            self._usual = usual_seconds(followed.events, update.update_time)
        for times in of_update(followed.state.phases, update.update_time):
            is_over = times.ended_at is not None
            if self._phases.get(times.phase) is is_over:
                continue
            self._phases[times.phase] = is_over
            took = (
                length((times.ended_at - times.started_at) / 1000)
                if times.ended_at is not None
                else "started"
            )
            self._screen.line(f"{times.phase}: {took}{self._usually(times.phase)}")

    @property
    def _begin(self) -> int:
        return self._since.on_clock(self._started, self._ahead or 0)

    def _usually(self, phase: str) -> str:
        return f" (usually {length(self._usual[phase])})" if phase in self._usual else ""

    def _show_live(self) -> None:
        self._screen.live(self._now())

    def _now(self) -> str:
        """What happens now, in a few words."""
        update = self._awaited.update
        if self._error is not None:
            return f"no answer, asking again: {scrub(str(self._error))}"
        if self._followed is None or self._ahead is None:
            return "asking the cloud"
        now = now_ms() + self._ahead
        if update is None:
            return f"no update has begun for {length(age_seconds(self._begin, now))}"
        for times in reversed(of_update(self._followed.state.phases, update.update_time)):
            if times.ended_at is None:
                so_far = length(age_seconds(times.started_at, now))
                return f"{times.phase}: {so_far} so far{self._usually(times.phase)}"
        return f"under way for {length(age_seconds(update.update_time, now))}"

    # --- the end -------------------------------------------------------------------------------------

    def _ended(self, followed: _Followed) -> int:
        standing, update = self._awaited
        assert update is not None, "only an update ends"
        state = followed.state
        settled_at = state.settled_at if standing is not Standing.STOPPED else state.row.transition_at
        after = "" if settled_at is None else f" after {length(age_seconds(update.update_time, settled_at))}"
        unfinished = [phase for phase, is_over in self._phases.items() if not is_over]
        if standing is Standing.SUCCEEDED:
            self._screen.line(f"SUCCESS{after}")
            self._tell_nodes(update)
            return SUCCEEDED
        of = f"the update of {iso(update.update_time)} of {self._title}"
        where = f", in {unfinished[-1]}" if unfinished else ""
        if standing is Standing.STOPPED:
            self._screen.error(f"modelarts-exporter: {of} did not end: the service was stopped{after}{where}")
            return FAILED
        self._screen.line(f"FAIL{after}")
        self._screen.error(f"modelarts-exporter: {of} failed{after}{where}")
        cause = state.cause
        self._screen.error(f"reason: {cause.reason if cause else 'other'}")
        self._screen.error(f"text: {scrub(cause.message) if cause else 'no event tells why'}")
        self._screen.error(f"remedy: {remedy_of(cause, followed.classifier) or '-'}")
        self._tell_nodes(update)
        return FAILED

    def _tell_nodes(self, update: Update) -> None:
        """The nodes of an update that is not a success on all of them."""
        if update.nodes_failed or not all(node.succeeded for node in update.nodes):
            self._screen.error(
                f"nodes: {update.nodes_succeeded or 0} succeeded, {update.nodes_failed or 0} failed"
            )
            for node in sorted(update.nodes, key=lambda node: node.succeeded):
                self._screen.error(f"node: {_node(node)}")

    def _timed_out(self, wanted: str) -> int:
        within = format_duration(self._timeout)
        if self._followed is not None and self._awaited.standing is Standing.FAILED:
            return self._ended(self._followed)
        if self._error is not None or self._ahead is None or self._followed is None:
            why = f": {self._error}" if self._error else ": no answer came."
            raise _End(UNREADABLE, f"{scrub(wanted)} could not be read within {within}{why}")
        standing, update = self._awaited
        state = self._followed.state
        status = f"Its status is {scrub(state.row.status) or 'not known'}."
        if update is None:
            newest = state.newest
            known = (
                f"the newest one is of {iso(newest.update_time)} ({scrub(state.result)})"
                if newest
                else "there is none"
            )
            raise _End(
                TIMED_OUT,
                f"No update of {self._title} since {iso(self._begin)} began within {within}; {known}. "
                f"{status} If yours began before, give its begin by --since.",
            )
        raise _End(
            TIMED_OUT,
            f"The update of {iso(update.update_time)} of {self._title} did not end within {within}; "
            f"it is {standing.value}: {self._now()}. {status}",
        )


def _detail_or_none(source: Source, service_id: str) -> ServiceRow | RemoteError | None:
    """The service; None if it does not exist."""
    found = poll_service(source, PollJob(service_id, Ticks(0), detail=True)).detail
    return None if isinstance(found, Gone) else found


def _whole_list(source: Source) -> ServiceList | RemoteError:
    """The list; one that lacks rows could hide a second service of the same name."""
    found = list_services(source)
    if isinstance(found, ServiceList) and not found.complete:
        return Torn(found.error or "The list of services was torn.")
    return found


def _node(node: NodeResult) -> str:
    result = "succeeded" if node.succeeded else "failed"
    return f"{scrub(node.node_name)} ({scrub(node.node_id)}): {scrub(node.operation)} {result}"
