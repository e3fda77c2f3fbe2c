"""How far apart the scrapes are taken to be."""

import pytest

from exporter.core.times import Ticks
from exporter.engine.scrape_gap import ScrapeGap

SECOND = 1000
MINUTE = 60 * SECOND


@pytest.mark.parametrize(
    ("scrapes", "now", "gap"),
    [
        ([], 4 * MINUTE, 2 * MINUTE),
        ([], 5 * MINUTE, 0),
        ([4 * MINUTE], 8 * MINUTE, 2 * MINUTE),
        ([4 * MINUTE], 9 * MINUTE, 0),
        ([0, 15 * SECOND, 30 * SECOND], 31 * SECOND, 15 * SECOND),
        ([0, 15 * SECOND, 45 * SECOND], 46 * SECOND, 30 * SECOND),
        ([0, 15 * SECOND, 30 * SECOND], MINUTE + 20 * SECOND, 50 * SECOND),
        ([0, 15 * SECOND, 30 * SECOND], 10 * MINUTE, 15 * SECOND),
        ([0, 20 * MINUTE], 20 * MINUTE, 0),
        ([0, *range(4 * MINUTE, 10 * MINUTE, MINUTE)], 10 * MINUTE, MINUTE),
    ],
    ids=[
        "none yet",
        "nobody scrapes",
        "one",
        "one long ago",
        "regular",
        "one failed",
        "the last is late",
        "no more",
        "a long pause",
        "a pause that is forgotten",
    ],
)
def test_it_is_the_longest_of_the_last_and_two_minutes_until_there_are_two(
    scrapes: list[int], now: int, gap: int
) -> None:
    found = ScrapeGap(Ticks(0))
    for tick in scrapes:
        found.taken(Ticks(tick))
    assert found.at(Ticks(now)) == gap
