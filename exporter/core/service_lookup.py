"""Finds a service by what a person calls it: its id or its name."""

from collections.abc import Iterable
from typing import NamedTuple

from exporter.core.records import ServiceRow
from exporter.core.scrub import scrub


class Candidate(NamedTuple):
    """A service and the name of its project."""

    project: str
    row: ServiceRow

    def __str__(self) -> str:
        return f"{scrub(self.row.service_id)} in project {self.project}"


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
    return f"More than one service is called {scrub(wanted)}: {', '.join(map(str, found))}."
