"""The system that alerting scenarios run on: emulated clouds, exporters, Prometheus, two Alertmanagers."""

import hashlib
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from exporter.emulator import DEFAULT_PASSWORD, Cloud, Server
from tests.commands import Config, RunningExporter, configured, password, project
from tests.live.alertmanager import Alertmanager, Notification, WebhookReceiver, prometheus_with_rules
from tests.live.expected_notifications import ExpectedNotifications
from tests.live.processes import until

# Two seconds instead of thirty, and the rest in proportion, but no shorter than two busy cores can do.
POLL = {"interval": "2s", "active_interval": "1s", "sweep_interval": "10s", "lateness": "5s"}
RESEND_SECONDS = 5
PUSH = {"resend_interval": f"{RESEND_SECONDS}s", "cause_wait": "2s"}

# The longest that a notification takes here: an alert that has to be pending for thirty seconds, the group's
# wait, and whatever two busy cores add.
PATIENCE_SECONDS = 75.0

# Twice as long as a poll, a scrape, an evaluation, a resend and a group interval take together.
SETTLE_SECONDS = 2.0 * (RESEND_SECONDS + 1)

IMAGE_PULL = "failed to pull image, retry later"
OUT_OF_MEMORY = "container was killed: out of memory, exit code 137. Restart it."
ROLLED_BACK = "Failed to update the service. The update has been rolled back."


class Service:
    """One service of an emulated cloud, and what happens to it."""

    def __init__(self, cloud: Cloud, project_id: str, **fields: Any) -> None:
        self.cloud = cloud
        self.service_id = cloud.add_service(project_id, **fields)
        self._open = 0

    def begin(self, seconds_ago: int = 0) -> None:
        self._open = self.cloud.begin_update(self.service_id, at=self.cloud.clock() - 1000 * seconds_ago)

    def say(self, *texts: str, event_type: str = "abnormal") -> None:
        for text in texts:
            self.cloud.add_event(self.service_id, event_type, text)

    def end(self, result: str, nodes: Sequence[bool] = ()) -> None:
        """End the open update; `nodes` says of each edge node whether it succeeded."""
        rows = [
            {"node_id": f"n{at}", "node_name": f"node-{at}", "operation": "deploy", "result": result}
            for at, result in enumerate(nodes)
        ]
        self.cloud.settle(self.service_id, self._open, result, rows or None)

    def fail(self, *texts: str) -> None:
        """Start an update that fails at once."""
        with self.cloud.lock:
            self.begin()
            self.say(*texts or (IMAGE_PULL,))
            self.end("FAIL")

    def succeed(self) -> None:
        """Start an update that succeeds at once."""
        with self.cloud.lock:
            self.begin()
            self.end("SUCCESS")

    def set_status(self, status: str) -> None:
        self.cloud.set_status(self.service_id, status)

    def delete(self) -> None:
        self.cloud.delete_service(self.service_id)


class Setup(NamedTuple):
    """What a scenario needs. Its project has its name; scenarios share a cloud and an exporter by default.

    Args:
        name: of the scenario.
        own_cloud: whether it has a cloud of its own.
        own_exporters: how many exporters it has of its own.
        push_to_second: whether its own exporters push to the second Alertmanager.

    """

    name: str
    own_cloud: bool = False
    own_exporters: int = 0
    push_to_second: bool = False


class AlertingSystem:
    """All processes. Prometheus sends its alerts to both Alertmanagers, an exporter pushes to one of them."""

    def __init__(self, directory: Path, setups: Iterable[Setup], stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self.receiver = stack.enter_context(WebhookReceiver())
        self.alertmanager = Alertmanager(directory / "first", "first", self.receiver)
        self.second_alertmanager = Alertmanager(directory / "second", "second", self.receiver)
        self._cloud, self._url = self._new_cloud()
        self.clouds: dict[str, Cloud] = {}
        self.exporters: dict[str, list[RunningExporter]] = {}
        self._numbers = itertools.count()
        self._setups = {setup.name: setup for setup in setups}
        self._create_exporters()
        everyone = [exporter for exporters in self.exporters.values() for exporter in exporters]
        alertmanagers = (self.alertmanager, self.second_alertmanager)
        self.prometheus = prometheus_with_rules(
            directory / "prometheus", [each.address for each in everyone], alertmanagers
        )
        for process in (*everyone, *alertmanagers, self.prometheus):
            stack.enter_context(process)
        for exporter in everyone:
            exporter.ready()
        self.await_value("count(count by (project) (modelarts_up == 1))", len(self._setups))

    def _create_exporters(self) -> None:
        shared = []
        for setup in self._setups.values():
            row = self._row(setup)
            self.exporters[setup.name] = [
                self._exporter([row], self.second_alertmanager if setup.push_to_second else self.alertmanager)
                for _ in range(setup.own_exporters)
            ]
            if not setup.own_exporters:
                shared.append(row)
        self.exporters[""] = [self._exporter(shared, self.alertmanager)]

    def _row(self, setup: Setup) -> Config:
        cloud, url = self._new_cloud() if setup.own_cloud else (self._cloud, self._url)
        self.clouds[setup.name] = cloud
        cloud.add_project(_id(setup.name))
        self.set_password(setup.name, DEFAULT_PASSWORD)
        user = {**password(url)["password"], "password": None, "password_file": str(self._secret(setup.name))}
        return project(url, setup.name, project_id=_id(setup.name), concurrency=2, auth={"password": user})

    def _new_cloud(self) -> tuple[Cloud, str]:
        cloud = Cloud(lambda: time.time_ns() // 1_000_000)
        return cloud, self._stack.enter_context(Server(cloud)).url

    def _exporter(self, rows: Sequence[Config], pushes_to: Alertmanager) -> RunningExporter:
        directory = self._directory / f"exporter-{next(self._numbers)}"
        directory.mkdir()
        push = {"urls": [pushes_to.url], **PUSH}
        return RunningExporter(directory, configured(directory, *rows, poll=POLL, alertmanager=push))

    def _secret(self, name: str) -> Path:
        return self._directory / f"{_id(name)}.password"

    # --- for scenarios -----------------------------------------------------------------------------

    def service(self, name: str, **fields: Any) -> Service:
        """A new service of a project."""
        return Service(self.clouds[name], _id(name), **fields)

    def set_password(self, name: str, secret: str) -> None:
        """Change the password that the exporter of this project signs in with."""
        self._secret(name).write_text(secret)

    def expected(self, name: str) -> ExpectedNotifications:
        """The notifications that a scenario expects, about its project and about its own exporters."""
        alertmanagers = {self.alertmanager.name}
        if self._setups[name].push_to_second:
            alertmanagers.add(self.second_alertmanager.name)
        own = {exporter.address for exporter in self.exporters[name]}

        def is_about(notification: Notification) -> bool:
            labels = notification.labels
            is_own = labels.get("project") == name or labels.get("instance") in own
            return is_own and notification.alertmanager in alertmanagers

        return ExpectedNotifications(name, is_about, self.receiver.notifications)

    def await_value(self, query: str, wanted: float) -> None:
        """Wait until this query of Prometheus has this value."""
        until(lambda: self.prometheus.value(query), lambda found: found == wanted, PATIENCE_SECONDS)


def wait_for_all(expected: ExpectedNotifications) -> None:
    """Wait until all expected notifications have been received."""
    until(lambda: expected.result().missing, lambda missing: not missing, PATIENCE_SECONDS)


def let_time_pass(seconds: float = SETTLE_SECONDS) -> None:
    """Wait, so that a notification that must not be sent would have been received."""
    end = time.monotonic() + seconds
    until(time.monotonic, lambda now: now >= end, seconds + 1)


def _id(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


@contextmanager
def running_system(directory: Path, setups: Iterable[Setup]) -> Iterator[AlertingSystem]:
    """The system with all its processes running; they end with the context."""
    with ExitStack() as stack:
        yield AlertingSystem(directory, setups, stack)
