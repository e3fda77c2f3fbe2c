"""What a project of a given size costs: requests, freshness, series and memory, as closed formulas.

`docs/sizing.md` explains each formula, and a test compares them with a simulation of the real schedule. Times
are in ms.
"""

from math import ceil, sqrt

import msgspec

from exporter.core.polling.schedule import PollIntervals

SECOND, HOUR, DAY = 1000, 3_600_000, 86_400_000
_REQUESTS_OF_READ = 2  # the update log and the event log
_READS_AFTER_CHANGE = 4  # one at once, and three quick looks

# Of four reads two are for services whose row has changed, and one for those that are deploying, while others
# wait (`exporter.core.polling.schedule.order_of_turn`).
_CHANGED_SHARE, _URGENT_SHARE = 2 / 4, 3 / 4

# Measured: 380,000 to 401,000 series and 225 MiB with 10,000 services, and 62 MiB with 10.
_SERIES_OF_SERVICE, _SERIES_OF_EXPORTER = 40, 200
_KIB_OF_SERVICE, _KIB_OF_EXPORTER = 17, 62 * 1024
LARGEST_MEASURED = 10_000  # services in one process

# In memory for each series of the last hours (Robust Perception, "Why does Prometheus use so much RAM?").
_PROMETHEUS_KB_OF_SERIES = 3
# On disk, after compression, 1 to 2 (Prometheus documentation, "Storage", Operational aspects).
_PROMETHEUS_BYTES_OF_SAMPLE = 2


class Load(msgspec.Struct, frozen=True, gc=False):
    """What is to be watched, and how.

    Args:
        services: how many services the project has.
        deployments_per_day: of all of them together.
        rate_limit: requests per second, of all shards together.
        intervals: the configured intervals.
        deployment: how long one takes.
        shards: how many processes share the services.
        scrape_interval: of Prometheus.
        concurrency: requests of one shard that are out at the same time.
        page: rows in one answer to a list.

    """

    services: int
    deployments_per_day: float
    rate_limit: float
    intervals: PollIntervals
    deployment: int
    shards: int
    scrape_interval: int = 30 * SECOND
    concurrency: int = 4
    page: int = 1000


class Freshness(msgspec.Struct, frozen=True, gc=False):
    """How long the beginning and the end of a deployment wait for the read that shows them, in ms."""

    start_p50: float
    start_p99: float
    end_p50: float
    end_p99: float


class Sizing(msgspec.Struct, frozen=True, gc=False):
    """What it costs; requests and series of all shards together, memory of each.

    Args:
        requests_per_hour: that are sent.
        wanted_rate: requests per second with which everything is read at the configured intervals.
        list_interval: from one list to the next one.
        sweep: within which every service is read.
        freshness: None if changes come faster than they can be read; then they wait ever longer.
        series: that are exposed.
        memory_mib: of one shard.
        samples_per_second: that Prometheus takes in.
        prometheus_mib: memory of Prometheus for these series, without queries.
        prometheus_mib_per_day: on its disk.

    """

    requests_per_hour: float
    wanted_rate: float
    list_interval: float
    sweep: float
    freshness: Freshness | None
    series: int
    memory_mib: int
    samples_per_second: float
    prometheus_mib: int
    prometheus_mib_per_day: int


def size(load: Load) -> Sizing:
    """Compute all of it."""
    intervals, rate = load.intervals, load.rate_limit / load.shards / SECOND  # of one shard, each ms
    services, starts = load.services / load.shards, load.deployments_per_day / load.shards / DAY
    # Each shard reads the whole list; while it is out, the other fetchers read on.
    pages, beside = ceil(load.services / load.page), _REQUESTS_OF_READ * (load.concurrency - 1)
    list_interval = max(intervals.interval, (pages + beside) / rate)
    left = rate - pages / list_interval
    active = starts * load.deployment
    of_changes = starts * _READS_AFTER_CHANGE * _REQUESTS_OF_READ
    of_active = active * _REQUESTS_OF_READ / intervals.active_interval
    of_sweep = services * _REQUESTS_OF_READ / intervals.sweep_interval
    wanted = pages / intervals.interval + of_changes + of_active + of_sweep
    urgent = min(of_changes + of_active, max(_URGENT_SHARE * left, left - of_sweep))
    of_first_reads = starts * 2 * _REQUESTS_OF_READ  # the row changes at the beginning and at the end
    busy = min(1.0, wanted / rate)
    # A read waits for those that are out, and shares its turns with others while these wait.
    waits = (_REQUESTS_OF_READ + beside * busy) / rate
    batch = of_first_reads * list_interval * (1 + busy) / rate
    by_list = list_interval + pages / rate + batch
    by_look = max(intervals.active_interval, active * _REQUESTS_OF_READ / max(urgent - of_changes, 1e-9))
    freshness = Freshness(
        start_p50=waits + list_interval / 2 + pages / rate + batch / 2,
        start_p99=waits + by_list,
        end_p50=waits + _earlier(by_list, by_look, 0.50),
        end_p99=waits + _earlier(by_list, by_look, 0.99),
    )
    series = load.services * _SERIES_OF_SERVICE + load.shards * _SERIES_OF_EXPORTER
    samples = series / load.scrape_interval * SECOND
    return Sizing(
        requests_per_hour=min(wanted, rate) * load.shards * HOUR,
        wanted_rate=wanted * load.shards * SECOND,
        list_interval=list_interval,
        sweep=max(intervals.sweep_interval, services * _REQUESTS_OF_READ / (left - urgent)),
        freshness=freshness if of_first_reads < left * _CHANGED_SHARE else None,
        series=series,
        memory_mib=ceil((services * _KIB_OF_SERVICE + _KIB_OF_EXPORTER) / 1024),
        samples_per_second=samples,
        prometheus_mib=ceil(series * _PROMETHEUS_KB_OF_SERIES / 1024),
        prometheus_mib_per_day=ceil(samples * DAY / SECOND * _PROMETHEUS_BYTES_OF_SAMPLE / 2**20),
    )


def _earlier(first: float, second: float, quantile: float) -> float:
    """A quantile of the shorter of two waits; each is as likely to be any length up to its longest.

    It is the t at which (1 - t / first) * (1 - t / second) is left over.
    """
    both = first + second
    return (both - sqrt(both**2 - 4 * first * second * quantile)) / 2
