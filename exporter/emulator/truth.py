"""What a ledger must have counted, as the cloud itself knows it."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Truth:
    """What was ever shown of settled entries: exactly what a ledger must have counted.

    Args:
        updates: multiset of (update_time, result), settled ones only.
        events: multiset of (occur_time, event_type, event_info).
        results: updates by result, those included whose details were forgotten.
        types: events by type, likewise.

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
        """The same totals, without the details of entries dated before `before` (ms)."""
        return Truth(
            Counter({key: count for key, count in self.updates.items() if key[0] >= before}),
            Counter({key: count for key, count in self.events.items() if key[0] >= before}),
            self.results,
            self.types,
        )
