"""The page of the fleet: how each service stands, what comes first, what a search leaves."""

from typing import Any

import msgspec
import pytest

from exporter.core.accounting.labels import ServiceView
from exporter.core.accounting.phases import Phases, Step
from exporter.core.accounting.service_state import FailureEvent, ServiceState, opened
from exporter.core.formats import age, age_seconds, iso, length
from exporter.core.pages.display import Display, parse_display
from exporter.core.pages.filters import PAGE_ROWS, BadQueryError, ServiceFilter, parse_filter, parse_project
from exporter.core.pages.overview import Overview, find_service, overview
from exporter.core.pages.service_health import STATES, health_of, state_of
from exporter.core.records import FAIL, RUNNING, SUCCESS, Update
from tests.page_examples import DAY, HOUR, MINUTE, NOW, SECOND, Fleet, broken, crowd, lively, row


def service(
    status: str = "running", number: int = 1, name: str = "recommender", **known: Any
) -> ServiceState:
    """A service of which the last read succeeded, if nothing else is given."""
    new = opened(row(name, number, status), NOW, preexisting=False).state
    return msgspec.structs.replace(new, **{"up": True, "read_at": NOW - 8 * SECOND, **known})


def failed(ago: int = HOUR) -> Update:
    return Update(NOW - ago, FAIL)


def still_open(ago: int) -> tuple[Update, ...]:
    return (Update(NOW - ago, RUNNING),)


# -- one service


@pytest.mark.parametrize(
    ("known", "state"),
    [
        (service(), "ok"),
        (service(settled=Update(NOW, SUCCESS)), "ok"),
        (service("finished"), "ok"),
        (service(up=None, read_at=None), "new"),
        (service(open=still_open(5 * MINUTE)), "updating"),
        (service(open=still_open(30 * MINUTE)), "updating"),
        (service("deploying"), "updating"),
        (service("concerning"), "degraded"),
        (service("failed", open=still_open(5 * MINUTE)), "failed"),
        (service("failed", open=still_open(40 * MINUTE)), "failed"),
        (service("failed", up=False), "failed"),
        (service("concerning", up=False), "unreadable"),
        (service(open=still_open(31 * MINUTE), up=False), "stuck"),
        (service("failed", settled=failed(), open=still_open(2 * HOUR), up=False), "failing"),
        (service("stopped", settled=failed(), up=False), "stopped"),
    ],
)
def test_a_service_stands_as_the_worst_that_holds(known: ServiceState, state: str) -> None:
    assert state_of(known, NOW) == state
    assert state in [each.name for each in STATES]


@pytest.mark.parametrize(
    ("known", "since"),
    [
        (service(settled=failed(), outage_since=NOW - 3 * HOUR), NOW - 3 * HOUR),
        (service(settled=failed(), settled_at=NOW - 50 * MINUTE), NOW - 50 * MINUTE),
        (service(settled=failed()), NOW - HOUR),
        (service(settled=Update(NOW - DAY, SUCCESS)), NOW - DAY),
        (service(), NOW - 26 * HOUR),
        (service(open=(*still_open(2 * HOUR), *still_open(HOUR))), NOW - 2 * HOUR),
        (service("deploying"), NOW - 26 * HOUR),
        (service("concerning"), NOW - 26 * HOUR),
        (service("stopped", settled=failed()), NOW - 26 * HOUR),
        (service(up=False), NOW - 8 * SECOND),
        (service(up=None, read_at=None), None),
    ],
)
def test_the_begin_of_a_state_is_the_best_that_is_known(known: ServiceState, since: int | None) -> None:
    assert health_of(ServiceView("prod", known), NOW).since == since


def test_a_failing_service_shows_its_cause_and_the_phase_of_its_retry() -> None:
    known = service(
        settled=failed(),
        newest=Update(NOW - 5 * MINUTE, RUNNING),
        open=still_open(5 * MINUTE),
        cause=FailureEvent(NOW - HOUR, "image_pull", "failed to pull image"),
        phases=Phases(begin=NOW - 5 * MINUTE, steps=(Step(NOW - 4 * MINUTE, 3, ends=False),)),
    )
    standing = health_of(ServiceView("prod", known), NOW)
    assert (standing.reason, standing.message) == ("image_pull", "failed to pull image")
    assert (standing.result, standing.newest_at, standing.phase) == (RUNNING, NOW - 5 * MINUTE, "image_pull")


def test_a_failure_without_a_cause_is_other_and_a_cause_that_is_over_is_not_shown() -> None:
    cause = FailureEvent(NOW - HOUR, "image_pull", "failed to pull image")
    unknown = health_of(ServiceView("prod", service(settled=failed())), NOW)
    over = health_of(ServiceView("prod", service(settled=Update(NOW, SUCCESS), cause=cause)), NOW)
    assert (unknown.reason, unknown.message) == ("other", "")
    assert (over.reason, over.message, over.phase) == ("", "", "")


def test_between_two_phases_there_is_none() -> None:
    assert health_of(ServiceView("prod", service(open=still_open(MINUTE))), NOW).phase == ""


# -- the page


def shown(fleet: Fleet, asked: ServiceFilter = ServiceFilter()) -> Overview:  # noqa: B008 - frozen
    return overview(fleet.services, fleet.statuses, asked, fleet.now)


def names(page: Overview) -> list[str]:
    return [standing.service_name for standing in page.rows]


def test_the_worst_comes_first_and_of_those_what_broke_last() -> None:
    page = shown(lively())
    ranks = [[state.name for state in STATES].index(standing.state) for standing in page.rows]
    assert ranks == sorted(ranks)
    assert names(page) == [
        *["recommender", "cameras", "image-classifier", "pricing", "chat-assistant", "translator"],
        *["speech-to-text", "fraud-detector", "turnstiles", "churn", "forecast", "meters", "ocr", "ranking"],
        "old-ranking",
    ]
    assert (page.total, page.matches, page.pages, page.first, page.urgent) == (15, 15, 1, 1, 7)
    assert page.unread == sum(standing.state == "new" for standing in page.rows) > 0
    assert [standing.urgent for standing in page.rows] == [True] * 7 + [False] * 8


def test_what_is_well_is_in_the_order_of_names() -> None:
    fleet = Fleet()
    for number, name in enumerate(("b", "C", "a", "a"), 1):
        fleet.put("prod", service(number=5 - number, name=name))
    assert [(each.service_name, each.service_id[7]) for each in shown(fleet).rows] == [
        ("a", "1"),
        ("a", "2"),
        ("b", "4"),
        ("C", "3"),
    ]


def test_a_state_without_a_known_begin_comes_after_those_that_have_one() -> None:
    fleet = Fleet()
    for number, since in ((1, None), (2, NOW - DAY)):
        known = service("failed", number, str(number))
        fleet.put(
            "p", msgspec.structs.replace(known, row=msgspec.structs.replace(known.row, transition_at=since))
        )
    assert names(shown(fleet)) == ["2", "1"]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (ServiceFilter(text="CLASS"), ["image-classifier"]),
        (ServiceFilter(text="00000003-6D2E"), ["chat-assistant"]),
        (ServiceFilter(text="r\n0"), []),  # name and id are searched one by one
        (ServiceFilter(state="failing"), ["recommender", "cameras", "image-classifier"]),
        (ServiceFilter(state="failing", project="edge"), ["cameras"]),
        (ServiceFilter(project="edge"), ["cameras", "turnstiles", "meters"]),
        (ServiceFilter(project="nowhere"), []),
    ],
)
def test_search_state_and_project_each_narrow_the_page(asked: ServiceFilter, expected: list[str]) -> None:
    page = shown(lively(), asked)
    assert names(page) == expected
    assert (page.matches, page.first) == (len(expected), 1 if expected else 0)
    assert page.total == 15


def test_the_projects_to_choose_from_are_in_order_and_keep_one_that_is_gone() -> None:
    assert shown(broken()).project_names == ["edge", "lab", "prod"]
    assert shown(lively(), ServiceFilter(project="gone")).project_names == ["edge", "gone", "prod"]


def test_the_numbers_of_the_states_are_of_what_the_other_filters_leave() -> None:
    page = shown(lively(), ServiceFilter(project="edge", state="failing"))
    counts = {state.name: count for state, count in page.states if count}
    assert counts == {"failing": 1, "new": 1, "ok": 1}


def test_projects_that_cannot_be_read_come_first_then_those_in_trouble() -> None:
    fleet = broken()
    fleet.project("new", up=None)
    fleet.project("also-well")
    page = shown(fleet)
    assert [project.name for project in page.projects] == ["edge", "lab", "new", "prod", "also-well"]
    assert [project.urgent for project in page.projects] == [1, 0, 0, 6, 0]


def test_every_service_is_on_exactly_one_page() -> None:
    fleet = crowd(350)
    pages = [shown(fleet, ServiceFilter(page=number)) for number in (1, 2, 3, 4)]
    assert [len(page.rows) for page in pages] == [PAGE_ROWS] * 3 + [50]
    assert [(page.pages, page.first) for page in pages] == [(4, 1), (4, 101), (4, 201), (4, 301)]
    keys = [(standing.project, standing.service_id) for page in pages for standing in page.rows]
    assert set(keys) == set(fleet.services)
    assert len(keys) == 350


def test_past_the_last_page_is_the_last() -> None:
    page = shown(crowd(350), ServiceFilter(page=9))
    assert (page.filter.page, len(page.rows)) == (4, 50)


def test_an_empty_fleet_has_one_empty_page() -> None:
    page = shown(Fleet(), ServiceFilter(page=2))
    assert (page.rows, page.pages, page.first, page.filter.page, page.urgent) == ((), 1, 0, 1, 0)


# -- what is asked


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ("", ServiceFilter()),
        ("q=+chat+&state=failing&project=prod&page=3", ServiceFilter("chat", "failing", "prod", 3)),
        ("q=&state=&page=", ServiceFilter()),
        ("state=&state=ok&other=1&other=2", ServiceFilter(state="ok")),
        ("project=nowhere", ServiceFilter(project="nowhere")),  # it may have been there yesterday
        ("q=%ff%00", ServiceFilter("\ufffd\x00")),
        ("q=" + "x" * 256, ServiceFilter("x" * 256)),
        ("page=007", ServiceFilter(page=7)),
    ],
)
def test_a_query_says_what_is_wanted(query: str, asked: ServiceFilter) -> None:
    assert parse_filter(query) == asked


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("page=0", 'page is "0"; it must be a whole number of at least 1.'),
        ("page=-1", 'page is "-1"; it must be a whole number of at least 1.'),
        ("page=%C2%B2", 'page is "²"; it must be'),
        ("page=9999999999", 'page is "9999999999"; it must be'),
        (
            "state=bad",
            'state is "bad"; it must be one of failing, failed, stuck, unreadable, degraded, updating,',
        ),
        ("state=ok&state=new", 'state is "ok" and "new"; it can be given once.'),
        ("q=" + "x" * 257, "q has 257 characters; at most 256 are searched for."),
    ],
)
def test_a_value_that_cannot_be_meant_is_named_with_its_key_and_its_rule(query: str, sentence: str) -> None:
    with pytest.raises(BadQueryError) as caught:
        parse_filter(query)
    assert str(caught.value).startswith(sentence)


def test_of_one_service_only_the_project_is_asked() -> None:
    assert [parse_project(query) for query in ("", "project=a%26b&state=bad")] == ["", "a&b"]
    with pytest.raises(BadQueryError, match='project is "a" and "b"'):
        parse_project("project=a&project=b")


@pytest.mark.parametrize(
    "asked", [ServiceFilter(), ServiceFilter("a b&c=d#é", "ok", "p/q", 2), ServiceFilter(page=5)]
)
def test_what_is_wanted_survives_its_own_query(asked: ServiceFilter) -> None:
    assert parse_filter(asked.query()) == asked


def test_everything_is_asked_by_no_query_at_all() -> None:
    assert ServiceFilter().query() == ""
    assert ServiceFilter("\ud800").query() == "q=%3F"


def test_an_id_in_two_projects_is_found_in_the_first_unless_one_is_named() -> None:
    fleet = Fleet()
    for project in ("one", "two"):
        fleet.put(project, service())
    service_id = service().row.service_id
    chosen = [find_service(fleet.services, service_id, project) for project in ("", "two", "three")]
    assert [(view.project if view else None, others) for view, others in chosen] == [
        ("one", ("two",)),
        ("two", ("one",)),
        (None, ()),
    ]
    assert find_service(fleet.services, "nothing", "") == (None, ())


# -- words for times


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.02, "under 1 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (372, "6 min 12 s"),
        (3600, "1 h"),
        (19_200, "5 h 20 min"),
        (86_400, "1 d"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_is_shown_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert length(seconds) == words


def test_an_age_is_coarse_and_never_negative() -> None:
    assert [age(NOW - each, NOW) for each in (-5000, 0, 45_000, 95_000, 3_700_000)] == [
        *["0 s", "0 s", "45 s"],
        *["1 min", "1 h 1 min"],
    ]
    assert (age_seconds(NOW - 1500, NOW), age_seconds(NOW + 1, NOW)) == (1.5, 0)


def test_an_instant_is_written_in_utc() -> None:
    assert iso(NOW) == "2026-07-01T10:00:00Z"


# -- how it is shown


@pytest.mark.parametrize(
    ("query", "display"),
    [
        ("", Display()),
        ("q=chat&refresh=", Display()),
        ("refresh=30", Display(30)),
        ("refresh=5&state=ok", Display(5)),
        ("refresh=3600", Display(3600)),
        ("view=wall", Display(30, wall=True)),
        ("view=wall&refresh=10", Display(10, wall=True)),
    ],
)
def test_how_a_page_is_shown_is_what_the_query_says(query: str, display: Display) -> None:
    assert parse_display(query) == display
    assert parse_display(display.query()) == display


@pytest.mark.parametrize("seconds", ["0", "4", "3601", "99999", "-5", "5.5", "\u00b2", "soon"])
def test_a_page_renews_itself_neither_all_the_time_nor_once_a_day(seconds: str) -> None:
    with pytest.raises(BadQueryError, match=r"^refresh is .* whole number of seconds from 5 to 3600\.$"):
        parse_display(f"refresh={seconds}")


@pytest.mark.parametrize("query", ["view=list", "refresh=5&refresh=6"])
def test_another_way_to_show_a_page_is_refused(query: str) -> None:
    with pytest.raises(BadQueryError):
        parse_display(query)
