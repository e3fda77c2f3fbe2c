"""How long phases took, and which one is under way: with the real sample, and in any order."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.accounting.phases import Phases, current, durations, of_update, with_event, with_result
from exporter.core.classifier.classifier import Classification, Classifier
from exporter.core.classifier.step_rules import PHASES

BODY = json.loads(
    (Path(__file__).parent / "data" / "samples" / "events_real_time_2019.json").read_text(encoding="utf-8")
)
SAMPLE = tuple((event["occur_time"], event["event_info"]) for event in BODY["events"])
SAMPLE_DURATIONS = {"image_build": 0.017, "environment": 20.171, "scheduling": 0.006, "image_pull": 56.642}
BEGIN = SAMPLE[0][0]
BUILT_IN = Classifier()

# A time of day, so that ten seconds before it is a time too.
T = 1_700_000_000_000

BEGINS = Classification(mark="begin")


def starts(phase: str) -> Classification:
    return Classification(phase=phase, mark="start")


def ends(phase: str) -> Classification:
    return Classification(phase=phase, mark="end")


def noted(*events: tuple[int, Classification], phases: Phases | None = None) -> Phases:
    phases = phases or Phases()
    for at, finding in events:
        phases = with_event(phases, T + at, finding)
    return phases


def sample(until: int = len(SAMPLE)) -> Phases:
    phases = Phases()
    for at, text in SAMPLE[:until]:
        phases = with_event(phases, at, BUILT_IN.classify("normal", text))
    return phases


def test_the_real_sample_has_its_durations() -> None:
    assert durations(sample()) == SAMPLE_DURATIONS
    assert list(durations(sample())) == list(PHASES[:4])


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        (1, None),
        (2, ("image_build", 1)),
        (3, None),
        (4, ("environment", 3)),
        (5, ("scheduling", 4)),
        (6, None),
        (7, ("image_pull", 6)),
        (8, None),
        (9, ("startup", 8)),
    ],
)
def test_an_open_update_is_in_the_phase_that_started_last(events: int, phase: tuple[str, int] | None) -> None:
    expected = phase and (phase[0], SAMPLE[phase[1]][0])
    assert current(sample(events), BEGIN) == expected


def test_the_first_event_may_be_a_little_older_than_the_update() -> None:
    assert current(sample(), BEGIN + 10_000) is not None
    assert current(sample(), BEGIN + 10_001) is None


def test_a_deployment_has_the_phases_of_its_own_events_and_the_next_one_none_of_them() -> None:
    assert [times.phase for times in of_update(sample(), BEGIN + 10_000)] == list(PHASES[:5])
    assert of_update(sample(), BEGIN + 10_001) == ()


def test_without_a_beginning_no_phase_is_under_way_but_durations_are_known() -> None:
    phases = noted((0, starts("image_pull")), (5_000, ends("image_pull")), (6_000, starts("startup")))
    assert current(phases, T) is None
    assert durations(phases) == {"image_pull": 5.0}


def test_nothing_is_known_before_the_first_event() -> None:
    assert durations(Phases()) == {}
    assert current(Phases(), T) is None


def test_an_event_that_is_no_step_changes_nothing() -> None:
    phases = sample()
    assert with_event(phases, BEGIN + 1, Classification(reason="crash", phase="startup")) is phases
    assert with_event(phases, BEGIN + 1, Classification()) is phases


@pytest.mark.parametrize("event", [(0, BEGINS), (-1, BEGINS), (-1, starts("startup"))])
def test_what_is_no_newer_than_the_beginning_changes_nothing(event: tuple[int, Classification]) -> None:
    phases = noted((0, BEGINS), (1, starts("environment")))
    assert noted(event, phases=phases) == phases


def test_a_success_ends_the_startup() -> None:
    phases = with_result(sample(), BEGIN + 5, BEGIN + 90_818, succeeded=True)
    assert durations(phases) == {**SAMPLE_DURATIONS, "startup": 10.0}


def test_a_failure_does_not_end_the_startup() -> None:
    phases = with_result(sample(), BEGIN + 5, BEGIN + 90_818, succeeded=False)
    assert durations(phases) == SAMPLE_DURATIONS


def test_an_event_that_the_service_started_is_more_exact_than_the_result() -> None:
    phases = noted((0, BEGINS), (1_000, starts("startup")))
    for order in ((0, 1), (1, 0)):
        both = phases
        for step in order:
            both = (
                noted((3_000, ends("startup")), phases=both)
                if step
                else with_result(both, T, T + 9_000, succeeded=True)
            )
        assert durations(both) == {"startup": 2.0}


@pytest.mark.parametrize(
    ("update_time", "settled_at"),
    [
        (10_001, 90_000),  # a later update, of which no event told
        (-60_000, -1),  # the update before
        (0, 500),  # clocks that disagree: it settled before the start
    ],
)
def test_the_end_of_another_update_does_not_end_the_startup(update_time: int, settled_at: int) -> None:
    phases = noted((0, BEGINS), (1_000, starts("startup")))
    assert durations(with_result(phases, T + update_time, T + settled_at, succeeded=True)) == {}


def test_an_older_update_that_settles_late_changes_nothing() -> None:
    phases = with_result(sample(), BEGIN, BEGIN + 90_818, succeeded=True)
    assert with_result(phases, BEGIN - 1, BEGIN + 99_999, succeeded=False) is phases


def test_what_happens_to_instances_long_after_the_deployment_is_no_part_of_it() -> None:
    phases = with_result(sample(), BEGIN, BEGIN + 90_818, succeeded=True)
    before = durations(phases)
    later = BEGIN + 86_400_000
    phases = with_event(phases, later, starts("image_pull"))
    phases = with_event(phases, later + 5_000, ends("image_pull"))
    phases = with_event(phases, later + 5_001, starts("startup"))
    assert durations(phases) == before


def test_the_models_of_one_service_interleave() -> None:
    phases = noted(
        (0, BEGINS),
        (0, starts("environment")),
        (10_000, ends("environment")),
        (11_000, ends("environment")),
        (12_000, ends("scheduling")),
        (13_000, ends("scheduling")),
        (20_000, starts("image_pull")),
        (21_000, starts("image_pull")),
        (30_000, ends("image_pull")),
        (45_000, ends("image_pull")),
    )
    assert durations(phases) == {"environment": 11.0, "scheduling": 3.0, "image_pull": 25.0}


def test_a_phase_that_started_again_is_not_finished_and_still_since_its_first_start() -> None:
    phases = noted(
        (0, BEGINS), (1_000, starts("image_pull")), (2_000, ends("image_pull")), (3_000, starts("image_pull"))
    )
    assert durations(phases) == {}
    assert current(phases, T) == ("image_pull", T + 1_000)


def test_of_two_phases_under_way_the_later_one_is_told() -> None:
    phases = noted((0, BEGINS), (1_000, starts("startup")), (2_000, starts("image_pull")))
    assert current(phases, T) == ("startup", T + 1_000)


def test_a_later_deployment_that_stops_early_erases_no_duration() -> None:
    phases = with_result(sample(), BEGIN, BEGIN + 90_818, succeeded=True)
    phases = with_event(phases, T, BEGINS)
    phases = noted((0, starts("image_build")), (400, ends("image_build")), phases=phases)
    phases = with_result(phases, T, T + 60_000, succeeded=False)
    assert durations(phases) == {**SAMPLE_DURATIONS, "image_build": 0.4, "startup": 10.0}


def test_a_result_that_is_read_before_its_events_does_not_erase_the_startup_before() -> None:
    phases = with_result(sample(), BEGIN, BEGIN + 90_818, succeeded=True)
    phases = with_result(phases, T, T + 9_000, succeeded=False)
    assert durations(phases)["startup"] == 10.0
    phases = noted((0, BEGINS), (1_000, starts("startup")), phases=phases)
    assert durations(phases)["startup"] == 10.0
    assert current(phases, T) == ("startup", T + 1_000)


def test_a_deployment_announced_twice_still_ends_with_its_update() -> None:
    phases = with_result(Phases(), T, T + 9_000, succeeded=True)
    phases = noted((0, BEGINS), (20, BEGINS), (1_000, starts("startup")), phases=phases)
    assert durations(phases) == {"startup": 8.0}


def test_the_end_of_one_deployment_is_not_that_of_the_next() -> None:
    phases = with_result(noted((0, BEGINS)), T, T + 30_000, succeeded=True)
    phases = noted((20_000, BEGINS), (25_000, starts("startup")), phases=phases)
    assert durations(phases) == {}


def test_a_result_without_events_is_replaced_by_the_next() -> None:
    phases = with_result(Phases(), T - 60_000, T - 30_000, succeeded=True)
    phases = with_result(phases, T, T + 9_000, succeeded=True)
    assert durations(noted((0, BEGINS), (1_000, starts("startup")), phases=phases)) == {"startup": 8.0}


def test_many_repetitions_are_kept_within_bounds_and_the_ends_stay_right() -> None:
    events = [
        (at, finding) for at in range(1, 500) for finding in (starts("image_pull"), ends("image_build"))
    ]
    phases = noted((0, BEGINS), (1, starts("image_build")), *events, (900, ends("image_pull")))
    assert durations(phases) == {"image_build": 0.498, "image_pull": 0.899}
    assert len(phases.steps) <= 64


def test_what_is_kept_survives_the_store() -> None:
    phases = with_event(with_result(sample(), BEGIN, BEGIN + 90_818, succeeded=True), T, BEGINS)
    stored = msgspec.json.encode(phases)
    assert msgspec.json.decode(stored, type=Phases) == phases
    assert msgspec.json.encode(Phases()) == b"{}"


DEPLOYMENT = st.lists(
    st.tuples(
        st.integers(0, 60_000),
        st.builds(
            lambda phase, mark: Classification(phase=phase, mark=mark),
            st.sampled_from(PHASES),
            st.sampled_from(["start", "end"]),
        ),
    ),
    max_size=20,
)


@given(DEPLOYMENT, st.randoms(use_true_random=False), st.sampled_from([None, True, False]), st.booleans())
def test_the_order_in_which_a_deployment_is_noted_does_not_matter(
    steps: list[tuple[int, Classification]], random: object, succeeded: bool | None, before: bool
) -> None:
    start = with_result(sample(), BEGIN, BEGIN + 90_818, succeeded=True) if before else Phases()

    def replay(events: list[tuple[int, Classification | bool]]) -> Phases:
        phases = start
        for at, what in events:
            if isinstance(what, bool):
                phases = with_result(phases, T, T + at, succeeded=what)
            else:
                phases = with_event(phases, T + at, what)
        return phases

    events: list[tuple[int, Classification | bool]] = [(0, BEGINS), *steps]
    if succeeded is not None:
        events.append((50_000, succeeded))
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = replay(events), replay(shuffled)
    assert durations(one) == durations(other)
    assert current(one, T) == current(other, T)
    if before:
        assert set(durations(one)) >= {*SAMPLE_DURATIONS, "startup"}


@given(DEPLOYMENT)
def test_no_phase_ever_takes_less_than_nothing(steps: list[tuple[int, Classification]]) -> None:
    assert all(seconds >= 0 for seconds in durations(noted(*steps)).values())
