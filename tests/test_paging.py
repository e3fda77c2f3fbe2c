"""Whole windows under every kind of paging that a cloud may have, and with pages that move."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.adapters.modelarts.api_errors import Rejected
from exporter.adapters.modelarts.decode import ResultPage
from exporter.adapters.modelarts.pages import LearnedPaging, Query
from exporter.adapters.modelarts.paging import read_events, read_list
from exporter.core.records import Event, ServiceRow
from exporter.core.source import Torn

NOW = 1_000


@dataclass
class PagingCloud:
    """Events behind pages; `between` runs after each page, and may change the events."""

    events: list[Event]
    start_inclusive: bool = True
    end_inclusive: bool = True
    offset_in_items: bool = False
    ignores_offset: bool = False
    max_limit: int = 1000
    rejects: bool = False
    says_total: bool = True
    descending: bool = False
    refuses_far_offsets: bool = False
    latest_end: int | None = 9_999_999_999_999
    says_why: bool = False
    between: Callable[["PagingCloud"], None] = lambda _: None
    queries: list[Query] = field(default_factory=list)

    def page(self, query: Query) -> ResultPage[Event]:
        self.queries.append(query)
        if query.limit > self.max_limit and self.rejects:
            raise Rejected("HTTP 400: Invalid Argument.")
        if query.end is not None and (self.latest_end is None or query.end > self.latest_end):
            raise Rejected("HTTP 400: Invalid parameter end_time." if self.says_why else "HTTP 400: no.")
        size = min(query.limit, self.max_limit)
        rows = sorted(event for event in self.events if self._asked(event.occur_time, query))
        if self.descending:
            rows.reverse()
        at = 0 if self.ignores_offset else (query.offset or 0) * (1 if self.offset_in_items else size)
        if at >= len(rows) and at and self.refuses_far_offsets:
            raise Rejected("HTTP 400: no such page.")
        shown = tuple(rows[at : at + size])
        self.between(self)
        total = len(rows) if self.says_total else None
        return ResultPage(shown, total, None if total is None else len(shown))

    def _asked(self, time: int, query: Query) -> bool:
        late = query.start is None or time > query.start or (self.start_inclusive and time == query.start)
        early = query.end is None or time < query.end or (self.end_inclusive and time == query.end)
        return late and early

    def read(self, after: int | None = None, learned: LearnedPaging | None = None) -> tuple[Event, ...]:
        return read_events(self.page, after, lambda: NOW, learned or LearnedPaging())


def row(time: int, text: str = "a") -> Event:
    return Event(time, "normal", text)


events = st.lists(
    st.builds(row, st.one_of(st.integers(1, 12), st.integers(NOW - 3, NOW + 5)), st.sampled_from("ab")),
    max_size=30,
)
clouds = st.builds(
    PagingCloud,
    events,
    start_inclusive=st.booleans(),
    end_inclusive=st.booleans(),
    offset_in_items=st.booleans(),
    refuses_far_offsets=st.booleans(),
    max_limit=st.sampled_from([1, 2, 3, 5, 1000]),
)


@settings(max_examples=600, deadline=None)
@given(clouds, st.one_of(st.none(), st.integers(0, NOW + 6)))
def test_a_read_has_every_event_as_often_as_it_exists(cloud: PagingCloud, after: int | None) -> None:
    truth = sorted(event for event in cloud.events if after is None or event.occur_time > after)
    assert list(cloud.read(after)) == truth


@settings(max_examples=200, deadline=None)
@given(clouds)
def test_what_was_learned_in_one_read_does_not_spoil_the_next(cloud: PagingCloud) -> None:
    learned = LearnedPaging()
    assert cloud.read(None, learned) == cloud.read(None, learned) == tuple(sorted(cloud.events))


changes = st.lists(
    st.one_of(st.none(), st.builds(row, st.integers(1, 12), st.sampled_from("ab")), st.just("drop oldest")),
    max_size=12,
)


@settings(max_examples=800, deadline=None)
@given(clouds, changes)
def test_pages_that_move_during_the_read_lose_and_double_nothing(
    cloud: PagingCloud, script: list[Event | str | None]
) -> None:
    states = [Counter(cloud.events)]

    def change(cloud: PagingCloud) -> None:
        if script:
            match script.pop(0):
                case Event() as late:
                    cloud.events = [*cloud.events, late]
                case "drop oldest":
                    cloud.events = sorted(cloud.events)[1:]
            states.append(Counter(cloud.events))

    cloud.between = change
    try:
        read = Counter(cloud.read())
    except Torn:
        return
    for event in set(read).union(*states):
        counts = [state[event] for state in states]
        assert min(counts) <= read[event] <= max(counts), (event, read[event], counts)


@pytest.mark.parametrize("largest", [1000, 500, 200, 100, 50, 20, 10])
def test_the_largest_limit_that_is_taken_is_found_once(largest: int) -> None:
    cloud = PagingCloud([row(time) for time in range(1, 25)], max_limit=largest, rejects=True)
    learned = LearnedPaging()
    assert len(cloud.read(None, learned)) == 24
    assert learned.limit == largest
    cloud.queries.clear()
    cloud.read(None, learned)
    assert {query.limit for query in cloud.queries} <= {largest, largest - 1}


@pytest.mark.parametrize("says_why", [True, False])
@pytest.mark.parametrize("latest", [9_999_999_999_999, 4_102_444_800_000, 2_147_483_647_000, None])
@pytest.mark.parametrize("largest", [1000, 50])
def test_an_end_that_is_refused_is_followed_by_smaller_ones_and_then_by_none(
    latest: int | None, largest: int, says_why: bool
) -> None:
    cloud = PagingCloud([row(time) for time in range(1, 25)], max_limit=largest, rejects=True)
    cloud.latest_end, cloud.says_why = latest, says_why
    learned = LearnedPaging()
    assert len(cloud.read(None, learned)) == 24
    assert (learned.limit, learned.proven) == (largest, True)
    cloud.queries.clear()
    assert len(cloud.read(None, learned)) == 24
    assert len(cloud.queries) == 1


@pytest.mark.parametrize("latest", [2_147_483_647_000, None])
def test_a_read_of_many_pages_keeps_to_the_end_that_is_taken(latest: int | None) -> None:
    cloud = PagingCloud([*map(row, range(1, 9)), row(NOW + 1)], max_limit=5)
    cloud.end_inclusive = False
    cloud.latest_end = NOW if latest is None else latest
    assert len(cloud.read()) == 9


def test_a_400_that_speaks_of_something_else_ends_the_walk_with_the_last_error() -> None:
    asked = []

    def refuse(query: Query) -> ResultPage[Event]:
        asked.append(query.limit)
        raise Rejected(f"HTTP 400 at {query.limit}")

    learned = LearnedPaging()
    with pytest.raises(Rejected, match=r"at 10$"):
        read_events(refuse, None, lambda: NOW, learned)
    assert asked == [1000, 500, 200, 100, 50, 20, 10, 10, 10]  # the last ones with other ends
    assert learned == LearnedPaging()


def test_once_a_limit_was_taken_a_400_is_not_tried_again_unless_it_names_the_limit() -> None:
    asked = []

    def refuse(query: Query) -> ResultPage[Event]:
        asked.append(query.limit)
        raise Rejected("HTTP 400: no." if query.limit == 200 else "HTTP 400: Invalid limit.")

    with pytest.raises(Rejected, match="no"):
        read_events(refuse, None, lambda: NOW, LearnedPaging(limit=500, proven=True))
    assert asked == [500, 200]


def test_a_read_that_fits_one_page_is_one_request_without_offset() -> None:
    cloud = PagingCloud([row(5), row(2000)])
    assert cloud.read(1) == (row(5), row(2000))
    assert cloud.queries == [Query(limit=1000, start=1, end=9_999_999_999_999)]


def test_a_whole_page_in_descending_order_is_sorted() -> None:
    assert PagingCloud([row(5), row(2)], descending=True).read() == (row(2), row(5))


def test_a_part_in_descending_order_is_torn() -> None:
    with pytest.raises(Torn, match="order"):
        PagingCloud([row(5), row(2), row(3)], descending=True, max_limit=2).read()


def test_without_total_count_a_short_page_is_the_last() -> None:
    cloud = PagingCloud([row(time) for time in range(1, 25)], max_limit=10, rejects=True, says_total=False)
    assert len(cloud.read()) == 24


def test_without_total_count_a_crowded_instant_cannot_be_read() -> None:
    cloud = PagingCloud([row(7)] * 25, max_limit=10, rejects=True, says_total=False)
    with pytest.raises(Torn, match="one millisecond"):
        cloud.read()


def test_an_offset_that_is_ignored_is_torn_and_never_doubles() -> None:
    with pytest.raises(Torn):
        PagingCloud([row(7)] * 4, max_limit=2, ignores_offset=True).read()


@pytest.mark.parametrize("in_items", [True, False])
def test_a_wrong_memory_of_the_offset_is_torn_once_and_then_forgotten(in_items: bool) -> None:
    cloud = PagingCloud([row(7)] * 6, max_limit=2, offset_in_items=in_items)
    learned = LearnedPaging(offset_counts_items=not in_items)
    with pytest.raises(Torn):
        cloud.read(None, learned)
    assert len(cloud.read(None, learned)) == 6
    assert learned.offset_counts_items is in_items


@pytest.mark.parametrize(
    "page",
    [
        ResultPage((row(5),), 2),
        ResultPage((row(5), row(5)), 1),
        ResultPage((), 1),
        ResultPage((row(5), row(6)), 2, 3),
    ],
)
def test_a_page_that_contradicts_itself_is_torn(page: ResultPage[Event]) -> None:
    with pytest.raises(Torn):
        read_events(lambda _: page, None, lambda: NOW, LearnedPaging())


def test_a_part_out_of_the_asked_times_is_torn() -> None:
    with pytest.raises(Torn, match="out of the times"):
        read_events(lambda _: ResultPage((row(5), row(6)), 3), 5_000, lambda: NOW, LearnedPaging())


def test_a_first_page_that_was_no_part_after_all_is_torn() -> None:
    cloud = PagingCloud([row(5), row(6), row(7)])
    answers = iter([ResultPage((row(5), row(6)), 3)])
    with pytest.raises(Torn, match="room for more"):
        read_events(
            lambda query: next(answers, None) or cloud.page(query), None, lambda: NOW, LearnedPaging()
        )


@pytest.mark.parametrize("times", [[1, 2, 3, 4, 5], [7, 7, 7, 7, 7]])
def test_a_late_entry_between_two_pages_is_torn(times: list[int]) -> None:
    cloud = PagingCloud([row(time) for time in times], max_limit=2)

    def change(cloud: PagingCloud) -> None:
        if len(cloud.queries) == 2:  # the first question, and the first page with a fixed end
            cloud.events = [*cloud.events, row(times[-1], "late")]

    cloud.between = change
    with pytest.raises(Torn, match="changed during the read"):
        cloud.read()


def test_pages_that_show_different_rows_the_second_time_are_torn() -> None:
    cloud = PagingCloud([row(7, text) for text in "abcdef"], max_limit=2)
    seen = 0

    def change(cloud: PagingCloud) -> None:
        nonlocal seen
        seen += 1
        if seen == 8:
            cloud.events = [*cloud.events[:5], row(7, "z")]

    cloud.between = change
    with pytest.raises(Torn, match="moved"):
        cloud.read()


# Lists


@dataclass
class ListCloud:
    rows: list[ServiceRow | None]
    size: int = 1000
    offset_in_items: bool = False
    says_total: bool = True
    between: Callable[["ListCloud"], None] = lambda _: None

    def page(self, query: Query) -> ResultPage[ServiceRow | None]:
        size = min(query.limit, self.size)
        at = (query.offset or 0) * (1 if self.offset_in_items else size)
        rows, total = tuple(self.rows[at : at + size]), len(self.rows)
        self.between(self)
        return ResultPage(rows, total if self.says_total else None, len(rows))


def services(number: int) -> list[ServiceRow | None]:
    return [ServiceRow(f"s{place}") for place in range(number)]


@given(st.integers(0, 40), st.integers(1, 12), st.booleans(), st.sets(st.integers(0, 39), max_size=3))
def test_a_list_is_whole_whatever_the_offset_counts(
    number: int, size: int, in_items: bool, malformed: set[int]
) -> None:
    rows = [None if place in malformed else service for place, service in enumerate(services(number))]
    listing = read_list(ListCloud(rows, size, in_items).page, LearnedPaging())
    assert listing.complete
    assert Counter(listing.rows) == Counter(rows)


@given(st.integers(0, 40), st.integers(2, 12), st.booleans(), st.lists(st.booleans(), max_size=6))
def test_a_list_that_moves_shows_no_service_twice_and_is_not_called_complete_without_one(
    number: int, size: int, in_items: bool, script: list[bool]
) -> None:
    cloud = ListCloud(services(number), size, in_items)

    def change(cloud: ListCloud) -> None:
        if script:
            cloud.rows = cloud.rows[1:] if script.pop() else [ServiceRow(f"new{len(script)}"), *cloud.rows]

    cloud.between = change
    listing = read_list(cloud.page, LearnedPaging())
    ids = [service.service_id for service in listing.rows if service is not None]
    assert len(set(ids)) == len(ids)
    assert replace(cloud).size == size


growths = st.lists(
    st.tuples(st.lists(st.integers(0, 39), max_size=2), st.integers(1, 2)).filter(
        lambda gap: len(gap[0]) < gap[1]
    )
    | st.none(),
    max_size=12,
)


@settings(max_examples=800)
@given(st.integers(0, 40), st.integers(1, 12), st.booleans(), growths)
def test_a_list_that_grows_meanwhile_is_whole_only_if_it_lost_and_doubled_nothing(
    number: int, size: int, in_items: bool, script: list[tuple[list[int], int] | None]
) -> None:
    cloud = ListCloud(services(number), size, in_items)
    states = [list(cloud.rows)]

    def change(cloud: ListCloud) -> None:
        if script and (gap := script.pop()):
            deleted, created = gap
            kept = [service for place, service in enumerate(cloud.rows) if place not in deleted]
            born = len(states) * 10
            cloud.rows = [*kept, *(ServiceRow(f"new{born + place}") for place in range(created))]
            states.append(cloud.rows)

    cloud.between = change
    listing = read_list(cloud.page, LearnedPaging())
    shown = Counter(listing.rows)
    assert max(shown.values(), default=0) <= 1
    if listing.complete:
        always = set(states[0]).intersection(*states)
        assert always <= set(shown) <= set().union(*states)


@pytest.mark.parametrize("in_items", [True, False])
@pytest.mark.parametrize("number", [4, 5, 6, 7])
def test_a_list_is_whole_although_a_service_is_created_before_each_page(number: int, in_items: bool) -> None:
    cloud = ListCloud(services(number), 2, in_items)
    births = iter(range(1000, 1000 + number))

    def create(cloud: ListCloud) -> None:
        cloud.rows = [*cloud.rows, *(ServiceRow(f"s{birth}") for birth in [next(births, None)] if birth)]

    cloud.between = create
    listing = read_list(cloud.page, LearnedPaging(offset_counts_items=in_items))
    assert listing.complete
    assert set(services(number)) <= set(listing.rows)


def test_a_list_that_does_not_change_is_read_once() -> None:
    cloud = ListCloud(services(6), 2)
    asked: list[int | None] = []

    def page(query: Query) -> ResultPage[ServiceRow | None]:
        asked.append(query.offset)
        return cloud.page(query)

    assert read_list(page, LearnedPaging(offset_counts_items=False)).complete
    assert asked == [None, 1, 2, 3]


def test_a_list_with_a_service_twice_is_not_complete() -> None:
    listing = read_list(ListCloud([*services(2), ServiceRow("s0")]).page, LearnedPaging())
    assert not listing.complete
    assert len(listing.rows) == 2


def test_a_full_page_without_total_count_is_not_called_complete() -> None:
    assert not read_list(ListCloud(services(1000), says_total=False).page, LearnedPaging()).complete
    assert read_list(ListCloud(services(999), says_total=False).page, LearnedPaging()).complete
