"""The totals equal the truth on every cloud that the API's silence allows, over real HTTP."""

from random import Random
from typing import Literal

import pytest

from exporter.emulator import Switches, load_scenario, play
from tests.clients import Talk
from tests.expected_series import decided_by_truth, expected_series
from tests.over_http import PACE, POLICY, SECOND, World, world
from tests.random_activity import RandomActivity

# More services, and more events in one millisecond, than the smallest page of these clouds holds.
SERVICES = 13
SMALLEST_PAGE = 10

CLOUDS = {
    "as documented": Switches(),
    "pages of ten, offset counts pages": Switches(max_limit=SMALLEST_PAGE, offset_mode="page"),
    "pages of ten, offset counts items": Switches(max_limit=SMALLEST_PAGE, offset_mode="item"),
    "silently pages of ten, offset counts pages": Switches(
        max_limit=SMALLEST_PAGE, over_limit="clamp", offset_mode="page"
    ),
    "silently pages of ten, offset counts items": Switches(
        max_limit=SMALLEST_PAGE, over_limit="clamp", offset_mode="item"
    ),
    "an ascending update log": Switches(logs_order="asc"),
    "numbers as strings": Switches(numbers_as_strings=True),
    "results appended to the log": Switches(running="appended"),
    "an exclusive start": Switches(start_time="exclusive"),
    "an exclusive end": Switches(end_time="exclusive"),
    "exclusive bounds and small pages": Switches(
        start_time="exclusive", end_time="exclusive", max_limit=SMALLEST_PAGE
    ),
    "null for empty": Switches(arrays="null"),
    "nothing for empty": Switches(arrays="absent"),
    "the other error prefix": Switches(error_prefix="APIGW"),
    "no update log for batch services": Switches(batch_logs="error"),
    "everything otherwise": Switches(
        offset_mode="item",
        logs_order="asc",
        numbers_as_strings=True,
        running="appended",
        start_time="exclusive",
        end_time="exclusive",
        max_limit=SMALLEST_PAGE,
        arrays="absent",
        error_prefix="APIGW",
        batch_logs="error",
        expired_token="ModelArts.0202",
    ),
}


def live_through(found: World, seed: int, *, moments: int = 35) -> None:
    """About 15 minutes in which services change and the exporter is restarted now and then."""
    activity = RandomActivity(
        found.cloud,
        seed,
        lateness=POLICY.lateness,
        quiet=PACE.sweep_interval + PACE.interval,
        most=SERVICES + 3,
    )
    activity.populate(SERVICES)
    choose = Random(seed)
    for _ in range(20):
        activity.act()  # history: it was in the logs before we were there
    for moment in range(moments):
        found.forward(choose.randint(1, 20 * SECOND))
        found.scrape()
        for _ in range(choose.randint(0, 6)):
            activity.act()
        if moment % 17 == 16:
            found.restart()


def check(found: World) -> None:
    """Everything that the truth decides is shown, exactly, and nothing else under the same names."""
    found.sweep()
    true = expected_series(found.cloud)
    assert decided_by_truth(found.shown(), true) == true


@pytest.mark.parametrize("switches", CLOUDS.values(), ids=CLOUDS)
def test_the_totals_equal_the_truth_on_every_cloud(switches: Switches) -> None:
    with world(switches) as found:
        live_through(found, seed=1)
        check(found)


@pytest.mark.parametrize("seed", range(2, 5))
def test_the_totals_equal_the_truth_whatever_happens(seed: int) -> None:
    with world(Switches(max_limit=SMALLEST_PAGE, running="appended")) as found:
        live_through(found, seed)
        check(found)


def test_a_service_that_comes_back_keeps_its_counts() -> None:
    with world() as found:
        stays, leaves = found.cloud.add_service(), found.cloud.add_service()
        for _ in range(2):
            for service_id in (stays, leaves):
                found.cloud.settle(service_id, found.cloud.begin_update(service_id), "FAIL")
                found.cloud.add_event(service_id, "abnormal", "failed to pull image, retry later")
            check(found)
            found.cloud.delete_service(leaves)
            check(found)
            found.restart()
            found.cloud.add_service(service_id=leaves)
        check(found)
        assert found.cloud.truth(leaves).results == {"FAIL": 2}


@pytest.mark.parametrize("code", ["0307", "ModelArts.0202"])
def test_nothing_is_lost_while_tokens_end(code: Literal["0307", "ModelArts.0202"]) -> None:
    switches = Switches(token_life=30 * SECOND, expired_token=code)
    with world(switches, sign=Talk.password) as found:
        live_through(found, seed=5)
        found.cloud.revoke_tokens()
        check(found)
        tokens = [request for request in found.cloud.requests if request.endpoint == "token"]
        # In their time, and once more where one was revoked: never one for each request.
        assert 5 < len(tokens) < 60
        assert {request.status for request in tokens} == {201}


def test_chinese_texts_give_the_same_totals() -> None:
    with world() as found:
        play(found.cloud, load_scenario("chinese"))
        for _ in range(150):  # as long as the scenario takes
            found.forward(SECOND)
            found.scrape()
        found.sweep()
        true, shown = expected_series(found.cloud), found.shown()
        assert {key: shown.get(key) for key in true} == true
        reasons = {
            key.partition("reason=")[2].partition(",")[0]: value
            for key, value in shown.items()
            if key.startswith("modelarts_service_abnormal_events_total")
        }
    assert reasons == {"image_pull": 4, "insufficient_resources": 4, "rollback": 2, "health_check": 1}
