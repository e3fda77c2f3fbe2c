"""The command `doctor`: runs the checks of each project, and prints what they find."""

import os
from collections.abc import Iterator

from exporter.adapters.prometheus.self_metrics import SelfMetrics
from exporter.app import VERSION, now_ms, revision
from exporter.commands.doctor.examination import Examination
from exporter.commands.doctor.finding import CHECKS, Finding, Status, as_json, as_text, finding, skipped
from exporter.commands.doctor.probes import Probes
from exporter.config import Config, Project, load
from exporter.core.polling.shard import Shard
from exporter.factory import ProjectFactory


class UnknownProjectError(Exception):
    """The configuration has no project of this name; the message says which it has."""


def run(config_file: str, project: str | None, form: str) -> int:
    """Check every project, or the one of this name; `form` is text or json.

    Returns 1 if a check failed. Raises `ConfigError` and `UnknownProjectError`.
    """
    config = load(config_file, os.environ)
    projects = _wanted(config, project)
    told: list[Finding] = []

    def tell(found: Finding) -> None:
        told.append(found)
        if form == "text":
            print(as_text(found), flush=True)

    try:
        for found in _findings(projects):
            tell(found)
    except (KeyboardInterrupt, SystemExit):
        # Whoever reads the output finds every check in it, however it ends.
        every = [(each.name, check) for each in projects for check in CHECKS]
        for name, check in every[len(told) :]:
            tell(finding(name, check, skipped("Interrupted.")))
        raise
    finally:
        if form == "json":
            print(as_json(told), flush=True)
    return 1 if any(found.status is Status.FAILED for found in told) else 0


def _wanted(config: Config, project: str | None) -> list[Project]:
    found = [each for each in config.projects if project in (None, each.name)]
    if not found:
        names = ", ".join(each.name for each in config.projects)
        raise UnknownProjectError(f"--project is {project!r}; the projects are {names}.")
    return found


def _findings(projects: list[Project]) -> Iterator[Finding]:
    metrics = SelfMetrics([each.name for each in projects], [], version=VERSION, revision=revision())
    factory = ProjectFactory(Shard(), metrics, now_ms)
    for project in projects:
        yield from Examination(project, Probes(project, factory, now_ms)).findings()
