"""Rows of the API with likely values for the fields that a test does not set.

Source of the fields: ModelArts API Reference, Querying a Service List and Querying Service Update Logs.
"""

import uuid
from typing import Any

from exporter.emulator.identity_store import DEFAULT_DOMAIN, DEFAULT_USER

Row = dict[str, Any]

_IDS = uuid.UUID("5a0f4b7e-7b0e-4a55-9c3e-0d8f6f3c9b01")  # any fixed UUID will do


def stable_id(seed: str) -> str:
    """The id for `seed`, the same in every run."""
    # A name from JSON may have half of a surrogate pair in it, which UTF-8 cannot encode.
    return str(uuid.uuid5(_IDS, seed.encode(errors="backslashreplace").decode()))


def model(name: str = "mnist", version: str = "0.0.1", **fields: Any) -> Row:
    """One model of an update's config, as a row of the API; `fields` replace or add to its fields."""
    return {
        "model_id": stable_id(f"model/{name}/{version}"),
        "model_name": name,
        "model_version": version,
        "specification": "modelarts.vm.cpu.2u",
        "custom_spec": {},
        "weight": 100,
        "instance_count": 1,
        "scaling": False,
        "envs": {},
        **fields,
    }


def service_row(project_id: str, service_id: str, name: str, now: int) -> Row:
    """A running real-time service, created at `now` (ms), as a row of the service list."""
    return {
        "service_id": service_id,
        "service_name": name,
        "description": "",
        "tenant": DEFAULT_DOMAIN,
        "project": project_id,
        "owner": DEFAULT_USER,
        "infer_type": "real-time",
        "status": "running",
        "progress": 100,
        "publish_at": now,
        "transition_at": now,
        "operation_time": now,
        "invocation_times": 0,
        "failed_times": 0,
        "is_shared": False,
        "shared_count": 0,
        "is_free": False,
        "workspace_id": "0",
        "is_opened_sample_collection": False,
        "additional_properties": {},
    }
