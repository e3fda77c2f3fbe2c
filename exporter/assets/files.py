"""Finds the files that go with the program, in an installed package and in a checkout alike.

A file's name is its path in the repository, such as `docs/runbooks/ModelArtsUpdateFailed.md`. A wheel has the
same tree in this folder (`pyproject.toml` puts it there). A checkout, and so an editable install, has it at
its root.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
# `alerts` is always there, so where it is tells which of the two this is.
_ROOT = _HERE if (_HERE / "alerts").is_dir() else _HERE.parents[1]

# Named one by one where users put files of their own beside them: a password must not get into a wheel.
_PATTERNS = (
    "alerts/alertmanager.example.yml",
    "alerts/config.yml",
    "alerts/modelarts.rules.yml",
    "alerts/modelarts.rules.yml.j2",
    "alerts/modelarts.tmpl",
    "dashboards/*.json",
    "deploy/compose.yml",
    "deploy/compose/*.yml",
    "deploy/config.example.yml",
    "deploy/helm/**/*",
    "deploy/kubernetes.yml",
    "deploy/modelarts-exporter.service",
    "deploy/prometheus.example.yml",
    "deploy/prometheus-http-sd.example.yml",
    "deploy/prometheus-kubernetes.example.yml",
    "deploy/scaling/*.yml",
    "deploy/grafana/README.md",
    "deploy/grafana/provisioning/*/*.yml",
    "docs/*.md",
    "docs/runbooks/*.md",
)


def names(folder: str = "") -> tuple[str, ...]:
    """The names of all files in a folder such as `docs/runbooks`, sorted; without a folder, of all files."""
    return tuple(name for name in _files() if not folder or name.startswith(f"{folder}/"))


def path(name: str) -> Path:
    """Where a file is. Raises KeyError for a name that is none of `names()`, whatever it leads to."""
    return _files()[name]


def read(name: str) -> str:
    """The text of a file. Raises KeyError for a name that is none of `names()`."""
    return path(name).read_text(encoding="utf-8")


@cache
def _files() -> Mapping[str, Path]:
    found = {
        file.relative_to(_ROOT).as_posix(): file
        for pattern in _PATTERNS
        for file in _ROOT.glob(pattern)
        if file.is_file()
    }
    return dict(sorted(found.items()))
