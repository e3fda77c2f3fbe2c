"""What docs/first-hour.md says: all of its commands, one after the other, in one shell and one folder."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from exporter.emulator import Cloud, Server
from tests.commands import configured, project
from tests.live.processes import free_port

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first-hour.md").read_text("utf-8")
MINUTE = 60_000
DAY = 24 * 60 * MINUTE


def blocks(language: str) -> list[str]:
    """The blocks of the page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def on_this_machine(text: str, ports: dict[str, int]) -> str:
    """The same with ports that are free, and with a recording that takes seconds."""
    for port, free in ports.items():
        text = text.replace(f"localhost:{port}", f"localhost:{free}")
    text = text.replace(
        "--storage.path=data ", f"--storage.path=data --web.listen-address=:{ports['10155']} "
    )
    text = text.replace("prometheus --", f"prometheus --web.listen-address=:{ports['9090']} --")
    return text.replace("--for=10m", "--for=2s")


@pytest.mark.live
def test_the_commands_lead_from_nothing_to_a_prometheus_with_a_past(tmp_path: Path) -> None:
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    service_id = cloud.add_service(name="mnist")
    for days, result in ((9, "FAIL"), (6, "SUCCESS"), (5, "FAIL"), (2, "SUCCESS")):
        began = cloud.clock() - days * DAY
        cloud.add_update(service_id, result, at=began)
        if result == "FAIL":
            cloud.add_event(service_id, "abnormal", "failed to pull image, retry later", began + MINUTE)
    ports = {"10155": free_port(), "9090": free_port()}
    (prometheus_yml,) = blocks("yaml")
    (tmp_path / "prometheus.yml").write_text(on_this_machine(prometheus_yml, ports).replace("30s", "1s"))
    script = "".join(on_this_machine(block, ports) for block in blocks("sh"))
    # The query of the page once more, when its past and the first scrapes are there.
    (query,) = (line for line in script.splitlines() if "increase(" in line)
    again = f"for _ in $(seq 60); do {query} | tee answer.json | grep -q value && break; sleep 1; done\n"
    with Server(cloud) as server:
        configured(tmp_path, project(server.url))
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail"],
            input="trap 'kill $(jobs -p)' EXIT\n" + script + again,
            cwd=tmp_path,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing fails" in done.stdout
    answer = (tmp_path / "answer.json").read_text()
    found = re.search(r'"service_name":"mnist"\},"value":\[[\d.]+,"([\d.]+)"', answer)
    assert found, answer
    assert float(found[1]) == pytest.approx(2, abs=0.1)
    assert (tmp_path / "recording.jsonl").stat().st_size > 0
