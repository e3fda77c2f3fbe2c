"""Whole windows out of pages, whatever kind of paging the cloud has: the arithmetic agrees, or `Torn`. Pure.

Nothing here knows HTTP: a `fetch` is given. What the documentation leaves open (how large a page may be,
whether `offset` counts pages or items, whether times are inclusive) is found out from the answers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Generic, TypeVar

from exporter.adapters.modelarts.api_errors import Rejected
from exporter.adapters.modelarts.decode import LATEST_MS, ResultPage
from exporter.core.records import Event, ServiceRow
from exporter.core.source import Torn

# 1000 is the default of the API (ModelArts, API Reference, "Querying Service Event Logs"), and no largest is
# documented. Where a cloud takes less: sizes that such APIs use.
LIMITS = (1000, 500, 200, 100, 50, 20, 10)

Row = TypeVar("Row")


@dataclass(slots=True)
class LearnedPaging:
    """What one project's cloud has shown of itself at one endpoint; shared by threads, each field alone.

    Attributes:
        limit: the largest page known to be accepted, or the first to try.
        proven: a request with this limit was answered.
        offset_counts_items: False: it counts pages; None: not known yet.

    """

    limit: int = LIMITS[0]
    proven: bool = False
    offset_counts_items: bool | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """The part of a request that says which rows; None is not sent."""

    limit: int
    offset: int | None = None
    start: int | None = None  # ms, events only
    end: int | None = None  # ms, events only


EventFetch = Callable[[Query], ResultPage[Event]]
ListFetch = Callable[[Query], ResultPage[ServiceRow | None]]


@dataclass(frozen=True, slots=True)
class Listing(Generic[Row]):
    """Rows of a list, and whether they are all."""

    rows: tuple[Row, ...]
    complete: bool


def read_list(fetch: ListFetch, learned: LearnedPaging) -> Listing[ServiceRow | None]:
    """Every row of a list, None for a malformed one; `complete` is False where that cannot be shown."""
    page, limit = _largest(fetch, Query(limit=learned.limit), learned)
    rows = list(page.rows)
    try:
        complete = _is_whole(page, limit)
        if not complete and page.total is not None:
            size = len(rows)
            for following in _further_pages(lambda at: fetch(Query(limit=size, offset=at)), page, learned):
                rows += following.rows
            complete = True
    except Torn:
        complete = False
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
    first, limit = _largest(fetch, Query(limit=learned.limit, start=after, end=LATEST_MS), learned)
    if _is_whole(first, limit):
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
        events = _read_range(measured, Query(limit=limit, start=after, end=LATEST_MS), learned)
    else:
        past = _read_range(measured, Query(limit=limit, start=after, end=split), learned)
        tail = _read_range(measured, Query(limit=limit, start=split - 1, end=LATEST_MS), learned)
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
        if _is_whole(page, query.limit):
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
        if not _is_whole(first, query.limit):
            for page in _further_pages(lambda at: fetch(replace(query, offset=at)), first, learned):
                rows += page.rows
        _check_order(rows, query)
        return rows

    rows = one_pass()
    if rows != one_pass():
        raise Torn("The events' pages moved during the read.")
    return rows


def _further_pages(
    fetch_at: Callable[[int], ResultPage[Row]], first: ResultPage[Row], learned: LearnedPaging
) -> Iterator[ResultPage[Row]]:
    """The pages after an incomplete first one, by `offset` of either kind. Raises `Torn`."""
    total, size = first.total, len(first.rows)
    assert total is not None
    try:
        in_items = learned.offset_counts_items
        if in_items is None:
            # As items this is inside the rows, as pages it is behind the last one.
            in_items = _has_rows(fetch_at, size * -(-total // (size * size)))
        seen, number = size, 1
        while seen < total:
            try:
                page = fetch_at(seen if in_items else number)
            except Rejected as error:
                raise Torn(f"There is no further page after {seen} of {total} rows.") from error
            seen += len(page.rows)
            number += 1
            if page.total != total or not page.rows or seen > total:
                raise Torn(f"The pages do not add up to their total_count of {total}.")  # noqa: TRY301
            yield page
        # An `offset` that is ignored, or of the other kind, shows rows where there can be none.
        pages = -(-total // size)
        if _has_rows(fetch_at, pages * size if in_items else pages):
            raise Torn(f"There are rows behind the last of {total}.")  # noqa: TRY301
    except Torn:
        learned.offset_counts_items = None
        raise
    if size > 1:  # of single rows both kinds are the same
        learned.offset_counts_items = in_items


def _has_rows(fetch_at: Callable[[int], ResultPage[Row]], offset: int) -> bool:
    try:
        return bool(fetch_at(offset).rows)
    except Rejected:
        return False  # nobody has such a page


def _largest(
    fetch: Callable[[Query], ResultPage[Row]], query: Query, learned: LearnedPaging
) -> tuple[ResultPage[Row], int]:
    """The first page, with the largest limit that the cloud takes, and that limit."""
    for limit in [size for size in LIMITS if size <= query.limit]:
        try:
            page = fetch(replace(query, limit=limit))
        except Rejected as error:
            # Once a limit was taken, a 400 speaks of something else, unless it names the limit.
            if limit == LIMITS[-1] or (learned.proven and "limit" not in str(error).casefold()):
                raise
            continue
        learned.limit, learned.proven = limit, True
        return page, limit
    raise AssertionError("unreachable: the smallest limit returns or raises")


def _is_whole(page: ResultPage[Row], limit: int) -> bool:
    """Whether the page has all rows that its query asks for. Raises `Torn`."""
    rows = len(page.rows)
    if page.count is not None and page.count not in (rows, page.total):
        raise Torn(f"The answer has {rows} rows and says count {page.count}.")
    if page.total is None:
        return rows < limit
    if rows > page.total or (page.total > 0 and rows == 0):
        raise Torn(f"The answer has {rows} rows and says total_count {page.total}.")
    return rows == page.total


def _check_order(rows: Sequence[Event], query: Query) -> None:
    """Only of a page that is a part: a whole one is sorted and filtered here, whatever its order."""
    times = [event.occur_time for event in rows]
    if any(early > late for early, late in pairwise(times)):
        raise Torn("A page of events is not in the order that was asked for.")
    earliest, latest = query.start or 0, LATEST_MS if query.end is None else query.end
    if times and (times[0] < earliest or times[-1] > latest):
        raise Torn("A page of events is out of the times that were asked for.")
