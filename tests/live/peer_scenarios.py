"""Scenarios of the cloud, the exporter and Alertmanager: what fails beside the services, and who is told."""

from collections.abc import Callable

from exporter.emulator import DEFAULT_USER, faults
from tests.commands import Running
from tests.live.environment import IMAGE_PULL, OUT_OF_MEMORY, Environment, a_while, told

from .scenario import PUSHED, RULE, Scenarios
from .verdict import Story

PEERS = Scenarios()

# Three seconds each, and the alert has to stand for thirty.
THROTTLED_TIMES = 13


@PEERS.scenario("the API is out while a service fails", alone=True)
def _outage(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must(PUSHED)
    service.fail()
    told(story)
    story.must("ModelArtsDataStale")
    with service.cloud.lock:
        service.cloud.faults.add(faults.html(502, times=None))
    told(story)
    a_while()
    story.must("ModelArtsDataStale", "resolved")
    with service.cloud.lock:
        service.cloud.faults.clear()
    told(story)
    a_while()
    story.must(PUSHED, "resolved")
    service.succeed()
    told(story)


@PEERS.scenario("the token is revoked", alone=True)
def _revoked(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must(PUSHED)
    service.fail()
    told(story)
    for _ in range(3):
        service.cloud.revoke_tokens()
        a_while(4)
    story.must(PUSHED, "resolved")
    service.succeed()
    told(story)


@PEERS.scenario("the password is changed", alone=True)
def _password(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must(PUSHED)
    service.fail()
    told(story)
    story.must("ModelArtsApiAuthFailing")
    with service.cloud.lock:
        service.cloud.add_user(DEFAULT_USER, "another")
        service.cloud.revoke_tokens()
    told(story)
    story.must("ModelArtsApiAuthFailing", "resolved")
    on.set_password(story.name, "another")
    told(story)
    story.must(PUSHED, "resolved")
    service.succeed()
    told(story)


@PEERS.scenario("the cloud throttles", alone=True)
def _throttled(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    story.must(PUSHED)
    service.fail()
    told(story)
    story.must("ModelArtsApiThrottled")
    # Again and again, but not so that nothing is listed meanwhile: ten requests a second are allowed.
    refusal = faults.error(
        429,
        "APIG.0308",
        "The throttling threshold has been reached: policy user over ratelimit,limit:600,time:1 minute",
        headers={"Retry-After": "1"},
    )
    for _ in range(THROTTLED_TIMES):
        with service.cloud.lock:
            service.cloud.faults.add(refusal)
        a_while(3)
    told(story)
    story.must("ModelArtsApiThrottled", "resolved")
    told(story)


@PEERS.scenario("the exporter is restarted while a service fails", exporters=1)
def _restart(on: Environment, story: Story) -> None:
    _begins_anew(on, story, Running.end)


@PEERS.scenario("the exporter is killed while a service fails", exporters=1)
def _killed(on: Environment, story: Story) -> None:
    _begins_anew(on, story, Running.kill)


def _begins_anew(on: Environment, story: Story, end: Callable[[Running], object]) -> None:
    service = on.service(story.name)
    (exporter,) = on.exporters[story.name]
    story.must(PUSHED)
    service.fail()
    told(story)
    for _ in range(2):
        end(exporter)
        exporter.start()
        exporter.ready()
        a_while()
    born = on.service(story.name)
    end(exporter)
    story.must(PUSHED)
    born.fail(OUT_OF_MEMORY)
    exporter.start()
    told(story)
    story.must(PUSHED, "resolved")
    service.succeed()
    told(story)


@PEERS.scenario("two replicas, of which one dies for a while", exporters=2)
def _replicas(on: Environment, story: Story) -> None:
    service = on.service(story.name)
    _, mortal = on.exporters[story.name]
    story.must(PUSHED)
    service.fail()
    told(story)
    story.must("ModelArtsExporterDown")
    mortal.kill()
    told(story)
    story.must("ModelArtsExporterDown", "resolved")
    mortal.start()
    told(story)
    a_while()
    story.must(PUSHED, "resolved")
    service.succeed()
    told(story)


@PEERS.scenario("Alertmanager is down and comes back", exporters=1, cut_off=True)
def _cut_off(on: Environment, story: Story) -> None:
    before, meanwhile = on.service(story.name), on.service(story.name)
    # The rule is told by the Alertmanager that the push does not reach, and hidden by the other one.
    story.must(PUSHED)
    story.must(RULE)
    before.fail()
    told(story)
    assert (
        IMAGE_PULL in next(page for page in story.came() if page.alertname == RULE).annotations["description"]
    )
    on.other.end()
    story.must(RULE)
    story.must("ModelArtsAlertPushFailing")
    meanwhile.fail()
    told(story)
    story.must(PUSHED)
    story.must("ModelArtsAlertPushFailing", "resolved")
    on.other.start()
    told(story)
    a_while()
    # Where only the rules tell, the status has to be seen to leave `failed` before the update is seen to
    # succeed, or it becomes a page of its own. A real retry takes minutes.
    before.begin()
    meanwhile.begin()
    on.await_value(f'sum(modelarts_service_updates_running{{project="{story.name}"}})', 2)
    for service in (before, meanwhile):
        story.must(PUSHED, "resolved")
        story.must(RULE, "resolved")
        service.end("SUCCESS")
    told(story)
