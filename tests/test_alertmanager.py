"""The posts to one Alertmanager: what is sent, what an answer means, and who may ask."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.adapters.alertmanager import AlertmanagerClient, Reply
from exporter.adapters.http_client import HttpClient
from exporter.config import SecretUnreadable
from exporter.core.alerting.notifications import LARGEST_BATCH, Alert, PostableAlert
from tests import certificates
from tests.fake_alertmanager import FakeAlertmanager, Seen
from tests.fakes import NOW
from tests.raw_server import Proxy, raw_server

TIMEOUT_SECONDS = 10.0
IMPATIENT_SECONDS = 0.3
MINUTE = 60_000


@pytest.fixture(name="server")
def _server() -> Iterator[FakeAlertmanager]:
    with FakeAlertmanager() as server:
        yield server


def client(url: str, timeout: float = TIMEOUT_SECONDS, authorization: str = "") -> AlertmanagerClient:
    headers = {"Authorization": authorization} if authorization else {}
    return AlertmanagerClient(url, HttpClient(timeout), lambda: headers)


def told(
    service_id: str = "a", page: str = "http://exporter.example/services/a", **changes: Any
) -> PostableAlert:
    alert = Alert(
        (("alertname", "A"), ("service_id", service_id)), (("cause", "why\n{{ x }} ü"),), page, NOW, NOW
    )
    return msgspec.structs.replace(PostableAlert(alert, NOW, NOW + 4 * MINUTE), **changes)


def many(count: int, *bad: int) -> list[PostableAlert]:
    """So many messages, of which those at the places in `bad` end before they begin."""
    return [told(f"s{at:02}", ends_at=NOW - 1 if at in bad else NOW + MINUTE) for at in range(count)]


def names(messages: Sequence[PostableAlert]) -> list[str]:
    return [dict(message.alert.labels)["service_id"] for message in messages]


def sizes(seen: Sequence[Seen]) -> list[int]:
    return [len(request.labels) for request in seen]


def test_an_alert_arrives_whole(server: FakeAlertmanager) -> None:
    message = told()
    assert client(server.url + "/").send([message]) == Reply([message], ())
    (held,) = server.alerts.values()
    assert (held.starts_at, held.ends_at) == (NOW, NOW + 4 * MINUTE)
    assert held.annotations == {"cause": "why\n{{ x }} ü"}
    assert held.page == "http://exporter.example/services/a"
    assert dict(*server.alerts) == {"alertname": "A", "service_id": "a"}
    assert server.seen[0].headers["user-agent"].startswith("modelarts-exporter/")


def test_times_keep_their_milliseconds(server: FakeAlertmanager) -> None:
    client(server.url).send([told(starts_at=NOW + 1, ends_at=NOW + 999)])
    (held,) = server.alerts.values()
    assert (held.starts_at, held.ends_at) == (NOW + 1, NOW + 999)
    assert datetime.fromtimestamp(held.ends_at / 1000, UTC).microsecond == 999_000


def test_a_whole_batch_goes_at_once(server: FakeAlertmanager) -> None:
    messages = many(LARGEST_BATCH)
    assert client(server.url).send(messages) == Reply(messages, ())
    assert sizes(server.seen) == [LARGEST_BATCH]
    assert server.names == names(messages)


@pytest.mark.parametrize("bad", [(0,), (63,), (17, 18), (5, 40)])
def test_a_bad_alert_keeps_no_good_one_back(server: FakeAlertmanager, bad: tuple[int, ...]) -> None:
    messages = many(LARGEST_BATCH, *bad)
    reply = client(server.url).send(messages)
    assert names(reply.rejected) == [f"s{at:02}" for at in bad]
    assert len(reply.taken) == LARGEST_BATCH - len(bad)
    assert server.names == sorted(names(reply.taken))
    assert (reply.error, reply.down) == ('HTTP 400: "start time must be before end time"', False)
    # Found by halves: two requests for each of six, where the bad ones lie apart.
    assert len(server.seen) <= 1 + 12 * len(bad)


def test_a_link_that_is_none_is_refused_for_the_whole_batch_and_found_too(server: FakeAlertmanager) -> None:
    alert = msgspec.structs.replace(told("s01").alert, page="services/a")
    messages = [told("s00"), told("s01", alert=alert), told("s02")]
    reply = client(server.url).send(messages)
    assert (names(reply.taken), names(reply.rejected)) == (["s00", "s02"], ["s01"])
    assert reply.error.startswith("HTTP 422: ")
    assert server.names == ["s00", "s02"]


def test_where_every_alert_is_bad_each_is_told_of(server: FakeAlertmanager) -> None:
    reply = client(server.url).send(many(5, *range(5)))
    assert (len(reply.taken), len(reply.rejected)) == (0, 5)


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 408, 429, 307])
def test_a_refusal_that_is_about_no_alert_is_no_reason_to_ask_again_in_pieces(
    server: FakeAlertmanager, status: int
) -> None:
    server.faults = [status]
    assert client(server.url).send(many(4)) == Reply((), (), f"HTTP {status}: fault", down=False)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [500, 502, 503])
def test_one_that_is_not_well_is_down(server: FakeAlertmanager, status: int) -> None:
    server.faults = [status]
    assert client(server.url).send(many(4)) == Reply((), (), f"HTTP {status}: fault", down=True)
    assert len(server.seen) == 1


def test_one_that_closes_the_connection_is_down(server: FakeAlertmanager) -> None:
    server.faults = ["close"]
    reply = client(server.url).send([told()])
    assert (reply.taken, reply.rejected, reply.down) == ((), (), True)
    assert (
        reply.error == f"No answer came from {server.url[7:-7]}: the connection was closed before an answer."
    )


def test_one_that_hangs_is_given_up_after_the_timeout(server: FakeAlertmanager) -> None:
    server.faults = ["hang"]
    reply = client(server.url, IMPATIENT_SECONDS).send([told()])
    assert (reply.taken, reply.down) == ((), True)
    assert reply.error == (
        f"No answer came from {server.url[7:-7]}: it took longer than the timeout of {IMPATIENT_SECONDS} s."
    )
    assert client(server.url).send([told()]).error == ""


def test_one_that_is_not_there_is_down_and_one_that_came_back_is_not(server: FakeAlertmanager) -> None:
    peer = client(server.url)
    assert peer.send([told("a")]).error == ""
    # The kept connection is of no use any more.
    server.faults = ["close"]
    assert peer.send([told("b")]).down
    assert peer.send([told("b")]).error == ""
    assert server.names == ["a", "b"]
    assert client("http://127.0.0.1:1").send([told()]).down


def test_one_that_goes_away_among_the_halves_leaves_the_rest_unjudged(server: FakeAlertmanager) -> None:
    server.faults = [400, 200, 400, "close"]
    messages = many(4)
    reply = client(server.url).send(messages)
    assert (names(reply.taken), names(reply.rejected), reply.down) == (["s00", "s01", "s03"], [], True)
    assert (
        reply.error == f"No answer came from {server.url[7:-7]}: the connection was closed before an answer."
    )


def test_what_an_answer_says_is_one_line_without_secrets(server: FakeAlertmanager) -> None:
    alert = msgspec.structs.replace(told().alert, page="token=abc123\n" * 99)
    reply = client(server.url).send([told(alert=alert)])
    assert "\n" not in reply.error
    assert len(reply.error) < 250


# --- who asks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("header", "taken"), [("Bearer right", True), ("Bearer wrong", False), ("", False)])
def test_the_credential_is_shown_with_every_post(header: str, taken: bool) -> None:
    with FakeAlertmanager(authorization="Bearer right") as server:
        reply = client(server.url, authorization=header).send([told()])
        assert (reply.error == "") == taken
        assert reply.error in ("", "HTTP 401: Unauthorized")
        assert not reply.down


def test_a_credential_that_cannot_be_read_is_an_error_and_nothing_is_sent(server: FakeAlertmanager) -> None:
    def unreadable() -> dict[str, str]:
        raise SecretUnreadable(Path("/run/secrets/token"), "it is empty")

    reply = AlertmanagerClient(server.url, HttpClient(TIMEOUT_SECONDS), unreadable).send([told()])
    assert reply == Reply((), (), "the credential cannot be read: it is empty", down=False)
    assert server.seen == []


def test_a_push_goes_through_a_proxy(server: FakeAlertmanager) -> None:
    with raw_server(Proxy("u:p")) as proxy:
        http = HttpClient(TIMEOUT_SECONDS, proxy_url=proxy.url, proxy_login=lambda: ("u", "p"))
        assert AlertmanagerClient(server.url, http, dict).send([told()]).error == ""
        assert proxy.asked[0].startswith(b"POST " + server.url.encode())
        assert server.names == ["a"]


def test_its_certificate_is_checked(tmp_path: Path) -> None:
    authority = certificates.for_loopback(tmp_path)
    with FakeAlertmanager(certificate=authority, authorization="Basic dTpw") as server:
        headers = {"Authorization": "Basic dTpw"}
        strange = AlertmanagerClient(server.url, HttpClient(TIMEOUT_SECONDS), lambda: headers).send([told()])
        assert strange.down
        assert "certificate was not accepted" in strange.error
        assert server.seen == []
        for trusting in (
            HttpClient(TIMEOUT_SECONDS, str(authority)),
            HttpClient(TIMEOUT_SECONDS, insecure_skip_verify=True),
        ):
            assert AlertmanagerClient(server.url, trusting, lambda: headers).send([told()]).error == ""
