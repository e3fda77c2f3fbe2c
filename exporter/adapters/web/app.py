"""The answers to HTTP requests, by an application that knows nothing of sockets."""

import asyncio
import gzip
from collections.abc import Callable, Collection, Mapping
from functools import partial
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote

from exporter.adapters.web.accept import gzip_wanted, openmetrics_wanted
from exporter.adapters.web.api import Api
from exporter.adapters.web.auth import BasicAuth, PasswordChecker
from exporter.adapters.web.fair_queue import FairQueue
from exporter.adapters.web.message import API, Request, Response, Verdict, error_response, verdict
from exporter.adapters.web.pages import Pages
from exporter.adapters.web.read_now import ReadNow
from exporter.adapters.web.snapshot import Page, Snapshot
from exporter.adapters.web.status_reader import StatusReader
from exporter.core.accounting.history import History
from exporter.core.links import LinkOptions
from exporter.core.pages.update_feed import FoundUpdates, UpdateQuery

_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"

# Pages are made of their own style sheet, icon, script and a form that asks for a page: nothing foreign, and
# nothing that a text could bring with it.
_SAFETY = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# Pages repeat themselves: of one of 150 kB a tenth is left. Metrics come from elsewhere, packed already.
_PACKED = ("text/html", "text/css", "application/json")
_PACKED_FROM_BYTES = 1024
_PACK_LEVEL = 3

# Pages that are made at the same time; a browser asks for few, and more only wait for one another. Twice as
# many may wait: that takes a second or two, after which readers reload anyhow.
_PAGES = 8
_PAGES_WAITING = 16
# A reload is asked for by people and by what renews files; each reads the newest file when its turn comes.
_RELOADS_WAITING = 8
# Of `/-/poll`: each takes a millisecond, and a flood of them must not keep pages waiting.
_POLLS = 2

P = TypeVar("P", bound=Page)


class _Policy(NamedTuple):
    """What the web config file says, exchanged as one."""

    auth: BasicAuth
    headers: Mapping[str, str]


class _Limit(FairQueue):
    """How many answers of a kind are made at the same time, and how many more wait; one more is refused."""

    def __init__(self, most: int, kind: str, waiting: int = 0) -> None:
        super().__init__(most, most + waiting)
        self.refusal = f"{most} {kind} are under way already, try later"


class _Route(NamedTuple):
    """What answers by method; without `limit` it takes no time and needs no thread."""

    methods: Mapping[str, Callable[[Request], Response]]
    limit: _Limit | None = None


class WebApp(Generic[P]):
    """The application; one event loop asks it, and it works in that loop's default threads.

    Args:
        snapshot: what is shown at this moment.
        on_scraped: called with the page when a client has got the whole of it by GET; takes no time.
        render_self_metrics: the exporter's own metrics; True: OpenMetrics without `# EOF`.
        healthy: whether the poll loop lives, and the reason; takes no time.
        ready: whether there is something to show, and the reason; takes no time.
        reload: read the configuration again, and say whether that went well; None: not allowed.
        read_now: read a service of a project soon, or (None) its list; takes no time; None: not allowed.
        elsewhere: a sentence on where a service may be that is not known here; "" for nowhere.
        history: a service's last events and updates by project and id, None for none; raises `TimeoutError`.
        updates: a page of the settled updates of all services, or of these ids; raises `TimeoutError`.
        configuration: the configuration in force as text, without secrets.
        links: where links to others lead.
        clock: ms since the epoch.
        remedy: what can be done about an event's text; "" for nothing.
        version: of this program, for the pages.
        telemetry_path: where the metrics are.
        max_requests: scrapes that are made at the same time; one more is refused.

    """

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot[P]],
        on_scraped: Callable[[P], None],
        render_self_metrics: Callable[[bool], bytes],
        healthy: Callable[[], Verdict],
        ready: Callable[[], Verdict],
        reload: Callable[[], Verdict] | None,
        read_now: Callable[[str, str | None], None] | None = None,
        elsewhere: Callable[[str], str] = lambda _: "",
        history: Callable[[str, str], History | None],
        updates: Callable[[UpdateQuery, Collection[str] | None], FoundUpdates],
        configuration: Callable[[], str] = lambda: "",
        links: Callable[[], LinkOptions] = lambda: LinkOptions(""),
        clock: Callable[[], int],
        remedy: Callable[[str], str],
        version: str = "",
        telemetry_path: str = "/metrics",
        max_requests: int = 40,
    ) -> None:
        self._snapshot = snapshot
        self._on_scraped = on_scraped
        self._render_self_metrics = render_self_metrics
        self._reload = reload
        self.max_requests = max_requests
        self.most_at_once = max_requests + _PAGES + _POLLS
        self._policy = _Policy(BasicAuth({}, PasswordChecker()), {})
        known = StatusReader(snapshot, history, updates, clock, remedy, links)
        pages, api = Pages(known, version, telemetry_path, healthy, configuration), Api(known)
        unwell = HTTPStatus.SERVICE_UNAVAILABLE
        self._page_limit = _Limit(_PAGES, "pages", _PAGES_WAITING)
        # By path; HEAD goes where GET goes. A telemetry path of `/` takes the page's place.
        self._routes = {
            "/": _Route({"GET": pages.overview}, self._page_limit),
            "/style.css": _Route({"GET": pages.style}, self._page_limit),
            "/local.js": _Route({"GET": pages.script}),
            "/icon.svg": _Route({"GET": pages.icon}),
            "/config": _Route({"GET": pages.config}, self._page_limit),
            "/runbooks/": _Route({"GET": pages.runbooks}, self._page_limit),
            f"{API}/services": _Route({"GET": api.services}, self._page_limit),
            f"{API}/updates": _Route({"GET": api.updates}, self._page_limit),
            f"{API}/openapi.json": _Route({"GET": api.openapi}, self._page_limit),
            "/-/healthy": _Route({"GET": lambda _: verdict(healthy(), unwell)}),
            "/-/ready": _Route({"GET": lambda _: verdict(ready(), unwell)}),
            "/-/reload": _Route({"POST": self._reloaded}, _Limit(1, "reloads", _RELOADS_WAITING)),
            "/-/poll": _Route(
                {"POST": ReadNow(snapshot, read_now, elsewhere).answer}, _Limit(_POLLS, "requests to poll")
            ),
            telemetry_path: _Route({"GET": self._metrics}, _Limit(max_requests, "scrapes")),
        }
        # By folder: what answers for a name in it.
        self._below = {
            "/services/": pages.service,
            "/runbooks/": pages.runbook,
            "/docs/": pages.doc,
            f"{API}/services/": api.service,
        }

    def configure(self, users: Mapping[str, str], headers: Mapping[str, str]) -> None:
        """Let only these users in (bcrypt hash by name; none: everyone), and send these headers always."""
        self._policy = _Policy(BasicAuth(users, self._policy.auth.checker), headers)

    async def answer(self, request: Request) -> Response:
        """Answer one request."""
        policy = self._policy
        allowed = await policy.auth.allows(request.headers.get("authorization", ""), request.client)
        if allowed:
            response = await self._routed(request)
        elif allowed is None:
            sentence = "too many passwords are being checked, try later"
            response = error_response(request.path, HTTPStatus.SERVICE_UNAVAILABLE, sentence)
        else:
            challenge = {"WWW-Authenticate": 'Basic realm="modelarts-exporter", charset="UTF-8"'}
            response = error_response(request.path, HTTPStatus.UNAUTHORIZED, "sign in", challenge)
        return _completed(response, policy.headers)

    def refuse(self, path: str, status: HTTPStatus, sentence: str) -> Response:
        """The answer to a request that nobody answers."""
        return _completed(error_response(path, status, sentence), self._policy.headers)

    async def _routed(self, request: Request) -> Response:
        route = self._route(request.path)
        if route is None:
            return error_response(request.path, HTTPStatus.NOT_FOUND, "there is nothing here")
        handler = route.methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = ", ".join([*route.methods, *(["HEAD"] if "GET" in route.methods else [])])
            sentence, headers = f"allowed: {allowed}", {"Allow": allowed}
            return error_response(request.path, HTTPStatus.METHOD_NOT_ALLOWED, sentence, headers)
        if route.limit is None:
            return handler(request)
        async with route.limit.turn(request.client) as has_turn:
            if not has_turn:
                return error_response(request.path, HTTPStatus.SERVICE_UNAVAILABLE, route.limit.refusal)
            return await asyncio.to_thread(lambda: _packed(handler(request), request))

    def _route(self, path: str) -> _Route | None:
        folder, slash, name = path.rpartition("/")
        handler = self._below.get(unquote(folder) + slash)
        if handler is None or path in self._routes:
            return self._routes.get(unquote(path))
        return _Route({"GET": partial(_named, handler, unquote(name))}, self._page_limit)

    def _metrics(self, request: Request) -> Response:
        openmetrics = openmetrics_wanted(request.headers.get("accept", ""))
        packed = gzip_wanted(request.headers.get("accept-encoding", ""))
        page = self._snapshot().page
        body = page.body(openmetrics=openmetrics, gzip=packed, tail=self._render_self_metrics(openmetrics))
        headers = {"Vary": "Accept, Accept-Encoding"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        content_type = _OPENMETRICS if openmetrics else _TEXT
        return Response(HTTPStatus.OK, content_type, body, headers, partial(self._on_scraped, page))

    def _reloaded(self, request: Request) -> Response:
        del request  # nothing in it matters
        if self._reload is None:
            return error_response("", HTTPStatus.FORBIDDEN, "not enabled, see --web.enable-lifecycle")
        return verdict(self._reload(), HTTPStatus.INTERNAL_SERVER_ERROR)


def _completed(response: Response, configured: Mapping[str, str]) -> Response:
    """With the headers that every answer carries; a configured one stands in the place of ours."""
    theirs = {name.lower() for name in configured}
    ours = {
        name: value for name, value in {**_SAFETY, **response.headers}.items() if name.lower() not in theirs
    }
    return response._replace(headers={**ours, **configured})


def _packed(response: Response, request: Request) -> Response:
    """The same answer with its text packed, where that is worth it and the client takes it."""
    if not response.content_type.startswith(_PACKED) or sum(map(len, response.body)) < _PACKED_FROM_BYTES:
        return response
    headers = {**response.headers, "Vary": "Accept-Encoding"}
    if not gzip_wanted(request.headers.get("accept-encoding", "")):
        return response._replace(headers=headers)
    body = gzip.compress(b"".join(response.body), _PACK_LEVEL, mtime=0)
    return response._replace(body=[body], headers={**headers, "Content-Encoding": "gzip"})


def _named(handler: Callable[[Request, str], Response], name: str, request: Request) -> Response:
    return handler(request, name)
