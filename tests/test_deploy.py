"""What deploy/ holds fits together: copies are the same, named files exist, wrong values are refused.

What takes the programs that read it is in `test_deploy_chart.py` and `test_deploy_checkers.py`.
"""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from exporter.config import load

from .helm_values import CHART, ROOT, Values, fixtures, on_the_page, over_the_defaults, read

DEPLOY = ROOT / "deploy"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALID, INVALID = fixtures("valid"), fixtures("invalid")


# --- the Helm chart --------------------------------------------------------------------------------


def test_the_chart_carries_the_rules_and_dashboards_of_the_tree() -> None:
    rules = "modelarts.rules.yml"
    assert (CHART / "files" / rules).read_bytes() == (ROOT / "alerts" / rules).read_bytes(), "run make docs"
    carried = {path.name: path.read_bytes() for path in (CHART / "files" / "dashboards").iterdir()}
    dashboards = {path.name: path.read_bytes() for path in (ROOT / "dashboards").glob("*.json")}
    assert carried.keys() == dashboards.keys()
    assert [name for name in carried if carried[name] != dashboards[name]] == [], "run make docs"


def test_chart_manifest_and_package_have_one_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)
    assert f"image: modelarts-exporter:{version}\n" in (DEPLOY / "kubernetes.yml").read_text()


def test_the_schema_knows_each_default_value_and_nothing_else() -> None:
    schema = SCHEMA["properties"]
    assert keys_of_schema(schema) - {"global"} == keys_of_values(read(CHART / "values.yaml"), schema)


def keys_of_schema(properties: dict[str, Any]) -> set[str]:
    """Each key, with the keys inside it where the schema allows no others."""
    found = set(properties)
    for key, schema in properties.items():
        if schema.get("additionalProperties") is False:
            # `claims` of resources is optional and has no default.
            inside = keys_of_schema(schema["properties"]) - ({"claims"} if key == "resources" else set())
            found |= {f"{key}.{name}" for name in inside}
    return found


def keys_of_values(values: Values, properties: dict[str, Any]) -> set[str]:
    found = set(values)
    for key, value in values.items():
        if properties[key].get("additionalProperties") is False:
            inside = keys_of_values(value, properties[key]["properties"])
            found |= {f"{key}.{name}" for name in inside}
    return found


@pytest.mark.parametrize("name", VALID)
def test_right_values_are_accepted(name: str) -> None:
    assert refused(read(VALID[name])) == []


def test_the_values_on_the_page_are_accepted() -> None:
    assert [refused(values) for values in on_the_page()] == [[]] * 4


@pytest.mark.parametrize("name", INVALID)
def test_wrong_values_are_refused_with_the_key(name: str) -> None:
    key = INVALID[name].read_text().partition("# refused: ")[2].partition("\n")[0]
    assert key in "\n".join(refused(read(INVALID[name])))


def refused(values: Values) -> list[str]:
    validator = jsonschema.Draft7Validator(SCHEMA)
    errors = validator.iter_errors(over_the_defaults(values))
    return [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in errors]


# --- Compose ---------------------------------------------------------------------------------------

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text())
# What the head of the file asks the user to write.
WRITTEN_BY_USERS = {DEPLOY / "config.yml", DEPLOY / "iam"}


def mounts(service: str) -> dict[str, Path]:
    """Where in the container each file or directory of the tree is."""
    found = {}
    for volume in COMPOSE["services"][service]["volumes"]:
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            found[target] = (DEPLOY / source).resolve()
    return found


@pytest.mark.parametrize("service", COMPOSE["services"])
def test_everything_that_compose_mounts_is_there(service: str) -> None:
    found = set(mounts(service).values())
    assert found
    assert [path for path in found - WRITTEN_BY_USERS if not path.exists()] == []
    read_only = [
        volume.endswith(":ro") for volume in COMPOSE["services"][service]["volumes"] if volume[0] == "."
    ]
    assert all(read_only)


def test_the_exporter_accepts_the_lines_that_the_head_of_the_compose_file_asks_for(tmp_path: Path) -> None:
    text = (DEPLOY / "compose.yml").read_text()
    lines = re.findall(r"^# {5}((?:alertmanager|links): .*)$", text, re.MULTILINE)
    (tmp_path / "iam").write_text("made-up")
    auth = {"token_file": str(tmp_path / "iam")}
    project = {"project_id": "0" * 32, "endpoint": "https://modelarts.example.com", "auth": auth}
    file = tmp_path / "config.yml"
    file.write_text("\n".join([yaml.safe_dump({"projects": [project]}), *lines]))
    config = load(str(file), {})
    assert config.alertmanager is not None
    assert set(config.alertmanager.urls) == {"http://alertmanager:9093"}
    assert config.links.external_url == "http://localhost:10155"


def test_every_volume_and_secret_that_compose_uses_is_declared() -> None:
    used = {
        volume.partition(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service["volumes"]
        if not volume.startswith(".")
    }
    assert used == set(COMPOSE["volumes"])
    secrets = {name for service in COMPOSE["services"].values() for name in service.get("secrets", [])}
    assert secrets == set(COMPOSE["secrets"])


def test_compose_is_reached_from_this_machine_only_and_no_container_has_a_capability() -> None:
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_containers_of_compose_call_each_other_by_their_names_and_ports() -> None:
    prometheus = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    assert job["job_name"] == "modelarts-exporter"  # what the rules and dashboards expect
    (alertmanagers,) = prometheus["alerting"]["alertmanagers"]
    (source,) = yaml.safe_load((DEPLOY / "compose" / "grafana-datasource.yml").read_text())["datasources"]
    called = {
        job["static_configs"][0]["targets"][0],
        alertmanagers["static_configs"][0]["targets"][0],
        source["url"].removeprefix("http://"),
    }
    listening = {f"{name}:{row['ports'][0].split(':')[-1]}" for name, row in COMPOSE["services"].items()}
    assert listening - called == {"grafana:3000"}
    assert called <= listening


def test_grafana_finds_the_dashboards_where_compose_mounts_them() -> None:
    places = mounts("grafana")
    for kind in ("datasources", "dashboards"):
        assert places[f"/etc/grafana/provisioning/{kind}/modelarts.yml"].suffix == ".yml"
    provider = yaml.safe_load(places["/etc/grafana/provisioning/dashboards/modelarts.yml"].read_text())
    assert places[provider["providers"][0]["options"]["path"]] == ROOT / "dashboards"
