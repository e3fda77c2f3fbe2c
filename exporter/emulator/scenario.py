"""Scenarios as values, read from YAML: what happens to which service, and when."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from exporter.emulator.rows import Row, model
from exporter.emulator.switches import Switches

_PACKAGE = files("exporter.emulator")


class ScenarioError(ValueError):
    """The scenario cannot be played; the text says in one sentence where and why."""


@dataclass(frozen=True)
class EventText:
    """The type of an event, and its text by language (`en`, `zh`)."""

    event_type: str
    texts: Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """What happens to a service at one time. Several actions are done in the order of the fields.

    Args:
        at: seconds since the timeline began.
        create, delete: add or delete the service.
        update: start an update, with `models` if there are any.
        models: as rows of the API.
        say: an event of event_texts.yml; `node` replaces `{node}` in its text.
        event: an event with a text of its own.
        late: seconds after `at` before the event is shown.
        settle: end the open update with this result, and with one of `nodes` for each edge node, such as
            `deploy` or `delete failed`.
        status: the new status of the service.
        progress: of the deployment, in per cent.

    """

    at: float
    create: bool = False
    update: bool = False
    models: tuple[Row, ...] | None = None
    say: EventText | None = None
    node: str = ""
    event: EventText | None = None
    late: float = 0
    settle: str = ""
    nodes: tuple[str, ...] | None = None
    status: str = ""
    progress: int | None = None
    delete: bool = False


@dataclass(frozen=True)
class ServiceScenario:
    """One service and what happens to it.

    Args:
        name: of the service.
        service_id: made from the seed if it is empty.
        infer_type, status, workspace_id: the fields of the API, at the start.
        models: as rows of the API.
        nodes: the names of the edge nodes.
        absent: the service does not exist before its `create` step.
        language: of its events; that of the cloud if it is empty.
        timeline: the steps, oldest first.
        repeat: seconds from the start of one round of the timeline to the next; None: only one round.
        jitter: a round may start up to so many seconds later; the seed decides.
        calls_per_second, failed_share: inference calls while the service is running.

    """

    name: str
    service_id: str = ""
    infer_type: str = "real-time"
    status: str = "running"
    workspace_id: str = "0"
    models: tuple[Row, ...] = ()
    nodes: tuple[str, ...] = ()
    absent: bool = False
    language: str = ""
    timeline: tuple[Step, ...] = ()
    repeat: float | None = None
    jitter: float = 0
    calls_per_second: float = 0
    failed_share: float = 0


@dataclass(frozen=True)
class SampleBody:
    """The body of a response, served as it is."""

    endpoint: str
    content: bytes
    service_id: str | None = None
    workspace_id: str = "0"


@dataclass(frozen=True)
class Scenario:
    """What happens to all services; `seed` decides what is random."""

    services: tuple[ServiceScenario, ...]
    seed: int = 0
    switches: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[SampleBody, ...] = ()


def scenario_names() -> list[str]:
    """The names that `load_scenario` takes: of shipped scenarios and of episodes."""
    shipped = [entry.name.removesuffix(".yml") for entry in (_PACKAGE / "scenarios").iterdir()]
    return sorted({*shipped, *_read_shipped("episodes.yml")})


def load_scenario(name_or_path: str) -> Scenario:
    """Load a shipped scenario, a single episode, or a file; raises `ScenarioError` if it cannot be played."""
    reader = _ScenarioReader()
    shipped = _PACKAGE / "scenarios" / f"{name_or_path}.yml"
    if name_or_path in reader.episodes:
        service = {"name": name_or_path.replace("_", "-"), "timeline": [{"at": 0, "play": name_or_path}]}
        return reader.scenario(
            {"services": [{**service, **reader.episodes[name_or_path].get("service", {})}]}, Path()
        )
    if "/" not in name_or_path and shipped.is_file():
        return reader.scenario(yaml.safe_load(shipped.read_text("utf-8")), Path())
    path = Path(name_or_path)
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        known = ", ".join(scenario_names())
        raise ScenarioError(f"{name_or_path}: {error.strerror}; by name there are {known}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{name_or_path}: not YAML: {error}") from None
    try:
        return reader.scenario(content, path.parent)
    except (TypeError, KeyError, AttributeError, OSError) as error:
        # A wrong file can fail with any of these; the message names what was found.
        raise ScenarioError(f"{name_or_path}: not understood: {error}") from error


def _read_shipped(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((_PACKAGE / name).read_text("utf-8"))
    return content


class _ScenarioReader:
    """Makes a scenario from YAML, with the shipped episodes and event texts."""

    def __init__(self) -> None:
        self.episodes = _read_shipped("episodes.yml")
        self.texts = {
            name: EventText(entry.get("type", "normal"), entry)
            for name, entry in _read_shipped("event_texts.yml").items()
        }

    def scenario(self, content: dict[str, Any], folder: Path) -> Scenario:
        samples = [
            SampleBody(content=(folder / sample.pop("file")).read_bytes(), **sample)
            for sample in content.pop("samples", [])
        ]
        Switches(**content.get("switches", {}))  # raises an error for a misspelt switch
        services = [self._service(dict(service)) for service in content.pop("services")]
        return Scenario(tuple(services), samples=tuple(samples), **content)

    def _service(self, content: dict[str, Any]) -> ServiceScenario:
        steps = self._steps(content.pop("timeline", []))
        calls = content.pop("calls", {})
        models = tuple(model(**row) for row in content.pop("models", [{}]))
        return ServiceScenario(
            models=models,
            nodes=tuple(content.pop("nodes", ())),
            timeline=tuple(sorted(steps, key=lambda step: step.at)),
            calls_per_second=calls.get("per_second", 0),
            failed_share=calls.get("failed_share", 0),
            **content,
        )

    def _steps(self, entries: list[dict[str, Any]], begin: float = 0, scale: float = 1) -> list[Step]:
        steps: list[Step] = []
        for entry in entries:
            given = dict(entry)
            at = begin + given.pop("at") * scale
            episode = given.pop("play", None)
            if episode is None:
                steps.append(self._step(at, given))
                continue
            if episode not in self.episodes:
                raise ScenarioError(f"no episode {episode!r}; there are {', '.join(sorted(self.episodes))}")
            inner = self.episodes[episode]["steps"]
            takes = given.pop("takes", None)
            length = max(step.at for step in self._steps(inner))
            stretch = scale if takes is None or length == 0 else takes / length * scale
            steps += self._steps(inner, at, stretch)
        return steps

    def _step(self, at: float, given: dict[str, Any]) -> Step:
        if "say" in given:
            if given["say"] not in self.texts:
                raise ScenarioError(f"no text {given['say']!r}; there are {', '.join(sorted(self.texts))}")
            given["say"] = self.texts[given["say"]]
        if "event" in given:
            event = given["event"]
            given["event"] = EventText(event["type"], {"en": event["text"], "zh": event["text"]})
        if "models" in given:
            given["models"] = tuple(model(**row) for row in given["models"])
        if "nodes" in given:
            given["nodes"] = tuple(given["nodes"])
        return Step(at=at, **given)
