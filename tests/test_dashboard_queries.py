"""Every query in the dashboards is PromQL about what exists, and asks as Prometheus should be asked."""

import re

import promql_parser as promql
import pytest

from tests import promql as ours
from tests.dashboard_files import Query, all_queries, dashboards, panels
from tests.test_alert_rules import recorded

QUERIES = all_queries()
KNOWN = {**recorded(), "ALERTS_FOR_STATE": ours.OF_PROMETHEUS["ALERTS"]}

EACH = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)

COUNTING = {"rate", "increase", "resets"}


@EACH
def test_it_asks_for_metrics_and_labels_that_exist(query: Query) -> None:
    assert "$" not in query.filled, "a variable without a value"
    assert ours.faults(query.filled, KNOWN) == []


@EACH
def test_a_counter_is_only_read_as_growth(query: Query) -> None:
    growing = [str(s.name) for s in ours.selectors(query.filled) if is_counter(str(s.name))]
    read = [
        str(selector.name)
        for node in ours.nodes(query.filled)
        if isinstance(node, promql.Call) and node.func.name in COUNTING
        for selector in ours.selectors(node.args[0].prettify())
    ]
    assert sorted(growing) == sorted(read)


def is_counter(name: str) -> bool:
    return ":" not in name and name.endswith(ours.GROWING)


@EACH
def test_the_time_it_looks_back_follows_the_dashboard(query: Query) -> None:
    """At a fixed window a graph of a month shows one of thousands of samples, and one of an hour a month."""
    windows = set(re.findall(r"\[([^\]]+)\]", query.expr))
    if query.kind in ("timeseries", "heatmap"):
        per_point = {"$__rate_interval", "$__interval"}
        # The same at each point, for a line to compare with.
        assert windows <= {*per_point, "$__range"}
        assert query.expr.count("[$__range]") == query.expr.count("[$__range] @ end()")
    elif query.kind == "state-timeline":
        # The same at each point, asked as often as the graph has points.
        of_the_range = ("[$__range] @ end()", "[$__range:$__interval] @ end()")
        assert query.expr.count("[") == sum(query.expr.count(window) for window in of_the_range)
    elif query.kind != "variable" and query.place != "modelarts-overview / Abnormal events, 1 h / A":
        assert windows <= {"$__range", "$__range:1m"}


@EACH
def test_it_is_about_the_chosen_projects_and_services(query: Query) -> None:
    """Except what the exporter says of itself, which belongs to no project."""
    for selector in ours.selectors(query.filled):
        named = {matcher.name for matcher in selector.matchers.matchers}
        labels = KNOWN.get(str(selector.name)) or ours.exposed()[str(selector.name)]
        if query.kind == "variable" or "ModelArtsWatchdog" in str(selector.prettify()):
            continue
        if 'severity="info"' in str(selector.prettify()):
            continue  # what is taken away from what was chosen
        assert "project" in named or "project" not in labels
        is_of_service = {"service_id", "project"} <= labels
        assert "service_id" in named or not is_of_service


@EACH
def test_a_service_counts_once_however_many_exporters_expose_it(query: Query) -> None:
    """For queries of the present and per bar; the docs explain why not for shares and whole ranges."""
    if "$__range" in query.expr or " / " in query.expr:
        return
    found = ours.nodes(query.filled)
    zeroed = [node for node in found if isinstance(node, promql.BinaryExpr) and str(node.lhs) == "0"]
    none = {node.rhs.prettify() for node in zeroed}
    for node in found:
        if node.prettify() in none:
            continue  # zero times whatever it is
        if isinstance(node, promql.AggregateExpr) and str(node.op) in ("sum", "count"):
            once = [
                selector
                for inner in ours.nodes(node.expr.prettify())
                if isinstance(inner, promql.AggregateExpr) and str(inner.op) in ("max", "min")
                for selector in ours.selectors(inner.prettify())
            ]
            of_services = [
                selector.name
                for selector in ours.selectors(node.expr.prettify())
                if "service_id" in ours.exposed().get(str(selector.name), ()) and selector.name != "ALERTS"
            ]
            assert len(once) >= len(of_services), of_services


@pytest.mark.parametrize("uid", sorted(dashboards()))
def test_no_more_than_26_queries_and_no_hidden_one_in_a_panel(uid: str) -> None:
    for panel in panels(dashboards()[uid]):
        assert len(panel.get("targets", ())) <= 26
        assert not any(target.get("hide") for target in panel.get("targets", ()))
