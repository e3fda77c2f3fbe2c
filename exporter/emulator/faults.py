"""What goes wrong on purpose: a script of faults that the next matching requests meet."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from exporter.emulator.answers import Answer, ErrorShape, error_answer

Endpoint = Literal["token", "list", "detail", "logs", "events", "monitor", "update"]
Change = Callable[[Answer], Answer]


@dataclass(frozen=True)
class Fault:
    """A change to answers.

    Args:
        change: turns the true answer into the one that is sent.
        endpoint: whom it meets; None meets all.
        service_id: likewise.
        times: how many requests; None until cleared.
        skip: matching requests that pass before.
        instead: the true answer is not even made, and the credential not looked at.

    """

    change: Change
    endpoint: Endpoint | None = None
    service_id: str | None = None
    times: int | None = 1
    skip: int = 0
    instead: bool = False


class Faults:
    """The faults still to come, first come first served. Not thread-safe: the cloud's lock guards it."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, *faults: Fault) -> None:
        """Put faults at the end of the script."""
        self._waiting.extend(faults)

    def clear(self) -> None:
        """No more faults."""
        self._waiting.clear()

    def take(self, endpoint: str, service_id: str | None) -> Fault | None:
        """The fault that this request meets; it is used up."""
        for place, fault in enumerate(self._waiting):
            if fault.endpoint not in (None, endpoint) or fault.service_id not in (None, service_id):
                continue
            if fault.skip:
                self._waiting[place] = replace(fault, skip=fault.skip - 1)
                continue
            if fault.times is not None:
                if fault.times == 1:
                    del self._waiting[place]
                else:
                    self._waiting[place] = replace(fault, times=fault.times - 1)
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
    """An error body instead of the answer."""
    answer = error_answer(status, code, message, shape, headers)
    return Fault(lambda _: answer, endpoint, service_id, times, skip, instead=True)


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
    """Any bytes instead of the answer: HTML, nothing, something that is not JSON."""
    answer = Answer(status, content, content_type=content_type)
    return Fault(lambda _: answer, endpoint, service_id, times, skip, instead=True)


def html(status: int = 502, *, endpoint: Endpoint | None = None, times: int | None = 1) -> Fault:
    """The page of a load balancer before the cloud."""
    page = f"<html><head><title>{status}</title></head><body><h1>{status} Bad Gateway</h1></body></html>"
    return body(page.encode(), status, "text/html", endpoint=endpoint, times=times)


def no_answer(
    *, endpoint: Endpoint | None = None, service_id: str | None = None, times: int | None = 1, skip: int = 0
) -> Fault:
    """The connection is closed without a byte."""
    answer = Answer(0, sending="nothing")
    return Fault(lambda _: answer, endpoint, service_id, times, skip, instead=True)


def cut_off(
    *, endpoint: Endpoint | None = None, service_id: str | None = None, times: int | None = 1
) -> Fault:
    """The connection is closed in the middle of the body."""
    return Fault(lambda answer: replace(answer, sending="cut"), endpoint, service_id, times)


def truncated(
    *, endpoint: Endpoint | None = None, service_id: str | None = None, times: int | None = 1
) -> Fault:
    """Half the JSON, sent as if it were all."""
    return Fault(
        lambda answer: replace(answer, body=answer.body[: len(answer.body) // 2]), endpoint, service_id, times
    )


def slow(
    seconds: float,
    *,
    endpoint: Endpoint | None = None,
    service_id: str | None = None,
    times: int | None = 1,
) -> Fault:
    """The right answer, too late."""
    return Fault(lambda answer: replace(answer, delay=seconds), endpoint, service_id, times)


def edited(
    edit: Callable[[dict[str, Any]], None],
    *,
    endpoint: Endpoint | None = None,
    service_id: str | None = None,
    times: int | None = 1,
    skip: int = 0,
) -> Fault:
    """The answer's JSON after `edit` has changed it in place."""

    def change(answer: Answer) -> Answer:
        content = json.loads(answer.body)
        edit(content)
        return replace(answer, body=json.dumps(content).encode())

    return Fault(change, endpoint, service_id, times, skip)


def torn(
    kind: Literal["total", "duplicate", "missing"],
    *,
    endpoint: Endpoint = "events",
    service_id: str | None = None,
    times: int | None = 1,
    skip: int = 0,
) -> Fault:
    """A page that changed while it was read: a total that lies, a row twice, a row gone."""
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
