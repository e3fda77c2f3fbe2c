"""All metric families, in the order in which they are shown."""

from collections.abc import Iterable

import msgspec

from exporter.core.metrics import events, models, project, service, updates
from exporter.core.metrics.family import Family


class Options(msgspec.Struct, frozen=True, gc=False):
    """What the configuration decides about the metrics of services."""

    failure_message: bool = True
    edge_nodes: bool = True


def service_families(options: Options) -> tuple[Family, ...]:
    """The families of services, as configured."""
    return (
        *service.FAMILIES,
        *updates.FAMILIES,
        *(updates.EDGE_NODE_FAMILIES if options.edge_nodes else ()),
        *models.FAMILIES,
        events.failure_info(message=options.failure_message),
        *events.FAMILIES,
    )


SERVICE_FAMILIES = service_families(Options())
PROJECT_FAMILIES = project.FAMILIES

# What neither of the two logs tells of the past, so that no past can be shown of it.
UNKNOWN_OF_THE_PAST = frozenset(
    {
        "modelarts_service_status",
        "modelarts_service_up",
        "modelarts_service_last_poll_timestamp_seconds",
        "modelarts_service_invocations_total",
        "modelarts_service_failed_invocations_total",
        "modelarts_up",
    }
)


def known_of_the_past(families: Iterable[Family]) -> tuple[Family, ...]:
    """Those of the families whose past the logs tell."""
    return tuple(family for family in families if family.name not in UNKNOWN_OF_THE_PAST)
