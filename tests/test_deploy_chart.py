"""The chart as Helm's engine renders it, held against the schemas of Kubernetes and the Prometheus Operator.

No cluster is needed.
"""

import argparse
import base64
import gzip
import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.cli import COMMANDS
from exporter.config import load

from .helm_values import CHART, ROOT, Values, fixtures, on_the_page, read
from .test_deploy import DEPLOY
from .test_deploy_checkers import checked

pytestmark = pytest.mark.deploy

Object = dict[str, Any]

VALID, INVALID = fixtures("valid"), fixtures("invalid")
RULES = ROOT / "alerts" / "modelarts.rules.yml"
# The oldest version that the chart allows, and the newest that the schemas know.
KUBERNETES = ("1.28", "1.37")
RELEASE, NAMESPACE = "modelarts-exporter", "ml"


def rendered(values: Values, release: str = RELEASE) -> list[Object]:
    """Every object that an installation of the chart with these values would create."""
    import helm_python

    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name=release, namespace=NAMESPACE)
    texts = [text for path, text in sorted(files.items()) if path.endswith(".yaml")]
    return [found for text in texts for found in yaml.safe_load_all(text) if found]


@cache
def fixture(name: str) -> list[Object]:
    return rendered(read(VALID[name]))


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [found for found in objects if found["kind"] == kind]


def pod(objects: list[Object]) -> Object:
    (found,) = of_kind(objects, "StatefulSet")
    spec: Object = found["spec"]["template"]["spec"]
    return spec


def container(objects: list[Object]) -> Object:
    (found,) = pod(objects)["containers"]
    return dict(found)


def for_pod(text: str, objects: list[Object], ordinal: int) -> str:
    """An argument with the variables that Kubernetes replaces for one pod."""
    (workload,) = of_kind(objects, "StatefulSet")
    fields = {
        "metadata.name": f"{workload['metadata']['name']}-{ordinal}",
        "metadata.labels['apps.kubernetes.io/pod-index']": str(ordinal),
    }
    for variable in container(objects)["env"]:
        field = variable.get("valueFrom", {}).get("fieldRef")
        if field:
            text = text.replace(f"$({variable['name']})", fields[field["fieldPath"]])
    return text


def flags(objects: list[Object], ordinal: int) -> argparse.Namespace:
    """What the exporter understands of the arguments of one pod."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    COMMANDS["run"][0](parser)
    return parser.parse_args([for_pod(text, objects, ordinal) for text in container(objects)["args"]])


# --- what Helm and Kubernetes accept ---------------------------------------------------------------


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", VALID)
def test_helm_finds_nothing_wrong_with_the_chart(name: str, version: str) -> None:
    import helm_python

    report = helm_python.lint(CHART, read(VALID[name]), strict=True, kube_version=f"v{version}.0")
    assert report["errors"] == []
    assert [found["error"] for found in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", VALID)
def test_every_object_is_what_kubernetes_accepts(name: str, version: str) -> None:
    import kubernetes_validate

    for found in fixture(name):
        if not found["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(found, version, strict=True)


def test_the_manifest_without_helm_is_what_kubernetes_accepts() -> None:
    import kubernetes_validate

    for found in plain_manifest():
        for version in KUBERNETES:
            kubernetes_validate.validate(found, version, strict=True)


def test_what_the_page_shows_is_what_kubernetes_accepts() -> None:
    import kubernetes_validate

    for values in on_the_page():
        objects = rendered(values)
        assert of_kind(objects, "StatefulSet")
        for found in objects:
            if not found["apiVersion"].startswith("monitoring.coreos.com/"):
                kubernetes_validate.validate(found, KUBERNETES[1], strict=True)


def test_a_key_that_kubernetes_does_not_know_is_found() -> None:
    import kubernetes_validate

    (service, *_) = of_kind(fixture("plain"), "Service")
    wrong = {**service, "spec": {**service["spec"], "publishNotReadyAddress": True}}
    with pytest.raises(kubernetes_validate.ValidationError, match="publishNotReadyAddress"):
        kubernetes_validate.validate(wrong, KUBERNETES[0], strict=True)


@pytest.mark.parametrize("name", VALID)
def test_every_object_of_the_prometheus_operator_is_what_it_accepts(name: str) -> None:
    from cloudcoil.models.prometheus_operator import v1

    for found in fixture(name):
        if found["apiVersion"].startswith("monitoring.coreos.com/"):
            read_back = getattr(v1, found["kind"]).model_validate(found)
            # A key that the definition does not have would be missing here.
            assert read_back.model_dump(mode="json", by_alias=True, exclude_unset=True) == found


@pytest.mark.parametrize("name", INVALID)
def test_helm_refuses_wrong_values(name: str) -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError, match="schema"):
        rendered({**read(VALID["plain"]), **read(INVALID[name])})


def test_helm_refuses_to_install_without_a_project() -> None:
    import helm_python

    with pytest.raises(helm_python.HelmError, match=r"set config\.projects, or existingConfigMap"):
        rendered({})


def test_the_largest_release_fits_into_the_secret_in_which_helm_keeps_it() -> None:
    # Helm keeps the chart and what it rendered as JSON, compressed and in base64; a Secret holds 1 MiB.
    chart = {str(path): path.read_text() for path in CHART.rglob("*") if path.is_file()}
    release = json.dumps([chart, fixture("everything")]).encode()
    assert len(base64.b64encode(gzip.compress(release))) < 2**20 / 2


# --- the pods --------------------------------------------------------------------------------------


def test_the_manifest_without_helm_is_what_the_chart_renders() -> None:
    plain = [with_config_as_value(found) for found in plain_manifest()]
    assert plain == [with_config_as_value(without_helms_marks(found)) for found in fixture("plain")]


def plain_manifest() -> list[Object]:
    return sorted(yaml.safe_load_all((DEPLOY / "kubernetes.yml").read_text()), key=rank)


def without_helms_marks(found: Object) -> Object:
    """The object as somebody writes it who has no Helm."""
    text = json.dumps(found)
    for key in ("app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart"):
        text = re.sub(rf', "{key}": "[^"]*"', "", text)
    text = re.sub(r', "annotations": {"checksum/config": "\w+"}', "", text)
    found = json.loads(text)
    return dict(found)


def with_config_as_value(found: Object) -> Object:
    """A ConfigMap with what its text means: comments and the order of keys do not matter."""
    if found["kind"] == "ConfigMap":
        found["data"]["config.yml"] = yaml.safe_load(found["data"]["config.yml"])
    return found


def rank(found: Object) -> int:
    """Helm's templates are sorted by the names of their files."""
    return ["ConfigMap", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"].index(
        found["kind"]
    )


@pytest.mark.parametrize("name", VALID)
def test_every_pod_starts_the_exporter_with_its_own_shard(name: str) -> None:
    objects = fixture(name)
    (workload,) = of_kind(objects, "StatefulSet")
    replicas = workload["spec"]["replicas"]
    started = [flags(objects, ordinal) for ordinal in range(replicas)]
    assert [(found.shard_index, found.shard_total) for found in started] == [
        (ordinal, replicas) for ordinal in range(replicas)
    ]
    assert {found.storage_path for found in started} == {"/data"}


@pytest.mark.parametrize("name", VALID)
def test_every_file_that_the_exporter_is_told_of_is_mounted(name: str) -> None:
    objects = fixture(name)
    found = flags(objects, 0)
    places = {mount["mountPath"]: mount["name"] for mount in container(objects)["volumeMounts"]}
    named = [found.config_file, found.web_config_file, *secret_files(objects)]
    assert [path for path in named if path and str(Path(path).parent) not in places] == []
    volumes = {volume["name"] for volume in pod(objects)["volumes"]}
    (workload,) = of_kind(objects, "StatefulSet")
    claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
    assert set(places.values()) == volumes | claims
    assert "/data" in places


def secret_files(objects: list[Object]) -> list[str]:
    texts = [found["data"].get("config.yml", "") for found in of_kind(objects, "ConfigMap")]
    return re.findall(r"_file: (\S+)", "".join(texts))


@pytest.mark.parametrize("name", ["plain", "everything"])
def test_the_exporter_reads_the_configuration_that_the_chart_writes(name: str, tmp_path: Path) -> None:
    objects = fixture(name)
    (text,) = [
        found["data"]["config.yml"]
        for found in of_kind(objects, "ConfigMap")
        if "config.yml" in found["data"]
    ]
    for path in secret_files(objects):
        (tmp_path / Path(path).name).write_text("made-up")
        text = text.replace(path, str(tmp_path / Path(path).name))
    file = tmp_path / "config.yml"
    file.write_text(text)
    variables = {variable["name"]: "made-up" for variable in container(objects)["env"]}
    wanted = read(VALID[name])["config"]["projects"]
    assert [row.name for row in load(str(file), variables).projects] == [row["name"] for row in wanted]


@pytest.mark.parametrize("name", VALID)
def test_every_pod_keeps_to_the_restricted_profile(name: str) -> None:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/, "Restricted".
    spec = pod(fixture(name))
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & spec.keys()
    kinds = {key for volume in spec["volumes"] for key in volume if key != "name"}
    assert kinds <= {"configMap", "secret", "emptyDir"}
    for found in spec["containers"]:
        assert found["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert all("hostPort" not in port for port in found["ports"])
    assert spec["automountServiceAccountToken"] is False


def test_on_openshift_no_user_and_no_group_is_asked_for() -> None:
    # Its restricted-v2 gives each namespace a range of its own, and refuses a pod with a number from outside.
    assert not re.search(
        r'"(runAsUser|runAsGroup|fsGroup|supplementalGroups)"', json.dumps(fixture("openshift"))
    )
    assert pod(fixture("plain"))["securityContext"]["fsGroup"] == 65532


def test_the_pods_restart_when_the_configuration_changes_and_not_for_anything_else() -> None:
    values = read(VALID["plain"])
    changed = json.loads(json.dumps(values))
    changed["config"]["projects"][0]["rate_limit"] = 4
    others = {**values, "dashboards": {"enabled": True}, "serviceMonitor": {"enabled": True}}
    template = {
        name: of_kind(rendered(row), "StatefulSet")[0]["spec"]["template"]
        for name, row in (("as is", values), ("changed", changed), ("others", others))
    }
    assert template["as is"] == template["others"] != template["changed"]


def test_what_kubernetes_never_lets_change_has_no_version_in_it() -> None:
    (workload,) = of_kind(fixture("plain"), "StatefulSet")
    spec = workload["spec"]
    fixed = json.dumps([spec["selector"], spec["serviceName"], spec["volumeClaimTemplates"]])
    assert "version" not in fixed.replace("apiVersion", "")
    assert "chart" not in fixed


def test_probes_ask_as_the_web_config_answers() -> None:
    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    plain, secured, password = (container(fixture(name)) for name in ("plain", "everything", "openshift"))
    asked = [plain[probe]["httpGet"]["path"] for probe in probes]
    assert asked == ["/-/healthy", "/-/healthy", "/-/ready"]
    assert {secured[probe]["httpGet"]["scheme"] for probe in probes} == {"HTTPS"}
    assert [password[probe]["tcpSocket"] for probe in probes] == [{"port": "metrics"}] * 3


@pytest.mark.parametrize("release", ["a", "modelarts-exporter-of-the-team", "r" * 53])
def test_names_fit_whatever_the_release_is_called(release: str) -> None:
    for found in rendered(read(VALID["everything"]), release):
        # A label of DNS; the controller of the StatefulSet adds eleven letters to its own.
        most = 52 if found["kind"] == "StatefulSet" else 63
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", found["metadata"]["name"])
        assert len(found["metadata"]["name"]) <= most


# --- who talks to whom -----------------------------------------------------------------------------


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def labels_of_pod(objects: list[Object], ordinal: int) -> dict[str, str]:
    (workload,) = of_kind(objects, "StatefulSet")
    return {
        **workload["spec"]["template"]["metadata"]["labels"],
        "statefulset.kubernetes.io/pod-name": f"{workload['metadata']['name']}-{ordinal}",
    }


@pytest.mark.parametrize("name", VALID)
def test_whatever_selects_pods_selects_all_of_them(name: str) -> None:
    objects = fixture(name)
    (workload,) = of_kind(objects, "StatefulSet")
    selectors = [workload["spec"]["selector"]["matchLabels"]]
    selectors += [row["spec"]["selector"]["matchLabels"] for row in of_kind(objects, "PodDisruptionBudget")]
    selectors += [row["spec"]["podSelector"]["matchLabels"] for row in of_kind(objects, "NetworkPolicy")]
    selectors += [row["spec"]["selector"] for row in of_kind(objects, "Service") if headless(row)]
    assert all(selects(selector, labels_of_pod(objects, 0)) for selector in selectors)


def headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def test_prometheus_scrapes_each_pod_once_as_the_job_that_the_rules_expect() -> None:
    objects = fixture("everything")
    (monitor,) = of_kind(objects, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    (scraped,) = [row for row in of_kind(objects, "Service") if selects(wanted, row["metadata"]["labels"])]
    assert headless(scraped)
    # A project that cannot be read yet makes its pod not ready, and must be seen all the same.
    assert scraped["spec"]["publishNotReadyAddresses"] is True
    assert scraped["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "modelarts-exporter"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in scraped["spec"]["ports"]}
    assert endpoint["scheme"] == "https"


def test_no_label_of_the_operator_takes_the_place_of_one_of_ours() -> None:
    # The labels that the Prometheus Operator gives every target of a ServiceMonitor. One that a metric has
    # too would come out as exported_..., and the rules would not find it.
    given = {"namespace", "service", "pod", "container", "endpoint", "job", "instance", "node"}
    # A row of the table is: name, type, labels, meaning.
    columns = re.findall(
        r"^\| `modelarts_\w+` \|[^|]*\|([^|]*)\|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE
    )
    ours = {label for column in columns for label in re.findall(r"`(\w+)`", column)}
    (monitor,) = of_kind(fixture("everything"), "ServiceMonitor")
    rules = monitor["spec"]["endpoints"][0]["relabelings"]
    dropped = {rule["regex"] for rule in rules if rule.get("action") == "labeldrop"}
    assert "project" in ours
    assert dropped == given & ours == {"endpoint"}


def test_a_pod_keeps_its_series_when_it_gets_another_address() -> None:
    (monitor,) = of_kind(fixture("everything"), "ServiceMonitor")
    (rule,) = [
        row for row in monitor["spec"]["endpoints"][0]["relabelings"] if row.get("targetLabel") == "instance"
    ]
    assert rule["sourceLabels"] == ["__meta_kubernetes_namespace", "__meta_kubernetes_pod_name"]


@pytest.mark.parametrize("name", ["everything", "openshift"])
def test_the_address_in_the_links_of_each_shard_leads_to_that_shard(name: str) -> None:
    objects = fixture(name)
    (ingress,) = of_kind(objects, "Ingress")
    services = {row["metadata"]["name"]: row["spec"] for row in of_kind(objects, "Service")}
    (workload,) = of_kind(objects, "StatefulSet")
    for ordinal in range(workload["spec"]["replicas"]):
        rule = ingress["spec"]["rules"][ordinal]
        if name == "everything":  # the other one has an address of its own
            assert flags(objects, ordinal).external_url == f"https://{rule['host']}"
        backend = rule["http"]["paths"][0]["backend"]["service"]
        service = services[backend["name"]]
        assert backend["port"]["name"] in {port["name"] for port in service["ports"]}
        reached = [
            number
            for number in range(workload["spec"]["replicas"])
            if selects(service["selector"], labels_of_pod(objects, number))
        ]
        assert reached == [ordinal]


def test_an_external_url_of_ones_own_is_taken_for_each_pod() -> None:
    assert flags(fixture("openshift"), 0).external_url == "https://exporter-0.exporter.example.com"


def test_with_one_pod_the_host_is_that_of_the_ingress() -> None:
    values = {**read(VALID["plain"]), "ingress": {"enabled": True, "host": "modelarts.example.com"}}
    objects = rendered(values)
    (ingress,) = of_kind(objects, "Ingress")
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["modelarts.example.com"]
    assert flags(objects, 0).external_url == "http://modelarts.example.com"


# --- rules and dashboards --------------------------------------------------------------------------


def test_the_chart_renders_the_rules_of_the_tree_and_promtool_accepts_them(tmp_path: Path) -> None:
    (found,) = of_kind(fixture("everything"), "PrometheusRule")
    assert found["spec"] == yaml.safe_load(RULES.read_text("utf-8"))
    assert found["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(found["spec"]))
    checked("promtool", "check", "rules", file)


def test_the_page_makes_the_same_rules_without_helm() -> None:
    (block,) = re.findall(r"```sh\n(\{\n.*?)```", (ROOT / "docs" / "kubernetes.md").read_text(), re.DOTALL)
    # In place of kubectl, what shows its input.
    script = f"kubectl() {{ cat; }}\n{block}"
    done = subprocess.run(
        ["sh", "-ec", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    (found,) = of_kind(fixture("everything"), "PrometheusRule")
    made = yaml.safe_load(done.stdout)
    assert {**made, "metadata": {}} == {**found, "metadata": {}}


def test_rules_of_ones_own_take_the_place_of_the_chart_s() -> None:
    (found,) = of_kind(fixture("own-rules"), "PrometheusRule")
    assert found["spec"] == yaml.safe_load(read(VALID["own-rules"])["prometheusRule"]["rules"])


def test_each_dashboard_is_a_configmap_that_the_sidecar_of_grafana_finds() -> None:
    found = {
        file: text
        for row in of_kind(fixture("everything"), "ConfigMap")
        if row["metadata"]["labels"].get("grafana_dashboard") == "1"
        for file, text in row["data"].items()
    }
    wanted = {path.name: path.read_text("utf-8") for path in (ROOT / "dashboards").glob("*.json")}
    assert found == wanted
