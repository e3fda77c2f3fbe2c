"""Plays a scenario on a cloud: each step happens at its own time, even if requests are rare."""

import heapq
from dataclasses import replace
from random import Random

from exporter.emulator.cloud import Cloud
from exporter.emulator.project import DEFAULT_PROJECT
from exporter.emulator.rows import stable_id
from exporter.emulator.scenario import EventText, Scenario, ServiceScenario, Step


def play(cloud: Cloud, scenario: Scenario, *, speed: float = 1.0, project_id: str = DEFAULT_PROJECT) -> None:
    """Start a scenario now; each `Cloud.advance` continues it. With `speed` 2 it takes half the time."""
    with cloud.lock:
        cloud.switches = replace(cloud.switches, **scenario.switches)
        for sample in scenario.samples:
            cloud.serve_sample(
                sample.endpoint,
                sample.content,
                service_id=sample.service_id,
                workspace_id=sample.workspace_id,
            )
        began = cloud.clock()
        players = [
            _ServicePlayer(cloud, service, scenario.seed, began, speed, project_id)
            for service in scenario.services
        ]
        cloud.attach(_ScenarioPlayer(cloud, players).advance)


class _ScenarioPlayer:
    """Plays all services of a scenario, and keeps which of them has the next step."""

    def __init__(self, cloud: Cloud, players: list["_ServicePlayer"]) -> None:
        self._cloud = cloud
        self._players = players
        self._queue = [(player.due, place) for place, player in enumerate(players) if player.due is not None]
        heapq.heapify(self._queue)

    def advance(self, now: int) -> None:
        """Do every step that is due at `now` (ms), oldest first."""
        rounds_ended = 0
        while self._queue and self._queue[0][0] <= now:
            _, place = heapq.heappop(self._queue)
            player = self._players[place]
            rounds_ended += player.do_next_step()
            if player.due is not None:
                heapq.heappush(self._queue, (player.due, place))
        for player in self._players:
            player.count_calls(now)
        if rounds_ended:
            self._cloud.forget()


class _ServicePlayer:
    """Plays one service, and keeps its place in the timeline."""

    def __init__(
        self, cloud: Cloud, service: ServiceScenario, seed: int, began: int, speed: float, project_id: str
    ) -> None:
        self._cloud = cloud
        self._service = service
        self._seed = seed
        self._speed = speed
        self._project_id = project_id
        self._service_id = service.service_id or stable_id(f"{seed}/{service.name}")
        self._began = began
        self._round = 0
        self._round_began = self._start_of_round()
        self._place = 0
        self._open: int | None = None  # update_time
        self._call_count = 0.0
        self._counted_at = began
        if not service.absent:
            self._create()

    @property
    def due(self) -> int | None:
        """The time of its next step in ms; None if there is none."""
        if self._place >= len(self._service.timeline):
            return None
        return self._moment(self._service.timeline[self._place])

    def do_next_step(self) -> bool:
        """Do the next step; returns whether that ended a round of the timeline."""
        step = self._service.timeline[self._place]
        self._do(step, self._moment(step))
        self._place += 1
        if self._place < len(self._service.timeline) or self._service.repeat is None:
            return False
        self._round += 1
        self._round_began = self._start_of_round()
        self._place = 0
        return True

    def count_calls(self, now: int) -> None:
        """Add the inference calls since the last count, if the service exists and is running."""
        elapsed, self._counted_at = now - self._counted_at, now
        if not self._service.calls_per_second or not self._exists():
            return
        if self._cloud.service(self._service_id).fields["status"] == "running":
            self._call_count += elapsed / 1000 * self._service.calls_per_second
            self._cloud.patch_service(
                self._service_id,
                invocation_times=int(self._call_count),
                failed_times=int(self._call_count * self._service.failed_share),
            )

    def _start_of_round(self) -> int:
        jitter = Random(f"{self._seed}/{self._service.name}/{self._round}").uniform(0, self._service.jitter)  # noqa: S311 - the same in every run
        seconds = self._round * (self._service.repeat or 0) + jitter
        return self._began + int(seconds * 1000 / self._speed)

    def _moment(self, step: Step) -> int:
        return self._round_began + int(step.at * 1000 / self._speed)

    def _exists(self) -> bool:
        return self._service_id in self._cloud.projects[self._project_id].services

    def _create(self) -> None:
        self._cloud.add_service(
            self._project_id,
            self._service_id,
            name=self._service.name,
            infer_type=self._service.infer_type,
            status=self._service.status,
            workspace_id=self._service.workspace_id,
            models=self._service.models,
            nodes=[{"id": stable_id(f"node/{node}"), "name": node} for node in self._service.nodes],
        )

    def _do(self, step: Step, at: int) -> None:
        if step.create and not self._exists():
            self._create()
        if not self._exists():
            return  # a test has deleted it
        if step.update:
            self._open = self._cloud.begin_update(self._service_id, step.models, at=at)
        for text in (step.say, step.event):
            if text is not None:
                self._write(text, step, at)
        if step.settle and self._open is not None:
            outcomes = None if step.nodes is None else self._node_results(step.nodes)
            self._cloud.settle(self._service_id, self._open, step.settle, outcomes, at=at)
            self._open = None
        if step.status:
            self._cloud.set_status(self._service_id, step.status, at=at)
        if step.progress is not None:
            self._cloud.patch_service(self._service_id, progress=step.progress)
        if step.delete:
            self._cloud.delete_service(self._service_id)
            self._open = None

    def _write(self, text: EventText, step: Step, at: int) -> None:
        wanted = self._service.language or self._cloud.switches.language
        words = text.texts["en" if wanted == "asked" else wanted]
        chinese = text.texts["zh"] if wanted == "asked" else ""
        shown = at + int(step.late * 1000 / self._speed)
        models = self._cloud.service(self._service_id).models if "{model}" in words else [{}]
        for row in models:
            line, translated = (
                each.replace("{model}", f"{row.get('model_name')} {row.get('model_version')}")
                .replace("{service}", self._service.name)
                .replace("{node}", step.node)
                for each in (words, chinese)
            )
            self._cloud.add_event(self._service_id, text.event_type, line, at, shown, translated)

    def _node_results(self, outcomes: tuple[str, ...]) -> list[dict[str, object]]:
        nodes = self._cloud.service(self._service_id).nodes
        return [
            {
                "node_id": node["id"],
                "node_name": node["name"],
                "operation": outcome.split()[0],
                "result": not outcome.endswith("failed"),
            }
            for node, outcome in zip(nodes, outcomes, strict=True)
        ]
