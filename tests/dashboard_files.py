"""The dashboards as they lie in the tree, and every query in them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "dashboards"

Json = dict[str, Any]

# What Grafana puts in for its own variables and ours, for a range of an hour and "All".
FILLED = {
    "$__rate_interval": "1m",
    "$__interval": "1m",
    "$__range_s": "3600",
    "$__range": "1h",
    "${__from}": "0",
    "$project": ".+",
    "$service": ".+",
}

_OF_A_VARIABLE = re.compile(r"label_values\((?P<metric>.+), (?P<label>\w+)\)|query_result\((?P<expr>.+)\)")


class Query(NamedTuple):
    """One query: where it stands, and what is asked.

    `kind` is the panel's type, or "variable" or "annotation"; `instant` if one moment is asked about.
    """

    place: str
    kind: str
    expr: str
    instant: bool

    @property
    def filled(self) -> str:
        """As Prometheus gets it."""
        found = self.expr
        for name, value in FILLED.items():
            found = found.replace(name, value)
        return found


def dashboards() -> dict[str, Json]:
    """Each file's content by its name without suffix, which is the uid."""
    return {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(FOLDER.glob("*.json"))}


def panels(dashboard: Json) -> Iterator[Json]:
    """All panels that show something, also those in rows that are closed at first."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel["panels"]
        else:
            yield panel


def queries(uid: str, dashboard: Json) -> Iterator[Query]:
    """Every query of every panel, variable and annotation."""
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            place = f"{uid} / {panel['title']} / {target['refId']}"
            yield Query(place, panel["type"], target["expr"], target["instant"])
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            expr = variable_expr(variable)
            yield Query(f"{uid} / variable / {variable['name']}", "variable", expr, instant=True)
    for annotation in dashboard["annotations"]["list"]:
        place = f"{uid} / annotation / {annotation['name']}"
        yield Query(place, "annotation", annotation["expr"], instant=False)


def variable_expr(variable: Json) -> str:
    """What Prometheus is asked for a variable's values."""
    match = _OF_A_VARIABLE.fullmatch(variable["query"])
    assert match, variable["query"]
    if match["expr"]:
        return match["expr"]
    return f"group by ({match['label']}) ({match['metric']})"


def all_queries() -> list[Query]:
    """Those of all dashboards."""
    return [query for uid, dashboard in dashboards().items() for query in queries(uid, dashboard)]
