"""The command `once`: one complete poll of everything, printed."""

import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from functools import partial

from structlog.typing import FilteringBoundLogger

from exporter.adapters.modelarts.rate_limiter import monotonic_ms
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.database import Store
from exporter.app import VERSION, exposition, now_ms, revision
from exporter.commands.patient_source import PatientSource
from exporter.commands.progress import ProgressLine, first_reads_line
from exporter.config import load
from exporter.core.polling.schedule import PollIntervals
from exporter.core.polling.shard import Shard
from exporter.core.source import Gone
from exporter.engine.changes import ChangeSet
from exporter.engine.poller import Poller, Setup
from exporter.engine.project_poller import ProjectResources
from exporter.engine.project_state import ProjectSettings
from exporter.engine.reporter import Reporter
from exporter.engine.snapshot import Publisher, Snapshot
from exporter.factory import ProjectFactory
from exporter.log import LogOutput

# How long the loop sleeps when nothing is due; a poll takes seconds, so this costs nothing.
_WAIT_SECONDS = 0.02

# A thousand years: what was read once does not become due again.
_NEVER = PollIntervals(*[1000 * 365 * 24 * 3600 * 1000] * 3)

# The first few errors show what is wrong; a fleet that cannot be read has thousands of the same.
_ERRORS_TOLD = 3


class _ReadCounter(Reporter):
    """A reporter that also remembers what was read, and counts by project and sentence what could not be.

    Attributes:
        read: the services whose logs were read, by project and id.
        errors: why those of others were not.
        detail_errors: why a detail was not read, which may have told why an update failed.

    """

    def __init__(self, log: FilteringBoundLogger, metrics: SelfMetrics) -> None:
        super().__init__(log, metrics)
        self.read: set[tuple[str, str]] = set()
        self.errors: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.detail_errors: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def report(self, changes: ChangeSet) -> None:
        super().report(changes)
        for change in changes.projects:
            name = change.status.name
            for job, error in ((poll.result.job, poll.result.error) for poll in change.polls):
                if error is None and not job.detail:
                    self.read.add((name, job.service_id))
                elif error is not None and not isinstance(error, Gone):
                    errors = self.detail_errors if job.detail else self.errors
                    errors[name][str(error)] += 1


def run(
    config_file: str, storage_path: str, shard: Shard, log: FilteringBoundLogger, output: LogOutput
) -> int:
    """Read every service once; the exposition goes to stdout, a summary of each project to stderr.

    Returns 1 if a project, a service, or the detail that may tell why it failed could not be read.
    """
    config = load(config_file, os.environ)
    names = [project.name for project in config.projects]
    metrics = SelfMetrics(names, [], version=VERSION, revision=revision())
    publisher, reporter = Publisher(exposition(config)), _ReadCounter(log, metrics)
    with closing(Store.open(storage_path)) as store:
        poller = Poller(store, publisher, reporter, clock=now_ms, ticks=monotonic_ms)
        setups = ProjectFactory(shard, metrics, now_ms).setups(config)
        poller.configure([_once(*setup, log) for setup in setups])
        with ProgressLine(lambda: first_reads_line(publisher.snapshot.projects), output):
            while True:
                poller.step()
                if poller.store_error is not None:
                    raise poller.store_error
                if poller.idle and poller.caught_up():
                    break
                time.sleep(_WAIT_SECONDS)
        poller.close()
    snapshot = publisher.snapshot
    pieces = snapshot.page.body(openmetrics=False, gzip=False, tail=metrics.render(openmetrics=False))
    # As bytes, since the format is UTF-8 whatever the locale says.
    sys.stdout.buffer.writelines(pieces)
    sys.stdout.flush()
    output.close()  # the summary comes last
    for line in _summary(snapshot, reporter):
        print(line, file=sys.stderr)
    complete = snapshot.services.keys() <= reporter.read and not any(reporter.detail_errors.values())
    return 0 if complete and all(project.up for project in snapshot.projects) else 1


def _once(settings: ProjectSettings, found: ProjectResources, log: FilteringBoundLogger) -> Setup:
    """Have everything read once, and again only where the cloud says that it is asked too often."""
    waits = partial(_tell_wait, log.bind(project=settings.name))
    source = PatientSource(found.source, found.stop, waits)
    return settings._replace(intervals=_NEVER), found._replace(source=source)


def _tell_wait(log: FilteringBoundLogger, seconds: float) -> None:
    log.warning("the cloud limits the rate of requests; waiting", seconds=seconds or "unknown")


def _summary(snapshot: Snapshot, counted: _ReadCounter) -> Iterator[str]:
    """A line for each project, and one for each kind of error of its services."""
    for project in snapshot.projects:
        services = {key for key in snapshot.services if key[0] == project.name}
        unread = len(services - counted.read)
        read = f"{unread} could not be read" if unread else "all were read"
        if not project.up:
            yield f"{project.name}: the list could not be read: {project.error}"
        if services or project.up:
            yield f"{project.name}: {len(services)} services, {read}."
        for error, count in counted.errors[project.name].most_common(_ERRORS_TOLD):
            yield f"{project.name}: {count} of them: {error}"
        for error, count in counted.detail_errors[project.name].most_common(_ERRORS_TOLD):
            yield f"{project.name}: the cause of {count} of the failures could not be read: {error}"
