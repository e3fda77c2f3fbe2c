"""For every test: no packet leaves this machine, and in CI nothing is skipped."""

import ipaddress
import os
import shutil
import signal
import socket
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import settings

CI = os.environ.get("CI") == "true"

# A shell ignores SIGINT in what it starts in the background, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# deadline=None: how long an example takes says nothing on a busy machine.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("dev", deadline=None, print_blob=True)
settings.register_profile("fuzz", deadline=None, max_examples=10_000, print_blob=True)
settings.load_profile("ci" if CI else "dev")


class LeftTheMachineError(Exception):
    """A test would have sent something beyond loopback; no OSError, so that no code under test takes it."""


def is_loopback(host: object) -> bool:
    """Whether a host of a socket address is this machine by loopback."""
    if host in ("localhost", "", None):
        return True
    try:
        return ipaddress.ip_address(str(host).partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def _only_loopback() -> Iterator[None]:
    # For the whole session, so that it also holds for a thread that goes on after its test.
    connect, connect_ex, resolve = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(sock: socket.socket, address: Any) -> None:
        if sock.family != socket.AF_UNIX and not is_loopback(address[0]):
            raise LeftTheMachineError(f"connect to {address}")

    def guarded_connect(sock: socket.socket, address: Any) -> None:
        check(sock, address)
        connect(sock, address)

    def guarded_connect_ex(sock: socket.socket, address: Any) -> int:
        check(sock, address)
        return connect_ex(sock, address)

    def guarded_resolve(
        host: Any,
        port: Any,
        family: int = 0,
        type: int = 0,  # noqa: A002 - callers give it by this name
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        # As on a machine without a network: a name is unknown, an address still works.
        if not is_loopback(host.decode() if isinstance(host, bytes) else host):
            flags |= socket.AI_NUMERICHOST
        return resolve(host, port, family, type, proto, flags)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_resolve)
        yield


@pytest.hookimpl(trylast=True)  # when those that are not asked for are gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests for which a program or a package is not installed; in CI a skip is a failure."""
    live = (("prometheus",), ("promtool",), ("prometheus-alertmanager", "alertmanager"))
    deploy = (("promtool",), ("amtool",), ("systemd-analyze",))
    absent = {
        marker: [names[0] for names in programs if not any(map(shutil.which, names))]
        for marker, programs in (("live", live), ("long", live), ("deploy", deploy))
    }
    packages = ("cloudcoil", "compose_spec", "helm_python", "kubernetes_validate")
    absent["deploy"] += [name for name in packages if find_spec(name) is None]
    for marker, missing in absent.items():
        for item in items:
            if missing and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)}"))
    items[:] = longest_first(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def longest_first(items: list[pytest.Item], workers: int) -> list[pytest.Item]:
    """Put those with a time limit of their own first in each worker's share; else the end waits for them."""
    longest = [item for item in items if any(marker.name == "timeout" for marker in item.own_markers)]
    rest = [item for item in items if item not in longest]
    share = len(items) // workers
    for number, item in enumerate(longest):
        rest.insert(number % workers * share, item)
    return rest


def fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """In CI, turn a skip (of a test, a module, or an expected failure) into a failure."""
    if CI and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped, and CI leaves nothing out: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Apply `fail_if_skipped` to each test."""
    report = yield
    fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Apply `fail_if_skipped` to each module."""
    report = yield
    fail_if_skipped(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the text that a test recorded with `record_property("shown", text)`, also if the test passed.

    It is here and not beside the test: if tests run in several processes, the one with the terminal reads no
    other conftest.py.
    """
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, text in report.user_properties:
                if name == "shown":
                    terminalreporter.section(report.nodeid.rpartition("::")[2])
                    terminalreporter.write_line(text)
