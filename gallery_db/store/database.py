"""The SQLite connection of a gallery's record: opening it, transactions, statements."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from gallery_db.errors import GalleryError, GalleryFormatError, GalleryLockedError, GalleryReadOnlyError

__all__ = ["Database", "TransactionListener", "connect", "fetch_all", "sqlite_errors"]

_MAX_VARIABLES = 500
"""Values in one IN list. SQLite's own limit is higher, but differs from build to build."""


class TransactionListener(Protocol):
    """Is informed about the end of a `Database`'s transactions."""

    def committed(self) -> None:
        """Handle a commit; the database is still locked for other threads."""
        ...

    def rolled_back(self) -> None:
        """Handle a rollback; the database is still locked for other threads."""
        ...

    def unlocked(self) -> None:
        """Handle the end of a `Database.transaction` block without an error; the database is not locked for it."""
        ...


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite that happen inside into gtrack's own."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error).lower()
        if "locked" in text or "busy" in text:
            raise GalleryLockedError(
                f"Another process is writing to the gallery's record {path}.", hint="Try again in a moment."
            ) from error
        if "readonly" in text or "read-only" in text:
            raise GalleryReadOnlyError(
                f"The gallery's record {path} cannot be written.", hint="Check its permissions and its folder's."
            ) from error
        if "full" in text:
            raise GalleryError(
                f"The disk of {path} is full; the last change was not made.", hint="Free some space and try again."
            ) from error
        if "disk i/o" in text or "unable to open" in text:
            raise GalleryError(
                f"The gallery's record {path} cannot be read or written: {error}.",
                hint="Check the disk and the permissions of the folder.",
            ) from error
        raise _damaged(path, str(error)) from error
    except UnicodeDecodeError as error:  # the message of an error, which quotes what is damaged
        raise _damaged(path, "its schema is not readable") from error


def _damaged(path: Path, what: str) -> GalleryFormatError:
    return GalleryFormatError(
        f"The gallery's record {path} is damaged, or is not a gtrack gallery: {what}.",
        hint="Restore it from a backup, or ingest the images into a new gallery.",
    )


def connect(path: Path, *, write: bool) -> sqlite3.Connection:
    """Connect to a record's file.

    Raises:
        GalleryReadOnlyError: The record was not closed by its last writer, and cannot be recovered in its folder.
        sqlite3.Error: SQLite cannot open it.
    """
    if write:
        connection = _connect(path, "mode=rw")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection
    try:
        return _connect(path, "mode=ro")
    except sqlite3.OperationalError:
        # SQLite writes files beside a record in WAL mode even to read it. Where it cannot, no process of this machine
        # writes either, so the file may be read as it is, unless a killed writer's changes still stand in the log.
        log = path.with_name(path.name + "-wal")
        if os.access(path.parent, os.W_OK):
            if not os.access(path, os.W_OK):
                raise
            # A writer was killed on the way: only a connection for writing recovers its log.
            _connect(path, "mode=rw").close()
            return _connect(path, "mode=ro")
        if log.exists() and log.stat().st_size:
            raise GalleryReadOnlyError(
                f"The gallery {path.parent} was not closed by its last writer, and its folder is read-only.",
                hint="Open it once where it can be written, such as with `gtrack gallery verify`.",
            ) from None
        return _connect(path, "immutable=1")


def _connect(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?{options}", uri=True, isolation_level=None, check_same_thread=False, timeout=10.0
    )
    try:
        connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def fetch_all(connection: sqlite3.Connection, statement: str, values: Sequence[Any] = ()) -> list[Any]:
    """Run a statement, and return all its rows; of damaged text, what is readable: its checksum shows the damage."""
    try:
        return connection.execute(statement, values).fetchall()
    except sqlite3.OperationalError as error:
        if "decode to utf-8" not in str(error).lower():
            raise
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        return connection.execute(statement, values).fetchall()


class Database:
    """The open database of a record. Threads may share it; they take turns.

    Attributes:
        path: Its file.
        place: The gallery's folder or address, for messages.
        writable: Whether it is open for writing.
        listener: Is informed about the end of transactions.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, writable: bool) -> None:
        self.path = path
        self.place = str(path.parent)
        self.writable = writable
        self.listener: TransactionListener | None = None
        self._connection = connection
        self._turn = threading.RLock()
        self._depth = 0
        self._closed = False

    def close(self, *, leave_one_file: bool) -> None:
        """Close the database; closing it twice is allowed.

        Args:
            leave_one_file: After writing, make it one file again, which a read-only folder can serve as well. It
                costs some flushes of the disk.
        """
        with self._turn:
            if self._closed:
                return
            self._closed = True
            if self.writable and leave_one_file:
                # A process that reads at this moment keeps the log alive; the next writer tidies up.
                with suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA busy_timeout = 200")
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    self._connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            self._connection.close()

    # -- transactions ----------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes inside, or none of them; a transaction inside another joins it."""
        with self._locked_transaction():
            yield
        if self.listener is not None:
            self.listener.unlocked()

    def in_transaction(self) -> bool:
        """Return whether this thread is in a `transaction`."""
        with self._turn:  # waits for the end of another thread's transaction
            return self._depth > 0

    @contextmanager
    def _locked_transaction(self) -> Iterator[None]:
        with self.connection() as connection:
            if not self.writable:
                raise GalleryReadOnlyError(
                    f"The gallery {self.place} is open for reading only.", hint="Open it with `write=True`."
                )
            if self._depth == 0:
                connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._roll_back()
                raise
            self._depth -= 1
            if self._depth == 0:
                try:
                    connection.execute("COMMIT")
                except BaseException:
                    self._roll_back()
                    raise
                if self.listener is not None:
                    self.listener.committed()

    def _roll_back(self) -> None:
        if self.listener is not None:
            self.listener.rolled_back()
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    # -- statements ------------------------------------------------------------------------------------------

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection, with other threads locked out.

        Raises:
            GalleryError: The database is closed.
        """
        with self._turn, sqlite_errors(self.path):
            yield self._checked_connection()

    def _checked_connection(self) -> sqlite3.Connection:
        if self._closed:
            raise GalleryError(f"The gallery {self.place} is closed.", hint="Open it again.")
        return self._connection

    def all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement, and return all its rows."""
        # Without `connection`, whose own context costs as much as a small statement.
        with self._turn, sqlite_errors(self.path):
            return fetch_all(self._checked_connection(), statement, values)

    def one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run a statement, and return its first row; None for no row."""
        with self._turn, sqlite_errors(self.path):
            return self._checked_connection().execute(statement, values).fetchone()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Run a statement that returns no rows."""
        with self.connection() as connection:
            connection.execute(statement, values)

    def among(self, statement: str, values: Sequence[Any], items: Sequence[Any]) -> Iterator[Any]:
        """Run a statement for many items, and yield its rows.

        Args:
            statement: It contains ``IN ({})`` after all other parameters. It runs once for every few hundred items.
            values: Its other parameters.
            items: The items of the IN list.
        """
        for start in range(0, len(items), _MAX_VARIABLES):
            some = items[start : start + _MAX_VARIABLES]
            yield from self.all(statement.format(",".join("?" * len(some))), (*values, *some))

    def insert(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run an INSERT of one row, and return the row's number."""
        with self.connection() as connection:
            number = connection.execute(statement, values).lastrowid
        assert number is not None
        return number

    def execute_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of the rows, within a `transaction`."""
        with self.connection() as connection:
            connection.executemany(statement, rows)
