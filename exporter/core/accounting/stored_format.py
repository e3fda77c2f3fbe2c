"""The version of the values in the store, and how values of an older version become today's.

A stored value is a map of field names. A field that is renamed, removed or given another meaning needs a
new version and a step here; a field that is added with a default needs neither. Decoders refuse fields
that they do not know, so a forgotten step is an error in the tests and never a silent loss.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

# What a value describes: the tables of the store.
Kind = Literal["project", "service", "calls", "past"]
Fields = dict[str, Any]


def _renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> Fields:
    return {names.get(name, name): value for name, value in fields.items()}


def _with_standard_names(kind: Kind, fields: Fields) -> Fields:
    """Version 2 renamed fields to the terms of Prometheus and of stream processing."""
    if kind == "project":
        return _renamed(fields, {"fleet": "totals"})
    if kind != "service":
        return fields
    state = _renamed(fields, {"alarm": "alert", "troubles": "failure_events"})
    if state.get("alert") is not None:
        state["alert"] = _renamed(state["alert"], {"since": "active_at", "ended": "resolved_at"})
    ledger = {"known": "read_once", "history": "preexisting", "final_until": "watermark"}
    return state | {log: _renamed(state[log], ledger) for log in ("updates", "events") if log in state}


# Step n leads from version n + 1 to n + 2. A step is never edited once it is released.
_STEPS: tuple[Callable[[Kind, Fields], Fields], ...] = (_with_standard_names,)

VERSION = len(_STEPS) + 1


def upgraded(kind: Kind, fields: Fields, version: int) -> Fields:
    """A value of this `version` as it is written today."""
    for step in _STEPS[version - 1 :]:
        fields = step(kind, fields)
    return fields
