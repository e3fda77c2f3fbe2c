"""What one metric family is: a row of a table, with a pure function from a subject to its samples."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

Kind = Literal["gauge", "counter", "summary", "histogram"]


class Sample(NamedTuple):
    """One line of the exposition.

    `suffix` follows the family's name: "" for gauges and counters (a counter family's name ends in
    `_total` already), "_sum", "_count" or "_bucket" else. `labels` are shown sorted by
    name.
    """

    suffix: str
    labels: tuple[tuple[str, str], ...]
    value: float


class Family(NamedTuple):
    """One metric: `samples` of a subject (a service, a project) come in the order they are shown."""

    name: str
    kind: Kind
    help: str  # one line, without a full stop at the end of the unit
    labels: tuple[str, ...]  # label names beyond those of the subject, for the documentation
    samples: Callable[[Any], Iterable[Sample]]
