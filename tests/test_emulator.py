"""The emulated ModelArts over HTTP: lists, logs, events, and every unknown turned both ways."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from exporter.emulator import DEFAULT_PROJECT, Cloud, Server, model
from exporter.emulator.scenario import load_scenario
from exporter.emulator.scenario_player import play
from exporter.emulator.scenario_server import scenario_server

NOW = 1_800_000_000_000
MINUTE = 60_000
DATA = Path(__file__).parent / "data"


class Clock:
    """Time that a test turns by hand, in ms."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Client:
    """Signed in; `get("/services")` is a call on the default project."""

    def __init__(self, cloud: Cloud, server: Server) -> None:
        self.session = requests.Session()
        user = next(iter(cloud.identities.users))
        token = cloud.identities.issue(user, DEFAULT_PROJECT, NOW, 365 * 86_400_000)
        self.session.headers["X-Auth-Token"] = token.value
        self.base = f"{server.url}/v1/{DEFAULT_PROJECT}"

    def ask(self, path: str, **query: Any) -> requests.Response:
        return self.session.get(self.base + path, params=query, timeout=10)

    def get(self, path: str, **query: Any) -> Any:
        answer = self.ask(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="cloud")
def _cloud(clock: Clock) -> Cloud:
    return Cloud(clock)


@pytest.fixture(name="client")
def _client(cloud: Cloud) -> Iterator[Client]:
    with Server(cloud) as server:
        client = Client(cloud, server)
        yield client
        client.session.close()


def _names(body: Any) -> list[str]:
    return [row["service_name"] for row in body["services"]]


def _times(body: Any) -> list[int]:
    return [row["occur_time"] for row in body["events"]]


# List


def test_the_list_shows_only_the_default_workspace_unless_another_is_asked_for(
    cloud: Cloud, client: Client
) -> None:
    cloud.add_service(name="here")
    cloud.add_service(name="there", workspace_id="team-b")

    assert _names(client.get("/services")) == ["here"]
    assert _names(client.get("/services", workspace_id="team-b")) == ["there"]


def test_the_list_filters_sorts_and_counts(cloud: Cloud, client: Client) -> None:
    cloud.add_service(name="b-edge", infer_type="edge", status="failed", publish_at=NOW + 2)
    cloud.add_service(name="a-real", publish_at=NOW + 1)
    wanted = cloud.add_service(name="c-real", status="stopped", publish_at=NOW + 3)

    assert _names(client.get("/services")) == ["c-real", "b-edge", "a-real"]
    assert _names(client.get("/services", sort_by="service_name", order="asc"))[0] == "a-real"
    assert _names(client.get("/services", infer_type="real-time")) == ["c-real", "a-real"]
    assert _names(client.get("/services", status="failed")) == ["b-edge"]
    assert _names(client.get("/services", service_name="real")) == ["c-real", "a-real"]
    assert _names(client.get("/services", service_id=wanted)) == ["c-real"]
    page = client.get("/services", limit=2)
    assert (page["count"], page["total_count"]) == (2, 3)


@pytest.mark.parametrize(("mode", "expected"), [("page", ["s2", "s3"]), ("item", ["s1", "s2"])])
def test_offset_counts_pages_or_items(cloud: Cloud, client: Client, mode: Any, expected: list[str]) -> None:
    cloud.switches = replace(cloud.switches, offset_mode=mode)
    for place in range(5):
        cloud.add_service(name=f"s{place}")

    body = client.get("/services", sort_by="service_name", order="asc", limit=2, offset=1)

    assert _names(body) == expected


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"offset": "-1"}, {"order": "up"}])
def test_a_senseless_query_is_refused(client: Client, query: dict[str, str]) -> None:
    answer = client.ask("/services", **query)

    assert (answer.status_code, answer.json()["error_code"]) == (400, "ModelArts.0101")


def test_a_largest_limit_refuses_or_gives_less(cloud: Cloud, client: Client) -> None:
    service = cloud.add_service()
    for place in range(5):
        cloud.add_event(service, "normal", "x", at=NOW - place)

    cloud.switches = replace(cloud.switches, max_limit=3)
    assert client.ask(f"/services/{service}/events", limit=4).json()["error_code"] == "ModelArts.0101"
    cloud.switches = replace(cloud.switches, over_limit="clamp")
    body = client.get(f"/services/{service}/events", limit=4)
    assert (body["count"], body["total_count"]) == (3, 5)


# Update log


def test_an_update_runs_and_settles_in_place(cloud: Cloud, client: Client, clock: Clock) -> None:
    service = cloud.add_service(name="mnist")
    begun = cloud.begin_update(service, [model("mnist", "0.0.2", weight=70)])

    (row,) = client.get(f"/services/{service}/logs")["logs"]
    assert (row["update_time"], row["result"], row["config"][0]["weight"]) == (NOW, "RUNNING", 70)
    assert client.get("/services")["services"][0]["status"] == "deploying"

    clock.now += MINUTE
    cloud.settle(service, begun, "FAIL")

    (row,) = client.get(f"/services/{service}/logs")["logs"]
    assert (row["update_time"], row["result"]) == (NOW, "FAIL")
    listed = client.get("/services")["services"][0]
    assert (listed["status"], listed["transition_at"]) == ("failed", NOW + MINUTE)
    assert client.get(f"/services/{service}")["error_msg"]


def test_the_detail_of_a_failed_service_has_the_last_abnormal_event(cloud: Cloud, client: Client) -> None:
    service = cloud.add_service()
    cloud.add_event(service, "abnormal", "of an earlier update", at=NOW - 1)
    begun = cloud.begin_update(service)
    cloud.add_event(service, "abnormal", "failed to pull image, retry later")
    cloud.add_event(service, "normal", "something else")
    cloud.settle(service, begun, "FAIL")

    assert client.get(f"/services/{service}")["error_msg"] == "failed to pull image, retry later"
    cloud.settle(service, cloud.begin_update(service, at=NOW + 1), "FAIL")
    assert client.get(f"/services/{service}")["error_msg"] == "Failed to deploy the service."


def test_a_result_may_be_appended_beside_the_running_row(cloud: Cloud, client: Client) -> None:
    cloud.switches = replace(cloud.switches, running="appended")
    service = cloud.add_service()
    cloud.settle(service, cloud.begin_update(service), "SUCCESS")

    rows = client.get(f"/services/{service}/logs")["logs"]

    assert [(row["update_time"], row["result"]) for row in rows] == [(NOW, "RUNNING"), (NOW, "SUCCESS")]
    assert cloud.truth(service).updates == Counter({(NOW, "SUCCESS"): 1})


def test_update_time_picks_one_task_and_the_order_of_the_log_can_be_turned(
    cloud: Cloud, client: Client
) -> None:
    service = cloud.add_service()
    for at in (NOW - 2, NOW - 1):
        cloud.add_update(service, "SUCCESS", at=at)

    def times(**query: Any) -> list[int]:
        return [row["update_time"] for row in client.get(f"/services/{service}/logs", **query)["logs"]]

    assert times() == [NOW - 1, NOW - 2]
    assert times(update_time=NOW - 2) == [NOW - 2]
    assert times(update_time=NOW - 3) == []
    cloud.switches = replace(cloud.switches, logs_order="asc")
    assert times() == [NOW - 2, NOW - 1]


def test_an_edge_update_has_the_results_of_its_nodes(cloud: Cloud, client: Client) -> None:
    service = cloud.add_service(infer_type="edge")
    nodes = [
        {"node_id": "1", "node_name": "a", "operation": "deploy", "result": True},
        {"node_id": "2", "node_name": "b", "operation": "delete", "result": False},
    ]
    cloud.settle(service, cloud.begin_update(service), "FAIL", nodes)

    (row,) = client.get(f"/services/{service}/logs")["logs"]

    assert (row["success_num"], row["failed_num"], row["result_detail"]) == (1, 1, nodes)


def test_a_batch_service_has_an_empty_update_log_or_none(cloud: Cloud, client: Client) -> None:
    service = cloud.add_service(infer_type="batch", status="finished")

    assert client.get(f"/services/{service}/logs")["logs"] == []
    cloud.switches = replace(cloud.switches, batch_logs="error")
    assert client.ask(f"/services/{service}/logs").status_code == 400


def test_a_put_of_a_config_begins_an_update_and_a_status_wins_over_it(cloud: Cloud, client: Client) -> None:
    service = cloud.add_service(models=[model("mnist", "1", weight=100)])
    config = [{**model("mnist", "1"), "weight": "50"}]
    url = f"{client.base}/services/{service}"

    assert client.session.put(url, json={"config": config}, timeout=10).json() == {}
    (row,) = client.get(f"/services/{service}/logs")["logs"]
    assert (row["result"], row["config"][0]["weight"]) == ("RUNNING", "50")

    client.session.put(url, json={"status": "stopped", "config": config}, timeout=10)
    assert client.get(f"/services/{service}")["status"] == "stopped"
    assert len(client.get(f"/services/{service}/logs")["logs"]) == 1
    assert client.session.put(url, data=b"[]", timeout=10).status_code == 400


# Event log


def test_events_come_newest_first_unless_asked_otherwise(cloud: Cloud, client: Client) -> None:
    service = cloud.add_service()
    for at in (NOW - 1, NOW - 3, NOW - 2):
        cloud.add_event(service, "normal", "x", at=at)

    assert _times(client.get(f"/services/{service}/events")) == [NOW - 1, NOW - 2, NOW - 3]
    assert _times(client.get(f"/services/{service}/events", order="asc")) == [NOW - 3, NOW - 2, NOW - 1]


def test_events_can_be_filtered_by_type_and_text(cloud: Cloud, client: Client) -> None:
    service = cloud.add_service()
    cloud.add_event(service, "normal", "start to deploy service", at=NOW - 2)
    cloud.add_event(service, "abnormal", "failed to pull image, retry later", at=NOW - 1)

    assert _times(client.get(f"/services/{service}/events", event_type="abnormal")) == [NOW - 1]
    assert _times(client.get(f"/services/{service}/events", event_info="deploy")) == [NOW - 2]
    assert client.ask(f"/services/{service}/events", event_info="a;b").status_code == 400


@pytest.mark.parametrize("start", ["inclusive", "exclusive"])
@pytest.mark.parametrize("end", ["inclusive", "exclusive"])
def test_the_bounds_of_a_window_belong_to_it_or_not(
    cloud: Cloud, client: Client, start: Any, end: Any
) -> None:
    cloud.switches = replace(cloud.switches, start_time=start, end_time=end)
    service = cloud.add_service()
    for at in range(NOW - 4, NOW + 1):
        cloud.add_event(service, "normal", "x", at=at)

    body = client.get(f"/services/{service}/events", start_time=NOW - 3, end_time=NOW - 1, order="asc")

    first = NOW - 3 if start == "inclusive" else NOW - 2
    last = NOW - 1 if end == "inclusive" else NOW - 2
    assert _times(body) == list(range(first, last + 1))
    assert body["total_count"] == body["count"] == last - first + 1


def test_a_late_event_shows_only_later(cloud: Cloud, client: Client, clock: Clock) -> None:
    service = cloud.add_service()
    cloud.add_event(service, "normal", "late", at=NOW - MINUTE, visible_at=NOW + MINUTE)

    assert _times(client.get(f"/services/{service}/events")) == []
    assert not cloud.truth(service).events
    clock.now += MINUTE
    assert _times(client.get(f"/services/{service}/events")) == [NOW - MINUTE]
    assert cloud.truth(service).events == Counter({(NOW - MINUTE, "normal", "late"): 1})


def test_old_entries_vanish_but_stay_true(cloud: Cloud, client: Client, clock: Clock) -> None:
    cloud.switches = replace(cloud.switches, retention=MINUTE)
    service = cloud.add_service()
    cloud.add_event(service, "abnormal", "x")
    cloud.settle(service, cloud.begin_update(service), "FAIL")
    running = cloud.begin_update(service, at=NOW + 1)

    clock.now += MINUTE + 1

    assert _times(client.get(f"/services/{service}/events")) == []
    (row,) = client.get(f"/services/{service}/logs")["logs"]
    assert (row["update_time"], row["result"]) == (running, "RUNNING")
    assert cloud.truth(service).updates == Counter({(NOW, "FAIL"): 1})
    cloud.forget()
    assert cloud.truth(service).events == Counter()
    assert cloud.truth_totals() == {("update", "FAIL"): 1, ("event", "abnormal"): 1}


def test_forgetting_keeps_what_is_still_to_be_shown_and_the_totals_of_the_dead(
    cloud: Cloud, clock: Clock
) -> None:
    cloud.switches = replace(cloud.switches, retention=MINUTE)
    service, deleted = cloud.add_service(), cloud.add_service()
    cloud.add_event(deleted, "normal", "x")
    cloud.add_update(deleted, "SUCCESS")
    cloud.delete_service(deleted)
    cloud.add_update(service, "FAIL", visible_at=NOW + 3 * MINUTE)

    clock.now += 2 * MINUTE
    cloud.forget()

    assert not cloud.truth(deleted).events
    assert not cloud.truth(deleted).updates
    assert cloud.truth(deleted).types == Counter({"normal": 1})
    clock.now += MINUTE
    assert cloud.truth(service).results == Counter({"FAIL": 1})


# Drift


def test_numbers_may_all_be_strings(cloud: Cloud, client: Client) -> None:
    cloud.switches = replace(cloud.switches, numbers_as_strings=True)
    cloud.add_service()

    body = client.get("/services")

    assert body["total_count"] == "1"
    assert body["services"][0]["publish_at"] == str(NOW)
    assert body["services"][0]["is_free"] is False


@pytest.mark.parametrize(
    ("arrays", "expected"), [("empty", {"logs": []}), ("null", {"logs": None}), ("absent", {})]
)
def test_an_empty_array_is_empty_null_or_absent(
    cloud: Cloud, client: Client, arrays: Any, expected: dict[str, Any]
) -> None:
    cloud.switches = replace(cloud.switches, arrays=arrays)
    service = cloud.add_service(name="s")

    body = client.get(f"/services/{service}/logs")

    assert body == {"service_id": service, "service_name": "s", **expected}


def test_rows_that_make_no_sense_can_be_put_in(cloud: Cloud, client: Client) -> None:
    cloud.add_service(name="good")
    cloud.switches = replace(cloud.switches, junk={"list": (None, {"service_name": "no id"})})

    body = client.get("/services")

    assert body["services"][1:] == [None, {"service_name": "no id"}]
    assert body["total_count"] == 3


def test_any_text_survives_the_wire_even_half_a_surrogate_pair(cloud: Cloud, client: Client) -> None:
    name = 'a"b\n<b>\ud800 订单'
    cloud.add_service(name=name)

    assert _names(client.get("/services")) == [name]


# Life and truth


def test_a_deleted_service_is_gone_and_its_truth_goes_on_when_it_comes_back(
    cloud: Cloud, client: Client
) -> None:
    service = cloud.add_service()
    cloud.add_event(service, "normal", "x")
    cloud.delete_service(service)

    answer = client.ask(f"/services/{service}/logs")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "ModelArts.3502")
    assert client.get("/services")["services"] == []

    cloud.add_service(service_id=service)
    cloud.add_event(service, "normal", "x")
    assert cloud.truth(service).events == Counter({(NOW, "normal", "x"): 2})
    assert client.get(f"/services/{service}/events")["count"] == 1


def test_an_unknown_path_is_an_error_of_the_gateway(cloud: Cloud, client: Client) -> None:
    assert client.ask("/models").json()["error_code"] == "APIG.0101"
    cloud.switches = replace(cloud.switches, error_prefix="APIGW")
    assert client.ask("/models").json()["error_code"] == "APIGW.0101"


def test_every_response_has_the_time_of_the_cloud_and_a_request_id(client: Client, clock: Clock) -> None:
    clock.now = 1_600_000_000_000
    first, second = client.ask("/services"), client.ask("/services")

    assert first.headers["Date"] == "Sun, 13 Sep 2020 12:26:40 GMT"
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


def test_the_cloud_remembers_who_asked_what(cloud: Cloud, client: Client) -> None:
    service = cloud.add_service()
    client.get(f"/services/{service}/logs", update_time=1)
    client.ask("/services/none/events")

    assert list(cloud.requests) == [
        ("logs", service, {"update_time": "1"}, NOW, 200),
        ("events", "none", {}, NOW, 404),
    ]


def test_the_monitor_counts_calls_of_a_running_service(cloud: Cloud, client: Client) -> None:
    service = cloud.add_service(invocation_times=7, failed_times=2)

    (row,) = client.get(f"/services/{service}/monitor")["monitors"]

    assert (row["invocation_times"], row["failed_times"]) == (7, 2)
    cloud.set_status(service, "stopped")
    assert client.get(f"/services/{service}/monitor")["monitors"] == []


def test_sample_bodies_are_served_to_the_byte(cloud: Cloud, client: Client) -> None:
    play(cloud, load_scenario(str(DATA / "samples.yml")))
    mnist = "195c1f2d-136d-40af-a0f3-db5717d2634a"
    samples = DATA / "samples"

    listed = client.ask("/services", workspace_id="1").content
    assert listed == (samples / "services_list_running_one.json").read_bytes()
    assert client.ask(f"/services/{mnist}/logs").content == (samples / "logs_success.json").read_bytes()
    demo = "8da30673-908d-45a7-90a4-65f98e69fc34"
    events = json.loads((samples / "events_real_time_docs2025.json").read_bytes())
    assert client.get(f"/services/{demo}/events") == events
    assert client.get(f"/services/{mnist}/events")["events"] == []
    assert len(client.get("/services", workspace_id="3")["services"]) == 2


def test_it_runs_alone_on_the_machines_clock() -> None:
    with scenario_server(scenario="deploy") as server:
        client = Client(server.cloud, server)
        user = next(iter(server.cloud.identities.users))
        token = server.cloud.identities.issue(user, DEFAULT_PROJECT, server.cloud.clock(), MINUTE)
        client.session.headers["X-Auth-Token"] = token.value
        (row,) = client.get("/services")["services"]
        client.session.close()

    assert (row["service_name"], row["status"]) == ("deploy", "deploying")


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:", "127.0.0.1:70000"])
def test_it_says_when_an_address_is_none(listen: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        scenario_server(listen)
