"""Service: what happened to one service, and what is usual for it."""

from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links
from dashboards.source.frame import dashboard as frame
from dashboards.source.layout import Row
from dashboards.source.service_edge import edge
from dashboards.source.service_graphs import durations, events, phases, traffic
from dashboards.source.service_state import cause, models_now, over_time, state, updates


def dashboard() -> model.Dashboard:
    """The dashboard that the tables of the others link to."""
    return frame(
        links.SERVICE,
        "Service",
        "What happened to this service, and is that usual for it?",
        [
            Row("State", state(), [cause(), models_now()], [over_time()]),
            Row("Updates", [updates()]),
            Row("Deployments", phases(), durations()),
            Row("Events and traffic", events(), traffic()),
            Row("Edge nodes", edge(), collapsed=True),
        ],
        begin="now-24h",
        one_service=True,
    )
