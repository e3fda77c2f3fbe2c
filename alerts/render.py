"""Writes the alert rules of this folder, and prints the table of docs/alerts.md.

`python alerts/render.py` writes `modelarts.rules.yml` beside this file. `--config FILE` overrides the keys
that FILE names, as `modelarts-exporter assets --alerts.config FILE` does. `--scale 0.01` makes every duration
shorter (for a live test).
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Also with a Python in which the package is not installed.
sys.path.insert(0, str(Path(__file__).parents[1]))

from exporter.assets.alert_rules import RULES, AlertConfigError, environment, load, render, with_durations
from exporter.assets.files import path


def rows(table: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Name, severity, condition in words, reason, and why somebody must get up, of each enabled alert."""
    texts = environment()
    return [
        (
            name,
            values["severity"],
            texts.from_string(values["when"]).render(values, this=values),
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
    parser.add_argument("--output", type=Path, default=path(RULES), help="where to write; - is stdout")
    parser.add_argument("--scale", type=float, default=1, help="make every duration so many times as long")
    parser.add_argument("--table", action="store_true", help="print the table of docs/alerts.md instead")
    options = parser.parse_args(arguments)
    if options.scale <= 0:
        parser.error("--scale must be above 0")
    try:
        table = load(options.config)
    except (AlertConfigError, OSError) as error:
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
