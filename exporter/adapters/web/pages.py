"""The pages for people: templates filled with what is known, which are complete without any script."""

from collections.abc import Callable
from http import HTTPStatus
from importlib.resources import files
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from exporter.adapters.web.documents import DOCS, RUNBOOKS, document, names
from exporter.adapters.web.message import Request, Response, Verdict
from exporter.adapters.web.status_reader import MissingService, StatusReader
from exporter.core.classifier.step_rules import PHASES
from exporter.core.formats import age, iso, length
from exporter.core.pages.display import USUAL_REFRESH, Display, parse_display
from exporter.core.pages.filters import LONGEST_SEARCH, BadQueryError, ServiceFilter
from exporter.core.pages.service_health import STATES
from exporter.core.polling.progress import told
from exporter.core.scrub import printable

_HTML = "text/html; charset=utf-8"
# A page is of one moment, and may hold what only a signed-in reader is to see.
_HEADERS = {"Cache-Control": "no-store"}
_USUAL = Display()
# Five times six of them are readable on a monitor of 1920 by 1080.
_WALL_TILES = 30


class Pages:
    """Renders the pages.

    Args:
        known: where all of it is from.
        version: of this program.
        telemetry_path: where the metrics are.
        healthy: whether the poll loop lives, and the reason.
        configuration: the configuration in force as text, without secrets.

    """

    def __init__(
        self,
        known: StatusReader,
        version: str,
        telemetry_path: str,
        healthy: Callable[[], Verdict],
        configuration: Callable[[], str],
    ) -> None:
        self._known = known
        self._configuration = configuration
        self._healthy = healthy
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("exporter.adapters.web", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_shown,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals.update(
            version=version,
            telemetry_path=telemetry_path.removeprefix("/"),
            states=STATES,
            labels={state.name: state for state in STATES},
            phase_names=PHASES,
            longest_search=LONGEST_SEARCH,
            everything=ServiceFilter(),
            usual_refresh=USUAL_REFRESH,
            address=_address,
            list=_USUAL,
            wall_tiles=_WALL_TILES,
        )
        self._templates.filters.update(
            iso=iso,
            age=age,
            lasting=length,
            commas="{:,}".format,
            told=told,
            segment=lambda text: quote(text, safe="", errors="replace"),
            link=lambda wanted, display: _address(display, wanted.query()),
            counted=lambda number, noun: f"{number:,} {noun}{'' if number == 1 else 's'}",
            words=lambda name: name.replace("_", " "),
            # The metrics' word for it says nothing to who does not know the others.
            cause=lambda reason: "unknown cause" if reason == "other" else reason.replace("_", " "),
        )
        beside = files("exporter.adapters.web") / "templates"
        self._style_sheet = (beside / "style.css").read_bytes()
        self._script = (beside / "local.js").read_bytes()
        self._icon = (beside / "icon.svg").read_bytes()

    def overview(self, request: Request) -> Response:
        """The fleet, worst first."""
        try:
            display = parse_display(request.query)
            page, now = self._known.overview(request.query)
        except BadQueryError as error:
            return self._refused("", error)
        template = "wall.html" if display.wall else "overview.html"
        return self._render(template, root="", now=now, page=page, display=display)

    def service(self, request: Request, service_id: str) -> Response:
        """One service; 404 for one that is not known."""
        try:
            display = parse_display(request.query)
            page, now = self._known.service(service_id, request.query)
        except BadQueryError as error:
            return self._refused("../", error)
        if isinstance(page, MissingService):
            about = {"service_id": service_id, "projects": page.projects}
            return self._render("missing.html", HTTPStatus.NOT_FOUND, root="../", display=display, **about)
        runbooks = self._known.links().runbooks_url or "../runbooks"
        return self._render(
            "service.html", root="../", now=now, page=page, display=display, runbooks=runbooks
        )

    def config(self, request: Request) -> Response:
        """The configuration in force."""
        del request
        return self._render("config.html", root="", lines=self._configuration().splitlines())

    def runbooks(self, request: Request) -> Response:
        """Every runbook, and the other pages of the documentation."""
        del request
        runbooks = [document(RUNBOOKS, name) for name in names(RUNBOOKS)]
        return self._render("runbooks.html", root="../", runbooks=runbooks, docs=names(DOCS))

    def runbook(self, request: Request, name: str) -> Response:
        """The runbook of an alert; 404 if there is none."""
        del request
        return self._document(RUNBOOKS, name)

    def doc(self, request: Request, name: str) -> Response:
        """A page of the documentation, which runbooks link to; 404 if there is none."""
        del request
        return self._document(DOCS, name)

    def style(self, request: Request) -> Response:
        """The one style sheet."""
        del request
        return Response(HTTPStatus.OK, "text/css; charset=utf-8", [self._style_sheet])

    def script(self, request: Request) -> Response:
        """The one script, which adds the local time."""
        del request
        return Response(HTTPStatus.OK, "text/javascript; charset=utf-8", [self._script])

    def icon(self, request: Request) -> Response:
        """What marks the pages among a browser's tabs."""
        del request
        return Response(HTTPStatus.OK, "image/svg+xml", [self._icon])

    def _document(self, folder: str, name: str) -> Response:
        if name not in names(folder):
            return self._render("no_document.html", HTTPStatus.NOT_FOUND, root="../", name=name)
        return self._render("document.html", root="../", page=document(folder, name))

    def _refused(self, root: str, error: BadQueryError) -> Response:
        return self._render("refused.html", HTTPStatus.BAD_REQUEST, root=root, error=str(error))

    def _render(
        self,
        template: str,
        status: HTTPStatus = HTTPStatus.OK,
        display: Display = _USUAL,
        **values: object,
    ) -> Response:
        polls, reason = self._healthy()
        text = self._templates.get_template(template).render(
            halted="" if polls else reason, display=display, **values
        )
        # The browser asks for the same address again; it needs no script for that.
        renewed = {"Refresh": str(display.refresh)} if display.refresh else {}
        return Response(status, _HTML, [text.encode("utf-8", "replace")], {**_HEADERS, **renewed})


def _address(display: Display, *queries: str) -> str:
    """The same page, shown in this way, with these query strings; "./" without any."""
    joined = "&".join(query for query in (*queries, display.query()) if query)
    return f"?{joined}" if joined else "./"


def _shown(value: object) -> object:
    """What a template prints: names from outside may hold controls, and what turns the text around."""
    # Markup is a page's own, and what went into it was printed before.
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
