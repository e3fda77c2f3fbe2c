"""Who is next in line, and who is being read."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from exporter.core.accounting.ledger import Ledger
from exporter.core.accounting.service_state import ServiceState
from exporter.core.polling.schedule import PollIntervals
from exporter.core.records import EventWindow, ServiceRow, Update, UpdateWindow
from exporter.core.source import NotUnderstood
from exporter.engine.fetch import PollJob, PollResult
from exporter.engine.poll_queue import PollQueue
from tests.fakes import NOW

SECOND = 1000
INTERVALS = PollIntervals(interval=30 * SECOND, active_interval=10 * SECOND, sweep_interval=300 * SECOND)
START = 1_000_000 * SECOND  # ticks
FAILED = Update(NOW, "FAIL")


def quiet(service_id: str, read_at: int | None = NOW) -> ServiceState:
    ledger = Ledger(preexisting=True)
    return ServiceState(ServiceRow(service_id), updates=ledger, events=ledger, read_at=read_at)


def active(service_id: str) -> ServiceState:
    return msgspec.structs.replace(quiet(service_id), open=(Update(NOW, "RUNNING"),))


def failing(service_id: str) -> ServiceState:
    return msgspec.structs.replace(quiet(service_id), settled=FAILED)


class Services:
    """A queue with the services that it orders; `tick` is moved by hand."""

    def __init__(self, states: Iterable[ServiceState], concurrency: int = 4) -> None:
        self.tick = START
        self.queue = PollQueue(INTERVALS, concurrency)
        self.states = {state.row.service_id: state for state in states}
        for state in self.states.values():
            self.queue.begin(state, self.tick)

    def change(self, service_id: str) -> None:
        self.queue.changed(self.states[service_id], self.tick)

    def take(self) -> PollJob | None:
        return self.queue.next_job(self.states.__getitem__, self.tick)

    def end(self, job: PollJob, *, fails: bool = False) -> None:
        updates = NotUnderstood("no JSON") if fails else UpdateWindow((), NOW, job.update_time_filter)
        assert self.queue.returned(job)
        state = self.states[job.service_id]
        self.queue.was_read(PollResult(job, updates, EventWindow((), NOW)), state, self.tick)

    def take_all(self) -> list[str]:
        """Take whoever is due now, and do not come back to it."""
        taken = []
        while (job := self.take()) is not None:
            taken.append(job.service_id)
        return taken


def test_after_a_start_come_changed_then_active_then_failing_then_quiet_services() -> None:
    services = Services([quiet("quiet"), failing("failing"), active("active"), quiet("changed")])
    services.change("changed")
    assert services.take_all() == ["changed", "active", "failing", "quiet"]


def test_a_change_that_an_earlier_process_saw_and_did_not_read_goes_first() -> None:
    row = ServiceRow("changed", transition_at=NOW + 1)
    services = Services([quiet("a"), msgspec.structs.replace(quiet("changed"), row=row), quiet("b")])
    assert services.take_all()[0] == "changed"


def test_quiet_services_come_by_age_and_those_never_read_by_lot() -> None:
    never = [f"never-{number}" for number in range(20)]
    read = [f"read-{number}" for number in range(20)]
    taken = Services(
        [*(quiet(s, NOW - n) for n, s in enumerate(read)), *(quiet(s, None) for s in never)]
    ).take_all()
    assert taken[20:] == read[::-1]
    assert sorted(taken[:20]) == sorted(never)
    assert taken[:20] not in (never, sorted(never))


def test_whatever_waits_each_urgency_gets_its_share_of_the_turns() -> None:
    size = 100
    kinds = {"changed": quiet, "active": active, "failing": failing, "quiet": quiet}
    services = Services(state(f"{kind}-{n}") for kind, state in kinds.items() for n in range(size))
    for number in range(size):
        services.change(f"changed-{number}")
    turns = [service_id.split("-")[0] for service_id in services.take_all()]
    for start in range(80):
        assert Counter(turns[start : start + 8]) == {"changed": 4, "active": 2, "failing": 1, "quiet": 1}
    # When the changed ones are done, their turns go to the next.
    changed_done = len(turns) - 1 - turns[::-1].index("changed")
    assert Counter(turns[changed_done + 1 : changed_done + 5])["active"] == 3
    assert len(turns) == 4 * size


def test_a_service_that_waits_and_changes_again_keeps_its_place() -> None:
    services = Services([quiet("first"), quiet("second")])
    for job in [services.take(), services.take()]:
        assert job is not None
        services.end(job)
    services.tick += SECOND
    services.change("first")
    services.tick += SECOND
    services.change("second")
    services.tick += SECOND
    services.change("first")
    assert services.take_all() == ["first", "second"]


def test_a_service_that_changes_while_it_is_read_is_read_again() -> None:
    services = Services([quiet("a")])
    job = services.take()
    assert job is not None
    services.tick += SECOND
    services.change("a")
    assert services.take() is None
    assert services.queue.overdue(services.tick) == {"a"}
    services.end(job)
    assert services.take_all() == ["a"]


def test_a_change_that_could_not_be_read_still_goes_first() -> None:
    services = Services([quiet("changed"), active("active")])
    services.change("changed")
    for fails in (True, False):
        job = services.take()
        assert job is not None
        services.end(job, fails=fails)
    services.tick += INTERVALS.active_interval
    assert services.take_all() == ["changed", "active"]


def test_a_read_that_failed_does_not_bring_a_quiet_service_forward() -> None:
    services = Services([quiet("broken", NOW), quiet("sound", NOW - 1)])
    for fails in (False, True):
        job = services.take()
        assert job is not None
        services.end(job, fails=fails)
        services.tick += SECOND
    services.tick += INTERVALS.sweep_interval
    assert services.take_all() == ["sound", "broken"]


def test_a_change_whose_read_was_abandoned_by_a_reload_goes_first_again() -> None:
    services = Services([quiet("a"), quiet("changed"), quiet("z")])
    services.change("changed")
    assert services.take() is not None
    services.queue.abandon_reads(services.states.values(), services.tick)
    longer = msgspec.structs.replace(INTERVALS, sweep_interval=2 * INTERVALS.sweep_interval)
    services.queue.reconfigure(longer, 4, services.states.values(), services.tick)
    assert services.take_all() == ["changed", "a", "z"]


def test_a_service_that_is_due_stays_so_when_the_intervals_grow_and_is_read_once() -> None:
    services = Services([quiet("a")])
    job = services.take()
    assert job is not None
    services.end(job)
    services.tick += INTERVALS.sweep_interval
    assert services.queue.overdue(services.tick) == {"a"}
    longer = msgspec.structs.replace(INTERVALS, sweep_interval=100 * INTERVALS.sweep_interval)
    services.queue.reconfigure(longer, 4, services.states.values(), services.tick)
    assert services.queue.next_due() is None
    assert services.take_all() == ["a"]


def test_a_service_that_is_gone_is_not_read() -> None:
    services = Services([quiet("a"), quiet("b")])
    services.queue.end("a")
    assert services.queue.overdue(services.tick) == {"b"}
    assert services.take_all() == ["b"]


def test_services_whose_reads_fail_delay_no_others_of_their_urgency_by_more_than_half() -> None:
    broken = [f"broken-{number}" for number in range(50)]
    sound = [f"sound-{number}" for number in range(10)]
    services = Services(map(quiet, broken + sound))
    for service_id in broken:
        services.change(service_id)
    while (job := services.take()) is not None:
        services.end(job, fails=job.service_id in broken)
    services.tick += INTERVALS.active_interval
    for service_id in sound:
        services.change(service_id)
    under_way: list[PollJob] = []
    order = []
    while (job := services.take()) is not None:
        under_way.append(job)
        order.append(job.service_id)
        if len(under_way) == 4:
            done = under_way.pop(0)
            services.end(done, fails=done.service_id in broken)
    assert max(order.index(service_id) for service_id in sound) <= 2 * len(sound)


# --- how long a sweep takes -------------------------------------------------------------------------


def read_one(services: Services, *, after: int, fails: bool = False) -> None:
    job = services.take()
    assert job is not None
    services.tick += after
    services.end(job, fails=fails)


def test_a_sweep_takes_as_long_as_it_takes_to_try_every_service_and_at_least_the_interval() -> None:
    services = Services([quiet("a"), quiet("b"), quiet("c")])
    assert services.queue.sweep_ms == INTERVALS.sweep_interval
    for fails in (False, True, False):
        read_one(services, after=400 * SECOND, fails=fails)
    assert services.queue.sweep_ms == 1200 * SECOND
    # The next one is short, and only its end shows that.
    read_one(services, after=SECOND)
    read_one(services, after=SECOND)
    assert services.queue.sweep_ms == 1200 * SECOND
    while services.queue.sweep_ms == 1200 * SECOND:
        read_one(services, after=SECOND)
    assert services.queue.sweep_ms == INTERVALS.sweep_interval


def test_a_sweep_that_goes_on_for_longer_than_the_last_one_shows() -> None:
    services = Services([quiet("a"), quiet("b")])
    read_one(services, after=700 * SECOND)
    assert services.queue.sweep_ms == 700 * SECOND


def test_a_sweep_does_not_wait_for_a_service_that_is_gone() -> None:
    services = Services([quiet("a"), quiet("b"), quiet("c")])
    read_one(services, after=400 * SECOND)
    services.queue.end("b")
    read_one(services, after=400 * SECOND)
    assert services.queue.sweep_ms == 800 * SECOND
    services.tick += 900 * SECOND
    assert services.queue.sweep_ms == 800 * SECOND  # a new one has begun, and nobody was read in it


def test_the_time_in_which_nothing_may_be_read_is_no_part_of_a_sweep() -> None:
    services = Services([quiet("a"), quiet("b")])
    read_one(services, after=SECOND)
    services.tick += 10_000 * SECOND
    services.queue.restart_sweep(services.tick)
    read_one(services, after=SECOND)
    assert services.queue.sweep_ms == INTERVALS.sweep_interval
