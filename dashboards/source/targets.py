"""Queries as panels use them."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import NamedTuple

from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, prometheus

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

Form = prometheus.PromQueryFormat


class Ask(NamedTuple):
    """A query, and the names of its series in the legend."""

    expr: str
    legend: str = ""


def over_time(asks: Sequence[Ask], form: Form = Form.TIME_SERIES) -> list[Dataquery]:
    """A value for each point of the range."""
    return _targets(asks, form, instant=False)


def at_the_end(asks: Sequence[Ask], form: Form = Form.TIME_SERIES) -> list[Dataquery]:
    """One value for each series, at the end of the range."""
    return _targets(asks, form, instant=True)


def _targets(asks: Sequence[Ask], form: Form, *, instant: bool) -> list[Dataquery]:
    return [
        prometheus.Dataquery(
            datasource=DATASOURCE,
            editor_mode=prometheus.QueryEditorMode.CODE,
            expr=ask.expr,
            format_val=form,
            instant=instant,
            range_val=not instant,
            legend_format=ask.legend or None,
            ref_id=ref,
        )
        for ref, ask in zip(ascii_uppercase, asks, strict=False)
    ]
