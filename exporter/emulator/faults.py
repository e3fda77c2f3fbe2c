"""Faults that a test orders: the next matching requests get an error, a broken body, or no response."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from exporter.emulator.http_messages import ErrorShape, Response, error_response

Endpoint = Literal["token", "list", "detail", "logs", "events", "monitor", "update"]
Change = Callable[[Response], Response]


@dataclass(frozen=True)
class Fault:
    """Changes the responses to some requests.

    Args:
        change: turns the true response into the one that is sent.
        endpoint: only requests to this one; None: to all.
        service_id: only requests about this service; None: about all.
        times: how many requests it changes; None: all until `Faults.clear`.
        skip: how many matching requests pass unchanged before.
        instead: the request is not handled at all, and its credential not checked.

    """

    change: Change
    endpoint: Endpoint | None = None
    service_id: str | None = None
    times: int | None = 1
    skip: int = 0
    instead: bool = False


class Faults:
    """The faults still to happen, in order. Not thread-safe: callers hold the lock of the `Cloud`."""

    def __init__(self) -> None:
        self._pending: list[Fault] = []

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, *faults: Fault) -> None:
        """Add faults behind those that are still to happen."""
        self._pending.extend(faults)

    def clear(self) -> None:
        """Remove all faults."""
        self._pending.clear()

    def take(self, endpoint: str, service_id: str | None) -> Fault | None:
        """The fault for this request, counted as used; None for none."""
        for place, fault in enumerate(self._pending):
            if fault.endpoint not in (None, endpoint) or fault.service_id not in (None, service_id):
                continue
            if fault.skip:
                self._pending[place] = replace(fault, skip=fault.skip - 1)
                continue
            if fault.times is not None:
                if fault.times == 1:
                    del self._pending[place]
                else:
                    self._pending[place] = replace(fault, times=fault.times - 1)
            return fault
        return None


def error(
    status: int,
    code: str,
    message: str,
    shape: ErrorShape = "gateway",
    *,
    headers: Mapping[str, str] | None = None,
    endpoint: Endpoint | None = None,
    service_id: str | None = None,
    times: int | None = 1,
    skip: int = 0,
) -> Fault:
    """An error instead of the response."""
    response = error_response(status, code, message, shape, headers)
    return Fault(lambda _: response, endpoint, service_id, times, skip, instead=True)


def body(
    content: bytes,
    status: int = 200,
    content_type: str = "application/json",
    *,
    endpoint: Endpoint | None = None,
    service_id: str | None = None,
    times: int | None = 1,
    skip: int = 0,
) -> Fault:
    """Any bytes instead of the response: HTML, nothing, something that is not JSON."""
    response = Response(status, content, content_type=content_type)
    return Fault(lambda _: response, endpoint, service_id, times, skip, instead=True)


def html(status: int = 502, *, endpoint: Endpoint | None = None, times: int | None = 1) -> Fault:
    """The error page of a load balancer in front of the cloud."""
    page = f"<html><head><title>{status}</title></head><body><h1>{status} Bad Gateway</h1></body></html>"
    return body(page.encode(), status, "text/html", endpoint=endpoint, times=times)


def no_answer(
    *, endpoint: Endpoint | None = None, service_id: str | None = None, times: int | None = 1, skip: int = 0
) -> Fault:
    """The connection is closed without a response."""
    response = Response(0, sending="nothing")
    return Fault(lambda _: response, endpoint, service_id, times, skip, instead=True)


def cut_off(
    *, endpoint: Endpoint | None = None, service_id: str | None = None, times: int | None = 1
) -> Fault:
    """The connection is closed in the middle of the body."""
    return Fault(lambda response: replace(response, sending="cut"), endpoint, service_id, times)


def truncated(
    *, endpoint: Endpoint | None = None, service_id: str | None = None, times: int | None = 1
) -> Fault:
    """Half of the JSON, sent as if it were the whole body."""
    return Fault(
        lambda response: replace(response, body=response.body[: len(response.body) // 2]),
        endpoint,
        service_id,
        times,
    )


def slow(
    seconds: float,
    *,
    endpoint: Endpoint | None = None,
    service_id: str | None = None,
    times: int | None = 1,
) -> Fault:
    """The true response, but only after `seconds`."""
    return Fault(lambda response: replace(response, delay=seconds), endpoint, service_id, times)


def edited(
    edit: Callable[[dict[str, Any]], None],
    *,
    endpoint: Endpoint | None = None,
    service_id: str | None = None,
    times: int | None = 1,
    skip: int = 0,
) -> Fault:
    """The JSON of the response after `edit` has changed it in place."""

    def change(response: Response) -> Response:
        content = json.loads(response.body)
        edit(content)
        return replace(response, body=json.dumps(content).encode())

    return Fault(change, endpoint, service_id, times, skip)


def torn(
    kind: Literal["total", "duplicate", "missing"],
    *,
    endpoint: Endpoint = "events",
    service_id: str | None = None,
    times: int | None = 1,
    skip: int = 0,
) -> Fault:
    """A page of a list that changed while it was read: a wrong total, a row twice, or a row missing."""
    rows_key = {"events": "events", "list": "services", "logs": "logs"}[endpoint]

    def edit(content: dict[str, Any]) -> None:
        rows = content[rows_key]
        match kind:
            case "total":
                content["total_count"] = int(content["total_count"]) + 1
            case "duplicate":
                rows.append(rows[-1])
            case "missing":
                rows.pop()

    return edited(edit, endpoint=endpoint, service_id=service_id, times=times, skip=skip)
