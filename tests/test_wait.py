"""The command `wait` through its door, on an emulated cloud in each state that a deployment can be in."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from exporter.adapters.modelarts.rate_limiter import monotonic_ms
from exporter.cli import main
from exporter.core.times import Ticks
from exporter.emulator import Cloud, Server, Switches, load_scenario, play
from exporter.emulator.faults import error, html, no_answer, slow

from .commands import POLL, Config, access_key, configured, password, project, samples
from .live.processes import PATIENCE_SECONDS, until

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
# As short as the loop can be: what a test waits for is a number of reads.
QUICK = {**POLL, "active_interval": "20ms"}
# What nobody waits for: a test that does runs into its own timeout.
LONG = "1h"

PULL = "failed to pull image, retry later"
MISSING = "Service mnist failed. Error: pull image fail"


class Result(NamedTuple):
    code: int
    out: list[str]
    err: str


Wait = Callable[..., Result]


class World:
    """A cloud by the clock of this machine, and what happens on it from read to read."""

    def __init__(self) -> None:
        self.behind = 0
        self.cloud = Cloud(lambda: time.time_ns() // 1_000_000 - self.behind)
        self._skipped = 0
        self._steps: list[Callable[[], Any]] = []
        self._done = 0
        self.cloud.attach(self._play)

    def then(self, *steps: Callable[[], Any]) -> None:
        """Do the next step after each read of the service, of which its detail is the last part."""
        self._steps += steps

    def _play(self, _now: int) -> None:
        while self._steps and self.asked("detail") > self._done:
            self._done += 1
            self._steps.pop(0)()

    def ticks(self) -> Ticks:
        """The clock that the timeout is measured by."""
        return Ticks(monotonic_ms() + self._skipped)

    def time_is_up_after(self, endpoint: str, requests: int) -> None:
        """The timeout passes once so many requests were answered."""
        before = self.asked(endpoint)

        def look(_now: int) -> None:
            if self.asked(endpoint) - before >= requests:
                self._skipped = 2 * HOUR
                self.cloud._players.remove(look)

        self._skipped = 0
        self.cloud.attach(look)

    def asked(self, endpoint: str) -> int:
        """How often an endpoint was asked."""
        with self.cloud.lock:
            return sum(request.endpoint == endpoint for request in self.cloud.requests)

    @property
    def now(self) -> int:
        return self.cloud.clock()

    def deployment(self, service_id: str, ago: int, *seconds: float, models: str = "[mnist 0.0.1]") -> int:
        """Begin an update `ago` ms before now, with the steps of each phase at these seconds."""
        begun = self.cloud.begin_update(service_id, at=self.now - ago)
        texts = (
            "start to deploy service",
            f"building image for model {models}",
            "model (mnist 0.0.1) build image success",
            "preparing environment",
            f"{models} prepare environment success",
            f"{models} schedule resource success",
            f"{models} pulling model image",
            f"{models} pull image success",
            f"{models} starting model",
        )
        for second, text in zip(seconds, texts, strict=False):
            self.cloud.add_event(service_id, "normal", text, begun + int(second * SECOND))
        return begun


@pytest.fixture(name="world")
def _world() -> World:
    return World()


@pytest.fixture(name="url")
def _url(world: World) -> Iterator[str]:
    with Server(world.cloud) as server:
        yield server.url


@pytest.fixture(name="config")
def _config(url: str, tmp_path: Path) -> str:
    # Nobody here waits twenty seconds for the text of a cause.
    pushed = {"urls": ["http://127.0.0.1:9"], "cause_wait": "1s"}
    return configured(tmp_path, project(url), poll=QUICK, alertmanager=pushed)


@pytest.fixture(name="wait")
def _wait(
    world: World,
    config: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Wait:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("exporter.commands.wait.command.monotonic_ms", world.ticks)

    def run(*arguments: str, config: str = config, timeout: str = LONG) -> Result:
        capfd.readouterr()
        try:
            code = main(["wait", f"--config.file={config}", f"--timeout={timeout}", *arguments])
        except SystemExit as end:  # argparse
            code = int(str(end.code))
        out, err = capfd.readouterr()
        return Result(code, out.splitlines(), err)

    return run


# -- how it ends


def test_a_success_is_0_with_a_line_for_each_phase(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    steps = (0, 0.02, 0.04, 4, 24, 24.1, 24.2, 80)
    world.cloud.settle(service_id, world.deployment(service_id, 2 * HOUR, *steps, 81), at=world.now - HOUR)
    world.deployment(service_id, 30 * SECOND, 0, 1, 2, 4, 27, 28, 28)
    begun = world.cloud.service(service_id).updates[-1].update_time
    world.then(
        lambda: world.cloud.add_event(
            service_id, "normal", "[mnist 0.0.1] pull image success", begun + 29_000
        ),
        lambda: world.cloud.add_event(service_id, "normal", "[mnist 0.0.1] starting model", begun + 29_500),
        lambda: world.cloud.settle(service_id, begun),
    )
    result = wait("mnist")
    assert (result.code, result.err) == (0, "")
    assert re.fullmatch(rf"waiting for an update of mnist \({service_id}\) since \S+Z", result.out[0])
    assert re.fullmatch(r"update of \S+Z has begun", result.out[1])
    assert result.out[2:8] == [
        "image_build: 1 s (usually under 1 s)",
        "environment: 23 s (usually 20 s)",
        "scheduling: 1 s (usually under 1 s)",
        "image_pull: started (usually 55 s)",
        "image_pull: 1 s (usually 55 s)",
        "startup: started",
    ]
    assert re.fullmatch(r"startup: (under 1|\d+) s", result.out[8])
    assert re.fullmatch(r"SUCCESS after \d+ s", result.out[9])
    assert len(result.out) == 10


def test_a_failure_is_3_with_the_cause_and_the_remedy(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    begun = world.deployment(service_id, 30 * SECOND, 0, 1, 2, 4, 24, 24, 25)
    world.cloud.add_event(service_id, "abnormal", PULL, begun + 26_000)
    world.then(lambda: world.cloud.settle(service_id, begun, "FAIL"))
    result = wait("mnist")
    assert result.code == 3
    assert result.out[-2] == "image_pull: started"
    assert re.fullmatch(r"FAIL after \d+ s", result.out[-1])
    told = result.err.splitlines()
    assert re.fullmatch(
        r"modelarts-exporter: the update of \S+Z of mnist "
        rf"\({service_id}\) failed after \d+ s, in image_pull",
        told[0],
    )
    assert told[1:3] == ["reason: image_pull", f"text: {PULL}"]
    assert told[3].startswith("remedy: Check ")
    assert len(told) == 4


def test_a_failure_without_a_cause_is_told_once_the_cause_is_overdue(
    world: World, wait: Wait, url: str, tmp_path: Path
) -> None:
    pushed = {"urls": ["http://127.0.0.1:9"], "cause_wait": "60ms"}
    config = configured(tmp_path, project(url), poll=QUICK, alertmanager=pushed)
    world.cloud.add_update(world.cloud.add_service(name="mnist"), "FAIL")
    result = wait("mnist", config=config)
    assert result.code == 3
    assert "reason: other\ntext: no event tells why\nremedy: " in result.err


def test_an_update_that_was_over_before_the_first_read_has_its_duration(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    begun = world.deployment(service_id, 50 * SECOND, 0, 1, 2, 4, 24, 24, 25, 26, 27)
    world.cloud.settle(service_id, begun, at=begun + 30 * SECOND)
    result = wait("mnist")
    assert (result.code, result.out[-2:]) == (0, ["startup: 3 s", "SUCCESS after 30 s"])


def test_the_phases_of_an_earlier_deployment_are_not_told(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    before = world.deployment(service_id, HOUR, 0, 1, 2, 4, 24, 24, 25, 26, 27)
    world.cloud.settle(service_id, before, at=before + 30 * SECOND)
    begun = world.cloud.begin_update(service_id)
    world.then(lambda: world.cloud.settle(service_id, begun))
    result = wait("mnist")
    assert [line.partition(" ")[0] for line in result.out] == ["waiting", "update", "SUCCESS"]


def test_a_failure_is_3_also_if_the_timeout_comes_before_its_cause(
    world: World, wait: Wait, url: str, tmp_path: Path
) -> None:
    pushed = {"urls": ["http://127.0.0.1:9"], "cause_wait": "1d"}
    config = configured(tmp_path, project(url), poll=QUICK, alertmanager=pushed)
    world.cloud.add_update(world.cloud.add_service(name="mnist"), "FAIL")
    world.time_is_up_after("detail", 2)
    result = wait("mnist", config=config)
    assert (result.code, "reason: other\n" in result.err) == (3, True)


def test_a_cause_that_comes_after_the_result_is_waited_for(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    world.cloud.add_update(service_id, "FAIL")
    world.then(
        lambda: None,
        lambda: world.cloud.add_event(service_id, "abnormal", "Failed to start service mnist."),
        lambda: world.cloud.add_event(service_id, "abnormal", PULL),
    )
    result = wait("mnist")
    assert (result.code, f"text: {PULL}" in result.err) == (3, True)


def test_the_detail_of_a_failed_service_is_a_cause_too(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    begun = world.cloud.begin_update(service_id)
    world.cloud.settle(service_id, begun, "FAIL")
    world.cloud.set_status(service_id, "failed", error_msg=MISSING)
    result = wait("mnist")
    assert (result.code, f"reason: image_pull\ntext: {MISSING}\n" in result.err) == (3, True)


def test_an_update_that_stays_open_is_4_and_says_where_it_is(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    world.deployment(service_id, 30 * SECOND, 0, 1, 2, 4, 24, 24, 25)
    world.time_is_up_after("detail", 2)
    result = wait("mnist")
    assert result.code == 4
    assert re.fullmatch(
        rf"modelarts-exporter: The update of \S+Z of mnist \({service_id}\) did not end within 1h; "
        r"it is under way: image_pull: \d+ s so far\. Its status is deploying\.\n",
        result.err,
    )


@pytest.mark.parametrize("before", ["", "SUCCESS", "FAIL", "RUNNING"])
def test_without_an_update_that_began_it_is_4_and_says_what_there_is(
    world: World, wait: Wait, before: str
) -> None:
    service_id = world.cloud.add_service(name="mnist")
    if before:
        world.cloud.add_update(service_id, before, at=world.now - HOUR)
    world.time_is_up_after("detail", 2)
    result = wait("mnist")
    known = rf"the newest one is of \S+Z \({before}\)" if before else "there is none"
    assert result.code == 4
    assert re.fullmatch(
        rf"modelarts-exporter: No update of mnist \({service_id}\) since \S+Z began within 1h; {known}\. "
        r"Its status is running\. If yours began before, give its begin by --since\.\n",
        result.err,
    )


def test_an_update_that_begins_while_it_waits_is_waited_for(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    world.cloud.add_update(service_id, "FAIL", at=world.now - HOUR)
    world.then(
        lambda: None,
        lambda: world.cloud.begin_update(service_id),
        lambda: world.cloud.settle(service_id, world.cloud.service(service_id).updates[-1].update_time),
    )
    assert wait("mnist").code == 0


def test_an_update_that_a_newer_one_overtook_is_not_waited_for(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    first = world.cloud.begin_update(service_id, at=world.now - 20 * SECOND)
    second = world.now - 10 * SECOND
    world.then(
        lambda: world.cloud.begin_update(service_id, at=second),
        lambda: world.cloud.settle(service_id, first, "FAIL"),
        lambda: None,
        lambda: world.cloud.settle(service_id, second),
    )
    result = wait("mnist")
    assert result.code == 0
    assert [line.partition("Z ")[2] for line in result.out if line.startswith("update of ")] == [
        "has begun",
        f"overtook that of {datetime.fromtimestamp(first // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}",
    ]


def test_an_update_that_leaves_the_log_without_a_result_is_4(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    world.cloud.begin_update(service_id)
    world.then(world.cloud.service(service_id).updates.clear)
    world.time_is_up_after("detail", 3)
    result = wait("mnist")
    assert (result.code, "it is no longer in the log, without a result" in result.err) == (4, True)


@pytest.mark.parametrize("running", ["in_place", "appended"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_it_does_not_matter_how_the_cloud_shows_a_result(
    world: World, wait: Wait, running: Any, order: Any
) -> None:
    world.cloud.switches = Switches(running=running, logs_order=order)
    service_id = world.cloud.add_service(name="mnist")
    world.cloud.add_update(service_id, "FAIL", at=world.now - HOUR)
    begun = world.cloud.begin_update(service_id)
    world.then(lambda: world.cloud.settle(service_id, begun))
    assert wait("mnist").code == 0


def test_a_failure_that_is_being_retried_in_place_is_not_the_end(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    begun = world.cloud.begin_update(service_id)
    entry = world.cloud.service(service_id).updates[-1]
    world.then(
        lambda: setattr(entry, "result", "FAIL"),  # without a cause, so that it is looked at again
        lambda: setattr(entry, "result", "RUNNING"),
        lambda: world.cloud.settle(service_id, begun),
    )
    assert wait("mnist").code == 0


FAILING = [
    *("image_pull_failure", "image_build_failure", "insufficient_resources", "rollback", "wrong_port"),
    *("edge_partial_failure", "born_and_failed", "out_of_memory", "crash", "credentials", "storage"),
    "health_check",
]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("episode", FAILING)
def test_it_names_the_cause_that_the_exporter_shows(
    world: World, wait: Wait, config: str, episode: str, language: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    world.cloud.switches = Switches(language=language)
    play(world.cloud, load_scenario(episode), speed=1000)
    until(lambda: world.cloud.advance() and "FAIL" in str(world.cloud.truth_totals()))
    result = wait(episode.replace("_", "-"), "--since=1m")
    assert main(["once", f"--config.file={config}"]) == 0
    (shown,) = samples(capfd.readouterr().out, "modelarts_service_last_failure_info")
    told = result.err.splitlines()
    assert result.code == 3
    assert told[1:3] == [f"reason: {shown.labels['reason']}", f"text: {shown.labels['message']}"]
    assert len(told[3]) > len("remedy: ")


# -- what ends it at once


def test_a_service_that_a_person_stops_is_3(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    world.cloud.begin_update(service_id, at=world.now - 50 * SECOND)
    world.then(lambda: world.cloud.set_status(service_id, "stopped", at=world.now - 40 * SECOND))
    result = wait("mnist")
    assert result.code == 3
    assert re.search(r"did not end: the service was stopped after \d+ s\n", result.err)


def test_a_service_that_was_stopped_before_its_update_is_waited_for(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    begun = world.cloud.begin_update(service_id, at=world.now - 40 * SECOND)
    world.cloud.set_status(service_id, "stopped", at=world.now - HOUR)
    world.then(lambda: None, lambda: world.cloud.settle(service_id, begun))
    assert wait("mnist").code == 0


def test_a_log_that_still_says_how_it_ended_goes_before_the_stop(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    begun = world.cloud.begin_update(service_id, at=world.now - 50 * SECOND)
    world.cloud.settle(service_id, begun, at=world.now - 45 * SECOND)
    world.cloud.set_status(service_id, "stopped", at=world.now - 40 * SECOND)
    assert wait("mnist").code == 0


def test_an_unknown_service_is_1(world: World, wait: Wait) -> None:
    world.cloud.add_service(name="mnist")
    for wanted in ("Mnist", "00000000-0000-4000-8000-000000000000"):
        assert wait(wanted) == (1, [], f"modelarts-exporter: There is no service {wanted} in prod.\n")


def test_a_service_that_is_deleted_meanwhile_is_1(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist")
    world.cloud.begin_update(service_id)
    world.then(lambda: world.cloud.delete_service(service_id))
    result = wait("mnist")
    assert (result.code, "ModelArts.3502" in result.err) == (1, True)


def test_a_refused_sign_in_is_1(world: World, wait: Wait, url: str, tmp_path: Path) -> None:
    world.cloud.add_service(name="mnist")
    config = configured(tmp_path, project(url, auth=password(url, "wrong")), poll=QUICK)
    result = wait("mnist", config=config)
    assert (result.code, "check domain, username, password" in result.err) == (1, True)
    assert [request.endpoint for request in world.cloud.requests].count("token") == 1


@pytest.mark.parametrize(
    ("endpoint", "permission"),
    [
        ("list", "modelarts:service:list"),
        ("logs", "modelarts:service:getLogs"),
        ("events", "modelarts:service:getEvents"),
        ("detail", "modelarts:service:get"),
    ],
)
def test_a_missing_permission_is_1_and_is_named(
    world: World, wait: Wait, endpoint: Any, permission: str
) -> None:
    world.cloud.add_update(world.cloud.add_service(name="mnist"), "SUCCESS")
    world.cloud.faults.add(
        error(403, "ModelArts.0108", "Not authorized.", "modelarts", endpoint=endpoint, times=None)
    )
    result = wait("mnist")
    assert (result.code, f"grant the permission {permission})" in result.err) == (1, True)


def test_a_service_without_an_update_log_is_1(world: World, wait: Wait) -> None:
    world.cloud.switches = Switches(batch_logs="error")
    service_id = world.cloud.add_service(name="nightly", infer_type="batch")
    assert wait("nightly") == (
        1,
        [],
        (
            f"modelarts-exporter: nightly ({service_id}) has no update log: "
            "the cloud keeps none of batch services.\n"
        ),
    )


# -- what does not end it


# After a sign-in without an answer, ten seconds pass before the next one.
SIGN_IN = pytest.param("token", marks=pytest.mark.long)


@pytest.mark.parametrize("endpoint", [SIGN_IN, "list", "logs", "events", "detail"])
def test_an_answer_that_cannot_be_read_is_asked_for_again(world: World, wait: Wait, endpoint: Any) -> None:
    service_id = world.cloud.add_service(name="mnist")
    begun = world.cloud.begin_update(service_id)
    world.cloud.faults.add(html(endpoint=endpoint), no_answer(endpoint=endpoint))
    world.then(lambda: None, lambda: None, lambda: None, lambda: world.cloud.settle(service_id, begun))
    result = wait("mnist")
    assert result.code == 0
    # The result does not depend on the others.
    times = 2 if endpoint in ("token", "list", "logs") else 0
    assert result.err.count(" Asking again.\n") == len(result.err.splitlines()) == times


def test_a_429_is_waited_for(world: World, wait: Wait) -> None:
    world.cloud.add_update(world.cloud.add_service(name="mnist"), "SUCCESS")
    world.cloud.faults.add(
        error(429, "APIG.0308", "Slow down.", headers={"Retry-After": "0"}, endpoint="logs")
    )
    assert wait("mnist").code == 0


@pytest.mark.parametrize("endpoint", [SIGN_IN, "list", "logs"])
def test_a_service_that_cannot_be_read_until_the_timeout_is_1(
    world: World, wait: Wait, endpoint: Any
) -> None:
    world.cloud.add_update(world.cloud.add_service(name="mnist"), "SUCCESS")
    world.cloud.faults.add(html(endpoint=endpoint, times=None))
    world.time_is_up_after(endpoint, 3)
    result = wait("mnist")
    assert (result.code, "mnist could not be read within 1h: " in result.err) == (1, True)
    assert "502" in result.err


def test_a_cloud_that_never_answers_is_1_at_the_timeout(world: World, wait: Wait) -> None:
    world.cloud.add_service(name="mnist")
    world.cloud.faults.add(slow(600, times=None))
    world.time_is_up_after("token", 0)
    assert wait("mnist") == (
        1,
        [],
        "modelarts-exporter: mnist could not be read within 1h: no answer came.\n",
    )


def test_a_cloud_that_stops_answering_after_it_was_read_is_1_too(world: World, wait: Wait) -> None:
    world.cloud.begin_update(world.cloud.add_service(name="mnist"))
    world.cloud.faults.add(replace(html(endpoint="logs", times=None), skip=1))
    world.time_is_up_after("logs", 3)
    result = wait("mnist")
    assert (result.code, "could not be read" in result.err) == (1, True)


def test_a_list_that_lacks_rows_is_asked_for_again(
    world: World, wait: Wait, url: str, tmp_path: Path
) -> None:
    ids = [world.cloud.add_service(name="mnist") for _ in range(2)]
    config = configured(tmp_path, project(url, discovery=False, services={"ids": ids}), poll=QUICK)
    world.cloud.faults.add(error(500, "ModelArts.3505", "Try later.", endpoint="detail", service_id=ids[0]))
    assert wait("mnist", config=config).code == 2


# -- which service


def test_a_name_that_two_services_have_is_wrong_usage_and_names_both(world: World, wait: Wait) -> None:
    ids = sorted(world.cloud.add_service(name="mnist") for _ in range(2))
    world.cloud.add_update(ids[1], "SUCCESS")
    result = wait("mnist")
    assert result == (
        2,
        [],
        (
            f"modelarts-exporter: More than one service is called mnist: {ids[0]} in project prod, "
            f"{ids[1]} in project prod. Give the id, and --project.\n"
        ),
    )
    assert wait(ids[1]).code == 0


def test_a_name_in_two_projects_needs_the_project(world: World, wait: Wait, url: str, tmp_path: Path) -> None:
    other = world.cloud.add_project("f" * 32)
    world.cloud.add_service(name="mnist")
    world.cloud.add_update(world.cloud.add_service(other, name="mnist"), "SUCCESS")
    config = configured(tmp_path, project(url), project(url, "second", project_id=other), poll=QUICK)
    assert wait("mnist", config=config).code == 2
    assert wait("mnist", "--project=second", config=config).code == 0
    assert wait("mnist", "--project=third", config=config) == (
        2,
        [],
        f"modelarts-exporter: {config} has no project third; it has prod, second.\n",
    )


def test_an_id_needs_no_list_and_no_workspace(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist", workspace_id="elsewhere")
    world.cloud.add_update(service_id, "SUCCESS")
    assert wait(service_id).code == 0
    assert "list" not in {request.endpoint for request in world.cloud.requests}


def test_an_id_of_another_shape_is_found_in_the_list(world: World, wait: Wait) -> None:
    world.cloud.add_update(world.cloud.add_service(service_id="mnist-1", name="mnist"), "SUCCESS")
    world.cloud.add_service(name="mnist-1")
    assert wait("mnist-1").code == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"auth": access_key()},
        {"workspaces": ["0", "w"]},
        {"services": {"exclude_names": [".*"]}},
        {"discovery": False, "services": {"ids": ["the-id"]}},
    ],
    ids=["access key", "workspace", "filter", "without the list"],
)
def test_the_configuration_says_how_to_read_and_not_what_may_be_waited_for(
    world: World, wait: Wait, url: str, tmp_path: Path, changes: Config
) -> None:
    workspace = "w" if "workspaces" in changes else "0"
    service_id = world.cloud.add_service(service_id="the-id", name="mnist", workspace_id=workspace)
    world.cloud.add_update(service_id, "SUCCESS")
    assert wait("mnist", config=configured(tmp_path, project(url, **changes), poll=QUICK)).code == 0


# -- since when


@pytest.mark.parametrize(
    "form",
    [
        lambda at: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}",
        lambda at: f"{datetime.fromtimestamp(at + 7200, UTC):%Y-%m-%dt%H:%M:%S.000+02:00}",
        str,
        lambda at: f"{at}.5",
        lambda at: f"{int(time.time()) - at + 1}s",
    ],
    ids=["Z", "+02:00", "seconds", "fraction", "back"],
)
def test_a_time_can_be_given_in_each_form(world: World, wait: Wait, form: Callable[[int], str]) -> None:
    at = int(time.time()) - 3600
    world.cloud.add_update(world.cloud.add_service(name="mnist"), "SUCCESS", at=at * SECOND + 999)
    assert wait("mnist", f"--since={form(at)}").code == 0
    world.time_is_up_after("detail", 1)
    assert wait("mnist", f"--since={form(at + 3)}").code == 4


@pytest.mark.parametrize(
    "since", ["", "soon", "2026-01-31", "2026-01-31T12:00:00", "2026-02-31T12:00:00Z", "1700000000000", "-5m"]
)
def test_what_is_no_time_is_wrong_usage(wait: Wait, since: str) -> None:
    result = wait("mnist", f"--since={since}")
    assert (result.code, "or a duration back such as 10m" in result.err) == (2, True)


@pytest.mark.parametrize("timeout", ["", "0s", "30", "forever"])
def test_what_is_no_timeout_is_wrong_usage(wait: Wait, timeout: str) -> None:
    result = wait("mnist", timeout=timeout)
    assert (result.code, "argument --timeout" in result.err) == (2, True)


def test_without_a_name_it_is_wrong_usage(wait: Wait) -> None:
    assert wait("").code == 2  # a variable of a pipeline that is not set


@pytest.mark.parametrize("behind", [10 * MINUTE, -10 * MINUTE])
def test_the_minute_before_the_start_is_one_of_the_cloud_s_clock(
    world: World, wait: Wait, behind: int
) -> None:
    world.behind = behind
    service_id = world.cloud.add_service(name="mnist")
    world.cloud.add_update(service_id, "SUCCESS", at=world.now - 30 * SECOND)
    assert wait("mnist").code == 0
    world.cloud.service(service_id).updates[0].update_time -= 90 * SECOND
    world.time_is_up_after("detail", 1)
    assert wait("mnist").code == 4


# -- what it says


def test_the_nodes_of_an_edge_service_are_told(world: World, wait: Wait) -> None:
    nodes = [{"id": f"n{number}", "name": f"gate-{number}"} for number in range(2)]
    service_id = world.cloud.add_service(name="cameras", infer_type="edge", nodes=nodes)
    results = [
        {"node_id": "n0", "node_name": "gate-0", "operation": "deploy", "result": True},
        {"node_id": "n1", "node_name": "gate-1\x1b[2J", "operation": "delete", "result": False},
    ]
    world.cloud.add_event(service_id, "abnormal", "Failed to deploy on node gate-1: image pull fail")
    told = (
        "nodes: 1 succeeded, 1 failed\n"
        "node: gate-1 [2J (n1): delete failed\n"
        "node: gate-0 (n0): deploy succeeded\n"
    )
    for result, code in (("FAIL", 3), ("SUCCESS", 0)):
        begun = world.cloud.begin_update(service_id)
        world.cloud.add_event(service_id, "abnormal", PULL)
        world.cloud.settle(service_id, begun, result, results)
        found = wait("cameras")
        assert (found.code, found.err.endswith(told)) == (code, True), found.err


def test_texts_of_the_cloud_are_scrubbed(world: World, wait: Wait) -> None:
    service_id = world.cloud.add_service(name="mnist\x1b[31m\u202e")
    world.cloud.add_update(service_id, "FAIL", at=world.now - SECOND)
    text = f"failed to pull image\x07\nfrom https://me:hidden@swr.example password=hidden {'x' * 500}"
    world.cloud.add_event(service_id, "abnormal", text)
    result = wait(service_id)
    assert result.code == 3
    whole = result.err + "".join(result.out)
    assert "hidden" not in whole
    assert "text: failed to pull image from https://<secret>" not in whole  # user info just goes
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", whole)
    (told,) = [line for line in result.err.splitlines() if line.startswith("text: ")]
    assert len(told.removeprefix("text: ")) <= 200


def test_it_asks_at_the_active_interval(world: World, wait: Wait, url: str, tmp_path: Path) -> None:
    world.cloud.begin_update(world.cloud.add_service(name="mnist"))
    config = configured(tmp_path, project(url), poll={**POLL, "active_interval": "200ms"})
    world.time_is_up_after("detail", 4)
    assert wait("mnist", config=config).code == 4
    times = [request.at for request in world.cloud.requests if request.endpoint == "logs"]
    assert all(later - earlier >= 190 for earlier, later in pairwise(times))  # both are whole ms
    assert (len(times) in (4, 5), world.asked("list")) == (True, 1)


def command(config: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "exporter", "wait", f"--config.file={config}", *arguments]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_never_exits_with_0(
    world: World, config: str, tmp_path: Path, number: int, code: int
) -> None:
    world.cloud.begin_update(world.cloud.add_service(name="mnist"))
    child = subprocess.Popen(
        command(config, "mnist"), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: [request for request in world.cloud.requests if request.endpoint == "events"])
    child.send_signal(number)
    out, err = child.communicate(timeout=PATIENCE_SECONDS)
    assert (child.returncode, err) == (code, "")
    assert out[-1:] in ("", "\n")  # it may end before its first line, but in none


def test_a_reader_that_is_gone_does_not_change_the_code(world: World, config: str, tmp_path: Path) -> None:
    service_id = world.cloud.add_service(name="mnist")
    begun = world.cloud.begin_update(service_id)
    world.then(lambda: None, lambda: world.cloud.settle(service_id, begun))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command(config, "mnist"),
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_on_a_terminal_one_line_changes_and_the_others_stay(
    world: World, config: str, tmp_path: Path
) -> None:
    service_id = world.cloud.add_service(name="mnist")
    begun = world.deployment(service_id, 30 * SECOND, 0, 1, 2, 4, 24, 24, 25)
    world.then(lambda: None, lambda: None, lambda: world.cloud.settle(service_id, begun))
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "20"}
    child = subprocess.Popen(command(config, "mnist"), cwd=tmp_path, stdout=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:  # how Linux tells that the other side is closed
        pass
    os.close(ours)
    assert child.wait(PATIENCE_SECONDS) == 0
    text = shown.decode()
    assert re.search(r"\r\x1b\[Kimage_pull: \d+ s so ", text)
    left = [line.rpartition("\x1b[K")[2] for line in text.replace("\r\n", "\n").split("\n")]
    assert left[-1] == ""
    assert re.fullmatch(r"SUCCESS after \d+ s", left[-2])
    assert [line for line in left if line.startswith("image_pull")] == ["image_pull: started"]
    live = [piece for piece in re.split(r"\r\x1b\[K|\r\n", text) if re.search(r"\d+ s s", piece)]
    assert {len(piece) for piece in live} == {19}
