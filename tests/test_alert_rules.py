"""The alert rules: made as the table says, true to the exporter's metrics, and firing when they should."""

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from tests import debian
from tests import promql as ours

ROOT = Path(__file__).parents[1]
ALERTS = ROOT / "alerts"
RULES = ALERTS / "modelarts.rules.yml"
TESTS = [ALERTS / "modelarts.rules.test.yml", *sorted((ALERTS / "tests").glob("*.test.yml"))]
FACTS = [file for file in TESTS if file.name != "laws.test.yml"]

PROMISED = {
    "ModelArtsUpdateFailed": "critical",
    "ModelArtsUpdateFailingRepeatedly": "info",
    "ModelArtsUpdateStuck": "warning",
    "ModelArtsUpdateStuckLong": "critical",
    "ModelArtsUpdateSlow": "info",
    "ModelArtsFleetUpdateFailures": "critical",
    "ModelArtsFleetServicesDown": "critical",
    "ModelArtsFleetUpdatesStuck": "critical",
    "ModelArtsFleetInhibitor": "none",
    "ModelArtsServiceDegraded": "warning",
    "ModelArtsServiceFailed": "critical",
    "ModelArtsServiceStoppedByCloud": "critical",
    "ModelArtsServiceNotStarting": "warning",
    "ModelArtsInvocationsFailing": "warning",
    "ModelArtsEdgeNodeOperationFailed": "warning",
    "ModelArtsEdgeRolloutDegraded": "critical",
    "ModelArtsAbnormalEvents": "warning",
    "ModelArtsAbnormalEventBurst": "critical",
    "ModelArtsRolloutFlapping": "info",
    "ModelArtsExporterDown": "critical",
    "ModelArtsExporterAbsent": "critical",
    "ModelArtsShardMissing": "critical",
    "ModelArtsStoreNotWritable": "critical",
    "ModelArtsConfigReloadFailed": "warning",
    "ModelArtsDataStale": "critical",
    "ModelArtsServiceDataStale": "warning",
    "ModelArtsServicesUnreadable": "critical",
    "ModelArtsApiErrors": "warning",
    "ModelArtsApiThrottled": "warning",
    "ModelArtsApiAuthFailing": "critical",
    "ModelArtsTokenExpiresSoon": "warning",
    "ModelArtsClockSkew": "warning",
    "ModelArtsPollOverrun": "warning",
    "ModelArtsUnknownApiValues": "info",
    "ModelArtsAuditDifference": "info",
    "ModelArtsAlertPushFailing": "warning",
    "ModelArtsWatchdog": "none",
}

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
COMPARISONS = {">", "<", ">=", "<=", "==", "!="}


def groups(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(text)["groups"]
    return found


def rules(text: str) -> list[dict[str, Any]]:
    return [rule for group in groups(text) for rule in group["rules"] or ()]


SHIPPED = rules(RULES.read_text())
FIRING = [rule for rule in SHIPPED if "alert" in rule]
by_name = pytest.mark.parametrize("rule", FIRING, ids=lambda rule: rule["alert"])


def recorded() -> dict[str, frozenset[str]]:
    """Names of the recording rules, with the labels that the level in the name stands for."""
    labels = {
        "service": ours.SERVICE,
        "instance": ours.TARGET,
        "node": {"node_id", "node_name", "operation"},
        **{name: {name} for name in ("project", "result", "le", "total", "endpoint")},
    }
    return {
        rule["record"]: frozenset().union(*(labels[part] for part in rule["record"].split(":")[0].split("_")))
        for rule in SHIPPED
        if "record" in rule
    }


def seconds(duration: str) -> float:
    return sum(int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+)(ms|s|m|h|d)", duration))


def render(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ALERTS / "render.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# --- made from the table ---------------------------------------------------------------------------


def test_the_shipped_rules_are_those_that_the_table_gives() -> None:
    assert render("--output", "-").stdout == RULES.read_text(), "run: python alerts/render.py"


def test_a_file_of_ones_own_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yml"
    mine.write_text(
        "matchers: 'cluster=\"eu\"'\n"
        "labels: {team: ml}\n"
        "alerts:\n"
        "  ModelArtsUpdateStuck: {older_than: 45m, severity: critical}\n"
        "  ModelArtsWatchdog: {enabled: false}\n"
        "severities: {warning: ticket}\n"
    )
    found = {
        rule.get("alert") or rule["record"]: rule
        for rule in rules(render("--config", str(mine), "--output", "-").stdout)
    }
    assert all(rule["labels"]["cluster"] == "eu" for rule in found.values()), "two clusters are told apart"
    stuck, other = found["ModelArtsUpdateStuck"], found["ModelArtsUpdateStuckLong"]
    assert stuck["labels"] == {"severity": "critical", "team": "ml", "cluster": "eu"}
    assert other["labels"] == {"severity": "critical", "team": "ml", "cluster": "eu"}
    assert found["ModelArtsDataStale"]["labels"]["severity"] == "critical"
    assert found["ModelArtsServiceDegraded"]["labels"]["severity"] == "ticket"
    age = "project_service:modelarts_service_open_update_age_seconds"
    assert "> 2700\n" in found[f"{age}:stuck"]["expr"]
    assert "> 7200\n" in found[f"{age}:stuck_long"]["expr"]
    assert found.keys() == {*PROMISED, *recorded()} - {"ModelArtsWatchdog"}
    for rule in found.values():
        for selector in ours.selectors(rule["expr"]):
            named = {matcher.name for matcher in selector.matchers.matchers}
            name = str(selector.name)
            assert "cluster" in named, f"{name} in {rule['expr']}"
        for asked in re.findall("printf `[^`]*`", rule.get("annotations", {}).get("description", "")):
            assert asked.count('cluster="eu",') >= asked.count("project=%q"), asked


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alerts: {ModelArtsUpdateStuk: {for: 1m}}", "alerts.ModelArtsUpdateStuk: unknown key"),
        ("alerts: {ModelArtsUpdateStuck: {window: 1m}}", "alerts.ModelArtsUpdateStuck.window: unknown key"),
        ("routes: {}", "routes: unknown key"),
        ("severities: {page: critical}", "severities.page: unknown key; known are critical, warning, info"),
        ("severities: {critical: very bad}", "'very bad' does not fit; it must be one word"),
        ("matchers: '{cluster=\"eu\"}'", 'it must be label matchers, such as cluster="prod"'),
        ("matchers: cluster=eu", "matchers: 'cluster=eu' does not fit"),
        ("runbooks: see the wiki", "runbooks: 'see the wiki' does not fit; it must be an http or https URL"),
        ("dashboards: {edge: a/b}", "dashboards.edge: 'a/b' does not fit"),
        ("labels: {severity: page}", "labels.severity: 'severity' cannot be the name of a label"),
        ("labels: {team: [ml]}", "labels.team: ['ml'] is no text"),
        ("alerts: {ModelArtsUpdateStuck: {for: 90}}", "alerts.ModelArtsUpdateStuck.for: 90 does not fit"),
        ("alerts: {ModelArtsUpdateStuck: {older_than: 0m}}", "older_than: '0m' does not fit"),
        ("alerts: {ModelArtsUpdateStuck: {older_than: soon}}", "older_than: 'soon' does not fit"),
        ("alerts: {ModelArtsUpdateStuck: {severity: page}}", "severity: 'page' is none of critical, warning"),
        ("alerts: {ModelArtsUpdateStuck: {enabled: maybe}}", "enabled: 'maybe' does not fit"),
        ("alerts: {ModelArtsAbnormalEventBurst: {events: many}}", "events: 'many' does not fit"),
        ("alerts: []", "alerts: must be a mapping"),
        ("job: 5", "job: 5 does not fit"),
        ("job: [", "is not YAML"),
    ],
)
def test_the_error_for_a_wrong_key_or_value_has_its_name(tmp_path: Path, text: str, said: str) -> None:
    mine = tmp_path / "mine.yml"
    mine.write_text(text)
    done = render("--config", str(mine), "--output", "-")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


def test_scaled_rules_are_the_same_rules_with_other_durations() -> None:
    scaled = rules(render("--scale", "0.01", "--output", "-").stdout)
    assert [without_numbers(rule["expr"]) for rule in scaled] == [
        without_numbers(rule["expr"]) for rule in SHIPPED
    ]
    for short, long in zip(scaled, SHIPPED, strict=True):
        assert seconds(short.get("for", "0s")) <= seconds(long.get("for", "0s"))
    for rule in scaled:
        for range_ in re.findall(r"\[(\d+\w+)[\]:]", rule["expr"]):
            assert seconds(range_) >= 5, rule["expr"]  # four scrapes of a second, and one that is late
    ages = {r["record"]: r["expr"] for r in scaled if "record" in r}
    assert "> 18\n" in ages["project_service:modelarts_service_open_update_age_seconds:stuck"]
    assert "> 6\n" in ages["project:modelarts_exporter_last_list_timestamp_seconds:stale"]


def without_numbers(expression: str) -> str:
    return re.sub(r"\d+(\.\d+)?(ms|s|m|h|d)?\b", "N", expression)


# --- the rules as text -----------------------------------------------------------------------------


def test_every_promised_alert_is_there_with_its_severity() -> None:
    assert {rule["alert"]: rule["labels"]["severity"] for rule in FIRING} == PROMISED


def test_every_query_parses_and_asks_for_what_is_exposed() -> None:
    known = recorded()
    wrong = [fault for rule in SHIPPED for fault in ours.faults(rule["expr"], known)]
    assert wrong == []


def test_no_rule_is_there_twice() -> None:
    names = [rule.get("alert") or rule["record"] for rule in SHIPPED]
    assert sorted(set(names)) == sorted(names)


def test_the_name_of_a_recording_has_level_metric_and_operation() -> None:
    for name in recorded():
        level, metric, operation = name.split(":")
        assert metric.startswith("modelarts_"), name
        assert not metric.endswith("_total"), name
        assert re.fullmatch(r"[a-z0-9_]+", level + operation), name


def test_a_range_is_four_scrapes_long_at_least() -> None:
    scrape = yaml.safe_load((ROOT / "deploy/prometheus.example.yml").read_text())["scrape_configs"][0]
    for rule in SHIPPED:
        for range_ in re.findall(r"\[(\d+\w+)[\]:]", rule["expr"]):
            assert seconds(range_) >= 4 * seconds(scrape["scrape_interval"]), rule["expr"]


@by_name
def test_an_alert_compares_in_every_part(rule: dict[str, Any]) -> None:
    for part in alternatives(promql.parse(rule["expr"])):
        compared = [
            node
            for node in ours.nodes(part.prettify())
            if isinstance(node, promql.BinaryExpr) and str(node.op) in COMPARISONS
        ]
        assert compared, f"would fire whatever the value: {part.prettify()}"


def alternatives(expression: promql.Expr) -> Iterator[promql.Expr]:
    """What stands between the `or` of a query."""
    if isinstance(expression, promql.ParenExpr):
        yield from alternatives(expression.expr)
    elif isinstance(expression, promql.BinaryExpr) and str(expression.op) == "or":
        yield from alternatives(expression.lhs)
        yield from alternatives(expression.rhs)
    elif isinstance(expression, promql.BinaryExpr) and str(expression.op) in ("and", "unless"):
        yield from alternatives(expression.lhs)
    else:
        yield expression


@by_name
def test_an_alert_says_what_it_is_and_where_to_look(rule: dict[str, Any]) -> None:
    notes = rule["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert re.fullmatch(r"ModelArts([A-Z][a-z]+)+", rule["alert"])
    assert re.fullmatch(r"[A-Z][^{}]*\.", notes["summary"]), "static, and a sentence"
    assert len(notes["summary"]) < 80, "a headline"
    # A sentence, or a link as the last of it.
    assert re.search(r"(\.(\{\{ end \}\})?|/\S*(\{\{[^{}]*\}\}\S*)*)$", notes["description"]), notes[
        "description"
    ]
    for note in notes.values():
        assert "localhost" not in note
    # Links lead to the exporter's own pages, at the address that it names.
    runbook = "docs/runbooks/" + rule["alert"] + ".md"
    assert notes["runbook_url"].endswith(
        "{{ if $exporter }}{{ $exporter }}/runbooks/" + rule["alert"] + "{{ else }}" + runbook + "{{ end }}"
    )
    assert (ROOT / runbook).exists()
    assert "modelarts_exporter_web_info" in notes["runbook_url"]
    assert re.search(r"\{\{ \$exporter \}\}/(services/|\?|$)", notes["dashboard_url"]), notes["dashboard_url"]


def test_links_lead_to_grafana_and_to_runbooks_elsewhere_if_these_are_named(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yml"
    mine.write_text("runbooks: https://wiki.example\ndashboards: {base_url: 'https://grafana.example'}\n")
    for rule in rules(render("--config", str(mine), "--output", "-").stdout):
        if "alert" in rule:
            notes = rule["annotations"]
            assert notes["runbook_url"] == f"https://wiki.example/{rule['alert']}"
            dashboard = re.match(r"https://grafana\.example/d/([a-z-]{1,40})(\?|$)", notes["dashboard_url"])
            assert dashboard is not None, notes["dashboard_url"]
            assert (ROOT / "dashboards" / f"{dashboard[1]}.json").exists()


def test_each_critical_alert_says_why_somebody_must_get_up_and_no_other_does() -> None:
    table = yaml.safe_load((ALERTS / "config.yml").read_text())["alerts"]
    assert {name for name, values in table.items() if "rise" in values} == {
        name for name, severity in PROMISED.items() if severity == "critical"
    }


@by_name
def test_labels_of_an_alert_do_not_depend_on_the_moment(rule: dict[str, Any]) -> None:
    # A label that changes is another alert: the old one "ends" and somebody is paged again.
    assert "{{" not in str(rule["labels"])
    assert not {"message", "reason"} & set(re.findall(r"by \(([^)]*)\)", rule["expr"]))
    if "absent(" in rule["expr"]:
        assert seconds(rule["for"]) > 0, "absent is true for a moment after each start of Prometheus"


@by_name
def test_queries_in_annotations_are_sound_too(rule: dict[str, Any]) -> None:
    for note in rule["annotations"].values():
        for query in re.findall(r"`([^`]*)`[^{}]*\| query", note):
            assert ours.faults(query.replace("%q", '"x"'), recorded()) == []


def test_an_alert_of_a_service_has_the_labels_of_the_pushed_one() -> None:
    (rule,) = [rule for rule in FIRING if rule["alert"] == "ModelArtsUpdateFailed"]
    (state,) = [other for other in SHIPPED if other.get("record") == rule["expr"].split()[0]]
    levels = set(re.findall(r"max by \(([^)]*)\)", state["expr"]))
    assert levels == {"project, service_id, service_name"}, "also when it is held"


def test_the_documented_faults_would_be_found() -> None:
    assert ours.faults("max(modelarts_service_up) ==") != []
    for query, said in {
        "modelarts_service_upp == 0": "unknown metric modelarts_service_upp",
        'modelarts_service_up{results="FAIL"} == 0': "has no label results",
        'modelarts_service_updates_total{result="FAILED"} > 0': "result is never FAILED",
        "sum by (projects) (modelarts_service_up)": "no metric here has a label projects",
        "rate(modelarts_service_up[5m]) > 0": "which is no counter",
    }.items():
        assert said in ours.faults(query)[0]


def test_the_table_in_the_docs_is_made_from_the_rules() -> None:
    page = (ROOT / "docs" / "alerts.md").read_text()
    assert render("--table").stdout in page, "paste what `python alerts/render.py --table` prints"


# --- the rules as Prometheus sees them ---------------------------------------------------------------


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    assert found is not None  # else the test was left out before
    return found


@pytest.fixture(scope="module")
def newest_promtool() -> str:
    """That of the newest release of Debian: of the package prometheus in trixie, later one of its own."""
    return str(debian.newest("promtool", "promtool"))


# They only compute, so what is timed beside them goes first; and their garbage is collected less often.
BESIDE_OTHERS = {"GOGC": "400", "GOMAXPROCS": "1"}


def run(*command: str) -> str:
    done = subprocess.run(
        ["nice", *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **BESIDE_OTHERS},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.live
def test_promtool_finds_nothing_to_complain_about(
    promtool: str, newest_promtool: str, tmp_path: Path
) -> None:
    scaled = tmp_path / "scaled.yml"
    render("--scale", "0.01", "--output", str(scaled))
    for tool, file in product((promtool, newest_promtool), (RULES, scaled)):
        run(tool, "check", "rules", "--lint=all", "--lint-fatal", str(file))


class Promtools(yaml.SafeLoader):
    """Reads a test as promtool does, for which 0x5 are six samples and not the number five."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        letter: [(tag, regexp) for tag, regexp in rows if tag != "tag:yaml.org,2002:int" or letter != "0"]
        for letter, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def resampled(values: str, every: float) -> str:
    """Samples of each minute, as one in `every` minutes: 0.25 repeats each, 2 leaves out every other."""
    minutes: list[str] = []
    for part in values.split():
        found = re.fullmatch(r"(_|-?[\d.]+)(?:([+-][\d.]+))?(?:x(\d+))?", part)
        if found is None:
            minutes.append(part)  # stale
            continue
        start, step, times = found[1], float(found[2] or 0), int(found[3] or 0)
        if start == "_":
            minutes += ["_"] * max(times, 1)
        else:
            minutes += [repr(float(start) + step * n) for n in range(times + 1)]
    samples: list[str] = []
    before = 0
    for place in [int(n * every) for n in range(math.ceil(len(minutes) / every))]:
        # A scrape that finds nothing writes the stale marker of a series that left since the scrape before.
        left = minutes[place] == "_" and "stale" in minutes[before:place]
        samples.append("stale" if left else minutes[place])
        before = place + 1
    return " ".join([*samples, *(["stale"] if "stale" in minutes[before:] else [])])


def test_samples_are_resampled_as_another_scrape_interval_would_have_them() -> None:
    assert resampled("1+2x2 _x2 stale", 1) == "1.0 3.0 5.0 _ _ stale"
    assert resampled("1+2x2 _ stale", 0.5) == "1.0 1.0 3.0 3.0 5.0 5.0 _ _ stale stale"
    assert resampled("1+2x3 _x2", 2) == "1.0 5.0 _"
    assert resampled("1x2 stale", 2) == "1.0 1.0 stale"
    assert resampled("1x2 stale _x2 1x1", 2).startswith("1.0 1.0 stale 1.0")


# Half of the histories; the others would take minutes.
LONGEST_SECONDS = 70 * 60

# Enough that none of them takes long, so that the workers share them.
PARTS = range(4)


def lasts(test: dict[str, Any]) -> float:
    """Until when something is asked, in seconds."""
    return max(seconds(case["eval_time"]) for case in test["promql_expr_test"])


def laws(part: int, tmp_path: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> str:
    """A file with every fourth history of the laws."""
    content = yaml.load((ALERTS / "tests" / "laws.test.yml").read_text(), Promtools)
    content["rule_files"] = [str(RULES)]
    change(content)
    content["tests"] = content["tests"][part :: len(PARTS)]
    file = tmp_path / "laws.yml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


@pytest.mark.live
@pytest.mark.parametrize("file", FACTS, ids=lambda file: file.name)
def test_the_rules_fire_hold_and_end_as_they_should(promtool: str, file: Path) -> None:
    run(promtool, "test", "rules", str(file))


@pytest.mark.live
@pytest.mark.parametrize("part", PARTS)
def test_the_laws_hold(promtool: str, part: int, tmp_path: Path) -> None:
    run(promtool, "test", "rules", laws(part, tmp_path))


@pytest.mark.long
@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.name)
def test_all_of_it_holds_in_the_newest_prometheus_too(newest_promtool: str, file: Path) -> None:
    run(newest_promtool, "test", "rules", str(file))


# The slowest are tried always. The others take minutes more and have shown nothing else.
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("scrape", "evaluation"),
    [
        pytest.param(0.25, "15s", marks=pytest.mark.long),
        pytest.param(2, "1m", marks=pytest.mark.live),
        pytest.param(0.25, "1m", marks=pytest.mark.long),
        pytest.param(2, "15s", marks=pytest.mark.long),
    ],
)
def test_the_laws_hold_at_all_documented_intervals(
    promtool: str, scrape: float, evaluation: str, part: int, tmp_path: Path
) -> None:
    def change(content: dict[str, Any]) -> None:
        content["evaluation_interval"] = evaluation
        content["tests"] = [test for test in content["tests"] if lasts(test) <= LONGEST_SECONDS]
        for test in content["tests"]:
            test["interval"] = f"{round(scrape * 60)}s"
            for series in test["input_series"]:
                series["values"] = resampled(series["values"], scrape)

    run(promtool, "test", "rules", laws(part, tmp_path, change))


def test_every_alert_is_seen_to_fire_and_to_be_silent() -> None:
    fired: set[str] = set()
    silent: set[str] = set()
    for file in TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for case in test.get("alert_rule_test", ()):
                (fired if case["exp_alerts"] else silent).add(case["alertname"])
            for case in test.get("promql_expr_test", ()):
                asked = re.findall(r'alertname=~?"(\w+)', case["expr"])
                named = set(re.findall(r'alertname="(\w+)"', str(case["exp_samples"])))
                if case["exp_samples"]:
                    fired |= named or set(asked)
                else:
                    silent |= {name for name in PROMISED for start in asked if name.startswith(start)}
    assert fired == set(PROMISED)
    assert silent == set(PROMISED) - {"ModelArtsWatchdog"}
