"""The demo: an emulated cloud, the exporter on it, and Prometheus and Alertmanager if they are installed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import yaml
from structlog.typing import FilteringBoundLogger

from exporter import assets
from exporter.app import Exporter, RunOptions, await_signal
from exporter.core.formats import iso
from exporter.core.scrub import printable
from exporter.emulator import (
    DEFAULT_DOMAIN,
    DEFAULT_PASSWORD,
    DEFAULT_PROJECT,
    DEFAULT_PROJECT_NAME,
    DEFAULT_USER,
    HandlerServer,
    Server,
    read_recording,
    replay_server,
    scenario_server,
)

# Short, so that a person who watches sees changes soon; the defaults are for a real cloud.
_POLL = {"interval": "5s", "active_interval": "2s", "sweep_interval": "30s", "lateness": "1m"}
_RATE_LIMIT = 50  # requests per second; the emulator has no limit

_TERMINATE_SECONDS = 5  # then a child process that has not ended is killed


def emulate(server: Server) -> int:
    """Serve the emulated cloud until SIGINT or SIGTERM."""
    return _serve(
        server,
        f"ModelArts and IAM (emulated): {server.url}",
        f"  project_id {DEFAULT_PROJECT}, IAM at {server.url}/v3",
        f"  domain {DEFAULT_DOMAIN}, user {DEFAULT_USER}, password {DEFAULT_PASSWORD}",
    )


def replay(listen: str, file: str, speed: float) -> int:
    """Serve what was recorded until SIGINT or SIGTERM. Raises `RecordingError`."""
    recording = read_recording(Path(file))
    if recording.warning:
        print(f"modelarts-exporter: warning: {recording.warning}", file=sys.stderr)
    server, replayed = replay_server(listen, recording, speed=speed)
    projects = ", ".join(replayed.projects)
    first, last = recording.answers[0].at, recording.answers[-1].at
    return _serve(
        server,
        f"ModelArts and IAM (replayed): {server.url}",
        f"  {len(recording.answers)} answers, {iso(first)} to {iso(last)}, at {speed:g} times the pace",
        f"  project_id {projects}; any other is taken for the first, IAM at {server.url}/v3",
        *([f"  workspaces {', '.join(replayed.workspaces)}"] if replayed.workspaces else []),
        "  any domain, user, password and access key will do",
    )


def _serve(server: HandlerServer, *about: str) -> int:
    with server, _stop_at_signal() as stop:
        for line in about:
            print(printable(line), flush=True)
        await_signal(stop)
    return 0


def run(listen: str, log: FilteringBoundLogger) -> int:
    """Run everything until SIGINT or SIGTERM."""
    with ExitStack() as stack:
        stop = stack.enter_context(_stop_at_signal())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="modelarts-exporter-demo-")))
        cloud = stack.enter_context(scenario_server())
        alertmanager = _start_alertmanager(stack, directory)
        app = Exporter(
            RunOptions(
                _config(directory, cloud, alertmanager, listen),
                (listen,),
                storage_path=str(directory / "data"),
            ),
            log,
        )
        stack.callback(app.stop)
        app.start()
        exporter = _browsable(app.addresses[0])
        prometheus = _start_prometheus(stack, directory, exporter, alertmanager)
        for name, where in (
            ("exporter", f"http://{exporter}/metrics   (pages at http://{exporter}/)"),
            ("emulator", cloud.url),
            ("alertmanager", _page(alertmanager, "not installed, so no alert goes anywhere")),
            ("prometheus", _page(prometheus, "not installed, so nothing scrapes the exporter here")),
            ("grafana", "`modelarts-exporter assets DIR` writes five dashboards, and what provisions them"),
        ):
            print(f"{name + ':':14} {where}", flush=True)
        print("Ctrl-C ends all of it.", flush=True)
        await_signal(stop)
    return 0


def _page(address: str | None, otherwise: str) -> str:
    return f"http://{address}/" if address else otherwise


@contextmanager
def _stop_at_signal() -> Iterator[Event]:
    stop = Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _config(directory: Path, cloud: Server, alertmanager: str | None, listen: str) -> str:
    """Write a config file as a user would; returns its path."""
    user = {
        "iam_endpoint": f"{cloud.url}/v3",
        "domain": DEFAULT_DOMAIN,
        "username": DEFAULT_USER,
        "password": DEFAULT_PASSWORD,
    }
    project = {
        "name": DEFAULT_PROJECT_NAME,
        "project_id": DEFAULT_PROJECT,
        "endpoint": cloud.url,
        "auth": {"password": user},
        "rate_limit": _RATE_LIMIT,
    }
    push = {"alertmanager": {"urls": [f"http://{alertmanager}"]}} if alertmanager else {}
    # Whoever tries the demo sits at this machine; which port a 0 gives is not known yet.
    links = {} if listen.endswith(":0") else {"links": {"external_url": f"http://{_browsable(listen)}"}}
    return _write_yaml(directory / "config.yml", {"projects": [project], "poll": _POLL, **push, **links})


def _write_yaml(path: Path, content: object) -> str:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(path)


def _start_alertmanager(stack: ExitStack, directory: Path) -> str | None:
    """Start it with the shipped routing; returns its address, or None if it is not installed."""
    program = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
    if program is None:
        return None
    routing: dict[str, Any] = yaml.safe_load(assets.read("alerts/alertmanager.example.yml"))
    # Receivers that send nothing: the alerts are only shown.
    routing |= {"receivers": [{"name": each["name"]} for each in routing["receivers"]], "templates": []}
    config = _write_yaml(directory / "alertmanager.yml", routing)
    address = _free_address(9093)
    _start(
        stack,
        directory / "alertmanager.log",
        [
            program,
            f"--config.file={config}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
            f"--storage.path={directory / 'alertmanager'}",
        ],
    )
    _await_listening(address)
    return address


def _start_prometheus(
    stack: ExitStack, directory: Path, exporter: str, alertmanager: str | None
) -> str | None:
    """Start it with the shipped rules; returns its address, or None if it is not installed."""
    program = shutil.which("prometheus")
    if program is None:
        return None
    alertmanagers = [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
    config = _write_yaml(
        directory / "prometheus.yml",
        {
            "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
            "rule_files": [str(assets.path("alerts/modelarts.rules.yml"))],
            "alerting": {"alertmanagers": alertmanagers},
            "scrape_configs": [
                {"job_name": "modelarts-exporter", "static_configs": [{"targets": [exporter]}]}
            ],
        },
    )
    address = _free_address(9090)
    _start(
        stack,
        directory / "prometheus.log",
        [
            program,
            f"--config.file={config}",
            f"--web.listen-address={address}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
        ],
    )
    return address


def _start(stack: ExitStack, log: Path, command: Sequence[str]) -> None:
    """Start a child process that is ended when the demo ends."""
    output = stack.enter_context(log.open("wb"))
    child = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ.copy())  # noqa: S603 - found on PATH
    stack.callback(_end, child)


def _await_listening(address: str) -> None:
    """Wait for some seconds until something listens, so that the first push is no error in the log."""
    host, _, port = address.rpartition(":")
    for _ in range(50):
        try:
            socket.create_connection((host, int(port))).close()
        except OSError:
            time.sleep(0.1)
        else:
            return


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _free_address(port: int) -> str:
    """The usual port on loopback, or any free one if it is in use."""
    for wanted in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", wanted))
            except OSError:
                continue
            return f"127.0.0.1:{probe.getsockname()[1]}"
    raise OSError("no free port on 127.0.0.1")


def _browsable(address: str) -> str:
    """The same address, but one that a browser can open if it means every interface."""
    host, _, port = address.rpartition(":")
    return f"localhost:{port}" if host in ("", "[::]", "0.0.0.0") else address  # noqa: S104 - compared, not bound
