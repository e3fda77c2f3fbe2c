"""One mapping of a config file: frozen, strict, and checked as a whole even where parts are wrong.

pydantic runs a model's own validators only when every field is right. So that nobody mends a file
in five rounds, what concerns several keys is checked on the mapping as written, before its fields.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator
from pydantic.fields import FieldInfo

from exporter.config.document import Table
from exporter.config.problems import Loc, dotted
from exporter.config.text import quoted
from exporter.config.values import Kind, wrong

Fault = tuple[Loc, str]  # below the section: where, and what


@dataclass(frozen=True)
class Loading:
    """What validation of one file shares: where its paths start from, and the faults of whole sections."""

    directory: Path
    faults: list[Fault] = field(default_factory=list)


class Section(BaseModel):
    """The base of all sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def rules(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        """What is wrong between the keys; `data` is as written, any value may be of a wrong kind."""
        del data
        return iter(())

    @model_validator(mode="before")
    @classmethod
    def _check(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict):
            shape = {type(None): "has no value", list: "is a list"}.get(type(data), "is a single value")
            raise wrong(f"{shape}; must be a mapping with {_keys(cls.model_fields)}")
        faults = [*cls._strangers(data), *cls._absent(data), *cls.rules(data)]
        if isinstance(data, Table):
            assert info.context is not None, "tables come from files, which are loaded with one"
            info.context.faults.extend(((*data.loc, *loc), message) for loc, message in faults)
        elif faults:  # written in code: the first is enough
            loc, message = faults[0]
            raise wrong(f"{dotted(loc)}: {message}")
        return {key: data[key] for key in cls.model_fields if data.get(key) is not None}

    @classmethod
    def _strangers(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        for key in data.keys() - cls.model_fields.keys():
            near = get_close_matches(key, cls.model_fields, n=1)
            allowed = f"allowed here: {', '.join(cls.model_fields)}"
            if near:
                yield (key,), f"is not a known key; did you mean {near[0]}? {allowed}"
            elif data[key] is None:
                # As after the comma in {password: a,b}: it has no name that could safely be shown.
                yield (
                    (),
                    f"has an unknown key without a value; put quotes around a value with a comma; {allowed}",
                )
            else:
                yield (key,), f"is not a known key; {allowed}"

    @classmethod
    def _absent(cls, data: Mapping[str, Any]) -> Iterator[Fault]:
        for key, info in cls.model_fields.items():
            if info.is_required() and data.get(key) is None:
                kinds = [mark.what for mark in info.metadata if isinstance(mark, Kind)]
                yield (key,), f"is missing; must be {kinds[0] if kinds else _shape(info)}"


def given(data: Mapping[str, Any], *keys: str) -> list[str]:
    """Those of the keys that have a value."""
    return [key for key in keys if data.get(key) is not None]


def exactly_one(data: Mapping[str, Any], *keys: str) -> Iterator[Fault]:
    """A fault unless one of the keys has a value, and no other."""
    if not given(data, *keys):
        yield (), f"has none of {_listed(keys)}; exactly one of them is required"
    yield from at_most_one(data, *keys)


def at_most_one(data: Mapping[str, Any], *keys: str) -> Iterator[Fault]:
    """A fault if several of the keys have a value."""
    if len(both := given(data, *keys)) > 1:
        yield (), f"has {_listed(both)} together; only one of {_listed(keys)} is allowed"


def filled(data: Mapping[str, Any], key: str) -> Iterator[Fault]:
    """A fault if the list `key` is given without items, which would watch or reach nothing."""
    if isinstance(items := data.get(key), list | tuple) and not items:
        yield (key,), "is an empty list; at least one item is required"


def repeated(data: Mapping[str, Any], key: str) -> Iterator[Fault]:
    """A fault for each item of the list `key` that stood there before."""
    items = data.get(key)
    seen: dict[str, int] = {}
    for index, item in enumerate(items if isinstance(items, list | tuple) else ()):
        if isinstance(item, str) and (first := seen.setdefault(item, index)) != index:
            yield (key, index), f"{quoted(item)} is the same as {key}[{first}]; each may be listed once"


def _listed(keys: list[str] | tuple[str, ...]) -> str:
    return " and ".join([", ".join(keys[:-1]), keys[-1]] if len(keys) > 1 else keys)


def _keys(fields: Mapping[str, FieldInfo]) -> str:
    return f"the keys {', '.join(fields)}" if len(fields) > 1 else f"the key {next(iter(fields))}"


def _shape(info: FieldInfo) -> str:
    annotation = info.annotation
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return f"a mapping with {_keys(annotation.model_fields)}"
    return "a list of at least one item"
