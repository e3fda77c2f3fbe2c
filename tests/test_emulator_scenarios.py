"""Scenarios: what happens, in which order and when, without a socket and without waiting."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.emulator import (
    DEFAULT_PROJECT,
    Cloud,
    ScenarioError,
    Switches,
    load_scenario,
    play,
    scenario_names,
)
from exporter.emulator.service import Service

NOW = 1_800_000_000_000
SECOND = 1000


class PlayedScenario:
    """A cloud that plays one scenario; `at(seconds)` sets its clock."""

    def __init__(self, scenario: str, *, speed: float = 1, switches: Switches | None = None) -> None:
        self.now = NOW
        self.cloud = Cloud(lambda: self.now, switches)
        play(self.cloud, load_scenario(scenario), speed=speed)

    def at(self, seconds: float) -> None:
        self.now = NOW + int(seconds * SECOND)
        self.cloud.advance()

    @property
    def services(self) -> dict[str, Service]:
        services = self.cloud.projects[DEFAULT_PROJECT].services.values()
        return {service.fields["service_name"]: service for service in services}

    @property
    def only(self) -> Service:
        (service,) = self.services.values()
        return service

    def texts(self, event_type: str | None = None) -> list[str]:
        rows = self.only.event_rows(self.now, self.cloud.switches)
        return [row["event_info"] for row in rows if event_type in (None, row["event_type"])]

    def results(self) -> list[str]:
        return [row["result"] for row in self.only.log_rows(self.now, self.cloud.switches)]


def test_every_scenario_by_name_can_be_played_to_its_end() -> None:
    for name in scenario_names():
        played = PlayedScenario(name)
        played.at(3600)
        assert sum(played.cloud.truth_totals().values()) > 0, name


def test_a_deployment_goes_through_its_phases_at_the_pace_of_the_real_one() -> None:
    played = PlayedScenario("deploy")
    played.at(85)
    assert (played.results(), played.only.fields["status"]) == (["RUNNING"], "deploying")
    played.at(200)

    rows = played.only.event_rows(played.now, played.cloud.switches)

    assert [(row["occur_time"] - NOW, row["event_info"]) for row in rows] == [
        (0, "start to deploy service"),
        (24, "building image for model [mnist 0.0.1]"),
        (41, "model (mnist 0.0.1) build image success"),
        (3980, "preparing environment"),
        (24151, "[mnist 0.0.1] prepare environment success"),
        (24157, "[mnist 0.0.1] schedule resource success"),
        (24164, "[mnist 0.0.1] pulling model image"),
        (80806, "[mnist 0.0.1] pull image success"),
        (80818, "[mnist 0.0.1] starting model"),
    ]
    assert played.results() == ["SUCCESS"]
    assert played.only.fields["status"] == "running"
    assert played.only.fields["transition_at"] == NOW + 100 * SECOND


def test_twice_the_speed_takes_half_the_time() -> None:
    played = PlayedScenario("deploy", speed=2)

    played.at(49)
    assert played.results() == ["RUNNING"]
    played.at(50)
    assert played.results() == ["SUCCESS"]


def test_resources_are_tried_three_times_before_the_failure() -> None:
    played = PlayedScenario("insufficient_resources")
    played.at(30)
    assert played.only.fields["status"] == "waiting"
    played.at(1000)

    abnormal = played.texts("abnormal")
    assert abnormal[:3] == ["Schedule failed due to insufficient resources. Retry later."] * 3
    assert abnormal[3].startswith("ModelArts.3976")
    assert played.results() == ["FAIL"]


def test_a_rollback_ends_with_a_failure_that_is_typed_normal() -> None:
    played = PlayedScenario("rollback")
    played.at(400)

    assert played.texts("normal")[-1] == "Failed to update the service. The update has been rolled back."
    assert (played.results(), played.only.fields["status"]) == (["FAIL"], "running")


def test_an_edge_rollout_fails_on_some_nodes() -> None:
    played = PlayedScenario("edge_partial_failure")
    played.at(60)

    (row,) = played.only.log_rows(played.now, played.cloud.switches)

    assert (row["result"], row["success_num"], row["failed_num"]) == ("FAIL", 3, 1)
    assert [(node["node_name"], node["operation"], node["result"]) for node in row["result_detail"]] == [
        ("edge-node-1", "deploy", True),
        ("edge-node-2", "deploy", False),
        ("edge-node-3", "deploy", True),
        ("edge-node-4", "delete", True),
    ]


def test_a_wrong_port_says_nothing_for_twenty_minutes() -> None:
    played = PlayedScenario("wrong_port")
    played.at(1199)
    assert (played.results(), played.texts("abnormal")) == (["RUNNING"], [])

    played.at(1200)
    assert played.results() == ["FAIL"]
    assert "timed out" in played.texts("abnormal")[0]


def test_a_service_can_be_born_and_fail_between_two_polls() -> None:
    played = PlayedScenario("born_and_failed")
    assert played.services == {}

    played.at(30)
    assert list(played.services) == ["born-and-failed"]
    assert (played.results(), played.only.fields["status"]) == (["FAIL"], "failed")


def test_a_service_stops_itself_and_another_recovers() -> None:
    stopping, back = PlayedScenario("auto_stop"), PlayedScenario("concerning_and_back")

    stopping.at(3610)
    back.at(10)
    assert (stopping.only.fields["status"], back.only.fields["status"]) == ("stopping", "concerning")
    stopping.at(3630)
    back.at(300)
    assert (stopping.only.fields["status"], back.only.fields["status"]) == ("stopped", "running")


def test_texts_follow_the_language_of_the_cloud() -> None:
    played = PlayedScenario("image_pull_failure", switches=Switches(language="zh"))
    played.at(300)

    assert played.texts("abnormal")[0] == "拉取镜像失败，稍后重试"  # noqa: RUF001


def test_steps_between_two_requests_keep_their_own_times() -> None:
    often, once = PlayedScenario("demo"), PlayedScenario("demo")
    for second in range(400):
        often.at(second)
    once.at(399)

    assert once.cloud.truth_totals() == often.cloud.truth_totals()
    for name, service in often.services.items():
        assert once.services[name].truth(once.now) == service.truth(often.now)


def test_within_two_minutes_the_demo_shows_everything_that_metrics_can_show() -> None:
    played = PlayedScenario("demo")
    statuses: set[str] = set()
    phases: set[str] = set()
    deployed_nodes: set[tuple[str, bool]] = set()
    restored: set[str] = set()
    gone = False
    born: set[str] = set()
    for second in range(120):
        played.at(second)
        if "experiment" in born and "experiment" not in played.services:
            gone = True
        born |= set(played.services)
        for name, service in played.services.items():
            statuses.add(service.fields["status"])
            rows = service.log_rows(played.now, replace(played.cloud.switches, logs_order="asc"))
            results = [row["result"] for row in rows]
            if results and results[-1] == "RUNNING":
                phases.add(service.event_rows(played.now, played.cloud.switches)[-1]["event_info"])
            if "SUCCESS" in results[results.index("FAIL") :] if "FAIL" in results else False:
                restored.add(name)
            for row in rows:
                for node in row.get("result_detail", []):
                    deployed_nodes.add((node["operation"], node["result"]))

    assert statuses == {
        "running",
        "deploying",
        "concerning",
        "failed",
        "stopped",
        "finished",
        "stopping",
        "deleting",
        "pending",
        "waiting",
    }
    started = ("building image for model", "preparing environment", "prepare environment success")
    for phase in (*started, "pulling model image", "starting model"):
        assert any(phase in text for text in phases), phase
    assert deployed_nodes == {("deploy", True), ("deploy", False), ("delete", True), ("delete", False)}
    assert len(restored) >= 4
    assert gone
    assert len(born) >= 12
    assert set(played.cloud.truth_totals()) == {
        ("update", "SUCCESS"),
        ("update", "FAIL"),
        ("event", "normal"),
        ("event", "abnormal"),
    }
    models = played.services["chat-assistant"].models
    assert models[0]["custom_spec"] == {"cpu": 8, "memory": 65536, "gpu_p4": 2}
    assert [row["weight"] for row in played.services["recommender"].models] == [70, 30]
    assert played.services["pricing-stable"].fields["invocation_times"] > 4000
    abnormal = Counter(
        event.event_info
        for service in played.services.values()
        for event in service.events
        if event.event_type == "abnormal"
    )
    assert len(abnormal) >= 15


def test_the_demo_goes_on_for_ever_without_growing() -> None:
    played = PlayedScenario("demo")

    def held() -> int:
        return sum(len(service.events) + len(service.updates) for service in played.services.values())

    played.at(3 * 3600)
    after_three_hours, seen = held(), played.cloud.truth_totals()
    played.at(9 * 3600)

    assert held() < after_three_hours * 1.1
    assert played.cloud.truth_totals()["event", "normal"] > 2 * seen["event", "normal"]


def test_a_scenario_of_ones_own_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own.yml"
    path.write_text(
        """
services:
  - name: mine
    service_id: my-id
    models: [{name: m, version: "2", weight: 60}]
    timeline:
      - {at: 1, update: true, models: [{name: m, version: "3"}]}
      - {at: 2, event: {type: abnormal, text: "odd {model}"}, late: 10}
      - {at: 3, settle: FAIL}
""",
        "utf-8",
    )
    played = PlayedScenario(str(path))
    played.at(5)

    assert played.only.fields["service_id"] == "my-id"
    assert played.only.models[0]["model_version"] == "3"
    assert (played.results(), played.texts()) == (["FAIL"], [])
    played.at(12)
    assert played.only.event_rows(played.now, played.cloud.switches)[0]["occur_time"] == NOW + 2 * SECOND


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("services: [{name: a, timeline: [{at: 0, play: nothing}]}]", "no episode 'nothing'"),
        ("services: [{name: a, timeline: [{at: 0, say: nothing}]}]", "no text 'nothing'"),
        ("services: [{name: a, timelime: []}]", "timelime"),
        ("services: [{name: a, timeline: [{at: 0, setle: FAIL}]}]", "setle"),
        ("switches: {retention_days: 3}\nservices: []", "retention_days"),
        ("services: [", "not YAML"),
        ("samples: [{endpoint: list, file: none.json}]\nservices: []", "none.json"),
    ],
)
def test_a_scenario_that_cannot_be_played_says_why(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "own.yml"
    path.write_text(content, "utf-8")

    with pytest.raises(ScenarioError, match=message):
        load_scenario(str(path))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ScenarioError, match=r"nothing: No such file or directory; by name there are .*demo"):
        load_scenario("nothing")


def test_a_service_deleted_by_hand_is_left_alone() -> None:
    played = PlayedScenario("deploy")
    played.at(10)
    played.cloud.delete_service(played.only.fields["service_id"])

    played.at(200)

    assert played.services == {}


def _ids(played: PlayedScenario) -> dict[str, Any]:
    return {name: service.fields["service_id"] for name, service in played.services.items()}


def test_two_runs_are_the_same() -> None:
    first, second = PlayedScenario("demo"), PlayedScenario("demo")
    first.at(300)
    second.at(300)

    assert _ids(first) == _ids(second)
    assert first.cloud.truth_totals() == second.cloud.truth_totals()
