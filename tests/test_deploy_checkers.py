"""Compose, systemd, Prometheus and Alertmanager accept what deploy/ holds for them, without an engine."""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli import COMMANDS

from .test_deploy import COMPOSE, DEPLOY, WRITTEN_BY_USERS, mounts

pytestmark = pytest.mark.deploy


def run(program: str, *arguments: str | Path) -> tuple[int, str]:
    path = shutil.which(program)
    assert path is not None
    done = subprocess.run(
        [path, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout + done.stderr


def checked(program: str, *arguments: str | Path) -> str:
    """What a checker says that has found nothing wrong."""
    code, said = run(program, *arguments)
    assert code == 0, said
    return said


# --- Compose ---------------------------------------------------------------------------------------


def test_the_compose_file_is_one() -> None:
    from compose_spec import PyCompose

    text = (DEPLOY / "compose.yml").read_text()
    assert set(PyCompose.from_yaml(text).service_names()) == set(COMPOSE["services"])
    with pytest.raises(ValueError, match="read_onli"):
        PyCompose.from_yaml(text.replace("read_only", "read_onli"))


def as_in_the_container(service: str, directory: Path) -> Path:
    """Lay the mounted files out as the container sees them, below `directory`."""
    for target, source in mounts(service).items():
        place = directory / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if source not in WRITTEN_BY_USERS:
            place.symlink_to(source)
    return directory


def configuration(service: str) -> str:
    """The file that the command of the service names."""
    (flag,) = [text for text in COMPOSE["services"][service]["command"] if text.startswith("--config.file=")]
    return str(flag).partition("=")[2].lstrip("/")


def test_promtool_accepts_what_prometheus_in_compose_reads(tmp_path: Path) -> None:
    root = as_in_the_container("prometheus", tmp_path)
    said = checked("promtool", "check", "config", root / configuration("prometheus"))
    assert re.search(r"SUCCESS: \d+ rules found", said)


def test_promtool_accepts_the_scrape_configuration_of_the_page(tmp_path: Path) -> None:
    page = (DEPLOY.parent / "docs" / "kubernetes.md").read_text()
    (text,) = re.findall(r"```yaml\n# prometheus.yml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(text)
    checked("promtool", "check", "config", tmp_path / "prometheus.yml")


def test_amtool_accepts_what_alertmanager_in_compose_reads(tmp_path: Path) -> None:
    root = as_in_the_container("alertmanager", tmp_path)
    said = checked("amtool", "check-config", root / configuration("alertmanager"))
    assert "1 templates" in said


# --- systemd ---------------------------------------------------------------------------------------

UNIT = DEPLOY / "modelarts-exporter.service"


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    # systemd wants the program to be there; here it is in the environment of the tests.
    text, changed = re.subn(
        r"/opt/modelarts-exporter/bin/", f"{Path(sys.executable).parent}/", UNIT.read_text()
    )
    assert changed == 1
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    assert checked("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit) == ""
    unit.write_text(text.replace("PrivateTmp=", "PrivateTemp="))
    assert "PrivateTemp" in run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)[1]


def test_systemd_finds_the_unit_well_confined() -> None:
    # From 0 to 100, in tenths of what it prints; below 20 is what it calls OK.
    checked("systemd-analyze", "security", "--offline=true", "--threshold=15", UNIT)


def test_the_flags_and_the_credential_in_the_unit_are_right() -> None:
    settings = dict(setting_lines())
    parser = argparse.ArgumentParser(exit_on_error=False)
    COMMANDS["run"][0](parser)
    found = parser.parse_args(shlex.split(settings["ExecStart"])[1:])
    assert found.storage_path == f"/var/lib/{settings['StateDirectory']}"
    name = settings["LoadCredential"].partition(":")[0]
    assert f"password_file: /run/credentials/{UNIT.name}/{name}" in UNIT.read_text()


def setting_lines() -> Iterator[tuple[str, str]]:
    for line in UNIT.read_text().replace("\\\n", "").splitlines():
        name, equals, value = line.partition("=")
        if equals and name.isalpha():
            yield name, value
