"""The positions of what a timeline or a chart of deployments shows, in per cent of its width."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from exporter.core.accounting.history import History
from exporter.core.formats import iso, length
from exporter.core.pages.deployments import Deployment
from exporter.core.records import ABNORMAL, Update

_SECOND, _MINUTE, _HOUR, _DAY = 1000, 60_000, 3_600_000, 86_400_000

# The longest timeout that a deployment can be given; one that hangs for days must not squeeze the others.
_LONGEST_AXIS = 2 * _HOUR
_SHORTEST_AXIS = _MINUTE
# Just after the first start everything happened within minutes; marks must not overlap.
_SHORTEST_TIMELINE = 10 * _MINUTE
# A phase of some milliseconds is still to be seen: two pixels of a phone's width.
_NARROWEST = 0.6
# Labels of sixty pixels beside each other on a phone.
_MOST_TICKS = 4
_STEPS = (
    *(seconds * _SECOND for seconds in (5, 15, 30)),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 3, 5, 10, 30, 90, 365, 1825, 7300, 36500)),
)
# Closer to an end than this, a centred label may run over the edge.
_EDGE = 10


class Tick(NamedTuple):
    """A label on an axis; `anchor` is SVG's: which end of the label stands at `left`."""

    left: float
    label: str
    anchor: str = "middle"


class Mark(NamedTuple):
    """Something at one moment (ms); `kind` says how it looks, `text` what it is."""

    left: float
    time: int
    kind: str
    text: str


class Bar(NamedTuple):
    """A phase of a deployment."""

    phase: str
    left: float
    width: float
    finished: bool
    seconds: float


class Lane(NamedTuple):
    """One deployment; `width` is how far it reaches, and `beyond` that it goes on past the axis' end."""

    deployment: Deployment
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...]
    width: float
    beyond: bool
    seconds: float


class DeploymentChart(NamedTuple):
    """Deployments side by side, each from its own start."""

    lanes: tuple[Lane, ...]
    ticks: tuple[Tick, ...]


class Timeline(NamedTuple):
    """Everything that is kept of a service, from `begin` to now (ms)."""

    begin: int
    end: int
    updates: tuple[Mark, ...]
    events: tuple[Mark, ...]
    ticks: tuple[Tick, ...]


def deployment_chart(deployments: Sequence[Deployment]) -> DeploymentChart:
    """The deployments on one axis, which begins with each of them."""
    longest = max((each.end - each.begin for each in deployments), default=0)
    axis = min(max(longest, _SHORTEST_AXIS), _LONGEST_AXIS)
    lanes = tuple(_lane(each, axis) for each in deployments)
    times = _regular(0, axis)
    return DeploymentChart(lanes, tuple(_tick(time, 0, axis, length(time / 1000)) for time in times))


def _lane(deployment: Deployment, axis: int) -> Lane:
    begin = deployment.begin
    bars = []
    for span in deployment.phases:
        left = min(_percent(span.begin, begin, axis), 100 - _NARROWEST)
        right = _percent(span.end, begin, axis)
        width = round(max(right - left, _NARROWEST), 2)
        bars.append(Bar(span.phase, left, width, span.finished, (span.end - span.begin) / 1000))
    return Lane(
        deployment,
        tuple(bars),
        tuple(
            Mark(_percent(event.occur_time, begin, axis), event.occur_time, "abnormal", event.text)
            for event in deployment.failure_events
        ),
        width=_percent(deployment.end, begin, axis),
        beyond=deployment.end - begin > axis,
        seconds=(deployment.end - begin) / 1000,
    )


def timeline(history: History, still_open: Iterable[Update], now: int) -> Timeline | None:
    """The kept events and updates at `now` (ms); None without any."""
    results = [past.update for past in history.updates] + list(still_open)
    times = [update.update_time for update in results] + [event.occur_time for event in history.events]
    if not times:
        return None
    end = max(now, *times)
    begin = min(*times, end - _SHORTEST_TIMELINE)
    axis = end - begin
    return Timeline(
        begin,
        end,
        updates=tuple(
            Mark(
                _percent(update.update_time, begin, axis),
                update.update_time,
                update.result if update.settled else "RUNNING",
                update.result,
            )
            for update in results
        ),
        events=tuple(
            Mark(
                _percent(event.occur_time, begin, axis),
                event.occur_time,
                "abnormal" if event.reason or event.event_type == ABNORMAL else "normal",
                event.text,
            )
            for event in history.events
        ),
        ticks=tuple(_tick(time, begin, axis, _calendar(time, axis)) for time in _regular(begin, end)),
    )


def _percent(time: int, begin: int, axis: int) -> float:
    return round(min(max((time - begin) / axis, 0), 1) * 100, 2)


def _regular(begin: int, end: int) -> list[int]:
    """Round times between both, no more than there is room for."""
    step = next((each for each in _STEPS if (end - begin) / each <= _MOST_TICKS), _STEPS[-1])
    first = -(-begin // step) * step
    return list(range(first, end + 1, step))


def _tick(time: int, begin: int, axis: int, label: str) -> Tick:
    left = _percent(time, begin, axis)
    return Tick(left, label, "start" if left < _EDGE else "end" if left > 100 - _EDGE else "middle")


def _calendar(time: int, axis: int) -> str:
    """A time with the parts that matter on an axis of this length (both ms)."""
    if axis > 300 * _DAY:
        return iso(time)[:10]
    pattern = "%d %b" if axis > 4 * _DAY else "%d %b %H:%M" if axis > _DAY // 2 else "%H:%M"
    return datetime.fromtimestamp(time / 1000, UTC).strftime(pattern)
