"""What the built image holds and does; `make image-test` builds it into build/image and runs these.

Not named test_*.py: without the image, which takes root and a minute to build, nothing here can run.
The program runs as a container would run it: as PID 1, in namespaces of its own, as the image's user,
on a root file system that is read-only, with loopback as its only network.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

TREE = Path(__file__).parents[2]
IMAGE = TREE / "build" / "image"
ROOT = IMAGE / "rootfs"
USER = 65532

# A container runtime's work in small: $1 the root file system, $2 what becomes /data, $3 a Python for
# the host's side, and the rest the command. Devices are bound, since a device node may not be allowed.
ENTER = """
set -e
root=$1 data=$2 python=$3; shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$data" "$root/data"
mount -o remount,bind,ro "$root"
"$python" -c "$LOOPBACK_UP"
exec setpriv --no-new-privs chroot --userspec=65532:65532 --groups=65532 "$root" "$@"
"""
# SIOCSIFFLAGS with IFF_UP, because iproute2 is not on every machine.
LOOPBACK_UP = """
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1))
"""
FETCH = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=5).read().decode())"
# The demo's promise is two minutes for every metric; the first ones take seconds, on a busy machine too.
STARTED_WITHIN_SECONDS = 60.0

CONFIG = """
projects:
  - name: nowhere
    project_id: 0123456789abcdef0123456789abcdef
    endpoint: http://127.0.0.1:9
    auth:
      token_file: /etc/modelarts-exporter/token
"""


@pytest.fixture(scope="session")
def config() -> Any:
    return json.loads((IMAGE / "image.json").read_text())["Docker"]["config"]


def entered(config: Any, *arguments: str) -> list[str]:
    """The entry point with these arguments, or with the image's own default ones."""
    return [*config["Entrypoint"], *(arguments or config["Cmd"])]


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes it started that still live; none once it has been waited for."""
    if process.poll() is not None:
        return []
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


class Container:
    """A command of the image that is running."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path, config: Any) -> None:
        self.process = process
        self.output = output
        self._env = config["Env"]
        self._pid = 0

    def wait_until_entered(self) -> None:
        """Find the process that became the image's; before that, its root is still the host's."""
        deadline = time.monotonic() + STARTED_WITHIN_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            for pid in children(self.process):
                if Path(f"/proc/{pid}/root").readlink() != Path("/"):
                    self._pid = pid
                    return
            time.sleep(0.05)
        pytest.fail(
            f"the command did not start (exit code: {self.process.poll()})\n{self.output.read_text()}"
        )

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one more command in there, as the same user."""
        inside = ["nsenter", f"--target={self._pid}", "--mount", "--net", "--pid", "--root", "--wd"]
        user = [f"--setuid={USER}", f"--setgid={USER}"]
        environment = ["/usr/bin/env", "-i", *self._env]
        return subprocess.run(
            [*inside, *user, "--", *environment, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def wait_for(self, text: str, path: str) -> str:
        """Fetch a page until it holds the text."""
        self.wait_until_entered()
        deadline = time.monotonic() + STARTED_WITHIN_SECONDS
        answer = None
        while time.monotonic() < deadline and self.process.poll() is None:
            answer = self.execute("python3", "-c", FETCH, f"http://127.0.0.1:10155{path}")
            if text in answer.stdout:
                return answer.stdout
            time.sleep(0.2)
        pytest.fail(f"{text} did not show on {path} {self._state()}, last answer: {answer}")

    def _state(self) -> str:
        return f"(exit code: {self.process.poll()}, output: {self.output.read_text()})"

    def terminate(self) -> int:
        """Send SIGTERM; the contract's five seconds are the limit."""
        os.kill(self._pid, signal.SIGTERM)
        return self.process.wait(timeout=5)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    os.chown(path, USER, USER)
    return path


@contextmanager
def running(config: Any, data: Path, command: list[str]) -> Iterator[Container]:
    """Start a command in the image, and end it with the block."""
    started = [
        *["unshare", "--mount", "--net", "--pid", "--fork", "--"],
        *["bash", "-c", ENTER, "enter", str(ROOT), str(data), sys.executable],
        *["/usr/bin/env", "-i", f"--chdir={config['WorkingDir']}", *config["Env"], *command],
    ]
    environment = os.environ | {"LOOPBACK_UP": LOOPBACK_UP}
    output = data.parent / "output"  # a file, because nothing reads a pipe while we wait for a page
    with (
        output.open("wb") as stream,
        subprocess.Popen(started, env=environment, stdout=stream, stderr=stream) as process,
    ):
        try:
            yield Container(process, output, config)
        finally:
            # The child is PID 1 of its namespace: with it goes all else in there. --kill-child would
            # not do, since a process that changes its user no longer gets the signal of its parent's end.
            for pid in children(process):
                os.kill(pid, signal.SIGKILL)


def finished(config: Any, data: Path, command: list[str]) -> tuple[int, str]:
    """Exit code and output of a command that ends by itself."""
    with running(config, data, command) as container:
        return container.process.wait(timeout=30), container.output.read_text()


@pytest.fixture
def configured() -> Iterator[None]:
    """A config file where the image looks for it, gone again afterwards."""
    folder = ROOT / "etc" / "modelarts-exporter"
    (folder / "config.yml").write_text(CONFIG)
    (folder / "token").write_text("made-up")
    yield
    (folder / "config.yml").unlink()
    (folder / "token").unlink()


def test_the_version_is_the_one_of_the_tree(config: Any, data: Path) -> None:
    version = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["version"]
    code, output = finished(config, data, entered(config, "--version"))
    assert code == 0
    assert version in output
    assert config["Labels"]["org.opencontainers.image.version"] == version


def test_the_user_is_a_number_and_not_root(config: Any) -> None:
    assert config["User"] == f"{USER}:{USER}"


def test_the_store_is_a_volume_and_the_port_is_exposed(config: Any) -> None:
    assert list(config["Volumes"]) == ["/data"]
    assert list(config["ExposedPorts"]) == ["10155/tcp"]


def test_no_build_tool_and_no_package_list_is_left_inside() -> None:
    names = {"pip", "pip3", "hatchling", "ensurepip", "gcc", "cc", "ld", "make", "curl", "wget", "git"}
    places = [*ROOT.glob("usr/*bin/*"), *ROOT.glob("usr/lib/python*/*"), *(ROOT / "opt").rglob("*")]
    assert [str(path) for path in places if path.name in names] == []
    assert list((ROOT / "var/lib/apt/lists").iterdir()) == []
    assert list((ROOT / "mnt").iterdir()) == []
    assert not (ROOT / "src").exists()


def test_the_user_can_write_to_nothing_but_the_store() -> None:
    # Directories with the sticky bit are Debian's /tmp and its like: closed by a read-only root.
    writable = []
    for path in ROOT.rglob("*"):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode) or stat.S_ISCHR(status.st_mode) or status.st_mode & stat.S_ISVTX:
            continue
        of_group_0 = status.st_gid == 0 and status.st_mode & stat.S_IWGRP  # OpenShift's users are in it
        if USER in (status.st_uid, status.st_gid) or status.st_mode & stat.S_IWOTH or of_group_0:
            writable.append(str(path.relative_to(ROOT)))
    # Debian's own, of the groups mail and staff; the base that is made here gives every file to group 0.
    assert set(writable) - {"var/mail", "var/local"} == {"data"}


def test_any_user_of_group_0_can_write_the_store() -> None:
    status = (ROOT / "data").stat()
    assert (status.st_uid, status.st_gid, oct(status.st_mode & 0o7777)) == (USER, 0, "0o2770")


def test_the_demo_shows_deployments_and_ends_on_sigterm(config: Any, data: Path) -> None:
    demo = entered(config, "demo", "--web.listen-address=127.0.0.1:10155")
    with running(config, data, demo) as container:
        container.wait_for("modelarts_service_update_result{", "/metrics")
        assert container.terminate() == 0


def test_it_has_the_rules_the_dashboards_and_the_runbooks(config: Any, data: Path) -> None:
    code, output = finished(config, data, entered(config, "assets", "/data/assets"))
    assert (code, output.splitlines()[-1].partition(":")[0]) == (0, "/data/assets")
    for name in ("alerts/modelarts.rules.yml", "dashboards/modelarts-overview.json", "docs/install.md"):
        assert (data / "assets" / name).read_bytes() == (TREE / name).read_bytes()


def test_it_keeps_its_store_on_a_read_only_root_and_ends_on_sigterm(
    config: Any, data: Path, configured: None
) -> None:
    with running(config, data, entered(config)) as container:
        container.wait_for("modelarts_exporter_build_info{", "/metrics")
        written = container.execute("touch", "/tmp/x", "/etc/x", "/opt/modelarts-exporter/x")
        assert written.stderr.count("Read-only file system") == 3
        assert container.terminate() == 0
    assert list(data.iterdir()) != []


def test_the_health_check_passes_while_it_runs_and_fails_while_nothing_does(
    config: Any, data: Path, configured: None
) -> None:
    kind, *check = config["Healthcheck"]["Test"]
    assert kind == "CMD"
    code, _ = finished(config, data, check)
    assert code == 1
    with running(config, data, entered(config)) as container:
        container.wait_for("modelarts_exporter_build_info{", "/metrics")
        answer = container.execute(*check)
        assert (answer.returncode, answer.stderr) == (0, "")


def test_without_a_config_file_it_ends_with_one_sentence(config: Any, data: Path) -> None:
    code, output = finished(config, data, entered(config))
    assert code == 1
    assert "/etc/modelarts-exporter/config.yml" in output
    assert len(output.splitlines()) == 1


def test_the_revision_is_baked_in(config: Any, data: Path, configured: None) -> None:
    revision = config["Labels"]["org.opencontainers.image.revision"]
    with running(config, data, entered(config)) as container:
        assert f'revision="{revision}"' in container.wait_for("modelarts_exporter_build_info{", "/metrics")
