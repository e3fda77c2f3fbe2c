"""The log: lines on stderr, written so that a log that cannot be written never stops the program."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

import structlog
from structlog.typing import FilteringBoundLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}

# Lines that wait for a slow reader: some minutes of a large fleet on its worst day, and 10 MB at most.
_LONGEST_BACKLOG = 10_000
# At the end, a reader that takes nothing is not waited for any longer.
_LAST_LINES_SECONDS = 1.0

_STDERR = 2


class LogOutput:
    """Writes lines to a file descriptor from a thread of its own.

    A full disk, a reader that is gone, or one that takes nothing any more costs lines, and each is counted.

    Args:
        descriptor: of an open file.

    """

    def __init__(self, descriptor: int = _STDERR) -> None:
        self._descriptor = descriptor
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._lost = SimpleQueue[None]()  # a lost line each, until somebody counts them
        self._count: Callable[[], None] | None = None
        self.before_line = ""  # what takes away what else stands on the terminal's last line
        self._thread = Thread(target=self._serve, name="log", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Queue a line, or lose it."""
        if self._lines.qsize() < _LONGEST_BACKLOG:
            self._lines.put(f"{self.before_line}{text}".encode("utf-8", "backslashreplace"))
        else:
            self._lose()

    def flush(self) -> None:
        """Nothing: a line that is queued is written as soon as it can be."""

    def close(self) -> None:
        """Write what is queued, for a second at most."""
        self._lines.put(None)
        self._thread.join(_LAST_LINES_SECONDS)

    def _serve(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:
                self._lose()

    def _lose(self) -> None:
        self._lost.put(None)
        self._count_lost()

    def count_errors(self, count: Callable[[], None]) -> None:
        """Have `count` called for each line that was or will be lost."""
        self._count = count
        self._count_lost()

    def _count_lost(self) -> None:
        if self._count is None:
            return
        with suppress(Empty):  # each is taken by one thread
            while True:
                self._lost.get_nowait()
                self._count()


def logger(level: str, form: str, output: LogOutput) -> FilteringBoundLogger:
    """A log of this level (one of `LEVELS`) and form (logfmt or json), as Prometheus writes its own."""
    render = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if form == "json"
        else structlog.processors.LogfmtRenderer(key_order=["ts", "level", "event"])
    )
    found: FilteringBoundLogger = structlog.wrap_logger(
        structlog.WriteLogger(output),  # type: ignore[arg-type]  # it writes and flushes, no more is asked of it
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            render,
        ],
    )
    return found
