"""The API gateway in front of the services: routes, throttling, faults, and the final form of a body."""

import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

from exporter.emulator import api, authentication, iam
from exporter.emulator.cloud import Cloud, SeenRequest
from exporter.emulator.http_messages import RefusedError, Request, Response, json_response, refuse
from exporter.emulator.switches import Switches

_PATH = re.compile(
    r"/v(?P<version>[12])/(?P<project>[^/]+)/services(?:/(?P<service>[^/]+)(?:/(?P<part>logs|events|monitor))?)?"
)
# What each call needs (ModelArts API Reference, Permissions Policies and Supported Actions).
_ACTIONS = {
    "list": "modelarts:service:list",
    "list_2": "modelarts:service:list",
    "detail": "modelarts:service:get",
    "logs": "modelarts:service:getLogs",
    "events": "modelarts:service:getEvents",
    "monitor": "modelarts:service:getMonitor",
    "update": "modelarts:service:update",
}
_UNITS = {1: "1 second", 60: "1 minute", 3600: "1 hour"}  # as the text of a 429 writes its period


class Route(NamedTuple):
    """Which API call a request is; `service_id` is None for those that are not about one service."""

    endpoint: str
    project_id: str = ""
    service_id: str | None = None


def handle(cloud: Cloud, request: Request) -> Response:
    """The response to one request, as it is to be sent. First brings the scenarios up to now."""
    with cloud.lock:
        now = cloud.advance()
        query = dict(parse_qsl(request.query, keep_blank_values=True))
        route = route_of(request)
        fault = cloud.faults.take(route.endpoint, route.service_id)
        if fault is not None and fault.instead:
            response = fault.change(Response(0))
        else:
            try:
                response = _serve(cloud, request, route, query, now)
            except RefusedError as error:
                response = error.response
            if fault is not None:
                response = fault.change(response)
        status = response.status if response.sending == "whole" else 0
        cloud.requests.append(SeenRequest(route.endpoint, route.service_id, query, now, status))
        return response


def route_of(request: Request) -> Route:
    """Which API call it is."""
    path = request.path.rstrip("/")
    if request.method == "POST" and path == "/v3/auth/tokens":
        return Route("token")
    if request.method == "GET" and path == "/v3":
        return Route("version")
    match = _PATH.fullmatch(path)
    if match is None or (match["version"] == "2" and match["service"] is not None):
        return Route("unknown")  # of version 2 there is only the list here
    project_id, service_id = unquote(match["project"]), match["service"]
    service_id = None if service_id is None else unquote(service_id)
    if request.method == "PUT" and service_id is not None and match["part"] is None:
        return Route("update", project_id, service_id)
    if request.method != "GET":
        return Route("unknown")
    names = {"1": "list", "2": "list_2"}
    endpoint = match["part"] or (names[match["version"]] if service_id is None else "detail")
    return Route(endpoint, project_id, service_id)


def _serve(cloud: Cloud, request: Request, route: Route, query: api.Query, now: int) -> Response:
    prefix = cloud.switches.error_prefix
    if route.endpoint == "token":
        return iam.sign_in(cloud, request, query)
    if route.endpoint == "version":
        return iam.version_document(request)
    if route.endpoint == "unknown" or (route.endpoint == "list_2" and not cloud.switches.version_2):
        raise refuse(404, f"{prefix}.0101", "The API does not exist or has not been published.", "gateway")
    caller = authentication.authenticate(cloud, request, now)
    if caller.project_id not in (None, route.project_id) or route.project_id not in cloud.projects:
        raise refuse(403, "ModelArts.0210", "The project id in the request URL does not match the token.")
    action = _ACTIONS[route.endpoint]
    if action in cloud.switches.denied:
        raise refuse(403, "ModelArts.0108", f"You are not authorized to perform the ({action}) operation.")
    _throttle(cloud, caller, now)
    workspace = query.get("workspace_id", "0")
    sample = cloud.samples.get((route.endpoint, workspace if route.endpoint == "list" else route.service_id))
    if sample is not None:
        return Response(200, sample)
    return json_response(_apply_switches(_body(cloud, request, route, query), cloud.switches))


def _body(cloud: Cloud, request: Request, route: Route, query: api.Query) -> Any:
    project = cloud.projects[route.project_id]
    if route.service_id is None:
        list_services = api.list_services_2 if route.endpoint == "list_2" else api.list_services
        return list_services(cloud, project, query)
    match route.endpoint:
        case "logs":
            return api.logs(cloud, project, route.service_id, query)
        case "events":
            language = request.headers.get("x-language", "")
            return api.events(cloud, project, route.service_id, query, language)
        case "monitor":
            return api.monitor(project, route.service_id)
        case "update":
            return api.update(cloud, project, route.service_id, request.body)
        case _:
            return api.detail(project, route.service_id)


def _throttle(cloud: Cloud, caller: authentication.Caller, now: int) -> None:
    if cloud.switches.throttle is None:
        return
    # APIG.0308, HTTP 429: too many requests; the text has the limit (API Gateway User Guide, Error Codes).
    allowed, seconds = cloud.switches.throttle
    start, seen = cloud.throttle_windows.get(caller.user_id, (now, 0))
    if now - start >= seconds * 1000:
        start, seen = now, 0
    cloud.throttle_windows[caller.user_id] = (start, seen + 1)
    if seen < allowed:
        return
    unit = _UNITS.get(seconds, f"{seconds} second")
    left = -(-(start + seconds * 1000 - now) // 1000)
    raise refuse(
        429,
        f"{cloud.switches.error_prefix}.0308",
        f"The throttling threshold has been reached: policy user over ratelimit,limit:{allowed},time:{unit}",
        "gateway",
        **({"Retry-After": str(left)} if cloud.switches.retry_after else {}),
    )


def _apply_switches(value: Any, switches: Switches) -> Any:
    """The body with numbers as strings, and empty arrays as null or left out, where the switches say so."""
    if isinstance(value, dict):
        changed = {}
        for key, part in value.items():
            if part == [] and switches.arrays == "absent":
                continue
            changed[key] = (
                None if part == [] and switches.arrays == "null" else _apply_switches(part, switches)
            )
        return changed
    if isinstance(value, list):
        return [_apply_switches(part, switches) for part in value]
    if switches.numbers_as_strings and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value
