"""Fleets for the pages: services that lived through deployments, read as the exporter reads them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from exporter.adapters.web.snapshot import Page
from exporter.core.accounting.apply_events import apply_events
from exporter.core.accounting.apply_updates import CountingPolicy, apply_updates
from exporter.core.accounting.history import History, extended
from exporter.core.accounting.labels import ServiceView
from exporter.core.accounting.service_state import ServiceState, opened
from exporter.core.classifier.classifier import Classifier
from exporter.core.pages.update_feed import FoundUpdate, FoundUpdates, UpdatePlace, UpdateQuery
from exporter.core.polling import progress
from exporter.core.polling.progress import Progress
from exporter.core.records import (
    ABNORMAL,
    FAIL,
    NORMAL,
    RUNNING,
    SUCCESS,
    Event,
    EventWindow,
    Model,
    NodeResult,
    ServiceRow,
    Update,
    UpdateWindow,
)
from exporter.core.times import EpochMs
from exporter.engine.changes import ProjectStatus

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
NOW = 1_782_900_000_000  # 2026-07-01T10:00:00Z
POLICY = CountingPolicy(lateness=10 * MINUTE, longest_guess=5 * MINUTE)
CLASSIFIER = Classifier()

MODEL = Model("m-1", "als", "2.3.0", "modelarts.vm.cpu.2u", 100.0, 2)

PULL_FAILED = "Failed to pull image: the image does not exist or you have no permission to pull it"
NO_RESOURCES = "Schedule failed due to insufficient resources. Retry later."
UNHEALTHY = "Model health check failed: Get http://10.0.3.14:8080/health: connection refused"

# The events of a deployment, each with the share of its duration that has passed before it.
STEPS = (
    (0.0, "start to deploy service"),
    (0.01, "building image for model [als 2.3.0]"),
    (0.2, "model (als 2.3.0) build image success"),
    (0.22, "preparing environment"),
    (0.35, "[als 2.3.0] prepare environment success"),
    (0.45, "[als 2.3.0] schedule resource success"),
    (0.46, "[als 2.3.0] pulling model image"),
    (0.8, "[als 2.3.0] pull image success"),
    (0.81, "[als 2.3.0] starting model"),
)


class Deployment(NamedTuple):
    """A deployment. Times in ms; `takes` is None while it is open."""

    at: int
    takes: int | None = 4 * MINUTE
    failure: str = ""
    fails_after: float = 0.5  # share of its time
    models: tuple[Model, ...] = (MODEL,)
    nodes: tuple[NodeResult, ...] = ()
    has_steps: bool = True  # whether the event log has its steps

    def events(self, until: int) -> Iterable[Event]:
        """Its events until then."""
        takes = self.takes or 10 * MINUTE
        for share, text in STEPS if self.has_steps else ():
            if not self.failure or share <= self.fails_after:
                yield Event(self.at + int(share * takes) + 150, NORMAL, text)
        if self.failure:
            # The cloud tries again, with an event each time.
            for share in (self.fails_after, (self.fails_after + 1) / 2, 1.0):
                yield Event(self.at + int(share * takes), ABNORMAL, self.failure)

    def update(self, now: int) -> Update:
        """Its entry in the update log."""
        settled = self.takes is not None and now >= self.at + self.takes
        failed = sum(not node.succeeded for node in self.nodes)
        return Update(
            self.at,
            (FAIL if self.failure else SUCCESS) if settled else RUNNING,
            self.models,
            len(self.nodes) - failed if self.nodes and settled else None,
            failed if self.nodes and settled else None,
            self.nodes if settled else (),
        )


class NoMetrics:
    """A page of metrics without any."""

    def body(self, *, openmetrics: bool, gzip: bool, tail: bytes) -> list[bytes]:
        """Nothing."""
        return []


class Shown(NamedTuple):
    """What an answer is made of."""

    page: Page
    projects: Sequence[ProjectStatus]
    services: Mapping[tuple[str, str], ServiceView]


class Fleet:
    """The data of the pages; `busy`: the store does not respond in time."""

    def __init__(self, now: int = NOW) -> None:
        self.now = now
        self.statuses: list[ProjectStatus] = []
        self.services: dict[tuple[str, str], ServiceView] = {}
        self.histories: dict[tuple[str, str], History] = {}
        self.busy = False

    def project(
        self,
        name: str,
        *,
        up: bool | None = True,
        error: str = "",
        age: int = 12 * SECOND,
        first_reads: Progress | None = None,
    ) -> None:
        """A project, listed `age` ms ago."""
        count = sum(project == name for project, _ in self.services)
        listed_at = None if up is None else EpochMs(self.now - age)
        status = ProjectStatus(name, f"id of {name}", up, error, count, listed_at, 5 * MINUTE, first_reads)
        self.statuses.append(status)

    def service(
        self,
        project: str,
        row: ServiceRow,
        deployments: Sequence[Deployment] = (),
        events: Sequence[Event] = (),
        *,
        up: bool = True,
        age: int = 8 * SECOND,
    ) -> ServiceState:
        """A service with these deployments and events, last read `age` ms ago."""
        read_at = self.now - age
        instants = {read_at}
        for each in deployments:
            end = each.at + (each.takes or 0)
            instants |= {each.at + 5 * SECOND, end - 5 * SECOND, end + 5 * SECOND}
        outcome = opened(row, min(instants), preexisting=False)
        state, history = outcome.state, History()
        all_events = sorted([*events, *(event for each in deployments for event in each.events(self.now))])
        for now in sorted(instant for instant in instants if instant <= read_at):
            updates = tuple(each.update(now) for each in deployments if each.at <= now)
            first = apply_updates(state, UpdateWindow(updates, now), POLICY, now)
            window = EventWindow(tuple(event for event in all_events if event.occur_time <= now), now)
            second = apply_events(first.state, window, POLICY, CLASSIFIER, now)
            history = extended(history, second.past_events, first.past_updates)
            state = msgspec.structs.replace(second.state, read_at=now, up=True)
        state = msgspec.structs.replace(state, up=up)
        self.put(project, state, history)
        return state

    def put(self, project: str, state: ServiceState, history: History | None = None) -> None:
        """Add a service with this state."""
        key = (project, state.row.service_id)
        self.services[key] = ServiceView(project, state)
        if history is not None:
            self.histories[key] = history

    def history(self, project: str, service_id: str) -> History | None:
        """The history of a service, as from the store."""
        if self.busy:
            raise TimeoutError
        return self.histories.get((project, service_id))

    def updates(self, query: UpdateQuery, service_ids: Collection[str] | None) -> FoundUpdates:
        """A page of the settled updates, as from the store."""
        if self.busy:
            raise TimeoutError
        found = [
            FoundUpdate(UpdatePlace(past.update.update_time, project, service_id, number), past)
            for (project, service_id), history in self.histories.items()
            for number, past in enumerate(history.updates)
            if query.project in ("", project)
            and (service_ids is None or service_id in service_ids)
            and query.result in ("", past.update.result)
            and past.update.update_time >= (query.since or 0)
        ]
        older = sorted(
            (each for each in found if query.before is None or each.place < query.before),
            key=lambda each: each.place,
            reverse=True,
        )
        page = older[: query.per_page]
        return FoundUpdates(tuple(page), page[-1].place if len(older) > len(page) else None)

    def snapshot(self) -> Shown:
        """What is shown at this moment."""
        return Shown(NoMetrics(), tuple(self.statuses), dict(self.services))

    def doors(self) -> Mapping[str, object]:
        """The arguments of the application that have to do with the data."""
        return {
            "snapshot": self.snapshot,
            "history": self.history,
            "updates": self.updates,
            "clock": lambda: self.now,
            "remedy": lambda text: CLASSIFIER.classify(ABNORMAL, text).remedy,
        }


def row(name: str, number: int, status: str = "running", infer_type: str = "real-time") -> ServiceRow:
    """A service as the list shows it."""
    return ServiceRow(
        service_id=f"{number:08x}-6d2e-4c1f-9f5a-3b7c5a4e9d10",
        service_name=name,
        infer_type=infer_type,
        status=status,
        workspace_id="0",
        owner="ml-platform",
        transition_at=NOW - 26 * HOUR,
        invocations=1_284_551 + number,
        failed_invocations=37,
    )


def ago(*parts: int) -> int:
    """So many ms before now."""
    return NOW - sum(parts)


def lively() -> Fleet:
    """Two projects with every kind of service."""
    fleet = Fleet()
    fleet.service(
        "prod",
        row("recommender", 1),
        [
            Deployment(ago(9 * DAY)),
            Deployment(ago(6 * DAY), 5 * MINUTE),
            Deployment(ago(3 * DAY), 7 * MINUTE, UNHEALTHY, 0.82),
            Deployment(ago(3 * DAY, -20 * MINUTE), 4 * MINUTE),
            Deployment(
                ago(47 * MINUTE),
                11 * MINUTE,
                PULL_FAILED,
                0.5,
                models=(
                    msgspec.structs.replace(MODEL, weight=70.0),
                    Model("m-2", "two-tower", "0.9.1", "custom", 30.0, 1, 4.0, 16384.0, 1.0),
                ),
            ),
        ],
        [
            Event(
                ago(DAY, 3 * HOUR), ABNORMAL, "Instance restarted: container exited with code 137 (OOMKilled)"
            ),
            Event(
                ago(DAY, 2 * HOUR), ABNORMAL, "Instance restarted: container exited with code 137 (OOMKilled)"
            ),
        ],
    )
    fleet.service(
        "prod",
        row("image-classifier", 2),
        [Deployment(ago(2 * DAY)), Deployment(ago(5 * HOUR), 20 * MINUTE, NO_RESOURCES, 0.36)],
    )
    fleet.service(
        "prod",
        row("chat-assistant", 3, "deploying"),
        [Deployment(ago(4 * DAY)), Deployment(ago(52 * MINUTE), None)],
    )
    fleet.service("prod", row("translator", 4), [Deployment(ago(8 * DAY))], up=False, age=22 * MINUTE)
    fleet.service("prod", row("speech-to-text", 5, "concerning"), [Deployment(ago(8 * DAY))])
    fleet.service(
        "prod",
        row("fraud-detector", 6, "deploying"),
        [Deployment(ago(DAY)), Deployment(ago(3 * MINUTE), None)],
    )
    for number, name in enumerate(("churn", "forecast", "ocr", "ranking"), 7):
        fleet.service("prod", row(name, number), [Deployment(ago(number * DAY), (3 + number % 4) * MINUTE)])
    down = msgspec.structs.replace(row("pricing", 11, "failed"), transition_at=ago(2 * HOUR))
    unhealthy = Event(ago(2 * HOUR, -SECOND), ABNORMAL, UNHEALTHY)
    fleet.service("prod", down, [Deployment(ago(11 * DAY), 6 * MINUTE)], [unhealthy])
    fleet.service(
        "prod", row("old-ranking", 12, "stopped"), [Deployment(ago(20 * DAY), 9 * MINUTE, UNHEALTHY, 0.82)]
    )
    nodes = tuple(
        NodeResult(f"node-{name}", name, "deploy", succeeded=name != "gate-south")
        for name in ("gate-north", "gate-south", "warehouse-1", "warehouse-2")
    )
    good = tuple(msgspec.structs.replace(node, succeeded=True) for node in nodes)
    fleet.service(
        "edge",
        row("cameras", 20, "running", "edge"),
        [
            Deployment(ago(3 * DAY), 2 * MINUTE, nodes=good, has_steps=False),
            Deployment(
                ago(2 * HOUR),
                2 * MINUTE,
                "Node gate-south: deploy failed, the agent does not answer",
                0.6,
                nodes=nodes,
                has_steps=False,
            ),
        ],
    )
    fleet.service(
        "edge",
        row("meters", 21, "running", "edge"),
        [Deployment(ago(5 * DAY), 2 * MINUTE, nodes=good, has_steps=False)],
    )
    fleet.put("edge", opened(row("turnstiles", 22, "running", "edge"), NOW, preexisting=False).state)
    fleet.project("prod")
    fleet.project("edge", age=40 * SECOND)
    return fleet


def broken() -> Fleet:
    """As `lively`, but one project cannot be read any more, and another one never could."""
    fleet = lively()
    fleet.statuses = [
        status._replace(
            up=False,
            error="Listing the services failed with HTTP 403: ModelArts.0105: no permission.",
            listed_at=EpochMs(NOW - 3 * HOUR),
        )
        if status.name == "edge"
        else status
        for status in fleet.statuses
    ]
    fleet.project(
        "lab", up=False, error="Signing in failed with HTTP 401: The username or password is wrong."
    )
    fleet.statuses[-1] = fleet.statuses[-1]._replace(listed_at=None)
    return fleet


def empty() -> Fleet:
    """A project without services."""
    fleet = Fleet()
    fleet.project("prod")
    return fleet


def beginning() -> Fleet:
    """A project that was not listed yet."""
    fleet = Fleet()
    fleet.project("prod", up=None)
    return fleet


def first_reads(total: int, done: int, failed: int = 0, lasted: int = 50 * SECOND) -> Progress:
    """The first reads of many services, which have lasted for so many ms."""
    return progress.advanced(progress.begin(NOW - lasted, total), NOW, total, done, failed)


def starting(projects: int = 1) -> Fleet:
    """Projects that are known from before; not all of their services were read since the start."""
    fleet = Fleet()
    fleet.service("prod-0", row("recommender", 1), [Deployment(NOW - DAY)])
    for number in range(projects):
        fleet.project(f"prod-{number}", first_reads=first_reads(10_000, 1_240))
    return fleet


def crowd(size: int = 10_000) -> Fleet:
    """Many services, a few of them in trouble."""
    fleet = lively()
    names = ("churn", "forecast", "ocr", "pricing", "ranking", "search", "vision", "voice")
    template = fleet.services["prod", row("churn", 7).service_id].state
    failing = fleet.services["prod", row("recommender", 1).service_id].state
    for number in range(size - len(fleet.services)):
        project = f"team-{number % 12:02}"
        state = failing if number % 400 == 0 else template
        found = row(
            f"{names[number % 8]}-{number:05}", 1000 + number, "stopped" if number % 50 == 7 else "running"
        )
        fleet.put(project, msgspec.structs.replace(state, row=found))
    for number in range(12):
        fleet.project(f"team-{number:02}", age=number * SECOND)
    return fleet


def all_down(size: int = 30) -> Fleet:
    """So many services, of which none is well, and with names and texts as long as they may be."""
    fleet = Fleet()
    for number in range(size):
        failure = (PULL_FAILED, NO_RESOURCES, UNHEALTHY * 4)[number % 3]
        name = f"service-{number:02}{'-of-a-long-name' * (number % 5)}"[:64]
        fleet.service(
            "prod",
            row(name, 100 + number, "deploying" if number % 4 == 0 else "running"),
            [Deployment(ago(number * HOUR, 30 * MINUTE), 9 * MINUTE, failure, 0.5)],
        )
    fleet.project("prod")
    return fleet


def cut_off() -> Fleet:
    """As `lively`, but the cloud does not answer any more, and everything was well before."""
    fleet = lively()
    well = ("churn", "forecast", "ocr", "ranking")
    fleet.services = {
        key: view._replace(state=msgspec.structs.replace(view.state, read_at=ago(2 * MINUTE)))
        for key, view in fleet.services.items()
        if view.state.row.service_name in well
    }
    fleet.statuses = []
    fleet.project("prod", up=False, error="The endpoint does not answer.", age=2 * MINUTE)
    return fleet
