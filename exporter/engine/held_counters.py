"""Which counters still show 0 until a scrape has taken that 0, and which page showed it first.

`core.accounting.counters` says what is held and for how long; this says when a scrape ends it.
"""

from collections.abc import Iterable, Mapping

from exporter.core.accounting.counters import LONGEST_HOLD_MS, Counters
from exporter.core.times import EpochMs

# (project, service_id); of the project itself the service_id is "".
Key = tuple[str, str]


class HeldCounters:
    """Of every held counter: the first page with its 0, and when its value is shown in any case."""

    def __init__(self) -> None:
        self._first_pages: dict[Key, dict[str, int]] = {}
        self._releases: dict[Key, int] = {}  # ms

    def shown(self, page_number: int, counters: Mapping[Key, Counters | None]) -> None:
        """A page shows these counters as they are now; None: it shows them no more."""
        for key, found in counters.items():
            self._releases.pop(key, None)
            before = self._first_pages.pop(key, {})
            if found is None or not found.unscraped:
                continue
            self._first_pages[key] = {name: before.get(name, page_number) for name in found.unscraped}
            release = found.first_release()
            if release is not None:
                self._releases[key] = release

    def scraped(self, page_number: int) -> Mapping[Key, Iterable[str]]:
        """The counters that showed 0 on this page."""
        taken = {
            key: [name for name, first in names.items() if first <= page_number]
            for key, names in self._first_pages.items()
        }
        return {key: names for key, names in taken.items() if names}

    def overdue(self, now: EpochMs) -> Iterable[Key]:
        """Where a value was held for as long as may be."""
        # A clock that was set back must not hold a value for longer.
        return [key for key, at in self._releases.items() if not at - LONGEST_HOLD_MS <= now < at]
