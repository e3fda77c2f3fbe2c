"""The settled updates of all services, page by page, from a real store; and what may be asked of them."""

import json
import sqlite3
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.adapters.store.database import PastChange, Store
from exporter.core.accounting.history import UPDATES_KEPT
from exporter.core.pages.filters import BadQueryError
from exporter.core.pages.update_feed import FoundUpdates, UpdatePlace, UpdateQuery, parse_updates_query
from exporter.core.records import FAIL, RUNNING, SUCCESS
from tests.fakes import NOW, Clock, Cloud
from tests.poller_harness import MINUTE, SECOND, PollerHarness, project

HOUR = 60 * MINUTE
DB = "modelarts-exporter.db"
Services = Mapping[str, Sequence[tuple[int, str]]]  # updates by service_id: minutes ago, and result


class Feed(PollerHarness):
    """An exporter that was asked to read its cloud once."""

    def page(self, query: str = "", service_ids: Sequence[str] | None = None) -> FoundUpdates:
        """What a query string brings."""
        answers: list[FoundUpdates] = []
        wanted = parse_updates_query(query)
        asking = Thread(target=lambda: answers.append(self.poller.updates(wanted, service_ids)))
        asking.start()
        while asking.is_alive():
            self.poller.step()
        return answers[0]

    def shown(self, query: str = "", **other: Any) -> list[tuple[str, str, int, str]]:
        """Project, service, minutes ago and result of each update on a page."""
        return [
            (place.project, place.service_id, (NOW - place.update_time) // MINUTE, past.update.result)
            for place, past in self.page(query, **other).updates
        ]

    def walk(self, query: str) -> Iterator[FoundUpdates]:
        """Page after page."""
        page = self.page(query)
        yield page
        while page.rest is not None:
            page = self.page(f"{query}&cursor={page.rest.cursor()}")
            yield page


def cloud_of(clock: Clock, services: Services) -> Cloud:
    """Services with updates, each so many minutes ago."""
    cloud = Cloud(clock)
    for service_id, updates in services.items():
        cloud.add(service_id)
        for ago, result in updates:
            cloud.append(service_id, NOW - ago * MINUTE, result)
    return cloud


def feed(services: Services, store: Store | None = None) -> Feed:
    clock = Clock()
    found = Feed(cloud_of(clock, services), clock, store)
    found.settle()
    return found


THREE: Services = {
    "a": [(300, SUCCESS), (20, FAIL)],
    "b": [(200, FAIL), (100, SUCCESS), (5, RUNNING)],
    "c": [(20, SUCCESS)],
}


def test_settled_updates_of_all_services_come_newest_first() -> None:
    assert sorted(feed(THREE).shown()) == sorted(
        [
            ("prod", "a", 20, FAIL),
            ("prod", "c", 20, SUCCESS),
            ("prod", "b", 100, SUCCESS),
            ("prod", "b", 200, FAIL),
            ("prod", "a", 300, SUCCESS),
        ]
    )
    times = [ago for _, _, ago, _ in feed(THREE).shown()]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("query", "service_ids", "ago"),
    [
        ("result=FAIL", None, [20, 200]),
        ("since=2023-11-14T21:33:20Z", None, [20, 20]),
        (f"since={(NOW - 100 * MINUTE) // 1000}", None, [20, 20, 100]),
        ("", ["a"], [20, 300]),
        ("result=SUCCESS", ["a", "c", "'"], [20, 300]),
        ("", [], []),
        ("project=prod&per_page=2", None, [20, 20]),
        ("project=nowhere", None, []),
    ],
)
def test_a_filter_leaves_what_it_names(query: str, service_ids: Sequence[str] | None, ago: list[int]) -> None:
    assert [line[2] for line in feed(THREE).shown(query, service_ids=service_ids)] == ago


def test_an_open_update_comes_once_it_has_settled_at_the_place_where_it_began() -> None:
    found = feed(THREE)
    found.cloud.update("b", NOW - 5 * MINUTE, FAIL)
    found.pass_time(10 * SECOND)
    assert found.shown("per_page=1") == [("prod", "b", 5, FAIL)]


def test_each_result_of_an_update_that_was_retried_in_place_is_an_update() -> None:
    found = feed({"a": [(20, FAIL)]})
    found.cloud.update("a", NOW - 20 * MINUTE, SUCCESS)
    found.pass_time(6 * MINUTE)
    assert [line[3] for line in found.shown()] == [SUCCESS, FAIL]
    assert [page.updates[0].past.update.result for page in found.walk("per_page=1")] == [SUCCESS, FAIL]


@settings(max_examples=25, deadline=None, database=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=12),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-8, 0)), max_size=4),
    st.integers(1, 5),
)
def test_who_goes_page_by_page_sees_every_update_once_while_newer_ones_come_in(
    before: list[tuple[str, int]], later: list[tuple[str, int]], per_page: int
) -> None:
    clock = Clock()
    cloud = cloud_of(clock, {name: [] for name in "abcd"})
    for service_id, ago in before:
        cloud.append(service_id, NOW - ago * HOUR, SUCCESS)
    found = Feed(cloud, clock)
    found.settle()
    seen: list[UpdatePlace] = []
    for page in found.walk(f"per_page={per_page}"):
        assert len(page.updates) == per_page or page.rest is None
        seen += [place for place, _ in page.updates]
        if later:
            service_id, ago = later.pop()
            cloud.append(service_id, clock() + ago * SECOND, FAIL)
            found.pass_time(6 * MINUTE)
    assert sorted(seen, key=lambda place: -place.update_time) == seen
    assert sorted((place.service_id, (NOW - place.update_time) // HOUR) for place in seen) == sorted(before)
    assert len(set(seen)) == len(seen)


def test_what_the_history_drops_is_not_listed_any_more() -> None:
    found = feed({"a": [(ago, SUCCESS) for ago in range(UPDATES_KEPT + 10, 10, -1)]})
    found.cloud.append("a", NOW - MINUTE, FAIL)
    found.pass_time(6 * MINUTE)
    lines = found.shown("per_page=500")
    assert (len(lines), lines[0][2:], lines[-1][2]) == (UPDATES_KEPT, (1, FAIL), UPDATES_KEPT + 9)
    assert [len(page.updates) for page in found.walk("per_page=1")] == [1] * UPDATES_KEPT


def test_a_service_that_is_gone_has_no_updates_and_none_of_it_is_left_once_it_is_forgotten() -> None:
    found = feed(THREE)
    cursor = found.page("per_page=1").rest
    assert cursor is not None
    found.cloud.remove(cursor.service_id)
    found.pass_time(2 * MINUTE)
    left = [line for line in found.shown() if line[1] == cursor.service_id]
    assert left == []
    found.poller.configure([project("prod", found.cloud)], keep_deleted=0)
    found.pass_time(3 * HOUR)
    rows = found.store._connection.execute("SELECT count(*) FROM updated_service").fetchone()
    assert rows == (2,)
    assert found.store._connection.execute(
        "SELECT count(*) FROM past_update WHERE service NOT IN (SELECT id FROM updated_service)"
    ).fetchone() == (0,)
    # The cursor of an update that is gone still leads to what is older.
    older = found.shown(f"cursor={cursor.cursor()}")
    assert older
    assert all((NOW - cursor.update_time) // MINUTE < line[2] for line in older)


def test_a_project_that_is_not_configured_any_more_has_no_updates() -> None:
    found = feed(THREE)
    found.poller.configure([project("other", Cloud(found.clock), project_id="1" * 32)])
    assert found.shown() == []
    found.poller.configure([])
    assert found.shown() == []


@contextmanager
def stored(directory: Path) -> Iterator[Store]:
    with closing(Store.open(str(directory))) as store:
        yield store


def test_a_store_of_an_older_version_has_its_updates_listed_once_at_the_start(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        before = feed(THREE, store).shown()
    with closing(sqlite3.connect(tmp_path / DB)) as file, file:
        file.execute("INSERT INTO past SELECT project_name, project_id, 'x', blob, sum FROM past LIMIT 1")
        newer = ("past_update", "updated_service", "unlisted", "calls")
        file.executescript(";".join(f"DROP TABLE {table}" for table in newer))
        file.execute("DELETE FROM migration WHERE number > 5")
        file.execute("PRAGMA user_version = 5")
    with stored(tmp_path) as store:
        again = feed(THREE, store)
        assert sorted(again.shown()) == sorted(before)
        assert store._connection.execute("SELECT count(*) FROM unlisted").fetchone() == (0,)


def test_damaged_texts_leave_a_gap_and_hide_nothing_else(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        found = feed(THREE, store)
        with closing(sqlite3.connect(tmp_path / DB)) as file, file:
            file.execute("UPDATE past SET blob = x'80' WHERE service_id = 'a'")
        assert {line[1] for line in found.shown()} == {"b", "c"}
        assert sum(len(page.updates) for page in found.walk("per_page=1")) == 3


def test_a_store_that_cannot_be_read_is_told_as_busy(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        found = feed(THREE, store)
        store.commit([PastChange(("prod", "0" * 32), "a", b"\xc1")])
        errors: list[BaseException] = []

        def look() -> None:
            try:
                found.poller.updates(UpdateQuery(), None)
            except TimeoutError as error:
                errors.append(error)

        asking = Thread(target=look)
        asking.start()
        while asking.is_alive():
            found.poller.step()
        assert [str(error) for error in errors] == ["the store cannot be read"]


# -- what may be asked


def test_nothing_asks_for_the_first_page_of_everything() -> None:
    assert parse_updates_query("") == parse_updates_query("cursor=&since=&other=1") == UpdateQuery()


@pytest.mark.parametrize(
    ("since", "at"),
    [
        ("0", 0),
        ("1700000000.5", NOW + 500),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-15t00:13:20.250%2B02:00", NOW + 250),
        ("2016-12-31T23:59:60Z", 1_483_228_799_000),
        ("1969-12-31T23:59:59Z", -1000),
    ],
)
def test_since_is_a_time_of_rfc_3339_or_seconds(since: str, at: int) -> None:
    assert parse_updates_query(f"since={since}").since == at


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("since=soon", 'since is "soon"; it must be a time such as 2026-01-31T12:00:00Z, or seconds'),
        ("since=2026-02-31T12:00:00Z", 'since is "2026-02-31T12:00:00Z"; it must be a time'),
        ("since=1700000000000", "it must be a time"),
        ("result=RUNNING", 'result is "RUNNING"; it must be one of SUCCESS, FAIL.'),
        ("per_page=0", 'per_page is "0"; it must be a whole number from 1 to 500.'),
        ("per_page=501", 'per_page is "501"; it must be a whole number'),
        ("per_page=many", 'per_page is "many"; it must be a whole number'),
        ("service=a&service=b", 'service is "a" and "b"; it can be given once.'),
    ],
)
def test_a_value_that_is_not_allowed_is_told_with_its_rule(query: str, sentence: str) -> None:
    with pytest.raises(BadQueryError) as caught:
        parse_updates_query(query)
    assert sentence in str(caught.value)


def encoded(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


GOOD = [NOW, "prod", "a", 1]


def test_a_cursor_is_a_place_as_text() -> None:
    place = UpdatePlace(NOW, "p/q", "ü-漢", 3)
    assert parse_updates_query(f"cursor={place.cursor()}").before == place
    assert parse_updates_query(f"cursor={encoded(GOOD)}").before == UpdatePlace(NOW, "prod", "a", 1)


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "nothing",
        "%C3%A4",
        encoded(GOOD) + "=",
        encoded(GOOD)[:-1],
        encoded(GOOD) + "%20",
        encoded({"update_time": NOW}),
        encoded(GOOD[:3]),
        encoded([*GOOD, 1]),
        encoded([str(NOW), *GOOD[1:]]),
        encoded([2**63, *GOOD[1:]]),
        encoded([*GOOD[:3], -(2**63)]),
        encoded([*GOOD[:2], "\ud800", 1]),
        urlsafe_b64encode(json.dumps(GOOD).encode()).rstrip(b"=").decode(),
    ],
)
def test_a_cursor_that_nobody_gave_is_refused(cursor: str) -> None:
    with pytest.raises(BadQueryError, match="cursor is none that this exporter gave"):
        parse_updates_query(f"cursor={cursor}")
