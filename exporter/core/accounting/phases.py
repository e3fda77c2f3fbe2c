"""How long the phases of a deployment took, and which one it is in.

The event log tells of steps, and in no reliable order: an entry may come late, and several models of one
service interleave. So the steps of the newest deployment are kept and the answers are drawn
from all of them at once; what was noted first never matters.
"""

import msgspec

from exporter.core.classifier.classifier import Classification
from exporter.core.classifier.step_rules import PHASES

# An update's time and its first event are written by different parts of the cloud, and our reading
# of the result by a third: none of them says that its clock is the others'.
_SLACK_MS = 10_000
# A model has nine steps and a service a handful of models. What is left out beyond is never the first
# or the last of its kind.
_STEPS_KEPT = 64


class Step(msgspec.Struct, frozen=True, array_like=True, order=True):
    """One phase of one model starts or ends."""

    time: int  # ms
    phase: int  # index in PHASES
    ends: bool


class Settling(msgspec.Struct, frozen=True, array_like=True, order=True):
    """How an update ended."""

    update_time: int  # ms
    settled_at: int  # ms
    succeeded: bool


class Phases(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is kept of one service; the empty value is where it starts."""

    begin: int = 0  # ms; of the newest deployment; 0: none was seen to begin
    steps: tuple[Step, ...] = ()  # since then, sorted, without repetition
    settling: Settling | None = None  # of the newest update that settled
    earlier: dict[str, int] = {}  # phase to ms, of the deployments before


def note(phases: Phases, occur_time: int, finding: Classification) -> Phases:
    """With one event more, at `occur_time` ms; what is older than the newest deployment changes nothing."""
    if not finding.mark or occur_time < phases.begin:
        return phases
    if finding.mark == "begin":
        return _begun(phases, occur_time) if occur_time > phases.begin else phases
    step = Step(occur_time, PHASES.index(finding.phase), finding.mark == "end")
    return msgspec.structs.replace(phases, steps=_with_step(phases.steps, step))


def settled(phases: Phases, update_time: int, settled_at: int, *, succeeded: bool) -> Phases:
    """With the end of an update; call it only where the time of settling (ms) is known.

    A success ends the startup, unless an event already has. Either way the deployment is over: what
    happens to its instances afterwards is no part of it.
    """
    settling = Settling(update_time, settled_at, succeeded)
    earlier = phases.earlier
    if phases.settling is not None:
        if settling <= phases.settling:
            return phases
        if _ends(phases.settling, phases.begin):
            # It is still needed for the deployment that we know; the new one begins with an event to come.
            earlier = earlier | _durations(phases)
    return msgspec.structs.replace(phases, settling=settling, earlier=earlier)


def finished(phases: Phases) -> dict[str, float]:
    """Seconds that each phase took in the newest deployment that finished it, in the order of the phases."""
    known = phases.earlier | _durations(phases)
    return {phase: known[phase] / 1000 for phase in PHASES if phase in known}


def current(phases: Phases, open_since: int) -> tuple[str, int] | None:
    """The phase that an update open since `open_since` is in, and its start (ms); None between phases."""
    if phases.begin < open_since - _SLACK_MS:
        return None
    for index in reversed(range(len(PHASES))):
        starts, ends = _bounds(phases.steps, index)
        if starts and not _over(starts, ends):
            return PHASES[index], starts[0]
    return None


def _begun(phases: Phases, begin: int) -> Phases:
    before = tuple(step for step in phases.steps if step.time < begin)
    settling = phases.settling
    # One deployment may be announced twice, "being updated" and "start to deploy": the end is of both.
    is_next = begin > phases.begin + _SLACK_MS
    if settling is not None and is_next and _ends(settling, phases.begin):
        settling = None
    return Phases(
        begin=begin,
        steps=phases.steps[len(before) :],
        settling=settling,
        earlier=phases.earlier | _durations(msgspec.structs.replace(phases, steps=before)),
    )


def _with_step(steps: tuple[Step, ...], step: Step) -> tuple[Step, ...]:
    kept = sorted({*steps, step})
    if len(kept) > _STEPS_KEPT:
        kinds = [(each.phase, each.ends) for each in kept]
        needless = (
            index for index, kind in enumerate(kinds) if kind in kinds[:index] and kind in kinds[index + 1 :]
        )
        del kept[next(needless)]
    return tuple(kept)


def _ends(settling: Settling, begin: int) -> bool:
    """Whether it is the end of the deployment that began at `begin` (0: of none that we know)."""
    return 0 < begin <= settling.settled_at and settling.update_time - _SLACK_MS <= begin


def _durations(phases: Phases) -> dict[str, int]:
    """Milliseconds from the first start to the last end, for each phase that is over."""
    steps = phases.steps
    settling = phases.settling
    if settling is not None and not _ends(settling, phases.begin):
        settling = None
    if settling is not None:
        steps = tuple(step for step in steps if step.time <= settling.settled_at + _SLACK_MS)
    durations = {}
    for index, phase in enumerate(PHASES):
        starts, ends = _bounds(steps, index)
        if phase == "startup" and not ends and settling is not None and settling.succeeded:
            ends = [settling.settled_at]
        if starts and _over(starts, ends):
            durations[phase] = ends[-1] - starts[0]
    return durations


def _bounds(steps: tuple[Step, ...], phase: int) -> tuple[list[int], list[int]]:
    """When the models' parts of a phase started and ended, each in order."""
    # The log tells of no start of the scheduling: it follows the environment.
    starting = (phase - 1, True) if PHASES[phase] == "scheduling" else (phase, False)
    starts = [step.time for step in steps if (step.phase, step.ends) == starting]
    return starts, [step.time for step in steps if (step.phase, step.ends) == (phase, True)]


def _over(starts: list[int], ends: list[int]) -> bool:
    return bool(ends) and ends[-1] >= starts[-1]
