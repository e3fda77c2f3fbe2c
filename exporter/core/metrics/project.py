"""The metrics of a whole project."""

from collections.abc import Iterable

from exporter.core.accounting import project_totals as totals
from exporter.core.accounting.labels import Labels, ProjectView
from exporter.core.metrics.family import Sample, gauge, histogram, one
from exporter.core.records import SETTLED_RESULTS


def _info(view: ProjectView) -> Iterable[Sample]:
    labels = (("project_id", view.project_id), ("endpoint", view.endpoint))
    return (Sample("", view.labels + labels, 1),)


def _histogram(view: ProjectView, name: str, *labels: tuple[str, str]) -> Iterable[Sample]:
    counts, total = totals.cumulative(view.totals, name)
    own: Labels = (*view.labels, *labels)
    for bound, count in counts:
        yield Sample("_bucket", (*own, ("le", "+Inf" if bound is None else str(bound))), count)
    yield Sample("_count", own, counts[-1][1])
    yield Sample("_sum", own, total)


def _update_durations(view: ProjectView) -> Iterable[Sample]:
    for result in SETTLED_RESULTS:
        yield from _histogram(view, totals.DURATION + result, ("result", result))


FAMILIES = (
    gauge(
        "up",
        "1 if the last list of the project's services succeeded.",
        lambda view: one(view, None if view.up is None else float(view.up)),
    ),
    gauge("services", "Services watched.", lambda view: one(view, view.services)),
    gauge("project_info", "What the project is; always 1.", _info, "project_id", "endpoint"),
    histogram(
        "update_duration_seconds",
        "From an update's begin to its settling, over the project.",
        _update_durations,
        "result",
    ),
    histogram(
        "restore_duration_seconds",
        "From a first failure's settling to that of the success that ended it, over the project.",
        lambda view: _histogram(view, totals.RESTORE),
    ),
)
