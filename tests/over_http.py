"""A whole exporter on an emulated cloud over HTTP, stepped by hand; nobody's clock runs by itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families
from structlog import wrap_logger
from structlog.testing import CapturingLogger

from exporter.adapters.modelarts.api_client import Credential, OnAnswer
from exporter.adapters.prometheus.exposition import Exposition
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.store.database import Store
from exporter.core.accounting.apply_updates import CountingPolicy
from exporter.core.metrics.families import PROJECT_FAMILIES, Options, service_families
from exporter.core.polling.schedule import PollIntervals
from exporter.emulator import Cloud, Server, Switches
from exporter.engine.fetch import Fetcher
from exporter.engine.poller import Poller
from exporter.engine.project_poller import ProjectResources
from exporter.engine.reporter import Reporter
from exporter.engine.snapshot import Publisher
from tests.clients import Talk
from tests.expected_series import Series, series
from tests.fakes import Clock, Inline
from tests.poller_harness import settings

SECOND = 1000
PACE = PollIntervals(interval=10 * SECOND, active_interval=3 * SECOND, sweep_interval=60 * SECOND)
POLICY = CountingPolicy(lateness=60 * SECOND, longest_guess=60 * SECOND)

# One step answers what is due and asks for what that makes due; of a fleet of tens this never ends in more.
_MOST_STEPS = 1000


class World:
    """The cloud with its clock, and one exporter after another on the same store.

    `wall` is the exporter's clock and may be set apart from the cloud's; `ticks` is the one that never steps.
    """

    def __init__(
        self,
        cloud: Cloud,
        clock: Clock,
        url: str,
        sign: Callable[[Talk], Credential] = Talk.access_key,
        on_answer: OnAnswer | None = None,
    ) -> None:
        self.cloud, self.clock, self._url, self._sign, self._on_answer = cloud, clock, url, sign, on_answer
        self.wall, self.ticks = Clock(), Clock(0)
        self.store = Store.open("")
        self.restart()

    def restart(self) -> None:
        """The exporter is gone between two steps; another takes over what is durable."""
        self.metrics = SelfMetrics(["prod"], [], version="0", revision="0")
        self.publisher = Publisher(Exposition(service_families(Options()), PROJECT_FAMILIES))
        self.log = CapturingLogger()
        self.poller = Poller(
            self.store,
            self.publisher,
            Reporter(wrap_logger(self.log), self.metrics),
            self.wall,
            self.ticks.ticks,
        )
        self.adopt(Inline())

    def adopt(self, fetchers: Fetcher) -> None:
        """Go on with other fetchers, and a client that knows nothing yet."""
        talk = Talk(self._url, self.wall)
        talk.limiter.clock = self.ticks
        client = talk.client(self._sign(talk), on_answer=self._on_answer)
        known = settings(intervals=PACE, policy=POLICY)
        self.poller.configure([(known, ProjectResources(client, fetchers, lambda: None, lambda: 5.0))])

    def rest(self) -> None:
        """Step until nothing is due at this moment."""
        for _ in range(_MOST_STEPS):
            due = self.poller.step()
            if self.poller.idle and (due is None or due > self.ticks()):
                return
        raise AssertionError("The poller never comes to rest.")

    def forward(self, milliseconds: int) -> None:
        """Time passes for all, and what fell due meanwhile is done at its end."""
        for clock in (self.clock, self.wall, self.ticks):
            clock.forward(milliseconds)
        self.rest()

    def sweep(self) -> None:
        """Long enough for everything to be read whole, and for every 0 to be scraped."""
        for _ in range(2 * PACE.sweep_interval // PACE.interval + 4):
            self.forward(PACE.interval)
            self.scrape()

    def text(self) -> str:
        """The page."""
        pieces = self.publisher.snapshot.page.body(openmetrics=False, gzip=False, tail=b"")
        return b"".join(pieces).decode()

    def scrape(self) -> None:
        """A scrape has taken the page."""
        self.poller.scraped(self.publisher.snapshot.page)
        self.rest()

    def shown(self) -> Series:
        """The page's series, as Prometheus' own client reads them."""
        return {
            series(sample.name, sample.labels): sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
        }

    def own(self, name: str, **labels: str) -> float:
        """A metric of the exporter itself."""
        return next(
            sample.value
            for family in text_string_to_metric_families(self.metrics.render(openmetrics=False).decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@contextmanager
def world(
    switches: Switches | None = None, sign: Callable[[Talk], Credential] = Talk.access_key
) -> Iterator[World]:
    """A new cloud on a socket; the exporter has not asked it anything yet."""
    clock = Clock()
    cloud = Cloud(clock, switches)
    with Server(cloud) as server:
        yield World(cloud, clock, server.url, sign)
