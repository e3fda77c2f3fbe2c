"""Every page is true, says what failed and why, and ends when it is over: scenarios with the real peers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.environment import a_while, stage, told
from tests.live.peer_scenarios import PEERS
from tests.live.service_scenarios import DEPLOYMENTS

from .alerting import Notice
from .verdict import Story, score, table

SCENARIOS = [*DEPLOYMENTS, *PEERS]


# All play side by side and mostly wait. The longest takes a minute and a little; one that goes wrong gives up
# after another.
@pytest.mark.live
@pytest.mark.timeout(240)
def test_every_notification_that_must_come_comes_and_no_other(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with stage(tmp_path, [scenario.place for scenario in SCENARIOS]) as on:
        stories = [on.story(scenario.place.name) for scenario in SCENARIOS]

        def is_watchdog(notice: Notice) -> bool:
            return (notice.alertmanager, notice.alertname) == (on.one.name, "ModelArtsWatchdog")

        watchdog = Story("nothing at all: the watchdog", is_watchdog, on.receiver.notices)
        watchdog.must("ModelArtsWatchdog")
        with ThreadPoolExecutor(len(SCENARIOS) + 1) as pool:
            played = [
                pool.submit(scenario.play, on, story)
                for scenario, story in zip(SCENARIOS, stories, strict=True)
            ]
            played.append(pool.submit(told, watchdog))
        a_while()
        stories.append(watchdog)

        def belongs_to_none(notice: Notice) -> bool:
            return notice.alertmanager == on.one.name and not any(story.owns(notice) for story in stories)

        rest = Story("what belongs to none of these", belongs_to_none, on.receiver.notices)
        rows = [story.row() for story in (*stories, rest)]
    record_property("shown", table(rows))
    assert score(rows) == (1.0, 1.0)
    for play in played:
        play.result()
