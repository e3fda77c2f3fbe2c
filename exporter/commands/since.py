"""A time in the past, as a command line gives it."""

import re
from datetime import datetime
from typing import NamedTuple

from exporter.config import parse_duration

# RFC 3339, section 5.6: date, time and zone, all of them.
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
# Ten digits of seconds reach to the year 2286. More are milliseconds, which `date` does not print.
_SECONDS = re.compile(r"\d{1,10}(\.\d{1,9})?", re.ASCII)


class Since(NamedTuple):
    """Either an instant (`at`, ms since the epoch), or so many ms before the command started (`back`)."""

    at: int | None = None
    back: int = 0

    def on_clock(self, started: int, ahead: int) -> int:
        """The instant on the cloud's clock (ms), which is `ahead` ms ahead of ours; `started` on ours."""
        return started + ahead - self.back if self.at is None else self.at


# A pipeline deploys, and then starts this command.
JUST_NOW = Since(back=60_000)


def parse_since(text: str) -> Since:
    """An instant of RFC 3339, seconds since the epoch, or a duration back. Raises ValueError."""
    if _SECONDS.fullmatch(text):
        return Since(round(float(text) * 1000))
    try:
        if not _RFC_3339.fullmatch(text):
            return Since(back=parse_duration(text))
        # A leap second is the last one of its minute.
        return Since(round(datetime.fromisoformat(text.upper().replace(":60", ":59")).timestamp() * 1000))
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: give 2026-01-31T12:00:00Z, seconds since the epoch, "
            f"or a duration back such as 10m"
        ) from None
