"""The metrics reference, written from the tables that are exposed.

`python -m docs.source.metrics > docs/metrics.md`
"""

import sys
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.core.metrics.families import PROJECT_FAMILIES, SERVICE_FAMILIES
from exporter.core.metrics.family import Family

_HEAD = """\
# Metrics

This page is made from the exporter's own tables by `python -m docs.source.metrics`; edit the texts there.

Times are seconds since the epoch, durations seconds, sizes bytes. Samples carry no timestamps of their own.

- **Counters are born at zero.** Every counter of a service exists, at 0, from the service's first appearance.
  A counter that is born with a value is shown as 0 until a scrape has taken that 0, for two minutes at most:
  so `increase()` sees the first step. What was in the cloud's logs at the very first start is a counter's
  first value (`history: count`) or left out (`history: skip`).
- **A counter never falls** while the store lives: not at a restart or a crash, nor when the cloud forgets.
- **Last known values stay** while the cloud cannot be read; `modelarts_up`, `modelarts_service_up` and the
  timestamps tell. Gauges that come from a log are absent until it was read for the first time.
- **A deleted service goes** after two complete lists without it, or when its logs say that it does not exist.
- **Newest** is by the time of the update, not by the order of settling.

When an update settled is not in the cloud's log. It is taken from the change of the service's status where
that falls between the last two reads, else it is the moment of the read; where that could be wrong by more
than `sweep_interval`, or nobody was watching, no duration is counted.
"""

_SERVICES = """\
## Services

Every series carries `project`, `service_id` and `service_name`; the table names further labels.
"""

_PROJECTS = """\
## Projects

Every series carries `project`, and is about the services that this exporter reads. Of shards,
[these add up and those do not](high-availability.md#what-to-add-up).
"""

_OWN = """\
## The exporter itself

`process_*` and `python_*` come with them.
"""


def reference() -> str:
    """The whole page."""
    parts = [_HEAD, _SERVICES, _table(SERVICE_FAMILIES), _PROJECTS, _table(PROJECT_FAMILIES), _OWN, _own()]
    return "\n".join(parts)


def _table(families: Iterable[Family]) -> str:
    rows = [(f.name, f.kind, f.labels, f.help) for f in families]
    return _rows(rows)


def _own() -> str:
    # One of everything, so that each family shows its labels.
    metrics = SelfMetrics(["a project"], ["an Alertmanager"], version="", revision="")
    for gauge in (
        metrics.rate,
        metrics.poll_interval,
        metrics.sweep_duration,
        metrics.listed,
        metrics.audited,
        metrics.clock_skew,
        metrics.token_expiry,
    ):
        gauge("a project", 0)
    metrics.alerts_firing("", 0)
    metrics.external_url("")
    metrics.shard(0, 1)
    text = metrics.render(openmetrics=False).decode()
    found = [f for f in text_string_to_metric_families(text) if f.name.startswith("modelarts_exporter_")]
    return _rows((_shown_name(f), f.type, _labels(f), f.documentation) for f in found)


def _shown_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Metric) -> list[str]:
    names = dict.fromkeys(name for sample in family.samples for name in sample.labels)
    return sorted(names.keys() - {"le"})


def _rows(rows: Iterable[tuple[str, str, Iterable[str], str]]) -> str:
    lines = [
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {about} |"
        for name, kind, labels, about in rows
    ]
    return "\n".join(["| Metric | Type | Labels | Meaning |", "| --- | --- | --- | --- |", *lines, ""])


if __name__ == "__main__":
    sys.stdout.write(reference())
