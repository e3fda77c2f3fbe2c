"""An emulator of ModelArts and IAM over real HTTP, for the demo and for tests."""

from exporter.emulator.cloud import Cloud
from exporter.emulator.faults import Fault
from exporter.emulator.identity_store import (
    DEFAULT_ACCESS_KEY,
    DEFAULT_DOMAIN,
    DEFAULT_PASSWORD,
    DEFAULT_SECRET_KEY,
    DEFAULT_USER,
)
from exporter.emulator.project import DEFAULT_PROJECT, DEFAULT_PROJECT_NAME
from exporter.emulator.recording import Recording, RecordingError, read_recording
from exporter.emulator.replay import Replay
from exporter.emulator.rows import model
from exporter.emulator.scenario import Scenario, ScenarioError, load_scenario, scenario_names
from exporter.emulator.scenario_player import play
from exporter.emulator.scenario_server import replay_server, scenario_server
from exporter.emulator.server import HandlerServer, Server
from exporter.emulator.switches import Switches
from exporter.emulator.truth import Truth

__all__ = [
    "DEFAULT_ACCESS_KEY",
    "DEFAULT_DOMAIN",
    "DEFAULT_PASSWORD",
    "DEFAULT_PROJECT",
    "DEFAULT_PROJECT_NAME",
    "DEFAULT_SECRET_KEY",
    "DEFAULT_USER",
    "Cloud",
    "Fault",
    "HandlerServer",
    "Recording",
    "RecordingError",
    "Replay",
    "Scenario",
    "ScenarioError",
    "Server",
    "Switches",
    "Truth",
    "load_scenario",
    "model",
    "play",
    "read_recording",
    "replay_server",
    "scenario_names",
    "scenario_server",
]
