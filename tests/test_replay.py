"""A recording, replayed: the exporter sees there what it saw in the cloud."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from exporter.commands.record import Recorder
from exporter.core.recording.anonymiser import Anonymiser
from exporter.emulator import (
    DEFAULT_DOMAIN,
    DEFAULT_PROJECT,
    DEFAULT_USER,
    Cloud,
    HandlerServer,
    RecordingError,
    Replay,
    Server,
    Switches,
    load_scenario,
    play,
    read_recording,
)
from exporter.emulator.faults import error, html, torn
from exporter.emulator.http_messages import Request
from tests.fakes import NOW, Clock
from tests.over_http import PACE, SECOND, World

# Labels that a recording replaces; the names, which stay, tell the series of these tests apart.
REPLACED = ("service_id", "owner", "model_id", "node_id", "cluster_id")

MINUTE = 60 * SECOND


def named(world: World) -> dict[str, float]:
    """The page's series, without the ids."""
    found = {}
    for line in world.text().splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            for label in REPLACED:
                before, mark, after = name.partition(f'{label}="')
                name = before + after.partition('"')[2] if mark else name
            found[name] = float(value)
    return found


def lasting(world: World) -> dict[str, float]:
    """The series that do not say when the exporter looked."""
    return {name: value for name, value in named(world).items() if "last_poll_timestamp" not in name}


def anonymiser() -> Anonymiser:
    return Anonymiser(b"k" * 32, [], [DEFAULT_USER, DEFAULT_DOMAIN], [DEFAULT_PROJECT])


class OpenAnonymiser(Anonymiser):
    """Leaves ids as they are: they decide when in a sweep a service is read, and so what is seen when."""

    def made_up(self, value: str) -> str:
        return value


@contextmanager
def recorded(cloud: Cloud, clock: Clock, file: Path, hide: Anonymiser) -> Iterator[World]:
    """An exporter whose answers are recorded."""
    with Server(cloud) as server, Recorder(file, hide, clock) as recorder:
        yield World(cloud, clock, server.url, on_answer=recorder.on_answer)


@contextmanager
def replayed(file: Path, speed: float = 1) -> Iterator[World]:
    """An exporter that reads the recording; its clock begins where that of the first one did."""
    clock = Clock()
    replay = Replay(read_recording(file), clock, speed)
    with HandlerServer(replay.handle, replay.now, ("127.0.0.1", 0)) as server:
        yield World(Cloud(clock), clock, server.url)


def lively(cloud: Cloud) -> None:
    """The demo's fleet, with faults of every kind."""
    play(cloud, load_scenario("demo"))
    denied = cloud.add_service(name="denied")
    lost = cloud.add_service(name="lost")
    cloud.add_service(name="batch", infer_type="batch")
    names = {
        cloud.service(each).fields["service_name"]: each for each in cloud.projects[DEFAULT_PROJECT].services
    }
    cloud.faults.add(
        error(403, "ModelArts.0108", "No permission.", endpoint="logs", service_id=denied, times=None),
        error(404, "APIG.0101", "No such API.", endpoint="events", service_id=lost, times=None),
        error(429, "APIG.0308", "over ratelimit,limit:5,time:1 minute", endpoint="events", skip=60, times=3),
        html(502, endpoint="list", times=2),
        torn("duplicate", endpoint="logs", service_id=names["recommender"], skip=3),
    )


CLOUDS = {
    "as documented": Switches(),
    "small pages, items": Switches(max_limit=10, offset_mode="item"),
    "small pages, clamped": Switches(
        max_limit=20, over_limit="clamp", start_time="exclusive", logs_order="asc"
    ),
    "strings and nulls": Switches(numbers_as_strings=True, arrays="null", batch_logs="error"),
    "appended, absent, Chinese": Switches(running="appended", arrays="absent", language="zh"),
}


STEPS = 80


def is_tried_always(name: str) -> bool:
    """Whether `make test` plays this cloud; the others, ten seconds each, differ from it in single things."""
    return name in ("as documented", "small pages, clamped")


@pytest.mark.parametrize(
    "switches",
    [
        pytest.param(switches, id=name, marks=() if is_tried_always(name) else pytest.mark.long)
        for name, switches in CLOUDS.items()
    ],
)
def test_the_exporter_shows_of_a_recording_what_it_showed_of_the_cloud(
    switches: Switches, tmp_path: Path
) -> None:
    clock = Clock()
    cloud = Cloud(clock, switches)
    lively(cloud)
    file = tmp_path / "recording.jsonl"
    pages = []
    with recorded(cloud, clock, file, OpenAnonymiser(b"")) as first:
        first.rest()
        for _ in range(STEPS):
            first.forward(PACE.active_interval)
            first.scrape()
            pages.append(named(first))
    assert {request.status for request in cloud.requests} >= {200, 403, 404, 429, 502}
    with replayed(file) as second:
        second.rest()
        for number, page in enumerate(pages):
            second.forward(PACE.active_interval)
            second.scrape()
            assert named(second) == page, f"after {number} steps"


def test_other_ids_change_no_total_result_reason_phase_or_duration(tmp_path: Path) -> None:
    clock = Clock()
    cloud = Cloud(clock)
    play(cloud, load_scenario("demo"))
    file = tmp_path / "recording.jsonl"
    with recorded(cloud, clock, file, anonymiser()) as first:
        first.rest()
        for _ in range(STEPS):
            first.forward(PACE.active_interval)
            first.scrape()
    with replayed(file) as second:
        second.rest()
        for _ in range(STEPS):
            second.forward(PACE.active_interval)
            second.scrape()
        second.sweep()  # some were not asked for the last time yet
        assert lasting(second) == lasting(first)


# -- single requests


def answer(at: int, path: str, body: Any, **changes: Any) -> dict[str, Any]:
    """A line of a recording; `at` in seconds."""
    query = changes.pop("query", "")
    row = {
        "at_ms": NOW + at * SECOND,
        "method": "GET",
        "path": f"/v1/{'a' * 32}/services{path}",
        "query": dict(part.split("=") for part in query.split("&") if part),
        "status": 200,
        "headers": {"Content-Type": "application/json"},
        "body": body,
    }
    return {**row, **changes}


class Replayed:
    """A recording of these lines, asked at any second of it."""

    def __init__(self, file: Path, *rows: dict[str, Any], speed: float = 1) -> None:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.clock = Clock()
        self.replay = Replay(read_recording(file), self.clock, speed)

    def get(
        self, path: str, query: str = "", at: float = 0, project: str = "b" * 32
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers at a second after the replay began."""
        self.clock.now = NOW + int(at * SECOND)
        found = self.replay.handle(Request("GET", f"/v1/{project}/services{path}", query, {}))
        return found.status, json.loads(found.body), dict(found.headers)


def event(second: int, text: str) -> dict[str, Any]:
    return {"occur_time": NOW + second * SECOND, "event_type": "normal", "event_info": text}


def events(*rows: dict[str, Any], total: int | None = None) -> dict[str, Any]:
    return {
        "service_id": "s",
        "total_count": len(rows) if total is None else total,
        "count": len(rows),
        "events": rows,
    }


def update(second: int, result: str) -> dict[str, Any]:
    return {"update_time": NOW + second * SECOND, "result": result}


def logs(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"service_id": "s", "logs": rows}


def listed(*ids: str, total: int | None = None) -> dict[str, Any]:
    rows = [{"service_id": each} for each in ids]
    return {"total_count": len(rows) if total is None else total, "count": len(rows), "services": rows}


def ids(body: Any) -> list[str]:
    return [row["service_id"] for row in body["services"]]


def texts(body: Any) -> list[str]:
    return [row["event_info"] for row in body["events"]]


def results(body: Any) -> list[str]:
    return [row["result"] for row in body["logs"]]


def test_before_the_first_answer_stands_the_first_and_after_the_last_the_last(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r", answer(0, "", listed("s")), answer(5, "/s", {"n": 1}), answer(9, "/s", {"n": 2})
    )
    assert [found.get("/s", at=at)[1]["n"] for at in (0, 5, 8.9, 9, 1000)] == [1, 1, 1, 2, 2]


def test_with_a_speed_it_takes_that_much_less_time(tmp_path: Path) -> None:
    rows = (answer(0, "/s", {"n": 1}), answer(60, "/s", {"n": 2}))
    fast = Replayed(tmp_path / "r", *rows, speed=10)
    assert [fast.get("/s", at=at)[1]["n"] for at in (5.9, 6)] == [1, 2]
    assert fast.replay.now() == NOW + 60 * SECOND
    fast.clock.now = NOW + 8 * SECOND
    assert fast.replay.now() == NOW + 62 * SECOND  # after its end time runs as it does here


def test_the_date_goes_on_from_that_of_the_answer(tmp_path: Path) -> None:
    # The cloud's clock was a minute ahead.
    headers = {"date": "Tue, 14 Nov 2023 22:14:20 GMT"}
    rows = (answer(0, "/s", {"n": 1}, headers=headers), answer(100, "/t", {}, headers={"Date": "yesterday"}))
    found = Replayed(tmp_path / "r", *rows, speed=2)
    assert found.get("/s", at=0)[2]["Date"] == "Tue, 14 Nov 2023 22:14:20 GMT"
    assert found.get("/s", at=10)[2]["Date"] == "Tue, 14 Nov 2023 22:14:40 GMT"
    assert "Date" not in found.get("/t")[2]


def test_what_was_never_recorded_is_404_and_deletes_nothing(tmp_path: Path) -> None:
    found = Replayed(tmp_path / "r", answer(0, "", listed("s")))
    for path in ("/s", "/s/logs", "/s/events", "/s/monitor", "/s/unknown"):
        status, body, _ = found.get(path)
        assert status == 404
        assert body == {"error_msg": f"The recording has no answer to GET /v1/{'b' * 32}/services{path}."}
    assert found.replay.handle(Request("PUT", f"/v1/{'a' * 32}/services/s", "", {})).status == 404


def test_an_unknown_project_is_the_one_of_which_most_is_known(tmp_path: Path) -> None:
    other = {**answer(0, "", listed("x")), "path": f"/v1/{'c' * 32}/services"}
    rows = (other, answer(0, "", listed("s")), answer(1, "/s", {"n": 1}))
    found = Replayed(tmp_path / "r", *rows)
    assert [ids(found.get("", project=each * 32)[1]) for each in "abc"] == [["s"], ["s"], ["x"]]


def test_an_error_stands_until_there_is_another_answer(tmp_path: Path) -> None:
    throttled = {"status": 429, "headers": {"Retry-After": "60"}}
    found = Replayed(
        tmp_path / "r",
        answer(0, "/s/logs", logs(update(0, "RUNNING"))),
        answer(10, "/s/logs", {"error_code": "APIG.0308"}, query=f"update_time={NOW}", **throttled),
        answer(20, "/s/logs", logs(update(0, "FAIL")), query=f"update_time={NOW}"),
    )
    assert results(found.get("/s/logs")[1]) == ["RUNNING"]
    status, body, headers = found.get("/s/logs", at=15)
    assert (status, body, headers) == (429, {"error_code": "APIG.0308"}, {"Retry-After": "60"})
    assert results(found.get("/s/logs", at=20)[1]) == ["FAIL"]


def test_a_400_is_about_its_query_alone(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r",
        answer(0, "", {"error_code": "ModelArts.0101"}, query="workspace_id=0&limit=1000", status=400),
        answer(1, "", listed("s"), query="workspace_id=0&limit=500"),
    )
    assert found.get("", "workspace_id=0&limit=1000", at=9)[0] == 400
    assert ids(found.get("", "workspace_id=0&limit=200", at=9)[1]) == ["s"]


def test_a_body_that_is_not_understood_is_given_as_it_was(tmp_path: Path) -> None:
    odd = [
        {"service_id": "s", "events": "none"},
        {"events": [{}]},
        {"total_count": "many", "events": []},
        [],
        {},
    ]
    rows = [answer(at, "/s/events", body) for at, body in enumerate(odd)]
    found = Replayed(tmp_path / "r", *rows)
    assert [found.get("/s/events", at=at)[1] for at in range(len(odd))] == odd


def test_text_that_was_no_json_is_given_as_it_was(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r", answer(0, "", "<h1>502</h1>", status=502, headers={"Content-Type": "text/html"})
    )
    response = found.replay.handle(Request("GET", f"/v1/{'a' * 32}/services", "", {}))
    assert (response.status, response.body, response.content_type) == (502, b"<h1>502</h1>", "text/html")


def test_a_list_is_whole_once_its_pages_add_up(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r",
        answer(0, "", listed("a", "b", total=2), query="limit=2"),
        answer(10, "", listed("a", "b", total=3), query="limit=2"),
        answer(20, "", listed("c", total=3), query="limit=2&offset=1"),
        answer(30, "", listed("a", "b", total=2), query="limit=2"),
    )
    assert ids(found.get("", "order=asc", at=15)[1]) == ["a", "b"]
    assert ids(found.get("", "order=asc", at=20)[1]) == ["a", "b", "c"]
    assert ids(found.get("", "order=asc&limit=2&offset=1", at=20)[1]) == ["c"]
    assert ids(found.get("", "order=asc", at=30)[1]) == ["a", "b"]
    assert found.get("", "limit=2", at=20)[1]["total_count"] == 3
    assert found.get("", "limit=none")[0] == 400


def test_a_list_that_was_never_whole_is_shown_as_far_as_it_is_known(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r",
        answer(0, "", listed("a", total=3)),
        answer(1, "", listed("b", total=3), query="offset=1"),
    )
    assert ids(found.get("", "order=asc")[1]) == ["a", "b"]


def test_a_malformed_row_stays_in_the_list(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r", answer(0, "", {"total_count": 3, "services": ["<string>", {"service_id": "s"}, {}]})
    )
    body = found.get("")[1]
    assert body == {"total_count": 3, "services": [{"service_id": "s"}, {}, "<string>"]}


def test_workspaces_have_lists_of_their_own(tmp_path: Path) -> None:
    rows = [answer(0, "", listed(each), query=f"workspace_id={each}") for each in ("0", "w")]
    found = Replayed(tmp_path / "r", *rows)
    assert [ids(found.get("", query)[1]) for query in ("", "workspace_id=0", "workspace_id=w")] == [
        ["0"],
        ["0"],
        ["w"],
    ]
    assert found.get("", "workspace_id=x")[0] == 404


def test_the_list_can_be_made_of_details(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r",
        answer(0, "/a", {"service_id": "a", "workspace_id": 0}),
        answer(0, "/b", {"service_id": "b", "workspace_id": "w"}),
        answer(0, "/c", {"error_code": "ModelArts.3502"}, status=404),
        answer(5, "/a", {"error_code": "ModelArts.5000"}, status=500),
        answer(9, "/a", {"error_code": "ModelArts.3502"}, status=404),
    )
    assert [ids(found.get("", at=at)[1]) for at in (0, 6, 9)] == [["a", "b"], ["a", "b"], ["b"]]
    assert ids(found.get("", "workspace_id=x")[1]) == ["a", "b"]


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_one_entry_of_the_update_log_takes_its_place_in_it(order: str, tmp_path: Path) -> None:
    rows = [update(10, "SUCCESS"), update(20, "RUNNING"), update(30, "FAIL")]
    new = update(25, "RUNNING")
    if order == "descending":
        rows.reverse()
    found = Replayed(
        tmp_path / "r",
        answer(0, "/s/logs", logs(*rows)),
        answer(1, "/s/logs", logs(update(20, "FAIL")), query=f"update_time={NOW + 20 * SECOND}"),
        answer(2, "/s/logs", logs(new), query=f"update_time={NOW + 25 * SECOND}"),
        answer(3, "/s/logs", logs(), query=f"update_time={NOW + 10 * SECOND}"),
    )
    times = [
        [(row["update_time"] - NOW) // SECOND for row in found.get("/s/logs", at=at)[1]["logs"]]
        for at in range(4)
    ]
    expected = [[10, 20, 30], [10, 20, 30], [10, 20, 25, 30], [20, 25, 30]]
    assert times == (expected if order == "ascending" else [each[::-1] for each in expected])
    assert sorted(results(found.get("/s/logs", at=1)[1])) == ["FAIL", "FAIL", "SUCCESS"]
    assert results(found.get("/s/logs", f"update_time={NOW + 20 * SECOND}", at=1)[1]) == ["FAIL"]


def test_the_first_entry_of_a_log_may_come_by_itself(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r", answer(0, "/s/logs", logs(update(0, "FAIL")), query=f"update_time={NOW}")
    )
    assert results(found.get("/s/logs")[1]) == ["FAIL"]


def test_a_cloud_that_ignores_the_filter_shows_the_whole_log(tmp_path: Path) -> None:
    whole = logs(update(0, "FAIL"), update(5, "SUCCESS"))
    found = Replayed(tmp_path / "r", answer(0, "/s/logs", whole, query=f"update_time={NOW}"))
    assert results(found.get("/s/logs")[1]) == ["FAIL", "SUCCESS"]


def test_a_null_or_a_missing_array_stays_so_while_it_is_empty(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r",
        answer(0, "/s/events", {"total_count": "0", "count": "0", "events": None}),
        answer(0, "/s/logs", {"service_id": "s"}),
        answer(5, "/s/events", {"total_count": "1", "events": [event(5, "x")]}),
    )
    assert found.get("/s/events")[1] == {"total_count": "0", "count": "0", "events": None}
    assert found.get("/s/logs")[1] == {"service_id": "s"}
    assert found.get("/s/events", at=5)[1] == {"total_count": "1", "events": [event(5, "x")]}


def test_windows_of_events_are_put_together(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r",
        answer(0, "/s/events", events(event(1, "a"), event(2, "b"), event(4, "d"))),
        # From the start on it is whole: `d` is gone, `c` came late; at the start itself `b` stays.
        answer(10, "/s/events", events(event(3, "c"), event(5, "e")), query=f"start_time={NOW + 2 * SECOND}"),
        answer(20, "/s/events", events(event(5, "e"))),  # the older ones were dropped by the cloud
    )
    assert [texts(found.get("/s/events", "order=asc", at=at)[1]) for at in (0, 10, 20)] == [
        ["a", "b", "d"],
        ["a", "b", "c", "e"],
        ["e"],
    ]
    assert texts(found.get("/s/events", at=10)[1]) == ["e", "c", "b", "a"]
    window = f"order=asc&start_time={NOW + 2 * SECOND}&end_time={NOW + 3 * SECOND}"
    assert texts(found.get("/s/events", window, at=10)[1]) == ["b", "c"]
    assert texts(found.get("/s/events", "order=asc&limit=2&offset=1", at=10)[1]) == ["c", "e"]


def test_equal_events_are_counted_by_their_largest_number(tmp_path: Path) -> None:
    same = event(3, "again")
    found = Replayed(
        tmp_path / "r",
        answer(0, "/s/events", events(same, same)),
        answer(1, "/s/events", events(same), query=f"start_time={NOW + 3 * SECOND}"),
    )
    assert texts(found.get("/s/events", at=1)[1]) == ["again", "again"]


def test_pages_of_one_millisecond_add_up(tmp_path: Path) -> None:
    rows = [event(3, text) for text in "aba"]
    query = f"start_time={NOW + 3 * SECOND}&limit=2"
    found = Replayed(
        tmp_path / "r",
        answer(0, "/s/events", events(rows[0], rows[1], total=3), query=query),
        answer(1, "/s/events", events(rows[2], total=3), query=f"{query}&offset=1"),
        answer(2, "/s/events", events(total=3), query=f"{query}&offset=2"),
    )
    assert texts(found.get("/s/events", "order=asc", at=9)[1]) == ["a", "a", "b"]


def test_a_page_out_of_order_takes_nothing_away(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r",
        answer(0, "/s/events", events(event(1, "a"), event(2, "b"), event(3, "c"))),
        answer(1, "/s/events", events(event(3, "c"), event(1, "a"), total=9), query="limit=2"),
        answer(2, "/s/events", events(event(4, "d")), query=f"start_time={NOW + 3 * SECOND}"),
    )
    assert texts(found.get("/s/events", "order=asc", at=2)[1]) == ["a", "b", "c", "d"]


def test_a_query_that_a_replay_cannot_follow_is_answered_only_as_recorded(tmp_path: Path) -> None:
    found = Replayed(
        tmp_path / "r",
        answer(0, "/s/events", events(event(1, "a"), event(2, "b"))),
        answer(0, "/s/events", events(event(1, "a")), query="event_type=abnormal"),
    )
    assert texts(found.get("/s/events", at=1)[1]) == ["b", "a"]


# -- the door


@contextmanager
def served(replay: Replay) -> Iterator[str]:
    with HandlerServer(replay.handle, replay.now, ("127.0.0.1", 0)) as server:
        yield server.url


@pytest.mark.parametrize("body", [b"", b"[]", b'{"auth": {"scope": {"project": {"id": "mine"}}}}'])
def test_anyone_may_sign_in(body: bytes, tmp_path: Path) -> None:
    found = Replayed(tmp_path / "r", answer(0, "", listed("s")))
    with served(found.replay) as url:
        response = requests.post(f"{url}/v3/auth/tokens", data=body, timeout=30)
        assert response.status_code == 201
        assert response.headers["X-Subject-Token"]
        project = response.json()["token"]["project"]["id"]
        assert project == ("mine" if b"mine" in body else "a" * 32)
        assert requests.get(f"{url}/v3", timeout=30).json()["version"]["id"] == "v3.6"


def test_a_response_has_one_date(tmp_path: Path) -> None:
    dated = answer(0, "/s", {}, headers={"Date": "Tue, 14 Nov 2023 22:14:20 GMT"})
    found = Replayed(tmp_path / "r", dated)
    with served(found.replay) as url:
        headers = requests.get(f"{url}/v1/{'a' * 32}/services/s", timeout=30).raw.headers
        assert headers.getlist("Date") == ["Tue, 14 Nov 2023 22:14:20 GMT"]


# -- the file

GOOD = json.dumps(answer(0, "", listed("s")))


@pytest.mark.parametrize("end", [GOOD[:40], "[]", '{"at_ms": 1}', "\x00"])
def test_a_broken_last_line_is_left_out_with_a_warning(end: str, tmp_path: Path) -> None:
    file = tmp_path / "r"
    file.write_text(f"{GOOD}\n\n{end}")
    found = read_recording(file)
    assert len(found.answers) == 1
    assert found.warning.startswith(f"{file}:3: ")
    assert found.warning.endswith("; this last line is left out")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('"text"', "is not a JSON object"),
        ({"at_ms": "1"}, "at_ms is missing or is not a whole number of ms since the epoch"),
        ({"at_ms": True}, "at_ms is missing or is not a whole number of ms since the epoch"),
        ({"at_ms": 10**13}, "at_ms has more than 13 digits or is below 0"),
        ({"at_ms": -1}, "at_ms has more than 13 digits or is below 0"),
        ({"method": None}, "method is missing or is not a text"),
        ({"path": "v1"}, "path does not begin with /"),
        ({"query": {"limit": 5}}, "query is missing or is not an object of texts"),
        ({"status": 99}, "status is not between 200 and 599"),
        ({"status": 200.0}, "status is missing or is not a whole number"),
        ({"headers": []}, "headers is missing or is not an object of texts"),
        (
            {"headers": {"Date": "a\r\nSet-Cookie: b"}},
            "headers hold a name or a value that no header can have",
        ),
        ({"headers": {"a b": ""}}, "headers hold a name or a value that no header can have"),
        ({"body": float("nan")}, "is not JSON"),
    ],
)
def test_anything_else_broken_is_told_with_its_line(change: Any, reason: str, tmp_path: Path) -> None:
    line = change if isinstance(change, str) else json.dumps({**json.loads(GOOD), **change})
    file = tmp_path / "r"
    file.write_text(f"{GOOD}\n{line}\n{GOOD}\n")
    with pytest.raises(RecordingError) as raised:
        read_recording(file)
    assert str(raised.value) == f"{file}:2: {reason}"


def test_a_body_must_be_there_even_if_it_is_null(tmp_path: Path) -> None:
    row = json.loads(GOOD)
    del row["body"]
    file = tmp_path / "r"
    file.write_text(f"{json.dumps(row)}\n{GOOD}\n")
    with pytest.raises(RecordingError, match=":1: body is missing"):
        read_recording(file)


@pytest.mark.parametrize("content", ["", "\n\n", GOOD[:30]])
def test_a_file_without_an_answer_is_told(content: str, tmp_path: Path) -> None:
    file = tmp_path / "r"
    file.write_text(content)
    with pytest.raises(RecordingError, match=":1: holds no recorded answer"):
        read_recording(file)


def test_recordings_may_be_put_together_in_any_order(tmp_path: Path) -> None:
    found = Replayed(tmp_path / "r", answer(9, "/s", {"n": 2}), answer(0, "/s", {"n": 1}))
    assert [found.get("/s", at=at)[1]["n"] for at in (0, 9)] == [1, 2]
