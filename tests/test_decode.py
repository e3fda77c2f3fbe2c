"""Bodies of the API as records, through every drift in spelling that was ever seen."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.adapters.modelarts import decode as bodies
from exporter.core.records import Event, Model, NodeResult, ServiceRow
from exporter.core.source import NotUnderstood

SAMPLES = Path(__file__).parent / "data" / "samples"
S = "s-1"


def sample(name: str) -> tuple[bytes, str]:
    content = (SAMPLES / f"{name}.json").read_bytes()
    return content, json.loads(content).get("service_id", "")


def encoded(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def event(**fields: Any) -> Event:
    return bodies.events(encoded(service_id=S, events=[fields], total_count=1), S).rows[0]


def model(**fields: Any) -> Model:
    log = encoded(service_id=S, logs=[{"update_time": 1, "result": "SUCCESS", "config": [fields]}])
    return bodies.updates(log, S).rows[0].models[0]


# Samples


def test_the_sample_of_a_running_update() -> None:
    page = bodies.updates(*sample("logs_running"))
    assert page.service_name == "service-demo"
    (update,) = page.rows
    assert (update.update_time, update.result) == (1586250930708, "RUNNING")
    assert update.models == (
        Model(
            model_id="f565ac47-6239-4e8c-b2dc-0665dc52e302",
            model_name="model-demo",
            model_version="0.0.1",
            specification="modelarts.vm.cpu.2u",
            weight=100.0,
            instances=1,
        ),
    )
    assert (update.nodes_succeeded, update.nodes_failed, update.nodes) == (None, None, ())


def test_the_sample_of_an_edge_update_with_failed_nodes() -> None:
    page = bodies.updates(*sample("synthetic_logs_edge_partial_fail"))
    update = page.rows[0]
    assert update.nodes
    assert update.nodes_failed == sum(not node.succeeded for node in update.nodes)


@pytest.mark.parametrize("name", ["events_real_time_2019", "events_real_time_docs2025"])
def test_the_samples_of_events(name: str) -> None:
    page = bodies.events(*sample(name))
    assert (len(page.rows), page.total, page.count) == (9, 9, 9)
    assert page.rows[0] == Event(1562597251764, "normal", "start to deploy service")


def test_the_samples_of_lists() -> None:
    stopped = bodies.services(sample("services_list_stopped_two")[0])
    assert (len(stopped.rows), stopped.total) == (2, 2)
    (running,) = bodies.services(sample("services_list_running_one")[0]).rows
    assert running is not None
    assert running.workspace_id == "0"
    assert running.publish_at == 1243143243000
    assert (running.invocations, running.failed_invocations) == (50, 1)
    mixed = bodies.services(sample("synthetic_services_list_batch_edge")[0])
    assert {row.infer_type for row in mixed.rows if row} == {"batch", "edge"}


@pytest.mark.parametrize("name", ["service_detail_running_notready", "service_detail_exeml_otcextensions"])
def test_the_samples_of_details(name: str) -> None:
    assert bodies.service(*sample(name)).status == "running"


# Numbers, strings, arrays


@pytest.mark.parametrize(
    ("spelled", "number"),
    [
        (70, 70.0),
        ("70", 70.0),
        (" 70.5 ", 70.5),
        (1e400, None),
        ("1e400", None),
        (-1, None),
        (10**400, None),
        (True, None),
        ("many", None),
        ("nan", None),
        (None, None),
        ([70], None),
    ],
)
def test_a_number_however_it_is_spelled(spelled: object, number: float | None) -> None:
    assert bodies.amount(spelled) == number


@pytest.mark.parametrize(
    ("spelled", "number"),
    [
        (5, 5),
        ("5", 5),
        (5.0, 5),
        ("5.0", 5),
        (9223372036854775807, 9223372036854775807),
        ("9223372036854775807", 9223372036854775807),
        (9223372036854775808, None),
        ("9223372036854775808", None),
        ("9" * 5_000, None),
        (-5, None),
        (False, None),
        ("", None),
        ("٣٣", 33),
        ({}, None),
    ],
)
def test_a_count_however_it_is_spelled(spelled: object, number: int | None) -> None:
    assert bodies.count(spelled) == number


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_no_value_is_too_strange_for_a_number_or_a_text(value: object) -> None:
    bodies.text(value).encode()
    assert (bodies.amount(value) or 0) >= 0
    assert 0 <= (bodies.time_ms(value) or 0) <= bodies.LATEST_MS


@pytest.mark.parametrize(
    ("spelled", "text"),
    [
        ("plain", "plain"),
        ("日本 \U0001f600", "日本 \U0001f600"),
        ("a\ud800b", "a\ufffdb"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("\x00", "\x00"),
        (7, "7"),
        (0, "0"),
        (True, "true"),
        (False, "false"),
        (None, ""),
        ({"a": 1}, ""),
        ([1], ""),
    ],
)
def test_a_text_however_it_is_spelled(spelled: object, text: str) -> None:
    assert bodies.text(spelled) == text


def test_lone_surrogates_in_a_body_become_replacement_characters() -> None:
    found = bodies.events(b'{"events": [{"occur_time": 1, "event_info": "a\\ud800b"}]}', S)
    assert found.rows == (Event(1, "", "a\ufffdb"),)


@pytest.mark.parametrize(
    ("row", "pool"),
    [
        ({"cluster_id": "a", "config": [{"cluster_id": "b"}]}, "a"),
        ({"cluster_id": " ", "config": [{}, {"cluster_id": "b"}]}, "b"),
        ({"cluster_id": None, "config": None}, ""),
        ({}, ""),
    ],
)
def test_the_pool_is_that_of_the_entry_or_else_of_its_config(row: dict[str, Any], pool: str) -> None:
    body = json.dumps({"service_id": "s", "logs": [{"update_time": 1, "result": "FAIL", **row}]})
    assert bodies.updates(body.encode(), "s").rows[0].cluster_id == pool


def test_numbers_as_strings_everywhere() -> None:
    found = model(
        weight="70", instance_count="2", custom_spec={"cpu": "1.5", "memory": "2048", "gpu_p4": "1"}
    )
    assert found == Model(weight=70.0, instances=2, cpu_cores=1.5, memory_mb=2048.0, gpus=1.0)


def test_gpus_of_all_kinds_are_summed_and_ascend_chips_are_none() -> None:
    assert model(custom_spec={"gpu_p4": 1, "gpu_v100": 2, "ascend_a310": 4}).gpus == 3.0
    assert model(custom_spec={"ascend_a310": 4}).gpus is None
    assert model(custom_spec={"gpu_p4": "none"}).gpus is None


@pytest.mark.parametrize("spec", [None, {}, [], "custom"])
def test_without_a_custom_spec_there_are_no_numbers_of_it(spec: object) -> None:
    assert model(model_id="m", custom_spec=spec) == Model(model_id="m")


def test_secrets_of_the_environment_are_not_kept() -> None:
    assert "hunter2" not in repr(model(model_id="m", envs={"PASSWORD": "hunter2"}))


@pytest.mark.parametrize(
    ("spelled", "succeeded"),
    [
        (True, True),
        ("true", True),
        ("True", True),
        (1, True),
        (False, False),
        ("false", False),
        (None, False),
    ],
)
def test_the_result_of_a_node_however_it_is_spelled(spelled: object, succeeded: bool) -> None:
    node = {"node_id": 5, "node_name": "n", "operation": "deploy", "result": spelled}
    log = encoded(
        logs=[{"update_time": 1, "result": " FAIL ", "success_num": "1", "result_detail": [node, 7]}]
    )
    (update,) = bodies.updates(log, S).rows
    assert update.nodes == (NodeResult("5", "n", "deploy", succeeded),)
    assert (update.result, update.nodes_succeeded, update.nodes_failed) == ("FAIL", 1, None)


@pytest.mark.parametrize("missing", [{}, {"logs": None}])
def test_an_array_may_be_null_or_absent_where_the_answer_names_its_service(missing: dict[str, Any]) -> None:
    assert bodies.updates(encoded(service_id=S, **missing), S).rows == ()
    events = {"events": None} if missing else {}
    assert bodies.events(encoded(service_id=S, total_count=0, **events), S).rows == ()
    services = {"services": None} if missing else {}
    assert bodies.services(encoded(total_count=0, **services)).rows == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"7",
        b"{}",
        b'{"error_code": "X", "error_msg": "a success that is none"}',
        b'{"events": {}, "logs": {}, "services": {}}',
        b'{"events": "none", "logs": "none", "services": "none"}',
        b'{"events": [], "logs": [NaN], "services": [], "x": Infinity}',
        b'{"events": [7], "logs": [7], "services": [], "count": "many"}',
        b"[" * 100_000,
        b'{"events": [], "logs": [], "services": [], "service_id": "other", "total_count": "x"}',
        b'{"events": ' + b"1" * 5_000 + b"}",
    ],
)
def test_what_is_no_answer_of_its_kind_is_not_understood(body: bytes) -> None:
    for read in (
        lambda: bodies.events(body, S),
        lambda: bodies.updates(body, S),
        lambda: bodies.services(body),
    ):
        with pytest.raises(NotUnderstood):
            read()
    with pytest.raises(NotUnderstood):
        bodies.service(body, S)


@pytest.mark.parametrize("time", [None, "soon", -1, True, 10**13, "1e400", {}])
def test_an_entry_without_a_usable_time_spoils_the_whole_read(time: object) -> None:
    with pytest.raises(NotUnderstood, match="occur_time"):
        event(occur_time=time, event_type="normal", event_info="x")
    with pytest.raises(NotUnderstood, match="update_time"):
        bodies.updates(encoded(logs=[{"update_time": time, "result": "FAIL"}]), S)


def test_an_event_keeps_its_text_whole() -> None:
    text = " A\n" + "x" * 100_000 + " "
    assert event(occur_time="5", event_type=" abnormal ", event_info=text) == Event(5, "abnormal", text)


@pytest.mark.parametrize("bad", [None, "", "  ", ".", "..", True, 1.5, [], {}, "x" * 300])
def test_a_row_without_a_usable_id_is_malformed_and_hides_no_other(bad: object) -> None:
    body = encoded(
        services=[{"service_id": bad}, {"service_id": 7, "status": "running"}, "row"], total_count=3
    )
    assert bodies.services(body).rows == (None, ServiceRow("7", status="running"), None)


def test_a_detail_may_leave_out_its_id_but_not_name_another() -> None:
    assert bodies.service(encoded(status="failed", error_msg="why"), S).error_msg == "why"
    assert bodies.service(encoded(service_id="S-1"), S).service_id == "S-1"
    with pytest.raises(NotUnderstood, match="another service"):
        bodies.service(encoded(service_id="s-2", status="failed"), S)
    with pytest.raises(NotUnderstood, match="neither"):
        bodies.service(encoded(service_name="x"), S)


# Usual bodies are decoded on a quick way, all others on the tolerant one. Nobody can tell which it was.

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["s-1", "7", " normal ", "\ud800", "名"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
SERVICE = st.fixed_dictionaries(
    {"service_id": st.sampled_from(["s-1", "s-2", 7, None]) | JSON},
    optional={"status": JSON, "invocation_times": JSON, "x": JSON},
)
TIME = st.integers(0, 10**13)
EVENT = st.fixed_dictionaries(
    {},
    optional={"occur_time": TIME | JSON, "event_type": JSON, "event_info": JSON, "x": JSON},
)
USUAL_EVENT = st.fixed_dictionaries(
    {
        "occur_time": st.integers(0, 10**13 - 1),
        "event_type": st.text(max_size=4),
        "event_info": st.text(max_size=4),
    }
)
PAGE = st.fixed_dictionaries(
    {},
    optional={
        "services": st.lists(SERVICE | JSON, max_size=4) | JSON,
        "events": st.lists(USUAL_EVENT, max_size=4) | st.lists(EVENT, max_size=3) | JSON,
        "service_id": st.just(S) | JSON,
        "service_name": JSON,
        "total_count": st.integers(0, 9) | JSON,
        "count": JSON,
    },
)


@st.composite
def broken_or_not(draw: st.DrawFn) -> bytes:
    body = json.dumps(draw(PAGE), ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    if draw(st.booleans()):
        return body
    place = draw(st.integers(0, len(body)))
    put = draw(
        st.sampled_from([b"", b"\xff", b"\xef\xbb\xbf", b"NaN", b"\\ud800", b"\x01", b"{", b"}", b",", b"0"])
    )
    return body[:place] + put + body[place + draw(st.integers(0, 3)) :]


def understood(read: Callable[[], object]) -> object:
    try:
        return read()
    except NotUnderstood:
        return "not understood"


@given(st.lists(broken_or_not(), min_size=1, max_size=3))
def test_a_list_is_decoded_alike_whatever_was_decoded_before(pages: list[bytes]) -> None:
    decoder = bodies.ListDecoder()
    for _ in range(3):
        decoder.begin()
        for body in pages:
            tolerant = understood(partial(bodies.services, body))
            assert understood(partial(decoder.services, body)) == tolerant


def test_a_row_that_a_list_shows_again_is_the_same_record() -> None:
    decoder, body = bodies.ListDecoder(), sample("services_list_stopped_two")[0]
    first, second = decoder.services(body).rows, decoder.services(body).rows
    assert first == bodies.services(body).rows
    assert all(row is again for row, again in zip(first, second, strict=True))
    changed = json.loads(body)
    changed["services"][1]["status"] = "failed"
    decoder.begin()
    third = decoder.services(json.dumps(changed).encode()).rows
    assert third[1] is not None
    assert (third[0], third[1].status) == (first[0], "failed")


@given(broken_or_not())
def test_events_are_decoded_alike_on_both_ways(body: bytes) -> None:
    assert understood(lambda: bodies.events(body, S)) == understood(lambda: bodies.tolerant_events(body, S))
