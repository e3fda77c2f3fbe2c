"""When past updates settled, where the event log tells it; the update log has no such time.

An update's events are those from its begin to the begin of the next deployment. A success ends when its
models have started. A failure ends with the first text that says so of the whole service: it did not start,
it timed out, it is rolled back. A text that only says that something went wrong is no end, because the cloud
may try again.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf
from typing import NamedTuple

from exporter.core.accounting.failure_cause import LONGEST_DEPLOYMENT_MS
from exporter.core.accounting.phases import CLOCK_SLACK_MS
from exporter.core.classifier.classifier import Classification, Classifier
from exporter.core.classifier.evidence import Evidence
from exporter.core.records import SUCCESS, Event, Update

# "Service NAME failed. Error: ...": the head of many texts, whose rest names the cause (ModelArts User Guide,
# What Are the Events and Their Types for a Service).
_SERVICE_FAILED = re.compile(
    r"(?:the )?service(?: deployment)?(?: \S{1,128})?(?: deployment)?(?: has)? failed\b"
    r"|服务.{0,128}?部署失败",
    re.IGNORECASE,
)


class _Mark(NamedTuple):
    time: int  # ms
    kind: str  # "begin", "started" or "failed"


def settling_times(
    updates: Sequence[Update], events: Sequence[Event], classifier: Classifier
) -> dict[int, int]:
    """When the update of an update_time settled (both ms), for those of which the events tell it."""
    marks = sorted(_marks(events, classifier))
    settled: dict[int, list[Update]] = {update.update_time: [] for update in updates}
    for update in updates:
        if update.settled:
            settled[update.update_time].append(update)
    found = {}
    for start, following in pairwise((*sorted(settled), inf)):
        # Of several in one millisecond no event says which of them it is about.
        if len(settled[int(start)]) == 1:
            update = settled[int(start)][0]
            at = _end(update, _own(marks, update.update_time, following))
            if at is not None:
                found[update.update_time] = at
    return found


def _marks(events: Sequence[Event], classifier: Classifier) -> Iterator[_Mark]:
    found: dict[tuple[str, str], str] = {}
    for event in events:
        text = (event.event_type, event.event_info)
        if text not in found:
            found[text] = _kind(classifier.classify(*text), event.event_info)
        if found[text]:
            yield _Mark(event.occur_time, found[text])


def _kind(finding: Classification, text: str) -> str:
    if finding.mark == "begin":
        return "begin"
    if finding.mark == "end" and finding.phase == "startup":
        return "started"
    if not finding.reason:
        return ""
    # The other summary is of instances that are bad, which says nothing about a deployment.
    is_outcome = finding.evidence == Evidence.SUMMARY and (
        finding.phase == "startup" or finding.reason in ("timeout", "rollback")
    )
    return "failed" if is_outcome or _SERVICE_FAILED.match(text) else ""


def _own(marks: Sequence[_Mark], start: int, following: float) -> Sequence[_Mark]:
    """The marks of the update that began at `start`, before the `following` one."""
    end = min(start + LONGEST_DEPLOYMENT_MS + 1, following)
    own = marks[bisect_left(marks, (start, "")) : bisect_left(marks, (end, ""))]
    again = (mark.time for mark in own if mark.kind == "begin" and mark.time > start + CLOCK_SLACK_MS)
    restart = next(again, end)
    return [mark for mark in own if mark.time < restart]


def _end(update: Update, own: Sequence[_Mark]) -> int | None:
    if update.result == SUCCESS:
        # One text for each model, or one for all of them.
        started = [mark.time for mark in own if mark.kind == "started"][: max(len(update.models), 1)]
        return started[-1] if started else None
    return next((mark.time for mark in own if mark.kind == "failed"), None)
