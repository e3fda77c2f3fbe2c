"""Everything that a scenario of alerting needs: clouds, exporters on them, and who watches over those."""

import hashlib
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from exporter.emulator import DEFAULT_PASSWORD, Cloud, Server
from tests.commands import Row, Running, configured, password, project

from .alerting import Alertmanager, Notice, Receiver, prometheus
from .processes import until
from .verdict import Story

# Two seconds instead of thirty, and the rest by the same measure, but no less than two busy cores can do.
POLL = {"interval": "2s", "active_interval": "1s", "sweep_interval": "10s", "lateness": "5s"}
RESEND_SECONDS = 5
PUSH = {"resend_interval": f"{RESEND_SECONDS}s", "cause_wait": "2s"}

# The longest that anything here takes to be told: an alert that has to stand for thirty seconds, the group's
# wait, and whatever two busy cores add.
PATIENCE_SECONDS = 75.0

# Long enough for a poll, a scrape, an evaluation, a resend and a look at the group, twice over.
A_WHILE_SECONDS = 2.0 * (RESEND_SECONDS + 1)

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
        """The open update settles, on these nodes where it is one of the edge."""
        rows = [
            {"node_id": f"n{at}", "node_name": f"node-{at}", "operation": "deploy", "result": result}
            for at, result in enumerate(nodes)
        ]
        self.cloud.settle(self.service_id, self._open, result, rows or None)

    def fail(self, *texts: str) -> None:
        """An update that fails at once."""
        with self.cloud.lock:
            self.begin()
            self.say(*texts or (IMAGE_PULL,))
            self.end("FAIL")

    def succeed(self) -> None:
        """An update that succeeds at once."""
        with self.cloud.lock:
            self.begin()
            self.end("SUCCESS")

    def set_status(self, status: str) -> None:
        self.cloud.set_status(self.service_id, status)

    def delete(self) -> None:
        self.cloud.delete_service(self.service_id)


class Place(NamedTuple):
    """Where a scenario plays: in a project with its name, in the cloud and on the exporter of all others.

    `alone`: in a cloud of its own. `exporters`: so many of its own. `cut_off`: these push to `other`.
    """

    name: str
    alone: bool = False
    exporters: int = 0
    cut_off: bool = False


class Environment:
    """The peers; `one` hears of everything, but for what is pushed to `other`, which hears of all rules."""

    def __init__(self, directory: Path, places: Iterable[Place], stack: ExitStack) -> None:
        self._directory, self._stack = directory, stack
        self.receiver = stack.enter_context(Receiver())
        self.one = Alertmanager(directory / "one", "one", self.receiver)
        self.other = Alertmanager(directory / "other", "other", self.receiver)
        self._cloud, self._url = self._new_cloud()
        self.clouds: dict[str, Cloud] = {}
        self.exporters: dict[str, list[Running]] = {}
        self._numbers = itertools.count()
        self._places = {place.name: place for place in places}
        self._furnish()
        everyone = [exporter for exporters in self.exporters.values() for exporter in exporters]
        peers = (self.one, self.other)
        self.prometheus = prometheus(directory / "prometheus", [each.address for each in everyone], peers)
        for process in (*everyone, *peers, self.prometheus):
            stack.enter_context(process)
        for exporter in everyone:
            exporter.ready()
        self.await_value("count(count by (project) (modelarts_up == 1))", len(self._places))

    def _furnish(self) -> None:
        shared = []
        for place in self._places.values():
            row = self._row(place)
            self.exporters[place.name] = [
                self._exporter([row], self.other if place.cut_off else self.one)
                for _ in range(place.exporters)
            ]
            if not place.exporters:
                shared.append(row)
        self.exporters[""] = [self._exporter(shared, self.one)]

    def _row(self, place: Place) -> Row:
        cloud, url = self._new_cloud() if place.alone else (self._cloud, self._url)
        self.clouds[place.name] = cloud
        cloud.add_project(_id(place.name))
        self.set_password(place.name, DEFAULT_PASSWORD)
        user = {**password(url)["password"], "password": None, "password_file": str(self._secret(place.name))}
        return project(url, place.name, project_id=_id(place.name), concurrency=2, auth={"password": user})

    def _new_cloud(self) -> tuple[Cloud, str]:
        cloud = Cloud(lambda: time.time_ns() // 1_000_000)
        return cloud, self._stack.enter_context(Server(cloud)).url

    def _exporter(self, rows: Sequence[Row], pushes_to: Alertmanager) -> Running:
        directory = self._directory / f"exporter-{next(self._numbers)}"
        directory.mkdir()
        push = {"urls": [pushes_to.url], **PUSH}
        return Running(directory, configured(directory, *rows, poll=POLL, alertmanager=push))

    def _secret(self, name: str) -> Path:
        return self._directory / f"{_id(name)}.password"

    # --- for scenarios -----------------------------------------------------------------------------

    def service(self, name: str, **fields: Any) -> Service:
        """A new service of a project."""
        return Service(self.clouds[name], _id(name), **fields)

    def set_password(self, name: str, secret: str) -> None:
        """What the exporter of a project signs in with from now on."""
        self._secret(name).write_text(secret)

    def story(self, name: str) -> Story:
        """The story of a project and of the exporters that have nothing else to do."""
        heard = {self.one.name, self.other.name} if self._places[name].cut_off else {self.one.name}
        own = {exporter.address for exporter in self.exporters[name]}

        def owns(notice: Notice) -> bool:
            about = notice.labels.get("project") == name or notice.labels.get("instance") in own
            return about and notice.alertmanager in heard

        return Story(name, owns, self.receiver.notices)

    def await_value(self, query: str, wanted: float) -> None:
        """Return when Prometheus answers so."""
        until(lambda: self.prometheus.value(query), lambda found: found == wanted, PATIENCE_SECONDS)


def told(story: Story) -> None:
    """Return when everything came that has to."""
    until(lambda: story.row().missing, lambda missing: not missing, PATIENCE_SECONDS)


def a_while(seconds: float = A_WHILE_SECONDS) -> None:
    """Let the world go on, so that what must not come would have come."""
    end = time.monotonic() + seconds
    until(time.monotonic, lambda now: now >= end, seconds + 1)


def _id(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


@contextmanager
def stage(directory: Path, places: Iterable[Place]) -> Iterator[Environment]:
    """A stage on which everything runs, and with which everything ends."""
    with ExitStack() as stack:
        yield Environment(directory, places, stack)
