"""Panels about the state of the exporter, and what to do about it."""

from pathlib import Path

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links, states
from dashboards.source.panels import number, prose
from dashboards.source.parts import Size, Steps, Words
from dashboards.source.queries import BY_SERVICE, JOB, how_many, once, project, service
from dashboards.source.tables import PROJECT, SERVICE_ID, Column, grid
from dashboards.source.targets import Ask

SMALL = Size(3, 4)
QUARTER = Size(6, 4)

NONE_IS_WELL: Steps = ((None, states.WELL), (1, states.BROKEN))
# Somewhat more than twice the usual interval of 30 s, and where ModelArtsDataStale fires.
DATA_AGE: Steps = ((None, states.WELL), (120, states.LOOK), (600, states.BROKEN))
# A token is renewed ten minutes before its end; ModelArtsTokenExpiresSoon fires at five.
TOKEN: Steps = ((None, states.BROKEN), (300, states.LOOK), (600, states.WELL))
# IAM refuses signatures whose time is wrong by 15 minutes; one minute already makes "since when" wrong.
SKEW: Steps = ((None, states.WELL), (60, states.LOOK), (600, states.BROKEN))

_WHAT_TO_DO = Path(__file__).with_name("what_to_do.md")


def now() -> list[model.Panel]:
    """A row with the most important numbers."""
    listed = project("exporter_last_list_timestamp_seconds")
    return [
        number(
            Words("Exporters down", "Targets of the scrape job that do not answer.", "Not scraped at all"),
            [Ask(how_many(f"up{{{JOB}}} == 0", f"up{{{JOB}}}"))],
            SMALL,
            "none",
            steps=NONE_IS_WELL,
        ),
        number(
            Words(
                "Projects not listed",
                "Projects whose last list of services failed.",
                "No project was ever listed",
            ),
            [Ask(how_many(f"min by (project) ({project('up')}) == 0", project("up")))],
            SMALL,
            "none",
            steps=NONE_IS_WELL,
        ),
        number(
            Words(
                "Data age",
                "Time since the last complete list, of the project where that is longest.",
                "No project was ever listed",
            ),
            [Ask(f"max(time() - {listed})")],
            SMALL,
            "s",
            steps=DATA_AGE,
        ),
        number(
            Words("Services", "Services that are watched.", "No project was ever listed"),
            [Ask(f"count({once(service('service_info'))}) or 0 * sum({project('services')})")],
            SMALL,
            "none",
        ),
        number(
            Words(
                "Configuration",
                "Whether the configuration that was read last is in force. A rejected one leaves the old "
                "one in force.",
                "Not scraped",
            ),
            [Ask("min(modelarts_exporter_config_last_reload_successful)")],
            SMALL,
            "none",
            mappings=states.RELOADED,
        ),
        number(
            Words(
                "Token valid for",
                "Of the project whose token ends first. A token is renewed ten minutes before its end.",
                "No token in use",
            ),
            [Ask(f"min({project('exporter_token_expiry_timestamp_seconds')} - time())")],
            SMALL,
            "s",
            steps=TOKEN,
        ),
        number(
            Words(
                "Clock skew",
                "How far the cloud's clock and this machine's are apart, at most.",
                "No answer yet",
            ),
            [Ask(f"max(abs({project('exporter_clock_skew_seconds')}))")],
            SMALL,
            "s",
            decimals=0,
            steps=SKEW,
        ),
        number(
            Words("Version", "What runs.", "Not scraped"),
            [Ask("count by (version) (modelarts_exporter_build_info)", "{{version}}")],
            SMALL,
            "none",
            mode=common.BigValueTextMode.NAME,
        ),
    ]


def sight() -> list[model.Panel]:
    """Whether anything is out of sight while all else looks well."""
    return [
        number(
            Words(
                "Stores not writable",
                "Exporters that cannot store what they read, and so show nothing new.",
                "Not scraped",
            ),
            [Ask(how_many("modelarts_exporter_store_writable == 0", "modelarts_exporter_store_writable"))],
            QUARTER,
            "none",
            steps=NONE_IS_WELL,
        ),
        number(
            Words(
                "Shards",
                "Shards that Prometheus has a target of, by the number that they name. The services of a "
                "missing one are watched by nobody.",
                "Not scraped",
            ),
            [Ask("count by (total) (max by (index, total) (modelarts_exporter_shard_info))", "of {{total}}")],
            QUARTER,
            "none",
            mode=common.BigValueTextMode.VALUE_AND_NAME,
        ),
        number(
            Words(
                "Oldest read",
                "Since when the service that waits longest was not read. After three sweeps it is an alert.",
                "No service was read",
            ),
            [Ask(f"max(time() - max {BY_SERVICE} ({service('service_last_poll_timestamp_seconds')}))")],
            QUARTER,
            "s",
        ),
        number(
            Words(
                "Sweep",
                "Time in which every service is read once, of the project where that takes longest.",
                "No project was ever listed",
            ),
            [Ask(f"max({project('exporter_sweep_duration_seconds')})")],
            QUARTER,
            "s",
        ),
    ]


def what_to_do() -> model.Panel:
    """Symptoms and remedies."""
    return prose(
        "What to do",
        "What the panels of this page say when something is wrong, and what helps.",
        _WHAT_TO_DO.read_text(encoding="utf-8"),
        Size(15, 12),
    )


def unreadable() -> model.Panel:
    """Services whose logs could not be read."""
    down = f"max {BY_SERVICE} ({service('service_up')}) == 0"
    read = service("service_last_poll_timestamp_seconds")
    return grid(
        Words(
            "Services that cannot be read",
            "The last read of their logs and events failed, was torn or was not understood. The exporter's "
            "log tells why.",
            "Every service could be read",
        ),
        [
            Column("Service", "service_name", link=links.to_service_of_row()),
            PROJECT,
            Column("State", expr=down, mappings=states.READABLE, unit="none", width=120),
            Column(
                "Last read",
                expr=f"1000 * max {BY_SERVICE} ({read}) and on (project, service_id) {down}",
                unit="dateTimeFromNow",
                width=150,
            ),
            SERVICE_ID,
        ],
        Size(9, 12),
        sort="Last read",
        descending=False,
    )
