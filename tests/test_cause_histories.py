"""The cause of a whole event history, however its events are read, is the one that an engineer would name."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from exporter.core.accounting.apply_events import apply_events
from exporter.core.accounting.apply_updates import CountingPolicy, apply_updates
from exporter.core.accounting.labels import ServiceView
from exporter.core.accounting.service_state import AlertState, FailureEvent, ServiceState, opened
from exporter.core.alerting.notifications import NotifierOptions, alert_of
from exporter.core.classifier.classifier import Classifier
from exporter.core.classifier.evidence import Evidence
from exporter.core.links import LinkOptions
from exporter.core.metrics.families import SERVICE_FAMILIES
from exporter.core.pages.service_page import service_page
from exporter.core.records import Event, EventWindow, Model, ServiceRow, Update, UpdateWindow
from exporter.emulator import DEFAULT_PROJECT, load_scenario, play
from exporter.emulator import Cloud as Emulator
from tests.fakes import NOW

SECOND = 1000
DAY = 86_400 * SECOND
HISTORIES = yaml.safe_load(
    (Path(__file__).parent / "data" / "cause_histories.yml").read_text(encoding="utf-8")
)
POLICY = CountingPolicy(lateness=600_000, longest_guess=300_000)
BUILT_IN = Classifier()
TYPES = {"n": "normal", "a": "abnormal"}

Step = list[Event] | str


def read_update(state: ServiceState, result: str, models: int, at: int, begin: int = NOW) -> ServiceState:
    """The state after the update log showed one update."""
    update = Update(begin, result, models=tuple(Model(f"model-{n}") for n in range(models)))
    return apply_updates(state, UpdateWindow((update,), observed_at=at), POLICY, at).state


def read_events(state: ServiceState, events: Sequence[Event]) -> ServiceState:
    """The state after the event log showed these."""
    end = max((event.occur_time for event in events), default=NOW)
    return apply_events(state, EventWindow(tuple(events), observed_at=end), POLICY, BUILT_IN, end).state


def groupings(events: list[Event], settled_at: int, *, watched: bool) -> Iterator[list[Step]]:
    """Ways to read a history; "RUNNING" and "FAIL" are where the update log is read.

    An update that nobody watched was there, failed, before anything was read.
    """
    before = [event for event in events if event.occur_time <= settled_at]
    after = [event for event in events if event.occur_time > settled_at]
    one_by_one = [[event] for event in events]
    yield ["FAIL", events]
    yield ["FAIL", *one_by_one]
    yield ["FAIL", *(events[: n + 1] for n in range(len(events)))]
    if not watched:
        return
    yield ["RUNNING", *([event] for event in before), "FAIL", *([event] for event in after)]
    yield ["RUNNING", before, "FAIL", after]
    for size in (2, 3):
        pieces = [events[n : n + size] for n in range(0, len(events), size)]
        yield ["FAIL", *pieces]
        # Each poll reads the updates first: what is later than the result is never read before it.
        whole = sum(all(event in before for event in piece) for piece in pieces)
        for place in range(whole + 1):
            yield ["RUNNING", *pieces[:place], "FAIL", *pieces[place:]]


def causes(history: dict[str, Any], steps: list[Step]) -> list[FailureEvent | None]:
    """The cause after each step from the failure on; every state goes through the store."""
    settled_at = NOW + int((history["update"] or 0) * SECOND)
    models = history.get("models", 1)
    state = opened(ServiceRow("s"), NOW - DAY, preexisting=history["update"] is None).state
    found = []
    for step in steps:
        if isinstance(step, str):
            state = read_update(state, step, models, settled_at if step == "FAIL" else NOW)
        else:
            state = read_events(state, step)
        state = msgspec.json.decode(msgspec.json.encode(state), type=ServiceState)
        found.append(state.cause)
    return found


@pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history["name"])
def test_the_cause_of_a_history_is_the_one_an_engineer_would_name_however_it_is_read(
    history: dict[str, Any],
) -> None:
    events = [
        Event(NOW + int(second * SECOND), TYPES[kind], text) for second, kind, text in history["events"]
    ]
    settled_at = NOW + int((history["update"] or max(row[0] for row in history["events"])) * SECOND)
    succeeded = {
        BUILT_IN.classify(e.event_type, e.event_info).phase for e in events if "success" in e.event_info
    }
    for steps in groupings(events, settled_at, watched=history["update"] is not None):
        found = causes(history, steps)
        last = found[-1]
        told = None if last is None else [last.reason, (last.occur_time - NOW) / SECOND]
        assert told == history["cause"], steps
        for before, after in pairwise(found):
            if before is None or after == before:
                continue
            overcome = before.reason == "insufficient_resources" or before.reason in succeeded
            assert overcome or (after is not None and after.grade > before.grade), steps


def test_there_are_at_least_thirty_histories_each_with_its_why() -> None:
    assert len(HISTORIES) >= 30
    assert all(history["why"] for history in HISTORIES)


def test_every_failure_that_the_emulator_plays_is_among_them() -> None:
    played = yaml.safe_load(Path("exporter/emulator/episodes.yml").read_text(encoding="utf-8"))
    failing = {
        name for name, episode in played.items() if any(s.get("settle") == "FAIL" for s in episode["steps"])
    }
    assert failing <= {history["name"] for history in HISTORIES}


# Second of a round from which on the newest failed update is this one, and the cause of its failure.
DEMO = {
    "search-ranker": [(12, "out_of_memory", "out of memory"), (75, "crash", "No module named 'cv2'")],
    "translator": [(8, "health_check", "GET /health answered 503")],
    "price-forecast": [
        (7, "health_check", "GET /health answered 503"),
        (28, "storage", "mount of OBS path"),
        (46, "image_build", "No matching distribution found"),
    ],
}
ROUNDS = {"search-ranker": 210, "translator": 220, "price-forecast": 280}


@pytest.mark.parametrize("name", DEMO)
def test_the_demo_tells_the_right_cause_at_every_moment(name: str) -> None:
    now = NOW
    emulator = Emulator(lambda: now)
    play(emulator, load_scenario("demo"))
    state = opened(ServiceRow("s"), NOW, preexisting=False).state
    seen = set()
    for second in range(700):
        now = NOW + second * SECOND
        emulator.advance()
        (service,) = [
            each
            for each in emulator.projects[DEFAULT_PROJECT].services.values()
            if each.fields["service_name"] == name
        ]
        updates = tuple(
            Update(row["update_time"], row["result"]) for row in service.log_rows(now, emulator.switches)
        )
        events = tuple(msgspec.convert(row, Event) for row in service.event_rows(now, emulator.switches))
        state = apply_updates(state, UpdateWindow(updates, observed_at=now), POLICY, now).state
        state = apply_events(state, EventWindow(events, observed_at=now), POLICY, BUILT_IN, now).state
        if not state.failing:
            continue
        assert state.settled is not None
        assert state.cause is not None
        begun = (state.settled.update_time - NOW) // SECOND % ROUNDS[name]
        (expected,) = [row for row in DEMO[name] if row[0] == begun]
        assert (state.cause.reason, expected[2] in state.cause.message) == (expected[1], True)
        seen.add(begun)
    assert seen == {row[0] for row in DEMO[name]}


def test_the_metric_the_page_and_the_pushed_alert_tell_the_same_cause() -> None:
    (history,) = [each for each in HISTORIES if each["name"] == "out_of_memory"]
    state = opened(ServiceRow("s", status="failed"), NOW - DAY, preexisting=False).state
    state = read_update(state, "FAIL", 1, NOW + 300 * SECOND)
    state = read_events(
        state, [Event(NOW + int(at * SECOND), TYPES[kind], text) for at, kind, text in history["events"]]
    )
    assert state.cause is not None
    text = state.cause.message
    now = NOW + 400 * SECOND
    alerted = msgspec.structs.replace(state, alert=AlertState(active_at=now))
    view = ServiceView("prod", alerted)

    (family,) = [f for f in SERVICE_FAMILIES if f.name == "modelarts_service_last_failure_info"]
    (sample,) = family.samples(view)
    page = service_page(view, None, now, lambda text: BUILT_IN.classify("abnormal", text).remedy)
    alert = alert_of(view, NotifierOptions({}, LinkOptions("http://e"), BUILT_IN, 60_000, 0))

    assert dict(sample.labels)["reason"] == "out_of_memory"
    assert dict(sample.labels)["message"] == text
    assert (page.health.reason, page.health.message) == ("out_of_memory", text)
    assert page.failure is not None
    assert (page.failure.reason, page.failure.message) == ("out_of_memory", text)
    assert alert is not None
    annotations = dict(alert.annotations)
    assert (annotations["cause_reason"], annotations["cause"]) == ("out_of_memory", text)
    assert annotations["remedy"] == page.failure.remedy


RETRY = NOW + 400 * SECOND
PULLED = Event(RETRY + 60 * SECOND, "normal", "pull image success")


@pytest.mark.parametrize("first", ["update", "event"])
def test_what_succeeds_in_a_retry_does_not_change_the_cause_of_the_failure_before(first: str) -> None:
    state = opened(ServiceRow("s"), NOW - DAY, preexisting=True).state
    state = read_update(state, "FAIL", 1, NOW + 300 * SECOND)
    state = read_events(state, [Event(NOW + SECOND, "abnormal", "failed to pull image, retry later")])
    if first == "update":
        state = read_update(state, "RUNNING", 1, RETRY, RETRY)
        state = read_events(state, [PULLED])
    else:
        state = read_events(state, [Event(RETRY, "normal", "start to deploy service"), PULLED])
    assert state.cause is not None
    assert state.cause.reason == "image_pull"


def test_a_flood_of_events_leaves_the_first_of_the_retry_too() -> None:
    state = opened(ServiceRow("s"), NOW - DAY, preexisting=False).state
    state = read_update(state, "FAIL", 1, NOW + 300 * SECOND)
    state = read_events(state, [Event(NOW + SECOND, "abnormal", "No module named 'a'")])
    state = read_update(state, "RUNNING", 1, RETRY, RETRY)
    flood = [Event(RETRY + n * SECOND, "abnormal", f"mount of volume {n} failed") for n in range(2, 100)]
    state = read_events(state, [Event(RETRY + SECOND, "abnormal", "No module named 'b'"), *flood])
    state = read_update(state, "FAIL", 1, RETRY + 300 * SECOND, RETRY)
    assert state.cause is not None
    assert state.cause.message == "No module named 'b'"


def test_a_stored_cause_stays_when_the_events_before_it_are_no_longer_kept() -> None:
    state = opened(ServiceRow("s"), NOW - DAY, preexisting=False).state
    state = read_update(state, "RUNNING", 1, NOW)
    memory = Event(NOW + SECOND, "abnormal", "OOMKilled")
    state = read_events(state, [memory])
    for n in range(100):
        state = read_events(state, [Event(NOW + (2 + n) * SECOND, "abnormal", f"No module named 'm{n}'")])
    state = read_update(state, "FAIL", 1, NOW + 200 * SECOND)
    assert state.cause is not None
    assert (state.cause.message, state.cause.grade) == ("OOMKilled", Evidence.SPECIFIC)
    assert len(state.failure_events) < 40
