"""The configurations for Thanos and Mimir fit the rules and dashboards, and docs/scaling.md is right."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import assets
from tests.dashboard_files import all_queries
from tests.guides import blocks, rows, section
from tests.promql import exposed, selectors
from tests.test_alert_rules import Promtools, groups, seconds

ROOT = Path(__file__).parents[1]
RULES = "alerts/modelarts.rules.yml"
GROUPS = {group["name"]: group["rules"] for group in groups(assets.read(RULES))}
LAST = "modelarts-delivery"


def shipped(name: str) -> Any:
    return yaml.safe_load(assets.read(f"deploy/scaling/{name}"))


def metrics_of(expression: str) -> set[str]:
    return {selector.name for selector in selectors(expression) if selector.name}


def reads(group: str) -> set[str]:
    return {name for rule in GROUPS[group] for name in metrics_of(rule["expr"])}


def records(group: str) -> set[str]:
    return {rule["record"] for rule in GROUPS[group] if "record" in rule}


# --- what the rules need -----------------------------------------------------------------------------------


def test_no_rule_reads_alerts() -> None:
    read = {name for group in GROUPS for name in reads(group)}
    assert {name for name in read if name.startswith("ALERTS")} == set()


def test_the_groups_that_alert_belong_together_and_the_delivery_figures_stand_alone() -> None:
    of_services = records("modelarts-services")
    assert of_services & reads("modelarts-exporter")
    assert of_services & reads("modelarts-habits")
    recorded = {name for name in reads(LAST) if ":" in name}
    assert recorded <= records(LAST)
    assert all(not records(LAST) & reads(group) for group in GROUPS if group != LAST)


def test_the_page_says_how_far_each_group_looks_back() -> None:
    needs = rows(section("scaling.md", "Which rules need what"))
    told = {row[0].strip("`"): row[2] for row in needs if row[0].startswith("`modelarts-") and len(row) == 4}
    assert told.keys() == GROUPS.keys()
    for group, rules in GROUPS.items():
        ranges = re.findall(r"\[(\w+)(?::\w+)?\]|offset (\w+)", "\n".join(rule["expr"] for rule in rules))
        number, unit = told[group].split()
        assert max(seconds(a or b) for a, b in ranges) == seconds(f"{number}{unit[0]}"), group


def test_the_longest_chain_of_rules_is_as_long_as_the_page_says() -> None:
    lengths: dict[str, int] = {}
    for rules in GROUPS.values():
        for rule in rules:
            before = [lengths[name] for name in metrics_of(rule["expr"]) if name in lengths]
            if "record" in rule:
                lengths[rule["record"]] = 1 + max(before, default=0)
    assert f"up to {max(lengths.values())} rules" in " ".join(assets.read("docs/scaling.md").split())


# --- the files ---------------------------------------------------------------------------------------------


def test_remote_write_lets_through_what_rules_and_dashboards_read_and_no_other_job() -> None:
    (remote,) = shipped("prometheus-mimir.yml")["remote_write"]
    (keep,) = remote["write_relabel_configs"]
    assert (keep["action"], keep["source_labels"]) == ("keep", ["__name__", "job", "alertname"])

    def is_sent(name: str, job: str = "", alertname: str = "") -> bool:
        return re.fullmatch(keep["regex"], f"{name};{job};{alertname}") is not None

    read = {name for group in GROUPS for name in reads(group)}
    read |= {name for query in all_queries() for name in metrics_of(query.filled)}
    read |= {name for group in GROUPS for name in records(group)}
    alerts = {name for name in read if name.startswith("ALERTS")}
    assert alerts == {"ALERTS", "ALERTS_FOR_STATE"}
    assert {name for name in read - alerts if not is_sent(name, "modelarts-exporter")} == set()
    assert {name for name in read if ":" in name and not is_sent(name)} == set()
    assert all(is_sent(name, alertname="ModelArtsUpdateFailed") for name in alerts)
    assert all(is_sent(name, "modelarts-exporter", "ModelArtsExporterDown") for name in alerts)
    assert not is_sent("ALERTS", alertname="NodeDown")
    assert not is_sent("up", "node")
    assert not is_sent("process_start_time_seconds", "prometheus")


@pytest.mark.parametrize(
    ("file", "replica"), [("prometheus-mimir.yml", "__replica__"), ("prometheus-thanos.yml", "replica")]
)
def test_a_prometheus_has_its_place_and_its_replica_and_alerts_have_no_replica(
    file: str, replica: str
) -> None:
    config = shipped(file)
    assert config["global"]["external_labels"].keys() == {"cluster", replica}
    assert config["alerting"]["alert_relabel_configs"] == [{"regex": replica, "action": "labeldrop"}]
    (rules,) = config["rule_files"]
    assert (ROOT / "deploy" / "scaling" / rules).resolve() == ROOT / RULES


def test_the_limits_for_mimir_are_enough_for_the_rules_and_for_ten_thousand_services() -> None:
    limits = shipped("mimir.yml")["limits"]
    assert limits["ruler_max_rules_per_rule_group"] >= max(map(len, GROUPS.values()))
    assert f"our largest group has {max(map(len, GROUPS.values()))} rules" in " ".join(
        assets.read("docs/scaling.md").split()
    )
    assert limits["max_global_series_per_user"] > 401_000
    assert limits["ingestion_rate"] > 2 * 401_000 / 30


def test_no_series_has_more_labels_than_mimir_takes_by_default() -> None:
    # 30, of which the name is one, and cluster and replica are two.
    assert max(map(len, exposed().values())) <= 30 - 3


def test_the_split_of_the_page_gives_each_group_to_one_file(tmp_path: Path) -> None:
    split, _ = blocks(section("scaling.md", "Rules in a central ruler"), "sh")
    (tmp_path / "alerts").symlink_to(ROOT / "alerts")
    subprocess.run(["bash", "-ec", split], cwd=tmp_path, check=True)
    near, central = (groups((tmp_path / f"{name}.rules.yml").read_text()) for name in ("near", "central"))
    assert [group["name"] for group in central] == [LAST]
    assert near + central == sorted(groups(assets.read(RULES)), key=lambda group: group["name"] == LAST)


# --- by their own checkers ---------------------------------------------------------------------------------


def promtool(*arguments: str | Path) -> None:
    found = shutil.which("promtool")
    assert found
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.live
def test_promtool_accepts_the_configurations() -> None:
    for file in sorted((ROOT / "deploy" / "scaling").glob("prometheus-*.yml")):
        promtool("check", "config", file)


@pytest.mark.live
def test_alerts_are_the_same_where_two_replicas_were_not_merged(tmp_path: Path) -> None:
    content = yaml.load((ROOT / "alerts" / "modelarts.rules.test.yml").read_text(), Promtools)
    content["rule_files"] = [str(ROOT / RULES)]
    content["tests"] = content["tests"][:4]
    for test in content["tests"]:
        test["input_series"] = [
            {**row, "series": labelled(row["series"], f'cluster="eu-de", replica="{replica}"')}
            for row in test["input_series"]
            for replica in "ab"
        ]
    (tmp_path / "replicas.yml").write_text(yaml.safe_dump(content))
    promtool("test", "rules", tmp_path / "replicas.yml")


def labelled(series: str, labels: str) -> str:
    name, _, others = series.partition("{")
    return f"{name}{{{labels}, {others or '}'}"
