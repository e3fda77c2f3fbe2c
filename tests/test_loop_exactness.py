"""The whole loop over a cloud that does anything, dying at any step: at the end the counters are the truth.

Each history runs on one store, through as many lives of the program as it crashes. Whatever goes wrong is
told as the shortest history that shows it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from tempfile import TemporaryDirectory

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from exporter.adapters.store.database import Store
from exporter.core.source import (
    Forbidden,
    Gone,
    NotUnderstood,
    Refused,
    RemoteError,
    Throttled,
    Torn,
    Unreachable,
)
from tests.fakes import NOW, Clock, Cloud, Crash, FaultyStore
from tests.poller_harness import MINUTE, PACE, POLICY, SECOND, PollerHarness

ERRORS = {
    error.__name__: error
    for error in (RemoteError, Unreachable, Refused, Forbidden, Throttled, Gone, Torn, NotUnderstood)
}
# What a text is counted as; "" for nothing.
TEXTS = {
    ("abnormal", "failed to pull image, retry later"): "image_pull",
    ("abnormal", "Schedule failed due to insufficient resources. Retry later."): "insufficient_resources",
    ("abnormal", "something that no rule knows"): "other",
    ("normal", "Failed to update the service. The update has been rolled back."): "rollback",
    ("normal", "start to deploy service"): "",
    ("warning", "of a type that nobody knows"): "",
}
SERVICES = ("a", "b", "edge")
NODES = {
    "SUCCESS": {"nodes_succeeded": 3, "nodes_failed": 0},
    "FAIL": {"nodes_succeeded": 1, "nodes_failed": 2},
}
TOTALS = tuple(
    f"modelarts_service_{family}_total{{"
    for family in ("updates", "events", "abnormal_events", "update_nodes")
)
# Prometheus sees a first step only if it scrapes within the two minutes that a 0 is held.
SCRAPE_EVERY = 60 * SECOND
# A sweep, the longest wait after failures, and the pause after a store that failed.
QUIET = 2 * 5 * MINUTE + MINUTE


class History:
    """A cloud, one store, and the programs that lived on it; told as it goes."""

    def __init__(self, store: Store, reopen: Callable[[Store], Store], *, calm: bool) -> None:
        self.clock = Clock()
        self.cloud = Cloud(self.clock)
        self.store, self._reopen = store, reopen
        self.lines: list[str] = []
        self.truth: Counter[str] = Counter()
        self.open: list[tuple[str, int]] = []
        self.counted: dict[tuple[str, int], set[str]] = {}  # of each update that was retried
        self.before_retry: dict[tuple[str, int], str] = {}
        self.refused: set[str] = set()  # whose update log was refused at some time
        self.gone: dict[str, object] = {}
        self.scraped: dict[str, float] = {}
        self.stepped, self.down = False, 0
        for service_id in SERVICES:
            infer_type = "edge" if service_id == "edge" else "real-time"
            self.cloud.add(service_id, infer_type=infer_type, invocations=1)
        self.update("a", 60, "FAIL")
        self.event("edge", 60, 0)
        self.regular = False
        self.rig = PollerHarness(self.cloud, self.clock, store)
        if calm:
            self.rig.settle()
            self.scrape()
            self.regular = True

    def tell(self, line: str) -> None:
        self.lines.append(f"at {(self.clock.true - NOW) / SECOND:g} s: {line}")

    def check(self, wrong: object, law: str) -> None:
        assert not wrong, "\n".join(["", *self.lines, f"=> {law}: {wrong}"])

    # --- the cloud ---------------------------------------------------------------------------------

    def update(self, service_id: str, late: int, result: str) -> None:
        """An update of up to `lateness` ago appears, open or settled."""
        time = self.clock.true - late * SECOND
        if (service_id, time) in self.counted:
            return  # which of the two a result is of could not be told
        self.tell(f"{service_id}: {result} of {late} s ago")
        self.cloud.append(service_id, time, result, **self._fields(service_id, result))
        if result == "RUNNING":
            self.open.append((service_id, time))
        else:
            self._count(service_id, result)

    def settle(self, number: int, result: str, beside: bool) -> None:
        if not self.open:
            return
        service_id, time = self.open.pop(number % len(self.open))
        self.tell(f"{service_id}: the RUNNING one of {(self.clock.true - time) / SECOND:g} s ago: {result}")
        log = self.cloud.updates[service_id]
        if not beside:
            log.remove(next(u for u in log if (u.update_time, u.result) == (time, "RUNNING")))
        self.cloud.append(service_id, time, result, **self._fields(service_id, result))
        counted = self.counted.get((service_id, time), set())
        if result not in counted:
            self._count(service_id, result)
        counted.add(result)

    def retry(self, service_id: str, result: str) -> None:
        """The newest update of a service, which was read by now, runs again or shows another result."""
        self.heal()
        self.cloud.unsupported.clear()
        self.wait(QUIET // SECOND)
        log = self.cloud.updates[service_id]
        newest = max((update.update_time for update in log), default=0)
        rows = [update for update in log if update.update_time == newest]
        if service_id not in self.cloud.rows or len(rows) != 1 or not rows[0].settled:
            return
        if newest > self.clock.true:
            return
        key = (service_id, newest)
        self.tell(f"{service_id}: the {rows[0].result} of {newest} is {result} now")
        self.counted.setdefault(key, {rows[0].result})
        self.before_retry[key] = rows[0].result
        log.remove(rows[0])
        if result == "RUNNING":
            self.cloud.append(service_id, newest, result)
            self.open.append(key)
        else:
            self.open.append(key)
            self.settle(len(self.open) - 1, result, beside=True)

    def refuse(self, service_id: str) -> None:
        """The API says that the service has no update log; or it has one from now on."""
        self.tell(f"{service_id}: the update log is refused, or no longer")
        self.cloud.unsupported ^= {service_id}
        self.refused.add(service_id)

    def _fields(self, service_id: str, result: str) -> dict[str, int]:
        return NODES.get(result, {}) if service_id == "edge" else {}

    def _count(self, service_id: str, result: str) -> None:
        self.truth[series("updates", service_id, result=result)] += 1
        if service_id == "edge":
            for name, count in NODES[result].items():
                outcome = {"nodes_succeeded": "success", "nodes_failed": "failed"}[name]
                self.truth[series("update_nodes", service_id, result=outcome)] += count

    def event(self, service_id: str, late: int, number: int) -> None:
        kind, text = list(TEXTS)[number]
        self.tell(f"{service_id}: {kind} event of {late} s ago: {text}")
        self.cloud.event(service_id, self.clock.true - late * SECOND, kind, text)
        if kind in ("normal", "abnormal"):
            self.truth[series("events", service_id, event_type=kind)] += 1
        if reason := TEXTS[kind, text]:
            self.truth[series("abnormal_events", service_id, reason=reason)] += 1

    def row(self, service_id: str, status: str) -> None:
        if service_id in self.cloud.rows:
            self.tell(f"{service_id}: {status}")
            self.cloud.change(service_id, status=status, transition_at=self.clock.true)

    def calls(self, service_id: str, times: int) -> None:
        if service_id in self.cloud.rows:
            self.tell(f"{service_id}: called {times} times more")
            before = self.cloud.rows[service_id].invocations or 0
            self.cloud.change(service_id, invocations=before + times)

    def turn(self, service_id: str) -> None:
        """A service is deleted, or comes back."""
        if service_id in self.gone:
            self.tell(f"{service_id} is back")
            self.cloud.rows[service_id] = self.gone.pop(service_id)  # type: ignore[assignment]
        elif service_id in self.cloud.rows:
            self.tell(f"{service_id} is deleted")
            self.gone[service_id] = self.cloud.rows.pop(service_id)
        else:
            self.tell(f"{service_id} is new")
            self.cloud.add(service_id, invocations=7)

    def list_is(self, complete: bool, malformed: int) -> None:
        self.tell(f"lists are {'complete' if complete else 'torn'}, {malformed} rows malformed")
        self.cloud.complete, self.cloud.malformed = complete, malformed

    def fail(self, endpoint: str, error: str) -> None:
        self.tell(f"{endpoint} fails: {error}")
        self.cloud.failures[endpoint] = ERRORS[error](error)

    def heal(self) -> None:
        self.tell("nothing fails")
        self.cloud.failures.clear()
        self.cloud.complete, self.cloud.malformed = True, 0

    # --- the program -------------------------------------------------------------------------------

    def wait(self, seconds: int) -> None:
        """Time passes; Prometheus scrapes every minute where it is regular."""
        left = seconds * SECOND
        while left > 0:
            part = min(left, SCRAPE_EVERY)
            left -= part
            self._live(lambda part=part: self.rig.pass_time(part))  # type: ignore[misc]
            if self.regular:
                self.scrape()

    def _live(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Crash:
            self.restart(self.down)

    def restart(self, down: int = 0) -> None:
        self.look()
        self.tell(f"the program is gone, and back after {down} s")
        self.store = self._reopen(self.store)
        self.cloud.crash_after = None
        self.clock.forward(down * SECOND)
        self.rig = PollerHarness(self.cloud, self.clock, self.store)
        self.look()
        if self.regular:
            self._live(lambda: self.rig.pass_time(SECOND))
            self.scrape()

    def crash(self, where: str, number: int, down: int) -> None:
        """The program dies at the number-th request or commit from now, or the disk fails then."""
        self.tell(f"to come: {where} {number}")
        self.down = down
        if where == "request":
            self.cloud.crash_after = number
        else:
            assert isinstance(self.store, FaultyStore)
            self.store.faults = ["ok"] * number + [where]

    def clock_steps(self, seconds: int) -> None:
        self.tell(f"our clock is set by {seconds} s")
        self.clock.step(seconds * SECOND)
        self.stepped = True

    def scrape(self) -> None:
        self.look()
        self.rig.poller.scraped(self.rig.publisher.snapshot.page)
        self._live(self.rig.settle)

    def look(self) -> None:
        """What a scrape at this moment takes, even if the program dies before it learns of it."""
        shown = {n: v for n, v in self.rig.lines().items() if is_counter(n)}
        before = {name: was for name, was in self.scraped.items() if name in shown}
        fallen = {name: (was, shown[name]) for name, was in before.items() if shown[name] < was}
        self.check(fallen, "counters fell")
        if self.regular and not self.stepped:
            # The first log that comes where there was none is history, of the service and of its project.
            new = {n: v for n, v in shown.items() if v and n not in self.scraped}
            self.check({n: v for n, v in new.items() if not self._is_history(n)}, "born above 0")
        self.scraped |= shown

    def _is_history(self, name: str) -> bool:
        """Whether it may be a counter of updates of a service whose log was refused."""
        return "_service_up" in name and any(f'service_id="{each}"' in name for each in self.refused)

    def end(self) -> None:
        """A quiet time, in which everything can be read; then the counters are the truth."""
        self.heal()
        self.crash("ok", 0, 0)
        self.cloud.crash_after = None
        self.cloud.unsupported.clear()
        for service_id in list(self.gone):
            self.turn(service_id)
        self.check_gauges()
        self.wait(QUIET // SECOND)
        self.scrape()
        self.scrape()
        shown = {n: v for n, v in self.rig.lines().items() if n.startswith(TOTALS) and v}
        truth = +self.truth
        wrong = {n: (shown.get(n), truth.get(n)) for n in shown | truth if shown.get(n) != truth.get(n)}
        self.check(wrong, "counted is not what is true")
        for service_id, row in self.cloud.rows.items():
            calls = self.rig.lines()[series("invocations", service_id)]
            self.check(calls != row.invocations, f"{service_id} was called {row.invocations} times")

    def check_gauges(self) -> None:
        """Read all, and compare the gauges of updates with what the logs show at that moment."""
        self.wait(QUIET // SECOND)
        for service_id in self.cloud.rows:
            self.row(service_id, "concerning")
        self.wait(PACE.interval // SECOND)
        shown = self.rig.samples()
        for service_id in self.cloud.rows:
            true = self._gauges(service_id)
            names = {name: gauge(name, service_id) for name in true}
            found = {name: shown.get(full) for name, full in names.items()}
            self.check(
                {n: (found[n], true[n]) for n in true if found[n] != true[n]}, f"gauges of {service_id}"
            )

    def _gauges(self, service_id: str) -> dict[str, float | None]:
        """The gauges of a service's updates, from its log alone."""
        log = self.cloud.updates[service_id]
        results = {u.update_time: {r.result for r in log if r.update_time == u.update_time} for u in log}
        settled = {time: kinds & {"SUCCESS", "FAIL"} for time, kinds in results.items()}
        for time, kinds in settled.items():
            if not kinds and (service_id, time) in self.before_retry:
                kinds.add(self.before_retry[service_id, time])  # it stands while the retry runs

        def last(*wanted: str) -> int | None:
            times = [time for time, kinds in settled.items() if kinds & set(wanted)]
            return max(times, key=self._age, default=None)

        newest = max(results, key=self._age, default=None)
        last_settled = last("SUCCESS", "FAIL")
        opens = [u.update_time for u in log if results[u.update_time] == {"RUNNING"}]
        goes_on = [
            time
            for time in opens
            if newest is not None
            and time <= newest
            and not any(time < t <= newest for t in settled if settled[t])
        ]
        present = ""
        if newest is not None:
            present = "RUNNING" if newest in opens else "FAIL" if "FAIL" in settled[newest] else "SUCCESS"
        stamps = {
            "oldest_running_update": min(goes_on, default=None),
            "last_update": newest,
            "last_success": last("SUCCESS"),
            "last_failure": last("FAIL"),
        }
        return {
            "update_failing{}": float(last_settled is not None and "FAIL" in settled[last_settled]),
            "updates_running{}": len(opens),
            **{
                f"update_result{{result={each}}}": float(each == present)
                for each in ("SUCCESS", "FAIL", "RUNNING")
            },
            **{
                f"{name}_timestamp_seconds{{}}": None if time is None else time / SECOND
                for name, time in stamps.items()
            },
        }

    def _age(self, time: int) -> tuple[bool, int]:
        return (time <= self.clock.true, time)


def series(family: str, service_id: str, **label: str) -> str:
    """A counter's name in the page."""
    labels = {"project": "prod", "service_id": service_id, "service_name": f"name-{service_id}", **label}
    inner = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"modelarts_service_{family}_total{{{inner}}}"


def gauge(name: str, service_id: str) -> str:
    """A gauge's name as `PollerHarness.samples` has it."""
    own = f"service_id={service_id}}}"
    return f"modelarts_service_{name[:-1]}{own if name.endswith('{}') else ',' + own}"


def is_counter(name: str) -> bool:
    return name.partition("{")[0].endswith(("_total", "_count", "_sum", "_bucket"))


Step = tuple[str, tuple[object, ...]]


def step(name: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.tuples(*arguments))


SERVICE = st.sampled_from([*SERVICES, "a"])
# Now, as late as may be, or from the future.
LATE = st.one_of(st.just(0), st.integers(0, POLICY.lateness // SECOND), st.integers(-900, 0))
RESULT = st.sampled_from(["SUCCESS", "FAIL"])
ENDPOINT = st.sampled_from(["list", "logs", "events", "logs a", "events a", "logs b", "events b", "detail"])
WAIT = step("wait", st.sampled_from([1, 10, 30, 60, 300, 700, 1800]))
STEPS = st.one_of(
    WAIT,
    WAIT,
    step("update", SERVICE, LATE, st.sampled_from(["RUNNING", "RUNNING", "SUCCESS", "FAIL"])),
    step("settle", st.integers(0, 3), RESULT, st.booleans()),
    step("retry", SERVICE, st.sampled_from(["RUNNING", "RUNNING", "SUCCESS", "FAIL"])),
    step("refuse", SERVICE),
    step("event", SERVICE, LATE, st.integers(0, len(TEXTS) - 1)),
    step("row", SERVICE, st.sampled_from(["running", "deploying", "failed"])),
    step("calls", SERVICE, st.integers(0, 5)),
    step("turn", st.sampled_from(["a", "b", "new"])),
    step("list_is", st.booleans(), st.integers(0, 1)),
    step("fail", ENDPOINT, st.sampled_from(sorted(ERRORS))),
    step("heal"),
    step("restart", st.sampled_from([0, 1, 200])),
    step(
        "crash",
        st.sampled_from(["request", "fails", "dies before", "dies after"]),
        st.integers(0, 3),
        st.sampled_from([0, 200]),
    ),
    step("clock_steps", st.sampled_from([-3600, -30, 30])),
    step("scrape"),
)


def live(history: History, steps: Sequence[Step]) -> None:
    for name, arguments in steps:
        if name in ("update", "event", "retry") and arguments[0] not in history.cloud.updates:
            continue
        getattr(history, name)(*arguments)
    history.end()


CALLED_AND_KILLED: list[Step] = [
    ("calls", ("a", 1)),
    ("wait", (60,)),
    ("calls", ("a", 3)),
    ("wait", (60,)),
    ("fail", ("list", "Unreachable")),
    ("restart", (0,)),
    ("wait", (60,)),
]
KILLED_BEFORE_ITS_FIRST_STEP_WAS_SCRAPED: list[Step] = [
    ("event", ("a", 0, 0)),
    ("crash", ("dies after", 0, 200)),
    ("wait", (300,)),
]
KILLED_BEFORE_THE_COMMIT: list[Step] = [
    ("event", ("a", 0, 0)),
    ("crash", ("dies before", 0, 0)),
    ("restart", (0,)),
]
OPEN_FOR_LONG: list[Step] = [
    ("update", ("a", 0, "RUNNING")),
    ("wait", (300,)),
    *[step for _ in range(3) for step in (("wait", (700,)), ("update", ("a", 0, "FAIL")))],
    ("wait", (700,)),
    ("settle", (0, "SUCCESS", False)),
]
FROM_THE_FUTURE: list[Step] = [
    ("event", ("a", -900, 0)),
    ("wait", (300,)),
    ("event", ("a", 600, 0)),
]
HIDDEN_BY_THE_FUTURE: list[Step] = [
    ("wait", (60,)),
    ("update", ("a", -900, "SUCCESS")),
    ("update", ("a", 0, "FAIL")),
    ("wait", (30,)),
]
RETRIED_IN_PLACE: list[Step] = [
    ("update", ("a", 0, "FAIL")),
    ("retry", ("a", "RUNNING")),
    ("restart", (0,)),
    ("settle", (0, "SUCCESS", False)),
    ("retry", ("a", "RUNNING")),
    ("settle", (0, "FAIL", False)),
    ("retry", ("a", "SUCCESS")),
    ("retry", ("a", "RUNNING")),
]
REFUSED_AT_FIRST: list[Step] = [
    ("turn", ("new",)),
    ("refuse", ("new",)),
    ("update", ("new", 60, "FAIL")),
    ("wait", (60,)),
    ("restart", (0,)),
    ("refuse", ("new",)),
    ("wait", (300,)),
    ("update", ("new", 0, "FAIL")),
]


@settings(max_examples=60, report_multiple_bugs=False)
@given(steps=st.lists(STEPS, min_size=5, max_size=30), calm=st.booleans())
@example(steps=KILLED_BEFORE_THE_COMMIT, calm=True)
@example(steps=OPEN_FOR_LONG, calm=True)
@example(steps=FROM_THE_FUTURE, calm=True)
@example(steps=HIDDEN_BY_THE_FUTURE, calm=True)
@example(steps=RETRIED_IN_PLACE, calm=True)
@example(steps=REFUSED_AT_FIRST, calm=True)
@example(steps=CALLED_AND_KILLED, calm=True)
@example(steps=KILLED_BEFORE_ITS_FIRST_STEP_WAS_SCRAPED, calm=True)
def test_after_any_history_the_counters_are_the_truth(steps: list[Step], *, calm: bool) -> None:
    store = FaultyStore.open("")
    live(History(store, lambda store: store, calm=calm), steps)
    store.close()


# Not shrunk: a disk is slow, and the history in memory above is the same.
@settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(steps=st.lists(STEPS, min_size=5, max_size=30))
def test_a_store_on_disk_that_is_opened_anew_for_each_life_keeps_the_truth(steps: list[Step]) -> None:
    with TemporaryDirectory() as directory:

        def reopened(store: Store) -> Store:
            store.close()
            return FaultyStore.open(directory)

        history = History(FaultyStore.open(directory), reopened, calm=True)
        live(history, steps)
        history.store.close()
