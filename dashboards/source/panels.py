"""The kinds of panels, each with its description, unit, text for "no data", legend and size."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.models import bargauge as bargauge_model
from grafana_foundation_sdk.models import (
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    text,
    timeseries,
)
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import states
from dashboards.source.parts import (
    PLAIN,
    Size,
    Steps,
    Words,
    base,
    by_thresholds,
    coloured,
    defaults,
    legend,
    newest,
    override,
    thresholds,
    tooltip,
)
from dashboards.source.targets import Ask, at_the_end, over_time

# With more of them on half a screen, each is too thin to see.
MOST_BARS = 150

# A line to compare with: thin, grey and dashed, also among points.
BESIDE = (
    ("color", {"mode": "fixed", "fixedColor": states.OFF}),
    ("custom.drawStyle", "line"),
    ("custom.lineStyle", {"fill": "dash", "dash": [8, 8]}),
    ("custom.lineWidth", 1),
    ("custom.fillOpacity", 0),
    ("custom.showPoints", "never"),
)


def number(
    words: Words,
    asks: Sequence[Ask],
    size: Size,
    unit: str,
    *,
    steps: Steps = PLAIN,
    mappings: Sequence[model.ValueMapping] = (),
    link: model.DashboardLink | None = None,
    decimals: int | None = None,
    mode: common.BigValueTextMode = common.BigValueTextMode.VALUE,
) -> model.Panel:
    """The newest value of each query as a big number or state, or the series' name, by `mode`."""
    panel = base("stat", words, size, unit)
    panel.targets = at_the_end(asks)
    panel.options = stat.Options(
        graph_mode=common.BigValueGraphMode.NONE,
        color_mode=common.BigValueColorMode.BACKGROUND_SOLID if mappings else common.BigValueColorMode.VALUE,
        justify_mode=common.BigValueJustifyMode.AUTO,
        text_mode=mode,
        reduce_options=newest(),
        percent_change_color_mode=common.PercentChangeColorMode.STANDARD,
        orientation=common.VizOrientation.AUTO,
    )
    shown = defaults(panel)
    shown.color = by_thresholds()
    shown.thresholds = thresholds(steps)
    shown.mappings = [*mappings, states.nothing(words.none)]
    shown.decimals = decimals
    shown.links = [link] if link else []
    return panel


def graph(
    words: Words,
    asks: Sequence[Ask],
    size: Size,
    unit: str,
    axis: str,
    *,
    colours: Mapping[str, str] | None = None,
    patterns: Mapping[str, str] | None = None,
    beside: str = "",
    bars: bool = False,
    stack: common.StackingMode = common.StackingMode.NONE,
    points: bool = False,
    steps: Steps = (),
    interval: str | None = None,
    link: model.DashboardLink | None = None,
    top: float | None = None,
) -> model.Panel:
    """Lines over time.

    Args:
        words: of the panel.
        asks: the queries.
        size: of the panel.
        unit: of the values.
        axis: what its label says.
        colours: fixed ones, by the name of the series.
        patterns: the same, by a regular expression on the name.
        beside: a regular expression on the names of what the others are to be compared with.
        bars: instead of lines, for what is counted: whole numbers, and wide enough to be seen.
        stack: how series stand on one another.
        points: instead of lines, where most points have no value.
        steps: limits, drawn as dashed lines.
        interval: the shortest time between two points.
        link: where a click on a series leads.
        top: end of the axis.

    """
    panel = base("timeseries", words, size, unit)
    panel.targets = over_time(asks)
    panel.interval = interval
    panel.max_data_points = MOST_BARS if bars else None
    panel.options = timeseries.Options(legend=legend(), tooltip=tooltip())
    shown = defaults(panel)
    # Neighbours differ in hue and brightness. Chosen by name, half of them would have the same pale colour.
    shown.color = model.FieldColor(mode=model.FieldColorModeId.PALETTE_CLASSIC)
    shown.min_val = 0
    shown.max_val = top
    shown.decimals = 0 if bars else None
    shown.links = [link] if link else []
    shown.thresholds = thresholds(steps or PLAIN)
    shown.custom = common.GraphFieldConfig(
        draw_style=_draw_style(bars=bars, points=points),
        line_width=0 if bars else 2,
        fill_opacity=80 if bars or stack != common.StackingMode.NONE else 5,
        line_interpolation=common.LineInterpolation.STEP_AFTER,  # a value is valid until the next scrape
        show_points=common.VisibilityMode.ALWAYS if points else common.VisibilityMode.NEVER,
        point_size=8 if points else 4,
        stacking=common.StackingConfig(mode=stack, group="A"),
        thresholds_style=common.GraphThresholdsStyleConfig(
            mode=common.GraphThresholdsStyleMode.DASHED if steps else common.GraphThresholdsStyleMode.OFF
        ),
        axis_label=axis,
        axis_placement=common.AxisPlacement.AUTO,
        axis_soft_max=steps[-1][0] if steps else None,  # so that a limit is visible before it is reached
        span_nulls=False,
    )
    for name, colour in (colours or {}).items():
        coloured(panel, "byName", name, colour)
    for pattern, colour in (patterns or {}).items():
        coloured(panel, "byRegexp", pattern, colour)
    if beside:
        override(panel, "byRegexp", beside, BESIDE)
    return panel


def timeline(
    words: Words,
    asks: Sequence[Ask],
    size: Size,
    mappings: Sequence[model.ValueMapping],
    *,
    link: model.DashboardLink | None = None,
    points: int | None = None,
) -> model.Panel:
    """States over time, equal neighbours as one bar with its text; `points` at most, if not all that fit."""
    panel = base("state-timeline", words, size, "none")
    panel.max_data_points = points
    panel.targets = over_time(asks)
    panel.options = statetimeline.Options(
        show_value=common.VisibilityMode.AUTO,
        align_value=common.TimelineValueAlignment.LEFT,
        legend=legend(),
        tooltip=tooltip(),
    )
    shown = defaults(panel)
    shown.mappings = list(mappings)
    shown.color = by_thresholds()
    shown.links = [link] if link else []
    shown.custom = statetimeline.FieldConfig(fill_opacity=80, line_width=1)
    return panel


def gauge_bars(
    words: Words,
    asks: Sequence[Ask],
    size: Size,
    unit: str,
    *,
    steps: Steps,
    link: model.DashboardLink | None = None,
) -> model.Panel:
    """A bar from 0 to 1 for each series, with its value as text."""
    panel = base("bargauge", words, size, unit)
    panel.targets = at_the_end(asks)
    panel.options = bargauge_model.Options(
        display_mode=common.BarGaugeDisplayMode.BASIC,
        value_mode=common.BarGaugeValueMode.TEXT,
        name_placement=common.BarGaugeNamePlacement.LEFT,
        sizing=common.BarGaugeSizing.AUTO,
        orientation=common.VizOrientation.HORIZONTAL,
        reduce_options=newest(),
        legend=legend(show=False),
        text=common.VizTextDisplayOptions(title_size=14, value_size=18),
    )
    shown = defaults(panel)
    shown.min_val, shown.max_val = 0, 1
    shown.color = by_thresholds()
    shown.thresholds = thresholds(steps)
    shown.links = [link] if link else []
    return panel


def heat(words: Words, asks: Sequence[Ask], size: Size, unit: str, *, interval: str) -> model.Panel:
    """The number of observations in each bucket of a histogram, over time."""
    panel = base("heatmap", words, size, unit)
    panel.targets = over_time(asks, prometheus.PromQueryFormat.HEATMAP)
    panel.interval = interval
    panel.options = heatmap.Options(
        calculate=False,
        color=heatmap.HeatmapColorOptions(
            mode=heatmap.HeatmapColorMode.SCHEME,
            scheme="Blues",  # one hue: only the brightness has a meaning
            fill=states.WELL,
            scale=heatmap.HeatmapColorScale.EXPONENTIAL,
            exponent=0.5,
            steps=64,
        ),
        filter_values=heatmap.FilterValueRange(le=1e-9),  # an empty cell has no colour
        rows_frame=heatmap.RowsHeatmapOptions(layout=common.HeatmapCellLayout.AUTO),
        cell_values=heatmap.CellValues(unit="none", decimals=0),
        y_axis=heatmap.YAxisConfig(unit=unit, axis_placement=common.AxisPlacement.LEFT),
        legend=heatmap.HeatmapLegend(show=True),
        tooltip=heatmap.HeatmapTooltip(
            mode=common.TooltipDisplayMode.SINGLE, y_histogram=False, show_color_scale=True
        ),
        exemplars=heatmap.ExemplarConfig(color=states.WELL),
        show_value=common.VisibilityMode.NEVER,
        selection_mode=heatmap.HeatmapSelectionMode.X,
    )
    defaults(panel).custom = heatmap.FieldConfig()
    return panel


def _draw_style(*, bars: bool, points: bool) -> common.GraphDrawStyle:
    if points:
        return common.GraphDrawStyle.POINTS
    return common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE


def prose(title: str, about: str, markdown: str, size: Size) -> model.Panel:
    """A panel with text only."""
    panel = model.Panel(
        type_val="text", title=title, description=about, grid_pos=model.GridPos(w=size.width, h=size.height)
    )
    panel.options = text.Options(mode=text.TextMode.MARKDOWN, content=markdown)
    return panel
