"""Applies a read of the event log to a service's state.

An event that is dated in the future is counted when it is read. Before its time has come it is no step of a
deployment, no cause, and not the newest event. The first read after that makes it so: the state remembers
the cloud's clock at the last read that showed such an event (`events_ahead_of`).
"""

from collections import Counter, deque
from collections.abc import Iterable

import msgspec

from exporter.core.accounting import audit, counters, ledger, phases
from exporter.core.accounting.apply_updates import CountingPolicy
from exporter.core.accounting.failure_cause import with_failure_events
from exporter.core.accounting.history import EVENTS_KEPT, PastEvent, past_text
from exporter.core.accounting.ledger import Key
from exporter.core.accounting.service_state import (
    EVENT_COUNTERS,
    EVENTS,
    LONGEST_MESSAGE,
    REASON,
    FailureEvent,
    Outcome,
    PostedEvent,
    ServiceState,
)
from exporter.core.classifier.classifier import Classification, Classifier
from exporter.core.records import EVENT_TYPES, Event, EventWindow
from exporter.core.scrub import scrub


def apply_events(
    state: ServiceState, window: EventWindow, policy: CountingPolicy, classifier: Classifier, now: int
) -> Outcome:
    """The state after one whole read of the events after an instant; `now` on our clock (ms)."""
    preexisting = state.events.preexisting
    shown = Counter(Key(event.occur_time, event.event_type, event.event_info) for event in window.events)
    read = ledger.Read(
        settled=shown, now=window.observed_at, after=window.after, answered_at=window.answered_at
    )
    applied = ledger.apply(state.events, read, policy.lateness)

    clock = window.observed_at if window.answered_at is None else window.answered_at
    counted: deque[_Counted] = deque(maxlen=EVENTS_KEPT if preexisting else None)  # all of it is logged
    unknown: list[tuple[str, str]] = []
    failure_events: list[FailureEvent] = []
    amounts: Counter[str] = Counter()
    unclassified = 0
    deployment_phases = state.phases
    last_events = dict(state.last_events)
    come_due = _come_due(state, shown, clock)
    growth = {**come_due, **applied.growth} if come_due else applied.growth
    texts = _Texts(classifier)
    for key in sorted(growth):
        times = growth[key]
        if key.kind not in EVENT_TYPES:
            unknown += [("event_type", key.kind)] * times
            continue
        finding = texts.classify(key)
        if key.time <= clock:
            last_events[key.kind] = max(key.time, last_events.get(key.kind, key.time))
            deployment_phases = phases.with_event(deployment_phases, key.time, finding)
            if finding.reason:
                message = texts.message(key.text)
                failure_events.append(FailureEvent(key.time, finding.reason, message, finding.evidence))
        if not times:
            continue
        amounts[EVENTS + key.kind] += times
        if finding.reason:
            amounts[REASON + finding.reason] += times
            unclassified += 0 if finding.classified else times
        counted.append((key, times, finding))

    totals = state.counters
    if preexisting:
        totals = counters.born(totals, EVENT_COUNTERS)
    if policy.count_history or not preexisting:
        totals = counters.add(totals, dict(amounts), now, preexisting=preexisting)
    after = msgspec.structs.replace(
        state,
        events=applied.ledger,
        counters=totals,
        phases=deployment_phases,
        last_events=last_events,
        events_ahead_of=clock if any(key.time > clock for key in shown) else None,
        audit=audit.with_final(state.audit, state.events, applied, window.observed_at),
    )
    return Outcome(
        with_failure_events(after, failure_events),
        anomalies=applied.anomalies,
        unknown=tuple(unknown),
        events=() if preexisting else tuple(map(_posted, counted)),
        unclassified=unclassified,
        past_events=tuple(_past(each, texts) for each in list(counted)[-EVENTS_KEPT:]),
    )


_Counted = tuple[Key, int, Classification]  # an event, how many times it is counted now, and what it means


def _posted(counted: _Counted) -> PostedEvent:
    key, times, finding = counted
    return PostedEvent(Event(key.time, key.kind, key.text), times, finding.reason, finding.remedy)


def _past(counted: _Counted, texts: "_Texts") -> PastEvent:
    key, times, finding = counted
    text = texts.past(key.text)
    return PastEvent(key.time, key.kind, text, times, finding.reason, finding.phase, finding.mark)


class _Texts:
    """What the texts of one read mean; a crash loop writes the same one thousands of times."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier
        self._classified: dict[tuple[str, str], Classification] = {}
        self._messages: dict[str, str] = {}
        self._pasts: dict[str, str] = {}

    def classify(self, key: Key) -> Classification:
        """What the event means."""
        found = self._classified.get((key.kind, key.text))
        if found is None:
            found = self._classifier.classify(key.kind, key.text)
            self._classified[key.kind, key.text] = found
        return found

    def message(self, text: str) -> str:
        """The text of a failure, as it may be shown."""
        found = self._messages.get(text)
        if found is None:
            found = self._messages[text] = scrub(text, LONGEST_MESSAGE)
        return found

    def past(self, text: str) -> str:
        """The text of an event, as it is kept for the pages."""
        found = self._pasts.get(text)
        if found is None:
            found = self._pasts[text] = past_text(text)
        return found


def _come_due(state: ServiceState, shown: Iterable[Key], clock: int) -> dict[Key, int]:
    """The events that were counted while they were dated in the future and are not any more, each with 0."""
    if state.events_ahead_of is None:
        return {}
    return dict.fromkeys((key for key in shown if state.events_ahead_of < key.time <= clock), 0)
