"""Which event tells why the newest failed update failed."""

import msgspec

from exporter.core.accounting.failure_cause import (
    AFTERMATH_MS,
    LONGEST_DEPLOYMENT_MS,
    TROUBLES_KEPT,
    with_cause,
    with_failure_events,
)
from exporter.core.accounting.service_state import FailureEvent, ServiceState, opened, with_error
from exporter.core.classifier.classifier import Classifier
from exporter.core.records import ServiceRow, Update
from tests.fakes import NOW

MINUTE = 60_000


def failed(settled_at: int | None = NOW + MINUTE) -> ServiceState:
    update = Update(NOW, "FAIL")
    state = opened(ServiceRow("s"), NOW, preexisting=False).state
    return msgspec.structs.replace(state, newest=update, settled=update, settled_at=settled_at)


def failure(milliseconds: int, reason: str = "image_pull") -> FailureEvent:
    return FailureEvent(NOW + milliseconds, reason, f"{reason} at {milliseconds}")


def cause(state: ServiceState, *failure_events: FailureEvent) -> FailureEvent | None:
    return with_failure_events(state, failure_events).cause


def test_the_cause_is_the_latest_telling_event_of_the_update() -> None:
    assert cause(failed(), failure(1), failure(5, "quota"), failure(3)) == failure(5, "quota")


def test_a_symptom_never_hides_a_reason() -> None:
    reasons = ["image_pull", "timeout", "rollback", "other"]
    for place in range(4):
        found = [failure(10 + n, reason) for n, reason in enumerate(reasons[place:])]
        assert cause(failed(), *found) == found[0]


def test_an_event_before_the_update_is_not_its_cause() -> None:
    assert cause(failed(), failure(-1)) is None
    assert cause(failed(), failure(0)) == failure(0)


def test_an_event_may_come_a_while_after_the_settling() -> None:
    end = MINUTE + AFTERMATH_MS
    assert cause(failed(), failure(end - 1)) == failure(end - 1)
    assert cause(failed(), failure(end)) is None


def test_where_the_settling_was_not_seen_the_longest_deployment_counts() -> None:
    end = LONGEST_DEPLOYMENT_MS + AFTERMATH_MS
    assert cause(failed(settled_at=None), failure(end - 1)) == failure(end - 1)
    assert cause(failed(settled_at=None), failure(end)) is None


def test_what_happens_to_a_retry_is_not_the_cause_of_the_failure_before() -> None:
    retry = msgspec.structs.replace(failed(), newest=Update(NOW + 2 * MINUTE, "RUNNING"))
    assert cause(retry, failure(1), failure(2 * MINUTE, "quota")) == failure(1)


def test_no_cause_without_a_failure() -> None:
    state = opened(ServiceRow("s"), NOW, preexisting=False).state
    assert cause(state, failure(1)) is None
    blamed = with_failure_events(failed(), (failure(1),))
    good = msgspec.structs.replace(blamed, settled=Update(NOW + MINUTE, "SUCCESS"))
    assert with_cause(good).cause is None


def test_a_crash_loop_cannot_wash_a_cause_away() -> None:
    blamed = with_failure_events(failed(), (failure(1),))
    flooded = with_failure_events(blamed, tuple(failure(10 + n, "other") for n in range(100)))
    assert len(flooded.failure_events) == TROUBLES_KEPT
    assert flooded.cause == failure(1)


def test_the_detail_tells_the_cause_where_no_event_does() -> None:
    classifier = Classifier()
    state = with_error(failed(), "No resources are available for the selected specification.", classifier)
    assert state.cause is not None
    assert state.cause.reason == "insufficient_resources"
    assert with_error(state, "another", classifier) is state
    assert with_error(failed(), "  ", classifier).cause is None
    good = opened(ServiceRow("s"), NOW, preexisting=False).state
    assert with_error(good, "boom", classifier) is good


def test_an_event_that_tells_more_replaces_what_the_detail_said() -> None:
    state = with_error(failed(), "something went wrong", Classifier())
    assert cause(state, failure(5)) == failure(5)
