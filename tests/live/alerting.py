"""Who pages whom: real Alertmanagers under the shipped rules, and a receiver that keeps what it is told."""

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

import yaml

from .processes import Process, free_port
from .prometheus import Prometheus

ALERTS = Path(__file__).parents[2] / "alerts"

# Thirty seconds of the rules are one here: one scrape, one evaluation.
SCALE = 1 / 30

# Longer than it takes until the alert that hides another one is there too: a poll (2 s), a scrape (1 s), an
# evaluation (1 s), and what two busy cores add. A group that has been told of is looked at every second.
GROUP_WAIT = "6s"
GROUP_INTERVAL = "1s"

Labels = Mapping[str, str]


class Notice(NamedTuple):
    """One alert of a notification that says something new of it; `at` in seconds since the epoch."""

    at: float
    alertmanager: str
    receiver: str
    alertname: str
    status: str  # firing, resolved; repeated where a notification says nothing new at all
    labels: Labels
    annotations: Labels


class Receiver:
    """A webhook that keeps the news; a context manager. `url` is for one receiver of one Alertmanager."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._notices: list[Notice] = []
        self._last: dict[tuple[str, str, str], str] = {}
        self._http = _Server(("127.0.0.1", 0), self)
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def url(self, alertmanager: str, receiver: str) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/{alertmanager}/{receiver}"

    def notices(self) -> list[Notice]:
        """What was told so far, by and to whomever."""
        with self._lock:
            return list(self._notices)

    def take(self, path: str, body: Mapping[str, Any]) -> None:
        """A notification came."""
        _, alertmanager, receiver = path.split("/")
        now = time.time()
        with self._lock:
            news = []
            for alert in body["alerts"]:
                key = (alertmanager, receiver, json.dumps(alert["labels"], sort_keys=True))
                # In a message that has to come anyway Alertmanager also tells the end of what it kept hidden.
                if self._last.get(key, "resolved") != alert["status"]:
                    self._last[key] = alert["status"]
                    news.append(_notice(now, alertmanager, receiver, alert, alert["status"]))
            repeated = [_notice(now, alertmanager, receiver, alert, "repeated") for alert in body["alerts"]]
            self._notices += news or repeated

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def _notice(at: float, alertmanager: str, receiver: str, alert: Mapping[str, Any], status: str) -> Notice:
    labels, annotations = alert["labels"], alert["annotations"]
    return Notice(at, alertmanager, receiver, labels["alertname"], status, labels, annotations)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], owner: Receiver) -> None:
        self.owner = owner
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.owner.take(self.path, json.loads(body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Quiet: the notices are the log."""


def _heard(wanted: Mapping[str, Any], alertmanager: str, receiver: Receiver) -> Mapping[str, Any]:
    """A receiver of the example, told by webhook; one that tells nobody stays as it is."""
    if len(wanted) == 1:
        return wanted
    hook = {"url": receiver.url(alertmanager, wanted["name"]), "send_resolved": True}
    return {"name": wanted["name"], "webhook_configs": [hook]}


class Alertmanager(Process):
    """The example configuration with `receiver` for all of its own; on an address that outlives a restart."""

    def __init__(self, directory: Path, name: str, receiver: Receiver) -> None:
        program = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
        assert program is not None, "prometheus-alertmanager is not installed"
        directory.mkdir()
        config = yaml.safe_load((ALERTS / "alertmanager.example.yml").read_text("utf-8"))
        config["templates"] = [str(ALERTS / template) for template in config["templates"]]
        config["receivers"] = [_heard(wanted, name, receiver) for wanted in config["receivers"]]
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
        """Start it, and wait until it takes alerts."""
        super().start()
        self.wait_for(f"{self.url}/-/ready")


def prometheus(directory: Path, targets: Iterable[str], alertmanagers: Iterable[Alertmanager]) -> Prometheus:
    """A Prometheus with the shipped rules, everything in them so much shorter; not started yet."""
    directory.mkdir()
    rules = directory / "rules.yml"
    render = [sys.executable, str(ALERTS / "render.py"), f"--scale={SCALE}", f"--output={rules}"]
    subprocess.run(render, check=True)
    made = Prometheus(directory, "")
    file = directory / "prometheus.yml"
    config = yaml.safe_load(file.read_text())
    config["scrape_configs"][0]["static_configs"] = [{"targets": list(targets)}]
    config["rule_files"] = [str(rules)]
    wanted = [{"targets": [each.address]} for each in alertmanagers]
    config["alerting"] = {"alertmanagers": [{"static_configs": wanted}]}
    file.write_text(yaml.safe_dump(config))
    return made
