"""One odd answer after another, at each endpoint: what is made of it, told of it, and counted.

The answers come from `responses`, without a socket: nothing here is about the wire.
"""

import json
import time
from collections.abc import Callable, Iterator

import pytest
import responses

from exporter.adapters.modelarts.source import ModelArtsSource
from exporter.core.source import (
    Forbidden,
    Gone,
    NotUnderstood,
    Refused,
    RemoteError,
    Throttled,
    Unreachable,
)
from exporter.emulator import DEFAULT_PROJECT

from .clients import Talk
from .fakes import NOW, Clock

CLOUD = "https://modelarts.example"
SERVICES = f"{CLOUD}/v1/{DEFAULT_PROJECT}/services"
TOKENS = f"{CLOUD}/v3/auth/tokens"

Read = Callable[[ModelArtsSource], object]

# Each endpoint: its URL, what asks it, how its errors begin, the permission that a 403 wants, a good body.
ENDPOINTS: dict[str, tuple[str, Read, str, str, dict[str, object]]] = {
    "list": (
        SERVICES,
        ModelArtsSource.list_services,
        "Listing the services failed",
        "modelarts:service:list",
        {"services": [], "total_count": 0, "count": 0},
    ),
    "detail": (
        f"{SERVICES}/s-1",
        lambda source: source.read_detail("s-1"),
        "Reading a service failed",
        "modelarts:service:get",
        {"service_id": "s-1", "status": "running"},
    ),
    "logs": (
        f"{SERVICES}/s-1/logs",
        lambda source: source.read_updates("s-1"),
        "Reading an update log failed",
        "modelarts:service:getLogs",
        {"service_id": "s-1", "logs": []},
    ),
    "events": (
        f"{SERVICES}/s-1/events",
        lambda source: source.read_events("s-1"),
        "Reading an event log failed",
        "modelarts:service:getEvents",
        {"service_id": "s-1", "events": [], "total_count": 0},
    ),
}


CHECK = "(check the key or the token, and the clock of this machine)"


@pytest.fixture(name="cloud")
def _cloud() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as cloud:
        yield cloud


@pytest.fixture(name="talk")
def _talk() -> Talk:
    return Talk(CLOUD, Clock())


def gateway(code: str, text: str) -> str:
    return json.dumps({"error_code": code, "error_msg": text, "request_id": "914a39d6"})


def iam(status: int, text: str) -> str:
    return json.dumps({"error": {"code": status, "message": text, "title": text}})


HTML_504 = "<html><head><title>504 Gateway Time-out</title></head><body><h1>504</h1></body></html>"

# Status, headers, body; what is raised, and how its sentence ends after the name of the endpoint.
ERRORS = [
    (400, {}, gateway("ModelArts.0102", "No workspace."), RemoteError, "ModelArts.0102: No workspace."),
    (401, {}, gateway("APIG.0301", "decrypt fail"), Refused, f"decrypt fail {CHECK}."),
    (401, {}, iam(401, "Unauthorized."), Refused, f"with HTTP 401: Unauthorized {CHECK}."),
    (403, {}, gateway("ModelArts.0206", "Invalid AK/SK."), Refused, "the access key and its secret key)."),
    (403, {}, gateway("APIG.0401", "no"), Forbidden, "ask who manages the access control of the gateway)."),
    (404, {}, gateway("ModelArts.3502", "Service s-1 does not exist."), Gone, "Service s-1 does not exist."),
    (404, {}, gateway("APIGW.0101", "no"), RemoteError, "check the endpoint: it does not publish this API)."),
    (404, {}, "", RemoteError, "with HTTP 404."),
    (407, {}, "", RemoteError, "(the proxy wants a user and a password: set proxy_basic_auth)."),
    (429, {"Retry-After": "7"}, "", Throttled, "with HTTP 429."),
    (494, {}, "Header Overflow", RemoteError, "(the token is too long for the gateway: use an access key)."),
    (500, {}, gateway("ModelArts.5000", "\x1b[31moops\n"), RemoteError, "ModelArts.5000: [31moops."),
    (502, {}, "\xff", RemoteError, "with HTTP 502: ÿ."),
    (504, {}, HTML_504, RemoteError, "with HTTP 504: Gateway Time-out 504."),
    (302, {"Location": "http://a.example"}, "", RemoteError, "are not followed: check the endpoint)."),
    (204, {}, "", RemoteError, "with HTTP 204."),
    (200, {}, "", NotUnderstood, "The answer is not JSON."),
    (200, {}, "<html>", NotUnderstood, "The answer is not JSON but HTML."),
    (200, {}, "[]", NotUnderstood, "The answer is JSON, but not an object."),
    (200, {}, "{}", NotUnderstood, ""),
    (200, {"Content-Encoding": "gzip"}, "oops", NotUnderstood, "The answer is not compressed as it says."),
]  # fmt: skip


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("status", "headers", "body", "kind", "ending"), ERRORS)
def test_an_odd_answer_is_one_sentence_and_counted_once(
    cloud: responses.RequestsMock,
    talk: Talk,
    endpoint: str,
    status: int,
    headers: dict[str, str],
    body: str,
    kind: type[RemoteError],
    ending: str,
) -> None:
    url, read, begins, _, good = ENDPOINTS[endpoint]
    cloud.get(url, status=status, headers=headers, body=body)
    credential = talk.token_file(lambda: "s3cr3t")
    with pytest.raises(kind) as error:
        read(talk.client(credential))
    message = str(error.value)
    assert message.endswith(ending)
    assert message.startswith(begins) or status == 200
    assert (message.isprintable(), "s3cr3t" in message) == (True, False)
    assert set(talk.metrics.requests) == {
        (endpoint, "error" if headers.get("Content-Encoding") else str(status))
    }
    # A 400 may be about the limit, or an end of the events in the far future: smaller ones are tried.
    assert len(cloud.calls) == ({"list": 7, "events": 9}.get(endpoint, 1) if status == 400 else 1)
    cloud.reset()
    cloud.get(url, json=good)
    talk.clock.forward(2_000)
    read(talk.client(talk.access_key()))


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_403_names_the_permission_that_is_missing(
    cloud: responses.RequestsMock, talk: Talk, endpoint: str
) -> None:
    url, read, _, permission, _ = ENDPOINTS[endpoint]
    cloud.get(url, status=403, body=gateway("ModelArts.0108", "not authorized"))
    with pytest.raises(Forbidden, match=rf"\(grant the permission {permission}\)\.$"):
        read(talk.client())


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_request_says_who_asks_and_in_which_language(
    cloud: responses.RequestsMock, talk: Talk, endpoint: str
) -> None:
    url, read, _, _, good = ENDPOINTS[endpoint]
    cloud.get(url, json=good)
    read(talk.client())
    sent = cloud.calls[0].request.headers
    assert sent["User-Agent"].startswith("modelarts-exporter/")
    assert (sent["X-Language"], sent["Content-Type"]) == ("en-us", "application/json")
    assert (sent["Accept-Encoding"], sent["X-Project-Id"]) == ("gzip", DEFAULT_PROJECT)
    assert sent["Host"] == "modelarts.example"


@pytest.mark.parametrize("secret", ["s3cr3t", "token", "HTTP", "failed"])
def test_what_the_cloud_quotes_of_a_secret_is_taken_out_and_our_own_words_are_not(
    cloud: responses.RequestsMock, talk: Talk, secret: str
) -> None:
    cloud.get(SERVICES, status=403, body=gateway("X", f"not for {secret} here"))
    with pytest.raises(Forbidden) as error:
        talk.client(talk.token_file(lambda: secret)).list_services()
    assert str(error.value) == (
        "Listing the services failed with HTTP 403 X: not for <secret> here "
        "(grant the permission modelarts:service:list)."
    )
    cloud.post(TOKENS, status=401, body=iam(401, f"no {secret}"))
    with pytest.raises(Refused) as refused:
        talk.client(talk.password(lambda: secret)).list_services()
    assert str(refused.value) == (
        "Signing in failed with HTTP 401: no <secret> (check domain, username, password and project_id)."
    )


# Status, headers, body of the answer to a sign-in.
TOKEN = {"X-Subject-Token": "t"}
LIFE = '{"token": {"expires_at": "2030-01-01T00:00:00.000000Z", "issued_at": "2029-12-31T00:00:00.000000Z"}}'
SIGN_INS = [
    (400, {}, iam(400, "bad"), RemoteError, "Signing in failed with HTTP 400: bad."),
    (403, {}, gateway("IAM.0002", "no role"), Forbidden, "with HTTP 403 IAM.0002: no role."),
    (302, {"Location": CLOUD}, "", RemoteError, "(redirects are not followed: check the endpoint)."),
    (502, {}, "<h1>502 Bad Gateway</h1>", RemoteError, "Signing in failed with HTTP 502: Bad Gateway."),
    (201, TOKEN, "{}", NotUnderstood, "Signing in was answered without a token or its expires_at."),
    (201, TOKEN, "[]", NotUnderstood, "without a token or its expires_at."),
    (200, TOKEN, "<html>", NotUnderstood, "without a token or its expires_at."),
    (200, TOKEN, "[" * 100_000, NotUnderstood, "without a token or its expires_at."),
    (201, TOKEN, '{"token": null}', NotUnderstood, "without a token or its expires_at."),
    (201, TOKEN, '{"token": 7}', NotUnderstood, "without a token or its expires_at."),
    (201, TOKEN, '{"token": {}}', NotUnderstood, "without a token or its expires_at."),
    (201, TOKEN, '{"token": {"expires_at": "soon"}}', NotUnderstood, "without a token or its expires_at."),
    (201, TOKEN, '{"token": {"expires_at": null}}', NotUnderstood, "without a token or its expires_at."),
    (201, TOKEN, LIFE.replace("2029-12-31", "2030-01-01"), NotUnderstood, "that has already ended."),
    (201, {}, LIFE, NotUnderstood, "without a token that a header can carry."),
    (201, {"X-Subject-Token": "a b"}, LIFE, NotUnderstood, "without a token that a header can carry."),
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers", "body", "kind", "ending"), SIGN_INS)
def test_what_iam_answers_instead_of_a_token_is_told_and_not_asked_for_again_at_once(
    cloud: responses.RequestsMock,
    talk: Talk,
    status: int,
    headers: dict[str, str],
    body: str,
    kind: type[RemoteError],
    ending: str,
) -> None:
    cloud.post(TOKENS, status=status, headers=headers, body=body)
    cloud.get(SERVICES, json={"services": [], "total_count": 0})
    client = talk.client(talk.password())
    for _ in range(2):
        with pytest.raises(kind) as error:
            client.list_services()
        assert str(error.value).endswith(ending)
        assert str(error.value).startswith("Signing in ")
    assert talk.metrics.requests == [("token", str(status))]
    cloud.replace(responses.POST, TOKENS, status=201, headers=TOKEN, body=LIFE)
    talk.clock.forward(10_000)
    client.list_services()
    assert cloud.calls[-1].request.headers["X-Auth-Token"] == "t"


def test_a_token_without_a_zone_or_a_beginning_is_taken(cloud: responses.RequestsMock, talk: Talk) -> None:
    cloud.post(TOKENS, status=201, headers=TOKEN, body='{"token": {"expires_at": "2030-01-01T00:00:00"}}')
    cloud.get(SERVICES, json={"services": [], "total_count": 0})
    talk.client(talk.password()).list_services()
    assert talk.metrics.expiries == [1893456000.0]


def test_a_throttled_sign_in_pauses_the_project_but_names_it_no_rate(
    cloud: responses.RequestsMock, talk: Talk
) -> None:
    text = "The throttling threshold has been reached. Threshold: 5 times per 60 seconds"
    cloud.post(TOKENS, status=429, body=gateway("IAM.0012", text))
    client = talk.client(talk.password())
    for _ in range(2):
        with pytest.raises(Throttled):
            client.list_services()
    assert talk.rate_limiter.told == [(60.0, None), (60.0, None)]
    assert talk.metrics.requests == [("token", "429")]


def test_no_answer_is_counted_as_an_error(cloud: responses.RequestsMock, talk: Talk) -> None:
    cloud.get(SERVICES, body=ConnectionResetError(104, "Connection reset by peer"))
    with pytest.raises(Unreachable, match=r"from modelarts\.example:443: Connection reset by peer"):
        talk.client().list_services()
    assert talk.metrics.requests == [("list", "error")]


@pytest.mark.parametrize(
    "date", ["Tue, 14 Nov 2023 22:13:20", "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:20 -0000"]
)
def test_a_date_without_a_zone_is_in_utc(
    cloud: responses.RequestsMock, talk: Talk, date: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    cloud.get(SERVICES, json={"services": [], "total_count": 0}, headers={"Date": date})
    talk.client().list_services()
    monkeypatch.undo()
    time.tzset()
    assert NOW == 1_700_000_000_000
    assert talk.metrics.skews == [0.0]
