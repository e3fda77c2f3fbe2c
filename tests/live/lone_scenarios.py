"""Alerting scenarios that would disturb others, so that each has a system to itself."""

from tests.live.alerting_system import AlertingSystem, let_time_pass, wait_for_all
from tests.live.alertmanager import SCALE
from tests.live.expected_notifications import ExpectedNotifications
from tests.live.scenario import PUSHED_ALERT, Scenarios

LONE_SCENARIOS = Scenarios()


@LONE_SCENARIOS.scenario("Prometheus is restarted while much is wrong")
def _restarted(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    failing, down, stuck = (system.service(expected.name) for _ in range(3))
    expected.expect(PUSHED_ALERT)
    expected.expect("ModelArtsServiceFailed")
    expected.expect("ModelArtsUpdateStuck")
    failing.fail()
    down.set_status("failed")
    stuck.begin(seconds_ago=round(1900 * SCALE))
    wait_for_all(expected)
    for _ in range(2):
        system.prometheus.kill()
        system.prometheus.start()
        let_time_pass()
    for alertname in (PUSHED_ALERT, "ModelArtsServiceFailed", "ModelArtsUpdateStuck"):
        expected.expect(alertname, "resolved")
    failing.succeed()
    down.set_status("running")
    stuck.end("SUCCESS")
    wait_for_all(expected)


@LONE_SCENARIOS.scenario("a shard vanishes while a service of it fails", own_exporters=2, shards=True)
def _shard(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    here, gone = (system.service_of_shard(expected.name, index) for index in range(2))
    exporters = system.exporters[expected.name]
    for service in (here, gone):
        expected.expect(PUSHED_ALERT)
        service.fail()
    wait_for_all(expected)
    expected.expect("ModelArtsShardMissing")
    exporters[1].end()
    system.scrape(exporters[:1])
    wait_for_all(expected)
    let_time_pass()
    expected.expect("ModelArtsShardMissing", "resolved")
    exporters[1].start()
    system.scrape(exporters)
    wait_for_all(expected)
    let_time_pass()
    for service in (here, gone):
        expected.expect(PUSHED_ALERT, "resolved")
        service.succeed()
    wait_for_all(expected)
