"""What one step of the poll loop changed: one frozen value for the store, readers, log and metrics."""

from collections.abc import Mapping
from typing import NamedTuple

from exporter.core.accounting.audit import Difference
from exporter.core.accounting.labels import ProjectView
from exporter.core.accounting.service_state import Outcome, ServiceState
from exporter.core.polling.progress import Progress
from exporter.core.records import ServiceList, ServiceRow
from exporter.core.source import RemoteError
from exporter.core.times import EpochMs
from exporter.engine.fetch import PollResult

ProjectKey = tuple[str, str]  # name and project_id


class StateChange(NamedTuple):
    """A service before and after; `before` is None if it is new, `present` False once it is gone."""

    before: ServiceState | None
    after: ServiceState
    present: bool = True


class ListOutcome(NamedTuple):
    """A list that was read, or could not be; `error_before` is the error of the list before, "" for none."""

    at: EpochMs
    result: ServiceList | RemoteError
    error_before: str


class PollOutcome(NamedTuple):
    """A service that was read, or could not be; `before` is what was known of it."""

    result: PollResult
    before: ServiceState | None


class AuditOutcome(NamedTuple):
    """Closed days of a service that were compared with what was counted; `row` None: none are left."""

    at: EpochMs
    row: ServiceRow | None = None
    error: RemoteError | None = None
    differences: tuple[Difference, ...] = ()


class ProjectStatus(NamedTuple):
    """How reading a project goes, for the pages and for readiness."""

    name: str
    project_id: str
    up: bool | None  # None: not listed yet
    error: str
    services: int
    listed_at: EpochMs | None  # the last complete list
    sweep_ms: int = 0  # how long it takes now to read every service once; 0: not known yet
    first_reads: Progress | None = None  # None until the list tells how many services there are


class ProjectChange(NamedTuple):
    """What changed in one project.

    `services` has those that changed, by service_id; `totals_changed` says whether those of the whole project
    did. `outcomes` is what was counted, by service_id;
    `poll_seconds` is how long each cycle of polls took that has ended.
    """

    key: ProjectKey
    view: ProjectView
    status: ProjectStatus
    services: Mapping[str, StateChange] = {}
    totals_changed: bool = False
    outcomes: tuple[tuple[str, Outcome], ...] = ()
    lists: tuple[ListOutcome, ...] = ()
    polls: tuple[PollOutcome, ...] = ()
    poll_seconds: tuple[float, ...] = ()
    audits: tuple[AuditOutcome, ...] = ()
    rate: float | None = None  # requests per second that are allowed now
    sweep_seconds: float | None = None  # how long it takes now to read every service once


class ChangeSet(NamedTuple):
    """What changed in one step. `removed` names the projects that are no longer read."""

    projects: tuple[ProjectChange, ...] = ()
    removed: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.projects or self.removed)
