"""What a read of the event log makes of an account."""

from collections import Counter

import msgspec

from exporter.core.accounting import counters, ledger, phases
from exporter.core.accounting.apply_updates import CountingPolicy
from exporter.core.accounting.failure_cause import with_failure_events
from exporter.core.accounting.history import PastEvent, past_text
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
from exporter.core.classifier.classifier import Classifier
from exporter.core.records import EVENT_TYPES, Event, EventWindow
from exporter.core.scrub import scrub


def apply_events(
    state: ServiceState, window: EventWindow, policy: CountingPolicy, classifier: Classifier, now: int
) -> Outcome:
    """The account after one whole read of the events after an instant; `now` on our clock (ms)."""
    preexisting = state.events.preexisting
    shown = Counter(Key(event.occur_time, event.event_type, event.event_info) for event in window.events)
    read = ledger.Read(
        settled=shown, now=window.observed_at, after=window.after, answered_at=window.answered_at
    )
    applied = ledger.apply(state.events, read, policy.lateness)

    posted: list[PostedEvent] = []
    unknown: list[tuple[str, str]] = []
    failure_events: list[FailureEvent] = []
    amounts: Counter[str] = Counter()
    past: list[PastEvent] = []
    unclassified = 0
    deployment_phases = state.phases
    last_events = dict(state.last_events)
    for key, times in sorted(applied.growth.items()):
        if key.kind not in EVENT_TYPES:
            unknown += [("event_type", key.kind)] * times
            continue
        finding = classifier.classify(key.kind, key.text)
        amounts[EVENTS + key.kind] += times
        last_events[key.kind] = max(key.time, last_events.get(key.kind, key.time))
        deployment_phases = phases.with_event(deployment_phases, key.time, finding)
        if finding.reason:
            amounts[REASON + finding.reason] += times
            message = scrub(key.text, LONGEST_MESSAGE)
            failure_events.append(FailureEvent(key.time, finding.reason, message, finding.evidence))
            unclassified += 0 if finding.classified else times
        past.append(
            PastEvent(
                key.time, key.kind, past_text(key.text), times, finding.reason, finding.phase, finding.mark
            )
        )
        posted.append(PostedEvent(Event(key.time, key.kind, key.text), times, finding.reason, finding.remedy))

    totals = state.counters
    if preexisting:
        totals = counters.born(totals, EVENT_COUNTERS)
    if policy.count_history or not preexisting:
        totals = counters.add(totals, dict(amounts), now, preexisting=preexisting)
    after = msgspec.structs.replace(
        state, events=applied.ledger, counters=totals, phases=deployment_phases, last_events=last_events
    )
    return Outcome(
        with_failure_events(after, failure_events),
        anomalies=applied.anomalies,
        unknown=tuple(unknown),
        events=() if preexisting else tuple(posted),
        unclassified=unclassified,
        past_events=tuple(past),
    )
