"""What a read of the event log makes of an account."""

from collections import Counter

import msgspec

from exporter.core import counters, ledger, phases
from exporter.core.account import (
    EVENT_COUNTERS,
    EVENTS,
    LONGEST_MESSAGE,
    REASON,
    Account,
    Outcome,
    PostedEvent,
    Trouble,
)
from exporter.core.blame import with_troubles
from exporter.core.causes import Classifier
from exporter.core.history import PastEvent, past_text
from exporter.core.ledger import Key
from exporter.core.records import EVENT_TYPES, Event, EventWindow
from exporter.core.scrub import scrub
from exporter.core.updates import Policy


def apply_events(
    account: Account, window: EventWindow, policy: Policy, classifier: Classifier, now: int
) -> Outcome:
    """The account after one whole read of the events after an instant; `now` on our clock (ms)."""
    history = account.events.history
    shown = Counter(Key(event.occur_time, event.event_type, event.event_info) for event in window.events)
    read = ledger.Read(settled=shown, now=window.observed_at, after=window.after)
    applied = ledger.apply(account.events, read, policy.lateness)

    posted: list[PostedEvent] = []
    unknown: list[tuple[str, str]] = []
    troubles: list[Trouble] = []
    amounts: Counter[str] = Counter()
    past: list[PastEvent] = []
    unclassified = 0
    marks = account.phases
    last_events = dict(account.last_events)
    for key, times in sorted(applied.growth.items()):
        if key.kind not in EVENT_TYPES:
            unknown += [("event_type", key.kind)] * times
            continue
        finding = classifier.classify(key.kind, key.text)
        amounts[EVENTS + key.kind] += times
        last_events[key.kind] = max(key.time, last_events.get(key.kind, key.time))
        marks = phases.note(marks, key.time, finding)
        if finding.reason:
            amounts[REASON + finding.reason] += times
            troubles.append(Trouble(key.time, finding.reason, scrub(key.text, LONGEST_MESSAGE)))
            unclassified += 0 if finding.classified else times
        past.append(
            PastEvent(
                key.time, key.kind, past_text(key.text), times, finding.reason, finding.phase, finding.mark
            )
        )
        posted.append(PostedEvent(Event(key.time, key.kind, key.text), times, finding.reason, finding.remedy))

    totals = account.counters
    if history:
        totals = counters.born(totals, EVENT_COUNTERS)
    if policy.count_history or not history:
        totals = counters.add(totals, dict(amounts), now, history=history)
    after = msgspec.structs.replace(
        account, events=applied.ledger, counters=totals, phases=marks, last_events=last_events
    )
    return Outcome(
        with_troubles(after, tuple(troubles)),
        anomalies=applied.anomalies,
        unknown=tuple(unknown),
        events=() if history else tuple(posted),
        unclassified=unclassified,
        past_events=tuple(past),
    )
