"""What can go wrong with the store, each as one sentence that names the cause, the file and the way out."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_ANEW = (
    "restore a backup, or move it away together with its -wal file and start again:"
    " whatever the API no longer shows is then not counted"
)
_NOT_LOCAL = (
    "is on a file system without the locks or the shared memory that SQLite needs, such as NFS",
    "keep the store on a local disk",
)

# SQLite's result codes: what happened, and what the operator can do about it. A code that is not here
# (a broken constraint, a misuse) can only be a mistake of this program and stays what it is.
_SENTENCES = {
    sqlite3.SQLITE_ERROR: ("does not hold the tables that this program makes", _START_ANEW),
    sqlite3.SQLITE_PERM: ("must not be written by this user", "give this user the file"),
    sqlite3.SQLITE_BUSY: (
        "is locked by another program",
        "close that program; on NFS a lock can outlive its program, so keep the store on a local disk",
    ),
    sqlite3.SQLITE_LOCKED: ("is locked by another program", "close that program"),
    sqlite3.SQLITE_READONLY: (
        "cannot be written",
        "give this user the file, on a file system that is writable",
    ),
    sqlite3.SQLITE_IOERR: (
        "could not be read or written by the operating system",
        "nothing half-written was kept; look for a full disk, a quota, a size limit, a failing disk or NFS",
    ),
    sqlite3.SQLITE_IOERR_LOCK: _NOT_LOCAL,
    sqlite3.SQLITE_IOERR_RDLOCK: _NOT_LOCAL,
    sqlite3.SQLITE_IOERR_UNLOCK: _NOT_LOCAL,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK: _NOT_LOCAL,
    sqlite3.SQLITE_IOERR_SHMLOCK: _NOT_LOCAL,
    sqlite3.SQLITE_IOERR_SHMMAP: _NOT_LOCAL,
    sqlite3.SQLITE_IOERR_SHMOPEN: _NOT_LOCAL,
    sqlite3.SQLITE_CORRUPT: ("is damaged", _START_ANEW),
    sqlite3.SQLITE_FULL: ("has no room left on its disk", "free some space; nothing half-written was kept"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check the directory's permissions and free file handles"),
    sqlite3.SQLITE_PROTOCOL: _NOT_LOCAL,
    sqlite3.SQLITE_NOTADB: ("is not a database, or its head is damaged", _START_ANEW),
}
_PRIMARY = 0xFF  # an extended result code keeps the primary one in its lowest byte

# What `flock` and files of a network file system answer that has no locks, or whose server is gone.
_NOT_LOCAL_ERRNOS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.ESTALE})


class StoreError(Exception):
    """The store cannot be used, or a commit was not made; the message is one sentence for an operator."""


class DamagedRecordError(StoreError):
    """One record is not what was written; all others can be used."""


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
        sentence = _SENTENCES.get(code) or _SENTENCES.get(code & _PRIMARY) if code is not None else None
        if sentence is None:
            raise
        what, way_out = sentence
        raise StoreError(f"{path} {what} ({error}): {way_out}") from error
    except UnicodeDecodeError as error:  # SQLite quotes the file in its message, and that is no text
        raise damaged(path, str(error)) from error
    except OSError as error:
        what, way_out = (
            _NOT_LOCAL
            if error.errno in _NOT_LOCAL_ERRNOS
            else (
                "cannot be written",
                "--storage.path must name a directory with free space that this user may write",
            )
        )
        raise StoreError(f"{path} {what} ({error.strerror}): {way_out}") from error
