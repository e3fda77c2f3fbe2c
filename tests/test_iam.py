"""Signing in, all three ways, against the emulator: once where once is enough, and never in a hurry."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.adapters.http_client import HttpClient
from exporter.adapters.modelarts.iam import PasswordCredential
from exporter.adapters.modelarts.rate_limiter import RateLimiter
from exporter.core.source import Refused, Stopping, Unreachable
from exporter.emulator import DEFAULT_PASSWORD, DEFAULT_SECRET_KEY, Cloud, Server, faults

from .clients import Talk
from .fakes import Clock
from .raw_server import Proxy, raw_server


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


def token_of(credential: PasswordCredential) -> str:
    return credential.lease().headers("GET", "")["X-Auth-Token"]


def statuses(cloud: Cloud, endpoint: str) -> list[int]:
    return [request.status for request in cloud.requests if request.endpoint == endpoint]


# Password


def test_one_token_serves_many_requests(talk: Talk, cloud: Cloud) -> None:
    client = talk.client(talk.password())
    for _ in range(3):
        client.list_services()
    assert talk.metrics.requests == [("token", "201")] + [("list", "200")] * 3
    assert talk.metrics.expiries == [talk.clock.now / 1000 + 86_400]


def test_the_endpoint_of_iam_may_end_with_its_version_or_not(talk: Talk) -> None:
    assert token_of(talk.password(iam_endpoint=talk.url))
    assert token_of(talk.password(iam_endpoint=f"{talk.url}/v3/"))


def test_a_token_is_renewed_ten_minutes_before_its_end(talk: Talk, clock: Clock) -> None:
    credential = talk.password()
    first = token_of(credential)
    clock.forward(86_400_000 - 600_001)
    assert token_of(credential) == first
    clock.forward(1)
    assert token_of(credential) != first


def test_of_a_short_life_a_quarter_is_given_away(talk: Talk, cloud: Cloud, clock: Clock) -> None:
    cloud.switches = type(cloud.switches)(token_life=8_000)
    credential = talk.password()
    first = token_of(credential)
    clock.forward(5_999)
    assert token_of(credential) == first
    clock.forward(1)
    assert token_of(credential) != first


def test_the_life_of_a_token_is_measured_on_one_clock(cloud: Cloud, clock: Clock) -> None:
    ours = Clock(clock.now + 7_200_000)  # two hours ahead: a token of an hour would be over at once
    cloud.switches = type(cloud.switches)(token_life=3_600_000)
    with Server(cloud) as server:
        talk = Talk(server.url, ours)
        credential = talk.password()
        assert token_of(credential) == token_of(credential)
    assert talk.metrics.count() == {("token", "201"): 1}


def test_threads_that_need_a_token_sign_in_once(talk: Talk) -> None:
    credential = talk.password()
    tokens: list[str] = []
    threads = [threading.Thread(target=lambda: tokens.append(token_of(credential))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(tokens) == 8
    assert len(set(tokens)) == 1
    assert talk.metrics.count() == {("token", "201"): 1}


def test_a_token_that_was_revoked_is_replaced_and_the_request_repeated(talk: Talk, cloud: Cloud) -> None:
    client = talk.client(talk.password())
    client.list_services()
    cloud.revoke_tokens()
    client.list_services()
    assert talk.metrics.requests[2:] == [("list", "401"), ("token", "201"), ("list", "200")]


def test_a_new_token_that_is_refused_too_is_the_end_until_the_next_try(
    talk: Talk, cloud: Cloud, clock: Clock
) -> None:
    cloud.faults.add(
        faults.error(401, "APIG.0301", "decrypt token fail", "gateway", times=None, endpoint="list")
    )
    client = talk.client(talk.password())
    with pytest.raises(Refused, match=r"HTTP 401 APIG\.0301: decrypt token fail"):
        client.list_services()
    assert talk.metrics.count() == {("token", "201"): 2, ("list", "401"): 2}
    with pytest.raises(Refused, match="The next try is in 2 s"):
        client.list_services()
    assert talk.metrics.count() == {("token", "201"): 2, ("list", "401"): 2}
    cloud.faults.clear()
    clock.forward(2_000)
    client.list_services()


def test_a_token_that_never_works_is_not_signed_in_for_more_than_the_window_allows(
    talk: Talk, cloud: Cloud, clock: Clock
) -> None:
    cloud.faults.add(faults.error(401, "APIG.0301", "no", "gateway", times=None, endpoint="list"))
    client = talk.client(talk.password())
    for _ in range(299):
        with pytest.raises(Refused):
            client.list_services()
        clock.forward(1_000)
    # Each try is two sign-ins, for the request is repeated once.
    assert talk.metrics.count()["token", "201"] == 8


def test_a_wrong_password_is_shown_four_times_in_five_minutes(talk: Talk, cloud: Cloud, clock: Clock) -> None:
    client = talk.client(talk.password(lambda: "wrong-password"))
    at = []
    for second in range(300):
        before = len(talk.metrics.requests)
        with pytest.raises(Refused) as refused:
            client.list_services()
        assert "wrong-password" not in str(refused.value)
        if len(talk.metrics.requests) > before:
            at.append(second)
        clock.forward(1_000)
    assert at == [0, 2, 6, 14]
    assert set(talk.metrics.requests) == {("token", "401")}


def test_a_changed_password_is_tried_at_once(talk: Talk, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("wrong")
    client = talk.client(talk.password(file.read_text))
    with pytest.raises(Refused):
        client.list_services()
    file.write_text(DEFAULT_PASSWORD)
    client.list_services()


def test_after_a_reload_a_refused_password_is_tried_at_once(talk: Talk) -> None:
    client = talk.client(talk.password(lambda: "wrong"))
    for _ in range(2):
        with pytest.raises(Refused):
            client.list_services()
        talk.limiter.retry_now()
    assert talk.metrics.count() == {("token", "401"): 2}


def test_a_password_that_cannot_be_read_is_a_refusal_without_a_request(talk: Talk, tmp_path: Path) -> None:
    client = talk.client(talk.password((tmp_path / "gone").read_text))
    with pytest.raises(Refused, match=r"^The password cannot be read: No such file or directory\.$"):
        client.list_services()
    with pytest.raises(Refused, match="empty"):
        talk.client(talk.password(lambda: "")).list_services()
    assert talk.metrics.requests == []


def test_a_token_that_does_not_say_when_it_was_issued_lives_on_our_clock(
    talk: Talk, cloud: Cloud, clock: Clock
) -> None:
    def edit(content: dict[str, Any]) -> None:
        del content["token"]["issued_at"]

    cloud.faults.add(faults.edited(edit, endpoint="token"))
    credential = talk.password()
    first = token_of(credential)
    clock.forward(86_400_000 - 600_001)
    assert token_of(credential) == first


def test_a_thread_that_comes_late_with_an_old_token_does_not_drop_the_new_one(
    talk: Talk, cloud: Cloud
) -> None:
    credential = talk.password()
    early, late = credential.lease(), credential.lease()
    assert early.refused("no.", final=False)
    renewed = token_of(credential)
    assert late.refused("no.", final=False)
    assert token_of(credential) == renewed


def test_while_iam_is_away_the_old_token_is_used_until_its_end(
    talk: Talk, cloud: Cloud, clock: Clock
) -> None:
    client = talk.client(talk.password())
    client.list_services()
    cloud.faults.add(faults.no_answer(endpoint="token", times=None))
    clock.forward(86_400_000 - 600_000)
    client.list_services()
    client.list_services()
    assert talk.metrics.count()["token", "error"] == 1
    clock.forward(600_000)
    with pytest.raises(Unreachable):
        client.list_services()
    cloud.faults.clear()
    clock.forward(10_000)
    client.list_services()


def test_signing_in_goes_through_the_proxy_of_the_project(talk: Talk, cloud: Cloud) -> None:
    with raw_server(Proxy("u:p")) as proxy:
        http = HttpClient(10, proxy_url=proxy.url, proxy_login=lambda: ("u", "p"))
        assert token_of(talk.password(transport=http))
        assert proxy.asked[0].startswith(f"POST {talk.url}/v3/auth/tokens".encode())


# Access key


def test_a_signed_request_is_taken(talk: Talk, cloud: Cloud) -> None:
    service = cloud.add_service(service_id="a b/ü~+=&?")
    cloud.add_event(service, "normal", "start to deploy service")
    client = talk.client()
    assert [row.service_id for row in client.list_services().rows] == [service]
    assert len(client.read_events(service).events) == 1
    assert set(statuses(cloud, "events")) == {200}


def test_a_temporary_key_sends_its_token_signed(talk: Talk, cloud: Cloud) -> None:
    cloud.add_access_key("TEMPORARY", "secret", "security-token==")
    talk.client(talk.access_key(lambda: "secret", lambda: "security-token==", "TEMPORARY")).list_services()
    with pytest.raises(Refused):
        talk.client(talk.access_key(lambda: "secret", None, "TEMPORARY")).list_services()


def test_a_wrong_key_is_shown_four_times_in_five_minutes_by_any_number_of_threads(
    talk: Talk, cloud: Cloud, clock: Clock
) -> None:
    clients = [talk.client(talk.access_key(lambda: "wrong")) for _ in range(3)]

    def ask() -> None:
        for client in clients:
            with pytest.raises(Refused):
                client.list_services()

    for _ in range(60):
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        clock.forward(4_900)
    assert statuses(cloud, "list") == [401] * 4
    # The cloud has not locked it: the right key works.
    talk.client(talk.access_key()).list_services()


def test_a_project_that_waits_for_its_rate_keeps_no_other_one_with_the_same_key_waiting(
    talk: Talk, clock: Clock
) -> None:
    key, rate_limiter = talk.access_key(), RateLimiter(100, clock)
    rate_limiter.throttled(3_600, None)
    paused = talk.client(key, rate_limiter=rate_limiter)
    stopped = []

    def ask() -> None:
        with pytest.raises(Stopping):
            paused.list_services()
        stopped.append(True)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    talk.client(key).list_services()
    assert stopped == []
    rate_limiter.stop()
    for thread in threads:
        thread.join(10)
    assert len(stopped) == 6


def test_a_changed_key_is_tried_within_the_same_request(talk: Talk, tmp_path: Path) -> None:
    secrets = iter(["wrong"] * 2 + [DEFAULT_SECRET_KEY] * 3)
    talk.client(talk.access_key(lambda: next(secrets))).list_services()
    assert talk.metrics.requests == [("list", "401"), ("list", "200")]


def test_a_key_that_vanishes_after_a_refusal_stays_refused(talk: Talk) -> None:
    reads = iter(["wrong", "wrong", ""])
    with pytest.raises(Refused, match="verify aksk signature fail"):
        talk.client(talk.access_key(lambda: next(reads))).list_services()


def test_a_signature_out_of_time_says_so(cloud: Cloud, clock: Clock) -> None:
    with Server(cloud) as server:
        talk = Talk(server.url, Clock(clock.now + 3_600_000))
        with pytest.raises(Refused, match="signature expired"):
            talk.client().list_services()
        assert talk.metrics.skews == [-3600.0]


def test_a_key_locked_by_the_cloud_is_left_alone_for_five_minutes(
    talk: Talk, cloud: Cloud, clock: Clock
) -> None:
    text = "Incorrect IAM authentication information: AK access failed to reach the limit,forbidden"
    cloud.faults.add(faults.error(401, "APIG.0301", text, "gateway"))
    client = talk.client()
    with pytest.raises(Refused, match="reach the limit"):
        client.list_services()
    clock.forward(300_000)
    with pytest.raises(Refused, match="in 1 s"):
        client.list_services()
    clock.forward(1)
    client.list_services()


# Token file


def test_a_token_from_a_file_is_read_anew_when_something_else_renewed_it(
    talk: Talk, cloud: Cloud, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(token_of(talk.password()))
    client = talk.client(talk.token_file(file.read_text))
    client.list_services()
    cloud.revoke_tokens()
    with pytest.raises(Refused, match="must be updated"):
        client.list_services()
    with pytest.raises(Refused, match="The next try is in 2 s"):
        client.list_services()
    file.write_text(token_of(talk.password()))
    client.list_services()


def test_a_token_that_was_renewed_meanwhile_is_tried_within_the_same_request(talk: Talk) -> None:
    good = token_of(talk.password())
    reads = iter(["old", good, good])
    assert talk.client(talk.token_file(lambda: next(reads))).list_services().complete
    assert talk.metrics.requests == [("token", "201"), ("list", "401"), ("list", "200")]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "The token file is empty."),
        (b"two\nlines", "no header can carry"),
        ("töken".encode(), "no header can carry"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_a_file_without_a_token_is_a_refusal_without_a_request(
    talk: Talk, tmp_path: Path, content: bytes, sentence: str
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(Refused, match=sentence):
        talk.client(talk.token_file(lambda: file.read_text("utf-8"))).list_services()
    assert talk.metrics.requests == []


def test_a_token_file_that_vanishes_after_a_refusal_stays_refused(talk: Talk) -> None:
    reads = iter(["old", ""])
    with pytest.raises(Refused, match="must be updated"):
        talk.client(talk.token_file(lambda: next(reads))).list_services()
