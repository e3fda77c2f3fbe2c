"""Which event tells why the newest failed update failed."""

import msgspec

from exporter.core.accounting.failure_cause import (
    FAILURE_EVENTS_KEPT,
    LATE_EVENTS_MS,
    LONGEST_DEPLOYMENT_MS,
    with_cause,
    with_failure_events,
)
from exporter.core.accounting.service_state import FailureEvent, ServiceState, opened, with_error
from exporter.core.classifier.classifier import Classifier
from exporter.core.classifier.evidence import Evidence
from exporter.core.records import ServiceRow, Update
from tests.fakes import NOW

MINUTE = 60_000


def failed(settled_at: int | None = NOW + MINUTE) -> ServiceState:
    update = Update(NOW, "FAIL")
    state = opened(ServiceRow("s"), NOW, preexisting=False).state
    return msgspec.structs.replace(state, newest=update, settled=update, settled_at=settled_at)


def failure(
    milliseconds: int, reason: str = "storage", evidence: Evidence | None = Evidence.SPECIFIC
) -> FailureEvent:
    return FailureEvent(NOW + milliseconds, reason, f"{reason} at {milliseconds}", evidence)


def cause(state: ServiceState, *failure_events: FailureEvent) -> FailureEvent | None:
    return with_failure_events(state, failure_events).cause


def test_the_cause_is_the_first_event_of_the_highest_grade() -> None:
    assert cause(failed(), failure(1), failure(5, "quota"), failure(3)) == failure(1)
    assert cause(failed(), failure(1, "storage", Evidence.RECOVERED)) is None
    for order in (list(Evidence), list(reversed(Evidence))):
        found = [failure(10 + n, "crash", evidence) for n, evidence in enumerate(order)]
        assert cause(failed(), *found) == found[order.index(Evidence.SPECIFIC)]


def test_a_chosen_cause_is_replaced_by_a_higher_grade_alone() -> None:
    state = with_failure_events(failed(), [failure(50, "crash", Evidence.EXIT)])
    state = with_failure_events(state, [failure(10, "crash", Evidence.EXIT)])
    assert state.cause == failure(50, "crash", Evidence.EXIT)
    state = with_failure_events(state, [failure(60)])
    assert with_failure_events(state, [failure(20, "quota")]).cause == failure(60)


def test_events_that_an_earlier_version_stored_are_graded_by_the_least_of_their_reason() -> None:
    grades = {
        reason: failure(1, reason, None).grade
        for reason in ("out_of_memory", "health_check", "crash", "timeout", "rollback", "other", "gpu_driver")
    }
    assert grades == {
        "out_of_memory": Evidence.SPECIFIC,
        "health_check": Evidence.SYMPTOM,
        "crash": Evidence.SUMMARY,
        "timeout": Evidence.SUMMARY,
        "rollback": Evidence.SUMMARY,
        "other": Evidence.NONE,
        "gpu_driver": Evidence.SPECIFIC,
    }
    stored = b'{"occur_time":1,"reason":"crash","message":"x"}'
    assert msgspec.json.decode(stored, type=FailureEvent) == FailureEvent(1, "crash", "x")
    assert msgspec.json.encode(FailureEvent(1, "crash", "x")) == stored


def test_an_event_before_the_update_is_not_its_cause() -> None:
    assert cause(failed(), failure(-1)) is None
    assert cause(failed(), failure(0)) == failure(0)


def test_an_event_may_come_a_while_after_the_settling() -> None:
    end = MINUTE + LATE_EVENTS_MS
    assert cause(failed(), failure(end - 1)) == failure(end - 1)
    assert cause(failed(), failure(end)) is None


def test_where_the_settling_was_not_seen_the_longest_deployment_counts() -> None:
    end = LONGEST_DEPLOYMENT_MS + LATE_EVENTS_MS
    assert cause(failed(settled_at=None), failure(end - 1)) == failure(end - 1)
    assert cause(failed(settled_at=None), failure(end)) is None


def test_what_happens_to_a_retry_is_not_the_cause_of_the_failure_before() -> None:
    retry = msgspec.structs.replace(failed(), newest=Update(NOW + 2 * MINUTE, "RUNNING"))
    assert cause(retry, failure(1), failure(2 * MINUTE, "quota")) == failure(1)


def test_no_cause_without_a_failure() -> None:
    state = opened(ServiceRow("s"), NOW, preexisting=False).state
    assert cause(state, failure(1)) is None
    chosen = with_failure_events(failed(), [failure(1)])
    good = msgspec.structs.replace(chosen, settled=Update(NOW + MINUTE, "SUCCESS"))
    assert with_cause(good).cause is None


def test_a_crash_loop_cannot_wash_a_cause_away() -> None:
    chosen = with_failure_events(failed(), [failure(1)])
    flooded = with_failure_events(chosen, tuple(failure(10 + n, "other") for n in range(100)))
    # The first of each kind stays beside the latest ones.
    assert len(flooded.failure_events) == FAILURE_EVENTS_KEPT + 2
    assert flooded.cause == failure(1)


def test_the_detail_tells_the_cause_where_no_event_does() -> None:
    classifier = Classifier()
    state = with_error(failed(), "No resources are available for the selected specification.", classifier)
    assert state.cause is not None
    assert state.cause.reason == "insufficient_resources"
    assert with_error(state, "out of memory", classifier) is state
    assert with_error(failed(), "  ", classifier).cause is None
    good = opened(ServiceRow("s"), NOW, preexisting=False).state
    assert with_error(good, "boom", classifier) is good


def test_an_event_that_proves_more_replaces_what_the_detail_said() -> None:
    state = with_error(failed(), "something went wrong", Classifier())
    assert cause(state, failure(5)) == failure(5)


def test_the_detail_replaces_an_event_that_proves_less() -> None:
    state = with_failure_events(failed(), [failure(5, "crash", Evidence.SUMMARY)])
    known = with_error(state, "OOMKilled", Classifier()).cause
    assert known == FailureEvent(NOW, "out_of_memory", "OOMKilled", Evidence.SPECIFIC)
    assert with_error(state, "Failed to start the service.", Classifier()) is state
