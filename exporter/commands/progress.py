"""One line on a terminal that says how far a command is, and nothing elsewhere."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import Self

from exporter.app import now_ms
from exporter.core.polling.progress import Progress, advanced, begin, told
from exporter.core.scrub import printable
from exporter.engine.changes import ProjectStatus
from exporter.log import LogOutput

_BAR_WIDTH = 10  # so that 80 columns hold the words behind it
# Often enough for the eye; a terminal over a slow line must not hold up the work.
_SECONDS_BETWEEN = 0.2
_USUAL_COLUMNS = 80
# Back to the begin of the line, and delete what stands there (ECMA-48, EL).
_CLEAR = "\r\x1b[K"

Part = tuple[str, Progress]  # what is done, such as "services read", and how far it is


class ProgressLine:
    """Draws a line of stderr again and again, and takes it away in the end; a context manager.

    It is drawn by a thread of its own, so that the time left is true also while the command waits. If stderr
    is no terminal, or one that cannot delete a line, nothing is drawn.

    Args:
        text: the line as it is now; called on that thread.
        log: what else writes to stderr; its lines take the place of ours, which is drawn again below them.

    """

    def __init__(self, text: Callable[[], str], log: LogOutput | None = None) -> None:
        self._text, self._log = text, log
        self._is_drawn = sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        self._ended = Event()
        self._thread = Thread(target=self._serve, name="progress", daemon=True)

    def _serve(self) -> None:
        while True:
            # A line that wraps could not be deleted.
            _write(_CLEAR + printable(self._text())[: _columns() - 1])
            if self._ended.wait(_SECONDS_BETWEEN):
                _write(_CLEAR)
                break

    def __enter__(self) -> Self:
        if self._is_drawn:
            if self._log is not None:
                self._log.before_line = _CLEAR
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_drawn:
            self._ended.set()
            self._thread.join()
            if self._log is not None:
                self._log.before_line = ""


def _columns() -> int:
    # A terminal that does not know its width has 0 columns.
    with suppress(OSError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or _USUAL_COLUMNS
    return _USUAL_COLUMNS


def _write(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody looks any more; the command goes on
        print(text, end="", file=sys.stderr, flush=True)


class Work:
    """Work of one kind after another, each in pieces that are counted."""

    def __init__(self) -> None:
        self._part: Part | None = None

    def begin(self, what: str, total: int) -> Callable[[], None]:
        """Begin with `total` pieces of another kind; call the result after each of them."""
        self._part = what, begin(now_ms(), total)

        def step() -> None:
            assert self._part is not None, "it was begun"
            progress = self._part[1]
            self._part = what, advanced(progress, now_ms(), total, progress.done + 1, 0)

        return step

    def line(self) -> str:
        """How far it is."""
        return _line([] if self._part is None else [self._part])


def first_reads_line(projects: Iterable[ProjectStatus]) -> str:
    """How far projects are whose services are all read once."""
    return _line(
        [(f"services of {each.name} read", each.first_reads) for each in projects if each.first_reads]
    )


def _line(parts: Sequence[Part]) -> str:
    if not parts:
        return "reading the list of services"
    now, total = now_ms(), sum(progress.total for _, progress in parts)
    filled = _BAR_WIDTH * sum(progress.done for _, progress in parts) // total if total else _BAR_WIDTH
    unfinished = [part for part in parts if not part[1].finished]
    texts = [told(progress, now, what) for what, progress in unfinished or parts]
    return f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {'; '.join(texts)}"
