"""The files that go with the program are in the wheel and in a checkout, and `assets` writes them."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter import assets, cli

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


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(name="command")
def _command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line in a folder of its own; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        return code, *capsys.readouterr()

    return run


def files_of_the_tree() -> set[str]:
    folders = [ROOT / name for name in ("alerts", "dashboards", "deploy", "docs")]
    files = (file.relative_to(ROOT) for folder in folders for file in folder.rglob("*") if file.is_file())
    return {file.as_posix() for file in files if not any(file.match(pattern) for pattern in LEFT_OUT)}


def test_every_file_of_the_tree_that_users_need_is_an_asset() -> None:
    # Without those that a user put there, such as deploy/iam, which git ignores.
    of_git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    known = subprocess.run(of_git, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    assert set(assets.names()) == files_of_the_tree() & set(known or files_of_the_tree())


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


# --- the command -------------------------------------------------------------------------------------------

MINE = "job: other\nalerts: {ModelArtsUpdateStuck: {older_than: 45m}}\n"


def contents(folder: Path) -> dict[str, bytes]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def rendered(folder: Path) -> bytes:
    """The rules that the script of the checkout makes with the values of `mine.yml`."""
    script = [sys.executable, str(ROOT / "alerts" / "render.py"), "--config=mine.yml", "--output=-"]
    return subprocess.run(script, cwd=folder, capture_output=True, check=True).stdout


def test_it_writes_what_is_in_the_tree_byte_for_byte_and_says_so(command: Command, tmp_path: Path) -> None:
    code, out, err = command("assets", "new/folder")
    assert (code, err) == (0, "")
    written = contents(tmp_path / "new" / "folder")
    # The template is of no use without the program, which renders it.
    assert written == {
        name: (ROOT / name).read_bytes() for name in assets.names() if name != "alerts/modelarts.rules.yml.j2"
    }
    *lines, summary = out.splitlines()
    assert sorted(lines) == sorted(f"new/folder/{name}" for name in written)
    assert summary == f"new/folder: {len(written)} written, 0 there already"


def test_the_installed_program_writes_the_same_as_a_checkout(
    wheel: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "mine.yml").write_text(MINE)
    arguments = ("--alerts.config", "mine.yml")
    command("assets", "ours", *arguments)
    # In front of the editable install of the Python that runs this.
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    installed = [sys.executable, "-m", "exporter", "assets", "theirs", *arguments]
    subprocess.run(installed, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert contents(tmp_path / "theirs") == contents(tmp_path / "ours")


def test_the_links_between_the_written_pages_lead_somewhere(command: Command, tmp_path: Path) -> None:
    command("assets", "all")
    pages = [file for file in (tmp_path / "all").rglob("*.md") if file.name != "architecture.md"]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)[)#]", page.read_text())]
    assert len(links) > 50
    assert [f"{page}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_the_rules_have_the_values_of_ones_own(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(MINE)
    assert command("assets", "out", "--alerts.config", "mine.yml")[0] == 0
    rules = (tmp_path / "out" / "alerts" / "modelarts.rules.yml").read_bytes()
    assert b'job="other"' in rules
    assert rules == rendered(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"alerts: {ModelArtsOwn: {}}", "mine.yml: alerts.ModelArtsOwn: unknown key"),
        (b"- job", "mine.yml: must be a mapping"),
        (b"job: [", "mine.yml is not YAML"),
        (b"job: \xff", "mine.yml is not YAML"),
        (None, "No such file or directory: 'mine.yml'"),
    ],
)
def test_a_wrong_file_of_values_is_named_and_nothing_is_written(
    command: Command, tmp_path: Path, text: bytes | None, said: str
) -> None:
    if text is not None:
        (tmp_path / "mine.yml").write_bytes(text)
    code, out, err = command("assets", "out", "--alerts.config", "mine.yml")
    assert (code, out) == (1, "")
    assert said in err
    assert not (tmp_path / "out").exists()


def test_a_file_that_was_changed_is_only_overwritten_by_force(command: Command, tmp_path: Path) -> None:
    command("assets", "out")
    before = contents(tmp_path / "out")
    changed, gone = tmp_path / "out" / "alerts" / "config.yml", tmp_path / "out" / "docs" / "alerts.md"
    changed.write_text("mine")
    gone.unlink()

    assert command("assets", "out") == (
        1,
        "",
        (
            "modelarts-exporter: Nothing was written, because other text is in: out/alerts/config.yml. "
            "--force overwrites it.\n"
        ),
    )
    assert changed.read_text() == "mine"
    assert not gone.exists()

    assert command("assets", "out", "--force") == (
        0,
        f"out/alerts/config.yml\nout/docs/alerts.md\nout: 2 written, {len(before) - 2} there already\n",
        "",
    )
    assert contents(tmp_path / "out") == before


def test_files_of_ones_own_beside_the_written_ones_stay(command: Command, tmp_path: Path) -> None:
    own = tmp_path / "out" / "alerts" / "own.rules.yml"
    own.parent.mkdir(parents=True)
    own.write_text("groups: []")
    assert command("assets", "out")[0] == 0
    assert own.read_text() == "groups: []"


def test_a_folder_that_cannot_be_made_is_one_sentence(command: Command, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    assert command("assets", "out") == (1, "", "modelarts-exporter: [Errno 17] File exists: 'out'\n")


def test_a_disk_that_is_full_leaves_whole_files_only(tmp_path: Path) -> None:
    # No file may be longer than this, which is in the middle of many.
    code = (
        "import resource as r, sys; r.setrlimit(r.RLIMIT_FSIZE, (15_000, 15_000)); "
        "from exporter.cli import main; sys.exit(main(['assets', 'out']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "modelarts-exporter: [Errno 27] File too large\n"
    left = contents(tmp_path / "out")
    assert left == {name: (ROOT / name).read_bytes() for name in left}
    assert len(left) > 0


@pytest.mark.live
def test_prometheus_and_alertmanager_take_what_it_writes(command: Command, tmp_path: Path) -> None:
    command("assets", "out")
    checks = (
        ("promtool", "check", "rules", "--lint=all", "--lint-fatal", "alerts/modelarts.rules.yml"),
        ("promtool", "check", "config", "deploy/prometheus.example.yml"),
        ("amtool", "check-config", "alerts/alertmanager.example.yml"),
    )
    for tool, *arguments in checks:
        program = shutil.which(tool)
        assert program is not None  # else the test was left out before
        done = subprocess.run(
            [program, *arguments], cwd=tmp_path / "out", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
