"""The JSON under /api/v1, held against its own document, as a program of somebody else uses it."""

import http.client
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import requests
import schemathesis
from hypothesis import given, settings

from exporter.adapters.web.app import WebApp
from exporter.core.classifier.step_rules import PHASES
from exporter.core.formats import iso
from exporter.core.pages.filters import LONGEST_SEARCH, MOST_ROWS, PAGE_ROWS, SORTS
from exporter.core.pages.service_health import STATES
from exporter.core.records import ABNORMAL, SETTLED_RESULTS, Event
from tests.page_examples import (
    HOUR,
    MINUTE,
    NOW,
    SECOND,
    Deployment,
    Fleet,
    beginning,
    broken,
    crowd,
    empty,
    first_reads,
    lively,
    row,
    starting,
)
from tests.test_pages import ask, hostile, one, serving, told

ROOT = Path(__file__).parents[1]
DOCUMENT = json.loads((ROOT / "exporter" / "adapters" / "web" / "openapi.json").read_bytes())
WAIT = 20  # seconds until a test gives up on something that takes milliseconds
SERVICE = f"services/{row('', 1).service_id}"
FLEETS: Mapping[str, Callable[[], Fleet]] = {
    "lively": lively,
    "broken": broken,
    "empty": empty,
    "beginning": beginning,
    "starting": Fleet,
    "reading": starting,
}


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema of an object with fields."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
        for part in schema.values():
            yield from objects(part)


def closed(document: Any) -> Any:
    """The document, read so that a field which it does not have is an error."""
    copy = json.loads(json.dumps(document))
    for found in objects(copy["components"]["schemas"]):
        found["additionalProperties"] = False
    return copy


STRICT = closed(DOCUMENT)


def check(name: str, found: Any) -> None:
    """Hold a value against the schema of this name."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": STRICT["components"]}
    jsonschema.Draft202012Validator(schema).validate(found)


def resolved(part: Any) -> Any:
    """What a reference of the document leads to."""
    while "$ref" in part:
        found = DOCUMENT
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part


def parameters(path: str, place: str) -> dict[str, Any]:
    """The schemas of a path's parameters by name."""
    found = [resolved(each) for each in DOCUMENT["paths"][path]["get"]["parameters"]]
    return {each["name"]: each["schema"] for each in found if each["in"] == place}


# -- the document


def test_the_document_is_one_of_openapi_and_is_served_as_it_is() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(DOCUMENT).validate()
    answer = ask(lively(), "api/v1/openapi.json")
    assert (answer.headers["Content-Type"], answer.json()) == ("application/json", DOCUMENT)


def test_the_document_has_every_path_and_method_of_the_api_and_no_other() -> None:
    doors: dict[str, Any] = dict(lively().doors())
    app: WebApp[Any] = WebApp(
        on_scraped=lambda page: None,
        render_self_metrics=lambda openmetrics: b"",
        healthy=lambda: (True, "ok"),
        ready=lambda: (True, "ok"),
        reload=None,
        **doors,
    )
    routes = {path for path in app._routes if path.startswith("/api/")}
    routes |= {f"{folder}{{service_id}}" for folder in app._below if folder.startswith("/api/")}
    assert {f"/api/v1{path}" for path in DOCUMENT["paths"]} == routes
    assert {method for item in DOCUMENT["paths"].values() for method in item} == {"get", "head"}


@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_a_path_has_the_parameters_of_the_document_and_none_of_another_path(path: str) -> None:
    names = {name for each in DOCUMENT["paths"] for name in parameters(each, "query")} - {"state"}
    with serving(lively()) as url:
        at = f"{url}api/v1{path.format(service_id=row('', 1).service_id)}"
        refused = {
            name for name in names if requests.get(f"{at}?{name}=1&{name}=1", timeout=WAIT).status_code == 400
        }
    assert refused == set(parameters(path, "query")) - {"state"}


def test_the_document_has_the_words_and_bounds_of_the_program() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["State"]["enum"] == [state.name for state in STATES]
    assert schemas["Phase"]["enum"] == list(PHASES)
    assert schemas["Result"]["enum"] == list(SETTLED_RESULTS)
    fleet = parameters("/services", "query")
    assert fleet["sort"] == {
        "enum": [f"{sign}{name}" for name in SORTS for sign in ("", "-")],
        "default": SORTS[0],
    }
    assert fleet["q"]["maxLength"] == LONGEST_SEARCH
    for bounds in (fleet["per_page"], parameters("/updates", "query")["per_page"]):
        assert bounds == {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "default": PAGE_ROWS}
    for name, field in (("Services", "services"), ("Updates", "updates")):
        assert schemas[name]["properties"][field]["maxItems"] == MOST_ROWS


def test_the_document_requires_every_field_that_it_describes() -> None:
    for found in objects(DOCUMENT["components"]["schemas"]):
        assert list(found["properties"]) == found["required"]


# -- answers as documented


@pytest.mark.parametrize("name", FLEETS)
@pytest.mark.parametrize(("path", "schema"), [("services", "Services"), ("updates", "Updates")])
def test_the_answer_of_a_fleet_is_as_documented(name: str, path: str, schema: str) -> None:
    check(schema, told(FLEETS[name](), path))


def test_the_fleet_says_how_far_the_first_reads_are_until_they_are_over() -> None:
    fleet = starting()
    fleet.project("done", first_reads=first_reads(10, 10))
    fleet.project("unknown")
    shown = {each["name"]: each["first_reads"] for each in told(fleet, "services")["projects"]}
    counts = {"services": 10_000, "tried": 1_240, "failed": 0}
    begun = {"start_time": iso(NOW - 50 * SECOND), "seconds_left": 360}
    assert shown == {"prod-0": counts | begun, "done": None, "unknown": None}


def test_every_service_is_as_documented_and_says_no_less_than_in_the_list() -> None:
    fleet = lively()
    with serving(fleet) as url:
        for _, service_id in fleet.services:
            found = requests.get(f"{url}api/v1/services/{service_id}", timeout=WAIT).json()
            check("ServiceAnswer", found)
            brief = DOCUMENT["components"]["schemas"]["Service"]["required"]
            check("Service", {name: found["service"][name] for name in brief})


USERS = {"prometheus": "$2b$04$5KB6x6nMxN0oEDGJ9rDvJuXgUgnYN0hVQDR4vnVZTSCsN6e3dkgrK"}


def test_each_documented_answer_can_happen_and_is_as_documented() -> None:
    seen: dict[str, set[str]] = {path: set() for path in DOCUMENT["paths"]}

    def take(path: str, answer: requests.Response) -> None:
        item = DOCUMENT["paths"][path]
        documented = resolved(item["get"]["responses"][str(answer.status_code)])
        assert {name.lower() for name in documented.get("headers", {})} <= {
            name.lower() for name in answer.headers
        }
        if "content" in documented:
            assert answer.headers["Content-Type"] == "application/json"
            schema = documented["content"]["application/json"]["schema"]
            if "$ref" in schema:
                check(schema["$ref"].rpartition("/")[2], answer.json())
        else:
            assert answer.content == b""
        assert str(answer.status_code) in item["head"]["responses"]
        seen[path].add(str(answer.status_code))

    fleet = lively()
    with serving(fleet) as url:
        for path in seen:
            at = f"{url}api/v1{path.format(service_id=row('', 1).service_id)}"
            found = requests.get(at, timeout=WAIT)
            take(path, found)
            take(path, requests.get(at, headers={"If-None-Match": found.headers["ETag"]}, timeout=WAIT))
            for name in parameters(path, "query"):
                take(path, requests.get(f"{at}?{name}=a&{name}=b", timeout=WAIT))
        take("/services/{service_id}", requests.get(f"{url}api/v1/services/none", timeout=WAIT))
    fleet.busy = True
    with serving(fleet) as url:
        take("/updates", requests.get(f"{url}api/v1/updates", timeout=WAIT))
        take("/services/{service_id}", requests.get(f"{url}api/v1/{SERVICE}", timeout=WAIT))
    with serving(fleet, users=USERS) as url:
        for path in seen:
            take(path, requests.get(f"{url}api/v1{path}", timeout=WAIT))
    documented = {path: set(item["get"]["responses"]) for path, item in DOCUMENT["paths"].items()}
    # Too many requests at once are told like a busy store; tests/test_web.py has them.
    documented["/services"].remove("503")
    documented["/openapi.json"].remove("503")
    assert seen == documented


POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


@pytest.mark.parametrize(
    ("mode", "path"),
    # Where every text is allowed there is nothing to do wrong.
    [*((POSITIVE, path) for path in DOCUMENT["paths"]), (NEGATIVE, "/services"), (NEGATIVE, "/updates")],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_whatever_a_program_asks_the_answer_is_as_documented(
    mode: schemathesis.GenerationMode, path: str, method: str
) -> None:
    fleet = lively()
    places = [each["id"] for each in told(fleet, "updates")["updates"]]
    ids = [service_id for _, service_id in fleet.services]
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path][method]
    # A wrong value that is refused is a 400. An unknown parameter and an empty value are allowed on purpose.
    ignored = [schemathesis.checks.negative_data_rejection]
    statuses = set()

    with serving(fleet) as url:

        @settings(max_examples=40, deadline=None, database=None, derandomize=True)
        @given(operation.as_strategy(generation_mode=mode))
        def run(case: Any) -> None:
            if mode is POSITIVE and "cursor" in case.query:
                case.query["cursor"] = places[len(case.query["cursor"]) % len(places)]
            name = case.path_parameters.get("service_id", "")
            if len(name) % 2:
                case.path_parameters["service_id"] = ids[len(name) % len(ids)]
            answer = case.call(base_url=f"{url}api/v1", timeout=WAIT)
            case.validate_response(answer, excluded_checks=ignored)
            statuses.add(answer.status_code)

        run()
    assert (200 if mode is POSITIVE else 400) in statuses


# -- what they say


def test_the_json_tells_what_the_page_tells() -> None:
    fleet = lively()
    found = told(fleet)
    assert (found["time"], found["total"], found["page_size"]) == ("2026-07-01T10:00:00Z", 15, PAGE_ROWS)
    first = found["services"][0]
    assert (first["service_name"], first["state"], first["since"], first["reason"], first["failing"]) == (
        "recommender",
        "failing",
        "2026-07-01T09:24:05Z",
        "image_pull",
        True,
    )
    assert (first["read_time"], first["data_age_seconds"]) == ("2026-07-01T09:59:52Z", 8.0)
    assert found["states"]["failing"] == 3
    assert [project["data_age_seconds"] for project in found["projects"]] == [12.0, 40.0]


def test_the_json_of_a_service_tells_its_story() -> None:
    found = told(lively(), SERVICE)
    newest, failed = found["updates"][0], found["deployments"][0]
    assert (newest["result"], newest["duration_seconds"], newest["settled_time"]) == (
        "FAIL",
        665.0,
        "2026-07-01T09:24:05Z",
    )
    assert [model["weight_percent"] for model in newest["models"]] == [70.0, 30.0]
    assert newest["models"][1]["memory_megabytes"] == 16384.0
    assert (failed["result"], failed["end_known"], failed["phases"][-1]["finished"]) == ("FAIL", True, False)
    assert "SWR" in found["service"]["remedy"]
    assert [event["reason"] for event in found["events"][:3]] == ["image_pull"] * 3
    assert list(found["service"]["phase_durations_seconds"]) == list(PHASES)


def test_the_json_takes_the_same_filter_as_the_page() -> None:
    found = told(lively(), "services?state=failing&project=edge&q=cam&page=7")
    assert [service["service_name"] for service in found["services"]] == ["cameras"]
    assert (found["matches"], found["page"], found["pages"]) == (1, 1, 1)


def test_a_busy_store_is_a_503_in_json() -> None:
    fleet = lively()
    fleet.busy = True
    answer = ask(fleet, f"api/v1/{SERVICE}")
    assert (answer.status_code, list(answer.json())) == (503, ["error"])


def test_texts_that_are_no_unicode_do_not_break_the_json() -> None:
    assert ">&?" in told(hostile())["services"][0]["service_name"]
    fleet = one()
    fleet.service("prod", row("recommender", 1), events=[Event(NOW - HOUR, ABNORMAL, "\ud800 漢")])
    assert told(fleet, SERVICE)["events"][0]["text"] == "\ufffd 漢"


# -- what programs may ask


def names(fleet: Fleet, query: str) -> list[str]:
    return [service["service_name"] for service in told(fleet, f"services?{query}")["services"]]


def test_several_states_and_pages_of_a_size_of_ones_own() -> None:
    found = told(lively(), "services?state=stuck&state=&state=failing&per_page=3&page=2")
    assert (found["matches"], found["pages"], found["page"], found["page_size"]) == (4, 2, 2, 3)
    assert [service["state"] for service in found["services"]] == ["stuck"]
    assert len(told(crowd(450), "services?per_page=450")["services"]) == 450


def test_services_are_sorted_as_asked_and_the_reverse() -> None:
    fleet = lively()
    for key in ("service_name", "project"):
        found = told(fleet, f"services?sort={key}")["services"]
        assert [each[key] for each in found] == sorted(each[key] for each in found)
        backwards = told(fleet, f"services?sort=-{key}")["services"]
        assert [each["service_id"] for each in backwards] == [each["service_id"] for each in found][::-1]
    for key in ("since", "newest_update_time", "read_time"):
        for sign in ("", "-"):
            times = [each[key] for each in told(fleet, f"services?sort={sign}{key}")["services"]]
            known = [each for each in times if each is not None]
            assert known == sorted(known, reverse=not sign)
            assert times == known + [None] * (len(times) - len(known))
            assert None in times
    states = [state.name for state in STATES]
    ranks = [states.index(each["state"]) for each in told(fleet, "services?sort=state")["services"]]
    assert ranks == sorted(ranks)
    ranks = [states.index(each["state"]) for each in told(fleet, "services?sort=-state")["services"]]
    assert ranks == sorted(ranks, reverse=True)


def test_a_sorted_fleet_comes_in_pages_without_a_gap() -> None:
    fleet = lively()
    whole = names(fleet, "sort=-read_time")
    assert [
        name for page in (1, 2, 3) for name in names(fleet, f"sort=-read_time&per_page=5&page={page}")
    ] == whole


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("services?sort=age", 'sort is "age"; it must be one of state, service_name, '),
        ("services?sort=--state", 'sort is "--state"; it must be one of'),
        ("services?per_page=501", 'per_page is "501"; it must be a whole number from 1 to 500.'),
        ("services?per_page=%C2%B2", 'per_page is "\u00b2"; it must be a whole number'),
        ("services?page=0", 'page is "0"; it must be a whole number of at least 1.'),
        ("services?state=ok&state=bad", 'state is "bad"; it must be one of failing, '),
        ("updates?cursor=x", "cursor is none that this exporter gave; ask without it for the first page."),
    ],
)
def test_a_value_that_is_not_allowed_is_a_400_that_says_the_rule(query: str, sentence: str) -> None:
    answer = ask(lively(), f"api/v1/{query}")
    assert answer.status_code == 400
    check("Error", answer.json())
    assert sentence in answer.json()["error"]


def test_updates_come_with_their_service_and_all_that_is_known_of_them() -> None:
    fleet = lively()
    found = told(fleet, "updates?per_page=2")
    newest = found["updates"][0]
    assert (newest["service_name"], newest["project"], newest["result"]) == ("recommender", "prod", "FAIL")
    of_service = told(fleet, SERVICE)["updates"][0]
    assert {name: newest[name] for name in of_service} == of_service
    older = told(fleet, f"updates?per_page=2&cursor={found['next_cursor']}")
    assert older["updates"][0]["update_time"] <= found["updates"][1]["update_time"]
    assert found["next_cursor"] == found["updates"][-1]["id"]
    assert told(fleet, "updates?per_page=500")["next_cursor"] is None


@pytest.mark.parametrize("service", ["recommender", row("", 1).service_id])
def test_the_updates_of_one_service_are_found_by_its_name_and_by_its_id(service: str) -> None:
    found = told(lively(), f"updates?service={service}&result=FAIL")["updates"]
    assert [each["service_name"] for each in found] == ["recommender", "recommender"]
    assert told(lively(), "updates?service=nobody")["updates"] == []


def test_a_service_that_has_gone_meanwhile_has_no_updates() -> None:
    fleet = lively()
    del fleet.services["prod", row("", 1).service_id]
    assert "recommender" not in {each["service_name"] for each in told(fleet, "updates")["updates"]}


# -- ETags and errors

ANSWERS = ["services", SERVICE, "updates", "openapi.json"]


def tag(url: str, path: str) -> str:
    return requests.get(f"{url}api/v1/{path}", timeout=WAIT).headers["ETag"]


@pytest.mark.parametrize("path", ANSWERS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("form", ["{}", '"other", {}', "*", "{}, W/"])
def test_who_has_the_answer_is_not_sent_it_again(path: str, method: str, form: str) -> None:
    with serving(lively()) as url:
        known = tag(url, path)
        headers = {"If-None-Match": form.format(known)}
        answer = requests.request(method, f"{url}api/v1/{path}", headers=headers, timeout=WAIT)
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", known)
        # Their length and type are those of the content, which is not there.
        assert not {"Content-Length", "Content-Type", "Content-Encoding"} & set(answer.headers)
        assert (answer.headers["Cache-Control"], answer.headers["Vary"]) == ("no-store", "Accept-Encoding")
        strong = {"If-None-Match": known.removeprefix("W/")}
        assert requests.get(f"{url}api/v1/{path}", headers=strong, timeout=WAIT).status_code == 304
        other = {"If-None-Match": '"other"'}
        assert requests.get(f"{url}api/v1/{path}", headers=other, timeout=WAIT).status_code == 200


@pytest.mark.parametrize("path", ANSWERS)
def test_the_tag_stays_while_only_time_passes(path: str) -> None:
    fleet = one("recommender", Deployment(NOW - HOUR))
    fleet.project("lab", first_reads=first_reads(10_000, 1_240))
    with serving(fleet) as url:
        before = tag(url, path)
        fleet.now += MINUTE  # what is left takes longer than it seemed
        assert tag(url, path) == before


def test_the_tag_changes_with_what_is_told() -> None:
    fleet = one("recommender", Deployment(NOW - HOUR))
    with serving(fleet) as url:
        seen = {
            tag(url, path)
            for path in (*ANSWERS, "services?per_page=1", "services?q=none", "updates?result=FAIL")
        }
        assert len(seen) == 7
        fleet.service("prod", row("recommender", 1), [Deployment(NOW - HOUR), Deployment(NOW - 30 * MINUTE)])
        assert {tag(url, path) for path in ("services", SERVICE, "updates")} & seen == set()


def test_a_state_that_comes_by_time_alone_changes_the_tag() -> None:
    fleet = one("recommender", Deployment(NOW - 29 * MINUTE, None))
    with serving(fleet) as url:
        before = tag(url, "services")
        fleet.now += 2 * MINUTE
        assert tag(url, "services") != before
        assert requests.get(f"{url}api/v1/services", timeout=WAIT).json()["services"][0]["state"] == "stuck"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/api/v1/nothing", {}, 404),
        ("GET", "/api/v1", {}, 404),
        ("GET", "/api%2Fv1/%6Eothing", {}, 404),
        ("GET", "/%61pi/v1/services/x", {}, 404),
        ("POST", "/api/v1/updates", {}, 405),
        ("OPTIONS", "/api/v1/openapi.json", {}, 405),
        ("POST", "/api/v1/services", {"Transfer-Encoding": "chunked"}, 411),
        ("POST", "/api/v1/services", {"Content-Length": "9999999"}, 413),
    ],
)
def test_every_error_of_the_api_is_json_of_one_shape(
    method: str, path: str, headers: Mapping[str, str], status: int
) -> None:
    with serving(lively()) as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://").rstrip("/"), timeout=WAIT)
        with closing(connection):
            connection.putrequest(method, path)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            assert (answer.status, answer.headers["Content-Type"]) == (status, "application/json")
            check("Error", json.loads(answer.read()))


# -- docs/api.md

PAGE = (ROOT / "docs" / "api.md").read_text()


def first_cells(title: str, page: str = PAGE) -> list[str]:
    """What is in code in the first column of the table with this head."""
    table = page.partition(f"| {title} |")[2].partition("\n\n")[0]
    return [name for line in table.splitlines() for name in re.findall(r"^\| `(.*?)`", line)]


def test_the_page_of_the_api_names_every_path_state_and_parameter_in_order() -> None:
    assert first_cells("Path") == [f"/api/v1{path}" for path in DOCUMENT["paths"]]
    assert first_cells("State") == [state.name for state in STATES]
    for heading, path in (
        ("## The fleet", "/services"),
        ("## One service", "/services/{service_id}"),
        ("## The updates of all services", "/updates"),
    ):
        section = PAGE.partition(heading)[2].partition("\n## ")[0]
        assert first_cells("Parameter", section) == list(parameters(path, "query"))
    fleet = PAGE.partition("## The fleet")[2]
    assert set(SORTS) <= set(re.findall(r"`(\w+)`", fleet.partition("| `sort` |")[2].partition("\n")[0]))
    assert PAGE.count(f"1 to {MOST_ROWS}; default {PAGE_ROWS}") == 2
