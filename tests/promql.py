"""Checks a query of rules, runbooks or dashboards against the metrics that the exporter exposes."""

import re
from collections.abc import Iterator, Mapping
from functools import cache

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.core.metrics.families import PROJECT_FAMILIES, SERVICE_FAMILIES
from exporter.core.metrics.family import Family
from exporter.core.records import EVENT_TYPES, RESULTS, STATUSES

SERVICE = frozenset({"project", "service_id", "service_name"})
# What Prometheus itself adds: to each series of a scrape, and as series of its own.
TARGET = frozenset({"job", "instance"})
OF_PROMETHEUS = {
    "up": TARGET,
    "process_start_time_seconds": TARGET,
    "ALERTS": frozenset({"alertname", "alertstate", "severity"}) | SERVICE,
}

# Labels whose values are known: a query with a misspelt value would find nothing, without an error.
VALUES = {
    "result": {*RESULTS, "success", "failed"},
    "status": {*STATUSES, "other"},
    "event_type": set(EVENT_TYPES),
    "outcome": {"sent", "failed"},
    "endpoint": {"token", "list", "detail", "logs", "events"},
}

GROWING = ("_total", "_sum", "_count", "_bucket")
_COUNTING = {"rate", "irate", "increase", "resets"}


@cache
def exposed() -> Mapping[str, frozenset[str]]:
    """Every series' name, with the labels it can have."""
    found: dict[str, frozenset[str]] = {}
    for families, labels in ((SERVICE_FAMILIES, SERVICE), (PROJECT_FAMILIES, frozenset({"project"}))):
        for family in families:
            found |= _series(family, labels)
    for own in text_string_to_metric_families(_own()):
        for sample in own.samples:
            found[sample.name] = found.get(sample.name, frozenset()) | set(sample.labels) | TARGET
    return {**found, **OF_PROMETHEUS}


def _series(family: Family, labels: frozenset[str]) -> dict[str, frozenset[str]]:
    labels = labels | set(family.labels) | TARGET
    match family.kind:
        case "summary":
            return {family.name + suffix: labels for suffix in ("_sum", "_count")}
        case "histogram":
            plain = {family.name + suffix: labels for suffix in ("_sum", "_count")}
            return {**plain, f"{family.name}_bucket": labels | {"le"}}
        case _:
            return {family.name: labels}


def _own() -> str:
    """The exporter's own metrics, at least one series of each."""
    metrics = SelfMetrics(["p"], ["a"], version="", revision="")
    for gauge in (
        metrics.rate,
        metrics.poll_interval,
        metrics.sweep_duration,
        metrics.listed,
        metrics.audited,
        metrics.clock_skew,
        metrics.token_expiry,
    ):
        gauge("p", 0)
    metrics.alerts_firing("", 0)
    metrics.external_url("")
    metrics.shard(0, 1)
    return metrics.render(openmetrics=False).decode()


def nodes(query: str) -> list[promql.Expr]:
    """Every node of a query. Raises `ValueError` if it cannot be parsed."""
    found: list[promql.Expr] = []
    promql.walk(promql.parse(query), pre_visit=found.append)
    return found


def selectors(query: str) -> list[promql.VectorSelector]:
    """Every selector of a query, also inside a range."""
    return [node for node in nodes(query) if isinstance(node, promql.VectorSelector)]


def faults(query: str, recorded: Mapping[str, frozenset[str]] | None = None) -> list[str]:
    """What is wrong with a query: unknown metrics, labels and values, and functions that need a counter."""
    try:
        found = nodes(query)
    except ValueError as error:
        return [f"{error}: {query}"]
    known = {**exposed(), **(recorded or {})}
    wrong = []
    labels: set[str] = set()
    for selector in selectors(query):
        if selector.name not in known:
            wrong.append(f"unknown metric {selector.name}")
            continue
        labels |= known[selector.name]
        wrong += _wrong_matchers(selector, known[selector.name])
    for name in _named_labels(found):
        if name not in labels:
            wrong.append(f"no metric here has a label {name}")
    for node in found:
        if isinstance(node, promql.Call) and node.func.name in _COUNTING:
            wrong += [
                f"{node.func.name} of {selector.name}, which is no counter"
                for selector in selectors(node.args[0].prettify())
                if not str(selector.name).endswith(GROWING) and ":" not in str(selector.name)
            ]
    return [f"{fault}: {query}" for fault in wrong]


def _wrong_matchers(selector: promql.VectorSelector, labels: frozenset[str]) -> Iterator[str]:
    for matcher in selector.matchers.matchers:
        if matcher.name not in labels:
            yield f"{selector.name} has no label {matcher.name}"
        known = VALUES.get(matcher.name, set())
        for value in matcher.value.split("|"):
            if known and re.fullmatch(r"\w[\w-]*", value) and value not in known:
                yield f"{matcher.name} is never {value}"


def _named_labels(found: list[promql.Expr]) -> Iterator[str]:
    for node in found:
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            yield from node.modifier.labels
        if isinstance(node, promql.BinaryExpr) and node.modifier is not None and node.modifier.matching:
            yield from node.modifier.matching.labels
