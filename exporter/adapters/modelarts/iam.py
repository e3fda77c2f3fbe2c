"""Tokens from IAM, version 3: signing in with a password, before the old token ends, and never in a hurry."""

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import requests
from keystoneauth1 import exceptions, session
from keystoneauth1.access.access import AccessInfoV3
from keystoneauth1.identity import v3

from exporter.adapters.http_client import USER_AGENT, BoundedSession, HttpClient, SessionSettings, failure
from exporter.adapters.modelarts.api_errors import error_of
from exporter.adapters.modelarts.login_limiter import LoginLimiter, Permit
from exporter.adapters.modelarts.secrets import is_header_value, read_secret
from exporter.core.source import NotUnderstood, Refused, RemoteError, Throttled

# A token lives a day. Ten minutes before its end a few failed attempts still cost nothing; of a
# shorter life at most a quarter is given away.
RENEWAL_MARGIN_MS = 600_000
# After a sign-in that failed for another reason than the password, nobody tries again so soon: with
# many services to read, each of them would.
PAUSE_AFTER_FAILURE_MS = 10_000

_LOCKED = re.compile(r"IAM\.0061|locked", re.IGNORECASE)


class TokenTelemetry(Protocol):
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
        project_id: the scope.
        limiter: shared by all credentials of the same user.
        transport: TLS, proxy and timeout, as for the project.
        metrics: is told of each request.
        clock: ms since the epoch.

    """

    def __init__(
        self,
        iam_endpoint: str,
        domain: str,
        username: str,
        password: Callable[[], str],
        project_id: str,
        *,
        limiter: LoginLimiter,
        transport: HttpClient,
        metrics: TokenTelemetry,
        clock: Callable[[], int],
    ) -> None:
        self._iam_endpoint = iam_endpoint
        self._domain = domain
        self._username = username
        self._password = password
        self._project_id = project_id
        self._limiter = limiter
        self._session = _CountedSession(transport.settings, metrics)
        self._metrics = metrics
        self._clock = clock
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._failure: RemoteError | None = None
        self._failed_until = 0  # ms, on the guard's clock

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
            raise type(self._failure)(str(self._failure))
        self._failure = None
        password = read_secret(self._password, "The password")
        permit = self._limiter.enter(password)
        try:
            access = self._sign_in(password)
            return self._token_of(access, permit)
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

    def _sign_in(self, password: str) -> AccessInfoV3:
        auth = v3.Password(
            self._iam_endpoint,
            password=password,
            username=self._username,
            user_domain_name=self._domain,
            project_id=self._project_id,
            include_catalog=False,
        )
        asking = session.Session(
            session=self._session, verify=self._session.verify, redirect=False, user_agent=USER_AGENT
        )
        try:
            return auth.get_auth_ref(asking)
        except exceptions.HttpError as error:
            raise self._refusal(error, [password]) from error
        except exceptions.ConnectionError as error:
            raise _prefixed(failure(error)) from error
        except (
            exceptions.ClientException,  # no token in the body
            ValueError,  # no JSON
            TypeError,  # JSON, but no object
            KeyError,  # no X-Subject-Token
            RecursionError,  # nested too deeply
        ) as error:
            raise NotUnderstood("Signing in was answered without a token.") from error

    def _refusal(self, error: exceptions.HttpError, secrets: Collection[str]) -> RemoteError:
        response = error.response
        assert response is not None, "keystoneauth1 raises HttpError only from an answer"
        found = error_of(
            "Signing in",
            response.status_code,
            {name.lower(): value for name, value in response.headers.items()},
            response.content,
            now=self._clock(),
            secrets=secrets,
        )
        if isinstance(found, Throttled):
            # The rate that IAM names is that of signing in, not of the project's requests.
            return Throttled(str(found), found.wait_seconds)
        return found

    def _token_of(self, access: AccessInfoV3, permit: Permit) -> _Token:
        value = access.auth_token or ""
        try:
            expires, issued = access.expires, _issued(access)
        except (ValueError, TypeError, KeyError) as error:
            raise NotUnderstood("The token from IAM has no usable expires_at.") from error
        if not is_header_value(value) or expires is None:
            raise NotUnderstood("IAM answered with an unusable token.")
        now = self._clock()
        # Both instants are on IAM's clock, so their difference is the life, whatever our clock says.
        ends_at = int(expires.timestamp() * 1000)
        life = ends_at - (now if issued is None else int(issued.timestamp() * 1000))
        if life <= 0:
            raise NotUnderstood("IAM answered with a token that has already ended.")
        self._metrics.token_expiry(ends_at / 1000)
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


class _CountedSession(BoundedSession):
    """Counts each request; used by one thread at a time, the one that signs in."""

    def __init__(self, settings: SessionSettings, metrics: TokenTelemetry) -> None:
        super().__init__(settings)
        self._metrics = metrics

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        began = time.perf_counter()
        code = "error"
        try:
            response = super().send(request, **kwargs)
            code = str(response.status_code)
        finally:
            self._metrics.request("token", code, time.perf_counter() - began)
        return response


def _issued(access: AccessInfoV3) -> datetime | None:
    try:
        return access.issued
    except KeyError:
        return None


def _prefixed(error: RemoteError) -> RemoteError:
    return type(error)(f"Signing in failed. {error}")
