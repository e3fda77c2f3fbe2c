"""What a service's state tells somebody who waits for the end of an update.

The update that is awaited is always the newest one, if it began at a given time or later. So an update that a
newer one overtook is not waited for, and a result from before that time says nothing.
"""

from collections import defaultdict
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from exporter.core.accounting.failure_cause import LONGEST_DEPLOYMENT_MS
from exporter.core.accounting.history import PastEvent
from exporter.core.accounting.phases import CLOCK_SLACK_MS, Step, phase_times
from exporter.core.accounting.service_state import ServiceState
from exporter.core.classifier.step_rules import PHASES
from exporter.core.records import SUCCESS, Update

# For so long a service may be stopped and its update still open, before the log is no longer expected to
# say how the update ended: three reads at the default `active_interval`.
LOG_LAG_MS = 30_000
# As many earlier deployments as the page of a service shows; what was usual long ago may not be so now.
_USUAL_OF = 6


class Standing(Enum):
    """How it stands with the update that is awaited."""

    NOT_BEGUN = "no update has begun"
    OPEN = "under way"
    LOST = "no longer in the log, without a result"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "still open although the service was stopped"

    @property
    def is_end(self) -> bool:
        """Whether there is nothing left to wait for."""
        return self in (Standing.SUCCEEDED, Standing.FAILED, Standing.STOPPED)


class Awaited(NamedTuple):
    """The update that is awaited, None while it has not begun, and how it stands with it."""

    standing: Standing
    update: Update | None = None


def awaited(state: ServiceState, since: int, clock: int) -> Awaited:
    """How it stands with the newest update, if it began at `since` or later; both on the cloud's clock (ms).

    A failure counts as the end although it may be retried in place: nothing announces that. Once the retry
    shows, the update is open again.
    """
    update = state.newest
    if update is None or update.update_time < since:
        return Awaited(Standing.NOT_BEGUN)
    if update.settled:
        return Awaited(Standing.SUCCEEDED if update.result == SUCCESS else Standing.FAILED, update)
    stopped_at = state.row.transition_at if state.row.status == "stopped" else None
    if stopped_at is not None and update.update_time <= stopped_at <= clock - LOG_LAG_MS:
        return Awaited(Standing.STOPPED, update)
    is_shown = any(each.update_time == update.update_time for each in state.open)
    return Awaited(Standing.OPEN if is_shown else Standing.LOST, update)


def usual_seconds(events: Iterable[PastEvent], before: int) -> dict[str, float]:
    """How long each phase usually took in the last deployments that began before an instant (ms).

    That is the median, by phase; a phase of which no deployment shows both ends is left out. The update log
    does not say when an update settled, so the startup is there only where an event tells its end.
    """
    deployments: list[tuple[int, list[Step]]] = []
    for event in sorted(events, key=lambda event: event.occur_time):
        if event.occur_time >= before - CLOCK_SLACK_MS:
            break
        if event.mark == "begin":
            # One deployment may be announced twice.
            if not deployments or event.occur_time > deployments[-1][0] + CLOCK_SLACK_MS:
                deployments.append((event.occur_time, []))
        elif event.mark and deployments:
            begin, steps = deployments[-1]
            # What an instance does later, such as a restart, is no part of its deployment.
            if event.occur_time <= begin + LONGEST_DEPLOYMENT_MS:
                steps.append(Step(event.occur_time, PHASES.index(event.phase), event.mark == "end"))
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for _, steps in deployments[-_USUAL_OF:]:
        for times in phase_times(steps):
            if times.ended_at is not None:
                seconds[times.phase].append((times.ended_at - times.started_at) / 1000)
    return {phase: _middle(seconds[phase]) for phase in PHASES if phase in seconds}


def _middle(seconds: list[float]) -> float:
    return sorted(seconds)[(len(seconds) - 1) // 2]
