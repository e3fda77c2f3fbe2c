"""A real Prometheus, asked at the end, knows exactly what the emulated cloud knows to be true."""

from dataclasses import replace

import pytest

from exporter.emulator import Switches, faults
from tests.random_activity import RandomActivity

from .conftest import Chain
from .processes import until

pytestmark = pytest.mark.live

# Three of the test's own sweeps: what is older has been read.
QUIET_MS = 15_000
LATENESS_MS = 5_000

# Two minutes reach back behind the begin of each test, so no step can be missed.
WINDOW = "[2m]"


def life_of(chain: Chain, seed: int, services: int = 10) -> RandomActivity:
    life = RandomActivity(chain.cloud, seed, lateness=LATENESS_MS, quiet=QUIET_MS, most=services + 6)
    life.populate(services)
    return life


def scrapes(chain: Chain) -> float:
    """How many scrapes of the exporter succeeded."""
    return chain.prometheus.value(f"sum_over_time(up{WINDOW})") or 0


def scraped_again(chain: Chain, times: int = 2) -> None:
    before = scrapes(chain)
    until(lambda: scrapes(chain), lambda now: now >= before + times)


def live(chain: Chain, life: RandomActivity, seconds: int) -> None:
    """Changes between scrapes, for about so many seconds."""
    for _ in range(seconds):
        for _ in range(6):
            life.act()
        scraped_again(chain, 1)


def test_deployments_failures_recoveries_rollouts_and_deletions_are_all_counted(chain: Chain) -> None:
    life = life_of(chain, seed=1)
    edge = chain.cloud.add_service(infer_type="edge", nodes=[{"id": "n1", "name": "gate"}])
    live(chain, life, 5)

    begun = chain.cloud.begin_update(edge)
    until(lambda: chain.prometheus.value(f'modelarts_service_updates_running{{service_id="{edge}"}}'))
    failed = {"node_id": "n1", "node_name": "gate", "operation": "deploy", "result": False}
    chain.cloud.settle(edge, begun, "FAIL", [failed])
    until(lambda: chain.prometheus.value(f'modelarts_service_update_failing{{service_id="{edge}"}}'))
    node = 'modelarts_edge_node_operation_success{node_id="n1",node_name="gate",operation="deploy"}'
    assert chain.prometheus.value(node) == 0
    assert chain.prometheus.value('modelarts_service_last_update_nodes{result="failed"}') == 1
    retried = chain.cloud.begin_update(edge)
    chain.cloud.settle(edge, retried, "SUCCESS", [{**failed, "result": True}])
    chain.agree()

    assert chain.prometheus.value(node) == 1
    assert chain.prometheus.value(f"sum(resets(modelarts_service_updates_total{WINDOW}))") == 0


def test_increase_sees_the_failure_that_a_service_was_born_with(chain: Chain) -> None:
    chain.cloud.add_service(name="old")
    scraped_again(chain)
    with chain.cloud.lock:  # nobody reads the cloud in between
        born = chain.cloud.add_service(name="born and failed")
        begun = chain.cloud.begin_update(born)
        chain.cloud.add_event(born, "abnormal", "failed to pull image, retry later")
        chain.cloud.settle(born, begun, "FAIL")
    chain.agree_once()

    for counter in (
        f'modelarts_service_updates_total{{result="FAIL",service_id="{born}"}}',
        f'modelarts_service_events_total{{event_type="abnormal",service_id="{born}"}}',
        f'modelarts_service_abnormal_events_total{{reason="image_pull",service_id="{born}"}}',
    ):
        assert (chain.prometheus.value(f"increase({counter}{WINDOW})") or 0) > 0, counter
        assert chain.prometheus.value(f"min_over_time({counter}{WINDOW})") == 0, counter


def test_a_killed_exporter_comes_back_with_every_count(chain: Chain) -> None:
    life = life_of(chain, seed=2)
    for _ in range(2):
        live(chain, life, 2)
        chain.exporter.kill()
        for _ in range(10):
            life.act()
        chain.exporter.start()
    live(chain, life, 2)
    chain.agree()

    found = chain.prometheus.query('{__name__=~"modelarts_service_.*|modelarts_(update|restore)_.*"}')
    counters = {
        labels["__name__"]
        for labels, _ in found
        if labels["__name__"].endswith(("_total", "_count", "_sum", "_bucket"))
    }
    assert len(counters) > 10
    for counter in sorted(counters - {"modelarts_service_invocations_total"}):  # that one the cloud counts
        assert chain.prometheus.value(f"sum(resets({counter}{WINDOW}))") == 0, counter


def test_an_outage_of_the_api_keeps_what_was_known(chain: Chain) -> None:
    life = life_of(chain, seed=3)
    live(chain, life, 2)
    chain.agree_once()
    about_reading = ("modelarts_up", "modelarts_service_up")
    for outage in (faults.html(502, times=None), faults.no_answer(times=None)):
        known = without(chain.judged()[0], about_reading)
        with chain.cloud.lock:
            chain.cloud.faults.add(outage)
        until(lambda: chain.prometheus.value("modelarts_up"), lambda up: up == 0)
        until(lambda: chain.prometheus.value("max(modelarts_service_up)"), lambda up: up == 0)
        assert without(chain.judged()[0], about_reading) == known

        for _ in range(10):
            life.act()
        with chain.cloud.lock:
            chain.cloud.faults.clear()
        chain.agree_once()


def without(found: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    return {key: value for key, value in found.items() if key.partition("{")[0] not in names}


def test_throttling_slows_the_exporter_and_loses_nothing(chain: Chain) -> None:
    life = life_of(chain, seed=4, services=4)
    live(chain, life, 1)
    assert chain.prometheus.value("modelarts_exporter_api_rate_limit") == 100
    chain.cloud.switches = replace(chain.cloud.switches, throttle=(5, 1))
    live(chain, life, 3)
    until(lambda: chain.prometheus.value("modelarts_exporter_api_throttled_total"))
    limit = until(
        lambda: chain.prometheus.value("modelarts_exporter_api_rate_limit"),
        lambda limit: limit is not None and limit < 100,
    )
    assert limit is not None
    assert 4 < limit < 10  # what the 429 named, grown back by a tenth of the configured rate a minute
    chain.cloud.switches = Switches()
    chain.agree_once()


def test_tokens_that_end_are_renewed_and_nothing_is_lost(chain: Chain) -> None:
    chain.cloud.switches = Switches(token_life=2_000)
    chain.cloud.revoke_tokens()
    life = life_of(chain, seed=5)
    live(chain, life, 4)
    chain.cloud.revoke_tokens()
    live(chain, life, 2)
    chain.agree_once()
    tokens = [request for request in chain.cloud.requests if request.endpoint == "token"]
    assert len(tokens) > 3
    assert {request.status for request in tokens} == {201}
