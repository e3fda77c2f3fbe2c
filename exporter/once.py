"""The command `once`: one complete poll of everything, printed."""

import os
import sys
import time

from structlog.typing import FilteringBoundLogger

from exporter.adapters.modelarts.rate_limiter import monotonic_ms
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.database import Store
from exporter.app import VERSION, exposition, now_ms, revision
from exporter.config import load
from exporter.engine.poller import Poller
from exporter.engine.reporter import Reporter
from exporter.engine.snapshot import Publisher
from exporter.factory import ProjectFactory, Shard

# How long the loop sleeps when nothing is due; a poll takes seconds, so this costs nothing.
_NAP_SECONDS = 0.02


def run(config_file: str, storage_path: str, shard: Shard, log: FilteringBoundLogger) -> int:
    """Read every project once and write the exposition to stdout. Returns 1 if any project failed."""
    config = load(config_file, os.environ)
    names = [project.name for project in config.projects]
    metrics = SelfMetrics(names, [], version=VERSION, revision=revision())
    publisher = Publisher(exposition(config))
    store = Store.open(storage_path)
    poller = Poller(store, publisher, Reporter(log, metrics), clock=now_ms, ticks=monotonic_ms)
    poller.configure(ProjectFactory(shard, metrics, now_ms).setups(config))
    while True:
        poller.step()
        if poller.idle and poller.caught_up():
            break
        time.sleep(_NAP_SECONDS)
    poller.close()
    store.close()
    snapshot = publisher.snapshot
    pieces = snapshot.page.body(openmetrics=False, gzip=False, tail=metrics.render(openmetrics=False))
    # As bytes, since the format is UTF-8 whatever the locale says.
    sys.stdout.buffer.writelines(pieces)
    sys.stdout.flush()
    return 0 if all(project.up for project in snapshot.projects) else 1
