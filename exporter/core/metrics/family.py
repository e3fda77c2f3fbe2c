"""What one metric family is: name, type, help, labels, and the function that gives its samples."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

from exporter.core.accounting.labels import ProjectView, ServiceView

Kind = Literal["gauge", "counter", "summary", "histogram"]


class Sample(NamedTuple):
    """One line of the exposition.

    `suffix` follows the family's name: "" for gauges and counters (a counter family's name ends in
    `_total` already), else "_sum", "_count" or "_bucket". `labels` are shown sorted by name.
    """

    suffix: str
    labels: tuple[tuple[str, str], ...]
    value: float


# Of the units that OpenMetrics 1.0.0 recommends (section "Units and Base Units"), those that we use.
_UNITS = ("seconds", "bytes", "ratio")

# Pure: from the view of a service or of a project.
Samples = Callable[[Any], Iterable[Sample]]


class Family(NamedTuple):
    """One metric; its samples come in the order in which they are shown."""

    name: str
    kind: Kind
    help: str  # one line
    labels: tuple[str, ...]  # label names beyond those of the service or project, for the documentation
    samples: Samples


def _row(kind: Kind, name: str, text: str, samples: Samples, *labels: str) -> Family:
    return Family(f"modelarts_{name}", kind, text, labels, samples)


gauge = partial(_row, "gauge")
counter = partial(_row, "counter")
summary = partial(_row, "summary")
histogram = partial(_row, "histogram")


def seconds(milliseconds: float) -> float:
    """Times and durations are kept in ms and shown in seconds."""
    return milliseconds / 1000


def one(view: ServiceView | ProjectView, value: float | None) -> Iterable[Sample]:
    """One sample without further labels, or none."""
    return () if value is None else (Sample("", view.labels, value),)


def per_label(view: ServiceView, label: str, values: Mapping[str, float]) -> Iterable[Sample]:
    """One sample for each value of a label."""
    return [Sample("", (*view.labels, (label, key)), value) for key, value in values.items()]


def time_of(pick: Callable[[Any], int | None]) -> Samples:
    """The time in ms that `pick` finds in a service's state, in seconds; no sample for None."""

    def samples(view: ServiceView) -> Iterable[Sample]:
        time = pick(view.state)
        return one(view, None if time is None else seconds(time))

    return samples


def counter_of(name: str) -> Samples:
    """One counter of a service, if it exists."""

    def samples(view: ServiceView) -> Iterable[Sample]:
        counters = view.state.counters
        return one(view, counters.shown(name) if name in counters.values else None)

    return samples


def counters_of(label: str, names: Mapping[str, str]) -> Samples:
    """Those counters of a service that exist, by the value of the label: `names` maps it to the counter."""

    def samples(view: ServiceView) -> Iterable[Sample]:
        counters = view.state.counters
        shown = {value: counters.shown(name) for value, name in names.items() if name in counters.values}
        return per_label(view, label, shown)

    return samples


def unit_of(name: str) -> str:
    """The unit that a metric's name ends in, as OpenMetrics wants it; "" for none."""
    unit = name.rpartition("_")[2]
    return unit if unit in _UNITS else ""
