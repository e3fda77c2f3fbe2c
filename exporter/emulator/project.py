"""A project of the emulated cloud: its services, and the truth about those that were deleted."""

from collections import Counter
from dataclasses import dataclass, field

from exporter.emulator.rows import Row
from exporter.emulator.service import Service
from exporter.emulator.truth import Truth

DEFAULT_PROJECT = "0123456789abcdef0123456789abcdef"
DEFAULT_PROJECT_NAME = "eu-de_demo"


@dataclass
class Project:
    """`services` by id, oldest first; `deleted` has the truth about deleted ones, by id.

    `services_2`: rows of the list of version 2.
    """

    project_id: str
    name: str
    services: dict[str, Service] = field(default_factory=dict)
    deleted: dict[str, Truth] = field(default_factory=dict)
    services_2: list[Row] = field(default_factory=list)

    def delete(self, service_id: str, now: int) -> None:
        """Delete the service, but keep the truth about it."""
        self.deleted[service_id] = self.services.pop(service_id).truth(now)

    def truth(self, service_id: str, now: int) -> Truth:
        """The truth about a service, also a deleted one; KeyError if there never was one."""
        if service_id in self.services:
            return self.services[service_id].truth(now)
        return self.deleted[service_id]

    def truth_totals(self, now: int) -> Counter[tuple[str, str]]:
        """How many of each (`update`, result) and (`event`, type), over all services."""
        totals: Counter[tuple[str, str]] = Counter()
        for service_id in (*self.services, *self.deleted):
            truth = self.truth(service_id, now)
            totals.update({("update", result): count for result, count in truth.results.items()})
            totals.update({("event", kind): count for kind, count in truth.types.items()})
        return totals

    def forget(self, now: int, before: int) -> None:
        """Drop entries older than `before` (ms); only the totals still have them."""
        for service in self.services.values():
            service.forget(now, before)
        self.deleted = {service_id: truth.totals_before(before) for service_id, truth in self.deleted.items()}
