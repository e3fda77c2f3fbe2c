"""Panels about the exporter's requests to the API of the cloud."""

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import states
from dashboards.source.exporter_state import DATA_AGE
from dashboards.source.panels import graph
from dashboards.source.parts import Size, Words
from dashboards.source.queries import per_point, per_second, project, quantile
from dashboards.source.targets import Ask

THIRD = Size(8, 8)
HALF = Size(12, 7)

# By the meaning of an HTTP status: success, too many requests, not allowed, failed.
CODES = {
    "/^2/": states.WELL,
    "/^429/": states.LOOK,
    "/^(401|403)/": states.UNKNOWN,
    "/^(4(?!29|01|03)|5|error)/": states.BROKEN,
}

# What a series of "What could not be used" is about, each kind in one colour.
UNUSED = {
    "/^torn/": "#56B4E9",
    "/^anomaly/": "#D55E00",
    "/^unknown/": "#CC79A7",
    "/^unclassified/": "#F0E442",
}


def api() -> list[model.Panel]:
    """Rate, errors and duration."""
    requests = project("exporter_api_requests_total")
    buckets = project("exporter_api_request_duration_seconds_bucket")
    return [
        graph(
            Words("Requests by endpoint", "Requests to the cloud a second.", "No request was made yet"),
            [Ask(f"sum by (endpoint) ({per_second(requests)})", "{{endpoint}}")],
            THIRD,
            "reqps",
            "requests a second",
            colours=states.ENDPOINTS,
            stack=common.StackingMode.NORMAL,
        ),
        graph(
            Words(
                "Answers by status",
                "HTTP status of the answers, or `error` where none came. Blue is fine, orange is "
                "throttling, purple a refused credential, red an error.",
                "No request was made yet",
            ),
            [Ask(f"sum by (code) ({per_second(requests)})", "{{code}}")],
            THIRD,
            "reqps",
            "answers a second",
            patterns=CODES,
            stack=common.StackingMode.NORMAL,
        ),
        graph(
            Words(
                "Request duration",
                "95 of 100 requests to an endpoint took at most this long.",
                "No request was made in this time",
            ),
            [
                Ask(
                    quantile(0.95, per_second(buckets), "endpoint"),
                    "{{endpoint}}",
                )
            ],
            THIRD,
            "s",
            "duration",
            colours=states.ENDPOINTS,
        ),
    ]


def budget() -> list[model.Panel]:
    """How many requests are allowed, and what was refused."""
    requests = project("exporter_api_requests_total")
    return [
        graph(
            Words(
                "Budget",
                "Requests a second of each project, of all exporters together, and how many are allowed: the "
                "configured rate, lowered by 429 and grown back by a tenth a minute.",
                "No request was made yet",
            ),
            [
                Ask(f"sum by (project) ({per_second(requests)})", "{{project}}: made"),
                # Each exporter, also each shard, has a limit of its own.
                Ask(f"sum by (project) ({project('exporter_api_rate_limit')})", "{{project}}: allowed"),
            ],
            THIRD,
            "reqps",
            "requests a second",
            beside="/: allowed$/",
        ),
        graph(
            Words("Throttled", "Requests that the cloud answered with 429, per bar.", "No project yet"),
            [
                Ask(
                    f"sum by (project) ({per_point(project('exporter_api_throttled_total'))})",
                    "{{project}}",
                )
            ],
            THIRD,
            "none",
            "requests",
            bars=True,
            stack=common.StackingMode.NORMAL,
            interval="1m",
        ),
        graph(
            Words(
                "Token validity over time",
                "Time until the token in use ends: a saw whose teeth do not reach the ground.",
                "No token in use: requests are signed, or nobody could sign in",
            ),
            [
                Ask(
                    f"min by (project) ({project('exporter_token_expiry_timestamp_seconds')} - time())",
                    "{{project}}",
                )
            ],
            THIRD,
            "s",
            "time left",
        ),
    ]


def polls() -> list[model.Panel]:
    """Whether the exporter polls in time, and what it could not use."""
    listed = project("exporter_last_list_timestamp_seconds")
    total = project("exporter_poll_duration_seconds_sum")
    count = project("exporter_poll_duration_seconds_count")
    return [
        graph(
            Words(
                "Data age by project",
                "Time since the last complete list; from the upper line on ModelArtsDataStale fires.",
                "No project was ever listed",
            ),
            [Ask(f"max by (project) (time() - {listed})", "{{project}}")],
            THIRD,
            "s",
            "data age",
            steps=DATA_AGE,
        ),
        graph(
            Words(
                "Poll duration",
                "From a list to the last read that it asked for, on average, beside the configured "
                "interval: above it, the exporter does not keep up.",
                "No poll ended yet",
            ),
            [
                Ask(
                    f"sum by (project) ({per_second(total)}) / (sum by (project) ({per_second(count)}) > 0)",
                    "{{project}}: took",
                ),
                Ask(
                    f"max by (project) ({project('exporter_poll_interval_seconds')})",
                    "{{project}}: interval",
                ),
            ],
            THIRD,
            "s",
            "duration",
            beside="/: interval$/",
        ),
        graph(
            Words(
                "What could not be used",
                "Torn reads, anomalies of the ledger, values and events that this version does not know, "
                "per bar.",
                "No project yet",
            ),
            [
                Ask(f"sum({per_point(project('exporter_torn_reads_total'))})", "torn reads"),
                Ask(
                    f"sum by (kind) ({per_point(project('exporter_ledger_anomalies_total'))})",
                    "anomaly: {{kind}}",
                ),
                Ask(
                    f"sum by (field) ({per_point(project('exporter_unknown_values_total'))})",
                    "unknown: {{field}}",
                ),
                Ask(
                    f"sum({per_point(project('exporter_unclassified_events_total'))})",
                    "unclassified events",
                ),
            ],
            THIRD,
            "none",
            "times",
            patterns=UNUSED,
            bars=True,
            stack=common.StackingMode.NORMAL,
            interval="1m",
        ),
    ]


def audit() -> list[model.Panel]:
    """Whether what was counted of past days is still what the cloud shows of them."""
    found = project("exporter_audit_differences_total")
    last = project("exporter_audit_last_success_timestamp_seconds")
    return [
        graph(
            Words(
                "Differences",
                "Days of a service whose event log later showed less (missing) or more (extra) than was "
                "counted, per bar. The exporter's log names them.",
                "No project yet",
            ),
            [Ask(f"sum by (project, kind) ({per_point(found)})", "{{project}}: {{kind}}")],
            HALF,
            "none",
            "days of a service",
            patterns={"/: missing$/": states.LOOK, "/: extra$/": states.UNKNOWN},
            bars=True,
            stack=common.StackingMode.NORMAL,
            interval="1h",
        ),
        graph(
            Words(
                "Time since the last audit",
                "Since a past day was last compared, or none was left. It grows without end where the rate "
                "limit has nothing to spare.",
                "Nothing was compared yet",
            ),
            [Ask(f"min by (project) (time() - {last})", "{{project}}")],
            HALF,
            "s",
            "time",
        ),
    ]
