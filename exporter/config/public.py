"""A config as plain values that may be shown to anybody."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic.fields import FieldInfo

from exporter.config import values
from exporter.config.secret import Secret, SecretFile
from exporter.config.section import Section

_DURATIONS = (values.DURATION, values.POSITIVE_DURATION, values.TIMEOUT)


def to_public_dict(section: Section) -> dict[str, Any]:
    """All keys with their values, defaults too, spelled as in the file; a secret is `<secret>`.

    A key without a value is left out. All values are such that JSON can write them.
    """
    fields = type(section).model_fields
    shown = {key: public(getattr(section, key), info) for key, info in fields.items()}
    return {key: value for key, value in shown.items() if value is not None}


def to_public_yaml(section: Section) -> str:
    """The same as text that looks like the file; each value is on one line."""
    return yaml.safe_dump(to_public_dict(section), sort_keys=False, allow_unicode=True, width=math.inf)


def public(value: Any, info: FieldInfo) -> Any:
    """One field's value, spelled as in the file."""
    if any(mark in _DURATIONS for mark in info.metadata):
        return values.format_duration(value)
    return _plain(value)


def _plain(value: Any) -> Any:
    match value:
        case Section():
            return to_public_dict(value)
        case Secret() | Path():
            return str(value)
        case SecretFile(path=path):
            return str(path)
        case re.Pattern():
            return value.pattern
        case tuple():
            return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value
