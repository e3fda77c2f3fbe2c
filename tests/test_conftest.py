"""What tests/conftest.py does for every test: none reaches another machine, and CI skips none."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LeftTheMachineError


def test_a_test_reaches_nothing_but_loopback() -> None:
    # Of the addresses that are not loopback, the one that stays on this machine if the guard is broken.
    with socket.socket() as sock, pytest.raises(LeftTheMachineError):
        sock.connect(("0.0.0.0", 9))
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("modelarts.example.com", 443)


@pytest.mark.parametrize(("ci", "outcome"), [("true", "1 failed, 1 passed"), ("", "1 passed, 1 skipped")])
def test_a_skipped_test_is_a_failure_in_ci_only(tmp_path: Path, ci: str, outcome: str) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    code = "import pytest\ndef test_one(): pytest.skip()\ndef test_two(): pass\n"
    (tmp_path / "test_skipping.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={tmp_path}", str(tmp_path)]
    environment = {**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "true"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines()[-1].startswith(outcome)
