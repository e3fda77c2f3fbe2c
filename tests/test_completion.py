"""A shell that has read the script of `completion` completes commands, flags and their values."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli import COMMANDS
from exporter.commands.completion import SHELLS

# Asks bash's own function for what it offers after these words, as a TAB does.
ASK = """
source {script}
COMP_WORDS=({words}) COMP_CWORD={last} COMP_LINE='{words}' COMP_POINT={length}
function=$(complete -p modelarts-exporter | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function modelarts-exporter "${{COMP_WORDS[{last}]}}" "${{COMP_WORDS[{last}-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def printed(shell: str) -> str:
    command = [sys.executable, "-m", "exporter", "completion", shell]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module", name="script")
def _script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bash") / "script"
    file.write_text(printed("bash"))
    return file


def offered(script: Path, words: str) -> set[str]:
    """What bash offers for the last of these words."""
    last = len(words.split(" ")) - 1
    quoted = " ".join(word or "''" for word in words.split(" "))
    ask = ASK.format(script=script, words=quoted, last=last, length=len(words))
    done = subprocess.run(["bash", "-c", ask], cwd=script.parent, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return {line.strip() for line in done.stdout.splitlines()}


def test_bash_completes_every_command(script: Path) -> None:
    assert offered(script, "modelarts-exporter ") >= set(COMMANDS)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("modelarts-exporter do", {"doctor"}),
        ("modelarts-exporter --web.l", {"--web.listen-address"}),
        ("modelarts-exporter run --storage", {"--storage.path"}),
        ("modelarts-exporter run --log.level d", {"debug"}),
        ("modelarts-exporter doctor --format j", {"json"}),
        ("modelarts-exporter completion z", {"zsh"}),
        ("modelarts-exporter doctor --config.file scr", {"script"}),
    ],
)
def test_bash_completes_flags_and_values(script: Path, words: str, found: set[str]) -> None:
    assert offered(script, words) == found


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_every_command_and_has_no_mistake(shell: str, tmp_path: Path) -> None:
    text = printed(shell)
    assert all(name in text for name in COMMANDS)
    if shutil.which(shell):
        file = tmp_path / shell
        file.write_text(text)
        subprocess.run([shell, "-n", str(file)], check=True)
