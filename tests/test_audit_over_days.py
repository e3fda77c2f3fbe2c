"""A whole exporter audits closed days of the event log, for days of emulated time."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import msgspec
import pytest

from exporter.core.accounting.audit import DAY_MS, EXTRA, MISSING
from exporter.core.records import ServiceRow
from exporter.core.source import Forbidden, Gone, Refused, RemoteError, Stopping, Throttled, Torn
from exporter.emulator import Switches, faults
from exporter.engine.fetch import AuditJob
from tests.fakes import NOW, Clock, Cloud, FaultyStore, Inline, Later
from tests.over_http import POLICY as OVER_HTTP
from tests.over_http import World, world
from tests.poller_harness import MINUTE, PACE, POLICY, SECOND, PollerHarness, project

HOUR = 60 * MINUTE
MIDNIGHT = NOW - NOW % DAY_MS


def differences(found: PollerHarness | World) -> dict[str, float | None]:
    name = "modelarts_exporter_audit_differences_total"
    return {kind: found.own(name, project="prod", kind=kind) for kind in (MISSING, EXTRA)}


def told(found: PollerHarness | World) -> list[tuple[str, ...]]:
    """What the log says of differences: service, day, kinds, and the entries counted and shown."""
    lines = [re.sub(r"\x1b\[\d+m", "", str(call.args[0])) for call in found.log.calls]
    keys = ("service_id", "day", "kinds", "counted", "shown")
    return [
        tuple(re.findall(rf"\b{key}='?((?:\w|-|, )+)", line)[0].strip() for key in keys)
        for line in lines
        if "event log differs from what was counted" in line
    ]


def last_audit(harness: PollerHarness) -> float | None:
    return harness.own("modelarts_exporter_audit_last_success_timestamp_seconds", project="prod")


def audits(cloud: Cloud) -> list[str]:
    """The services whose closed days were read."""
    return [service_id for endpoint, service_id in cloud.calls if endpoint == "audit"]


def let_pass(harness: PollerHarness, milliseconds: int, step: int = MINUTE) -> None:
    """Minute by minute, or in other steps; what falls due within one is done at its end."""
    for _ in range(milliseconds // step):
        harness.clock.forward(step)
        harness.settle()


class HoldsAudits(Inline):
    """Fetchers that do an audit only when they are told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def submit(self, work: Callable[[], None]) -> None:
        if isinstance(work, partial) and isinstance(work.args[-1], AuditJob):
            self.waiting.append(work)
        else:
            work()

    def wait_for_one(self, harness: PollerHarness) -> None:
        """Let time pass until an audit is begun."""
        while not self.waiting:
            let_pass(harness, MINUTE)

    def answer(self) -> None:
        """Do what waits."""
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()


class Lively:
    """An exporter on a fake cloud whose services write an event an hour, at times two that are equal."""

    def __init__(self, services: Sequence[str] = ("a", "b"), **changes: Any) -> None:
        self.clock = Clock()
        self.cloud = Cloud(self.clock)
        for service_id in services:
            self.cloud.add(service_id)
        self.changes = changes
        self.store = FaultyStore.open("")
        self.restart()

    def restart(self) -> None:
        self.harness = PollerHarness(self.cloud, self.clock, self.store, **self.changes)

    def live(self, hours: int) -> None:
        for hour in range(hours):
            for service_id in self.cloud.rows:
                for _ in range(2 if hour % 3 == 0 else 1):
                    self.cloud.event(service_id, self.clock(), "normal", "start to deploy service")
            let_pass(self.harness, HOUR, step=5 * MINUTE)  # a sweep; days of minutes would take long


def test_nothing_is_found_where_nothing_is_wrong_and_each_service_is_read_once_a_day() -> None:
    lively = Lively()
    lively.live(24)
    assert Counter(audits(lively.cloud)) == {"a": 1, "b": 1}
    lively.live(48)
    assert Counter(audits(lively.cloud)) == {"a": 3, "b": 3}
    assert differences(lively.harness) == {MISSING: 0, EXTRA: 0}
    assert told(lively.harness) == []


def test_a_difference_is_found_within_a_day_and_told_once() -> None:
    lively = Lively()
    lively.live(6)
    lost = lively.cloud.events["a"].pop(4)
    lively.live(24)
    assert told(lively.harness) == [("a", "2023-11-15", "missing", "32", "31")]
    assert lost.occur_time > MIDNIGHT + DAY_MS
    assert differences(lively.harness) == {MISSING: 1, EXTRA: 0}
    lively.live(48)
    assert len(told(lively.harness)) == 1


def test_a_difference_repairs_nothing() -> None:
    lively = Lively(["a"])
    lively.live(6)
    events = lively.cloud.events["a"]
    events.insert(0, msgspec.structs.replace(events[3], event_info="much too late"))
    lively.live(24)
    assert differences(lively.harness) == {MISSING: 0, EXTRA: 1}
    shown = "modelarts_service_events_total{event_type=normal,service_id=a}"
    assert lively.harness.scrape()[shown] == len(events) - 1


def test_what_was_compared_is_not_compared_again_after_a_restart_and_what_was_counted_is_known() -> None:
    lively = Lively()
    lively.live(12)
    assert Counter(audits(lively.cloud)) == {"a": 1, "b": 1}
    lively.cloud.events["b"].pop(5)
    lively.restart()
    lively.live(1)
    assert Counter(audits(lively.cloud)) == {"a": 1, "b": 1}
    lively.live(23)
    assert [line[::2][:2] for line in told(lively.harness)] == [("b", "missing")]


def test_a_difference_is_told_only_once_it_is_written() -> None:
    lively = Lively(["a"], fetchers=(held := HoldsAudits()))
    lively.live(2)
    lively.cloud.events["a"].pop(1)
    held.wait_for_one(lively.harness)
    lively.store.faults = ["fails"]
    held.answer()
    lively.harness.settle()
    assert told(lively.harness) == []
    let_pass(lively.harness, MINUTE)
    assert differences(lively.harness) == {MISSING: 1, EXTRA: 0}
    assert len(told(lively.harness)) == 1


@pytest.mark.parametrize(
    "error",
    [Torn("torn."), Forbidden("no."), Throttled("slow."), Gone("gone."), Refused("who?")],
    ids=lambda error: type(error).__name__,
)
def test_an_audit_that_cannot_be_read_says_nothing_of_the_service_and_is_tried_again(
    error: RemoteError,
) -> None:
    lively = Lively(["a"])
    lively.cloud.failures["audit"] = error
    lively.live(6)
    tries = len(audits(lively.cloud))
    assert 2 <= tries <= 6
    assert lively.harness.samples()["modelarts_service_up{service_id=a}"] == 1
    assert lively.harness.samples()["modelarts_up{}"] == 1
    torn = lively.harness.own("modelarts_exporter_torn_reads_total", project="prod")
    assert torn == (tries if isinstance(error, Torn) else 0)
    before = last_audit(lively.harness)
    del lively.cloud.failures["audit"]
    lively.live(2)
    after = last_audit(lively.harness)
    assert before is not None
    assert after is not None
    assert after > before
    assert differences(lively.harness) == {MISSING: 0, EXTRA: 0}


def test_the_time_of_the_last_audit_is_that_of_a_look_that_found_nothing_to_compare() -> None:
    lively = Lively(["a"])
    let_pass(lively.harness, PACE.sweep_interval - MINUTE)
    assert last_audit(lively.harness) is None
    let_pass(lively.harness, 2 * MINUTE)
    assert last_audit(lively.harness) is not None
    assert audits(lively.cloud) == []


# --- only with what nobody else needs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "why", ["no request is to spare", "there is one thread", "the list is slow", "a read is"]
)
def test_nothing_is_audited_while(why: str) -> None:
    lively = Lively(["a", "b"], **({"concurrency": 1} if why == "there is one thread" else {}))
    later = Later()
    lively.live(2)
    assert audits(lively.cloud) == []
    fetchers = later if why in ("the list is slow", "a read is") else Inline()
    setup, resources = project("prod", lively.cloud, fetchers, **lively.changes)
    if why == "no request is to spare":
        resources = resources._replace(has_spare=lambda: False)
    lively.harness.poller.configure([(setup, resources)])
    if why == "a read is":
        lively.harness.settle()
        later.work()  # the list
    lively.live(4)
    assert audits(lively.cloud) == []


def test_an_audit_waits_where_something_is_due_before_its_request_is_made_up_for() -> None:
    lively = Lively(["a"])
    setup, resources = project("prod", lively.cloud)
    # One request in two minutes; the next list is never farther away than half a minute.
    lively.harness.poller.configure([(setup, resources._replace(rate=lambda: 1 / 120))])
    lively.live(6)
    assert audits(lively.cloud) == []


def test_audits_are_spread_over_an_hour_one_at_a_time() -> None:
    lively = Lively([f"s{number}" for number in range(12)])
    lively.live(2)
    at = []
    for _ in range(6 * 60):
        before = len(audits(lively.cloud))
        let_pass(lively.harness, MINUTE)
        if len(audits(lively.cloud)) > before:
            at.append((len(audits(lively.cloud)) - before, lively.clock()))
    assert {count for count, _ in at} == {1}
    assert len(at) == 12
    assert at[-1][1] - at[0][1] >= 55 * MINUTE


def test_while_an_audit_is_not_answered_no_other_is_begun() -> None:
    lively = Lively(["a", "b"], fetchers=(held := HoldsAudits()))
    lively.live(2)
    held.wait_for_one(lively.harness)
    lively.live(3)
    assert len(held.waiting) == 1


@pytest.mark.parametrize("meanwhile", ["more became final", "it is deleted", "a reload", "the end"])
def test_an_audit_is_done_again_if_meanwhile(meanwhile: str) -> None:
    lively = Lively(["a", "b"], fetchers=(held := HoldsAudits()))
    lively.live(2)
    lively.cloud.events["a"].pop(1)
    held.wait_for_one(lively.harness)
    match meanwhile:
        case "more became final":
            lively.cloud.event("a", lively.clock(), "normal", "more")
            let_pass(lively.harness, 2 * POLICY.lateness)
        case "it is deleted":
            lively.cloud.remove("a")
            let_pass(lively.harness, 2 * MINUTE)
        case "a reload":
            lively.harness.poller.configure([project("prod", lively.cloud, held)])
        case "the end":
            lively.cloud.failures["audit"] = Stopping("The exporter is stopping.")
    assert len(held.waiting) == 1
    held.answer()
    lively.harness.settle()
    assert told(lively.harness) == []
    lively.cloud.failures.clear()
    lively.cloud.rows["a"] = ServiceRow("a")
    for _ in range(2):
        held.wait_for_one(lively.harness)
        held.answer()
        lively.harness.settle()
    assert [service_id for service_id, *_ in told(lively.harness)] == ["a"]


# --- over HTTP, with the emulator's faults ------------------------------------------------------------------


def live(found: World, service_id: str, hours: int) -> None:
    """Events every hour, one of them late by almost as much as is allowed for."""
    for hour in range(hours):
        now = found.clock()
        found.cloud.add_event(service_id, "normal", "start to deploy service")
        found.cloud.add_event(
            service_id, "abnormal", f"failed {hour}", visible_at=now + OVER_HTTP.lateness - SECOND
        )
        for _ in range(12):
            found.forward(5 * MINUTE)


# Each is a day; the two that are left to `make long` are torn in other ways, with the same outcome.
@pytest.mark.parametrize(
    "torn",
    [
        "nothing",
        pytest.param("total", marks=pytest.mark.long),
        pytest.param("duplicate", marks=pytest.mark.long),
        "missing",
    ],
)
def test_reads_that_are_torn_all_day_leave_no_difference(
    torn: Literal["nothing", "total", "duplicate", "missing"],
) -> None:
    with world(Switches(max_limit=10)) as found:
        service_id = found.cloud.add_service()
        if torn != "nothing":
            found.cloud.faults.add(*(faults.torn(torn, times=1, skip=skip) for skip in range(10, 3000, 23)))
        live(found, service_id, hours=32)
        assert told(found) == []
        assert found.own("modelarts_exporter_torn_reads_total", project="prod") > 0 or torn == "nothing"
        spare = found.own("modelarts_exporter_audit_last_success_timestamp_seconds", project="prod")
        assert spare * 1000 > MIDNIGHT + 2 * DAY_MS


def hidden(text: str) -> faults.Fault:
    """The cloud shows no event of this text, and its count agrees."""

    def edit(body: dict[str, Any]) -> None:
        shown = [row for row in body["events"] if row["event_info"] != text]
        body["total_count"] -= len(body["events"]) - len(shown)
        body["events"], body["count"] = shown, len(shown)

    return faults.edited(edit, endpoint="events", times=None)


def doubled(text: str) -> faults.Fault:
    """The cloud shows events of this text twice, and its count agrees."""

    def edit(body: dict[str, Any]) -> None:
        more = [row for row in body["events"] if row["event_info"] == text]
        body["events"] = sorted([*body["events"], *more], key=lambda row: row["occur_time"])
        body["count"] = len(body["events"])
        body["total_count"] += len(more)

    return faults.edited(edit, endpoint="events", times=None)


@pytest.mark.parametrize(("fault", "kind"), [(hidden("failed 3"), "extra"), (doubled("failed 3"), "missing")])
def test_a_fault_that_agrees_with_its_own_count_is_found_within_a_day(fault: faults.Fault, kind: str) -> None:
    with world() as found:
        service_id = found.cloud.add_service()
        live(found, service_id, hours=3)
        found.cloud.faults.add(fault)
        live(found, service_id, hours=5)
        found.cloud.faults.clear()
        live(found, service_id, hours=24)
        assert [line[1:3] for line in told(found)] == [("2023-11-15", kind)]
        assert sum(value or 0 for value in differences(found).values()) == 1


def test_an_event_that_is_later_than_lateness_is_found() -> None:
    with world() as found:
        service_id = found.cloud.add_service()
        live(found, service_id, hours=3)
        found.cloud.add_event(service_id, "abnormal", "late", visible_at=found.clock() + 90 * MINUTE)
        live(found, service_id, hours=26)
        assert [line[1:3] for line in told(found)] == [("2023-11-15", "extra")]


def test_a_cloud_that_forgets_within_hours_differs_in_nothing() -> None:
    with world(Switches(retention=2 * HOUR)) as found:
        live(found, found.cloud.add_service(), hours=30)
        assert told(found) == []
