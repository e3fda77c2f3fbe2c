"""What the page shows of updates and events that are retried in place, dated in the future, or left open."""

import msgspec
import pytest

from exporter.adapters.store.database import Store
from exporter.core.accounting.service_state import ServiceState
from exporter.engine.repository import Repository
from tests.fakes import Clock, Cloud
from tests.poller_harness import MINUTE, POLICY, SECOND, PollerHarness, settings

HOUR = 60 * MINUTE
PULL = "failed to pull image, retry later"
OUT_OF_MEMORY = "container was killed: out of memory, exit code 137"
SUMMARY = "Failed to start service name-a."


class Life:
    """A service "a" whose first start is over, and the programs that read it."""

    def __init__(self, **changes: object) -> None:
        self.clock = Clock()
        self.cloud = Cloud(self.clock)
        self.cloud.add("a")
        self.store = Store.open("")
        self.changes = changes
        self.restart()

    def restart(self) -> None:
        self.rig = PollerHarness(self.cloud, self.clock, self.store, **self.changes)  # type: ignore[arg-type]
        self.rig.settle()
        self.rig.scrape()

    def looks(self, wait: int = MINUTE) -> dict[str, float]:
        """The service's row changes, it is read, and Prometheus scrapes."""
        self.cloud.change("a", transition_at=self.clock.true)
        self.rig.pass_time(wait)
        self.rig.scrape()
        return self.shown()

    def shown(self) -> dict[str, float]:
        """The samples of the service, without the beginning of their names and its id."""
        found = {}
        for name, value in self.rig.samples().items():
            metric, _, labels = name.partition("{")
            left = [pair for pair in labels.rstrip("}").split(",") if not pair.startswith("service_id=")]
            found[metric.removeprefix("modelarts_service_") + "".join(f" {pair}" for pair in left)] = value
        return found

    def now(self, result: str, time: int) -> dict[str, float]:
        """The update of this time shows another result from now on; what the page makes of that."""
        self.cloud.update("a", time, result)
        return self.looks()

    def reasons(self) -> list[str]:
        names = [name for name in self.shown() if name.startswith("last_failure_info")]
        return [name.partition("reason=")[2].partition(" ")[0] for name in names]

    @property
    def state(self) -> ServiceState:
        return self.rig.publisher.snapshot.services["prod", "a"].state

    @property
    def alert_fires(self) -> bool:
        return self.state.alert is not None and self.state.alert.resolved_at is None


@pytest.fixture
def life() -> Life:
    return Life()


# --- retried in place ----------------------------------------------------------------------------------


def test_a_failure_that_is_retried_in_place_with_success_is_over(life: Life) -> None:
    begun = life.clock()
    life.cloud.event("a", begun, "abnormal", PULL)
    failed = life.now("FAIL", begun)
    assert (failed["update_failing"], life.alert_fires) == (1, True)

    retried = life.now("RUNNING", begun)
    assert retried["update_failing"] == retried["update_result result=RUNNING"] == 1
    assert retried["updates_running"] == 1
    assert retried["oldest_running_update_timestamp_seconds"] == begun / 1000
    assert life.alert_fires
    assert life.reasons() == ["image_pull"]

    done = life.now("SUCCESS", begun)
    assert (done["update_failing"], done["updates_running"], life.alert_fires) == (0, 0, False)
    assert done["update_result result=SUCCESS"] == 1
    assert done["last_success_timestamp_seconds"] == begun / 1000
    assert "last_failure_timestamp_seconds" not in done
    assert "oldest_running_update_timestamp_seconds" not in done
    assert life.reasons() == []
    counted = [done[f"updates_total result={result}"] for result in ("FAIL", "SUCCESS")]
    assert (counted, done["restore_duration_seconds_count"]) == ([1, 1], 1)
    assert 120 <= done["restore_duration_seconds_sum"] <= 150  # as near as the reads can tell


@pytest.mark.parametrize("between", [(), ("RUNNING",), ("SUCCESS",), ("RUNNING", "SUCCESS", "RUNNING")])
def test_a_retry_that_fails_again_counts_once_and_has_its_own_cause(
    life: Life, between: tuple[str, ...]
) -> None:
    begun = life.clock()
    life.cloud.event("a", life.clock() + 20 * SECOND, "abnormal", PULL)
    life.now("FAIL", begun)
    assert life.reasons() == ["image_pull"]
    for result in between:
        life.now(result, begun)
    life.cloud.event("a", life.clock(), "abnormal", OUT_OF_MEMORY)
    failed = life.now("FAIL", begun)
    assert (failed["update_failing"], failed["updates_total result=FAIL"]) == (1, 1)
    assert life.alert_fires
    # Where nobody saw a retry, there was one attempt, and the first evidence stands.
    assert life.reasons() == ["out_of_memory" if between else "image_pull"]


def test_the_detail_of_a_retry_is_a_cause_of_its_own(life: Life) -> None:
    begun = life.clock()
    life.now("FAIL", begun)
    life.now("SUCCESS", begun)
    life.rig.pass_time(10 * MINUTE)
    life.restart()
    life.cloud.detail["a"] = "No resources are available for the selected specification."
    life.cloud.change("a", status="failed")
    life.now("FAIL", begun)
    assert life.reasons() == ["insufficient_resources"]
    life.looks()
    assert life.reasons() == ["insufficient_resources"]


def test_a_success_that_becomes_a_failure_in_place_fails(life: Life) -> None:
    begun = life.clock()
    life.now("SUCCESS", begun)
    failed = life.now("FAIL", begun)
    assert (failed["update_failing"], life.alert_fires) == (1, True)
    assert failed["last_failure_timestamp_seconds"] == begun / 1000
    assert "last_success_timestamp_seconds" not in failed


def test_a_retry_that_goes_on_while_the_program_restarts_ends_as_it_would_have(life: Life) -> None:
    begun = life.clock()
    life.now("FAIL", begun)
    life.restart()
    life.now("RUNNING", begun)
    life.restart()
    done = life.now("SUCCESS", begun)
    assert (done["update_failing"], done["restore_duration_seconds_count"]) == (0, 1)
    assert [done[f"updates_total result={result}"] for result in ("FAIL", "SUCCESS")] == [1, 1]


def test_a_retry_is_followed_by_reads_of_its_entry_alone_too(life: Life) -> None:
    before, begun = life.clock(), life.clock() + 1
    life.cloud.update("a", before, "FAIL")
    life.now("FAIL", begun)
    life.cloud.update("a", begun, "RUNNING")
    life.looks(20 * SECOND)
    # The older one is not shown by a read of one entry; it is still the newest failure then.
    life.cloud.updates["a"] = [u for u in life.cloud.updates["a"] if u.update_time == begun]
    done = life.now("SUCCESS", begun)
    assert (done["update_failing"], done["last_failure_timestamp_seconds"]) == (0, before / 1000)


def test_two_updates_of_one_millisecond_are_two_and_the_failure_shows(life: Life) -> None:
    begun = life.clock()
    life.now("FAIL", begun)
    life.cloud.append("a", begun, "SUCCESS")
    both = life.looks()
    assert (both["update_failing"], both["restore_duration_seconds_count"]) == (1, 0)
    assert [both[f"updates_total result={result}"] for result in ("FAIL", "SUCCESS")] == [1, 1]


def test_the_pages_tell_every_end_of_a_retry(life: Life) -> None:
    begun = life.clock()
    for result in ("FAIL", "SUCCESS", "FAIL"):
        life.now(result, begun)
    history = Repository(life.store, lambda *_: None).history(settings().key, "a")
    assert history is not None
    assert [past.update.result for past in history.updates] == ["FAIL", "SUCCESS", "FAIL"]


# --- dated in the future -------------------------------------------------------------------------------


def test_an_update_dated_in_the_future_hides_no_failure_and_counts_once_its_time_has_come(life: Life) -> None:
    ahead = life.clock() + 3 * HOUR
    life.cloud.update("a", ahead, "SUCCESS")
    begun = life.clock()
    failed = life.now("FAIL", begun)
    assert (failed["update_failing"], failed["update_result result=FAIL"], life.alert_fires) == (1, 1, True)
    assert failed["last_update_timestamp_seconds"] == begun / 1000
    assert failed["updates_total result=SUCCESS"] == 1
    assert "last_failure_timestamp_seconds" in failed
    life.rig.pass_time(3 * HOUR)
    come = life.looks()
    assert (come["update_failing"], come["last_update_timestamp_seconds"]) == (0, ahead / 1000)
    assert (come["updates_total result=SUCCESS"], life.alert_fires) == (1, False)


def test_a_service_of_which_every_update_is_dated_in_the_future_shows_the_newest(life: Life) -> None:
    ahead = life.clock() + 3 * HOUR
    assert life.now("FAIL", ahead)["update_failing"] == 1
    begun = life.clock()
    now = life.now("RUNNING", begun)
    assert now["update_result result=RUNNING"] == now["updates_running"] == 1
    assert now["oldest_running_update_timestamp_seconds"] == begun / 1000
    # No failure of the present was before it, so it restores nothing.
    done = life.now("SUCCESS", begun)
    assert (done["update_failing"], done["restore_duration_seconds_count"]) == (0, 0)


def test_an_update_that_is_open_in_the_future_is_open_but_neither_oldest_nor_newest(life: Life) -> None:
    life.now("SUCCESS", life.clock())
    ahead = life.now("RUNNING", life.clock() + 3 * HOUR)
    assert (ahead["updates_running"], ahead["update_result result=SUCCESS"]) == (1, 1)
    assert "oldest_running_update_timestamp_seconds" not in ahead


def test_an_event_dated_in_the_future_hides_no_event_no_phase_and_no_cause(life: Life) -> None:
    ahead = life.clock() + 3 * HOUR
    life.cloud.event("a", ahead, "normal", "start to deploy service")
    for number in range(40):
        life.cloud.event("a", ahead + number, "abnormal", PULL)
    begun = life.clock()
    life.now("RUNNING", begun)
    life.cloud.event("a", begun + 1, "normal", "start to deploy service")
    life.cloud.event("a", begun + 2, "normal", "preparing environment")
    life.cloud.event("a", begun + 3, "abnormal", OUT_OF_MEMORY)
    shown = life.looks()
    assert shown["last_event_timestamp_seconds event_type=normal"] == (begun + 2) / 1000
    assert shown["last_event_timestamp_seconds event_type=abnormal"] == (begun + 3) / 1000
    assert shown["deploy_phase_start_timestamp_seconds phase=environment"] == (begun + 2) / 1000
    assert shown["events_total event_type=abnormal"] == 41
    assert [event.message for event in life.state.failure_events] == [OUT_OF_MEMORY]

    life.rig.pass_time(3 * HOUR)
    life.restart()
    come = life.looks()
    assert come["last_event_timestamp_seconds event_type=normal"] == ahead / 1000
    assert come["last_event_timestamp_seconds event_type=abnormal"] == (ahead + 39) / 1000
    assert come["events_total event_type=abnormal"] == 41
    assert life.state.phases.begin == ahead
    assert life.state.events_ahead_of is None


# --- open, with a newer one behind it ------------------------------------------------------------------


@pytest.mark.parametrize("result", ["RUNNING", "CANCELED"])
def test_an_open_update_with_a_newer_settled_one_behind_it_is_not_the_oldest_running(
    life: Life, result: str
) -> None:
    orphan = life.clock()
    assert life.now(result, orphan)["oldest_running_update_timestamp_seconds"] == orphan / 1000
    next_one = life.clock()
    both = life.now("RUNNING", next_one)
    assert both["oldest_running_update_timestamp_seconds"] == orphan / 1000
    settled = life.now("SUCCESS", next_one)
    assert settled["updates_running"] == 1
    assert "oldest_running_update_timestamp_seconds" not in settled
    newer = life.clock()
    assert life.now("RUNNING", newer)["oldest_running_update_timestamp_seconds"] == newer / 1000


# --- a log that is refused at first --------------------------------------------------------------------

SKIP = {"policy": msgspec.structs.replace(POLICY, count_history=False)}


def update_counters(shown: dict[str, float]) -> dict[str, float]:
    return {
        name: value
        for name, value in shown.items()
        if name.startswith(("updates_total", "update_duration", "restore_duration", "update_nodes_total"))
    }


@pytest.mark.parametrize(("changes", "counted"), [({}, 1), (SKIP, 0)])
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("infer_type", ["real-time", "edge"])
def test_the_first_log_that_comes_after_a_400_is_history(
    changes: dict[str, object], counted: int, restarts: bool, infer_type: str
) -> None:
    life = Life(**changes)
    life.cloud.add("b", infer_type=infer_type)  # after the first start: not known from before
    life.cloud.unsupported.add("b")
    life.rig.pass_time(MINUTE)
    refused = life.rig.scrape()
    of_b = {name: value for name, value in refused.items() if "service_id=b" in name}
    assert of_b["modelarts_service_up{service_id=b}"] == 1
    assert of_b["modelarts_service_updates_running{service_id=b}"] == 0
    assert not update_counters({n.removeprefix("modelarts_service_"): v for n, v in of_b.items()})
    if restarts:
        life.restart()

    life.cloud.unsupported.clear()
    life.cloud.update("b", life.clock() - HOUR, "FAIL")
    life.cloud.change("b", status="failed")
    life.rig.pass_time(MINUTE)
    shown = life.rig.samples()
    failures = "modelarts_service_updates_total{result=FAIL,service_id=b}"
    assert shown[failures] == counted
    assert shown["modelarts_service_update_failing{service_id=b}"] == 1
    assert "update settled" not in str(life.rig.log.calls)
    life.rig.scrape()

    life.cloud.update("b", life.clock(), "FAIL")
    life.cloud.change("b", transition_at=life.clock())
    life.rig.pass_time(MINUTE)
    life.rig.scrape()
    assert life.rig.samples()[failures] == counted + 1


def test_a_log_that_answered_once_and_is_refused_later_keeps_its_counters(life: Life) -> None:
    life.cloud.unsupported.add("a")
    assert life.looks()["updates_total result=FAIL"] == 0
    life.cloud.unsupported.clear()
    assert life.now("FAIL", life.clock())["updates_total result=FAIL"] == 1


# --- the log of the program ----------------------------------------------------------------------------


def lines(life: Life, event: str) -> list[str]:
    return [str(call.args[0]) for call in life.rig.log.calls if event in str(call.args[0])]


def test_a_log_that_the_cloud_lost_is_one_line_and_every_entry_is_counted(life: Life) -> None:
    for number in range(20):
        life.cloud.event("a", life.clock() - number, "normal", f"step {number}")
        life.cloud.append("a", life.clock() - number, "FAIL")
    life.looks()
    life.cloud.events["a"].clear()
    life.cloud.updates["a"].clear()
    life.looks()
    (line,) = lines(life, "anomaly")
    assert "'entries': 40" in line or "entries=40" in line
    assert life.rig.own("modelarts_exporter_ledger_anomalies_total", project="prod", kind="vanished") == 40


def test_a_backlog_is_told_in_fifty_lines_of_a_kind_and_a_number(life: Life) -> None:
    for number in range(70):
        life.cloud.event("a", life.clock() + number, "abnormal", f"the moon is wrong {number}")
        life.cloud.event("a", life.clock() + number, f"kind {number}", "")
        life.cloud.event("a", life.clock() + number, f"kind {number}", "again")
        life.cloud.append("a", life.clock() + number, "SUCCESS")
    shown = life.looks()
    for event in ("abnormal event", "unknown value", "update settled"):
        assert len([line for line in lines(life, event) if "more was" not in line]) == 50
    assert ["20" in line for line in lines(life, "more was read at once than is logged")] == [True] * 3
    assert (shown["events_total event_type=abnormal"], shown["updates_total result=SUCCESS"]) == (70, 70)
    assert life.rig.own("modelarts_exporter_unknown_values_total", project="prod", field="event_type") == 140


def test_a_crash_loop_of_one_text_is_one_line(life: Life) -> None:
    for number in range(70):
        life.cloud.event("a", life.clock() + number, "abnormal", OUT_OF_MEMORY)
    life.looks()
    (line,) = lines(life, "abnormal event")
    assert "70" in line


# --- a summary is no cause -----------------------------------------------------------------------------


def test_the_detail_is_read_where_events_only_sum_up(life: Life) -> None:
    life.cloud.detail["a"] = "No resources are available for the selected specification."
    life.cloud.change("a", status="failed")
    life.cloud.event("a", life.clock() + 1, "abnormal", SUMMARY)
    life.now("FAIL", life.clock())
    assert life.reasons() == ["insufficient_resources"]
