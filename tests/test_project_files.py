"""The program accepts what the README and deploy/ show to users."""

import argparse
import re
import tomllib
from pathlib import Path

import yaml

from exporter.cli import COMMANDS
from exporter.config import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_the_readme_names_every_flag_of_run_and_no_other() -> None:
    parser = argparse.ArgumentParser()
    COMMANDS["run"][0](parser)
    flags = set(re.findall(r"--[a-z.-]+", parser.format_help())) - {"--help"}
    table = README.partition("### Flags of `run`")[2].partition("###")[0]
    assert set(re.findall(r"`(--[a-z.-]+)`", table)) >= flags
    assert set(re.findall(r"^\| `(--[a-z.-]+)`", table, re.MULTILINE)) <= flags


def test_the_readme_shows_every_picture_and_no_other() -> None:
    pictures = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "images").iterdir()}
    assert set(re.findall(r"[a-z/-]+\.png", README)) == pictures
    assert sum((ROOT / path).stat().st_size for path in pictures) < 600_000  # everyone clones them


def test_the_config_files_for_users_are_valid(tmp_path: Path) -> None:
    in_readme = re.findall(r"```yaml\n(projects:.*?)```", README, re.DOTALL)
    manifests = yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yml").read_text())
    in_manifest = [m["data"]["config.yml"] for m in manifests if m["kind"] == "ConfigMap"]
    secret = tmp_path / "iam"
    secret.write_text("made-up")
    for text in (*in_readme, *in_manifest):
        file = tmp_path / "config.yml"
        file.write_text(re.sub(r"password_file: .*", f"password_file: {secret}", text))
        assert load(str(file), {"IAM_PASSWORD": "made-up"}).projects[0].name == "prod"
    assert (len(in_readme), len(in_manifest)) == (1, 1)


def test_the_scrape_job_is_called_as_the_rules_expect() -> None:
    in_readme = re.findall(r"```yaml\n(scrape_configs:.*?)```", README, re.DOTALL)
    for text in (*in_readme, (ROOT / "deploy" / "prometheus.example.yml").read_text()):
        (job,) = yaml.safe_load(text)["scrape_configs"]
        assert job["job_name"] == "modelarts-exporter"
        assert job["static_configs"] == [{"targets": ["localhost:10155"]}]


def test_every_dependency_has_a_pinned_version_for_ci_and_the_image() -> None:
    wanted = [*PROJECT["dependencies"], *(name for extra in EXTRAS.values() for name in extra)]
    assert {canonical(name) for name in wanted} - pins("constraints.txt").keys() == set()


def pins(file: str) -> dict[str, str]:
    """The versions that a file of requirements names."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^ ;\n]+)", (ROOT / file).read_text(), re.MULTILINE)
    return {canonical(name): version for name, version in found}


def test_the_image_is_made_of_the_versions_that_the_tests_run_with() -> None:
    parts = (
        (pins("requirements.txt"), PROJECT["dependencies"]),
        (pins("requirements-build.txt"), PYPROJECT["build-system"]["requires"]),
    )
    for locked, wanted in parts:
        assert {canonical(name) for name in wanted} - locked.keys() == set()
        assert locked.items() - pins("constraints.txt").items() == set()


def test_the_image_takes_no_file_without_the_hash_that_the_lock_gives() -> None:
    for file in ("requirements.txt", "requirements-build.txt"):
        entries = (ROOT / file).read_text().replace("\\\n", "").splitlines()
        assert [entry for entry in entries if entry[0] != "#" and " --hash=sha256:" not in entry] == []
    installs = re.findall(r"\$PIP.* install [^&]*", (ROOT / "Dockerfile").read_text())
    assert len(installs) == 3
    assert [line for line in installs if not re.search("--require-hashes|--no-index --no-deps", line)] == []


def canonical(requirement: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9_.-]", requirement)[0]).lower()
