"""The exporter as a user runs it: config files, one-shot commands, and a running process."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from exporter.emulator import (
    DEFAULT_ACCESS_KEY,
    DEFAULT_DOMAIN,
    DEFAULT_PASSWORD,
    DEFAULT_PROJECT,
    DEFAULT_SECRET_KEY,
    DEFAULT_USER,
)

from .live.processes import PATIENCE_SECONDS, Process, free_port, until

# As short as the intervals can be without too much load for two cores.
POLL = {"interval": "1s", "active_interval": "500ms", "sweep_interval": "5s", "lateness": "5s"}

Config = dict[str, Any]


def password(url: str, secret: str = DEFAULT_PASSWORD, username: str = DEFAULT_USER) -> Config:
    """The `auth` of a user with a password."""
    user = {"iam_endpoint": f"{url}/v3", "domain": DEFAULT_DOMAIN, "username": username, "password": secret}
    return {"password": user}


def access_key(secret: str = DEFAULT_SECRET_KEY, name: str = DEFAULT_ACCESS_KEY) -> Config:
    """The `auth` of an access key."""
    return {"aksk": {"access_key": name, "secret_key": secret}}


def project(url: str, name: str = "prod", **changes: Any) -> Config:
    """A project on the emulated cloud at `url`."""
    row = {"name": name, "project_id": DEFAULT_PROJECT, "endpoint": url, "auth": password(url)}
    return {**row, "rate_limit": 100, **changes}


def configured(directory: Path, *projects: Config, **sections: Any) -> str:
    """Write a config file with these projects; returns its path."""
    file = directory / "config.yml"
    file.write_text(yaml.safe_dump({"projects": list(projects), "poll": POLL, **sections}))
    return str(file)


def samples(text: str, name: str, **labels: str) -> Iterator[Sample]:
    """The samples of one name that have these labels."""
    # Without the lines of all other names, because a test may scrape many times a second.
    lines = (line for line in text.splitlines(keepends=True) if line.startswith(name))
    for family in text_string_to_metric_families("".join(lines)):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                yield sample


def value(text: str, name: str, **labels: str) -> float | None:
    """The value of the one sample of this name with these labels; None for none."""
    found = [sample.value for sample in samples(text, name, **labels)]
    assert len(found) <= 1, found
    return found[0] if found else None


class RunningExporter(Process):
    """`modelarts-exporter run` with a config file, in a directory of its own."""

    def __init__(self, directory: Path, config: str, *flags: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        command = [sys.executable, "-m", "exporter", f"--config.file={config}"]
        command += [f"--web.listen-address={self.address}", *flags]
        super().__init__(command, directory / "exporter.log", directory)

    def get(self, path: str, **options: Any) -> requests.Response:
        """The response to a GET."""
        return requests.get(self.url + path, timeout=PATIENCE_SECONDS, **options)

    def ready(self) -> None:
        """Wait until it is ready."""
        self.wait_for(f"{self.url}/-/ready")

    def metrics(self) -> str:
        """The text of a scrape."""
        answer = self.get("/metrics")
        assert answer.status_code == 200, answer.text
        return answer.text

    def await_value(self, wanted: float | None, name: str, **labels: str) -> None:
        """Scrape until this series has this value."""
        until(lambda: value(self.metrics(), name, **labels), lambda found: found == wanted)

    def output(self) -> str:
        """What it has written to stdout and stderr."""
        return self.log.read_text()
