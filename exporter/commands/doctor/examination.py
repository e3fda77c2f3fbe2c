"""The checks of one project, in their order, each with what it needs of the ones before."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from exporter.adapters.modelarts.api_client import LANGUAGE
from exporter.adapters.modelarts.api_errors import NoSuchPath, Rejected
from exporter.adapters.modelarts.decode import ResultPage
from exporter.adapters.modelarts.pages import LATEST_ENDS, LIMITS, LearnedPaging, Query, first_page, page_at
from exporter.commands.doctor import remedies, unknowns
from exporter.commands.doctor.finding import (
    CHECKS,
    Finding,
    Status,
    Verdict,
    failed,
    finding,
    ok,
    skipped,
    warning,
)
from exporter.commands.doctor.probes import NotAsked, Probes
from exporter.config import Project
from exporter.core.records import RESULTS, Event, ServiceRow, Update
from exporter.core.source import Forbidden, Gone, Refused, RemoteError, Throttled

# Each costs two requests of the sixty; who has more of them has the same answer from the first ones.
_MOST_WORKSPACES = 8
# Each costs a request; the one with most to show is among the services that changed last.
_CANDIDATES = 10
# Without order: more than enough to see one.
_SAMPLE = 10

# Codes of a 400 that are about the token (ModelArts, API Reference, "Error Codes").
_NO_PROJECT_IN_TOKEN = {"ModelArts.0204", "ModelArts.0207", "ModelArts.0212"}


Row = TypeVar("Row")


class NeedsError(Exception):
    """What a check needs is not there; the message says what."""


class Examination:
    """Runs the checks of one project; once."""

    def __init__(self, project: Project, probes: Probes) -> None:
        self._project, self._probes = project, probes
        auth = project.auth
        self._auth = "password" if auth.password else "aksk" if auth.aksk else "token_file"
        self._missing: dict[str, str] = {}  # a check that gave nothing -> what to say where it is needed
        self._no_project = ""  # the user is right, but gets no token for the project: why
        self._list_throttled: Throttled | None = None
        self._first: ResultPage[ServiceRow | None] | RemoteError | None = None
        self._list_paging, self._event_paging = LearnedPaging(), LearnedPaging()
        self._pages: dict[str, ResultPage[ServiceRow | None]] = {}  # by workspace
        self._rows: list[ServiceRow] = []
        self._service: ServiceRow | None = None  # the one with most to show
        self._total: int | None = None  # its events
        self._events_error: RemoteError | None = None
        self._events_throttled: Throttled | None = None
        self._oldest_events: list[int] = []  # of each service that was asked, ms
        self._updates: tuple[Update, ...] = ()
        self._sample: tuple[Event, ...] = ()

    def findings(self) -> Iterator[Finding]:
        """What each check finds, as soon as it is found."""
        checks = (
            self._check_endpoint,
            self._check_iam,
            self._check_clock,
            self._check_sign_in,
            self._check_list,
            self._check_detail,
            self._check_logs,
            self._check_events,
            self._check_paging,
            self._check_order,
            self._check_limit,
            self._check_bounds,
            self._check_retention,
            self._check_language,
            self._check_other_api,
        )
        for name, check in zip(CHECKS, checks, strict=True):
            yield finding(self._project.name, name, self._verdict(name, check))

    def _verdict(self, name: str, check: Callable[[], Verdict]) -> Verdict:
        self._probes.throttled = None
        try:
            verdict = check()
        except (NeedsError, NotAsked) as error:
            self._missing[name] = str(error)
            return skipped(str(error))
        except Throttled as error:
            self._missing[name] = f"It needs {name}, which met the 429 above."
            return warning(self._told(error), remedies.THROTTLED)
        except RemoteError as error:
            verdict = failed(self._told(error), remedies.remedy(name, error, self._auth))
        if verdict.status is Status.FAILED:
            self._missing[name] = f"It needs {name}, which failed."
        elif self._probes.throttled is not None:
            met = self._told(self._probes.throttled)
            return warning(f"{verdict.found} {met}", remedies.THROTTLED)
        return verdict

    def _told(self, error: RemoteError) -> str:
        """What is wrong, without the names that the cloud quotes: strangers may read the output."""
        text = remedies.problem(error)
        user, key = self._project.auth.password, self._project.auth.aksk
        names = {self._project.project_id: "project_id"}
        names |= {user.domain: "domain", user.username: "username"} if user else {}
        names |= {key.access_key: "access_key"} if key else {}
        for row in self._rows:
            names |= {row.service_id: "service_id", row.service_name: "service_name"}
        for name, what in names.items():
            if name:
                text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", f"<{what}>", text)
        return text

    def _need(self, *checks: str) -> None:
        for check in checks:
            if check in self._missing:
                raise NeedsError(self._missing[check])

    # The way to the cloud

    def _check_endpoint(self) -> Verdict:
        return self._reached(self._project.endpoint)

    def _check_iam(self) -> Verdict:
        user = self._project.auth.password
        if user is None:
            return skipped("Only a user with a password signs in to IAM.")
        return self._reached(f"{user.iam_endpoint.rstrip('/').removesuffix('/v3')}/v3")

    def _reached(self, url: str) -> Verdict:
        proxy = self._probes.proxy_of(url)
        self._probes.reach(url)
        parts = urlsplit(url)
        over = "TLS" if parts.scheme == "https" else "plain HTTP"
        way = f"through the proxy {proxy}" if proxy else "without a proxy"
        found = f"{parts.netloc.rpartition('@')[2]} answers over {over}, {way}."
        if self._project.tls.insecure_skip_verify and parts.scheme == "https":
            return warning(f"{found} Nobody checks its certificate.", remedies.SKIP_VERIFY)
        return ok(found)

    def _check_clock(self) -> Verdict:
        if self._probes.skew_seconds is None:
            return skipped("No answer told the cloud's time.")
        return unknowns.clock(self._probes.skew_seconds)

    # What the credential may do

    def _check_sign_in(self) -> Verdict:
        if self._auth == "password":
            self._need("iam")
            if (wrong := self._sign_in()) is not None:
                return wrong
        else:
            self._need("endpoint")
        if self._auth == "aksk":
            self._need("clock")  # a signature is dated
        if self._no_project:
            return ok("Domain, user and password are right.")
        if "endpoint" in self._missing:
            return ok("IAM gave a token; ModelArts could not be asked whether it takes it.")
        return self._first_request()

    def _sign_in(self) -> Verdict | None:
        """Get a token; a verdict only if the user is wrong."""
        try:
            self._probes.sign_in()
        except Refused as error:
            wrong = failed(self._told(error), remedies.remedy("sign-in", error, self._auth))
            if str(error) != error.lasting:  # nothing was asked just now
                return wrong
            try:
                self._probes.sign_in_to_domain()
            except RemoteError:
                return wrong
            self._no_project = self._told(error)
        return None

    def _first_request(self) -> Verdict:
        """The first request that shows the credential, which tells whether it is right."""
        taken = {
            "password": "IAM gave a token, and ModelArts takes it.",
            "aksk": "ModelArts takes the signature.",
            "token_file": "ModelArts takes the token.",
        }[self._auth]
        before, self._probes.throttled = self._probes.throttled, None
        try:
            if self._project.discovery:
                self._first = self._list(self._project.workspaces[0])
            else:
                self._probes.detail(self._project.services.ids[0])
        except Refused:
            raise
        except Rejected as error:
            if error.code in _NO_PROJECT_IN_TOKEN:
                raise
            self._first = error
        except (Forbidden, Gone) as error:
            self._first = error
        except RemoteError as error:
            self._first = error
            unsaid = "no answer of ModelArts says whether it takes it"
            if self._auth == "password":
                return ok(f"IAM gave a token; {unsaid}.")
            return skipped(f"A credential is there; {unsaid}.")
        finally:
            # Whatever the answer says else is for `list` to tell.
            self._list_throttled, self._probes.throttled = self._probes.throttled, before
        return ok(taken)

    def _list(self, workspace: str) -> ResultPage[ServiceRow | None]:
        """The largest page of a workspace, what changed last in front."""
        asked = Query(limit=self._list_paging.limit)
        page, _ = first_page(partial(self._probes.services, workspace), asked, self._list_paging)
        return page

    def _check_list(self) -> Verdict:
        if self._no_project:
            self._need("endpoint")
            return failed(f"IAM gives no token for this project. {self._no_project}", remedies.PROJECT)
        if not self._project.discovery:
            return skipped("`discovery` is false: the services of `services.ids` are read without it.")
        if self._first is None:
            self._need("endpoint", "sign-in")
        self._probes.throttled = self._list_throttled
        workspaces = self._project.workspaces
        first, *others = workspaces[:_MOST_WORKSPACES]
        errors = [(first, self._note_page(first, lambda: self._first))]
        errors += [(each, self._note_page(each, partial(self._list, each))) for each in others]
        rows = [row for page in self._pages.values() for row in page.rows if row is not None]
        rows.sort(key=lambda row: row.transition_at or 0, reverse=True)
        self._rows = rows[:_CANDIDATES]
        for workspace, error in errors:
            if error is not None:
                return self._list_failed(workspace, error)
        told = ", ".join(f"{_size(page)} in workspace {name}" for name, page in self._pages.items())
        more = len(workspaces) - len(self._pages)
        found = f"Services: {told}{f', and {more} more workspaces that were not asked' if more else ''}."
        return ok(found) if rows else warning(found, remedies.EMPTY)

    def _list_failed(self, workspace: str, error: RemoteError) -> Verdict:
        if len(self._project.workspaces) == 1 or isinstance(error, Throttled | NotAsked):
            raise error
        found = f"In workspace {workspace}: {self._told(error)}"
        return failed(found, remedies.remedy("list", error, self._auth))

    def _note_page(
        self, workspace: str, read: Callable[[], ResultPage[ServiceRow | None] | RemoteError | None]
    ) -> RemoteError | None:
        """Keep the page of a workspace, or return why there is none."""
        try:
            page = read()
        except RemoteError as error:
            return error
        if isinstance(page, RemoteError):
            return page
        assert page is not None, "the list is asked once there is a first answer"
        self._pages[workspace] = page
        return None

    def _chosen(self) -> str:
        """The id of the service with most to show. Raises `NeedsError` if there is none."""
        if self._service is None:
            ids = self._project.services.ids[:_CANDIDATES]
            if not self._rows:
                self._need(*(() if ids and not self._no_project else ("list",)), "endpoint", "sign-in")
            self._rows = self._rows or [ServiceRow(service_id) for service_id in ids]
            if not self._rows:
                raise NeedsError("There is no service to ask about.")
            self._choose()
        assert self._service is not None, "one was chosen"
        return self._service.service_id

    def _choose(self) -> None:
        """Of the services that changed last, the one with most events; if events cannot be read, the first.

        What goes wrong with the events is for `events` to tell.
        """
        before, self._probes.throttled = self._probes.throttled, None
        self._service = self._rows[0]
        most = -1
        for row in self._rows:
            try:
                page = self._probes.events(row.service_id, Query(limit=1))
            except Gone:
                continue
            except RemoteError as error:
                self._events_error = self._events_error or error
                break
            total = len(page.rows) if page.total is None else page.total
            self._oldest_events += [event.occur_time for event in page.rows[:1]]
            if total > most:
                self._service, most, self._total = row, total, total
        self._events_throttled, self._probes.throttled = self._probes.throttled, before

    def _check_detail(self) -> Verdict:
        row = self._probes.detail(self._chosen())
        kind, status = row.infer_type or "service", row.status or "of unknown status"
        return ok(f"The service that was asked about ({kind}) is {status}.")

    def _check_logs(self) -> Verdict:
        try:
            self._updates = self._probes.updates(self._chosen())
        except Rejected as error:
            if not error.code.startswith("ModelArts."):
                raise
            return ok("This kind of service has no update log.")
        results = [update.result for update in self._updates]
        known = [f"{results.count(result)} {result}" for result in RESULTS]
        others = sum(result not in RESULTS for result in results)
        return ok(f"Updates: {', '.join([*known, *[f'{others} of another result'] * (others > 0)])}.")

    def _check_events(self) -> Verdict:
        self._chosen()
        self._probes.throttled = self._events_throttled
        if isinstance(self._events_error, Throttled) and self._total is not None:
            return ok(f"Events of the service that has most of them: {self._total} or more.")
        if self._events_error is not None:
            raise self._events_error
        if self._total is None:
            raise NeedsError("Every service that could be asked about was deleted a moment ago.")
        return ok(f"Events of the service that has most of them: {self._total}.")

    # What the documents leave open

    def _check_paging(self) -> Verdict:
        services = events = None
        workspace = max(self._pages, key=lambda name: len(self._pages[name].rows), default="")
        if workspace and len(self._pages[workspace].rows) > unknowns.SIZE:
            # In the order of creation, as the exporter reads it: it changes least.
            fetch = partial(self._probes.services, workspace, sort_by="publish_at", order="asc")
            # A row has numbers that change all the time, so its id stands for it.
            services = _offset(fetch, lambda row: row and row.service_id)
        if "events" not in self._missing:
            events = _offset(partial(self._probes.events, self._chosen()), lambda event: event)
        elif services is None:
            self._need("list", "events")
        return unknowns.paging(services, events)

    def _check_order(self) -> Verdict:
        events: list[int] = []
        if "events" not in self._missing:
            self._sample = self._read_sample()
            events = [event.occur_time for event in self._sample]
        elif "logs" in self._missing:
            self._need("logs")
        return unknowns.order([update.update_time for update in self._updates], events)

    def _check_limit(self) -> Verdict:
        services = events = None
        if self._pages:
            largest = max(self._pages.values(), key=lambda page: len(page.rows))
            services = _largest(self._list_paging, largest)
        if "events" not in self._missing:
            asked = Query(limit=self._event_paging.limit, end=LATEST_ENDS[0])
            page, _ = first_page(partial(self._probes.events, self._chosen()), asked, self._event_paging)
            events = _largest(self._event_paging, page)
        elif services is None:
            self._need("list", "events")
        return unknowns.limit(services, events)

    def _check_bounds(self) -> Verdict:
        self._need("events")
        service_id = self._chosen()
        # The newest one: the oldest may be cleared at any time.
        newest = self._probes.events(service_id, Query(limit=1), order="desc").rows
        if not newest:
            raise NeedsError("There is no event.")
        at = newest[0].occur_time

        def is_shown(start: int, end: int) -> bool:
            page = self._probes.events(service_id, Query(limit=_SAMPLE, start=start, end=end))
            return any(row.occur_time == at for row in page.rows)

        return unknowns.bounds(
            control=is_shown(at - 1, at + 1),
            start=is_shown(at, at + 1),
            end=is_shown(at - 1, at),
            far_end=self._event_paging.latest_end == LATEST_ENDS[0],
        )

    def _check_retention(self) -> Verdict:
        if "logs" in self._missing:
            self._need("events")
        oldest = min((update.update_time for update in self._updates), default=None)
        return unknowns.retention(self._probes.now(), self._oldest_events, oldest)

    def _check_language(self) -> Verdict:
        self._need("events")
        english = self._sample or self._read_sample()
        return unknowns.language(english, self._read_sample("zh-cn") if english else ())

    def _read_sample(self, language: str = LANGUAGE) -> tuple[Event, ...]:
        """A few events, without an order that is asked for."""
        return self._probes.events(self._chosen(), Query(limit=_SAMPLE), order=None, language=language).rows

    def _check_other_api(self) -> Verdict:
        self._need("endpoint", "sign-in")
        if self._no_project:
            self._need("list")
        seen = {row.service_id for page in self._pages.values() for row in page.rows if row is not None}
        seen |= set(self._project.services.ids)
        exact = bool(self._pages) and all(len(page.rows) == page.total for page in self._pages.values())
        total = unseen = 0
        for workspace in self._project.workspaces[:_MOST_WORKSPACES]:
            try:
                number, ids = self._probes.services_2(workspace)
            except (Throttled, NotAsked):
                raise
            except RemoteError as error:
                return self._no_other_api(error)
            total += number
            unseen += number - len(ids & seen)
            exact = exact and number == len(ids)
            seen |= ids
        return unknowns.other_api(total, unseen, exact=exact)

    def _no_other_api(self, error: RemoteError) -> Verdict:
        if isinstance(error, NoSuchPath):
            return ok("Version 2 of the API does not answer here (HTTP 404), so it hides no service.")
        if isinstance(error, Forbidden):
            self._need("list")  # what is not allowed there is told of this
        return warning(
            "Whether version 2 of the API has services that this exporter cannot see is not known. "
            + self._told(error),
            remedies.remedy("other-api", error, self._auth),
        )


def _offset(
    fetch: Callable[[Query], ResultPage[Row]], identity: Callable[[Row], object]
) -> unknowns.Offset | None:
    """What `offset` does; `identity` gives what tells one row from another."""
    reference = fetch(Query(limit=unknowns.REFERENCE_SIZE)).rows
    if len(reference) <= unknowns.SIZE:
        return None
    page = page_at(lambda at: fetch(Query(limit=unknowns.SIZE, offset=at)), unknowns.SIZE)
    # Behind the last page there is none: the same as an empty one.
    rows = () if page is None else page.rows
    return unknowns.offset_of([identity(row) for row in reference], [identity(row) for row in rows])


def _size(page: ResultPage[ServiceRow | None]) -> int:
    return len(page.rows) if page.total is None else page.total


def _largest(learned: LearnedPaging, page: ResultPage[Row]) -> unknowns.Largest:
    larger = [size for size in LIMITS if size > learned.limit]
    return unknowns.Largest(learned.limit, larger[-1] if larger else None, len(page.rows), page.total)
