"""The system that alerting scenarios run on: emulated clouds, exporters, Prometheus, Alertmanagers."""

import hashlib
import itertools
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from exporter.core.polling.shard import Shard
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

    def fail(self, *texts: str, seconds_ago: int = 0) -> None:
        """Start an update that fails at once."""
        with self.cloud.lock:
            self.begin(seconds_ago)
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
        own_exporters: how many exporters it has of its own; each has its own way to the cloud.
        pushes_to: to which Alertmanager its own exporters push; 0 is the first.
        hears: the Alertmanagers whose notifications it is about.
        clock_ahead: by how many seconds the clock of its own exporters is ahead.
        shards: whether its own exporters share its services.

    """

    name: str
    own_cloud: bool = False
    own_exporters: int = 0
    pushes_to: int = 0
    hears: tuple[int, ...] = (0,)
    clock_ahead: int = 0
    shards: bool = False


# Runs the command line with another clock; nothing else in the process may have read it before.
_CLOCK_AHEAD = """
import sys, time
now_ns, now = time.time_ns, time.time
time.time_ns = lambda: now_ns() + {seconds} * 10**9
time.time = lambda: now() + {seconds}
from exporter.__main__ import main
sys.exit(main())
"""


class AlertingSystem:
    """All processes. Prometheus sends its alerts to every Alertmanager, an exporter pushes to one of them."""

    def __init__(self, directory: Path, setups: Iterable[Setup], stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self.receiver = stack.enter_context(WebhookReceiver())
        self.alertmanagers = [
            Alertmanager(directory / name, name, self.receiver)
            for name in ("first", "second", "third", "fourth")
        ]
        self.alertmanager = self.alertmanagers[0]
        self._cloud = _new_cloud()
        self._url = self._way_to(self._cloud).url
        self._ways: dict[str, list[Server]] = {}
        self.clouds: dict[str, Cloud] = {}
        self.exporters: dict[str, list[RunningExporter]] = {}
        self._numbers = itertools.count()
        self._setups = {setup.name: setup for setup in setups}
        self._create_exporters()
        everyone = [exporter for exporters in self.exporters.values() for exporter in exporters]
        self.prometheus = prometheus_with_rules(
            directory / "prometheus", [each.address for each in everyone], self.alertmanagers
        )
        for process in (*everyone, *self.alertmanagers, self.prometheus):
            stack.enter_context(process)
        for exporter in everyone:
            exporter.ready()
        self.await_value("count(count by (project) (modelarts_up == 1))", len(self._setups))

    def _create_exporters(self) -> None:
        shared = []
        for name, setup in self._setups.items():
            self.clouds[name] = _new_cloud() if setup.own_cloud else self._cloud
            self.clouds[name].add_project(_id(name))
            self.set_password(name, DEFAULT_PASSWORD)
            self._ways[name] = [self._way_to(self.clouds[name]) for _ in range(setup.own_exporters)]
            self.exporters[name] = [
                self._exporter([self._row(name, way.url)], setup, number)
                for number, way in enumerate(self._ways[name])
            ]
            if not setup.own_exporters:
                url = self._way_to(self.clouds[name]).url if setup.own_cloud else self._url
                shared.append(self._row(name, url))
        self.exporters[""] = [self._exporter(shared, Setup(""))] if shared else []

    def _row(self, name: str, url: str) -> Config:
        user = {**password(url)["password"], "password": None, "password_file": str(self._secret(name))}
        return project(url, name, project_id=_id(name), concurrency=2, auth={"password": user})

    def _way_to(self, cloud: Cloud) -> Server:
        return self._stack.enter_context(Server(cloud))

    def _exporter(self, rows: Sequence[Config], setup: Setup, number: int = 0) -> RunningExporter:
        directory = self._directory / f"exporter-{next(self._numbers)}"
        directory.mkdir()
        shard = [f"--shard.index={number}", f"--shard.total={setup.own_exporters}"] if setup.shards else []
        exporter = RunningExporter(directory, self._configured(directory, rows, setup), *shard)
        if setup.clock_ahead:
            exporter.command = [
                exporter.command[0],
                "-c",
                _CLOCK_AHEAD.format(seconds=setup.clock_ahead),
                *exporter.command[3:],
            ]
        return exporter

    def _configured(self, directory: Path, rows: Sequence[Config], setup: Setup) -> str:
        push = {"urls": [self.alertmanagers[setup.pushes_to].url], **PUSH}
        return configured(directory, *rows, poll=POLL, alertmanager=push)

    def _secret(self, name: str) -> Path:
        return self._directory / f"{_id(name)}.password"

    # --- for scenarios -----------------------------------------------------------------------------

    def service(self, name: str, **fields: Any) -> Service:
        """A new service of a project."""
        return Service(self.clouds[name], _id(name), **fields)

    def set_password(self, name: str, secret: str) -> None:
        """Change the password that the exporter of this project signs in with."""
        self._secret(name).write_text(secret)

    def cut_off(self, name: str, number: int) -> None:
        """Take one of its own exporters the way to the cloud."""
        self._ways[name][number].stop()

    def service_of_shard(self, name: str, index: int) -> Service:
        """A new service that this one of its own exporters reads."""
        shard = Shard(index, self._setups[name].own_exporters)
        service = self.service(name)
        while not shard.has(service.service_id):
            service.delete()
            service = self.service(name)
        return service

    def scrape(self, exporters: Iterable[RunningExporter]) -> None:
        """Have Prometheus scrape these from now on and no others."""
        self.prometheus.set_targets([exporter.address for exporter in exporters])
        self.prometheus.reload()

    def rename(self, name: str, project_id: str = "") -> None:
        """Have its own exporter read a project of another name, and of another id if one is given."""
        ((exporter,), (way,)) = self.exporters[name], self._ways[name]
        row = {**self._row(name, way.url), "name": renamed(name), "project_id": project_id or _id(name)}
        self._configured(exporter.log.parent, [row], self._setups[name])
        exporter.child.send_signal(signal.SIGHUP)
        self.await_value(f'modelarts_up{{project="{renamed(name)}"}}', 1)

    def expected(self, name: str) -> ExpectedNotifications:
        """The notifications that a scenario expects, about its project and about its own exporters."""
        alertmanagers = {self.alertmanagers[number].name for number in self._setups[name].hears}
        own = {exporter.address for exporter in self.exporters[name]}

        def is_about(notification: Notification) -> bool:
            labels = notification.labels
            is_own = labels.get("project") in (name, renamed(name)) or labels.get("instance") in own
            is_own = is_own or (self._setups[name].shards and "total" in labels)
            return is_own and notification.alertmanager in alertmanagers

        return ExpectedNotifications(name, is_about, self.receiver.notifications)

    def await_value(self, query: str, wanted: float) -> None:
        """Wait until this query of Prometheus has this value."""
        until(lambda: self.prometheus.value(query), lambda found: found == wanted, PATIENCE_SECONDS)


def wait_for_all(expected: ExpectedNotifications, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until all expected notifications have been received."""
    until(lambda: expected.result().missing, lambda missing: not missing, seconds)


def let_time_pass(seconds: float = SETTLE_SECONDS) -> None:
    """Wait, so that a notification that must not be sent would have been received."""
    end = time.monotonic() + seconds
    until(time.monotonic, lambda now: now >= end, seconds + 1)


def renamed(name: str) -> str:
    """The other name of a project."""
    return f"{name}, renamed"


def _new_cloud() -> Cloud:
    return Cloud(lambda: time.time_ns() // 1_000_000)


def _id(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


@contextmanager
def running_system(directory: Path, setups: Iterable[Setup]) -> Iterator[AlertingSystem]:
    """The system with all its processes running; they end with the context."""
    with ExitStack() as stack:
        yield AlertingSystem(directory, setups, stack)
