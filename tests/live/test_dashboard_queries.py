"""Every query of dashboards and rules, on a Prometheus that scrapes services with every kind of failure."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.emulator import Cloud, Server, faults, load_scenario, play
from tests.commands import RunningExporter, configured, project
from tests.dashboard_files import ROOT, Query, all_queries, dashboards, panels
from tests.live.processes import free_port, until
from tests.live.prometheus import Prometheus

pytestmark = [pytest.mark.live, pytest.mark.timeout(240)]

FAILING_SERVICES = Path(__file__).with_name("failing_services.yml")
RENDER = ROOT / "alerts" / "render.py"

# Each failure that is repeated happens again within this time.
RANGE_SECONDS = 16
FILLED = {
    "$__range:1m": f"{RANGE_SECONDS}s:1s",  # a minute's steps are for a range of hours
    "$__range:$__interval": f"{RANGE_SECONDS}s:1s",
    "$__range_s": str(RANGE_SECONDS),
    "$__range": f"{RANGE_SECONDS}s",
    "$__rate_interval": "10s",
    "$__interval": "10s",
    "${__from}": "0",
    "$project": ".+",
    "$service": ".+",
}
# Two ranges, the exporter's start, and what two busy cores take for a hundred queries a few times over.
PATIENCE_SECONDS = 120

# Queries that must find nothing here, and why.
EMPTY = {
    **{
        f"rule / {name}{days}d": "it adds up whole hours, and none has passed"
        for name in (
            "project_result:modelarts_service_updates:increase",
            "project:modelarts_service_updates:increase",
            "project:modelarts_service_update_failures_per_updates:ratio_increase",
        )
        for days in (1, 7, 30)
    },
}

# Recordings of rules that always have data; all others are there while something is wrong.
ALWAYS = re.compile(r":(max|count|failed_before|increase\w+|ratio_\w+|p\d+_\w+)$")

ONE_HUNDREDTH = "0.01"  # 30 seconds of the rules become 0.3 seconds


@pytest.fixture(name="prometheus", scope="module")
def _prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("dashboards")
    cloud = Cloud(lambda: time.time_ns() // 1_000_000)
    stuck = cloud.add_service(name="stuck")
    cloud.begin_update(stuck, at=cloud.clock() - 3 * 3600 * 1000)
    with ExitStack() as stack:
        server = stack.enter_context(Server(cloud))
        # Nothing listens there, so that pushes fail too.
        alertmanager = {"urls": [f"http://127.0.0.1:{free_port()}"]}
        config = configured(directory, project(server.url), alertmanager=alertmanager)
        exporter = RunningExporter(directory, config)
        rules = directory / "rules.yml"
        subprocess.run([sys.executable, RENDER, f"--scale={ONE_HUNDREDTH}", f"--output={rules}"], check=True)
        prometheus = Prometheus(directory, exporter.address)
        file = directory / "prometheus.yml"
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "rule_files": [str(rules)]}))
        play(cloud, load_scenario(str(FAILING_SERVICES)))
        stack.enter_context(exporter)
        exporter.ready()
        stack.enter_context(prometheus)
        unreadable = 'modelarts_service_last_poll_timestamp_seconds{service_name="unreadable"}'
        until(lambda: prometheus.query(unreadable))
        with cloud.lock:
            service_id = prometheus.query(unreadable)[0][0]["service_id"]
            cloud.faults.add(faults.error(500, "ModelArts.0001", "down", service_id=service_id, times=None))
        yield prometheus


def filled(expr: str) -> str:
    for name, value in FILLED.items():
        expr = expr.replace(name, value)
    return expr


def rules() -> list[Query]:
    """The shipped rules with their real durations, as instant queries."""
    text = (ROOT / "alerts" / "modelarts.rules.yml").read_text("utf-8")
    return [
        Query(f"rule / {rule.get('record') or rule['alert']}", "rule", rule["expr"], instant=True)
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
    ]


def answers(prometheus: Prometheus, query: Query) -> list[dict[str, Any]]:
    """The series that a query finds now, or in the last two ranges; AssertionError if it is refused."""
    expr, now = filled(query.expr), time.time()
    if query.instant:
        return prometheus._ask("query", query=expr)
    begin = now - 2 * RANGE_SECONDS
    return prometheus._ask("query_range", query=expr, start=begin, end=now, step=1)


def test_every_query_is_answered_and_what_should_have_data_has_it(prometheus: Prometheus) -> None:
    waiting = {query.place: query for query in (*all_queries(), *rules()) if needs_data(query)}
    assert len(waiting) > 100

    def empty() -> list[str]:
        for place, query in list(waiting.items()):
            if answers(prometheus, query):
                del waiting[place]
        return list(waiting)

    until(empty, lambda left: not left, PATIENCE_SECONDS)


def needs_data(query: Query) -> bool:
    """Whether a query has to find something; an alert, a state and those in EMPTY need not."""
    if query.kind == "rule" and not ALWAYS.search(query.place):
        return False
    return query.place not in EMPTY


def panel_queries(uid: str, title: str) -> list[Query]:
    return [query for query in all_queries() if query.place.startswith(f"{uid} / {title} / ")]


def test_the_overview_names_the_worst_trouble_of_each_service_and_no_service_that_is_well(
    prometheus: Prometheus,
) -> None:
    query, *_ = panel_queries("modelarts-overview", "What is not well")
    texts = {"6": "failing", "5": "failed", "4": "stuck", "3": "unreadable", "2": "degraded"}
    texts |= {"1": "nodes failed"}
    changing = {"restored-again-and-again", "edge"}

    def found() -> dict[str, str]:
        rows = answers(prometheus, query)
        states = {row["metric"]["service_name"]: texts[row["value"][1]] for row in rows}
        return {name: state for name, state in states.items() if name not in changing}

    wanted = {
        "failing": "failing",
        "failing-and-stuck-in-a-retry": "failing",
        "stuck": "stuck",
        "concerning": "degraded",
        "failed": "failed",
        "unreadable": "unreadable",
    }
    until(found, lambda states: states == wanted)


def test_the_history_has_a_row_for_each_update_and_model_with_result_and_weight(
    prometheus: Prometheus,
) -> None:
    def history() -> set[tuple[str, str, str | None]]:
        result, weight, _ = (
            {
                (row["metric"]["update"], row["metric"]["model_name"]): row["value"][1]
                for row in answers(prometheus, query)
                if row["metric"]["service_id"] == restored
            }
            for query in panel_queries("modelarts-service", "Updates in the range")
        )
        # The second query is a moment later, and may find an update that the first did not.
        return {(model, weight[update, model], result.get((update, model))) for update, model in weight}

    name = "restored-again-and-again"
    restored = prometheus.query(f'modelarts_service_info{{service_name="{name}"}}')[0][0]["service_id"]
    success, fail = "0", "1"  # setups in the mapping
    wanted = {
        (model, weight, r) for model, weight in (("als", "0.7"), ("llm", "0.3")) for r in (success, fail)
    }
    until(history, lambda rows: rows >= wanted)


def test_what_may_be_empty_is_answered_too(prometheus: Prometheus) -> None:
    rest = [query for query in (*all_queries(), *rules()) if not needs_data(query)]
    assert {query.place for query in rest} >= set(EMPTY)
    for query in rest:
        answers(prometheus, query)


def test_every_label_of_a_table_has_a_column_and_every_legend_its_labels(prometheus: Prometheus) -> None:
    for uid, dashboard in dashboards().items():
        for panel in panels(dashboard):
            for target in panel.get("targets", ()):
                query = Query(panel["title"], panel["type"], target["expr"], target["instant"])
                for series in answers(prometheus, query):
                    labels = set(series["metric"]) - {"__name__"}
                    named = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")))
                    assert named <= labels, (uid, panel["title"], named)
                    if panel["type"] == "table":
                        columns = panel["transformations"][-1]["options"]["indexByName"]
                        assert labels <= set(columns), (uid, panel["title"], labels)
