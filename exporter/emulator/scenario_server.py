"""Serves a cloud that plays a scenario by the clock of this machine, for the commands."""

import time

from exporter.emulator.cloud import Cloud
from exporter.emulator.scenario import load_scenario
from exporter.emulator.scenario_player import play
from exporter.emulator.server import Server


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
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:  # the largest port there is
        raise ValueError(f"{listen!r} is not host:port")
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    play(cloud, load_scenario(scenario or "demo"), speed=speed)
    try:
        return Server(cloud, (host.strip("[]"), int(port)))
    except OSError as error:
        raise OSError(f"cannot listen on {listen}: {error.strerror}") from error
