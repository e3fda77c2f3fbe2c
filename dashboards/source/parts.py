"""What all panels use: frame, defaults, thresholds, legend, tooltip and overrides."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source.states import WELL
from dashboards.source.targets import DATASOURCE

Steps = Sequence[tuple[float | None, str]]

# Only one colour, that of a good state.
PLAIN: Steps = ((None, WELL),)


class Words(NamedTuple):
    """The title of a panel, what it shows and why, and its text for "no data"."""

    title: str
    about: str
    none: str


class Size(NamedTuple):
    """Columns of 24, and rows of 30 pixels."""

    width: int
    height: int


def base(kind: str, words: Words, size: Size, unit: str) -> model.Panel:
    """A panel without queries; the layout sets its position and id."""
    return model.Panel(
        type_val=kind,
        title=words.title,
        description=words.about,
        datasource=DATASOURCE,
        grid_pos=model.GridPos(w=size.width, h=size.height),
        transformations=[],
        field_config=model.FieldConfigSource(
            defaults=model.FieldConfig(
                unit=unit, no_value=words.none, mappings=[], links=[], thresholds=thresholds(PLAIN)
            ),
            overrides=[],
        ),
    )


def defaults(panel: model.Panel) -> model.FieldConfig:
    """How the panel's values are shown, to be changed in place."""
    assert panel.field_config is not None, "made by base()"
    assert panel.field_config.defaults is not None, "made by base()"
    return panel.field_config.defaults


def override(panel: model.Panel, matcher: str, name: str, properties: Iterable[tuple[str, object]]) -> None:
    """Show some of the panel's values in another way."""
    assert panel.field_config is not None, "made by base()"
    assert panel.field_config.overrides is not None, "made by base()"
    panel.field_config.overrides.append(
        model.DashboardFieldConfigSourceOverrides(
            matcher=model.MatcherConfig(id_val=matcher, options=name),
            properties=[model.DynamicConfigValue(id_val=key, value=value) for key, value in properties],
        )
    )


def coloured(panel: model.Panel, matcher: str, name: str, colour: str) -> None:
    """A fixed colour for a series."""
    override(panel, matcher, name, [("color", {"mode": "fixed", "fixedColor": colour})])


def by_thresholds() -> model.FieldColor:
    """The colour of the highest limit that a value has reached."""
    return model.FieldColor(mode=model.FieldColorModeId.THRESHOLDS)


def thresholds(steps: Steps) -> model.ThresholdsConfig:
    """Limits and the colours from each on."""
    return model.ThresholdsConfig(
        mode=model.ThresholdsMode.ABSOLUTE, steps=[model.Threshold(value=v, color=c) for v, c in steps]
    )


def newest() -> common.ReduceDataOptions:
    """Show the newest value of a series."""
    return common.ReduceDataOptions(values=False, calcs=["lastNotNull"], fields="")


def legend(*, show: bool = True, calcs: Sequence[str] = ()) -> common.VizLegendOptions:
    """Names below the panel, which the SDK would hide."""
    return common.VizLegendOptions(
        display_mode=common.LegendDisplayMode.LIST,
        placement=common.LegendPlacement.BOTTOM,
        show_legend=show,
        calcs=list(calcs),
    )


def tooltip() -> common.VizTooltipOptions:
    """Show all series at once, the greatest first."""
    return common.VizTooltipOptions(
        mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING, hide_zeros=False
    )
