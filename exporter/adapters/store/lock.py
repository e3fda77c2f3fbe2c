"""The claim of one process on a store's directory, for as long as it lives."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from exporter.adapters.store.errors import StoreError, told

_FILE = "modelarts-exporter.lock"


class DirectoryLock:
    """A lock that the kernel takes back when its holder ends, however it ends.

    It belongs to the open file, not to the process: a second claim in the same process is refused too.
    """

    def __init__(self, directory: Path) -> None:
        """Take the lock at once, or raise `StoreError` with the holder's process id where it is known."""
        path = directory / _FILE
        with told(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._claim(directory)
            except BaseException:  # whatever happened, the file must not stay open
                os.close(self._file)
                raise

    def _claim(self, directory: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # 20 digits are more than any process id has.
            pid = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
            holder = f"process {pid}" if pid.isdigit() else "another process"
            raise StoreError(
                f"{directory} is in use by {holder}:"
                " end that one first, or give this one a directory of its own with --storage.path"
            ) from None
        os.ftruncate(self._file, 0)
        with suppress(OSError):  # on a full disk the lock holds all the same, only nameless
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give the directory back. The file stays: removing it would let two processes lock two files."""
        os.close(self._file)
