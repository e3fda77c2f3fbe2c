"""A progress bar on a terminal, and nothing elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

_WIDTH = 30
# Often enough for the eye; a terminal over a slow line must not hold up the work.
_SECONDS_BETWEEN = 0.1


class Progress:
    """Draws one line of a terminal again and again; a context manager that takes it away in the end.

    Args:
        stream: where to; if it is not a terminal, nothing is drawn.

    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._drawn_at = 0.0

    def bar(self, what: str, total: int) -> Callable[[], None]:
        """Begin a new bar; call the result after each of `total` pieces of work."""
        begun_at, done = time.monotonic(), 0
        self._draw(what, 0, total, "")

        def step() -> None:
            nonlocal done
            done += 1
            now = time.monotonic()
            if done == total or now >= self._drawn_at + _SECONDS_BETWEEN:
                self._drawn_at = now
                left = (now - begun_at) / done * (total - done)
                self._draw(what, done, total, f", {_about(left)} left")

        return step

    def _draw(self, what: str, done: int, total: int, left: str) -> None:
        filled = _WIDTH * done // max(total, 1)
        self._replace(f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {what}: {done} of {total}{left}")

    def _replace(self, line: str) -> None:
        if self._is_terminal:
            print(f"\r\x1b[K{line}", end="", file=self._stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._replace("")


def _about(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
