"""A time in the past, as a command line gives it."""

from typing import NamedTuple

from exporter.config import parse_duration
from exporter.core.formats import parse_instant


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
    try:
        at = parse_instant(text)
        return Since(back=parse_duration(text)) if at is None else Since(at)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: give 2026-01-31T12:00:00Z, seconds since the epoch, "
            f"or a duration back such as 10m"
        ) from None
