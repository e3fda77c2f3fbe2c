"""Counters that are born at zero: their 0 is shown before their first step, so that `increase()` sees it.

A counter that was born with its service, or later, stays *unscraped* until a scrape has taken its 0.
While it is unscraped it shows 0, at most for `LONGEST_HOLD_MS` after it first had more to show.
What history gave it is its first value, and shown at once.
"""

from collections.abc import Iterable, Mapping

import msgspec

# Two missed scrapes of the customary minute; a Prometheus that is gone for longer sees the value as it is.
LONGEST_HOLD_MS = 120_000

# An unscraped counter that is still zero waits without a time limit.
NOTHING_TO_SHOW = 0


class Counters(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """Totals by name; `unscraped` has, for each that still shows 0, since when (ms) it has more."""

    values: dict[str, float] = {}
    unscraped: dict[str, int] = {}

    def shown(self, name: str) -> float:
        """What the exposition says."""
        return 0 if name in self.unscraped else self.values.get(name, 0)

    def first_release(self) -> int | None:
        """When (ms) the oldest held value must be shown, scraped or not."""
        held = [since for since in self.unscraped.values() if since != NOTHING_TO_SHOW]
        return min(held) + LONGEST_HOLD_MS if held else None


def born(counters: Counters, names: Iterable[str]) -> Counters:
    """Let the named counters exist, at 0, where they do not yet."""
    new = [name for name in names if name not in counters.values]
    if not new:
        return counters
    return Counters(
        counters.values | dict.fromkeys(new, 0.0), counters.unscraped | dict.fromkeys(new, NOTHING_TO_SHOW)
    )


def without(counters: Counters, names: Iterable[str]) -> Counters:
    """Let the named counters exist no longer."""
    gone = set(names)
    return Counters(
        {name: value for name, value in counters.values.items() if name not in gone},
        {name: since for name, since in counters.unscraped.items() if name not in gone},
    )


def add(counters: Counters, amounts: Mapping[str, float], now: int, *, preexisting: bool = False) -> Counters:
    """Add to the named counters.

    Args:
        counters: the totals before.
        amounts: what to add, by name; nothing below 0.
        now: when (ms), for the limit of holding back.
        preexisting: the amounts are the counters' first values, shown at once.

    """
    return _replace(
        counters, {n: counters.values.get(n, 0) + a for n, a in amounts.items()}, now, preexisting=preexisting
    )


def report(
    counters: Counters, totals: Mapping[str, float], now: int, *, preexisting: bool = False
) -> Counters:
    """Set counters that somebody else counts; these may fall, where that one began again."""
    return _replace(counters, totals, now, preexisting=preexisting)


def _replace(counters: Counters, totals: Mapping[str, float], now: int, *, preexisting: bool) -> Counters:
    values = {**counters.values, **totals}
    unscraped = dict(counters.unscraped)
    for name, total in totals.items():
        if total and preexisting:
            unscraped.pop(name, None)
        elif name not in counters.values or unscraped.get(name) == NOTHING_TO_SHOW:
            unscraped[name] = now if total else NOTHING_TO_SHOW
    if values == counters.values and unscraped == counters.unscraped:
        return counters
    return Counters(values, unscraped)


def release(counters: Counters, now: int, scraped: Iterable[str] = ()) -> Counters:
    """Let go of those whose 0 was scraped, and of those held for as long as may be."""
    gone = set(scraped) & counters.unscraped.keys()
    gone |= {
        name
        for name, since in counters.unscraped.items()
        # A clock that stepped back must not hold a value for longer.
        if since != NOTHING_TO_SHOW and not since <= now < since + LONGEST_HOLD_MS
    }
    if not gone:
        return counters
    return Counters(counters.values, {n: s for n, s in counters.unscraped.items() if n not in gone})


def let_go(counters: Counters) -> Counters:
    """Show every value at once; what is still zero goes on waiting."""
    zeros = {name: since for name, since in counters.unscraped.items() if since == NOTHING_TO_SHOW}
    return Counters(counters.values, zeros)


def resumed(counters: Counters, now: int) -> Counters:
    """After a time in which nobody could scrape them: what is held back is held from `now` (ms) on."""
    if not any(counters.unscraped.values()):
        return counters
    held = {n: now if since != NOTHING_TO_SHOW else since for n, since in counters.unscraped.items()}
    return Counters(counters.values, held)
