"""Prometheus takes the scrape examples of deploy/, and finds with them what they are for."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.emulator import HandlerServer
from exporter.emulator.http_messages import Request, Response

pytestmark = pytest.mark.live

DEPLOY = Path(__file__).parents[2] / "deploy"
EXAMPLES = sorted(DEPLOY.glob("prometheus*.example.yml"))
JOB = "modelarts-exporter"


def promtool(*arguments: str) -> str:
    found = shutil.which("promtool")
    assert found
    return subprocess.run([found, *arguments], capture_output=True, text=True, check=True).stdout


def job(example: str) -> dict[str, Any]:
    (found,) = yaml.safe_load((DEPLOY / example).read_text())["scrape_configs"]
    assert isinstance(found, dict)
    return found


def discovered(job: dict[str, Any], directory: Path) -> list[dict[str, str]]:
    """The labels of the targets that Prometheus scrapes with this job."""
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump({"scrape_configs": [job]}))
    # promtool shows what it has found by then.
    targets = json.loads(promtool("check", "service-discovery", "--timeout=3s", str(file), JOB))
    return [target["labels"] for target in targets if target["labels"]]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_prometheus_takes_an_example(example: Path, tmp_path: Path) -> None:
    config = job(example.name)
    assert config["job_name"] == JOB
    # Debian builds Prometheus without the discovery of Kubernetes, so the rest is checked.
    config.pop("kubernetes_sd_configs", None)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump({"scrape_configs": [config]}))
    promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_of_the_pods_in_kubernetes_those_of_the_manifest_are_scraped_under_their_names(
    tmp_path: Path,
) -> None:
    manifests = {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yml").read_text())}
    template = manifests["StatefulSet"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    (port,) = container["ports"]
    of_pod = {
        "__meta_kubernetes_namespace": "modelarts",
        "__meta_kubernetes_pod_name": f"{manifests['StatefulSet']['metadata']['name']}-0",
        "__meta_kubernetes_pod_container_port_name": port["name"],
        "__meta_kubernetes_pod_label_app_kubernetes_io_name": template["metadata"]["labels"][
            "app.kubernetes.io/name"
        ],
    }
    of_another = {**of_pod, "__meta_kubernetes_pod_label_app_kubernetes_io_name": "grafana"}
    # In the place of a cluster, its pods with the labels that Prometheus gives them.
    example = job("prometheus-kubernetes.example.yml")
    (discovery,) = example.pop("kubernetes_sd_configs")
    assert (discovery["role"], discovery["namespaces"]) == ("pod", {"names": ["modelarts"]})
    example["static_configs"] = [
        {"targets": [f"10.0.0.1:{port['containerPort']}"], "labels": of_pod},
        {"targets": ["10.0.0.2:3000"], "labels": of_another},
    ]
    (target,) = discovered(example, tmp_path)
    assert target["__address__"] == "10.0.0.1:10155"
    assert target["instance"] == "modelarts/modelarts-exporter-0"


def test_the_list_of_the_example_for_http_service_discovery_is_one_that_prometheus_reads(
    tmp_path: Path,
) -> None:
    text = (DEPLOY / "prometheus-http-sd.example.yml").read_text()
    (answer,) = [line.strip("# ") for line in text.splitlines() if line.startswith("#   [")]

    def inventory(request: Request) -> Response:
        return Response(200, answer.encode(), content_type="application/json")

    with HandlerServer(inventory, lambda: 0, ("127.0.0.1", 0)) as server:
        example = job("prometheus-http-sd.example.yml")
        example["http_sd_configs"][0]["url"] = f"{server.url}/modelarts-exporter.json"
        found = discovered(example, tmp_path)
    assert {target["instance"] for target in found} == set(json.loads(answer)[0]["targets"])
    assert {target["site"] for target in found} == {"eu-de"}
