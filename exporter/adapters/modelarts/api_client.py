"""Authorised GET requests to one project: paced, counted, and sent once more after a refused credential."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlencode

from exporter.adapters.http_client import USER_AGENT, Answer, HttpClient
from exporter.adapters.modelarts.api_errors import error_of
from exporter.core.polling.rate_limit import Priority
from exporter.core.source import NotUnderstood, Refused, Throttled

HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
    "User-Agent": USER_AGENT,
}
# Event texts in English, where the cloud heeds it.
LANGUAGE = "en-us"


# Is given the URL of a request and its answer, whatever the status.
OnAnswer = Callable[[str, Answer], None]


class Limiter(Protocol):
    """Where every request waits for its turn."""

    def enter(self, priority: Priority) -> None:
        """Return when one request may go, and none of a higher priority waits.

        Raises `Stopping` when the exporter shuts down.
        """

    def throttled(self, wait_seconds: float | None, allowed_per_second: float | None) -> None:
        """The cloud answered 429."""


class RequestMetrics(Protocol):
    """Where requests are counted."""

    def request(self, endpoint: str, code: str, seconds: float) -> None:
        """One request: list, detail, logs or events; the HTTP status, or `error` without an answer."""

    def clock_skew(self, seconds: float) -> None:
        """How far the cloud's clock is ahead of ours."""


class RequestAuth(Protocol):
    """The right to send one request with a credential; one of the last three methods ends it."""

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        """The headers to add to a request without a body that goes out now.

        May wait while the credential must not be shown more often. Raises `Refused`.
        """

    def accepted(self) -> None:
        """The cloud took the credential."""

    def refused(self, message: str, *, final: bool) -> bool:
        """The cloud refused it. True: a second request with a new lease may succeed.

        `final`: this was the second one already.
        """

    def abandoned(self) -> None:
        """The request ended without an answer that says anything about the credential."""


class Credential(Protocol):
    """What signs requests."""

    def lease(self) -> RequestAuth:
        """The right to send one request; may sign in for it first.

        Raises `Refused`, at once while the next try is not due, or any other `RemoteError`.
        """


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A kind of request: its name in the metrics, how its errors begin, the action a 403 wants granted."""

    name: str
    asked: str
    permission: str
    priority: Priority = Priority.USUAL


class ReadTimes:
    """When a read began and was answered, in ms.

    Attributes:
        began: on the slower of our clock and the cloud's.
        answered: on the cloud's clock, at the last answer; ours where an answer has no `Date`.

    """

    def __init__(self, began: int) -> None:
        self.began = began
        self.answered: int | None = None
        self._dated = False

    def note(self, cloud_ms: int | None, now: int) -> None:
        """An answer came with this `Date`, at `now` on our clock."""
        # The header names a whole second, and the cloud's clock may be anywhere in it: an entry of this very
        # second is not dated in the future.
        at = now if cloud_ms is None else cloud_ms + 999
        if cloud_ms is not None and not self._dated:  # only the first one is near the beginning
            self._dated = True
            self.began = min(self.began, at)
        self.answered = at if self.answered is None else max(self.answered, at)


class ApiClient:
    """Sends the requests of one project. Threads may share it.

    `on_answer` is given the URL and the answer of each request, on the thread that sent it.
    """

    def __init__(
        self,
        base: str,
        transport: HttpClient,
        credential: Credential,
        rate_limiter: Limiter,
        metrics: RequestMetrics,
        clock: Callable[[], int],
        on_answer: OnAnswer | None = None,
    ) -> None:
        self._base = base
        self._transport = transport
        self._credential = credential
        self._rate_limiter = rate_limiter
        self._metrics = metrics
        self._clock = clock
        self._on_answer = on_answer

    def get(
        self,
        endpoint: Endpoint,
        path: str,
        query: Mapping[str, str],
        times: ReadTimes,
        language: str = LANGUAGE,
    ) -> bytes:
        """The body of a 200. Raises any `RemoteError`; a 401 only after a second try with a new lease."""
        headers = {**HEADERS, "X-Language": language}
        url = self._base + path
        if query:
            # Encoded here, since a signature needs %20 where requests would write +.
            url += "?" + urlencode(sorted(query.items()), quote_via=quote, safe="")
        try:
            body = self._try(endpoint, url, headers, times, final=False)
            if body is None:
                body = self._try(endpoint, url, headers, times, final=True)
        except Throttled as error:
            self._rate_limiter.throttled(error.wait_seconds, error.allowed_per_second)
            raise
        assert body is not None, "the final try returns a body or raises"
        return body

    def _try(
        self, endpoint: Endpoint, url: str, headers: Mapping[str, str], times: ReadTimes, *, final: bool
    ) -> bytes | None:
        """One request; None: the credential was refused, and another lease may help."""
        # The lease comes first: a refused credential is told at once. The headers come last: a signature is
        # dated, and nothing that is shared with other projects may be held while this one waits.
        lease = self._credential.lease()
        try:
            self._rate_limiter.enter(endpoint.priority)
            added = lease.headers("GET", url)
            answer = self._exchange(endpoint, url, {**headers, **added}, times)
        except BaseException:
            lease.abandoned()
            raise
        if answer.status == 200:
            lease.accepted()
            return answer.body
        error = error_of(
            endpoint.asked,
            answer.status,
            answer.headers,
            answer.body,
            now=self._clock(),
            permission=endpoint.permission,
            secrets=_secrets(added),
        )
        if not isinstance(error, Refused):
            lease.abandoned()
            raise error
        if lease.refused(str(error), final=final) and not final:
            return None
        raise error

    def _exchange(self, endpoint: Endpoint, url: str, headers: Mapping[str, str], times: ReadTimes) -> Answer:
        began = time.perf_counter()
        code = "error"
        try:
            answer = self._transport.get(url, headers)
            code = str(answer.status)
        finally:
            self._metrics.request(endpoint.name, code, time.perf_counter() - began)
        cloud_ms = answer.date_ms
        now = self._clock()
        times.note(cloud_ms, now)
        if cloud_ms is not None:
            self._metrics.clock_skew((cloud_ms - now) / 1000)
        if self._on_answer is not None:
            self._on_answer(url, answer)
        return answer


def segment(service_id: str) -> str:
    """A service id as one segment of a path. Raises `NotUnderstood` if it cannot be one."""
    if service_id in {"", ".", ".."}:
        raise NotUnderstood(f"{service_id!r} is no service id.")
    return quote(service_id.encode("utf-8", "replace"), safe="")


def _secrets(headers: Mapping[str, str]) -> list[str]:
    """What a server could quote of the headers that a credential added."""
    found = [headers[name] for name in ("X-Auth-Token", "X-Security-Token") if name in headers]
    return [*found, headers.get("Authorization", "").rpartition("Signature=")[2]]
