"""What docs/troubleshooting.md says: the program prints each message in it, and its commands run."""

import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import yaml

from exporter.emulator import Cloud, Server
from exporter.emulator.faults import error, html
from tests import certificates
from tests.guides import DOCS, blocks, pattern, rows, section

from .commands import RunningExporter, access_key, configured, project
from .live.processes import PATIENCE_SECONDS, free_port
from .raw_server import raw_server
from .test_first_mistakes import User, with_fault, with_user

PAGE = (DOCS / "troubleshooting.md").read_text()


def messages(heading: str) -> list[str]:
    """The messages in the first column of the table below a heading."""
    return [re.findall(r"`([^`]+)`", row[0])[0] for row in rows(section("troubleshooting.md", heading))]


@pytest.fixture(name="user")
def _user(tmp_path: Path) -> Iterator[User]:
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    cloud.add_service(name="mnist")
    with Server(cloud) as server:
        yield User(tmp_path, cloud, server.url)


def runs(user: User, *flags: str) -> tuple[int, str]:
    """What the exporter says that does not come as far as to run."""
    config = configured(user.directory, project(user.url))
    return user.runs(f"--config.file={config}", *flags)


def with_a_store_in_use(user: User) -> tuple[int, str]:
    with RunningExporter(user.directory, configured(user.directory, project(user.url))) as first:
        first.ready()
        found = runs(user, f"--web.listen-address=127.0.0.1:{free_port()}")
        assert first.end() == 0
    return found


def with_a_port_in_use(user: User) -> tuple[int, str]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        return runs(user, f"--web.listen-address=127.0.0.1:{other.getsockname()[1]}")


def with_a_certificate_that_nobody_signed(user: User) -> tuple[int, str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.for_loopback(user.directory))
    with raw_server(lambda server, connection: None, context) as server:
        return user.polls(endpoint=server.url)


# By the message on the page: what brings it about.
PROVOKED: dict[str, Callable[[User], tuple[int, str]]] = {
    "the following arguments are required: --config.file": lambda u: u.runs(),
    "config.yml:...: ... is not a known key": lambda u: u.checks(u.file(pol={})),
    "... is not set in the environment; ...": lambda u: u.checks(u.file(history="${NOPE}")),
    "... cannot be read...": lambda u: u.runs("--config.file=nowhere.yml"),
    "... is in use by process ...": with_a_store_in_use,
    "... must name a directory with free space that this user may write": lambda u: runs(
        u, "--storage.path=/proc/modelarts"
    ),
    "cannot listen on ...: address already in use": with_a_port_in_use,
    "... its name cannot be resolved ...": lambda u: u.polls(endpoint="https://modelarts.nowhere.invalid"),
    "... check the address, the port, and whether a proxy_url is needed": lambda u: u.polls(
        endpoint=f"http://127.0.0.1:{free_port()}"
    ),
    "... from the proxy ...": lambda u: u.polls(proxy_url=f"http://127.0.0.1:{free_port()}"),
    "... its certificate was not accepted ...; set ca_file to the authority that signed it": (
        with_a_certificate_that_nobody_signed
    ),
    "... its port speaks plain HTTP, not TLS; ...": lambda u: u.polls(
        endpoint=u.url.replace("http:", "https:")
    ),
    "... HTTP 401... (check domain, username, password and project_id).": lambda u: u.polls(
        auth=with_user(u, password="not it")
    ),
    "... (check the key or the token, and the clock of this machine).": lambda u: u.polls(
        auth=access_key("not it")
    ),
    "... (grant the permission modelarts:service:list).": lambda u: with_fault(
        u, error(403, "ModelArts.0203", "Forbidden", endpoint="list", times=None)
    ),
    "... HTTP 502...": lambda u: with_fault(u, html(502, times=None)),
}


@pytest.mark.parametrize("message", messages("It does not start") + messages("The cloud cannot be read"))
def test_a_message_of_the_page_is_one_that_the_program_prints(user: User, message: str) -> None:
    code, printed = PROVOKED[message](user)
    assert code in (1, 2), printed
    assert pattern(message).search(printed), printed


def test_the_first_commands_of_the_page_find_nothing_wrong_with_what_is_well(user: User) -> None:
    configured(user.directory, project(user.url))
    for command in blocks(PAGE, "sh")[0].splitlines():
        name, *arguments = command.split()
        assert name == "modelarts-exporter"
        code, printed = user.runs(*arguments)
        assert code == 0, printed


# --- what a running exporter refuses -------------------------------------------------------------------


@pytest.fixture(name="exporter")
def _exporter(user: User) -> Iterator[RunningExporter]:
    config = configured(user.directory, project(user.url))
    with RunningExporter(user.directory, config) as exporter:
        exporter.ready()
        yield exporter


def test_a_running_exporter_refuses_what_the_page_says_it_does(exporter: RunningExporter) -> None:
    (reload,) = [text for text in messages("A request is refused") if text.startswith("403")]
    answer = requests.post(f"{exporter.url}/-/reload", timeout=PATIENCE_SECONDS)
    assert pattern(reload).search(f"{answer.status_code} {answer.text}")
    assert exporter.get("/services/nobody").status_code == 404
    assert exporter.end() == 0


def test_a_reload_of_a_file_with_a_mistake_is_answered_with_500_and_the_mistake(user: User) -> None:
    config = Path(configured(user.directory, project(user.url)))
    with RunningExporter(user.directory, str(config), "--web.enable-lifecycle") as exporter:
        exporter.ready()
        config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "pol": {}}))
        answer = requests.post(f"{exporter.url}/-/reload", timeout=PATIENCE_SECONDS)
        assert (answer.status_code, "is not a known key" in answer.text) == (500, True)
        assert exporter.get("/-/ready").status_code == 200
        assert exporter.end() == 0
