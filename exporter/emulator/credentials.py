"""Who a request comes from: its token or its signature, or the gateway's refusal."""

from typing import NamedTuple

from exporter.emulator import signature
from exporter.emulator.answers import Refusal, Request, refuse
from exporter.emulator.cloud import Cloud
from exporter.emulator.identity import AccessKey


class Caller(NamedTuple):
    """Whose request it is; a key is not bound to a project, so it has None."""

    user_id: str
    project_id: str | None


def check(cloud: Cloud, request: Request, now: int) -> Caller:
    """Who asks; a token goes before a signature. Refuses (401, 400) whom it does not know."""
    token = request.headers.get("x-auth-token")
    if token is not None:
        return _check_token(cloud, token, now)
    authorization = request.headers.get("authorization", "")
    if authorization:
        return _check_signature(cloud, request, authorization, now)
    raise _incorrect(cloud, "x-auth-token not found")


def _check_token(cloud: Cloud, value: str, now: int) -> Caller:
    token = cloud.identity.tokens.get(value)
    if token is None or token.expires_at <= now:
        if cloud.switches.expired_token == "ModelArts.0202":  # noqa: S105 - a code
            raise refuse(401, "ModelArts.0202", "Token expired.")
        code = f"{cloud.switches.error_prefix}.0307"
        raise refuse(401, code, "The token must be updated.", "gateway")
    if token.project_id is None:
        raise refuse(400, "ModelArts.0204", "Token must contain projectId info.")
    return Caller(token.user_id, token.project_id)


def _check_signature(cloud: Cloud, request: Request, header: str, now: int) -> Caller:
    given = signature.parse_authorization(header)
    if given is None:
        raise _incorrect(cloud, "authorization header format is wrong")
    key = cloud.identity.keys.get(given.access)
    if key is None:
        raise _incorrect(cloud, f"ak {given.access} not exist")
    if key.lock.locked(now):
        raise _incorrect(cloud, "AK access failed to reach the limit,forbidden")
    date = request.headers.get("x-sdk-date", "")
    signed_at = signature.parse_date(date)
    if signed_at is None or abs(now - signed_at) > signature.WINDOW_MS:
        # Known by its date alone, so it does not count as a wrong signature.
        server_time = signature.format_date(now)
        raise _incorrect(
            cloud,
            "verify aksk signature fail, calc aksk signature fail:signature expired, "
            f"signature time:{date},server time:{server_time}",
        )
    right = _signature_holds(request, given, key, now)
    key.lock.count(now, right=right)
    if not right:
        raise _incorrect(cloud, "verify aksk signature fail")
    return Caller(key.user_id, request.headers.get("x-project-id"))


def _signature_holds(request: Request, given: signature.Authorization, key: AccessKey, now: int) -> bool:
    must_be_signed = {"x-sdk-date"}
    if key.security_token is not None:
        must_be_signed.add("x-security-token")
        if request.headers.get("x-security-token") != key.security_token:
            return False
        if key.expires_at is not None and key.expires_at <= now:
            return False
    if not must_be_signed <= set(given.signed_headers):
        return False
    right = signature.signature(
        request.method,
        request.path,
        request.query,
        request.headers,
        given.signed_headers,
        request.body,
        key.secret,
    )
    return right == given.signature


def _incorrect(cloud: Cloud, cause: str) -> Refusal:
    code = f"{cloud.switches.error_prefix}.0301"
    return refuse(401, code, f"Incorrect IAM authentication information: {cause}", "gateway")
