"""The shape of the store's file, and the numbered steps that lead an older file to it."""

import sqlite3
from importlib.metadata import version

from exporter.adapters.store.errors import StoreError

# A step is never edited once released: whoever has taken it will not take it again. Keys are ours or
# the API's and are only ever data. `sum` is a checksum of the row's other columns: SQLite keeps none.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE migration (number INTEGER PRIMARY KEY, program TEXT NOT NULL)",
        """
        CREATE TABLE project (
            name TEXT NOT NULL,
            project_id TEXT NOT NULL,
            blob BLOB NOT NULL,
            sum INTEGER NOT NULL,
            PRIMARY KEY (name, project_id)
        )
        """,
        """
        CREATE TABLE service (
            project_name TEXT NOT NULL,
            project_id TEXT NOT NULL,
            service_id TEXT NOT NULL,
            present INTEGER NOT NULL,
            blob BLOB NOT NULL,
            sum INTEGER NOT NULL,
            PRIMARY KEY (project_name, project_id, service_id)
        )
        """,
    ),
    (
        """
        CREATE TABLE past (
            project_name TEXT NOT NULL,
            project_id TEXT NOT NULL,
            service_id TEXT NOT NULL,
            blob BLOB NOT NULL,
            sum INTEGER NOT NULL,
            PRIMARY KEY (project_name, project_id, service_id)
        )
        """,
    ),
    (
        # The version of what is in the blobs. Until this step there was only one.
        "CREATE TABLE blob_format (version INTEGER NOT NULL)",
        "INSERT INTO blob_format VALUES (1)",
    ),
    (
        # Since when (ms) a service is absent; null while it is present, and until the next look for what can
        # be forgotten, so absent services of older files count from the first look after this step.
        "ALTER TABLE service ADD COLUMN absent_since INTEGER",
        "CREATE INDEX absent ON service (absent_since) WHERE present = 0",
    ),
    (
        # Since when (ms) a project is not configured; null while it is, and until the next look likewise.
        "ALTER TABLE project ADD COLUMN unconfigured_since INTEGER",
    ),
    (
        # Where the settled updates are that the texts hold; `number` counts those of one service and time.
        # There is no checksum: a wrong row cannot show what is not in the texts. Services are numbers in it:
        # with their names it would be eight times as large.
        """
        CREATE TABLE updated_service (
            id INTEGER PRIMARY KEY,
            project_name TEXT NOT NULL,
            project_id TEXT NOT NULL,
            service_id TEXT NOT NULL,
            UNIQUE (project_name, project_id, service_id)
        )
        """,
        """
        CREATE TABLE past_update (
            service INTEGER NOT NULL,
            update_time INTEGER NOT NULL,
            number INTEGER NOT NULL,
            result TEXT NOT NULL,
            PRIMARY KEY (service, update_time, number)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX newest ON past_update (update_time, service, number, result)",
        # Texts of older files: what is in them is not known here, so whoever knows takes them from this list.
        "CREATE TABLE unlisted (past_row INTEGER PRIMARY KEY)",
        "INSERT INTO unlisted SELECT rowid FROM past",
    ),
    (
        # Call totals change with every list. Apart, so that a list does not rewrite what is known of a
        # service. Until this step those of all services were one record, in the project's blob.
        """
        CREATE TABLE calls (
            project_name TEXT NOT NULL,
            project_id TEXT NOT NULL,
            service_id TEXT NOT NULL,
            blob BLOB NOT NULL,
            sum INTEGER NOT NULL,
            PRIMARY KEY (project_name, project_id, service_id)
        )
        """,
    ),
)


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the file to the newest shape, each step whole or not at all.

    Raises:
        StoreError: a newer version of this program wrote the file.
        sqlite3.DatabaseError: a step failed; the file keeps the shape of the step before it.

    """
    (number,) = connection.execute("PRAGMA user_version").fetchone()
    if number > len(MIGRATIONS):
        raise too_new(path, number, len(MIGRATIONS), _author(connection, number))
    for step, statements in enumerate(MIGRATIONS[number:], start=number + 1):
        with connection:  # commits, or rolls back whatever happened
            connection.execute("BEGIN IMMEDIATE")
            for statement in statements:
                connection.execute(statement)
            connection.execute("INSERT INTO migration VALUES (?, ?)", (step, _program()))
            connection.execute(f"PRAGMA user_version = {step}")  # a pragma takes no parameters


def too_new(path: str, found: int, known: int, author: str = "(unknown)") -> StoreError:
    """The error for a file of a newer version of this program; `author` is that version."""
    return StoreError(
        f"{path} was written by version {author} of this program, in format {found};"
        f" version {_program()} knows formats up to {known}:"
        " run the newer version, or give this one a directory of its own with --storage.path"
    )


def _program() -> str:
    return version("modelarts-exporter")


def _author(connection: sqlite3.Connection, number: int) -> str:
    try:
        row = connection.execute("SELECT program FROM migration WHERE number = ?", (number,)).fetchone()
    except sqlite3.DatabaseError:  # a future version may keep this record elsewhere
        row = None
    return str(row[0]) if row else "(unknown)"
