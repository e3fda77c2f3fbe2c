"""Reads the services of one project, and adds the past of each to the samples."""

from collections.abc import Iterator

import msgspec

from exporter.adapters.prometheus.timed_samples import TimedSamples
from exporter.app import now_ms
from exporter.commands.backfill.reading import PresentService, read_list, read_services
from exporter.commands.progress import Work
from exporter.core.accounting import project_totals
from exporter.core.accounting.labels import ProjectView, ServiceView
from exporter.core.backfill.project_past import ProjectPast
from exporter.core.backfill.replay import ServiceLogs, replay
from exporter.core.backfill.steps import Steps
from exporter.core.records import EventWindow, ServiceRow, UpdateWindow
from exporter.core.scrub import scrub
from exporter.core.source import Gone, RemoteError
from exporter.engine.fetch import PollResult
from exporter.engine.project_poller import ProjectResources
from exporter.engine.project_state import ProjectSettings

# A name or an id in a line for people; the cloud's names have at most 64 characters.
_LONGEST_NAME = 64


class ProjectReader:
    """One project, read once.

    Args:
        settings: what is asked of it.
        resources: how it is read.
        steps: when its past is shown.

    """

    def __init__(self, settings: ProjectSettings, resources: ProjectResources, steps: Steps) -> None:
        self._settings, self._resources, self._steps = settings, resources, steps
        policy = msgspec.structs.replace(settings.policy, count_history=True)
        self._counting_all = settings._replace(policy=policy)
        self._past = ProjectPast()
        self._services = 0
        self._list_error = ""
        self._unread: list[tuple[ServiceRow, RemoteError]] = []
        self.was_listed = False

    def read(self, services: TimedSamples, work: Work) -> None:
        """Read all services and add the past of each."""
        listed = read_list(self._resources.source)
        if isinstance(listed, RemoteError):
            self._list_error = str(listed)
            return
        self.was_listed = True
        if not listed.complete:
            self._list_error = listed.error or "It was torn, so services may be missing."
        rows = sorted(filter(self._settings.wants, listed.rows), key=lambda row: row.service_id)
        self._services = len(rows)
        added = work.begin(f"services of {self._settings.name} read", len(rows))
        for row, polled in read_services(self._resources, rows, self._settings.concurrency):
            self._add(row, polled, services)
            added()

    def add_project(self, projects: TimedSamples) -> None:
        """Add the past of the project itself, once its services are."""
        if self.was_listed:
            projects.add(self._project_views(), self._steps.seam)

    @property
    def was_read_whole(self) -> bool:
        """Whether nothing is missing."""
        return not self._list_error and not self._unread

    def summary(self) -> Iterator[str]:
        """How it went, as lines for people."""
        name = self._settings.name
        if self._list_error:
            yield f"{name}: the list could not be read: {self._list_error}"
        for row, error in self._unread:
            shown = f"{scrub(row.service_name, _LONGEST_NAME)} ({scrub(row.service_id, _LONGEST_NAME)})"
            yield f"{name}: service {shown} could not be read: {error}"
        if self.was_listed:
            read = f"{len(self._unread)} could not be read" if self._unread else "all were read"
            yield f"{name}: {self._services} services, {read}."

    def _add(self, row: ServiceRow, polled: PollResult, services: TimedSamples) -> None:
        if polled.has(Gone):
            self._services -= 1  # it was deleted after the list was read
            return
        if not isinstance(polled.updates, UpdateWindow) or not isinstance(polled.events, EventWindow):
            assert polled.error is not None, "what is no window is an error"
            self._unread.append((row, polled.error))
            return
        services.add(self._service_views(row, polled, polled.updates, polled.events), self._steps.seam)

    def _service_views(
        self, row: ServiceRow, polled: PollResult, updates: UpdateWindow, events: EventWindow
    ) -> Iterator[tuple[int, ServiceView]]:
        settings, seam = self._settings, self._steps.seam
        first_shown = PresentService(settings, row, polled, now_ms())
        logs = ServiceLogs(updates, events, first_shown.explain(self._resources.source))
        # Also where the running exporter leaves history out: this command is asked for nothing else.
        counted = PresentService(self._counting_all, row, polled, now_ms()).state
        begin = seam
        for moment in replay(counted, logs, self._steps, settings.policy.lateness, settings.classifier):
            begin = min(begin, moment.number)
            if moment.observations:
                self._past.observe(moment.number, moment.observations)
            yield moment.number, ServiceView(settings.name, moment.state)
        self._past.begins(begin)
        yield seam, ServiceView(settings.name, first_shown.state)

    def _project_views(self) -> Iterator[tuple[int, ProjectView]]:
        settings = self._settings
        present = ProjectView(
            settings.name,
            settings.project_id,
            settings.endpoint,
            up=True,
            services=self._services,
            totals=project_totals.opened(settings.selection),
        )
        yield from self._past.views(present)
        yield self._steps.seam, present
