"""Finds a service by what a person calls it: its id or its name."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from exporter.core.records import ServiceRow
from exporter.core.scrub import scrub

# 36 characters with hyphens, as in every sample (ModelArts, API Reference, "Querying Service Update Logs").
_SERVICE_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)


class Candidate(NamedTuple):
    """A service and the name of its project."""

    project: str
    row: ServiceRow

    def __str__(self) -> str:
        return f"{scrub(self.row.service_id)} in project {self.project}"


def is_service_id(wanted: str) -> bool:
    """Whether it looks like an id."""
    return _SERVICE_ID.fullmatch(wanted) is not None


def called(candidates: Iterable[Candidate], wanted: str) -> list[Candidate]:
    """The services of this id; if there is none, those of this name."""
    by_id, by_name = [], []
    for candidate in candidates:
        if candidate.row.service_id == wanted:
            by_id.append(candidate)
        elif candidate.row.service_name == wanted:
            by_name.append(candidate)
    return by_id or by_name


def ambiguous(wanted: str, found: Iterable[Candidate]) -> str:
    """The sentence that tells a caller which services he may have meant."""
    return f"More than one service is called {scrub(wanted)}: {', '.join(sorted(map(str, found)))}."
