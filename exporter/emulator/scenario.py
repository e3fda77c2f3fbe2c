"""Scenarios as values: what happens to which service and when, read from YAML."""

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
    """The scenario cannot be played; one sentence that says where and why."""


@dataclass(frozen=True)
class Text:
    """An event's type, and its words by language."""

    event_type: str
    words: Mapping[str, str]


@dataclass(frozen=True)
class Step:
    """What happens at one moment; several actions are done in the order of the fields.

    Args:
        at: seconds since the timeline began.
        create, delete: the service begins, ends.
        update: an update begins, with `models` where they are given.
        models: rows of the API.
        say: name of an event's text; `node` may stand in it.
        event: type and words of an event.
        late: seconds until that event is shown.
        settle: result of the open update, with an outcome per node (`deploy`, `delete failed`).
        status: of the service.
        progress: of the deployment, per cent.

    """

    at: float
    create: bool = False
    update: bool = False
    models: tuple[Row, ...] | None = None
    say: Text | None = None
    node: str = ""
    event: Text | None = None
    late: float = 0
    settle: str = ""
    nodes: tuple[str, ...] | None = None
    status: str = ""
    progress: int | None = None
    delete: bool = False


@dataclass(frozen=True)
class Part:
    """One service and what happens to it.

    Args:
        name: of the service.
        service_id: made from the seed if not given.
        infer_type, status, workspace_id: of the API, at the start.
        models, nodes: rows of the API; names of edge nodes.
        absent: it begins with its `create` step.
        language: of its events, if not the cloud's.
        timeline: in the order of time.
        repeat: seconds from one round to the next; None plays once.
        jitter: seconds by which a round may begin later, drawn from the seed.
        calls_per_second, failed_share: of inference calls while it is running.

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
class Sample:
    """A body that is served as it is."""

    endpoint: str
    content: bytes
    service_id: str | None = None
    workspace_id: str = "0"


@dataclass(frozen=True)
class Scenario:
    """Everything that happens, from a seed."""

    parts: tuple[Part, ...]
    seed: int = 0
    switches: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()


def scenario_names() -> list[str]:
    """What `load_scenario` knows by name: shipped files and single episodes."""
    shipped = [entry.name.removesuffix(".yml") for entry in (_PACKAGE / "scenarios").iterdir()]
    return sorted({*shipped, *_read_shipped("episodes.yml")})


def load_scenario(name_or_path: str) -> Scenario:
    """A shipped scenario, a single episode, or a file; ScenarioError if it is none or not understood."""
    book = _Book()
    shipped = _PACKAGE / "scenarios" / f"{name_or_path}.yml"
    if name_or_path in book.episodes:
        part = {"name": name_or_path.replace("_", "-"), "timeline": [{"at": 0, "play": name_or_path}]}
        return book.scenario(
            {"services": [{**part, **book.episodes[name_or_path].get("service", {})}]}, Path()
        )
    if "/" not in name_or_path and shipped.is_file():
        return book.scenario(yaml.safe_load(shipped.read_text("utf-8")), Path())
    path = Path(name_or_path)
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        known = ", ".join(scenario_names())
        raise ScenarioError(f"{name_or_path}: {error.strerror}; by name there are {known}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{name_or_path}: not YAML: {error}") from None
    try:
        return book.scenario(content, path.parent)
    except (TypeError, KeyError, AttributeError, OSError) as error:
        # Strangers' files fail in as many ways as there are types; the message names what was met.
        raise ScenarioError(f"{name_or_path}: not understood: {error}") from error


def _read_shipped(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((_PACKAGE / name).read_text("utf-8"))
    return content


class _Book:
    """The shipped texts and episodes, and how YAML is read with them."""

    def __init__(self) -> None:
        self.episodes = _read_shipped("episodes.yml")
        self.texts = {
            name: Text(entry.get("type", "normal"), entry)
            for name, entry in _read_shipped("texts.yml").items()
        }

    def scenario(self, content: dict[str, Any], folder: Path) -> Scenario:
        samples = [
            Sample(content=(folder / sample.pop("file")).read_bytes(), **sample)
            for sample in content.pop("samples", [])
        ]
        Switches(**content.get("switches", {}))  # so that a switch misspelt is told here
        parts = [self._part(dict(part)) for part in content.pop("services")]
        return Scenario(tuple(parts), samples=tuple(samples), **content)

    def _part(self, content: dict[str, Any]) -> Part:
        steps = self._steps(content.pop("timeline", []))
        calls = content.pop("calls", {})
        models = tuple(model(**row) for row in content.pop("models", [{}]))
        return Part(
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
            given["event"] = Text(event["type"], {"en": event["text"], "zh": event["text"]})
        if "models" in given:
            given["models"] = tuple(model(**row) for row in given["models"])
        if "nodes" in given:
            given["nodes"] = tuple(given["nodes"])
        return Step(at=at, **given)
