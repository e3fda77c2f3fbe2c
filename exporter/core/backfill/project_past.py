"""What was known of a whole project at each step of its past: small, whatever the number of services."""

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from exporter.core.accounting import project_totals
from exporter.core.accounting.counters import Counters, add
from exporter.core.accounting.labels import ProjectView
from exporter.core.accounting.project_totals import ProjectTotals
from exporter.core.accounting.service_state import Observation


class ProjectPast:
    """Collects what is added up over the services of a project, step by step."""

    def __init__(self) -> None:
        self._begun: Counter[int] = Counter()  # services, by the step that shows them first
        self._grown: dict[int, ProjectTotals] = {}  # what was added, by the step that shows it first

    def begins(self, number: int) -> None:
        """One more service is shown from this step on."""
        self._begun[number] += 1

    def observe(self, number: int, observations: Iterable[Observation]) -> None:
        """Durations that this step shows for the first time."""
        before = self._grown.get(number, ProjectTotals())
        self._grown[number] = project_totals.observe(before, observations, 0)

    def views(self, present: ProjectView) -> Iterator[tuple[int, ProjectView]]:
        """The project from each step on at which it changed; `present` gives what never did."""
        totals = project_totals.opened("")
        services = 0
        for number in sorted({*self._begun, *self._grown}):
            services += self._begun[number]
            grown = self._grown.get(number, ProjectTotals()).counters.values
            # Nobody scrapes the past: its counters wait for no scrape.
            counters = Counters(add(totals.counters, grown, 0).values)
            totals = msgspec.structs.replace(totals, counters=counters)
            yield number, present._replace(services=services, totals=totals)
