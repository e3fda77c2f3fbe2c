"""The pages as JSON, for programs; openapi.json beside this file has the schema."""

import json
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from exporter.adapters.web.message import API, Request, Response, error_response, tagged_response
from exporter.adapters.web.status_reader import MissingService, StatusReader, UpdatesPage
from exporter.core.formats import age_seconds, iso
from exporter.core.pages.deployments import Deployment
from exporter.core.pages.filters import BadQueryError
from exporter.core.pages.overview import Overview, Project
from exporter.core.pages.service_health import ServiceHealth
from exporter.core.pages.service_page import EventLine, ServicePage, UpdateLine, update_line
from exporter.core.polling.progress import Progress, seconds_left
from exporter.core.records import Model, Update

Json = dict[str, Any]


class Api:
    """Answers with what is known."""

    def __init__(self, known: StatusReader) -> None:
        self._known = known
        self._document = json.loads((files("exporter.adapters.web") / "openapi.json").read_bytes())

    def openapi(self, request: Request) -> Response:
        """The document that describes all of these answers."""
        return tagged_response(request, lambda _: self._document, 0)

    def services(self, request: Request) -> Response:
        """The fleet, a page at a time."""
        try:
            page, now = self._known.selection(request.query)
        except BadQueryError as error:
            return error_response(API, HTTPStatus.BAD_REQUEST, str(error))
        return tagged_response(request, partial(_fleet, page), now)

    def service(self, request: Request, service_id: str) -> Response:
        """One service with its history."""
        try:
            page, now = self._known.service(service_id, request.query)
        except BadQueryError as error:
            return error_response(API, HTTPStatus.BAD_REQUEST, str(error))
        if isinstance(page, MissingService):
            return error_response(API, HTTPStatus.NOT_FOUND, "There is no service of this id.")
        if not page.history_read:
            return _busy()
        return tagged_response(request, partial(_whole_service, page), now)

    def updates(self, request: Request) -> Response:
        """The settled updates of all services, newest first, a page at a time."""
        try:
            page, now = self._known.newest_updates(request.query)
        except BadQueryError as error:
            return error_response(API, HTTPStatus.BAD_REQUEST, str(error))
        except TimeoutError:
            return _busy()
        return tagged_response(request, partial(_feed, page), now)


def _busy() -> Response:
    sentence = "The store is busy; ask again in some seconds."
    return error_response(API, HTTPStatus.SERVICE_UNAVAILABLE, sentence)


# What is made of a page as of `now` (ms). Nothing in it depends on `now` but the time itself, ages and the
# estimate of the time left, so that the ETag can leave these out.


def _fleet(page: Overview, now: int) -> Json:
    return {
        "time": iso(now),
        "projects": [_project(project, now) for project in page.projects],
        "states": {state.name: count for state, count in page.states},
        "total": page.total,
        "matches": page.matches,
        "page": page.filter.page,
        "pages": page.pages,
        "page_size": page.per_page,
        "services": [_standing(standing, now) for standing in page.rows],
    }


def _whole_service(page: ServicePage, now: int) -> Json:
    return {
        "time": iso(now),
        "service": _service(page, now),
        "updates": [_update(line) for line in page.updates],
        "events": [_event(line) for line in page.events],
        "deployments": [_deployment(each) for each in page.deployments],
    }


def _feed(page: UpdatesPage, now: int) -> Json:
    return {
        "time": iso(now),
        "updates": [
            {
                "id": found.place.cursor(),
                "project": found.place.project,
                "service_id": found.place.service_id,
                "service_name": service_name,
                **_update(update_line(found.past)),
            }
            for found, service_name in page.updates
        ],
        "next_cursor": page.next_cursor or None,
    }


def _time(instant: int | None) -> str | None:
    return None if instant is None else iso(instant)


def _age(instant: int | None, now: int) -> float | None:
    return None if instant is None else age_seconds(instant, now)


def _project(project: Project, now: int) -> Json:
    return {
        "name": project.name,
        "up": project.up,
        "error": project.error or None,
        "services": project.services,
        "states": dict(project.states),
        "list_time": _time(project.listed_at),
        "data_age_seconds": _age(project.listed_at, now),
        "first_reads": _first_reads(project.first_reads, now),
    }


def _first_reads(progress: Progress | None, now: int) -> Json | None:
    if progress is None:
        return None
    return {
        "services": progress.total,
        "tried": progress.done,
        "failed": progress.failed,
        "start_time": iso(progress.begun),
        "seconds_left": seconds_left(progress, now),
    }


def _standing(standing: ServiceHealth, now: int) -> Json:
    return {
        "project": standing.project,
        "service_id": standing.service_id,
        "service_name": standing.service_name,
        "state": standing.state,
        "since": _time(standing.since),
        "status": standing.status,
        "failing": bool(standing.reason),
        "reason": standing.reason or None,
        "message": standing.message or None,
        "result": standing.result or None,
        "newest_update_time": _time(standing.newest_at),
        "oldest_open_update_time": _time(standing.open_since),
        "phase": standing.phase or None,
        "up": standing.up,
        "read_time": _time(standing.read_at),
        "data_age_seconds": _age(standing.read_at, now),
        "data_is_old": standing.old,
    }


def _service(page: ServicePage, now: int) -> Json:
    failure = page.failure
    return {
        **_standing(page.health, now),
        "infer_type": page.row.infer_type,
        "workspace_id": page.row.workspace_id,
        "owner": page.row.owner,
        "other_projects": list(page.others),
        "last_success_time": _time(page.last_success),
        "last_failure_time": _time(page.last_failure),
        "cause_time": _time(failure.at) if failure else None,
        "remedy": failure.remedy if failure else None,
        "phase_durations_seconds": dict(page.phases),
    }


def _update(line: UpdateLine) -> Json:
    update: Update = line.update
    return {
        "update_time": iso(update.update_time),
        "result": update.result,
        "settled_time": _time(line.settled_at),
        "duration_seconds": line.seconds,
        "models": [_model(model) for model in update.models],
        "nodes_succeeded": update.nodes_succeeded,
        "nodes_failed": update.nodes_failed,
        "nodes": [
            {
                "node_id": node.node_id,
                "node_name": node.node_name,
                "operation": node.operation,
                "succeeded": node.succeeded,
            }
            for node in update.nodes
        ],
    }


def _model(model: Model) -> Json:
    return {
        "model_id": model.model_id,
        "model_name": model.model_name,
        "model_version": model.model_version,
        "specification": model.specification,
        "weight_percent": model.weight,
        "instances": model.instances,
        "cpu_cores": model.cpu_cores,
        "memory_megabytes": model.memory_mb,
        "gpus": model.gpus,
    }


def _event(line: EventLine) -> Json:
    event = line.event
    return {
        "occur_time": iso(event.occur_time),
        "event_type": event.event_type,
        "text": event.text,
        "times": event.times,
        "abnormal": line.abnormal,
        "reason": event.reason or None,
        "remedy": line.remedy or None,
        "phase": event.phase or None,
    }


def _deployment(deployment: Deployment) -> Json:
    return {
        "start_time": iso(deployment.begin),
        "end_time": iso(deployment.end),
        "end_known": deployment.settled,
        "result": deployment.result or None,
        "duration_seconds": (deployment.end - deployment.begin) / 1000,
        "phases": [
            {
                "phase": span.phase,
                "start_time": iso(span.begin),
                "end_time": iso(span.end),
                "duration_seconds": (span.end - span.begin) / 1000,
                "finished": span.finished,
            }
            for span in deployment.phases
        ],
    }
