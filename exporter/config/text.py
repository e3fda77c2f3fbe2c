"""Text as it was written, and as an error may show it."""

import json
from typing import Self

_LONGEST_SHOWN = 80  # characters of a value that an error repeats: enough to find it, fits a terminal


class Expanded(str):
    """Text with environment variables filled in; `written` is what the file has."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, value: str, written: str) -> Self:
        """Keep the text beside its expansion."""
        self = super().__new__(cls, value)
        self.written = written
        return self


def quoted(value: str) -> str:
    """A value as an error shows it: in one line, control characters escaped, cut where it is long.

    Of an expanded value the reference is shown: by mistake it may name any variable, also a secret one.
    """
    shown = value.written if isinstance(value, Expanded) else value
    if len(shown) > _LONGEST_SHOWN:
        shown = shown[:_LONGEST_SHOWN] + "…"
    return json.dumps(shown, ensure_ascii=False)


def one_line(text: str) -> bool:
    """Whether a text has no line breaks or other control characters."""
    return not any(ord(character) < 0x20 or ord(character) == 0x7F for character in text)


def encodable(text: str) -> bool:
    """Whether a text can be written as UTF-8: an escape in YAML or a byte in a variable may prevent it."""
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in text)
