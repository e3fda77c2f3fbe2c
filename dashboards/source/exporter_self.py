"""Panels about the exporter itself: pushed alerts, store and process."""

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import states
from dashboards.source.panels import graph
from dashboards.source.parts import Size, Words
from dashboards.source.queries import JOB, per_point, per_second, quantile
from dashboards.source.targets import Ask

THIRD = Size(8, 7)
HALF = Size(12, 7)


def pushes() -> list[model.Panel]:
    """Whether pushed alerts, which have the cause, reach Alertmanager."""
    none = "No Alertmanager is configured: nothing is pushed"
    notifications = "modelarts_exporter_alertmanager_notifications_total"
    return [
        graph(
            Words(
                "Pushes by outcome",
                "Pushes to each Alertmanager, per bar. When all fail, the rules still page, without the "
                "cause.",
                none,
            ),
            [
                Ask(
                    f"sum by (alertmanager, outcome) ({per_point(notifications)})",
                    "{{alertmanager}}: {{outcome}}",
                )
            ],
            HALF,
            "none",
            "pushes",
            patterns={"/: sent$/": states.WELL, "/: failed$/": states.BROKEN},
            bars=True,
            stack=common.StackingMode.NORMAL,
            interval="1m",
        ),
        graph(
            Words("Alerts that are pushed", "Alerts that the exporter itself keeps firing.", none),
            [Ask("max by (alertname) (modelarts_exporter_alerts_firing)", "{{alertname}}")],
            HALF,
            "none",
            "alerts",
        ),
    ]


def store() -> list[model.Panel]:
    """How long a commit takes, and how large the store is."""
    buckets = "modelarts_exporter_store_commit_duration_seconds_bucket"
    return [
        graph(
            Words(
                "Commit duration",
                "99 of 100 commits were on disk within this time. Nothing is shown before it is on disk, so "
                "a slow disk delays everything.",
                "Nothing was committed in this time",
            ),
            [
                Ask(
                    quantile(0.99, per_second(buckets), "instance"),
                    "{{instance}}",
                )
            ],
            HALF,
            "s",
            "duration",
        ),
        graph(
            Words(
                "Size of the store",
                "On disk. It follows the number of services and not their history.",
                "No store: --storage.path is empty",
            ),
            [Ask("max by (instance) (modelarts_exporter_store_size_bytes)", "{{instance}}")],
            HALF,
            "bytes",
            "size",
        ),
    ]


def resources() -> list[model.Panel]:
    """What the process uses."""
    none = "Not scraped, or not on Linux"
    return [
        graph(
            Words("Memory", "Resident memory.", none),
            [Ask(f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}")],
            THIRD,
            "bytes",
            "resident",
        ),
        graph(
            Words("CPU", "Share of one core; Python uses little more than one.", none),
            [Ask(per_second(f"process_cpu_seconds_total{{{JOB}}}"), "{{instance}}")],
            THIRD,
            "percentunit",
            "of one core",
        ),
        graph(
            Words(
                "Open files",
                "Share of the file descriptors that the process may have.",
                none,
            ),
            [Ask(f"process_open_fds{{{JOB}}} / process_max_fds{{{JOB}}}", "{{instance}}")],
            THIRD,
            "percentunit",
            "of what is allowed",
        ),
    ]
