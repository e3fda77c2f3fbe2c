"""Mistakes that a new user makes, and what is printed: what is wrong, where, and what to do."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from exporter.emulator import Cloud, Server
from exporter.emulator.faults import error, html

from .commands import Config, access_key, configured, password, project
from .live.processes import PATIENCE_SECONDS, free_port


class User(NamedTuple):
    """A new user in an empty folder, with a cloud."""

    directory: Path
    cloud: Cloud
    url: str

    def runs(self, *arguments: str) -> tuple[int, str]:
        """The exit code, and what is printed on both outputs but for the metrics."""
        done = subprocess.run(
            [sys.executable, "-m", "exporter", *arguments],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )
        return done.returncode, done.stderr + ("" if "# HELP" in done.stdout else done.stdout)

    def polls(self, **changes: Any) -> tuple[int, str]:
        """What `once` says of the project with these changes."""
        return self.runs("once", f"--config.file={configured(self.directory, project(self.url, **changes))}")

    def checks(self, text: str) -> tuple[int, str]:
        """What `check-config` says of a file with this text."""
        (self.directory / "config.yml").write_text(text)
        return self.runs("check-config", "config.yml")

    def file(self, **sections: Any) -> str:
        return yaml.safe_dump({"projects": [project(self.url)], **sections})


@pytest.fixture(name="user")
def _user(tmp_path: Path) -> Iterator[User]:
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    cloud.add_service(name="mnist")
    with Server(cloud) as server:
        yield User(tmp_path, cloud, server.url)


def with_fault(user: User, fault: Any) -> tuple[int, str]:
    with user.cloud.lock:
        user.cloud.faults.add(fault)
    return user.polls()


def with_user(user: User, **changes: str) -> Config:
    return {"password": {**password(user.url)["password"], **changes}}


def secret_file(user: User, content: bytes) -> Config:
    (user.directory / "secret").write_bytes(content)
    login = {key: text for key, text in password(user.url)["password"].items() if key != "password"}
    return {"password": {**login, "password_file": "secret"}}


Mistake = Callable[[User], tuple[int, str]]

# The command line and the file.
BEFORE_THE_START: list[tuple[str, Mistake, int, str]] = [
    ("a command that is misspelt", lambda u: u.runs("chek-config", "x"), 2, "did you mean check-config?"),
    ("no config file", lambda u: u.runs(), 2, "required: --config.file"),
    (
        "a config file that is not there",
        lambda u: u.runs("--config.file=x.yml"),
        1,
        "x.yml:1: (file): cannot be read",
    ),
    ("a flag that is misspelt", lambda u: u.runs("--config.file=x", "--storage.pth=y"), 2, "--storage.pth=y"),
    ("a tab", lambda u: u.checks("projects:\n\t- name: x\n"), 1, "config.yml:2:"),
    (
        "a key that is misspelt",
        lambda u: u.checks(u.file(pol={})),
        1,
        "config.yml:1: pol: is not a known key",
    ),
    ("a duration without a unit", lambda u: u.checks(u.file(poll={"interval": "30"})), 1, "poll.interval: "),
    ("no projects", lambda u: u.checks("projects: []\n"), 1, "projects: "),
    ("a variable that is not set", lambda u: u.checks(u.file(history="${NOPE}")), 1, "NOPE"),
    ("a secret file that is not there", lambda u: u.polls(auth=secret_file(u, b"")), 1, "is empty"),
    (
        "a project's name for its id",
        lambda u: u.checks(yaml.safe_dump({"projects": [project(u.url, project_id="eu-de")]})),
        0,
        "projects[0].project_id: 'eu-de' is not 32 hexadecimal digits",
    ),
    (
        "a directory that cannot be written",
        lambda u: u.runs(
            f"--config.file={configured(u.directory, project(u.url))}", "--storage.path=/proc/modelarts"
        ),
        1,
        "--storage.path must name a directory",
    ),
]

# The way to the cloud, and what it thinks of us.
ON_THE_WAY: list[tuple[str, Mistake, int, str]] = [
    (
        "a host that is misspelt",
        lambda u: u.polls(endpoint="https://modelarts.nowhere.invalid"),
        1,
        "from modelarts.nowhere.invalid:443: its name cannot be resolved",
    ),
    (
        "a port where nobody listens",
        lambda u: u.polls(endpoint=f"http://127.0.0.1:{free_port()}"),
        1,
        "Connection refused; check the address, the port",
    ),
    (
        "https where the port speaks http",
        lambda u: u.polls(endpoint=u.url.replace("http:", "https:")),
        1,
        "its port speaks plain HTTP, not TLS; check the scheme",
    ),
    (
        "a proxy that is not there",
        lambda u: u.polls(proxy_url=f"http://127.0.0.1:{free_port()}"),
        1,
        "No answer came from the proxy 127.0.0.1:",
    ),
    (
        "a wrong password",
        lambda u: u.polls(auth=with_user(u, password="not it")),
        1,
        "HTTP 401: The username or password is wrong (check domain, username, password and project_id).",
    ),
    ("a wrong domain", lambda u: u.polls(auth=with_user(u, domain="X")), 1, "check domain, username"),
    ("a wrong project", lambda u: u.polls(project_id="a" * 32), 1, "The user has no role on the project"),
    (
        "a wrong secret key",
        lambda u: u.polls(auth=access_key("x")),
        1,
        "check the key or the token, and the clock",
    ),
    (
        "a permission that is missing",
        lambda u: with_fault(u, error(403, "ModelArts.0203", "Forbidden", endpoint="list", times=None)),
        1,
        "grant the permission modelarts:service:list",
    ),
    ("a page from a gateway", lambda u: with_fault(u, html(502, times=None)), 1, "HTTP 502: Bad Gateway"),
]


def rows(table: list[tuple[str, Mistake, int, str]]) -> list[Any]:
    return [pytest.param(*row[1:], id=row[0]) for row in table]


@pytest.mark.parametrize(("mistake", "code", "words"), rows(BEFORE_THE_START))
def test_a_mistake_before_the_start_is_one_sentence_that_helps(
    user: User, mistake: Mistake, code: int, words: str
) -> None:
    found, printed = mistake(user)
    assert (found, words in printed) == (code, True), printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(("mistake", "code", "words"), rows(ON_THE_WAY))
def test_what_keeps_a_project_from_being_read_is_said_with_what_to_do(
    user: User, mistake: Mistake, code: int, words: str
) -> None:
    found, printed = mistake(user)
    assert (found, words in printed) == (code, True), printed
    assert printed.splitlines()[-1].startswith("prod: the list could not be read: ")
    assert "Traceback" not in printed


def test_a_byte_order_mark_is_no_part_of_a_secret(user: User) -> None:
    secret = password(user.url)["password"]["password"]
    content = b"\xef\xbb\xbf" + secret.encode() + b"\r\n"
    assert user.polls(auth=secret_file(user, content)) == (0, "prod: 1 services, all were read.\n")
