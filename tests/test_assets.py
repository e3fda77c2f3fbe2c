"""The files that go with the program are in the wheel, and are found there and in a checkout alike."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from exporter import assets

ROOT = Path(__file__).parents[1]
# Only people who change the program need these; the man page has its own place in the wheel.
LEFT_OUT = ("*.py", "docs/*.1", "alerts/tests/*", "alerts/*.test.yml", "dashboards/source/*", "docs/images/*")


@pytest.fixture(scope="session", name="wheel")
def _wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what pip would install."""
    made, installed = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "--target=wheel", f"--directory={made}"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (file,) = made.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(installed)
    return installed


def files_of_the_tree() -> set[str]:
    folders = [ROOT / name for name in ("alerts", "dashboards", "deploy", "docs")]
    files = (file.relative_to(ROOT) for folder in folders for file in folder.rglob("*") if file.is_file())
    return {file.as_posix() for file in files if not any(file.match(pattern) for pattern in LEFT_OUT)}


def test_every_file_of_the_tree_that_users_need_is_an_asset() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    of_git = set(tracked.stdout.splitlines()) or files_of_the_tree()
    assert set(assets.names()) == files_of_the_tree() & of_git


def test_the_wheel_has_every_asset_as_it_is_in_the_tree(wheel: Path) -> None:
    place = wheel / "exporter" / "assets"
    shipped = {
        file.relative_to(place).as_posix(): file.read_bytes()
        for file in place.rglob("*")
        if file.is_file() and file.suffix != ".py"
    }
    assert shipped == {name: (ROOT / name).read_bytes() for name in assets.names()}


def test_the_wheel_has_the_whole_program_and_nothing_else_of_the_tree(wheel: Path) -> None:
    (data,) = wheel.glob("*.data/data")
    man = {file.relative_to(data).as_posix() for file in data.rglob("*") if file.is_file()}
    assert man == {"share/man/man1/modelarts-exporter.1"}
    others = {each.name for each in wheel.iterdir() if not each.name.endswith((".dist-info", ".data"))}
    assert others == {"exporter"}
    program = {
        file.relative_to(ROOT)
        for file in (ROOT / "exporter").rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert {file for file in program if not (wheel / file).exists()} == set()


def test_an_installed_program_finds_its_own_files_and_not_those_of_a_checkout(wheel: Path) -> None:
    code = "from exporter import assets; print(*map(assets.path, assets.names()), sep='\\n')"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=wheel, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert found == [str(wheel / "exporter" / "assets" / name) for name in assets.names()]


def test_a_name_that_is_no_asset_is_not_read_although_there_is_such_a_file() -> None:
    for name in (
        "docs/../pyproject.toml",
        "pyproject.toml",
        "docs/runbooks",
        "",
        "alerts/tests/laws.test.yml",
    ):
        with pytest.raises(KeyError):
            assets.read(name)
    assert assets.read("docs/runbooks/ModelArtsUpdateFailed.md").startswith("# ModelArtsUpdateFailed")
