"""Where the command writes: lines, and on a terminal one that changes."""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

# Back to the begin of the line, and delete what stands there (ECMA-48, EL).
_CLEAR = "\r\x1b[K"


class Screen:
    """Writes to stdout and stderr. A reader that is gone changes nothing: the exit code is what counts."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        self._live = ""

    def line(self, text: str) -> None:
        """A line on stdout."""
        self.live("")
        _write(sys.stdout, f"{text}\n")

    def error(self, text: str) -> None:
        """A line on stderr."""
        self.live("")
        _write(sys.stderr, f"{text}\n")

    def live(self, text: str) -> None:
        """On a terminal, the line that stands last and is replaced by the next one; elsewhere nothing."""
        if not self._is_terminal or text == self._live:
            return
        # A line that wraps could not be deleted.
        self._live = text[: shutil.get_terminal_size().columns - 1]
        _write(sys.stdout, _CLEAR + self._live)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        # What is left in the buffer would be tried again at the end, and that would change the exit code.
        with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
