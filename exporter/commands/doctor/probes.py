"""The read-only requests of one project: few, through its own proxy, credential and rate limit."""

import time
from collections.abc import Callable, Mapping
from urllib.parse import quote

from exporter.adapters.http_client import USER_AGENT, Answer, HttpClient
from exporter.adapters.modelarts import decode
from exporter.adapters.modelarts.api_client import LANGUAGE, ApiClient, Endpoint, ReadTimes, segment
from exporter.adapters.modelarts.api_errors import error_of
from exporter.adapters.modelarts.decode import ResultPage
from exporter.adapters.modelarts.pages import Query
from exporter.adapters.modelarts.rate_limiter import monotonic_ms
from exporter.adapters.modelarts.source import DETAIL, EVENTS, LIST, LOGS
from exporter.config import Project
from exporter.core.records import Event, ServiceRow, Update
from exporter.core.source import NotUnderstood, RemoteError, Throttled
from exporter.factory import ProjectFactory, http_client

MOST_REQUESTS = 60
# After a 429 somebody waits at a terminal: a second is borne, the minute of a gateway's usual window is not.
LONGEST_PAUSE_MS = 10_000

LIST_2 = Endpoint("list", "Listing the services of version 2", "modelarts:service:list")
# The largest page of version 2 (ListInferServices of huaweicloudsdkmodelarts).
_LIMIT_2 = 500


class NotAsked(RemoteError):  # noqa: N818 - the class says what happened, the base that it is an error
    """No request was sent, because too many were sent before, or the cloud wants none now."""


class PacedClient(HttpClient):
    """Sends requests evenly, and no more than `MOST_REQUESTS`, a sign-in among them. Not thread-safe.

    Attributes:
        interval: seconds from one request to the next, at least.
        sent: how many were sent.

    """

    interval = 0.0
    sent = 0
    _next_at = 0.0  # seconds of `time.monotonic`

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """See the base. Raises `NotAsked` too."""
        self._enter()
        return super().get(url, headers)

    def post(self, url: str, headers: Mapping[str, str], body: object) -> Answer:
        """See the base. Raises `NotAsked` too."""
        self._enter()
        return super().post(url, headers, body)

    def _enter(self) -> None:
        if self.sent >= MOST_REQUESTS:
            raise NotAsked(f"All {MOST_REQUESTS} requests that doctor may send were sent.")
        self.sent += 1
        # The exporter's bucket alone lets a second's worth through at once.
        time.sleep(max(0.0, self._next_at - time.monotonic()))
        self._next_at = time.monotonic() + self.interval


class Probes:
    """Asks the cloud of one project.

    Args:
        project: its section of the file.
        factory: builds its credential.
        clock: ms since the epoch.

    Attributes:
        throttled: the last 429; whoever wants to know sets it to None before.
        skew_seconds: how far the cloud's clock is ahead of ours; None: no answer had a date.

    """

    def __init__(self, project: Project, factory: ProjectFactory, clock: Callable[[], int]) -> None:
        self._project, self._factory, self._clock = project, factory, clock
        self._http = http_client(project, PacedClient)
        access = factory.access(project, self._http)
        self._credential, self._rate_limiter = access.credential, access.rate_limiter
        self._http.interval = 1 / project.rate_limit
        self._version_1, self._version_2 = (
            ApiClient(
                f"{project.endpoint.rstrip('/')}/{version}/{quote(project.project_id, safe='')}/services",
                self._http,
                access.credential,
                access.rate_limiter,
                access.metrics,
                clock,
            )
            for version in ("v1", "v2")
        )
        self._was_throttled = False
        self.throttled: Throttled | None = None
        self.skew_seconds: float | None = None

    def reach(self, url: str) -> Answer:
        """The answer to a request without a credential, whatever its status.

        Raises `Unreachable`, or another `RemoteError` if a proxy answers in the server's place.
        """
        answer = self._http.get(url, {"Accept": "application/json", "User-Agent": USER_AGENT})
        now, told = self._clock(), answer.date_ms
        if told is not None and self.skew_seconds is None:
            # The header names a whole second; on average its half has passed.
            self.skew_seconds = (told + 500 - now) / 1000
        if answer.status in (407, 429):
            error = error_of("The request", answer.status, answer.headers, answer.body, now=now)
            if not isinstance(error, Throttled):
                raise error
            self.throttled = error
            if url == self._project.endpoint:  # IAM has a limit of its own
                self._rate_limiter.throttled(error.wait_seconds, error.allowed_per_second)
                self._was_throttled = True
        return answer

    def now(self) -> int:
        """The cloud's time in ms, or ours where no answer told it."""
        return self._clock() + int((self.skew_seconds or 0) * 1000)

    def proxy_of(self, url: str) -> str:
        """Host and port of the proxy; "" for none."""
        return self._http.proxy_of(url)

    def sign_in(self) -> None:
        """Get a token with the user's password. Raises any `RemoteError`."""
        try:
            self._credential.lease().abandoned()
        except Throttled as error:
            self.throttled = error
            if error.wait_seconds is None or error.wait_seconds * 1000 > LONGEST_PAUSE_MS:
                raise
            time.sleep(error.wait_seconds)
            self._credential.lease().abandoned()

    def sign_in_to_domain(self) -> None:
        """The same without the project, which shows whether it is the password that is wrong."""
        self._factory.access(self._project, self._http, domain_scope=True).credential.lease().accepted()

    def services(
        self, workspace: str, query: Query, sort_by: str = "transition_at", order: str = "desc"
    ) -> ResultPage[ServiceRow | None]:
        """A page of the list; what changed last comes first."""
        asked = {"workspace_id": workspace, "sort_by": sort_by, "order": order}
        return decode.services(self._get(LIST, "", {**asked, **_numbers(query)}))

    def detail(self, service_id: str) -> ServiceRow:
        """One service."""
        return decode.service(self._get(DETAIL, f"/{segment(service_id)}", {}), service_id)

    def updates(self, service_id: str) -> tuple[Update, ...]:
        """The update log, in the order in which it came."""
        return decode.updates(self._get(LOGS, f"/{segment(service_id)}/logs", {}), service_id).rows

    def events(
        self, service_id: str, query: Query, order: str | None = "asc", language: str = LANGUAGE
    ) -> ResultPage[Event]:
        """A page of the event log, in the order in which it came."""
        asked = (
            _numbers(query) if order is None else {**_numbers(query), "sort_by": "occur_time", "order": order}
        )
        body = self._get(EVENTS, f"/{segment(service_id)}/events", asked, language)
        return decode.events(body, service_id)

    def services_2(self, workspace: str) -> tuple[int, set[str]]:
        """How many services version 2 of the API has, and the ids of those on the first page."""
        asked = {"workspace_id": workspace, "limit": str(_LIMIT_2), "offset": "0"}
        found = decode.document(self._get(LIST_2, "", asked, client=self._version_2))
        rows, total = found.get("data"), decode.count(found.get("total"))
        if not isinstance(rows, list) or total is None:
            raise NotUnderstood("The answer of version 2 has no `data` and `total`.")
        return total, {decode.text(row.get("id")) for row in rows if isinstance(row, dict)}

    def _get(
        self,
        endpoint: Endpoint,
        path: str,
        query: Mapping[str, str],
        language: str = LANGUAGE,
        client: ApiClient | None = None,
    ) -> bytes:
        self._check_pause()
        asking = client or self._version_1
        try:
            return asking.get(endpoint, path, query, ReadTimes(self._clock()), language)
        except Throttled as error:
            self.throttled, self._was_throttled = error, True
            if self._pause_ms() > LONGEST_PAUSE_MS:
                raise
            return asking.get(endpoint, path, query, ReadTimes(self._clock()), language)

    def _check_pause(self) -> None:
        if self._was_throttled and self._pause_ms() > LONGEST_PAUSE_MS:
            raise NotAsked("After the 429 above, the cloud wants no request for a while.")

    def _pause_ms(self) -> int:
        now = monotonic_ms()
        return self._rate_limiter.bucket.ready_at(now) - now


def _numbers(query: Query) -> dict[str, str]:
    """The part of a query that is numbers, as the API names it."""
    pairs = {
        "limit": query.limit,
        "offset": query.offset,
        "start_time": query.start,
        "end_time": query.end,
    }
    return {name: str(value) for name, value in pairs.items() if value is not None}
