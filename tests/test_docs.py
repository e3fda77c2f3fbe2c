"""What the pages say is so: names exist, links lead somewhere, and nothing is left out."""

import json
import re
import shutil
import subprocess
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from docs.source import causes as causes_docs
from docs.source import man as man_docs
from docs.source import metrics as metrics_docs
from docs.source import recordings as recordings_docs
from exporter.adapters.prometheus.exposition import openmetrics_head
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.cli import COMMANDS
from exporter.core import records
from exporter.core.metrics.families import PROJECT_FAMILIES, SERVICE_FAMILIES
from tests import promql
from tests.guides import blocks

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            path
            for folder in ("docs", "deploy", "alerts", "dashboards")
            for path in (ROOT / folder).rglob("*.md")
        ),
    ]
)
README = (ROOT / "README.md").read_text()
FIELDS_PAGE = (ROOT / "docs" / "api-fields.md").read_text()

# The metrics that users hold on to: what is exposed of a service (beside project, service_id and
# service_name), and of a project (beside project). Name, kind, further labels.
MODEL = "model_id model_name model_version"
SERVICES = f"""
modelarts_service_update_result                            gauge     result
modelarts_service_update_failing                           gauge
modelarts_service_updates_total                            counter   result
modelarts_service_updates_running                          gauge
modelarts_service_oldest_running_update_timestamp_seconds  gauge
modelarts_service_last_update_timestamp_seconds            gauge
modelarts_service_last_success_timestamp_seconds           gauge
modelarts_service_last_failure_timestamp_seconds           gauge
modelarts_service_update_duration_seconds                  summary   result
modelarts_service_restore_duration_seconds                 summary
modelarts_service_last_update_nodes                        gauge     result
modelarts_service_update_nodes_total                       counter   result
modelarts_edge_node_operation_success                      gauge     node_id node_name operation
modelarts_service_model_info                               gauge     {MODEL} specification
modelarts_service_pool_info                                gauge     cluster_id
modelarts_service_model_traffic_weight_ratio               gauge     {MODEL}
modelarts_service_model_instances                          gauge     {MODEL}
modelarts_service_model_cpu_cores                          gauge     {MODEL}
modelarts_service_model_memory_bytes                       gauge     {MODEL}
modelarts_service_model_gpus                               gauge     {MODEL}
modelarts_service_last_failure_info                        gauge     reason message
modelarts_service_events_total                             counter   event_type
modelarts_service_abnormal_events_total                    counter   reason
modelarts_service_last_event_timestamp_seconds             gauge     event_type
modelarts_service_deploy_phase_duration_seconds            gauge     phase
modelarts_service_deploy_phase_start_timestamp_seconds     gauge     phase
modelarts_service_info                                     gauge     infer_type workspace_id owner
modelarts_service_status                                   gauge     status
modelarts_service_invocations_total                        counter
modelarts_service_failed_invocations_total                 counter
modelarts_service_up                                       gauge
modelarts_service_last_poll_timestamp_seconds              gauge
"""
PROJECTS = """
modelarts_up                                               gauge
modelarts_services                                         gauge
modelarts_project_info                                     gauge     project_id endpoint
modelarts_update_duration_seconds                          histogram result
modelarts_restore_duration_seconds                         histogram
"""
# What is exposed of the exporter itself; all labels.
OWN = """
modelarts_exporter_build_info                              gauge     version revision python
modelarts_exporter_web_info                                gauge     external_url
modelarts_exporter_shard_info                              gauge     index total
modelarts_exporter_api_requests_total                      counter   project endpoint code
modelarts_exporter_api_request_duration_seconds            histogram project endpoint
modelarts_exporter_api_rate_limit                          gauge     project
modelarts_exporter_api_throttled_total                     counter   project
modelarts_exporter_poll_duration_seconds                   histogram project
modelarts_exporter_poll_interval_seconds                   gauge     project
modelarts_exporter_sweep_duration_seconds                  gauge     project
modelarts_exporter_last_list_timestamp_seconds             gauge     project
modelarts_exporter_torn_reads_total                        counter   project
modelarts_exporter_ledger_anomalies_total                  counter   project kind
modelarts_exporter_audit_differences_total                 counter   project kind
modelarts_exporter_audit_last_success_timestamp_seconds    gauge     project
modelarts_exporter_unknown_values_total                    counter   project field
modelarts_exporter_unclassified_events_total               counter   project
modelarts_exporter_clock_skew_seconds                      gauge     project
modelarts_exporter_token_expiry_timestamp_seconds          gauge     project
modelarts_exporter_store_commit_duration_seconds           histogram
modelarts_exporter_store_size_bytes                        gauge
modelarts_exporter_log_errors_total                        counter
modelarts_exporter_store_writable                          gauge
modelarts_exporter_config_last_reload_successful           gauge
modelarts_exporter_config_last_reload_success_timestamp_seconds gauge
modelarts_exporter_alertmanager_notifications_total        counter   alertmanager outcome
modelarts_exporter_alerts_firing                           gauge     alertname
"""

Promise = tuple[str, str, frozenset[str]]


def promised(table: str) -> set[Promise]:
    """The rows of one of the lists above."""
    rows = [line.split() for line in table.strip().splitlines()]
    return {(name, kind, frozenset(labels)) for name, kind, *labels in rows}


# -- metrics


@pytest.mark.parametrize(
    ("table", "families"),
    [(SERVICES, SERVICE_FAMILIES), (PROJECTS, PROJECT_FAMILIES)],
    ids=["services", "projects"],
)
def test_the_tables_expose_what_is_promised_and_nothing_else(table: str, families: Any) -> None:
    rows = [(family.name, family.kind, frozenset(family.labels)) for family in families]
    assert set(rows) == promised(table)
    assert len(rows) == len(set(rows))


def test_the_page_names_what_is_promised_of_the_exporter_itself_and_nothing_else() -> None:
    page = metrics_docs.reference().partition("## The exporter itself")[2]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", page, re.MULTILINE)
    found = {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert found == promised(OWN)


def test_the_page_of_the_metrics_is_written_from_the_tables() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert page == metrics_docs.reference(), "run: make docs"


def test_the_page_of_the_causes_is_written_from_the_rules() -> None:
    page = (ROOT / "docs" / "causes.md").read_text(encoding="utf-8")
    assert page == causes_docs.reference(), "run: make docs"


def test_the_page_of_the_recordings_is_written_from_the_table_of_their_fields() -> None:
    page = (ROOT / "docs" / "recordings.md").read_text(encoding="utf-8")
    assert page == recordings_docs.reference(), "run: make docs"


def metric_names() -> set[str]:
    """Every name that a sample, or a query, may have."""
    metrics = SelfMetrics(["p"], ["a"], version="", revision="").render(openmetrics=False).decode()
    names = {row[0] for table in (SERVICES, PROJECTS, OWN) for row in promised(table)}
    names |= {family.name for family in text_string_to_metric_families(metrics)}
    return names | {name + suffix for name in names for suffix in ("_bucket", "_sum", "_count")}


def test_every_metric_has_a_help_of_one_style_and_the_unit_that_its_name_ends_in() -> None:
    heads = b"".join(openmetrics_head(family) for family in (*SERVICE_FAMILIES, *PROJECT_FAMILIES))
    own = SelfMetrics(["p"], ["a"], version="", revision="").render(openmetrics=True)
    ours = {
        family.name: family
        for family in parse_openmetrics((heads + own + b"# EOF\n").decode())  # type: ignore[no-untyped-call]
        if family.name.startswith("modelarts_")
    }
    assert len(ours) == len(promised(SERVICES) | promised(PROJECTS) | promised(OWN))
    for name, family in ours.items():
        assert re.fullmatch(r"[A-Z0-9].*[a-z0-9)]\.", family.documentation), name
        assert family.unit == (re.findall(r"_(seconds|bytes|ratio)$", name) or [""])[0], name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_metric_that_a_page_names_exists(page: Path) -> None:
    # A name with colons is that of a recording rule.
    named = set(re.findall(r"(?<![\w:])modelarts_[a-z_]*[a-z](?![\w:])", page.read_text()))
    assert named - metric_names() == set()


# Those of the runbooks have a test of their own.
WITH_QUERIES = [
    page for page in PAGES if page.parent.name != "runbooks" and blocks(page.read_text(), "promql")
]


@pytest.mark.parametrize("page", WITH_QUERIES, ids=lambda page: page.stem)
def test_every_query_of_a_page_works(page: Path) -> None:
    assert [fault for query in blocks(page.read_text(), "promql") for fault in promql.faults(query)] == []


# -- links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", page.read_text())
    for target, _, anchor in (link.partition("#") for link in links if "://" not in link):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        assert file.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as a forge makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_comparison_has_a_source_for_every_number_and_a_number_for_every_source() -> None:
    claims, _, sources = (ROOT / "docs" / "comparison.md").read_text().partition("## Sources")
    numbered = re.findall(r"^(\d)\. .*?(?=^\d\. |\Z)", sources, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"\[(\d)\]", claims)) == set(numbered)


# -- the command line


def flags_of(command: str) -> set[str]:
    """The flags of a command."""
    parser = ArgumentParser()
    COMMANDS[command][0](parser)
    return set(re.findall(r"--[a-z][a-z.-]*", parser.format_help())) - {"--help"}


def test_the_readme_names_every_command_and_flag_and_no_other() -> None:
    commands = README.partition("### Commands")[2].partition("### Flags")[0]
    named = set(re.findall(r"modelarts-exporter ([a-z][a-z-]*)", commands)) | {"run"}
    assert named == set(COMMANDS)
    ours = {flag for command in COMMANDS for flag in flags_of(command)}
    reference = README.partition("## Reference")[2]
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z.-]*", reference)) - {"--help"} == ours


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"`modelarts-exporter ([a-z][a-z-]*)", text)) <= set(COMMANDS)
    assert set(re.findall(r"`(--shard[a-z.]*)", text)) <= flags_of("run") | flags_of("size")


def test_the_man_page_is_written_from_the_parser_and_names_every_command_and_flag() -> None:
    page = (ROOT / "docs" / "modelarts-exporter.1").read_text(encoding="utf-8")
    assert page == man_docs.page(), "run: make docs"
    for name in COMMANDS:
        part = page.partition(f"\n.B modelarts\\-exporter {name}".replace("check-", "check\\-"))[2]
        part = part.partition("\n.SH")[0].replace("\\-", "-")
        assert set(re.findall(r"^\\fB(--[a-z.-]+)\\fP", part, re.MULTILINE)) == flags_of(name) - {"--version"}


def test_roff_finds_nothing_to_complain_about_in_the_man_page() -> None:
    if groff := shutil.which("groff"):
        check = [groff, "-man", "-ww", "-z", "-Tutf8", str(ROOT / "docs" / "modelarts-exporter.1")]
        done = subprocess.run(check, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


# -- the fields of the API

# Of the two published tables, the update log's and the event log's.
UPDATE_LOG = """
service_id service_name logs update_time result config success_num failed_num result_detail cluster_id
extend_config model_id model_name model_version weight specification custom_spec instance_count envs
node_id node_name operation cpu memory gpu_p4
"""
EVENT_LOG = """
service_id service_name events total_count count occur_time event_type event_info
start_time end_time offset limit sort_by order
"""


@pytest.mark.parametrize("table", [UPDATE_LOG, EVENT_LOG], ids=["update log", "event log"])
def test_the_page_of_the_fields_leaves_no_documented_one_out(table: str) -> None:
    assert set(table.split()) - set(re.findall(r"`(\w+)`", FIELDS_PAGE)) == set()


@pytest.mark.parametrize("kind", ["services_list", "service_detail", "logs", "events"])
def test_the_page_of_the_fields_leaves_none_of_a_sample_out(kind: str) -> None:
    files = [
        file
        for file in (ROOT / "tests" / "data" / "samples").glob("*.json")
        if re.match(rf"(synthetic_)?{kind}_", file.name)
    ]
    assert files
    found = {key for file in files for key in keys(json.loads(file.read_bytes()))}
    assert found - set(re.findall(r"`(\w+)`", FIELDS_PAGE)) == set()


def keys(value: Any) -> Iterator[str]:
    """Every name of a field in a body."""
    if isinstance(value, dict):
        yield from value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from keys(part)


def test_the_page_of_the_fields_says_where_every_field_of_a_record_comes_from() -> None:
    kept = (records.ServiceRow, records.Update, records.Model, records.NodeResult, records.Event)
    ours = {f"{record.__name__}.{name}" for record in kept for name in record.__struct_fields__}
    assert set(re.findall(r"`([A-Z]\w+\.\w+)`", FIELDS_PAGE)) == ours


def test_the_page_of_the_fields_names_metrics_that_exist() -> None:
    rows = [line.split("|") for line in FIELDS_PAGE.splitlines() if line.startswith("| ")]
    fields = {name for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row[3])}
    # In the last column are besides metrics only fields, and keys of the config file.
    named -= fields | {"include_names", "exclude_names", "infer_types"}
    full = {name if name.startswith("modelarts_") else f"modelarts_service_{name}" for name in named}
    assert full - metric_names() == set()
