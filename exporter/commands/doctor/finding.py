"""What a check has found, and how that is printed. Pure."""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from exporter.core.scrub import scrub

# In the order in which they are told. What a later one needs of an earlier one is in `examination.py`.
CHECKS = (
    "endpoint",
    "iam",
    "clock",
    "sign-in",
    "list",
    "detail",
    "logs",
    "events",
    "paging",
    "order",
    "limit",
    "bounds",
    "retention",
    "language",
    "other-api",
)

# Two sentences of ours with a quoted error of the cloud, which is cut at 200.
_LONGEST_CHARACTERS = 600


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Verdict(NamedTuple):
    """What a check says; `found` and `remedy` are sentences, and only what is not well has a remedy."""

    status: Status
    found: str
    remedy: str = ""


def ok(found: str) -> Verdict:
    """All is well."""
    return Verdict(Status.OK, found)


def warning(found: str, remedy: str) -> Verdict:
    """The exporter works, but not as one would expect."""
    return Verdict(Status.WARNING, found, remedy)


def failed(found: str, remedy: str) -> Verdict:
    """The exporter cannot work so."""
    return Verdict(Status.FAILED, found, remedy)


def skipped(found: str) -> Verdict:
    """Nothing was found out."""
    return Verdict(Status.SKIPPED, found)


class Finding(NamedTuple):
    """The verdict of one check of one project, fit to be printed."""

    project: str
    check: str
    status: Status
    found: str
    remedy: str


def finding(project: str, check: str, verdict: Verdict) -> Finding:
    """A verdict without anything that a terminal or a reader should not see."""
    found = scrub(verdict.found, _LONGEST_CHARACTERS)
    return Finding(scrub(project), check, verdict.status, found, verdict.remedy)


def as_text(found: Finding) -> str:
    """One line; a failure has another one with the remedy, a warning has it in the same line."""
    line = f"{found.status} {found.project} {found.check}: {found.found}"
    if found.status is Status.FAILED:
        return f"{line}\n  remedy: {found.remedy}"
    return f"{line} {found.remedy}".rstrip()


def as_json(findings: Iterable[Finding]) -> str:
    """An array with an object for each."""
    return json.dumps([each._asdict() for each in findings], indent=2)
