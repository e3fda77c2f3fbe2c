"""The command `doctor`: one broken thing at a time is told by its check, and nothing else is."""

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exporter import cli
from exporter.commands.doctor import probes, unknowns
from exporter.commands.doctor.finding import CHECKS
from exporter.emulator import DEFAULT_DOMAIN, DEFAULT_PROJECT, DEFAULT_USER, Cloud, Fault, Server
from exporter.emulator.faults import body, edited, error, html, slow
from exporter.emulator.switches import DAY_MS, HOUR_MS

from . import certificates
from .commands import Config, access_key, configured, password, project
from .live.processes import PATIENCE_SECONDS, free_port, until
from .raw_server import Proxy, RawServer, raw_server

# Long and odd, so that it stands in an output only if it has leaked.
PASSWORD = "hunter2-Correct-Horse"
SECRET_KEY = "s3cr3t-key-Battery-Staple"
PROXY_PASSWORD = "pr0xy-Passw0rd"
TOKEN = "MIIE-0123456789-token-of-a-test"

ROOT = Path(__file__).parents[1]
MINUTE_MS = 60_000
SERVICES = CHECKS[CHECKS.index("detail") : CHECKS.index("other-api")]
AFTER_SIGN_IN = CHECKS[CHECKS.index("list") :]


@dataclass
class Lab:
    """A cloud with a few services, and a project on it; `offset_ms`: how far its clock is ahead of ours."""

    directory: Path
    cloud: Cloud
    url: str
    stack: ExitStack
    offset_ms: int = 0
    services: list[str] = field(default_factory=list)

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset_ms

    def examine(
        self, capsys: pytest.CaptureFixture[str], *flags: str, **changes: Any
    ) -> tuple[int, dict[str, tuple[str, str, str]], str]:
        """The exit code, (status, found, remedy) of each check, and all that was printed."""
        code = cli.main(["doctor", f"--config.file={self.configured(**changes)}", *flags])
        printed = capsys.readouterr()
        assert printed.err == ""
        return code, parsed(printed.out), printed.out

    def configured(self, **changes: Any) -> str:
        row = project(self.url, **{"auth": password(self.url, PASSWORD), "rate_limit": 1000, **changes})
        return configured(self.directory, row)

    def switch(self, **switches: Any) -> None:
        with self.cloud.lock:
            self.cloud.switches = replace(self.cloud.switches, **switches)

    def fault(self, *faults: Fault) -> Config:
        """Order faults; the project stays as it is."""
        with self.cloud.lock:
            self.cloud.faults.add(*faults)
        return {}

    def denied(self, action: str) -> Config:
        self.switch(denied=(f"modelarts:service:{action}",), version_2=True)
        return {}

    def token(self, project_id: str | None = DEFAULT_PROJECT, life_ms: int = HOUR_MS) -> Config:
        """The `auth` of a file with a token."""
        with self.cloud.lock:
            user = self.cloud.identities.find_user(name=DEFAULT_USER)
            assert user is not None
            token = self.cloud.identities.issue(user.user_id, project_id, self.now(), HOUR_MS)
            self.cloud.identities.tokens[TOKEN] = replace(token, expires_at=self.now() + life_ms)
        (self.directory / "token").write_text(TOKEN)
        return {"token_file": "token"}

    def raw(
        self, handle: Callable[[RawServer, socket.socket], None], tls: ssl.SSLContext | None = None
    ) -> str:
        """The URL of a server that lives as long as the test."""
        return self.stack.enter_context(raw_server(handle, tls)).url

    def over_tls(self, host: str = "127.0.0.1") -> str:
        """The URL of the same cloud behind TLS; its certificate is certificate.pem, for 127.0.0.1."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = self.directory / "certificate.pem"
        if not certificate.exists():
            certificates.for_loopback(self.directory)
        context.load_cert_chain(certificate)
        port = int(self.url.rpartition(":")[2])

        def forward(_: RawServer, connection: socket.socket) -> None:
            with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as onward:
                back = threading.Thread(target=pump, args=(onward, connection))
                back.start()
                pump(connection, onward)
                back.join(10)

        return self.raw(forward, context).replace("127.0.0.1", host)


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other side has gone


def parsed(text: str) -> dict[str, tuple[str, str, str]]:
    """Each check with its status, what was found, and the remedy; every line must be of the promised form."""
    found: dict[str, tuple[str, str, str]] = {}
    last = ""
    for line in text.splitlines():
        if line.startswith("  remedy: "):
            status, said, remedy = found[last]
            assert (status, remedy) == ("failed", ""), "a remedy stands behind a failure, once"
            found[last] = (status, said, line.removeprefix("  remedy: "))
            continue
        match = re.fullmatch(r"(ok|warning|failed|skipped) prod ([a-z-]+): (.+)", line)
        assert match is not None, line
        last = match[2]
        assert last not in found
        found[last] = (match[1], match[3], "")
    assert tuple(found) == CHECKS
    assert all(remedy for status, _, remedy in found.values() if status == "failed")
    return found


@pytest.fixture(name="lab")
def _lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as stack:
        cloud = Cloud(lambda: lab.now())  # noqa: PLW0108 - it is made below
        lab = Lab(tmp_path, cloud, "", stack)
        cloud.add_user(DEFAULT_USER, PASSWORD)
        cloud.add_access_key("KEY", SECRET_KEY)
        for number in range(4):
            service_id = cloud.add_service(name=f"s{number}")
            for event in range(3 + 3 * number):
                at = lab.now() - 20 * DAY_MS + event * HOUR_MS - MINUTE_MS
                cloud.add_event(service_id, "normal", f"event {event}", at, at, chinese=f"事件 {event}")
            for update in range(3):
                at = lab.now() - 25 * DAY_MS + update * HOUR_MS - MINUTE_MS
                cloud.add_update(service_id, "SUCCESS", at=at, visible_at=at)
            lab.services.append(service_id)
        lab.url = stack.enter_context(Server(cloud)).url
        yield lab


def statuses(found: Mapping[str, tuple[str, str, str]]) -> dict[str, str]:
    return {check: status for check, (status, _, _) in found.items()}


# All is well


@pytest.mark.parametrize("sign_in", ["password", "aksk", "token_file"])
def test_a_project_that_works_fails_no_check(
    lab: Lab, capsys: pytest.CaptureFixture[str], sign_in: str
) -> None:
    auth = {
        "password": password(lab.url, PASSWORD),
        "aksk": access_key(SECRET_KEY, "KEY"),
        "token_file": lab.token(),
    }[sign_in]
    code, found, _ = lab.examine(capsys, auth=auth)
    expected = dict.fromkeys(CHECKS, "ok")
    if sign_in != "password":
        expected["iam"] = "skipped"
    assert (code, statuses(found)) == (0, expected)


def test_a_project_over_tls_and_through_a_proxy_fails_no_check(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    url, proxy = lab.over_tls(), lab.raw(Proxy(login=f"me:{PROXY_PASSWORD}"))
    code, found, text = lab.examine(
        capsys,
        endpoint=url,
        auth=password(url, PASSWORD),
        proxy_url=proxy,
        proxy_basic_auth={"username": "me", "password": PROXY_PASSWORD},
        tls={"ca_file": "certificate.pem"},
    )
    assert (code, set(statuses(found).values())) == (0, {"ok"}), text
    where = url.partition("://")[2]
    assert found["endpoint"][1] == (
        f"{where} answers over TLS, through the proxy {proxy.partition('://')[2]}."
    )
    assert PROXY_PASSWORD not in text


def test_a_certificate_that_nobody_checks_is_warned_of(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    url = lab.over_tls()
    code, found, _ = lab.examine(capsys, endpoint=url, tls={"insecure_skip_verify": True})
    assert (code, found["endpoint"][0]) == (0, "warning")
    assert found["endpoint"][1].endswith("Set tls.ca_file, and remove tls.insecure_skip_verify.")


# One thing is broken

Break = Callable[[Lab], Config]


@dataclass(frozen=True)
class Case:
    """What is broken, and what is told of it.

    Args:
        what: is broken.
        breaks: breaks it, and returns what changes in the project's section.
        check: that tells of it.
        status: of that check.
        found: words of what it found.
        remedy: words of the remedy; of a warning they are in the same line.
        skips: what is skipped, since it depends on it.
        also: what else is told of it, because it is broken too.
        skips_iam: the credential needs no IAM.

    """

    what: str
    breaks: Break
    check: str
    status: str
    found: str
    remedy: str
    skips: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    skips_iam: bool = False


def port(lab: Lab) -> str:
    return f"http://127.0.0.1:{free_port()}"


def with_user(lab: Lab, **changes: str) -> Config:
    return {"auth": {"password": {**password(lab.url, PASSWORD)["password"], **changes}}}


def lock_user(lab: Lab) -> Config:
    for user in lab.cloud.identities.users.values():
        user.lockout.locked_until = lab.now() + HOUR_MS
    return {}


def lock_key(lab: Lab) -> Config:
    lab.cloud.identities.keys["KEY"].lockout.locked_until = lab.now() + HOUR_MS
    return {"auth": access_key(SECRET_KEY, "KEY")}


def off_by(seconds: int, **changes: Any) -> Break:
    def apply(lab: Lab) -> Config:
        lab.offset_ms = seconds * 1000
        return changes

    return apply


def wrong_project(sign_in: Break) -> Break:
    def apply(lab: Lab) -> Config:
        lab.switch(version_2=True)
        return {"project_id": "a" * 32, **sign_in(lab)}

    return apply


def gateway_fails(sign_in: Break) -> Break:
    return lambda lab: {**lab.fault(html(502, endpoint="list", times=None)), **sign_in(lab)}


def empty(lab: Lab) -> Config:
    for service_id in lab.services:
        lab.cloud.delete_service(service_id)
    return {}


def throttle(seconds: str, endpoint: Any, skip: int = 0) -> Break:
    def apply(lab: Lab) -> Config:
        text = "The throttling threshold has been reached: policy user over ratelimit"
        headers = {"Retry-After": seconds}
        return lab.fault(
            error(429, "APIG.0308", text, "gateway", headers=headers, endpoint=endpoint, skip=skip)
        )

    return apply


KEY = {"auth": access_key(SECRET_KEY, "KEY")}
THROTTLED = "HTTP 429 APIG.0308: The throttling threshold has been reached"
BROKEN = [
    # The way to the cloud.
    Case(
        "the name of the endpoint",
        lambda lab: {"endpoint": "https://modelarts.nowhere.invalid"},
        "endpoint",
        "failed",
        "from modelarts.nowhere.invalid:443: its name cannot be resolved",
        "Check the address in `endpoint` and the resolver.",
        AFTER_SIGN_IN,
    ),
    Case(
        "the port of the endpoint",
        lambda lab: {"endpoint": port(lab)},
        "endpoint",
        "failed",
        "Connection refused.",
        "Check the address in `endpoint`, the port, and whether a proxy_url is needed.",
        AFTER_SIGN_IN,
    ),
    Case(
        "the name of IAM",
        lambda lab: with_user(lab, iam_endpoint="https://iam.nowhere.invalid/v3"),
        "iam",
        "failed",
        "from iam.nowhere.invalid:443: its name cannot be resolved",
        "Check the address in `iam_endpoint` and the resolver.",
        ("sign-in", *AFTER_SIGN_IN),
    ),
    Case(
        "the scheme of the endpoint",
        lambda lab: {"endpoint": lab.url.replace("http:", "https:")},
        "endpoint",
        "failed",
        "its port speaks plain HTTP, not TLS.",
        "Check the scheme and the port of the address in `endpoint`.",
        AFTER_SIGN_IN,
    ),
    Case(
        "the scheme of an endpoint that wants TLS",
        lambda lab: {"endpoint": lab.over_tls().replace("https:", "http:")},
        "endpoint",
        "failed",
        "No answer came from 127.0.0.1:",
        "Check the scheme and the port of `endpoint`",
        AFTER_SIGN_IN,
    ),
    Case(
        "an authority that nobody trusts",
        lambda lab: {"endpoint": lab.over_tls()},
        "endpoint",
        "failed",
        "its certificate was not accepted (self",
        "Set ca_file to the authority that signed it.",
        AFTER_SIGN_IN,
    ),
    Case(
        "a certificate for another name",
        lambda lab: {"endpoint": lab.over_tls("localhost"), "tls": {"ca_file": "certificate.pem"}},
        "endpoint",
        "failed",
        "its certificate was not accepted (Hostname mismatch",
        "Check the address in `endpoint`.",
        AFTER_SIGN_IN,
    ),
    Case(
        "the proxy",
        lambda lab: {"proxy_url": port(lab)},
        "endpoint",
        "failed",
        "No answer came from the proxy 127.0.0.1:",
        "Check proxy_url, or HTTPS_PROXY of the environment.",
        ("clock", "sign-in", *AFTER_SIGN_IN),
        also=("iam",),
    ),
    Case(
        "a login that the proxy wants",
        lambda lab: {"proxy_url": lab.raw(Proxy(login=f"me:{PROXY_PASSWORD}"))},
        "endpoint",
        "failed",
        "HTTP 407",
        "The proxy wants a user and a password: set proxy_basic_auth.",
        ("clock", "sign-in", *AFTER_SIGN_IN),
        also=("iam",),
    ),
    Case(
        "a proxy that does not let the endpoint pass",
        lambda lab: {
            "endpoint": "https://modelarts.nowhere.invalid",
            "proxy_url": lab.raw(Proxy(refusal="403 Forbidden")),
            **KEY,
        },
        "endpoint",
        "failed",
        "it refused CONNECT with HTTP 403 Forbidden.",
        "Allow the host on the proxy, or name it in NO_PROXY.",
        ("clock", "sign-in", *AFTER_SIGN_IN),
        skips_iam=True,
    ),
    # The clock.
    Case(
        "a clock that is two minutes behind",
        off_by(120),
        "clock",
        "warning",
        "This machine's clock is 120 s behind the cloud's.",
        "Set the clock of this machine",
    ),
    Case(
        "a clock that is twenty minutes ahead",
        off_by(-1200),
        "clock",
        "failed",
        "This machine's clock is 1200 s ahead of the cloud's.",
        "Set the clock of this machine",
    ),
    Case(
        "a clock that spoils the signatures",
        off_by(1200, **KEY),
        "clock",
        "failed",
        "the cloud refuses signatures.",
        "Set the clock of this machine",
        ("sign-in", *AFTER_SIGN_IN),
        skips_iam=True,
    ),
    # Signing in.
    Case(
        "the password",
        lambda lab: with_user(lab, password="wrong-" + PASSWORD),
        "sign-in",
        "failed",
        "Signing in failed with HTTP 401: The username or password is wrong.",
        "Correct domain, username and password of auth.password.",
        AFTER_SIGN_IN,
    ),
    Case(
        "the domain",
        lambda lab: with_user(lab, domain="OTC00000000009"),
        "sign-in",
        "failed",
        "The username or password is wrong.",
        "Correct domain, username and password",
        AFTER_SIGN_IN,
    ),
    Case(
        "a user that is locked",
        lock_user,
        "sign-in",
        "failed",
        "The account is locked.",
        "wait 15 minutes",
        AFTER_SIGN_IN,
    ),
    Case(
        "another server where IAM should be",
        lambda lab: lab.fault(body(b"<html>", endpoint="token", times=None)),
        "sign-in",
        "failed",
        "Signing in was answered without a token",
        "Check `iam_endpoint`: another server than IAM answers there.",
        AFTER_SIGN_IN,
    ),
    Case(
        "the secret key",
        lambda lab: {"auth": access_key("wrong-" + SECRET_KEY, "KEY")},
        "sign-in",
        "failed",
        "HTTP 401 APIG.0301: Incorrect IAM authentication information: verify aksk signature fail.",
        "Correct access_key and secret_key of auth.aksk",
        AFTER_SIGN_IN,
        skips_iam=True,
    ),
    Case(
        "the access key",
        lambda lab: {"auth": access_key(SECRET_KEY, "NOKEY")},
        "sign-in",
        "failed",
        "ak <access_key> not exist.",
        "Correct access_key and secret_key of auth.aksk",
        AFTER_SIGN_IN,
        skips_iam=True,
    ),
    Case(
        "a key that is locked",
        lock_key,
        "sign-in",
        "failed",
        "AK access failed to reach the limit,forbidden.",
        "wait 15 minutes",
        AFTER_SIGN_IN,
        skips_iam=True,
    ),
    Case(
        "a token that has expired",
        lambda lab: {"auth": lab.token(life_ms=-1)},
        "sign-in",
        "failed",
        "HTTP 401 APIG.0307: The token must be updated.",
        "Write a new token with the scope of this project into the token_file.",
        AFTER_SIGN_IN,
        skips_iam=True,
    ),
    Case(
        "a token of no project",
        lambda lab: {"auth": lab.token(project_id=None)},
        "sign-in",
        "failed",
        "HTTP 400 ModelArts.0204: Token must contain projectId info.",
        "Sign in with the scope of a project.",
        AFTER_SIGN_IN,
        skips_iam=True,
    ),
    # The project and what answers for it.
    *[
        Case(
            f"the project's id, with {name}",
            breaks,
            "list",
            "failed",
            found,
            "Check that project_id is the project of this credential",
            (*SERVICES, "other-api"),
            skips_iam=name != "a password",
        )
        for name, breaks, found in (
            ("a password", wrong_project(lambda _: {}), "IAM gives no token for this project."),
            ("a key", wrong_project(lambda _: KEY), "HTTP 403 ModelArts.0210"),
            ("a token", wrong_project(lambda lab: {"auth": lab.token()}), "HTTP 403 ModelArts.0210"),
        )
    ],
    Case(
        "a page of HTML in place of the list",
        lambda lab: lab.fault(body(b"\xef\xbb\xbf <!DOCTYPE html>", endpoint="list", times=None)),
        "list",
        "failed",
        "The answer is not JSON but HTML.",
        "Check `endpoint` and proxy_url: another server than ModelArts answers there.",
        SERVICES,
    ),
    Case(
        "a page of HTML that says: plain HTTP to a port of HTTPS",
        lambda lab: lab.fault(
            body(b"<h1>400 Bad Request</h1>", 400, "text/html", endpoint="list", times=None)
        ),
        "list",
        "failed",
        "HTTP 400: Bad Request.",
        "Check `endpoint`: it must be https, and ModelArts of this project's region.",
        SERVICES,
    ),
    Case(
        "a page of HTML from the gateway",
        lambda lab: lab.fault(html(502, endpoint="list", times=None)),
        "list",
        "failed",
        "Listing the services failed with HTTP 502: Bad Gateway",
        "Check `endpoint` and proxy_url. Run doctor again in a minute.",
        SERVICES,
    ),
    *[
        Case(
            f"a gateway that fails, with {name}",
            breaks,
            "list",
            "failed",
            "Listing the services failed with HTTP 502: Bad Gateway",
            "Check `endpoint` and proxy_url. Run doctor again in a minute.",
            ("sign-in", *SERVICES),
            skips_iam=True,
        )
        for name, breaks in (
            ("a key", gateway_fails(lambda _: KEY)),
            ("a token", gateway_fails(lambda lab: {"auth": lab.token()})),
        )
    ],
    Case(
        "a service that cannot be read, of those that are named",
        lambda lab: {
            **lab.fault(error(500, "ModelArts.5000", "Internal", endpoint="detail", times=None)),
            "discovery": False,
            "services": {"ids": lab.services},
            **KEY,
        },
        "detail",
        "failed",
        "Reading a service failed with HTTP 500 ModelArts.5000: Internal.",
        "Run doctor again in a minute. If it stays so, ask the cloud's support, with the code of the error.",
        ("sign-in", "list"),
        skips_iam=True,
    ),
    Case(
        "another API at the endpoint",
        lambda lab: lab.fault(
            error(404, "APIG.0101", "The API does not exist", "gateway", endpoint="list", times=None)
        ),
        "list",
        "failed",
        "HTTP 404 APIG.0101: The API does not exist.",
        "Check `endpoint`: it does not publish this API.",
        SERVICES,
    ),
    Case(
        "a second workspace that does not exist",
        lambda lab: {
            "workspaces": ["0", "7"],
            **lab.fault(error(400, "ModelArts.0102", "Workspace 7 does not exist.", endpoint="list", skip=1)),
        },
        "list",
        "failed",
        "In workspace 7: Listing the services failed with HTTP 400 ModelArts.0102: Workspace 7 does not",
        "Check project_id, and the ids in `workspaces`.",
    ),
    Case(
        "a project without services",
        empty,
        "list",
        "warning",
        "Services: 0 in workspace 0.",
        "check project_id, and name their workspace in `workspaces`",
        tuple(check for check in SERVICES if check != "limit"),
    ),
    # Each permission.
    Case(
        "the permission to list",
        lambda lab: lab.denied("list"),
        "list",
        "failed",
        "HTTP 403 ModelArts.0108",
        "Grant the permission modelarts:service:list to this user",
        (*SERVICES, "other-api"),
    ),
    Case(
        "the permission to read a service",
        lambda lab: lab.denied("get"),
        "detail",
        "failed",
        "HTTP 403 ModelArts.0108",
        "Grant the permission modelarts:service:get to this user",
    ),
    Case(
        "the permission to read update logs",
        lambda lab: lab.denied("getLogs"),
        "logs",
        "failed",
        "HTTP 403 ModelArts.0108",
        "Grant the permission modelarts:service:getLogs to this user",
    ),
    Case(
        "the permission to read events",
        lambda lab: lab.denied("getEvents"),
        "events",
        "failed",
        "HTTP 403 ModelArts.0108",
        "Grant the permission modelarts:service:getEvents to this user",
        ("bounds", "language"),
    ),
    # Throttling.
    Case(
        "a moment of throttling by IAM",
        throttle("0", "token"),
        "sign-in",
        "warning",
        "IAM gave a token, and ModelArts takes it. Signing in failed with HTTP 429",
        "lower rate_limit",
    ),
    Case(
        "a long throttling by IAM",
        throttle("3600", "token"),
        "sign-in",
        "warning",
        "Signing in failed with HTTP 429",
        "lower rate_limit",
        AFTER_SIGN_IN,
    ),
    Case(
        "a moment of throttling",
        throttle("0", "list"),
        "list",
        "warning",
        f"Services: 4 in workspace 0. Listing the services failed with {THROTTLED}",
        "lower rate_limit",
    ),
    Case(
        "a moment of throttling of the events",
        throttle("0", "events"),
        "events",
        "warning",
        f"Events of the service that has most of them: 12. Reading an event log failed with {THROTTLED}",
        "lower rate_limit",
    ),
    Case(
        "a long throttling",
        throttle("3600", "logs"),
        "logs",
        "warning",
        f"Reading an update log failed with {THROTTLED}",
        "lower rate_limit",
        ("paging", "order", "limit", "bounds", "language", "other-api"),
    ),
    Case(
        "a long throttling from the beginning",
        throttle("3600", None),
        "endpoint",
        "warning",
        THROTTLED,
        "lower rate_limit",
        AFTER_SIGN_IN,
    ),
]


def after(case: Case) -> dict[str, str]:
    """The status of every check."""
    expected = dict.fromkeys(CHECKS, "ok")
    expected |= dict.fromkeys(case.skips, "skipped") | dict.fromkeys(case.also, case.status)
    if case.skips_iam:
        expected["iam"] = "skipped"
    return expected | {case.check: case.status}


@pytest.mark.parametrize("case", [pytest.param(case, id=case.what) for case in BROKEN])
def test_what_is_broken_is_told_by_its_check_with_the_remedy_and_nothing_else_is(
    lab: Lab, capsys: pytest.CaptureFixture[str], case: Case
) -> None:
    code, found, text = lab.examine(capsys, **case.breaks(lab))
    status, said, remedy = found[case.check]
    assert (status, case.found in said) == (case.status, True), text
    assert case.remedy in (remedy if status == "failed" else said), text
    assert statuses(found) == after(case), text
    assert code == (1 if "failed" in statuses(found).values() else 0)
    assert len(lab.cloud.requests) <= probes.MOST_REQUESTS
    secrets = (PASSWORD, SECRET_KEY, PROXY_PASSWORD, TOKEN, *lab.cloud.identities.tokens)
    for private in (*secrets, DEFAULT_PROJECT, DEFAULT_DOMAIN, *lab.services):
        assert private not in text


def test_names_that_the_cloud_quotes_are_left_out_since_the_output_is_for_strangers(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    said = f"User {DEFAULT_USER} of {DEFAULT_DOMAIN} may not read s3 ({lab.services[3]}) of {DEFAULT_PROJECT}"
    lab.fault(error(403, "ModelArts.0108", said, endpoint="logs"))
    found = lab.examine(capsys)[1]
    assert found["logs"][1].endswith(
        "User <username> of <domain> may not read <service_name> (<service_id>) of <project_id>."
    )


def test_a_server_that_quotes_the_password_is_not_repeated(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.fault(error(401, "IAM.0001", f"{PASSWORD} is \x1b[31mwrong", endpoint="token", times=None))
    _, found, text = lab.examine(capsys)
    assert "<secret> is [31mwrong" in found["sign-in"][1]
    assert PASSWORD not in text
    assert "\x1b" not in text


def test_a_service_whose_fields_are_hostile_stays_in_one_line(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.fault(edited(lambda row: row.update(status="a\x1b[2J\nfailed prod list: b"), endpoint="detail"))
    _, found, _ = lab.examine(capsys)  # which checks the form of each line
    assert found["detail"][0] == "ok"


# What the documents leave open

TAKEN = "a `limit` of 1000, the largest that is tried, is taken"
EVENTS_OLD = "The oldest event of 4 services is 20 days old"


def asked(lab: Lab, capsys: pytest.CaptureFixture[str], check: str, **switches: Any) -> tuple[str, str]:
    lab.switch(**switches)
    status, found, _ = lab.examine(capsys)[1][check]
    return status, found


@pytest.mark.parametrize(
    ("check", "switches", "found"),
    [
        ("paging", {"offset_mode": "page"}, "In the list and the events `offset` counts pages."),
        ("paging", {"offset_mode": "item"}, "In the list and the events `offset` counts items."),
        ("order", {}, "The update log: newest first. The events, if no order is asked for: newest first."),
        (
            "order",
            {"logs_order": "asc", "events_order": "asc"},
            "The update log: oldest first. The events, if no order is asked for: oldest first.",
        ),
        (
            "limit",
            {"max_limit": None},
            f"In the list and the events {TAKEN}.",
        ),
        (
            "limit",
            {"max_limit": 100},
            "In the list and the events the largest `limit` is 100 (200 is refused).",
        ),
        (
            "limit",
            {"max_limit": 10},
            "In the list and the events the largest `limit` is 10 (20 is refused).",
        ),
        (
            "limit",
            {"max_limit": 10, "over_limit": "clamp"},
            f"In the list {TAKEN}; in the events a `limit` of 1000 is cut to 10 rows.",
        ),
        ("bounds", {}, "start_time is inclusive and end_time is inclusive."),
        ("bounds", {"start_time": "exclusive"}, "start_time is exclusive and end_time is inclusive."),
        ("bounds", {"end_time": "exclusive"}, "start_time is inclusive and end_time is exclusive."),
        (
            "retention",
            {},
            f"{EVENTS_OLD} and the oldest update of one service is 25 days old.",
        ),
        ("retention", {"retention": 22 * DAY_MS}, f"{EVENTS_OLD}."),
        ("language", {}, "The event texts are English; X-Language changes nothing."),
        (
            "language",
            {"language": "asked"},
            "The event texts are English where English is asked for; X-Language changes them.",
        ),
        (
            "other-api",
            {},
            "Version 2 of the API does not answer here (HTTP 404), so it hides no service.",
        ),
        ("other-api", {"version_2": True}, "Version 2 of the API answers too, and has no service."),
    ],
)
def test_what_is_not_documented_is_found_out(
    lab: Lab, capsys: pytest.CaptureFixture[str], check: str, switches: dict[str, Any], found: str
) -> None:
    assert asked(lab, capsys, check, **switches) == ("ok", found)


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(59.4, "ok"), (-59.4, "ok"), (60, "warning"), (-899, "warning"), (900, "failed"), (-900, "failed")],
)
def test_the_clock_warns_from_a_minute_and_fails_from_a_quarter_of_an_hour(
    seconds: float, status: str
) -> None:
    assert unknowns.clock(seconds).status == status


@given(st.integers(0, 20))
def test_whatever_number_of_rows_there_is_an_offset_is_not_taken_for_the_other_kind(number: int) -> None:
    rows = list(range(number))
    reference, size = rows[: unknowns.REFERENCE_SIZE], unknowns.SIZE
    as_items, as_pages = rows[size : 2 * size], rows[size * size : size * size + size]
    if number <= size:
        assert unknowns.offset_of(reference, as_items) is None
    else:
        assert unknowns.offset_of(reference, as_items) is unknowns.Offset.ITEMS
        assert unknowns.offset_of(reference, as_pages) is unknowns.Offset.PAGES


def test_services_that_only_version_2_shows_are_told_plainly(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.cloud.add_service_2(service_id=lab.services[0])
    assert asked(lab, capsys, "other-api", version_2=True) == (
        "ok",
        "Version 2 of the API answers too; this exporter sees all of its 1 service.",
    )
    lab.cloud.add_service_2()
    lab.cloud.add_service_2()
    # What is in two workspaces is one service.
    lab.cloud.add_service_2(service_id="twice")
    lab.cloud.add_service_2(service_id="twice", workspace_id="1")
    services = {"ids": lab.services[:1]}
    _, all_found, _ = lab.examine(capsys, workspaces=["0", "1"], discovery=False, services=services)
    status, found, _ = all_found["other-api"]
    assert found.startswith("Version 2 of the API answers and has about 3 services ")
    _, all_found, _ = lab.examine(capsys, workspaces=["0", "1"])
    status, found, _ = all_found["other-api"]
    assert status == "warning"
    assert found.startswith(
        "Version 2 of the API answers and has 3 services that this exporter cannot see: it reads version 1."
    )


def test_chinese_texts_are_told(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    for service_id in lab.services:
        for event in lab.cloud.service(service_id).events:
            event.event_info = event.chinese
    assert asked(lab, capsys, "language")[1] == "The event texts are Chinese; X-Language changes nothing."


def rows(*texts: str) -> list[dict[str, Any]]:
    return [{"occur_time": 1, "event_type": "normal", "event_info": text} for text in texts]


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        (rows("a", "b"), "`offset` counts neither pages nor items"),
        (rows("event 0", "event 1"), "`offset` is ignored"),
    ],
    ids=["other", "ignored"],
)
def test_an_offset_that_counts_nothing_known_is_warned_of(
    lab: Lab, capsys: pytest.CaptureFixture[str], shown: list[dict[str, Any]], found: str
) -> None:
    def show(content: dict[str, Any]) -> None:
        times = [row["occur_time"] for row in content["events"]]
        # Two hours before each: the rows of the first page.
        content["events"] = [
            {**row, "occur_time": at - 2 * 2 * HOUR_MS} for row, at in zip(shown, times, strict=True)
        ]

    # Four to choose a service, and one to compare with.
    lab.fault(edited(show, endpoint="events", skip=5))
    status, said = asked(lab, capsys, "paging")
    assert status == "warning"
    assert said.startswith(f"In the list `offset` counts pages; in the events {found}. So a large list ")


def test_times_that_filter_nothing_are_warned_of(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    # Four to choose a service, two for paging, one each for order and limit, one for the newest event.
    old = edited(lambda content: content.update(events=rows("a")), endpoint="events", skip=9, times=3)
    lab.fault(old)
    status, found = asked(lab, capsys, "bounds")
    assert status == "warning"
    assert found.startswith("A window around an event does not show it: start_time and end_time do not")


def test_an_end_time_far_ahead_that_is_refused_is_told(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    # Four to choose a service, two for paging, one for the order.
    lab.fault(error(400, "ModelArts.0101", "Invalid argument. [end_time]", endpoint="events", skip=7))
    assert asked(lab, capsys, "bounds") == (
        "ok",
        "start_time is inclusive and end_time is inclusive. An end_time far ahead is refused.",
    )


def test_with_few_services_and_no_events_the_rest_is_skipped(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    empty(lab)
    lab.cloud.add_service(name="fresh")
    code, found, text = lab.examine(capsys)
    unknown = ("paging", "order", "bounds", "retention", "language")
    expected = dict.fromkeys(CHECKS, "ok") | dict.fromkeys(unknown, "skipped")
    assert (code, statuses(found)) == (0, expected), text


def test_a_kind_of_service_without_an_update_log_is_no_failure(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    for service_id in lab.services:
        lab.cloud.patch_service(service_id, infer_type="batch")
    status, found = asked(lab, capsys, "logs", batch_logs="error")
    assert (status, found) == ("ok", "This kind of service has no update log.")


def test_services_that_are_named_are_asked_about_without_the_permission_to_list(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.switch(denied=("modelarts:service:list",))
    code, found, text = lab.examine(capsys, discovery=False, services={"ids": lab.services[:2]})
    expected = dict.fromkeys(CHECKS, "ok") | {"list": "skipped"}
    assert (code, statuses(found)) == (0, expected), text
    assert found["events"][1] == "Events of the service that has most of them: 6."


# Manners


WORKSPACES = [str(number) for number in range(30)]


def a_lot(lab: Lab) -> None:
    """More workspaces, services and events than may be asked about, and small pages."""
    for workspace in WORKSPACES:
        service_id = lab.cloud.add_service(workspace_id=workspace)
        for event in range(30):
            lab.cloud.add_event(service_id, "normal", "x", lab.now() - event)
    lab.switch(max_limit=10, version_2=True)


def test_it_sends_at_most_sixty_requests_however_much_there_is(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    a_lot(lab)
    code, found, text = lab.examine(capsys, workspaces=WORKSPACES)
    assert (code, set(statuses(found).values())) == (0, {"ok"}), text
    assert "22 more workspaces that were not asked" in found["list"][1]
    assert 50 < len(lab.cloud.requests) <= 60


def test_even_if_each_request_is_throttled_once_it_sends_at_most_sixty(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    a_lot(lab)
    # What it says of the rate keeps the learned one from falling.
    text, headers = "Slow down: limit:100000,time:1 second", {"Retry-After": "0"}
    for number in range(60):
        lab.fault(error(429, "APIG.0308", text, "gateway", headers=headers, skip=number))
    _, found, _ = lab.examine(capsys, rate_limit=1e5, workspaces=WORKSPACES)
    assert len(lab.cloud.requests) == 60
    assert found["other-api"][:2] == ("skipped", "All 60 requests that doctor may send were sent.")


def test_at_most_four_sign_ins_are_refused_for_all_projects_together(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        project(lab.url, f"p{number}", auth=password(lab.url, "wrong"), rate_limit=1000)
        for number in range(6)
    ]
    code = cli.main(["doctor", f"--config.file={configured(lab.directory, *rows)}"])
    text = capsys.readouterr().out
    assert (code, text.count("sign-in: Signing in failed with HTTP 401")) == (1, 6)
    refused = [seen for seen in lab.cloud.requests if seen.status == 401]
    assert 1 <= len(refused) <= 4


def test_no_two_requests_are_closer_than_the_rate_limit_says(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeTime()
    monkeypatch.setattr(probes, "time", clock)
    lab.examine(capsys, rate_limit=500)
    assert clock.slept == pytest.approx([0] + [1 / 500] * (len(lab.cloud.requests) - 1))


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_user_that_is_locked_is_tried_once(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.examine(capsys, **lock_user(lab))
    assert [seen.status for seen in lab.cloud.requests if seen.endpoint == "token"] == [401]


def test_it_asks_about_the_service_with_most_events_of_the_ten_that_changed_last(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    now = lab.now()
    for number in range(12):  # the longer ago it changed, the more events it has
        service_id = lab.cloud.add_service(transition_at=now + 1000 - number)
        for event in range(20 + number):
            lab.cloud.add_event(service_id, "normal", "x", now - event * HOUR_MS, now - DAY_MS)
    found = lab.examine(capsys)[1]
    assert found["events"][1] == "Events of the service that has most of them: 29."


def test_it_only_reads(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.examine(capsys)
    asked = {seen.endpoint for seen in lab.cloud.requests}
    # The endpoint without a path is no call that the cloud has.
    assert asked == {"unknown", "version", "token", "list", "list_2", "detail", "logs", "events"}


# The command


def test_json_says_the_same_as_text(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.denied("getLogs")
    lab.offset_ms = 120_000
    code, found, _ = lab.examine(capsys)
    assert cli.main(["doctor", f"--config.file={lab.configured()}", "--format=json"]) == code == 1
    rows = json.loads(capsys.readouterr().out)
    assert [list(row) for row in rows] == [["project", "check", "status", "found", "remedy"]] * len(CHECKS)
    assert {row["project"] for row in rows} == {"prod"}
    for row in rows:
        status, said, remedy = found[row["check"]]
        assert (row["status"], row["remedy"] != "") == (status, status in ("failed", "warning"))
        if status == "failed":
            assert (row["found"], row["remedy"]) == (said, remedy)
        elif row["check"] != "clock":  # whose seconds go on
            assert f"{row['found']} {row['remedy']}".rstrip() == said


def test_one_project_can_be_chosen(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [project(lab.url, name, auth=password(lab.url, PASSWORD), rate_limit=1000) for name in "ab"]
    config = configured(lab.directory, *rows)
    assert cli.main(["doctor", f"--config.file={config}", "--project=b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["b"] * len(CHECKS)
    assert cli.main(["doctor", f"--config.file={config}", "--project=c"]) == 2
    assert "--project is 'c'; the projects are a, b." in capsys.readouterr().err


def test_a_config_file_with_a_mistake_is_told_as_by_every_command(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", f"--config.file={lab.configured(endpont='x')}"]) == 1
    assert "projects[0].endpont: is not a known key" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_whole_output(lab: Lab, form: str, number: signal.Signals) -> None:
    lab.fault(slow(PATIENCE_SECONDS, endpoint="logs"))
    command = [sys.executable, "-m", "exporter", "doctor", f"--config.file={lab.configured()}"]
    with subprocess.Popen(
        [*command, f"--format={form}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        until(lambda: any(seen.endpoint == "logs" for seen in list(lab.cloud.requests)))
        child.send_signal(number)
        out, err = child.communicate(timeout=PATIENCE_SECONDS)
    assert (child.returncode, err) == (128 + number, "")
    if form == "text":
        found = {check: (status, said) for check, (status, said, _) in parsed(out).items()}
    else:
        found = {row["check"]: (row["status"], row["found"]) for row in json.loads(out)}
    assert found["detail"][0] == "ok"
    assert set(list(found.values())[CHECKS.index("logs") :]) == {("skipped", "Interrupted.")}


# The pages


PAGE = (ROOT / "docs" / "doctor.md").read_text("utf-8")


def test_the_page_shows_what_a_project_that_works_prints(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    iam, tls = lab.over_tls(), lab.over_tls()
    text = lab.examine(
        capsys, endpoint=tls, auth=password(iam, PASSWORD), tls={"ca_file": "certificate.pem"}
    )[2]
    for url, host in ((tls, "modelarts"), (iam, "iam")):
        text = text.replace(url.partition("://")[2], f"{host}.eu-de.otc.t-systems.com")
    shown = re.search(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert shown[1] == text


def test_the_page_has_a_row_for_each_check_in_their_order() -> None:
    table = PAGE.partition("## The checks")[2]
    assert tuple(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == CHECKS


def test_an_issue_cannot_be_opened_without_the_output_of_doctor() -> None:
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "problem.yml").read_text("utf-8"))
    (asks,) = [part for part in form["body"] if part["id"] == "doctor"]
    assert asks["validations"] == {"required": True}
    (command,) = re.findall(r"`modelarts-exporter (.*?)`", asks["attributes"]["description"])
    assert cli.build_parser().parse_args(command.split()).format == "text"


def test_the_first_command_of_the_readme_for_an_own_project_is_doctor() -> None:
    steps = (ROOT / "README.md").read_text("utf-8").partition("## Five minutes")[2]
    assert re.findall(r"^modelarts-exporter ([a-z]+)", steps, re.MULTILINE)[0] == "doctor"
