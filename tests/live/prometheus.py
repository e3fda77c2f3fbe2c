"""A real Prometheus that scrapes one exporter every second, and its query API."""

import shutil
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.live.processes import PATIENCE_SECONDS, Process, free_port

Labels = dict[str, str]


class Prometheus(Process):
    """Scrapes `target` (host:port) as the job that the rules expect.

    Its storage is `directory / "tsdb"`, and older samples than `retention` are dropped. `flags` come last.
    """

    def __init__(
        self, directory: Path, target: str, retention: str = "1h", flags: Sequence[str] = ()
    ) -> None:
        program = shutil.which("prometheus")
        assert program is not None, "prometheus is not installed"
        config = directory / "prometheus.yml"
        config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "scrape_configs": [
                        {"job_name": "modelarts-exporter", "static_configs": [{"targets": [target]}]}
                    ],
                }
            )
        )
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        self._config = config
        command = [program, f"--config.file={config}", f"--web.listen-address={address}"]
        command += [f"--storage.tsdb.path={directory / 'tsdb'}", f"--storage.tsdb.retention.time={retention}"]
        command += ["--log.level=warn", *flags]
        super().__init__(command, directory / "prometheus.log", directory)

    def start(self) -> None:
        """Start it, and wait until it answers queries."""
        super().start()
        self.wait_for(f"{self.url}/-/ready")

    def set_targets(self, targets: Iterable[str]) -> None:
        """Scrape these and no others, from the next start or reload on."""
        config = yaml.safe_load(self._config.read_text())
        config["scrape_configs"][0]["static_configs"] = [{"targets": list(targets)}]
        self._config.write_text(yaml.safe_dump(config))

    def reload(self) -> None:
        """Take up the config file."""
        self.child.send_signal(signal.SIGHUP)

    def query(self, expression: str) -> list[tuple[Labels, float]]:
        """What an instant query gives now: labels and value of each series."""
        result = self._ask("query", query=expression)
        return [(row["metric"], float(row["value"][1])) for row in result]

    def value(self, expression: str) -> float | None:
        """The one value that an instant query gives; None for none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def history(self, expression: str, seconds: int) -> list[list[float]]:
        """What a query gave in each second of the last `seconds`: the values of each series."""
        now = time.time()
        result = self._ask("query_range", query=expression, start=now - seconds, end=now, step=1)
        return [[float(value) for _, value in row["values"]] for row in result]

    def _ask(self, call: str, **parameters: Any) -> list[Any]:
        answer = requests.get(f"{self.url}/api/v1/{call}", params=parameters, timeout=PATIENCE_SECONDS)
        body = answer.json()
        assert body["status"] == "success", body
        rows: list[Any] = body["data"]["result"]
        return rows
