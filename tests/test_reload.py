"""A reload changes what the file changed and nothing else, seen from outside a running exporter."""

import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pytest
import requests

from exporter.emulator import DEFAULT_PASSWORD, Cloud, Server, Switches
from exporter.emulator.faults import error, slow

from .commands import POLL, Config, RunningExporter, configured, password, project, value
from .live.processes import PATIENCE_SECONDS, free_port, until

RELOADS = 10


@pytest.fixture(name="cloud")
def _cloud() -> Cloud:
    return Cloud(lambda: time.time_ns() // 1_000_000)


@pytest.fixture(name="url")
def _url(cloud: Cloud) -> Iterator[str]:
    with Server(cloud) as server:
        yield server.url


def reload(exporter: RunningExporter) -> requests.Response:
    return requests.post(f"{exporter.url}/-/reload", timeout=PATIENCE_SECONDS)


def names(text: str) -> set[str]:
    """The series of services and projects."""
    lines = (line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#"))
    return {name for name in lines if not name.startswith(("modelarts_exporter_", "process_", "python_"))}


def asked(cloud: Cloud) -> Counter[str]:
    """How many requests each endpoint has had."""
    with cloud.lock:
        return Counter(request.endpoint for request in cloud.requests)


def test_no_scrape_sees_fewer_series_while_reloads_go_on(cloud: Cloud, url: str, tmp_path: Path) -> None:
    for number in range(300):
        cloud.add_update(cloud.add_service(name=f"service-{number}"), "FAIL")
    quiet = {**POLL, "sweep_interval": "1m"}
    config = [project(url, rate_limit=2000)]
    path = configured(tmp_path, *config, poll=quiet)
    with RunningExporter(tmp_path, path, "--web.enable-lifecycle") as exporter:
        exporter.ready()
        until(lambda: exporter.metrics().count("modelarts_service_update_failing{"), lambda n: n == 300)
        before, done, missing = names(exporter.metrics()), Event(), []

        def scrape() -> None:
            while not done.is_set():
                missing.append(before - names(exporter.metrics()))

        scraper = Thread(target=scrape)
        scraper.start()
        try:
            for number in range(RELOADS):
                # The intervals, the resources and the families change in turn, or nothing does.
                configured(
                    tmp_path,
                    project(url, rate_limit=2000 + number // 3),
                    poll={**quiet, "interval": f"{1 + number % 2}s"},
                    metrics={"edge_nodes": number % 4 != 1},
                )
                scrapes = len(missing) + 1
                assert reload(exporter).status_code == 200
                exporter.child.send_signal(signal.SIGHUP)
                until(lambda: len(missing), scrapes.__le__)
        finally:
            done.set()
            scraper.join()
        assert [found for found in missing if found] == []


def test_a_file_that_is_the_same_asks_the_cloud_for_nothing(cloud: Cloud, url: str, tmp_path: Path) -> None:
    for number in range(20):
        cloud.add_update(cloud.add_service(name=f"service-{number}"), "SUCCESS")
    rarely = {"interval": "1h", "active_interval": "1h", "sweep_interval": "1h", "lateness": "5s"}
    with RunningExporter(
        tmp_path, configured(tmp_path, project(url), poll=rarely), "--web.enable-lifecycle"
    ) as exporter:
        exporter.ready()
        until(lambda: asked(cloud)["events"], lambda count: count == 20)
        exporter.await_value(20, "modelarts_services")
        before = asked(cloud)
        for _ in range(RELOADS):
            assert reload(exporter).status_code == 200
        # Neither does one that changes the pace, or how services are named.
        for changes in ({"rate_limit": 99}, {"timeout": "9s"}, {"concurrency": 2}, {"concurrency": 9}):
            configured(tmp_path, project(url, **changes), poll=rarely, metrics={"failure_message": False})
            assert reload(exporter).status_code == 200
        assert exporter.end() == 0
        assert asked(cloud) == before
    assert before["token"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"workspaces": ["0", "abc"]},
        {"tls": {"insecure_skip_verify": True}},
        {"proxy_url": "none"},
        {"services": {"include_names": ["service-.*"]}},
        {"discovery": False, "services": {"ids": ["{}"]}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_way_to_the_cloud_or_another_list_is_listed_at_once_with_the_token_that_is_there(
    cloud: Cloud, url: str, tmp_path: Path, changes: Config
) -> None:
    for number in range(5):
        service_id = cloud.add_service(name=f"service-{number}")
        cloud.add_update(service_id, "SUCCESS")
    if "ids" in changes.get("services", ()):
        changes = {**changes, "services": {"ids": [service_id]}}
    with cloud.lock:
        cloud.switches = Switches(max_limit=10)  # which takes several requests to find out
    rarely = {"interval": "1h", "active_interval": "1h", "sweep_interval": "1h", "lateness": "5s"}
    with RunningExporter(
        tmp_path, configured(tmp_path, project(url), poll=rarely), "--web.enable-lifecycle"
    ) as exporter:
        exporter.ready()
        read = "modelarts_service_last_poll_timestamp_seconds{"
        until(lambda: exporter.metrics().count(read), lambda count: count == 5)
        before = asked(cloud)
        configured(tmp_path, project(url, **changes), poll=rarely)
        assert reload(exporter).status_code == 200
        more = before + Counter(
            {"list": len(changes.get("workspaces", "0"))} if changes.get("discovery", True) else {"detail": 1}
        )
        until(lambda: asked(cloud), lambda count: count >= more)
        assert exporter.end() == 0
    assert asked(cloud) == more


def test_a_new_deadline_holds_from_the_next_request_on(cloud: Cloud, url: str, tmp_path: Path) -> None:
    cloud.add_service(name="mnist")
    with RunningExporter(
        tmp_path, configured(tmp_path, project(url, timeout="45s")), "--web.enable-lifecycle"
    ) as exporter:
        exporter.ready()
        configured(tmp_path, project(url, timeout="1s"))
        assert reload(exporter).status_code == 200
        with cloud.lock:
            cloud.faults.add(slow(60, endpoint="list", times=None))
        until(lambda: "cannot list services" in exporter.output())
        with cloud.lock:
            cloud.faults.clear()
        exporter.await_value(1, "modelarts_up")
    assert asked(cloud)["token"] == 1


def test_a_way_to_iam_that_a_reload_repairs_is_taken_at_once(cloud: Cloud, url: str, tmp_path: Path) -> None:
    rarely = {**POLL, "interval": "1h"}
    wrong = configured(tmp_path, project(url, proxy_url=f"http://127.0.0.1:{free_port()}"), poll=rarely)
    with RunningExporter(tmp_path, wrong, "--web.enable-lifecycle") as exporter:
        exporter.ready()
        assert "Signing in failed" in exporter.output()
        configured(tmp_path, project(url), poll=rarely)
        assert reload(exporter).status_code == 200
        exporter.await_value(1, "modelarts_up")


def test_iam_that_wants_not_to_be_asked_is_not_asked_another_way(
    cloud: Cloud, url: str, tmp_path: Path
) -> None:
    with cloud.lock:
        wait = {"Retry-After": "600"}
        cloud.faults.add(error(429, "IAM.0429", "too many requests", headers=wait, endpoint="token"))
    config = configured(tmp_path, project(url))
    with RunningExporter(tmp_path, config, "--web.enable-lifecycle") as exporter:
        exporter.ready()
        for number in range(RELOADS):
            configured(tmp_path, project(url, tls={"insecure_skip_verify": number % 2 == 0}))
            assert reload(exporter).status_code == 200
        assert exporter.end() == 0
    assert asked(cloud)["token"] == 1


def test_no_request_goes_out_during_a_pause_whatever_a_reload_changes(
    cloud: Cloud, url: str, tmp_path: Path
) -> None:
    cloud.add_update(cloud.add_service(name="mnist"), "SUCCESS")
    config = configured(tmp_path, project(url))
    with RunningExporter(tmp_path, config, "--web.enable-lifecycle") as exporter:
        exporter.ready()
        with cloud.lock:
            cloud.faults.add(
                error(
                    429,
                    "APIG.0308",
                    "The throttling threshold has been reached",
                    headers={"Retry-After": "600"},
                )
            )
        exporter.await_value(1, "modelarts_exporter_api_throttled_total")
        before = asked(cloud)
        for number in range(RELOADS):
            configured(tmp_path, project(url, rate_limit=50 + number // 2, concurrency=2 + number % 2))
            assert reload(exporter).status_code == 200
        assert value(exporter.metrics(), "modelarts_exporter_api_rate_limit") is not None
        assert exporter.end() == 0
    assert asked(cloud) == before


def test_a_refused_user_gets_no_further_tries_by_reloads(cloud: Cloud, url: str, tmp_path: Path) -> None:
    def configure(number: int) -> str:
        return configured(tmp_path, project(url, auth=password(url, "wrong"), rate_limit=50 + number // 2))

    with RunningExporter(tmp_path, configure(0), "--web.enable-lifecycle") as exporter:
        exporter.ready()
        for number in range(RELOADS):
            configure(number)
            assert reload(exporter).status_code == 200
            until(lambda: "cannot list services" in exporter.output())
        until(lambda: asked(cloud)["token"], lambda count: count == 4)
        assert exporter.end() == 0
    assert asked(cloud)["token"] == 4  # the fifth would lock the user


def test_a_service_that_is_left_out_and_taken_in_again_never_shows_older_calls(
    cloud: Cloud, url: str, tmp_path: Path
) -> None:
    service_id = cloud.add_service(name="mnist", invocation_times=1000)
    calls = "modelarts_service_invocations_total"
    config = configured(tmp_path, project(url))
    with RunningExporter(tmp_path, config, "--web.enable-lifecycle") as exporter:
        exporter.ready()
        exporter.await_value(1000, calls)
        with cloud.lock:
            cloud.patch_service(service_id, invocation_times=1500)
        exporter.await_value(1500, calls)
        configured(tmp_path, project(url, services={"exclude_names": ["mnist"]}))
        assert reload(exporter).status_code == 200
        assert value(exporter.metrics(), calls) is None
        configured(tmp_path, project(url))
        assert reload(exporter).status_code == 200
        # The first value that is shown is the newest one that ever was.
        assert until(lambda: value(exporter.metrics(), calls), lambda found: found is not None) == 1500


@pytest.mark.parametrize("change", ["another project", "another id"])
def test_a_project_that_comes_while_nothing_can_be_written_is_waited_for(
    cloud: Cloud, url: str, tmp_path: Path, change: str
) -> None:
    other = cloud.add_project("f" * 32)
    added = {
        "another project": [project(url), project(url, "second", project_id=other)],
        "another id": [project(url, project_id=other)],
    }[change]
    cloud.add_service(name="mnist")
    config = configured(tmp_path, project(url))
    with RunningExporter(tmp_path, config, "--web.enable-lifecycle") as exporter:
        exporter.ready()
        exporter.await_value(1, "modelarts_services")
        store = tmp_path / "data" / "modelarts-exporter.db"
        with closing(sqlite3.connect(store, isolation_level=None)) as another_program:
            another_program.execute("BEGIN IMMEDIATE")
            cloud.add_service(name="new")
            exporter.await_value(0, "modelarts_exporter_store_writable")
            assert exporter.get("/-/ready").status_code == 200
            configured(tmp_path, *added)
            assert "nothing is shown" in reload(exporter).text
            waiting = exporter.get("/-/ready")
            assert (waiting.status_code, waiting.text) == (503, f"Not listed yet: {added[-1]['name']}.\n")


def test_of_two_reloads_at_once_the_newer_file_ends_in_force(cloud: Cloud, url: str, tmp_path: Path) -> None:
    for name in ("old", "new"):
        cloud.add_service(name=name)
    with RunningExporter(tmp_path, configured(tmp_path, project(url)), "--web.enable-lifecycle") as exporter:
        exporter.ready()
        exporter.await_value(2, "modelarts_services")
        for number in range(RELOADS):
            configured(tmp_path, project(url, services={"include_names": ["old"]}, rate_limit=50 + number))
            first = Thread(target=reload, args=(exporter,))
            first.start()
            configured(tmp_path, project(url, services={"include_names": ["new"]}))
            assert reload(exporter).status_code == 200
            first.join()
            assert 'service_name="old"' not in exporter.metrics()
        exporter.await_value(1, "modelarts_service_info", service_name="new")


def test_the_page_of_the_configuration_shows_the_one_in_force_and_no_secret(url: str, tmp_path: Path) -> None:
    with RunningExporter(tmp_path, configured(tmp_path, project(url)), "--web.enable-lifecycle") as exporter:
        exporter.ready()
        assert "rate_limit: 100" in exporter.get("/config").text
        configured(tmp_path, project(url, rate_limit=77))
        assert "rate_limit: 100" in exporter.get("/config").text
        assert reload(exporter).status_code == 200
        page = exporter.get("/config").text
        assert "rate_limit: 77" in page
        assert "password: &lt;secret&gt;" in page
        assert DEFAULT_PASSWORD not in page
        configured(tmp_path, project(url, rate_limit=-1))
        assert reload(exporter).status_code == 500
        assert "rate_limit: 77" in exporter.get("/config").text


def test_a_project_that_is_taken_out_gets_no_series_back_from_a_request_under_way(
    cloud: Cloud, url: str, tmp_path: Path
) -> None:
    cloud.add_service(name="mnist")
    other = cloud.add_project("f" * 32)
    for number in range(50):
        cloud.add_service(other, name=f"elsewhere-{number}")
    both = [project(url), project(url, "second", project_id=other)]
    with RunningExporter(tmp_path, configured(tmp_path, *both), "--web.enable-lifecycle") as exporter:
        exporter.ready()
        for _ in range(RELOADS):
            configured(tmp_path, *both)
            assert reload(exporter).status_code == 200
            configured(tmp_path, both[0])
            assert reload(exporter).status_code == 200
            assert 'project="second"' not in exporter.metrics()
