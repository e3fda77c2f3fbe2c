"""Whole windows out of pages, whatever kind of paging the cloud has: the arithmetic agrees, or `Torn`. Pure.

Nothing here knows HTTP: a `fetch` is given. Whether times are inclusive is found out from the answers.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Generic, TypeVar

from exporter.adapters.modelarts.decode import LATEST_MS, ResultPage
from exporter.adapters.modelarts.pages import (
    LearnedPaging,
    Query,
    first_page,
    further_pages,
    is_whole,
    page_at,
)
from exporter.core.records import Event, ServiceRow
from exporter.core.source import Torn

Row = TypeVar("Row")


EventFetch = Callable[[Query], ResultPage[Event]]
ListFetch = Callable[[Query], ResultPage[ServiceRow | None]]


@dataclass(frozen=True, slots=True)
class Listing(Generic[Row]):
    """Rows of a list, and whether they are all."""

    rows: tuple[Row, ...]
    complete: bool


def read_list(fetch: ListFetch, learned: LearnedPaging) -> Listing[ServiceRow | None]:
    """Every row of a list, None for a malformed one; `complete` is False where that cannot be shown.

    The rows are in the order of creation, so that a service that is created during the read is appended and
    moves no row. The total then grows, as it does when more are created than deleted; so it must be shown
    that no row has moved. A deletion and a creation between the same two pages leave the total as it was,
    and hide a row from this one list: nobody may conclude a deletion from a single one.
    """
    first, query = first_page(fetch, Query(limit=learned.limit), learned)
    pages = [first]
    try:
        complete = is_whole(first, query.limit)
        if not complete and first.total is not None:
            size = len(first.rows)
            for page in further_pages(
                lambda at: fetch(Query(limit=size, offset=at)), first, learned, may_grow=True
            ):
                pages.append(page)  # noqa: PERF402 - what came before an error stays
            if pages[-1].total != first.total:
                _check_unmoved(fetch, pages, learned)
            complete = True
    except Torn:
        complete = False
    rows = [row for page in pages for row in page.rows]
    ids = [row.service_id for row in rows if row is not None]
    unique = dict(zip(ids, (row for row in rows if row is not None), strict=True))
    if len(unique) < len(ids):
        # Only an offset that moved shows a row twice: another one was then not shown.
        learned.offset_counts_items = None
        complete = False
    malformed = len(rows) - len(ids)
    return Listing((*unique.values(), *(None,) * malformed), complete)


def read_events(
    fetch: EventFetch, after: int | None, began: Callable[[], int], learned: LearnedPaging
) -> tuple[Event, ...]:
    """The events later than `after`, ascending, each as often as it exists. Raises `Torn`.

    Args:
        fetch: one page, in ascending order of `occur_time`.
        after: ms, exclusive; None: all.
        began: ms, when the read began; asked for once the first page has come.
        learned: what is known of this cloud's paging, and learns.

    """
    asked = Query(limit=learned.limit, start=after, end=learned.latest_end)
    first, asked = first_page(fetch, asked, learned)
    if is_whole(first, asked.limit):
        return _later(first.rows, after)
    largest = 0

    def measured(query: Query) -> ResultPage[Event]:
        nonlocal largest
        page = fetch(query)
        largest = max(largest, len(page.rows))
        return page

    # New entries would move the pages: what lies before the read began is read with a fixed end.
    # Whether that end is inclusive does not matter, since either range keeps only its own side.
    split = began()
    if after is not None and split <= after + 1:
        events = _read_range(measured, asked, learned)
    else:
        past = _read_range(measured, replace(asked, end=split), learned)
        tail = _read_range(measured, replace(asked, start=split - 1), learned)
        events = [event for event in past if event.occur_time < split]
        events += [event for event in tail if event.occur_time >= split]
    whole = _later(events, after)
    # The first page was said to be a part because of its size. If it was not, that answer was torn.
    if 0 < len(_later(first.rows, after)) >= len(whole) or largest > len(first.rows):
        raise Torn(f"A page has {len(first.rows)} rows of {first.total}, and room for more.")
    return whole


def _later(events: Iterable[Event], after: int | None) -> tuple[Event, ...]:
    return tuple(sorted(event for event in events if after is None or event.occur_time > after))


def _read_range(fetch: EventFetch, query: Query, learned: LearnedPaging) -> list[Event]:
    """All rows between two instants, by moving the start to the last instant seen.

    Rows of that last instant are dropped and read again with the next page, which must then have
    exactly as many rows as are still owed.
    """
    kept: list[Event] = []
    floor = -1  # rows before this are in `kept`
    inclusive = False  # whether a row at the start itself was ever shown
    page = fetch(query)
    owed = page.total  # rows of the range that are not in `kept`
    while True:
        fresh = [event for event in page.rows if event.occur_time >= floor]
        stale = len(page.rows) - len(fresh)
        if (None if page.total is None else page.total - stale) != owed or (floor >= 0 and not fresh):
            raise Torn(f"The events changed during the read: {page.total} rows where {owed} were left.")
        if is_whole(page, query.limit):
            return kept + fresh
        _check_order(page.rows, query)
        inclusive = inclusive or page.rows[0].occur_time == query.start
        last = page.rows[-1].occur_time
        before = [event for event in fresh if event.occur_time < last]
        if before:
            kept += before
            floor = last
            owed = None if owed is None else owed - len(before)
            query = replace(query, start=last if inclusive else last - 1)
            page = fetch(query)
            continue
        if stale:
            # Rows that are kept already take the room, so the start is inclusive: do without them.
            query = replace(query, start=floor)
            page = fetch(query)
            continue
        rest = _read_instant(fetch, replace(query, limit=len(page.rows)), learned)
        rest = [event for event in rest if event.occur_time >= floor]
        if len(rest) != owed:
            raise Torn(f"The events changed during the read: {len(rest)} rows where {owed} were left.")
        return kept + rest


def _read_instant(fetch: EventFetch, query: Query, learned: LearnedPaging) -> list[Event]:
    """The rest of a range that begins with more rows in one millisecond than fit a page.

    Only here `offset` is needed. Rows of equal time have no order of their own, and a deletion
    together with a late entry keeps the sum; so two passes must show the very same rows.
    """

    def one_pass() -> list[Event]:
        first = fetch(query)
        if first.total is None:
            raise Torn("More events in one millisecond than fit a page, and no total_count.")
        rows = list(first.rows)
        if not is_whole(first, query.limit):
            for page in further_pages(lambda at: fetch(replace(query, offset=at)), first, learned):
                rows += page.rows
        _check_order(rows, query)
        return rows

    rows = one_pass()
    if rows != one_pass():
        raise Torn("The events' pages moved during the read.")
    return rows


def _check_unmoved(
    fetch: ListFetch, pages: Sequence[ResultPage[ServiceRow | None]], learned: LearnedPaging
) -> None:
    """Read all pages but the last once more. Raises `Torn` where one shows other services than before.

    A deletion moves every row behind it. So if a page shows the same after the last one was read, nothing
    before its end was deleted in between, and no row slipped past the reader.
    """
    size, seen = len(pages[0].rows), 0
    for number, page in enumerate(pages[:-1]):
        offset = seen if learned.offset_counts_items else number
        again = page_at(lambda at: fetch(Query(limit=size, offset=at or None)), offset)
        if again is None or _ids(again.rows)[: len(page.rows)] != _ids(page.rows):
            raise Torn("The list's pages moved during the read.")
        seen += len(page.rows)


def _ids(rows: Sequence[ServiceRow | None]) -> list[str | None]:
    return [None if row is None else row.service_id for row in rows]


def _check_order(rows: Sequence[Event], query: Query) -> None:
    """Only of a page that is a part: a whole one is sorted and filtered here, whatever its order."""
    times = [event.occur_time for event in rows]
    if any(early > late for early, late in pairwise(times)):
        raise Torn("A page of events is not in the order that was asked for.")
    earliest, latest = query.start or 0, LATEST_MS if query.end is None else query.end
    if times and (times[0] < earliest or times[-1] > latest):
        raise Torn("A page of events is out of the times that were asked for.")
