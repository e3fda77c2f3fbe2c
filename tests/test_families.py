"""What is exposed of an account and of a project: text beside input, as far as other tests do not show it."""

from typing import Any

import msgspec

from exporter.core.accounting import project_totals as fleets
from exporter.core.accounting.apply_events import apply_events
from exporter.core.accounting.apply_updates import CountingPolicy, apply_updates
from exporter.core.accounting.labels import LONGEST_LABEL, ProjectView, ServiceView
from exporter.core.accounting.service_state import ServiceState, opened, with_row
from exporter.core.classifier.classifier import Classifier
from exporter.core.metrics.families import PROJECT_FAMILIES, SERVICE_FAMILIES, Options, service_families
from exporter.core.metrics.family import Family
from exporter.core.records import (
    STATUSES,
    Event,
    EventWindow,
    Model,
    NodeResult,
    ServiceRow,
    Update,
    UpdateWindow,
)
from tests.fakes import NOW

SECONDS = NOW / 1000
POLICY = CountingPolicy(lateness=600_000, longest_guess=300_000)


def service(*updates: Update, **row: Any) -> ServiceState:
    fields = {
        "service_id": "s",
        "service_name": "name",
        "status": "running",
        "infer_type": "real-time",
        **row,
    }
    state = opened(msgspec.convert(fields, ServiceRow), NOW, preexisting=False).state
    return read(state, *updates) if updates else state


def read(state: ServiceState, *updates: Update) -> ServiceState:
    return apply_updates(state, UpdateWindow(updates, NOW + 1), POLICY, NOW + 1).state


def events(state: ServiceState, *found: tuple[int, str, str]) -> ServiceState:
    window = EventWindow(tuple(Event(*event) for event in found), NOW)
    return apply_events(state, window, POLICY, Classifier(), NOW).state


def shown(
    state: ServiceState, name: str, families: tuple[Family, ...] = SERVICE_FAMILIES
) -> dict[str, float]:
    """Samples of one family, by their own labels."""
    view = ServiceView("prod", state)
    family = next(family for family in families if family.name == f"modelarts_{name}")
    found: dict[str, float] = {}
    for sample in family.samples(view):
        assert sample.labels[:3] == view.labels
        key = sample.suffix + ",".join(f"{label}={value}" for label, value in sample.labels[3:])
        assert key not in found, f"{key} is there twice"
        found[key] = sample.value
    return found


def test_every_series_of_a_service_carries_its_three_labels() -> None:
    assert ServiceView("prod", service()).labels == (
        ("project", "prod"),
        ("service_id", "s"),
        ("service_name", "name"),
    )


def test_names_are_unique_and_labels_are_as_they_are_documented() -> None:
    names = [family.name for family in (*SERVICE_FAMILIES, *PROJECT_FAMILIES)]
    assert len(set(names)) == len(names)
    node = NodeResult("n", "node", "deploy", succeeded=True)
    model = Model("m", "model", "1", "spec", 100, 1, 2, 3, 4)
    full = service(Update(NOW, "FAIL", (model,), 1, 1, (node,)), infer_type="edge", invocations=1)
    full = events(
        full, (NOW, "abnormal", "failed to pull image, retry later"), (NOW, "normal", "pulling model image")
    )
    for family in SERVICE_FAMILIES:
        for sample in family.samples(ServiceView("prod", full)):
            assert tuple(name for name, _ in sample.labels[3:]) == family.labels, family.name


def test_before_the_first_read_nothing_is_claimed_of_the_logs() -> None:
    fresh = opened(ServiceRow("s"), NOW, preexisting=True).state
    for name in ("service_update_result", "service_update_failing", "service_updates_running", "service_up"):
        assert shown(fresh, name) == {}
    for name in (
        "service_updates_total",
        "service_update_duration_seconds",
        "service_restore_duration_seconds",
    ):
        assert shown(fresh, name) == {}
    assert shown(fresh, "service_status") == {}


def test_all_three_results_are_there_and_one_is_true() -> None:
    assert shown(read(service()), "service_update_result") == {
        "result=SUCCESS": 0,
        "result=FAIL": 0,
        "result=RUNNING": 0,
    }
    failed = service(Update(NOW, "FAIL"))
    assert shown(failed, "service_update_result") == {
        "result=SUCCESS": 0,
        "result=FAIL": 1,
        "result=RUNNING": 0,
    }
    assert shown(failed, "service_update_failing") == {"": 1}


def test_times_are_seconds_and_absent_where_there_is_nothing() -> None:
    state = service(Update(NOW - 2000, "FAIL"), Update(NOW - 1000, "RUNNING"), Update(NOW, "RUNNING"))
    assert shown(state, "service_last_failure_timestamp_seconds") == {"": SECONDS - 2}
    assert shown(state, "service_last_success_timestamp_seconds") == {}
    assert shown(state, "service_last_update_timestamp_seconds") == {"": SECONDS}
    assert shown(state, "service_oldest_running_update_timestamp_seconds") == {"": SECONDS - 1}
    assert shown(state, "service_updates_running") == {"": 2}
    assert shown(service(), "service_oldest_running_update_timestamp_seconds") == {}
    assert shown(service(), "service_last_update_timestamp_seconds") == {}
    assert shown(msgspec.structs.replace(state, read_at=NOW), "service_last_poll_timestamp_seconds") == {
        "": SECONDS
    }


def test_counters_of_a_new_service_are_there_at_zero() -> None:
    state = service()
    assert shown(state, "service_updates_total") == {"result=SUCCESS": 0, "result=FAIL": 0}
    assert shown(state, "service_events_total") == {"event_type=normal": 0, "event_type=abnormal": 0}
    assert shown(state, "service_restore_duration_seconds") == {"_count": 0, "_sum": 0}
    assert set(shown(state, "service_update_duration_seconds")) == {
        f"{suffix}result={result}" for suffix in ("_count", "_sum") for result in ("SUCCESS", "FAIL")
    }
    assert shown(state, "service_invocations_total") == {"": 0}
    assert shown(state, "service_failed_invocations_total") == {"": 0}
    assert shown(state, "service_update_nodes_total") == {}
    assert shown(service(infer_type="edge"), "service_update_nodes_total") == {
        "result=success": 0,
        "result=failed": 0,
    }


def test_an_unknown_status_is_other() -> None:
    statuses = shown(service(status="exploded"), "service_status")
    assert statuses == {f"status={status}": float(status == "other") for status in (*STATUSES, "other")}
    assert shown(service(), "service_status")["status=running"] == 1
    outcome = with_row(service(), ServiceRow("s", status="exploded", infer_type="quantum"), NOW)
    assert outcome.unknown == (("status", "exploded"), ("infer_type", "quantum"))
    assert with_row(outcome.state, msgspec.structs.replace(outcome.state.row, owner="me"), NOW).unknown == ()


def test_the_info_of_a_service_is_its_row() -> None:
    state = service(infer_type="edge", workspace_id="7", owner="me")
    assert shown(state, "service_info") == {"infer_type=edge,workspace_id=7,owner=me": 1}


def test_calls_are_as_the_api_reports_them_even_when_it_begins_again() -> None:
    state = service(invocations=7, failed_invocations=2)
    assert state.counters.values["invocations"] == 7
    state = with_row(state, msgspec.structs.replace(state.row, invocations=1), NOW).state
    assert state.counters.values["invocations"] == 1
    state = with_row(state, msgspec.structs.replace(state.row, invocations=None), NOW).state
    assert state.counters.values["invocations"] == 1


def test_nodes_of_the_newest_update_are_shown_where_the_api_counted_them() -> None:
    assert shown(service(), "service_last_update_nodes") == {}
    assert shown(service(Update(NOW, "FAIL", nodes_succeeded=3)), "service_last_update_nodes") == {
        "result=success": 3
    }


def test_a_node_that_is_listed_twice_is_one_series_and_its_failure_shows() -> None:
    nodes = [NodeResult("n", "node", "deploy", succeeded=good) for good in (True, False, True)]
    state = service(Update(NOW, "FAIL", nodes=(*nodes, NodeResult("o", "other", "delete", succeeded=True))))
    assert shown(state, "edge_node_operation_success") == {
        "node_id=n,node_name=node,operation=deploy": 0,
        "node_id=o,node_name=other,operation=delete": 1,
    }
    assert shown(service(), "edge_node_operation_success") == {}


def test_a_model_that_is_listed_twice_is_one_series_and_has_what_both_have() -> None:
    model = Model("m", "model", "1", "spec", weight=40, instances=1, cpu_cores=0.5, memory_mb=1, gpus=1)
    bare = Model("bare", "bare", "2")
    state = service(Update(NOW, "RUNNING", (model, model, bare)))
    own, labels = (
        "model_id=m,model_name=model,model_version=1",
        "model_id=bare,model_name=bare,model_version=2",
    )
    assert shown(state, "service_model_info") == {
        f"{own},specification=spec": 1,
        f"{labels},specification=": 1,
    }
    for name, value in (
        ("traffic_weight_ratio", 0.8),
        ("instances", 2),
        ("cpu_cores", 1),
        ("memory_bytes", 2 * 1024 * 1024),
        ("gpus", 2),
    ):
        assert shown(state, f"service_model_{name}") == {own: value}
    assert shown(service(), "service_model_info") == {}


def test_the_pool_is_that_of_the_newest_update_and_none_in_the_public_pool() -> None:
    old, new = Update(NOW - 1, "SUCCESS", cluster_id="old"), Update(NOW, "RUNNING", cluster_id="new")
    assert shown(service(old, new), "service_pool_info") == {"cluster_id=new": 1}
    assert shown(service(old, Update(NOW, "RUNNING")), "service_pool_info") == {}
    assert shown(service(), "service_pool_info") == {}


def test_the_failure_info_is_there_exactly_while_the_service_fails() -> None:
    failed = service(Update(NOW, "FAIL"))
    assert shown(failed, "service_last_failure_info") == {"reason=other,message=": 1}
    blamed = events(failed, (NOW, "abnormal", "failed to pull image, retry later"))
    told = {"reason=image_pull,message=failed to pull image, retry later": 1.0}
    assert shown(blamed, "service_last_failure_info") == told
    retried = read(blamed, Update(NOW, "FAIL"), Update(NOW + 1, "RUNNING"))
    assert shown(retried, "service_last_failure_info") == told
    mended = read(retried, Update(NOW, "FAIL"), Update(NOW + 1, "SUCCESS"))
    assert shown(mended, "service_last_failure_info") == {}


def test_a_message_has_200_characters_at_most_and_may_be_left_out() -> None:
    state = events(service(Update(NOW, "FAIL")), (NOW, "abnormal", "failed to pull image\n" + "x" * 1000))
    (labels,) = shown(state, "service_last_failure_info")
    message = labels.removeprefix("reason=image_pull,message=")
    assert len(message) == 200
    assert "\n" not in message
    assert state.cause is not None
    assert len(state.cause.message) == 500
    assert state.cause.message.startswith(message[:199])
    without = service_families(Options(failure_message=False))
    assert shown(state, "service_last_failure_info", without) == {"reason=image_pull": 1}
    assert next(f for f in without if f.name == "modelarts_service_last_failure_info").labels == ("reason",)


def test_the_series_of_nodes_may_be_left_out() -> None:
    names = [family.name for family in service_families(Options(edge_nodes=False))]
    assert "modelarts_edge_node_operation_success" not in names
    assert len(names) == len(SERVICE_FAMILIES) - 1
    assert service_families(Options()) == SERVICE_FAMILIES


def test_events_show_by_reason_and_type() -> None:
    state = events(
        service(),
        (NOW - 1000, "abnormal", "failed to pull image, retry later"),
        (NOW, "normal", "start to deploy service"),
    )
    assert shown(state, "service_abnormal_events_total") == {"reason=image_pull": 0}  # held
    assert shown(state, "service_last_event_timestamp_seconds") == {
        "event_type=normal": SECONDS,
        "event_type=abnormal": SECONDS - 1,
    }


def test_phases_show_how_long_they_took_and_which_one_is_on() -> None:
    start = NOW - 100_000
    steps = (
        (start, "normal", "start to deploy service"),
        (start + 1000, "normal", "preparing environment"),
        (start + 5000, "normal", "prepare environment success"),
        (start + 7000, "normal", "schedule resource success"),
        (start + 8000, "normal", "pulling model image"),
    )
    idle = events(service(), *steps)
    assert shown(idle, "service_deploy_phase_start_timestamp_seconds") == {}
    state = events(service(Update(start, "RUNNING")), *steps)
    assert shown(state, "service_deploy_phase_duration_seconds") == {
        "phase=environment": 4,
        "phase=scheduling": 2,
    }
    assert shown(state, "service_deploy_phase_start_timestamp_seconds") == {
        "phase=image_pull": start / 1000 + 8
    }
    between = events(service(Update(start, "RUNNING")), *steps[:1])
    assert shown(between, "service_deploy_phase_start_timestamp_seconds") == {}


def test_up_is_whether_the_last_read_succeeded() -> None:
    assert shown(msgspec.structs.replace(service(), up=False), "service_up") == {"": 0}
    assert shown(msgspec.structs.replace(service(), up=True), "service_up") == {"": 1}


def test_no_label_is_longer_than_a_name_can_be() -> None:
    state = service(service_name="x" * 5000)
    assert len(dict(ServiceView("prod", state).labels)["service_name"]) == LONGEST_LABEL


def project(**changes: Any) -> dict[str, float]:
    fields: dict[str, Any] = {"up": True, "services": 3, "totals": fleets.opened(""), **changes}
    view = ProjectView("prod", "0" * 32, "https://modelarts.example", **fields)
    return {
        family.name + sample.suffix + str(dict(sample.labels[1:])): sample.value
        for family in PROJECT_FAMILIES
        for sample in family.samples(view)
    }


def test_a_project_shows_whether_it_was_listed_and_what_it_is() -> None:
    found = project()
    assert (found["modelarts_up{}"], found["modelarts_services{}"]) == (1, 3)
    assert (
        found[
            f"modelarts_project_info{{'project_id': '{'0' * 32}', 'endpoint': 'https://modelarts.example'}}"
        ]
        == 1
    )
    assert project(up=False)["modelarts_up{}"] == 0
    assert "modelarts_up{}" not in project(up=None)


def test_the_histograms_of_a_project_are_complete() -> None:
    found = project()
    for result in ("SUCCESS", "FAIL"):
        name = "modelarts_update_duration_seconds"
        assert found[f"{name}_bucket{{'result': '{result}', 'le': '+Inf'}}"] == 0
        assert (
            found[f"{name}_count{{'result': '{result}'}}"]
            == found[f"{name}_sum{{'result': '{result}'}}"]
            == 0
        )
    assert found["modelarts_restore_duration_seconds_bucket{'le': '60.0'}"] == 0
