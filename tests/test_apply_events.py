"""What a read of the event log makes of an account."""

from exporter.core.accounting.apply_events import apply_events
from exporter.core.accounting.apply_updates import CountingPolicy
from exporter.core.accounting.service_state import EVENTS, REASON, Outcome, PostedEvent, ServiceState, opened
from exporter.core.classifier.classifier import Classifier, CustomRule
from exporter.core.records import Event, EventWindow, ServiceRow
from tests.fakes import NOW

MINUTE = 60_000
POLICY = CountingPolicy(lateness=10 * MINUTE, longest_guess=5 * MINUTE)
SKIP = CountingPolicy(lateness=10 * MINUTE, longest_guess=5 * MINUTE, count_history=False)
PULL = "failed to pull image, retry later"
ROLLED_BACK = "Failed to update the service. The update has been rolled back."
CLASSIFIER = Classifier([CustomRule("gpu_driver", "nvidia.*driver")])


def service(*, preexisting: bool = False) -> ServiceState:
    return opened(ServiceRow("s"), NOW, preexisting=preexisting).state


def read(
    state: ServiceState, *events: Event, after: int | None = None, policy: CountingPolicy = POLICY
) -> Outcome:
    return apply_events(state, EventWindow(events, NOW, after), policy, CLASSIFIER, NOW)


def totals(state: ServiceState) -> dict[str, float]:
    found = {n: v for n, v in state.counters.values.items() if n.startswith((EVENTS, REASON))}
    return {name: value for name, value in found.items() if value}


def test_events_count_by_type_and_failures_by_reason() -> None:
    outcome = read(
        service(), Event(NOW - 9, "normal", "start to deploy service"), Event(NOW - 5, "abnormal", PULL)
    )
    assert totals(outcome.state) == {"events:normal": 1, "events:abnormal": 1, "reason:image_pull": 1}
    assert outcome.state.last_events == {"normal": NOW - 9, "abnormal": NOW - 5}


def test_a_normal_event_that_means_a_failure_counts_as_one_but_stays_normal() -> None:
    state = read(service(), Event(NOW, "normal", ROLLED_BACK)).state
    assert totals(state) == {"events:normal": 1, "reason:rollback": 1}


def test_equal_texts_in_one_millisecond_are_separate_events() -> None:
    twice = [Event(NOW, "abnormal", PULL)] * 2
    first = read(service(), twice[0]).state
    outcome = read(first, *twice)
    assert totals(outcome.state) == {"events:abnormal": 2, "reason:image_pull": 2}
    assert [posted.times for posted in outcome.events] == [1]


def test_an_event_of_an_unknown_type_is_counted_nowhere_else() -> None:
    outcome = read(service(), Event(NOW, "warning", PULL))
    assert (totals(outcome.state), outcome.state.last_events, outcome.state.failure_events) == (
        {},
        {},
        (),
    )
    assert (outcome.unknown, outcome.events) == ((("event_type", "warning"),), ())
    assert read(outcome.state, Event(NOW, "warning", PULL)).unknown == ()


def test_a_failure_that_no_rule_knows_counts_as_other_and_as_unclassified() -> None:
    outcome = read(service(), *[Event(NOW, "abnormal", "the moon is wrong")] * 2)
    assert totals(outcome.state) == {"events:abnormal": 2, "reason:other": 2}
    assert outcome.unclassified == 2


def test_a_rule_of_the_user_names_the_cause() -> None:
    outcome = read(service(), Event(NOW, "abnormal", "NVIDIA driver is missing"))
    assert totals(outcome.state) == {"events:abnormal": 1, "reason:gpu_driver": 1}
    assert outcome.unclassified == 0


def test_history_is_the_first_value_shown_at_once_and_not_logged() -> None:
    outcome = read(service(preexisting=True), Event(NOW - MINUTE, "abnormal", PULL))
    counters = outcome.state.counters
    assert (counters.shown("events:abnormal"), counters.shown("reason:image_pull")) == (1, 1)
    assert counters.shown("events:normal") == 0
    assert outcome.events == ()


def test_skip_leaves_history_out_of_the_counters_but_not_of_the_gauges() -> None:
    old = Event(NOW - MINUTE, "abnormal", PULL)
    state = read(service(preexisting=True), old, policy=SKIP).state
    assert (totals(state), state.last_events) == ({}, {"abnormal": NOW - MINUTE})
    later = read(state, old, Event(NOW, "abnormal", PULL), policy=SKIP).state
    assert totals(later) == {"events:abnormal": 1, "reason:image_pull": 1}


def test_an_event_that_is_counted_is_reported_with_its_remedy() -> None:
    event = Event(NOW, "abnormal", PULL)
    outcome = read(service(), event)
    finding = CLASSIFIER.classify("abnormal", PULL)
    assert outcome.events == (PostedEvent(event, 1, "image_pull", finding.remedy),)


def test_the_newest_time_of_a_type_never_goes_back() -> None:
    state = read(service(), Event(NOW, "normal", "b")).state
    state = read(state, Event(NOW - 5, "normal", "a"), Event(NOW, "normal", "b")).state
    assert state.last_events == {"normal": NOW}
    assert read(state).state.last_events == {"normal": NOW}


def test_secrets_in_a_text_are_not_kept() -> None:
    state = read(service(), Event(NOW, "abnormal", "failed to pull image, password=hunter2")).state
    assert "hunter2" not in state.failure_events[0].message


def test_a_partial_read_counts_what_is_new_and_misses_nothing_that_is_old() -> None:
    old, new = Event(NOW - 30 * MINUTE, "normal", "a"), Event(NOW, "normal", "b")
    state = read(service(), old, new).state
    assert state.events.watermark == NOW - 10 * MINUTE - 1
    outcome = read(state, new, Event(NOW, "normal", "c"), after=state.events.watermark)
    assert (totals(outcome.state), outcome.anomalies) == ({"events:normal": 3}, ())
