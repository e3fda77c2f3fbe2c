"""Alerts, runbooks, queries and links hold together."""

import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.core.classifier.remedies import REMEDIES
from exporter.emulator import (
    DEFAULT_ACCESS_KEY,
    DEFAULT_DOMAIN,
    DEFAULT_PASSWORD,
    DEFAULT_PROJECT,
    DEFAULT_SECRET_KEY,
    DEFAULT_USER,
    Cloud,
    Server,
)
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


# --- followed word by word, with bash and curl against the emulator -----------------------------------


@pytest.fixture(name="cloud", scope="module")
def _cloud() -> Iterator[tuple[str, str]]:
    """An emulated cloud with one service: its URL, and the id of the service."""
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    service_id = cloud.add_service(name="chat")
    cloud.add_update(service_id, "FAIL")
    cloud.add_event(service_id, "abnormal", "failed to pull image, retry later")
    with Server(cloud) as server:
        yield server.url, service_id


def recipe(sign_in: str) -> str:
    """The block of docs/alerts.md for one way to sign in, after its bold name."""
    page = (ROOT / "docs" / "alerts.md").read_text().partition("## Asking the cloud by hand")[2]
    return page.partition(f"**{sign_in}**")[2].partition("```sh\n")[2].partition("```")[0]


def bash(script: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", script], input=typed, capture_output=True, text=True, check=False)


def asked(cloud: tuple[str, str], sign_in: str, then: str, typed: str = "", **values: str) -> str:
    """What the runbooks' requests answer after this way to sign in, with these values filled in."""
    url, service_id = cloud
    script = recipe(sign_in)
    for name, value in values.items():
        script, found = re.subn(rf"\b{name}=[^\s#]+", f"{name}={value}", script)
        assert found, name
    known = f"ENDPOINT={url} PROJECT_ID={DEFAULT_PROJECT} SERVICE_ID={service_id}\n"
    done = bash(known + script + then, typed)
    assert done.returncode == 0, done.stderr
    return done.stdout


REQUESTS = sorted(
    {
        line.strip()
        for page in PAGES
        for line in page.read_text().splitlines()
        if '-H "X-Auth-Token: $TOKEN"' in line
    }
)


@pytest.mark.parametrize("sign_in", ["password", "access key"])
def test_every_request_of_a_runbook_is_answered_after_signing_in_as_the_page_says(
    sign_in: str, cloud: tuple[str, str]
) -> None:
    every = "".join(f"{request} -w '\\n%{{http_code}}\\n'\n" for request in REQUESTS)
    if sign_in == "password":
        user = {"IAM_ENDPOINT": f"{cloud[0]}/v3", "IAM_USER": DEFAULT_USER, "IAM_DOMAIN": DEFAULT_DOMAIN}
        said = asked(cloud, sign_in, every, DEFAULT_PASSWORD + "\n", **user)
        assert re.findall(r"^(\d{3})$", said, re.MULTILINE) == ["200"] * len(REQUESTS)
    else:
        said = asked(
            cloud, sign_in, "\n".join(REQUESTS), DEFAULT_SECRET_KEY + "\n", ACCESS_KEY=DEFAULT_ACCESS_KEY
        )
    assert len(re.findall(r'^\{"service_id"|^\{"total_count"|\}\{"', said, re.MULTILINE)) == len(REQUESTS), (
        said
    )
    assert "error_code" not in said


def test_a_token_file_signs_in_too(cloud: tuple[str, str], tmp_path: Path) -> None:
    user = {"IAM_ENDPOINT": f"{cloud[0]}/v3", "IAM_USER": DEFAULT_USER, "IAM_DOMAIN": DEFAULT_DOMAIN}
    file = tmp_path / "token"
    asked(cloud, "password", f'printf %s "$TOKEN" >{file}\n', DEFAULT_PASSWORD + "\n", **user)
    url, _ = cloud
    script = recipe("token file").replace("/run/secrets/token", str(file))
    known = f"ENDPOINT={url} PROJECT_ID={DEFAULT_PROJECT}\n"
    assert (
        '"chat"'
        in bash(
            known + script + 'curl -sS -H "X-Auth-Token: $TOKEN" "$ENDPOINT/v1/$PROJECT_ID/services"'
        ).stdout
    )


def test_a_wrong_password_says_so(cloud: tuple[str, str]) -> None:
    user = {"IAM_ENDPOINT": f"{cloud[0]}/v3", "IAM_USER": DEFAULT_USER, "IAM_DOMAIN": DEFAULT_DOMAIN}
    said = asked(cloud, "password", "", "wrong\n", **user)
    assert re.search(r"^No token: .*(password|unauthorized|401)", said, re.IGNORECASE | re.MULTILINE), said
