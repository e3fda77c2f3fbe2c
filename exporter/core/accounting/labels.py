"""Services and projects as the exposition sees them."""

from functools import lru_cache
from typing import NamedTuple

from exporter.core.accounting.project_totals import ProjectTotals
from exporter.core.accounting.service_state import ServiceState

Labels = tuple[tuple[str, str], ...]

# The cloud's names have at most 64 characters; more than this is not a name, and must not fill a label.
LONGEST_LABEL = 256


def label_text(value: str) -> str:
    """A label's value, bounded."""
    return value[:LONGEST_LABEL]


class ServiceView(NamedTuple):
    """A service as the exposition sees it."""

    project: str
    state: ServiceState

    @property
    def labels(self) -> Labels:
        """The labels that every series of the service carries."""
        row = self.state.row
        return _labels(self.project, row.service_id, row.service_name)


# Each family asks for them, one after the other for one service.
@lru_cache(maxsize=16)
def _labels(project: str, service_id: str, service_name: str) -> Labels:
    return (
        ("project", project),
        ("service_id", label_text(service_id)),
        ("service_name", label_text(service_name)),
    )


class ProjectView(NamedTuple):
    """A project as the exposition sees it; `up` is None before its first list."""

    project: str
    project_id: str
    endpoint: str
    up: bool | None
    services: int
    totals: ProjectTotals

    @property
    def labels(self) -> Labels:
        """The label that every series of the project carries."""
        return (("project", self.project),)
