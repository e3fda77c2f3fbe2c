"""A store that an earlier version wrote, and what a start on it shows: neither may ever change.

The folder's README says what is in it. When names inside the program change, only `Program` and the three
functions below it follow; the files stay as they are.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.adapters.prometheus.exposition import Exposition
from exporter.adapters.store.database import Store
from exporter.core.alerting.notifications import NotifierOptions
from exporter.core.classifier.classifier import Classifier, CustomRule
from exporter.core.links import LinkOptions
from exporter.core.metrics.families import PROJECT_FAMILIES, Options, service_families
from exporter.core.records import Event, ServiceRow, Update
from exporter.engine.fetch import Fetcher
from tests.fakes import NOW, Clock, Cloud, Inline, Later
from tests.poller_harness import MINUTE, POLICY, SECOND, PollerHarness, project

GOLDEN = Path(__file__).parent / "golden" / "store-v1"
STORE = GOLDEN / "modelarts-exporter.db"
CHECKSUM = "e91d6d68461c00120f617eb7b323f5814d4e915493cd7d5187e1aadea4901d17"
# The moment of the last commit; the starts below are a second later.
WRITTEN = NOW + 3 * 60 * MINUTE
LARGEST = 300_000
PULL = "failed to pull image, retry later"
EXPLAINED = "ModelArts.3520: no port, token=<secret>"

# The version that wrote the golden files linked to files of a repository.
LINKS = LinkOptions(
    "http://exporter.example",
    "https://github.com/modelarts-exporter/modelarts-exporter/blob/main/docs/runbooks",
)

# --- the only part that knows how the program is built --------------------------------------------------


# Families that were added after the store was written. They have no lines here, but their heads would show.
ADDED_SINCE = {"modelarts_service_pool_info"}


class Program(PollerHarness):
    """A whole exporter with two projects: one counts the history of its first start, the other skips it."""

    def __init__(self, clock: Clock, clouds: Mapping[str, Cloud], store: Store, fetchers: Fetcher) -> None:
        super().__init__(clouds["prod"], clock, store, fetchers)
        classifier = Classifier([CustomRule("gpu_driver", "xid [0-9]+", "Reboot the node pool.")])
        self.publisher.show_on(
            Exposition(
                [family for family in service_families(Options()) if family.name not in ADDED_SINCE],
                PROJECT_FAMILIES,
            ),
            NotifierOptions({"team": "ml"}, LINKS, classifier, MINUTE, 20 * SECOND),
        )
        skip = msgspec.structs.replace(POLICY, count_history=False)
        self.poller.configure(
            [
                project("prod", clouds["prod"], fetchers, classifier=classifier),
                project(
                    "staging",
                    clouds["staging"],
                    fetchers,
                    classifier=classifier,
                    project_id="1" * 32,
                    policy=skip,
                ),
            ]
        )


class Shown(msgspec.Struct):
    """What a cloud shows."""

    rows: list[ServiceRow]
    updates: dict[str, list[Update]]
    events: dict[str, list[Event]]
    without_update_log: set[str]


def alerts_of(program: Program) -> list[dict[str, Any]]:
    """What the Alertmanagers are to be told; times in ms."""
    return [
        {
            "labels": dict(alert.labels),
            "annotations": {
                name: f"{text}.md" if name == "runbook_url" else text for name, text in alert.annotations
            },
            "since": alert.active_at,
            "ended": alert.resolved_at,
        }
        for _, alert in sorted(program.publisher.snapshot.alerts.items())
    ]


def history_of(program: Program, project: str, service_id: str) -> dict[str, Any] | None:
    """The last events and updates of a service, as the pages are given them; times in ms."""
    found: list[Any] = []
    asking = Thread(target=lambda: found.append(program.poller.history(project, service_id)))
    asking.start()
    while asking.is_alive():  # the asker waits for the loop
        program.settle()
        asking.join(0.001)
    (history,) = found
    if history is None:
        return None
    return {
        "events": [
            {
                "time": event.occur_time,
                "type": event.event_type,
                "text": event.text,
                "times": event.times,
                "reason": event.reason,
                "phase": event.phase,
                "mark": event.mark,
            }
            for event in history.events
        ],
        "updates": [
            {
                "time": past.update.update_time,
                "result": past.update.result,
                "settled": past.settled_at,
                "models": [
                    {
                        "id": model.model_id,
                        "name": model.model_name,
                        "version": model.model_version,
                        "specification": model.specification,
                        "weight": model.weight,
                        "instances": model.instances,
                        "cpu_cores": model.cpu_cores,
                        "memory_mb": model.memory_mb,
                        "gpus": model.gpus,
                    }
                    for model in past.update.models
                ],
                "nodes_succeeded": past.update.nodes_succeeded,
                "nodes_failed": past.update.nodes_failed,
                "nodes": [
                    {
                        "id": node.node_id,
                        "name": node.node_name,
                        "operation": node.operation,
                        "succeeded": node.succeeded,
                    }
                    for node in past.update.nodes
                ],
            }
            for past in history.updates
        ],
    }


def clouds_of(clock: Clock) -> dict[str, Cloud]:
    """The clouds as they were when the store was written and a little on, with the deleted services back."""
    clouds = {}
    shown = msgspec.json.decode((GOLDEN / "cloud.json").read_bytes(), type=dict[str, Shown])
    for name, each in shown.items():
        clouds[name] = cloud = Cloud(clock)
        cloud.rows = {row.service_id: row for row in each.rows}
        cloud.updates, cloud.events = each.updates, each.events
        cloud.unsupported = each.without_update_log
    return clouds


# --- what is compared -----------------------------------------------------------------------------------


def as_json(found: object) -> str:
    return json.dumps(found, ensure_ascii=False, indent=1) + "\n"


def start(program: Program) -> str:
    """The metrics at once."""
    return program.text()


def later(program: Program) -> str:
    """The metrics when no counter is held back any more."""
    program.clock.forward(3 * MINUTE)
    program.settle()
    return program.text()


def alerts(program: Program) -> str:
    return as_json(alerts_of(program))


def history(program: Program) -> str:
    """What is kept of every service, those deleted too."""
    clouds = clouds_of(program.clock)
    kept = {
        project: {
            service_id: found
            for service_id in sorted(cloud.rows)
            if (found := history_of(program, project, service_id)) is not None
        }
        for project, cloud in clouds.items()
    }
    return as_json(kept)


# They tell when the program looked, too, not only what it saw.
OF_ITS_LOOKS = re.compile(r"(# [A-Z]+ )?modelarts_(service_last_poll_|(service_)?update_duration_)")


def read(program: Program) -> str:
    """The metrics when both logs of every service were read again, as far as the clouds decide them."""
    program.pass_time(11 * MINUTE)
    lines = program.text().splitlines(keepends=True)
    return "".join(line for line in lines if not OF_ITS_LOOKS.match(line))


SILENT = {"start.prom": start, "later.prom": later, "alerts.json": alerts, "history.json": history}


@pytest.fixture
def clock() -> Clock:
    return Clock(WRITTEN + SECOND)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A copy of the golden store."""
    shutil.copy(STORE, tmp_path)
    with closing(Store.open(str(tmp_path))) as store:
        yield store


def golden(name: str) -> str:
    return (GOLDEN / name).read_bytes().decode()


@pytest.mark.parametrize("name", SILENT)
def test_a_start_on_the_store_while_the_cloud_says_nothing_shows_what_it_always_showed(
    name: str, store: Store, clock: Clock
) -> None:
    program = Program(clock, {"prod": Cloud(clock), "staging": Cloud(clock)}, store, Later())
    found = SILENT[name](program)
    assert found.splitlines() == golden(name).splitlines()
    assert found == golden(name)


def test_what_was_counted_before_the_start_is_not_counted_again_and_what_is_new_is(
    store: Store, clock: Clock
) -> None:
    found = read(Program(clock, clouds_of(clock), store, Inline()))
    assert found.splitlines() == golden("read.prom").splitlines()
    assert found == golden("read.prom")


# --- that nobody makes it poorer ------------------------------------------------------------------------


def test_the_store_is_the_very_file_that_was_written_then() -> None:
    assert hashlib.sha256(STORE.read_bytes()).hexdigest() == CHECKSUM
    assert STORE.stat().st_size < LARGEST


def test_the_folder_holds_nothing_else() -> None:
    wanted = {STORE.name, *SILENT, "read.prom", "cloud.json", "README.md"}
    assert {path.name for path in GOLDEN.iterdir()} == wanted


# By kind: the file, a sample of it (without `modelarts_` and the name) and its value; None: there is none.
KINDS: dict[str, list[tuple[str, str, float | None]]] = {
    "a service that fails, with the text of its cause": [
        ("start.prom", "service_update_failing{prod/failing}", 1),
        ("start.prom", f"service_last_failure_info{{prod/failing,message={PULL},reason=image_pull}}", 1),
    ],
    "one that failed and recovered, with the time that took": [
        ("start.prom", "service_update_failing{prod/recovered}", 0),
        ("start.prom", "service_restore_duration_seconds_count{prod/recovered}", 1),
        ("start.prom", "restore_duration_seconds_count{project=prod}", 2),
    ],
    "an open update in the middle of a phase": [
        ("start.prom", "service_updates_running{prod/one-open}", 1),
        ("start.prom", "service_update_result{prod/one-open,result=RUNNING}", 1),
        (
            "start.prom",
            "service_deploy_phase_start_timestamp_seconds{prod/one-open,phase=image_pull}",
            1_700_009_331.15,
        ),
        ("start.prom", "service_deploy_phase_duration_seconds{prod/one-open,phase=environment}", 4),
        ("read.prom", "service_updates_total{prod/one-open,result=SUCCESS}", 2),
    ],
    "two open updates": [
        ("start.prom", "service_updates_running{prod/two-open}", 2),
        ("read.prom", "service_updates_running{prod/two-open}", 1),
    ],
    "a failure that is tried again": [
        ("start.prom", "service_update_failing{prod/retried}", 1),
        ("start.prom", "service_update_result{prod/retried,result=RUNNING}", 1),
        ("read.prom", "service_restore_duration_seconds_sum{prod/retried}", 1559.976),
    ],
    "counters of a service of which nobody scraped the 0": [
        ("start.prom", "service_updates_total{prod/newborn,result=FAIL}", 0),
        ("later.prom", "service_updates_total{prod/newborn,result=FAIL}", 1),
        ("start.prom", "service_invocations_total{prod/newborn}", 0),
        ("later.prom", "service_invocations_total{prod/newborn}", 5),
        ("start.prom", "service_update_failing{prod/newborn}", 1),
    ],
    "counters of a project of which nobody scraped the 0": [
        ("start.prom", "restore_duration_seconds_count{project=staging}", 0),
        ("later.prom", "restore_duration_seconds_count{project=staging}", 1),
        ("start.prom", "update_duration_seconds_count{project=staging,result=FAIL}", 2),
    ],
    "history of before the first start that is still unread, of which one project counts": [
        ("start.prom", "service_update_failing{prod/never-read}", None),
        ("start.prom", "service_up{prod/never-read}", None),
        ("start.prom", "service_invocations_total{prod/never-read}", 12),
        ("start.prom", "service_updates_total{prod/half-read,result=FAIL}", None),
        ("start.prom", "service_events_total{prod/half-read,event_type=abnormal}", 1),
        ("read.prom", "service_updates_total{prod/never-read,result=FAIL}", 1),
        ("read.prom", "service_updates_total{prod/half-read,result=FAIL}", 1),
        ("read.prom", "service_updates_total{staging/never-read,result=FAIL}", 0),
    ],
    "history of before the first start that was read, of which one project counts": [
        ("start.prom", "service_updates_total{prod/failing,result=SUCCESS}", 1),
        ("start.prom", "service_updates_total{staging/past-not-counted,result=SUCCESS}", 0),
        ("start.prom", "service_last_success_timestamp_seconds{staging/past-not-counted}", 1_699_917_200),
        ("read.prom", "service_updates_total{staging/past-not-counted,result=SUCCESS}", 0),
        ("read.prom", "service_updates_total{staging/past-not-counted,result=FAIL}", 1),
    ],
    "a new service that was listed and never read": [
        ("start.prom", "service_up{prod/listed-only}", None),
        ("later.prom", "service_invocations_total{prod/listed-only}", 1),
    ],
    "that the first start is over, so that what is new is no history": [
        ("start.prom", "service_up{staging/new-since}", None),
        ("read.prom", "service_updates_total{staging/new-since,result=FAIL}", 1),
    ],
    "deleted services, whose counts go on when they are back": [
        ("start.prom", "service_info{prod/deleted,infer_type=real-time,owner=,workspace_id=}", None),
        ("read.prom", "service_updates_total{prod/deleted,result=FAIL}", 1),
        ("read.prom", "service_updates_total{prod/deleted-a-moment-ago,result=SUCCESS}", 1),
        ("read.prom", "service_updates_total{staging/deleted,result=FAIL}", 1),
        ("read.prom", "service_updates_total{staging/deleted,result=SUCCESS}", 0),
    ],
    "a service that is no longer asked for": [
        ("start.prom", "service_up{prod/other-owner}", None),
        ("read.prom", "service_up{prod/other-owner}", None),
    ],
    "an edge service with the results of its nodes": [
        ("start.prom", "service_update_nodes_total{prod/edge,result=failed}", 2),
        ("start.prom", "service_last_update_nodes{prod/edge,result=success}", 2),
        (
            "start.prom",
            "edge_node_operation_success{prod/edge,node_id=n-1,node_name=节点一,operation=deploy}",
            1,
        ),
        (
            "start.prom",
            "edge_node_operation_success{prod/edge,node_id=n-4,node_name=gate-4,operation=upgrade}",
            0,
        ),
    ],
    "a batch service and another, both without an update log": [
        ("start.prom", "service_status{prod/batch,status=finished}", 1),
        ("start.prom", "service_abnormal_events_total{prod/batch,reason=out_of_memory}", 1),
        ("start.prom", "service_up{prod/no-log}", 1),
        ("start.prom", "service_update_failing{prod/no-log}", 0),
    ],
    "failures of many causes, one of a rule of the user's": [
        *(
            ("start.prom", f"service_abnormal_events_total{{prod/many-reasons,reason={reason}}}", count)
            for reason, count in (
                ("image_build", 2),
                ("crash", 1),
                ("storage", 1),
                ("billing", 1),
                ("rollback", 1),
            )
        ),
        ("start.prom", "service_abnormal_events_total{prod/alarm-just-ended,reason=gpu_driver}", 1),
        ("start.prom", "service_abnormal_events_total{prod/retried,reason=health_check}", 2),
    ],
    "an event from the future, counted once": [
        ("start.prom", "service_abnormal_events_total{prod/many-reasons,reason=quota}", 2),
        ("read.prom", "service_abnormal_events_total{prod/many-reasons,reason=quota}", 2),
    ],
    "phases of a deployment that is over, one told in Chinese": [
        ("start.prom", "service_deploy_phase_duration_seconds{prod/recovered,phase=image_pull}", 19),
        ("start.prom", "service_deploy_phase_duration_seconds{prod/failing,phase=image_build}", 18),
    ],
    "values that no version knows": [
        ("start.prom", "service_info{prod/unknown,infer_type=quantum,owner=,workspace_id=}", 1),
        ("start.prom", "service_status{prod/unknown,status=other}", 1),
        ("start.prom", "service_updates_running{prod/unknown}", 1),
    ],
    "call totals that rise, and some that began again": [
        ("start.prom", "service_invocations_total{prod/busy}", 1127),
        ("start.prom", "service_failed_invocations_total{prod/busy}", 20),
        ("start.prom", "service_invocations_total{prod/began-again}", 3),
    ],
    "models with their weights and sizes": [
        (
            "start.prom",
            "service_model_traffic_weight_ratio{prod/one-open,model_id=m-1,model_name=resnet50,model_version=0.0.3}",
            0.8,
        ),
        (
            "start.prom",
            "service_model_memory_bytes{prod/one-open,model_id=m-2,model_name=图像分类,model_version=1.0.0}",
            4_294_967_296,
        ),
    ],
    "a cause that only the service's detail tells": [
        (
            "start.prom",
            f"service_last_failure_info{{prod/explained,message={EXPLAINED},reason=quota}}",
            1,
        ),
    ],
    "a service that could not be read the last time": [
        ("start.prom", "service_up{prod/unreadable}", 0),
        ("start.prom", "service_updates_total{prod/unreadable,result=SUCCESS}", 1),
    ],
    "a service that was stopped while it failed": [
        ("start.prom", "service_update_failing{prod/stopped}", 1),
        ("start.prom", "service_status{prod/stopped,status=stopped}", 1),
    ],
    "entries of one millisecond, alike and not": [
        ("start.prom", "service_updates_total{prod/twins,result=SUCCESS}", 3),
        ("start.prom", "service_updates_total{prod/twins,result=FAIL}", 1),
        ("read.prom", "service_updates_total{prod/twins,result=SUCCESS}", 4),
    ],
    "entries that vanished from the log, and are not counted when they are back": [
        ("start.prom", "service_updates_total{prod/forgetful,result=SUCCESS}", 1),
        ("read.prom", "service_updates_total{prod/forgetful,result=SUCCESS}", 1),
        ("read.prom", "service_events_total{prod/forgetful,event_type=abnormal}", 1),
    ],
    "an event that comes late, and one that comes too late": [
        ("start.prom", "service_events_total{prod/failing,event_type=abnormal}", 4),
        ("read.prom", "service_events_total{prod/failing,event_type=abnormal}", 5),
    ],
    "one service_id in both projects": [
        ("start.prom", "service_invocations_total{prod/shared}", 1),
        ("start.prom", "service_invocations_total{staging/shared}", 2),
    ],
    "a service of which there was never anything to tell": [
        ("start.prom", "service_up{prod/quiet}", 1),
        ("start.prom", "service_updates_total{prod/quiet,result=FAIL}", 0),
    ],
}


def samples(name: str) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(golden(name)):
        for sample in family.samples:
            labels = {key: value for key, value in sorted(sample.labels.items()) if key != "service_name"}
            subject = (
                [f"{labels.pop('project')}/{labels.pop('service_id')}"] if "service_id" in labels else []
            )
            inner = ",".join([*subject, *(f"{key}={value}" for key, value in labels.items())])
            found[f"{sample.name.removeprefix('modelarts_')}{{{inner}}}"] = sample.value
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_store_holds(kind: str) -> None:
    for name, sample, value in KINDS[kind]:
        assert (sample, samples(name).get(sample)) == (sample, value)


def test_names_are_in_chinese_and_full_of_marks() -> None:
    assert 'service_name="推荐服务"' in golden("start.prom")
    assert r'service_name="quoted \"name\"\\ with\na second line"' in golden("start.prom")


def test_alerts_fire_in_both_projects_and_some_have_just_ended() -> None:
    told = json.loads(golden("alerts.json"))
    ended = {f"{a['labels']['project']}/{a['labels']['service_id']}": a["ended"] for a in told}
    assert {service for service, at in ended.items() if at is None} == {
        *(f"prod/{name}" for name in ("edge", "explained", "failing", "newborn", "retried", "twins")),
        "staging/failed-before",
    }
    assert {service: at for service, at in ended.items() if at is not None} == {
        "prod/alarm-just-ended": 1_700_010_507_620,
        "staging/failed-and-tried": 1_700_010_747_187,
    }


def test_texts_are_kept_of_events_and_updates_and_of_deleted_services_too() -> None:
    kept = json.loads(golden("history.json"))
    assert {"deleted", "other-owner", "failing"} <= kept["prod"].keys()
    assert {"deleted", "past-not-counted"} <= kept["staging"].keys()
    texts = [event["text"] for event in kept["prod"]["failing"]["events"]]
    assert {"开始部署服务", PULL, "镜像拉取失败"} <= set(texts)
    (twice,) = [event for event in kept["prod"]["retried"]["events"] if event["times"] == 2]
    assert twice["reason"] == "health_check"
    assert [update["settled"] for update in kept["prod"]["failing"]["updates"]][:2] == [None, None]
    assert kept["prod"]["failing"]["updates"][2]["settled"] is not None
    assert len(kept["prod"]["edge"]["updates"][-1]["nodes"]) == 4
    longest = max(len(event["text"]) for event in kept["prod"]["many-reasons"]["events"])
    assert (longest, "hunter2" in golden("history.json")) == (500, False)
