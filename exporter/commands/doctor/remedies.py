"""What to do about each thing that a check may find broken: a table. Pure."""

import re
from collections.abc import Mapping

from exporter.adapters.modelarts.api_errors import NoSuchPath, Rejected
from exporter.adapters.modelarts.source import DETAIL, EVENTS, LIST, LOGS
from exporter.core.source import Forbidden, Gone, NotUnderstood, Refused, RemoteError, Throttled

REPORT = "Please report it, with this output."
CLOCK = "Set the clock of this machine, for example with NTP."
EMPTY = (
    "If there should be some, check project_id, and name their workspace in `workspaces`: the cloud lists"
    " no other one."
)
OTHER_API = "To see them, look into the cloud's console: nothing here shows them or alerts on them."
PROJECT = (
    "Check that project_id is the project of this credential: the console shows the ids of your projects"
    " under My Credentials. A user needs a group that is authorised in this project."
)
SKIP_VERIFY = "Set tls.ca_file, and remove tls.insecure_skip_verify."
THROTTLED = (
    "Wait a minute and run doctor again. If it stays so, lower rate_limit, and find out which other programs"
    " use the quota of this user."
)

_BETWEEN = "what stands between this machine and it: a firewall, or a proxy that proxy_url must name"
_GRANT = (
    "Grant the permission {} to this user, in a custom policy for this project; the README shows the policy."
)
_GONE = "The service was deleted a moment ago: run doctor again."
_AGAIN = "Run doctor again in a minute. If it stays so, ask the cloud's support, with the code of the error."

# By the way to sign in; each refusal counts, and the fifth in a row locks.
SIGN_IN = {
    "password": "Correct domain, username and password of auth.password. The cloud locks a user after five"
    " wrong passwords in a row.",
    "aksk": "Correct access_key and secret_key of auth.aksk, and security_token if the key is temporary: such"
    " a key lives a day at most. The cloud locks a key after five wrong signatures in a row.",
    "token_file": "Write a new token with the scope of this project into the token_file. A token lives a day"
    " at most.",
}
LOCKED = "The cloud has locked it: wait 15 minutes. Then correct it before you try it again."
_LOCKED = re.compile(r"IAM\.0061|\blocked\b|reach the limit", re.IGNORECASE)

# By check and kind of error, the nearest kind first; for where the error itself advises nothing.
_TABLE: Mapping[str, Mapping[type[RemoteError], str]] = {
    "endpoint": {RemoteError: f"Check the scheme and the port of `endpoint`, and {_BETWEEN}."},
    "iam": {RemoteError: f"Check the scheme and the port of `iam_endpoint`, and {_BETWEEN}."},
    "sign-in": {
        NoSuchPath: "Check `iam_endpoint`: it must be IAM, such as https://iam.REGION.HOST/v3.",
        NotUnderstood: "Check `iam_endpoint`: another server than IAM answers there.",
        RemoteError: f"Check `iam_endpoint`. {_AGAIN}",
    },
    "list": {
        NoSuchPath: "Check `endpoint`: it must be https, and ModelArts of this project's region.",
        NotUnderstood: "Check `endpoint` and proxy_url: another server than ModelArts answers there.",
        Rejected: "Check project_id, and the ids in `workspaces`.",
        Forbidden: _GRANT.format(LIST.permission),
        RemoteError: f"Check `endpoint` and proxy_url. {_AGAIN}",
    },
    "detail": {Forbidden: _GRANT.format(DETAIL.permission), Gone: _GONE},
    "logs": {Forbidden: _GRANT.format(LOGS.permission), Gone: _GONE},
    "events": {Forbidden: _GRANT.format(EVENTS.permission), Gone: _GONE},
    "other-api": {Forbidden: _GRANT.format(LIST.permission)},
}


def remedy(check: str, error: RemoteError, auth: str) -> str:
    """What to do about the error that a check met; `auth` is the way to sign in."""
    if isinstance(error, Throttled):
        return THROTTLED
    if isinstance(error, Refused):
        return LOCKED if _LOCKED.search(problem(error)) else SIGN_IN[auth]
    advice = error.remedy
    if advice.startswith("check that project_id"):
        return PROJECT
    if not advice or advice.startswith("grant the permission"):
        # A 400 without a code of the cloud comes from a server that does not know the call.
        is_foreign = isinstance(error, Rejected) and not error.code
        kinds = (NoSuchPath if is_foreign else type(error)).__mro__
        rows = _TABLE.get(check, {})
        return next((rows[kind] for kind in kinds if kind in rows), _AGAIN)
    key = "iam_endpoint" if check in ("iam", "sign-in") else "endpoint"
    advice = advice.replace("the address", f"the address in `{key}`").replace("the endpoint", f"`{key}`")
    return f"{advice[0].upper()}{advice[1:]}."


def problem(error: RemoteError) -> str:
    """The sentence of an error without the remedy that it names."""
    if not error.remedy:
        return error.lasting
    return error.lasting.replace(f" ({error.remedy})", "").replace(f"; {error.remedy}", "")
