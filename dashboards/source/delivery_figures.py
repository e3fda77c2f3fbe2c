"""Stats of the delivery dashboard: the four figures with their change, and what they leave out."""

from collections.abc import Callable

from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links, states
from dashboards.source.panels import number
from dashboards.source.parts import Size, Steps, Words
from dashboards.source.queries import PROJECT, grown, project, quantile, service
from dashboards.source.targets import Ask

SMALL = Size(3, 5)
WIDE = Size(4, 4)

# A change is good in one direction and needs a look in the other.
LESS_IS_BETTER: Steps = ((None, states.WELL), (0.05, states.LOOK))
MORE_IS_BETTER: Steps = ((None, states.LOOK), (-0.05, states.WELL))

# increase() of one failure is about one, not exactly.
NONE_IS_BEST: Steps = ((None, states.WELL), (0.5, states.LOOK))

RANGE = "[$__range]"
BEFORE = "[$__range] offset $__range"

Figure = Callable[[str], str]  # of the range, or of the range before

# Recorded, because a month of a counter is a hundred thousand samples of each service: 10 ms of Prometheus'
# time, measured. Updates that settled within the last hour are not completely in it yet.
_HOURLY = "project_result:modelarts_service_updates:increase1h"
SUCCEEDED = f'{_HOURLY}{{{PROJECT},result="SUCCESS"}}'
FAILED = f'{_HOURLY}{{{PROJECT},result="FAIL"}}'
SETTLED = f"{_HOURLY}{{{PROJECT}}}"

NOT_RECORDED = "No update settled, or the recording rules are not loaded"
OF_PROJECTS = "Of whole projects: the choice of services does not matter."


def frequency(window: str) -> str:
    """Successful updates a day: a mean, so it is right even if the data do not fill the range."""
    return f"24 * sum(avg_over_time({SUCCEEDED}{window}))"


def failure_rate(window: str) -> str:
    """Failed updates per settled update; no result if none settled."""
    return f"sum(avg_over_time({FAILED}{window})) / (sum(avg_over_time({SETTLED}{window})) > 0)"


def median(histogram: str) -> Figure:
    """The median of a histogram of the projects; no result if it did not grow."""

    def figure(window: str) -> str:
        return quantile(0.5, f"increase({histogram}{window})")

    return figure


RESTORE = project("restore_duration_seconds_bucket")
DURATION = project("update_duration_seconds_bucket", result="SUCCESS")


def _change(figure: Figure) -> str:
    return f"{figure(RANGE)} / ({figure(BEFORE)} > 0) - 1"


def figures() -> list[model.Panel]:
    """Four figures, each with its change."""
    return [
        number(
            Words(
                "Deployments a day",
                f"Updates that succeeded, a day, on average over the range. {OF_PROJECTS}",
                NOT_RECORDED,
            ),
            [Ask(frequency(RANGE))],
            SMALL,
            "none",
            decimals=1,
        ),
        _compared("Deployments", _change(frequency), MORE_IS_BETTER),
        number(
            Words(
                "Update failure rate",
                "Failed updates per settled update of the range. It is not the change failure rate of the "
                "books: a model that deploys well and answers badly is not seen here. "
                f"{OF_PROJECTS}",
                NOT_RECORDED,
            ),
            [Ask(failure_rate(RANGE))],
            SMALL,
            "percentunit",
            decimals=1,
            steps=((None, states.WELL), (0.15, states.LOOK), (0.5, states.BROKEN)),
        ),
        _compared(
            "Failure rate",
            f"{failure_rate(RANGE)} - {failure_rate(BEFORE)}",
            LESS_IS_BETTER,
            "in points of per cent",
        ),
        number(
            Words(
                "Time to restore",
                "Median time from a service's first failed update to the success that ended it. "
                f"{OF_PROJECTS}",
                "Nothing was restored",
            ),
            [Ask(median(RESTORE)(RANGE))],
            SMALL,
            "s",
        ),
        _compared("Time to restore", _change(median(RESTORE)), LESS_IS_BETTER),
        number(
            Words(
                "Deployment duration",
                f"Median duration of the updates that succeeded. {OF_PROJECTS}",
                "No duration is known",
            ),
            [Ask(median(DURATION)(RANGE))],
            SMALL,
            "s",
        ),
        _compared("Duration", _change(median(DURATION)), LESS_IS_BETTER),
    ]


def _compared(what: str, expr: str, steps: Steps, how: str = "as a share of what it was") -> model.Panel:
    return number(
        Words(
            f"{what}: change",
            f"Against the range of the same length before, {how}. Blue is better or about the same, orange "
            "is worse.",
            "Nothing to compare with",
        ),
        [Ask(expr)],
        SMALL,
        "percentunit",
        decimals=1,
        steps=steps,
    )


def quality() -> list[model.Panel]:
    """What the figures above do not contain, or may have wrong."""
    settled = service("service_updates_total")
    durations = service("service_update_duration_seconds_count")
    return [
        _left_out(
            "Updates without a duration",
            "Updates that settled while nobody could watch: counted, but in no duration.",
            f"clamp_min(sum({grown(settled)}) - sum({grown(durations)}), 0)",
        ),
        _left_out(
            "Unknown values",
            "Values of the cloud that this version does not know. An update with an unknown result counts "
            "as open.",
            f"sum({grown(project('exporter_unknown_values_total'))})",
        ),
        _left_out(
            "Unclassified events",
            "Events whose text no rule knows: their reason is `other`. The key `causes` of the "
            "configuration takes more rules.",
            f"sum({grown(project('exporter_unclassified_events_total'))})",
        ),
        _left_out(
            "Ledger anomalies",
            "Settled entries of the cloud's logs that vanished, changed or are dated in the future.",
            f"sum({grown(project('exporter_ledger_anomalies_total'))})",
        ),
        _left_out(
            "Torn reads",
            "Reads thrown away because their rows disagreed with their own count; they are read again.",
            f"sum({grown(project('exporter_torn_reads_total'))})",
        ),
        number(
            Words(
                "Time readable",
                "Share of the range for which the services could be listed, on average of the projects.",
                "No project was ever listed",
            ),
            [Ask(f"avg(avg_over_time({project('up')}[$__range]))")],
            WIDE,
            "percentunit",
            decimals=1,
            steps=((None, states.LOOK), (0.99, states.WELL)),
            link=links.to(links.EXPORTER, "Open the exporter"),
        ),
    ]


def _left_out(title: str, about: str, expr: str) -> model.Panel:
    return number(
        Words(title, f"{about} Within the range.", "Not known"),
        [Ask(expr)],
        WIDE,
        "none",
        decimals=0,
        steps=NONE_IS_BEST,
    )
