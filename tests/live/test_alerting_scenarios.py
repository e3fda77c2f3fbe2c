"""Alerting scenarios with a real Prometheus and Alertmanager: every expected notification, and no other."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.alerting_system import PATIENCE_SECONDS, let_time_pass, running_system, wait_for_all
from tests.live.alertmanager import Notification
from tests.live.expected_notifications import ExpectedNotifications, score, table
from tests.live.infrastructure_scenarios import INFRASTRUCTURE_SCENARIOS
from tests.live.lone_scenarios import LONE_SCENARIOS
from tests.live.push_scenarios import PUSH_SCENARIOS
from tests.live.scenario import Scenario
from tests.live.service_scenarios import SERVICE_SCENARIOS

SCENARIOS = [*SERVICE_SCENARIOS, *INFRASTRUCTURE_SCENARIOS, *PUSH_SCENARIOS]


# All run at the same time and mostly wait. The longest takes a little less than two minutes; one that fails
# stops after another minute.
@pytest.mark.live
@pytest.mark.timeout(240)
def test_every_notification_that_must_come_comes_and_no_other(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    play(SCENARIOS, tmp_path, record_property)


@pytest.mark.live
@pytest.mark.timeout(240)
@pytest.mark.parametrize("scenario", LONE_SCENARIOS, ids=lambda scenario: scenario.setup.name)
def test_nor_when_what_all_depend_on_goes(
    scenario: Scenario, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    play([scenario], tmp_path, record_property)


def play(
    scenarios: Sequence[Scenario], directory: Path, record_property: Callable[[str, object], None]
) -> None:
    """Run the scenarios at the same time, and compare what was received with what had to be."""
    with running_system(directory, [scenario.setup for scenario in scenarios]) as system:
        all_expected = [system.expected(scenario.setup.name) for scenario in scenarios]

        def is_watchdog(notification: Notification) -> bool:
            is_first = notification.alertmanager == system.alertmanager.name
            return is_first and notification.alertname == "ModelArtsWatchdog"

        watchdog = ExpectedNotifications("the watchdog", is_watchdog, system.receiver.notifications)
        watchdog.expect("ModelArtsWatchdog")
        with ThreadPoolExecutor(len(scenarios) + 1) as pool:
            runs = [
                pool.submit(scenario.run, system, expected)
                for scenario, expected in zip(scenarios, all_expected, strict=True)
            ]
            # Prometheus does not know Alertmanager in its first seconds, and sends again after a minute.
            runs.append(pool.submit(wait_for_all, watchdog, 2 * PATIENCE_SECONDS))
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
