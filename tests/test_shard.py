"""Which shard reads which service, and what each of them may send."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.app import now_ms
from exporter.config import load
from exporter.core.polling.shard import Shard, owner
from exporter.core.source import Throttled
from exporter.emulator import Cloud, Server
from exporter.engine.poller import Setup
from exporter.factory import ProjectFactory

from .commands import configured, project

ids = st.text()
totals = st.integers(1, 12)

# The owner among 1, 2, … 8 shards, worked out from the rule alone. If one of these changes, an upgrade moves
# nearly every service to another shard.
GOLDEN = {
    "0a1b2c3d-0000-4000-8000-000000000001": [0, 1, 2, 3, 3, 3, 3, 3],
    "svc": [0, 1, 2, 2, 2, 2, 2, 2],
    "服务": [0, 1, 1, 3, 3, 3, 3, 7],
    "": [0, 1, 1, 1, 1, 1, 1, 7],
}

# UUIDs as different as random ones, the same in every run.
FLEET = [str(UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128)) for number in range(6000)]


@pytest.mark.parametrize("service_id", GOLDEN)
def test_the_shard_of_a_service_is_the_same_in_every_version(service_id: str) -> None:
    assert [owner(service_id, total) for total in range(1, 9)] == GOLDEN[service_id]


def test_the_shard_of_a_service_is_the_same_in_every_process() -> None:
    ask = "from exporter.core.polling.shard import owner; print([owner(f's-{n}', 7) for n in range(50)])"
    found = {
        subprocess.run(
            [sys.executable, "-c", ask],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{[owner(f's-{n}', 7) for n in range(50)]}\n".encode()}


@given(ids, totals)
def test_each_service_has_exactly_one_shard(service_id: str, total: int) -> None:
    assert sum(Shard(index, total).has(service_id) for index in range(total)) == 1


@given(ids, totals)
def test_one_shard_more_takes_services_and_moves_no_other(service_id: str, total: int) -> None:
    assert owner(service_id, total + 1) in (owner(service_id, total), total)


@pytest.mark.parametrize("total", [2, 3, 4, 8])
def test_shards_have_about_equal_shares_and_one_more_takes_as_much_of_each(total: int) -> None:
    before = Counter(owner(service_id, total) for service_id in FLEET)
    mean = len(FLEET) / total
    assert all(abs(before[index] - mean) < 4 * mean**0.5 for index in range(total)), before
    moved = Counter(owner(each, total) for each in FLEET if owner(each, total + 1) == total)
    share = len(FLEET) / total / (total + 1)
    assert all(abs(moved[index] - share) < 4 * share**0.5 for index in range(total)), moved


@given(st.floats(0.01, 1000), totals)
def test_the_shares_of_a_rate_are_the_whole_rate(rate: float, total: int) -> None:
    shares = [Shard(index, total).share(rate) for index in range(total)]
    assert sum(shares) == pytest.approx(rate)


# What names the services of a project with the defaults, in a store of before rendezvous hashing.
WHOLE_BEFORE = "e8d2624480ef0fb0e4ca084cc01063fb3f8f45aadcac89ddec51c8044a6130fa"
FIRST_OF_THREE_BEFORE = "c484c5c04582401ad45b9cc098cdcfbcc5ac61133e31c6c6066cabdf51c0d15d"


@contextmanager
def built(shard: Shard, url: str, directory: Path) -> Iterator[Setup]:
    """What the program makes of a config file for a shard."""
    factory = ProjectFactory(shard, SelfMetrics(["prod"], [], version="", revision=""), now_ms)
    ((found, resources),) = factory.setups(load(configured(directory, project(url)), {}))
    yield found, resources
    resources.stop()
    resources.fetcher.stop()


def test_services_that_the_hash_of_before_gave_to_another_shard_are_history(tmp_path: Path) -> None:
    with built(Shard(0, 3), "http://127.0.0.1", tmp_path) as (found, _):
        assert found.selection != FIRST_OF_THREE_BEFORE
    with built(Shard(), "http://127.0.0.1", tmp_path) as (found, _):
        assert found.selection == WHOLE_BEFORE, "without shards nothing has changed"


def test_a_shard_takes_its_share_of_the_rate_limit_and_of_the_rate_that_a_429_names(tmp_path: Path) -> None:
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    cloud.switches = replace(cloud.switches, throttle=(6, 60))
    with Server(cloud) as server, built(Shard(2, 4), server.url, tmp_path) as (_, resources):
        assert resources.rate() == 100 / 4
        for _ in range(6):
            resources.source.list_services()
        with pytest.raises(Throttled):
            resources.source.list_services()
        assert resources.rate() == pytest.approx(6 / 60 / 4)
