"""What docs/security.md says: followed step by step, it protects what it says, and no secret leaks."""

import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from exporter.cli import build_parser
from exporter.emulator import DEFAULT_PASSWORD, Cloud, Server
from tests import certificates
from tests.guides import DOCS, blocks, section

from .commands import RunningExporter, configured, project, value
from .live.processes import PATIENCE_SECONDS, until

SECRET = "correct horse"
SERVER = section("security.md", "The web server")
DEPLOY = DOCS.parent / "deploy"


@pytest.fixture(name="url")
def _url() -> Iterator[str]:
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    service = cloud.add_service(name="mnist")
    cloud.add_update(service, "FAIL")
    cloud.add_event(service, "abnormal", "failed to pull image, retry later")
    with Server(cloud) as server:
        yield server.url


def hash_of_the_page() -> str:
    """What the page's command prints for `SECRET`; without a terminal it reads stdin."""
    (command,) = [text for text in blocks(SERVER, "sh") if "bcrypt" in text]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-euc", command],
        input=f"{SECRET}\n",
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    return done.stdout.strip()


@pytest.fixture(name="exporter")
def _exporter(url: str, tmp_path: Path) -> Iterator[RunningExporter]:
    """One that runs with the page's web config file."""
    certificate = certificates.for_loopback(tmp_path)
    for name in ("server.crt", "server.key"):
        (tmp_path / name).write_bytes(certificate.read_bytes())
    (web,) = blocks(SERVER, "yaml")
    (tmp_path / "web.yml").write_text(web.replace("HASH", hash_of_the_page()))
    config = configured(tmp_path, project(url))
    with RunningExporter(tmp_path, config, "--web.config.file=web.yml") as exporter:
        failed = {"name": "modelarts_service_updates_total", "result": "FAIL"}
        until(lambda: value(asked(exporter, tmp_path, "/metrics")[1], **failed), lambda count: count == 1)
        yield exporter


def asked(exporter: RunningExporter, directory: Path, path: str, **options: object) -> tuple[int, str]:
    """The answer over TLS, with the right password unless `auth` is given; (0, "") for none."""
    options = {"auth": ("prometheus", SECRET), **options}
    url = exporter.url.replace("http:", "https:") + path
    try:
        answer = requests.get(
            url,
            verify=str(directory / "server.crt"),
            timeout=PATIENCE_SECONDS,
            **options,  # type: ignore[arg-type]
        )
    except requests.ConnectionError:
        return 0, ""
    return answer.status_code, answer.text


def test_every_path_wants_the_password_and_no_output_or_file_holds_a_secret(
    exporter: RunningExporter, tmp_path: Path
) -> None:
    shown = ""
    for path in ("/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/services"):
        assert asked(exporter, tmp_path, path, auth=None)[0] == 401
        assert asked(exporter, tmp_path, path, auth=("prometheus", "wrong"))[0] == 401
        status, text = asked(exporter, tmp_path, path)
        assert status == 200
        shown += text
    (curl,) = [text for text in blocks(SERVER, "sh") if text.startswith("curl")]
    command = curl.replace("127.0.0.1:10155", exporter.address).replace(
        "prometheus", f'"prometheus:{SECRET}"'
    )
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "modelarts_service_update_failing" in done.stdout
    assert exporter.end() == 0
    stored = b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
    for secret in (SECRET, DEFAULT_PASSWORD):
        assert secret not in shown + exporter.output()
        assert secret.encode() not in stored


def test_the_files_have_the_modes_of_the_page(exporter: RunningExporter, tmp_path: Path) -> None:
    table = section("security.md", "Files")
    directory, store = re.findall(
        r"^\| .*storage.*? \| (0\d+)|^\| the store in it \| (0\d+)", table, re.MULTILINE
    )
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "data").iterdir()}
    assert modes == {int(store[1], 8)}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == int(directory[0], 8)
    assert exporter.end() == 0


def test_the_first_way_listens_on_this_machine_alone() -> None:
    program, *arguments = blocks(SERVER, "sh")[0].split()
    options = build_parser().parse_args(["run", *arguments])
    assert (program, options.listen) == ("modelarts-exporter", ["127.0.0.1:10155"])


def test_the_network_policy_is_about_the_pods_and_the_port_of_the_manifest() -> None:
    (policy,) = blocks(section("security.md", "The network"), "yaml")
    spec = yaml.safe_load(policy)["spec"]
    manifests = {m["kind"]: m for m in yaml.safe_load_all((DEPLOY / "kubernetes.yml").read_text())}
    pod = manifests["StatefulSet"]["spec"]["template"]
    assert spec["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    ports = [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
    assert ports == [port["containerPort"] for port in container["ports"]]


def test_the_units_of_the_page_are_as_it_says() -> None:
    unit = (DEPLOY / "modelarts-exporter.service").read_text()
    for line in ("DynamicUser=yes", "CapabilityBoundingSet=\n", "LoadCredential=", "SystemCallFilter="):
        assert line in unit
