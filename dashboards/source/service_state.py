"""Panels about the state of one service and its updates."""

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links, queries, states
from dashboards.source.panels import number, timeline
from dashboards.source.parts import Size, Steps, Words, override
from dashboards.source.queries import BY_SERVICE, ON_SERVICE, grown, once, service
from dashboards.source.states import code_of
from dashboards.source.tables import SERVICE_ID, Column, grid
from dashboards.source.targets import Ask

SMALL = Size(3, 4)

DATA_AGE: Steps = ((None, states.WELL), (600, states.LOOK))  # twice the usual interval between full reads

# One step of the history: an update that settles within it shows only its result.
_STEP = "1m"

_MODEL = "project, service_id, model_name, model_version"


def _status_is(status: str) -> str:
    return f"{service('service_status', status=status)} == 1"


def _result_is(result: str) -> str:
    return f"{service('service_update_result', result=result)} == 1"


def state() -> list[model.Panel]:
    """A row with the most important numbers."""
    updates_total = service("service_updates_total")
    succeeded = service("service_updates_total", result="SUCCESS")
    begun = service("service_last_update_timestamp_seconds")
    good = service("service_last_success_timestamp_seconds")
    phase = service("service_deploy_phase_start_timestamp_seconds")
    return [
        number(
            Words("State", "The worst of what is wrong with the service, or that it is well.", "Not known"),
            [Ask(queries.STATE)],
            SMALL,
            "none",
            mappings=states.STATE,
        ),
        number(
            Words("Status", "What the cloud's list of services says.", "Not known"),
            [Ask(code_of(_status_is, states.STATUSES, BY_SERVICE))],
            SMALL,
            "none",
            mappings=states.STATUS,
        ),
        number(
            Words("Newest update", "When the newest update began.", "No update is known"),
            [Ask(f"1000 * max({begun})")],
            SMALL,
            "dateTimeFromNow",
        ),
        number(
            Words("Last success", "When the newest update that succeeded began.", "None ever succeeded"),
            [Ask(f"1000 * max({good})")],
            SMALL,
            "dateTimeFromNow",
        ),
        number(
            Words("Success rate", "Share of the updates that settled within the range.", "No update settled"),
            [Ask(f"sum({grown(succeeded)}) / (sum({grown(updates_total)}) > 0)")],
            SMALL,
            "percentunit",
            decimals=0,
            steps=((None, states.BROKEN), (0.5, states.LOOK), (0.9, states.WELL)),
        ),
        number(
            Words(
                "Current phase",
                "The phase that the open update is in, and for how long. Half a minute is usual for each; "
                "where it stays tells what is missing.",
                "No update is open",
            ),
            [Ask(f"time() - max by (phase) ({phase})", "{{phase}}")],
            SMALL,
            "s",
            mode=common.BigValueTextMode.VALUE_AND_NAME,
            steps=((None, states.WELL), (queries.STUCK_SECONDS, states.LOOK)),
        ),
        number(
            Words("Instances", "Instances that the newest update asked for, of all models.", "Not given"),
            [Ask(f"sum({once(service('service_model_instances'), 'model_id', 'model_version')})")],
            SMALL,
            "none",
        ),
        number(
            Words(
                "Data age",
                "Time since the logs of this service were last read with success. A quiet service is read "
                "every five minutes, unless configured otherwise.",
                "Never read",
            ),
            [Ask(f"time() - max({service('service_last_poll_timestamp_seconds')})")],
            SMALL,
            "s",
            steps=DATA_AGE,
        ),
    ]


def cause() -> model.Panel:
    """Why it fails."""
    info = service("service_last_failure_info")
    return grid(
        Words(
            "Cause of the failure",
            "What the event log says about the newest failed update, while the service fails. Click the "
            "reason for what helps.",
            "The service is not failing",
        ),
        [
            Column("Reason", "reason", width=190, link=links.to_causes()),
            Column("Message", "message", long=True),
            Column("Known", expr=f"max by (reason, message) ({info})", hidden=True),
        ],
        Size(10, 6),
        sort="Reason",
    )


def models_now() -> model.Panel:
    """What is deployed."""
    by = "by (model_name, model_version)"
    return grid(
        Words(
            "Models of the newest update",
            "What the newest update asked for. CPU, memory and GPUs are there for custom specifications "
            "alone.",
            "No update is known",
        ),
        [
            Column("Model", "model_name"),
            Column("Version", "model_version", width=90),
            Column("Specification", "specification", width=190),
            Column(
                "Known",
                expr=f"max by (model_name, model_version, specification) ({service('service_model_info')})",
                hidden=True,
            ),
            Column("Weight", expr=_of_models("traffic_weight_ratio", by), unit="percentunit", width=80),
            Column("Instances", expr=_of_models("instances", by), unit="none", width=90),
            Column("CPU", expr=_of_models("cpu_cores", by), unit="none", width=70),
            Column("Memory", expr=_of_models("memory_bytes", by), unit="bytes", width=90),
            Column("GPUs", expr=_of_models("gpus", by), unit="none", width=70),
        ],
        Size(14, 6),
        sort="Weight",
    )


def _of_models(what: str, by: str) -> str:
    return f"max {by} ({service(f'service_model_{what}')})"


def over_time() -> model.Panel:
    """The past in one picture."""

    def phase_is(phase: str) -> str:
        return service("service_deploy_phase_start_timestamp_seconds", phase=phase)

    panel = timeline(
        Words(
            "States over time",
            "What was wrong with the service, the result of its newest update, the phase of an open one, "
            "and the status that the cloud shows.",
            "Nothing is known of this service in the range",
        ),
        [
            Ask(queries.STATE, "state"),
            Ask(code_of(_result_is, states.RESULTS, BY_SERVICE), "newest update"),
            Ask(code_of(phase_is, states.PHASES, BY_SERVICE), "phase"),
            Ask(code_of(_status_is, states.STATUSES, BY_SERVICE), "status"),
        ],
        Size(24, 6),
        states.STATE,
    )
    for name, mappings in (
        ("newest update", states.RESULT),
        ("phase", states.PHASE),
        ("status", states.STATUS),
    ):
        override(panel, "byName", name, [("mappings", mappings)])
    return panel


def updates() -> model.Panel:
    """The history of updates, from samples only: the time of each update becomes a label."""
    newest = service("service_last_update_timestamp_seconds")
    # In ms, as in Grafana's dates; rounded, so that the text is the same at each step.
    update = (
        'count_values by (project, service_id) ("update", '
        f"round(1000 * max by (project, service_id) ({newest})))"
    )
    models = f"max by ({_MODEL}) ({service('service_model_info')})"
    result = code_of(_result_is, states.RESULTS, "by (project, service_id)")
    weight = f"max by ({_MODEL}) ({service('service_model_traffic_weight_ratio')})"
    instances = f"max by ({_MODEL}) ({service('service_model_instances')})"

    def seen(value: str) -> str:
        dated = f"{value} * {ON_SERVICE} group_left (update) ({update})"
        return f"last_over_time(({dated})[$__range:{_STEP}])"

    return grid(
        Words(
            "Updates in the range",
            "Each update that was the newest one when the exporter was scraped, with its models, their "
            "weights and instances, and the result it had when the next one began. Of several updates "
            "within a minute, the last is shown; the exporter's own page of the service has them all.",
            "No update was seen in this range",
        ),
        [
            Column("Began", "update", unit="dateTimeAsLocal", width=190, as_number=True),
            Column(
                "Result",
                # An update without models has a row too.
                expr=seen(f"(0 * {models} + {ON_SERVICE} group_left () {result} or {ON_SERVICE} {result})"),
                mappings=states.RESULT,
                unit="none",
                width=110,
            ),
            Column("Model", "model_name"),
            Column("Version", "model_version", width=110),
            Column("Weight", expr=seen(weight), unit="percentunit", width=100),
            Column("Instances", expr=seen(instances), unit="none", width=100),
            Column("project", "project", hidden=True),
            SERVICE_ID,
        ],
        Size(24, 11),
        sort="Began",
        then="Weight",
    )
