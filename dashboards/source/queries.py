"""PromQL that several panels use: selectors of the chosen services, and what is wrong with them."""

from typing import NamedTuple

# The value of "All" in a variable is `.+`, so each matcher also matches every project and service.
PROJECT = 'project=~"$project"'
SERVICE = f'{PROJECT},service_id=~"$service"'

JOB = 'job="modelarts-exporter"'  # as the shipped rules and the example of a scrape configuration call it

# An alert of a project has no service, and one of the exporter no project: they are always shown.
OURS = 'alertname=~"ModelArts.+",severity!="none",project=~"$project|",service_id=~"$service|"'
FIRING = f'ALERTS{{alertstate="firing",{OURS}}}'
WATCHDOG = 'ALERTS{alertstate="firing",alertname="ModelArtsWatchdog"}'

BY_SERVICE = "by (project, service_id, service_name)"
ON_SERVICE = "on (project, service_id)"

STUCK_SECONDS = 1800  # where ModelArtsUpdateStuck fires: a usual deployment takes two minutes


def firing(severity: str) -> str:
    """Our alerts of one severity that fire."""
    return f'ALERTS{{alertstate="firing",severity="{severity}",{OURS}}}'


def service(metric: str, **labels: str) -> str:
    """A metric of the chosen services."""
    return f"modelarts_{metric}{{{SERVICE}{_equal(labels)}}}"


def project(metric: str, **labels: str) -> str:
    """A metric of the chosen projects."""
    return f"modelarts_{metric}{{{PROJECT}{_equal(labels)}}}"


def _equal(labels: dict[str, str]) -> str:
    return "".join(f',{name}="{value}"' for name, value in labels.items())


def once(of_services: str, *labels: str) -> str:
    """One series for each service (and label), even if several exporters expose it."""
    return f"max by ({', '.join(('project', 'service_id', 'service_name', *labels))}) ({of_services})"


def how_many(wrong: str, known: str) -> str:
    """How many series are wrong: 0 if none is, but no result if nothing is known."""
    return f"count({wrong}) or 0 * count({known})"


def how_many_services(wrong: str, known: str) -> str:
    """As `how_many`, for services."""
    return how_many(once(wrong), known)


def grown(counter: str) -> str:
    """How much a counter grew within the chosen range."""
    return f"increase({counter}[$__range])"


def per_point(counter: str) -> str:
    """How much a counter grew from one point of a graph to the next."""
    return f"increase({counter}[$__rate_interval])"


def per_second(counter: str) -> str:
    """How fast a counter grows."""
    return f"rate({counter}[$__rate_interval])"


def quantile(share: float, buckets: str, by: str = "") -> str:
    """A quantile of a histogram, for each of `by`; without observations no result instead of NaN."""
    return f"(histogram_quantile({share}, sum by (le{by and f', {by}'}) ({buckets})) >= 0)"


# A service that was stopped on purpose: its last failure does not matter, as in the alert.
FAILING = (
    f"{service('service_update_failing')} == 1"
    f" unless {ON_SERVICE} {service('service_status', status='stopped')} == 1"
)
STUCK = f"time() - {service('service_oldest_running_update_timestamp_seconds')} > {STUCK_SECONDS}"
NODES_FAILED = f"{service('service_last_update_nodes', result='failed')} > 0"


class Trouble(NamedTuple):
    """One kind of problem; of several, the one with the highest code is shown."""

    code: int
    text: str
    query: str


# The names and their order are those of the exporter's pages and of its JSON, which have no state for nodes.
# The highest first: if two have the same labels, PromQL's `or` keeps the first.
TROUBLES = (
    Trouble(6, "failing", FAILING),
    Trouble(5, "failed", f"{service('service_status', status='failed')} == 1"),
    Trouble(4, "stuck", STUCK),
    Trouble(3, "unreadable", f"{service('service_up')} == 0"),
    Trouble(2, "degraded", f"{service('service_status', status='concerning')} == 1"),
    Trouble(1, "nodes failed", NODES_FAILED),
)

NOT_WELL = f"max {BY_SERVICE} ({' or '.join(f'{t.code} + 0 * ({t.query})' for t in TROUBLES)})"
STATE = f"{NOT_WELL} or 0 * max {BY_SERVICE} ({service('service_info')})"
