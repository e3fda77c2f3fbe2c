"""The console script, and `python -m exporter`: signals are taken before anything else is imported."""

import os
import signal
import sys
from typing import NoReturn

# These run until they are asked to stop, so to be asked is no failure; no command means `run`.
_SERVING = ("run", "demo", "emulate")

_STDERR = 2


def _stop(number: int, _frame: object) -> NoReturn:
    serving = not sys.argv[1:] or sys.argv[1].startswith("-") or sys.argv[1] in _SERVING
    # As a shell tells it of a program that a signal has ended.
    raise SystemExit(0 if serving else 128 + number)


def _open_what_is_closed() -> None:
    """Open the null device for each standard descriptor that is closed, or the next file takes its place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Lines for a closed stderr fail, and are counted as lost.
            os.open(os.devnull, os.O_RDONLY if descriptor == _STDERR else os.O_RDWR)


def main() -> int:
    """Run the command line. Returns the exit code."""
    _open_what_is_closed()
    # As process 1 of a container a program gets no signal that it has no handler for.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    # The configuration has not been read yet, so there is nothing to reload.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from exporter import cli  # noqa: PLC0415 - it takes a second, in which a signal may come

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
