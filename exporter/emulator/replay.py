"""Answers requests with what was recorded, at the recording's own pace or faster.

At each moment of the recording a request gets what the cloud had last said by then about the same service,
or about the list. Before the first answer about something it gets the first one, and at the end the last
answers stay.
"""

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl

from exporter.emulator import api, gateway, iam
from exporter.emulator.http_messages import JSON_TYPE, RefusedError, Request, Response, json_response
from exporter.emulator.recorded_logs import (
    ROWS_KEY,
    RecordedEvents,
    RecordedList,
    RecordedUpdates,
    Row,
    number_of,
    time_of_event,
    time_of_update,
    understood,
)
from exporter.emulator.recording import RecordedAnswer, Recording
from exporter.emulator.server import http_date
from exporter.emulator.switches import HOUR_MS, Switches

# What a whole list or log is made of, by endpoint.
_BUILDERS = {"list": RecordedList, "logs": RecordedUpdates, "events": RecordedEvents}
# The parts of a query that a replay can follow itself.
_FOLLOWED = {"workspace_id", "sort_by", "order", "limit", "offset", "start_time", "end_time", "update_time"}
# Whether `offset` counts pages is not in a recording; this is how the documents have it.
_SWITCHES = Switches()
_DEFAULT_WORKSPACE = "0"

_Exact = tuple[str, str, str | None, str, tuple[tuple[str, str], ...]]
_Subject = tuple[str, str, str | None]  # project, endpoint, service or workspace


@dataclass(frozen=True)
class _Shown:
    """What is answered from `answer.at` on; `rows` None: the answer as it is."""

    answer: RecordedAnswer
    rows: list[Row] | None = None


class _Timeline:
    """What is answered about one thing, over time."""

    def __init__(self) -> None:
        self.shown: list[_Shown] = []

    def at(self, moment: int) -> _Shown:
        """What was last said by then, or what was said first."""
        place = bisect_right(self.shown, moment, key=lambda shown: shown.answer.at)
        return self.shown[max(place - 1, 0)]


class Replay:
    """Replays a recording from now on. Threads may share it.

    Args:
        recording: has at least one answer.
        clock: ms since the epoch.
        speed: how many times as fast as it was recorded.

    """

    def __init__(self, recording: Recording, clock: Callable[[], int], speed: float = 1.0) -> None:
        self._clock, self._speed = clock, speed
        self._began = clock()
        self._first, self._last = recording.answers[0].at, recording.answers[-1].at
        self._exact: defaultdict[_Exact, _Timeline] = defaultdict(_Timeline)
        self._whole: defaultdict[_Subject, _Timeline] = defaultdict(_Timeline)
        # What is known of whether a service exists: an error says nothing about that.
        self._details: defaultdict[tuple[str, str | None], _Timeline] = defaultdict(_Timeline)
        good: Counter[str] = Counter()
        builders: dict[_Subject, Any] = {}
        unfinished: dict[_Subject, RecordedAnswer] = {}
        for answer in recording.answers:
            route = gateway.route_of(Request(answer.method, answer.path, "", {}))
            good[route.project_id] += answer.status == 200
            self._exact[_exact(route, answer.method, answer.path, answer.query)].shown.append(_Shown(answer))
            if route.endpoint == "detail" and answer.status in (200, 404):
                self._details[route.project_id, route.service_id].shown.append(_Shown(answer))
            if (
                route.endpoint not in _BUILDERS
                or answer.status == 400
                or not answer.query.keys() <= _FOLLOWED
            ):
                continue
            subject = _subject(route, answer.query)
            read = understood(route.endpoint, answer.body) if answer.status == 200 else None
            if read is None:
                self._whole[subject].shown.append(_Shown(answer))
                continue
            builder = builders.setdefault(subject, _BUILDERS[route.endpoint]())
            if builder.add(answer.query, *read):
                self._whole[subject].shown.append(_Shown(answer, builder.rows()))
                unfinished.pop(subject, None)
            else:
                unfinished[subject] = answer
        for subject, answer in unfinished.items():
            if subject not in self._whole:  # a part is better than nothing
                self._whole[subject].shown.append(_Shown(answer, builders[subject].rows()))
        self.projects = [project for project, _ in good.most_common() if project]
        self.workspaces = sorted({part or "" for _, endpoint, part in self._whole if endpoint == "list"})

    def now(self) -> int:
        """The moment of the recording, in ms since the epoch. After its end, time runs as it does here."""
        passed = self._clock() - self._began
        length = self._last - self._first
        if passed * self._speed < length:
            return self._first + int(passed * self._speed)
        return self._last + int(passed - length / self._speed)

    def handle(self, request: Request) -> Response:
        """The response to one request; its credential is not looked at."""
        route = gateway.route_of(request)
        if route.endpoint == "token":
            return self._sign_in(request)
        if route.endpoint == "version":
            return iam.version_document(request)
        if route.project_id not in self.projects and self.projects:
            route = route._replace(project_id=self.projects[0])
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        try:
            return self._answer(route, request, query) or _not_recorded(request)
        except RefusedError as error:
            return error.response

    def _answer(self, route: gateway.Route, request: Request, query: dict[str, str]) -> Response | None:
        now = self.now()
        exact = self._exact.get(_exact(route, request.method, request.path, query))
        shown = None if exact is None else exact.at(now)
        # A 400 is about the query: about a limit that is too large, for example.
        if shown is not None and (route.endpoint not in _BUILDERS or shown.answer.status == 400):
            return _response(shown.answer, shown.answer.body, now)
        if route.endpoint not in _BUILDERS:
            return None
        timeline = self._whole.get(_subject(route, query))
        if timeline is None:
            return self._list_of_details(route, query, now) if route.endpoint == "list" else None
        found = timeline.at(now)
        if found.rows is None:
            return _response(found.answer, found.answer.body, now)
        return _response(found.answer, _page(route.endpoint, found.answer.body, found.rows, query), now)

    def _list_of_details(self, route: gateway.Route, query: dict[str, str], now: int) -> Response | None:
        """The list of any workspace, where only details were recorded."""
        if any(subject[:2] == (route.project_id, "list") for subject in self._whole):
            return None
        timelines = [
            found for (project_id, _), found in self._details.items() if project_id == route.project_id
        ]
        if not timelines:
            return None
        shown = [timeline.at(now).answer for timeline in timelines]
        rows = [answer.body for answer in shown if answer.status == 200 and isinstance(answer.body, dict)]
        body = {"total_count": 0, "count": 0, "services": []}
        return _response(shown[0], _page("list", body, rows, query), now)

    def _sign_in(self, request: Request) -> Response:
        """A token for whoever asks: of today, since nobody has recorded one."""
        try:
            project = json.loads(request.body)["auth"]["scope"]["project"]
            project_id = project.get("id") or self.projects[0]
        except (ValueError, LookupError, TypeError, AttributeError):
            project_id = self.projects[0] if self.projects else ""
        now = self._clock()
        token = {
            "methods": ["password"],
            "issued_at": _iso(now),
            "expires_at": _iso(now + 24 * HOUR_MS),
            "project": {"id": project_id, "name": project_id},
        }
        return json_response({"token": token}, 201, **{"X-Subject-Token": "replayed"})


def _subject(route: gateway.Route, query: Mapping[str, str]) -> _Subject:
    part = query.get("workspace_id", _DEFAULT_WORKSPACE) if route.endpoint == "list" else route.service_id
    return route.project_id, route.endpoint, part


def _exact(route: gateway.Route, method: str, path: str, query: Mapping[str, str]) -> _Exact:
    known = route.endpoint != "unknown"
    return (
        route.project_id,
        route.endpoint,
        route.service_id,
        "" if known else f"{method} {path}",
        tuple(sorted(query.items())),
    )


def _page(endpoint: str, body: Mapping[str, Any], rows: list[Row], query: dict[str, str]) -> dict[str, Any]:
    """The part of the rows that the query asks for, in a body like this one."""
    match endpoint:
        case "logs":
            wanted = number_of(query.get("update_time"))
            shown = [row for row in rows if wanted is None or time_of_update(row) == wanted]
            return _with_rows(body, "logs", shown)
        case "events":
            rows = [row for row in rows if api.is_in_window(time_of_event(row), query, _SWITCHES)]
            if query.get("order", "desc") == "desc":
                rows.reverse()
        case _:
            services = [row for row in rows if isinstance(row, dict)]
            api.sort_services(services, query)
            rows = services + [row for row in rows if not isinstance(row, dict)]
    shown = api.page(rows, query, _SWITCHES)
    counted = {"total_count": len(rows), "count": len(shown)}
    # As the cloud spells its numbers; one that it does not send is not made up.
    numbers = {
        key: str(number) if isinstance(body.get(key), str) else number
        for key, number in counted.items()
        if body.get(key) is not None
    }
    return {**_with_rows(body, ROWS_KEY[endpoint], shown), **numbers}


def _with_rows(body: Mapping[str, Any], key: str, rows: list[Row]) -> dict[str, Any]:
    if not rows and not body.get(key):
        return dict(body)  # null, or left out
    return {**body, key: rows}


def _response(answer: RecordedAnswer, body: Any, now: int) -> Response:
    content = body if isinstance(body, str) else json.dumps(body)
    headers = {name: text for name, text in answer.headers.items() if name in ("Date", "Retry-After")}
    if "Date" in headers:
        # The cloud's clock goes on from this answer, as far ahead of the recorder's as it was then.
        try:
            told = parsedate_to_datetime(headers["Date"]).timestamp()
            headers["Date"] = http_date(told + max(now - answer.at, 0) / 1000)
        except (ValueError, OverflowError):
            del headers["Date"]
    return Response(
        answer.status,
        content.encode("utf-8", "replace"),
        headers,
        answer.headers.get("Content-Type", JSON_TYPE),
    )


def _not_recorded(request: Request) -> Response:
    asked = f"{request.method} {request.path}"
    return json_response({"error_msg": f"The recording has no answer to {asked}."}, 404)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
