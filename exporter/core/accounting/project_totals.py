"""What is counted of a whole project: its first start, and the histograms of its durations."""

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from exporter.core.accounting.counters import Counters, add, born
from exporter.core.accounting.service_state import Observation
from exporter.core.records import SETTLED_RESULTS

# A cached image deploys in a minute and a half; the cloud gives up after 3 to 120 minutes, by default 20.
DURATION_BUCKETS = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0)
# From a quick retry to a failure that is left over a long weekend.
RESTORE_BUCKETS = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 21600.0, 43200.0, 86400.0, 259200.0)

DURATION = "duration:"
RESTORE = "restore"
SUM = ":sum"
_ABOVE = "+Inf"


class ProjectTotals(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """A project's durable state.

    `started`: its first complete list is behind us; a service that comes later is new.
    `selection`: which services were asked for then; another selection is another first start.
    """

    started: bool = False
    selection: str = ""
    counters: Counters = Counters()


def opened(selection: str) -> ProjectTotals:
    """The state of a project that was never listed; its histograms exist, at 0."""
    names = [
        name
        for family, buckets in _families()
        for name in (*(_bucket(family, bound) for bound in (*buckets, None)), family + SUM)
    ]
    return ProjectTotals(selection=selection, counters=born(Counters(), names))


def observe(totals: ProjectTotals, observations: Iterable[Observation], now: int) -> ProjectTotals:
    """The state after durations were taken."""
    amounts: dict[str, float] = {}
    for seen in observations:
        family, buckets = (
            (DURATION + seen.result, DURATION_BUCKETS) if seen.result else (RESTORE, RESTORE_BUCKETS)
        )
        place = bisect_left(buckets, seen.seconds)
        name = _bucket(family, buckets[place] if place < len(buckets) else None)
        amounts[name] = amounts.get(name, 0) + 1
        amounts[family + SUM] = amounts.get(family + SUM, 0) + seen.seconds
    return msgspec.structs.replace(totals, counters=add(totals.counters, amounts, now))


def cumulative(totals: ProjectTotals, family: str) -> tuple[list[tuple[float | None, float]], float]:
    """Shown counts up to each bound (seconds; None is infinity), and the shown sum."""
    buckets = RESTORE_BUCKETS if family == RESTORE else DURATION_BUCKETS
    total = 0.0
    counts = []
    for bound in (*buckets, None):
        total += totals.counters.shown(_bucket(family, bound))
        counts.append((bound, total))
    return counts, totals.counters.shown(family + SUM)


def _families() -> Iterable[tuple[str, tuple[float, ...]]]:
    yield from ((DURATION + result, DURATION_BUCKETS) for result in SETTLED_RESULTS)
    yield (RESTORE, RESTORE_BUCKETS)


def _bucket(family: str, bound: float | None) -> str:
    return f"{family}:{_ABOVE if bound is None else bound}"
