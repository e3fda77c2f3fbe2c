"""The emulated IAM and gateway: who is let in, who is not, and in which words."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from exporter.emulator import (
    DEFAULT_DOMAIN,
    DEFAULT_PASSWORD,
    DEFAULT_PROJECT,
    DEFAULT_PROJECT_NAME,
    DEFAULT_USER,
    Cloud,
    Server,
)
from exporter.emulator.signature import format_date, parse_authorization, parse_date, signature

NOW = 1_800_000_000_000
MINUTE = 60_000
VECTORS = json.loads((Path(__file__).parent / "data" / "signing_vectors.json").read_text("utf-8"))
LIST = f"/v1/{DEFAULT_PROJECT}/services"


class Clock:
    """Time that a test turns by hand, in ms."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="cloud")
def _cloud(clock: Clock) -> Cloud:
    return Cloud(clock)


@pytest.fixture(name="server")
def _server(cloud: Cloud) -> Iterator[Server]:
    with Server(cloud) as server:
        yield server


def _sign_in(
    server: Server,
    password: str = DEFAULT_PASSWORD,
    scope: Any = None,
    query: str = "?nocatalog=true",
    user: str = DEFAULT_USER,
) -> requests.Response:
    identity = {"name": user, "password": password, "domain": {"name": DEFAULT_DOMAIN}}
    body = {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": identity}},
            "scope": {"project": {"id": DEFAULT_PROJECT}} if scope is None else scope,
        }
    }
    return requests.post(f"{server.url}/v3/auth/tokens{query}", json=body, timeout=10)


def _list(server: Server, headers: dict[str, str], path: str = LIST) -> requests.Response:
    return requests.get(server.url + path, headers=headers, timeout=10)


def _code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]


# Tokens


@pytest.mark.parametrize("scope", [{"id": DEFAULT_PROJECT}, {"name": DEFAULT_PROJECT_NAME}])
def test_a_password_gives_a_token_for_a_project_by_id_or_name(server: Server, scope: dict[str, str]) -> None:
    answer = _sign_in(server, scope={"project": scope})

    token = answer.json()["token"]
    assert answer.status_code == 201
    assert token["project"]["id"] == DEFAULT_PROJECT
    assert token["expires_at"] == "2027-01-16T08:00:00.000000Z"
    assert "catalog" not in token
    assert _list(server, {"X-Auth-Token": answer.headers["X-Subject-Token"]}).status_code == 200


def test_a_catalogue_comes_unless_it_is_refused(server: Server) -> None:
    types = [entry["type"] for entry in _sign_in(server, query="").json()["token"]["catalog"]]

    assert types == ["identity", "modelartsv1"]


@pytest.mark.parametrize(("code", "expected"), [("0307", "APIG.0307"), ("ModelArts.0202", "ModelArts.0202")])
def test_a_token_ends_with_its_life(
    cloud: Cloud, server: Server, clock: Clock, code: Any, expected: str
) -> None:
    cloud.switches = replace(cloud.switches, token_life=MINUTE, expired_token=code)
    headers = {"X-Auth-Token": _sign_in(server).headers["X-Subject-Token"]}
    clock.now += MINUTE - 1
    assert _list(server, headers).status_code == 200

    clock.now += 1

    assert _code(_list(server, headers)) == (401, expected)
    assert _code(_list(server, {"X-Auth-Token": "made up"})) == (401, expected)


def test_revoked_tokens_end_at_once_and_a_new_one_is_given(cloud: Cloud, server: Server) -> None:
    headers = {"X-Auth-Token": _sign_in(server).headers["X-Subject-Token"]}
    cloud.revoke_tokens()

    assert _code(_list(server, headers)) == (401, "APIG.0307")
    headers = {"X-Auth-Token": _sign_in(server).headers["X-Subject-Token"]}
    assert _list(server, headers).status_code == 200


def test_a_token_opens_only_its_project(cloud: Cloud, server: Server) -> None:
    cloud.add_project("f" * 32, "other")
    headers = {"X-Auth-Token": _sign_in(server).headers["X-Subject-Token"]}
    domain = {"X-Auth-Token": _sign_in(server, scope={"domain": {}}).headers["X-Subject-Token"]}

    assert _code(_list(server, headers, f"/v1/{'f' * 32}/services")) == (403, "ModelArts.0210")
    assert _code(_list(server, domain)) == (400, "ModelArts.0204")
    assert _code(_list(server, {})) == (401, "APIG.0301")


def test_a_user_enters_only_the_projects_it_may(cloud: Cloud, server: Server) -> None:
    cloud.add_project("f" * 32, "other")
    cloud.add_user("guest", "pw", projects=["f" * 32])

    assert _sign_in(server, "pw", user="guest").status_code == 401
    assert _sign_in(server, "pw", {"project": {"name": "other"}}, user="guest").status_code == 201


@pytest.mark.parametrize("shape", ["openstack", "iam"])
def test_wrong_passwords_lock_the_user(cloud: Cloud, server: Server, clock: Clock, shape: Any) -> None:
    cloud.switches = replace(cloud.switches, iam_errors=shape)
    for _ in range(5):
        assert _sign_in(server, "wrong").status_code == 401

    answer = _sign_in(server)

    assert answer.status_code == 401
    if shape == "openstack":
        body = {"message": "The account is locked.", "code": 401, "title": "Unauthorized"}
        assert answer.json() == {"error": body}
    else:
        assert answer.json() == {"error_code": "IAM.0061", "error_msg": "The account is locked."}
    clock.now += 15 * MINUTE
    assert _sign_in(server).status_code == 201


def test_four_wrong_passwords_and_a_right_one_lock_nothing(server: Server) -> None:
    for _ in range(2):
        assert [_sign_in(server, "wrong").status_code for _ in range(4)] == [401] * 4
        assert _sign_in(server).status_code == 201


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"auth": {"identity": {"methods": ["token"]}}}'])
def test_a_sign_in_that_is_not_understood_is_refused(server: Server, body: bytes) -> None:
    answer = requests.post(f"{server.url}/v3/auth/tokens", data=body, timeout=10)

    assert answer.status_code == 400
    assert answer.json()["error"]["title"] == "Bad Request"


# Signatures


@pytest.mark.parametrize("vector", VECTORS["golangsdk_public"], ids=lambda vector: vector["method"])
def test_public_signatures_are_reproduced(vector: dict[str, Any]) -> None:
    given = parse_authorization(vector["authorization"])
    assert given is not None
    query = "&".join(f"{name}={value}" for name, value in vector["query"])

    made = signature(
        vector["method"],
        vector["path"],
        query,
        vector["signed_headers"],
        given.signed_headers,
        vector["body"].encode(),
        vector["sk"],
    )

    assert made == given.signature


def test_the_order_of_a_query_does_not_matter_to_its_signature() -> None:
    def made(query: str) -> str:
        return signature("GET", "/v1", query, {"x-sdk-date": "d"}, ("x-sdk-date",), b"", "SK")

    assert made("b=2&a=%20&a=1") == made("a=1&a=%20&b=2") != made("a=1&a=+&b=2")


@pytest.mark.parametrize("vector", VECTORS["cases"], ids=lambda vector: vector["name"])
def test_made_signatures_are_let_in_and_one_changed_bit_is_not(vector: dict[str, Any]) -> None:
    signed_at = parse_date(vector["headers"]["X-Sdk-Date"])
    assert signed_at is not None
    cloud = Cloud(lambda: signed_at)
    cloud.add_access_key(vector["ak"], vector["sk"], vector["headers"].get("X-Security-Token"))
    cloud.add_service(service_id="35de3ca9-1bca-4ae7-9cb0-914f30fa7d3e")
    headers = {**vector["headers"], "Authorization": vector["authorization"]}
    changed = {**headers, "Authorization": vector["authorization"][:-1] + "x"}
    wrong = {**headers, "Authorization": vector["authorization"][:-1] + "0"}
    assert not vector["authorization"].endswith("0")

    with Server(cloud) as server:
        right_answer = _list(server, headers, vector["request_target"])
        wrong_answer = _list(server, wrong, vector["request_target"])
        changed_answer = _list(server, changed, vector["request_target"])

    assert right_answer.status_code == 200, right_answer.text
    assert wrong_answer.json()["error_msg"].endswith("verify aksk signature fail")
    assert _code(changed_answer) == (401, "APIG.0301")


def _sign(
    url: str, access: str, secret: str, at: int, more: dict[str, str] | None = None, path: str = LIST
) -> dict[str, str]:
    """A signer of a plain GET, written a second time so that the check can disagree with it."""
    headers = {"host": urlsplit(url).netloc, "x-sdk-date": format_date(at), **(more or {})}
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"GET\n{quote(path)}/\n\n{lines}\n{names}\n{hashlib.sha256(b'').hexdigest()}"
    to_sign = f"SDK-HMAC-SHA256\n{format_date(at)}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    made = hmac.new(secret.encode(), to_sign.encode(), "sha256").hexdigest()
    authorization = f"SDK-HMAC-SHA256 Access={access}, SignedHeaders={names}, Signature={made}"
    return {**headers, "authorization": authorization}


def test_a_signature_holds_for_fifteen_minutes_either_way(cloud: Cloud, server: Server) -> None:
    cloud.add_access_key("AK", "SK")
    for late in (-15 * MINUTE, 15 * MINUTE):
        assert _list(server, _sign(server.url, "AK", "SK", NOW + late)).status_code == 200
    for late in (-15 * MINUTE - 1000, 15 * MINUTE + 1000):
        answer = _list(server, _sign(server.url, "AK", "SK", NOW + late))
        assert answer.status_code == 401
        assert answer.json()["error_msg"].endswith(
            "calc aksk signature fail:signature expired, "
            f"signature time:{format_date(NOW + late)},server time:20270115T080000Z"
        )


def test_five_wrong_signatures_lock_the_key_for_five_minutes(
    cloud: Cloud, server: Server, clock: Clock
) -> None:
    cloud.add_access_key("AK", "SK")
    for _ in range(4):
        assert _list(server, _sign(server.url, "AK", "wrong", NOW)).status_code == 401
    assert _list(server, _sign(server.url, "AK", "SK", NOW)).status_code == 200
    for _ in range(5):
        assert _list(server, _sign(server.url, "AK", "wrong", NOW)).status_code == 401

    locked = _list(server, _sign(server.url, "AK", "SK", NOW)).json()["error_msg"]

    assert locked.endswith("AK access failed to reach the limit,forbidden")
    clock.now += 5 * MINUTE
    assert _list(server, _sign(server.url, "AK", "SK", NOW)).status_code == 200


def test_a_temporary_key_needs_its_security_token_signed_and_alive(
    cloud: Cloud, server: Server, clock: Clock
) -> None:
    cloud.add_access_key("TEMP", "SK", "session", NOW + MINUTE)
    with_token = {"x-security-token": "session"}

    assert _list(server, _sign(server.url, "TEMP", "SK", NOW, with_token)).status_code == 200
    assert _list(server, _sign(server.url, "TEMP", "SK", NOW)).status_code == 401
    unsigned = {**_sign(server.url, "TEMP", "SK", NOW), **with_token}
    assert _list(server, unsigned).status_code == 401
    clock.now += MINUTE
    assert _list(server, _sign(server.url, "TEMP", "SK", NOW, with_token)).status_code == 401


def test_an_unknown_key_and_another_project_are_different_errors(cloud: Cloud, server: Server) -> None:
    cloud.add_access_key("AK", "SK")

    unknown = _list(server, _sign(server.url, "NOBODY", "SK", NOW))
    other = _list(server, _sign(server.url, "AK", "SK", NOW, {"x-project-id": "f" * 32}))
    nonsense = _list(server, {"Authorization": "Basic abc"})
    undated = _list(server, {**_sign(server.url, "AK", "SK", NOW), "x-sdk-date": "yesterday"})

    assert unknown.json()["error_msg"].endswith("ak NOBODY not exist")
    assert _code(other) == (403, "ModelArts.0210")
    assert _code(nonsense) == _code(undated) == (401, "APIG.0301")


# Throttling


def test_too_many_requests_of_a_user_wait_for_the_next_window(
    cloud: Cloud, server: Server, clock: Clock
) -> None:
    headers = {"X-Auth-Token": _sign_in(server).headers["X-Subject-Token"]}
    cloud.switches = replace(cloud.switches, throttle=(2, 60), retry_after=True)
    assert [_list(server, headers).status_code for _ in range(2)] == [200, 200]

    clock.now += 20_500
    answer = _list(server, headers)

    assert _code(answer) == (429, "APIG.0308")
    assert answer.json()["error_msg"].endswith("policy user over ratelimit,limit:2,time:1 minute")
    assert answer.headers["Retry-After"] == "40"
    cloud.switches = replace(cloud.switches, retry_after=False)
    assert "Retry-After" not in _list(server, headers).headers
    clock.now += 39_500
    assert _list(server, headers).status_code == 200
