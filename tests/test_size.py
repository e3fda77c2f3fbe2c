"""What `size` computes agrees with a simulation of the real schedule, and with docs/sizing.md."""

import json

import msgspec
import pytest

from exporter import assets, cli
from exporter.core.polling.sizing import Freshness, size
from tests.guides import blocks, rows, section
from tests.simulate_polling import MINUTE, SECOND
from tests.simulate_sizing import default_load, simulate


def near(found: float, *, within: float = 0.25, least: float) -> object:
    """As close as the page promises: a quarter, or `least` where that is more."""
    return pytest.approx(found, rel=within, abs=least)


@pytest.mark.parametrize(
    ("services", "rate"), [(100, 5.0), (1000, 5.0), (1500, 5.0)], ids=lambda value: f"{value:g}"
)
def test_the_formulas_agree_with_the_real_schedule(services: int, rate: float) -> None:
    load = default_load(services, rate)
    computed, simulated = size(load), simulate(load)
    assert computed.requests_per_hour == near(simulated.requests_per_hour, within=0.05, least=0)
    assert computed.sweep == near(simulated.sweep, least=MINUTE)
    assert computed.freshness is not None
    for name in Freshness.__struct_fields__:
        found = getattr(simulated.freshness, name)
        assert getattr(computed.freshness, name) == near(found, least=4 * SECOND), name


def test_the_page_agrees_with_the_formulas() -> None:
    sizes = rows(section("sizing.md", "Requests and freshness"))
    for services, rate, requests, sweep, *times in sizes:
        computed = size(default_load(int(number(services)), float(rate)))
        if requests.startswith("too small"):
            assert computed.freshness is None
            least = number(requests)
            assert size(default_load(int(number(services)), least + 0.1)).freshness is not None
            assert size(default_load(int(number(services)), least - 0.1)).freshness is None
            continue
        assert computed.requests_per_hour == near(number(requests), within=0.05, least=0)
        assert computed.sweep == near(number(sweep) * MINUTE, least=MINUTE)
        assert computed.freshness is not None
        for found, cell in zip(msgspec.structs.astuple(computed.freshness), times, strict=True):
            assert found == near(number(cell) * SECOND, least=4 * SECOND)


def test_the_page_has_what_a_prometheus_costs() -> None:
    costs = [list(map(number, row)) for row in rows(section("sizing.md", "Prometheus"))]
    assert len(costs) == 5
    for services, *told in costs:
        cost = size(default_load(int(services), 5.0))
        found = [
            cost.series,
            round(cost.samples_per_second),
            cost.prometheus_mib,
            cost.prometheus_mib_per_day,
        ]
        assert found == told


def test_the_page_has_the_memory_that_is_computed() -> None:
    for services, memory, *_ in rows(section("sizing.md", "Memory and CPU of the exporter")):
        computed = size(default_load(int(number(services)), 5.0)).memory_mib
        assert computed == pytest.approx(number(memory), rel=0.02)


def number(cell: str) -> float:
    """The number in a cell, whatever its unit."""
    return float("".join(letter for letter in cell if letter.isdigit() or letter == "."))


def test_a_rate_that_cannot_follow_the_changes_has_no_freshness() -> None:
    assert size(default_load(100_000, 5.0)).freshness is None
    assert size(default_load(100_000, 50.0)).freshness is not None


def test_shards_share_the_rate_and_the_services_and_each_pays_the_whole_list() -> None:
    one = default_load(10_000, 20.0)
    four = msgspec.structs.replace(one, shards=4)
    assert size(four).wanted_rate == pytest.approx(size(one).wanted_rate + 3 * 10 / 30)
    assert size(four).requests_per_hour == pytest.approx(size(one).requests_per_hour)
    assert size(four).sweep > size(one).sweep
    assert size(four).memory_mib < size(one).memory_mib


# --- the command -------------------------------------------------------------------------------------------


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["size", *arguments]) == 0
    return capsys.readouterr().out


def test_the_page_shows_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = assets.read("docs/sizing.md")
    (command,), (shown,) = blocks(page, "sh"), blocks(page, "text")
    assert printed(capsys, *command.split()[2:]) == shown


def test_it_prints_what_a_person_asks_for(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--services=25000", "--rate-limit=50")
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert lines["series"] == "1,000,600"
    assert lines["shards"].startswith("3, with ")
    assert "p99" in text
    assert "raise rate_limit" in printed(capsys, "--services=25000", "--rate-limit=0.5")


def test_json_has_the_same_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    flags = (
        "--deployments-per-day=50",
        "--interval=1m",
        "--sweep-interval=30m",
        "--shards=2",
        "--format=json",
    )
    found = json.loads(printed(capsys, "--services=100", *flags))
    assert (found["deployments_per_day"], found["shards"]) == (50, 2)
    assert found["list_interval_seconds"] == 60
    assert found["sweep_seconds"] == 1800
    assert found["start_p99_seconds"] > 60
    slow = json.loads(printed(capsys, "--services=100000", "--format=json"))
    assert slow["start_p50_seconds"] is None


@pytest.mark.parametrize("flag", ["--services=0", "--services=many", "--rate-limit=0", "--sweep-interval=0s"])
def test_a_value_that_cannot_be_is_wrong_usage(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["size", "--services=10", flag])
    assert ended.value.code == 2
    assert flag.partition("=")[0] in capsys.readouterr().err
