"""The token endpoint of IAM v3: sign in with a password, for a project or a domain.

Source: IAM API Reference, Obtaining a User Token Through Password Authentication, and Error Codes.
"""

import json
from datetime import UTC, datetime
from typing import Any

from exporter.emulator.cloud import Cloud
from exporter.emulator.http_messages import (
    RefusedError,
    Request,
    Response,
    error_response,
    json_response,
)
from exporter.emulator.identity_store import Token, User


def version_document(request: Request) -> Response:
    """GET /v3: keystoneauth and other OpenStack clients ask for the version before they sign in."""
    links = [{"rel": "self", "href": f"{_base(request)}/v3"}]
    return json_response({"version": {"id": "v3.6", "status": "stable", "links": links}})


def sign_in(cloud: Cloud, request: Request, query: dict[str, str]) -> Response:
    """POST /v3/auth/tokens: 201 with the token in the X-Subject-Token header; raises `RefusedError`."""
    try:
        auth = json.loads(request.body)["auth"]
        given = auth["identity"]["password"]["user"]
        password, domain = given["password"], given.get("domain", {}).get("name")
        scope = auth.get("scope", {}).get("project")
        wanted = None if scope is None else (scope.get("id"), scope.get("name"))
        methods = auth["identity"]["methods"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _refuse(cloud, 400, "Bad Request", "IAM.0011", "The request body is invalid.") from None
    if methods != ["password"]:
        raise _refuse(cloud, 400, "Bad Request", "IAM.0011", "Only the password method is known here.")
    found = cloud.identities.find_user(name=given.get("name"), domain=domain, user_id=given.get("id"))
    user = _check_password(cloud, found, password)
    project_id = None if wanted is None else _scope(cloud, *wanted, user)
    token = cloud.identities.issue(user.user_id, project_id, cloud.clock(), cloud.switches.token_life)
    body = _token_body(cloud, token, user, request, with_catalog="nocatalog" not in query)
    return json_response(body, 201, **{"X-Subject-Token": token.value})


def _check_password(cloud: Cloud, user: User | None, password: str) -> User:
    now = cloud.clock()
    if user is None:
        raise _refuse(cloud, 401, "Unauthorized", "IAM.0001", "The username or password is wrong.")
    if user.lockout.is_locked(now):
        raise _refuse(cloud, 401, "Unauthorized", "IAM.0061", "The account is locked.")
    right = password == user.password
    user.lockout.count(now, right=right)
    if not right:
        raise _refuse(cloud, 401, "Unauthorized", "IAM.0001", "The username or password is wrong.")
    return user


def _scope(cloud: Cloud, project_id: str | None, name: str | None, user: User) -> str:
    """The id of the project that the request names by id or by name, if the user may use it."""
    for project in cloud.projects.values():
        is_wanted = project.name == name if project_id is None else project.project_id == project_id
        if is_wanted and (user.projects is None or project.project_id in user.projects):
            return project.project_id
    raise _refuse(cloud, 401, "Unauthorized", "IAM.0001", "The user has no role on the project.")


def _refuse(cloud: Cloud, status: int, title: str, code: str, message: str) -> RefusedError:
    if cloud.switches.iam_errors == "iam":
        return RefusedError(error_response(status, code, message, "iam_code"))
    return RefusedError(error_response(status, title, message, "iam"))


def _token_body(
    cloud: Cloud, token: Token, user: User, request: Request, *, with_catalog: bool
) -> dict[str, Any]:
    domain = {"id": f"{user.user_id[::-1]}", "name": user.domain}
    body: dict[str, Any] = {
        "methods": ["password"],
        "issued_at": _iso(token.issued_at),
        "expires_at": _iso(token.expires_at),
        "user": {"domain": domain, "id": user.user_id, "name": user.name, "password_expires_at": ""},
        "roles": [{"id": "0", "name": "te_admin"}],
    }
    if token.project_id is None:
        body["domain"] = domain
    else:
        project = cloud.projects[token.project_id]
        body["project"] = {"domain": domain, "id": project.project_id, "name": project.name}
    if with_catalog:
        body["catalog"] = _catalog(_base(request), token.project_id)
    return {"token": body}


def _catalog(base: str, project_id: str | None) -> list[dict[str, Any]]:
    """The services of the emulator: IAM and, for a token of a project, ModelArts."""
    entries = [("identity", "iam", f"{base}/v3")]
    if project_id is not None:
        entries.append(("modelartsv1", "modelarts", f"{base}/v1/{project_id}"))
    return [
        {
            "type": kind,
            "name": name,
            "id": f"{kind}-catalogue-entry",
            "endpoints": [
                {"id": f"{kind}-endpoint", "interface": "public", "region": "*", "region_id": "*", "url": url}
            ],
        }
        for kind, name, url in entries
    ]


def _base(request: Request) -> str:
    return f"http://{request.headers.get('host', 'localhost')}"


def _iso(ms: int) -> str:
    """A time in ms as IAM writes it, with microseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
