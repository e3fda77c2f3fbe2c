"""What docs/pipelines.md says: its pipelines run, command by command, on an emulated cloud."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.emulator import (
    DEFAULT_DOMAIN,
    DEFAULT_PASSWORD,
    DEFAULT_PROJECT,
    DEFAULT_USER,
    Cloud,
    Server,
    model,
)

from .commands import POLL, RunningExporter, configured, password, project
from .live.processes import PATIENCE_SECONDS, until

PAGE = (Path(__file__).parents[1] / "docs" / "pipelines.md").read_text()
SERVICE = "fraud-detector"
RESULTS = pytest.mark.parametrize(("result", "code"), [("SUCCESS", 0), ("FAIL", 3)])

# As a pipeline deploys: a token, and a call that is answered before anything has happened.
DEPLOY = f"""#!/bin/sh -eu
[ "$1" = {SERVICE} ]
token=$(curl -sS -D - -o token.json -d @sign-in.json "$CLOUD/v3/auth/tokens" |
    tr -d '\\r' | sed -n 's/^x-subject-token: //Ip')
curl -sS --fail -X PUT -H "X-Auth-Token: $token" -d @deploy.json \\
    "$CLOUD/v1/{DEFAULT_PROJECT}/services/the-id"
"""


def block(heading: str, language: str) -> str:
    """The one block of a language below a heading."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    (found,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return str(found)


def jobs() -> dict[str, tuple[list[str], dict[str, str]]]:
    """The commands of each example, and the environment that it gives them."""
    gitlab = yaml.safe_load(block("GitLab CI", "yaml"))["deploy"]
    github = yaml.safe_load(block("GitHub Actions", "yaml"))["jobs"]["deploy"]
    jenkins = block("Jenkins", "groovy")
    return {
        "gitlab": (gitlab["script"], gitlab["variables"]),
        "github": (
            [
                step["run"] + (" || true" if step.get("continue-on-error") else "")
                for step in github["steps"]
                if "run" in step
            ],
            {"SERVICE": github["env"]["SERVICE"]},
        ),
        "jenkins": (
            re.findall(r"^ *sh '(.*)'$", jenkins, re.MULTILINE),
            dict(re.findall(r"^ *(SERVICE) = '(.*)'$", jenkins, re.MULTILINE)),
        ),
    }


class Site:
    """A directory with what a pipeline checks out, and the cloud that it deploys to."""

    def __init__(self, directory: Path, cloud: Cloud, url: str) -> None:
        self.directory, self.cloud, self.url = directory, cloud, url
        cloud.add_service(service_id="the-id", name=SERVICE)
        cloud.add_update("the-id", "FAIL", at=cloud.clock() - 3_600_000)
        self.config = configured(
            directory,
            project(url, auth=password(url, "${IAM_PASSWORD}")),
            poll={**POLL, "interval": "1h", "sweep_interval": "1h", "active_interval": "50ms"},
        )
        (directory / "modelarts.yml").write_text(Path(self.config).read_text())
        user = {"name": DEFAULT_USER, "password": DEFAULT_PASSWORD, "domain": {"name": DEFAULT_DOMAIN}}
        sign_in = {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"id": DEFAULT_PROJECT}},
        }
        (directory / "sign-in.json").write_text(json.dumps({"auth": sign_in}))
        (directory / "deploy.json").write_text(json.dumps({"config": [model()]}))
        (directory / "deploy.sh").write_text(DEPLOY)
        (directory / "deploy.sh").chmod(0o755)

    def settles(self, result: str) -> None:
        """Once the update was read, it settles so."""

        def settle(_now: int) -> None:
            (*_, newest) = self.cloud.service("the-id").updates
            reads = [r for r in self.cloud.requests if r.endpoint == "detail" and r.at > newest.update_time]
            if newest.result == "RUNNING" and reads:
                self.cloud.add_event("the-id", "abnormal", "failed to pull image, retry later")
                self.cloud.settle("the-id", newest.update_time, result)

        self.cloud.attach(settle)

    def shell(self, commands: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        ours = {"PATH": path, "CLOUD": self.url, "IAM_PASSWORD": DEFAULT_PASSWORD}
        return subprocess.run(
            ["/bin/sh", "-euc", commands],
            cwd=self.directory,
            env=os.environ | ours | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )


@pytest.fixture(name="site")
def _site(tmp_path: Path) -> Iterator[Site]:
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    with Server(cloud) as server:
        yield Site(tmp_path, cloud, server.url)


@RESULTS
@pytest.mark.parametrize("name", jobs())
def test_a_pipeline_ends_as_its_deployment_does_and_the_exporter_knows_it(
    site: Site, name: str, result: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IAM_PASSWORD", DEFAULT_PASSWORD)
    commands, environment = jobs()[name]
    assert [command.split()[0] for command in commands] == ["./deploy.sh", "curl", "modelarts-exporter"]
    site.settles(result)
    with RunningExporter(site.directory, site.config, "--web.enable-lifecycle") as exporter:
        exporter.ready()
        done = site.shell("\n".join(commands), EXPORTER_URL=exporter.url, **environment)
        assert done.returncode == code, done.stderr
        assert re.search(rf"^{result} after ", done.stdout, re.MULTILINE)
        assert ("reason: image_pull" in done.stderr) == (result == "FAIL")
        until(lambda: f"result={result}" in exporter.output().partition("asked to read a service now")[2])


@pytest.mark.parametrize("name", jobs())
def test_a_pipeline_does_not_need_the_exporter(site: Site, name: str) -> None:
    commands, environment = jobs()[name]
    site.settles("SUCCESS")
    done = site.shell("\n".join(commands), EXPORTER_URL="http://127.0.0.1:9", **environment)
    assert done.returncode == 0, done.stderr


@RESULTS
def test_the_gate_in_one_line(site: Site, result: str, code: int) -> None:
    site.settles(result)
    assert site.shell(block("In one line", "sh")).returncode == code


def test_the_exporter_is_told_in_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IAM_PASSWORD", DEFAULT_PASSWORD)
    with RunningExporter(site.directory, site.config, "--web.enable-lifecycle") as exporter:
        exporter.ready()
        told = site.shell(block("Telling the exporter", "sh").replace("http://localhost:10155", exporter.url))
        assert (
            told.returncode,
            told.stdout.startswith(f"{SERVICE} (the-id in project prod) is read now"),
        ) == (0, True)


def test_the_examples_are_what_their_systems_read() -> None:
    gitlab: dict[str, Any] = yaml.safe_load(block("GitLab CI", "yaml"))
    assert gitlab["deploy"]["allow_failure"] == {"exit_codes": [4]}
    github: dict[str, Any] = yaml.safe_load(block("GitHub Actions", "yaml"))
    assert {"uses", "run"} >= {key for step in github["jobs"]["deploy"]["steps"] for key in step} - {
        "name",
        "continue-on-error",
    }
    jenkins = block("Jenkins", "groovy")
    assert jenkins.count("{") == jenkins.count("}")
