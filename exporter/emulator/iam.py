"""The token endpoint of IAM v3: the password method, for a project or a domain."""

import json
from datetime import UTC, datetime
from typing import Any

from exporter.emulator.answers import Answer, Refusal, Request, error_answer, json_answer
from exporter.emulator.cloud import Cloud
from exporter.emulator.identity import Token, User


def version_document(request: Request) -> Answer:
    """What a client that discovers versions wants to see at /v3."""
    links = [{"rel": "self", "href": f"{_base(request)}/v3"}]
    return json_answer({"version": {"id": "v3.6", "status": "stable", "links": links}})


def sign_in(cloud: Cloud, request: Request, query: dict[str, str]) -> Answer:
    """POST /v3/auth/tokens: 201 with the token in X-Subject-Token, or IAM's refusal."""
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
    found = cloud.identity.find_user(name=given.get("name"), domain=domain, user_id=given.get("id"))
    user = _check_password(cloud, found, password)
    project_id = None if wanted is None else _scope(cloud, *wanted, user)
    token = cloud.identity.issue(user.user_id, project_id, cloud.clock(), cloud.switches.token_life)
    body = _token_body(cloud, token, user, request, catalogued="nocatalog" not in query)
    return json_answer(body, 201, **{"X-Subject-Token": token.value})


def _check_password(cloud: Cloud, user: User | None, password: str) -> User:
    now = cloud.clock()
    if user is None:
        raise _refuse(cloud, 401, "Unauthorized", "IAM.0001", "The username or password is wrong.")
    if user.lock.locked(now):
        raise _refuse(cloud, 401, "Unauthorized", "IAM.0061", "The account is locked.")
    right = password == user.password
    user.lock.count(now, right=right)
    if not right:
        raise _refuse(cloud, 401, "Unauthorized", "IAM.0001", "The username or password is wrong.")
    return user


def _scope(cloud: Cloud, project_id: str | None, name: str | None, user: User) -> str:
    """The project asked for, by id or else by name, if the user may enter it."""
    for project in cloud.projects.values():
        asked_for = project.name == name if project_id is None else project.project_id == project_id
        if asked_for and (user.projects is None or project.project_id in user.projects):
            return project.project_id
    raise _refuse(cloud, 401, "Unauthorized", "IAM.0001", "The user has no role on the project.")


def _refuse(cloud: Cloud, status: int, title: str, code: str, message: str) -> Refusal:
    if cloud.switches.iam_errors == "iam":
        return Refusal(error_answer(status, code, message, "iam_code"))
    return Refusal(error_answer(status, title, message, "iam"))


def _token_body(
    cloud: Cloud, token: Token, user: User, request: Request, *, catalogued: bool
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
    if catalogued:
        body["catalog"] = _catalogue(_base(request), token.project_id)
    return {"token": body}


def _catalogue(base: str, project_id: str | None) -> list[dict[str, Any]]:
    """The two entries that a client of this emulator can use; one host serves both."""
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
    """IAM writes microseconds."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
