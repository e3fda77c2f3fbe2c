"""Scripted faults: each is what a client of the real cloud may meet, and none outlives its count."""

import json
from collections.abc import Iterator

import pytest
import requests

from exporter.emulator import DEFAULT_PROJECT, Cloud, Fault, Server, faults
from exporter.emulator.http_messages import ErrorShape, Response

NOW = 1_800_000_000_000


class EmulatorClient:
    """A signed-in client of one service with two events."""

    def __init__(self, cloud: Cloud, url: str) -> None:
        self.cloud = cloud
        self.service = cloud.add_service()
        for at in (NOW - 2, NOW - 1):
            cloud.add_event(self.service, "normal", "x", at=at)
        user = next(iter(cloud.identities.users))
        token = cloud.identities.issue(user, DEFAULT_PROJECT, NOW, 1000)
        self.headers = {"X-Auth-Token": token.value}
        self.base = f"{url}/v1/{DEFAULT_PROJECT}/services"

    def list(self) -> requests.Response:
        return requests.get(self.base, headers=self.headers, timeout=10)

    def events(self, timeout: float = 10) -> requests.Response:
        url = f"{self.base}/{self.service}/events"
        return requests.get(url, headers=self.headers, timeout=timeout)


@pytest.fixture(name="client")
def _client() -> Iterator[EmulatorClient]:
    cloud = Cloud(lambda: NOW)
    with Server(cloud) as server:
        yield EmulatorClient(cloud, server.url)


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("modelarts", {"error_code": "C", "error_msg": "m"}),
        ("gateway", {"error_msg": "m", "error_code": "C", "request_id": "914a39d68c290da3e187f827f7e1b771"}),
        ("iam", {"error": {"message": "m", "code": 500, "title": "C"}}),
        ("otc", {"error": {"code": "C", "message": "m", "ext_message": None}}),
        ("camel", {"errorCode": "C", "errorMsg": "m"}),
        ("plain", {"code": "C", "message": "m"}),
        ("nested", {"error": {"error_code": "C", "error_msg": "m"}}),
    ],
)
def test_an_error_comes_in_every_shape(client: EmulatorClient, shape: ErrorShape, body: object) -> None:
    client.cloud.faults.add(faults.error(500, "C", "m", shape))

    answer = client.list()

    assert (answer.status_code, answer.json()) == (500, body)
    assert client.list().status_code == 200


def test_a_fault_meets_only_its_endpoint_and_service_and_only_so_often(client: EmulatorClient) -> None:
    client.cloud.faults.add(
        faults.error(503, "APIG.0202", "m", endpoint="events", service_id="another"),
        faults.error(502, "APIG.0202", "m", endpoint="events", times=2, skip=1),
    )

    assert client.list().status_code == 200
    assert [client.events().status_code for _ in range(4)] == [200, 502, 502, 200]
    assert len(client.cloud.faults) == 1
    client.cloud.faults.clear()
    assert len(client.cloud.faults) == 0


def test_a_fault_without_a_count_stays_until_cleared(client: EmulatorClient) -> None:
    client.cloud.faults.add(faults.html(times=None))

    for _ in range(3):
        answer = client.list()
        assert (answer.status_code, answer.headers["Content-Type"]) == (502, "text/html")
    client.cloud.faults.clear()
    assert client.list().status_code == 200


def test_a_body_may_be_anything(client: EmulatorClient) -> None:
    client.cloud.faults.add(faults.body(b""), faults.body(b"Header Overflow", 494, "text/plain"))

    assert client.list().content == b""
    assert (client.list().status_code) == 494


def test_the_connection_may_just_close(client: EmulatorClient) -> None:
    client.cloud.faults.add(faults.no_answer())

    with pytest.raises(requests.ConnectionError):
        client.list()
    assert client.cloud.requests[-1].status == 0
    assert client.list().status_code == 200


def test_a_body_may_be_cut_off_on_the_wire(client: EmulatorClient) -> None:
    client.cloud.faults.add(faults.cut_off())

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.list()


def test_json_may_be_truncated(client: EmulatorClient) -> None:
    client.cloud.faults.add(faults.truncated())

    with pytest.raises(requests.JSONDecodeError):
        client.list().json()


def test_an_answer_may_come_too_late_without_delaying_anyone_else(client: EmulatorClient) -> None:
    client.cloud.faults.add(faults.slow(60, endpoint="events"))

    with pytest.raises(requests.ReadTimeout):
        client.events(timeout=0.1)
    assert client.list().status_code == 200


def test_a_page_may_be_torn(client: EmulatorClient) -> None:
    client.cloud.faults.add(faults.torn("total"), faults.torn("duplicate"), faults.torn("missing"))

    total, duplicate, missing, whole = (client.events().json() for _ in range(4))

    assert (total["total_count"], len(total["events"])) == (3, 2)
    assert duplicate["events"][1] == duplicate["events"][2]
    assert (missing["total_count"], len(missing["events"])) == (2, 1)
    assert (whole["total_count"], len(whole["events"])) == (2, 2)


def test_the_true_answer_can_be_edited(client: EmulatorClient) -> None:
    def edit(body: dict[str, object]) -> None:
        body["surprise"] = {"new": [1]}

    client.cloud.faults.add(faults.edited(edit, endpoint="list"))

    assert json.loads(client.list().content)["surprise"] == {"new": [1]}


def test_a_fault_of_ones_own_sees_the_true_answer(client: EmulatorClient) -> None:
    seen: list[bytes] = []

    def change(answer: Response) -> Response:
        seen.append(answer.body)
        return answer

    client.cloud.faults.add(Fault(change))

    assert client.list().content == seen[0]


def test_a_stopped_server_gives_up_what_it_still_holds() -> None:
    cloud = Cloud(lambda: NOW)
    server = Server(cloud).start()
    client = EmulatorClient(cloud, server.url)
    with requests.Session() as session:
        session.headers.update(client.headers)
        assert session.get(client.base, timeout=10).status_code == 200
        server.stop()
        with pytest.raises(requests.ConnectionError):
            session.get(client.base, timeout=10)
