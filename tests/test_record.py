"""`record` and `emulate --replay` through their doors: what is in the file, and what comes of it."""

import json
import os
import re
import shlex
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.cli import build_parser, main
from exporter.commands.record import Recorder
from exporter.core.polling.schedule import PollIntervals
from exporter.core.recording.anonymiser import Anonymiser
from exporter.emulator import (
    DEFAULT_DOMAIN,
    DEFAULT_PASSWORD,
    DEFAULT_PROJECT,
    DEFAULT_USER,
    Cloud,
    Server,
    load_scenario,
    model,
    play,
)
from exporter.emulator.faults import error, html
from exporter.engine.project_poller import ProjectResources
from exporter.engine.static_services import StaticServices
from tests.clients import Talk
from tests.commands import Config, access_key, configured, password, project, samples
from tests.fakes import Clock, Inline
from tests.live.processes import PATIENCE_SECONDS, Process, free_port, until
from tests.over_http import SECOND, World
from tests.poller_harness import settings

MINUTE = 60 * SECOND
# Everything is read twice a second.
QUICK = {"interval": "500ms", "active_interval": "500ms", "sweep_interval": "500ms"}
# Labels that a recording replaces; the names, which stay, tell the series of these tests apart.
REPLACED = ("service_id", "owner", "model_id", "node_id", "cluster_id")


class Result(NamedTuple):
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


class Time:
    """The time of this machine, until it is stopped."""

    def __init__(self) -> None:
        self._stopped: int | None = None

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 if self._stopped is None else self._stopped

    def stop(self) -> None:
        self._stopped = self()


@pytest.fixture(name="cloud")
def _cloud() -> Cloud:
    return Cloud(Time())


@pytest.fixture(name="url")
def _url(cloud: Cloud) -> Iterator[str]:
    with Server(cloud) as server:
        yield server.url


def exporter(*arguments: str, log: Path) -> Process:
    return Process([sys.executable, "-m", "exporter", *arguments], log, log.parent)


def lines(file: Path) -> list[dict[str, Any]]:
    text = file.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def series(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What is shown of services and projects, without ids and without when the exporter looked."""
    return {
        (
            sample.name,
            frozenset(item for item in sample.labels.items() if item[0] not in REPLACED),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("modelarts_")
        and not sample.name.startswith(("modelarts_exporter_", "modelarts_project_info"))
        and "last_poll" not in sample.name
    }


# -- record, then replay

SECRET = "s3cret-of-the-environment"


def lively(cloud: Cloud) -> None:
    """The demo's fleet, quickly, and services that the cloud refuses to show."""
    play(cloud, load_scenario("demo"), speed=60)
    models = [model("net", envs={"DB_PASSWORD": SECRET})]
    denied = cloud.add_service(name="denied", description=f"{DEFAULT_USER}'s", models=models)
    lost = cloud.add_service(name="lost")
    begun = cloud.begin_update(denied)
    cloud.add_event(
        denied, "abnormal", f"stopped by {DEFAULT_USER} of {DEFAULT_DOMAIN}, service {denied}", begun
    )
    cloud.settle(denied, begun, "FAIL")
    cloud.faults.add(
        error(
            429, "APIG.0308", "over ratelimit,limit:100,time:1 second", endpoint="events", skip=20, times=3
        ),
        html(502, endpoint="list", times=1),
        error(404, "APIG.0101", "No such API.", endpoint="events", service_id=lost, times=None),
        error(403, "ModelArts.0108", "No permission.", endpoint="logs", service_id=denied, times=None),
    )


def read_since(cloud: Cloud, at: int) -> bool:
    """Whether everything was asked for after this time."""
    asked = {(seen.endpoint, seen.service_id) for seen in list(cloud.requests)[at:]}
    services = cloud.projects[DEFAULT_PROJECT].services
    parts = {(endpoint, each) for each in services for endpoint in ("logs", "events")}
    return {*parts, ("list", None)} <= asked


@contextmanager
def replayed(file: Path, *flags: str) -> Iterator[str]:
    """`emulate --replay`; gives its URL."""
    address = f"127.0.0.1:{free_port()}"
    log = file.with_name("replay.log")
    with exporter("emulate", f"--listen={address}", f"--replay={file}", *flags, log=log) as process:
        process.wait_for(f"http://{address}/v3")
        yield f"http://{address}"
        assert process.end() == 0


def test_a_recording_tells_the_exporter_what_the_cloud_told_it(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    lively(cloud)
    config = configured(tmp_path, project(url), poll=QUICK)
    file = tmp_path / "recording.jsonl"
    log = tmp_path / "record.log"
    with exporter("record", f"--config.file={config}", f"--output={file}", log=log) as process:
        until(
            lambda: (
                {502, 429, 404, 403, 200} <= {seen.status for seen in cloud.requests}
                and len(cloud.requests) > 400
            )
        )
        assert isinstance(cloud.clock, Time)
        cloud.clock.stop()
        cloud.advance()
        seen = len(cloud.requests)
        # Twice: the first one may have been under way.
        until(lambda: read_since(cloud, seen))
        seen = len(cloud.requests)
        until(lambda: read_since(cloud, seen))
        process.child.send_signal(signal.SIGINT)
        assert process.child.wait(PATIENCE_SECONDS) == 130
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {row["status"] for row in lines(file)} == {502, 429, 404, 403, 200}
    live = command("once", f"--config.file={config}")
    assert series(live.out)
    with replayed(file, "--speed=1000000") as replay:
        assert series(live.out) == series(once(command, tmp_path, replay, password(replay, "any", "any")))
        keys = access_key("any", "ANY")
        assert series(live.out) == series(once(command, tmp_path, replay, keys, project_id="f" * 32))

    hidden = [DEFAULT_USER, DEFAULT_DOMAIN, DEFAULT_PROJECT, DEFAULT_PASSWORD, SECRET, "MIIE"]
    hidden += cloud.projects[DEFAULT_PROJECT].services
    summary = log.read_text().partition(f"{file}: ")[2]
    assert [each for each in (*hidden, '"envs"', '"description"') if each in file.read_text()] == []
    assert [each for each in hidden if each in summary] == []
    assert "logs[].config[].envs: left out, " in summary
    assert "services[].owner: replaced, " in summary


def once(command: Command, directory: Path, url: str, auth: Config, **changes: Any) -> str:
    config = configured(directory, project(url, auth=auth, **changes), poll=QUICK)
    found = command("once", f"--config.file={config}").out
    assert isinstance(found, str)
    return found


# -- record


def failed(cloud: Cloud, name: str = "mnist") -> str:
    """A service with a failed update and its cause; gives the id."""
    service_id = cloud.add_service(name=name)
    begun = cloud.begin_update(service_id)
    cloud.add_event(service_id, "abnormal", "failed to pull image, retry later", begun)
    cloud.settle(service_id, begun, "FAIL")
    return service_id


def recorded(
    command: Command, cloud: Cloud, url: str, tmp_path: Path, *flags: str, times: int = 2, **changes: Any
) -> Result:
    """`record` until everything was asked for so many times, to `r.jsonl`; Ctrl-C ends it."""
    config = configured(tmp_path, project(url, **changes), poll=QUICK)

    def interrupt() -> None:
        for _ in range(times):
            seen = len(cloud.requests)
            until(lambda: read_since(cloud, seen))  # noqa: B023 - called at once
        os.kill(os.getpid(), signal.SIGINT)

    watch = Thread(target=interrupt)
    watch.start()
    result = command("record", f"--config.file={config}", "--output=r.jsonl", "--for=60s", *flags)
    watch.join()
    assert result.code == 130, result.err
    return result


def recorded_for(
    command: Command, duration: str, url: str, tmp_path: Path, *flags: str, **changes: Any
) -> Result:
    """`record` for so long, to `r.jsonl`."""
    config = configured(tmp_path, project(url, **changes), poll=QUICK)
    return command("record", f"--config.file={config}", "--output=r.jsonl", f"--for={duration}", *flags)


def test_an_answer_is_written_with_its_time_its_request_and_its_body(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    failed(cloud)
    before = time.time() * 1000
    result = recorded(command, cloud, url, tmp_path, times=1)
    assert result.out == ""
    rows = lines(tmp_path / "r.jsonl")
    assert [list(row) for row in rows] == [
        ["at_ms", "method", "path", "query", "status", "headers", "body"]
    ] * len(rows)
    first = rows[0]
    assert before <= first["at_ms"] <= time.time() * 1000
    assert (first["method"], first["status"]) == ("GET", 200)
    assert first["query"] == {"limit": "1000", "order": "asc", "sort_by": "publish_at", "workspace_id": "0"}
    assert set(first["headers"]) == {"Content-Type", "Date"}
    (row,) = first["body"]["services"]
    assert (row["service_name"], row["status"]) == ("mnist", "failed")
    texts = {event["event_info"] for row in rows for event in row["body"].get("events", ())}
    assert texts == {"failed to pull image, retry later"}


def test_what_says_nothing_new_is_not_written(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    failed(cloud)
    result = recorded(command, cloud, url, tmp_path)
    paths = [row["path"].split("/", 3)[3] for row in lines(tmp_path / "r.jsonl")]
    # The events are asked for from the newest one on, once that is known.
    assert sorted(path.rpartition("/")[2] for path in paths) == ["events", "events", "logs", "services"]
    assert len(cloud.requests) > len(paths) + 1  # one was the sign-in
    assert "answers that said nothing new were not written." in result.err


def test_of_one_service_nothing_of_another_is_asked_or_written(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    wanted, other = failed(cloud), failed(cloud, "other")
    result = recorded_for(command, "3s", url, tmp_path, f"--service={wanted}")
    assert (result.code, result.out) == (0, "")
    assert {seen.service_id for seen in cloud.requests if seen.endpoint != "token"} == {wanted}
    assert "other" not in (tmp_path / "r.jsonl").read_text()
    assert other not in (tmp_path / "r.jsonl").read_text()
    live = command("once", f"--config.file={configured(tmp_path, project(url, services={'ids': [wanted]}))}")
    with replayed(tmp_path / "r.jsonl", "--speed=1000000") as replay:
        found = series(once(command, tmp_path, replay, password(replay, "any")))
        assert found == series(live.out)


def test_a_service_that_no_project_has_is_told(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    result = recorded_for(command, "1s", url, tmp_path, "--service=nobody")
    assert result.code == 1
    assert "nobody: no project has shown this service.\n" in result.err


def test_a_cloud_that_does_not_respond_is_told(command: Command, tmp_path: Path) -> None:
    result = recorded_for(command, "1s", f"http://127.0.0.1:{free_port()}", tmp_path)
    assert result.code == 1
    assert "\nprod: Signing in failed." in result.err
    assert "r.jsonl: 0 answers (none), 0.0 kB.\n" in result.err
    assert lines(tmp_path / "r.jsonl") == []


def test_a_refusal_is_recorded_without_what_it_quotes(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    auth = access_key("wrong-secret-key", "WHOSEKEYISTHIS")
    result = recorded_for(command, "3s", url, tmp_path, auth=auth)
    assert result.code == 0
    (first, *_) = lines(tmp_path / "r.jsonl")
    assert first["status"] == 401
    assert first["body"]["error_msg"] == "Incorrect IAM authentication information: ak <secret> not exist"
    assert "prod: Listing the services failed with HTTP 401" in result.err


def test_secrets_of_files_and_of_the_proxy_are_known(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("a-token-of-somebody")
    (tmp_path / "proxy").write_text("opensesame")
    service_id = cloud.add_service(name="mnist")
    cloud.add_event(service_id, "abnormal", "a-token-of-somebody, squidward, opensesame")
    token = cloud.identities.issue(
        next(iter(cloud.identities.users)), DEFAULT_PROJECT, time.time_ns() // 1_000_000, 10**6
    )
    cloud.identities.tokens["a-token-of-somebody"] = token
    login = {"username": "squidward", "password_file": str(tmp_path / "proxy")}
    auth = {"token_file": str(tmp_path / "token")}
    recorded(command, cloud, url, tmp_path, auth=auth, proxy_url=url, proxy_basic_auth=login)
    text = (tmp_path / "r.jsonl").read_text()
    assert "<secret>, " in text
    assert ", <secret>" in text
    assert not [each for each in ("somebody", "squidward", "opensesame") if each in text]


def test_a_file_that_is_there_is_replaced_and_closed_to_others(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text("x" * 100_000)
    file.chmod(0o644)
    recorded(command, cloud, url, tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert lines(file)


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("/nowhere/r", "No such file or directory"),
        (".", "Is a directory"),
        ("/dev/full", "No space left on device"),
    ],
)
def test_a_file_that_cannot_be_written_is_told(
    output: str, reason: str, command: Command, url: str, tmp_path: Path
) -> None:
    mode = Path("/dev/full").stat().st_mode
    result = command("record", f"--config.file={configured(tmp_path, project(url))}", f"--output={output}")
    assert result.code == 1
    assert reason in result.err
    assert len(result.err.splitlines()) == 1
    assert Path("/dev/full").stat().st_mode == mode


def test_sigterm_ends_it_in_good_order(cloud: Cloud, url: str, tmp_path: Path) -> None:
    failed(cloud)
    config = configured(tmp_path, project(url))
    file, log = tmp_path / "r.jsonl", tmp_path / "log"
    with exporter("record", f"--config.file={config}", f"--output={file}", log=log) as process:
        until(lambda: file.exists() and file.read_text().count("\n") >= 3)
        assert process.end() == 0
    assert len(lines(file)) >= 3
    assert "r.jsonl: " in log.read_text()


def test_a_key_of_the_cloud_cannot_play_with_the_terminal(
    command: Command, cloud: Cloud, url: str, tmp_path: Path
) -> None:
    cloud.patch_service(cloud.add_service(), **{"a\x1b[31m\nb": 1})
    result = recorded(command, cloud, url, tmp_path)
    assert "  services[].a [31m b: unknown, only its type kept, " in result.err
    assert "\x1b" not in result.err


def test_many_unknown_keys_are_summed_up(command: Command, cloud: Cloud, url: str, tmp_path: Path) -> None:
    cloud.patch_service(cloud.add_service(), **{f"key_{number}": 1 for number in range(200)})
    assert " more fields\n" in recorded(command, cloud, url, tmp_path).err


@pytest.mark.parametrize(
    "arguments",
    [
        ("record",),
        ("record", "--config.file=c.yml"),
        ("record", "--config.file=c.yml", "--output=r", "--for=0s"),
        ("record", "--config.file=c.yml", "--output=r", "--for=soon"),
        ("record", "--config.file=c.yml", "--output=r", "--service=a b"),
        ("emulate", "--replay=r", "--scenario=demo"),
        ("emulate", "--replay=r", "--speed=0"),
        ("emulate", "--replay=r", "--speed=fast"),
    ],
)
def test_wrong_usage_is_told(command: Command, arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert command(*arguments).code == 2
    assert list(tmp_path.iterdir()) == []


# -- emulate --replay


def test_a_broken_recording_is_told_with_its_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "r").write_text('{"at_ms": 1}\n{}\n')
    result = command("emulate", "--replay=r")
    assert (result.code, result.out) == (1, "")
    assert result.err == "modelarts-exporter: r:1: method is missing or is not a text\n"
    assert command("emulate", "--replay=nowhere").code == 1


def test_a_broken_last_line_is_a_warning(command: Command, cloud: Cloud, url: str, tmp_path: Path) -> None:
    failed(cloud)
    recorded(command, cloud, url, tmp_path)
    file = tmp_path / "r.jsonl"
    good = file.read_text()
    file.write_text(good + good[:50])
    with replayed(file) as replay:
        assert "mnist" in once(command, tmp_path, replay, password(replay, "any"))
    told = (tmp_path / "replay.log").read_text()
    number = good.count("\n") + 1
    assert f"warning: {file}:{number}: is not JSON; this last line is left out\n" in told
    assert f"  {number - 1} answers, " in told


def test_a_scenario_can_be_played_faster(command: Command, tmp_path: Path) -> None:
    # Its first update fails after half a minute of its own time, longer than this test has patience.
    address = f"127.0.0.1:{free_port()}"
    config = configured(tmp_path, project(f"http://{address}"))
    with exporter("emulate", f"--listen={address}", "--speed=100", log=tmp_path / "log") as process:
        process.wait_for(f"http://{address}/v3")

        def failures() -> float:
            shown = command("once", f"--config.file={config}").out
            return sum(
                each.value for each in samples(shown, "modelarts_service_updates_total", result="FAIL")
            )

        until(failures)


# -- the page

PAGE = (Path(__file__).parents[1] / "docs" / "recordings.md").read_text("utf-8")


def test_the_commands_of_the_page_can_be_typed(command: Command, tmp_path: Path) -> None:
    typed = re.findall(r"^modelarts-exporter (.*)$", PAGE.replace("\\\n", ""), re.MULTILINE)
    assert len(typed) == PAGE.count("\nmodelarts-exporter ")
    for line in typed:
        assert build_parser().parse_args(shlex.split(line)).command
    (tmp_path / "replay.yml").write_text(PAGE.partition("```yaml\n")[2].partition("```")[0])
    assert command("check-config", "replay.yml").code == 0


# -- how large it is

# The defaults of `poll`.
DEFAULTS = PollIntervals(interval=30 * SECOND, active_interval=10 * SECOND, sweep_interval=5 * MINUTE)
# An issue takes a file of any of these sizes; this one can also be read by a person.
ONE_FAILURE_BYTES = 40_000


def test_a_recording_of_one_failed_deployment_is_small_enough_for_an_issue(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    clock = Clock()
    cloud = Cloud(clock)
    play(cloud, load_scenario("image_pull_failure"))
    (service_id,) = cloud.projects[DEFAULT_PROJECT].services
    file = tmp_path / "r.jsonl"
    with Server(cloud) as server, Recorder(file, Anonymiser(b"key"), clock) as recorder:
        world = World(cloud, clock, server.url)
        client = Talk(server.url, world.wall).client(on_answer=recorder.on_answer)
        resources = ProjectResources(
            StaticServices(client, [service_id]), Inline(), lambda: None, lambda: 5.0
        )
        world.poller.configure([(settings(intervals=DEFAULTS), resources)])
        for _ in range(10 * MINUTE // SECOND):  # as long as `record` takes
            world.forward(SECOND)
    assert [update.result for update in cloud.service(service_id).updates] == ["FAIL"]
    size = file.stat().st_size
    record_property("shown", f"{len(lines(file))} answers of 10 minutes, {size / 1000:.1f} kB")
    assert size <= ONE_FAILURE_BYTES
