"""An emulated cloud, a running exporter on it, and a real Prometheus that scrapes the exporter."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from exporter.emulator import Cloud, Server
from tests.commands import RunningExporter, configured, project
from tests.expected_series import Series, decided_by_truth, expected_series, series
from tests.live.processes import until
from tests.live.prometheus import Prometheus


class Pipeline(NamedTuple):
    """The three, from the cloud to Prometheus."""

    cloud: Cloud
    exporter: RunningExporter
    prometheus: Prometheus

    def shown(self) -> Series:
        """The series of the services and the project that Prometheus has now."""
        found = self.prometheus.query('{__name__=~"modelarts_.*",job="modelarts-exporter"}')
        return {series(labels["__name__"], labels): value for labels, value in found}

    def compared(self) -> tuple[Series, Series]:
        """The series that Prometheus has, as far as the truth decides them, and the true ones."""
        true = expected_series(self.cloud)
        return decided_by_truth(self.shown(), true), true

    def wait_until_correct(self) -> None:
        """Wait until Prometheus has the true series, also after every service was read again."""
        self.wait_until_correct_once()
        asked = time.time()
        until(
            lambda: self.prometheus.value("min(modelarts_service_last_poll_timestamp_seconds)"),
            lambda read: read is not None and read > asked,
        )
        self.wait_until_correct_once()

    def wait_until_correct_once(self) -> None:
        """Wait until Prometheus has the true series."""
        until(self.differences, lambda found: not found)

    def differences(self) -> dict[str, tuple[float | None, float | None]]:
        """The value in Prometheus and the true one, of each series where they differ."""
        shown, true = self.compared()
        keys = sorted(shown.keys() | true.keys())
        return {key: (shown.get(key), true.get(key)) for key in keys if shown.get(key) != true.get(key)}


@pytest.fixture(name="pipeline")
def _pipeline(tmp_path: Path) -> Iterator[Pipeline]:
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    with ExitStack() as stack:
        server = stack.enter_context(Server(cloud))
        exporter = stack.enter_context(RunningExporter(tmp_path, configured(tmp_path, project(server.url))))
        exporter.ready()
        prometheus = stack.enter_context(Prometheus(tmp_path, exporter.address))
        yield Pipeline(cloud, exporter, prometheus)
        assert exporter.end() == 0, exporter.log.read_text()
