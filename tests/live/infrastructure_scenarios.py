"""Alerting scenarios in which the cloud, the exporter or Alertmanager fails."""

import resource
from collections.abc import Callable

from exporter.emulator import DEFAULT_USER, faults
from tests.commands import RunningExporter
from tests.live.alerting_system import IMAGE_PULL, OUT_OF_MEMORY, AlertingSystem, let_time_pass, wait_for_all
from tests.live.expected_notifications import ExpectedNotifications
from tests.live.scenario import PUSHED_ALERT, RULE_ALERT, Scenarios

INFRASTRUCTURE_SCENARIOS = Scenarios()

# Three seconds each, and the alert has to be pending for thirty.
THROTTLED_TIMES = 13


@INFRASTRUCTURE_SCENARIOS.scenario("the API is out while a service fails", own_cloud=True)
def _outage(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    expected.expect("ModelArtsDataStale")
    with service.cloud.lock:
        service.cloud.faults.add(faults.html(502, times=None))
    wait_for_all(expected)
    let_time_pass()
    expected.expect("ModelArtsDataStale", "resolved")
    with service.cloud.lock:
        service.cloud.faults.clear()
    wait_for_all(expected)
    let_time_pass()
    expected.expect(PUSHED_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)


@INFRASTRUCTURE_SCENARIOS.scenario("a backlog is read after an outage", own_cloud=True)
def _backlog(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    noisy, recovered, failing = (system.service(expected.name) for _ in range(3))
    cloud = noisy.cloud
    system.await_value(f'count(modelarts_service_up{{project="{expected.name}"}} == 1)', 3)
    expected.expect("ModelArtsDataStale")
    with cloud.lock:
        cloud.faults.add(faults.html(502, times=None))
    wait_for_all(expected)
    noisy.say(*[OUT_OF_MEMORY] * 12)
    recovered.fail(seconds_ago=1)
    recovered.succeed()
    failing.fail()
    let_time_pass()
    expected.expect("ModelArtsDataStale", "resolved")
    expected.expect(PUSHED_ALERT)
    for _ in (noisy, recovered):
        expected.expect("ModelArtsAbnormalEvents")  # and no burst: they were not written just now
    with cloud.lock:
        cloud.faults.clear()
    wait_for_all(expected)
    for _ in (noisy, recovered):
        expected.expect("ModelArtsAbnormalEvents", "resolved")
    expected.expect(PUSHED_ALERT, "resolved")
    failing.succeed()
    wait_for_all(expected)


@INFRASTRUCTURE_SCENARIOS.scenario("the disk is full while a service fails", own_exporters=1)
def _disk_full(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    before, meanwhile = system.service(expected.name), system.service(expected.name)
    (exporter,) = system.exporters[expected.name]
    expected.expect(PUSHED_ALERT)
    before.fail()
    wait_for_all(expected)
    expected.expect("ModelArtsStoreNotWritable")
    unlimited = resource.prlimit(exporter.child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(exporter.child.pid, resource.RLIMIT_FSIZE, (1, unlimited[1]))
    meanwhile.fail()
    before.succeed()
    wait_for_all(expected)
    let_time_pass()
    expected.expect("ModelArtsStoreNotWritable", "resolved")
    expected.expect(PUSHED_ALERT)
    expected.expect(PUSHED_ALERT, "resolved")
    resource.prlimit(exporter.child.pid, resource.RLIMIT_FSIZE, unlimited)
    wait_for_all(expected)
    expected.expect(PUSHED_ALERT, "resolved")
    meanwhile.succeed()
    wait_for_all(expected)


@INFRASTRUCTURE_SCENARIOS.scenario("the token is revoked", own_cloud=True)
def _revoked(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    for _ in range(3):
        service.cloud.revoke_tokens()
        let_time_pass(4)
    expected.expect(PUSHED_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)


@INFRASTRUCTURE_SCENARIOS.scenario("the password is changed", own_cloud=True)
def _password(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    expected.expect("ModelArtsApiAuthFailing")
    with service.cloud.lock:
        service.cloud.add_user(DEFAULT_USER, "another")
        service.cloud.revoke_tokens()
    wait_for_all(expected)
    expected.expect("ModelArtsApiAuthFailing", "resolved")
    system.set_password(expected.name, "another")
    wait_for_all(expected)
    expected.expect(PUSHED_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)


@INFRASTRUCTURE_SCENARIOS.scenario("the cloud throttles", own_cloud=True)
def _throttled(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    expected.expect("ModelArtsApiThrottled")
    # Again and again, but so that lists still succeed in between: ten requests a second are allowed.
    refusal = faults.error(
        429,
        "APIG.0308",
        "The throttling threshold has been reached: policy user over ratelimit,limit:600,time:1 minute",
        headers={"Retry-After": "1"},
    )
    for _ in range(THROTTLED_TIMES):
        with service.cloud.lock:
            service.cloud.faults.add(refusal)
        let_time_pass(3)
    wait_for_all(expected)
    expected.expect("ModelArtsApiThrottled", "resolved")
    wait_for_all(expected)


@INFRASTRUCTURE_SCENARIOS.scenario("the exporter is restarted while a service fails", own_exporters=1)
def _restart(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    _run_with_restarts(system, expected, RunningExporter.end)


@INFRASTRUCTURE_SCENARIOS.scenario("the exporter is killed while a service fails", own_exporters=1)
def _killed(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    _run_with_restarts(system, expected, RunningExporter.kill)


def _run_with_restarts(
    system: AlertingSystem, expected: ExpectedNotifications, end: Callable[[RunningExporter], object]
) -> None:
    service = system.service(expected.name)
    (exporter,) = system.exporters[expected.name]
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    for _ in range(2):
        end(exporter)
        exporter.start()
        exporter.ready()
        let_time_pass()
    born = system.service(expected.name)
    end(exporter)
    expected.expect(PUSHED_ALERT)
    born.fail(OUT_OF_MEMORY)
    exporter.start()
    wait_for_all(expected)
    expected.expect(PUSHED_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)


@INFRASTRUCTURE_SCENARIOS.scenario("two replicas, of which one dies for a while", own_exporters=2)
def _replicas(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    _, mortal = system.exporters[expected.name]
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    expected.expect("ModelArtsExporterDown")
    mortal.kill()
    wait_for_all(expected)
    expected.expect("ModelArtsExporterDown", "resolved")
    mortal.start()
    wait_for_all(expected)
    let_time_pass()
    expected.expect(PUSHED_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)


@INFRASTRUCTURE_SCENARIOS.scenario(
    "Alertmanager is down and comes back", own_exporters=1, pushes_to=1, hears=(0, 1)
)
def _cut_off(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    before, meanwhile = system.service(expected.name), system.service(expected.name)
    # The first Alertmanager does not get the pushed alert, so it sends that of the rule, which the second one
    # inhibits.
    expected.expect(PUSHED_ALERT)
    expected.expect(RULE_ALERT)
    before.fail()
    wait_for_all(expected)
    assert (
        IMAGE_PULL
        in next(page for page in expected.received() if page.alertname == RULE_ALERT).annotations[
            "description"
        ]
    )
    system.alertmanagers[1].end()
    expected.expect(RULE_ALERT)
    expected.expect("ModelArtsAlertPushFailing")
    meanwhile.fail()
    wait_for_all(expected)
    expected.expect(PUSHED_ALERT)
    expected.expect("ModelArtsAlertPushFailing", "resolved")
    system.alertmanagers[1].start()
    wait_for_all(expected)
    let_time_pass()
    # Without the pushed alert, Prometheus has to see that the status is no longer `failed` before it sees
    # that the update succeeded; else the status becomes an alert of its own. A real retry takes minutes.
    before.begin()
    meanwhile.begin()
    system.await_value(f'sum(modelarts_service_updates_running{{project="{expected.name}"}})', 2)
    for service in (before, meanwhile):
        expected.expect(PUSHED_ALERT, "resolved")
        expected.expect(RULE_ALERT, "resolved")
        service.end("SUCCESS")
    wait_for_all(expected)
