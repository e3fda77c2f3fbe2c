"""Compares the notifications that a scenario expects with those received: precision and recall."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from tests.live.alertmanager import Notification

IsAbout = Callable[[Notification], bool]


class Expected(NamedTuple):
    """A notification that has to be received, but not before `since` (seconds since the epoch)."""

    alertname: str
    status: str
    since: float


class Result(NamedTuple):
    """The result of one scenario; each text is a notification."""

    scenario: str
    received: Sequence[str]  # those that were expected
    unexpected: Sequence[str]  # also those that were received too early or twice
    missing: Sequence[str]


class ExpectedNotifications:
    """The notifications that one scenario expects.

    Args:
        name: of the scenario.
        is_about: whether a notification is about this scenario.
        notifications: returns all that were received so far.

    """

    def __init__(self, name: str, is_about: IsAbout, notifications: Callable[[], list[Notification]]) -> None:
        self.name, self.is_about, self._notifications = name, is_about, notifications
        self._expected: list[Expected] = []

    def expect(self, alertname: str, status: str = "firing") -> None:
        """Expect this notification once, from now on."""
        self._expected.append(Expected(alertname, status, time.time()))

    def received(self) -> list[Notification]:
        """All notifications about this scenario, oldest first."""
        return [notification for notification in self._notifications() if self.is_about(notification)]

    def result(self) -> Result:
        """Match each notification with one expected one at most, and the other way round."""
        missing, received, unexpected = list(self._expected), [], []
        for notification in self.received():
            match = next((expected for expected in missing if _matches(notification, expected)), None)
            text = _text(notification.alertname, notification.status)
            if match is None:
                # With the time, so that it can be found in the logs.
                at = datetime.fromtimestamp(notification.at, UTC).strftime("%H:%M:%S")
                unexpected.append(f"{text} at {at}")
            else:
                missing.remove(match)
                received.append(text)
        missed = [_text(each.alertname, each.status) for each in missing]
        return Result(self.name, received, unexpected, missed)


def _matches(notification: Notification, expected: Expected) -> bool:
    is_same = (notification.alertname, notification.status) == (expected.alertname, expected.status)
    return is_same and notification.at >= expected.since


def _text(alertname: str, status: str) -> str:
    return f"{alertname.removeprefix('ModelArts')} {status}"


class Score(NamedTuple):
    """Precision: the expected ones among the received. Recall: the received ones among the expected."""

    precision: float
    recall: float


def score(results: Iterable[Result]) -> Score:
    """Of all scenarios together; each notification counts the same."""
    results = list(results)
    right = sum(len(result.received) for result in results)
    received = right + sum(len(result.unexpected) for result in results)
    expected = right + sum(len(result.missing) for result in results)
    return Score(right / received if received else 1.0, right / expected if expected else 1.0)


def table(results: Sequence[Result]) -> str:
    """The results as a table for people; what was wrong with a scenario stands below its line."""
    width = max(len(result.scenario) for result in results)
    lines = [_line("scenario", width, ("precision", "recall"), "notifications")]
    for result in results:
        received = ", ".join(result.received) or "none"
        lines.append(_line(result.scenario, width, map(_percent, score([result])), received))
        lines += [_line("", width, ("", ""), f"unexpected: {text}") for text in result.unexpected]
        lines += [_line("", width, ("", ""), f"missing: {text}") for text in result.missing]
    right = sum(len(result.received) for result in results)
    lines.append(_line("total", width, map(_percent, score(results)), f"{right} received as expected"))
    return "\n".join(lines)


def _line(scenario: str, width: int, figures: Iterable[str], notifications: str) -> str:
    return "  ".join((f"{scenario:<{width}}", *(f"{figure:>9}" for figure in figures), notifications))


def _percent(share: float) -> str:
    # Rounded down, so that only all of them are 100 %.
    return f"{math.floor(100 * share)} %"
