"""The command `classify`: what an event text means, and which event of a history is the cause."""

import json
from pathlib import Path
from typing import Any

import msgspec
import yaml

from exporter.core.accounting.apply_events import apply_events
from exporter.core.accounting.apply_updates import CountingPolicy, apply_updates
from exporter.core.accounting.failure_cause import LONGEST_DEPLOYMENT_MS, succeeded_later
from exporter.core.accounting.history import past_text
from exporter.core.accounting.service_state import FailureEvent, ServiceState, opened
from exporter.core.classifier.classifier import Classifier
from exporter.core.classifier.evidence import Evidence
from exporter.core.formats import iso
from exporter.core.records import ABNORMAL, FAIL, NORMAL, Event, EventWindow, ServiceRow, Update, UpdateWindow

# The file holds all the events of the one update, so none is too late and its end is not in doubt.
_POLICY = CountingPolicy(lateness=0, longest_guess=LONGEST_DEPLOYMENT_MS)

HISTORY_HELP = (
    "which event of a failed update is its cause, and why; the file is YAML, or JSON lines with one event "
    "each: occur_time (ms), event_type, event_info (default: classify texts)"
)

_PROVES = {
    Evidence.SPECIFIC: "it says what to fix",
    Evidence.EXIT: "it says how the container ended",
    Evidence.SYMPTOM: "it says what was seen from outside",
    Evidence.SUMMARY: "it is a summary, and no event says more",
    Evidence.NONE: "no rule knows its text, and no event says more",
}


def meaning(classifier: Classifier, text: str) -> str:
    """What an event text is, in four lines."""
    finding = classifier.classify(NORMAL, text)
    if not finding.mark and not finding.reason:
        # Not a known step, so it is shown as the failure that it would be.
        finding = classifier.classify(ABNORMAL, text)
    rows = (("phase", finding.phase), ("reason", finding.reason), ("remedy", finding.remedy))
    return "\n".join((text, *(f"  {name}: {value or '-'}" for name, value in rows)))


def explanation(classifier: Classifier, file: str) -> str:
    """Each failure of a history with its grade, and which event is the cause, and why.

    Args:
        classifier: with the user's rules.
        file: the path of the events of one failed update, as `events_of` reads them.

    Raises:
        OSError, ValueError: the history cannot be read.

    """
    events = events_of(Path(file).read_text(encoding="utf-8"))
    begin, end = events[0].occur_time, events[-1].occur_time
    state = opened(ServiceRow("history"), begin, preexisting=False).state
    state = apply_updates(state, UpdateWindow((Update(begin, FAIL),), observed_at=end), _POLICY, end).state
    state = apply_events(state, EventWindow(events, observed_at=end), _POLICY, classifier, end).state
    lines = []
    for event in events:
        finding = classifier.classify(event.event_type, event.event_info)
        if finding.reason:
            failure = FailureEvent(event.occur_time, finding.reason, past_text(event.event_info))
            evidence = Evidence.RECOVERED if succeeded_later(state, failure) else finding.evidence
            grade = evidence.name.lower()
            lines.append(f"{iso(failure.occur_time)}  {grade:<9}  {failure.reason}: {failure.message}")
    return "\n".join((*lines, *_chosen(state, classifier)))


def events_of(history: str) -> tuple[Event, ...]:
    """The events of a text, oldest first.

    The text is YAML or JSON, a list or under `events`, or JSON lines, one event a line. An event has the
    API's fields: `occur_time` (ms), `event_type` (abnormal if absent), `event_info`. Raises ValueError.
    """
    found = _parsed(history)
    if isinstance(found, dict):
        found = found.get("events", [found])
    try:
        rows = msgspec.convert(found, list[dict[str, Any]])
        events = msgspec.convert([{"event_type": ABNORMAL, **row} for row in rows], list[Event])
    except msgspec.ValidationError as error:
        raise ValueError(f"The history is not a list of events: {error}.") from error
    if not events:
        raise ValueError("The history has no events.")
    return tuple(sorted(events))


def _parsed(history: str) -> Any:
    for parse in (json.loads, _json_lines):
        try:
            return parse(history)
        except ValueError:
            continue
    try:
        return yaml.safe_load(history)
    except yaml.YAMLError as error:
        raise ValueError(f"The history is neither YAML nor JSON lines: {error}.") from error


def _json_lines(history: str) -> list[Any]:
    return [json.loads(line) for line in history.splitlines() if line.strip()]


def _chosen(state: ServiceState, classifier: Classifier) -> tuple[str, ...]:
    cause = state.cause
    if cause is None:
        return ("cause: none; no event of this history is a failure that lasted",)
    grade = cause.grade.name.lower()
    return (
        f"cause: {cause.reason}, {iso(cause.occur_time)}",
        f"  text: {cause.message}",
        f"  why: it is the first of the highest grade here, {grade}: {_PROVES[cause.grade]}",
        f"  remedy: {classifier.classify(ABNORMAL, cause.message).remedy or '-'}",
    )
