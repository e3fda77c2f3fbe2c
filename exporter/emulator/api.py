"""The ModelArts v1 calls on services: each makes the body of a response from a query.

Source: ModelArts API Reference, Service Management, whose sections each function names.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from exporter.emulator.cloud import Cloud
from exporter.emulator.http_messages import refuse
from exporter.emulator.project import Project
from exporter.emulator.rows import Row
from exporter.emulator.service import Service
from exporter.emulator.switches import Switches

Query = dict[str, str]

DEFAULT_LIMIT = 1000  # Querying Service Event Logs, `limit`
INVALID_ARGUMENT = "ModelArts.0101"  # Error Codes
# Characters that `event_info` must not have (Querying Service Event Logs).
_FORBIDDEN = re.compile(r"[`(){}';,\[\]<>/?（）｛｝‘’；，【】《》、？]")  # noqa: RUF001 - full-width ones too


def list_services(cloud: Cloud, project: Project, query: Query) -> Row:
    """GET /v1/{project}/services (Querying a Service List)."""
    wanted = {"workspace_id": "0", **query}
    rows = [
        service.fields
        for service in project.services.values()
        if all(
            str(service.fields.get(key)) == wanted[key]
            for key in ("workspace_id", "service_id", "infer_type", "status")
            if key in wanted
        )
        and query.get("service_name", "") in str(service.fields.get("service_name"))
    ]
    sort_services(rows, query)
    rows += cloud.switches.junk.get("list", ())
    shown = page(rows, query, cloud.switches)
    return {"total_count": len(rows), "count": len(shown), "services": shown}


def sort_services(rows: list[Row], query: Query) -> None:
    """Sort them as `sort_by` and `order` ask for."""
    sort_by = _choice(query, "sort_by", "publish_at", ("publish_at", "service_name", "transition_at"))
    descending = _choice(query, "order", "desc", ("asc", "desc")) == "desc"
    # A test may have set a field to anything, so only values of the right type are compared.
    kind = str if sort_by == "service_name" else int
    rows.sort(key=lambda row: _sortable(row.get(sort_by), kind), reverse=descending)


def list_services_2(_: Cloud, project: Project, query: Query) -> Row:
    """GET /v2/{project}/services, of version 2, which has its own services.

    Source: ListInferServices of huaweicloudsdkmodelarts.
    """
    limit = number(query, "limit", 10, least=1)
    offset = number(query, "offset", 0)
    if limit > 500 or offset % limit:
        raise refuse(400, INVALID_ARGUMENT, "Invalid argument. [limit] or [offset] is out of range.")
    rows = [row for row in project.services_2 if query.get("workspace_id", "0") == row["workspace_id"]]
    page = rows[offset : offset + limit]
    pages = -(-len(rows) // limit)
    return {"current": offset // limit, "pages": pages, "size": len(page), "total": len(rows), "data": page}


def detail(project: Project, service_id: str) -> Row:
    """GET /v1/{project}/services/{service} (Querying the Details About a Service)."""
    return find(project, service_id).detail()


def logs(cloud: Cloud, project: Project, service_id: str, query: Query) -> Row:
    """GET /v1/{project}/services/{service}/logs (Querying Service Update Logs).

    `update_time` is an exact match: the Chinese edition says that it picks out one update task.
    """
    service = find(project, service_id)
    if service.fields.get("infer_type") == "batch" and cloud.switches.batch_logs == "error":
        raise refuse(400, INVALID_ARGUMENT, "Invalid argument. A batch service has no update log.")
    update_time = number(query, "update_time") if "update_time" in query else None
    rows: list[Any] = service.log_rows(cloud.clock(), cloud.switches, update_time)
    rows += cloud.switches.junk.get("logs", ())
    return {**_names(service), "logs": rows}


def events(cloud: Cloud, project: Project, service_id: str, query: Query, language: str = "") -> Row:
    """GET /v1/{project}/services/{service}/events (Querying Service Event Logs)."""
    service = find(project, service_id)
    text = query.get("event_info", "")
    if _FORBIDDEN.search(text):
        raise refuse(
            400, INVALID_ARGUMENT, "Invalid argument. The field [event_info] has illegal characters."
        )
    kind = _choice(query, "event_type", "", ("", "normal", "abnormal"))
    _choice(query, "sort_by", "occur_time", ("occur_time",))
    rows: list[Any] = [
        row
        for row in service.event_rows(cloud.clock(), cloud.switches, language)
        if kind in ("", row["event_type"])
        and text in row["event_info"]
        and is_in_window(row["occur_time"], query, cloud.switches)
    ]
    if _choice(query, "order", cloud.switches.events_order, ("asc", "desc")) == "desc":
        rows.reverse()
    rows += cloud.switches.junk.get("events", ())
    shown = page(rows, query, cloud.switches)
    return {**_names(service), "total_count": len(rows), "count": len(shown), "events": shown}


def monitor(project: Project, service_id: str) -> Row:
    """GET /v1/{project}/services/{service}/monitor (Querying Service Monitoring Information).

    The totals of calls are right; the load is always the same.
    """
    service = find(project, service_id)
    monitors = [
        {
            "model_id": model.get("model_id"),
            "model_name": model.get("model_name"),
            "model_version": model.get("model_version"),
            "invocation_times": service.fields["invocation_times"],
            "failed_times": service.fields["failed_times"],
            "cpu_core_usage": 0.5,
            "cpu_core_total": 2,
            "cpu_memory_usage": 2011,
            "cpu_memory_total": 8192,
        }
        for model in service.models
        if service.fields["status"] == "running"
    ]
    return {**_names(service), "monitors": monitors}


def update(cloud: Cloud, project: Project, service_id: str, body: bytes) -> Row:
    """PUT /v1/{project}/services/{service} (Updating Service Configurations).

    A config starts an update. If the body has a status too, only that is applied.
    """
    service = find(project, service_id)
    try:
        wanted = json.loads(body)
        status, config = wanted.get("status"), wanted.get("config")
    except (ValueError, AttributeError):
        raise refuse(400, INVALID_ARGUMENT, "Invalid argument. The body is not a JSON object.") from None
    if status in ("running", "stopped"):
        cloud.set_status(service_id, status)
    elif status is None and isinstance(config, list) and config:
        # A request has only what it changes; the rest of a model stays as deployed.
        known = {model.get("model_id"): model for model in service.models}
        cloud.begin_update(service_id, [{**known.get(row.get("model_id"), {}), **row} for row in config])
    else:
        raise refuse(400, INVALID_ARGUMENT, "Invalid argument. Give a status (running, stopped) or a config.")
    return {}


def find(project: Project, service_id: str) -> Service:
    """The service; raises the 404 of a service that does not exist (ModelArts.3502)."""
    if service_id not in project.services:
        raise refuse(404, "ModelArts.3502", f"Service {service_id} does not exist.")
    return project.services[service_id]


def _names(service: Service) -> Row:
    return {"service_id": service.fields["service_id"], "service_name": service.fields["service_name"]}


def page(rows: list[Any], query: Query, switches: Switches) -> list[Any]:
    """The rows that `limit` and `offset` ask for."""
    limit = number(query, "limit", DEFAULT_LIMIT, least=1)
    offset = number(query, "offset", 0)
    if switches.max_limit is not None and limit > switches.max_limit:
        if switches.over_limit == "reject" and "limit" in query:
            raise refuse(
                400, INVALID_ARGUMENT, f"Invalid argument. [limit] is greater than {switches.max_limit}."
            )
        limit = switches.max_limit
    first = offset * limit if switches.offset_mode == "page" else offset
    return rows[first : first + limit]


def is_in_window(moment: int, query: Query, switches: Switches) -> bool:
    """Whether an event of this time (ms) is between `start_time` and `end_time`."""
    if "start_time" in query:
        start = number(query, "start_time")
        if moment < start or (moment == start and switches.start_time == "exclusive"):
            return False
    if "end_time" in query:
        end = number(query, "end_time")
        if moment > end or (moment == end and switches.end_time == "exclusive"):
            return False
    return True


def number(query: Query, name: str, default: int = 0, *, least: int = 0) -> int:
    """A whole number of the query; raises the 400 of an invalid one."""
    text = query.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < least:
        raise refuse(400, INVALID_ARGUMENT, f"Invalid argument. parameter [{name}] is not a valid number.")
    return int(text)


def _choice(query: Query, name: str, default: str, known: tuple[str, ...]) -> str:
    value = query.get(name, default)
    if value not in known:
        raise refuse(400, INVALID_ARGUMENT, f"Invalid argument. parameter [{name}] is not one of its values.")
    return value


def _sortable(value: Any, kind: Callable[[Any], Any]) -> tuple[bool, Any]:
    return (True, value) if isinstance(value, kind) else (False, 0)  # type: ignore[arg-type]
