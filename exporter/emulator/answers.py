"""Requests and answers as values, with every shape in which the cloud and what stands before it refuse."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JSON_TYPE = "application/json;charset=utf-8"

ErrorShape = Literal["modelarts", "gateway", "iam", "iam_code", "otc", "camel", "plain", "nested"]


@dataclass(frozen=True)
class Request:
    """One request as it came over the wire; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """One answer, and how it is sent.

    Args:
        status: HTTP status.
        body: the bytes.
        headers: beyond the usual ones.
        content_type: of the body.
        delay: seconds before it is sent.
        sending: `whole`; `nothing` closes the connection without a byte; `cut` announces the whole
            body, sends half of it and closes.

    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE
    delay: float = 0.0
    sending: Literal["whole", "nothing", "cut"] = "whole"


class Refusal(Exception):  # noqa: N818 - it is an answer, not a failure of the emulator
    """Raised anywhere while answering: this error is the answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body)
        self.answer = answer


def json_answer(body: Any, status: int = 200, **headers: str) -> Answer:
    """A JSON answer; ASCII only, so that any text, lone surrogates too, can be sent."""
    return Answer(status, json.dumps(body).encode(), headers)


def error_answer(
    status: int,
    code: str,
    message: str,
    shape: ErrorShape = "modelarts",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """An error in one of the shapes that clients of this cloud meet."""
    body: dict[str, Any]
    match shape:
        case "modelarts" | "iam_code":
            body = {"error_code": code, "error_msg": message}
        case "gateway":
            # A fixed id: the one that differs per request is in the header.
            request_id = "914a39d68c290da3e187f827f7e1b771"
            body = {"error_msg": message, "error_code": code, "request_id": request_id}
        case "iam":
            body = {"error": {"message": message, "code": status, "title": code}}
        case "otc":
            body = {"error": {"code": code, "message": message, "ext_message": None}}
        case "camel":
            body = {"errorCode": code, "errorMsg": message}
        case "plain":
            body = {"code": code, "message": message}
        case "nested":
            body = {"error": {"error_code": code, "error_msg": message}}
    return Answer(status, json.dumps(body).encode(), headers or {})


def refuse(status: int, code: str, message: str, shape: ErrorShape = "modelarts", **headers: str) -> Refusal:
    """An error to raise."""
    return Refusal(error_answer(status, code, message, shape, headers))
