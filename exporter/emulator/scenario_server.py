"""Serves a scenario or a recording by the clock of this machine, for the commands."""

import time
from collections.abc import Callable
from typing import TypeVar

from exporter.emulator.cloud import Cloud
from exporter.emulator.recording import Recording
from exporter.emulator.replay import Replay
from exporter.emulator.scenario import load_scenario
from exporter.emulator.scenario_player import play
from exporter.emulator.server import HandlerServer, Server

S = TypeVar("S")


def scenario_server(
    listen: str = "127.0.0.1:0", scenario: str | None = None, *, speed: float = 1.0
) -> Server:
    """A server that is not started yet.

    Args:
        listen: `host:port`; without a host, every address of the machine.
        scenario: a name or path for `load_scenario`; `demo` if not given.
        speed: with 2 the scenario takes half the time.

    Raises:
        ValueError: `listen` is not an address, or the scenario cannot be played (`ScenarioError`).
        OSError: the address cannot be listened on.

    """
    cloud = Cloud(_now_ms)
    play(cloud, load_scenario(scenario or "demo"), speed=speed)
    return _listening(listen, lambda address: Server(cloud, address))


def replay_server(listen: str, recording: Recording, *, speed: float = 1.0) -> tuple[HandlerServer, Replay]:
    """A server that is not started yet, and what it replays from now on; see `scenario_server`."""
    replay = Replay(recording, _now_ms, speed)
    return _listening(listen, lambda address: HandlerServer(replay.handle, replay.now, address)), replay


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _listening(listen: str, server: Callable[[tuple[str, int]], S]) -> S:
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:  # the largest port there is
        raise ValueError(f"{listen!r} is not host:port")
    try:
        return server((host.strip("[]"), int(port)))
    except OSError as error:
        raise OSError(f"cannot listen on {listen}: {error.strerror}") from error
