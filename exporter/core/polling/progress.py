"""How far a long piece of work is, and about how long the rest will take.

Pure; times are ms since the epoch.

The estimate goes by what was done in the last minutes, not since the begin and not by the rate that is
configured: after a 429 the cloud is asked less often, and some services have longer logs than others. While
nothing is done, such as during the pause after a 429, the estimate grows with each second.

There is no estimate before `_ENOUGH_PIECES` were done in `_ENOUGH_MS`. The first requests are those that the
rate limit has saved up; what one second lets through is no more than a tenth of what ten seconds do. And one
service with a long log takes as long as many others; of ten pieces one makes no great difference.
"""

from math import ceil
from typing import NamedTuple

from exporter.core.formats import length

_ENOUGH_MS = 10_000
_ENOUGH_PIECES = 10

# The pace is that of the last minute at least, and usually of up to two. The pause after a 429 is a minute at
# most where the cloud names no time; who looks back for less sees nothing but the pause, or nothing of it.
_LOOK_BACK_MS = 60_000

# An estimate is rounded up to a step: up to so many seconds by so many. A guess is no more exact than that.
_STEPS = ((60, 10), (300, 30), (1800, 120), (7200, 600), (12 * 3600, 1800))
_LARGEST_STEP = 3 * 3600

# In the log: after ten seconds, then each time that it has lasted twice as long, at least every five minutes.
_FIRST_LINE_MS = 10_000
_LONGEST_SILENCE_MS = 300_000


class _PaceMark(NamedTuple):
    """How much was done at an instant."""

    at: int
    done: int


class Progress(NamedTuple):
    """Work that began at `begun`, and of which so much was done at `at`.

    `done` counts pieces that were tried, also in vain: it is `total` in the end. `failed` are those in vain.
    """

    begun: int
    at: int
    total: int
    done: int
    failed: int
    earlier: _PaceMark  # the pace is measured from here
    later: _PaceMark  # the next one of these

    @property
    def finished(self) -> bool:
        """Whether every piece was tried."""
        return self.done >= self.total

    @property
    def seconds(self) -> float:
        """How long it has lasted, or did."""
        return max(self.at - self.begun, 0) / 1000


def begin(now: int, total: int, done: int = 0, failed: int = 0) -> Progress:
    """Work of `total` pieces, of which some may be done already."""
    mark = _PaceMark(now, done)
    return Progress(now, now, total, done, failed, mark, mark)


def advanced(progress: Progress, now: int, total: int, done: int, failed: int) -> Progress:
    """The same work, at `now`."""
    earlier, later = progress.earlier, progress.later
    if now < later.at:  # the clock was set back
        earlier = later = _PaceMark(now, done)
    elif now - later.at >= _LOOK_BACK_MS and done - later.done >= _ENOUGH_PIECES:
        earlier, later = later, _PaceMark(now, done)
    return Progress(progress.begun, now, total, done, failed, earlier, later)


def seconds_left(progress: Progress, now: int) -> int | None:
    """About how much longer it takes, rounded; None if that cannot be told yet, see the module."""
    passed, done = now - progress.earlier.at, progress.done - progress.earlier.done
    if progress.finished or passed < _ENOUGH_MS or done < _ENOUGH_PIECES:
        return None
    left = passed / 1000 / done * (progress.total - progress.done)
    step = next((step for up_to, step in _STEPS if left <= up_to), _LARGEST_STEP)
    return max(ceil(left / step), 1) * step


def told(progress: Progress, now: int, what: str = "services read") -> str:
    """In words, such as "1,240 of 10,000 services read (3 could not be), about 6 min left"."""
    failed = f" ({progress.failed:,} could not be)" if progress.failed else ""
    left = seconds_left(progress, now)
    estimate = "" if left is None else f", about {length(left)} left"
    return f"{progress.done:,} of {progress.total:,} {what}{failed}{estimate}"


def is_worth_a_line(progress: Progress, line_before: Progress | None) -> bool:
    """Whether the log should tell it; `line_before` is what it told last, also of other work."""
    if line_before is None or line_before.begun != progress.begun:
        return progress.finished or progress.at - progress.begun >= _FIRST_LINE_MS
    lasted, silent = line_before.at - line_before.begun, progress.at - line_before.at
    silence_ends = silent >= min(max(lasted, _FIRST_LINE_MS), _LONGEST_SILENCE_MS)
    return not line_before.finished and (progress.finished or silence_ends)
