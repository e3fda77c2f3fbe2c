# ruff: noqa: T201 - it prints what it measured
"""How long a scrape takes while services change; run by hand: `python tests/bench_exposition.py [SERVICES]`.

One process serves the page over HTTP and changes services; another one scrapes, gzip, as Prometheus does.
Beside it, in the same run: the floor (the same server sends the same ready bytes) and the rival
(prometheus_client renders and gzips the same families).
"""

import gzip
import multiprocessing
import random
import resource
import socket
import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import generate_latest
from prometheus_client.core import Metric

from exporter.adapters.prometheus.exposition import Exposition
from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.adapters.web.app import WebApp
from exporter.adapters.web.server import WebServer
from exporter.adapters.web.snapshot import Page
from exporter.core.metrics.family import Family, Sample
from exporter.core.pages.update_feed import FoundUpdates

CHANGES_PER_SECOND = 50
SCRAPES = 200
Key = tuple[str, str]


class Service(NamedTuple):
    """As many lines as a usual service has: 47, of 35 families."""

    project: str
    service_id: str
    service_name: str
    turn: int


def families() -> list[Family]:
    """Families of the shapes that the exporter has: flags, times, enumerations, counters."""

    def one(name: str, kind: str, value: Callable[[Service], float], *extra: tuple[str, str]) -> Family:
        each: list[tuple[tuple[str, str], ...]] = [(pair,) for pair in extra] or [()]

        def samples(service: Service) -> list[Sample]:
            own = (
                ("project", service.project),
                ("service_id", service.service_id),
                ("service_name", service.service_name),
            )
            return [Sample("", own + pairs, value(service)) for pairs in each]

        return Family(f"modelarts_service_{name}", kind, f"What {name} says of a service", (), samples)  # type: ignore[arg-type]

    results = [("result", name) for name in ("SUCCESS", "FAIL", "RUNNING")]
    reasons = [("reason", name) for name in ("image_pull", "crash", "timeout")]
    return [
        *(one(f"flag_{n}", "gauge", lambda s: 0.0) for n in range(18)),
        *(one(f"time_{n}_timestamp_seconds", "gauge", lambda s: 1.79e9 + s.turn + 0.25) for n in range(6)),
        one("update_result", "gauge", lambda s: s.turn % 2, *results),
        one("update_duration_seconds", "gauge", lambda s: s.turn * 1.25, *results),
        one("updates_total", "counter", lambda s: s.turn, *results),
        *(one(f"calls_{n}_total", "counter", lambda s: s.turn * 17) for n in range(5)),
        one("abnormal_events_total", "counter", lambda s: s.turn, *reasons),
        *(
            one(f"model_{n}", "gauge", lambda s: 0.5, ("model_id", "m1"), ("model_id", "m2"))
            for n in range(2)
        ),
    ]


def fleet(size: int) -> dict[Key, Service]:
    """Services with random ids, as the cloud gives them."""
    chance = random.Random(1)
    ids = [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(size)]
    return {("prod", i): Service("prod", i, f"recommender-{n}-canary", 0) for n, i in enumerate(ids)}


class Rival:
    """The same families as prometheus_client's values."""

    def __init__(self, table: list[Family], services: dict[Key, Service]) -> None:
        self._table, self._services = table, services

    def collect(self) -> Iterator[Metric]:
        """Build every family anew, as a custom collector does."""
        for family in self._table:
            metric = Metric(family.name.removesuffix("_total"), family.help, family.kind)
            for key in sorted(self._services):
                for suffix, labels, value in family.samples(self._services[key]):
                    metric.add_sample(family.name + suffix, dict(labels), value)
            yield metric


class Shown(NamedTuple):
    """A snapshot that has nothing but metrics."""

    page: Page
    projects: tuple[()] = ()
    services: Mapping[Key, Any] = {}


class Ready:
    """A page that is nothing but ready bytes."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    def body(self, *, openmetrics: bool, gzip: bool, tail: bytes) -> list[bytes]:
        """The same bytes at every scrape."""
        return self._parts


def scrape(port: int, pause: float, count: int, answer: "multiprocessing.Queue[list[float]]") -> None:
    """Scrape again and again, in a process of its own: seconds from the first byte asked to the last got."""
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"
    taken = []
    with socket.create_connection(("127.0.0.1", port)) as client:
        for _ in range(count):
            begun = time.perf_counter()
            client.sendall(request)
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536)
            head, _, rest = head.partition(b"\r\n\r\n")
            left = int(head.lower().split(b"content-length:")[1].split()[0]) - len(rest)
            while left > 0:
                left -= len(client.recv(1 << 20))
            taken.append(time.perf_counter() - begun)
            time.sleep(pause)
    answer.put(taken)


def measure(label: str, page: Callable[[], Page], metrics: Callable[[bool], bytes]) -> float:
    """Serve, scrape, and print what a scrape took; return the median."""
    app = WebApp(
        snapshot=lambda: Shown(page()),
        on_scraped=lambda _: None,
        render_self_metrics=metrics,
        healthy=lambda: (True, ""),
        ready=lambda: (True, ""),
        reload=None,
        history=lambda project, service_id: None,
        updates=lambda query, service_ids: FoundUpdates((), None),
        clock=lambda: 0,
        remedy=lambda text: "",
    )
    server = WebServer(["127.0.0.1:0"], app)
    server.start()
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[list[float]] = context.Queue()
    port = int(server.addresses[0].rpartition(":")[2])
    client = context.Process(target=scrape, args=(port, 0.05, SCRAPES, answer))
    client.start()
    taken = sorted(answer.get())
    client.join()
    server.stop()
    median = statistics.median(taken)
    p99 = taken[int(len(taken) * 0.99) - 1]
    print(
        f"{label:28} p50 {median * 1e3:6.1f} ms   p99 {p99 * 1e3:6.1f} ms   worst {taken[-1] * 1e3:6.1f} ms"
    )
    return median


def memory() -> str:
    """Resident now, and at its peak."""
    now = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return f"resident {now >> 20} MiB, peak {peak >> 20} MiB"


def main(size: int) -> None:
    """Build, change, scrape, compare."""
    table, services = families(), fleet(size)
    print(f"before: {memory()}")
    exposition = Exposition(table, [])
    begun = time.perf_counter()
    exposition.update(services, {})
    print(f"{size} services built in {time.perf_counter() - begun:.2f} s; {memory()}")
    plain = sum(map(len, exposition.page().body(openmetrics=False, gzip=False, tail=b"")))
    parts = exposition.page().body(openmetrics=False, gzip=True, tail=b"")
    print(f"page {plain / 1e6:.1f} MB, gzip {sum(map(len, parts)) / 1e6:.1f} MB")

    metrics = SelfMetrics(["prod"], [], version="0", revision="0")
    floor = measure("floor, ready bytes", partial(Ready, [b"".join(parts)]), lambda _: b"")
    del parts
    still = measure("nothing changes", exposition.page, metrics.render)

    ended = threading.Event()
    busy = []
    keys = list(services)

    def change() -> None:
        chance = random.Random(2)
        while not ended.wait(0.2):
            some = {key: services[key] for key in chance.sample(keys, CHANGES_PER_SECOND // 5)}
            services.update({key: service._replace(turn=service.turn + 1) for key, service in some.items()})
            begun = time.perf_counter()
            exposition.update({key: services[key] for key in some}, {})
            busy.append((time.perf_counter() - begun) / len(some))

    writer = threading.Thread(target=change)
    writer.start()
    moving = measure(f"{CHANGES_PER_SECOND} change per second", exposition.page, metrics.render)
    ended.set()
    writer.join()
    print(f"a change costs the writer {statistics.median(busy) * 1e3:.2f} ms; {memory()}")
    print(f"against the floor: {still / floor:.2f} still, {moving / floor:.2f} changing")

    begun = time.perf_counter()
    rival = gzip.compress(generate_latest(Rival(table, services)))
    taken = time.perf_counter() - begun
    print(f"rival: {taken:.2f} s, {len(rival) / 1e6:.1f} MB; {taken / moving:.0f} times ours")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
