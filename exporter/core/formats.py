"""Instants and durations as readers see them."""

import re
from datetime import UTC, datetime

# RFC 3339, section 5.6: date, time and zone, all of them.
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
# Ten digits of seconds reach to the year 2286. More are milliseconds, which `date` does not print.
_SECONDS = re.compile(r"\d{1,10}(\.\d{1,9})?", re.ASCII)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def iso(instant: int) -> str:
    """An instant (ms) in UTC, to the second."""
    return datetime.fromtimestamp(instant // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_instant(text: str) -> int | None:
    """The instant (ms) that RFC 3339 or seconds since the epoch give; None if it is neither.

    Raises ValueError for a date that does not exist.
    """
    if _SECONDS.fullmatch(text):
        return round(float(text) * 1000)
    if not _RFC_3339.fullmatch(text):
        return None
    # A leap second is the last one of its minute.
    moment = datetime.fromisoformat(text.upper().replace(":60", ":59"))
    return round((moment - _EPOCH).total_seconds() * 1000)


def age_seconds(instant: int, now: int) -> float:
    """How long ago it was; what is dated in the future happens now. Both in ms."""
    return max(now - instant, 0) / 1000


def age(instant: int, now: int) -> str:
    """How long ago it was, coarsely: from a minute on seconds say nothing. Both in ms."""
    seconds = age_seconds(instant, now)
    return length(seconds if seconds < _MINUTE else seconds // _MINUTE * _MINUTE)


def length(seconds: float) -> str:
    """A duration in its two largest units."""
    if 0 < seconds < 1:
        return "under 1 s"
    whole = int(seconds)
    for unit, name, part, part_name in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name} {rest} {part_name}" if rest else f"{whole // unit} {name}"
    return f"{whole} s"
