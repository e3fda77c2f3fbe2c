# ruff: noqa: T201 - it prints what it measures
"""Measures the exporter as its users meet it, with the floor or the rival beside each figure: `make bench`.

The exporter, the fleet that it reads, the one that scrapes it and the bare server are processes of their own.
What is compared is measured in the same run, so that a busy machine slows down both; quote the ratios.
Nothing here fails: figures are for people, and `tests/test_cost.py` guards what can be counted.
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.processes import (
    PROJECT_ID,
    Exporter,
    asked,
    client,
    get,
    server,
    wait_for_lists,
    wait_for_reads,
    wait_for_sum,
)

# A busy fleet: so many services deploy in a second, at any size.
CHANGES_PER_SECOND = 20
# What these need: each is read at once and ten seconds later, in two requests, and every list has ten pages.
READS_PER_SECOND = 100
# How long the CPU between scrapes is measured: four lists and four hundred changes.
CPU_SECONDS = 20.0
# Between two scrapes; far more often than Prometheus does, to have many in short time.
SCRAPE_PAUSE_SECONDS = 0.05


class Figure(NamedTuple):
    """A line of the table: what was measured, the floor or the rival of the same run, and the goal."""

    name: str
    measured: str
    beside: str
    goal: str


class Run:
    """One run: what it has found, printed as it comes."""

    def __init__(self, services: int, scrapes: int, directory: Path) -> None:
        self.services, self.scrapes, self.directory = services, scrapes, directory
        self.figures: list[Figure] = []

    def add(self, name: str, measured: str, beside: str = "", goal: str = "") -> None:
        """A line of the table."""
        self.figures.append(Figure(name, measured, beside, goal))
        print(f"{name:58} {measured:28} {beside:34} {goal}", flush=True)

    @contextmanager
    def exporter(
        self, services: int, *, interval: str = "5s", events: int = 6, first: int | None = None
    ) -> Iterator[Exporter]:
        """An exporter on a fleet of its own, not started yet."""
        arguments = [f"--services={services}", f"--events={events}"]
        arguments += [] if first is None else [f"--first-events={first}"]
        directory = Path(tempfile.mkdtemp(dir=self.directory))
        with server("fleet_server", *arguments) as fleet:
            yield Exporter(directory, fleet, interval)


def milliseconds(seconds: float) -> str:
    """A time as the table has it."""
    return f"{seconds * 1000:.1f}"


def p99(values: list[float]) -> float:
    """The value that one in a hundred is above."""
    return sorted(values)[max(int(len(values) * 0.99) - 1, 0)]


def large_fleet(run: Run) -> None:
    """Cold start, scrapes while much happens, CPU, memory, warm restart: all of one exporter."""
    with ExitStack() as stack:
        exporter = stack.enter_context(run.exporter(run.services))
        stack.enter_context(exporter)
        wait_for_reads(exporter, run.services)
        begun = time.perf_counter()
        packed = get(f"{exporter.url}/metrics", packed=True)
        first = time.perf_counter() - begun
        plain = get(f"{exporter.url}/metrics")
        samples = sum(not line.startswith(b"#") for line in plain.splitlines())
        sizes = f"{len(plain) / 1e6:.1f} MB, packed {len(packed) / 1e6:.1f} MB"
        print(f"{run.services} services, {samples} samples, {sizes}")

        exporter.limit(READS_PER_SECOND)
        get(f"{exporter.fleet}/bench?changes={CHANGES_PER_SECOND}", method="POST")
        time.sleep(5)
        used, reads = cpu_of(exporter)
        begun = time.perf_counter()
        get(f"{exporter.url}/metrics", packed=True)
        rare = time.perf_counter() - begun
        run.add("CPU between scrapes, per cent of a core", f"{used * 100:.1f}", reads, "10")

        servers = []
        for name, body in (("packed", packed), ("plain", plain)):
            file = run.directory / name
            file.write_bytes(body)
            servers.append(stack.enter_context(server("bare_server", str(file))))
        page = f"{exporter.url}/metrics"
        urls = [f"{page}#gzip", f"{servers[0]}/", page, f"{servers[1]}/"]
        taken = client("scraper", str(run.scrapes), str(SCRAPE_PAUSE_SECONDS), *urls)
        for name, (ours, bare), goal in (
            ("gzip scrape", urls[:2], "8 / 50"),
            ("plain scrape", urls[2:], "40 / 100"),
        ):
            mine, floor = taken[ours], taken[bare]
            run.add(
                f"{name}, p50 / p99 ms",
                f"{milliseconds(statistics.median(mine))} / {milliseconds(p99(mine))}",
                f"bare {milliseconds(statistics.median(floor))} / {milliseconds(p99(floor))}",
                goal,
            )
        run.add(
            "first scrape after a cold start, ms",
            milliseconds(first),
            f"after {CPU_SECONDS:.0f} s of changes {milliseconds(rare)}",
            "no more",
        )
        rival = rival_renderer(plain.decode())
        run.add(
            "a gzip scrape against prometheus_client",
            f"{rival / statistics.median(taken[urls[0]]):.0f} times faster",
            f"it takes {rival:.1f} s",
            "200",
        )
        run.add("memory, MiB", f"{exporter.memory():.0f}", f"peak {exporter.memory(peak=True):.0f}", "200")
        exporter.stop()
        exporter.start()
        warm = exporter.ready()
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import exporter.cli"], check=True)
        floor_seconds = time.perf_counter() - begun
        run.add("warm restart to ready, s", f"{warm:.2f}", f"imports alone {floor_seconds:.2f}", "2")


def cpu_of(exporter: Exporter) -> tuple[float, str]:
    """The share of a core that it uses, and what it asked of the cloud meanwhile."""
    before, cpu, begun = asked(exporter.fleet), exporter.cpu(), time.perf_counter()
    time.sleep(CPU_SECONDS)
    used = (exporter.cpu() - cpu) / (time.perf_counter() - begun)
    after = asked(exporter.fleet)
    counts = (after.get(kind, 0) - before.get(kind, 0) for kind in ("logs", "events", "list"))
    return used, "{} + {} + {} requests".format(*counts)


def rival_renderer(page: str) -> float:
    """Seconds that prometheus_client takes for the same page of values that are in memory."""
    families = list(text_string_to_metric_families(page))

    class Collector:
        def collect(self) -> Iterator[Metric]:
            for family in families:
                metric = Metric(family.name, family.documentation, family.type)
                for sample in family.samples:
                    metric.add_sample(sample.name, sample.labels, sample.value)
                yield metric

    begun = time.perf_counter()
    gzip.compress(generate_latest(Collector()))
    return time.perf_counter() - begun


def cost_of_a_change(run: Run) -> None:
    """What a change and a list cost at two sizes."""
    costs = {}
    for services in (100, run.services):
        with run.exporter(services) as made, made as exporter:
            wait_for_reads(exporter, services)
            time.sleep(5)
            idle, _ = cpu_of(exporter)
            get(f"{exporter.fleet}/bench?changes={CHANGES_PER_SECOND}", method="POST")
            time.sleep(5)
            busy, _ = cpu_of(exporter)
            costs[services] = (busy - idle) / CHANGES_PER_SECOND
            run.add(f"a list of {services} in which nothing changed, ms of CPU", f"{idle * 5 * 1000:.0f}")
    small, large = costs.values()
    run.add(
        f"a change at {run.services}, ms of CPU, two reads and all that follows",
        f"{large * 1000:.1f}",
        f"{small * 1000:.1f} at 100: {large / small:.2f} times",
        "2 times",
    )


def many_events(run: Run) -> None:
    """The first read of 200 services with a thousand events each."""
    services, events = 200, 1000
    with run.exporter(services, interval="1h", events=events) as made:
        url = f"{made.fleet}/v1/{PROJECT_ID}/services"
        rival = client("rival_ingest", url, str(services))
        with made as exporter:
            wait_for_lists(exporter.fleet, 2)  # the first one was the rival's
            cpu, begun = exporter.cpu(), time.perf_counter()
            wait_for_sum(exporter, "modelarts_service_events_total", services * events)
            used, wall = exporter.cpu() - cpu, time.perf_counter() - begun
    count = services * events
    run.add(
        f"{count} events in {services} services, events a second and core",
        f"{count / used:.0f}",
        f"requests + json.loads {count / rival['cpu']:.0f}",
        "100000",
    )
    run.add(
        "the same, s",
        f"{wall:.2f}: {wall / rival['wall']:.1f} times",
        f"{rival['wall']:.2f}",
        "4 times",
    )


def a_million_events(run: Run) -> None:
    """One service with a million events, beside a hundred usual ones that deploy."""
    with run.exporter(101, interval="1s", first=1_000_000) as made, made as exporter:
        get(f"{exporter.fleet}/bench?changes=2", method="POST")
        ended = threading.Event()
        slowest = [0.0]

        def scrape() -> None:
            exporter.ready()
            while not ended.wait(0.1):
                begun = time.perf_counter()
                get(f"{exporter.url}/metrics", packed=True)
                slowest[0] = max(slowest[0], time.perf_counter() - begun)

        scraping = threading.Thread(target=scrape)
        scraping.start()
        begun = time.perf_counter()
        exporter.ready()
        wait_for_sum(exporter, "modelarts_service_events_total", 1_000_000)
        taken = time.perf_counter() - begun
        ended.set()
        scraping.join()
        reads = asked(exporter.fleet)["logs"]
        run.add(
            "one service with a million events, s / peak MiB",
            f"{taken:.0f} / {exporter.memory(peak=True):.0f}",
            f"{reads} other reads, slowest scrape {slowest[0]:.2f} s",
            "250 MiB",
        )


def memory_over_time(run: Run) -> None:
    """Whether memory grows, over 220 lists of a busy fleet."""
    with run.exporter(run.services, interval="500ms") as made, made as exporter:
        wait_for_reads(exporter, run.services)
        get(f"{exporter.fleet}/bench?changes={CHANGES_PER_SECOND}", method="POST")
        pages = -(-run.services // 1000)
        begun = asked(exporter.fleet)["list"]
        found = []
        for lists in (20, 240):
            wait_for_lists(exporter.fleet, begun + lists * pages)
            get(f"{exporter.url}/metrics", packed=True)
            found.append(exporter.memory())
    run.add("memory after 20 and 240 lists, MiB", f"{found[0]:.0f}, {found[1]:.0f}", "", "200, flat")


PARTS = {
    "fleet": large_fleet,
    "change": cost_of_a_change,
    "events": many_events,
    "million": a_million_events,
    "memory": memory_over_time,
}


def main() -> None:
    """Measure, print, and write the same as JSON."""
    parser = argparse.ArgumentParser(description="Measure the exporter, with floors and rivals.")
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--scrapes", type=int, default=300, help="of each kind of page")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all, if none is named")
    options: Any = parser.parse_args()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as directory:
        run = Run(options.services, options.scrapes, Path(directory))
        for name in options.parts or PARTS:
            PARTS[name](run)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([figure._asdict() for figure in run.figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
