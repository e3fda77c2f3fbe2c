"""Services and projects as the exposition sees them."""

from typing import NamedTuple

from exporter.core.account import Account
from exporter.core.fleet import Fleet

Labels = tuple[tuple[str, str], ...]

# The cloud's names have at most 64 characters; more than this is not a name, and must not fill a label.
LONGEST_LABEL = 256


def text(value: str) -> str:
    """A label's value, bounded."""
    return value[:LONGEST_LABEL]


class ServiceView(NamedTuple):
    """A service as the exposition sees it."""

    project: str
    account: Account

    @property
    def labels(self) -> Labels:
        """The labels that every series of the service carries."""
        row = self.account.row
        return (
            ("project", self.project),
            ("service_id", text(row.service_id)),
            ("service_name", text(row.service_name)),
        )


class ProjectView(NamedTuple):
    """A project as the exposition sees it; `up` is None before its first list."""

    project: str
    project_id: str
    endpoint: str
    up: bool | None
    services: int
    fleet: Fleet

    @property
    def labels(self) -> Labels:
        """The label that every series of the project carries."""
        return (("project", self.project),)
