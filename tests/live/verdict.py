"""Which notifications had to come, and which came: precision and recall of scenarios."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from .alerting import Notice

Owns = Callable[[Notice], bool]


class Must(NamedTuple):
    """A notification that has to come, but not before `since` (seconds since the epoch)."""

    alertname: str
    status: str
    since: float


class Row(NamedTuple):
    """One scenario, judged; each text lists notifications."""

    scenario: str
    right: Sequence[str]
    wrong: Sequence[str]  # came and must not, or came too early
    missing: Sequence[str]


class Story:
    """One scenario: what it says must come, against what comes.

    Args:
        name: of the scenario.
        owns: which notices are about it.
        notices: all that came so far.

    """

    def __init__(self, name: str, owns: Owns, notices: Callable[[], list[Notice]]) -> None:
        self.name, self.owns, self._notices = name, owns, notices
        self._musts: list[Must] = []

    def must(self, alertname: str, status: str = "firing") -> None:
        """From now on this must come, once."""
        self._musts.append(Must(alertname, status, time.time()))

    def came(self) -> list[Notice]:
        """What came about it, in the order of time."""
        return [notice for notice in self._notices() if self.owns(notice)]

    def row(self) -> Row:
        """Each notice fulfils one must at most, each must is fulfilled by one notice at most."""
        open_musts, right, wrong = list(self._musts), [], []
        for notice in self.came():
            met = next((must for must in open_musts if _meets(notice, must)), None)
            if met is None:
                # With the time, to find it in the logs of the peers.
                at = datetime.fromtimestamp(notice.at, UTC).strftime("%H:%M:%S")
                wrong.append(f"{_text(notice.alertname, notice.status)} at {at}")
            else:
                open_musts.remove(met)
                right.append(_text(notice.alertname, notice.status))
        return Row(self.name, right, wrong, [_text(must.alertname, must.status) for must in open_musts])


def _meets(notice: Notice, must: Must) -> bool:
    return (notice.alertname, notice.status) == (must.alertname, must.status) and notice.at >= must.since


def _text(alertname: str, status: str) -> str:
    return f"{alertname.removeprefix('ModelArts')} {status}"


class Score(NamedTuple):
    """Of all notifications that came the share that had to, and of all that had to the share that came."""

    precision: float
    recall: float


def score(rows: Iterable[Row]) -> Score:
    """Over all scenarios, each notification counts the same."""
    rows = list(rows)
    right = sum(len(row.right) for row in rows)
    came = right + sum(len(row.wrong) for row in rows)
    had_to = right + sum(len(row.missing) for row in rows)
    return Score(right / came if came else 1.0, right / had_to if had_to else 1.0)


def table(rows: Sequence[Row]) -> str:
    """For people: how each scenario went, what came in it as it had to, and below what was wrong with it."""
    width = max(len(row.scenario) for row in rows)
    lines = [_line("scenario", width, ("precision", "recall"), "notifications")]
    for row in rows:
        lines.append(_line(row.scenario, width, map(_percent, score([row])), ", ".join(row.right) or "none"))
        lines += [_line("", width, ("", ""), f"must not come, but came: {text}") for text in row.wrong]
        lines += [_line("", width, ("", ""), f"must come, but did not: {text}") for text in row.missing]
    right = sum(len(row.right) for row in rows)
    lines.append(_line("all of them", width, map(_percent, score(rows)), f"{right} as they had to be"))
    return "\n".join(lines)


def _line(scenario: str, width: int, figures: Iterable[str], notifications: str) -> str:
    return "  ".join((f"{scenario:<{width}}", *(f"{figure:>9}" for figure in figures), notifications))


def _percent(share: float) -> str:
    # Rounded down: nothing but all of them is 100 %.
    return f"{math.floor(100 * share)} %"
