"""Pages as a cloud gives them: how large, until when, and what `offset` counts; it is learned. Pure.

What the documentation leaves open is found out: how large a page may be, whether an `end_time` far ahead is
taken, whether `offset` counts pages or items.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from exporter.adapters.modelarts.api_errors import Rejected
from exporter.adapters.modelarts.decode import LATEST_MS, ResultPage
from exporter.core.source import Torn

# 1000 is the default of the API (ModelArts, API Reference, "Querying Service Event Logs"), and no largest is
# documented. Where a cloud takes less: sizes that such APIs use.
LIMITS = (1000, 500, 200, 100, 50, 20, 10)
# The end of a range that is meant to have none. No default of `end_time` is documented, so one is
# sent: the latest of 13 digits; for a cloud that refuses it the latest in 32 bits of seconds (2038), or none.
LATEST_ENDS = (LATEST_MS, 2_147_483_647_000, None)

Row = TypeVar("Row")


@dataclass(slots=True)
class LearnedPaging:
    """What one project's cloud has shown of itself at one endpoint; shared by threads, each field alone.

    Attributes:
        limit: the largest page known to be accepted, or the first to try.
        proven: a request with this limit was answered.
        latest_end: one of `LATEST_ENDS`, the first that is known to be accepted, or the first to try.
        offset_counts_items: False: it counts pages; None: not known yet.

    """

    limit: int = LIMITS[0]
    proven: bool = False
    latest_end: int | None = LATEST_ENDS[0]
    offset_counts_items: bool | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """The part of a request that says which rows; None is not sent."""

    limit: int
    offset: int | None = None
    start: int | None = None  # ms, events only
    end: int | None = None  # ms, events only


def first_page(
    fetch: Callable[[Query], ResultPage[Row]], query: Query, learned: LearnedPaging
) -> tuple[ResultPage[Row], Query]:
    """The first page, with the largest limit and the latest end that the cloud takes, and that query."""
    limits = [size for size in LIMITS if size <= query.limit]
    ends = list(LATEST_ENDS[LATEST_ENDS.index(query.end) :])
    while True:
        asked = replace(query, limit=limits[0], end=ends[0])
        try:
            page = fetch(asked)
        except Rejected as error:
            names_end, names_limit = ("end_time" in str(error), "limit" in str(error).casefold())
            # Once both were taken, a 400 speaks of something else, unless it names one of them.
            if learned.proven and not names_end and not names_limit:
                raise
            if len(limits) > 1 and not names_end:
                limits.pop(0)
            elif len(ends) > 1:
                ends.pop(0)
            else:
                raise
            continue
        learned.latest_end = ends[0]
        if ends[0] != query.end and limits[0] != query.limit:
            # It was the end, so that the limits that were refused before may be taken.
            return first_page(fetch, replace(query, end=ends[0]), learned)
        learned.limit, learned.proven = limits[0], True
        return page, asked


def further_pages(
    fetch_at: Callable[[int], ResultPage[Row]],
    first: ResultPage[Row],
    learned: LearnedPaging,
    *,
    may_grow: bool = False,
) -> Iterator[ResultPage[Row]]:
    """The pages after an incomplete first one, by `offset` of either kind. Raises `Torn`.

    `may_grow`: rows may be appended meanwhile; that none moved is for the caller to check.
    """
    total, size = first.total, len(first.rows)
    assert total is not None
    try:
        in_items = learned.offset_counts_items
        if in_items is None:
            # As items this is inside the rows, as pages it is behind the last one.
            page = page_at(fetch_at, size * -(-total // (size * size)))
            in_items = page is not None and bool(page.rows)
        seen, number = size, 1
        while True:
            page = page_at(fetch_at, seen if in_items else number)
            # An `offset` that is ignored, or of the other kind, shows rows where there can be none.
            if seen == total and (page is None or not page.rows):
                break
            if page is None:
                raise Torn(f"There is no further page after {seen} of {total} rows.")  # noqa: TRY301
            if may_grow and page.total is not None:
                total = max(total, page.total)
            seen += len(page.rows)
            number += 1
            if page.total != total or not page.rows or seen > total:
                raise Torn(f"The pages do not add up to their total_count of {total}.")  # noqa: TRY301
            yield page
    except Torn:
        learned.offset_counts_items = None
        raise
    if size > 1:  # of single rows both kinds are the same
        learned.offset_counts_items = in_items


def page_at(fetch_at: Callable[[int], ResultPage[Row]], offset: int) -> ResultPage[Row] | None:
    """None: the cloud has no such page."""
    try:
        return fetch_at(offset)
    except Rejected:
        return None


def is_whole(page: ResultPage[Row], limit: int) -> bool:
    """Whether the page has all rows that its query asks for. Raises `Torn`."""
    rows = len(page.rows)
    if page.count is not None and page.count not in (rows, page.total):
        raise Torn(f"The answer has {rows} rows and says count {page.count}.")
    if page.total is None:
        return rows < limit
    if rows > page.total or (page.total > 0 and rows == 0):
        raise Torn(f"The answer has {rows} rows and says total_count {page.total}.")
    return rows == page.total
