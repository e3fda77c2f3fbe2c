"""Alerting scenarios about the push: restarts, replicas, clocks, and projects that change."""

import shutil

from tests.live.alerting_system import (
    PATIENCE_SECONDS,
    AlertingSystem,
    let_time_pass,
    renamed,
    wait_for_all,
)
from tests.live.alertmanager import SCALE
from tests.live.expected_notifications import ExpectedNotifications
from tests.live.processes import until
from tests.live.scenario import PUSHED_ALERT, RULE_ALERT, Scenarios

PUSH_SCENARIOS = Scenarios()

TEN_MINUTES = 600 * SCALE


@PUSH_SCENARIOS.scenario("one of two replicas goes blind", own_cloud=True, own_exporters=2)
def _blind(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    expected.expect("ModelArtsApiErrors")
    system.cut_off(expected.name, 1)
    system.await_value(f'min(modelarts_up{{project="{expected.name}"}})', 0)
    expected.expect(PUSHED_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)
    let_time_pass()


@PUSH_SCENARIOS.scenario("the exporter is down for ten minutes", own_exporters=1)
def _down(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service, other = system.service(expected.name), system.service(expected.name)
    (exporter,) = system.exporters[expected.name]
    for each in (service, other):
        expected.expect(PUSHED_ALERT)
        each.fail()
    wait_for_all(expected)
    expected.expect("ModelArtsExporterDown")
    exporter.kill()
    wait_for_all(expected)
    let_time_pass(TEN_MINUTES)
    expected.expect("ModelArtsExporterDown", "resolved")
    expected.expect(PUSHED_ALERT, "resolved")
    other.succeed()
    exporter.start()
    wait_for_all(expected)
    let_time_pass()
    expected.expect(PUSHED_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)


@PUSH_SCENARIOS.scenario("the exporter comes back with the store of yesterday", own_exporters=1)
def _yesterday(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    (exporter,) = system.exporters[expected.name]
    store = exporter.log.parent / "data"
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    exporter.end()
    shutil.copytree(store, store.with_name("yesterday"))
    exporter.start()
    expected.expect(PUSHED_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)
    exporter.end()
    shutil.rmtree(store)
    store.with_name("yesterday").rename(store)
    exporter.start()
    exporter.ready()
    let_time_pass(2 * TEN_MINUTES)


@PUSH_SCENARIOS.scenario("a project is renamed while a service fails", own_exporters=1)
def _renamed(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    expected.expect(PUSHED_ALERT)
    expected.expect(PUSHED_ALERT, "resolved")
    system.rename(expected.name)
    wait_for_all(expected)
    let_time_pass()
    projects = [(n.labels["project"], n.status) for n in expected.received()]
    assert (expected.name, "resolved") in projects
    assert (renamed(expected.name), "firing") in projects
    expected.expect(PUSHED_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)


@PUSH_SCENARIOS.scenario("a project is taken out while a service fails", own_exporters=1)
def _removed(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    expected.expect(PUSHED_ALERT, "resolved")
    another = "f" * 32
    with service.cloud.lock:
        service.cloud.add_project(another)
    system.rename(expected.name, another)
    wait_for_all(expected)
    let_time_pass()


@PUSH_SCENARIOS.scenario(
    "the clock of the exporter is twenty minutes ahead", own_exporters=1, clock_ahead=1200
)
def _clock(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect("ModelArtsClockSkew")
    for _ in range(2):
        expected.expect(PUSHED_ALERT)
        service.fail()
        wait_for_all(expected)
        let_time_pass()
        expected.expect(PUSHED_ALERT, "resolved")
        service.succeed()
        wait_for_all(expected)


@PUSH_SCENARIOS.scenario("nothing fails and the push is dead", own_exporters=1, pushes_to=3)
def _dead(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    expected.expect("ModelArtsAlertPushFailing")
    system.alertmanagers[3].kill()
    # It is noticed by the next empty post, which is sent once a minute.
    wait_for_all(expected, 2 * PATIENCE_SECONDS)
    expected.expect("ModelArtsAlertPushFailing", "resolved")
    system.alertmanagers[3].start()
    wait_for_all(expected)


@PUSH_SCENARIOS.scenario("Alertmanager is restarted", own_exporters=1, pushes_to=2, hears=(0, 2))
def _restarted(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    alertmanager = system.alertmanagers[2]
    expected.expect(PUSHED_ALERT)
    expected.expect(RULE_ALERT)  # in the first one, which hears of Prometheus alone
    service.fail()
    wait_for_all(expected)
    # What it hears of first it tells first. Just after Prometheus has sent, which it does once a minute, the
    # exporter comes first; `--dispatch.start-delay` of newer versions makes that sure.
    heard = until(lambda: alertmanager.heard_at(RULE_ALERT, expected.name), seconds=PATIENCE_SECONDS)
    until(lambda: alertmanager.heard_at(RULE_ALERT, expected.name), lambda at: at != heard, PATIENCE_SECONDS)
    alertmanager.end()
    alertmanager.start()
    let_time_pass()
    expected.expect(PUSHED_ALERT, "resolved")
    expected.expect(RULE_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)
