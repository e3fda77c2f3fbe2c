"""Panels about the edge nodes of one service."""

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import states
from dashboards.source.panels import graph, timeline
from dashboards.source.parts import Size, Words
from dashboards.source.queries import once, per_point, service
from dashboards.source.targets import Ask


def edge() -> list[model.Panel]:
    """Empty for a service that runs in the cloud."""
    operation = service("edge_node_operation_success")
    return [
        timeline(
            Words(
                "Nodes over time",
                "What the newest update did on each node, and whether it succeeded.",
                "Not an edge service, or its nodes are not exposed (metrics.edge_nodes)",
            ),
            [Ask(f"min by (node_name, operation) ({operation})", "{{node_name}}: {{operation}}")],
            Size(14, 8),
            states.NODE,
        ),
        graph(
            Words(
                "Nodes by result",
                "Nodes on which settled updates succeeded and failed, per bar.",
                "Not an edge service",
            ),
            [
                Ask(
                    f"sum by (result) ({once(per_point(service('service_update_nodes_total')), 'result')})",
                    "{{result}}",
                )
            ],
            Size(10, 8),
            "none",
            "nodes",
            colours=states.NODES,
            bars=True,
            stack=common.StackingMode.NORMAL,
            interval="5m",
        ),
    ]
