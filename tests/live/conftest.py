"""A cloud, an exporter on it and a Prometheus that scrapes it, each a real peer of the others."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.emulator import Cloud, Server
from tests.expected_series import Series, expected_series, judged, series

from .processes import Exporter, until
from .prometheus import Prometheus


class Chain(NamedTuple):
    """The three of them."""

    cloud: Cloud
    exporter: Exporter
    prometheus: Prometheus

    def shown(self) -> Series:
        """What Prometheus has of the services and the project now."""
        found = self.prometheus.query('{__name__=~"modelarts_.*",job="modelarts-exporter"}')
        return {series(labels["__name__"], labels): value for labels, value in found}

    def judged(self) -> tuple[Series, Series]:
        """What Prometheus has under the names that the truth decides, and the truth."""
        true = expected_series(self.cloud)
        return judged(self.shown(), true), true

    def agree(self) -> None:
        """Wait until Prometheus has the truth, and still has it when every service was read once more."""
        self.agree_once()
        asked = time.time()
        until(
            lambda: self.prometheus.value("min(modelarts_service_last_poll_timestamp_seconds)"),
            lambda read: read is not None and read > asked,
        )
        self.agree_once()

    def agree_once(self) -> None:
        """Wait until Prometheus has the truth."""
        until(self.differences, lambda found: not found)

    def differences(self) -> dict[str, tuple[float | None, float | None]]:
        """What Prometheus shows and what is true, of each series where these are not the same."""
        shown, true = self.judged()
        keys = sorted(shown.keys() | true.keys())
        return {key: (shown.get(key), true.get(key)) for key in keys if shown.get(key) != true.get(key)}


@pytest.fixture(name="chain")
def _chain(tmp_path: Path) -> Iterator[Chain]:
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    with ExitStack() as stack:
        server = stack.enter_context(Server(cloud))
        exporter = stack.enter_context(Exporter(tmp_path, server.url))
        prometheus = stack.enter_context(Prometheus(tmp_path, exporter.address))
        yield Chain(cloud, exporter, prometheus)
        assert exporter.end() == 0, exporter.log.read_text()
