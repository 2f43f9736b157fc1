"""The authoritative record of a gallery: one SQLite file with real transactions.

Chroma writes its HNSW files in place and then forgets the vectors in its own database; a kill or a full disk
at that moment loses them for good. Everything that a gallery knows therefore stands here first, and the
Chroma index is derived from it. Package-internal: users go through `gallery_db.Gallery`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import fsync_folder
from gallery_db.entry import Box, Entry, utc_now
from gallery_db.errors import (
    EntryExistsError,
    EntryNotFoundError,
    GalleryError,
    GalleryFormatError,
    GalleryLockedError,
    GalleryReadOnlyError,
)
from gallery_db.model import EmbeddingModel
from gallery_db.names import unknown_number
from gallery_db.store.lock import user_at_host

__all__ = [
    "FORMAT_VERSION",
    "RECORD_NAME",
    "RESTORED",
    "Change",
    "CollectionRow",
    "FileRow",
    "Journal",
    "LoggedChange",
    "Operation",
    "Record",
    "ViewRows",
    "entry_from_facts",
    "facts_of",
    "sqlite_errors",
]

RECORD_NAME = "gallery.sqlite3"

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
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
    # 2: changes belong to operations, which are what a person did and may take back.
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
)

FORMAT_VERSION = len(_MIGRATIONS)
"""The newest format of a gallery that this version reads and writes."""

RESTORED = "restore"
"""The action of an operation that put a snapshot back; no undo passes it."""

_APPLICATION_ID = 0x6774726B  # "gtrk"
_COLUMNS = "id, identity, class_name, origin, source, content_hash, frame, box, created_at, extra"
_MOST_VARIABLES = 500  # of an IN list; SQLite's own limit is higher, but differs from build to build

_WHERE_COLUMNS = {"class": "class_name", "identity": "identity", "origin": "origin", "source": "source"}


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """A collection as it stands in the record."""

    id: int
    name: str
    model: EmbeddingModel
    created_at: str
    generation: int
    applied_seq: int


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a gallery's change log.

    Attributes:
        seq: Number of the change, increasing.
        at: When, ISO 8601 UTC.
        who: ``user@host``.
        action: ``"add"``, ``"update"``, ``"replace"`` or ``"remove"``.
        entry_id: Which entry.
        detail: ``before`` and ``after``, the entry's fields, as far as each applies.
    """

    seq: int
    at: str
    who: str
    action: str
    entry_id: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Operation:
    """What somebody did to a gallery, as its log tells it: all of it happened, or none.

    Attributes:
        seq: Number of the operation, increasing.
        at: When, ISO 8601 UTC.
        who: ``user@host``.
        action: One word, such as ``"rename"`` or ``"ingest"``.
        words: The whole of it in words.
        entries: How many entries it changed.
    """

    seq: int
    at: str
    who: str
    action: str
    words: str
    entries: int


class Journal(Protocol):
    """Hears of every change of a record that is made here, to bring it elsewhere."""

    def note(
        self,
        action: str,
        collection: int,
        entries: Sequence[Entry],
        vectors: NDArray[np.float32] | None,
        operation: int,
    ) -> None:
        """Entries were changed, in the transaction that is open; their vectors (N, D) where those are new."""
        ...

    def note_setting(self, collection: int, name: str, value: str) -> None:
        """A fact about a collection was stored, in the transaction that is open; see `Record.put_setting`."""
        ...

    def committed(self) -> None:
        """A transaction in which something was noted is safely in the record; no lock is held."""
        ...


class LoggedChange(NamedTuple):
    """A change as `gallery_db.store.undo` needs it."""

    seq: int
    entry_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    has_vector: bool
    entry_seq: int | None


class FileRow(NamedTuple):
    """What is known of a file that was ingested."""

    path: str
    size: int
    mtime_ns: int
    content_hash: str
    class_name: str
    entry_id: str


@dataclass(frozen=True, slots=True)
class ViewRows:
    """A collection's vectors and what a view needs beside them, of one moment.

    Attributes:
        generation: Of the collection when they were read.
        change: Number of its last change then; 0 for none.
        ids: N entry ids.
        identities: N identity names.
        class_names: N class names.
        origins: N origins.
        vectors: (N, D) float32.
    """

    generation: int
    change: int
    ids: list[str]
    identities: list[str]
    class_names: list[str]
    origins: list[str]
    vectors: NDArray[np.float32]

    def without(self, ids: Collection[str]) -> ViewRows:
        """The same but for the entries of these ids."""
        kept = [row for row, id_ in enumerate(self.ids) if id_ not in ids]
        return ViewRows(
            self.generation,
            self.change,
            [self.ids[row] for row in kept],
            [self.identities[row] for row in kept],
            [self.class_names[row] for row in kept],
            [self.origins[row] for row in kept],
            self.vectors[kept],
        )


@contextmanager
def sqlite_errors(path: Path) -> Iterator[None]:
    """Say in gtrack's words what SQLite says in its own."""
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
        raise GalleryFormatError(
            f"The gallery's record {path} is damaged or no gtrack gallery: {error}.",
            hint="Restore it from a backup, or ingest the images into a new gallery.",
        ) from error


def _entry_from(row: Sequence[Any]) -> Entry:
    box: Box | None = None
    if row[7] is not None:
        x1, y1, x2, y2 = json.loads(row[7])
        box = (x1, y1, x2, y2)
    fixed = (row[0], row[1], row[2], row[3], row[4], row[5], row[6], box, row[8])
    return Entry(*fixed) if row[9] == "{}" else Entry(*fixed, extra=json.loads(row[9]))


def _values_of(entry: Entry) -> tuple[Any, ...]:
    box = None if entry.box is None else json.dumps([float(value) for value in entry.box], allow_nan=False)
    extra = json.dumps(dict(entry.extra), ensure_ascii=False, allow_nan=False)
    return (
        entry.id,
        entry.identity,
        entry.class_name,
        entry.origin,
        entry.source,
        entry.content_hash,
        entry.frame,
        box,
        entry.created_at,
        extra,
    )


def facts_of(entry: Entry) -> dict[str, Any]:
    """An entry as the change log writes it."""
    return {
        "id": entry.id,
        "identity": entry.identity,
        "class_name": entry.class_name,
        "origin": entry.origin,
        "source": entry.source,
        "content_hash": entry.content_hash,
        "frame": entry.frame,
        "box": None if entry.box is None else [float(value) for value in entry.box],
        "created_at": entry.created_at,
        "extra": dict(entry.extra),
    }


def entry_from_facts(facts: Mapping[str, Any]) -> Entry:
    """An entry as the change log wrote it."""
    known = dict(facts)
    if known["box"] is not None:
        x1, y1, x2, y2 = known["box"]
        known["box"] = (x1, y1, x2, y2)
    return Entry(**known)


def _detail(before: Entry | None = None, after: Entry | None = None) -> str:
    detail = {}
    if before is not None:
        detail["before"] = facts_of(before)
    if after is not None:
        detail["after"] = facts_of(after)
    return json.dumps(detail, ensure_ascii=False)


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _MOST_VARIABLES):
        yield ids[start : start + _MOST_VARIABLES]


class Record:
    """The open record of a gallery.

    Made by `Record.create` and `Record.open`. Whoever opens it for writing holds the `WriterLock` already.
    Threads may share it; they take turns.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, *, writable: bool) -> None:
        self.path = path
        self.place = str(path.parent)
        """What a message calls the gallery."""
        self.writable = writable
        self.journal: Journal | None = None
        self.one_file = True
        """Whether it becomes one file again when it is closed, which costs some flushes of the disk."""
        self._noted = False
        self._foreign: tuple[int, str, str] | None = None  # operation, who and when of what others have done
        self._connection = connection
        self._turn = threading.RLock()
        self._depth = 0
        self._closed = False
        self._who = user_at_host()
        self._naming: tuple[str, str] | None = None
        self._operations: dict[int, int] = {}  # collection -> the operation that its changes belong to now
        self.format_version = int(connection.execute("PRAGMA user_version").fetchone()[0])

    # -- opening and closing ---------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: Path, collection: str, model: EmbeddingModel) -> Record:
        """Make a record with one empty collection, and open it for writing.

        It appears under its name only when it is complete, so that a kill leaves no half gallery.
        """
        beside = path.with_name(path.name + ".new")
        for leftover in (beside, path.with_name(path.name + ".new-journal")):
            leftover.unlink(missing_ok=True)
        with sqlite_errors(path):
            connection = sqlite3.connect(beside, isolation_level=None)
            try:
                connection.execute("PRAGMA page_size = 8192")  # three 512-d vectors a page instead of one
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                cls._migrate(connection, 0)
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO meta VALUES ('created_at', ?)", (utc_now(),))
                cls._insert_collection(connection, collection, model)
                connection.execute("COMMIT")
            finally:
                connection.close()
        beside.replace(path)
        fsync_folder(path.parent)
        return cls.open(path, write=True)

    @classmethod
    def open(cls, path: Path, *, write: bool) -> Record:
        """Open a record.

        Raises:
            GalleryFormatError: It is damaged, something else, or of a newer gtrack.
            GalleryReadOnlyError: Writing was asked for and is not possible.
        """
        path = path.absolute()
        with sqlite_errors(path):
            connection = cls._connect(path, write=write)
            try:
                version = cls._check(path, connection)
                if write:
                    cls._migrate(connection, version)
                return cls(path, connection, writable=write)
            except BaseException:
                connection.close()
                raise

    @staticmethod
    def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
        def connect(options: str) -> sqlite3.Connection:
            connection = sqlite3.connect(
                f"{path.as_uri()}?{options}", uri=True, isolation_level=None, check_same_thread=False, timeout=10.0
            )
            try:
                connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            except BaseException:
                connection.close()
                raise
            return connection

        if write:
            connection = connect("mode=rw")
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
            except BaseException:
                connection.close()
                raise
            return connection
        try:
            return connect("mode=ro")
        except sqlite3.OperationalError:
            # A record in WAL mode wants to write beside itself even when it is read. Where it cannot, there
            # is no writer on this side either, so it may be taken as it is, unless a killed writer's changes
            # still stand in the log.
            log = path.with_name(path.name + "-wal")
            if os.access(path.parent, os.W_OK):
                if not os.access(path, os.W_OK):
                    raise
                # A writer was killed in the middle: SQLite recovers its log, which a reader alone may not.
                connect("mode=rw").close()
                return connect("mode=ro")
            if log.exists() and log.stat().st_size:
                raise GalleryReadOnlyError(
                    f"The gallery {path.parent} was not closed by its last writer, and its folder is read-only.",
                    hint="Open it once where it can be written, such as with `gtrack gallery verify`.",
                ) from None
            return connect("immutable=1")

    @staticmethod
    def _check(path: Path, connection: sqlite3.Connection) -> int:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        if application != _APPLICATION_ID:
            raise GalleryFormatError(
                f"{path} is a SQLite file, but no gtrack gallery.", hint="Give the folder of a gallery."
            )
        if version > FORMAT_VERSION:
            raise GalleryFormatError(
                f"The gallery {path.parent} has format {version}, written by a newer gtrack; "
                f"this one reads formats up to {FORMAT_VERSION}.",
                hint="Upgrade gtrack: `pip install -U gtrack`.",
            )
        connection.execute("SELECT COUNT(*) FROM collections").fetchone()
        return version

    @staticmethod
    def _migrate(connection: sqlite3.Connection, version: int) -> None:
        # Formats only grow: a reader of an older one finds all that it asks for but the operations.
        for number in range(version, FORMAT_VERSION):
            connection.execute("BEGIN IMMEDIATE")
            try:
                for statement in _MIGRATIONS[number]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close it; a writer makes it one file again, which also a read-only folder can serve."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
            if self.writable and self.one_file:
                # A reader who looks at this moment keeps the log alive; the next writer tidies up.
                with suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA busy_timeout = 200")
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    self._connection.execute("PRAGMA journal_mode = DELETE").fetchone()
            self._connection.close()

    # -- transactions ----------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what happens inside; joins a transaction that is open already."""
        with self._transaction():
            yield
        # Whoever takes a change elsewhere may take long; nobody who reads the record waits for that.
        if self._noted and self.journal is not None and not self.in_transaction():
            self._noted = False
            self.journal.committed()

    def in_transaction(self) -> bool:
        """Whether this thread is in a `transaction`."""
        with self._turn:  # of another thread's transaction this one sees the end here
            return self._depth > 0

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._turn, sqlite_errors(self.path):
            self._open_connection()
            if not self.writable:
                raise GalleryReadOnlyError(
                    f"The gallery {self.place} is open for reading only.", hint="Open it with write=True."
                )
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._operations.clear()  # what was noted of them is rolled back as well
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                try:
                    self._connection.execute("COMMIT")
                except BaseException:
                    self._operations.clear()
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
                if self._naming is None:
                    self._operations.clear()

    @contextmanager
    def operation(self, action: str, words: str) -> Iterator[None]:
        """Make one operation of the changes inside, in however many transactions; one inside another joins it.

        Changes that are made outside of any are an operation for each transaction.
        """
        if self._naming is not None:
            yield
            return
        self._operations.clear()
        self._naming = (action, words)
        try:
            yield
        finally:
            self._naming = None
            self._operations.clear()

    @contextmanager
    def made_elsewhere(self, operation: int, who: str, at: str) -> Iterator[None]:
        """Log the changes inside, which somebody else has made, as theirs; only within a `transaction`."""
        before, self._foreign = self._foreign, (operation, who, at)
        try:
            yield
        finally:
            self._foreign = before

    def new_operation(self, collection: int, action: str, words: str, who: str, at: str) -> int:
        """Note an operation of somebody else; returns its number."""
        with self.transaction():
            number = self._connection.execute(
                "INSERT INTO operations (at, who, collection, action, words) VALUES (?, ?, ?, ?, ?)",
                (at, who, collection, action, words),
            ).lastrowid
            assert number is not None
            return number

    def operation_facts(self, operation: int) -> tuple[str, str, str, str]:
        """(action, words, who, at) of an operation."""
        row = self._one("SELECT action, words, who, at FROM operations WHERE seq = ?", (operation,))
        return row[0], row[1], row[2], row[3]

    def sql(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement on tables that are not the record's own, for `gallery_db.served`; returns its rows."""
        return self._all(statement, values)

    def sql_many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of the rows, within a `transaction`."""
        with self._turn, sqlite_errors(self.path):
            self._open_connection().executemany(statement, rows)

    def _operation_of(self, collection: int, action: str) -> int:
        if self._foreign is not None:
            return self._foreign[0]
        known = self._operations.get(collection)
        if known is None:
            action, words = self._naming or (action, action)
            known = self._connection.execute(
                "INSERT INTO operations (at, who, collection, action, words) VALUES (?, ?, ?, ?, ?)",
                (utc_now(), self._who, collection, action, words),
            ).lastrowid
            assert known is not None
            self._operations[collection] = known
        return known

    def _open_connection(self) -> sqlite3.Connection:
        if self._closed:
            raise GalleryError(f"The gallery {self.place} is closed.", hint="Open it again.")
        return self._connection

    def _all(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._turn, sqlite_errors(self.path):
            return self._open_connection().execute(statement, values).fetchall()

    def _one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        with self._turn, sqlite_errors(self.path):
            return self._open_connection().execute(statement, values).fetchone()

    # -- meta and collections --------------------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        """A fact about the gallery."""
        row = self._one("SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Note a fact about the gallery."""
        with self.transaction():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def setting(self, collection: int, name: str) -> str | None:
        """A fact about a collection."""
        return self.meta(f"{name}:{collection}")

    def put_setting(self, collection: int, name: str, value: str) -> None:
        """Note a fact about a collection, which whoever serves it, or is served, shall hear of."""
        with self.transaction():
            self.set_meta(f"{name}:{collection}", value)
            if self.journal is not None and self._foreign is None:
                self._noted = True
                self.journal.note_setting(collection, name, value)

    @staticmethod
    def _insert_collection(connection: sqlite3.Connection, name: str, model: EmbeddingModel) -> None:
        connection.execute(
            "INSERT INTO collections (name, model_name, sha256, dimension, preprocessing, metric, weights_path, "
            "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                name,
                model.name,
                model.sha256,
                model.dimension,
                model.preprocessing,
                model.metric,
                model.path,
                utc_now(),
            ),
        )

    def add_collection(self, name: str, model: EmbeddingModel) -> None:
        """Start an empty collection for a further model."""
        with self.transaction():
            self._insert_collection(self._connection, name, model)

    def collections(self) -> list[CollectionRow]:
        """All collections, the oldest first."""
        rows = self._all(
            "SELECT id, name, model_name, sha256, dimension, preprocessing, metric, weights_path, created_at, "
            "generation, applied_seq FROM collections ORDER BY id"
        )
        return [CollectionRow(row[0], row[1], EmbeddingModel(*row[2:8]), row[8], row[9], row[10]) for row in rows]

    def note_weights_path(self, collection: int, path: str) -> None:
        """Remember where a collection's weights were last seen."""
        with self.transaction():
            self._connection.execute("UPDATE collections SET weights_path = ? WHERE id = ?", (path, collection))

    def generation(self, collection: int) -> int:
        """A number that grows with every change of the collection's entries.

        Raises:
            GalleryError: The collection is gone; a snapshot of before its time was put back.
        """
        row = self._one("SELECT generation FROM collections WHERE id = ?", (collection,))
        if row is None:
            raise GalleryError(
                f"The gallery {self.place} no longer has the collection that was opened.",
                hint="A snapshot of before its time was restored. Open the gallery again.",
            )
        return int(row[0])

    # -- entries: reading ------------------------------------------------------------------------------------

    def count(self, collection: int, where: Mapping[str, str] | None = None) -> int:
        """Number of entries, of those that `where` selects."""
        condition, values = self._condition(where)
        return int(self._one(f"SELECT COUNT(*) FROM entries WHERE collection = ?{condition}", (collection, *values))[0])

    def entries(self, collection: int, where: Mapping[str, str] | None = None) -> Iterator[Entry]:
        """The entries in the order of their arrival, a page at a time."""
        condition, values = self._condition(where)
        after = 0
        while True:
            rows = self._all(
                f"SELECT {_COLUMNS}, seq FROM entries WHERE collection = ? AND seq > ?{condition} "
                "ORDER BY seq LIMIT 1000",
                (collection, after, *values),
            )
            for row in rows:
                yield _entry_from(row)
            if len(rows) < 1000:
                return
            after = rows[-1][-1]

    def ids(self, collection: int, where: Mapping[str, str] | None = None) -> list[str]:
        """The ids of the entries that `where` selects, in the order of their arrival."""
        condition, values = self._condition(where)
        return [
            row[0]
            for row in self._all(
                f"SELECT id FROM entries WHERE collection = ?{condition} ORDER BY seq", (collection, *values)
            )
        ]

    def ids_from(self, collection: int, prefix: str) -> list[str]:
        """The ids that begin with a prefix of ASCII text, sorted."""
        rows = self._all(
            "SELECT id FROM entries WHERE collection = ? AND id >= ? AND id < ? ORDER BY id",
            (collection, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)),
        )
        return [row[0] for row in rows]

    @staticmethod
    def _condition(where: Mapping[str, str] | None) -> tuple[str, tuple[str, ...]]:
        parts = []
        for key in where or {}:
            if key not in _WHERE_COLUMNS:
                raise GalleryError(
                    f"Entries can be selected by {', '.join(_WHERE_COLUMNS)}; found {key!r}.",
                    hint="Use one of these keys.",
                )
            # A class is the same in upper and lower case, as it is when a probe is matched.
            parts.append(f" AND {_WHERE_COLUMNS[key]} = ?" + (" COLLATE NOCASE" if key == "class" else ""))
        return "".join(parts), tuple((where or {}).values())

    def by_ids(self, collection: int, ids: Sequence[str]) -> dict[str, Entry]:
        """Those of the entries that are there, by id."""
        found: dict[str, Entry] = {}
        for chunk in _chunks(ids):
            marks = ",".join("?" * len(chunk))
            for row in self._all(
                f"SELECT {_COLUMNS} FROM entries WHERE collection = ? AND id IN ({marks})", (collection, *chunk)
            ):
                found[row[0]] = _entry_from(row)
        return found

    def with_vectors(
        self, collection: int, ids: Sequence[str], dimension: int
    ) -> tuple[list[Entry], NDArray[np.float32]]:
        """Those of the entries that are there, with their vectors (N, D), in the order of `ids`."""
        found: dict[str, tuple[Entry, bytes]] = {}
        for chunk in _chunks(ids):
            marks = ",".join("?" * len(chunk))
            for row in self._all(
                f"SELECT {_COLUMNS}, v.vector FROM entries JOIN vectors AS v USING (seq) "
                f"WHERE collection = ? AND id IN ({marks})",
                (collection, *chunk),
            ):
                found[row[0]] = (_entry_from(row), row[-1])
        present = [found[id_] for id_ in ids if id_ in found]
        return [entry for entry, _ in present], self._matrix([blob for _, blob in present], dimension)

    def by_hash(self, collection: int, content_hashes: Sequence[str]) -> dict[str, Entry]:
        """Those of the entries whose content is known, by content hash."""
        found: dict[str, Entry] = {}
        for chunk in _chunks(content_hashes):
            marks = ",".join("?" * len(chunk))
            for row in self._all(
                f"SELECT {_COLUMNS} FROM entries WHERE collection = ? AND content_hash IN ({marks}) ORDER BY seq DESC",
                (collection, *chunk),
            ):
                found[row[5]] = _entry_from(row)
        return found

    def load_view(self, collection: int, dimension: int) -> ViewRows:
        """All vectors of a collection with their identities, of one moment."""
        with self._turn, sqlite_errors(self.path):
            connection = self._open_connection()
            alone = not connection.in_transaction
            if alone:
                connection.execute("BEGIN")
            try:
                generation = connection.execute(
                    "SELECT generation FROM collections WHERE id = ?", (collection,)
                ).fetchone()[0]
                change = connection.execute(
                    "SELECT COALESCE(MAX(seq), 0) FROM changes WHERE collection = ?", (collection,)
                ).fetchone()[0]
                rows = connection.execute(
                    "SELECT id, identity, class_name, origin, vector FROM entries JOIN vectors USING (seq) "
                    "WHERE collection = ? ORDER BY seq",
                    (collection,),
                ).fetchall()
            finally:
                if alone:
                    connection.execute("COMMIT")
        if not rows:
            return ViewRows(generation, change, [], [], [], [], np.empty((0, dimension), np.float32))
        ids, identities, class_names, origins, blobs = (list(column) for column in zip(*rows, strict=True))
        return ViewRows(generation, change, ids, identities, class_names, origins, self._matrix(blobs, dimension))

    def rejections(self, collection: int, dimension: int) -> tuple[list[tuple[str, ...]], NDArray[np.float32]]:
        """The entries that a person said are not somebody: of each whom, and (R, D) their vectors."""
        rows = self._all(
            "SELECT extra, vector FROM entries JOIN vectors USING (seq) "
            "WHERE collection = ? AND instr(extra, '\"not\": [') ORDER BY seq",
            (collection,),
        )
        names = [tuple(map(str, json.loads(row[0]).get("not", ()))) for row in rows]
        return names, self._matrix([row[1] for row in rows], dimension)

    def pages(
        self, collection: int, dimension: int, size: int = 1000
    ) -> Iterator[tuple[list[Entry], NDArray[np.float32]]]:
        """The entries in the order of their arrival with their vectors (N, D), N <= `size` at a time."""
        after = 0
        while True:
            rows = self._all(
                f"SELECT {_COLUMNS}, seq, vector FROM entries JOIN vectors USING (seq) "
                "WHERE collection = ? AND seq > ? ORDER BY seq LIMIT ?",
                (collection, after, size),
            )
            if not rows:
                return
            yield [_entry_from(row) for row in rows], self._matrix([row[-1] for row in rows], dimension)
            after = rows[-1][-2]

    def _matrix(self, blobs: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
        joined = b"".join(blobs)
        if len(joined) != len(blobs) * dimension * 4:
            raise GalleryFormatError(
                f"The gallery's record {self.path} holds vectors of another length than {dimension}.",
                hint="Restore it from a backup, or ingest the images into a new gallery.",
            )
        return np.frombuffer(joined, dtype="<f4").astype(np.float32, copy=False).reshape(len(blobs), dimension)

    def counts(self, collection: int) -> list[tuple[str, str, str, int]]:
        """(identity, class_name, origin, number of entries) of every such group, sorted."""
        return self._all(
            "SELECT identity, class_name, origin, COUNT(*) FROM entries WHERE collection = ? "
            "GROUP BY identity, class_name, origin ORDER BY identity, class_name, origin",
            (collection,),
        )

    def spans(self, collection: int) -> list[tuple[str, str, int, str, str]]:
        """(identity, class_name, number of sources, first and last created_at), sorted."""
        return self._all(
            "SELECT identity, class_name, COUNT(DISTINCT source), MIN(created_at), MAX(created_at) "
            "FROM entries WHERE collection = ? GROUP BY identity, class_name ORDER BY identity, class_name",
            (collection,),
        )

    def last_unknown_number(self, collection: int) -> int:
        """Return the highest number of an unknown identity that is used in a collection or reserved; 0 for none."""
        numbers = (unknown_number(identity) or 0 for identity, _, _, _ in self.counts(collection))
        return max(int(self.meta("reserved_numbers") or 0), max(numbers, default=0))

    def count_sources(self, collection: int) -> int:
        """Number of files and videos that the entries are from."""
        return int(self._one("SELECT COUNT(DISTINCT source) FROM entries WHERE collection = ?", (collection,))[0])

    # -- entries: writing ------------------------------------------------------------------------------------

    def insert(
        self,
        collection: int,
        entries: Sequence[Entry],
        vectors: NDArray[np.float32],
        seqs: Sequence[int | None] | None = None,
    ) -> None:
        """Add entries with their vectors (N, D), at the end or where they stood before."""
        with self.transaction():
            for chunk in _chunks([entry.id for entry in entries]):
                marks = ",".join("?" * len(chunk))
                known = self._one(
                    f"SELECT id FROM entries WHERE collection = ? AND id IN ({marks}) LIMIT 1", (collection, *chunk)
                )
                if known is not None:
                    raise EntryExistsError(
                        f"The gallery {self.place} holds an entry {known[0]!r} already.",
                        hint="Replace it, or remove it first.",
                    )
            at = utc_now()
            first = self._next_seq("entries")
            places = [
                first + number if place is None else place
                for number, place in enumerate([None] * len(entries) if seqs is None else seqs)
            ]
            self._connection.executemany(
                f"INSERT INTO entries (seq, collection, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((place, collection, *_values_of(entry)) for place, entry in zip(places, entries, strict=True)),
            )
            self._connection.executemany(
                "INSERT INTO vectors VALUES (?, ?)",
                ((place, vector.astype("<f4").tobytes()) for place, vector in zip(places, vectors, strict=True)),
            )
            self._log("add", ((at, entry.id, _detail(after=entry), None, None) for entry in entries), collection)
            if entries:
                self._touch(collection)
            self._note("add", collection, entries, vectors)

    def delete(self, collection: int, ids: Sequence[str]) -> list[Entry]:
        """Remove entries; their vectors go to the change log.

        Raises:
            EntryNotFoundError: One of them is not there; then none is removed.
        """
        with self.transaction():
            old = self._rows_with_seq(collection, ids)
            at = utc_now()
            self._log(
                "remove",
                ((at, entry.id, _detail(before=entry), blob, seq) for seq, entry, blob in old),
                collection,
            )
            self._connection.executemany("DELETE FROM vectors WHERE seq = ?", [(seq,) for seq, _, _ in old])
            self._connection.executemany("DELETE FROM entries WHERE seq = ?", [(seq,) for seq, _, _ in old])
            # Their files are no longer known, so that a later ingest brings them back if they are still there.
            self.forget_files(collection, [row.path for row in self.files_of(collection, [e.id for _, e, _ in old])])
            if old:
                self._touch(collection)
            self._note("remove", collection, [entry for _, entry, _ in old], None)
            return [entry for _, entry, _ in old]

    def update(self, collection: int, entries: Sequence[Entry]) -> int:
        """Change what is said about entries; their vectors stay. Returns how many really changed."""
        with self.transaction():
            old = self._rows_with_seq(collection, [entry.id for entry in entries], vectors=False)
            pairs = [(seq, was, now) for (seq, was, _), now in zip(old, entries, strict=True) if was != now]
            at = utc_now()
            self._log("update", ((at, now.id, _detail(was, now), None, None) for _, was, now in pairs), collection)
            self._connection.executemany(self._UPDATE, [(*_values_of(now), seq) for seq, _, now in pairs])
            if pairs:
                self._touch(collection)
            self._note("update", collection, [now for _, _, now in pairs], None)
            return len(pairs)

    def replace(self, collection: int, entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
        """Give entries new vectors (N, D) and descriptions; the old ones go to the change log."""
        with self.transaction():
            old = self._rows_with_seq(collection, [entry.id for entry in entries])
            at = utc_now()
            self._log(
                "replace",
                ((at, now.id, _detail(was, now), blob, None) for (_, was, blob), now in zip(old, entries, strict=True)),
                collection,
            )
            self._connection.executemany(
                self._UPDATE, [(*_values_of(now), seq) for (seq, _, _), now in zip(old, entries, strict=True)]
            )
            self._connection.executemany(
                "UPDATE vectors SET vector = ? WHERE seq = ?",
                ((vector.astype("<f4").tobytes(), seq) for (seq, _, _), vector in zip(old, vectors, strict=True)),
            )
            if old:
                self._touch(collection)
            self._note("replace", collection, entries, vectors)

    _UPDATE = "UPDATE entries SET " + ", ".join(f"{column} = ?" for column in _COLUMNS.split(", ")) + " WHERE seq = ?"

    def _rows_with_seq(
        self, collection: int, ids: Sequence[str], *, vectors: bool = True
    ) -> list[tuple[int, Entry, bytes | None]]:
        found: dict[str, tuple[int, Entry, bytes | None]] = {}
        for chunk in _chunks(ids):
            marks = ",".join("?" * len(chunk))
            vector, join = ("v.vector", "JOIN vectors AS v USING (seq) ") if vectors else ("NULL", "")
            for row in self._all(
                f"SELECT {_COLUMNS}, seq, {vector} FROM entries {join}WHERE collection = ? AND id IN ({marks})",
                (collection, *chunk),
            ):
                found[row[0]] = (row[-2], _entry_from(row), row[-1])
        for id_ in ids:
            if id_ not in found:
                raise EntryNotFoundError(
                    f"The gallery {self.place} holds no entry {id_!r}.",
                    hint="`gtrack gallery list` shows the entries.",
                )
        return [found[id_] for id_ in ids]

    def _next_seq(self, table: str) -> int:
        row = self._one("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,))
        return 1 if row is None else int(row[0]) + 1

    def _touch(self, collection: int) -> None:
        self._connection.execute("UPDATE collections SET generation = generation + 1 WHERE id = ?", (collection,))

    def _note(
        self, action: str, collection: int, entries: Sequence[Entry], vectors: NDArray[np.float32] | None
    ) -> None:
        if self.journal is None or self._foreign is not None or not entries:
            return
        self._noted = True
        self.journal.note(action, collection, entries, vectors, self._operation_of(collection, action))

    def _log(
        self, action: str, lines: Iterable[tuple[str, str, str, bytes | None, int | None]], collection: int
    ) -> None:
        # Only a change that there is makes an operation.
        self._connection.executemany(
            "INSERT INTO changes (at, who, action, collection, entry_id, detail, vector, entry_seq, operation) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    self._foreign[2] if self._foreign else at,
                    self._foreign[1] if self._foreign else self._who,
                    action,
                    collection,
                    id_,
                    detail,
                    vector,
                    seq,
                    self._operation_of(collection, action),
                )
                for at, id_, detail, vector, seq in lines
            ),
        )

    # -- the change log --------------------------------------------------------------------------------------

    def changes(self, collection: int, limit: int) -> list[Change]:
        """The last changes, the newest first."""
        rows = self._all(
            "SELECT seq, at, who, action, entry_id, detail FROM changes WHERE collection = ? ORDER BY seq DESC LIMIT ?",
            (collection, limit),
        )
        return [Change(row[0], row[1], row[2], row[3], row[4], json.loads(row[5])) for row in rows]

    def operations(self, collection: int, limit: int) -> list[Operation]:
        """The last operations that changed an entry, the newest first."""
        if self.format_version < 2:
            return []
        rows = self._all(
            "SELECT seq, at, who, action, words, "
            "(SELECT COUNT(DISTINCT entry_id) FROM changes WHERE operation = o.seq) "
            "FROM operations AS o WHERE collection = ? "
            "AND (action = ? OR EXISTS (SELECT 1 FROM changes WHERE operation = o.seq)) ORDER BY seq DESC LIMIT ?",
            (collection, RESTORED, limit),
        )
        return [Operation(*row) for row in rows]

    def changes_from(self, collection: int, operation: int) -> Iterator[LoggedChange]:
        """The changes of an operation and of all later ones, the newest first, a page at a time."""
        before = 1 << 62
        while True:
            rows = self._all(
                "SELECT seq, entry_id, detail, vector IS NOT NULL, entry_seq FROM changes "
                "WHERE collection = ? AND seq < ? AND operation >= ? ORDER BY seq DESC LIMIT 2000",
                (collection, before, operation),
            )
            for seq, entry_id, detail, has_vector, entry_seq in rows:
                facts = json.loads(detail)
                yield LoggedChange(seq, entry_id, facts.get("before"), facts.get("after"), bool(has_vector), entry_seq)
            if len(rows) < 2000:
                return
            before = rows[-1][0]

    def logged_vectors(self, changes: Sequence[int], dimension: int) -> NDArray[np.float32]:
        """The vectors (N, D) that changes kept, in the order of their numbers given."""
        found: dict[int, bytes] = {}
        for start in range(0, len(changes), _MOST_VARIABLES):
            part = changes[start : start + _MOST_VARIABLES]
            marks = ",".join("?" * len(part))
            found.update(self._all(f"SELECT seq, vector FROM changes WHERE seq IN ({marks})", part))
        return self._matrix([found[seq] for seq in changes], dimension)

    def files_before(self, collection: int, operation: int) -> dict[str, FileRow | None]:
        """What was known, before an operation, of the files that it or a later one has touched."""
        rows = self._all(
            "SELECT path, before FROM file_changes WHERE collection = ? AND operation >= ? ORDER BY seq DESC",
            (collection, operation),
        )
        return {path: None if before is None else FileRow(path, *json.loads(before)) for path, before in rows}

    def last_removed(self, collection: int, id_: str) -> tuple[Entry, bytes] | None:
        """What the log keeps of an entry's last removal."""
        row = self._one(
            "SELECT detail, vector FROM changes WHERE collection = ? AND entry_id = ? AND action = 'remove' "
            "ORDER BY seq DESC LIMIT 1",
            (collection, id_),
        )
        return None if row is None else (entry_from_facts(json.loads(row[0])["before"]), row[1])

    def last_changes(self, collection: int, after: int) -> list[tuple[str, str, int | None]]:
        """(entry id, action, operation) of the last change of each entry that changed after `after`, in order."""
        return self._all(
            "SELECT entry_id, action, operation FROM changes WHERE seq IN "
            "(SELECT MAX(seq) FROM changes WHERE collection = ? AND seq > ? GROUP BY entry_id) ORDER BY seq",
            (collection, after),
        )

    def last_change(self, collection: int) -> int:
        """Number of the collection's newest change; 0 if there was none."""
        return int(self._one("SELECT COALESCE(MAX(seq), 0) FROM changes WHERE collection = ?", (collection,))[0])

    def changes_after(self, collection: int, seq: int, until: int) -> list[tuple[str, str]]:
        """(action, entry id) of the changes after `seq` up to `until`, the oldest first."""
        return self._all(
            "SELECT action, entry_id FROM changes WHERE collection = ? AND seq > ? AND seq <= ? ORDER BY seq",
            (collection, seq, until),
        )

    def news(self, collection: int, seq: int, most: int) -> list[tuple[int, str, str, bool]] | None:
        """What was changed after the change `seq`, the oldest first.

        Returns:
            Of each change: its number, the entry's id, the action of its operation, and whether the entry is, or was,
            said not to be somebody. None where there are more than `most`, or where the log no longer has that
            change, because a snapshot of before it was put back, or does not tell as much (format 1).
        """
        if self.format_version < 2:
            return None
        lines = self._all(
            "SELECT c.seq, c.entry_id, COALESCE(o.action, ''), instr(c.detail, '\"not\": [') > 0 "
            "FROM changes AS c LEFT JOIN operations AS o ON o.seq = c.operation "
            "WHERE c.collection = ? AND c.seq > ? ORDER BY c.seq LIMIT ?",
            (collection, seq, most + 1),
        )
        known = not seq or self._one("SELECT 1 FROM changes WHERE seq = ? AND collection = ?", (seq, collection))
        return lines if known and len(lines) <= most else None

    def note_applied(self, collection: int, seq: int) -> None:
        """Note up to which change the index follows."""
        with self.transaction():
            self._connection.execute("UPDATE collections SET applied_seq = ? WHERE id = ?", (seq, collection))

    # -- ingested files --------------------------------------------------------------------------------------

    def files_under(self, collection: int, folder: str) -> dict[str, FileRow]:
        """The known files below a folder (absolute, without a separator at its end), by path."""
        prefix = folder.rstrip(os.sep) + os.sep
        rows = self._all(
            "SELECT path, size, mtime_ns, content_hash, class_name, entry_id FROM files "
            "WHERE collection = ? AND path >= ? AND path < ?",
            (collection, prefix, prefix[:-1] + chr(ord(os.sep) + 1)),
        )
        return {row[0]: FileRow(*row) for row in rows}

    def files_of(self, collection: int, entry_ids: Sequence[str]) -> list[FileRow]:
        """The known files that show given entries."""
        found: list[FileRow] = []
        for chunk in _chunks(entry_ids):
            marks = ",".join("?" * len(chunk))
            found += [
                FileRow(*row)
                for row in self._all(
                    "SELECT path, size, mtime_ns, content_hash, class_name, entry_id FROM files "
                    f"WHERE collection = ? AND entry_id IN ({marks})",
                    (collection, *chunk),
                )
            ]
        return found

    def put_files(self, collection: int, files: Sequence[FileRow]) -> None:
        """Remember files, each in place of what was known under its path."""
        with self.transaction():
            self._log_files(collection, [row.path for row in files])
            self._connection.executemany(
                "INSERT OR REPLACE INTO files (collection, path, size, mtime_ns, content_hash, class_name, entry_id) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(collection, *row) for row in files],
            )

    def forget_files(self, collection: int, paths: Sequence[str]) -> None:
        """Forget files."""
        with self.transaction():
            self._log_files(collection, paths)
            self._connection.executemany(
                "DELETE FROM files WHERE collection = ? AND path = ?", [(collection, path) for path in paths]
            )

    def files_at(self, collection: int, paths: Sequence[str]) -> dict[str, FileRow]:
        """What is known of the files of given paths, by path."""
        found: dict[str, FileRow] = {}
        for chunk in _chunks(paths):
            marks = ",".join("?" * len(chunk))
            for row in self._all(
                "SELECT path, size, mtime_ns, content_hash, class_name, entry_id FROM files "
                f"WHERE collection = ? AND path IN ({marks})",
                (collection, *chunk),
            ):
                found[row[0]] = FileRow(*row)
        return found

    def _log_files(self, collection: int, paths: Sequence[str]) -> None:
        known = self.files_at(collection, paths)
        self._connection.executemany(
            "INSERT INTO file_changes (operation, collection, path, before) VALUES (?, ?, ?, ?)",
            (
                (
                    self._operation_of(collection, "files"),
                    collection,
                    path,
                    json.dumps(known[path][1:], ensure_ascii=False) if path in known else None,
                )
                for path in paths
            ),
        )

    # -- as a whole ------------------------------------------------------------------------------------------

    def sequences(self) -> dict[str, int]:
        """The highest number that each table has given out."""
        return dict(self._all("SELECT name, seq FROM sqlite_sequence"))

    def copy_to(self, target: sqlite3.Connection) -> None:
        """Copy the whole record, of one moment, into an empty database."""
        with self._turn, sqlite_errors(self.path):
            self._open_connection().backup(target)

    def take_over(self, source: sqlite3.Connection) -> None:
        """Become a copy of another record, in one transaction."""
        with self._turn, sqlite_errors(self.path):
            source.backup(self._open_connection())
        self._operations.clear()

    # -- health ----------------------------------------------------------------------------------------------

    def check_integrity(self) -> tuple[str, ...]:
        """What SQLite finds wrong with the file; nothing for a sound one."""
        rows = [str(row[0]) for row in self._all("PRAGMA integrity_check(20)")]
        if rows == ["ok"]:
            missing = self._one("SELECT COUNT(*) FROM entries LEFT JOIN vectors USING (seq) WHERE vector IS NULL")[0]
            return (f"{missing} entries without a vector",) if missing else ()
        return tuple(rows)
