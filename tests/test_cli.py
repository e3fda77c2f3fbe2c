"""The commands that do one thing and end, through their door; `run` has a file of its own."""

import io
import json
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
import yaml

from exporter.cli import COMMANDS, main
from exporter.emulator import DEFAULT_PROJECT, Cloud, Server
from exporter.emulator.faults import Endpoint, Fault, error, html, no_answer

from .commands import POLL, Config, access_key, configured, password, project, samples, value
from .live.processes import PATIENCE_SECONDS, Process, until


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture(name="command")
def _command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Result:
        capfd.readouterr()
        try:
            code = main(arguments)
        except SystemExit as end:  # argparse
            code = int(str(end.code))
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture(name="cloud")
def _cloud() -> Cloud:
    return Cloud(lambda: time.time_ns() // 1_000_000)


@pytest.fixture(name="url")
def _url(cloud: Cloud) -> Iterator[str]:
    with Server(cloud) as server:
        yield server.url


# -- usage


@pytest.mark.parametrize("how", ["script", "module"])
def test_the_command_says_its_version(how: str, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("modelarts-exporter")
    command = [str(script)] if how == "script" else [sys.executable, "-m", "exporter"]
    done = subprocess.run(
        [*command, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert re.fullmatch(r"modelarts-exporter \d+\.\d+\.\d+ \(python 3\.\d+\.\d+\S*\)\n", done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_run_says_the_version_too(command: Command) -> None:
    for arguments in (("run", "--version"), ("--log.level=debug", "--version")):
        assert command(*arguments) == command("--version")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(command: Command, name: str) -> None:
    result = command(name, "--help")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"usage: modelarts-exporter {name} ")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_the_default_of_each_flag_that_takes_a_value(
    name: str, command: Command
) -> None:
    usage, _, options = command(name, "--help").out.partition("\noptions:\n")
    options = re.sub(r"\n {10,}", " ", options)  # one line for each flag
    flags = re.findall(r"^  (--\S+) (?:[A-Z]|\{).*$", options, re.MULTILINE)
    assert ("--config.file" in usage) == ("--config.file" in flags)
    for flag in flags:
        (line,) = re.findall(rf"^  {re.escape(flag)} .*$", options, re.MULTILINE)
        is_required = f"[{flag} " not in usage.replace("| --", "[--")
        assert line.count("(default") == (0 if is_required else 1), line


def test_the_whole_command_explains_every_command(command: Command) -> None:
    result = command("--help")
    assert result.code == 0
    assert re.findall(r"^    ([a-z-]+)\b", result.out, re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("run",),
        ("frobnicate",),
        ("--config.file=c.yml", "--storage.paht=x"),
        ("--config.file=c.yml", "--log.level=loud"),
        ("--config.file=c.yml", "--log.format=xml"),
        ("--config.file=c.yml", "--web.max-requests=0"),
        ("--config.file=c.yml", "--web.max-requests=many"),
        ("--config.file=c.yml", "--web.external-url=exporter.example"),
        ("--config.file=c.yml", "--web.external-url=https://exporter.example/a page"),
        ("--config.file=c.yml", "--web.external-url=http://[::1"),
        ("--config.file=c.yml", "--shard.total=0"),
        ("--config.file=c.yml", "--shard.index=2", "--shard.total=2"),
        ("--config.file=c.yml", "--shard.index=-1"),
        ("--config.fil=c.yml",),
        ("demo", "--frobnicate"),
        ("emulate", "--frobnicate"),
        ("check-config",),
        ("check-config", "a.yml", "b.yml"),
        ("once",),
        ("once", "--config.file=c.yml", "--shard.index=7"),
        ("classify", "--frobnicate"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(command: Command, arguments: tuple[str, ...]) -> None:
    result = command(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.strip().splitlines()[-1].startswith("modelarts-exporter")
    assert "invalid _" not in result.err


# -- configuration


@pytest.mark.parametrize("name", ["run", "once", "classify"])
def test_a_config_file_that_is_missing_is_one_sentence_that_names_it(command: Command, name: str) -> None:
    result = command(name, "--config.file=nowhere.yml")
    assert (result.code, result.out) == (1, "")
    assert re.fullmatch(r"modelarts-exporter: nowhere\.yml\b.*No such file or directory\n", result.err)


def bad(url: str = "http://127.0.0.1:1") -> Config:
    """Two mistakes in one file."""
    return {"projects": [project(url, timeoutt=3)], "poll": {**POLL, "interval": "0s"}}


@pytest.mark.parametrize("name", ["run", "once"])
def test_a_bad_config_file_has_every_mistake_on_stderr(command: Command, name: str, tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(yaml.safe_dump(bad()))
    result = command(name, "--config.file=c.yml")
    assert (result.code, result.out) == (1, "")
    found = re.findall(r"^(?:modelarts-exporter: )?c\.yml:\d+: (\S+): .+$", result.err, re.MULTILINE)
    assert sorted(found) == ["poll.interval", "projects[0].timeoutt"]


def test_a_bad_web_config_file_is_an_error_at_the_start(command: Command, tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_text("basic_auth_user: {}\n")
    config = configured(tmp_path, project("http://127.0.0.1:1"))
    result = command(f"--config.file={config}", "--web.config.file=web.yml", "--storage.path=")
    assert result.code == 1
    assert re.match(r"modelarts-exporter: web\.yml:1: basic_auth_user: ", result.err)


def test_a_good_config_file_is_checked_with_its_projects(command: Command, tmp_path: Path) -> None:
    configured(tmp_path, project("http://127.0.0.1:1"), project("http://127.0.0.1:1", "test"))
    result = command("check-config", "config.yml")
    assert result == (0, "config.yml: valid; projects: prod, test\n", "")


def test_a_bad_config_file_is_checked_with_every_mistake(command: Command, tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(yaml.safe_dump(bad()))
    result = command("check-config", "c.yml")
    assert (result.code, result.err) == (1, "")
    lines = result.out.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["poll.interval", "projects[0].timeoutt"]
    assert all(re.match(r"c\.yml:\d+: \S+: .+", line) for line in lines)


# -- classify


def test_an_event_text_is_classified(command: Command) -> None:
    result = command("classify", "failed to pull image, retry later", "[m 1.0] starting model")
    assert (result.code, result.err) == (0, "")
    rows = result.out.splitlines()
    assert (rows[0], *rows[1:3]) == (
        "failed to pull image, retry later",
        "  phase: image_pull",
        "  reason: image_pull",
    )
    assert (rows[4:]) == ["[m 1.0] starting model", "  phase: startup", "  reason: -", "  remedy: -"]


def test_words_without_quotes_are_one_text(command: Command) -> None:
    result = command("classify", "failed", "to", "pull", "image")
    assert result.out.startswith("failed to pull image\n  phase: image_pull\n")


def test_every_line_of_stdin_is_a_text(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("starting model\n健康检查失败\n"))
    rows = command("classify").out.splitlines()
    assert rows[0::4] == ["starting model", "健康检查失败"]
    assert rows[6] == "  reason: health_check"


def test_own_causes_come_first(command: Command, tmp_path: Path) -> None:
    own = {"reason": "gpu_driver", "pattern": "nvidia.*driver", "remedy": "Reboot the node pool."}
    config = configured(tmp_path, project("http://127.0.0.1:1"), causes=[own])
    rows = command("classify", f"--config.file={config}", "NVIDIA: no driver").out.splitlines()
    assert rows[2:] == ["  reason: gpu_driver", "  remedy: Reboot the node pool."]


HISTORY = [
    (0, "normal", "start to deploy service"),
    (20, "abnormal", "Insufficient resources. Wait until idle resources are sufficient."),
    (40, "normal", "[m 1.0.0] schedule resource success"),
    (60, "abnormal", "OOMKilled"),
    (90, "abnormal", "Failed to start service m, token=abc"),
]
ROWS = [
    {"occur_time": 1_700_000_000_000 + at * 1000, "event_type": kind, "event_info": text}
    for at, kind, text in HISTORY
]
HISTORY_FILES = {
    "yaml": yaml.safe_dump(ROWS),
    "json lines": "\n".join(json.dumps(row) for row in ROWS) + "\n",
    "the API's answer": json.dumps({"service_id": "s", "events": ROWS}, indent=1),
}


@pytest.mark.parametrize("form", HISTORY_FILES)
def test_the_cause_of_a_history_is_explained(command: Command, tmp_path: Path, form: str) -> None:
    file = tmp_path / "history"
    file.write_text(HISTORY_FILES[form], encoding="utf-8")
    result = command("classify", f"--history={file}")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[:-1] == [
        f"2023-11-14T22:13:40Z  recovered  insufficient_resources: {HISTORY[1][2]}",
        "2023-11-14T22:14:20Z  specific   out_of_memory: OOMKilled",
        "2023-11-14T22:14:50Z  summary    crash: Failed to start service m, token=<secret>",
        "cause: out_of_memory, 2023-11-14T22:14:20Z",
        "  text: OOMKilled",
        "  why: it is the first of the highest grade here, specific: it says what to fix",
    ]


def test_a_history_without_a_failure_has_no_cause(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "history"
    file.write_text(json.dumps(ROWS[:1]))
    assert command("classify", f"--history={file}").out.startswith("cause: none;")


@pytest.mark.parametrize("text", ["", "[]", "{", "a: [", '[{"occur_time": "x"}]', "5", "[1]"])
def test_a_history_that_cannot_be_read_is_told_in_one_sentence(
    command: Command, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "history"
    file.write_text(text)
    result = command("classify", f"--history={file}")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("modelarts-exporter: The history ")


def test_a_history_takes_the_place_of_a_text(command: Command) -> None:
    assert command("classify", "--history=f", "text").code == 2


# -- once


def fleet(cloud: Cloud) -> str:
    """One service with a failed update and its cause; gives the id."""
    service_id = cloud.add_service(name="mnist")
    begun = cloud.begin_update(service_id)
    cloud.add_event(service_id, "abnormal", "failed to pull image, retry later", begun)
    cloud.settle(service_id, begun, "FAIL")
    return service_id


def test_once_prints_one_complete_poll(command: Command, cloud: Cloud, url: str, tmp_path: Path) -> None:
    service_id = fleet(cloud)
    result = command("once", f"--config.file={configured(tmp_path, project(url))}")
    assert (result.code, result.err) == (0, "prod: 1 services, all were read.\n")
    (info,) = samples(result.out, "modelarts_service_last_failure_info")
    about = {"project": "prod", "service_id": service_id, "service_name": "mnist"}
    cause = {"reason": "image_pull", "message": "failed to pull image, retry later"}
    assert info.labels == {**about, **cause}
    assert value(result.out, "modelarts_service_updates_total", result="FAIL") == 1
    assert value(result.out, "modelarts_up", project="prod") == 1
    assert value(result.out, "modelarts_exporter_api_requests_total", endpoint="list", code="200") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yml"]


@pytest.mark.live
def test_what_once_prints_is_taken_by_promtool(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    fleet(cloud)
    result = command("once", f"--config.file={configured(tmp_path, project(url))}")
    promtool = shutil.which("promtool")
    assert promtool is not None
    lint = subprocess.run(
        [promtool, "check", "metrics"],
        input=result.out,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")


def test_once_fails_if_a_project_fails_and_still_prints_the_others(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    fleet(cloud)
    locked_out = project(url, "locked-out", auth=password(url, "not the password"))
    result = command("once", f"--config.file={configured(tmp_path, locked_out, project(url))}")
    assert result.code == 1
    line, *summary = result.err.splitlines()
    assert "cannot list services" in line
    assert "project=locked-out" in line
    assert summary[0].startswith("locked-out: the list could not be read: ")
    assert summary[1:] == ["prod: 1 services, all were read."]
    assert "not the password" not in result.err + result.out
    assert value(result.out, "modelarts_up", project="locked-out") == 0
    assert value(result.out, "modelarts_up", project="prod") == 1
    assert value(result.out, "modelarts_service_updates_total", project="prod", result="FAIL") == 1


def test_once_ends_if_the_cloud_does_not_respond(command: Command, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        result = command("once", f"--config.file={configured(tmp_path, project(url))}")
    assert result.code == 1
    assert result.err.count("\n") == 2
    assert value(result.out, "modelarts_up", project="prod") == 0


def test_once_ends_although_a_service_cannot_be_read(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    fleet(cloud)
    cloud.faults.add(html(endpoint="events", times=None))
    result = command("once", f"--config.file={configured(tmp_path, project(url))}")
    assert result.code == 1
    assert "cannot read service" in result.err
    *_, project_line, error_line = result.err.splitlines()
    assert project_line == "prod: 1 services, 1 could not be read."
    assert error_line.startswith("prod: 1 of them: Reading an event log failed with HTTP 502")
    assert value(result.out, "modelarts_service_up") == 0
    assert value(result.out, "modelarts_service_updates_total", result="FAIL") == 1


def test_once_names_the_permission_that_is_missing(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    for number in range(5):
        cloud.add_service(name=f"service-{number}")
    cloud.faults.add(error(403, "ModelArts.0203", "Forbidden", endpoint="logs", times=None))
    result = command("once", f"--config.file={configured(tmp_path, project(url))}")
    assert result.code == 1
    *_, project_line, error_line = result.err.splitlines()
    assert project_line == "prod: 5 services, 5 could not be read."
    assert error_line.startswith("prod: 5 of them: ")
    assert "grant the permission modelarts:service:getLogs" in error_line


def test_once_reads_each_service_once_whatever_the_limits(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    for number in range(30):
        service_id = cloud.add_service(name=f"service-{number}")
        cloud.begin_update(service_id)  # which `run` would read again and again
    poll = {"interval": "1s", "active_interval": "100ms", "sweep_interval": "1s", "lateness": "5s"}
    result = command("once", f"--config.file={configured(tmp_path, project(url, rate_limit=40), poll=poll)}")
    assert result.code == 0
    asked = Counter((request.endpoint, request.service_id) for request in cloud.requests)
    del asked["token", None]
    assert set(asked.values()) == {1}
    assert len(asked) == 1 + 2 * 30


def test_once_finds_the_cause_that_only_the_detail_tells(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    service_id = cloud.add_service(name="mnist")
    cloud.add_update(service_id, "FAIL")
    cloud.set_status(service_id, "failed", error_msg="ModelArts.3520: no port")
    result = command("once", f"--config.file={configured(tmp_path, project(url))}")
    (info,) = samples(result.out, "modelarts_service_last_failure_info")
    assert info.labels["message"] == "ModelArts.3520: no port"
    assert Counter(request.endpoint for request in cloud.requests)["detail"] == 1


@pytest.mark.parametrize("endpoint", ["token", "list", "logs", "events", "detail"])
def test_once_asks_again_after_a_429(
    command: Command, cloud: Cloud, url: str, tmp_path: Path, endpoint: Endpoint
) -> None:
    service_id = cloud.add_service(name="mnist")
    cloud.add_update(service_id, "FAIL")
    cloud.set_status(service_id, "failed", error_msg="ModelArts.3520: no port")
    too_often = error(429, "APIG.0308", "too often", headers={"Retry-After": "0"}, endpoint=endpoint, times=3)
    cloud.faults.add(too_often)
    result = command("once", f"--config.file={configured(tmp_path, project(url))}")
    told, *summary = result.err.splitlines()
    assert "waiting" in told
    assert "project=prod" in told
    assert (result.code, summary) == (0, ["prod: 1 services, all were read."])
    (info,) = samples(result.out, "modelarts_service_last_failure_info")
    assert info.labels["message"] == "ModelArts.3520: no port"
    assert Counter(request.endpoint for request in cloud.requests)[endpoint] == 4


@pytest.mark.parametrize(
    ("endpoint", "summary"),
    [
        ("token", "prod: the list could not be read: Signing in failed with HTTP 429"),
        ("list", "prod: the list could not be read: Listing the services failed with HTTP 429"),
        ("logs", "prod: 9 services, 9 could not be read."),
        ("events", "prod: 9 services, 9 could not be read."),
    ],
)
def test_once_waits_for_no_429_that_lasts_for_an_hour(
    command: Command, cloud: Cloud, url: str, tmp_path: Path, endpoint: Endpoint, summary: str
) -> None:
    for number in range(9):
        cloud.add_service(name=f"service-{number}")
    wait = {"Retry-After": "3600"}
    cloud.faults.add(error(429, "APIG.0308", "too often", headers=wait, endpoint=endpoint, times=None))
    result = command("once", f"--config.file={configured(tmp_path, project(url))}")
    assert result.code == 1
    assert f"\n{summary}" in result.err
    assert "The command waits for 300 s at most." in result.err.splitlines()[-1]


@pytest.mark.parametrize(
    "fault",
    [
        no_answer(endpoint="detail", times=None),
        error(429, "APIG.0308", "too often", headers={"Retry-After": "3600"}, endpoint="detail", times=None),
        error(401, "APIG.0301", "Incorrect IAM authentication", endpoint="detail", times=None),
        error(403, "ModelArts.0203", "Forbidden", endpoint="detail", times=None),
    ],
    ids=["no answer", "429", "401", "403"],
)
def test_once_fails_if_it_could_not_read_why_a_service_failed(
    command: Command, cloud: Cloud, url: str, tmp_path: Path, fault: Fault
) -> None:
    service_id = cloud.add_service(name="mnist")
    cloud.add_update(service_id, "FAIL")
    cloud.set_status(service_id, "failed", error_msg="ModelArts.3520: no port")
    cloud.faults.add(fault)
    result = command("once", f"--config.file={configured(tmp_path, project(url))}")
    *_, services, cause = result.err.splitlines()
    assert (result.code, services) == (1, "prod: 1 services, all were read.")
    assert cause.startswith("prod: the cause of 1 of the failures could not be read: ")


def test_once_counts_no_service_as_read_that_only_the_store_knows(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    service_id = cloud.add_service(name="mnist")
    for number in range(5):
        cloud.add_service(name=f"service-{number}")
    stored = [f"--config.file={configured(tmp_path, project(url, concurrency=1))}", "--storage.path=store"]
    assert command("once", *stored).code == 0
    cloud.add_update(service_id, "FAIL")
    refused = error(401, "APIG.0301", "Incorrect IAM authentication", endpoint="logs", times=None)
    cloud.faults.add(refused)
    result = command("once", *stored)
    assert result.code == 1
    assert "\nprod: 6 services, 6 could not be read.\n" in result.err


def by_token_file(url: str, directory: Path) -> Config:
    """The `auth` of a token that somebody else has got."""
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user(url)}}}}
    body["auth"]["scope"] = {"project": {"id": DEFAULT_PROJECT}}
    answer = requests.post(f"{url}/v3/auth/tokens", json=body, timeout=PATIENCE_SECONDS)
    file = directory / "token"
    file.write_text(answer.headers["X-Subject-Token"] + "\n")
    return {"token_file": str(file)}


def user(url: str) -> Config:
    """The default user, as IAM's body names one."""
    given = password(url)["password"]
    return {
        "name": given["username"],
        "password": given["password"],
        "domain": {"name": given["domain"]},
    }


@pytest.mark.parametrize("way", ["password", "aksk", "token_file"])
def test_every_way_to_sign_in_leads_to_the_services(
    command: Command, cloud: Cloud, url: str, tmp_path: Path, way: str
) -> None:
    fleet(cloud)
    auth = {"password": password(url), "aksk": access_key()}.get(way) or by_token_file(url, tmp_path)
    result = command("once", f"--config.file={configured(tmp_path, project(url, auth=auth))}")
    assert (result.code, result.err) == (0, "prod: 1 services, all were read.\n")
    assert value(result.out, "modelarts_services") == 1


def test_without_discovery_only_the_named_services_are_read(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    service_id = fleet(cloud)
    cloud.add_service(name="another")
    row = project(url, discovery=False, services={"ids": [service_id]})
    result = command("once", f"--config.file={configured(tmp_path, row)}")
    assert result.code == 0
    assert names(result.out) == ["mnist"]
    assert value(result.out, "modelarts_service_updates_total", result="FAIL") == 1
    assert "list" not in {request.endpoint for request in cloud.requests}


def names(text: str) -> list[str]:
    """The names of the services that are shown."""
    return sorted(sample.labels["service_name"] for sample in samples(text, "modelarts_service_info"))


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"workspaces": ["0"]}, ["a-1", "b-1"]),
        ({"workspaces": ["0", "7"]}, ["a-1", "b-1", "c-7"]),
        ({"workspaces": ["7"]}, ["c-7"]),
        ({"services": {"include_names": ["a.*"]}}, ["a-1"]),
        ({"services": {"exclude_names": ["a"]}}, ["a-1", "b-1"]),
        ({"services": {"infer_types": ["edge"]}}, ["b-1"]),
    ],
    ids=str,
)
def test_only_what_the_config_asks_for_is_watched(
    command: Command, cloud: Cloud, url: str, tmp_path: Path, changes: Mapping[str, Any], shown: list[str]
) -> None:
    cloud.add_service(name="a-1")
    cloud.add_service(name="b-1", infer_type="edge")
    cloud.add_service(name="c-7", workspace_id="7")
    result = command("once", f"--config.file={configured(tmp_path, project(url, **changes))}")
    assert (result.code, names(result.out)) == (0, shown)


# -- the store


def test_a_store_keeps_the_totals_for_the_next_run(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    service_id = fleet(cloud)
    arguments = ("once", f"--config.file={configured(tmp_path, project(url))}", "--storage.path=store")
    assert value(command(*arguments).out, "modelarts_service_updates_total", result="FAIL") == 1
    cloud.service(service_id).updates.clear()  # as retention does in the end
    assert value(command(*arguments).out, "modelarts_service_updates_total", result="FAIL") == 1


def test_a_store_of_a_newer_version_is_one_sentence(command: Command, url: str, tmp_path: Path) -> None:
    arguments = ("once", f"--config.file={configured(tmp_path, project(url))}", "--storage.path=store")
    assert command(*arguments).code == 0
    (file,) = (tmp_path / "store").glob("*.db")
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    result = command(*arguments)
    assert (result.code, result.out) == (1, "")
    (line,) = result.err.splitlines()
    assert line.startswith("modelarts-exporter: store/")
    assert "run the newer version" in line


# -- emulate


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_emulated_cloud_serves_until_it_is_asked_to_end(tmp_path: Path, end: signal.Signals) -> None:
    arguments = ["emulate", "--listen=127.0.0.1:0", "--scenario=image_pull_failure"]
    command = [sys.executable, "-m", "exporter", *arguments]
    with Process(command, tmp_path / "log", tmp_path) as emulator:
        said = until(emulator.log.read_text, lambda text: "password" in text)
        (address,) = re.findall(r"(http://\S+?:\d+)$", said, re.MULTILINE)
        assert requests.get(f"{address}/v3", timeout=PATIENCE_SECONDS).status_code == 200
        emulator.child.send_signal(end)
        assert emulator.child.wait(PATIENCE_SECONDS) == 0
    assert "Traceback" not in emulator.log.read_text()


def test_what_the_emulated_cloud_cannot_do_is_one_sentence(command: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for flag in (f"--listen=127.0.0.1:{port}", "--listen=nonsense", "--scenario=nowhere.yml"):
            result = command("emulate", flag)
            assert (result.code, result.out) == (1, "")
            assert result.err.startswith("modelarts-exporter: ")
            assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"project_id": "eu-de_prod"}, "project_id: 'eu-de_prod' is not 32 hexadecimal digits; if it is"),
        ({"endpoint": "http://modelarts.example.com"}, "endpoint: 'http://modelarts.example.com' sends the"),
        (
            {"auth": password("http://iam.example.com")},
            "auth.password.iam_endpoint: 'http://iam.example.com/v3' sends the credential without encryption",
        ),
        ({"tls": {"insecure_skip_verify": True}}, "tls.insecure_skip_verify: true lets anybody in between"),
    ],
)
def test_what_is_allowed_and_probably_a_mistake_is_a_warning(
    command: Command, tmp_path: Path, changes: dict[str, Any], warning: str
) -> None:
    config = configured(tmp_path, project("https://modelarts.example.com", **changes))
    result = command("check-config", config)
    assert result.code == 0
    assert result.err.startswith(f"{config}: warning: projects[0].{warning}")
    assert result.err.count("\n") == 1


def test_a_sound_configuration_has_no_warning(command: Command, tmp_path: Path) -> None:
    result = command("check-config", configured(tmp_path, project("https://modelarts.example.com")))
    assert (result.code, result.err) == (0, "")
