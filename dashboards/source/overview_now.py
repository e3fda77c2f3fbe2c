"""The first row of the overview: whether anything is wrong."""

from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import links, queries, states
from dashboards.source.panels import number
from dashboards.source.parts import Size, Steps, Words
from dashboards.source.queries import FAILING, how_many, how_many_services, once, service
from dashboards.source.targets import Ask

SMALL = Size(3, 4)

NONE_IS_WELL: Steps = ((None, states.WELL), (1, states.BROKEN))
NONE_IS_BEST: Steps = ((None, states.WELL), (1, states.LOOK))
# Somewhat more than twice the usual interval of 30 s, and where ModelArtsDataStale fires.
DATA_AGE: Steps = ((None, states.WELL), (120, states.LOOK), (600, states.BROKEN))


def now() -> list[model.Panel]:
    """Eight numbers."""
    abnormal = f"increase({service('service_events_total', event_type='abnormal')}[1h])"
    read = queries.project("exporter_last_list_timestamp_seconds")
    return [
        number(
            Words(
                "Failing updates",
                "Services whose newest settled update failed, also while a retry runs. A service that was "
                "stopped on purpose does not count.",
                "No update is known",
            ),
            [Ask(how_many_services(FAILING, service("service_update_failing")))],
            SMALL,
            "none",
            steps=NONE_IS_WELL,
        ),
        number(
            Words(
                "Stuck updates",
                "Services whose oldest open update is older than 30 minutes.",
                "No update is known",
            ),
            [Ask(how_many_services(queries.STUCK, service("service_updates_running")))],
            SMALL,
            "none",
            steps=NONE_IS_BEST,
        ),
        number(
            Words(
                "Failed or degraded services",
                "Services that the cloud itself shows as failed or concerning, whatever their last update "
                "did.",
                "No service is known",
            ),
            [
                Ask(
                    how_many_services(
                        f"{service('service_status', status='failed')} == 1"
                        f" or {service('service_status', status='concerning')} == 1",
                        service("service_info"),
                    )
                )
            ],
            SMALL,
            "none",
            steps=NONE_IS_WELL,
        ),
        number(
            Words(
                "Edge nodes failed",
                "Nodes on which the newest update of their service failed.",
                "No edge service, or its rollout is open",
            ),
            [Ask(f"sum({once(service('service_last_update_nodes', result='failed'))})")],
            SMALL,
            "none",
            steps=NONE_IS_BEST,
            link=links.to(links.EDGE, "Open the edge nodes"),
        ),
        number(
            Words(
                "Abnormal events, 1 h",
                "Events that the cloud calls abnormal, in the hour before the end of the range.",
                "No event is known",
            ),
            [Ask(f"sum({once(abnormal)})")],
            SMALL,
            "none",
            decimals=0,
            # increase() is not exact: less than a half means that there was no event.
            steps=((None, states.WELL), (0.5, states.LOOK)),
        ),
        number(
            Words(
                "Not readable",
                "Services whose logs could not be read the last time. What is shown of them is what was last "
                "known.",
                "Nothing was read yet",
            ),
            [Ask(how_many_services(f"{service('service_up')} == 0", service("service_up")))],
            SMALL,
            "none",
            steps=NONE_IS_BEST,
            link=links.to(links.EXPORTER, "Open the exporter"),
        ),
        number(
            Words(
                "Data age",
                "Time since the last complete list of services, of the project where that is longest. "
                "Everything here is at least as old.",
                "No project was ever listed",
            ),
            [Ask(f"max(time() - {read})")],
            SMALL,
            "s",
            steps=DATA_AGE,
            link=links.to(links.EXPORTER, "Open the exporter"),
        ),
        number(
            Words(
                "Alerts firing",
                "Critical and warning alerts of the shipped rules that fire now. If not even the watchdog "
                "fires, the rules are not loaded, and this panel says so instead of 0.",
                "Rules not loaded",
            ),
            [Ask(how_many(f'{queries.FIRING} unless ALERTS{{severity="info"}}', queries.WATCHDOG))],
            SMALL,
            "none",
            steps=NONE_IS_BEST,
        ),
    ]
