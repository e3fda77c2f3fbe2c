"""What can go wrong with the store, each as one sentence that names the cause, the file and the way out."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_ANEW = (
    "restore a backup, or move it away together with its -wal file and start again:"
    " whatever the API no longer shows is then not counted"
)

# SQLite's primary result codes: what happened, and what the operator can do about it. A code that is
# not here (a broken constraint, a misuse) can only be a mistake of this program and stays what it is.
_SENTENCES = {
    sqlite3.SQLITE_ERROR: ("does not hold the tables that this program makes", _START_ANEW),
    sqlite3.SQLITE_PERM: ("must not be written by this user", "give this user the file"),
    sqlite3.SQLITE_BUSY: ("is locked by another program", "close that program"),
    sqlite3.SQLITE_LOCKED: ("is locked by another program", "close that program"),
    sqlite3.SQLITE_READONLY: (
        "cannot be written",
        "give this user the file, on a file system that is writable",
    ),
    sqlite3.SQLITE_IOERR: (
        "could not be read or written by the operating system",
        "look for a quota, a size limit or a failing disk; nothing half-written was kept",
    ),
    sqlite3.SQLITE_CORRUPT: ("is damaged", _START_ANEW),
    sqlite3.SQLITE_FULL: ("has no room left on its disk", "free some space; nothing half-written was kept"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check the directory's permissions and free file handles"),
    sqlite3.SQLITE_PROTOCOL: ("is locked by another program", "close that program"),
    sqlite3.SQLITE_NOTADB: ("is not a database, or its head is damaged", _START_ANEW),
}
_PRIMARY = 0xFF  # an extended result code keeps the primary one in its lowest byte


class StoreError(Exception):
    """The store cannot be used, or a commit was not made; the message is one sentence for an operator."""


def damaged(path: str | Path, detail: str) -> StoreError:
    """The error for a file whose content cannot be what was written."""
    return StoreError(f"{path} is damaged ({' '.join(detail.split())}): {_START_ANEW}")


@contextmanager
def told(path: str | Path) -> Iterator[None]:
    """Turn what SQLite or the operating system says about `path` into a `StoreError`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)  # absent where the module itself complains
        if code is None or code & _PRIMARY not in _SENTENCES:
            raise
        what, way_out = _SENTENCES[code & _PRIMARY]
        raise StoreError(f"{path} {what} ({error}): {way_out}") from error
    except UnicodeDecodeError as error:  # SQLite quotes the file in its message, and that is no text
        raise damaged(path, str(error)) from error
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written ({error.strerror}):"
            " --storage.path must name a directory with free space that this user may write"
        ) from error
