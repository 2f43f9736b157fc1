"""The image files that were ingested, so that a later ingest of their folder reads only what is new."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gallery_db.store.change_log import ChangeLog
from gallery_db.store.database import Database
from gallery_db.store.entry_rows import decoding

__all__ = ["FileRow", "IngestedFiles"]

_COLUMNS = "path, size, mtime_ns, content_hash, class_name, entry_id"
_PAGE = 1000


class FileRow(NamedTuple):
    """A file that was ingested.

    Attributes:
        path: Its absolute path.
        size: Size in bytes.
        mtime_ns: Time of its last change, in nanoseconds.
        content_hash: SHA-256 of its bytes.
        class_name: The class that it was ingested as.
        entry_id: The entry that was made of it.
    """

    path: str
    size: int
    mtime_ns: int
    content_hash: str
    class_name: str
    entry_id: str


class IngestedFiles:
    """The table ``files``, and the log of its changes, which an undo needs."""

    def __init__(self, database: Database, log: ChangeLog) -> None:
        self._database = database
        self._log = log

    def under(self, collection: int, folder: str) -> dict[str, FileRow]:
        """Return the files below a folder, by path.

        Args:
            collection: The collection.
            folder: An absolute path without a separator at its end.
        """
        prefix = folder.rstrip(os.sep) + os.sep
        rows = self._database.all(
            f"SELECT {_COLUMNS} FROM files WHERE collection = ? AND path >= ? AND path < ?",
            (collection, prefix, prefix[:-1] + chr(ord(os.sep) + 1)),
        )
        return {row[0]: FileRow(*row) for row in rows}

    def all(self, collection: int) -> Iterator[FileRow]:
        """Yield all files in the order of their paths, read a page at a time."""
        after = ""
        while True:
            rows = self._database.all(
                f"SELECT {_COLUMNS} FROM files WHERE collection = ? AND path > ? ORDER BY path LIMIT {_PAGE}",
                (collection, after),
            )
            for row in rows:
                yield FileRow(*row)
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

    def of_entries(self, collection: int, entry_ids: Sequence[str]) -> list[FileRow]:
        """Return the files of which given entries were made."""
        statement = f"SELECT {_COLUMNS} FROM files WHERE collection = ? AND entry_id IN ({{}})"
        return [FileRow(*row) for row in self._database.among(statement, (collection,), entry_ids)]

    def at(self, collection: int, paths: Sequence[str]) -> dict[str, FileRow]:
        """Return those of the files of given paths that were ingested, by path."""
        statement = f"SELECT {_COLUMNS} FROM files WHERE collection = ? AND path IN ({{}})"
        return {row[0]: FileRow(*row) for row in self._database.among(statement, (collection,), paths)}

    def before(self, collection: int, operation: int) -> dict[str, FileRow | None]:
        """Return the rows that files changed by an operation had before it; None for no row."""
        rows = self._database.all(
            "SELECT path, before FROM file_changes WHERE collection = ? AND operation = ? ORDER BY seq DESC",
            (collection, operation),
        )
        with decoding(self._database.path):
            return {path: None if before is None else FileRow(path, *json.loads(before)) for path, before in rows}

    def put(self, collection: int, files: Sequence[FileRow]) -> None:
        """Store files, each in place of an earlier row of its path."""
        with self._database.transaction():
            self._log_changes(collection, [row.path for row in files])
            self._database.execute_many(
                f"INSERT OR REPLACE INTO files (collection, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(collection, *row) for row in files],
            )

    def forget(self, collection: int, paths: Sequence[str]) -> None:
        """Forget files, so that a later ingest reads them again."""
        with self._database.transaction():
            self._log_changes(collection, paths)
            self._database.execute_many(
                "DELETE FROM files WHERE collection = ? AND path = ?", [(collection, path) for path in paths]
            )

    def _log_changes(self, collection: int, paths: Sequence[str]) -> None:
        known = self.at(collection, paths)
        self._database.execute_many(
            "INSERT INTO file_changes (operation, collection, path, before) VALUES (?, ?, ?, ?)",
            (
                (
                    self._log.operation_of(collection, "files"),
                    collection,
                    path,
                    json.dumps(known[path][1:], ensure_ascii=False) if path in known else None,
                )
                for path in paths
            ),
        )
