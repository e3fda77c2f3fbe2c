"""What a Prometheus with the shipped configuration scrapes and evaluates arrives in another store."""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import requests
import yaml

from tests.live.conftest import Pipeline
from tests.live.processes import PATIENCE_SECONDS, until
from tests.live.prometheus import Prometheus

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
SENDER = ROOT / "deploy" / "scaling" / "prometheus-mimir.yml"
SENT = 'cluster="eu-de",__replica__="a"'


@pytest.fixture(name="central")
def _central(tmp_path: Path) -> Iterator[Prometheus]:
    """A store that scrapes nothing itself, in the place of Mimir."""
    directory = tmp_path / "central"
    directory.mkdir()
    central = Prometheus(directory, "", flags=["--web.enable-remote-write-receiver"])
    central.set_targets([])
    with central:
        yield central


@pytest.fixture(name="sender")
def _sender(tmp_path: Path, pipeline: Pipeline, central: Prometheus) -> Iterator[Prometheus]:
    """A Prometheus with the shipped configuration; only addresses are other ones, and times are shorter."""
    directory = tmp_path / "sender"
    directory.mkdir()
    rules = directory / "rules.yml"
    render = [sys.executable, str(ROOT / "alerts" / "render.py"), "--scale=0.03", f"--output={rules}"]
    subprocess.run(render, check=True)
    sender = Prometheus(directory, "")
    config = yaml.safe_load(SENDER.read_text())
    config["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(rules)]
    del config["alerting"]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [pipeline.exporter.address]}]
    own = {"targets": [sender.url.removeprefix("http://")]}
    config["scrape_configs"].append({"job_name": "prometheus", "static_configs": [own]})
    (remote,) = config["remote_write"]
    remote["url"] = f"{central.url}/api/v1/write"
    remote["metadata_config"] = {"send_interval": "1s"}
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    with sender:
        yield sender


def test_series_recordings_alerts_and_metadata_arrive_with_the_labels_of_their_sender(
    pipeline: Pipeline, central: Prometheus, sender: Prometheus
) -> None:
    failed = pipeline.cloud.add_service(name="chat")
    pipeline.cloud.settle(failed, pipeline.cloud.begin_update(failed), "FAIL")

    of_failed = f'{SENT},service_id="{failed}"'
    for arrives in (
        f'modelarts_service_update_failing{{job="modelarts-exporter",{of_failed}}} == 1',
        f"project_service:modelarts_service_update_failing:alerting{{{of_failed}}}",
        f'ALERTS{{alertname="ModelArtsUpdateFailed",alertstate="firing",{of_failed}}}',
        f'ALERTS_FOR_STATE{{alertname="ModelArtsUpdateFailed",{of_failed}}}',
        f'up{{job="modelarts-exporter",{SENT}}} == 1',
    ):
        until(partial(central.query, arrives))

    assert sender.query('up{job="prometheus"}')
    assert not central.query('{job="prometheus"}')
    assert central.value(f"count({{{SENT}}})") == central.value('count({__name__=~".+"})')
    until(lambda: counted(sender, "prometheus_remote_storage_metadata_total"))
    assert counted(sender, "prometheus_remote_storage_metadata_failed_total") == 0
    assert counted(sender, "prometheus_remote_storage_samples_failed_total") == 0


def counted(prometheus: Prometheus, name: str) -> float:
    """The sum of one of Prometheus' own counters."""
    lines = requests.get(f"{prometheus.url}/metrics", timeout=PATIENCE_SECONDS).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))
