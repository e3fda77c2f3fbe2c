"""Exporter: whether the other dashboards show the present state, and what to do if not."""

from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links
from dashboards.source.exporter_cloud import api, audit, budget, polls
from dashboards.source.exporter_self import pushes, resources, store
from dashboards.source.exporter_state import now, sight, unreadable, what_to_do
from dashboards.source.frame import dashboard as frame
from dashboards.source.layout import Row


def dashboard() -> model.Dashboard:
    """For the people who run the exporter."""
    return frame(
        links.EXPORTER,
        "Exporter",
        "Is what the exporter shows fresh and whole, and if not, whose fault is it?",
        [
            Row("Now", now(), sight(), [what_to_do(), unreadable()]),
            Row("The cloud's API", api(), budget()),
            Row("Polls", polls()),
            Row("Self-audit", audit()),
            Row("Pushed alerts and the store", pushes(), store()),
            Row("The process", resources()),
        ],
        begin="now-6h",
    )
