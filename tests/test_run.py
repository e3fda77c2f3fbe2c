"""The exporter as a process on an emulated cloud: how it starts, reloads, is killed and ends."""

import json
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
import yaml

from exporter.emulator import DEFAULT_PASSWORD, Cloud, Server
from exporter.emulator.faults import slow

from .commands import Config, RunningExporter, access_key, configured, password, project, samples, value
from .live.processes import PATIENCE_SECONDS, until
from .test_web_config import CERTIFICATE, KEY

# Asked to end, the exporter is gone within this time.
END_SECONDS = 5

TOTAL = "modelarts_service_updates_total"


@pytest.fixture(name="cloud")
def _cloud() -> Cloud:
    return Cloud(lambda: time.time_ns() // 1_000_000)


@pytest.fixture(name="url")
def _url(cloud: Cloud) -> Iterator[str]:
    with Server(cloud) as server:
        yield server.url


def refused(command: list[str], directory: Path) -> str:
    """What an exporter says that cannot run, one sentence, without what stands in front of each."""
    done = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("ts=")]
    return line.removeprefix("modelarts-exporter: ")


# -- start and end


def test_it_starts_is_ready_shows_the_services_and_ends(cloud: Cloud, url: str, tmp_path: Path) -> None:
    service_id = cloud.add_service(name="mnist")
    cloud.add_update(service_id, "FAIL")
    cloud.faults.add(slow(1.5, endpoint="list"))  # so that there is a time in which it is not ready
    with RunningExporter(tmp_path, configured(tmp_path, project(url))) as exporter:
        exporter.wait_for(f"{exporter.url}/-/healthy")
        waiting = exporter.get("/-/ready")
        assert (waiting.status_code, waiting.text) == (503, "Not listed yet: prod.\n")
        exporter.ready()
        exporter.await_value(1, TOTAL, result="FAIL")
        assert value(exporter.metrics(), "modelarts_services", project="prod") == 1
        assert value(exporter.metrics(), "modelarts_exporter_sweep_duration_seconds", project="prod") == 5
        assert value(exporter.metrics(), "modelarts_exporter_shard_info", index="0", total="1") == 1
        (info,) = samples(exporter.metrics(), "modelarts_exporter_web_info")
        taken_address = info.labels["external_url"]
        assert taken_address.endswith(f":{exporter.address.rpartition(':')[2]}")
        assert f"external_url={taken_address}" in exporter.output(), "told in the log"
        assert "prod" in exporter.get("/").text
        reload = requests.post(f"{exporter.url}/-/reload", timeout=PATIENCE_SECONDS)
        assert (reload.status_code, "--web.enable-lifecycle" in reload.text) == (403, True)

        taken = refused([*exporter.command, "--storage.path=other"], tmp_path)
        assert exporter.address in taken
        same_store = [part for part in exporter.command if "listen-address" not in part]
        locked = refused([*same_store, "--web.listen-address=127.0.0.1:0"], tmp_path)
        assert locked.startswith(f"data is in use by process {exporter.child.pid}:")
        assert exporter.get("/-/healthy").ok

        assert exporter.end() == 0
    assert "Traceback" not in exporter.output()
    assert exporter.output().splitlines()[-1].endswith("event=stopped")
    assert sorted(path.name for path in (tmp_path / "data").glob("*.db")) == ["modelarts-exporter.db"]


@pytest.mark.parametrize(
    ("links", "flags", "warned"),
    [
        ({}, (), True),
        ({"external_url": "https://exporter.example"}, (), False),
        ({}, ("--web.external-url=https://exporter.example",), False),
    ],
)
def test_a_start_without_an_external_url_warns_with_the_address_in_its_place(
    url: str, tmp_path: Path, links: Config, flags: tuple[str, ...], warned: bool
) -> None:
    with RunningExporter(tmp_path, configured(tmp_path, project(url), links=links), *flags) as exporter:
        exporter.ready()
        port = exporter.address.rpartition(":")[2]
    lines = [line for line in exporter.output().splitlines() if "no external URL" in line]
    assert len(lines) == warned
    assert all(f"external_url=http://{socket.gethostname()}:{port}" in line for line in lines)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_time_while_a_request_hangs(
    cloud: Cloud, url: str, tmp_path: Path, end: signal.Signals
) -> None:
    hanging, well = cloud.add_service(name="hanging"), cloud.add_service(name="well")
    for service_id in (hanging, well):
        cloud.add_update(service_id, "SUCCESS")
    cloud.faults.add(slow(600, service_id=hanging, times=None))
    config = configured(tmp_path, project(url))
    with RunningExporter(tmp_path, config) as exporter:
        exporter.ready()
        # One service that hangs hides no other.
        exporter.await_value(1, TOTAL, service_id=well, result="SUCCESS")
        until(lambda: [r for r in cloud.requests if r.service_id == hanging])
        exporter.child.send_signal(end)
        assert exporter.child.wait(END_SECONDS) == 0
    with RunningExporter(tmp_path, config) as exporter:
        exporter.ready()
        assert value(exporter.metrics(), TOTAL, service_id=well, result="SUCCESS") == 1


# -- reload


def test_a_reload_takes_a_good_file_and_leaves_the_old_one_in_force_for_a_bad_one(
    cloud: Cloud, url: str, tmp_path: Path
) -> None:
    cloud.add_service(name="mnist")
    other = cloud.add_project("f" * 32)
    cloud.add_service(other, name="elsewhere")
    config = configured(tmp_path, project(url))
    with RunningExporter(tmp_path, config, "--web.enable-lifecycle") as exporter:

        def posted() -> requests.Response:
            return requests.post(f"{exporter.url}/-/reload", timeout=PATIENCE_SECONDS)

        exporter.ready()
        succeeded = value(
            exporter.metrics(), "modelarts_exporter_config_last_reload_success_timestamp_seconds"
        )
        assert value(exporter.metrics(), "modelarts_exporter_config_last_reload_successful") == 1

        configured(tmp_path, project(url), pol={})
        bad = posted()
        assert (bad.status_code, bad.text.startswith(f"{config}:")) == (500, True)
        assert ": pol: is not a known key" in bad.text
        text = exporter.metrics()
        assert value(text, "modelarts_exporter_config_last_reload_successful") == 0
        assert value(text, "modelarts_exporter_config_last_reload_success_timestamp_seconds") == succeeded
        assert value(text, "modelarts_services", project="prod") == 1
        assert "reload failed" in exporter.output()

        configured(tmp_path, project(url), project(url, "second", project_id=other))
        good = posted()
        assert (good.status_code, good.text) == (200, "The configuration is in force.\n")
        assert value(exporter.metrics(), "modelarts_exporter_config_last_reload_successful") == 1
        exporter.await_value(1, "modelarts_services", project="second")
        exporter.await_value(1, "modelarts_service_up", project="second")
        assert value(exporter.metrics(), "modelarts_service_info", service_name="mnist") == 1

        # By signal, and the other way round: a project goes.
        configured(tmp_path, project(url, "second", project_id=other))
        exporter.child.send_signal(signal.SIGHUP)
        until(
            lambda: {s.labels["project"] for s in samples(exporter.metrics(), "modelarts_up")} == {"second"}
        )
        assert 'project="prod"' not in exporter.metrics()
        (tmp_path / "config.yml").unlink()
        exporter.child.send_signal(signal.SIGHUP)
        exporter.await_value(0, "modelarts_exporter_config_last_reload_successful")
        assert value(exporter.metrics(), "modelarts_services", project="second") == 1
        assert exporter.end() == 0


# -- totals


def test_totals_survive_an_end_and_a_kill(cloud: Cloud, url: str, tmp_path: Path) -> None:
    service_id = cloud.add_service(name="mnist")
    cloud.add_update(service_id, "SUCCESS")
    exporter = RunningExporter(tmp_path, configured(tmp_path, project(url)), "--storage.path=store")
    with exporter:
        exporter.ready()
        exporter.await_value(1, TOTAL, result="SUCCESS")
        cloud.add_update(service_id, "FAIL")
        exporter.await_value(1, TOTAL, result="FAIL")
        assert exporter.end() == 0

        cloud.service(service_id).updates.clear()  # as retention does in the end
        exporter.start()
        exporter.ready()
        shown = exporter.metrics()
        assert [value(shown, TOTAL, result=result) for result in ("SUCCESS", "FAIL")] == [1, 1]
        assert value(shown, "modelarts_service_update_failing") == 1
        exporter.kill()

        cloud.add_update(service_id, "FAIL")
        exporter.start()
        exporter.ready()
        exporter.await_value(2, TOTAL, result="FAIL")
        assert value(exporter.metrics(), TOTAL, result="SUCCESS") == 1
        exporter.kill()


# -- what one exporter keeps to itself


def test_no_secret_is_ever_shown(cloud: Cloud, url: str, tmp_path: Path) -> None:
    """Every way to sign in, right and wrong, at the most talkative; two addresses, and nothing on disk."""
    # Distinct, so that each is found wherever it may turn up.
    secrets = ["pass-W0rd-right", "pass-W0rd-wrong", "s3cret-key-right", "s3cret-key-wrong", "t0ken-stale"]
    cloud.add_user("reader", secrets[0])
    cloud.add_access_key("AK", secrets[2])
    (tmp_path / "token").write_text(secrets[4])
    service_id = cloud.add_service(name="mnist")
    cloud.add_event(service_id, "abnormal", f"login failed: password={DEFAULT_PASSWORD}")
    config = configured(
        tmp_path,
        project(url, "a", auth=password(url, secrets[0], "reader")),
        project(url, "b", auth=password(url, secrets[1], "nobody")),
        project(url, "c", auth=access_key(secrets[2], "AK")),
        project(url, "d", auth=access_key(secrets[3], "KA")),
        project(url, "e", auth={"token_file": str(tmp_path / "token")}),
    )
    flags = ("--log.level=debug", "--log.format=json", "--storage.path=", "--web.enable-lifecycle")
    exporter = RunningExporter(tmp_path, config, *flags, "--web.listen-address=127.0.0.1:0")
    with exporter:
        exporter.ready()
        up = {s.labels["project"]: s.value for s in samples(exporter.metrics(), "modelarts_up")}
        assert up == {"a": 1, "b": 0, "c": 1, "d": 0, "e": 0}
        exporter.await_value(1, "modelarts_service_events_total", project="a", event_type="abnormal")
        until(lambda: {row["level"] for row in rows(exporter)}, {"debug", "info", "error"}.issubset)
        shown = exporter.metrics()
        shown += exporter.get("/metrics", headers={"Accept": "application/openmetrics-text"}).text
        shown += exporter.get("/").text + exporter.get("/-/ready").text
        listening = [row["address"] for row in rows(exporter) if row["event"] == "listening"]
        assert len(set(listening)) == 2
        assert [requests.get(f"http://{a}/-/healthy", timeout=PATIENCE_SECONDS).ok for a in listening] == [
            True,
            True,
        ]
        # A typing mistake beside a secret.
        text = (tmp_path / "config.yml").read_text()
        (tmp_path / "config.yml").write_text(text.replace("secret_key:", "secretkey:"))
        shown += requests.post(f"{exporter.url}/-/reload", timeout=PATIENCE_SECONDS).text
        assert exporter.end() == 0
    shown += exporter.output()
    secrets += [DEFAULT_PASSWORD, *cloud.identities.tokens]
    assert [secret for secret in secrets if secret in shown] == []
    assert not (tmp_path / "data").exists()


def rows(exporter: RunningExporter) -> list[dict[str, str]]:
    """The lines of a JSON log."""
    found = [json.loads(line) for line in exporter.output().splitlines()]
    assert all({"ts", "level", "event"} <= row.keys() for row in found)
    return found


def test_https_asks_for_a_user(cloud: Cloud, url: str, tmp_path: Path) -> None:
    cloud.add_service(name="mnist")
    # bcrypt of "s3cret", at its cheapest.
    users = {"prometheus": "$2b$04$mmFLpeiR/2BZyAz/t1wTe.6jDaBYXqQC8lpomiCCTQWwER09wGA0q"}
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(KEY)
    web = {
        "tls_server_config": {"cert_file": "cert.pem", "key_file": "key.pem"},
        "basic_auth_users": users,
        "http_server_config": {"headers": {"X-Frame-Options": "deny"}},
    }
    (tmp_path / "web.yml").write_text(yaml.safe_dump(web))
    trust = ssl.create_default_context(cadata=CERTIFICATE)
    trust.check_hostname = False  # it is a certificate for localhost

    def asked(path: str, user: str = "") -> tuple[int, str]:
        headers = {"Authorization": f"Basic {b64encode(user.encode()).decode()}"} if user else {}
        request = urllib.request.Request(f"https://{exporter.address}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS, context=trust) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def is_ready() -> bool:
        with suppress(urllib.error.URLError):
            return asked("/-/ready", "prometheus:s3cret")[0] == 200
        return False

    exporter = RunningExporter(tmp_path, configured(tmp_path, project(url)), "--web.config.file=web.yml")
    with exporter:
        until(is_ready)
        for path in ("/metrics", "/", "/-/healthy", "/nowhere"):
            assert asked(path)[0] == 401
            assert asked(path, "prometheus:wrong")[0] == 401
        assert value(asked("/metrics", "prometheus:s3cret")[1], "modelarts_services") == 1

        # The reload takes the web config too: without users everyone is let in.
        (tmp_path / "web.yml").write_text(yaml.safe_dump({**web, "basic_auth_users": {}}))
        exporter.child.send_signal(signal.SIGHUP)
        until(lambda: asked("/metrics")[0], lambda status: status == 200)
        # Users are taken up without a signal too.
        (tmp_path / "web.yml").write_text(yaml.safe_dump(web))
        until(lambda: asked("/metrics")[0], lambda status: status == 401)
        assert exporter.end() == 0
