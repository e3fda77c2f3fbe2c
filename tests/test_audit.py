"""Closed days of the event log are compared once more with what was counted of them, and differences told."""

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.accounting.apply_events import apply_events
from exporter.core.accounting.audit import (
    DAY_MS,
    DAYS_KEPT,
    EXTRA,
    MISSING,
    Audit,
    Difference,
    compared,
    span,
)
from exporter.core.accounting.service_state import ServiceState
from exporter.core.classifier.classifier import Classifier
from exporter.core.records import Event, EventWindow, ServiceRow
from tests.fakes import NOW
from tests.poller_harness import MINUTE, POLICY

HOUR = 60 * MINUTE
MIDNIGHT = NOW - NOW % DAY_MS
LATENESS = POLICY.lateness

# Few texts and few times: so that equal entries, and entries of one moment, are common.
TIMES = st.integers(0, 2 * 24).map(lambda hours: MIDNIGHT + hours * HOUR)
EVENTS = st.builds(Event, TIMES, st.sampled_from(["normal", "abnormal", "strange"]), st.sampled_from("ab"))
LOGS = st.lists(EVENTS, min_size=1, max_size=12)
# Long after the last of them; all of them are final then, if a newer entry was read.
LATER = MIDNIGHT + 2 * DAY_MS + 12 * HOUR
LAST = Event(LATER - HOUR, "normal", "last")
FIRST = Event(MIDNIGHT - HOUR, "normal", "first")


def read(state: ServiceState, events: Iterable[Event], now: int) -> ServiceState:
    """The state after an ordinary read of these events at `now`."""
    after = state.events.watermark
    window = EventWindow(tuple(e for e in events if after is None or e.occur_time > after), now, after)
    return apply_events(state, window, POLICY, Classifier(), now).state


def counted(events: Iterable[Event], now: int = LATER) -> ServiceState:
    return read(ServiceState(ServiceRow("a")), events, now)


def audited(
    state: ServiceState, log: Iterable[Event], now: int = LATER
) -> tuple[Audit, tuple[Difference, ...]]:
    """What a comparison with `log` at `now` says."""
    due = span(state.audit, state.events.watermark, now, LATENESS)
    assert due is not None
    return compared(state.audit, due, [event for event in log if event.occur_time > due.read_after])


def found(state: ServiceState, log: Iterable[Event]) -> dict[int, tuple[str, ...]]:
    """The kinds of differences, by day counted from the first."""
    return {(each.day - MIDNIGHT) // DAY_MS: each.kinds for each in audited(state, log)[1]}


def days(events: Iterable[Event]) -> set[int]:
    """The closed days that these events are of."""
    return {day for event in events if (day := (event.occur_time - MIDNIGHT) // DAY_MS) < 2}


@given(LOGS, st.randoms())
def test_the_same_entries_in_any_order_differ_in_nothing(log: list[Event], random: Any) -> None:
    log += [FIRST, LAST]
    again = random.sample(log, len(log))
    assert found(counted(log), again) == {}


@given(LOGS, st.data())
def test_whatever_the_log_has_lost_is_missing_on_its_days(log: list[Event], data: st.DataObject) -> None:
    lost = data.draw(st.lists(st.sampled_from(range(len(log))), unique=True))
    kept = [event for number, event in enumerate(log) if number not in lost]
    state = counted([FIRST, *log, LAST])
    assert found(state, [FIRST, *kept, LAST]) == dict.fromkeys(days(log[n] for n in lost), (MISSING,))


@given(LOGS, LOGS)
def test_whatever_was_never_counted_is_extra_on_its_days(log: list[Event], more: list[Event]) -> None:
    state = counted([FIRST, *log, LAST])
    assert found(state, [FIRST, *log, *more, LAST]) == dict.fromkeys(days(more), (EXTRA,))


@given(LOGS, st.integers(0, 11))
def test_an_entry_in_the_place_of_another_is_both(log: list[Event], place: int) -> None:
    changed = msgspec.structs.replace(log[place % len(log)], event_info="another text")
    other = [*log[: place % len(log)], changed, *log[place % len(log) + 1 :]]
    expected = dict.fromkeys(days([changed]), (MISSING, EXTRA))
    assert found(counted([FIRST, *log, LAST]), [FIRST, *other, LAST]) == expected


@given(LOGS, st.integers(0, 12))
def test_what_the_log_forgets_from_its_old_end_is_not_missing(log: list[Event], forgotten: int) -> None:
    log = sorted([FIRST, *log])
    state = counted([*log, LAST])
    shown = [event for event in log if event.occur_time >= log[min(forgotten, len(log) - 1)].occur_time]
    assert found(state, [*shown, LAST]) == {}
    assert found(state, [LAST]) == {}


@given(LOGS, st.lists(st.integers(0, LATENESS), min_size=12, max_size=12))
def test_however_late_within_lateness_entries_came_they_are_no_difference(
    log: list[Event], delays: list[int]
) -> None:
    log = [FIRST, *log, LAST]
    visible = {
        number: event.occur_time + delay
        for number, (event, delay) in enumerate(zip(log, [0, *delays, 0], strict=False))
    }
    state = ServiceState(ServiceRow("a"))
    for now in sorted({*visible.values(), LATER}):
        state = read(state, [log[number] for number, at in visible.items() if at <= now], now)
    assert found(state, log) == {}


def test_a_day_is_compared_when_it_has_ended_and_lateness_has_passed_and_only_once() -> None:
    log = [FIRST, Event(MIDNIGHT + HOUR, "normal", "a"), LAST]
    state = counted(log)
    closed = MIDNIGHT + 2 * DAY_MS + LATENESS
    early = span(state.audit, state.events.watermark, closed - 1, LATENESS)
    assert early is not None
    assert early.until == MIDNIGHT + DAY_MS - 1
    left, _ = audited(state, log, now=closed)
    assert span(left, state.events.watermark, closed, LATENESS) is None


def test_the_next_comparison_begins_where_the_last_one_ended() -> None:
    log = [FIRST, Event(MIDNIGHT + HOUR, "normal", "a"), Event(MIDNIGHT + DAY_MS + HOUR, "normal", "b"), LAST]
    counted_until_noon = read(counted(log[:1]), log[:2], MIDNIGHT + DAY_MS // 2)
    state = read(counted_until_noon, log[:3], MIDNIGHT + DAY_MS + 12 * HOUR)
    first, none = audited(state, log[:3], MIDNIGHT + DAY_MS + 12 * HOUR)
    assert none == ()
    state = read(msgspec.structs.replace(state, audit=first), log, LATER)
    assert found(state, log) == {}
    (lost,) = audited(state, [*log[:2], LAST])[1]
    assert (lost.date, lost.kinds, lost.counted, lost.shown) == ("2023-11-15", (MISSING,), 1, 0)


def test_entries_that_are_not_final_are_left_to_ordinary_reads() -> None:
    log = [FIRST, Event(MIDNIGHT + HOUR, "normal", "a")]
    state = counted(log)
    assert found(state, log) == {}
    assert found(state, [FIRST]) == {}
    assert found(state, [*log, Event(MIDNIGHT + 2 * HOUR, "normal", "new")]) == {}


def test_nothing_is_compared_of_a_log_that_was_never_read_or_empty() -> None:
    for state in (ServiceState(ServiceRow("a")), counted([])):
        assert span(state.audit, state.events.watermark, LATER, LATENESS) is None


def test_what_an_older_version_counted_is_left_out() -> None:
    counted_before = Event(MIDNIGHT + HOUR, "normal", "a")
    old = msgspec.structs.replace(counted([FIRST, counted_before, LAST]), audit=Audit())
    new = [Event(LAST.occur_time + day * DAY_MS, "normal", "b") for day in (1, 2)]
    now = new[-1].occur_time + HOUR
    state = read(old, [LAST, *new], now)
    # The anchor is the last one that was not final then: the cloud may have changed whatever was before it.
    assert audited(state, [LAST, *new], now)[1] == ()
    assert [each.kinds for each in audited(state, [LAST, new[1]], now)[1]] == [(MISSING,)]


def test_days_that_could_not_be_compared_for_long_are_given_up() -> None:
    log = [FIRST, *(Event(MIDNIGHT + day * DAY_MS + HOUR, "normal", "a") for day in range(10))]
    state = ServiceState(ServiceRow("a"))
    for number, event in enumerate(log):
        state = read(state, log[: number + 1], event.occur_time + HOUR)
    now = log[-1].occur_time + HOUR
    assert len(state.audit.totals) == DAYS_KEPT
    assert audited(state, log, now)[1] == ()
    assert [each.kinds for each in audited(state, [log[7], *log[9:]], now)[1]] == [(MISSING,)]
    assert span(state.audit, state.events.watermark, now + 30 * DAY_MS, LATENESS) is None
