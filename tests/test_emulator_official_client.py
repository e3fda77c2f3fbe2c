"""The emulator works with the official client of Open Telekom Cloud, which knows nothing of this project."""

from collections.abc import Iterator
from typing import Any

import openstack
import otcextensions.sdk
import pytest

from exporter.emulator import (
    DEFAULT_DOMAIN,
    DEFAULT_PASSWORD,
    DEFAULT_PROJECT_NAME,
    DEFAULT_USER,
    Cloud,
    Server,
    model,
)

# The client warns of its own future at every call; that is no business of the emulator.
pytestmark = [
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK50Warning"),
    pytest.mark.filterwarnings("ignore::openstack.warnings.RemovedInSDK60Warning"),
]

NOW = 1_800_000_000_000


@pytest.fixture(name="cloud")
def _cloud() -> Cloud:
    return Cloud(lambda: NOW)


@pytest.fixture(name="client")
def _client(cloud: Cloud) -> Iterator[Any]:
    with Server(cloud) as server:
        connection = openstack.connection.Connection(
            auth={
                "auth_url": f"{server.url}/v3",
                "username": DEFAULT_USER,
                "password": DEFAULT_PASSWORD,
                "user_domain_name": DEFAULT_DOMAIN,
                "project_name": DEFAULT_PROJECT_NAME,
            },
            region_name="*",
        )
        otcextensions.sdk.register_otc_extensions(connection)
        # Registered while it runs, so no type knows of it.
        yield getattr(connection, "modelartsv1")  # noqa: B009
        connection.close()


def test_the_official_client_signs_in_and_lists_services(cloud: Cloud, client: Any) -> None:
    first = cloud.add_service(name="mnist", status="running")
    second = cloud.add_service(name="camera", infer_type="edge", status="failed")

    services = {service.service_id: service for service in client.services()}

    assert set(services) == {first, second}
    assert services[first].service_name == "mnist"
    assert services[second].status == "failed"
    assert services[second].infer_type == "edge"
    assert services[second].transition_at == NOW


def test_the_official_client_reads_a_service_and_its_update_log(cloud: Cloud, client: Any) -> None:
    service_id = cloud.add_service(name="mnist")
    begun = cloud.begin_update(service_id, [model("mnist", "0.0.2", weight=70)], at=NOW - 60_000)
    cloud.settle(
        service_id,
        begun,
        "FAIL",
        [{"node_id": "n1", "node_name": "edge-1", "operation": "deploy", "result": False}],
    )

    (log,) = client.service_logs(service_id)

    assert (log.update_time, log.result, log.failed_num) == (NOW - 60_000, "FAIL", 1)
    assert log.config[0].model_version == "0.0.2"
    assert log.config[0].weight == 70
    assert log.result_detail[0].node_name == "edge-1"
    assert list(client.service_logs(service_id, update_time=NOW)) == []


def test_the_official_client_reads_events_in_the_order_it_asks_for(cloud: Cloud, client: Any) -> None:
    service_id = cloud.add_service()
    cloud.add_event(service_id, "normal", "start to deploy service", at=NOW - 2)
    cloud.add_event(service_id, "abnormal", "failed to pull image, retry later", at=NOW - 1)

    ascending = [event.event_info for event in client.service_events(service_id, order="asc")]
    abnormal = [event.occur_time for event in client.service_events(service_id, event_type="abnormal")]

    assert ascending == ["start to deploy service", "failed to pull image, retry later"]
    assert abnormal == [NOW - 1]
