"""Tables: one row for the results of several queries with the same labels."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple

from grafana_foundation_sdk.models import common, prometheus, table
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source.parts import Size, Steps, Words, base, by_thresholds, defaults, override, thresholds
from dashboards.source.states import WELL
from dashboards.source.targets import Ask, at_the_end

NOTHING = "-"  # in a cell without a value; the text for "no data" is for an empty table


class Column(NamedTuple):
    """One column.

    Args:
        title: at its head.
        label: whose values it shows, if not those of a query.
        expr: the query whose values it shows.
        unit: of the values.
        width: in pixels; the rest is shared.
        mappings: from values to texts and colours; the cell has the colour.
        steps: limits from which the cell has a colour; what is well has none.
        link: where a click leads.
        hidden: a label is there for the links alone, and a query for the labels that it brings.
        decimals: behind the point.
        as_number: a label that holds a number.
        long: it may be cut, so a click shows the whole of it.

    """

    title: str
    label: str = ""
    expr: str = ""
    unit: str = "string"
    width: int | None = None
    mappings: Sequence[model.ValueMapping] = ()
    steps: Steps = ()
    link: model.DashboardLink | None = None
    hidden: bool = False
    decimals: int | None = None
    as_number: bool = False
    long: bool = False


SERVICE_ID = Column("service_id", "service_id", hidden=True)
PROJECT = Column("Project", "project", width=110)


def grid(
    words: Words, columns: Sequence[Column], size: Size, *, sort: str, descending: bool = True, then: str = ""
) -> model.Panel:
    """A table with the columns in this order, sorted by the title of one, `then` downwards by another.

    The queries' results are merged where all the labels they share are equal, so each label that a query
    has must have a column, if only a hidden one.
    """
    panel = base("table", words, size, "string")
    asked = [column for column in columns if column.expr]
    panel.targets = at_the_end([Ask(column.expr) for column in asked], prometheus.PromQueryFormat.TABLE)
    # With one query Grafana calls the values "Value", with several it adds the letter of each.
    letters = dict(zip((column.title for column in asked), ascii_uppercase, strict=False))
    names = {
        column.title: column.label or (f"Value #{letters[column.title]}" if len(asked) > 1 else "Value")
        for column in columns
    }
    orders = [(title, down) for title, down in ((sort, descending), (then, True)) if title]
    # The table itself can only sort by a column that it shows.
    early = any(column.hidden for column in columns if column.title in (sort, then))
    panel.transformations = _transformations(
        columns,
        names,
        merge=len(asked) > 1,
        sort=[(names[title], down) for title, down in orders if early],
    )
    panel.options = table.Options(
        sort_by=[
            common.TableSortByFieldState(display_name=title, desc=down) for title, down in orders if not early
        ],
        cell_height=common.TableCellHeight.SM,
        footer=common.TableFooterOptions(show=False, reducer=["sum"]),
    )
    shown = defaults(panel)
    shown.color = by_thresholds()
    shown.custom = common.TableFieldOptions(
        align=common.FieldTextAlignment.AUTO,
        filterable=True,
        inspect=False,
    )
    for column in columns:
        if not (column.hidden and column.expr):
            _override(panel, column)
    return panel


def _transformations(
    columns: Sequence[Column], names: dict[str, str], *, merge: bool, sort: Sequence[tuple[str, bool]]
) -> list[model.DataTransformerConfig]:
    steps: list[tuple[str, dict[str, object]]] = []
    if merge:
        steps.append(("merge", {}))
    numbers = [names[column.title] for column in columns if column.as_number]
    if numbers:
        conversions = [{"targetField": name, "destinationType": "number"} for name in numbers]
        steps.append(("convertFieldType", {"conversions": conversions, "fields": {}}))
    for name, down in reversed(sort):  # each keeps the order of the one before for equal values
        steps.append(("sortBy", {"fields": {}, "sort": [{"field": name, "desc": down}]}))
    order = {names[column.title]: place for place, column in enumerate(columns)}
    renamed = {names[column.title]: column.title for column in columns if not column.hidden}
    # Labels that no link needs are removed; an override finds a column by its final name.
    left_out = ["Time", *(names[column.title] for column in columns if column.hidden and column.expr)]
    organized = {
        "excludeByName": dict.fromkeys(left_out, True),
        "indexByName": order,
        "renameByName": renamed,
    }
    steps.append(("organize", organized))
    return [model.DataTransformerConfig(id_val=name, options=options) for name, options in steps]


def _override(panel: model.Panel, column: Column) -> None:
    properties: list[tuple[str, object]] = [("unit", column.unit), ("noValue", NOTHING)]
    if column.hidden:
        properties.append(("custom.hidden", True))
    if column.width:
        properties.append(("custom.width", column.width))
    if column.decimals is not None:
        properties.append(("decimals", column.decimals))
    if column.long:
        properties.append(("custom.inspect", True))
    if column.link:
        properties.append(("links", [column.link]))
    if column.mappings:
        # Their values are numbers, which would be aligned to the right.
        properties += [("mappings", list(column.mappings)), ("custom.align", "left")]
    if column.steps:
        quiet = [(value, "transparent" if colour == WELL else colour) for value, colour in column.steps]
        properties.append(("thresholds", thresholds(quiet)))
    if column.mappings or column.steps:
        properties.append(("custom.cellOptions", {"type": "color-background", "mode": "basic"}))
    override(panel, "byName", column.title, properties)
