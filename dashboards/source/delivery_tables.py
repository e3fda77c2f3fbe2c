"""Tables of the delivery dashboard: which services and reasons are behind the figures."""

from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links, states
from dashboards.source.parts import Size, Steps, Words
from dashboards.source.queries import BY_SERVICE, ON_SERVICE, grown, service
from dashboards.source.tables import PROJECT, SERVICE_ID, Column, grid

TOP = 10

RATE: Steps = ((None, states.WELL), (0.15, states.LOOK), (0.5, states.BROKEN))


def top_failing() -> model.Panel:
    """Services by failed updates."""
    failed = f"sum {BY_SERVICE} ({grown(service('service_updates_total', result='FAIL'))})"
    settled = f"sum {BY_SERVICE} ({grown(service('service_updates_total'))})"
    worst = f"topk({TOP}, {failed} > 0.5)"  # increase() of one failure is about one, not exactly
    last = service("service_last_failure_timestamp_seconds")
    return grid(
        Words(
            "Top failing services",
            f"The {TOP} services with the most failed updates in the range.",
            "No update failed",
        ),
        [
            Column("Service", "service_name", link=links.to_service_of_row()),
            PROJECT,
            Column("Failed", expr=worst, unit="none", decimals=0, width=80),
            Column("Settled", expr=f"{settled} and {ON_SERVICE} {worst}", unit="none", decimals=0, width=80),
            Column(
                "Failure rate",
                expr=f"{failed} / ({settled} > 0) and {ON_SERVICE} {worst}",
                unit="percentunit",
                decimals=0,
                width=110,
                steps=RATE,
            ),
            Column(
                "Last failure",
                expr=f"1000 * max {BY_SERVICE} ({last}) and {ON_SERVICE} {worst}",
                unit="dateTimeFromNow",
                width=150,
            ),
            SERVICE_ID,
        ],
        Size(14, 9),
        sort="Failed",
    )


def top_reasons() -> model.Panel:
    """Reasons by events."""
    events = service("service_abnormal_events_total")
    of_services = f"sum by (project, service_id, reason) ({grown(events)}) > 0.5"
    return grid(
        Words(
            "Top reasons",
            "Abnormal events, and normal ones that tell of a failure, by cause. Click one for what helps.",
            "No event told of a failure",
        ),
        [
            Column("Reason", "reason", link=links.to_causes()),
            Column("Events", expr=f"sum by (reason) ({of_services})", unit="none", decimals=0, width=100),
            Column("Services", expr=f"count by (reason) ({of_services})", unit="none", width=100),
        ],
        Size(10, 9),
        sort="Events",
    )


def slowest() -> model.Panel:
    """Services by the mean duration of their successful updates."""
    total = service("service_update_duration_seconds_sum", result="SUCCESS")
    count = service("service_update_duration_seconds_count", result="SUCCESS")
    updates = f"sum {BY_SERVICE} ({grown(count)})"
    mean = f"sum {BY_SERVICE} ({grown(total)}) / ({updates} > 0.5)"
    worst = f"topk({TOP}, {mean})"
    phase = service("service_deploy_phase_duration_seconds")
    return grid(
        Words(
            "Slowest services",
            f"The {TOP} services whose successful updates took longest on average, and the phase that took "
            "longest the last time.",
            "No duration is known",
        ),
        [
            Column("Service", "service_name", link=links.to_service_of_row()),
            PROJECT,
            Column("Mean duration", expr=worst, unit="s", width=140),
            Column("Updates", expr=f"{updates} and {ON_SERVICE} {worst}", unit="none", decimals=0, width=100),
            Column("Longest phase", "phase", width=150),
            Column(
                "Took",
                expr="topk by (project, service_id) (1, max by (project, service_id, service_name, phase) "
                f"({phase})) and {ON_SERVICE} {worst}",
                unit="s",
                width=120,
            ),
            SERVICE_ID,
        ],
        Size(24, 9),
        sort="Mean duration",
    )
