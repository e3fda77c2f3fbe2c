"""The service API of ModelArts, version 1, for one project: a `Source`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from urllib.parse import quote

from exporter.adapters.http_client import HttpClient
from exporter.adapters.modelarts import decode as bodies
from exporter.adapters.modelarts.api_client import (
    ApiClient,
    Credential,
    Endpoint,
    Limiter,
    OnAnswer,
    ReadTimes,
    RequestMetrics,
    segment,
)
from exporter.adapters.modelarts.api_errors import Rejected
from exporter.adapters.modelarts.decode import ResultPage
from exporter.adapters.modelarts.pages import LearnedPaging, Query
from exporter.adapters.modelarts.paging import read_events, read_list
from exporter.core.polling import progress
from exporter.core.polling.progress import Progress
from exporter.core.polling.rate_limit import Priority
from exporter.core.records import Event, EventWindow, ServiceList, ServiceRow, UpdateWindow

# Codes of a 400 that are about the project or the workspace, not about the kind of service (ModelArts, API
# Reference, "Error Codes").
_NOT_ABOUT_THE_SERVICE = {
    "ModelArts.0102",  # the workspace does not exist
    "ModelArts.0204",  # the token is not of a project
    "ModelArts.0210",  # the project id is not valid
}

# The list says what else is worth a request, so it waits for none.
LIST = Endpoint("list", "Listing the services", "modelarts:service:list", Priority.FIRST)
DETAIL = Endpoint("detail", "Reading a service", "modelarts:service:get")
LOGS = Endpoint("logs", "Reading an update log", "modelarts:service:getLogs")
EVENTS = Endpoint("events", "Reading an event log", "modelarts:service:getEvents")
_SPARE_EVENTS = replace(EVENTS, priority=Priority.LAST)


class ModelArtsSource:
    """A `Source` over HTTPS. Threads may share it.

    Args:
        endpoint: URL of the service, without the version.
        project_id: 32 hexadecimal digits.
        workspaces: ids; the services of each are listed.
        credential: signs the requests.
        rate_limiter: paces the requests.
        metrics: is told of each request.
        clock: ms since the epoch.
        transport: sends the requests.
        on_answer: is given each answer, on the thread that sent the request.
        after: the source of the same cloud that this one takes over from, with what it has learned.

    """

    def __init__(
        self,
        endpoint: str,
        project_id: str,
        workspaces: Sequence[str],
        credential: Credential,
        *,
        rate_limiter: Limiter,
        metrics: RequestMetrics,
        clock: Callable[[], int],
        transport: HttpClient,
        on_answer: OnAnswer | None = None,
        after: "ModelArtsSource | None" = None,
    ) -> None:
        # How far the list is that is being read, or was read last; None before its first page.
        self.listing: Progress | None = None
        self._workspaces = tuple(workspaces)
        self._clock = clock
        base = f"{endpoint.rstrip('/')}/v1/{quote(project_id, safe='')}/services"
        self._client = ApiClient(base, transport, credential, rate_limiter, metrics, clock, on_answer)
        # What is learned of the two endpoints is learned apart: they need not be built alike.
        self.list_paging: LearnedPaging = after.list_paging if after else LearnedPaging()
        self.event_paging: LearnedPaging = after.event_paging if after else LearnedPaging()
        self._list_decoder = bodies.ListDecoder()  # one list is read at a time

    def list_services(self) -> ServiceList:
        """Every service of every configured workspace; if one of these fails, all of it does."""
        times = ReadTimes(self._clock())
        self._list_decoder.begin()
        self.listing = None
        rows: dict[str, ServiceRow] = {}
        complete, malformed = True, 0
        for workspace in self._workspaces:
            listing = read_list(partial(self._list_page, workspace, times), self.list_paging)
            complete = complete and listing.complete
            for row in listing.rows:
                if row is None:
                    malformed += 1
                else:
                    rows[row.service_id] = row
        return ServiceList(tuple(rows.values()), complete, malformed)

    def read_detail(self, service_id: str) -> ServiceRow:
        """One service, with `error_msg` where it failed."""
        times = ReadTimes(self._clock())
        return bodies.service(self._client.get(DETAIL, f"/{segment(service_id)}", {}, times), service_id)

    def read_updates(self, service_id: str, instant: int | None = None) -> UpdateWindow:
        """The whole update log, or only the entries of one `update_time` in ms."""
        times = ReadTimes(self._clock())
        query = {} if instant is None else {"update_time": str(instant)}
        try:
            body = self._client.get(LOGS, f"/{segment(service_id)}/logs", query, times)
        except Rejected as error:
            ours = error.code.startswith("ModelArts.") and error.code not in _NOT_ABOUT_THE_SERVICE
            if instant is None and ours:
                return UpdateWindow((), times.began, supported=False)
            raise
        log = bodies.updates(body, service_id)
        # A cloud that ignores the filter answers with all of the log.
        updates = tuple(u for u in log.rows if instant is None or u.update_time == instant)
        return UpdateWindow(
            updates, times.began, instant, service_name=log.service_name, answered_at=times.answered
        )

    def read_events(self, service_id: str, after: int | None = None, *, spare: bool = False) -> EventWindow:
        """The events later than `after` (ms, exclusive), or all; `spare`: after all else that waits."""
        times = ReadTimes(self._clock())
        path = f"/{segment(service_id)}/events"
        names: list[str] = []
        texts: dict[str, str] = {}

        def fetch(query: Query) -> ResultPage[Event]:
            asked = {"sort_by": "occur_time", "order": "asc", "limit": str(query.limit)}
            for name, value in (
                ("start_time", query.start),
                ("end_time", query.end),
                ("offset", query.offset),
            ):
                if value is not None:
                    asked[name] = str(value)
            endpoint = _SPARE_EVENTS if spare else EVENTS
            page = bodies.events(self._client.get(endpoint, path, asked, times), service_id, texts)
            names.append(page.service_name)
            return page

        events = read_events(fetch, after, lambda: times.began, self.event_paging)
        return EventWindow(events, times.began, after, names[-1], times.answered)

    def _list_page(self, workspace: str, times: ReadTimes, query: Query) -> ResultPage[ServiceRow | None]:
        # In the order of creation: a service that is created during the read is the last row, and moves
        # no other one.
        asked = {
            "workspace_id": workspace,
            "sort_by": "publish_at",
            "order": "asc",
            "limit": str(query.limit),
        }
        if query.offset is not None:
            asked["offset"] = str(query.offset)
        page = self._list_decoder.services(self._client.get(LIST, "", asked, times))
        self._count_listed(len(page.rows), page.total)
        return page

    def _count_listed(self, rows: int, total: int | None) -> None:
        if not total or len(self._workspaces) > 1:  # nobody knows how many the other workspaces have
            return
        now, known = self._clock(), self.listing
        if known is None:
            self.listing = progress.begin(now, total, rows)
        else:  # a page may come twice, to find out what `offset` counts
            self.listing = progress.advanced(known, now, total, min(known.done + rows, total), 0)
