"""Which fields of an answer a recording may hold: the list of what is known to be harmless, with the reasons.

A path is written as `docs/recordings.md` shows it: `services[].status` is `status` of each row of `services`,
and `*` is any key. A field that is not here is unknown: its key stays, and the type of its value replaces it,
unless it is empty.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Treatment = Literal["keep", "number", "id", "user", "name", "text", "drop"]

TREATMENTS: Mapping[Treatment, str] = {
    "keep": "stays: a word of an enumeration, a version or a flavour",
    "number": "stays: a number or a time, also one that is spelled as a string, and true or false",
    "id": "replaced by a made-up one of the same shape, everywhere by the same",
    "user": "likewise: the name or the id of a user, a domain or an account",
    "name": "stays, without what looks like a secret or an id, and without names of users",
    "text": "stays, likewise, and without mail and IP addresses",
    "drop": "left out, with its key",
}


class Field(NamedTuple):
    """What becomes of a field, and why that does no harm."""

    treatment: Treatment
    why: str


_ID = "says nothing without the account"
_PERSON = "names a person or an account"
_ENUM = "a word of a published enumeration"
_TIME = "a time in ms"
_COUNT = "a count"
_FLAG = "true or false"
_NAME = "what people call it, so that a recording can be talked about"
_ADDRESS = "an address of the service's own API"
_PLACE = "where in a network the service runs"
_FREE = "free form, and not about deployments"
_MESSAGE = "says why something failed"

# One service: a row of the list, or the whole body of its detail.
_SERVICE: Mapping[str, Field] = {
    "service_id": Field("id", _ID),
    "service_name": Field("name", _NAME),
    "description": Field("drop", _FREE),
    "tenant": Field("user", _PERSON),
    "project": Field("id", _ID),
    "owner": Field("user", _PERSON),
    "infer_type": Field("keep", _ENUM),
    "status": Field("keep", _ENUM),
    "progress": Field("number", "a percentage"),
    "publish_at": Field("number", _TIME),
    "transition_at": Field("number", _TIME),
    "operation_time": Field("number", _TIME),
    "due_time": Field("number", _TIME),
    "start_time": Field("number", _TIME),
    "finished_time": Field("number", _TIME),
    "update_time": Field("number", _TIME),
    "invocation_times": Field("number", _COUNT),
    "failed_times": Field("number", _COUNT),
    "is_shared": Field("number", _FLAG),
    "is_free": Field("number", _FLAG),
    "is_opened_sample_collection": Field("number", _FLAG),
    "shared_count": Field("number", _COUNT),
    "workspace_id": Field("id", "0, the default workspace, stays; another one says nothing"),
    "schedule[].type": Field("keep", _ENUM),
    "schedule[].time_unit": Field("keep", _ENUM),
    "schedule[].duration": Field("number", _COUNT),
    "error_msg": Field("text", _MESSAGE),
    "access_address": Field("drop", _ADDRESS),
    "bind_access_address": Field("drop", _ADDRESS),
    "debug_url": Field("drop", _ADDRESS),
    "vpc_id": Field("id", _PLACE),
    "subnet_network_id": Field("id", _PLACE),
    "security_group_id": Field("id", _PLACE),
    "cluster_id": Field("id", _PLACE),
    "pool_name": Field("id", _PLACE),
    "load_balancer_policy": Field("keep", _ENUM),
    "priority": Field("number", "a rank from 1 to 3"),
}

# One model of a service's detail, or of an update.
_MODEL: Mapping[str, Field] = {
    "model_id": Field("id", _ID),
    "model_name": Field("name", _NAME),
    "model_version": Field("keep", "a version"),
    "source_type": Field("keep", _ENUM),
    "specification": Field("keep", "a flavour from a published list"),
    "custom_spec.*": Field("number", "an amount of CPU, memory or devices"),
    "status": Field("keep", _ENUM),
    "weight": Field("number", "a percentage"),
    "instance_count": Field("number", _COUNT),
    "scaling": Field("number", _FLAG),
    "support_debug": Field("number", _FLAG),
    "cluster_id": Field("id", _PLACE),
    "envs": Field("drop", "environment variables may contain passwords and keys"),
}

# One edge node of a model in a service's detail.
_NODE: Mapping[str, Field] = {
    "id": Field("id", _ID),
    "name": Field("name", _NAME),
    "instance_status": Field("keep", _ENUM),
    "state": Field("keep", _ENUM),
    "message": Field("text", _MESSAGE),
    "predict_url": Field("drop", _ADDRESS),
    "host_ips": Field("drop", _PLACE),
    "host_name": Field("drop", _PLACE),
}

_UPDATE: Mapping[str, Field] = {
    "update_time": Field("number", _TIME),
    "result": Field("keep", _ENUM),
    "success_num": Field("number", _COUNT),
    "failed_num": Field("number", _COUNT),
    "cluster_id": Field("id", _PLACE),
    "result_detail[].node_id": Field("id", _ID),
    "result_detail[].node_name": Field("name", _NAME),
    "result_detail[].operation": Field("keep", _ENUM),
    "result_detail[].result": Field("number", _FLAG),
}

_EVENT: Mapping[str, Field] = {
    "occur_time": Field("number", _TIME),
    "event_type": Field("keep", _ENUM),
    "event_info": Field("text", "says what happened"),
}

_ERROR: Mapping[str, Field] = {
    "error_code": Field("keep", "a code from a published list"),
    "error_msg": Field("text", _MESSAGE),
    "errorCode": Field("keep", "a code from a published list"),
    "errorMsg": Field("text", _MESSAGE),
    "code": Field("keep", "a code from a published list"),
    "message": Field("text", _MESSAGE),
    "title": Field("text", _MESSAGE),
    "request_id": Field("id", _ID),
}


class Group(NamedTuple):
    """Fields that belong together, and the paths at which they are found."""

    about: str
    prefixes: tuple[str, ...]
    fields: Mapping[str, Field]


GROUPS = (
    Group("A list", ("",), {"total_count": Field("number", _COUNT), "count": Field("number", _COUNT)}),
    Group("A service, in the list and in its detail", ("services[].", ""), _SERVICE),
    Group("A model, in the detail and in an update", ("config[].", "logs[].config[]."), _MODEL),
    Group("An edge node, in the detail", ("config[].nodes[].",), _NODE),
    Group("An update", ("logs[].",), _UPDATE),
    Group("An event", ("events[].",), _EVENT),
    Group("An error, in every form that a part of the cloud sends", ("", "error."), _ERROR),
)

FIELDS: Mapping[str, Field] = {
    prefix + name: field
    for group in GROUPS
    for prefix in group.prefixes
    for name, field in group.fields.items()
}


def _containers() -> frozenset[str]:
    found = set()
    for path in FIELDS:
        parts = path.split(".")[:-1]
        found |= {".".join(parts[: length + 1]) for length in range(len(parts))}
    return frozenset(found)


# The paths that hold other fields: `config[]` is an array of objects, `error` an object.
CONTAINERS = _containers()
