"""How long the phases of a deployment took, and which one it is in.

The event log shows steps, and in no reliable order: an entry may come late, and the steps of several models
of one service interleave. So the steps of the newest deployment are kept and every answer is computed from
all of them; the order in which they were read never matters.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import msgspec

from exporter.core.classifier.classifier import Classification
from exporter.core.classifier.step_rules import PHASES

# An update's time and its events are written by different parts of the cloud, and we read the result with
# a third clock: nothing says that these clocks agree.
CLOCK_SLACK_MS = 10_000
# A model has nine steps and a service a handful of models. A step that is left out beyond this number is
# never the first or the last of its kind.
_STEPS_KEPT = 64


class Step(msgspec.Struct, frozen=True, gc=False, array_like=True, order=True):
    """One phase of one model starts or ends."""

    time: int  # ms
    phase: int  # index in PHASES
    ends: bool


class PhaseTimes(NamedTuple):
    """When a phase started and ended (ms); `ended_at` is None while it is under way."""

    phase: str
    started_at: int
    ended_at: int | None


class Settling(msgspec.Struct, frozen=True, gc=False, array_like=True, order=True):
    """How an update ended."""

    update_time: int  # ms
    settled_at: int  # ms
    succeeded: bool


class Phases(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """What is kept of one service; the empty value is where it starts."""

    begin: int = 0  # ms; of the newest deployment; 0: none was seen to begin
    steps: tuple[Step, ...] = ()  # since then, sorted, without repetition
    settling: Settling | None = None  # of the newest update that settled
    earlier: dict[str, int] = {}  # phase to ms, of the deployments before


def with_event(phases: Phases, occur_time: int, finding: Classification) -> Phases:
    """With one event more, at `occur_time` ms; what is older than the newest deployment changes nothing."""
    if not finding.mark or occur_time < phases.begin:
        return phases
    if finding.mark == "begin":
        return _begun(phases, occur_time) if occur_time > phases.begin else phases
    step = Step(occur_time, PHASES.index(finding.phase), finding.mark == "end")
    return msgspec.structs.replace(phases, steps=_with_step(phases.steps, step))


def with_result(phases: Phases, update_time: int, settled_at: int, *, succeeded: bool) -> Phases:
    """With the end of an update; call it only where the time of settling (ms) is milliseconds.

    A success ends the startup, unless an event already has. Either way the deployment is over: what
    happens to its instances afterwards is no part of it.
    """
    settling = Settling(update_time, settled_at, succeeded)
    earlier = phases.earlier
    if phases.settling is not None:
        if settling <= phases.settling:
            return phases
        if _ends(phases.settling, phases.begin):
            # The steps are of the deployment that it ended; those of the new one are not read yet.
            earlier = earlier | _newest_durations(phases)
    return msgspec.structs.replace(phases, settling=settling, earlier=earlier)


def durations(phases: Phases) -> dict[str, float]:
    """Seconds that each phase took in the newest deployment that finished it, in the order of the phases."""
    milliseconds = phases.earlier | _newest_durations(phases)
    return {phase: milliseconds[phase] / 1000 for phase in PHASES if phase in milliseconds}


def current(phases: Phases, open_since: int) -> tuple[str, int] | None:
    """The phase that an update open since `open_since` is in, and its start (ms); None between phases."""
    if phases.begin < open_since - CLOCK_SLACK_MS:
        return None
    under_way = [
        (times.phase, times.started_at) for times in phase_times(phases.steps) if times.ended_at is None
    ]
    return under_way[-1] if under_way else None


def of_update(phases: Phases, update_time: int) -> tuple[PhaseTimes, ...]:
    """The phases of the newest update, which began at `update_time` (ms), as far as its events are read."""
    if phases.begin < update_time - CLOCK_SLACK_MS:
        return ()
    return tuple(_newest_times(phases))


def phase_times(steps: Collection[Step], succeeded_at: int | None = None) -> Iterator[PhaseTimes]:
    """The phases that have started, each from the first model's start to the last model's end.

    Args:
        steps: those of one deployment, in any order.
        succeeded_at: when (ms) the deployment succeeded; this ends the startup if no step does.

    """
    for index, phase in enumerate(PHASES):
        # The log has no entry for the start of scheduling: it follows the environment.
        start = (index - 1, True) if phase == "scheduling" else (index, False)
        starts = [step.time for step in steps if (step.phase, step.ends) == start]
        ends = [step.time for step in steps if (step.phase, step.ends) == (index, True)]
        if not starts:
            continue
        if phase == "startup" and not ends and succeeded_at is not None:
            ends = [succeeded_at]
        is_over = bool(ends) and max(ends) >= max(starts)
        yield PhaseTimes(phase, min(starts), max(ends) if is_over else None)


def _begun(phases: Phases, begin: int) -> Phases:
    before = tuple(step for step in phases.steps if step.time < begin)
    settling = phases.settling
    # One deployment may be announced twice, "being updated" and "start to deploy": the end is of both.
    is_next = begin > phases.begin + CLOCK_SLACK_MS
    if settling is not None and is_next and _ends(settling, phases.begin):
        settling = None
    return Phases(
        begin=begin,
        steps=phases.steps[len(before) :],
        settling=settling,
        earlier=phases.earlier | _newest_durations(msgspec.structs.replace(phases, steps=before)),
    )


def _with_step(steps: tuple[Step, ...], step: Step) -> tuple[Step, ...]:
    kept = sorted({*steps, step})
    if len(kept) > _STEPS_KEPT:
        kinds = [(kept_step.phase, kept_step.ends) for kept_step in kept]
        redundant = (
            index for index, kind in enumerate(kinds) if kind in kinds[:index] and kind in kinds[index + 1 :]
        )
        del kept[next(redundant)]
    return tuple(kept)


def _ends(settling: Settling, begin: int) -> bool:
    """Whether it is the end of the deployment that began at `begin` (0: of none that we know)."""
    return 0 < begin <= settling.settled_at and settling.update_time - CLOCK_SLACK_MS <= begin


def _newest_durations(phases: Phases) -> dict[str, int]:
    """Milliseconds of each phase that is over."""
    return {
        times.phase: times.ended_at - times.started_at
        for times in _newest_times(phases)
        if times.ended_at is not None
    }


def _newest_times(phases: Phases) -> Iterator[PhaseTimes]:
    steps = phases.steps
    succeeded_at = None
    settling = phases.settling
    if settling is not None and _ends(settling, phases.begin):
        steps = tuple(step for step in steps if step.time <= settling.settled_at + CLOCK_SLACK_MS)
        succeeded_at = settling.settled_at if settling.succeeded else None
    return phase_times(steps, succeeded_at)
