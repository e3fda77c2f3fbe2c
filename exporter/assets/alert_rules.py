"""Renders the alert rules from a template and a table of values."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

from exporter.assets.files import read

RULES = "alerts/modelarts.rules.yml"
_TABLE = "alerts/config.yml"
_TEMPLATE = "alerts/modelarts.rules.yml.j2"

_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
# These may be as short as one scrape; every other duration is a range or an age, which needs several scrapes.
_SCRAPE_LONG = ("for", "interval", "delivery_interval")
_SHORTEST_SCRAPE_MS = 1_000
_SHORTEST_MS = 5_000  # four scrapes with an interval of one second, and one that is late
_SEVERITIES = ("critical", "warning", "info", "none")
# Sections in which users may use keys of their own.
_FREE_SECTIONS = ("labels",)

_MATCHER = r'[a-zA-Z_][a-zA-Z0-9_]*\s*(=~|!~|!=|=)\s*"([^"\\\n`]|\\.)*"'
# Those that say `=`, which may stand between others.
_EQUAL = re.compile(r'(?:^|,)\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*("(?:[^"\\\n`]|\\.)*")')
_URL = (r"(https?://[^\s\"'{}`]+)?", "an http or https URL, or empty")
_UID = (r"[a-zA-Z0-9_-]+", "letters, digits, - and _")
# What a text may contain, so that YAML, PromQL and the templates of Prometheus do not change its meaning.
_TEXTS = {
    "job": (r'[^"\\\n`{}]+', "a name without quotes, backslashes and braces"),
    "matchers": (rf"({_MATCHER}(\s*,\s*{_MATCHER})*)?", 'label matchers, such as cluster="prod",env!="test"'),
    "runbooks": _URL,
    "dashboards.base_url": _URL,
    "dashboards.service": _UID,
    "dashboards.overview": _UID,
    "dashboards.edge": _UID,
    "dashboards.exporter": _UID,
    **dict.fromkeys(
        (f"severities.{name}" for name in ("critical", "warning", "info")), (r"[^\s\"'{}`]+", "one word")
    ),
}


class AlertConfigError(ValueError):
    """A value in the table is wrong; the text names its key."""


class Duration(NamedTuple):
    """A duration in ms; `str` gives it as Prometheus writes it."""

    ms: int

    def __str__(self) -> str:
        unit = next(u for u in reversed(_UNITS) if self.ms % _UNITS[u] == 0) if self.ms else "s"
        return f"{self.ms // _UNITS[unit]}{unit}"

    @property
    def seconds(self) -> str:
        """The seconds as a number for PromQL."""
        return f"{self.ms / 1000:g}"


def load(override: Path | None = None) -> dict[str, Any]:
    """The table, with the keys of the file `override` in place of its own.

    Raises `AlertConfigError`, and `OSError` if the file cannot be read.
    """
    table: dict[str, Any] = yaml.safe_load(read(_TABLE))
    for alert in table["alerts"].values():
        alert["enabled"] = True
    if override is None:
        return table
    try:
        changes = yaml.safe_load(override.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise AlertConfigError(f"{override} is not YAML: {error}") from error
    try:
        return _overridden(table, changes, "")
    except AlertConfigError as error:
        raise AlertConfigError(f"{override}: {error}") from error


def _overridden(table: Any, changes: Any, path: str) -> dict[str, Any]:
    if not isinstance(changes, Mapping):
        raise AlertConfigError(f"{f'{path}: ' if path else ''}must be a mapping")
    result: dict[str, Any] = dict(table)
    for key, value in changes.items():
        name = f"{path}.{key}" if path else str(key)
        if path in _FREE_SECTIONS:
            result[key] = _label(key, value, name)
        elif key not in table:
            raise AlertConfigError(f"{name}: unknown key; known are {', '.join(map(str, table))}")
        elif isinstance(table[key], Mapping):
            result[key] = _overridden(table[key], value, name)
        else:
            result[key] = _checked(table[key], value, name, str(key))
    return result


def _label(key: Any, value: Any, name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", str(key)) or key in ("alertname", "severity"):
        raise AlertConfigError(f"{name}: {key!r} cannot be the name of a label of one's own")
    if isinstance(value, Mapping | list) or value is None:
        raise AlertConfigError(f"{name}: {value!r} is no text")
    return str(value)


def _checked(default: Any, value: Any, name: str, key: str) -> Any:
    """`value`, if it has the type of the default."""
    if key == "severity" and value not in _SEVERITIES:
        raise AlertConfigError(
            f"{name}: {value!r} is none of {', '.join(_SEVERITIES)}; `severities` renames them"
        )
    if name in _TEXTS:
        pattern, rule = _TEXTS[name]
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise AlertConfigError(f"{name}: {value!r} does not fit; it must be {rule}")
        return value
    if isinstance(default, bool) or isinstance(value, bool):
        fits = isinstance(default, bool) and isinstance(value, bool)
    elif isinstance(default, int | float):
        fits = isinstance(value, int | float) and value >= 0
    elif _DURATION.fullmatch(default):
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        fits = found is not None and (key == "for" or int(found[1]) > 0)
    else:
        fits = isinstance(value, str)
    if not fits:
        raise AlertConfigError(f"{name}: {value!r} does not fit; it is {default!r} by default")
    return value


def with_durations(table: Any, scale: float, key: str = "") -> Any:
    """The table with each duration as a `Duration`, times `scale`, but no shorter than rules need."""
    if isinstance(table, Mapping):
        return {
            name: value if name in _FREE_SECTIONS else with_durations(value, scale, name)
            for name, value in table.items()
        }
    match = _DURATION.fullmatch(table) if isinstance(table, str) else None
    if match is None:
        return table
    ms = int(match[1]) * _UNITS[match[2]]
    least = _SHORTEST_SCRAPE_MS if key in _SCRAPE_LONG else _SHORTEST_MS
    return Duration(max(round(ms * scale), min(ms, least)) if scale != 1 else ms)


def environment() -> jinja2.Environment:
    """How a template of the rules, or a text in their table, is filled in."""
    # Prometheus uses {{ }} itself and [ ] for ranges, so this template has other delimiters.
    return jinja2.Environment(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - it is YAML, not HTML
    )


def render(table: Mapping[str, Any], scale: float = 1) -> str:
    """The rules as YAML."""
    scope = {name: json.loads(value) for name, value in _EQUAL.findall(table["matchers"])}
    return environment().from_string(read(_TEMPLATE)).render(with_durations(table, scale), scope=scope)
