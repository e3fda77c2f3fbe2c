"""The five laws of the ledger, for random logs: of the ledger itself, of updates, and of events.

Times are small numbers, and an entry may appear ten of them late. A failure prints the shortest list of steps
that shows it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.core.accounting import ledger
from exporter.core.accounting.apply_events import apply_events
from exporter.core.accounting.apply_updates import CountingPolicy, apply_updates
from exporter.core.accounting.ledger import (
    CHANGED,
    FUTURE,
    OLDEST_KEPT_MS,
    VANISHED,
    Anomaly,
    Key,
    Ledger,
    Read,
)
from exporter.core.accounting.service_state import EVENTS, UPDATES, ServiceState, opened
from exporter.core.classifier.classifier import Classifier
from exporter.core.records import Event, EventWindow, ServiceRow, Update, UpdateWindow

LATENESS = 10
BEGIN = 1000
POLICY = CountingPolicy(lateness=LATENESS, longest_guess=100)
CLASSIFIER = Classifier()


class Row(NamedTuple):
    """An entry as the cloud shows it."""

    time: int
    kind: str
    text: str = ""


@dataclass
class Entry:
    """One entry of the simulated log; `ghost`: its RUNNING row stays beside the settled one."""

    time: int
    kind: str
    text: str = ""
    ghost: bool = False
    hidden: bool = False
    shown: bool = False
    retried: bool = False
    counted: set[str] = field(default_factory=set)  # its results that were counted

    @property
    def settled(self) -> bool:
        return self.kind != "RUNNING"

    def rows(self) -> list[Row]:
        if self.hidden:
            return []
        return [Row(self.time, self.kind, self.text), *([Row(self.time, "RUNNING")] if self.ghost else [])]


class LogRead(NamedTuple):
    """One whole read: its rows, its time, and the part of the log that it covers."""

    rows: tuple[Row, ...]
    now: int
    after: int | None = None
    instant: int | None = None
    answered_at: int | None = None


# --- three ways to count ----------------------------------------------------------------------------


class Direct:
    """The ledger itself."""

    def __init__(self) -> None:
        self.ledger, self.totals = Ledger(), Counter[str]()

    def read(self, shown: LogRead) -> object:
        settled = [Key(*row) for row in shown.rows if row.kind != "RUNNING"]
        opens = frozenset(row.time for row in shown.rows if row.kind == "RUNNING")
        read = Read(Counter(settled), shown.now, opens, shown.after, shown.instant)
        applied = ledger.apply(self.ledger, read, LATENESS)
        self.ledger = applied.ledger
        for key, growth in applied.growth.items():
            self.totals[key.kind] += growth
        return applied.ledger, applied.growth, frozenset(applied.anomalies)

    def gauges(self) -> dict[str, object]:
        """It has none."""
        return {}

    def restart(self) -> None:
        self.ledger = msgspec.msgpack.decode(msgspec.msgpack.encode(self.ledger), type=Ledger)


class ByServiceState:
    """The counters of a service's state."""

    prefix = ""

    def __init__(self) -> None:
        self.state = opened(ServiceRow("s"), BEGIN, preexisting=False).state

    @property
    def totals(self) -> Counter[str]:
        values = self.state.counters.values
        return Counter({n.removeprefix(self.prefix): int(v) for n, v in values.items() if self.is_ours(n)})

    def is_ours(self, name: str) -> bool:
        return name.startswith(self.prefix)

    def gauges(self) -> dict[str, object]:
        """What the state says of the present."""
        return {}

    def restart(self) -> None:
        self.state = msgspec.msgpack.decode(msgspec.msgpack.encode(self.state), type=ServiceState)


class ByUpdates(ByServiceState):
    prefix = UPDATES

    @property
    def ledger(self) -> Ledger:
        return self.state.updates

    def read(self, shown: LogRead) -> object:
        rows = tuple(Update(r.time, r.kind) for r in shown.rows)
        window = UpdateWindow(rows, shown.now, shown.instant, answered_at=shown.answered_at)
        outcome = apply_updates(self.state, window, POLICY, shown.now)
        self.state = outcome.state
        return frozenset(outcome.anomalies), outcome.state, outcome.observations

    def gauges(self) -> dict[str, object]:
        state = self.state
        return {
            "result": state.result,
            "failing": state.failing,
            "running": len(state.open),
            "oldest": state.under_way[0].update_time if state.under_way else None,
            "newest": state.newest.update_time if state.newest else None,
            "SUCCESS": state.last_success,
            "FAIL": state.last_failure,
        }


class ByEvents(ByServiceState):
    prefix = EVENTS

    @property
    def ledger(self) -> Ledger:
        return self.state.events

    def read(self, shown: LogRead) -> object:
        events = tuple(Event(*row) for row in shown.rows)
        window = EventWindow(events, shown.now, shown.after, answered_at=shown.answered_at)
        outcome = apply_events(self.state, window, POLICY, CLASSIFIER, shown.now)
        self.state = outcome.state
        return frozenset(outcome.anomalies), outcome.state, outcome.events


Counting = Direct | ByUpdates | ByEvents


# --- what happens -----------------------------------------------------------------------------------


class LogSimulation:
    """A simulated log, what was counted of it, and the list of the steps so far."""

    def __init__(self, counting: Callable[[], Counting]) -> None:
        self.counting = counting()
        self.lines: list[str] = []
        self.entries: list[Entry] = []
        self.counted_and_gone = Counter[str]()
        self.now, self.slow = BEGIN, 0
        self.known: dict[int, set[str]] = {}  # what was last shown at each instant
        self.results: dict[int, set[str]] = {}  # and which results, if there were any
        self.read_at = 0  # the last whole read

    def note(self, line: str) -> None:
        self.lines.append(f"at {self.now}: {line}")

    def check(self, holds: bool, law: str) -> None:
        assert holds, "\n".join(["", *self.lines, f"=> {law}"])

    def appears(self, late: int, kind: str, text: str) -> None:
        """An entry appears, dated at most `LATENESS` ago, or in the future (`late` < 0)."""
        entry = Entry(self.now - late, kind, text)
        if any(other.retried for other in self.entries if other.time == entry.time):
            return  # which of the two a result is of could not be told
        for other in self.entries:
            if other.time == entry.time:
                other.hidden = False  # two of the same time are shown or hidden together
        self.entries.append(entry)
        self.note(f"{kind} {text!r} dated {entry.time} appears")

    def settles(self, number: int, kind: str, ghost: bool) -> None:
        opens = [entry for entry in self.entries if not entry.settled]
        if opens:
            entry = opens[number % len(opens)]
            entry.kind, entry.ghost = kind, ghost
            self.note(f"RUNNING of {entry.time} settles as {kind}{', beside it' if ghost else ''}")

    def retries(self, kind: str) -> None:
        """The newest entry shows another result, or runs again; it is read before and after."""
        self.reads("whole", 0, backwards=False, crash=False)
        newest = max(self.entries, key=lambda entry: entry.time, default=None)
        if newest is None or newest.hidden or newest.ghost or not newest.settled or newest.time > self.now:
            return
        is_alone = [entry.time for entry in self.entries].count(newest.time) == 1
        if is_alone and self.counting.ledger.is_live(newest.time):
            self.note(f"{newest.kind} of {newest.time} is {kind} now")
            newest.kind, newest.retried = kind, True
            self.reads("whole", 0, backwards=False, crash=False)

    def hides(self, number: int) -> None:
        """Hide or show all entries of one time, if they were read before; else they would be late."""
        times = sorted({entry.time for entry in self.entries})
        group = [entry for entry in self.entries if times and entry.time == times[number % len(times)]]
        # What was last read before its time had come is read once more first.
        if group and all(entry.shown and entry.time <= self.read_at for entry in group):
            hidden = not group[0].hidden
            for entry in group:
                entry.hidden = hidden
            self.note(f"the entries of {group[0].time} {'vanish' if hidden else 'are back'}")

    def forgets(self, count: int) -> None:
        """Remove the oldest entries, but only if they were read and no equal one can appear later."""
        for entry in sorted(self.entries, key=lambda entry: entry.time)[:count]:
            twins = [other for other in self.entries if other.time == entry.time]
            is_old = entry.time < self.now - LATENESS and entry.time <= self.read_at
            if is_old and all(twin.shown and twin.settled for twin in twins):
                self.entries.remove(entry)
                self.counted_and_gone.update(entry.counted)
                self.note(f"{entry.kind} of {entry.time} is forgotten")

    def waits(self, time: int) -> None:
        self.now += time

    def clock_steps(self, back: int) -> None:
        self.slow = back
        self.note(f"our clock is {back} slow")

    def restarts(self) -> None:
        self.counting.restart()
        self.note("restart")

    def reads(self, part: str, number: int, backwards: bool, crash: bool) -> None:
        shown = self.window(part, number, backwards)
        asked = (
            f" of {shown.instant}"
            if shown.instant is not None
            else f" after {shown.after}"
            if shown.after
            else ""
        )
        self.note(f"read{asked} dated {shown.now} shows {[' '.join(map(str, row)) for row in shown.rows]}")
        before = dict(self.counting.totals)
        if crash:
            self.counting, kept = self.copy(), self.counting
            self.counting.read(shown)
            self.counting = kept
            self.note("crash before the commit")
            return
        mirror = self.copy()
        seen = self.counting.read(shown)
        other = mirror.read(shown._replace(rows=shown.rows[::-1]))
        self.check(seen == other, "the order inside a window matters")
        for entry in self.entries:
            if not entry.hidden and covers(shown, entry.time):
                entry.shown = True
                entry.counted |= {entry.kind} if entry.settled else set()
        self.check_gauges(shown)
        totals = +self.counting.totals
        truth = self.truth()
        self.check(
            all(totals[kind] >= was for kind, was in before.items()), f"{before} fell to {dict(totals)}"
        )
        self.check(all(totals[k] <= truth[k] for k in totals), f"{dict(totals)} posted, {dict(truth)} exist")
        self.check(totals == truth, f"counted {counts_text(totals)}, the truth is {counts_text(truth)}")
        again = self.copy()
        again.read(shown)
        self.check(+again.totals == totals, f"the same window again makes {dict(again.totals)}")

    def truth(self) -> Counter[str]:
        return Counter(kind for entry in self.entries for kind in entry.counted) + self.counted_and_gone

    def check_gauges(self, shown: LogRead) -> None:
        """After a whole read they say what the log shows, and what it no longer shows."""
        now: dict[int, set[str]] = {}
        for row in shown.rows:
            now.setdefault(row.time, set()).add(row.kind)
        self.known |= now
        self.results |= {time: kinds - {"RUNNING"} for time, kinds in now.items() if kinds - {"RUNNING"}}
        gauges = self.counting.gauges()
        if shown.instant is not None or not gauges:
            return
        self.read_at = self.now
        # What is dated in the future shows only where there is nothing else.
        until = self.now if any(time <= self.now for time in self.known) else max(self.known, default=0)
        opens = [time for time, kinds in now.items() if kinds == {"RUNNING"}]
        running = [row for row in shown.rows if row.time in opens]
        goes_on = [
            time
            for time in opens
            if time <= until and not any(time < settled <= until for settled in self.results)
        ]
        newest = max((time for time in self.known if time <= until), default=None)
        settled = self.last(self.results)
        result = "" if settled is None else self.result_at(settled)
        true = {
            "result": "RUNNING" if newest in opens else result if newest is None else self.result_of(newest),
            "failing": result == "FAIL",
            "running": len(running),
            "oldest": min(goes_on, default=None),
            "newest": newest,
            **{
                kind: self.last(time for time, kinds in self.results.items() if kind in kinds)
                for kind in ("SUCCESS", "FAIL")
            },
        }
        self.check(gauges == true, f"the gauges say {gauges}, the truth is {true}")

    def last(self, times: Iterable[int]) -> int | None:
        return max(times, key=lambda time: (time <= self.now, time), default=None)

    def result_at(self, time: int) -> str:
        return "FAIL" if "FAIL" in self.results[time] else "SUCCESS"

    def result_of(self, time: int) -> str:
        """Of an update that was open when it was last shown, the newest known result stands."""
        if self.known[time] != {"RUNNING"}:
            return self.result_at(time)
        settled = self.last(self.results)
        return "" if settled is None else self.result_at(settled)

    def copy(self) -> Counting:
        copied = object.__new__(type(self.counting))
        copied.__dict__ = {
            n: Counter(v) if isinstance(v, Counter) else v for n, v in vars(self.counting).items()
        }
        return copied

    def window(self, part: str, number: int, backwards: bool) -> LogRead:
        rows = [row for entry in self.entries for row in entry.rows()]
        if backwards:
            rows.reverse()
        shown = LogRead(tuple(rows), self.now - self.slow, answered_at=self.now)
        if part == "tail" and self.counting.ledger.watermark is not None:
            shown = shown._replace(after=self.counting.ledger.watermark - number)
        if part == "instant" and rows:
            shown = shown._replace(instant=rows[number % len(rows)].time)
        return shown._replace(rows=tuple(row for row in rows if covers(shown, row.time)))


def counts_text(totals: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(totals.items())) or "nothing"


def covers(shown: LogRead, time: int) -> bool:
    if shown.instant is not None:
        return time == shown.instant
    return shown.after is None or time > shown.after


Step = tuple[str, tuple[object, ...]]


def step(name: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.tuples(*arguments))


# Few times and few texts, so that equal ones are common; sometimes one from the future.
LATE = st.one_of(st.integers(0, 2), st.integers(-30, LATENESS))
SMALL = st.integers(0, 5)
RESULT = st.sampled_from(["SUCCESS", "FAIL"])
ANYWAY = [
    step("waits", st.one_of(st.integers(1, 3), st.integers(1, 3 * LATENESS))),
    step("hides", SMALL),
    step("forgets", SMALL),
    step("clock_steps", st.sampled_from([0, 5, 50])),
    step("restarts"),
]
WHOLE = step("reads", st.just("whole"), st.just(0), st.booleans(), st.booleans())
UPDATE_STEPS = st.one_of(
    step("appears", LATE, st.just("RUNNING"), st.just("")),
    step("appears", LATE, RESULT, st.just("")),
    step("settles", SMALL, RESULT, st.booleans()),
    step("retries", st.sampled_from(["SUCCESS", "FAIL", "RUNNING", "RUNNING"])),
    WHOLE,
    step("reads", st.just("instant"), SMALL, st.booleans(), st.booleans()),
    *ANYWAY,
)
EVENT_STEPS = st.one_of(
    step("appears", LATE, st.sampled_from(["normal", "abnormal"]), st.sampled_from(["a", "b"])),
    step("appears", LATE, st.sampled_from(["normal", "abnormal"]), st.sampled_from(["a", "b"])),
    WHOLE,
    step("reads", st.just("tail"), SMALL, st.booleans(), st.booleans()),
    *ANYWAY,
)


def simulate(counting: Callable[[], Counting], steps: Sequence[Step]) -> LogSimulation:
    """Do the steps, then set the clock right, show all entries, and read everything once more."""
    simulation = LogSimulation(counting)
    for name, arguments in steps:
        getattr(simulation, name)(*arguments)
    simulation.clock_steps(0)
    for entry in simulation.entries:
        entry.hidden = False
    simulation.reads("whole", 0, backwards=False, crash=False)
    return simulation


OPEN_FOR_LONG: list[Step] = [
    ("appears", (0, "RUNNING", "")),
    ("reads", ("whole", 0, False, False)),
    *[
        step
        for _ in range(5)
        for step in (("waits", (30,)), ("appears", (0, "FAIL", "")), ("reads", ("whole", 0, False, False)))
    ],
    ("restarts", ()),
    ("settles", (0, "SUCCESS", False)),
]
ONE_INSTANT_ALONE: list[Step] = [
    ("appears", (0, "SUCCESS", "")),
    ("waits", (2 * LATENESS,)),
    ("appears", (0, "RUNNING", "")),
    ("reads", ("instant", 1, False, False)),
]
OUR_CLOCK_STEPS_BACK: list[Step] = [
    ("appears", (0, "FAIL", "")),
    ("waits", (30,)),
    ("appears", (0, "SUCCESS", "")),
    ("reads", ("whole", 0, False, False)),
    ("clock_steps", (50,)),
    ("reads", ("whole", 0, False, False)),
    ("reads", ("whole", 0, False, False)),
]
LATE_AT_THE_LIMIT: list[Step] = [
    ("appears", (0, "SUCCESS", "")),
    ("reads", ("whole", 0, False, False)),
    ("waits", (LATENESS,)),
    ("appears", (0, "SUCCESS", "")),
    ("reads", ("whole", 0, False, False)),
    ("waits", (1,)),
    ("appears", (LATENESS, "FAIL", "")),
]
FROM_THE_FUTURE: list[Step] = [
    ("appears", (-30, "abnormal", "a")),
    ("reads", ("whole", 0, False, False)),
    ("waits", (15,)),
    ("appears", (LATENESS, "abnormal", "a")),
    ("reads", ("tail", 0, False, False)),
]


@pytest.mark.parametrize("counting", [Direct, ByUpdates])
@settings(max_examples=400)
@given(steps=st.lists(UPDATE_STEPS, min_size=5, max_size=40))
@example(steps=OPEN_FOR_LONG)
@example(steps=ONE_INSTANT_ALONE)
@example(steps=OUR_CLOCK_STEPS_BACK)
@example(steps=LATE_AT_THE_LIMIT)
def test_an_update_log_is_counted_exactly_whatever_it_does(
    counting: Callable[[], Counting], steps: list[Step]
) -> None:
    simulate(counting, steps)


@pytest.mark.parametrize("counting", [Direct, ByEvents])
@settings(max_examples=400)
@given(steps=st.lists(EVENT_STEPS, min_size=5, max_size=40))
@example(steps=FROM_THE_FUTURE)
def test_an_event_log_is_counted_exactly_whatever_it_does(
    counting: Callable[[], Counting], steps: list[Step]
) -> None:
    simulate(counting, steps)


def test_a_wrong_total_prints_the_steps_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_held", lambda ledger, read: ())
    with pytest.raises(AssertionError) as failure:
        simulate(Direct, OPEN_FOR_LONG)
    printed = str(failure.value).removesuffix("\nassert False")
    assert "at 1000: RUNNING '' dated 1000 appears" in printed
    assert printed.endswith("=> counted 5 FAIL, the truth is 5 FAIL, 1 SUCCESS")


def tally(
    *rows: Row,
    now: int,
    before: Ledger | None = None,
    after: int | None = None,
    answered_at: int | None = None,
) -> ledger.Applied:
    """One read of these rows, long after they were written."""
    opens = frozenset(row.time for row in rows if row.kind == "RUNNING")
    settled = Counter(Key(*row) for row in rows if row.kind != "RUNNING")
    return ledger.apply(before or Ledger(), Read(settled, now, opens, after, None, answered_at), LATENESS)


def kinds(applied: ledger.Applied) -> list[str]:
    return [anomaly.kind for anomaly in applied.anomalies]


def test_an_entry_that_vanishes_is_an_anomaly_once_and_stays_counted() -> None:
    first = tally(Row(100, "FAIL"), Row(101, "FAIL"), now=200)
    second = tally(Row(101, "FAIL"), now=200, before=first.ledger)
    assert second.anomalies == (Anomaly(VANISHED, Key(100, "FAIL")),)
    third = tally(Row(101, "FAIL"), now=200, before=second.ledger)
    back = tally(Row(100, "FAIL"), Row(101, "FAIL"), now=200, before=third.ledger)
    assert (kinds(third), kinds(back), back.growth) == ([], [], {})


def test_an_entry_that_changes_is_an_anomaly_and_counts_as_what_it_is_now_too() -> None:
    first = tally(Row(100, "FAIL"), now=200)
    second = tally(Row(100, "SUCCESS"), now=200, before=first.ledger)
    assert second.anomalies == (Anomaly(CHANGED, Key(100, "FAIL")),)
    assert second.growth == {Key(100, "SUCCESS"): 1}


def test_one_of_two_equal_entries_may_vanish_and_come_back() -> None:
    first = tally(Row(100, "FAIL"), Row(100, "FAIL"), now=200)
    second = tally(Row(100, "FAIL"), now=200, before=first.ledger)
    third = tally(Row(100, "FAIL"), Row(100, "FAIL"), now=200, before=second.ledger)
    assert (first.growth, second.growth, third.growth) == ({Key(100, "FAIL"): 2}, {}, {})
    assert (kinds(second), kinds(third)) == ([CHANGED], [])


def test_what_the_cloud_forgets_by_age_is_no_anomaly() -> None:
    month = 31 * 24 * 3600 * 1000
    first = tally(Row(100, "FAIL"), Row(105, "FAIL"), now=200)
    assert kinds(tally(Row(105, "FAIL"), now=100 + month, before=first.ledger)) == []
    assert kinds(tally(now=100 + month, before=first.ledger)) == []
    # It forgets the oldest first, and nothing of this week.
    assert kinds(tally(Row(100, "FAIL"), now=100 + month, before=first.ledger)) == [VANISHED]
    assert kinds(tally(now=200, before=first.ledger)) == [VANISHED, VANISHED]


def test_an_entry_dated_in_the_future_counts_and_is_an_anomaly() -> None:
    applied = tally(Row(150, "abnormal", "a"), Row(500, "abnormal", "a"), now=200)
    assert applied.growth == {Key(150, "abnormal", "a"): 1, Key(500, "abnormal", "a"): 1}
    assert applied.anomalies == (Anomaly(FUTURE, Key(500, "abnormal", "a")),)
    assert applied.ledger.watermark == 200 - LATENESS - 1


def test_an_entry_written_while_the_read_went_on_is_not_from_the_future() -> None:
    rows = (Row(150, "abnormal", "a"), Row(500, "abnormal", "a"))
    applied = tally(*rows, now=200, answered_at=500)
    assert applied.anomalies == ()
    assert applied.ledger.watermark == 200 - LATENESS - 1
    assert kinds(tally(*rows, now=200, answered_at=499)) == [FUTURE]


def test_only_what_may_still_change_is_kept() -> None:
    rows = [Row(time, "FAIL") for time in range(1000)]
    applied = tally(Row(3, "RUNNING"), *rows, now=2000)
    assert [t.key.time for t in applied.ledger.live] == [3, *range(999 - LATENESS, 1000)]
    assert applied.ledger.held == (3,)
    assert tally(*rows, now=2000, before=applied.ledger).ledger.held == ()


def test_an_open_update_that_vanished_is_awaited_until_the_cloud_must_have_forgotten_it() -> None:
    first = tally(Row(100, "RUNNING"), Row(200, "FAIL"), now=200)
    later = tally(Row(200, "FAIL"), now=100 + OLDEST_KEPT_MS - 1, before=first.ledger)
    assert later.ledger.held == (100,)
    assert tally(Row(200, "FAIL"), now=100 + OLDEST_KEPT_MS, before=later.ledger).ledger.held == ()


def test_a_read_of_another_instant_forgets_no_open_update_however_old() -> None:
    first = tally(Row(100, "RUNNING"), Row(200, "RUNNING"), now=200)
    read = Read({}, 100 + OLDEST_KEPT_MS, frozenset({200}), instant=200)
    assert ledger.apply(first.ledger, read, LATENESS).ledger.held == (100, 200)


def test_an_open_entry_of_a_final_instant_is_not_taken_up() -> None:
    first = tally(Row(100, "FAIL"), Row(200, "FAIL"), now=200)
    flipped = tally(Row(100, "RUNNING"), Row(200, "FAIL"), now=200, before=first.ledger)
    again = tally(Row(100, "FAIL"), Row(200, "FAIL"), now=200, before=flipped.ledger)
    assert (flipped.ledger.held, again.growth) == ((), {})


def test_an_empty_log_says_nothing_about_what_is_to_come() -> None:
    empty = tally(now=200)
    assert (empty.ledger.read_once, empty.ledger.watermark) == (True, None)
    assert tally(Row(5, "FAIL"), now=300, before=empty.ledger).growth == {Key(5, "FAIL"): 1}


def test_what_a_read_was_not_asked_for_is_passed_over() -> None:
    asked, unasked = Key(150, "abnormal", "a"), Key(50, "abnormal", "a")
    read = ledger.Read({unasked: 1, asked: 1}, now=200, after=100)
    applied = ledger.apply(Ledger(), read, lateness=1000)
    assert applied.growth == {asked: 1}
    assert [tally.key for tally in applied.ledger.live] == [asked]
