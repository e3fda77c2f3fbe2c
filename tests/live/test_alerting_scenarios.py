"""Alerting scenarios with a real Prometheus and Alertmanager: every expected notification, and no other."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.alerting_system import let_time_pass, running_system, wait_for_all
from tests.live.alertmanager import Notification
from tests.live.expected_notifications import ExpectedNotifications, score, table
from tests.live.infrastructure_scenarios import INFRASTRUCTURE_SCENARIOS
from tests.live.push_scenarios import PUSH_SCENARIOS
from tests.live.service_scenarios import SERVICE_SCENARIOS

SCENARIOS = [*SERVICE_SCENARIOS, *INFRASTRUCTURE_SCENARIOS, *PUSH_SCENARIOS]


# All run at the same time and mostly wait. The longest takes a little less than two minutes; one that fails
# stops after another minute.
@pytest.mark.live
@pytest.mark.timeout(240)
def test_every_notification_that_must_come_comes_and_no_other(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with running_system(tmp_path, [scenario.setup for scenario in SCENARIOS]) as system:
        all_expected = [system.expected(scenario.setup.name) for scenario in SCENARIOS]

        def is_watchdog(notification: Notification) -> bool:
            is_first = notification.alertmanager == system.alertmanager.name
            return is_first and notification.alertname == "ModelArtsWatchdog"

        watchdog = ExpectedNotifications("the watchdog", is_watchdog, system.receiver.notifications)
        watchdog.expect("ModelArtsWatchdog")
        with ThreadPoolExecutor(len(SCENARIOS) + 1) as pool:
            runs = [
                pool.submit(scenario.run, system, expected)
                for scenario, expected in zip(SCENARIOS, all_expected, strict=True)
            ]
            runs.append(pool.submit(wait_for_all, watchdog))
        let_time_pass()
        all_expected.append(watchdog)

        def is_about_none(notification: Notification) -> bool:
            is_first = notification.alertmanager == system.alertmanager.name
            return is_first and not any(expected.is_about(notification) for expected in all_expected)

        rest = ExpectedNotifications("no scenario", is_about_none, system.receiver.notifications)
        results = [expected.result() for expected in (*all_expected, rest)]
    record_property("shown", table(results))
    assert score(results) == (1.0, 1.0)
    for run in runs:
        run.result()
