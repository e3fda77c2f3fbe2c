"""The whole exposition of each sample body, compared with a file: every line of it was looked at.

`UPDATE_GOLDEN=1 pytest tests/test_golden.py` writes the files again; check each line that changed.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter.emulator import Switches, load_scenario, play
from tests.over_http import SECOND, World, world

SAMPLES = Path(__file__).parent / "data" / "samples"
GOLDEN = Path(__file__).parent / "golden"

# Later than every entry of the samples, the last of which is at 22:24:20 of 14 November 2023.
LATER = 1000 * SECOND


def stopped_two(cloud: World) -> None:
    """Two services that were stopped by their schedule, without logs."""
    sample(cloud, "list", "services_list_stopped_two")
    for service_id in ("8da30673-908d-45a7-90a4-65f98e69fc34", "912f1a4a-5962-455c-b11c-5fdf06045cb3"):
        cloud.cloud.add_service(service_id=service_id)
    cloud.forward(LATER)


def running_one(cloud: World) -> None:
    """A row with few fields, and an update that succeeded."""
    service_id = cloud.cloud.add_service(service_id="195c1f2d-136d-40af-a0f3-db5717d2634a")
    sample(cloud, "list", "services_list_running_one")
    sample(cloud, "logs", "logs_success", service_id)
    cloud.forward(LATER)


def events_of_2019(cloud: World) -> None:
    """A deployment's events, up to the start of its model."""
    service_id = cloud.cloud.add_service(
        service_id="35de3ca9-1bca-4ae7-9cb0-914f30fa7d3e", name="zcjtest-07085"
    )
    sample(cloud, "events", "events_real_time_2019", service_id)
    cloud.forward(LATER)


def running_log(cloud: World) -> None:
    """An update that is open."""
    service_id = cloud.cloud.add_service(
        service_id="e2122bbd-f7c8-4bf8-bacc-59616276194b", name="service-demo", status="deploying"
    )
    sample(cloud, "logs", "logs_running", service_id)
    cloud.forward(LATER)


def failed_update(cloud: World) -> None:
    """A success, then a failure; and the events of another one that was rolled back, years later."""
    service_id = cloud.cloud.add_service(
        service_id="e2122bbd-f7c8-4bf8-bacc-59616276194b", name="service-demo", status="failed"
    )
    sample(cloud, "logs", "synthetic_logs_running_then_fail", service_id)
    sample(cloud, "events", "synthetic_events_update_failed", service_id)
    cloud.forward(LATER)


def batch_and_edge(cloud: World) -> None:
    """A batch service, of which the API has no update log, and an edge one with a node that failed."""
    cloud.cloud.switches = Switches(batch_logs="error")
    cloud.cloud.add_service(service_id="598b913a-af3e-41ba-a1b5-bf065320f1e3", infer_type="batch")
    edge = cloud.cloud.add_service(service_id="b2f3a6a0-3d0d-4f0e-9d7d-0f2b6d9f1a11", infer_type="edge")
    sample(cloud, "list", "synthetic_services_list_batch_edge")
    sample(cloud, "logs", "synthetic_logs_edge_partial_fail", edge)
    cloud.forward(LATER)


def rollback_watched(cloud: World) -> None:
    """No sample but a whole episode, watched from its beginning and scraped all the time."""
    cloud.cloud.add_service(name="bystander")
    cloud.forward(0)
    play(cloud.cloud, load_scenario("rollback"))
    for _ in range(200):
        cloud.forward(3 * SECOND)
        cloud.scrape()


def sample(cloud: World, endpoint: str, name: str, service_id: str | None = None) -> None:
    """Let the cloud answer with a sample body as it is."""
    content = (SAMPLES / f"{name}.json").read_bytes()
    cloud.cloud.serve_sample(endpoint, content, service_id=service_id)


CASES: tuple[Callable[[World], None], ...] = (
    stopped_two,
    running_one,
    events_of_2019,
    running_log,
    failed_update,
    batch_and_edge,
    rollback_watched,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.__name__))
def test_the_exposition_is_the_golden_file(case: Callable[[World], None]) -> None:
    with world() as cloud:
        case(cloud)
        page = cloud.publisher.snapshot.page
    for openmetrics, suffix in ((False, "prom"), (True, "openmetrics")):
        found = b"".join(page.body(openmetrics=openmetrics, gzip=False, tail=b"")).decode()
        file = GOLDEN / f"{case.__name__}.{suffix}"
        if os.environ.get("UPDATE_GOLDEN") == "1":
            file.write_text(found)
        assert found.splitlines() == file.read_text().splitlines()
        assert found == file.read_text()


def test_every_golden_file_belongs_to_a_case() -> None:
    wanted = {f"{case.__name__}.{suffix}" for case in CASES for suffix in ("prom", "openmetrics")}
    assert {path.name for path in GOLDEN.iterdir() if path.is_file()} == wanted


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.__name__))
def test_the_strict_parser_of_openmetrics_takes_it(case: Callable[[World], None]) -> None:
    text = (GOLDEN / f"{case.__name__}.openmetrics").read_text()
    families = {family.name: family for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]
    assert "modelarts_up" in families


@pytest.mark.live
@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.__name__))
def test_promtool_finds_nothing_to_complain_of(case: Callable[[World], None]) -> None:
    promtool = shutil.which("promtool")
    assert promtool is not None
    with (GOLDEN / f"{case.__name__}.prom").open() as text:
        lint = subprocess.run(
            [promtool, "check", "metrics"],
            stdin=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")
