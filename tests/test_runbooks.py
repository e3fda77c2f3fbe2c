"""Alerts, runbooks, queries and links hold together."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.core.classifier.remedies import REMEDIES
from tests import promql

ROOT = Path(__file__).parents[1]
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = sorted(RUNBOOKS.glob("*.md"))
HEADINGS = [
    "Meaning",
    "Impact",
    "Diagnosis",
    "Mitigation",
    "False positives",
    "How to test this alert",
]
PUSHED = "ModelArtsDeploymentFailure"

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def alerts() -> set[str]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "alerts" / "modelarts.rules.yml").read_text())
    return {rule["alert"] for group in found["groups"] for rule in group["rules"] if "alert" in rule}


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    assert {page.stem for page in PAGES} == alerts() | {PUSHED}


@each_page
def test_a_runbook_has_all_its_headings_in_order_and_something_below_each(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# {page.stem}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert all(part.strip() for part in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:])


@each_page
def test_a_runbook_gives_queries_that_work_the_call_to_the_cloud_and_the_page(page: Path) -> None:
    diagnosis = section(page, "Diagnosis")
    queries = re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL)
    assert queries
    assert [fault for query in queries for fault in promql.faults(query)] == []
    assert 'curl -sS -H "X-Auth-Token: $TOKEN" "$ENDPOINT/v1/$PROJECT_ID/services' in diagnosis
    assert "Page: `/" in diagnosis
    assert "ashboard" in diagnosis


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "alerts.md"], ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, link


@each_page
def test_what_a_runbook_says_to_run_is_there(page: Path) -> None:
    text = page.read_text()
    for file in re.findall(r"`?(?:promtool test rules|python) (alerts/[\w./-]+)", text):
        assert (ROOT / file).exists(), file
    episodes = yaml.safe_load((ROOT / "exporter" / "emulator" / "episodes.yml").read_text())
    for scenario in re.findall(r"--scenario (\w+)", text):
        assert scenario in episodes, scenario
    demo = (ROOT / "exporter" / "emulator" / "scenarios" / "demo.yml").read_text()
    for service in re.findall(r"`([a-z]+-[a-z]+)` (?:is one|fails|becomes)", text):
        assert f"name: {service}\n" in demo, service


@pytest.mark.parametrize("alert", ["ModelArtsUpdateFailed", PUSHED])
def test_every_cause_has_its_remedy_where_a_failed_update_is_treated(alert: str) -> None:
    named = re.findall(r"^\| `(\w+)` \|", section(RUNBOOKS / f"{alert}.md", "Mitigation"), re.MULTILINE)
    assert named == list(REMEDIES)


def section(page: Path, heading: str) -> str:
    return page.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
