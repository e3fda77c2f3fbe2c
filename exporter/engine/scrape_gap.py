"""How far apart the scrapes are: so late Prometheus may learn of what was shown."""

from collections import deque
from itertools import pairwise

from exporter.core.times import Ticks

# Until two scrapes are known they may be as far apart as the alert rules allow.
_ASSUMED_MS = 2 * 60 * 1000
# By then Prometheus has forgotten the series: this is no gap between two scrapes, but nobody scrapes.
_NOBODY_MS = 5 * 60 * 1000
# One scrape that failed counts for this many more; a longer memory would also keep an interval that changed.
_REMEMBERED = 6


class ScrapeGap:
    """Remembers the last scrapes. Several servers look like one that scrapes more often.

    Args:
        begun: since when there is something to scrape.

    """

    def __init__(self, begun: Ticks) -> None:
        self._begun = begun
        self._scrapes: deque[Ticks] = deque(maxlen=_REMEMBERED)

    def taken(self, tick: Ticks) -> None:
        """There was a scrape."""
        self._scrapes.append(tick)

    def at(self, tick: Ticks) -> int:
        """The longest time (ms) between two of the last scrapes, or since the last one; 0: nobody scrapes."""
        if len(self._scrapes) < 2:
            last = self._scrapes[-1] if self._scrapes else self._begun
            return _ASSUMED_MS if tick - last < _NOBODY_MS else 0
        gaps = (after - before for before, after in pairwise((*self._scrapes, tick)))
        return max((gap for gap in gaps if gap < _NOBODY_MS), default=0)
