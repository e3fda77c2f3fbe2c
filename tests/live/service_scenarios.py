"""Alerting scenarios in which services are deployed, fail, hang, or are stopped."""

from tests.live.alerting_system import (
    IMAGE_PULL,
    OUT_OF_MEMORY,
    ROLLED_BACK,
    AlertingSystem,
    let_time_pass,
    wait_for_all,
)
from tests.live.expected_notifications import ExpectedNotifications
from tests.live.scenario import PUSHED_ALERT, Scenarios

SERVICE_SCENARIOS = Scenarios()


@SERVICE_SCENARIOS.scenario("the first-ever deployment fails")
def _first(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail(IMAGE_PULL)
    wait_for_all(expected)
    (page,) = expected.received()
    assert page.receiver == "pager"
    assert page.annotations["cause"] == IMAGE_PULL
    assert page.annotations["cause_reason"] == "image_pull"
    assert IMAGE_PULL in page.annotations["recent_events"]
    named = {"summary", "description", "cause_time", "remedy", "model", "runbook_url", "dashboard_url"}
    assert named <= page.annotations.keys()


@SERVICE_SCENARIOS.scenario("fails, retries, succeeds")
def _retry(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    service.begin()
    let_time_pass()
    expected.expect(PUSHED_ALERT, "resolved")
    service.end("SUCCESS")
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("fails twice")
def _twice(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    service.fail(OUT_OF_MEMORY)
    let_time_pass()
    expected.expect(PUSHED_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("fails three times")
def _thrice(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    service.fail()
    expected.expect("ModelArtsUpdateFailingRepeatedly")
    service.fail()
    wait_for_all(expected)
    expected.expect(PUSHED_ALERT, "resolved")
    expected.expect("ModelArtsUpdateFailingRepeatedly", "resolved")
    service.succeed()
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("rolled back, typed normal")
def _rollback(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    with service.cloud.lock:
        service.begin()
        service.say(ROLLED_BACK, event_type="normal")
        service.end("FAIL")
        service.set_status("running")
    wait_for_all(expected)
    (page,) = expected.received()
    assert (page.annotations["cause"], page.annotations["cause_reason"]) == (ROLLED_BACK, "rollback")


@SERVICE_SCENARIOS.scenario("the cause comes late")
def _late_cause(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    system.await_value(f'count(modelarts_service_update_failing{{project="{expected.name}"}})', 1)
    expected.expect(PUSHED_ALERT)
    with service.cloud.lock:
        service.begin()
        service.end("FAIL")
        in_two_seconds = service.cloud.clock() + 2_000
        service.cloud.add_event(service.service_id, "abnormal", IMAGE_PULL, visible_at=in_two_seconds)
    wait_for_all(expected)
    assert expected.received()[0].annotations["cause"] == IMAGE_PULL


@SERVICE_SCENARIOS.scenario("stuck for half an hour")
def _stuck(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect("ModelArtsUpdateStuck")
    service.begin(seconds_ago=62)  # thirty minutes in the scaled rules
    wait_for_all(expected)
    expected.expect("ModelArtsUpdateStuck", "resolved")
    service.end("SUCCESS")
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("stuck for two hours, then stopped")
def _stuck_long(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect("ModelArtsUpdateStuckLong")
    service.begin(seconds_ago=245)
    wait_for_all(expected)
    expected.expect("ModelArtsUpdateStuckLong", "resolved")
    service.set_status("stopped")
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("slower than its own mean")
def _slow(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    which = f'{{project="{expected.name}"}}'
    for count in range(3):
        service.begin()
        system.await_value(f"modelarts_service_updates_running{which}", 1)
        service.end("SUCCESS")
        system.await_value(
            f'modelarts_service_update_duration_seconds_count{{project="{expected.name}",result="SUCCESS"}}',
            count + 1,
        )
    expected.expect("ModelArtsUpdateSlow")
    service.begin()
    wait_for_all(expected)
    expected.expect("ModelArtsUpdateSlow", "resolved")
    service.end("SUCCESS")
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("edge: one node of three")
def _edge_partial(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name, infer_type="edge")
    service.begin()
    expected.expect("ModelArtsEdgeNodeOperationFailed")
    service.end("SUCCESS", nodes=[True, False, True])
    wait_for_all(expected)
    service.begin()
    expected.expect("ModelArtsEdgeNodeOperationFailed", "resolved")
    service.end("SUCCESS", nodes=[True, True, True])
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("edge: every node")
def _edge_full(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name, infer_type="edge")
    with service.cloud.lock:
        service.begin()
        service.say("Failed to deploy the service on node node-0: the node is abnormal.")
        service.end("FAIL", nodes=[False, False, False])
    expected.expect(PUSHED_ALERT)
    wait_for_all(expected)
    let_time_pass()
    service.begin()
    expected.expect(PUSHED_ALERT, "resolved")
    service.end("SUCCESS", nodes=[True, True, True])
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("concerning")
def _concerning(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect("ModelArtsServiceDegraded")
    service.set_status("concerning")
    wait_for_all(expected)
    expected.expect("ModelArtsServiceDegraded", "resolved")
    service.set_status("running")
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("failed without an update")
def _failed(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect("ModelArtsServiceFailed")
    service.set_status("failed")
    wait_for_all(expected)
    expected.expect("ModelArtsServiceFailed", "resolved")
    service.set_status("running")
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("abnormal events without a failed update")
def _events(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect("ModelArtsAbnormalEvents")
    service.say("health check failed: GET /health answered 503", IMAGE_PULL)
    wait_for_all(expected)
    expected.expect("ModelArtsAbnormalEvents", "resolved")
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("a burst of abnormal events, then stopped")
def _burst(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect("ModelArtsAbnormalEventBurst")
    service.say(*(f"container exited, exit code 1, for the {at}. time" for at in range(14)))
    wait_for_all(expected)
    expected.expect("ModelArtsAbnormalEventBurst", "resolved")
    service.set_status("stopped")
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("fails with a burst, then succeeds")
def _burst_of_a_failure(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail(*(f"container exited, exit code 1, for the {at}. time" for at in range(14)))
    wait_for_all(expected)
    expected.expect(PUSHED_ALERT, "resolved")
    service.succeed()
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("redeployed again and again, then stopped")
def _flapping(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    system.await_value(f'count(modelarts_service_update_failing{{project="{expected.name}"}})', 1)
    expected.expect("ModelArtsRolloutFlapping")
    for _ in range(8):
        service.succeed()
        let_time_pass(0.1)
    wait_for_all(expected)
    expected.expect("ModelArtsRolloutFlapping", "resolved")
    service.set_status("stopped")
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("stopped on purpose while failing")
def _stopped(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    expected.expect(PUSHED_ALERT, "resolved")
    service.set_status("stopped")
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("stopped on purpose while running")
def _stopped_well(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    service = system.service(expected.name)
    service.succeed()
    let_time_pass(4)
    service.say("The service is being stopped.", "The service has been stopped.", event_type="normal")
    service.set_status("stopped")
    let_time_pass()


@SERVICE_SCENARIOS.scenario("deleted while failing")
def _deleted(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    system.service(expected.name)
    service = system.service(expected.name)
    expected.expect(PUSHED_ALERT)
    service.fail()
    wait_for_all(expected)
    expected.expect(PUSHED_ALERT, "resolved")
    service.delete()
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("four of six services fail at once")
def _fleet(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    services = [system.service(expected.name) for _ in range(6)]
    system.await_value(f'count(modelarts_service_update_failing{{project="{expected.name}"}})', len(services))
    expected.expect("ModelArtsFleetUpdateFailures")
    with services[0].cloud.lock:
        for service in services[:4]:
            service.fail("ModelArts.3976: No resources are available for the selected specification.")
    wait_for_all(expected)
    let_time_pass()
    expected.expect("ModelArtsFleetUpdateFailures", "resolved")
    with services[0].cloud.lock:
        for service in services[:4]:
            service.succeed()
    wait_for_all(expected)


@SERVICE_SCENARIOS.scenario("a quiet fleet")
def _quiet(system: AlertingSystem, expected: ExpectedNotifications) -> None:
    services = [system.service(expected.name) for _ in range(5)]
    for service in services:
        service.begin()
        service.say("start to deploy service", "pulling model image", event_type="normal")
        let_time_pass(3)
        service.end("SUCCESS")
    let_time_pass()
