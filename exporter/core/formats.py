"""Instants and durations as readers see them."""

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def iso(instant: int) -> str:
    """An instant (ms) in UTC, to the second."""
    return datetime.fromtimestamp(instant // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
