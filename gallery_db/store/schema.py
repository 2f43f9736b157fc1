"""The schema of a gallery's record, and the migrations that lead to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from gallery_db.errors import GalleryFormatError
from gallery_db.store.checksums import add_functions

__all__ = ["APPLICATION_ID", "FORMAT_VERSION", "MIGRATIONS", "RECORD_NAME", "check_format", "migrate"]

RECORD_NAME = "gallery.sqlite3"
"""Name of the record's file in a gallery's folder."""

APPLICATION_ID = 0x6774726B  # "gtrk"

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    # Append only: a gallery of format n has the first n of these applied.
    (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE collections (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            model_name TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            dimension INTEGER NOT NULL,
            preprocessing TEXT NOT NULL,
            metric TEXT NOT NULL,
            weights_path TEXT,
            created_at TEXT NOT NULL,
            generation INTEGER NOT NULL DEFAULT 0,
            applied_seq INTEGER NOT NULL DEFAULT 0
        )""",
        """CREATE TABLE entries (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            collection INTEGER NOT NULL REFERENCES collections (id),
            id TEXT NOT NULL,
            identity TEXT NOT NULL,
            class_name TEXT NOT NULL,
            origin TEXT NOT NULL,
            source TEXT NOT NULL,
            content_hash TEXT,
            frame INTEGER,
            box TEXT,
            created_at TEXT NOT NULL,
            extra TEXT NOT NULL,
            UNIQUE (collection, id)
        )""",
        "CREATE INDEX entries_by_hash ON entries (collection, content_hash)",
        "CREATE INDEX entries_by_identity ON entries (collection, identity)",
        # Apart from the entries, so that listing those never pages through the vectors.
        "CREATE TABLE vectors (seq INTEGER PRIMARY KEY, vector BLOB NOT NULL)",
        """CREATE TABLE files (
            collection INTEGER NOT NULL,
            path TEXT NOT NULL,
            size INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            content_hash TEXT NOT NULL,
            class_name TEXT NOT NULL,
            entry_id TEXT NOT NULL,
            PRIMARY KEY (collection, path)
        ) WITHOUT ROWID""",
        "CREATE INDEX files_by_entry ON files (collection, entry_id)",
        """CREATE TABLE changes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            at TEXT NOT NULL,
            who TEXT NOT NULL,
            action TEXT NOT NULL,
            collection INTEGER NOT NULL,
            entry_id TEXT NOT NULL,
            detail TEXT NOT NULL,
            vector BLOB
        )""",
        "CREATE INDEX changes_by_collection ON changes (collection, seq)",
        "CREATE INDEX changes_by_entry ON changes (collection, entry_id)",
    ),
    # 2: changes belong to operations, which are what a person did and may undo.
    (
        """CREATE TABLE operations (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            at TEXT NOT NULL,
            who TEXT NOT NULL,
            collection INTEGER NOT NULL,
            action TEXT NOT NULL,
            words TEXT NOT NULL
        )""",
        "CREATE INDEX operations_by_collection ON operations (collection, at, who)",
        "ALTER TABLE changes ADD COLUMN operation INTEGER",
        # Where a removed entry stood, so that it comes back to its place.
        "ALTER TABLE changes ADD COLUMN entry_seq INTEGER",
        # What was done before operations were kept: what one writer did within one second.
        """INSERT INTO operations (seq, at, who, collection, action, words)
            SELECT MIN(seq), at, who, collection, CASE COUNT(DISTINCT action) WHEN 1 THEN MIN(action) ELSE 'change' END,
                'change of before operations were kept'
            FROM changes GROUP BY collection, at, who ORDER BY MIN(seq)""",
        """UPDATE changes SET operation = (
            SELECT seq FROM operations AS o
            WHERE o.collection = changes.collection AND o.at = changes.at AND o.who = changes.who
        )""",
        "CREATE INDEX changes_by_operation ON changes (operation, entry_id)",
        """CREATE TABLE file_changes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            operation INTEGER NOT NULL,
            collection INTEGER NOT NULL,
            path TEXT NOT NULL,
            before TEXT
        )""",
        "CREATE INDEX file_changes_by_operation ON file_changes (operation)",
    ),
    # 3: checksums, see `gallery_db.store.checksums`. What was damaged before has a checksum that fits.
    (
        # Apart from the entries, so that a damaged page of these does not take them along.
        """CREATE TABLE checksums (
            seq INTEGER PRIMARY KEY,
            collection INTEGER NOT NULL,
            description INTEGER NOT NULL,
            vector INTEGER NOT NULL
        )""",
        """INSERT INTO checksums
            SELECT seq, collection, entry_checksum(seq, collection, id, identity, class_name, origin, extra),
                vector_checksum(seq, vector)
            FROM entries JOIN vectors USING (seq)""",
        # Of `detail`, and of the vector that an entry had before; none for changes of before checksums were kept.
        "ALTER TABLE changes ADD COLUMN checksum INTEGER",
        "ALTER TABLE changes ADD COLUMN vector_checksum INTEGER",
    ),
    # 4: undo and redo walk through the operations, over restored snapshots, too.
    (
        "ALTER TABLE operations ADD COLUMN target INTEGER",
        # Restores replaced the log as well; from now on they are changes of entries as others are.
        "UPDATE operations SET action = 'replace-record' WHERE action = 'restore'",
        """CREATE TABLE setting_changes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            operation INTEGER NOT NULL,
            collection INTEGER NOT NULL,
            name TEXT NOT NULL,
            before TEXT NOT NULL
        )""",
        "CREATE INDEX setting_changes_by_operation ON setting_changes (operation)",
    ),
)

FORMAT_VERSION = len(MIGRATIONS)
"""The newest format of a record that this version reads and writes."""


def check_format(path: Path, connection: sqlite3.Connection) -> int:
    """Return the format version of a record.

    Raises:
        GalleryFormatError: The file is no record, or was written by a newer gtrack.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    if application != APPLICATION_ID:
        raise GalleryFormatError(
            f"{path} is a SQLite file, but not a gtrack gallery.", hint="Give the folder of a gallery."
        )
    if version > FORMAT_VERSION:
        raise GalleryFormatError(
            f"The gallery {path.parent} has format {version}, written by a newer gtrack; "
            f"this one reads formats up to {FORMAT_VERSION}.",
            hint="Upgrade gtrack: `pip install -U gtrack-reid`.",
        )
    connection.execute("SELECT COUNT(*) FROM collections").fetchone()
    return version


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a record from a format version to the newest one, each step in a transaction of its own."""
    # Formats only grow: a reader of an older one finds all that it needs but operations and checksums.
    add_functions(connection)
    for number in range(version, FORMAT_VERSION):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[number]:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
