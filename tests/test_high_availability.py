"""What docs/high-availability.md says: two exporters count the same, and its files and queries are valid."""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from exporter.config import load
from exporter.emulator import Cloud, Server
from tests import promql
from tests.guides import DOCS, blocks

from .commands import RunningExporter, configured, project, value

PAGE = (DOCS / "high-availability.md").read_text()
TOTAL = "modelarts_service_updates_total"


# What two exporters may say differently that have both watched a service; the page says why.
MAY_DIFFER = (
    "modelarts_service_last_poll_timestamp_seconds",
    "modelarts_service_update_duration_seconds",
    "modelarts_service_restore_duration_seconds",
    "modelarts_service_deploy_phase_duration_seconds",
    "modelarts_update_duration_seconds",
    "modelarts_restore_duration_seconds",
    "modelarts_exporter_",
    "process_",
    "python_",
)


def same_in_both(page: str) -> set[str]:
    """The samples that do not depend on which exporter is asked."""
    return {line for line in page.splitlines() if not line.startswith(("#", *MAY_DIFFER))}


def block(begin: str) -> str:
    """The one block of YAML that begins so."""
    (found,) = [text for text in blocks(PAGE, "yaml") if text.startswith(begin)]
    return found


@pytest.fixture(name="cloud")
def _cloud() -> Iterator[tuple[Cloud, str]]:
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    with Server(cloud) as server:
        yield cloud, server.url


def test_two_exporters_count_everything_each_and_one_that_came_later_grows_by_as_much(
    cloud: tuple[Cloud, str], tmp_path: Path
) -> None:
    there, url = cloud
    service = there.add_service(name="mnist")
    there.add_update(service, "FAIL")
    with ExitStack() as stack:
        exporters = []
        for name, seen in (("a", 1), ("b", 1), ("later", 0)):
            if not seen:  # the cloud forgets what is old
                there.service(service).updates.clear()
            (tmp_path / name).mkdir()
            config = configured(tmp_path / name, project(url))
            exporter = stack.enter_context(RunningExporter(tmp_path / name, config))
            exporter.ready()
            exporter.await_value(seen, TOTAL, service_id=service, result="FAIL")
            exporters.append((exporter, seen))
        there.add_update(service, "FAIL")
        there.add_event(service, "abnormal", "failed to pull image, retry later")
        for exporter, seen in exporters:
            exporter.await_value(seen + 1, TOTAL, service_id=service, result="FAIL")
            exporter.await_value(1, "modelarts_service_abnormal_events_total", reason="image_pull")
            assert value(exporter.metrics(), "modelarts_service_update_failing", service_id=service) == 1
        # Two that have watched together say the same, but for what the page names.
        first, second = (same_in_both(each.metrics()) for each, seen in exporters if seen)
        assert first ^ second == set()
        assert len(first) > 30
        for exporter, _ in exporters:
            assert exporter.end() == 0


def test_the_page_names_what_may_differ() -> None:
    (table,) = re.findall(r"^\| Series \| Why they differ.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert {name.rstrip("*") for name in re.findall(r"`([a-z_]+\*?)`", table)} == set(MAY_DIFFER)


def test_the_page_says_of_every_series_that_is_of_no_service_what_to_do_over_shards() -> None:
    (table,) = re.findall(r"^\| Series \| Over shards.*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    named = re.findall(r"`(modelarts_[a-z_]+)`", table)
    metrics = (DOCS / "metrics.md").read_text()
    there = re.findall(r"^\| `(modelarts_[a-z_]+)`", metrics[metrics.index("## Projects") :], re.MULTILINE)
    assert sorted(named) == sorted(there)


def test_the_alertmanagers_of_the_page_fit_into_a_config_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text(yaml.safe_dump({"projects": [project("http://127.0.0.1")]}) + block("alertmanager:"))
    found = load(str(file), {}).alertmanager
    assert found is not None
    assert len(found.urls) == 2


def test_the_severity_of_the_page_can_be_rendered_into_the_rules(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(block("alerts:"))
    render = [sys.executable, "alerts/render.py", f"--config={tmp_path / 'mine.yml'}"]
    subprocess.run([*render, f"--output={tmp_path / 'rules.yml'}"], cwd=DOCS.parent, check=True)
    groups = yaml.safe_load((tmp_path / "rules.yml").read_text())["groups"]
    rules = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    assert rules["ModelArtsExporterDown"]["labels"]["severity"] == "warning"


def test_the_rule_of_the_page_is_about_what_prometheus_has() -> None:
    (group,) = yaml.safe_load(block("groups:"))["groups"]
    (rule,) = group["rules"]
    assert promql.faults(rule["expr"]) == []


def test_the_page_names_no_alert_that_there_is_not() -> None:
    there = {page.stem for page in (DOCS / "runbooks").glob("*.md")} | {"ModelArtsAllExportersDown"}
    assert set(re.findall(r"\bModelArts[A-Z]\w+", PAGE)) <= there


@pytest.mark.live
def test_prometheus_takes_the_files_of_the_page(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    assert promtool
    for begin, what in (("scrape_configs:", "config"), ("global:", "config"), ("groups:", "rules")):
        file = tmp_path / f"{what}.yml"
        file.write_text(block(begin))
        subprocess.run([promtool, "check", what, str(file)], check=True, capture_output=True)
