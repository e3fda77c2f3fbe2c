"""Credentials that need no sign-in: an access key that signs each request, and a token renewed by others."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from exporter.adapters.modelarts.login_limiter import LoginLimiter, Permit
from exporter.adapters.modelarts.secrets import read_header_secret, read_secret
from exporter.adapters.modelarts.signing import DATE_FORMAT, DATE_HEADER, authorization
from exporter.core.source import Refused

# After more than five bad signatures in a row the gateway locks a key for five minutes, and answers each
# request with APIG.0301, "AK access failed to reach the limit,forbidden" (API Gateway, User Guide, "Error
# Codes").
_LOCKED = "reach the limit"


class AccessKeyCredential:
    """An access key. Threads may share it.

    Args:
        access_key: the key's name.
        secret_key: gives the key; read anew for each request, an `OSError` means it cannot be.
        security_token: the same, for a temporary key; None: a permanent one.
        project_id: sent along, since a key belongs to a user with many projects.
        limiter: shared by all credentials with the same key.
        clock: ms since the epoch; the gateway refuses a signature that is dated 15 minutes off its own clock.

    """

    def __init__(
        self,
        access_key: str,
        secret_key: Callable[[], str],
        security_token: Callable[[], str] | None,
        project_id: str,
        *,
        limiter: LoginLimiter,
        clock: Callable[[], int],
    ) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._security_token = security_token
        self._project_id = project_id
        self._limiter = limiter
        self._clock = clock

    def lease(self) -> "AccessKeyLease":
        """The right to sign one request. Raises `Refused`."""
        self._limiter.watch(_joined(self.secrets()))
        return AccessKeyLease(self)

    def enter(self, secrets: tuple[str, str]) -> Permit:
        """A permit to show a signature of these now."""
        return self._limiter.enter(_joined(secrets))

    def changed(self, secrets: tuple[str, str]) -> bool:
        """Whether other secrets are there by now."""
        try:
            return self.secrets() != secrets
        except Refused:
            return False

    def sign(self, method: str, url: str, secrets: tuple[str, str]) -> Mapping[str, str]:
        """The headers that sign a request without a body."""
        secret_key, security_token = secrets
        at = datetime.fromtimestamp(self._clock() / 1000, UTC)
        headers = {
            "Host": urlsplit(url).netloc.rpartition("@")[2],
            DATE_HEADER: at.strftime(DATE_FORMAT),
            "X-Project-Id": self._project_id,
        }
        if security_token:
            headers["X-Security-Token"] = security_token
        signature = authorization(method, url, headers, b"", self._access_key, secret_key)
        return {**headers, "Authorization": signature}

    def secrets(self) -> tuple[str, str]:
        """Secret key and security token as they are now. Raises `Refused`."""
        secret_key = read_secret(self._secret_key, "The secret key")
        if self._security_token is None:
            return secret_key, ""
        return secret_key, read_header_secret(self._security_token, "The security token")


class AccessKeyLease:
    """The right to sign one request.

    The limiter is shared by all projects with the key, so that it is entered only when the request goes out:
    a project that waits for its own rate limit keeps no other one waiting.
    """

    def __init__(self, credential: AccessKeyCredential) -> None:
        self._credential = credential
        self._secrets = ("", "")
        self._permit: Permit | None = None

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        """The signature, dated now."""
        self._secrets = self._credential.secrets()
        self._permit = self._credential.enter(self._secrets)
        return self._credential.sign(method, url, self._secrets)

    def accepted(self) -> None:
        """The signature was right."""
        assert self._permit is not None, "an answer comes after the headers"
        self._permit.accepted()
        self._permit.release()

    def refused(self, message: str, *, final: bool) -> bool:  # noqa: ARG002 - each bad signature counts
        """A bad signature; another try is worth it only with other secrets."""
        assert self._permit is not None, "an answer comes after the headers"
        self._permit.refused(message, locked=_LOCKED in message)
        self._permit.release()
        return self._credential.changed(self._secrets)

    def abandoned(self) -> None:
        """Nothing is known of the signature."""
        if self._permit is not None:
            self._permit.release()


class TokenFileCredential:
    """A token that something else renews; read anew for each request.

    Args:
        token: gives the token; an `OSError` means it cannot be read.
        limiter: of this file.

    """

    def __init__(self, token: Callable[[], str], *, limiter: LoginLimiter) -> None:
        self._token = token
        self._limiter = limiter

    def lease(self) -> "TokenFileLease":
        """The token as it is now. Raises `Refused`."""
        token = self.read()
        return TokenFileLease(self, token, self._limiter.watch(token))

    def read(self) -> str:
        """The token. Raises `Refused`."""
        return read_header_secret(self._token, "The token file")


class TokenFileLease:
    """The right to send one request with a token."""

    def __init__(self, credential: TokenFileCredential, token: str, permit: Permit) -> None:
        self._credential = credential
        self._value = token
        self._permit = permit

    def headers(self, method: str, url: str) -> Mapping[str, str]:  # noqa: ARG002 - a token signs anything
        """The token."""
        return {"X-Auth-Token": self._value}

    def accepted(self) -> None:
        """The token is good."""
        self._permit.accepted()

    def refused(self, message: str, *, final: bool) -> bool:  # noqa: ARG002 - a refused token stays refused
        """Another try is worth it only with another token."""
        self._permit.refused(message)
        try:
            return self._credential.read() != self._value
        except Refused:
            return False

    def abandoned(self) -> None:
        """Nothing is known of the token."""


def _joined(secrets: tuple[str, str]) -> str:
    return "\n".join(secrets)
