"""Renders the alert rules from a template and a table of values.

`python alerts/render.py` writes `modelarts.rules.yml` beside this file. `--config FILE` overrides the keys
that FILE names, `--scale 0.01` makes every duration shorter (for a live test), `--table` prints the table of
docs/alerts.md.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import yaml

HERE = Path(__file__).parent
CONFIG = HERE / "config.yml"
TEMPLATE = "modelarts.rules.yml.j2"
RULES = HERE / "modelarts.rules.yml"

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


class ConfigError(Exception):
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
    """The table, with the keys of `override` in place of its own. Raises `ConfigError`."""
    table: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    for alert in table["alerts"].values():
        alert["enabled"] = True
    if override is None:
        return table
    try:
        changes = yaml.safe_load(override.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{override} is not YAML: {error}") from error
    return _overridden(table, changes, "")


def _overridden(table: Any, changes: Any, path: str) -> dict[str, Any]:
    if not isinstance(changes, Mapping):
        raise ConfigError(f"{path or 'the file'}: must be a mapping")
    result: dict[str, Any] = dict(table)
    for key, value in changes.items():
        name = f"{path}.{key}" if path else str(key)
        if path in _FREE_SECTIONS:
            result[key] = _label(key, value, name)
        elif key not in table:
            raise ConfigError(f"{name}: unknown key; known are {', '.join(map(str, table))}")
        elif isinstance(table[key], Mapping):
            result[key] = _overridden(table[key], value, name)
        else:
            result[key] = _checked(table[key], value, name, str(key))
    return result


def _label(key: Any, value: Any, name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", str(key)) or key in ("alertname", "severity"):
        raise ConfigError(f"{name}: {key!r} cannot be the name of a label of one's own")
    if isinstance(value, Mapping | list) or value is None:
        raise ConfigError(f"{name}: {value!r} is no text")
    return str(value)


def _checked(default: Any, value: Any, name: str, key: str) -> Any:
    """`value`, if it has the type of the default."""
    if key == "severity" and value not in _SEVERITIES:
        raise ConfigError(f"{name}: {value!r} is none of {', '.join(_SEVERITIES)}; `severities` renames them")
    if name in _TEXTS:
        pattern, rule = _TEXTS[name]
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ConfigError(f"{name}: {value!r} does not fit; it must be {rule}")
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
        raise ConfigError(f"{name}: {value!r} does not fit; it is {default!r} by default")
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


def _environment() -> jinja2.Environment:
    # Prometheus uses {{ }} itself and [ ] for ranges, so this template has other delimiters.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
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
    return _environment().get_template(TEMPLATE).render(with_durations(table, scale), scope=scope)


def rows(table: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Name, severity, condition in words, reason, and why somebody must get up, of each enabled alert."""
    environment = _environment()
    return [
        (
            name,
            values["severity"],
            environment.from_string(values["when"]).render(values, this=values),
            values["why"],
            values.get("rise", ""),
        )
        for name, values in with_durations(table["alerts"], 1).items()
        if values["enabled"]
    ]


def table_of(table: Mapping[str, Any]) -> str:
    """The table of docs/alerts.md."""
    lines = [
        f"| [{name}](runbooks/{name}.md) | {severity} | {_sentence(when)} | {_reason(why, rise)} |"
        for name, severity, when, why, rise in rows(table)
    ]
    return "\n".join(["| Alert | Severity | Fires when | Why so |", "| --- | --- | --- | --- |", *lines, ""])


def _reason(why: str, rise: str) -> str:
    return _sentence(why) + (f" **Get up because** {rise}." if rise else "")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the rules and return 0, or print what is wrong with the table and return 1."""
    parser = argparse.ArgumentParser(description="Make the alert rules from the table of their values.")
    parser.add_argument("--config", type=Path, help="a file with the keys that differ from alerts/config.yml")
    parser.add_argument("--output", type=Path, default=RULES, help="where to write; - is stdout")
    parser.add_argument("--scale", type=float, default=1, help="make every duration so many times as long")
    parser.add_argument("--table", action="store_true", help="print the table of docs/alerts.md instead")
    options = parser.parse_args(arguments)
    if options.scale <= 0:
        parser.error("--scale must be above 0")
    try:
        table = load(options.config)
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.table:
        sys.stdout.write(table_of(table))
    elif str(options.output) == "-":
        sys.stdout.write(render(table, options.scale))
    else:
        options.output.write_text(render(table, options.scale), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
