"""Real Alertmanagers with the example configuration, and a webhook that keeps their notifications."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import Any, NamedTuple, Self

import requests
import yaml

from tests.live.processes import PATIENCE_SECONDS, Process, free_port
from tests.live.prometheus import Prometheus

ALERTS = Path(__file__).parents[2] / "alerts"

# Thirty seconds of the rules become one second: one scrape and one evaluation.
SCALE = 1 / 30

# Longer than it takes until the alert that inhibits another one arrives: a poll (2 s), a scrape (1 s), an
# evaluation (1 s), and what two busy cores add. Later changes of a group are sent within a second.
GROUP_WAIT = "6s"
GROUP_INTERVAL = "1s"

Labels = Mapping[str, str]


class Notification(NamedTuple):
    """One alert of a webhook message, if the message has news of it; `at` in seconds since the epoch."""

    at: float
    alertmanager: str
    receiver: str
    alertname: str
    status: str  # firing or resolved; repeated if the message has no news at all
    labels: Labels
    annotations: Labels


class WebhookReceiver:
    """A webhook that keeps what is new in each message; a context manager."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._notifications: list[Notification] = []
        self._last: dict[tuple[str, str, str], str] = {}
        self._http = _Server(("127.0.0.1", 0), self)
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def url(self, alertmanager: str, receiver: str) -> str:
        """The address for one receiver in the configuration of one Alertmanager."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/{alertmanager}/{receiver}"

    def notifications(self) -> list[Notification]:
        """All that was received so far, from both Alertmanagers."""
        with self._lock:
            return list(self._notifications)

    def receive(self, path: str, body: Mapping[str, Any]) -> None:
        """Keep what is new in one message."""
        _, alertmanager, receiver = path.split("/")
        now = time.time()
        with self._lock:
            news = []
            for alert in body["alerts"]:
                key = (alertmanager, receiver, json.dumps(alert["labels"], sort_keys=True))
                # A message about other alerts also has the end of those that were inhibited.
                if self._last.get(key, "resolved") != alert["status"]:
                    self._last[key] = alert["status"]
                    news.append(_notification(now, alertmanager, receiver, alert, alert["status"]))
            repeated = [
                _notification(now, alertmanager, receiver, alert, "repeated") for alert in body["alerts"]
            ]
            self._notifications += news or repeated

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def _notification(
    at: float, alertmanager: str, receiver: str, alert: Mapping[str, Any], status: str
) -> Notification:
    labels, annotations = alert["labels"], alert["annotations"]
    return Notification(at, alertmanager, receiver, labels["alertname"], status, labels, annotations)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], owner: WebhookReceiver) -> None:
        self.owner = owner
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.owner.receive(self.path, json.loads(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Print nothing: the notifications are the log."""


def _with_webhook(
    wanted: Mapping[str, Any], alertmanager: str, receiver: WebhookReceiver
) -> Mapping[str, Any]:
    """A receiver of the example with a webhook in place of its integrations, if it has any."""
    if len(wanted) == 1:
        return wanted
    hook = {"url": receiver.url(alertmanager, wanted["name"]), "send_resolved": True}
    return {"name": wanted["name"], "webhook_configs": [hook]}


class Alertmanager(Process):
    """An Alertmanager that sends everything to `receiver`; its address stays the same after a restart."""

    def __init__(self, directory: Path, name: str, receiver: WebhookReceiver) -> None:
        program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        assert program is not None, "prometheus-alertmanager is not installed"
        directory.mkdir()
        config = yaml.safe_load((ALERTS / "alertmanager.example.yml").read_text("utf-8"))
        config["templates"] = [str(ALERTS / template) for template in config["templates"]]
        config["receivers"] = [_with_webhook(wanted, name, receiver) for wanted in config["receivers"]]
        config["route"] |= {"group_wait": GROUP_WAIT, "group_interval": GROUP_INTERVAL}
        file = directory / "alertmanager.yml"
        file.write_text(yaml.safe_dump(config))
        self.name = name
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        command = [program, f"--config.file={file}", f"--web.listen-address={self.address}"]
        command += ["--cluster.listen-address=", f"--storage.path={directory / 'data'}", "--log.level=warn"]
        super().__init__(command, directory / "alertmanager.log", directory)

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        super().start()
        self.wait_for(f"{self.url}/-/ready")

    def heard_at(self, alertname: str, project: str) -> str:
        """When it was last sent the one alert of this name and project; "" if it does not fire."""
        filters = [f'alertname="{alertname}"', f'project="{project}"']
        answer = requests.get(f"{self.url}/api/v2/alerts", {"filter": filters}, timeout=PATIENCE_SECONDS)
        return max((alert["updatedAt"] for alert in answer.json()), default="")


def prometheus_with_rules(
    directory: Path, targets: Iterable[str], alertmanagers: Iterable[Alertmanager]
) -> Prometheus:
    """A Prometheus with the shipped rules, whose durations are scaled down; not started yet."""
    directory.mkdir()
    rules = directory / "rules.yml"
    render = [sys.executable, str(ALERTS / "render.py"), f"--scale={SCALE}", f"--output={rules}"]
    subprocess.run(render, check=True)
    made = Prometheus(directory, "")
    made.set_targets(targets)
    file = directory / "prometheus.yml"
    config = yaml.safe_load(file.read_text())
    config["rule_files"] = [str(rules)]
    wanted = [{"targets": [each.address]} for each in alertmanagers]
    config["alerting"] = {"alertmanagers": [{"static_configs": wanted}]}
    file.write_text(yaml.safe_dump(config))
    return made
