"""The last deployments of a service, phase by phase, drawn from its events and its updates."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from exporter.core.accounting.history import History, PastEvent, PastUpdate
from exporter.core.accounting.phases import CLOCK_SLACK_MS, Step, phase_times
from exporter.core.classifier.step_rules import PHASES
from exporter.core.records import ABNORMAL, SUCCESS, Update

# What fits on a screen beside each other; older ones are in the tables.
DEPLOYMENTS_SHOWN = 6
# Where nobody saw the end, events after a silence this long belong to what came later: the longest silence
# of a deployment is its timeout, 20 minutes unless set otherwise.
_SILENCE_MS = 30 * 60 * 1000

RUNNING_NOW = "RUNNING"


class PhaseSpan(NamedTuple):
    """When a phase began and ended (ms); one that is not `finished` lasted as long as the deployment."""

    phase: str
    begin: int
    end: int
    finished: bool


class Deployment(NamedTuple):
    """One deployment. Times are ms.

    `result` is that of its update, "" where the log has none. `end` is exact where it settled while
    somebody was watching (`settled`), now where it is open, else the time of its last event.
    """

    begin: int
    end: int
    settled: bool
    result: str
    phases: tuple[PhaseSpan, ...]
    failure_events: tuple[PastEvent, ...]


def last_deployments(history: History, still_open: Sequence[Update], now: int) -> tuple[Deployment, ...]:
    """The last deployments at `now` (ms), the newest first."""
    updates = [*history.updates, *(PastUpdate(update) for update in still_open)]
    begins = _begins(
        [past.update.update_time for past in updates]
        + [event.occur_time for event in history.events if event.mark == "begin"]
    )
    # The one more is where the last of them ends.
    bounds = [*begins[-DEPLOYMENTS_SHOWN:], None]
    found = []
    for begin, following in pairwise(bounds):
        assert begin is not None  # only the last bound is
        own = [past for past in updates if _within(past.update.update_time, begin, following)]
        events = [event for event in history.events if _within(event.occur_time, begin, following)]
        found.append(_deployment(begin, own[-1] if own else None, events, now))
    return tuple(reversed(found))


def _begins(times: Iterable[int]) -> list[int]:
    """When deployments began: an update and the event that announces it are one."""
    begins: list[int] = []
    for time in sorted(times):
        if not begins or time > begins[-1] + CLOCK_SLACK_MS:
            begins.append(time)
    return begins


def _within(time: int, begin: int, following: int | None) -> bool:
    return begin <= time and (following is None or time < following)


def _deployment(begin: int, past: PastUpdate | None, events: Sequence[PastEvent], now: int) -> Deployment:
    settled_at = past.settled_at if past else None
    is_open = past is not None and not past.update.settled
    if settled_at is not None:
        end = max(settled_at, begin)
    elif is_open:
        end = max(now, begin)
    else:
        end = _last_event_time(begin, events)
    own_events = [event for event in events if event.occur_time <= end + CLOCK_SLACK_MS]
    succeeded = past is not None and past.update.result == SUCCESS
    return Deployment(
        begin=begin,
        end=end,
        settled=settled_at is not None,
        result="" if past is None else RUNNING_NOW if is_open else past.update.result,
        phases=tuple(_spans(own_events, end, succeeded=succeeded)),
        failure_events=tuple(event for event in own_events if event.reason or event.event_type == ABNORMAL),
    )


def _last_event_time(begin: int, events: Sequence[PastEvent]) -> int:
    last = begin
    for event in events:
        if event.occur_time - last > _SILENCE_MS:
            break
        last = event.occur_time
    return last


def _spans(events: Sequence[PastEvent], deployment_end: int, *, succeeded: bool) -> Iterator[PhaseSpan]:
    steps = [
        Step(event.occur_time, PHASES.index(event.phase), event.mark == "end")
        for event in events
        if event.mark in ("start", "end")
    ]
    # The clock of the result may be behind that of the last step.
    succeeded_at = max(deployment_end, *(step.time for step in steps)) if succeeded and steps else None
    for phase, begin, end in phase_times(steps, succeeded_at):
        last = max(deployment_end, begin) if end is None else end
        yield PhaseSpan(phase, begin, last, finished=end is not None)
