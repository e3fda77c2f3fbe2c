"""The page of one service: its updates and events, and the story of its last deployments."""

from itertools import pairwise

import msgspec
import pytest

from exporter.core.accounting.history import History, PastEvent, PastUpdate, extended
from exporter.core.accounting.labels import ServiceView
from exporter.core.accounting.service_state import FailureEvent, ServiceState, opened
from exporter.core.classifier.step_rules import PHASES
from exporter.core.pages.deployments import DEPLOYMENTS_SHOWN, PhaseSpan, last_deployments
from exporter.core.pages.service_page import FailureLine, ServicePage, service_page
from exporter.core.pages.timeline import deployment_chart, timeline
from exporter.core.records import ABNORMAL, FAIL, NORMAL, RUNNING, SUCCESS, Update
from tests.page_examples import DAY, HOUR, MINUTE, NOW, PULL_FAILED, SECOND, Deployment, Fleet, row


def lived(*deployments: Deployment) -> tuple[ServiceState, History]:
    fleet = Fleet()
    state = fleet.service("prod", row("recommender", 1), deployments)
    return state, fleet.histories["prod", state.row.service_id]


def page_of(state: ServiceState, history: History | None, remedy: str = "Do this.") -> ServicePage:
    return service_page(ServiceView("prod", state), history, NOW, lambda _: remedy, ("other",))


def spans(history: History, *still_open: Update) -> list[list[tuple[str, int, int, bool]]]:
    """The phases of each deployment, as seconds from its begin."""
    return [
        [(s.phase, (s.begin - d.begin) // 1000, (s.end - d.begin) // 1000, s.finished) for s in d.phases]
        for d in last_deployments(history, still_open, NOW)
    ]


def step(time: int, phase: str, mark: str) -> PastEvent:
    return PastEvent(time, NORMAL, f"{phase} {mark}", phase=phase, mark=mark)


BEGUN = NOW - HOUR


def at(seconds: int) -> int:
    return BEGUN + seconds * SECOND


# -- deployments


def test_a_deployment_has_its_five_phases_one_after_the_other() -> None:
    state, history = lived(Deployment(BEGUN, 100 * SECOND))
    (deployment,) = last_deployments(history, state.open, NOW)
    assert [span.phase for span in deployment.phases] == list(PHASES)
    assert all(span.finished for span in deployment.phases)
    assert all(before.end <= after.begin for before, after in pairwise(deployment.phases))
    assert (deployment.begin, deployment.result, deployment.settled) == (BEGUN, SUCCESS, True)
    # No event ends the startup: the update does, when somebody saw that it had.
    assert deployment.phases[-1].end == deployment.end == BEGUN + 105 * SECOND


def test_a_failed_deployment_stops_in_the_phase_that_failed() -> None:
    state, history = lived(Deployment(BEGUN, 100 * SECOND, PULL_FAILED, 0.5))
    (deployment,) = last_deployments(history, state.open, NOW)
    assert deployment.result == FAIL
    assert [(span.phase, span.finished) for span in deployment.phases][-1] == ("image_pull", False)
    assert deployment.phases[-1].end == deployment.end
    assert [event.reason for event in deployment.failure_events] == ["image_pull"] * 3


def test_an_open_deployment_goes_on_until_now() -> None:
    state, history = lived(Deployment(NOW - 20 * MINUTE, None))
    (deployment,) = last_deployments(history, state.open, NOW)
    assert (deployment.result, deployment.end, deployment.settled) == (RUNNING, NOW, False)
    assert deployment.phases[-1] == PhaseSpan("startup", NOW - 20 * MINUTE + 486_150, NOW, finished=False)


def test_an_open_update_dated_in_the_future_has_no_length() -> None:
    (deployment,) = last_deployments(History(), (Update(NOW + MINUTE, RUNNING),), NOW)
    assert (deployment.begin, deployment.end) == (NOW + MINUTE, NOW + MINUTE)


def test_the_newest_deployments_are_shown_newest_first() -> None:
    updates = tuple(
        PastUpdate(Update(NOW - ago * HOUR, SUCCESS)) for ago in range(DEPLOYMENTS_SHOWN + 2, 0, -1)
    )
    found = last_deployments(History(updates=updates), (), NOW)
    assert [(NOW - each.begin) // HOUR for each in found] == list(range(1, DEPLOYMENTS_SHOWN + 1))


def test_an_update_and_the_event_that_announces_it_are_one_deployment() -> None:
    events = (
        step(BEGUN - 3 * SECOND, "", "begin"),
        step(BEGUN + 9 * SECOND, "environment", "start"),
    )
    update = PastUpdate(Update(BEGUN, SUCCESS), BEGUN + MINUTE)
    (deployment,) = last_deployments(History(events, (update,)), (), NOW)
    assert (deployment.begin, deployment.end) == (BEGUN - 3 * SECOND, BEGUN + MINUTE)


def test_a_deployment_without_an_update_has_no_result_and_ends_with_its_last_event() -> None:
    events = (
        step(BEGUN, "", "begin"),
        step(BEGUN + 10 * SECOND, "environment", "start"),
        step(BEGUN + 30 * SECOND, "environment", "end"),
        PastEvent(BEGUN + 5 * HOUR, ABNORMAL, "something else", reason="other"),
    )
    (deployment,) = last_deployments(History(events), (), NOW)
    assert (deployment.result, deployment.end, deployment.settled) == ("", BEGUN + 30 * SECOND, False)
    assert deployment.failure_events == ()
    # The scheduling follows the environment, and has no event.
    assert deployment.phases[1] == PhaseSpan("scheduling", deployment.end, deployment.end, finished=False)


def test_what_failed_in_a_deployment_is_shown_once_with_its_remedy() -> None:
    state, history = lived(
        Deployment(BEGUN - HOUR, 100 * SECOND), Deployment(BEGUN, 100 * SECOND, PULL_FAILED, 0.5)
    )
    odd = PastEvent(BEGUN + 60 * SECOND, ABNORMAL, "something", times=2)
    history = extended(history, (odd,), ())
    assert page_of(state, history).failure_lines == (
        (
            FailureLine(50.0, PULL_FAILED, 3, "image_pull", "Do this."),
            FailureLine(60.0, "something", 2, "", ""),
        ),
        (),
    )


def test_what_happens_after_a_deployment_is_no_part_of_it() -> None:
    state, history = lived(Deployment(BEGUN, 100 * SECOND))
    late = PastEvent(BEGUN + 10 * MINUTE, ABNORMAL, "container exited", reason="crash")
    (deployment,) = last_deployments(History((*history.events, late), history.updates), state.open, NOW)
    assert deployment.failure_events == ()


def test_an_abnormal_event_without_a_reason_is_trouble_too() -> None:
    events = (step(BEGUN, "", "begin"), PastEvent(BEGUN + 1, ABNORMAL, "odd"))
    (deployment,) = last_deployments(History(events), (), NOW)
    assert [event.text for event in deployment.failure_events] == ["odd"]


def test_the_parts_of_several_models_are_one_phase() -> None:
    events = (
        *(step(at(0), "", "begin"), step(at(1), "image_pull", "start"), step(at(5), "image_pull", "start")),
        *(step(at(9), "image_pull", "end"), step(at(9), "startup", "start")),
        *(
            step(at(30), "image_pull", "end"),
            step(at(30), "startup", "start"),
            step(at(40), "startup", "end"),
        ),
    )
    done = PastUpdate(Update(BEGUN, SUCCESS), at(50))
    assert spans(History(events, (done,))) == [[("image_pull", 1, 30, True), ("startup", 9, 40, True)]]


def test_a_phase_that_one_model_has_not_finished_is_unfinished() -> None:
    events = (
        *(step(BEGUN, "", "begin"), step(BEGUN + 1000, "image_pull", "start")),
        *(step(BEGUN + 2000, "image_pull", "end"), step(BEGUN + 3000, "image_pull", "start")),
    )
    settled = PastUpdate(Update(BEGUN, FAIL), BEGUN + 60_000)
    assert spans(History(events, (settled,))) == [[("image_pull", 1, 60, False)]]


def test_a_success_without_any_event_has_no_phases() -> None:
    assert spans(History(updates=(PastUpdate(Update(BEGUN, SUCCESS), BEGUN + 60_000),))) == [[]]


def test_a_startup_noticed_after_its_end_has_no_negative_length() -> None:
    events = (step(BEGUN, "", "begin"), step(BEGUN + 65_000, "startup", "start"))
    done = PastUpdate(Update(BEGUN, SUCCESS), BEGUN + 60_000)
    assert spans(History(events, (done,))) == [[("startup", 65, 65, True)]]


# -- drawings


def test_the_longest_deployment_fills_the_axis_and_the_others_are_in_scale() -> None:
    state, history = lived(Deployment(BEGUN, 595 * SECOND), Deployment(NOW - DAY, 295 * SECOND))
    drawn = deployment_chart(last_deployments(history, state.open, NOW))
    assert [(lane.width, lane.beyond, lane.seconds) for lane in drawn.lanes] == [
        (100.0, False, 600.0),
        (50.0, False, 300.0),
    ]
    for lane in drawn.lanes:
        assert all(bar.left >= 0 and bar.left + bar.width <= 100.6 for bar in lane.bars)
    assert [tick.label for tick in drawn.ticks] == ["0 s", "5 min", "10 min"]
    assert [tick.anchor for tick in drawn.ticks] == ["start", "middle", "end"]


def test_a_deployment_that_hangs_for_days_does_not_squeeze_the_others() -> None:
    state, history = lived(Deployment(NOW - 3 * DAY, 12 * MINUTE), Deployment(NOW - 2 * DAY, None))
    drawn = deployment_chart(last_deployments(history, state.open, NOW))
    assert [(lane.beyond, lane.width > 9) for lane in drawn.lanes] == [(True, True), (False, True)]
    assert drawn.ticks[-1].label == "2 h"


def test_a_phase_of_no_length_can_still_be_seen() -> None:
    events = (
        *(step(BEGUN, "", "begin"), step(BEGUN + 60_000, "environment", "start")),
        step(BEGUN + 60_000, "environment", "end"),
    )
    done = PastUpdate(Update(BEGUN, SUCCESS), BEGUN + 60_000)
    (lane,) = deployment_chart(last_deployments(History(events, (done,)), (), NOW)).lanes
    assert [(bar.left + bar.width, bar.width) for bar in lane.bars] == [(100.0, 0.6), (100.0, 0.6)]


def test_no_deployment_is_an_axis_of_a_minute() -> None:
    drawn = deployment_chart(())
    assert (drawn.lanes, [tick.label for tick in drawn.ticks]) == (
        (),
        ["0 s", "15 s", "30 s", "45 s", "1 min"],
    )


def test_the_strip_spans_everything_that_is_kept() -> None:
    history = History(
        events=(PastEvent(NOW - 8 * DAY, NORMAL, "a"), PastEvent(NOW - 2 * DAY, NORMAL, "b", reason="crash")),
        updates=(PastUpdate(Update(NOW - 6 * DAY, FAIL)), PastUpdate(Update(NOW - 4 * DAY, SUCCESS))),
    )
    drawn = timeline(history, (Update(NOW, "ODD"),), NOW)
    assert drawn is not None
    assert (drawn.begin, drawn.end) == (NOW - 8 * DAY, NOW)
    assert [(mark.left, mark.kind) for mark in drawn.updates] == [(25, FAIL), (50, SUCCESS), (100, RUNNING)]
    assert [(mark.left, mark.kind) for mark in drawn.events] == [(0, "normal"), (75, "abnormal")]


@pytest.mark.parametrize(
    ("ago", "labels"),
    [
        (MINUTE, ["09:50", "09:55", "10:00"]),
        (HOUR, ["09:00", "09:15", "09:30", "09:45", "10:00"]),
        (5 * HOUR, ["06:00", "08:00", "10:00"]),
        (DAY, ["30 Jun 12:00", "30 Jun 18:00", "01 Jul 00:00", "01 Jul 06:00"]),
        (9 * DAY, ["24 Jun", "27 Jun", "30 Jun"]),
        (700 * DAY, ["2024-12-18", "2025-12-18"]),
        (NOW, ["1970-01-01", "1989-12-27", "2009-12-22"]),
    ],
)
def test_an_axis_has_few_round_labels(ago: int, labels: list[str]) -> None:
    drawn = timeline(History(updates=(PastUpdate(Update(NOW - ago, SUCCESS)),)), (), NOW)
    assert drawn is not None
    assert [tick.label for tick in drawn.ticks] == labels


def test_what_is_dated_in_the_future_is_on_the_strip_too() -> None:
    drawn = timeline(History(), (Update(NOW + DAY, RUNNING),), NOW)
    assert drawn is not None
    assert (drawn.end, [mark.left for mark in drawn.updates]) == (NOW + DAY, [100.0])


def test_nothing_kept_is_no_strip() -> None:
    assert timeline(History(), (), NOW) is None


# -- the page


def test_a_page_shows_everything_newest_first() -> None:
    state, history = lived(
        Deployment(NOW - 2 * DAY, 3 * MINUTE),
        Deployment(NOW - DAY, 4 * MINUTE, PULL_FAILED),
        Deployment(NOW - 5 * MINUTE, None),
    )
    page = page_of(state, history)
    assert [line.update.result for line in page.updates] == [RUNNING, FAIL, SUCCESS]
    assert [line.seconds for line in page.updates] == [None, 245.0, 185.0]
    times = [line.event.occur_time for line in page.events]
    assert times == sorted(times, reverse=True)
    assert [line.remedy for line in page.events if line.abnormal] == ["Do this."] * 3
    assert {line.remedy for line in page.events if not line.abnormal} == {""}
    assert page.failure is not None
    assert (page.failure.reason, page.failure.message, page.failure.remedy) == (
        "image_pull",
        PULL_FAILED,
        "Do this.",
    )
    assert (page.last_success, page.last_failure) == (NOW - 2 * DAY, NOW - DAY)
    assert [phase for phase, _ in page.phases] == list(PHASES)
    assert len(page.deployments) == len(page.deployment_chart.lanes) == 3
    assert page.timeline is not None
    assert (page.others, page.history_read, page.edge) == (("other",), True, False)


def test_if_a_text_has_no_remedy_that_of_the_reason_is_shown() -> None:
    state, history = lived(Deployment(NOW - DAY, 4 * MINUTE, PULL_FAILED))
    page = page_of(state, history, remedy="")
    assert page.failure is not None
    assert "SWR" in page.failure.remedy
    own = msgspec.structs.replace(state, cause=FailureEvent(NOW, "gpu_driver", "nvidia"))
    page = page_of(own, history, remedy="")
    assert page.failure is not None
    assert page.failure.remedy == ""


def test_a_failure_of_unknown_cause_still_says_what_to_do() -> None:
    state, _ = lived(Deployment(NOW - DAY, 4 * MINUTE, PULL_FAILED))
    page = page_of(msgspec.structs.replace(state, cause=None), None)
    assert page.failure is not None
    assert (page.failure.reason, page.failure.at) == ("other", None)
    assert page.failure.remedy


def test_a_service_that_was_never_read_has_an_empty_page() -> None:
    page = page_of(opened(row("new", 1), NOW, preexisting=False).state, None)
    assert (page.updates, page.events, page.deployments, page.timeline, page.failure) == (
        (),
        (),
        (),
        None,
        None,
    )


def test_an_abnormal_event_is_one_whatever_the_cloud_calls_it() -> None:
    events = (
        PastEvent(NOW - 3, NORMAL, "rolled back", reason="rollback"),
        PastEvent(NOW - 2, ABNORMAL, "odd"),
        PastEvent(NOW - 1, NORMAL, "fine"),
    )
    page = page_of(opened(row("new", 1), NOW, preexisting=False).state, History(events))
    assert [line.abnormal for line in page.events] == [False, True, True]
