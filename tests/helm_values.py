"""The values of the Helm chart that tests try, and what Helm makes of them before it renders."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy" / "helm" / "modelarts-exporter"
FIXTURES = Path(__file__).parent / "data" / "helm"

Values = dict[str, Any]


def fixtures(kind: str) -> dict[str, Path]:
    """The files of `valid` or `invalid` by their name."""
    return {path.stem: path for path in sorted((FIXTURES / kind).glob("*.yml"))}


def read(path: Path) -> Values:
    """The values in a file."""
    values: Values = yaml.safe_load(path.read_text("utf-8"))
    return values


def on_the_page() -> list[Values]:
    """The values that docs/kubernetes.md shows."""
    page = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n# values.yml\n(.*?)```", page, re.DOTALL)]


def over_the_defaults(values: Values, defaults: Values | None = None) -> Values:
    """The defaults of the chart with these in their place; null takes a default away."""
    merged = dict(read(CHART / "values.yaml") if defaults is None else defaults)
    for key, value in values.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = over_the_defaults(value, merged[key])
        else:
            merged[key] = value
    return merged
