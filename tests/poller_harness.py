"""A whole poller on a fake cloud, stepped by hand, its page read as Prometheus reads it."""

from collections.abc import Mapping
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from structlog import wrap_logger
from structlog.testing import CapturingLogger

from exporter.adapters.prometheus.exposition import Exposition
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.database import Store
from exporter.core.accounting.apply_updates import CountingPolicy
from exporter.core.classifier.classifier import Classifier
from exporter.core.metrics.families import PROJECT_FAMILIES, Options, service_families
from exporter.core.polling.schedule import PollIntervals
from exporter.core.records import ServiceRow
from exporter.engine.fetch import Fetcher
from exporter.engine.poller import Poller, Setup
from exporter.engine.project_poller import ProjectResources
from exporter.engine.project_state import ProjectSettings
from exporter.engine.reporter import Reporter
from exporter.engine.snapshot import Publisher
from tests.fakes import Clock, Cloud, Inline

SECOND = 1000
MINUTE = 60 * SECOND
PACE = PollIntervals(interval=30 * SECOND, active_interval=10 * SECOND, sweep_interval=5 * MINUTE)
POLICY = CountingPolicy(lateness=10 * MINUTE, longest_guess=5 * MINUTE)


def settings(name: str = "prod", **changes: Any) -> ProjectSettings:
    def wants(row: ServiceRow) -> bool:
        return not row.service_name.startswith("unwanted")

    found = ProjectSettings(
        name=name,
        project_id="0" * 32,
        endpoint="https://modelarts.example",
        selection="all",
        wants=wants,
        intervals=PACE,
        policy=POLICY,
        classifier=Classifier(),
        concurrency=4,
        resolve_delay=60 * SECOND,
    )
    return found._replace(**changes)


def project(name: str, cloud: Cloud, fetchers: Fetcher | None = None, **changes: Any) -> Setup:
    """A project on a fake cloud; its jobs are done at once unless `fetchers` say otherwise."""
    return settings(name, **changes), ProjectResources(cloud, fetchers or Inline(), lambda: None, lambda: 5.0)


class PollerHarness:
    """One exporter's life; another on the same store is what a restart makes."""

    def __init__(
        self,
        cloud: Cloud,
        clock: Clock,
        store: Store | None = None,
        fetchers: Fetcher | None = None,
        **changes: Any,
    ) -> None:
        self.cloud, self.clock = cloud, clock
        self.store = store if store is not None else Store.open("")
        self.metrics = SelfMetrics(["prod"], [], version="0", revision="0")
        self.log = CapturingLogger()
        self.publisher = Publisher(Exposition(service_families(Options()), PROJECT_FAMILIES))
        self.poller = Poller(
            self.store,
            self.publisher,
            Reporter(wrap_logger(self.log), self.metrics),
            clock,
            clock.ticks,
        )
        self.poller.configure([project("prod", cloud, fetchers, **changes)])

    def settle(self) -> int | None:
        """Step until nothing is due at this moment; returns when (ticks) something will be."""
        for _ in range(10_000):
            due = self.poller.step()
            if self.poller.idle and (due is None or due > self.clock.ticks()):
                return due
        raise AssertionError("The poller never comes to rest.")

    def pass_time(self, milliseconds: int) -> None:
        """Let time pass, and do what is due as it falls due; like the real loop, look every second."""
        end = self.clock.ticks() + milliseconds
        while True:
            due = self.settle()
            now = self.clock.ticks()
            if now >= end:
                return
            wanted = [now + SECOND, end, *([] if due is None else [due])]
            self.clock.forward(min(wanted) - now)

    def text(self) -> str:
        body = self.publisher.snapshot.page.body(openmetrics=False, gzip=False, tail=b"")
        return b"".join(body).decode()

    def scrape(self) -> dict[str, float]:
        """The page's samples by name and labels (project, id and name left out); and the poller is told."""
        page = self.publisher.snapshot.page
        found = self.samples()
        self.poller.scraped(page)
        self.settle()
        return found

    def samples(self) -> dict[str, float]:
        """The page's samples, looked at without scraping."""
        found = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                found[sample.name + _labels(sample.labels)] = sample.value
        return found

    def lines(self) -> dict[str, float]:
        """The page's samples by their whole text; faster, for those who look often."""
        pairs = (line.rsplit(" ", 1) for line in self.text().splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def own(self, name: str, **labels: str) -> float | None:
        """A metric of the exporter itself."""
        for family in text_string_to_metric_families(self.metrics.render(openmetrics=False).decode()):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        return None


def _labels(labels: Mapping[str, str]) -> str:
    left = {k: v for k, v in labels.items() if k not in ("project", "service_name")}
    inner = ",".join(f"{k}={v}" for k, v in left.items())
    return f"{{{inner}}}"
