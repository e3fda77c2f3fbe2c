"""The answers to HTTP requests, as a WSGI application that knows nothing of sockets."""

import gzip
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar

from exporter.adapters.web.accept import gzip_wanted, openmetrics_wanted
from exporter.adapters.web.api import Api
from exporter.adapters.web.auth import BasicAuth
from exporter.adapters.web.pages import Pages
from exporter.adapters.web.response import Environ, Response, Verdict, said, verdict
from exporter.adapters.web.snapshot import Page, Snapshot
from exporter.adapters.web.status_reader import StatusReader
from exporter.core.accounting.history import History

_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"

# Pages are made of their own style sheet, icon and a form that asks for a page: no script, nothing foreign.
_SAFETY = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# A page comes in thousands of small pieces. Fewer, larger writes take the interpreter's lock less often; much
# larger ones are copied over and over by the server while a slow client takes them in.
_WRITE_BYTES = 256 * 1024

# Pages repeat themselves: of one of 150 kB a tenth is left. Metrics come from elsewhere, packed already.
_PACKED = ("text/html", "text/css", "application/json")
_PACKED_FROM_BYTES = 1024
_PACK_LEVEL = 3

# By folder: what answers for a name in it.
_Below = dict[str, Callable[[Environ, str], Response]]


P = TypeVar("P", bound=Page)


class _Policy(NamedTuple):
    """What the web config file says, exchanged as one."""

    auth: BasicAuth
    headers: Mapping[str, str]


class WebApp(Generic[P]):
    """The application; any thread may call it.

    Args:
        snapshot: what is shown at this moment.
        on_scraped: called with the page when a client has got the whole of it by GET.
        render_self_metrics: the exporter's own metrics; True: OpenMetrics without `# EOF`.
        healthy: whether the poll loop lives, and the reason.
        ready: whether there is something to show, and the reason.
        reload: read the configuration again, and say whether that went well; None: not allowed.
        history: a service's last events and updates by project and id, None for none; raises `TimeoutError`.
        clock: ms since the epoch.
        remedy: what can be done about an event's text; "" for nothing.
        version: of this program, for the pages.
        telemetry_path: where the metrics are.
        max_requests: scrapes at the same time; one more is refused.

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
        history: Callable[[str, str], History | None],
        clock: Callable[[], int],
        remedy: Callable[[str], str],
        version: str = "",
        telemetry_path: str = "/metrics",
        max_requests: int = 40,
    ) -> None:
        self._snapshot = snapshot
        self._on_scraped = on_scraped
        self._render_self_metrics = render_self_metrics
        self._healthy = healthy
        self._ready = ready
        self._reload = reload
        self.max_requests = max_requests
        self._scrapes = threading.BoundedSemaphore(max_requests)
        self._policy = _Policy(BasicAuth({}), {})
        known = StatusReader(snapshot, history, clock, remedy)
        pages, api = Pages(known, version, telemetry_path, healthy), Api(known)
        # By path, then by method; HEAD goes where GET goes. A telemetry path of `/` takes the page's place.
        self._routes: dict[str, dict[str, Callable[[Environ], Response]]] = {
            "/": {"GET": pages.overview},
            "/style.css": {"GET": pages.style},
            "/icon.svg": {"GET": pages.icon},
            "/api/v1/services": {"GET": api.services},
            "/-/healthy": {"GET": lambda _: verdict(self._healthy(), HTTPStatus.SERVICE_UNAVAILABLE)},
            "/-/ready": {"GET": lambda _: verdict(self._ready(), HTTPStatus.SERVICE_UNAVAILABLE)},
            "/-/reload": {"POST": self._reloaded},
            telemetry_path: {"GET": self._metrics},
        }
        self._below: _Below = {"/services/": pages.service, "/api/v1/services/": api.service}

    def configure(self, users: Mapping[str, str], headers: Mapping[str, str]) -> None:
        """Let only these users in (bcrypt hash by name; none: everyone), and send these headers always."""
        self._policy = _Policy(BasicAuth(users), headers)

    def __call__(self, environ: Environ, start_response: Callable[..., object]) -> Iterable[bytes]:
        """Answer one request."""
        policy = self._policy
        response = _packed(self._answer(environ, policy.auth), environ)
        headers = {"Content-Type": response.content_type, **_SAFETY, **response.headers}
        own = {name.lower() for name in policy.headers}
        shown = [(name, value) for name, value in headers.items() if name.lower() not in own]
        length = sum(map(len, response.body))
        shown += [*policy.headers.items(), ("Content-Length", str(length))]
        sending = _Sending(() if environ["REQUEST_METHOD"] == "HEAD" else response.body, response.finish)
        try:
            start_response(f"{response.status.value} {response.status.phrase}", shown)
        except BaseException:
            sending.close()  # the server will not
            raise
        return sending

    def _answer(self, environ: Environ, auth: BasicAuth) -> Response:
        if not auth.allows(environ.get("HTTP_AUTHORIZATION", "")):
            challenge = {"WWW-Authenticate": 'Basic realm="modelarts-exporter", charset="UTF-8"'}
            return said(HTTPStatus.UNAUTHORIZED, "sign in", challenge)
        methods = self._methods(environ["PATH_INFO"])
        if methods is None:
            return said(HTTPStatus.NOT_FOUND, "there is nothing here")
        method = environ["REQUEST_METHOD"]
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
            return said(HTTPStatus.METHOD_NOT_ALLOWED, f"allowed: {allowed}", {"Allow": allowed})
        return handler(environ)

    def _methods(self, path: str) -> Mapping[str, Callable[[Environ], Response]] | None:
        folder, slash, name = path.rpartition("/")
        handler = self._below.get(folder + slash)
        if handler is None or path in self._routes:
            return self._routes.get(path)
        # WSGI hands the bytes over as characters, and the server leaves a quoted slash as it is.
        text = name.replace("%2F", "/").encode("latin-1").decode("utf-8", "replace")
        return {"GET": partial(_at, handler, text)}

    def _metrics(self, environ: Environ) -> Response:
        if not self._scrapes.acquire(blocking=False):
            return said(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self.max_requests} scrapes are under way already, try later",
            )
        try:
            openmetrics = openmetrics_wanted(environ.get("HTTP_ACCEPT", ""))
            packed = gzip_wanted(environ.get("HTTP_ACCEPT_ENCODING", ""))
            page = self._snapshot().page
            body = page.body(
                openmetrics=openmetrics, gzip=packed, tail=self._render_self_metrics(openmetrics)
            )
        except BaseException:
            self._scrapes.release()
            raise
        counts = environ["REQUEST_METHOD"] == "GET"

        def finish(whole: bool) -> None:
            self._scrapes.release()
            if whole and counts:
                self._on_scraped(page)

        headers = {"Vary": "Accept, Accept-Encoding"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        return Response(HTTPStatus.OK, _OPENMETRICS if openmetrics else _TEXT, body, headers, finish)

    def _reloaded(self, environ: Environ) -> Response:
        del environ  # nothing in it matters
        if self._reload is None:
            return said(HTTPStatus.FORBIDDEN, "not enabled, see --web.enable-lifecycle")
        return verdict(self._reload(), HTTPStatus.INTERNAL_SERVER_ERROR)


def _packed(response: Response, environ: Environ) -> Response:
    """The same answer with its text packed, where that is worth it and the client takes it."""
    if not response.content_type.startswith(_PACKED) or sum(map(len, response.body)) < _PACKED_FROM_BYTES:
        return response
    headers = {**response.headers, "Vary": "Accept-Encoding"}
    if not gzip_wanted(environ.get("HTTP_ACCEPT_ENCODING", "")):
        return response._replace(headers=headers)
    body = gzip.compress(b"".join(response.body), _PACK_LEVEL, mtime=0)
    return response._replace(body=[body], headers={**headers, "Content-Encoding": "gzip"})


class _Sending:
    """A body on its way, in large pieces; the server exhausts it, and closes it in any case."""

    def __init__(self, body: Iterable[bytes], finish: Callable[[bool], None]) -> None:
        self._body = body
        self._finish = finish
        self._whole = False

    def __iter__(self) -> Iterator[bytes]:
        pending, size = [], 0
        for piece in self._body:
            pending.append(piece)
            size += len(piece)
            if size >= _WRITE_BYTES:
                yield b"".join(pending)
                pending, size = [], 0
        if pending:
            yield b"".join(pending)
        self._whole = True  # the server has come back for more after the last piece, so it has sent it

    def close(self) -> None:
        self._finish(self._whole)


def _at(handler: Callable[[Environ, str], Response], name: str, environ: Environ) -> Response:
    return handler(environ, name)
