"""What an exporter must have counted, as the emulated cloud itself knows it."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Truth:
    """All settled entries that the API has ever shown: exactly these a ledger must have counted.

    Args:
        updates: how many of each (update_time, result), settled ones only.
        events: how many of each (occur_time, event_type, event_info).
        results: how many updates of each result, including those that `forget` has dropped from `updates`.
        types: how many events of each type, including those that `forget` has dropped from `events`.

    """

    updates: Counter[tuple[int, str]] = field(default_factory=Counter)
    events: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    results: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "Truth") -> "Truth":
        return Truth(
            self.updates + other.updates,
            self.events + other.events,
            self.results + other.results,
            self.types + other.types,
        )

    def totals_before(self, before: int) -> "Truth":
        """The same totals, without the single entries older than `before` (ms)."""
        return Truth(
            Counter({key: count for key, count in self.updates.items() if key[0] >= before}),
            Counter({key: count for key, count in self.events.items() if key[0] >= before}),
            self.results,
            self.types,
        )
