"""The pages and their JSON, asked as a browser and a program ask them."""

import html
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote, urljoin

import msgspec
import pytest
import requests

from exporter.adapters.web.app import WebApp
from exporter.adapters.web.server import WebServer
from exporter.core.accounting.history import History, PastEvent, PastUpdate
from exporter.core.accounting.service_state import AlertState, FailureEvent, opened
from exporter.core.alerting.notifications import NotifierOptions, alert_of
from exporter.core.classifier.step_rules import PHASES
from exporter.core.links import LinkOptions
from exporter.core.pages.filters import PAGE_ROWS
from exporter.core.pages.service_health import STATES
from exporter.core.records import ABNORMAL, FAIL, NORMAL, Model, NodeResult, ServiceRow, Update
from tests.page_examples import (
    CLASSIFIER,
    DAY,
    HOUR,
    MINUTE,
    NOW,
    PULL_FAILED,
    Deployment,
    Fleet,
    all_down,
    beginning,
    broken,
    crowd,
    cut_off,
    empty,
    first_reads,
    lively,
    row,
    starting,
)

WAIT = 20  # seconds until a test gives up on something that takes milliseconds


@contextmanager
def serving(fleet: Fleet, *, users: Mapping[str, str] | None = None, **other: Any) -> Iterator[str]:
    """The base URL of the pages of a fleet; `users` are those who may see them (bcrypt hash by name)."""
    arguments: dict[str, Any] = {
        "on_scraped": lambda page: None,
        "render_self_metrics": lambda openmetrics: b"",
        "healthy": lambda: (True, "ok"),
        "ready": lambda: (True, "ok"),
        "reload": None,
        "version": "1.2.3",
        **fleet.doors(),
    }
    app: WebApp[Any] = WebApp(**{**arguments, **other})
    app.configure(users or {}, {})
    errors: list[str] = []
    server = WebServer(["127.0.0.1:0"], app, on_error=errors.append)
    server.start()
    try:
        yield f"http://{server.addresses[0]}/"
    finally:
        server.stop()
    assert errors == []


def ask(fleet: Fleet, path: str = "", **other: Any) -> requests.Response:
    with serving(fleet, **other) as url:
        return requests.get(url + path, timeout=WAIT)


def told(fleet: Fleet, path: str = "services") -> Any:
    answer = ask(fleet, f"api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def words(answer: requests.Response) -> str:
    """What a reader sees, in one line."""
    text = re.sub(r"<(title|style)\b.*?</\1>", "", answer.text, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def without_script(page: str) -> str:
    """A page without the one script that is ours."""
    return re.sub(r'<script src="(\.\./)?local\.js" defer></script>', "", page, count=1)


class Links(HTMLParser):
    """Every address that a page names, and every tag that it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.links += [value for name, value in attrs if name in ("href", "src", "action") and value]


def one(name: str = "recommender", *deployments: Deployment, **changes: Any) -> Fleet:
    """A fleet of one service, `SERVICE`."""
    fleet = Fleet()
    fleet.service("prod", row(name, 1), deployments, **changes)
    fleet.project("prod")
    return fleet


SERVICE = f"services/{row('', 1).service_id}"

# -- the fleet


def test_every_state_is_told_in_words() -> None:
    answer = ask(lively())
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    for state in STATES:
        assert f'<span class="badge {state.name}">{state.label}</span>' in answer.text
    seen = words(answer)
    assert "7 of 15 services need attention" in seen
    assert f"image pull {PULL_FAILED}" in seen
    assert "An update has been open for 52 min, now in startup." in seen
    assert "Its logs could not be read last time. Status running prod" in seen


def test_the_age_of_the_data_is_always_there() -> None:
    seen = words(ask(lively()))
    assert "12 services, 6 need attention ; data 12 s old" in seen
    assert seen.count("8 s old") == 13
    service_id = row("", 22).service_id
    assert f"turnstiles {service_id} Status running edge unknown unknown never read" in seen


def test_times_are_for_programs_and_for_people() -> None:
    page = ask(lively()).text
    assert '<span class="age">35 min ago</span> <time datetime="2026-07-01T09:24:05Z">' in page
    stamps = [attributes["datetime"] for tag, attributes in Links(page).tags if tag == "time"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp or "") for stamp in stamps)


def test_a_fleet_that_is_well_says_so() -> None:
    fleet = one("a", Deployment(NOW - DAY))
    assert "The one service is well" in words(ask(fleet))
    fleet.project("lab", up=None)
    assert "The one service was well when last read" in words(ask(fleet))


def test_services_that_were_not_read_yet_are_not_called_well() -> None:
    fleet = Fleet()
    for number in (1, 2):
        fleet.put("prod", opened(row("a", number), NOW, preexisting=False).state)
    fleet.project("prod")
    seen = words(ask(fleet))
    assert "The 2 services were not read yet" in seen
    assert "Their logs are being read, one service after the other" in seen
    fleet.service("prod", row("b", 3), [Deployment(NOW - DAY)])
    assert "2 of 3 services were not read yet, the others are well" in words(ask(fleet))


@pytest.mark.parametrize("query", ["", "?view=wall"])
def test_the_page_says_how_far_the_first_reads_are_until_they_are_over(query: str) -> None:
    shown = ask(starting(), query)
    assert "prod-0 : 1,240 of 10,000 services read, about 6 min left." in words(shown)
    assert '<progress aria-label="Services read of prod-0" value="1240" max="10000">' in shown.text
    fleet = one("a", Deployment(NOW - DAY))
    fleet.project("prod-0", first_reads=first_reads(10_000, 10_000))
    assert not re.search("services read|<progress", ask(fleet, query).text)


def test_of_many_projects_that_are_being_read_the_page_shows_a_few() -> None:
    seen = words(ask(starting(7)))
    assert (seen.count("1,240 of 10,000 services read"), "2 more projects are being read." in seen) == (
        5,
        True,
    )
    assert "1 more project is being read." in words(ask(starting(6)))
    assert "more project" not in words(ask(starting(5)))
    wall = words(ask(starting(3), "?view=wall"))  # the tiles need the room
    assert (wall.count("1,240 of 10,000"), "2 more projects are being read." in wall) == (1, True)


def test_the_title_tells_a_tab_in_the_background_how_it_stands() -> None:
    assert "<title>7 of 15 services need attention · ModelArts exporter</title>" in ask(lively()).text
    assert "<title>recommender: Failing · ModelArts exporter</title>" in ask(lively(), SERVICE).text


@pytest.mark.parametrize(
    "path", ["", SERVICE, "services/nothing", "api/v1/services", f"api/v1/{SERVICE}", "metrics"]
)
def test_no_answer_mixes_two_moments(path: str) -> None:
    fleet = lively()
    moments = [fleet.snapshot()]  # a second one is not there to be had
    ask(fleet, path, snapshot=moments.pop)
    assert moments == []


@pytest.mark.parametrize("path", ["", SERVICE, "services/nothing", "?page=many"])
def test_every_page_says_that_the_poll_loop_hangs(path: str) -> None:
    fleet = one("a", Deployment(NOW - DAY))
    hangs = words(ask(fleet, path, healthy=lambda: (False, "The poll loop has not ticked for 400 s.")))
    assert "Nothing new is being read. The poll loop has not ticked for 400 s. This page shows" in hangs
    assert "service is well" not in hangs
    assert "Nothing new is being read" not in words(ask(fleet, path))


@pytest.mark.parametrize(
    ("fleet", "sentences"),
    [
        (Fleet(), ["Nothing has been read yet", "the first list takes a few seconds"]),
        (beginning(), ["Reading the first list", "Not read yet", "Reload this page in a few seconds"]),
        (empty(), ["No services", "there is no service to watch in them", "say which services are watched"]),
        (
            broken(),
            [
                "7 of 15 services need attention, and 2 of 3 projects cannot be read",
                "Listing the services failed with HTTP 403: ModelArts.0105: no permission.",
                "data 3 h old",
                "lab Cannot be read services not known; not listed since the exporter started",
                "modelarts-exporter once",
            ],
        ),
    ],
    ids=["starting", "beginning", "empty", "broken"],
)
def test_a_page_without_much_to_show_says_what_to_do(fleet: Fleet, sentences: list[str]) -> None:
    seen = words(ask(fleet))
    for sentence in sentences:
        assert sentence in seen


def test_a_fleet_of_which_nothing_can_be_read_says_where_to_look() -> None:
    fleet = Fleet()
    fleet.project("prod", up=False, error="The endpoint does not answer.")
    seen = words(ask(fleet))
    assert "The project cannot be read" in seen
    assert "No service is known, because the project could not be read; see above." in seen


def test_a_search_is_kept_in_the_form_and_can_be_left() -> None:
    page = ask(lively(), "?q=%22chat%22&state=stuck&project=prod").text
    assert 'value="&#34;chat&#34;"' in page
    assert '<option value="stuck" selected>' in page
    assert '<option value="prod" selected>prod</option>' in page
    assert "No service matches." in page
    assert '<a class="reset" href="./">Show all</a>' in page


def test_a_crowd_comes_in_pages_that_keep_the_filter() -> None:
    page = ask(crowd(450), "?state=ok&page=2")
    assert "101 to 200 of 429" in words(page)
    assert "Page 2 of 5" in words(page)
    links = Links(page.text).links
    assert {"?state=ok", "?state=ok&page=3", "?state=ok&page=5"} <= set(links)
    assert page.text.count('<th role="rowheader"') == PAGE_ROWS


def test_a_big_number_is_readable() -> None:
    assert "32 of 10,000 services need attention" in words(ask(crowd()))


# -- one service


def test_a_service_tells_what_failed_why_and_what_to_do() -> None:
    seen = words(ask(lively(), SERVICE))
    for sentence in (
        "recommender Failing",
        "Why it is failing: image pull",
        "What to do: Check that the image and its tag still exist in SWR",
        "two-tower 0.9.1, 30 % of the traffic, 1 instance custom, 4 CPU, 16384 MB, 1 GPU",
        "Last success 2 d 23 h ago 2026-06-28T10:20:00Z",
        "1,284,552, 37 failed",
        "out of memory Choose a specification with more memory",
        "Data age 8 s old",
    ):
        assert sentence in seen


def test_a_service_draws_its_phases_and_its_abnormal_events() -> None:
    page = ask(lively(), SERVICE)
    rects = [attributes for tag, attributes in Links(page.text).tags if tag == "rect"]
    assert {str(each["class"]).split()[0] for each in rects} == {"extent", *PHASES}
    assert page.text.count('<path class="abnormal" d="M-6 0H6L0 11z"/>') == 6
    assert f"<title>2026-07-01T09:18:30Z {PULL_FAILED}</title>" in page.text
    assert "image pull 6 min 1 s, not finished" in words(page)


def test_a_cause_that_nothing_is_known_of_is_called_so() -> None:
    cameras = f"services/{row('', 20).service_id}"
    assert "unknown cause Node gate-south: deploy failed" in words(ask(lively()))
    assert "Why it is failing: unknown cause Node gate-south" in words(ask(lively(), cameras))
    assert told(lively(), cameras)["service"]["reason"] == "other"


def test_beside_each_drawn_deployment_is_what_went_wrong_and_what_to_do() -> None:
    drawn = ask(lively(), SERVICE).text.partition('<ol class="lanes">')[2].partition("</ol>")[0]
    seen = " ".join(re.sub(r"<title>.*?</title>|<[^>]*>", " ", drawn).split())
    assert f"image pull {PULL_FAILED} \u00d7 3 first 5 min 30 s after the start Check that the image" in seen
    assert "health check Model health check failed" in seen


def test_each_node_of_an_edge_service_has_its_result() -> None:
    seen = words(ask(lively(), f"services/{row('', 20).service_id}"))
    assert "3 succeeded, 1 failed failed deploy on gate-south The 3 nodes that succeeded" in seen
    assert "succeeded deploy on gate-north" in seen
    assert "Edge nodes" not in words(ask(lively(), SERVICE))


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (3, "An update has been open for 52 min It is in the phase startup . That is longer than"),
        (4, "Its logs could not be read last time The data shown here is 22 min old."),
        (5, "The cloud gives it the status concerning"),
        (11, "The cloud gives it the status failed Its newest update did not fail, so the trouble"),
        (6, "An update has been open for 3 min It is in the phase environment ."),
        (12, "Why it failed before it was stopped: health check"),
        (22, "Its logs were not read yet. Reload this page in a minute."),
    ],
)
def test_a_service_says_what_its_state_means(number: int, sentence: str) -> None:
    assert sentence in words(ask(lively(), f"services/{row('', number).service_id}"))


def test_a_service_that_is_degraded_without_any_update_is_not_said_to_have_one() -> None:
    fleet = Fleet()
    fleet.service("prod", row("nightly", 1, "failed", "batch"))
    seen = words(ask(fleet, SERVICE))
    assert "The cloud gives it the status failed It has no known update. Look for abnormal events" in seen


def test_a_deployment_of_unknown_end_is_drawn_without_one() -> None:
    fleet = one()
    events = (PastEvent(NOW - HOUR, NORMAL, "start to deploy service", mark="begin"),)
    updates = (PastUpdate(Update(NOW - DAY, FAIL)),)
    fleet.histories = dict.fromkeys(fleet.histories, History(events, updates))
    page = ask(fleet, SERVICE)
    assert "no result" in words(page)
    assert 'aria-label="1 update and 1 event, of them 0 abnormal, from' in page.text
    assert 'class="end' not in page.text
    assert '<span class="none" title="The exporter did not see when it settled.">unknown</span>' in page.text


def test_a_deployment_that_hangs_goes_on_beyond_the_axis() -> None:
    assert "goes on →" in ask(one("a", Deployment(NOW - DAY, None)), SERVICE).text


def test_a_busy_store_leaves_what_is_known() -> None:
    fleet = lively()
    fleet.busy = True
    seen = words(ask(fleet, SERVICE))
    assert "Why it is failing: image pull" in seen
    assert "could not be read, because the store is busy" in seen
    assert "It has no known event." not in seen


def test_an_id_that_two_projects_have_leads_to_both() -> None:
    fleet = one("first")
    fleet.service("other", row("second", 1))
    first = ask(fleet, SERVICE)
    assert "first OK" in words(first)
    assert '<a href="?project=other">other</a>' in first.text
    assert "second OK" in words(ask(fleet, SERVICE + "?project=other"))
    assert told(fleet, SERVICE + "?project=other")["service"]["other_projects"] == ["prod"]


@pytest.mark.parametrize("path", ["services/nothing", "services/", SERVICE + "?project=nowhere"])
def test_an_unknown_service_is_a_404_that_says_what_to_do(path: str) -> None:
    fleet = broken()
    answer = ask(fleet, path)
    assert answer.status_code == 404
    assert "There is no such service" in words(answer)
    assert "Project edge cannot be read: Listing the services failed" in words(answer)
    assert '<a href="../">All services</a>' in answer.text
    api = ask(fleet, f"api/v1/{path}")
    assert (api.status_code, api.json()) == (404, {"error": "There is no service of this id."})


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("?page=many", 'page is "many"; it must be a whole number of at least 1.'),
        ("?state=%3Cb%3E", 'state is "<b>"; it must be one of failing, '),
        (SERVICE + "?project=a&project=b", 'project is "a" and "b"; it can be given once.'),
    ],
)
def test_a_query_that_cannot_be_meant_is_a_400_that_says_why(path: str, sentence: str) -> None:
    page = ask(lively(), path)
    assert page.status_code == 400
    assert sentence in html.unescape(words(page))
    with serving(lively()) as url:
        (back,) = re.findall(r'<a href="(.*?)">All services', page.text)
        assert requests.get(urljoin(url + path, back), timeout=WAIT).status_code == 200
    api = ask(lively(), "api/v1/services" + path.removeprefix("services"))
    assert (api.status_code, list(api.json())) == (400, ["error"])
    assert sentence in api.json()["error"]


def test_the_configuration_is_a_page_and_every_line_of_it_is_escaped() -> None:
    text = "projects:\n- name: <script>\u202e\n  password: <secret>\n"
    page = ask(lively(), "config", configuration=lambda: text)
    assert page.status_code == 200
    shown = html.unescape(page.text.partition("<pre><code>")[2].partition("</code>")[0])
    assert shown == "projects:\n- name: <script>\n  password: <secret>\n"
    assert "<script" not in without_script(page.text)


# -- what is old


def test_while_the_cloud_is_down_no_service_looks_as_if_it_were_known_to_be_well() -> None:
    page = ask(cut_off())
    assert '<span class="badge ok old">OK when last read</span>' in page.text
    assert '<span class="badge ok">' not in page.text
    assert page.text.count('class="old">2 min old</time>') == 5  # the project's, and one for each service
    churn = f"services/{row('', 7).service_id}"
    seen = words(ask(cut_off(), churn))
    assert "churn OK when last read" in seen
    assert "The data shown here is 2 min old Its project cannot be read: The endpoint does not" in seen
    assert [each["data_is_old"] for each in told(cut_off())["services"]] == [True] * 4
    assert told(cut_off(), churn)["service"]["data_is_old"] is True


def test_a_service_that_is_not_read_for_three_sweeps_looks_old() -> None:
    fleet = one("a", Deployment(NOW - DAY), age=15 * MINUTE)
    assert "The one service is well" in words(ask(fleet))
    assert told(fleet)["services"][0]["data_is_old"] is False
    fleet = one("a", Deployment(NOW - DAY), age=15 * MINUTE + 1)
    seen = words(ask(fleet))
    assert "The one service was well when last read" in seen
    assert "1 service was not read for three sweeps" in seen
    assert "OK when last read" in seen
    assert "It was not read for three sweeps." in words(ask(fleet, SERVICE))


def test_what_could_not_be_read_last_time_is_old_too_and_what_never_was_is_not() -> None:
    old = {each["service_name"]: each["data_is_old"] for each in told(lively())["services"]}
    assert [name for name, is_old in old.items() if is_old] == ["translator"]
    assert 'class="old">22 min old</time>' in ask(lively()).text


# -- on the wall


def test_a_monitor_shows_all_that_is_not_well_and_renews_itself() -> None:
    page = ask(lively(), "?view=wall")
    assert page.headers["Refresh"] == "30"
    assert page.text.count('<li class="tile') == 7
    seen = words(page)
    assert "7 of 15 services need attention" in seen
    assert f"recommender prod image pull: {PULL_FAILED}" in seen
    assert "chat-assistant prod , update open for 52 min an update has been open for more than" in seen
    assert "churn" not in seen
    assert ask(lively(), "?view=wall&refresh=10").headers["Refresh"] == "10"


@pytest.mark.parametrize(
    ("size", "tiles", "more"), [(30, 30, ""), (31, 29, "and 2 more"), (150, 29, "and 121 more")]
)
def test_what_has_no_room_on_a_monitor_is_counted(size: int, tiles: int, more: str) -> None:
    page = ask(all_down(size), "?view=wall&project=prod")
    assert page.text.count('<li class="tile failing">') == tiles
    assert (f'<a href="?project=prod">{more}</a>' in page.text) == bool(more)
    assert ("more</a>" in page.text) == bool(more)


def test_a_monitor_says_what_cannot_be_read_and_when_all_is_well() -> None:
    assert "edge cannot be read , data 3 h old : Listing the services failed" in words(
        ask(broken(), "?view=wall")
    )
    assert (
        '<h1 class="ok">The one service is well</h1>'
        in ask(one("a", Deployment(NOW - DAY)), "?view=wall").text
    )
    old = one("a", Deployment(NOW - DAY), age=HOUR)
    assert '<h1 class="new">The one service was well when last read</h1>' in ask(old, "?view=wall").text
    hangs = ask(one(), "?view=wall", healthy=lambda: (False, "The poll loop hangs."))
    assert "Nothing new is being read. The poll loop hangs." in words(hangs)
    assert '<h1 class="failing">' in hangs.text


# -- what goes with every page


@pytest.mark.parametrize("path", ["", SERVICE])
def test_a_page_says_beside_its_headline_of_which_moment_it_is(path: str) -> None:
    page = ask(lively(), path)
    head = page.text.partition('<div class="headline">')[2].partition("</div>")[0]
    assert 'As of <time datetime="2026-07-01T10:00:00Z">' in head
    assert "Refresh" not in page.headers


@pytest.mark.parametrize("path", ["?state=failing", SERVICE + "?project=prod", "services/nothing?"])
def test_a_page_renews_itself_if_it_is_asked_to_and_can_be_stopped(path: str) -> None:
    with serving(lively()) as url:
        page = requests.get(f"{url}{path}&refresh=30", timeout=WAIT)
        assert page.headers["Refresh"] == "30"
        if page.status_code == 404:
            return
        assert "renewed every 30 s. Stop" in words(page)
        (stop,) = re.findall(r'<a href="([^"]*)">Stop</a>', page.text)
        stopped = requests.get(urljoin(page.url, html.unescape(stop)), timeout=WAIT)
        assert "Refresh" not in stopped.headers
        (start,) = re.findall(r'<a href="([^"]*)">Renew every 30 s</a>', stopped.text)
        assert requests.get(urljoin(page.url, html.unescape(start)), timeout=WAIT).url == page.url


def test_who_filters_a_page_that_renews_itself_keeps_it_so() -> None:
    page = ask(crowd(450), "?refresh=30&state=ok")
    assert '<input type="hidden" name="refresh" value="30">' in page.text
    links = [html.unescape(link) for link in Links(page.text).links if link.startswith("?")]
    assert "?state=ok&page=2&refresh=30" in links
    assert all("refresh=30" in link for link in links if link != "?state=ok")


@pytest.mark.parametrize("path", ["?refresh=1", SERVICE + "?refresh=1"])
def test_a_page_that_would_renew_itself_all_the_time_is_a_400(path: str) -> None:
    page = ask(lively(), path)
    assert page.status_code == 400
    assert 'refresh is "1"; it must be a whole number of seconds from 5 to 3600.' in html.unescape(
        words(page)
    )
    assert ask(lively(), "api/v1/services?refresh=1").status_code == 200


def test_a_service_leads_to_its_runbook_console_dashboard_and_metrics() -> None:
    fleet = Fleet()
    fleet.service('a "b"&c', row("shop", 1), [Deployment(NOW - HOUR, failure=PULL_FAILED)])
    fleet.project('a "b"&c')
    service_id = row("", 1).service_id
    options = LinkOptions(
        "",
        grafana_url="https://grafana.example",
        console_url="https://console.example/?p={project_id}#/{service_id}",
        prometheus_url="https://prometheus.example/p",
    )
    links = Links(ask(fleet, SERVICE, links=lambda: options).text).links
    query = (
        "modelarts_service_update_failing%7Bproject%3D%22a%20%5C%22b%5C%22%26c%22"
        f"%2Cservice_id%3D%22{service_id}%22%7D"
    )
    assert [link for link in links if "example" in link] == [
        f"https://console.example/?p=id%20of%20a%20%22b%22%26c#/{service_id}",
        f"https://grafana.example/d/modelarts-service?var-project=a%20%22b%22%26c&var-service={service_id}",
        f"https://prometheus.example/p/graph?g0.expr={query}&g0.tab=0&g0.range_input=1d",
    ]
    assert "../runbooks/ModelArtsUpdateFailed" in links


def test_a_service_leads_nowhere_that_is_not_configured() -> None:
    assert "Console" not in words(ask(lively(), SERVICE))
    wiki = LinkOptions("", runbooks_url="https://wiki.example/r")
    page = ask(lively(), SERVICE, links=lambda: wiki)
    assert '<a href="https://wiki.example/r/ModelArtsUpdateFailed">Runbook</a>' in page.text
    well = ask(lively(), f"services/{row('', 7).service_id}", links=lambda: wiki)
    assert 'class="links"' not in well.text


def test_the_runbook_of_every_state_exists() -> None:
    with serving(Fleet()) as url:
        for name in [state.runbook for state in STATES if state.urgent]:
            assert requests.get(f"{url}runbooks/{name}", timeout=WAIT).status_code == 200


# -- what holds for all of them


@pytest.mark.parametrize("path", ["", "?q=a&page=2", "?view=wall", SERVICE, "services/nothing", "config"])
def test_every_link_of_a_page_is_relative_and_leads_somewhere(path: str) -> None:
    with serving(lively(), telemetry_path="/m/n") as url:
        page = Links(requests.get(url + path, timeout=WAIT).text)
        links = set(page.links)
        assert any(link.endswith("m/n") for link in links)
        for link in links:
            if link.startswith("#"):
                assert [attributes for _, attributes in page.tags if attributes.get("id") == link[1:]], link
                continue
            assert not re.match(r"/|\w+:", link), link
            assert requests.get(urljoin(url + path, link), timeout=WAIT).status_code == 200, link


@pytest.mark.parametrize(
    "path", ["", SERVICE, "services/nothing", "api/v1/services", f"api/v1/{SERVICE}", "style.css"]
)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_head_answers_as_get_without_the_body(path: str, encoding: str) -> None:
    accepting = {"Accept-Encoding": encoding}
    with serving(lively()) as url:
        with requests.get(url + path, headers=accepting, timeout=WAIT, stream=True) as whole:
            body = whole.raw.read(decode_content=False)
        head = requests.head(url + path, headers=accepting, timeout=WAIT)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["Content-Length"] == str(len(body))
    assert head.headers.get("Content-Encoding") == whole.headers.get("Content-Encoding")
    if path != "style.css":
        assert whole.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["", SERVICE, "api/v1/services", f"api/v1/{SERVICE}", "style.css"])
def test_who_takes_gzip_is_sent_a_fraction(path: str) -> None:
    texts = []
    with serving(lively()) as url:
        for encoding in ("identity", "gzip"):
            answer = requests.get(url + path, headers={"Accept-Encoding": encoding}, timeout=WAIT)
            texts.append(answer.text)
            assert answer.headers["Vary"] == "Accept-Encoding"
            assert answer.headers.get("Content-Encoding", "identity") == encoding
    assert texts[0] == texts[1]
    assert int(answer.headers["Content-Length"]) < len(answer.content) / 3


@pytest.mark.parametrize(
    "path",
    ["", "?view=wall", SERVICE, "services/nothing", "runbooks/", "runbooks/ModelArtsUpdateFailed", "config"],
)
def test_a_page_has_one_script_of_its_own_no_inline_style_and_nothing_from_elsewhere(path: str) -> None:
    answer = ask(lively(), path)
    tags = Links(answer.text).tags
    scripts = [attributes for tag, attributes in tags if tag == "script"]
    assert [sorted(attributes) for attributes in scripts] == [["defer", "src"]]
    assert str(scripts[0]["src"]).removeprefix("../") == "local.js"
    assert not {tag for tag, _ in tags} & {
        "style",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "image",
    }
    assert not [
        name for _, attributes in tags for name in attributes if name == "style" or name.startswith("on")
    ]
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy


def test_the_icon_is_a_picture_that_the_policy_allows() -> None:
    page, icon = ask(lively(), SERVICE), ask(lively(), "icon.svg")
    assert '<link rel="icon" href="../icon.svg" type="image/svg+xml">' in page.text
    assert (icon.status_code, icon.headers["Content-Type"]) == (200, "image/svg+xml")
    assert "img-src 'self'" in page.headers["Content-Security-Policy"]


def test_the_script_is_one_that_the_policy_allows() -> None:
    page, script = ask(lively(), SERVICE), ask(lively(), "local.js")
    assert '<script src="../local.js" defer></script>' in page.text
    assert (script.status_code, script.headers["Content-Type"]) == (200, "text/javascript; charset=utf-8")
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]


def test_the_reason_of_a_failure_stands_before_everything_else_of_a_service() -> None:
    page = ask(lively(), SERVICE).text
    assert page.index('id="failure"') < page.index('class="links"') < page.index('<dl class="facts">')


HOSTILE = "</title><script>alert(1)</script>\"'>&\ud800\x1b[31m\u202e\x00"


def hostile() -> Fleet:
    """Every text that comes from outside is an attack."""
    fleet = Fleet()
    known = opened(
        ServiceRow(HOSTILE, HOSTILE, "edge", HOSTILE, HOSTILE, HOSTILE), NOW - DAY, preexisting=False
    )
    update = Update(
        NOW - HOUR,
        FAIL,
        (Model(HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
        1,
        1,
        (NodeResult(HOSTILE, HOSTILE, HOSTILE),),
    )
    odd = Update(NOW - MINUTE, HOSTILE)
    service = msgspec.structs.replace(
        known.state,
        newest=update,
        settled=update,
        open=(odd,),
        cause=FailureEvent(NOW - HOUR, HOSTILE, HOSTILE),
        up=False,
    )
    events = tuple(
        PastEvent(NOW - ago, kind, HOSTILE, 2, HOSTILE, HOSTILE, mark)
        for ago, kind, mark in ((HOUR, ABNORMAL, ""), (HOUR - 1, NORMAL, "begin"))
    )
    fleet.put(HOSTILE, service, History(events, (PastUpdate(update, NOW - MINUTE),)))
    fleet.project(HOSTILE, up=False, error=HOSTILE)
    return fleet


@pytest.mark.parametrize(
    "path",
    [
        "",
        "?view=wall",
        f"?q={quote(HOSTILE, errors='replace')}&project=%3Cscript%3E",
        "?state=%3Cscript%3E",
        f"services/{quote(HOSTILE, safe='', errors='replace')}",
        "services/%3Cscript%3Ealert(1)",
    ],
)
def test_what_comes_from_outside_is_escaped(path: str) -> None:
    fleet = hostile()
    fleet.services |= {
        (project, "</title><script>alert(1)</script>\"'>&?"): view
        for (project, _), view in fleet.services.items()
    }
    answer = ask(fleet, path)
    assert without_script(answer.text).count("<script") == 0
    assert "&lt;script&gt;" in answer.text
    assert not set(answer.text) & set("\x00\x1b\u202e")
    tags = [tag for tag, _ in Links(answer.text).tags]
    assert tags.count("title") >= 1
    assert tags.count("script") == 1


def test_an_id_with_a_slash_and_other_letters_has_its_page() -> None:
    fleet = Fleet()
    for service_id in ("a/b c?d=e#f", "ü-漢"):
        fleet.put("p/q", opened(ServiceRow(service_id, service_id), NOW, preexisting=False).state)
    fleet.project("p/q")
    with serving(fleet) as url:
        page = requests.get(url, timeout=WAIT).text
        links = [link for link in Links(page).links if link.startswith("services/")]
        seen = [words(requests.get(url + link, timeout=WAIT)) for link in links]
    assert ["a/b c?d=e#f New" in seen[0], "ü-漢 New" in seen[1]] == [True, True]


def test_the_link_of_a_pushed_alert_leads_to_the_page_of_its_service() -> None:
    fleet = Fleet()
    for project in ("a&b", "prod"):
        fleet.service(project, row(f"shop of {project}", 1), [Deployment(NOW - HOUR, failure=PULL_FAILED)])
        fleet.project(project)
    with serving(fleet) as url:
        options = NotifierOptions({}, LinkOptions(url.rstrip("/")), CLASSIFIER, MINUTE, 0)
        for view in fleet.services.values():
            service = msgspec.structs.replace(view.state, alert=AlertState(NOW))
            alert = alert_of(view._replace(state=service), options)
            assert alert is not None
            assert f"shop of {view.project} Failing" in html.unescape(
                words(requests.get(alert.page, timeout=WAIT))
            )
