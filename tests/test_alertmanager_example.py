"""The example configuration of Alertmanager: routes, inhibit rules, and the text of a message."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import debian

ALERTS = Path(__file__).parents[1] / "alerts"
EXAMPLE = ALERTS / "alertmanager.example.yml"
CONFIG: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
PUSHED = "ModelArtsDeploymentFailure"

SERVICE = {"project": "prod", "service_id": "s1"}


def rules() -> dict[str, str]:
    """Severity by alert."""
    groups = yaml.safe_load((ALERTS / "modelarts.rules.yml").read_text())["groups"]
    return {r["alert"]: r["labels"]["severity"] for g in groups for r in g["rules"] if "alert" in r}


def amtool(*arguments: str, program: Path | None = None) -> str:
    found = program or shutil.which("amtool")
    if found is None:
        pytest.skip("not installed: amtool")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.live
def test_amtool_takes_it_with_its_template() -> None:
    said = amtool("check-config", str(EXAMPLE))
    assert "1 templates" in said


@pytest.mark.live
@pytest.mark.parametrize(
    ("alert", "receiver"),
    [
        ("alertname=ModelArtsUpdateFailed severity=critical", "pager"),
        (f"alertname={PUSHED} severity=critical source=modelarts-exporter", "pager"),
        ("alertname=ModelArtsAbnormalEvents severity=warning", "tickets"),
        ("alertname=ModelArtsUpdateSlow severity=info", "chat"),
        ("alertname=ModelArtsWatchdog severity=none", "dead-mans-switch"),
        ("alertname=ModelArtsFleetInhibitor severity=none", "nobody"),
        ("alertname=SomethingElse", "chat"),
    ],
)
def test_an_alert_goes_where_its_severity_says(alert: str, receiver: str) -> None:
    found = amtool("config", "routes", "test", f"--config.file={EXAMPLE}", *alert.split())
    assert found.split() == [receiver]


def commented_receivers() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The receivers in comments: their service, in place of which one, and how they are configured."""
    name = service = ""
    lines: dict[tuple[str, str], list[str]] = {}
    for line in EXAMPLE.read_text().partition("\nreceivers:\n")[2].splitlines():
        if line.startswith("  - name: "):
            name = line.removeprefix("  - name: ")
        elif found := re.fullmatch(r"    # ([A-Z][^,:]*)(, from .*)?:", line):
            service = found[1]
        elif line.startswith("    # "):
            lines.setdefault((service, name), []).append(line.removeprefix("    # "))
    for (service, name), block in lines.items():
        yield service, name, yaml.safe_load("\n".join(block))


RECEIVERS = {service: (name, configs) for service, name, configs in commented_receivers()}
# The amtool of this machine may be older than some; of the newest Debian it is not.
SERVICES = ("PagerDuty", "Slack", "Microsoft Teams")


@pytest.mark.live
@pytest.mark.parametrize("service", SERVICES)
def test_the_newest_amtool_takes_each_receiver_that_is_commented(service: str, tmp_path: Path) -> None:
    name, configs = RECEIVERS[service]
    others = [each for each in CONFIG["receivers"] if each["name"] != name]
    config = {**CONFIG, "templates": [], "receivers": [*others, {"name": name, **configs}]}
    file = tmp_path / "alertmanager.yml"
    file.write_text(yaml.safe_dump(config))
    try:
        newest = debian.newest("prometheus-alertmanager", "amtool")
    except debian.CannotBeFetchedError as error:
        pytest.skip(f"left out: {error}")
    amtool("check-config", str(file), program=newest)


@pytest.mark.live
@pytest.mark.parametrize(
    "text",
    [
        *(
            config.get("description", config.get("text"))
            for service in SERVICES
            for config in next(iter(RECEIVERS[service][1].values()))
        ),
        *(config["text"] for receiver in CONFIG["receivers"] for config in receiver.get("email_configs", ())),
    ],
)
def test_each_receiver_that_people_read_shows_the_cause(text: str, tmp_path: Path) -> None:
    cause = {"cause": "Failed to pull image", "cause_reason": "image_pull"}
    data = {
        "status": "firing",
        "commonLabels": {"alertname": PUSHED},
        "commonAnnotations": cause,
        "alerts": [
            {"status": "firing", "labels": {}, "annotations": cause, "startsAt": "2026-01-02T03:04:05Z"}
        ],
    }
    (tmp_path / "data.json").write_text(json.dumps(data))
    glob = f"--template.glob={ALERTS / 'modelarts.tmpl'}"
    said = amtool(
        "template", "render", glob, f"--template.text={text}", f"--template.data={tmp_path / 'data.json'}"
    )
    assert cause["cause"] in said


def hidden(target: dict[str, str], by: dict[str, str]) -> bool:
    """Whether the example hides one alert while the other fires, as Alertmanager decides."""
    return any(
        matches(by, rule["source_matchers"])
        and matches(target, rule["target_matchers"])
        and all(by.get(name, "") == target.get(name, "") for name in rule["equal"])
        for rule in CONFIG["inhibit_rules"]
    )


def matches(labels: dict[str, str], matchers: list[str]) -> bool:
    parsed = [re.fullmatch(r'(\w+)(=~?)"([^"]*)"', matcher) for matcher in matchers]
    assert all(parsed), matchers
    return all(
        re.fullmatch(found[3] if found[2] == "=~" else re.escape(found[3]), labels.get(found[1], ""))
        for found in parsed
        if found is not None
    )


def alert(name: str, **labels: str) -> dict[str, str]:
    source = {"source": "modelarts-exporter"} if name == PUSHED else {}
    return {"alertname": name, **source, **labels}


@pytest.mark.parametrize(
    ("target", "by"),
    [
        ("ModelArtsUpdateFailed", PUSHED),
        ("ModelArtsAbnormalEvents", "ModelArtsServiceStoppedByCloud"),
        ("ModelArtsInvocationsFailing", "ModelArtsServiceFailed"),
        ("ModelArtsEdgeNodeOperationFailed", "ModelArtsEdgeRolloutDegraded"),
        ("ModelArtsUpdateStuck", "ModelArtsUpdateStuckLong"),
        ("ModelArtsUpdateSlow", "ModelArtsUpdateStuck"),
        ("ModelArtsAbnormalEvents", "ModelArtsAbnormalEventBurst"),
    ],
)
def test_the_more_telling_alert_hides_the_other_of_the_same_service_alone(target: str, by: str) -> None:
    assert hidden(alert(target, **SERVICE), alert(by, **SERVICE))
    assert not hidden(alert(target, **SERVICE), alert(by, project="prod", service_id="s2"))
    assert not hidden(alert(target, **SERVICE), alert(by, project="test", service_id="s1"))
    assert not hidden(alert(by, **SERVICE), alert(target, **SERVICE))


@pytest.mark.parametrize(
    ("fleet", "hides"),
    [
        ("updates", {PUSHED, "ModelArtsUpdateFailed", "ModelArtsUpdateFailingRepeatedly"}),
        ("services", {"ModelArtsServiceFailed"}),
        ("stuck", {"ModelArtsUpdateStuck", "ModelArtsUpdateStuckLong", "ModelArtsUpdateSlow"}),
    ],
)
def test_a_failure_of_many_hides_the_alerts_of_its_own_services_and_kind_alone(
    fleet: str, hides: set[str]
) -> None:
    inhibitor = alert("ModelArtsFleetInhibitor", **SERVICE, fleet=fleet)
    assert {name for name in (*rules(), PUSHED) if hidden(alert(name, **SERVICE), inhibitor)} == hides
    for name in hides:
        assert not hidden(alert(name, project="prod", service_id="s2"), inhibitor)
        assert not hidden(alert(name, project="test", service_id="s1"), inhibitor)


def test_no_alert_hides_a_page_that_may_be_about_another_failure() -> None:
    critical = [PUSHED, *(name for name, severity in rules().items() if severity == "critical")]
    hiding = {
        (target, by)
        for target in critical
        for by in (*rules(), PUSHED)
        if hidden(alert(target, **SERVICE), alert(by, **SERVICE))
    }
    assert hiding == {
        ("ModelArtsUpdateFailed", PUSHED),  # the same failure, by definition
        ("ModelArtsAbnormalEventBurst", "ModelArtsServiceStoppedByCloud"),
    }


def test_a_refused_credential_hides_the_tickets_that_follow_from_it() -> None:
    refused = alert("ModelArtsApiAuthFailing", project="prod")
    for name in ("ModelArtsApiErrors", "ModelArtsTokenExpiresSoon"):
        assert hidden(alert(name, project="prod"), refused)
    # The rules themselves say nothing of old data while its cause is refused; later it may have another one.
    assert not hidden(alert("ModelArtsDataStale", project="prod"), refused)


def test_no_loss_of_sight_hides_a_failure() -> None:
    for blind in (
        "ModelArtsDataStale",
        "ModelArtsExporterDown",
        "ModelArtsExporterAbsent",
        "ModelArtsApiErrors",
    ):
        for name in (PUSHED, "ModelArtsUpdateFailed", "ModelArtsUpdateStuckLong", "ModelArtsServiceFailed"):
            assert not hidden(alert(name, **SERVICE), alert(blind, project="prod"))


def test_the_watchdog_is_never_hidden_and_no_alert_hides_itself() -> None:
    names = [*rules(), PUSHED]
    for name in names:
        assert not hidden(alert("ModelArtsWatchdog"), alert(name, **SERVICE))
        assert not hidden(alert(name, **SERVICE), alert(name, **SERVICE))
    assert all(
        not (
            hidden(alert(a, **SERVICE), alert(b, **SERVICE))
            and hidden(alert(b, **SERVICE), alert(a, **SERVICE))
        )
        for a in names
        for b in names
    )


def test_it_names_only_alerts_that_exist() -> None:
    named = set(re.findall(r"ModelArts\w+", EXAMPLE.read_text()))
    assert named <= {*rules(), PUSHED}


@pytest.mark.live
def test_a_message_has_cause_remedy_and_events_if_they_are_known(tmp_path: Path) -> None:
    links = {"runbook_url": "http://docs/x.md", "dashboard_url": "http://grafana/d/x"}
    more = {"grafana_url": "http://grafana/d/y", "console_url": "http://console/x"}
    data = {
        "status": "firing",
        "commonLabels": {"alertname": PUSHED, "project": "prod", "service_name": "chat"},
        "alerts": [
            {
                "status": "firing",
                "labels": {"severity": "critical"},
                "annotations": {
                    "summary": "It failed.",
                    "description": "The update failed.",
                    "cause": "Failed to pull image",
                    "cause_reason": "image_pull",
                    "remedy": "Check SWR.",
                    "model": "llm 1.4.2",
                    "recent_events": "first\nsecond",
                    **links,
                    **more,
                },
                "startsAt": "2026-01-02T03:04:05Z",
                "endsAt": "0001-01-01T00:00:00Z",
            },
            {
                "status": "resolved",
                "labels": {"severity": "warning"},
                "annotations": {"summary": "Events.", "description": "There were some.", **links},
                "startsAt": "2026-01-02T03:04:05Z",
                "endsAt": "2026-01-02T04:04:05Z",
            },
        ],
    }
    (tmp_path / "data.json").write_text(json.dumps(data))
    said = amtool(
        "template",
        "render",
        f"--template.glob={ALERTS / 'modelarts.tmpl'}",
        '--template.text={{ template "modelarts.title" . }}|{{ template "modelarts.text" . }}',
        f"--template.data={tmp_path / 'data.json'}",
    )
    title, _, text = said.partition("|")
    assert title == f"[FIRING 1] {PUSHED} chat in prod"
    assert text.strip().splitlines() == [
        "FIRING critical: It failed.",
        "The update failed.",
        "Cause (image_pull): Failed to pull image",
        "What to do: Check SWR.",
        "Model: llm 1.4.2",
        "Recent events:",
        "first",
        "second",
        "Since: 2026-01-02 03:04:05 UTC",
        "Runbook: http://docs/x.md",
        "Dashboard: http://grafana/d/x",
        "Grafana: http://grafana/d/y",
        "Console: http://console/x",
        "",
        "RESOLVED warning: Events.",
        "There were some.",
        "Since: 2026-01-02 03:04:05 UTC, until 2026-01-02 04:04:05 UTC",
        "Runbook: http://docs/x.md",
        "Dashboard: http://grafana/d/x",
    ]
