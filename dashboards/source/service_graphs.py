"""Panels about the durations of one service's deployments, its event log, and its traffic."""

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import states
from dashboards.source.panels import graph
from dashboards.source.parts import Size, Words
from dashboards.source.queries import STUCK_SECONDS, once, per_point, per_second, service
from dashboards.source.tables import Column, grid
from dashboards.source.targets import Ask

HALF = Size(12, 8)
THIRD = Size(8, 8)

# A phase that took this many times as long as usual needs a look.
_SLOW = 2


def phases() -> list[model.Panel]:
    """The phases of the last deployments, compared with what is usual for this service."""
    duration = service("service_deploy_phase_duration_seconds")
    last = f"max by (phase) ({duration})"
    usual = f"max by (phase) (quantile_over_time(0.5, {duration}[$__range]))"
    return [
        grid(
            Words(
                "Phases of the last deployments",
                "What each phase took the last time, and its median within the range, over time. Twice as "
                "much as usual is marked: a longer range tells better what is usual.",
                "No deployment finished a phase",
            ),
            [
                Column("Phase", "phase"),
                Column("Last", expr=last, unit="s", width=110),
                Column("Usual", expr=usual, unit="s", width=110),
                Column(
                    "Last to usual",
                    expr=f"{last} / ({usual} > 0)",
                    unit="suffix: times",
                    decimals=1,
                    width=120,
                    steps=((None, states.WELL), (_SLOW, states.LOOK)),
                ),
            ],
            HALF,
            sort="Last",
        ),
        graph(
            Words(
                "Phase durations over time",
                "Of the newest deployment that finished the phase, on one another: their height is the time "
                "from the begin to the model's start.",
                "No deployment finished a phase",
            ),
            [Ask(last, "{{phase}}")],
            HALF,
            "s",
            "duration",
            colours=states.PHASES,
            stack=common.StackingMode.NORMAL,
        ),
    ]


def durations() -> list[model.Panel]:
    """How long each update took, and what is usual."""
    total = service("service_update_duration_seconds_sum")
    count = service("service_update_duration_seconds_count")
    settled = f"sum by (result) ({per_point(total)}) / (sum by (result) ({per_point(count)}) > 0)"
    usual = f"sum(increase({total}[$__range] @ end())) / (sum(increase({count}[$__range] @ end())) > 0)"
    restored = service("service_restore_duration_seconds_sum")
    restores = service("service_restore_duration_seconds_count")
    return [
        graph(
            Words(
                "Update durations",
                "From an update's begin to its settling, a point for each moment at which one settled, "
                "beside the mean of the whole range. Only updates are there whose settling was watched.",
                "No update settled while it was watched",
            ),
            [Ask(settled, "{{result}}"), Ask(usual, "mean of the range")],
            HALF,
            "s",
            "duration",
            colours=states.RESULTS,
            beside="/^mean of the range$/",
            points=True,
        ),
        graph(
            Words(
                "Age of the open update",
                "How long the oldest open update has been open; from the line on it counts as stuck.",
                "No update was open in this range",
            ),
            [
                Ask(
                    f"time() - min({service('service_oldest_running_update_timestamp_seconds')})",
                    "open for",
                )
            ],
            Size(6, 8),
            "s",
            "age",
            colours={"open for": states.WELL},
            steps=((None, states.WELL), (STUCK_SECONDS, states.LOOK)),
        ),
        graph(
            Words(
                "Time to restore",
                "From the settling of a first failure to that of the success which ended it, at the moment "
                "of that success.",
                "Nothing was restored in this range",
            ),
            [Ask(f"sum({per_point(restored)}) / (sum({per_point(restores)}) > 0)", "restored after")],
            Size(6, 8),
            "s",
            "duration",
            colours={"restored after": states.WELL},
            points=True,
        ),
    ]


def events() -> list[model.Panel]:
    """What the event log says."""
    abnormal = service("service_abnormal_events_total")
    return [
        graph(
            Words(
                "Events by type",
                "Entries of the event log per bar.",
                "No event is known",
            ),
            [
                Ask(
                    f"sum by (event_type) ({once(per_point(service('service_events_total')), 'event_type')})",
                    "{{event_type}}",
                )
            ],
            HALF,
            "none",
            "events",
            colours=states.EVENTS,
            bars=True,
            stack=common.StackingMode.NORMAL,
            interval="1m",
        ),
        graph(
            Words(
                "Abnormal events by reason",
                "Abnormal events, and normal ones that tell of a failure, by the cause that their text "
                "names.",
                "No event told of a failure yet",
            ),
            [
                Ask(
                    f"sum by (reason) ({once(per_point(abnormal), 'reason')})",
                    "{{reason}}",
                )
            ],
            HALF,
            "none",
            "events",
            colours=states.REASONS,
            bars=True,
            stack=common.StackingMode.NORMAL,
            interval="1m",
        ),
    ]


def traffic() -> list[model.Panel]:
    """Which model gets the traffic, and how much there is."""
    weight = service("service_model_traffic_weight_ratio")
    return [
        graph(
            Words(
                "Traffic weights over time",
                "Share of the traffic that the newest update gives to each model: a rollout by steps is a "
                "staircase.",
                "No model has a weight",
            ),
            [Ask(f"max by (model_name, model_version) ({weight})", "{{model_name}} {{model_version}}")],
            HALF,
            "percentunit",
            "share of the traffic",
            stack=common.StackingMode.NORMAL,
            top=1,
        ),
        graph(
            Words(
                "Calls",
                "Inference calls a second, as the cloud's list reports them.",
                "The cloud reports no calls",
            ),
            [
                Ask(f"sum({once(per_second(service('service_invocations_total')))})", "all"),
                Ask(f"sum({once(per_second(service('service_failed_invocations_total')))})", "failed"),
            ],
            HALF,
            "reqps",
            "calls a second",
            colours={"all": states.WELL, "failed": states.BROKEN},
        ),
    ]
