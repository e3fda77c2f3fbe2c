"""What the exporter says of itself: a registry of its own, with what the platform says of the process."""

import platform
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from threading import Lock
from typing import Any, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.core.accounting.audit import KINDS as AUDIT_KINDS
from exporter.core.accounting.ledger import ANOMALIES
from exporter.core.metrics.family import unit_of

# What a healthy gateway answers, per endpoint: IAM creates a token, all others are reads.
_ENDPOINT_SUCCESS = {"token": "201", "list": "200", "detail": "200", "logs": "200", "events": "200"}
_NO_ANSWER = "error"
_FIELDS = ("result", "status", "event_type", "infer_type", "operation", "services")
_OUTCOMES = ("sent", "failed")

# A read takes some 50 ms nearby and gives up after `timeout`, 45 s unless configured.
_REQUEST_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45)
# From an idle list to a first read of a whole fleet at five requests a second, which takes half an hour.
_POLL_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
# A commit waits for the disk: 1 ms on flash, 10 ms on a spinning one, seconds on a network file system.
_COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

_EOF = b"# EOF\n"

Kind = TypeVar("Kind", Counter, Gauge, Histogram)
_NOWHERE: dict[type, Any] = {
    kind: kind("nowhere", "Not shown", registry=None) for kind in (Counter, Gauge, Histogram)
}


class SelfMetrics:
    """The exporter's own metrics; any thread may call any method.

    Args:
        projects: names of the projects, whose counters begin at 0.
        alertmanagers: what tells the Alertmanagers apart, without secrets; their counters begin at 0.
        version: of this program.
        revision: of its source.

    """

    def __init__(
        self, projects: Sequence[str], alertmanagers: Sequence[str], version: str, revision: str
    ) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._build_info = self._gauge(
            "build_info", "What this program was built from; always 1.", "version", "revision", "python"
        )
        self._web_info = self._gauge(
            "web_info", "Where readers find the exporter's pages; always 1.", "external_url"
        )
        self._shard_info = self._gauge(
            "shard_info", "Which of how many exporters that share a fleet; always 1.", "index", "total"
        )
        self._requests = self._counter(
            "api_requests", "Requests to the cloud, by HTTP status or error.", "project", "endpoint", "code"
        )
        self._request_duration = self._histogram(
            "api_request_duration_seconds",
            "Time that a request to the cloud took.",
            _REQUEST_BUCKETS,
            "project",
            "endpoint",
        )
        self._rate_limit = self._gauge(
            "api_rate_limit", "Requests per second that are allowed at present.", "project"
        )
        self._throttled = self._counter("api_throttled", "Requests that were answered with 429.", "project")
        self._poll_duration = self._histogram(
            "poll_duration_seconds",
            "Time from a list to the last read that it asked for.",
            _POLL_BUCKETS,
            "project",
        )
        self._poll_interval = self._gauge(
            "poll_interval_seconds", "Time between two lists, as configured.", "project"
        )
        self._sweep_duration = self._gauge(
            "sweep_duration_seconds",
            "Time in which every service is read once: the last time or this time, the longer one, and at"
            " least the interval that is configured.",
            "project",
        )
        self._last_list = self._gauge(
            "last_list_timestamp_seconds", "When the last complete list was read.", "project"
        )
        self._torn = self._counter(
            "torn_reads", "Reads whose rows disagreed with their own count, thrown away.", "project"
        )
        self._anomalies = self._counter(
            "ledger_anomalies",
            "Settled entries that vanished, changed or are dated in the future.",
            "project",
            "kind",
        )
        self._unknown = self._counter(
            "unknown_values", "Values of the cloud that this version does not know.", "project", "field"
        )
        self._unclassified = self._counter(
            "unclassified_events", "Events whose text no rule knows.", "project"
        )
        self._audit_differences = self._counter(
            "audit_differences",
            "Days of a service whose event log later showed less (missing) or more (extra) than was counted.",
            "project",
            "kind",
        )
        self._audit_time = self._gauge(
            "audit_last_success_timestamp_seconds",
            "When a day of an event log was last compared with what was counted, or none was left.",
            "project",
        )
        self._clock_skew = self._gauge(
            "clock_skew_seconds", "The cloud's clock minus this machine's.", "project"
        )
        self._token_expiry = self._gauge(
            "token_expiry_timestamp_seconds", "When the token in use expires.", "project"
        )
        self._commit = self._histogram(
            "store_commit_duration_seconds", "Time that a durable commit took.", _COMMIT_BUCKETS
        )
        self._store_size = self._gauge("store_size_bytes", "Size of the store on disk.")
        self._log_errors = self._counter("log_errors", "Lines of the log that could not be written.")
        self._store_writable = self._gauge(
            "store_writable",
            "0 from the first commit that fails until one succeeds: what is shown stands still meanwhile.",
        )
        self._store_writable.set(1)
        self._reload_ok = self._gauge(
            "config_last_reload_successful", "1 if the last reading of the configuration succeeded."
        )
        self._reload_time = self._gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration was last read with success.",
        )
        self._notifications = self._counter(
            "alertmanager_notifications",
            "Alerts sent to an Alertmanager, each time that one is; without any, one empty post a minute.",
            "alertmanager",
            "outcome",
        )
        self._alerts_firing = self._gauge("alerts_firing", "Alerts that are pushed at present.", "alertname")

        self._build_info.labels(version, revision, platform.python_version()).set(1)
        self._retaining = Lock()  # so that no request under way begins a series anew that is just removed
        self._projects: set[str] = set()
        self._alertmanagers: set[str] = set()
        self.retain(projects, alertmanagers)

    def retain(self, projects: Iterable[str], alertmanagers: Iterable[str]) -> None:
        """Go on with these projects and Alertmanagers: new ones begin at 0, the series of all others go."""
        projects, alertmanagers = set(projects), set(alertmanagers)
        with self._retaining:
            for gone in self._projects - projects:
                for metric in self._of_projects():
                    metric.remove_by_labels({"project": gone})
            for gone in self._alertmanagers - alertmanagers:
                self._notifications.remove_by_labels({"alertmanager": gone})
            for project in sorted(projects - self._projects):
                self._begin(project)
            for alertmanager, outcome in product(sorted(alertmanagers - self._alertmanagers), _OUTCOMES):
                self._notifications.labels(alertmanager, outcome)
            self._projects, self._alertmanagers = projects, alertmanagers

    def request(self, project: str, endpoint: str, code: str, seconds: float) -> None:
        """One request ended; `code` is the HTTP status, or `error` when no answer came."""
        self._of(self._requests, project, endpoint, code).inc()
        self._of(self._request_duration, project, endpoint).observe(seconds)

    def throttled(self, project: str) -> None:
        """One request was answered with 429."""
        self._of(self._throttled, project).inc()

    def torn(self, project: str) -> None:
        """One read was thrown away, because its rows disagreed with their own count."""
        self._of(self._torn, project).inc()

    def anomaly(self, project: str, kind: str) -> None:
        """One settled entry vanished, changed, or is dated in the future."""
        self._of(self._anomalies, project, kind).inc()

    def audit_difference(self, project: str, kind: str) -> None:
        """The event log differs in one closed day of one service from what was counted."""
        self._of(self._audit_differences, project, kind).inc()

    def audited(self, project: str, epoch_seconds: float) -> None:
        """Closed days were compared with the event log, or none are left to compare."""
        self._of(self._audit_time, project).set(epoch_seconds)

    def unknown(self, project: str, field: str) -> None:
        """One value of this field is none that we know."""
        self._of(self._unknown, project, field).inc()

    def unclassified(self, project: str) -> None:
        """No rule knew the text of one event."""
        self._of(self._unclassified, project).inc()

    def clock_skew(self, project: str, seconds: float) -> None:
        """The cloud's clock minus ours."""
        self._of(self._clock_skew, project).set(seconds)

    def token_expiry(self, project: str, epoch_seconds: float) -> None:
        """When the token in use expires."""
        self._of(self._token_expiry, project).set(epoch_seconds)

    def listed(self, project: str, epoch_seconds: float) -> None:
        """A complete list was read."""
        self._of(self._last_list, project).set(epoch_seconds)

    def poll_duration(self, project: str, seconds: float) -> None:
        """A poll ended: its list and every read that the list asked for."""
        self._of(self._poll_duration, project).observe(seconds)

    def poll_interval(self, project: str, seconds: float) -> None:
        """How often the list is read."""
        self._of(self._poll_interval, project).set(seconds)

    def sweep_duration(self, project: str, seconds: float) -> None:
        """How long it takes at present to read every service once."""
        self._of(self._sweep_duration, project).set(seconds)

    def rate(self, project: str, per_second: float) -> None:
        """Requests per second that the limiter allows now."""
        self._of(self._rate_limit, project).set(per_second)

    def external_url(self, url: str) -> None:
        """Where readers find the pages, from now on."""
        self._web_info.clear()
        self._web_info.labels(url).set(1)

    def shard(self, index: int, total: int) -> None:
        """Ours is the share `index`, counted from 0, of `total`."""
        self._shard_info.labels(index, total).set(1)

    def commit(self, seconds: float) -> None:
        """A commit is durable."""
        self._commit.observe(seconds)
        self._store_writable.set(1)

    def commit_failed(self) -> None:
        """A commit was not made."""
        self._store_writable.set(0)

    def store_size(self, size: int) -> None:
        """Bytes of the store on disk."""
        self._store_size.set(size)

    def log_error(self) -> None:
        """One line of the log could not be written."""
        self._log_errors.inc()

    def reload(self, *, ok: bool, epoch_seconds: float) -> None:
        """The configuration was read, at the start or again."""
        self._reload_ok.set(ok)
        if ok:
            self._reload_time.set(epoch_seconds)

    def notifications(self, alertmanager: str, outcome: str, count: int) -> None:
        """So many alerts, or one empty post, were `sent` or `failed` to be."""
        with self._retaining:
            if alertmanager in self._alertmanagers:
                self._notifications.labels(alertmanager, outcome).inc(count)

    def alerts_firing(self, alertname: str, count: int) -> None:
        """How many alerts of this name are pushed now."""
        self._alerts_firing.labels(alertname).set(count)

    def render(self, openmetrics: bool) -> bytes:
        """All of it as text: OpenMetrics 1.0.0 without its final `# EOF`, or the text format 0.0.4."""
        if openmetrics:
            text: bytes = generate_openmetrics(self)  # type: ignore[no-untyped-call]
            return text.removesuffix(_EOF)
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """The metrics without their `_created` series; the library could only leave them out for all."""
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric

    def _of(self, metric: Kind, project: str, *labels: str) -> Kind:
        """The series of a project; of one that a reload has taken out, a series that is shown nowhere."""
        with self._retaining:
            child: Kind = (
                metric.labels(project, *labels) if project in self._projects else _NOWHERE[type(metric)]
            )
            return child

    def _begin(self, project: str) -> None:
        for endpoint, success in _ENDPOINT_SUCCESS.items():
            self._requests.labels(project, endpoint, success)
            self._requests.labels(project, endpoint, _NO_ANSWER)
            self._request_duration.labels(project, endpoint)
        for kind in ANOMALIES:
            self._anomalies.labels(project, kind)
        for kind in AUDIT_KINDS:
            self._audit_differences.labels(project, kind)
        for field in _FIELDS:
            self._unknown.labels(project, field)
        for metric in (self._throttled, self._torn, self._unclassified, self._poll_duration):
            metric.labels(project)

    def _of_projects(self) -> tuple[Counter | Gauge | Histogram, ...]:
        return (
            *(self._requests, self._request_duration, self._rate_limit, self._throttled),
            *(self._poll_duration, self._poll_interval, self._sweep_duration, self._last_list, self._torn),
            *(self._anomalies, self._unknown, self._unclassified, self._clock_skew, self._token_expiry),
            *(self._audit_differences, self._audit_time),
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"modelarts_exporter_{name}", text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"modelarts_exporter_{name}", text, labels, unit=unit_of(name), registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(
            f"modelarts_exporter_{name}",
            text,
            labels,
            unit=unit_of(name),
            buckets=buckets,
            registry=self._registry,
        )
