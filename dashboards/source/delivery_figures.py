"""Stats of the delivery dashboard: the four figures with their change, and what they leave out."""

from collections.abc import Callable

from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links, states
from dashboards.source.panels import number
from dashboards.source.parts import Size, Steps, Words
from dashboards.source.queries import grown, grown_before, project, service
from dashboards.source.targets import Ask

SMALL = Size(3, 5)
WIDE = Size(4, 4)

# A change is well in one direction and wants a look in the other.
LESS_IS_BETTER: Steps = ((None, states.WELL), (0.05, states.LOOK))
MORE_IS_BETTER: Steps = ((None, states.LOOK), (-0.05, states.WELL))

NONE_IS_BEST: Steps = ((None, states.WELL), (0.5, states.LOOK))  # an increase() of one is about one

Growth = Callable[[str], str]
Figure = Callable[[Growth], str]  # of the range, or of the range before

SUCCEEDED = service("service_updates_total", result="SUCCESS")
FAILED = service("service_updates_total", result="FAIL")
SETTLED = service("service_updates_total")


def frequency(growth: Growth) -> str:
    """Successful updates a day."""
    return f"sum({growth(SUCCEEDED)}) / ($__range_s / 86400)"


def failure_rate(growth: Growth) -> str:
    """Failed updates per settled update; nothing where none settled."""
    return f"sum({growth(FAILED)}) / (sum({growth(SETTLED)}) > 0)"


def median(histogram: str) -> Figure:
    """The median of a histogram of the projects."""
    return lambda growth: f"histogram_quantile(0.5, sum by (le) ({growth(histogram)}))"


RESTORE = project("restore_duration_seconds_bucket")
DURATION = project("update_duration_seconds_bucket", result="SUCCESS")


def _change(figure: Figure) -> str:
    return f"{figure(grown)} / ({figure(grown_before)} > 0) - 1"


def figures() -> list[model.Panel]:
    """Four pairs."""
    return [
        number(
            Words(
                "Deployments a day",
                "Updates that succeeded, a day, on average over the range.",
                "No update is known",
            ),
            [Ask(frequency(grown))],
            SMALL,
            "none",
            decimals=1,
        ),
        _compared("Deployments", _change(frequency), MORE_IS_BETTER),
        number(
            Words(
                "Update failure rate",
                "Failed updates per settled update of the range. It is not the change failure rate of the "
                "books: a model that deploys well and answers badly is not seen here.",
                "No update settled",
            ),
            [Ask(failure_rate(grown))],
            SMALL,
            "percentunit",
            decimals=1,
            steps=((None, states.WELL), (0.15, states.LOOK), (0.5, states.BROKEN)),
        ),
        _compared(
            "Failure rate",
            f"{failure_rate(grown)} - {failure_rate(grown_before)}",
            LESS_IS_BETTER,
            "in points of per cent",
        ),
        number(
            Words(
                "Time to restore",
                "Median time from a service's first failed update to the success that ended it. Of whole "
                "projects: the choice of services does not matter.",
                "Nothing was restored",
            ),
            [Ask(median(RESTORE)(grown))],
            SMALL,
            "s",
        ),
        _compared("Time to restore", _change(median(RESTORE)), LESS_IS_BETTER),
        number(
            Words(
                "Deployment duration",
                "Median duration of the updates that succeeded. Of whole projects: the choice of services "
                "does not matter.",
                "No duration is known",
            ),
            [Ask(median(DURATION)(grown))],
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
    """What the figures above leave out, or may have wrong."""
    durations = service("service_update_duration_seconds_count")
    return [
        _left_out(
            "Updates without a duration",
            "Updates that settled while nobody could watch: counted, but in no duration.",
            f"clamp_min(sum({grown(SETTLED)}) - sum({grown(durations)}), 0)",
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
                "Share of the range for which the services' logs could be read, on average.",
                "Nothing was read yet",
            ),
            [Ask(f"avg(avg_over_time({service('service_up')}[$__range]))")],
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
