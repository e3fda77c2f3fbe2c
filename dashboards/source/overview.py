"""On-call overview: what is broken now, since when, and why."""

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links, queries, states
from dashboards.source.frame import dashboard as frame
from dashboards.source.layout import Row
from dashboards.source.overview_now import now
from dashboards.source.panels import graph, timeline
from dashboards.source.parts import Size, Words
from dashboards.source.queries import BY_SERVICE, ON_SERVICE, once, per_point, service
from dashboards.source.tables import PROJECT, SERVICE_ID, Column, grid
from dashboards.source.targets import Ask

# A screen has no space for more bars, and only the worst ones matter.
TIMELINE_SERVICES = 30
# One point a minute in six hours: for each point Prometheus reads every service twice.
TIMELINE_POINTS = 360


def dashboard() -> model.Dashboard:
    """The dashboard that alerts link to, with links to the others."""
    return frame(
        links.OVERVIEW,
        "On-call overview",
        "What is broken now, since when, and why?",
        [
            Row("Now", now()),
            Row("What is not well", [_not_well()], [_alerts(), _timeline()]),
            Row("What has happened", [_updates(), _abnormal_events()]),
        ],
        begin="now-6h",
    )


def _not_well() -> model.Panel:
    def of_those(query: str) -> str:
        return f"{query} and {ON_SERVICE} ({queries.NOT_WELL})"

    cause = service("service_last_failure_info")
    return grid(
        Words(
            "What is not well",
            "Every service with a failed update, a failed or concerning status, an update that is stuck, "
            "failed nodes, or logs that cannot be read; the worst first. The reason and the message are the "
            "cause of the newest failed update. Click a service for its history, a reason for what helps.",
            "Every service is well",
        ),
        [
            Column("State", expr=queries.NOT_WELL, mappings=states.STATE, width=120),
            PROJECT,
            Column("Service", "service_name", width=180, link=links.to_service_of_row()),
            Column("Reason", "reason", width=190, link=links.to_causes()),
            Column("Message", "message", long=True),
            Column(
                "Cause",
                expr=of_those(f"max by (project, service_id, service_name, reason, message) ({cause})"),
                hidden=True,
            ),
            _ago("Last failure", of_those(_at("last_failure"))),
            _ago("Last success", of_those(_at("last_success"))),
            _ago("Open since", of_those(_at("oldest_running_update"))),
            Column("Phase", "phase", width=110),
            Column(
                "Phase known",
                expr=of_those(
                    "max by (project, service_id, service_name, phase) "
                    f"({service('service_deploy_phase_start_timestamp_seconds')})"
                ),
                hidden=True,
            ),
            Column("Status", "status", width=100),
            Column(
                "Status code",
                expr=of_those(
                    f"max by (project, service_id, service_name, status) ({service('service_status')} == 1)"
                ),
                hidden=True,
            ),
            SERVICE_ID,
        ],
        Size(24, 10),
        sort="State",
        then="Last failure",
    )


def _at(what: str) -> str:
    return f"1000 * max {BY_SERVICE} ({service(f'service_{what}_timestamp_seconds')})"


def _ago(title: str, expr: str) -> Column:
    return Column(title, expr=expr, unit="dateTimeFromNow", width=150)


def _alerts() -> model.Panel:
    by = "by (alertname, severity, project, service_id, service_name)"
    # In alphabetical order, warning would be after info.
    urgency = (
        f"2 + 0 * {queries.firing('critical')} or 1 + 0 * {queries.firing('warning')} or 0 * {queries.FIRING}"
    )
    return grid(
        Words(
            "Firing alerts",
            "Alerts of the shipped rules that fire now. Click one for its runbook.",
            "No alert fires, or the rules are not loaded: see the panel above",
        ),
        [
            Column("Severity", "severity", mappings=states.SEVERITY, width=90),
            Column("Urgency", expr=f"max {by} ({urgency})", hidden=True),
            Column("Alert", "alertname", link=links.to_runbook_of_row()),
            PROJECT,
            Column("Service", "service_name", width=160, link=links.to_service_of_row()),
            Column(
                "Since",
                expr=f"1000 * max {by} (ALERTS_FOR_STATE{{{queries.OURS}}}"
                f" and ignoring (alertstate) {queries.FIRING})",
                unit="dateTimeFromNow",
                width=150,
            ),
            SERVICE_ID,
        ],
        Size(11, 9),
        sort="Urgency",
        then="Since",
    )


def _timeline() -> model.Panel:
    # For how many points each had a problem; the same value at every point of the graph.
    troubled = f"count_over_time(({queries.NOT_WELL})[$__range:$__interval] @ end())"
    worst = f"topk({TIMELINE_SERVICES}, {troubled})"
    return timeline(
        Words(
            "States over time",
            f"The {TIMELINE_SERVICES} services that were not well for the longest part of the range. Click "
            "a bar for the service.",
            "Every service was well all the time",
        ),
        [Ask(f"({queries.STATE}) and {ON_SERVICE} {worst}", "{{service_name}} ({{project}})")],
        Size(13, 9),
        states.STATE,
        link=links.to_service_of_series(),
        points=TIMELINE_POINTS,
    )


def _updates() -> model.Panel:
    return graph(
        Words(
            "Updates by result",
            "Updates that settled, counted once each, per bar.",
            "No service has an update log",
        ),
        [
            Ask(
                f"sum by (result) ({once(per_point(service('service_updates_total')), 'result')})",
                "{{result}}",
            )
        ],
        Size(12, 7),
        "none",
        "updates",
        colours=states.RESULTS,
        bars=True,
        stack=common.StackingMode.NORMAL,
        interval="5m",
    )


def _abnormal_events() -> model.Panel:
    return graph(
        Words(
            "Abnormal events by reason",
            "Abnormal events, and normal ones that tell of a failure, by the cause that their text names.",
            "No event told of a failure yet",
        ),
        [
            Ask(
                f"sum by (reason) ({once(per_point(service('service_abnormal_events_total')), 'reason')})",
                "{{reason}}",
            )
        ],
        Size(12, 7),
        "none",
        "events",
        colours=states.REASONS,
        bars=True,
        stack=common.StackingMode.NORMAL,
        interval="5m",
    )
