"""What was known of a service at each moment of its past: its logs, read again entry by entry.

The accounting is that of the running exporter. It is given the logs as a read at each moment would have shown
them: an update is open from its begin to its settling, and an event is there from its time on. Where nothing
tells when an update settled, it counts from its begin, and no duration is taken of it.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from exporter.core.accounting.apply_events import apply_events
from exporter.core.accounting.apply_updates import CountingPolicy, apply_updates
from exporter.core.accounting.counters import Counters
from exporter.core.accounting.service_state import (
    ROW_COUNTERS,
    Observation,
    Outcome,
    ServiceState,
    with_error,
)
from exporter.core.backfill.settling import settling_times
from exporter.core.backfill.steps import Steps
from exporter.core.classifier.classifier import Classifier
from exporter.core.records import RUNNING, Event, EventWindow, Update, UpdateWindow

# No guess: either the events tell when an update settled, or nobody knows it.
_NEVER = -1


class Moment(NamedTuple):
    """The service as the step `number` shows it, and the durations taken since the moment before."""

    number: int
    state: ServiceState
    observations: tuple[Observation, ...] = ()


class ServiceLogs(NamedTuple):
    """Both logs of a service as they are now, and why its newest update failed, if its detail says it."""

    updates: UpdateWindow
    events: EventWindow
    error_msg: str = ""

    @property
    def begin(self) -> int | None:
        """The time (ms) of the oldest entry; None without any."""
        times = [update.update_time for update in self.updates.updates]
        times += [event.occur_time for event in self.events.events]
        return min(times, default=None)


def replay(
    present: ServiceState, logs: ServiceLogs, steps: Steps, lateness: int, classifier: Classifier
) -> Iterator[Moment]:
    """The service from the last step before its first entry to the last regular step, in the order of time.

    Args:
        present: as the running exporter counts it now; its counters exist from the first moment on, at 0.
        logs: what it was counted from.
        steps: when the past is shown; of several moments of one step the last one is shown.
        lateness: of the counting policy (ms).
        classifier: of the event texts.

    """
    begin = logs.begin
    if begin is not None:
        yield from _Replay(present, logs, steps, lateness, classifier).moments(begin)


class _Replay:
    def __init__(
        self,
        present: ServiceState,
        logs: ServiceLogs,
        steps: Steps,
        lateness: int,
        classifier: Classifier,
    ) -> None:
        self._present, self._error_msg = present, logs.error_msg
        self._steps, self._classifier = steps, classifier
        self._policy = CountingPolicy(lateness, longest_guess=_NEVER)
        self._events = sorted(logs.events.events)
        self._events_until: int | None = None  # the time of the last one that was read
        self._log: dict[int, list[Update]] = {}
        for update in sorted(logs.updates.updates, key=lambda update: update.update_time):
            self._log.setdefault(update.update_time, []).append(update)
        self._settling = settling_times(logs.updates.updates, self._events, classifier)
        self._open: dict[int, list[Update]] = {}
        self._names = sorted(present.counters.values.keys() - set(ROW_COUNTERS))
        self._state = ServiceState(
            row=msgspec.structs.replace(present.row, status="", transition_at=None),
            counters=Counters(dict.fromkeys(self._names, 0.0)),
            read_at=0,
        )

    def moments(self, begin: int) -> Iterator[Moment]:
        yield Moment(self._steps.before(begin), self._state)
        # When the update log changed, and the entry that did. An update settles before the next one begins.
        changes = {at: begun for begun, at in self._settling.items()} | {begun: begun for begun in self._log}
        read = 0
        for time, update_time in sorted(changes.items()):
            before = bisect_left(self._events, time, lo=read, key=lambda event: event.occur_time)
            yield from self._read_events(self._events[read:before])
            yield from self._read_updates(time, update_time)
            read = before
        yield from self._read_events(self._events[read:])

    def _read_events(self, events: Sequence[Event]) -> Iterator[Moment]:
        for _, group in groupby(events, lambda event: self._steps.showing(event.occur_time)):
            found = tuple(group)
            time = found[-1].occur_time
            window = EventWindow(found, time, after=self._events_until)
            self._events_until = time
            outcome = apply_events(self._state, window, self._policy, self._classifier, time)
            yield from self._moment(time, outcome)

    def _read_updates(self, time: int, update_time: int) -> Iterator[Moment]:
        entries = self._log[update_time]
        settles = self._settling.get(update_time)
        if settles is not None and time < settles:
            entries = [Update(update_time, RUNNING, entry.models) for entry in entries if entry.settled]
        # Older entries are not shown again: what is known of them stays, and each read would take longer.
        others = [
            update for begun, updates in self._open.items() if begun != update_time for update in updates
        ]
        if any(update.settled for update in entries):
            self._open.pop(update_time, None)
        else:
            self._open[update_time] = entries
        # The accounting takes the time of settling from the row of the list.
        row = msgspec.structs.replace(self._state.row, transition_at=time if time == settles else None)
        state = msgspec.structs.replace(self._state, row=row)
        window = UpdateWindow((*others, *entries), observed_at=time)
        yield from self._moment(time, apply_updates(state, window, self._policy, time))

    def _moment(self, time: int, outcome: Outcome) -> Iterator[Moment]:
        state = outcome.state
        if self._error_msg and state.settled == self._present.settled:
            state = with_error(state, self._error_msg, self._classifier)
        # All are there from the first moment on; and nobody scrapes the past, so they wait for no scrape.
        counters = Counters({name: state.counters.values[name] for name in self._names})
        self._state = msgspec.structs.replace(state, counters=counters, read_at=time)
        number = self._steps.showing(time)
        if number < self._steps.seam:
            yield Moment(number, self._state, outcome.observations)
