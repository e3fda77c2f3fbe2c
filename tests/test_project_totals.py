"""What is counted of a whole project."""

from exporter.core.accounting.counters import release
from exporter.core.accounting.project_totals import (
    DURATION,
    DURATION_BUCKETS,
    RESTORE,
    RESTORE_BUCKETS,
    ProjectTotals,
    cumulative,
    observe,
    opened,
)
from exporter.core.accounting.service_state import Observation
from tests.fakes import NOW


def scraped(totals: ProjectTotals) -> ProjectTotals:
    return ProjectTotals(
        totals.started, totals.selection, release(totals.counters, NOW, totals.counters.values)
    )


def test_the_histograms_exist_at_zero_from_the_start() -> None:
    totals = opened("all")
    assert (totals.started, totals.selection) == (False, "all")
    for family in (DURATION + "SUCCESS", DURATION + "FAIL", RESTORE):
        counts, total = cumulative(totals, family)
        bounds = RESTORE_BUCKETS if family == RESTORE else DURATION_BUCKETS
        assert counts == [(bound, 0) for bound in (*bounds, None)]
        assert total == 0


def test_a_duration_counts_in_every_bucket_that_holds_it() -> None:
    seen = [Observation("FAIL", 10.0), Observation("FAIL", 10.5), Observation("FAIL", 1e9)]
    counts, total = cumulative(observe(scraped(opened("")), seen, NOW), DURATION + "FAIL")
    assert counts[:2] == [(10.0, 1), (30.0, 2)]
    assert counts[-2:] == [(7200.0, 2), (None, 3)]
    assert total == 10.0 + 10.5 + 1e9


def test_a_time_to_restore_has_buckets_of_its_own() -> None:
    totals = observe(scraped(opened("")), [Observation("", 100)], NOW)
    counts, total = cumulative(totals, RESTORE)
    assert counts[:2] == [(60.0, 0), (300.0, 1)]
    assert (counts[-1], total) == ((None, 1), 100)
    assert cumulative(totals, DURATION + "FAIL")[1] == 0


def test_a_first_duration_is_held_back_like_any_first_step() -> None:
    totals = observe(opened(""), [Observation("FAIL", 20)], NOW)
    assert cumulative(totals, DURATION + "FAIL")[0][-1] == (None, 0)
    assert cumulative(scraped(totals), DURATION + "FAIL")[0][-1] == (None, 1)


def test_buckets_never_fall_while_some_are_held() -> None:
    totals = observe(scraped(opened("")), [Observation("FAIL", 20)], NOW)
    counts, _ = cumulative(observe(totals, [Observation("FAIL", 5)], NOW), DURATION + "FAIL")
    assert [count for _, count in counts] == sorted(count for _, count in counts)
