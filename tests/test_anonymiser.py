"""What a recording holds of an answer: nothing that is not known to be harmless."""

import json
import re
import string
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.recording.anonymiser import CHANGED, LEFT_OUT, REPLACED, UNKNOWN, Anonymiser, Changes
from exporter.core.recording.fields import CONTAINERS, FIELDS

KEY = b"a key of these tests"
PROJECT = "0123456789abcdef0123456789abcdef"
SERVICE = "8da30673-908d-45a7-90a4-65f98e69fc34"


def anonymiser(**known: Any) -> Anonymiser:
    return Anonymiser(KEY, **known)


def body(value: Any, hide: Anonymiser | None = None) -> Any:
    return (hide or anonymiser()).body(value, Changes())


def text(value: str, hide: Anonymiser | None = None) -> str:
    """What becomes of the text of an event."""
    found = body({"events": [{"event_info": value}]}, hide)["events"][0]["event_info"]
    assert isinstance(found, str)
    return found


# -- ids


@pytest.mark.parametrize(
    ("real", "shape"),
    [
        (SERVICE, r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        (SERVICE.upper(), r"[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}"),
        (PROJECT, r"[0-9a-f]{32}"),
        ("OTC00000000001", r"[A-Z]{3}[0-9]{11}"),
        ("12345678", r"[1-9][0-9]{7}"),
        ("pool-a1", r"[a-z]{4}-[a-z][0-9]{2}"),
        ("7", r"[1-9][0-9]{7}"),
        ("-", r"-x{0}[a-z]{7}"),
        ("---------", r"[a-z]{9}"),
        ("a\x1bb\x7fcdefgh", r"[a-z]_[a-z]_[a-z]{6}"),
        ("王芳", r"[a-z]{8}"),
    ],
)
def test_a_made_up_id_has_the_shape_of_the_real_one(real: str, shape: str) -> None:
    hide = anonymiser()
    made_up = hide.made_up(real)
    assert re.fullmatch(shape, made_up), made_up
    assert made_up != real
    assert hide.made_up(real) == made_up


@pytest.mark.parametrize("value", ["", " ", "0"])
def test_what_names_nothing_stays(value: str) -> None:
    assert anonymiser().made_up(value) == value


def test_the_spelling_of_an_id_does_not_matter() -> None:
    hide = anonymiser()
    assert hide.made_up(SERVICE.upper()) == hide.made_up(SERVICE).upper()


def test_no_two_ids_become_one() -> None:
    hide = anonymiser()
    assert len({hide.made_up(str(number)) for number in range(20_000)}) == 20_000


def test_the_ids_of_another_recording_are_others() -> None:
    assert Anonymiser(b"other").made_up(SERVICE) != anonymiser().made_up(SERVICE)


def test_an_id_is_the_same_wherever_it_is() -> None:
    hide = anonymiser()
    made_up = hide.made_up(SERVICE)
    assert hide.path(f"/v1/{PROJECT}/services/{SERVICE}/logs").split("/")[4:] == [made_up, "logs"]
    row = {"service_id": SERVICE, "error_msg": f"Service {SERVICE} does not exist."}
    assert body({"services": [row]}, hide)["services"][0] == {
        "service_id": made_up,
        "error_msg": f"Service {made_up} does not exist.",
    }
    assert text(f"infer-{SERVICE.upper()}-pod", hide) == f"infer-{made_up.upper()}-pod"


def test_white_space_around_an_id_does_not_matter() -> None:
    hide = anonymiser()
    assert body({"service_id": f" {SERVICE}\n"}, hide) == {"service_id": hide.made_up(SERVICE)}


def test_a_number_that_is_an_id_stays_a_number() -> None:
    found = body({"service_id": 1234567, "error_msg": "1234567 failed"})
    assert isinstance(found["service_id"], int)
    assert found["error_msg"] == f"{found['service_id']} failed"
    assert isinstance(body({"service_id": -1})["service_id"], int)


def test_the_default_workspace_stays() -> None:
    assert body({"services": [{"workspace_id": 0}, {"workspace_id": "0"}]}) == {
        "services": [{"workspace_id": 0}, {"workspace_id": "0"}]
    }


# -- paths, queries, headers


def test_a_path_keeps_its_form() -> None:
    hide = anonymiser()
    found = hide.path(f"/v1/{PROJECT}/services")
    assert found == f"/v1/{hide.made_up(PROJECT)}/services"
    assert hide.path(f"/v1/{PROJECT}/services/a%2Fb%20c/events").endswith("/events")
    assert len(hide.path(f"/v1/{PROJECT}/services/a%2Fb%20c/events").split("/")) == 6


def test_a_query_keeps_words_and_numbers() -> None:
    hide = anonymiser()
    query = {"limit": "1000", "order": "asc", "workspace_id": "w-17-very-own", "event_info": "who, me?"}
    assert hide.query(query) == {
        "limit": "1000",
        "order": "asc",
        "workspace_id": hide.made_up("w-17-very-own"),
        "event_info": "<string>",
    }


def test_of_the_headers_only_those_stay_that_say_something_about_the_answer() -> None:
    changes = Changes()
    headers = {
        "content-type": "application/json;charset=utf-8",
        "date": "Tue, 14 Nov 2023 22:13:20 GMT",
        "retry-after": "60",
        "x-subject-token": "MIIE",
        "set-cookie": "session=1",
    }
    assert anonymiser().headers(headers, changes) == {
        "Content-Type": "application/json;charset=utf-8",
        "Date": "Tue, 14 Nov 2023 22:13:20 GMT",
        "Retry-After": "60",
    }
    assert changes == {("header set-cookie", LEFT_OUT): 1, ("header x-subject-token", LEFT_OUT): 1}


def test_a_header_of_another_form_goes() -> None:
    odd = {"content-type": "text/html; user=alice", "date": "yesterday", "retry-after": "ask alice"}
    assert anonymiser().headers(odd, Changes()) == {}


# -- fields


def test_what_is_not_in_the_table_is_replaced_by_its_type() -> None:
    values = {
        "a": "x",
        "b": 1,
        "c": 1.5,
        "d": True,
        "e": [1],
        "f": {"g": 1},
        "h": None,
        "i": "",
        "j": [],
        "k": {},
    }
    changes = Changes()
    assert anonymiser().body(values, changes) == {
        "a": "<string>",
        "b": "<number>",
        "c": "<number>",
        "d": "<boolean>",
        "e": "<array>",
        "f": "<object>",
        "h": None,
        "i": "",
        "j": [],
        "k": {},
    }
    assert changes == {(key, UNKNOWN): 1 for key in "abcdef"}


def test_an_unknown_key_stays_unless_it_tells_something() -> None:
    found = body(
        {"services": [{"service_id": SERVICE, f"x-{SERVICE}": 1, "max_surge": 1, "password=abc": 1}]}
    )
    assert list(found["services"][0])[1:] == [
        f"x-{found['services'][0]['service_id']}",
        "max_surge",
        "password=<secret>",
    ]


def test_environment_variables_and_addresses_are_left_out_with_their_keys() -> None:
    model = {"envs": {"DB_PASSWORD": "x"}, "model_name": "m"}
    changes = Changes()
    value = {
        "config": [model],
        "logs": [{"config": [model]}],
        "access_address": "https://x",
        "envs": {"a": "b"},
    }
    assert anonymiser().body(value, changes) == {
        "config": [{"model_name": "m"}],
        "logs": [{"config": [{"model_name": "m"}]}],
        "envs": "<object>",
    }
    assert changes[("config[].envs", LEFT_OUT)] == changes[("logs[].config[].envs", LEFT_OUT)] == 1


def test_what_a_reader_finds_unusable_stays_unusable() -> None:
    value = {
        "total_count": "many",
        "count": "12",
        "services": [
            "row",
            {
                "service_id": {"x": 1},
                "service_name": ["x"],
                "progress": "soon",
                "transition_at": "1700000000000",
            },
            {"service_id": True, "status": 5, "service_name": 7, "owner": 1.5},
        ],
        "config": {"x": 1},
        "logs": None,
    }
    assert body(value) == {
        "total_count": "<string>",
        "count": "12",
        "services": [
            "<string>",
            {"service_id": {}, "service_name": [], "progress": "<string>", "transition_at": "1700000000000"},
            {"service_id": True, "status": 5, "service_name": 7, "owner": 1.5},
        ],
        "config": "<object>",
        "logs": None,
    }


@pytest.mark.parametrize(("value", "shown"), [([1], "<array>"), (5, "<number>"), (None, None), ([], [])])
def test_a_body_that_is_no_object_is_its_type(value: Any, shown: Any) -> None:
    assert body(value) == shown


def test_an_amount_of_any_device_stays() -> None:
    spec = {"cpu": 1.5, "memory": "7500", "gpu_v100": 2, "name": "x"}
    assert body({"config": [{"custom_spec": spec}]})["config"][0]["custom_spec"] == {
        **spec,
        "name": "<string>",
    }


def test_names_and_words_stay() -> None:
    row = {
        "service_name": "fraud-detector_订单 v2",
        "status": "running",
        "infer_type": "real-time",
        "config": [
            {"model_name": "llm-7b", "model_version": "1.0.0.1", "specification": "modelarts.vm.cpu.2u"}
        ],
    }
    assert body({"services": [row]})["services"][0] == {**row, "config": "<array>"}
    assert body(row) == row


def test_a_word_of_an_enumeration_that_is_a_sentence_is_a_text() -> None:
    assert body({"status": "failed at 10.1.2.3"})["status"] != "failed at 10.1.2.3"
    assert "10.1.2.3" not in body({"status": "x" * 70 + "-10.1.2.3"})["status"]


@pytest.mark.parametrize(
    "error",
    [
        {"error_code": "ModelArts.3502", "error_msg": f"Service {SERVICE} does not exist."},
        {"error": {"code": 401, "message": f"no {SERVICE}", "title": "Unauthorized"}},
        {"errorCode": "x", "errorMsg": f"no {SERVICE}"},
    ],
)
def test_an_error_keeps_its_form(error: Any) -> None:
    hide = anonymiser()
    assert body(error, hide) == json.loads(json.dumps(error).replace(SERVICE, hide.made_up(SERVICE)))


def test_it_is_counted_what_was_done_to_which_field() -> None:
    changes = Changes()
    row = {
        "service_id": SERVICE,
        "description": "of Alice",
        "error_msg": "password=abc",
        "status": "failed",
        "x": 1,
    }
    anonymiser().body({"services": [row, row]}, changes)
    assert changes == {
        ("services[].service_id", REPLACED): 2,
        ("services[].description", LEFT_OUT): 2,
        ("services[].error_msg", CHANGED): 2,
        ("services[].x", UNKNOWN): 2,
    }


def test_every_field_has_a_reason_and_a_place() -> None:
    assert all(field.why for field in FIELDS.values())
    assert not CONTAINERS & FIELDS.keys()
    assert {path for path in CONTAINERS if "." not in path} == {
        *("services[]", "config[]", "logs[]", "events[]", "schedule[]", "error")
    }


# -- texts

# What stands in a text, and what of it must not be there afterwards.
SECRETS = [
    ("login with password=hunter2 failed", "hunter2"),
    ('{"password": "hunter2"}', "hunter2"),
    ("DB_PASSWORD: hunter2", "hunter2"),
    ("secret_key = abcd1234", "abcd1234"),
    ("ak=ABCDEFGHIJ sk=abcdefghij", "abcdefghij"),
    ("Authorization: Bearer abc.def.ghi", "abc.def.ghi"),
    ("X-Auth-Token: MIIEabc", "MIIEabc"),
    ("pull https://alice:hunter2@swr.example/img", "hunter2"),
    ("using key HPUAABCDEFGH12345678", "HPUAABCDEFGH12345678"),
    ("SK " + "aB3" * 14, "aB3" * 14),
    ("token " + "MIIE" * 20, "MIIE" * 20),
    ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_def", "eyJzdWIiOiIxIn0"),
    ("密码：hunter2", "hunter2"),  # noqa: RUF001 - as a text may have it
    (f"project {PROJECT} is frozen", PROJECT),
    (f"service {SERVICE} failed", SERVICE),
    (f"image sha256:{'0a' * 32}", "0a" * 8),
    ("mail to alice.b@example.com please", "alice.b@example.com"),
    ("node 10.0.37.4 is down", "10.0.37.4"),
    ("ask alice in time", "alice"),
    ("obs://alice-bucket/x", "alice"),
    ("用户alice失败", "alice"),
    ("ask ALICE", "alice"),
    ("a\u200blice", "alice"),
    ("by li, who", "li"),
    ("the domain otc00000000001 is", "00000000001"),
    ("the password is correct horse  battery, so", "battery"),
    ("it is correct%20horse%20battery", "battery"),
    ("key s3cr3t!", "s3cr3t!"),
]


@pytest.mark.parametrize(("given_text", "planted"), SECRETS, ids=[each for _, each in SECRETS])
def test_a_text_loses_what_it_must_not_tell(given_text: str, planted: str) -> None:
    hide = anonymiser(
        secrets=["correct horse battery", "s3cr3t!", "x"],
        users=["alice", "li", "OTC00000000001", "z"],
        ids=["17"],
    )
    shown = text(given_text, hide)
    assert planted.lower() not in shown.lower()
    assert shown


@pytest.mark.parametrize(
    "harmless",
    [
        "start to deploy service",
        "[mnist 0.0.1] pull image success",
        "container was killed: out of memory, exit code 137. Restart it.",
        "ModelArts.3976: No resources are available for the selected specification.",
        "limit:5,time:1 minute at 1700000000000",
        "File /usr/local/lib/python3.8/site-packages/torch/nn/modules/module.py, line 1501",
        "资源不足，调度失败，稍后重试",  # noqa: RUF001 - as the API writes it
        "deadbeef and a-z, latest quality",  # too short for an id; `li` is a part of words
        "17 of 20",
    ],
)
def test_a_harmless_text_stays(harmless: str) -> None:
    hide = anonymiser(secrets=["ail"], users=["li"], ids=["17"])
    assert text(harmless, hide) == harmless


def test_a_user_that_a_body_names_goes_from_all_texts_after_it() -> None:
    hide = anonymiser()
    assert text("ask alice", hide) == "ask alice"
    row = {"error_msg": "stopped by alice", "owner": "Alice", "service_name": "alice-test"}
    shown = body(row, hide)
    made_up = shown["owner"].lower()
    assert shown["error_msg"] == f"stopped by {made_up[:5]}{made_up[5:]}"
    assert shown["service_name"] == f"{made_up}-test"
    assert text("ask alice", hide) == f"ask {made_up}"


def test_a_text_that_is_no_json_loses_the_same() -> None:
    changes = Changes()
    shown = anonymiser().body(f"<h1>502</h1> {SERVICE}", changes)
    assert shown.startswith("<h1>502</h1> ")
    assert SERVICE not in shown
    assert changes == {("body", CHANGED): 1}


def test_a_number_that_is_a_secret_goes_too() -> None:
    hide = anonymiser(secrets=["12345678"])
    assert body({"progress": 12345678, "count": "12345678", "total_count": 123}, hide) == {
        "progress": "<number>",
        "count": "<secret>",
        "total_count": 123,
    }


def test_a_long_text_takes_no_long_time() -> None:
    for hostile in (
        "a" * 100_000,
        "0" * 100_000,
        "aA0" * 30_000,
        "a@" * 50_000,
        "1." * 50_000,
        "eyJ" * 30_000,
    ):
        assert len(text(hostile)) < 20_000


# -- anything, anywhere

WORDS = st.text(string.ascii_lowercase + string.digits, min_size=8, max_size=20).map(lambda word: f"q{word}z")
IDS = st.one_of(st.uuids().map(str), st.uuids().map(lambda each: each.hex))
KEYS = st.one_of(
    st.sampled_from(sorted({part.removesuffix("[]") for path in FIELDS for part in path.split(".")})),
    st.text(max_size=8),
)
NOISE = st.text(" .,:;/=-_\"'{}[]()\u200b\u00e9\u4e2d\n", max_size=6)


@st.composite
def planted(draw: st.DrawFn) -> tuple[Any, list[str], list[str], list[str]]:
    """A body, and the secrets, users and ids that are somewhere in it, also as parts of keys and texts."""
    secrets = draw(st.lists(WORDS, max_size=2))
    users = draw(st.lists(WORDS, max_size=2))
    ids = draw(st.lists(st.one_of(IDS, WORDS), max_size=2))
    things = [*secrets, *users, *ids]
    plants = st.builds("{}{}{}".format, NOISE, st.sampled_from(things), NOISE) if things else st.just("")
    texts = st.one_of(st.text(max_size=10), plants)
    leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts)
    trees = st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.one_of(KEYS, plants), inner, max_size=5)
        ),
        max_leaves=20,
    )
    rows = st.lists(st.dictionaries(KEYS, trees, max_size=6), max_size=3)
    wrapped = st.fixed_dictionaries(
        {}, optional={"services": rows, "logs": rows, "events": rows, "config": rows, "error": trees}
    )
    return draw(st.one_of(trees, wrapped)), secrets, users, ids


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)
    else:
        yield str(value)


@given(planted())
def test_nothing_that_was_planted_survives(found: tuple[Any, list[str], list[str], list[str]]) -> None:
    value, secrets, users, ids = found
    changes = Changes()
    shown = anonymiser(secrets=secrets, users=users, ids=ids).body(value, changes)
    told = [*strings(shown), *(path for path, _ in changes)]
    for thing in (*secrets, *users, *ids):
        assert not [each for each in told if thing in each.lower()], thing
    json.dumps(shown)


@given(IDS, IDS, st.text(max_size=5))
def test_an_id_that_nobody_named_does_not_survive_in_a_text(one: str, other: str, between: str) -> None:
    shown = text(f"{one} {between} {other}").lower()
    assert one not in shown
    assert other not in shown or one == other


@given(
    st.recursive(st.text(max_size=5), lambda inner: st.dictionaries(KEYS, inner, max_size=4), max_leaves=20)
)
def test_the_same_answer_is_the_same_again(value: Any) -> None:
    hide = anonymiser()
    assert body(value, hide) == body(value, hide)
