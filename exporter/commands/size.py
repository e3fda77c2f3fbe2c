"""The command `size`: what a project of so many services costs."""

import json
from collections.abc import Iterator
from math import ceil
from typing import Any

from exporter.core.formats import length
from exporter.core.polling.sizing import LARGEST_MEASURED, SECOND, Load, Sizing, size


def shards_for(services: int) -> int:
    """How many shards to begin with: none has more services than were measured."""
    return ceil(services / LARGEST_MEASURED)


def report(load: Load, form: str) -> str:
    """What it costs, as "text" or "json"."""
    found = size(load)
    if form == "json":
        return json.dumps(_document(load, found), indent=2)
    return "\n".join(f"{name:<12}{text}" for name, text in _lines(load, found))


def _document(load: Load, found: Sizing) -> dict[str, Any]:
    fresh = found.freshness
    return {
        "services": load.services,
        "deployments_per_day": load.deployments_per_day,
        "rate_limit": load.rate_limit,
        "shards": load.shards,
        "requests_per_hour": round(found.requests_per_hour),
        "rate_limit_for_all": round(found.wanted_rate, 1),
        "list_interval_seconds": round(found.list_interval / SECOND),
        "sweep_seconds": round(found.sweep / SECOND),
        "start_p50_seconds": fresh and round(fresh.start_p50 / SECOND),
        "start_p99_seconds": fresh and round(fresh.start_p99 / SECOND),
        "end_p50_seconds": fresh and round(fresh.end_p50 / SECOND),
        "end_p99_seconds": fresh and round(fresh.end_p99 / SECOND),
        "series": found.series,
        "memory_mib_per_shard": found.memory_mib,
        "prometheus": {
            "samples_per_second": round(found.samples_per_second),
            "memory_mib": found.prometheus_mib,
            "disk_mib_per_day": found.prometheus_mib_per_day,
        },
    }


def _lines(load: Load, found: Sizing) -> Iterator[tuple[str, str]]:
    yield (
        "load",
        f"{load.services:,} services in one project, {load.deployments_per_day:,.0f} deployments a day",
    )
    rates = f"rate_limit {load.rate_limit:g}/s; {found.wanted_rate:.1f}/s for everything at its interval"
    yield "requests", f"{found.requests_per_hour:,.0f} an hour ({rates})"
    yield "list", f"every {length(found.list_interval / SECOND)}"
    yield "sweep", f"every service within {length(found.sweep / SECOND)}"
    fresh = found.freshness
    if fresh is None:
        yield (
            "freshness",
            "changes come faster than they can be read: raise rate_limit, if the cloud allows it",
        )
    else:
        for name, p50, p99 in (
            ("start seen", fresh.start_p50, fresh.start_p99),
            ("end seen", fresh.end_p50, fresh.end_p99),
        ):
            yield name, f"p50 {length(p50 / SECOND)}, p99 {length(p99 / SECOND)} after it"
    yield "series", f"{found.series:,}"
    yield "shards", f"{load.shards}, with {found.memory_mib:,} MiB each"
    yield (
        "Prometheus",
        (
            f"{found.samples_per_second:,.0f} samples/s, {found.prometheus_mib:,} MiB without queries, "
            f"{found.prometheus_mib_per_day:,} MiB on disk a day"
        ),
    )
