"""The rules that tests/conftest.py lays on every test, tried out."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import LeftTheMachineError, is_loopback


def test_only_loopback_is_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("192.0.2.1", "0.0.0.0", "fe80::1%lo", "example.com")] == [
        False
    ] * 4


@pytest.mark.parametrize("call", ["connect", "connect_ex"])
def test_a_test_that_connects_beyond_loopback_fails(call: str) -> None:
    # Of the addresses that are not loopback, the one that stays on the machine if the guard is broken.
    with socket.socket() as sock, pytest.raises(LeftTheMachineError):
        getattr(sock, call)(("0.0.0.0", 9))


def test_a_name_is_never_looked_up() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("modelarts.example.com", 443)


SKIPPING = """
import pytest
def test_one(): pytest.skip("for no reason")
@pytest.mark.skip
def test_two(): pass
@pytest.mark.xfail
def test_three(): assert False
def test_four(): pass
"""


@pytest.mark.parametrize(
    ("ci", "outcome"), [("true", "2 failed, 1 passed, 1 error"), ("", "1 passed, 2 skipped, 1 xfailed")]
)
def test_a_skipped_test_is_a_failure_in_ci_alone(tmp_path: Path, ci: str, outcome: str) -> None:
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    assert run_pytest(tmp_path, ci).splitlines()[-1].startswith(outcome)


def test_a_skipped_module_is_a_failure_in_ci_too(tmp_path: Path) -> None:
    (tmp_path / "test_module.py").write_text('import pytest\npytest.importorskip("no_such_module")\n')
    assert "CI leaves nothing out" in run_pytest(tmp_path, "true")


def run_pytest(folder: Path, ci: str) -> str:
    """Run what is in the folder under this tree's conftest, and return what pytest printed."""
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        f"--rootdir={folder}",
    ]
    environment = {**os.environ, "CI": ci}
    return subprocess.run(
        [*command, str(folder)], env=environment, capture_output=True, text=True, check=False, timeout=60
    ).stdout
