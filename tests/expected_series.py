"""The series that the exporter must expose for an emulated cloud, from the truth of that cloud alone."""

from collections import Counter
from collections.abc import Iterator, Mapping

from exporter.emulator import Cloud, Truth
from exporter.emulator.project import DEFAULT_PROJECT
from exporter.emulator.service import Service

# The events that tests add, and the reason of the failure that each means; None: no failure.
TEXTS: dict[tuple[str, str], str | None] = {
    ("normal", "start to deploy service"): None,
    ("normal", "preparing environment"): None,
    ("normal", "[mnist 0.0.1] starting model"): None,
    ("normal", "Failed to update the service. The update has been rolled back."): "rollback",
    ("normal", "服务更新失败，已回滚"): "rollback",  # noqa: RUF001 - as the API writes it
    ("normal", "正在准备环境"): None,
    ("abnormal", "failed to pull image, retry later"): "image_pull",
    ("abnormal", "Schedule failed due to insufficient resources. Retry later."): "insufficient_resources",
    ("abnormal", "拉取镜像失败，稍后重试"): "image_pull",  # noqa: RUF001 - as the API writes it
    ("abnormal", "资源不足，调度失败，稍后重试"): "insufficient_resources",  # noqa: RUF001 - as the API writes it
    ("abnormal", "a text that no rule knows"): "other",
}

STATUSES = (
    *("running", "deploying", "concerning", "failed", "stopped"),
    *("finished", "stopping", "deleting", "pending", "waiting", "other"),
)

Series = dict[str, float]


def series(name: str, labels: Mapping[str, str]) -> str:
    """A key for a series: the metric and its labels, without those that its service_id already implies."""
    kept = {k: v for k, v in labels.items() if k not in _LEFT_OUT}
    return name + "{" + ",".join(f"{key}={kept[key]}" for key in sorted(kept)) + "}"


_LEFT_OUT = ("__name__", "project", "service_name", "job", "instance")


def expected_series(cloud: Cloud) -> Series:
    """Every series whose value the truth decides, of every service."""
    with cloud.lock:
        now = cloud.clock()
        services = cloud.projects[DEFAULT_PROJECT].services
        found = {"modelarts_up{}": 1.0, "modelarts_services{}": float(len(services))}
        for service_id, service in services.items():
            has_log = service.fields["infer_type"] != "batch" or cloud.switches.batch_logs != "error"
            for name, labels, value in _of(service, now, has_log=has_log):
                found[series(f"modelarts_service_{name}", {"service_id": service_id, **labels})] = value
        return found


def decided_by_truth(shown: Series, true: Series) -> Series:
    """Those of the exposed series that must be equal to the true ones: all of the same metrics."""
    # Without a failure the truth has no reason, and none may be exposed. Of a service that was deleted and
    # added again the cloud does not know the nodes of before.
    names = {name_of(key) for key in true} | {"modelarts_service_abnormal_events_total"}
    names -= {"modelarts_service_update_nodes_total"}
    return {key: value for key, value in shown.items() if key in true or name_of(key) in names}


def name_of(key: str) -> str:
    """The metric's name in a series."""
    return key.partition("{")[0]


_Row = tuple[str, dict[str, str], float]


def _of(service: Service, now: int, *, has_log: bool) -> Iterator[_Row]:
    truth = service.truth(now)
    for result in ("SUCCESS", "FAIL") if has_log else ():
        yield "updates_total", {"result": result}, truth.results[result]
    for event_type in ("normal", "abnormal"):
        yield "events_total", {"event_type": event_type}, truth.types[event_type]
    yield from _of_reasons(truth)
    for status in STATUSES:
        yield "status", {"status": status}, float(service.fields["status"] == status)
    yield "up", {}, 1
    yield "invocations_total", {}, service.fields["invocation_times"]
    opened = [u.update_time for u in service.updates if u.result == "RUNNING" and u.visible_at <= now]
    yield "updates_running", {}, len(opened)
    yield from _of_updates(truth, opened)
    if service.fields["infer_type"] == "edge" and not service.past.results:
        outcomes = [node["result"] for u in service.updates for node in u.nodes or ()]
        yield "update_nodes_total", {"result": "success"}, outcomes.count(True)
        yield "update_nodes_total", {"result": "failed"}, outcomes.count(False)


def _of_reasons(truth: Truth) -> Iterator[_Row]:
    if not all(key[1:] in TEXTS for key in truth.events):
        return  # a scenario has added events that are not in TEXTS
    reasons: Counter[str] = Counter()
    for (_, *text), times in truth.events.items():
        reason = TEXTS[text[0], text[1]]
        if reason is not None:
            reasons[reason] += times
    for reason, count in reasons.items():
        yield "abnormal_events_total", {"reason": reason}, count


def _of_updates(truth: Truth, opened: list[int]) -> Iterator[_Row]:
    # Of two in one millisecond the failure counts as the newer one, so that it is not hidden.
    settled = max(((time, result == "FAIL") for time, result in truth.updates), default=(0, False))
    yield "update_failing", {}, float(settled[1])
    newest = max(settled[0], *opened, 0)
    known = "FAIL" if settled[1] else "SUCCESS"
    present = "RUNNING" if newest > settled[0] else known
    for result in ("SUCCESS", "FAIL", "RUNNING"):
        yield "update_result", {"result": result}, float(newest > 0 and result == present)
    if newest:
        yield "last_update_timestamp_seconds", {}, newest / 1000
    for wanted, name in (("SUCCESS", "last_success"), ("FAIL", "last_failure")):
        times = [time for time, result in truth.updates if result == wanted]
        if times:
            yield f"{name}_timestamp_seconds", {}, max(times) / 1000
