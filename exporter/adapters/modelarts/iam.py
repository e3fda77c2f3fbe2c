"""Tokens from IAM, version 3: signing in with a password, once for all threads, before the old token ends.

The request and its answer: Identity and Access Management, API Reference, "Obtaining a User Token Through
Password Authentication".
"""

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from exporter.adapters.http_client import USER_AGENT, Answer, HttpClient
from exporter.adapters.modelarts.api_errors import error_of
from exporter.adapters.modelarts.decode import document
from exporter.adapters.modelarts.login_limiter import LoginLimiter, Permit
from exporter.adapters.modelarts.secrets import is_header_value, read_secret
from exporter.core.source import NotUnderstood, Refused, RemoteError, Throttled

# A token lives a day. Ten minutes before its end a few failed attempts still cost nothing; of a
# shorter life at most a quarter is given away.
RENEWAL_MARGIN_MS = 600_000
# After a sign-in that failed for another reason than the password, nobody tries again so soon: with
# many services to read, each of them would.
PAUSE_AFTER_FAILURE_MS = 10_000

# IAM.0061 is a 401 that says that the user is locked after too many wrong passwords (IAM, API Reference,
# "Error Codes"). Older versions of IAM say it in words alone.
_LOCKED = re.compile(r"IAM\.0061|locked", re.IGNORECASE)


class TokenMetrics(Protocol):
    """What is counted of signing in."""

    def request(self, endpoint: str, code: str, seconds: float) -> None:
        """One request to the endpoint `token`; the HTTP status, or `error` without an answer."""

    def token_expiry(self, epoch_seconds: float) -> None:
        """When the present token ends."""


@dataclass(slots=True, eq=False)
class _Token:
    value: str
    renew_at: int  # ms, on our clock
    ends_at: int  # ms, on our clock
    permit: Permit
    proven: bool = False  # the cloud took it at least once


class PasswordCredential:
    """A user of IAM, in the scope of a project. Threads may share it; one of them signs in for all.

    Args:
        iam_endpoint: URL, with or without `/v3`.
        domain: name of the user's domain.
        username: name of the user.
        password: gives the password; read anew at each sign-in, an `OSError` means it cannot be.
        project_id: the scope; None: the user's domain, whose token opens no project.
        limiter: shared by all credentials of the same user.
        transport: TLS, proxy and timeout, as for the project.
        metrics: is told of each request.
        clock: ms since the epoch.
        after: the credential of the same user and project that this one takes over from, with its token, and
            with IAM's word that it is asked too often. Other failures may be those of the old transport.

    """

    def __init__(
        self,
        iam_endpoint: str,
        domain: str,
        username: str,
        password: Callable[[], str],
        project_id: str | None,
        *,
        limiter: LoginLimiter,
        transport: HttpClient,
        metrics: TokenMetrics,
        clock: Callable[[], int],
        after: "PasswordCredential | None" = None,
    ) -> None:
        # The catalogue of all other services would be most of the answer, and nobody reads it.
        self._url = f"{iam_endpoint.rstrip('/').removesuffix('/v3')}/v3/auth/tokens?nocatalog=true"
        self._domain = domain
        self._username = username
        self._password = password
        self._project_id = project_id
        self._limiter = limiter
        self._transport = transport
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._failure: RemoteError | None = None
        self._failed_until = 0  # ms, on the limiter's clock
        if after is not None:
            self._token, self._failure, self._failed_until = after.handover()

    def lease(self) -> "TokenLease":
        """The present token, or a new one. Raises `Refused`, or why IAM could not be asked."""
        with self._lock:
            token, now = self._token, self._clock()
            if token is None or now >= token.renew_at:
                try:
                    token = self._token = self._renewed()
                except RemoteError:
                    # The old token is as good as before until it ends.
                    if token is None or now >= token.ends_at:
                        raise
            return TokenLease(self, token)

    def handover(self) -> tuple[_Token | None, RemoteError | None, int]:
        """The token, and until when (ms, on the limiter's clock) IAM wants not to be asked.

        It does not wait for the lock, which a thread holds for as long as it signs in.
        """
        failure = self._failure if isinstance(self._failure, Throttled) else None
        return self._token, failure, self._failed_until

    def refuse(self, token: _Token, message: str, *, final: bool) -> None:
        """The cloud refused this token: the next lease signs in, unless another thread already did."""
        with self._lock:
            if self._token is token:
                self._token = None
        if final:
            # A new token was refused as well: signing in again would not help, and must not be hurried.
            token.permit.refused(message)

    def _renewed(self) -> _Token:
        wait = self._failed_until - self._limiter.clock()
        if self._failure is not None and wait > 0:
            if isinstance(self._failure, Throttled):
                raise Throttled(str(self._failure), wait / 1000)
            raise type(self._failure)(str(self._failure)).advising(self._failure.remedy)
        self._failure = None
        password = read_secret(self._password, "The password")
        permit = self._limiter.enter(password)
        try:
            return self._token_of(self._sign_in(password), permit)
        except Refused as error:
            permit.refused(str(error), locked=_LOCKED.search(str(error)) is not None)
            raise
        except RemoteError as error:
            told = error.wait_seconds if isinstance(error, Throttled) else None
            self._failed_until = self._limiter.clock() + (
                PAUSE_AFTER_FAILURE_MS if told is None else int(told * 1000)
            )
            self._failure = error
            raise
        finally:
            permit.release()

    def _sign_in(self, password: str) -> Answer:
        """The answer that has a token. Raises any `RemoteError`."""
        user = {"name": self._username, "password": password, "domain": {"name": self._domain}}
        scope: dict[str, object] = (
            {"domain": {"name": self._domain}}
            if self._project_id is None
            else {"project": {"id": self._project_id}}
        )
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": scope}}
        answer = self._counted_post(body)
        if 200 <= answer.status < 300:
            return answer
        error = error_of(
            "Signing in", answer.status, answer.headers, answer.body, now=self._clock(), secrets=[password]
        )
        if isinstance(error, Throttled):
            # The rate that IAM names is that of signing in, not of the project's requests.
            raise Throttled(str(error), error.wait_seconds)
        raise error

    def _counted_post(self, body: object) -> Answer:
        began = time.perf_counter()
        code = "error"
        try:
            answer = self._transport.post(
                self._url, {"Accept": "application/json", "User-Agent": USER_AGENT}, body
            )
            code = str(answer.status)
        except RemoteError as error:
            raise type(error)(f"Signing in failed. {error}").advising(error.remedy) from error
        finally:
            self._metrics.request("token", code, time.perf_counter() - began)
        return answer

    def _token_of(self, answer: Answer, permit: Permit) -> _Token:
        value = answer.headers.get("x-subject-token", "")
        try:
            token = document(answer.body)["token"]
            expires, issued = _time_ms(token["expires_at"]), token.get("issued_at")
            # Both instants are on IAM's clock, so their difference is the life, whatever our clock says.
            now = self._clock()
            life = expires - (now if issued is None else _time_ms(issued))
        except (NotUnderstood, KeyError, TypeError, AttributeError, ValueError) as error:
            raise NotUnderstood("Signing in was answered without a token or its expires_at.") from error
        if not is_header_value(value):
            raise NotUnderstood("Signing in was answered without a token that a header can carry.")
        if life <= 0:
            raise NotUnderstood("Signing in was answered with a token that has already ended.")
        self._metrics.token_expiry(expires / 1000)
        return _Token(value, now + life - min(RENEWAL_MARGIN_MS, life // 4), now + life, permit)


class TokenLease:
    """The right to send one request with a token."""

    def __init__(self, credential: PasswordCredential, token: _Token) -> None:
        self._credential = credential
        self._token = token

    def headers(self, method: str, url: str) -> Mapping[str, str]:  # noqa: ARG002 - a token signs anything
        """The token."""
        return {"X-Auth-Token": self._token.value}

    def accepted(self) -> None:
        """The first acceptance proves the password too."""
        if not self._token.proven:
            self._token.proven = True
            self._token.permit.accepted()

    def refused(self, message: str, *, final: bool) -> bool:
        """The token is dropped; another one is worth a try."""
        self._credential.refuse(self._token, message, final=final)
        return True

    def abandoned(self) -> None:
        """Nothing is known of the token."""


def _time_ms(text: Any) -> int:
    """An instant such as `2030-01-01T00:00:00.000000Z`, in UTC where it names no zone."""
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
