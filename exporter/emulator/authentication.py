"""Finds out who sent a request, by its token or its signature, or refuses it as the API gateway does.

The codes and texts of errors: API Gateway User Guide, Error Codes, and ModelArts API Reference, Error Codes.
"""

from typing import NamedTuple

from exporter.emulator import signature
from exporter.emulator.cloud import Cloud
from exporter.emulator.http_messages import RefusedError, Request, refuse
from exporter.emulator.identity_store import AccessKey


class Caller(NamedTuple):
    """Who sent a request; `project_id` is of the token, or of the header of a signed request."""

    user_id: str
    project_id: str | None


def authenticate(cloud: Cloud, request: Request, now: int) -> Caller:
    """Who sent this request; a token is looked at before a signature. Raises `RefusedError` (401 or 400)."""
    token = request.headers.get("x-auth-token")
    if token is not None:
        return _check_token(cloud, token, now)
    authorization = request.headers.get("authorization", "")
    if authorization:
        return _check_signature(cloud, request, authorization, now)
    raise _incorrect(cloud, "x-auth-token not found")


def _check_token(cloud: Cloud, value: str, now: int) -> Caller:
    token = cloud.identities.tokens.get(value)
    if token is None or token.expires_at <= now:
        # ModelArts.0202: the token has expired. APIG.0307: the token must be updated.
        if cloud.switches.expired_token == "ModelArts.0202":  # noqa: S105 - a code
            raise refuse(401, "ModelArts.0202", "Token expired.")
        code = f"{cloud.switches.error_prefix}.0307"
        raise refuse(401, code, "The token must be updated.", "gateway")
    if token.project_id is None:  # ModelArts.0204: the token is not for a project
        raise refuse(400, "ModelArts.0204", "Token must contain projectId info.")
    return Caller(token.user_id, token.project_id)


def _check_signature(cloud: Cloud, request: Request, header: str, now: int) -> Caller:
    given = signature.parse_authorization(header)
    if given is None:
        raise _incorrect(cloud, "authorization header format is wrong")
    key = cloud.identities.keys.get(given.access)
    if key is None:
        raise _incorrect(cloud, f"ak {given.access} not exist")
    if key.lockout.is_locked(now):
        raise _incorrect(cloud, "AK access failed to reach the limit,forbidden")
    date = request.headers.get("x-sdk-date", "")
    signed_at = signature.parse_date(date)
    if signed_at is None or abs(now - signed_at) > signature.WINDOW_MS:
        # The date alone shows that it is too old, so it does not count as a wrong signature.
        server_time = signature.format_date(now)
        raise _incorrect(
            cloud,
            "verify aksk signature fail, calc aksk signature fail:signature expired, "
            f"signature time:{date},server time:{server_time}",
        )
    right = _is_signature_right(request, given, key, now)
    key.lockout.count(now, right=right)
    if not right:
        raise _incorrect(cloud, "verify aksk signature fail")
    return Caller(key.user_id, request.headers.get("x-project-id"))


def _is_signature_right(request: Request, given: signature.Authorization, key: AccessKey, now: int) -> bool:
    must_be_signed = {"x-sdk-date"}
    if key.security_token is not None:
        must_be_signed.add("x-security-token")
        if request.headers.get("x-security-token") != key.security_token:
            return False
        if key.expires_at is not None and key.expires_at <= now:
            return False
    if not must_be_signed <= set(given.signed_headers):
        return False
    expected = signature.signature(
        request.method,
        request.path,
        request.query,
        request.headers,
        given.signed_headers,
        request.body,
        key.secret,
    )
    return expected == given.signature


def _incorrect(cloud: Cloud, cause: str) -> RefusedError:
    code = f"{cloud.switches.error_prefix}.0301"  # wrong authentication information; the text has the cause
    return refuse(401, code, f"Incorrect IAM authentication information: {cause}", "gateway")
