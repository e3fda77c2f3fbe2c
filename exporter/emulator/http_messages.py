"""HTTP requests and responses as values, and every form of error body that the cloud sends."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

JSON_TYPE = "application/json;charset=utf-8"

ErrorShape = Literal["modelarts", "gateway", "iam", "iam_code", "otc", "camel", "plain", "nested"]


@dataclass(frozen=True)
class Request:
    """One HTTP request as it was received; header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """One HTTP response, and how it is sent.

    Args:
        status: HTTP status.
        body: the bytes.
        headers: besides those that every response has.
        content_type: of the body.
        delay: seconds to wait before it is sent.
        sending: `whole`; `nothing` closes the connection without sending a byte; `cut` sends the
            Content-Length of the whole body, then half of the body, and closes the connection.

    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON_TYPE
    delay: float = 0.0
    sending: Literal["whole", "nothing", "cut"] = "whole"


class RefusedError(Exception):
    """Raised anywhere while a request is handled; the client gets `response`, which is an error."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.body)
        self.response = response


def json_response(body: Any, status: int = 200, **headers: str) -> Response:
    """A JSON response; ASCII only, so that any text can be sent, even a lone surrogate."""
    return Response(status, json.dumps(body).encode(), headers)


def error_response(
    status: int,
    code: str,
    message: str,
    shape: ErrorShape = "modelarts",
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error in one of the forms that the cloud's services use.

    `modelarts` and `iam_code`: ModelArts and IAM API Reference, Error Codes. `gateway`: API Gateway User
    Guide, Error Codes. `iam` and `otc`: IAM and other services of Open Telekom Cloud. `camel`, `plain` and
    `nested`: what the error handler of the vendor's SDK (huaweicloudsdkcore) reads.
    """
    body: dict[str, Any]
    match shape:
        case "modelarts" | "iam_code":
            body = {"error_code": code, "error_msg": message}
        case "gateway":
            # Always the same: the id that differs between requests is in the X-Request-Id header.
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
    return Response(status, json.dumps(body).encode(), headers or {})


def refuse(
    status: int, code: str, message: str, shape: ErrorShape = "modelarts", **headers: str
) -> RefusedError:
    """An error response to raise."""
    return RefusedError(error_response(status, code, message, shape, headers))
