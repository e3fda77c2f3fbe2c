"""The command `once`: one complete poll of everything, printed."""

import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing

from structlog.typing import FilteringBoundLogger

from exporter.adapters.modelarts.rate_limiter import monotonic_ms
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.database import Store
from exporter.app import VERSION, exposition, now_ms, revision
from exporter.config import load
from exporter.core.polling.schedule import PollIntervals
from exporter.core.source import Gone
from exporter.engine.changes import ChangeSet
from exporter.engine.poller import Poller
from exporter.engine.reporter import Reporter
from exporter.engine.snapshot import Publisher, Snapshot
from exporter.factory import ProjectFactory, Shard
from exporter.log import LogOutput

# How long the loop sleeps when nothing is due; a poll takes seconds, so this costs nothing.
_WAIT_SECONDS = 0.02

# A thousand years: what was read once does not become due again.
_NEVER = PollIntervals(*[1000 * 365 * 24 * 3600 * 1000] * 3)

# The first few errors show what is wrong; a fleet that cannot be read has thousands of the same.
_ERRORS_TOLD = 3


class _ErrorCounter(Reporter):
    """A reporter that also counts why services could not be read, by project and sentence."""

    def __init__(self, log: FilteringBoundLogger, metrics: SelfMetrics) -> None:
        super().__init__(log, metrics)
        self.errors: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def report(self, changes: ChangeSet) -> None:
        super().report(changes)
        for change in changes.projects:
            for poll in change.polls:
                error = poll.result.error
                if error is not None and not isinstance(error, Gone):
                    self.errors[change.status.name][str(error)] += 1


def run(
    config_file: str, storage_path: str, shard: Shard, log: FilteringBoundLogger, output: LogOutput
) -> int:
    """Read every service once; the exposition goes to stdout, a summary of each project to stderr.

    Returns 1 if a project or a service could not be read.
    """
    config = load(config_file, os.environ)
    names = [project.name for project in config.projects]
    metrics = SelfMetrics(names, [], version=VERSION, revision=revision())
    publisher, reporter = Publisher(exposition(config)), _ErrorCounter(log, metrics)
    with closing(Store.open(storage_path)) as store:
        poller = Poller(store, publisher, reporter, clock=now_ms, ticks=monotonic_ms)
        setups = ProjectFactory(shard, metrics, now_ms).setups(config)
        poller.configure([(settings._replace(intervals=_NEVER), found) for settings, found in setups])
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
    for line in _summary(snapshot, reporter.errors):
        print(line, file=sys.stderr)
    complete = all(view.state.up for view in snapshot.services.values())
    return 0 if complete and all(project.up for project in snapshot.projects) else 1


def _summary(snapshot: Snapshot, errors: defaultdict[str, Counter[str]]) -> Iterator[str]:
    """A line for each project, and one for each kind of error of its services."""
    for project in snapshot.projects:
        ups = [view.state.up for (name, _), view in snapshot.services.items() if name == project.name]
        unread = sum(not up for up in ups)
        read = f"{unread} could not be read" if unread else "all were read"
        if not project.up:
            yield f"{project.name}: the list could not be read: {project.error}"
        if ups or project.up:
            yield f"{project.name}: {len(ups)} services, {read}."
        for error, count in errors[project.name].most_common(_ERRORS_TOLD):
            yield f"{project.name}: {count} of them: {error}"
