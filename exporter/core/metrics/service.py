"""The metrics of a service that its row in the list decides, and whether its logs could be read."""

from collections.abc import Iterable

from exporter.core.accounting.labels import ServiceView, label_text
from exporter.core.accounting.service_state import FAILED_INVOCATIONS, INVOCATIONS
from exporter.core.metrics.family import Sample, counter, counter_of, gauge, one, per_label, time_of
from exporter.core.records import STATUSES

# A status that the API's documentation does not have.
_OTHER = "other"


def _info(view: ServiceView) -> Iterable[Sample]:
    row = view.state.row
    labels = (
        ("infer_type", label_text(row.infer_type)),
        ("workspace_id", label_text(row.workspace_id)),
        ("owner", label_text(row.owner)),
    )
    return (Sample("", view.labels + labels, 1),)


def _status(view: ServiceView) -> Iterable[Sample]:
    status = view.state.row.status
    if not status:
        return ()
    present = status if status in STATUSES else _OTHER
    return per_label(view, "status", {name: float(name == present) for name in (*STATUSES, _OTHER)})


def _up(view: ServiceView) -> Iterable[Sample]:
    return one(view, None if view.state.up is None else float(view.state.up))


FAMILIES = (
    gauge("service_info", "What the service is; always 1.", _info, "infer_type", "workspace_id", "owner"),
    gauge("service_status", "1 for the present status, 0 for the others.", _status, "status"),
    gauge("service_up", "1 if the last read of the service's logs and events succeeded.", _up),
    gauge(
        "service_last_poll_timestamp_seconds",
        "When the service was last read with success.",
        time_of(lambda state: state.read_at),
    ),
    counter("service_invocations_total", "Calls, as the API reports them.", counter_of(INVOCATIONS)),
    counter(
        "service_failed_invocations_total",
        "Failed calls, as the API reports them.",
        counter_of(FAILED_INVOCATIONS),
    ),
)
