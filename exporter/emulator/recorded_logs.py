"""What a cloud knew, out of what it answered: lists and logs put together from recorded pages and windows.

The exporter asks for parts: a page, the events since a time, one entry of an update log. A replay is asked
for other parts than were recorded, so each answer is taken as a statement about the whole:

    a list        a page replaces the page of the same offset; pages that add up to their total are the list
    an event log  a window replaces the events inside of it; at its two ends, which may belong to it or not,
                  what was known before stays too
    an update log a whole log replaces all; one for a single `update_time` replaces the entries of that time
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Later than every time of the API, which has 13 digits.
_NEVER = 10**13

Row = Any
Query = Mapping[str, str]

# Of each kind of answer: where its rows are.
ROWS_KEY = {"list": "services", "logs": "logs", "events": "events"}
TIME_KEY = {"logs": "update_time", "events": "occur_time"}


class RecordedList:
    """The services of one workspace."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._pages: dict[int, Sequence[Row]] = {}

    def add(self, query: Query, rows: Sequence[Row], total: int | None) -> bool:
        """Take over an answer. Returns whether the list is whole now."""
        if total != self._total or total is None:
            self._pages = {}
        self._total = total
        self._pages[number_of(query.get("offset")) or 0] = rows
        return total is None or len(self.rows()) >= total

    def rows(self) -> list[Row]:
        """Each service once, and the malformed rows."""
        found: dict[str, Row] = {}
        for _, page in sorted(self._pages.items()):
            for row in page:
                known = isinstance(row, dict) and isinstance(row.get("service_id"), str | int)
                found[f"id {row['service_id']}" if known else f"row {len(found)}"] = row
        return list(found.values())


class RecordedUpdates:
    """The update log of one service, in the order in which the cloud shows it."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def add(self, query: Query, rows: Sequence[Row], total: int | None) -> bool:  # noqa: ARG002 - it has none
        """Take over an answer. Returns whether the log is whole now."""
        wanted = number_of(query.get("update_time"))
        # A cloud may ignore the filter, and answer with the whole log.
        if wanted is None or any(_time(row, "logs") != wanted for row in rows):
            self._rows = list(rows)
            return True
        places = [place for place, row in enumerate(self._rows) if _time(row, "logs") == wanted]
        others = [row for row in self._rows if _time(row, "logs") != wanted]
        place = places[0] if places else self._place_of(wanted)
        self._rows = [*others[:place], *rows, *others[place:]]
        return True

    def _place_of(self, wanted: int) -> int:
        times = [_time(row, "logs") for row in self._rows]
        ascending = times[0] <= times[-1] if times else True
        return sum(time < wanted if ascending else time > wanted for time in times)

    def rows(self) -> list[Row]:
        """All entries."""
        return list(self._rows)


class RecordedEvents:
    """The event log of one service."""

    def __init__(self) -> None:
        self._events: dict[int, Counter[str]] = {}  # by time: the rows as JSON, with how often each is there
        self._paged: dict[int, Counter[str]] = {}  # by offset: a window that was read page by page
        self._paged_query: dict[str, str] = {}

    def add(self, query: Query, rows: Sequence[Row], total: int | None) -> bool:
        """Take over an answer. Returns whether its window is whole now."""
        window = {key: value for key, value in query.items() if key != "offset"}
        if window != self._paged_query or "offset" not in query:
            self._paged, self._paged_query = {}, window
        self._paged[number_of(query.get("offset")) or 0] = Counter(_json(row) for row in rows)
        start, end = number_of(query.get("start_time")), number_of(query.get("end_time"))
        start, end = -1 if start is None else start, _NEVER if end is None else end
        if "offset" in query:
            seen = sum(self._paged.values(), Counter[str]())
            self._replace(seen.elements(), 0, 0)
            return total is None or seen.total() >= total
        times = [_time(row, "events") for row in rows]
        limit = number_of(query.get("limit"))
        whole = limit is None or len(rows) < limit if total is None else len(rows) >= total
        if not whole and times and times == sorted(times):
            end = times[-1]  # up to here it is whole
        elif not whole:
            start = end = 0
        self._replace(map(_json, rows), start, end)
        return whole

    def _replace(self, rows: Iterator[str], start: int, end: int) -> None:
        """Between the two nothing else happened; at either of them, and elsewhere, at least this."""
        shown: dict[int, Counter[str]] = {}
        for row in rows:
            shown.setdefault(_time(json.loads(row), "events"), Counter())[row] += 1
        for time in [time for time in self._events if start < time < end]:
            del self._events[time]
        for time, events in shown.items():
            self._events[time] = self._events.get(time, Counter()) | events

    def rows(self) -> list[Row]:
        """All events, the oldest first."""
        ordered = [row for _, events in sorted(self._events.items()) for row in events.elements()]
        return [json.loads(row) for row in ordered]


def understood(endpoint: str, body: Any) -> tuple[Sequence[Row], int | None] | None:
    """The rows of an answer and its total; None if it is not what the API documents."""
    if not isinstance(body, dict):
        return None
    rows = body.get(ROWS_KEY[endpoint])
    total = body.get("total_count")
    if rows is None and ("service_id" in body or total is not None):
        rows = []  # an empty array is left out, or null
    if not isinstance(rows, list) or (total is not None and number_of(total) is None):
        return None
    if endpoint in TIME_KEY and any(_time(row, endpoint) < 0 for row in rows):
        return None
    return rows, number_of(total)


def number_of(value: Any) -> int | None:
    """A whole number, also one that is spelled as a string."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _time(row: Row, endpoint: str) -> int:
    found = number_of(row.get(TIME_KEY[endpoint])) if isinstance(row, dict) else None
    return -1 if found is None else found


def _json(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


def time_of_event(row: Row) -> int:
    """When it happened, in ms."""
    return _time(row, "events")


def time_of_update(row: Row) -> int:
    """Its `update_time` in ms."""
    return _time(row, "logs")
