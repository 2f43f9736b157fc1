"""The tables that a served gallery keeps in its record, so that they commit together with its changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from gallery_db.store.database import Database

__all__ = ["SERVER_TABLE_PREFIX", "ServerTables"]

SERVER_TABLE_PREFIX = "served_"
"""Names of these tables begin with it; a snapshot leaves them out."""


class ServerTables:
    """The tables whose names begin with `SERVER_TABLE_PREFIX`; what stands in them is for `gallery_db.served`.

    Statements may read the record's own tables, and must not change them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractContextManager[None]:
        """Make all changes inside, or none of them; see `Record.transaction`."""
        return self._database.transaction()

    def run(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement, and return its rows."""
        return self._database.all(statement, values)

    def run_among(self, statement: str, values: Sequence[Any], items: Sequence[Any]) -> list[Any]:
        """Run a statement with ``IN ({})`` for many items, and return its rows; see `Database.among`."""
        return list(self._database.among(statement, values, items))

    def run_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of the rows, within a `transaction`."""
        self._database.execute_many(statement, rows)

    def insert(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run an INSERT of one row, and return the row's number."""
        return self._database.insert(statement, values)

    def exists(self, table: str) -> bool:
        """Return whether there is a table of that name."""
        return bool(self._database.one("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)))
