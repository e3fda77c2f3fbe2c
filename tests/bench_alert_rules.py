# ruff: noqa: T201 - it prints what it measured
"""What the alert rules cost Prometheus; run by hand: `python tests/bench_alert_rules.py [RULES]`.

A real Prometheus scrapes a page of a thousand services once a second and evaluates the rules. Durations are
a thirtieth as long, so a range holds as many samples as with a scrape of 30 s. One service of 20 fails.
RULES is another file that was rendered so, to compare with.
"""

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from exporter.core.records import STATUSES
from tests.live.prometheus import Prometheus

SERVICES = 1_000
SCALE = 1 / 30
# The longest range of a service's series is an hour; this has all of its samples.
SECONDS = 150
# Rules that take longer than this are named.
DEAREST_SECONDS = 0.01
RENDER = Path(__file__).parents[1] / "alerts" / "render.py"


def page() -> bytes:
    """What the rules read of each service, and of the exporter."""
    now = int(time.time())
    lines = [
        'modelarts_up{project="p"} 1',
        f'modelarts_exporter_last_list_timestamp_seconds{{project="p"}} {now}',
        'modelarts_exporter_poll_interval_seconds{project="p"} 30',
        'modelarts_exporter_sweep_duration_seconds{project="p"} 300',
        'modelarts_exporter_shard_info{index="0",total="1"} 1',
        "modelarts_exporter_store_writable 1",
    ]
    for number in range(SERVICES):
        about = f'project="p",service_id="{number:036d}",service_name="recommender-{number}-canary"'
        failing = int(number % 20 == 0)
        lines += [
            f'modelarts_service_info{{{about},infer_type="real-time",workspace_id="0",owner="o"}} 1',
            f"modelarts_service_up{{{about}}} 1",
            f"modelarts_service_last_poll_timestamp_seconds{{{about}}} {now}",
            f"modelarts_service_update_failing{{{about}}} {failing}",
            f"modelarts_service_updates_running{{{about}}} 0",
            f"modelarts_service_last_update_timestamp_seconds{{{about}}} {now - 5000}",
            f"modelarts_service_last_failure_timestamp_seconds{{{about}}} {now - 5000}",
            f"modelarts_service_invocations_total{{{about}}} {now % 100000}",
            f"modelarts_service_failed_invocations_total{{{about}}} 5",
        ]
        for metric, label, values in (
            ("update_result", "result", ("SUCCESS", "FAIL", "RUNNING")),
            ("updates_total", "result", ("SUCCESS", "FAIL")),
            ("update_duration_seconds_sum", "result", ("SUCCESS", "FAIL")),
            ("update_duration_seconds_count", "result", ("SUCCESS", "FAIL")),
            ("events_total", "event_type", ("normal", "abnormal")),
            ("abnormal_events_total", "reason", ("crash", "timeout", "image_pull")),
            ("status", "status", (*STATUSES, "other")),
        ):
            lines += [
                f'modelarts_service_{metric}{{{about},{label}="{value}"}} {int(value == "running")}'
                for value in values
            ]
    return "\n".join([*lines, ""]).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers each scrape."""

    def do_GET(self) -> None:
        body = page()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def main(rules: str | None) -> None:
    """Print the seconds of one evaluation of each group, for ten thousand services."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        if rules is None:
            rules = str(directory / "rules.yml")
            subprocess.run([sys.executable, RENDER, f"--scale={SCALE}", f"--output={rules}"], check=True)
        prometheus = Prometheus(directory, f"127.0.0.1:{server.server_port}")
        file = directory / "prometheus.yml"
        file.write_text(
            yaml.safe_dump({**yaml.safe_load(file.read_text()), "rule_files": [str(Path(rules).resolve())]})
        )
        taken: dict[str, list[float]] = {}
        with prometheus:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                time.sleep(5)
                answer = requests.get(f"{prometheus.url}/api/v1/rules", timeout=60).json()
                for group in answer["data"]["groups"]:
                    taken.setdefault(group["name"], []).append(group["evaluationTime"])
                    for rule in group["rules"]:
                        taken.setdefault(f"  {rule['name']}", []).append(rule["evaluationTime"])
    for name, seconds in taken.items():
        each = statistics.median(seconds[-10:])
        if name.startswith(" ") and each < DEAREST_SECONDS:
            continue
        print(
            f"{name}: {each:.2f} s with {SERVICES} services, so {each * 10_000 / SERVICES:.1f} s with 10,000"
        )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
