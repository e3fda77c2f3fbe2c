"""Scenarios of deployments: what happens to services, and who is told."""

from tests.live.environment import IMAGE_PULL, OUT_OF_MEMORY, ROLLED_BACK, Environment, a_while, told

from .scenario import PUSHED, Scenarios
from .verdict import Story

DEPLOYMENTS = Scenarios()


@DEPLOYMENTS.scenario("the first-ever deployment fails")
def _first(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must(PUSHED)
    service.fail(IMAGE_PULL)
    told(story)
    (page,) = story.came()
    assert page.receiver == "pager"
    assert page.annotations["cause"] == IMAGE_PULL
    assert page.annotations["cause_reason"] == "image_pull"
    assert IMAGE_PULL in page.annotations["recent_events"]
    named = {"summary", "description", "cause_time", "remedy", "model", "runbook_url", "dashboard_url"}
    assert named <= page.annotations.keys()


@DEPLOYMENTS.scenario("fails, retries, succeeds")
def _retry(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must(PUSHED)
    service.fail()
    told(story)
    service.begin()
    a_while()
    story.must(PUSHED, "resolved")
    service.end("SUCCESS")
    told(story)


@DEPLOYMENTS.scenario("fails twice")
def _twice(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must(PUSHED)
    service.fail()
    told(story)
    service.fail(OUT_OF_MEMORY)
    a_while()
    story.must(PUSHED, "resolved")
    service.succeed()
    told(story)


@DEPLOYMENTS.scenario("fails three times")
def _thrice(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must(PUSHED)
    service.fail()
    told(story)
    service.fail()
    story.must("ModelArtsUpdateFailingRepeatedly")
    service.fail()
    told(story)
    story.must(PUSHED, "resolved")
    story.must("ModelArtsUpdateFailingRepeatedly", "resolved")
    service.succeed()
    told(story)


@DEPLOYMENTS.scenario("rolled back, typed normal")
def _rollback(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must(PUSHED)
    with service.cloud.lock:
        service.begin()
        service.say(ROLLED_BACK, event_type="normal")
        service.end("FAIL")
        service.set_status("running")
    told(story)
    (page,) = story.came()
    assert (page.annotations["cause"], page.annotations["cause_reason"]) == (ROLLED_BACK, "rollback")


@DEPLOYMENTS.scenario("the cause comes late")
def _late_cause(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    on.await_value(f'count(modelarts_service_update_failing{{project="{story.name}"}})', 1)
    story.must(PUSHED)
    with service.cloud.lock:
        service.begin()
        service.end("FAIL")
        in_two_seconds = service.cloud.clock() + 2_000
        service.cloud.add_event(service.service_id, "abnormal", IMAGE_PULL, visible_at=in_two_seconds)
    told(story)
    assert story.came()[0].annotations["cause"] == IMAGE_PULL


@DEPLOYMENTS.scenario("stuck for half an hour")
def _stuck(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must("ModelArtsUpdateStuck")
    service.begin(seconds_ago=62)  # thirty minutes by the rules' measure
    told(story)
    story.must("ModelArtsUpdateStuck", "resolved")
    service.end("SUCCESS")
    told(story)


@DEPLOYMENTS.scenario("stuck for two hours, then stopped")
def _stuck_long(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must("ModelArtsUpdateStuckLong")
    service.begin(seconds_ago=245)
    told(story)
    story.must("ModelArtsUpdateStuckLong", "resolved")
    service.set_status("stopped")
    told(story)


@DEPLOYMENTS.scenario("slower than its own mean")
def _slow(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    which = f'{{project="{story.name}"}}'
    for count in range(3):
        service.begin()
        on.await_value(f"modelarts_service_updates_running{which}", 1)
        service.end("SUCCESS")
        on.await_value(
            f'modelarts_service_update_duration_seconds_count{{project="{story.name}",result="SUCCESS"}}',
            count + 1,
        )
    story.must("ModelArtsUpdateSlow")
    service.begin()
    told(story)
    story.must("ModelArtsUpdateSlow", "resolved")
    service.end("SUCCESS")
    told(story)


@DEPLOYMENTS.scenario("edge: one node of three")
def _edge_partial(on: Environment, story: Story) -> None:
    service = on.service(story.name, infer_type="edge")
    service.begin()
    story.must("ModelArtsEdgeNodeOperationFailed")
    service.end("SUCCESS", nodes=[True, False, True])
    told(story)
    service.begin()
    story.must("ModelArtsEdgeNodeOperationFailed", "resolved")
    service.end("SUCCESS", nodes=[True, True, True])
    told(story)


@DEPLOYMENTS.scenario("edge: every node")
def _edge_full(on: Environment, story: Story) -> None:
    service = on.service(story.name, infer_type="edge")
    with service.cloud.lock:
        service.begin()
        service.say("Failed to deploy the service on node node-0: the node is abnormal.")
        service.end("FAIL", nodes=[False, False, False])
    for alertname in (PUSHED, "ModelArtsEdgeRolloutDegraded"):
        story.must(alertname)
    told(story)
    a_while()
    service.begin()
    for alertname in (PUSHED, "ModelArtsEdgeRolloutDegraded"):
        story.must(alertname, "resolved")
    service.end("SUCCESS", nodes=[True, True, True])
    told(story)


@DEPLOYMENTS.scenario("concerning")
def _concerning(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must("ModelArtsServiceDegraded")
    service.set_status("concerning")
    told(story)
    story.must("ModelArtsServiceDegraded", "resolved")
    service.set_status("running")
    told(story)


@DEPLOYMENTS.scenario("failed without an update")
def _failed(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must("ModelArtsServiceFailed")
    service.set_status("failed")
    told(story)
    story.must("ModelArtsServiceFailed", "resolved")
    service.set_status("running")
    told(story)


@DEPLOYMENTS.scenario("abnormal events without a failed update")
def _events(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must("ModelArtsAbnormalEvents")
    service.say("health check failed: GET /health answered 503", IMAGE_PULL)
    told(story)
    story.must("ModelArtsAbnormalEvents", "resolved")
    told(story)


@DEPLOYMENTS.scenario("a burst of abnormal events, then stopped")
def _burst(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must("ModelArtsAbnormalEventBurst")
    service.say(*(f"container exited, exit code 1, for the {at}. time" for at in range(14)))
    told(story)
    story.must("ModelArtsAbnormalEventBurst", "resolved")
    service.set_status("stopped")
    told(story)


@DEPLOYMENTS.scenario("fails with a burst, then succeeds")
def _burst_of_a_failure(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must(PUSHED)
    service.fail(*(f"container exited, exit code 1, for the {at}. time" for at in range(14)))
    told(story)
    story.must(PUSHED, "resolved")
    service.succeed()
    told(story)


@DEPLOYMENTS.scenario("redeployed again and again, then stopped")
def _flapping(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    on.await_value(f'count(modelarts_service_update_failing{{project="{story.name}"}})', 1)
    story.must("ModelArtsRolloutFlapping")
    for _ in range(8):
        service.succeed()
        a_while(0.1)
    told(story)
    story.must("ModelArtsRolloutFlapping", "resolved")
    service.set_status("stopped")
    told(story)


@DEPLOYMENTS.scenario("stopped on purpose while failing")
def _stopped(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must(PUSHED)
    service.fail()
    told(story)
    story.must(PUSHED, "resolved")
    service.set_status("stopped")
    told(story)


@DEPLOYMENTS.scenario("stopped on purpose while running")
def _stopped_well(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    service.succeed()
    a_while(4)
    service.say("The service is being stopped.", "The service has been stopped.", event_type="normal")
    service.set_status("stopped")
    a_while()


@DEPLOYMENTS.scenario("deleted while failing")
def _deleted(on: Environment, story: Story) -> None:
    on.service(story.name)
    service = on.service(story.name)
    story.must(PUSHED)
    service.fail()
    told(story)
    story.must(PUSHED, "resolved")
    service.delete()
    told(story)


@DEPLOYMENTS.scenario("four of six services fail at once")
def _fleet(on: Environment, story: Story) -> None:
    services = [on.service(story.name) for _ in range(6)]
    on.await_value(f'count(modelarts_service_update_failing{{project="{story.name}"}})', len(services))
    story.must("ModelArtsFleetUpdateFailures")
    with services[0].cloud.lock:
        for service in services[:4]:
            service.fail("ModelArts.3976: No resources are available for the selected specification.")
    told(story)
    a_while()
    story.must("ModelArtsFleetUpdateFailures", "resolved")
    with services[0].cloud.lock:
        for service in services[:4]:
            service.succeed()
    told(story)


@DEPLOYMENTS.scenario("a quiet fleet")
def _quiet(on: Environment, story: Story) -> None:
    services = [on.service(story.name) for _ in range(5)]
    for service in services:
        service.begin()
        service.say("start to deploy service", "pulling model image", event_type="normal")
        a_while(3)
        service.end("SUCCESS")
    a_while()
