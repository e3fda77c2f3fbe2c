"""What the client makes of a cloud that behaves: the emulator, with each of its switches."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest

from exporter.adapters.modelarts.api_client import ReadTimes
from exporter.adapters.modelarts.api_errors import QUOTED_CHARACTERS, NoSuchPath, Rejected, error_of
from exporter.core.records import Event
from exporter.core.source import (
    Forbidden,
    Gone,
    NotUnderstood,
    Refused,
    RemoteError,
    Stopping,
    Throttled,
    Torn,
    Unreachable,
)
from exporter.emulator import Cloud, Server, Switches, faults

from .clients import Talk
from .fakes import NOW, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cloud(clock: Clock) -> Cloud:
    return Cloud(clock)


@pytest.fixture
def talk(cloud: Cloud, clock: Clock) -> Iterator[Talk]:
    with Server(cloud) as server:
        yield Talk(server.url, clock)


# What is read


def test_a_list_has_the_services_of_every_workspace(talk: Talk, cloud: Cloud) -> None:
    ids = {cloud.add_service(workspace_id=workspace) for workspace in ("0", "w1", "w1")}
    cloud.add_service(workspace_id="unasked")
    listing = talk.client(workspaces=["0", "w1"]).list_services()
    assert {row.service_id for row in listing.rows} == ids
    assert (listing.complete, listing.malformed) == (True, 0)


def test_if_one_workspace_fails_the_list_fails(talk: Talk, cloud: Cloud) -> None:
    cloud.faults.add(replace(faults.html(502), skip=1))
    with pytest.raises(RemoteError, match=r"^Listing the services failed with HTTP 502: Bad Gateway\.$"):
        talk.client(workspaces=["0", "w1"]).list_services()


def test_malformed_rows_are_counted_and_left_out(talk: Talk, cloud: Cloud) -> None:
    service = cloud.add_service()
    cloud.switches = Switches(junk={"list": ({"service_id": None}, 7)})
    listing = talk.client().list_services()
    assert [row.service_id for row in listing.rows] == [service]
    assert listing.malformed == 2


@pytest.mark.parametrize("mode", ["page", "item"])
@pytest.mark.parametrize("over", ["reject", "clamp"])
def test_a_list_longer_than_a_page_is_whole(
    talk: Talk, cloud: Cloud, mode: Literal["page", "item"], over: Literal["reject", "clamp"]
) -> None:
    ids = {cloud.add_service() for _ in range(45)}
    cloud.switches = Switches(offset_mode=mode, max_limit=20, over_limit=over)
    listing = talk.client().list_services()
    assert listing.complete
    assert {row.service_id for row in listing.rows} == ids


def test_a_list_whose_total_lies_is_incomplete(talk: Talk, cloud: Cloud) -> None:
    cloud.add_service()
    cloud.faults.add(faults.torn("total", endpoint="list"))
    listing = talk.client().list_services()
    assert not listing.complete
    assert len(listing.rows) == 1


@pytest.mark.parametrize("mode", ["page", "item"])
@pytest.mark.parametrize("over", ["reject", "clamp"])
@pytest.mark.parametrize("start", ["inclusive", "exclusive"])
@pytest.mark.parametrize("end", ["inclusive", "exclusive"])
def test_events_are_read_whole_under_every_kind_of_paging(
    talk: Talk,
    cloud: Cloud,
    mode: Literal["page", "item"],
    over: Literal["reject", "clamp"],
    start: Literal["inclusive", "exclusive"],
    end: Literal["inclusive", "exclusive"],
) -> None:
    service = cloud.add_service()
    times = [*range(NOW - 30, NOW), *[NOW - 7] * 25, NOW, NOW, NOW + 1]
    for time in times:
        cloud.add_event(service, "normal", "again", at=time, visible_at=NOW)
    cloud.switches = Switches(offset_mode=mode, max_limit=10, over_limit=over, start_time=start, end_time=end)
    client = talk.client()
    for after in (None, NOW - 15):
        expected = Counter(Event(t, "normal", "again") for t in times if after is None or t > after)
        assert Counter(client.read_events(service, after).events) == expected


@pytest.mark.parametrize("kind", ["total", "duplicate", "missing"])
def test_a_torn_page_of_events_is_torn(
    talk: Talk, cloud: Cloud, kind: Literal["total", "duplicate", "missing"]
) -> None:
    service = cloud.add_service()
    for _ in range(3):
        cloud.add_event(service, "normal", "x")
    cloud.faults.add(faults.torn(kind))
    with pytest.raises(Torn):
        talk.client().read_events(service)
    assert len(talk.client().read_events(service).events) == 3


def test_the_update_log_is_read_whole_or_at_one_instant(talk: Talk, cloud: Cloud) -> None:
    service = cloud.add_service(name="n")
    times = [cloud.add_update(service, "FAIL", at=NOW - at) for at in (5, 3, 1)]
    client = talk.client()
    window = client.read_updates(service)
    assert {update.update_time for update in window.updates} == set(times)
    assert (window.instant, window.supported, window.service_name, window.observed_at) == (
        None,
        True,
        "n",
        NOW,
    )
    assert [u.update_time for u in client.read_updates(service, times[1]).updates] == [times[1]]
    assert cloud.requests[-1].query == {"update_time": str(times[1])}


def test_a_cloud_that_ignores_the_instant_is_filtered_here(talk: Talk, cloud: Cloud) -> None:
    service = cloud.add_service()
    for at in (5, 3):
        cloud.add_update(service, "FAIL", at=NOW - at)
    body = json.dumps({"service_id": service, "logs": [{"update_time": NOW - 5}, {"update_time": NOW - 3}]})
    cloud.faults.add(faults.body(body.encode()))
    assert len(talk.client().read_updates(service, NOW - 3).updates) == 1


def test_a_kind_of_service_without_update_log_is_no_error(talk: Talk, cloud: Cloud) -> None:
    service = cloud.add_service(infer_type="batch")
    cloud.switches = Switches(batch_logs="error")
    client = talk.client()
    assert not client.read_updates(service).supported
    with pytest.raises(Rejected):
        client.read_updates(service, NOW)
    cloud.faults.add(faults.error(400, "ModelArts.0204", "Token must contain projectId info."))
    with pytest.raises(Rejected, match="sign in with the scope of a project"):
        client.read_updates(service)


@pytest.mark.parametrize("arrays", ["empty", "null", "absent"])
def test_every_way_to_write_nothing_is_an_empty_log(
    talk: Talk, cloud: Cloud, arrays: Literal["empty", "null", "absent"]
) -> None:
    cloud.switches = Switches(arrays=arrays, numbers_as_strings=True)
    client = talk.client()
    assert client.list_services().complete
    service = cloud.add_service()
    assert client.read_updates(service).updates == ()
    assert client.read_events(service).events == ()


def test_a_detail_tells_why_a_service_failed(talk: Talk, cloud: Cloud) -> None:
    service = cloud.add_service()
    cloud.set_status(service, "failed", error_msg="No resources")
    row = talk.client().read_detail(service)
    assert (row.status, row.error_msg) == ("failed", "No resources")


def test_a_deleted_service_is_gone_on_every_endpoint(talk: Talk) -> None:
    client = talk.client()
    for read in (client.read_detail, client.read_updates, client.read_events):
        with pytest.raises(Gone, match=r"ModelArts\.3502"):
            read("no-such-service")


@pytest.mark.parametrize("service_id", ["", ".", ".."])
def test_an_id_that_would_lead_to_another_path_is_not_asked(talk: Talk, service_id: str) -> None:
    with pytest.raises(NotUnderstood):
        talk.client().read_detail(service_id)
    assert talk.metrics.requests == []


def test_the_list_goes_before_all_others_and_a_spare_read_after_them(talk: Talk, cloud: Cloud) -> None:
    service = cloud.add_service()
    client = talk.client()
    client.list_services()
    client.read_detail(service)
    client.read_updates(service)
    assert client.read_events(service) == client.read_events(service, spare=True)
    assert [priority.name for priority in talk.rate_limiter.priorities] == ["FIRST", *["USUAL"] * 3, "LAST"]


def test_a_read_began_on_the_slower_of_both_clocks(cloud: Cloud, clock: Clock) -> None:
    service = cloud.add_service()
    # The cloud's Date names a whole second, so the read may have begun up to its end.
    for ahead, observed in ((60_000, NOW + 999), (-60_000, NOW - 60_000)):
        with Server(cloud) as server:
            ours = Clock(NOW + ahead)
            talk = Talk(server.url, ours)
            assert talk.client().read_events(service).observed_at == observed
            assert talk.metrics.skews == [-ahead / 1000]


@pytest.mark.parametrize("switches", [Switches(), Switches(max_limit=10)])
def test_a_window_says_what_the_clock_of_the_cloud_was_at_its_last_answer(
    cloud: Cloud, clock: Clock, switches: Switches
) -> None:
    cloud.switches = switches
    service = cloud.add_service()
    for _ in range(25):
        cloud.add_event(service, "normal", "x", at=NOW - 1000)
    cloud.add_update(service, "FAIL", at=NOW - 1000)
    with Server(cloud) as server:
        client = Talk(server.url, Clock(NOW - 60_000)).client()
        for window in (client.read_events(service), client.read_updates(service)):
            assert (window.observed_at, window.answered_at) == (NOW - 60_000, NOW + 999)


def test_a_cloud_without_a_date_is_on_our_clock() -> None:
    times = ReadTimes(NOW)
    times.note(None, NOW + 5)
    times.note(None, NOW + 3)
    assert (times.began, times.answered) == (NOW, NOW + 5)


def test_when_the_exporter_stops_a_read_is_given_up_and_so_is_its_use_of_the_key(talk: Talk) -> None:
    talk.rate_limiter.shut = True
    client = talk.client()
    for _ in range(6):  # more than may be in flight
        with pytest.raises(Stopping):
            client.list_services()
    assert talk.metrics.requests == []


# Errors


@pytest.mark.parametrize(
    "shape", ["modelarts", "gateway", "iam", "iam_code", "otc", "camel", "plain", "nested"]
)
def test_the_message_is_found_in_every_shape(talk: Talk, cloud: Cloud, shape: Any) -> None:
    cloud.faults.add(faults.error(403, "ModelArts.0108", "not\nauthorised \x1b[31m", shape))
    with pytest.raises(Forbidden) as error:
        talk.client().list_services()
    message = str(error.value)
    assert message.startswith("Listing the services failed with HTTP 403")
    assert "not authorised" in message
    assert message.isprintable()
    assert message.endswith("(grant the permission modelarts:service:list).")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "X failed with HTTP 500."),
        (b"{}", "X failed with HTTP 500."),
        (b"oops\x00\xff", "X failed with HTTP 500: oops \ufffd."),
        (b"<html><style>a{}</style><h1>Bad&amp;</h1></html>", "X failed with HTTP 500: Bad&."),
        (b'{"code": 7, "message": "m."}', "X failed with HTTP 500 7: m."),
        (
            b'{"error": {"code": true, "message": ["x"]}}',
            'X failed with HTTP 500: {"error": {"code": true, "message": ["x"]}}.',
        ),
        (b"[1]", "X failed with HTTP 500: [1]."),
        (b'"why"', 'X failed with HTTP 500: "why".'),
        (b"[" * 100_000, "X failed with HTTP 500: " + "[" * 199 + "…."),
    ],
)
def test_an_error_is_one_sentence_whatever_the_body(body: bytes, sentence: str) -> None:
    assert str(error_of("X", 500, {}, body, now=NOW)) == sentence


def test_a_long_message_is_cut_and_secrets_are_taken_out() -> None:
    token = "MIIC-" + "t" * 30
    text = f"bad {token} {'e' * 64} Signature={'f' * 64} password=hunter2 " + "word " * 200
    message = str(
        error_of("X", 400, {}, json.dumps({"message": text}).encode(), now=NOW, secrets=[token, ""])
    )
    assert len(message) < QUOTED_CHARACTERS + 40
    for secret in (token, "e" * 64, "f" * 64, "hunter2"):
        assert secret not in message


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (301, "", RemoteError),
        (400, "ModelArts.0101", Rejected),
        (401, "ModelArts.0201", Refused),
        (403, "ModelArts.0206", Refused),
        (403, "APIG.0302", Forbidden),
        (404, "ModelArts.3502", Gone),
        (404, "APIG.0101", NoSuchPath),
        (404, "", NoSuchPath),
        (429, "ModelArts.4206", Throttled),
        (494, "APIG.0201", RemoteError),
        (500, "ModelArts.3508", RemoteError),
        (503, "", RemoteError),
    ],
)
def test_the_status_decides_what_an_error_is(status: int, code: str, kind: type[RemoteError]) -> None:
    body = json.dumps({"error_code": code, "error_msg": "m"}).encode()
    assert type(error_of("X", status, {}, body, now=NOW)) is kind


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "ModelArts.0210", "check that project_id is the project of this credential"),
        (404, "APIGW.0101", "check the endpoint: it does not publish this API"),
        (494, "APIG.0201", "the token is too long for the gateway: use an access key"),
        (302, "", "redirects are not followed: check the endpoint"),
    ],
)
def test_an_error_names_its_remedy(status: int, code: str, remedy: str) -> None:
    body = json.dumps({"error_code": code, "error_msg": "m"}).encode()
    assert str(error_of("X", status, {}, body, now=NOW)).endswith(f"({remedy}).")


DATE = {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}  # NOW


@pytest.mark.parametrize(
    ("text", "headers", "wait", "rate"),
    [
        ("over ratelimit,limit:5,time:1 minute", {}, 60.0, 5 / 60),
        ("over ratelimit,limit:10,time:1 second", {}, 1.0, 10.0),
        ("over ratelimit,limit:600,time:1 hour", {}, 3600.0, 600 / 3600),
        ("Threshold: 5 times per 60 seconds", {}, 60.0, 5 / 60),
        ("over ratelimit,limit:5,time:1 minute", {"retry-after": "7"}, 7.0, 5 / 60),
        ("limit:0,time:1 minute", {}, 60.0, None),
        ("limit:5,time:0 minute", {}, None, None),
        ("slow down", {}, None, None),
        ("slow down", {"retry-after": "1.5"}, 1.5, None),
        ("slow down", {"retry-after": "-5"}, 0.0, None),
        ("slow down", {"retry-after": "nan"}, None, None),
        ("slow down", {"retry-after": "later"}, None, None),
        ("slow down", {"retry-after": "99999999"}, 86_400.0, None),
        ("slow down", {"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0, None),
        ("slow down", {"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT", **DATE}, 30.0, None),
        ("slow down", {"retry-after": "Tue, 14 Nov 2023 22:10:00 GMT", **DATE}, 0.0, None),
    ],
)
def test_a_429_teaches_how_long_and_how_much(
    text: str, headers: dict[str, str], wait: float | None, rate: float | None
) -> None:
    error = error_of("X", 429, headers, json.dumps({"message": text}).encode(), now=NOW)
    assert isinstance(error, Throttled)
    assert (error.wait_seconds, error.allowed_per_second) == (wait, rate)


def test_a_429_is_told_to_the_rate_limiter_and_not_repeated(talk: Talk, cloud: Cloud) -> None:
    cloud.switches = Switches(throttle=(1, 60))
    client = talk.client()
    client.list_services()
    with pytest.raises(Throttled):
        client.list_services()
    assert talk.rate_limiter.told == [(60.0, 1 / 60)]
    assert talk.metrics.requests == [("list", "200"), ("list", "429")]


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        (faults.no_answer(), Unreachable, "error"),
        (faults.cut_off(), Unreachable, "error"),
        (faults.truncated(), NotUnderstood, "200"),
        (faults.html(504), RemoteError, "504"),
        (faults.html(200), NotUnderstood, "200"),
        (faults.body(b"", 204), RemoteError, "204"),
    ],
)
def test_a_failure_is_counted_once_and_never_repeated(
    talk: Talk, cloud: Cloud, fault: faults.Fault, kind: type[RemoteError], code: str
) -> None:
    cloud.add_service()
    cloud.faults.add(fault)
    client = talk.client()
    with pytest.raises(kind):
        client.list_services()
    assert talk.metrics.requests == [("list", code)]
    for _ in range(5):
        client.list_services()


def test_a_request_that_a_kept_connection_swallowed_is_sent_again_and_counted_once(
    talk: Talk, cloud: Cloud
) -> None:
    client = talk.client()
    client.list_services()
    cloud.faults.add(faults.no_answer())
    client.list_services()
    assert talk.metrics.requests == [("list", "200")] * 2
    assert len(cloud.requests) == 3
