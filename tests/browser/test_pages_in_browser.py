"""The pages in Debian's Chromium: used as a person uses them, at every width and in both schemes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect

from exporter.core.classifier.step_rules import PHASES
from exporter.core.records import Model
from tests.browser.chromium import served
from tests.page_examples import (
    HOUR,
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
    lively,
    row,
)

pytestmark = pytest.mark.browser

DESKTOP, PHONE, WALL = (1280, 800), (360, 740), (1920, 1080)
RECOMMENDER = f"services/{row('', 1).service_id}"
CAMERAS = f"services/{row('', 20).service_id}"

Visit = Callable[..., Page]


def failure(request: Request) -> list[str]:
    """What to say of a request that failed; nothing if the browser gave it up to open the next page."""
    return [] if request.failure == "net::ERR_ABORTED" else [f"failed: {request.url} {request.failure}"]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens a path of a fleet; whatever the browser complains of fails the test."""
    complaints: list[str] = []
    with ExitStack() as stack:

        def opened(
            fleet: Fleet,
            path: str = "",
            screen: tuple[int, int] = DESKTOP,
            scheme: Any = "light",
            **other: Any,
        ) -> Page:
            url = stack.enter_context(served(fleet))
            width, height = screen
            context = browser.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, base_url=url, **other
            )
            stack.callback(context.close)
            page = context.new_page()
            page.on("console", lambda message: complaints.extend(complaint(message, page)))
            page.on("requestfailed", lambda request: complaints.extend(failure(request)))
            page.goto(path)
            return page

        yield opened
    assert complaints == []


def complaint(message: ConsoleMessage, page: Page) -> Sequence[str]:
    """What the console says, unless it is that the page itself is a 404."""
    about_itself = message.location["url"] == page.url and "404" in message.text
    return [] if about_itself else [message.text]


def service_names(page: Page) -> list[str]:
    return page.locator("tbody th a").all_inner_texts()


def test_a_search_finds_a_service_and_leads_to_its_page_and_back(visit: Visit) -> None:
    page = visit(lively())
    page.get_by_label("Name or id").fill("recom")
    page.get_by_role("button", name="Show").click()
    assert service_names(page) == ["recommender"]
    page.get_by_role("link", name="recommender").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("recommender")
    expect(page.get_by_role("heading", name="Why it is failing: image pull")).to_be_visible()
    page.get_by_role("link", name="All services").click()
    assert len(service_names(page)) == 15


def test_enter_is_enough_and_the_filter_can_be_left(visit: Visit) -> None:
    page = visit(lively())
    page.get_by_label("Name or id").fill("nowhere")
    page.get_by_label("Name or id").press("Enter")
    expect(page.get_by_text("No service matches.")).to_be_visible()
    page.get_by_role("link", name="Show all", exact=True).click()
    assert len(service_names(page)) == 15


def test_state_and_project_can_be_chosen(visit: Visit) -> None:
    page = visit(lively())
    page.get_by_label("State", exact=True).select_option("Failing")
    page.get_by_label("Project", exact=True).select_option("edge")
    page.get_by_role("button", name="Show").click()
    assert service_names(page) == ["cameras"]
    expect(page.get_by_label("State", exact=True)).to_have_value("failing")
    page.get_by_role("link", name="OK 1").click()
    assert service_names(page) == ["meters"]
    expect(page.get_by_role("link", name="OK 1")).to_have_attribute("aria-current", "true")


def test_ten_thousand_services_are_turned_page_by_page(visit: Visit) -> None:
    page = visit(crowd())
    assert service_names(page)[26:30] == ["cameras", "image-classifier", "pricing", "chat-assistant"]
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("101 to 200 of 10,000")).to_be_visible()
    page.get_by_role("link", name="Previous").click()
    expect(page.get_by_text("1 to 100 of 10,000")).to_be_visible()
    page.get_by_role("link", name="Last").click()
    expect(page.get_by_text("9,901 to 10,000 of 10,000")).to_be_visible()
    page.get_by_role("link", name="First").click()
    expect(page.get_by_text("1 to 100 of 10,000")).to_be_visible()


def test_the_keyboard_reaches_everything_and_shows_where_it_is(visit: Visit) -> None:
    page = visit(lively())
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        reached.append(focused.get_attribute("name") or focused.inner_text())
        assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
    assert {"Services", "Metrics", "prod", "q", "state", "project", "Show", "recommender"} <= set(reached)


def test_the_keyboard_can_skip_the_projects(visit: Visit) -> None:
    page = visit(lively())
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_in_viewport()
    skip.press("Enter")
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text().startswith("All")
    expect(skip).not_to_be_in_viewport()


def test_the_result_of_each_node_can_be_unfolded(visit: Visit) -> None:
    page = visit(lively(), CAMERAS)
    expect(page.get_by_text("deploy on gate-south").first).to_be_visible()
    newest = page.locator("details").first
    expect(newest.get_by_text("deploy on gate-north")).not_to_be_visible()
    newest.get_by_text("The 3 nodes that succeeded").click()
    expect(newest.get_by_text("deploy on gate-north")).to_be_visible()


def test_without_javascript_everything_is_the_same(visit: Visit) -> None:
    page = visit(lively(), java_script_enabled=False)
    page.get_by_label("Name or id").fill("cam")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="cameras").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("cameras")
    expect(page.get_by_role("img", name="Deployment of 2026-07-01T08:00:00Z")).to_be_visible()


def test_the_reader_s_scheme_is_used(visit: Visit) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        body = visit(lively(), scheme=scheme).locator("body")
        background = body.evaluate("body => getComputedStyle(body).backgroundColor")
        colours[scheme] = sum(int(part) for part in background.strip("rgb()").split(","))
    assert colours["light"] > 3 * 200
    assert colours["dark"] < 3 * 50


@pytest.mark.parametrize(
    "path", ["", RECOMMENDER, CAMERAS, "services/nothing", "runbooks/", "runbooks/ModelArtsUpdateFailed"]
)
def test_nothing_is_wider_than_a_phone(visit: Visit, path: str) -> None:
    page = visit(broken(), path, PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    page.evaluate("scrollTo(1000, 0)")
    assert page.evaluate("scrollX") == 0


@pytest.mark.parametrize("width", [840, 1024, 1089, 1200])
def test_between_phone_and_desktop_no_name_and_no_time_is_broken(visit: Visit, width: int) -> None:
    page = visit(lively(), "", (width, 800))
    lines = """found => {
        const text = document.createRange();
        text.selectNodeContents(found);
        return text.getClientRects().length;
    }"""
    for found in page.locator("tbody th a, tbody time").all():
        assert found.evaluate(lines) == 1, found.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_reader_s_own_contrast_keeps_the_colours_of_the_phases(visit: Visit) -> None:
    page = visit(lively(), RECOMMENDER, forced_colors="active")
    colours = "all => new Set(all.map(each => getComputedStyle(each).backgroundColor)).size"
    assert page.locator(".legend .swatch").evaluate_all(colours) == len(PHASES) + 1


def test_on_a_phone_the_worst_service_and_its_reason_are_on_the_first_screen(visit: Visit) -> None:
    page = visit(lively(), "", PHONE)
    for found in (page.get_by_role("link", name="recommender"), page.get_by_text(PULL_FAILED)):
        box = found.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < PHONE[1]


def test_on_a_phone_the_reason_comes_first_and_the_filters_are_folded(visit: Visit) -> None:
    box = visit(lively(), RECOMMENDER, PHONE).get_by_text("What to do:").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < PHONE[1]
    page = visit(lively(), "", PHONE)
    expect(page.get_by_label("Name or id")).not_to_be_visible()
    page.get_by_text("Search and filter").click()
    page.get_by_label("Name or id").fill("recom")
    page.get_by_role("button", name="Show").click()
    assert service_names(page) == ["recommender"]
    expect(page.get_by_label("Name or id")).to_have_value("recom")


def test_beside_utc_is_the_reader_s_own_time(visit: Visit) -> None:
    page = visit(lively(), RECOMMENDER, timezone_id="Asia/Tokyo", locale="en-GB")
    expect(page.locator(".as-of")).to_contain_text("As of 2026-07-01T10:00:00Z 19:00 local")
    newest = page.locator("tbody tr").first
    expect(newest).to_contain_text("2026-07-01T09:13:00Z 18:13 local")
    overview = visit(lively(), "", timezone_id="America/New_York", locale="en-GB")
    first = overview.locator("tbody tr", has_text="cameras")
    expect(first).to_contain_text("2026-07-01T08:02:05Z 04:02 local")
    assert overview.evaluate("document.documentElement.scrollWidth") == DESKTOP[0]
    expect(visit(lively(), timezone_id="UTC").locator(".local")).to_have_count(0)


def test_a_page_that_stays_open_says_how_old_it_is(visit: Visit) -> None:
    page = visit(lively())
    page.clock.install()
    page.reload()
    page.clock.run_for("00:50")
    expect(page.get_by_text("This page is")).to_have_count(0)
    page.clock.run_for("04:20")
    expect(page.locator(".as-of")).to_contain_text("This page is 5 min old.")


def test_names_that_are_long_and_texts_that_are_hostile_stay_in_their_place(visit: Visit) -> None:
    fleet = Fleet()
    text = "<b>x</b>" * 60
    fleet.service("p" * 64, row(text, 1))
    fleet.project("p" * 64, up=False, error=text)
    for path, width in product(("", RECOMMENDER), (320, 360, 600, 1100)):
        page = visit(fleet, path, (width, 740))
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("b b, h1 b, h3 b, th b").count() == 0


def test_a_name_that_is_read_from_the_right_turns_no_number_around(visit: Visit) -> None:
    fleet = Fleet()
    model = Model("m-1", "\u0646\u0645\u0648\u0630\u062c", "2.3.0", weight=100.0)
    fleet.service("prod", row("shop", 1), [Deployment(NOW - HOUR, models=(model,))])
    fleet.project("prod")
    models = visit(fleet, RECOMMENDER).locator(".models li").first
    assert models.evaluate("""found => {
        const name = found.querySelector("strong"), version = document.createRange();
        version.selectNode(name.nextSibling);
        return name.getBoundingClientRect().left < version.getBoundingClientRect().left;
    }""")


@pytest.mark.parametrize("fleet", [lively, broken, all_down, partial(all_down, 200)])
def test_all_that_is_not_well_is_on_one_screen_of_a_monitor(visit: Visit, fleet: Callable[[], Fleet]) -> None:
    page = visit(fleet(), "?view=wall", WALL)
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [
        *WALL
    ]
    tiles = page.locator(".tile").all()
    assert len(tiles) >= 7
    for tile in tiles:
        expect(tile).to_be_in_viewport(ratio=1)
        assert tile.evaluate("tile => tile.scrollHeight <= tile.clientHeight"), tile.inner_text()


def test_a_page_asks_for_itself_again(visit: Visit) -> None:
    page = visit(lively(), "?refresh=5", java_script_enabled=False)
    with page.expect_navigation(timeout=20_000):
        pass
    assert page.url.endswith("?refresh=5")


@pytest.mark.parametrize(
    ("fleet", "path"),
    [
        *((fleet, "?view=wall") for fleet in (lively, broken, all_down, Fleet)),
        (cut_off, ""),
        (cut_off, f"services/{row('', 7).service_id}"),
        *((fleet, "") for fleet in (lively, broken, empty, beginning, Fleet)),
        (partial(crowd, 110), "?page=2"),
        *((lively, f"services/{row('', number).service_id}") for number in (1, 3, 4, 5, 11, 12, 20, 22)),
        *((lively, path) for path in ("services/nothing", "?q=nothing", "runbooks/", "config")),
        (Fleet, "runbooks/ModelArtsUpdateFailed"),
        (Fleet, "docs/alerts"),
    ],
)
def test_axe_finds_no_fault_on_any_page(visit: Visit, fleet: Callable[[], Fleet], path: str) -> None:
    page = visit(fleet(), path)
    # Contrast depends on the colour scheme, layout on the screen: two of the four combinations cover both.
    looks: list[tuple[tuple[int, int], Any]] = [(DESKTOP, "light"), (PHONE, "dark")]
    for screen, scheme in looks:
        page.set_viewport_size({"width": screen[0], "height": screen[1]})
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page).response["violations"]
        assert [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in found] == []
