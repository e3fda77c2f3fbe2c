"""The emulator as a program: a cloud on the machine's clock, playing a scenario on an address."""

import time

from exporter.emulator.cloud import Cloud
from exporter.emulator.player import play
from exporter.emulator.scenario import load_scenario
from exporter.emulator.server import Server


def live(listen: str = "127.0.0.1:0", scenario: str | None = None, *, speed: float = 1.0) -> Server:
    """A server ready to `start`.

    Args:
        listen: `host:port`; without a host, every address of the machine.
        scenario: name or path as for `load_scenario`, which says what can go wrong; `demo` if not given.
        speed: 2 plays it in half the time.

    Raises:
        ValueError: `listen` is not an address.
        OSError: nothing can listen there.

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
