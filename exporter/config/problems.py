"""What is wrong with a config file: every mistake at once, each with its line and key."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

Loc = tuple[str | int, ...]  # the way to a value: keys of mappings and indexes of lists

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake: the line (from 1) where its key stands, the key's path, and what is wrong and allowed."""

    line: int
    path: str
    message: str


class ConfigError(Exception):
    """A file that cannot be used; the text has one line a problem, `FILE:LINE: key.path: message`."""

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(f"{file}:{p.line}: {p.path}: {p.message}" for p in self.problems))


def dotted(loc: Loc) -> str:
    """The path as users write it: `projects[0].auth.token_file`."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            # The rest of an odd key may be a value, even a secret one, that a colon failed to cut off.
            key = _PLAIN_KEY.match(step)
            shown = step if key and key[0] == step else f"{key[0] if key else ''}…"
            path += f".{shown}" if path else shown
    return path or "(document)"
