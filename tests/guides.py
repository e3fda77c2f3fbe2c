"""What the pages for people say, in pieces that a test can run or compare."""

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
# A block of code may stand in a list, and then each of its lines is indented.
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def section(page: str, heading: str) -> str:
    """What stands below a heading `## ...` of a page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    (found,) = re.findall(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL
    )
    return str(found)


def blocks(text: str, language: str) -> list[str]:
    """The blocks of code in one language."""
    return [code for _, kind, code in _BLOCK.findall(text) if kind == language]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of the tables in a text, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    for line, below in zip_longest(lines, lines[1:], fillvalue=""):
        if not (_is_rule(line) or _is_rule(below)):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def _is_rule(line: str) -> bool:
    return set(line) == set("|- ")


def pattern(quoted: str) -> re.Pattern[str]:
    """What a quoted message stands for: `...` is any text in one line."""
    return re.compile(".*".join(re.escape(part) for part in quoted.split("...")))
