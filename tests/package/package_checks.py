"""What the installed package does; `make package-test` builds and installs it, and runs these.

Not named test_*.py: without the installation, which needs a package index, nothing here can run.
"""

import os
import re
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.live.processes import PATIENCE_SECONDS, Process, until

TREE = Path(__file__).parents[2]
INSTALLED = TREE / "build" / "package" / "venv"
PROGRAM = INSTALLED / "bin" / "modelarts-exporter"


@pytest.fixture(autouse=True)
def _nothing_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)


def output(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_version_is_the_one_of_the_tree() -> None:
    version = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["version"]
    assert output(PROGRAM, "--version").startswith(f"modelarts-exporter {version} ")


def test_it_needs_nothing_but_the_locked_packages_in_their_versions() -> None:
    code = (
        "from importlib.metadata import distributions as d; print(*(f'{i.name}=={i.version}' for i in d()))"
    )
    installed = output(INSTALLED / "bin" / "python", "-c", code).split()
    locked = re.findall(r"^\S+==\S+", (TREE / "requirements.txt").read_text(), re.MULTILINE)
    ours = [name for name in installed if name.startswith("modelarts-exporter==")]
    assert len(ours) == 1
    assert {canonical(name) for name in installed} == {canonical(name) for name in (*locked, *ours)}


def canonical(pin: str) -> str:
    return re.sub(r"[-_.]+", "-", pin.partition("==")[0]).lower() + pin.partition("==")[2]


def test_assets_writes_the_files_of_the_tree(tmp_path: Path) -> None:
    *written, _ = output(PROGRAM, "assets", "out").splitlines()
    assert len(written) > 50
    for name in written:
        assert (tmp_path / name).read_bytes() == (TREE / name.removeprefix("out/")).read_bytes()


@pytest.fixture(name="demo")
def _demo(tmp_path: Path) -> Iterator[Process]:
    with Process([str(PROGRAM), "demo", "--web.listen-address=127.0.0.1:0"], tmp_path / "demo.log") as demo:
        yield demo


def test_the_demo_can_be_scraped_and_has_the_rules_and_ends_on_sigint(demo: Process) -> None:
    def lines() -> list[str]:
        assert demo.child.poll() is None, demo.log.read_text()
        return demo.log.read_text().splitlines()

    # The log goes on behind it.
    until(lines, lambda found: [line for line in found if line.startswith("Ctrl-C")])
    urls = {line.partition(":")[0]: re.findall(r"http://[^\s)]+", line) for line in lines()}

    scrape = urls["exporter"][0]
    until(lambda: requests.get(scrape, timeout=PATIENCE_SECONDS).text, has_a_result)
    # Where Prometheus is not installed the demo says so, and this machine cannot show more.
    assert len(urls["prometheus"]) == (1 if shutil.which("prometheus") else 0)
    for url in urls["prometheus"]:
        demo.wait_for(f"{url}-/ready")
        rules = requests.get(f"{url}api/v1/rules", timeout=PATIENCE_SECONDS).json()["data"]["groups"]
        shipped = yaml.safe_load((TREE / "alerts" / "modelarts.rules.yml").read_text())["groups"]
        assert rule_counts(rules) == rule_counts(shipped)

    os.kill(demo.child.pid, signal.SIGINT)
    assert demo.child.wait(PATIENCE_SECONDS) == 0


def rule_counts(groups: list[dict[str, Any]]) -> dict[str, int]:
    return {group["name"]: len(group["rules"]) for group in groups}


def has_a_result(text: str) -> bool:
    return "modelarts_service_update_result{" in text
