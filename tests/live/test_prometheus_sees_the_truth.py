"""A real Prometheus ends up with exactly the series that are true of the emulated cloud."""

from dataclasses import replace

import pytest

from exporter.emulator import Switches, faults
from tests.live.conftest import Pipeline
from tests.live.processes import until
from tests.random_activity import RandomActivity

pytestmark = pytest.mark.live

# Three times the sweep interval here: what is older has been read.
QUIET_MS = 15_000
LATENESS_MS = 5_000

# Two minutes reach back before the start of each test, so that no step is missed.
WINDOW = "[2m]"


def start_activity(pipeline: Pipeline, seed: int, services: int = 10) -> RandomActivity:
    activity = RandomActivity(pipeline.cloud, seed, lateness=LATENESS_MS, quiet=QUIET_MS, most=services + 6)
    activity.populate(services)
    return activity


def scrapes(pipeline: Pipeline) -> float:
    """How many scrapes of the exporter succeeded."""
    return pipeline.prometheus.value(f"sum_over_time(up{WINDOW})") or 0


def scraped_again(pipeline: Pipeline, times: int = 2) -> None:
    before = scrapes(pipeline)
    until(lambda: scrapes(pipeline), lambda now: now >= before + times)


def change_between_scrapes(pipeline: Pipeline, activity: RandomActivity, seconds: int) -> None:
    """Change the cloud between scrapes, for about so many seconds."""
    for _ in range(seconds):
        for _ in range(6):
            activity.act()
        scraped_again(pipeline, 1)


def test_deployments_failures_recoveries_rollouts_and_deletions_are_all_counted(pipeline: Pipeline) -> None:
    activity = start_activity(pipeline, seed=1)
    edge = pipeline.cloud.add_service(infer_type="edge", nodes=[{"id": "n1", "name": "gate"}])
    change_between_scrapes(pipeline, activity, 5)

    begun = pipeline.cloud.begin_update(edge)
    until(lambda: pipeline.prometheus.value(f'modelarts_service_updates_running{{service_id="{edge}"}}'))
    failed = {"node_id": "n1", "node_name": "gate", "operation": "deploy", "result": False}
    pipeline.cloud.settle(edge, begun, "FAIL", [failed])
    until(lambda: pipeline.prometheus.value(f'modelarts_service_update_failing{{service_id="{edge}"}}'))
    node = 'modelarts_edge_node_operation_success{node_id="n1",node_name="gate",operation="deploy"}'
    assert pipeline.prometheus.value(node) == 0
    assert pipeline.prometheus.value('modelarts_service_last_update_nodes{result="failed"}') == 1
    retried = pipeline.cloud.begin_update(edge)
    pipeline.cloud.settle(edge, retried, "SUCCESS", [{**failed, "result": True}])
    pipeline.wait_until_correct()

    assert pipeline.prometheus.value(node) == 1
    assert pipeline.prometheus.value(f"sum(resets(modelarts_service_updates_total{WINDOW}))") == 0


def test_increase_sees_the_failure_that_a_service_was_born_with(pipeline: Pipeline) -> None:
    pipeline.cloud.add_service(name="old")
    scraped_again(pipeline)
    with pipeline.cloud.lock:  # so that no request comes in between
        born = pipeline.cloud.add_service(name="born and failed")
        begun = pipeline.cloud.begin_update(born)
        pipeline.cloud.add_event(born, "abnormal", "failed to pull image, retry later")
        pipeline.cloud.settle(born, begun, "FAIL")
    pipeline.wait_until_correct_once()

    for counter in (
        f'modelarts_service_updates_total{{result="FAIL",service_id="{born}"}}',
        f'modelarts_service_events_total{{event_type="abnormal",service_id="{born}"}}',
        f'modelarts_service_abnormal_events_total{{reason="image_pull",service_id="{born}"}}',
    ):
        assert (pipeline.prometheus.value(f"increase({counter}{WINDOW})") or 0) > 0, counter
        assert pipeline.prometheus.value(f"min_over_time({counter}{WINDOW})") == 0, counter


def test_a_killed_exporter_comes_back_with_every_count(pipeline: Pipeline) -> None:
    activity = start_activity(pipeline, seed=2)
    for _ in range(2):
        change_between_scrapes(pipeline, activity, 2)
        pipeline.exporter.kill()
        for _ in range(10):
            activity.act()
        pipeline.exporter.start()
        pipeline.exporter.ready()
    change_between_scrapes(pipeline, activity, 2)
    pipeline.wait_until_correct()

    found = pipeline.prometheus.query('{__name__=~"modelarts_service_.*|modelarts_(update|restore)_.*"}')
    counters = {
        labels["__name__"]
        for labels, _ in found
        if labels["__name__"].endswith(("_total", "_count", "_sum", "_bucket"))
    }
    assert len(counters) > 10
    for counter in sorted(counters - {"modelarts_service_invocations_total"}):  # that one the cloud counts
        assert pipeline.prometheus.value(f"sum(resets({counter}{WINDOW}))") == 0, counter


def test_an_outage_of_the_api_keeps_what_was_known(pipeline: Pipeline) -> None:
    activity = start_activity(pipeline, seed=3)
    change_between_scrapes(pipeline, activity, 2)
    pipeline.wait_until_correct_once()
    about_reading = ("modelarts_up", "modelarts_service_up")
    for outage in (faults.html(502, times=None), faults.no_answer(times=None)):
        known = without(pipeline.compared()[0], about_reading)
        with pipeline.cloud.lock:
            pipeline.cloud.faults.add(outage)
        until(lambda: pipeline.prometheus.value("modelarts_up"), lambda up: up == 0)
        until(lambda: pipeline.prometheus.value("max(modelarts_service_up)"), lambda up: up == 0)
        assert without(pipeline.compared()[0], about_reading) == known

        for _ in range(10):
            activity.act()
        with pipeline.cloud.lock:
            pipeline.cloud.faults.clear()
        pipeline.wait_until_correct_once()


def without(found: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    return {key: value for key, value in found.items() if key.partition("{")[0] not in names}


def test_throttling_slows_the_exporter_and_loses_nothing(pipeline: Pipeline) -> None:
    activity = start_activity(pipeline, seed=4, services=4)
    change_between_scrapes(pipeline, activity, 1)
    assert pipeline.prometheus.value("modelarts_exporter_api_rate_limit") == 100
    pipeline.cloud.switches = replace(pipeline.cloud.switches, throttle=(5, 1))
    change_between_scrapes(pipeline, activity, 3)
    until(lambda: pipeline.prometheus.value("modelarts_exporter_api_throttled_total"))
    limit = until(
        lambda: pipeline.prometheus.value("modelarts_exporter_api_rate_limit"),
        lambda limit: limit is not None and limit < 100,
    )
    assert limit is not None
    assert 4 < limit < 10  # what the 429 named, grown back by a tenth of the configured rate a minute
    pipeline.cloud.switches = Switches()
    pipeline.wait_until_correct_once()


def test_tokens_that_end_are_renewed_and_nothing_is_lost(pipeline: Pipeline) -> None:
    pipeline.cloud.switches = Switches(token_life=2_000)
    pipeline.cloud.revoke_tokens()
    activity = start_activity(pipeline, seed=5)
    change_between_scrapes(pipeline, activity, 4)
    pipeline.cloud.revoke_tokens()
    change_between_scrapes(pipeline, activity, 2)
    pipeline.wait_until_correct_once()
    tokens = [request for request in pipeline.cloud.requests if request.endpoint == "token"]
    assert len(tokens) > 3
    assert {request.status for request in tokens} == {201}
