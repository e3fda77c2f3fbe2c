"""Plays a scenario on a cloud: every step at its own time, however seldom the cloud is asked."""

import heapq
from dataclasses import replace
from random import Random

from exporter.emulator.cloud import Cloud
from exporter.emulator.project import DEFAULT_PROJECT
from exporter.emulator.rows import made_id
from exporter.emulator.scenario import Part, Scenario, Step, Text


def play(cloud: Cloud, scenario: Scenario, *, speed: float = 1.0, project_id: str = DEFAULT_PROJECT) -> None:
    """Begin a scenario now; it goes on whenever the cloud advances. `speed` 2 takes half the time."""
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
        actors = [_Actor(cloud, part, scenario.seed, began, speed, project_id) for part in scenario.parts]
        cloud.attach(_Stage(cloud, actors).advance)


class _Stage:
    """All services of a scenario, and whose turn is next."""

    def __init__(self, cloud: Cloud, actors: list["_Actor"]) -> None:
        self._cloud = cloud
        self._actors = actors
        self._queue = [(actor.due, place) for place, actor in enumerate(actors) if actor.due is not None]
        heapq.heapify(self._queue)

    def advance(self, now: int) -> None:
        """Do every step that is due, in the order of time."""
        rounds = 0
        while self._queue and self._queue[0][0] <= now:
            _, place = heapq.heappop(self._queue)
            actor = self._actors[place]
            rounds += actor.act()
            if actor.due is not None:
                heapq.heappush(self._queue, (actor.due, place))
        for actor in self._actors:
            actor.count_calls(now)
        if rounds:
            self._cloud.forget()


class _Actor:
    """One service and its place in its timeline."""

    def __init__(
        self, cloud: Cloud, part: Part, seed: int, began: int, speed: float, project_id: str
    ) -> None:
        self._cloud = cloud
        self._part = part
        self._seed = seed
        self._speed = speed
        self._project_id = project_id
        self._service_id = part.service_id or made_id(f"{seed}/{part.name}")
        self._began = began
        self._round = 0
        self._round_began = self._start_of_round()
        self._place = 0
        self._open: int | None = None  # update_time
        self._calls = 0.0
        self._counted_at = began
        if not part.absent:
            self._create()

    @property
    def due(self) -> int | None:
        """When its next step is, in ms; None if there is none."""
        if self._place >= len(self._part.timeline):
            return None
        return self._moment(self._part.timeline[self._place])

    def act(self) -> bool:
        """Do the next step; True if that ended a round."""
        step = self._part.timeline[self._place]
        self._do(step, self._moment(step))
        self._place += 1
        if self._place < len(self._part.timeline) or self._part.repeat is None:
            return False
        self._round += 1
        self._round_began = self._start_of_round()
        self._place = 0
        return True

    def count_calls(self, now: int) -> None:
        """Add the inference calls since the last time, if the service is there and running."""
        elapsed, self._counted_at = now - self._counted_at, now
        if not self._part.calls_per_second or not self._alive():
            return
        if self._cloud.service(self._service_id).fields["status"] == "running":
            self._calls += elapsed / 1000 * self._part.calls_per_second
            self._cloud.patch_service(
                self._service_id,
                invocation_times=int(self._calls),
                failed_times=int(self._calls * self._part.failed_share),
            )

    def _start_of_round(self) -> int:
        late = Random(f"{self._seed}/{self._part.name}/{self._round}").uniform(0, self._part.jitter)  # noqa: S311 - the same in every run
        seconds = self._round * (self._part.repeat or 0) + late
        return self._began + int(seconds * 1000 / self._speed)

    def _moment(self, step: Step) -> int:
        return self._round_began + int(step.at * 1000 / self._speed)

    def _alive(self) -> bool:
        return self._service_id in self._cloud.projects[self._project_id].services

    def _create(self) -> None:
        self._cloud.add_service(
            self._project_id,
            self._service_id,
            name=self._part.name,
            infer_type=self._part.infer_type,
            status=self._part.status,
            workspace_id=self._part.workspace_id,
            models=self._part.models,
            nodes=[{"id": made_id(f"node/{node}"), "name": node} for node in self._part.nodes],
        )

    def _do(self, step: Step, at: int) -> None:
        if step.create and not self._alive():
            self._create()
        if not self._alive():
            return  # deleted through the API: what happens to it happens no more
        if step.update:
            self._open = self._cloud.begin_update(self._service_id, step.models, at=at)
        for text in (step.say, step.event):
            if text is not None:
                self._write(text, step, at)
        if step.settle and self._open is not None:
            outcomes = None if step.nodes is None else self._outcomes(step.nodes)
            self._cloud.settle(self._service_id, self._open, step.settle, outcomes, at=at)
            self._open = None
        if step.status:
            self._cloud.set_status(self._service_id, step.status, at=at)
        if step.progress is not None:
            self._cloud.patch_service(self._service_id, progress=step.progress)
        if step.delete:
            self._cloud.delete_service(self._service_id)
            self._open = None

    def _write(self, text: Text, step: Step, at: int) -> None:
        words = text.words[self._part.language or self._cloud.switches.language]
        shown = at + int(step.late * 1000 / self._speed)
        models = self._cloud.service(self._service_id).models if "{model}" in words else [{}]
        for row in models:
            line = (
                words.replace("{model}", f"{row.get('model_name')} {row.get('model_version')}")
                .replace("{service}", self._part.name)
                .replace("{node}", step.node)
            )
            self._cloud.add_event(self._service_id, text.event_type, line, at, shown)

    def _outcomes(self, outcomes: tuple[str, ...]) -> list[dict[str, object]]:
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
