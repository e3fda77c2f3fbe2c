"""Reads a file of recorded answers, which `docs/recordings.md` describes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

# What a header may hold: anything else would be another header, or the end of them.
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_HEADER_VALUE = re.compile(r"[ -~]{0,1024}")


class RecordingError(ValueError):
    """The file cannot be replayed; the text is `FILE:LINE: what is wrong`."""


@dataclass(frozen=True)
class RecordedAnswer:
    """One answer of the cloud: `body` is JSON, or a text that was none. `at` is in ms since the epoch."""

    at: int
    method: str
    path: str
    query: Mapping[str, str]
    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Recording:
    """All answers, the oldest first; `warning` says what was left out."""

    answers: tuple[RecordedAnswer, ...]
    warning: str = field(default="")


def read_recording(path: Path) -> Recording:
    """Read the file. The last line may be cut off, as it is where a recording ended suddenly.

    Raises `RecordingError`, or `OSError` where the file cannot be read.
    """
    lines = path.read_bytes().split(b"\n")
    numbers = [number for number, line in enumerate(lines, 1) if line.strip()]
    answers: list[RecordedAnswer] = []
    warning = ""
    for number in numbers:
        try:
            answers.append(_answer(lines[number - 1]))
        except ValueError as error:
            if number != numbers[-1]:
                raise RecordingError(f"{path}:{number}: {error}") from None
            warning = f"{path}:{number}: {error}; this last line is left out"
    if not answers:
        raise RecordingError(f"{path}:1: holds no recorded answer" + (f" ({warning})" if warning else ""))
    # Files may be put together, and the clock of a machine may be set back.
    return Recording(tuple(sorted(answers, key=lambda answer: answer.at)), warning)


def _answer(line: bytes) -> RecordedAnswer:
    """One line. Raises `ValueError` with what is wrong with it."""
    try:
        found = json.loads(line.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    _check_types(found)
    if not 0 <= found["at_ms"] < 10**13:  # as the API's own times
        raise ValueError("at_ms has more than 13 digits or is below 0")
    if not found["path"].startswith("/"):
        raise ValueError("path does not begin with /")
    if not 200 <= found["status"] <= 599:
        raise ValueError("status is not between 200 and 599")
    for name, text in found["headers"].items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(text):
            raise ValueError("headers hold a name or a value that no header can have")
    return RecordedAnswer(
        found["at_ms"],
        found["method"],
        found["path"],
        found["query"],
        found["status"],
        {name.title(): text for name, text in found["headers"].items()},
        found["body"],
    )


def _check_types(found: Any) -> None:
    if not isinstance(found, dict):
        raise ValueError("is not a JSON object")  # noqa: TRY004 - it is the file that is wrong
    for key, kind, wanted in (
        ("at_ms", int, "a whole number of ms since the epoch"),
        ("method", str, "a text"),
        ("path", str, "a text"),
        ("query", dict, "an object of texts"),
        ("status", int, "a whole number"),
        ("headers", dict, "an object of texts"),
    ):
        value = found.get(key)
        texts = list(value.values()) if isinstance(value, dict) else []
        if (
            not isinstance(value, kind)
            or isinstance(value, bool)
            or not all(isinstance(t, str) for t in texts)
        ):
            raise ValueError(f"{key} is missing or is not {wanted}")
    if "body" not in found:
        raise ValueError("body is missing")


def _no_number(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")
