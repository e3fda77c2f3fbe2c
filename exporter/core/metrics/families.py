"""All metric families, in the order in which they are shown."""

import msgspec

from exporter.core.metrics import events, models, project, service, updates
from exporter.core.metrics.family import Family


class Options(msgspec.Struct, frozen=True):
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
