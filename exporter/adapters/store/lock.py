"""The claim of one process on a store's directory, for as long as it lives, and the modes of its files."""

import fcntl
import os
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

from exporter.adapters.store.errors import StoreError, told

_FILE = "modelarts-exporter.lock"


def open_file(path: Path) -> int:
    """Open a file of the store to read and write, made where it is missing.

    A new file is for its owner alone, because the texts of events are nobody else's business. In a directory
    that its group may write, it is for the group too: OpenShift runs each pod as a user that it chooses,
    always of group 0, and the next one must be able to go on.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    if path.parent.stat().st_mode & stat.S_IWGRP:
        os.fchmod(file, 0o660)  # by `open` alone the umask would take it away
    return file


class DirectoryLock:
    """A lock that the kernel takes back when its holder ends, however it ends.

    It belongs to the open file, not to the process: a second claim in the same process is refused too.
    The directory is locked itself, so that removing the lock file lets nobody in; where a network file
    system cannot lock a directory, the file is all there is.
    """

    def __init__(self, directory: Path) -> None:
        """Take the lock at once, or raise `StoreError` with the holder's process id where it is known."""
        path = directory / _FILE
        with told(path), ExitStack() as opened:
            self._file = open_file(path)
            opened.callback(os.close, self._file)
            self._lock(self._file, directory)
            with suppress(OSError):
                folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(os.close, folder)
                self._lock(folder, directory)
            os.ftruncate(self._file, 0)
            with suppress(OSError):  # on a full disk the lock holds all the same, only nameless
                os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)
            self._opened = opened.pop_all()

    def _lock(self, file: int, directory: Path) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # 20 digits are more than any process id has.
            pid = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
            holder = f"process {pid}" if pid.isdigit() else "another process"
            raise StoreError(
                f"{directory} is in use by {holder}:"
                " end that one first, or give this one a directory of its own with --storage.path"
            ) from None

    def close(self) -> None:
        """Give the directory back. The file stays: removing it would let two processes lock two files."""
        self._opened.close()
