"""The answers to HTTP requests, as a WSGI application that knows nothing of sockets."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import jinja2

from exporter.adapters.web_accept import gzip_wanted, openmetrics_wanted
from exporter.adapters.web_auth import BasicAuth

_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_PLAIN = "text/plain; charset=utf-8"

# Pages are made of their own style sheet and nothing else: no script, no frame, no form, nothing foreign.
_SAFETY = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# A page comes in thousands of small pieces. Fewer, larger writes take the interpreter's lock less often; much
# larger ones are copied over and over by the server while a slow client takes them in.
_WRITE_BYTES = 256 * 1024

Environ = dict[str, Any]
Verdict = tuple[bool, str]  # whether it is well, and the reason


class Page(Protocol):
    """One moment's metrics."""

    def body(self, *, openmetrics: bool, gzip: bool, tail: bytes) -> list[bytes]:
        """The whole answer, with our own metrics at its end."""


P = TypeVar("P", bound=Page)


class ProjectLine(NamedTuple):
    """One line of the landing page."""

    name: str
    up: bool
    services: int
    age: str  # of the data, for a reader


class Response(NamedTuple):
    """An answer; `finish` is called once, with whether the client was handed all of it."""

    status: HTTPStatus
    content_type: str
    body: Sequence[bytes]
    headers: Mapping[str, str] = {}
    finish: Callable[[bool], None] = lambda whole: None  # noqa: ARG005


class _Policy(NamedTuple):
    """What the web config file says, exchanged as one."""

    auth: BasicAuth
    headers: Mapping[str, str]


class App(Generic[P]):
    """The application; any thread may call it.

    Args:
        page: the metrics at this moment.
        on_scraped: called with the page when a client has got the whole of it by GET.
        telemetry_render: our own metrics, in OpenMetrics (without `# EOF`) if True, else in the text format.
        healthy: whether the poll loop lives, and the reason.
        ready: whether there is something to show, and the reason.
        reload: read the configuration again, and say whether that went well; None: not allowed.
        overview: the projects, for the landing page.
        version: of this program, for the landing page.
        telemetry_path: where the metrics are.
        max_requests: scrapes at the same time; one more is refused.

    """

    def __init__(
        self,
        *,
        page: Callable[[], P],
        on_scraped: Callable[[P], None],
        telemetry_render: Callable[[bool], bytes],
        healthy: Callable[[], Verdict],
        ready: Callable[[], Verdict],
        reload: Callable[[], Verdict] | None,
        overview: Callable[[], Sequence[ProjectLine]],
        version: str = "",
        telemetry_path: str = "/metrics",
        max_requests: int = 40,
    ) -> None:
        self._page = page
        self._on_scraped = on_scraped
        self._telemetry_render = telemetry_render
        self._healthy = healthy
        self._ready = ready
        self._reload = reload
        self._overview = overview
        self._version = version
        self._telemetry_path = telemetry_path
        self.max_requests = max_requests
        self._scrapes = threading.BoundedSemaphore(max_requests)
        self._policy = _Policy(BasicAuth({}), {})
        self._pages = jinja2.Environment(
            loader=jinja2.PackageLoader("exporter.adapters", "pages"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
        )
        self._style_sheet = (files("exporter.adapters") / "pages" / "style.css").read_bytes()
        # By path, then by method; HEAD goes where GET goes. A telemetry path of `/` takes the page's place.
        self._routes: dict[str, dict[str, Callable[[Environ], Response]]] = {
            "/": {"GET": self._landing},
            "/style.css": {"GET": self._style},
            "/-/healthy": {"GET": lambda _: _verdict(self._healthy(), HTTPStatus.SERVICE_UNAVAILABLE)},
            "/-/ready": {"GET": lambda _: _verdict(self._ready(), HTTPStatus.SERVICE_UNAVAILABLE)},
            "/-/reload": {"POST": self._reloaded},
            telemetry_path: {"GET": self._metrics},
        }

    def configure(self, users: Mapping[str, str], headers: Mapping[str, str]) -> None:
        """Let only these users in (bcrypt hash by name; none: everyone), and send these headers always."""
        self._policy = _Policy(BasicAuth(users), headers)

    def __call__(self, environ: Environ, start_response: Callable[..., object]) -> Iterable[bytes]:
        """Answer one request."""
        policy = self._policy
        response = self._answer(environ, policy.auth)
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
            return _said(HTTPStatus.UNAUTHORIZED, "sign in", challenge)
        methods = self._routes.get(environ["PATH_INFO"])
        if methods is None:
            return _said(HTTPStatus.NOT_FOUND, "there is nothing here")
        method = environ["REQUEST_METHOD"]
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join([*methods, *(["HEAD"] if "GET" in methods else [])])
            return _said(HTTPStatus.METHOD_NOT_ALLOWED, f"allowed: {allowed}", {"Allow": allowed})
        return handler(environ)

    def _metrics(self, environ: Environ) -> Response:
        if not self._scrapes.acquire(blocking=False):
            return _said(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self.max_requests} scrapes are under way already, try later",
            )
        try:
            openmetrics = openmetrics_wanted(environ.get("HTTP_ACCEPT", ""))
            gzip = gzip_wanted(environ.get("HTTP_ACCEPT_ENCODING", ""))
            page = self._page()
            body = page.body(openmetrics=openmetrics, gzip=gzip, tail=self._telemetry_render(openmetrics))
        except BaseException:
            self._scrapes.release()
            raise
        counts = environ["REQUEST_METHOD"] == "GET"

        def finish(whole: bool) -> None:
            self._scrapes.release()
            if whole and counts:
                self._on_scraped(page)

        headers = {"Vary": "Accept, Accept-Encoding"}
        if gzip:
            headers["Content-Encoding"] = "gzip"
        return Response(HTTPStatus.OK, _OPENMETRICS if openmetrics else _TEXT, body, headers, finish)

    def _reloaded(self, environ: Environ) -> Response:
        del environ  # nothing in it matters
        if self._reload is None:
            return _said(HTTPStatus.FORBIDDEN, "not enabled, see --web.enable-lifecycle")
        return _verdict(self._reload(), HTTPStatus.INTERNAL_SERVER_ERROR)

    def _landing(self, environ: Environ) -> Response:
        del environ
        # Links are relative, so the page works behind a proxy that serves it below a path.
        text = self._pages.get_template("landing.html").render(
            version=self._version,
            projects=self._overview(),
            telemetry_path=self._telemetry_path.removeprefix("/"),
        )
        return Response(HTTPStatus.OK, "text/html; charset=utf-8", [text.encode("utf-8", "replace")])

    def _style(self, environ: Environ) -> Response:
        del environ
        return Response(HTTPStatus.OK, "text/css; charset=utf-8", [self._style_sheet])


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


def _said(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, _PLAIN, [f"{text}\n".encode("utf-8", "replace")], headers or {})


def _verdict(verdict: Verdict, otherwise: HTTPStatus) -> Response:
    well, reason = verdict
    return _said(HTTPStatus.OK if well else otherwise, reason)
