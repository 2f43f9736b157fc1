"""The authoritative record of a gallery: one SQLite file with real transactions.

Chroma writes its HNSW files in place and then forgets the vectors in its own database; a kill or a full disk at that
moment loses them for good. Everything that a gallery knows is therefore stored here first, and the Chroma index is
derived from it. Only modules of `gallery_db` use the record; users open a `gallery_db.Gallery`.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from gallery_db.atomic_files import fsync_folder
from gallery_db.errors import GalleryError
from gallery_db.model import EmbeddingModel, model_problem
from gallery_db.names import unknown_number
from gallery_db.store.change_log import ChangeLog
from gallery_db.store.database import Database, connect, sqlite_errors
from gallery_db.store.entries import EntryStore
from gallery_db.store.entry_rows import decoding
from gallery_db.store.ingested_files import IngestedFiles
from gallery_db.store.schema import APPLICATION_ID, check_format, migrate
from gallery_db.store.server_tables import ServerTables
from gallery_db.times import utc_now

__all__ = ["CollectionRow", "Record"]


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """A collection as the record stores it.

    Attributes:
        id: Its key in the record.
        name: Its name, also in Chroma.
        model: The model whose embeddings it holds.
        created_at: ISO 8601 UTC.
        generation: A number that grows with every change of its entries.
        applied_seq: Number of the last change that the index holds.
    """

    id: int
    name: str
    model: EmbeddingModel
    created_at: str
    generation: int
    applied_seq: int


class Record:
    """The open record of a gallery: its collections and settings, and the tables of everything else.

    `Record.create` and `Record.open` make it. The process that opens it for writing holds the `WriterLock`. Threads
    may share it; they take turns.

    Attributes:
        path: Its file.
        writable: Whether it is open for writing.
        format_version: Format of the record.
        entries: The entries and their vectors.
        log: The change log.
        files: The ingested files.
        server: The tables of `gallery_db.served`.
        leave_one_file: Whether it becomes one file again when it is closed, which costs some flushes of the disk.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, writable: bool) -> None:
        self.path = path
        self.writable = writable
        self.format_version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        self.leave_one_file = True
        self._database = Database(path, connection, writable=writable)
        self.log = ChangeLog(self._database, self.format_version)
        self.files = IngestedFiles(self._database, self.log)
        self.entries = EntryStore(self._database, self.log, self.files, self.format_version)
        self.server = ServerTables(self._database)

    # -- opening and closing ---------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, collection: str, model: EmbeddingModel) -> Record:
        """Make a record with one empty collection, and open it for writing.

        The file appears under its name only when it is complete, so that a kill leaves no half gallery.
        """
        beside = path.with_name(path.name + ".new")
        for leftover in (beside, path.with_name(path.name + ".new-journal")):
            leftover.unlink(missing_ok=True)
        with sqlite_errors(path):
            connection = sqlite3.connect(beside, isolation_level=None)
            try:
                connection.execute("PRAGMA page_size = 8192")  # three 512-d vectors a page instead of one
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                migrate(connection, 0)
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO meta VALUES ('created_at', ?)", (utc_now(),))
                connection.execute(_INSERT_COLLECTION, _collection_values(collection, model))
                connection.execute("COMMIT")
            finally:
                connection.close()
        beside.replace(path)
        fsync_folder(path.parent)
        return cls.open(path, write=True)

    @classmethod
    def open(cls, path: Path, *, write: bool) -> Record:
        """Open a record; an older format is brought up to date if it is opened for writing.

        Raises:
            GalleryFormatError: It is damaged, something else, or of a newer gtrack.
            GalleryReadOnlyError: `write` is true, and it cannot be written.
        """
        path = path.absolute()
        with sqlite_errors(path):
            connection = connect(path, write=write)
            try:
                version = check_format(path, connection)
                if write:
                    migrate(connection, version)
                return cls(path, connection, writable=write)
            except BaseException:
                connection.close()
                raise

    def close(self) -> None:
        """Close the record; closing it twice is allowed."""
        self._database.close(leave_one_file=self.leave_one_file)

    @property
    def place(self) -> str:
        """The gallery's folder or address, for messages."""
        return self._database.place

    @place.setter
    def place(self, place: str) -> None:
        self._database.place = place

    # -- transactions ----------------------------------------------------------------------------------------

    def transaction(self) -> AbstractContextManager[None]:
        """Make all changes inside, or none of them; a transaction inside another joins it.

        Raises:
            GalleryReadOnlyError: The record is open for reading only.
        """
        return self._database.transaction()

    def in_transaction(self) -> bool:
        """Return whether this thread is in a `transaction`."""
        return self._database.in_transaction()

    def operation(self, action: str, words: str) -> AbstractContextManager[None]:
        """Make one operation of the changes inside; see `ChangeLog.operation`."""
        return self.log.operation(action, words)

    # -- settings --------------------------------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        """Return a fact about the gallery; None if it is not stored."""
        row = self._database.one("SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Store a fact about the gallery."""
        with self.transaction():
            self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def setting(self, collection: int, name: str) -> str | None:
        """Return a setting of a collection; None if it is not stored."""
        return self.meta(f"{name}:{collection}")

    def put_setting(self, collection: int, name: str, value: str) -> None:
        """Store a setting of a collection, and pass it on to other records of a served gallery."""
        with self.transaction():
            self.set_meta(f"{name}:{collection}", value)
            self.keep()
            self.log.pass_on_setting(collection, name, value)

    def last_unknown_number(self, collection: int) -> int:
        """Return the highest number of an unknown identity that is used in a collection or reserved; 0 for none."""
        numbers = (unknown_number(identity) or 0 for identity, _, _, _ in self.entries.counts(collection))
        with decoding(self.path):
            return max(int(self.meta("reserved_numbers") or 0), max(numbers, default=0))

    # -- collections -----------------------------------------------------------------------------------------

    def collections(self) -> list[CollectionRow]:
        """Return all collections, the oldest first."""
        rows = self._database.all(
            "SELECT id, name, model_name, sha256, dimension, preprocessing, metric, weights_path, created_at, "
            "generation, applied_seq FROM collections ORDER BY id"
        )
        found = [CollectionRow(row[0], row[1], EmbeddingModel(*row[2:8]), row[8], row[9], row[10]) for row in rows]
        with decoding(self.path):
            for row in found:
                problem = model_problem(row.model)
                if problem is not None or {type(row.name), type(row.created_at)} != {str}:
                    raise ValueError(f"its collection {str(row.name)[:60]!r}: {problem or 'expected text'}")
                if {type(row.generation), type(row.applied_seq)} != {int}:
                    raise ValueError(f"its collection {row.name[:60]!r}: expected whole numbers as its counters")
        return found

    def add_collection(self, name: str, model: EmbeddingModel) -> None:
        """Add an empty collection for a further model."""
        with self.transaction():
            self._database.execute(_INSERT_COLLECTION, _collection_values(name, model))

    def generation(self, collection: int) -> int:
        """Return a number that grows with every change of the collection's entries.

        Raises:
            GalleryError: The collection is gone, because a snapshot from before its time was restored.
        """
        row = self._database.one("SELECT generation FROM collections WHERE id = ?", (collection,))
        if row is None:
            raise GalleryError(
                f"The gallery {self.place} no longer has the collection that was opened.",
                hint="A snapshot from before its time was restored. Open the gallery again.",
            )
        return int(row[0])

    def note_weights_path(self, collection: int, path: str) -> None:
        """Remember where a collection's weights were last found."""
        with self.transaction():
            self._database.execute("UPDATE collections SET weights_path = ? WHERE id = ?", (path, collection))

    def note_created_at(self, at: str) -> None:
        """Set the time, ISO 8601 UTC, at which the collections were made elsewhere."""
        with self.transaction():
            self._database.execute("UPDATE collections SET created_at = ?", (at,))

    def note_applied(self, collection: int, seq: int) -> None:
        """Note the last change of a collection that the index holds."""
        with self.transaction():
            self._database.execute("UPDATE collections SET applied_seq = ? WHERE id = ?", (seq, collection))

    def note_provisional(self, value: str) -> None:
        """Note that the gallery goes away when it is closed with nothing stored in it; see `provisional`."""
        self.set_meta(_PROVISIONAL, value)

    def keep(self) -> None:
        """Keep the gallery even if nothing is stored in it."""
        with self.transaction():
            self._database.execute("DELETE FROM meta WHERE key = ?", (_PROVISIONAL,))

    @property
    def provisional(self) -> str | None:
        """What `note_provisional` noted, as long as nothing has been stored since; else None."""
        found = self.meta(_PROVISIONAL)
        if found is None or any(number for table, number in self.sequences().items() if table != "collections"):
            return None
        return found if self._database.one("SELECT 1 FROM entries LIMIT 1") is None else None

    # -- the whole record ------------------------------------------------------------------------------------

    def sequences(self) -> dict[str, int]:
        """Return the highest row number that each table has given out."""
        return dict(self._database.all("SELECT name, seq FROM sqlite_sequence"))

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Copy the whole record, as of one moment, into an empty database."""
        with self._database.connection() as connection:
            connection.backup(target)

    def take_over(self, source: sqlite3.Connection) -> None:
        """Replace all content by that of another record, in one transaction."""
        with self._database.connection() as connection:
            source.backup(connection)
        self.log.forget_numbers()

    def check_integrity(self) -> tuple[str, ...]:
        """Return the problems that SQLite finds in the file; nothing for a sound one."""
        rows = [str(row[0]) for row in self._database.all("PRAGMA integrity_check(20)")]
        if rows == ["ok"]:
            missing = self._database.one(
                "SELECT COUNT(*) FROM entries LEFT JOIN vectors USING (seq) WHERE vector IS NULL"
            )[0]
            lost = sum(self.entries.count_lost(row.id) for row in self.collections())
            counted = ((missing, "entries without a vector"), (lost, "entries that are lost"))
            return tuple(f"{count} {what}" for count, what in counted if count)
        return tuple(rows)


_PROVISIONAL = "provisional"
_INSERT_COLLECTION = (
    "INSERT INTO collections (name, model_name, sha256, dimension, preprocessing, metric, weights_path, "
    "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


def _collection_values(name: str, model: EmbeddingModel) -> tuple[object, ...]:
    return (
        name,
        model.name,
        model.sha256,
        model.dimension,
        model.preprocessing,
        model.metric,
        model.path,
        utc_now(),
    )
