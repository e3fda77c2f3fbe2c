"""Writes the dashboards as JSON files: `python -m dashboards.source.build`."""

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from dashboards.source import delivery, edge, exporter, overview, service

FOLDER = Path(__file__).parents[1]

# The SDK puts each link and each switch of an annotation into a menu that has to be opened first.
_HIDDEN = ("placement", "inControlsMenu")


def files() -> dict[str, str]:
    """The text of each file, by its name."""
    dashboards = [module.dashboard() for module in (overview, service, edge, delivery, exporter)]
    return {f"{dashboard.uid}.json": _text(dashboard) for dashboard in dashboards}


def _text(dashboard: model.Dashboard) -> str:
    content = json.loads(json.dumps(dashboard, cls=JSONEncoder), object_hook=_in_sight)
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _in_sight(found: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if (key, value) != _HIDDEN}


def main() -> None:
    """Write all files."""
    for name, text in files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
