"""Edge nodes: which node failed, since when, and how far rollouts are."""

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links, states
from dashboards.source.frame import dashboard as frame
from dashboards.source.layout import Row
from dashboards.source.panels import gauge_bars, graph, number, timeline
from dashboards.source.parts import Size, Steps, Words
from dashboards.source.queries import BY_SERVICE, how_many_services, once, per_point, service
from dashboards.source.tables import PROJECT, SERVICE_ID, Column, grid
from dashboards.source.targets import Ask

SMALL = Size(6, 4)

# As many rows as can be read on one screen.
MOST = 40

NO_NODES = "No edge service, its rollout is open, or its nodes are not exposed (metrics.edge_nodes)"
NO_EDGE = "No edge service, or its rollout is open"

NONE_IS_WELL: Steps = ((None, states.WELL), (1, states.BROKEN))
# ModelArtsEdgeRolloutDegraded fires from half of the nodes on.
PROGRESS: Steps = ((None, states.BROKEN), (0.5, states.LOOK), (1, states.WELL))

OPERATION = service("edge_node_operation_success")
SUCCEEDED = service("service_last_update_nodes", result="success")
FAILED = service("service_last_update_nodes", result="failed")


def dashboard() -> model.Dashboard:
    """For the people who run the edge nodes."""
    return frame(
        links.EDGE,
        "Edge nodes",
        "Which node is bad, is it so for every service, and how far are the rollouts?",
        [
            Row("Now", _now()),
            Row("Nodes", [_over_time()], [_worst(), _by_operation()]),
            Row("Rollouts", [_progress(), _rollouts()], [_nodes_of_updates()]),
        ],
        begin="now-24h",
    )


def _now() -> list[model.Panel]:
    succeeded = once(SUCCEEDED)
    failed = once(FAILED)
    return [
        number(
            Words("Nodes failed", "Nodes on which the newest update of their service failed.", NO_EDGE),
            [Ask(f"sum({failed})")],
            SMALL,
            "none",
            steps=NONE_IS_WELL,
        ),
        number(
            Words("Nodes ok", "Nodes on which the newest update of their service succeeded.", NO_EDGE),
            [Ask(f"sum({succeeded})")],
            SMALL,
            "none",
        ),
        number(
            Words(
                "Broken rollouts",
                "Services whose newest update failed on half of the nodes or more.",
                NO_EDGE,
            ),
            [Ask(how_many_services(f"{failed} / ({failed} + {succeeded} > 0) >= 0.5", failed))],
            SMALL,
            "none",
            steps=NONE_IS_WELL,
        ),
        number(
            Words("Open rollouts", "Edge services with an open update.", NO_EDGE),
            [
                Ask(
                    how_many_services(
                        f"{service('service_updates_running')} > 0 and on (project, service_id) {FAILED}",
                        FAILED,
                    )
                )
            ],
            SMALL,
            "none",
        ),
    ]


def _over_time() -> model.Panel:
    worst = f"bottomk({MOST}, min by (project, service_id, node_id, operation) "
    worst += f"(avg_over_time({OPERATION}[$__range] @ end())))"
    return timeline(
        Words(
            "Nodes over time",
            f"What the newest update did on each node, and whether it succeeded: the {MOST} nodes that "
            "failed for the longest part of the range. Click a bar for the service.",
            NO_NODES,
        ),
        [
            Ask(
                "min by (project, service_id, service_name, node_id, node_name, operation) "
                f"({OPERATION}) and on (project, service_id, node_id, operation) {worst}",
                "{{node_name}}: {{service_name}}, {{operation}}",
            )
        ],
        Size(24, 12),
        states.NODE,
        link=links.to_service_of_series(),
    )


def _worst() -> model.Panel:
    by = "by (project, node_id, node_name)"
    return grid(
        Words(
            "Worst nodes",
            "Nodes by the number of services whose newest update failed there, and by the share of the "
            "range for which it was so. One node that is bad for every service is a bad node; one service "
            "that is bad on every node is a bad model.",
            NO_NODES,
        ),
        [
            Column("Node", "node_name"),
            PROJECT,
            Column(
                "Failing services",
                expr=f"sum {by} (1 - min by (project, service_id, node_id, node_name) ({OPERATION}))",
                unit="none",
                width=140,
                steps=NONE_IS_WELL,
            ),
            Column(
                "Services",
                expr=f"count {by} (min by (project, service_id, node_id, node_name) ({OPERATION}))",
                unit="none",
                width=100,
            ),
            Column(
                "Failing in the range",
                expr=f"1 - avg {by} (avg_over_time({OPERATION}[$__range]))",
                unit="percentunit",
                decimals=0,
                width=160,
            ),
            Column("Node id", "node_id", width=300),
        ],
        Size(14, 9),
        sort="Failing services",
        then="Failing in the range",
    )


def _by_operation() -> model.Panel:
    return graph(
        Words(
            "Failed operations",
            "Node operations of the newest updates that failed, by what they were to do.",
            NO_NODES,
        ),
        [
            Ask(
                f"sum by (operation) (1 - min by (project, service_id, node_id, operation) ({OPERATION}))",
                "{{operation}}",
            )
        ],
        Size(10, 9),
        "none",
        "nodes",
        colours={"deploy": states.WELL, "delete": states.LOOK},
    )


def _progress() -> model.Panel:
    both = service("service_last_update_nodes")
    return gauge_bars(
        Words(
            "Rollout progress",
            "Share of the nodes on which the newest update succeeded, of each service.",
            NO_EDGE,
        ),
        [
            Ask(
                f"sort(sum {BY_SERVICE} ({SUCCEEDED}) / (sum {BY_SERVICE} ({both}) > 0))",
                "{{service_name}} ({{project}})",
            )
        ],
        Size(10, 9),
        "percentunit",
        steps=PROGRESS,
        link=links.to_service_of_series(),
    )


def _rollouts() -> model.Panel:
    running = f"max {BY_SERVICE} ({service('service_updates_running')})"
    edge_only = f"and on (project, service_id) {FAILED}"
    begun = service("service_last_update_timestamp_seconds")
    return grid(
        Words("Rollouts", "The newest update of each edge service.", NO_EDGE),
        [
            Column("Service", "service_name", link=links.to_service_of_row()),
            PROJECT,
            Column("Failed", expr=once(FAILED), unit="none", width=80, steps=NONE_IS_WELL),
            Column("Ok", expr=once(SUCCEEDED), unit="none", width=70),
            Column("Open updates", expr=f"{running} {edge_only}", unit="none", width=120),
            Column(
                "Began",
                expr=f"1000 * max {BY_SERVICE} ({begun}) {edge_only}",
                unit="dateTimeFromNow",
                width=150,
            ),
            SERVICE_ID,
        ],
        Size(14, 9),
        sort="Failed",
    )


def _nodes_of_updates() -> model.Panel:
    return graph(
        Words(
            "Nodes by result",
            "Nodes on which settled updates succeeded and failed, per bar.",
            NO_EDGE,
        ),
        [
            Ask(
                f"sum by (result) ({once(per_point(service('service_update_nodes_total')), 'result')})",
                "{{result}}",
            )
        ],
        Size(24, 7),
        "none",
        "nodes",
        colours=states.NODES,
        bars=True,
        stack=common.StackingMode.NORMAL,
        interval="5m",
    )
