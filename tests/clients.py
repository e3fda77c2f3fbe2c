"""A client of the emulator, and what it tells while it talks."""

from collections import Counter
from collections.abc import Callable, Sequence

from exporter.adapters.http_client import HttpClient
from exporter.adapters.modelarts.api_client import Credential, Limiter, OnAnswer
from exporter.adapters.modelarts.credentials import AccessKeyCredential, TokenFileCredential
from exporter.adapters.modelarts.iam import PasswordCredential
from exporter.adapters.modelarts.login_limiter import LoginLimiter
from exporter.adapters.modelarts.source import ModelArtsSource
from exporter.core.polling.rate_limit import Priority
from exporter.core.source import Stopping
from exporter.emulator import (
    DEFAULT_ACCESS_KEY,
    DEFAULT_DOMAIN,
    DEFAULT_PASSWORD,
    DEFAULT_PROJECT,
    DEFAULT_SECRET_KEY,
    DEFAULT_USER,
)

from .fakes import Clock


class Recorder:
    """Metrics that remember each request."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.skews: list[float] = []
        self.expiries: list[float] = []

    def request(self, endpoint: str, code: str, seconds: float) -> None:
        assert seconds >= 0
        self.requests.append((endpoint, code))

    def clock_skew(self, seconds: float) -> None:
        self.skews.append(seconds)

    def token_expiry(self, epoch_seconds: float) -> None:
        self.expiries.append(epoch_seconds)

    def count(self) -> Counter[tuple[str, str]]:
        return Counter(self.requests)


class OpenLimiter:
    """A rate limiter that lets everything through until it is shut, and remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[float | None, float | None]] = []
        self.priorities: list[Priority] = []
        self.shut = False

    def enter(self, priority: Priority) -> None:
        if self.shut:
            raise Stopping("The exporter is stopping.")
        self.priorities.append(priority)

    def throttled(self, wait_seconds: float | None, allowed_per_second: float | None) -> None:
        self.told.append((wait_seconds, allowed_per_second))


class Talk:
    """One project's client with everything around it."""

    def __init__(self, url: str, clock: Clock, timeout_seconds: float = 10) -> None:
        self.url = url
        self.clock = clock
        self.metrics = Recorder()
        self.rate_limiter = OpenLimiter()
        self.limiter = LoginLimiter(clock)
        self.timeout_seconds = timeout_seconds

    def client(
        self,
        credential: Credential | None = None,
        workspaces: Sequence[str] = ("0",),
        project_id: str = DEFAULT_PROJECT,
        rate_limiter: Limiter | None = None,
        on_answer: OnAnswer | None = None,
    ) -> ModelArtsSource:
        return ModelArtsSource(
            self.url,
            project_id,
            workspaces,
            credential or self.access_key(),
            rate_limiter=rate_limiter or self.rate_limiter,
            metrics=self.metrics,
            clock=self.clock,
            transport=HttpClient(self.timeout_seconds),
            on_answer=on_answer,
        )

    def password(
        self,
        read: Callable[[], str] = lambda: DEFAULT_PASSWORD,
        iam_endpoint: str | None = None,
        username: str = DEFAULT_USER,
        transport: HttpClient | None = None,
    ) -> PasswordCredential:
        return PasswordCredential(
            iam_endpoint or f"{self.url}/v3",
            DEFAULT_DOMAIN,
            username,
            read,
            DEFAULT_PROJECT,
            limiter=self.limiter,
            transport=transport or HttpClient(self.timeout_seconds),
            metrics=self.metrics,
            clock=self.clock,
        )

    def access_key(
        self,
        secret: Callable[[], str] = lambda: DEFAULT_SECRET_KEY,
        security_token: Callable[[], str] | None = None,
        name: str = DEFAULT_ACCESS_KEY,
    ) -> AccessKeyCredential:
        return AccessKeyCredential(
            name, secret, security_token, DEFAULT_PROJECT, limiter=self.limiter, clock=self.clock
        )

    def token_file(self, read: Callable[[], str]) -> TokenFileCredential:
        return TokenFileCredential(read, limiter=self.limiter)
