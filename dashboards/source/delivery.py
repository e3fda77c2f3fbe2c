"""Delivery: how often, how reliably and how fast models are deployed, compared with the time before."""

from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links
from dashboards.source.delivery_figures import figures, quality
from dashboards.source.delivery_graphs import over_time
from dashboards.source.delivery_tables import slowest, top_failing, top_reasons
from dashboards.source.frame import dashboard as frame
from dashboards.source.layout import Row


def dashboard() -> model.Dashboard:
    """For the owners of the platform, not for the people on call."""
    return frame(
        links.DELIVERY,
        "Delivery",
        "How often do models get out, how often does that fail, how long does it take, and is it getting "
        "better?",
        [
            Row("Four figures of the range, each beside its change against the range before", figures()),
            Row("Over time", *over_time()),
            Row("Where to look", [top_failing(), top_reasons()], [slowest()]),
            Row("How far to trust these figures", quality()),
        ],
        begin="now-30d",
        refresh="1h",
    )
