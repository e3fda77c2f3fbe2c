"""Whatever the cloud writes: the page stays readable, other services go on, nothing is lost or doubled."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.emulator import faults, model
from exporter.engine.fetch import FetchPool
from tests.clients import Talk
from tests.expected_series import expected_series
from tests.over_http import PACE, SECOND, World, world
from tests.test_every_cloud import check, live_through

DAY = 86_400 * SECOND
MINUTE = 60 * SECOND

NAMES = {
    "quotes": "say \"hello\" and 'goodbye'",
    "a backslash at the end": "path\\to\\",
    "an escape that is none": '\\n \\" \\\\',
    "newlines": "first\nsecond\r\nthird\u2028fourth\x85fifth",
    "control characters": "".join(map(chr, range(32))) + "\x7f",
    "html": "<script>alert('&amp;')</script>",
    "a lone surrogate": "half \ud83d a pair",
    "lone surrogates the wrong way round": "\ude00\ud83d",
    "an emoji and bidi": "🚀 \u202eabc\u202c",
    "braces": 'x{service_id="y"} 1',
    "a comment": "# TYPE modelarts_up gauge",
    "nothing": "",
    "ten kilobytes": "ä" * 10_000,
}


@pytest.fixture(name="found")
def _found() -> Iterator[World]:
    with world() as found:
        yield found


def test_no_name_of_a_service_breaks_the_page(found: World) -> None:
    ids = name_them_all(found)
    check(found)

    shown = {
        sample.labels["service_id"]: sample.labels["service_name"]
        for family in text_string_to_metric_families(found.text())
        for sample in family.samples
        if sample.name == "modelarts_service_info"
    }
    written = {key: name.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for key, name in ids}
    assert shown == {key: name[:256] for key, name in written.items()}
    found.text().encode()  # no half of a pair is left


@pytest.mark.live
def test_promtool_reads_a_page_of_bad_names(found: World) -> None:
    name_them_all(found)
    found.sweep()
    promtool = shutil.which("promtool")
    assert promtool is not None
    done = subprocess.run(
        [promtool, "check", "metrics"], input=found.text().encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")


def name_them_all(found: World) -> list[tuple[str, str]]:
    """A service for each bad name, each with a failure under way."""
    ids = []
    for name in NAMES.values():
        bad = {"model_id": name, "model_name": name, "model_version": name, "specification": name}
        service_id = found.cloud.add_service(models=[{**model(), **bad}], owner=name)
        found.cloud.patch_service(service_id, service_name=name)
        ids.append((service_id, name))
    found.forward(SECOND)
    for service_id, _ in ids:
        begun = found.cloud.begin_update(service_id)
        found.cloud.add_event(service_id, "abnormal", "failed to pull image, retry later")
        found.cloud.settle(service_id, begun, "FAIL")
    return ids


def test_no_event_text_breaks_the_page_or_leaks_a_secret(found: World) -> None:
    quiet, loud = found.cloud.add_service(), found.cloud.add_service()
    found.rest()
    begun = found.cloud.begin_update(loud)
    for text in (
        "x" * 100_000,
        "health check failed: " + "\x00\x1b[31m\ud800\n\r\t\u202e" * 5_000,
        "pull https://user:hunter2@swr.example/i password=hunter2 {'token': 'hunter2'} sk:hunter2",
        'Authorization: Bearer hunter2\nsecret_key="hunter2',
        "",
    ):
        found.cloud.add_event(loud, "abnormal", text)
        found.cloud.add_event(loud, "abnormal", text)  # in the same millisecond: another event
    found.cloud.settle(loud, begun, "FAIL")
    found.cloud.add_event(quiet, "normal", "preparing environment")
    found.sweep()

    shown = found.shown()
    assert shown[f"modelarts_service_events_total{{event_type=abnormal,service_id={loud}}}"] == 10
    assert shown[f"modelarts_service_events_total{{event_type=normal,service_id={quiet}}}"] == 1
    message = next(
        sample.labels["message"]
        for family in text_string_to_metric_families(found.text())
        for sample in family.samples
        if sample.name == "modelarts_service_last_failure_info"
    )
    assert 0 < len(message) <= 200
    assert message.isprintable()
    assert "hunter2" not in found.text()
    assert "hunter2" not in str(found.log.calls)


# --- numbers -----------------------------------------------------------------------------------------

ABSURD: tuple[Any, ...] = (
    1e308,
    -1e308,
    -1,
    2**70,
    -(2**70),
    0.5,
    True,
    "NaN",
    "Infinity",
    "",
    " ",
    "1e400",
    [],
    {},
    None,
)


# As an instant: 0.5 would be one.
UNUSABLE = tuple(value for value in ABSURD if value != 0.5)


def test_no_number_in_the_list_breaks_anything(found: World) -> None:
    sane, odd = found.cloud.add_service(), found.cloud.add_service()
    found.rest()
    fields = (
        *("progress", "publish_at", "transition_at", "operation_time"),
        *("due_time", "invocation_times", "failed_times"),
    )
    for value in ABSURD:
        found.cloud.patch_service(odd, **dict.fromkeys(fields, value))
        for service_id in (sane, odd):
            found.cloud.add_event(service_id, "normal", "preparing environment")
        found.forward(PACE.interval)
        found.scrape()
    found.cloud.patch_service(odd, invocation_times=7)
    check(found)


@pytest.mark.parametrize("value", ABSURD, ids=repr)
def test_no_number_in_an_update_breaks_anything(found: World, value: Any) -> None:
    sane = found.cloud.add_service()
    odd = found.cloud.add_service(
        infer_type="edge",
        models=[
            model(
                weight=value,
                instance_count=value,
                custom_spec={"cpu": value, "memory": value, "gpu_p4": value, "gpu_v100": value},
            )
        ],
    )

    def edit(content: dict[str, Any]) -> None:
        for row in content["logs"]:
            row["success_num"] = row["failed_num"] = value

    found.cloud.faults.add(faults.edited(edit, endpoint="logs", service_id=odd, times=None))
    found.rest()
    for service_id in (sane, odd):
        found.cloud.begin_update(service_id)
    found.forward(PACE.interval)
    for service_id in (sane, odd):
        begun = found.cloud.service(service_id).updates[0].update_time
        found.cloud.settle(service_id, begun, "FAIL")
    check_all_but(found, "modelarts_service_update_nodes_total")


def check_all_but(found: World, name: str) -> None:
    """Everything is as true as can be, save what was made untrue by hand."""
    found.sweep()
    true = {key: value for key, value in expected_series(found.cloud).items() if not key.startswith(name)}
    shown = found.shown()
    assert {key: shown.get(key) for key in true} == true


@pytest.mark.parametrize("value", UNUSABLE, ids=repr)
@pytest.mark.parametrize(("endpoint", "field"), [("logs", "update_time"), ("events", "occur_time")])
def test_an_entry_without_a_usable_time_fails_its_service_alone(
    found: World, endpoint: Any, field: str, value: Any
) -> None:
    sane, odd = found.cloud.add_service(), found.cloud.add_service()
    found.rest()
    for service_id in (sane, odd):
        found.cloud.settle(service_id, found.cloud.begin_update(service_id), "FAIL")
        found.cloud.add_event(service_id, "abnormal", "failed to pull image, retry later")

    def edit(content: dict[str, Any]) -> None:
        content[endpoint][0][field] = value

    found.cloud.faults.add(faults.edited(edit, endpoint=endpoint, service_id=odd, times=None))
    found.sweep()
    shown = found.shown()
    assert shown[f"modelarts_service_up{{service_id={odd}}}"] == 0
    assert shown[f"modelarts_service_up{{service_id={sane}}}"] == 1
    assert shown[f"modelarts_service_updates_total{{result=FAIL,service_id={sane}}}"] == 1
    assert shown["modelarts_up{}"] == 1

    found.cloud.faults.clear()
    check(found)


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1", b"9" * 5000])
@pytest.mark.parametrize("endpoint", ["list", "logs", "events"])
def test_a_number_that_is_no_json_loses_nothing(found: World, endpoint: Any, literal: bytes) -> None:
    service_id = found.cloud.add_service()
    found.cloud.settle(service_id, found.cloud.begin_update(service_id), "FAIL")
    found.cloud.add_event(service_id, "abnormal", "failed to pull image, retry later")
    found.sweep()
    before = expected_series(found.cloud)

    def spoil(answer: Any) -> Any:
        body = answer.body
        for field in (b'"progress": 100', b'"update_time": ', b'"occur_time": '):
            head, found_it, rest = body.partition(field)
            if found_it:
                rest = rest.lstrip(b"0123456789")
                body = head + field.rstrip(b"0123456789") + literal + rest
        return replace(answer, body=body)

    found.cloud.faults.add(faults.Fault(spoil, endpoint=endpoint, times=None))
    found.sweep()
    free = ("modelarts_up{}", f"modelarts_service_up{{service_id={service_id}}}")  # they say that it failed
    shown = found.shown()
    assert {key: shown.get(key) for key in before if key not in free} == {
        key: value for key, value in before.items() if key not in free
    }

    found.cloud.faults.clear()
    found.cloud.settle(service_id, found.cloud.begin_update(service_id), "SUCCESS")
    check(found)


# --- rows --------------------------------------------------------------------------------------------


def test_a_row_of_the_list_that_is_no_service_hides_no_other_and_deletes_none(found: World) -> None:
    ids = [found.cloud.add_service() for _ in range(3)]
    found.rest()
    junk: tuple[Any, ...] = (
        "a string",
        None,
        7,
        1.5,
        True,
        [],
        {},
        {"service_id": None},
        {"service_id": ".."},
    )

    def edit(content: dict[str, Any]) -> None:
        # In place of a service that exists: such a row cannot be distinguished from a real one.
        rows = [row for row in content["services"] if row["service_id"] != ids[0]]
        content["services"] = [*rows, *junk]
        content["count"] = content["total_count"] = len(content["services"])

    found.cloud.faults.add(faults.edited(edit, endpoint="list", times=None))
    for service_id in ids:
        found.cloud.settle(service_id, found.cloud.begin_update(service_id), "FAIL")
    new = found.cloud.add_service()
    for _ in range(4):  # two lists without it would be the end of one that is really gone
        found.forward(PACE.interval)
        found.scrape()

    watched = {
        sample.labels["service_id"]
        for family in text_string_to_metric_families(found.text())
        for sample in family.samples
        if sample.name == "modelarts_service_info"
    }
    assert watched == {*ids, new}
    assert found.own("modelarts_exporter_unknown_values_total", field="services") == 4 * len(junk)

    found.cloud.faults.clear()
    check(found)


@pytest.mark.parametrize("junk", ["a string", None, 7, [], {}], ids=repr)
@pytest.mark.parametrize("endpoint", ["logs", "events"])
def test_an_entry_that_is_none_fails_its_service_alone(found: World, endpoint: Any, junk: Any) -> None:
    sane, odd = found.cloud.add_service(), found.cloud.add_service()
    found.rest()
    for service_id in (sane, odd):
        found.cloud.settle(service_id, found.cloud.begin_update(service_id), "FAIL")

    def edit(content: dict[str, Any]) -> None:
        content[endpoint].append(junk)
        if "count" in content:
            content["count"] += 1
            content["total_count"] += 1

    found.cloud.faults.add(faults.edited(edit, endpoint=endpoint, service_id=odd, times=None))
    found.sweep()
    shown = found.shown()
    assert shown[f"modelarts_service_up{{service_id={odd}}}"] == 0
    assert shown[f"modelarts_service_up{{service_id={sane}}}"] == 1

    found.cloud.faults.clear()
    check(found)


def test_a_row_shown_twice_in_a_list_or_an_event_log_is_counted_once(found: World) -> None:
    ids = [found.cloud.add_service() for _ in range(3)]
    found.rest()
    for service_id in ids:
        found.cloud.settle(service_id, found.cloud.begin_update(service_id), "FAIL")
        found.cloud.add_event(service_id, "abnormal", "failed to pull image, retry later")
    for endpoint in ("list", "events"):
        found.cloud.faults.add(
            *(faults.torn("duplicate", endpoint=endpoint) for _ in range(4)),
            *(faults.torn("missing", endpoint=endpoint) for _ in range(4)),
        )
    check(found)


# --- clocks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_steps_by_a_day_loses_and_doubles_nothing(days: int) -> None:
    with world(sign=Talk.password) as found:
        live_through(found, seed=7, moments=15)
        found.wall.forward(days * DAY)
        live_through(found, seed=8, moments=15)
        found.wall.forward(-days * DAY)
        live_through(found, seed=9, moments=15)
        check(found)


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_is_a_day_wrong_from_the_start_loses_and_doubles_nothing(days: int) -> None:
    with world(sign=Talk.password) as found:
        found.wall.forward(days * DAY)
        live_through(found, seed=10, moments=20)
        check(found)


# --- ourselves ---------------------------------------------------------------------------------------


def test_a_bug_in_the_client_ends_the_loop_instead_of_a_reader(found: World) -> None:
    found.cloud.add_service()

    def bug(content: dict[str, Any]) -> None:
        raise ZeroDivisionError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.adapters.modelarts.decode.document", bug)
        fetchers = FetchPool("fetch", 1)
        found.adopt(fetchers)
        with pytest.raises(ZeroDivisionError):
            found.poller.run()
        fetchers.stop()
