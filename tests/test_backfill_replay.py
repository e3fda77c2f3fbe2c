"""The past of a service, replayed from its logs: laws over generated histories, and when updates settled."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.accounting import project_totals, service_state
from exporter.core.accounting.apply_events import apply_events
from exporter.core.accounting.apply_updates import CountingPolicy, apply_updates
from exporter.core.accounting.labels import ProjectView, ServiceView
from exporter.core.accounting.project_totals import ProjectTotals
from exporter.core.accounting.service_state import Observation, ServiceState
from exporter.core.backfill.project_past import ProjectPast
from exporter.core.backfill.replay import Moment, ServiceLogs, replay
from exporter.core.backfill.settling import settling_times
from exporter.core.backfill.steps import Steps, steps
from exporter.core.classifier.classifier import Classifier
from exporter.core.metrics.families import SERVICE_FAMILIES, known_of_the_past
from exporter.core.records import Event, EventWindow, Model, ServiceRow, Update, UpdateWindow

from .fakes import NOW

MINUTE = 60_000
HOUR = 60 * MINUTE
POLICY = CountingPolicy(lateness=10 * MINUTE, longest_guess=5 * MINUTE)
CLASSIFIER = Classifier()
ROW = ServiceRow("s", "mnist", "real-time", "running")
DURATIONS = ("duration_sum:", "duration_count:", "restore_")

BEGIN = "start to deploy service"
STARTED = "Service mnist started."
START_FAILED = "Failed to start service mnist."


def present_of(logs: ServiceLogs, row: ServiceRow = ROW) -> ServiceState:
    """What an exporter that starts now counts."""
    state = service_state.opened(row, NOW, preexisting=True).state
    state = apply_updates(state, logs.updates, POLICY, NOW).state
    return apply_events(state, logs.events, POLICY, CLASSIFIER, NOW).state


def logs_of(updates: Sequence[Update], events: Sequence[Event] = (), error_msg: str = "") -> ServiceLogs:
    return ServiceLogs(
        UpdateWindow(tuple(updates), NOW, answered_at=NOW),
        EventWindow(tuple(events), NOW, answered_at=NOW),
        error_msg,
    )


def replayed(
    logs: ServiceLogs, *, since: int = NOW - 40 * HOUR, length: int = 5 * MINUTE, row: ServiceRow = ROW
) -> list[Moment]:
    moments = steps(since, NOW, length)
    return list(replay(present_of(logs, row), logs, moments, POLICY.lateness, CLASSIFIER))


def shown(state: ServiceState, name: str) -> dict[str, float]:
    """The samples of one metric, by the values of the labels that it has beyond the service's."""
    (family,) = (family for family in SERVICE_FAMILIES if family.name == f"modelarts_{name}")
    view = ServiceView("prod", state)
    return {
        sample.suffix
        + ",".join(value for label, value in sample.labels if label in family.labels): sample.value
        for sample in family.samples(view)
    }


def at(moments: Sequence[Moment], time: int, grid: Steps) -> ServiceState:
    """The state that the first step from `time` on shows."""
    return [moment.state for moment in moments if moment.number <= grid.showing(time)][-1]


# --- laws ------------------------------------------------------------------------------------------

TEXTS = (
    ("normal", BEGIN),
    ("normal", "[m 0.0.1] starting model"),
    ("normal", STARTED),
    ("abnormal", "failed to pull image, retry later"),
    ("abnormal", START_FAILED),
    ("normal", "Failed to update the service. The update has been rolled back."),
    ("abnormal", "a text that no rule knows"),
    ("odd", "an event of an unknown type"),
)
# Some minutes apart, so that many entries share a millisecond or a step.
TIMES = st.integers(1, 400).map(lambda number: NOW - 3 * HOUR - number * 5 * MINUTE)
UPDATES = st.builds(
    Update,
    TIMES,
    st.sampled_from(["SUCCESS", "FAIL", "RUNNING", "ODD"]),
    st.sampled_from([(), (Model("a"),), (Model("a"), Model("b"))]),
    nodes_succeeded=st.sampled_from([None, 2]),
    nodes_failed=st.sampled_from([None, 1]),
)
EVENTS = st.builds(
    lambda time, text, delay: Event(time + delay, *text),
    TIMES,
    st.sampled_from(TEXTS),
    st.sampled_from([0, 1000, 2 * MINUTE]),
)
LOGS = st.builds(logs_of, st.lists(UPDATES, max_size=12), st.lists(EVENTS, max_size=25))
ROWS = st.sampled_from([ROW, msgspec.structs.replace(ROW, infer_type="edge")])


@given(LOGS, ROWS)
def test_the_past_ends_with_what_the_exporter_counts(logs: ServiceLogs, row: ServiceRow) -> None:
    present = present_of(logs, row)
    moments = replayed(logs, row=row)
    if logs.begin is None:
        assert moments == []
        return
    last = moments[-1].state
    names = present.counters.values.keys() - {"invocations", "failed_invocations"}
    counted = {name for name in names if not name.startswith(DURATIONS)}
    assert last.counters.values.keys() == names
    for name in counted:
        assert last.counters.shown(name) == present.counters.values[name], name
    assert (last.newest, last.settled, last.open) == (present.newest, present.settled, present.open)
    assert (last.last_success, last.last_failure) == (present.last_success, present.last_failure)
    assert last.last_events == present.last_events


@given(LOGS)
def test_a_counter_of_the_past_exists_at_0_before_the_first_entry_and_never_falls(logs: ServiceLogs) -> None:
    before: dict[str, float] = {}
    for number, moment in enumerate(replayed(logs)):
        values = moment.state.counters.values
        assert number or not any(values.values())
        assert not before or before.keys() == values.keys()
        assert all(values[name] >= value for name, value in before.items())
        before = values


@given(LOGS, st.integers(1, 36 * 12))
def test_a_past_that_begins_later_is_the_end_of_the_whole_one(logs: ServiceLogs, cut: int) -> None:
    since = NOW - cut * 5 * MINUTE
    grid = steps(since, NOW, 5 * MINUTE)
    short, whole = replayed(logs, since=since), replayed(logs)
    offset = steps(NOW - 40 * HOUR, NOW, 5 * MINUTE).seam - grid.seam
    for number in range(grid.seam):
        found = [
            [moment.state.counters.values for moment in moments if moment.number <= last][-1:]
            for moments, last in ((short, number), (whole, number + offset))
        ]
        assert found[0] == found[1] or found[0] == []
    if logs.begin is not None and logs.begin <= since:
        assert short[0].number == 0


@given(LOGS)
def test_the_order_in_the_logs_does_not_matter(logs: ServiceLogs) -> None:
    backwards = logs_of(logs.updates.updates[::-1], logs.events.events[::-1])
    counters = [[moment.state.counters.values for moment in replayed(each)] for each in (logs, backwards)]
    assert counters[0] == counters[1]


@given(LOGS)
def test_as_many_durations_are_observed_as_the_counters_count(logs: ServiceLogs) -> None:
    moments = replayed(logs)
    results = [seen.result for moment in moments for seen in moment.observations]
    for result in ("SUCCESS", "FAIL") if moments else ():
        assert moments[-1].state.counters.values[f"duration_count:{result}"] == results.count(result)


# --- when an update settled ------------------------------------------------------------------------

T = NOW - 20 * HOUR


def settled_at(result: str, *events: tuple[int, str, str], models: int = 1, **changes: int) -> int | None:
    """Milliseconds from the begin of an update, of some models, until it settled."""
    updates = [Update(T, result, tuple(Model(str(number)) for number in range(models)))]
    updates += [Update(T + begun, "SUCCESS") for begun in changes.values()]
    told = settling_times(updates, [Event(T + time, kind, text) for time, kind, text in events], CLASSIFIER)
    return told[T] - T if T in told else None


def test_a_success_settled_when_its_models_had_started() -> None:
    assert settled_at("SUCCESS", (90_000, "normal", STARTED)) == 90_000
    two = (
        (60_000, "normal", "[a 1.0.0] start model success"),
        (80_000, "normal", "[b 1.0.0] start model success"),
    )
    assert settled_at("SUCCESS", *two, models=2) == 80_000
    assert settled_at("SUCCESS", *two, models=3) == 80_000
    assert settled_at("SUCCESS", *two) == 60_000


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("abnormal", START_FAILED),
        ("abnormal", "Service deployment timed out. Error: the deployment took longer than 20 minutes"),
        ("abnormal", "Failed to update the service. Perform a rollback."),
        ("normal", "Failed to update the service. The update has been rolled back."),
        ("abnormal", "Service mnist failed. Error: pull image fail"),
        ("abnormal", "服务mnist部署失败，错误信息：拉取镜像失败"),  # noqa: RUF001 - as the API writes it
    ],
)
def test_a_failure_settled_with_the_first_text_about_the_whole_service(kind: str, text: str) -> None:
    events = ((60_000, "abnormal", "failed to pull image, retry later"), (300_000, kind, text))
    assert settled_at("FAIL", *events, (360_000, kind, text)) == 300_000


@pytest.mark.parametrize(
    "text",
    [
        "failed to pull image, retry later",
        "The service is abnormal. Number of abnormal instances: 1",
        "[m 0.0.1] container exited, exit code 1",
    ],
)
def test_a_text_about_a_part_is_no_end(text: str) -> None:
    assert settled_at("FAIL", (60_000, "abnormal", text)) is None


def test_nothing_is_told_of_open_updates_and_of_several_in_one_millisecond() -> None:
    assert settled_at("RUNNING", (60_000, "normal", STARTED)) is None
    assert settled_at("SUCCESS", (60_000, "normal", STARTED), other=0) is None


def test_the_events_of_the_next_deployment_are_not_those_of_the_update() -> None:
    started = (HOUR, "normal", STARTED)
    assert settled_at("SUCCESS", started) == HOUR
    assert settled_at("SUCCESS", started, other=HOUR) is None
    assert settled_at("SUCCESS", (30 * MINUTE, "normal", BEGIN), started) is None
    assert settled_at("SUCCESS", (2000, "normal", BEGIN), started) == HOUR  # its own begin
    assert settled_at("SUCCESS", (3 * HOUR, "normal", STARTED)) is None  # no deployment takes that long


# --- what is shown on the way ----------------------------------------------------------------------

FAILED = Update(T, "FAIL", (Model("a"),))
RESTORED = Update(T + 10 * HOUR, "SUCCESS", (Model("b"),))
HISTORY = logs_of(
    [FAILED, RESTORED],
    [
        Event(T, "normal", BEGIN),
        Event(T + 60_000, "abnormal", "failed to pull image, retry later"),
        Event(T + HOUR, "abnormal", START_FAILED),
        Event(T + 10 * HOUR, "normal", BEGIN),
        Event(T + 10 * HOUR + 20_000, "normal", "[b 1.0.0] starting model"),
        Event(T + 10 * HOUR + 90_000, "normal", STARTED),
    ],
)
GRID = steps(NOW - 40 * HOUR, NOW, MINUTE)


def test_an_update_is_open_from_its_begin_to_its_settling() -> None:
    moments = replayed(HISTORY, length=MINUTE)
    for time, running, failing in [
        (T - MINUTE, 0, 0),
        (T, 1, 0),
        (T + HOUR - 2 * MINUTE, 1, 0),
        (T + HOUR, 0, 1),
        (T + 10 * HOUR, 1, 1),
        (T + 10 * HOUR + 2 * MINUTE, 0, 0),
    ]:
        state = at(moments, time, GRID)
        assert shown(state, "service_updates_running") == {"": running}, time
        assert shown(state, "service_update_failing") == {"": failing}, time
    during = at(moments, T + 60_000, GRID)
    assert shown(during, "service_updates_total") == {"SUCCESS": 0, "FAIL": 0}
    assert shown(during, "service_oldest_running_update_timestamp_seconds") == {"": T / 1000}


def test_the_cause_is_shown_exactly_while_the_service_failed() -> None:
    moments = replayed(HISTORY, length=MINUTE)
    cause = {"image_pull,failed to pull image, retry later": 1}
    for time, info in [(T + HOUR - 2 * MINUTE, {}), (T + HOUR, cause), (T + 11 * HOUR, {})]:
        assert shown(at(moments, time, GRID), "service_last_failure_info") == info


def test_durations_and_phases_are_those_that_the_events_tell() -> None:
    last = replayed(HISTORY)[-1].state
    assert shown(last, "service_update_duration_seconds") == {
        "_countSUCCESS": 1,
        "_sumSUCCESS": 90,
        "_countFAIL": 1,
        "_sumFAIL": 3600,
    }
    assert shown(last, "service_restore_duration_seconds") == {"_count": 1, "_sum": 9 * 3600 + 90}
    assert shown(last, "service_deploy_phase_duration_seconds") == {"startup": 70}


def test_an_update_whose_end_nothing_tells_counts_from_its_begin_without_a_duration() -> None:
    moments = replayed(logs_of([FAILED, RESTORED]), length=MINUTE)
    assert shown(at(moments, T, GRID), "service_updates_total") == {"SUCCESS": 0, "FAIL": 1}
    assert not any(shown(moments[-1].state, "service_update_duration_seconds").values())
    assert not any(shown(moments[-1].state, "service_restore_duration_seconds").values())


def test_the_error_of_the_detail_explains_the_failure_that_lasts_and_no_other() -> None:
    later = Update(T + 12 * HOUR, "FAIL")
    moments = replayed(logs_of([FAILED, RESTORED, later], error_msg="ModelArts.3520: no port"), length=MINUTE)
    assert shown(at(moments, T, GRID), "service_last_failure_info") == {"other,": 1}
    assert shown(moments[-1].state, "service_last_failure_info") == {"quota,ModelArts.3520: no port": 1}


def test_a_service_without_an_update_log_has_the_past_of_its_events() -> None:
    logs = ServiceLogs(UpdateWindow((), NOW, supported=False), HISTORY.events)
    moments = replayed(logs)
    assert shown(moments[-1].state, "service_updates_total") == {}
    assert shown(moments[-1].state, "service_update_failing") == {"": 0}
    assert shown(moments[-1].state, "service_events_total") == {"normal": 4, "abnormal": 2}


def test_what_is_dated_after_the_last_step_has_no_past() -> None:
    moments = replayed(logs_of([Update(NOW + HOUR, "FAIL")], [Event(NOW, "normal", BEGIN)]))
    assert [moment.number for moment in moments] == [steps(NOW - 40 * HOUR, NOW, 5 * MINUTE).seam - 1]
    assert not any(moments[0].state.counters.values.values())


# --- steps, and the whole project -----------------------------------------------------------------


@given(st.integers(0, 10**6), st.integers(1000, 10**6), st.integers(1000, 10**5))
def test_every_moment_has_a_step_that_shows_it_and_one_before(ago: int, span: int, length: int) -> None:
    grid = steps(NOW - span, NOW, length)
    time = NOW - ago
    number = grid.showing(time)
    assert grid.time(number) >= time
    assert number == 0 or grid.time(number - 1) < time
    assert grid.before(time) == max(number - 1, 0)
    assert NOW - span <= grid.time(0) < NOW - span + length
    assert grid.time(grid.seam) == NOW


def test_a_projects_durations_add_up_step_by_step() -> None:
    past = ProjectPast()
    for number in (3, 1, 3):
        past.begins(number)
    past.observe(3, [Observation("SUCCESS", 20), Observation("", 100)])
    past.observe(2, [Observation("SUCCESS", 40)])
    past.observe(3, [Observation("FAIL", 9000)])
    present = ProjectView("prod", "id", "url", up=True, services=4, totals=ProjectTotals())
    views = list(past.views(present))
    assert [(number, view.services) for number, view in views] == [(1, 1), (2, 1), (3, 3)]

    def sums(name: str) -> list[tuple[float, float]]:
        found = [project_totals.cumulative(view.totals, name) for _, view in views]
        return [(counts[-1][1], total) for counts, total in found]

    assert sums("duration:SUCCESS") == [(0, 0), (1, 40), (2, 60)]
    assert sums("duration:FAIL") == [(0, 0), (0, 0), (1, 9000)]
    assert sums("restore") == [(0, 0), (0, 0), (1, 100)]


def test_what_the_logs_do_not_tell_has_no_past() -> None:
    names = {family.name for family in SERVICE_FAMILIES} - {
        family.name for family in known_of_the_past(SERVICE_FAMILIES)
    }
    assert names == {
        "modelarts_service_status",
        "modelarts_service_up",
        "modelarts_service_last_poll_timestamp_seconds",
        "modelarts_service_invocations_total",
        "modelarts_service_failed_invocations_total",
    }
