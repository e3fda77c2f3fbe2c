"""Graphs of the delivery dashboard, a point a day."""

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import states
from dashboards.source.delivery_figures import DURATION, FAILED, NOT_RECORDED, OF_PROJECTS, RESTORE, SETTLED
from dashboards.source.panels import graph, heat
from dashboards.source.parts import Size, Words
from dashboards.source.queries import per_point, quantile
from dashboards.source.targets import Ask

HALF = Size(12, 8)

DAY = "1d"


def over_time() -> list[list[model.Panel]]:
    """The graphs in two rows."""
    failed = f"sum by (project) (avg_over_time({FAILED}[$__interval]))"
    settled = f"sum by (project) (avg_over_time({SETTLED}[$__interval]))"
    return [
        [
            graph(
                Words("Updates a day", f"Updates that settled, by result. {OF_PROJECTS}", NOT_RECORDED),
                [Ask(f"24 * sum by (result) (avg_over_time({SETTLED}[$__interval]))", "{{result}}")],
                HALF,
                "none",
                "updates a day",
                colours=states.RESULTS,
                bars=True,
                stack=common.StackingMode.NORMAL,
                interval=DAY,
            ),
            graph(
                Words(
                    "Failure rate by project",
                    "Failed updates per settled update of each day on which any settled.",
                    NOT_RECORDED,
                ),
                [Ask(f"{failed} / ({settled} > 0)", "{{project}}")],
                HALF,
                "percentunit",
                "failed per settled",
                points=True,
                interval=DAY,
                top=1,
            ),
        ],
        [
            graph(
                Words(
                    "Time to restore, day by day",
                    "From a first failed update to the success that ended it: half of them were restored "
                    "within the lower line, nine of ten within the upper. Of whole projects.",
                    "Nothing was restored",
                ),
                [
                    Ask(quantile(0.5, per_point(RESTORE)), "half within"),
                    Ask(quantile(0.9, per_point(RESTORE)), "nine of ten within"),
                ],
                HALF,
                "s",
                "time to restore",
                colours={"half within": states.WELL, "nine of ten within": states.LOOK},
                points=True,
                interval=DAY,
            ),
            heat(
                Words(
                    "Durations of successful updates",
                    "How many updates took how long; the more a cell stands out, the more there were. "
                    "Of whole projects.",
                    "No duration is known",
                ),
                [Ask(f"sum by (le) ({per_point(DURATION)})", "{{le}}")],
                HALF,
                "s",
                interval="1h",
            ),
        ],
    ]
