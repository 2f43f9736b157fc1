"""The change log of a record: single changes of entries, and the operations that they belong to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.errors import GalleryError, GalleryFormatError
from gallery_db.noted_lock import user_at_host
from gallery_db.store.changes import REPLACED, RESTORED, Change, LoggedChange, Operation, RecentChange
from gallery_db.store.checksums import text_checksum, vector_checksum
from gallery_db.store.database import Database
from gallery_db.store.entry_rows import decoding, entry_from_facts, vector_matrix
from gallery_db.store.history import History
from gallery_db.times import utc_now

if TYPE_CHECKING:
    from gallery_db.store.changes import ChangeFeed, LogLine

__all__ = ["ChangeLog"]

_MAX_ROWS = 2**62  # SQLite's numbers have 64 bits


class ChangeLog:
    """The tables ``changes`` and ``operations``.

    It is the listener of the database's transactions, because the operation of a change made outside of any
    `operation` ends with its transaction.

    Attributes:
        feed: Receives every change that is made here; None for a gallery that is not served.
    """

    def __init__(self, database: Database, format_version: int) -> None:
        self.feed: ChangeFeed | None = None
        self._database = database
        self._has_operations = format_version >= 2
        self._target = "target" if format_version >= 4 else "NULL"
        # Operations without a change are only those that changed files; an undo of such an operation's target counts.
        self._listed = (
            f"(action IN ('{RESTORED}', '{REPLACED}') OR {self._target} IS NOT NULL "
            "OR EXISTS (SELECT 1 FROM changes WHERE operation = o.seq))"
        )
        # What to select as the checksums of a change's detail and of its vector.
        self._sums = ("checksum", "vector_checksum") if format_version >= 3 else ("NULL", "NULL")
        self._who = user_at_host()
        self._current: tuple[str, str] | None = None  # action and words of the operation that is open
        self._numbers: dict[int, int] = {}  # collection -> number of the operation that its changes belong to
        self._foreign: tuple[int, str, str] | None = None  # operation, who and when of changes made elsewhere
        self._feed_waits = False  # whether the feed has noted something that is not committed yet
        database.listener = self

    # -- transactions ----------------------------------------------------------------------------------------

    def committed(self) -> None:
        """See `gallery_db.store.database.TransactionListener`."""
        if self._current is None:
            self._numbers.clear()

    def rolled_back(self) -> None:
        """See `gallery_db.store.database.TransactionListener`."""
        self._numbers.clear()  # their rows are rolled back as well

    def unlocked(self) -> None:
        """See `gallery_db.store.database.TransactionListener`."""
        # The feed may take long to bring a change elsewhere; no reader of the record waits for that.
        if self._feed_waits and self.feed is not None and not self._database.in_transaction():
            self._feed_waits = False
            self.feed.committed()

    def forget_numbers(self) -> None:
        """Forget the numbers of open operations, after the tables were exchanged."""
        self._numbers.clear()

    # -- writing ---------------------------------------------------------------------------------------------

    @contextmanager
    def operation(self, action: str, words: str) -> Iterator[None]:
        """Make one operation of the changes inside, in however many transactions; one inside another joins it.

        Changes made outside of any operation are one operation for each transaction.
        """
        if self._current is not None:
            yield
            return
        self._numbers.clear()
        self._current = (action, words)
        try:
            yield
        finally:
            self._current = None
            self._numbers.clear()

    @contextmanager
    def walk(self, collection: int, action: str, words: str, target: int) -> Iterator[None]:
        """Make an undo or a redo of the changes inside, also where nothing changes; only within a transaction.

        Args:
            collection: The collection.
            action: `UNDO` or `REDO`.
            words: The operation's description.
            target: Number of the operation that is undone or done again.

        Raises:
            GalleryError: An operation is open.
        """
        if self._current is not None:
            raise GalleryError(
                f"An {action} cannot be part of another operation.", hint="Call it after the operation's block."
            )
        with self.operation(action, words):
            self._numbers[collection] = self._insert_operation(utc_now(), self._who, collection, action, words, target)
            yield

    @contextmanager
    def made_elsewhere(self, operation: int, who: str, at: str) -> Iterator[None]:
        """Log the changes inside as made by another process; only within a transaction.

        Args:
            operation: Number of the operation, from `new_operation`.
            who: ``user@host`` of the other process.
            at: When it made them, ISO 8601 UTC.
        """
        before, self._foreign = self._foreign, (operation, who, at)
        try:
            yield
        finally:
            self._foreign = before

    def new_operation(self, collection: int, action: str, words: str, who: str, at: str) -> int:
        """Store an operation of another process; return its number."""
        with self._database.transaction():
            return self._insert_operation(at, who, collection, action, words)

    def operation_of(self, collection: int, action: str) -> int:
        """Return the number of the operation that changes of a collection belong to now; store it if it is new."""
        if self._foreign is not None:
            return self._foreign[0]
        known = self._numbers.get(collection)
        if known is None:
            action, words = self._current or (action, action)
            known = self._insert_operation(utc_now(), self._who, collection, action, words)
            self._numbers[collection] = known
        return known

    def _insert_operation(
        self, at: str, who: str, collection: int, action: str, words: str, target: int | None = None
    ) -> int:
        return self._database.insert(
            "INSERT INTO operations (at, who, collection, action, words, target) VALUES (?, ?, ?, ?, ?, ?)",
            (at, who, collection, action, words, target),
        )

    def write(self, action: str, collection: int, lines: Iterable[LogLine]) -> None:
        """Log changes of entries; an operation is stored only if there is a change."""
        self._database.execute_many(
            "INSERT INTO changes (at, who, action, collection, entry_id, detail, vector, entry_seq, operation, "
            "checksum, vector_checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    self._foreign[2] if self._foreign else line.at,
                    self._foreign[1] if self._foreign else self._who,
                    action,
                    collection,
                    line.entry_id,
                    detail := line.detail,
                    line.vector,
                    line.entry_seq,
                    self.operation_of(collection, action),
                    text_checksum(detail),
                    None if line.vector is None else vector_checksum(0, line.vector),
                )
                for line in lines
            ),
        )

    def pass_on(
        self, action: str, collection: int, entries: Sequence[Entry], vectors: NDArray[np.float32] | None
    ) -> None:
        """Pass changed entries to the feed, unless they come from there."""
        if self.feed is None or self._foreign is not None or not entries:
            return
        self._feed_waits = True
        self.feed.note(action, collection, entries, vectors, self.operation_of(collection, action))

    def pass_on_setting(self, collection: int, name: str, value: str) -> None:
        """Pass a collection's new setting to the feed, unless it comes from there."""
        if self.feed is None or self._foreign is not None:
            return
        self._feed_waits = True
        self.feed.note_setting(collection, name, value)

    # -- reading operations ----------------------------------------------------------------------------------

    def operation_facts(self, operation: int) -> tuple[str, str, str, str]:
        """Return (action, words, who, at) of an operation."""
        row = self._database.one("SELECT action, words, who, at FROM operations WHERE seq = ?", (operation,))
        return row[0], row[1], row[2], row[3]

    def operations(self, collection: int, limit: int) -> list[Operation]:
        """Return the last operations that changed an entry, the newest first."""
        if not self._has_operations:
            return []
        rows = self._database.all(
            f"SELECT {self._operation_columns} FROM operations AS o WHERE collection = ? AND {self._listed} "
            "ORDER BY seq DESC LIMIT ?",
            (collection, min(limit, _MAX_ROWS)),
        )
        undone = self.history(collection).reversed
        return [replace(Operation(*row), undone=row[0] in undone) for row in rows]

    def operations_by_number(self, numbers: Sequence[int], *, undone: bool) -> dict[int, Operation]:
        """Return operations by their numbers; `undone` is what all of them are."""
        rows = self._database.among(
            f"SELECT {self._operation_columns} FROM operations AS o WHERE seq IN ({{}})", (), numbers
        )
        return {row[0]: replace(Operation(*row), undone=undone) for row in rows}

    def history(self, collection: int) -> History:
        """Return which operations of a collection are done, and which are undone."""
        rows = self._database.all(
            f"SELECT seq, action, {self._target} FROM operations AS o WHERE collection = ? AND {self._listed} "
            "ORDER BY seq",
            (collection,),
        )
        return History(rows)

    @property
    def _operation_columns(self) -> str:
        entries = "(SELECT COUNT(DISTINCT entry_id) FROM changes WHERE operation = o.seq)"
        return f"seq, at, who, action, words, {entries}, {self._target}"

    # -- settings --------------------------------------------------------------------------------------------

    def note_setting(self, collection: int, name: str, before: str) -> None:
        """Keep what a setting of a collection was before the operation that is open; only within a transaction."""
        self._database.execute(
            "INSERT INTO setting_changes (operation, collection, name, before) VALUES (?, ?, ?, ?)",
            (self.operation_of(collection, "setting"), collection, name, before),
        )

    def settings_before(self, collection: int, operation: int) -> dict[str, str]:
        """Return the settings that an operation changed, as they were before it."""
        rows = self._database.all(
            "SELECT name, before FROM setting_changes WHERE collection = ? AND operation = ? ORDER BY seq DESC",
            (collection, operation),
        )
        return dict(rows)

    # -- reading changes -------------------------------------------------------------------------------------

    def changes(self, collection: int, limit: int) -> list[Change]:
        """Return the last changes, the newest first."""
        rows = self._database.all(
            "SELECT seq, at, who, action, entry_id, detail FROM changes WHERE collection = ? ORDER BY seq DESC LIMIT ?",
            (collection, min(limit, _MAX_ROWS)),
        )
        with decoding(self._database.path):
            return [Change(row[0], row[1], row[2], row[3], row[4], dict(json.loads(row[5]))) for row in rows]

    def changes_of(self, collection: int, operation: int) -> Iterator[LoggedChange]:
        """Yield the changes of an operation, the newest first."""
        first, last = self._database.one("SELECT MIN(seq), MAX(seq) FROM changes WHERE operation = ?", (operation,))
        if first is None:
            return
        before = last + 1
        while True:
            # The + keeps SQLite from the index by operation, whose changes it would sort again for each page.
            rows = self._database.all(
                f"SELECT seq, entry_id, detail, vector IS NOT NULL, entry_seq, {self._sums[0]} FROM changes "
                "WHERE collection = ? AND seq >= ? AND seq < ? AND +operation = ? ORDER BY seq DESC LIMIT 2000",
                (collection, first, before, operation),
            )
            for seq, entry_id, detail, has_vector, entry_seq, checksum in rows:
                facts = self._facts(seq, detail, checksum)
                yield LoggedChange(seq, entry_id, facts.get("before"), facts.get("after"), bool(has_vector), entry_seq)
            if len(rows) < 2000:
                return
            before = rows[-1][0]

    def vectors_before(self, changes: Sequence[int], dimension: int) -> NDArray[np.float32]:
        """Return the vectors (N, D) that entries had before changes, in the order of the changes' numbers given."""
        rows = self._database.among(
            f"SELECT seq, vector, {self._sums[1]} FROM changes WHERE seq IN ({{}})", (), changes
        )
        found = {seq: self._vector(seq, vector, checksum) for seq, vector, checksum in rows}
        return vector_matrix([found[seq] for seq in changes], dimension, self._database.path)

    def last_removed(self, collection: int, id_: str) -> tuple[Entry, bytes] | None:
        """Return an entry as it was last removed, with its stored vector; None if it never was."""
        row = self._database.one(
            f"SELECT seq, detail, {self._sums[0]}, vector, {self._sums[1]} FROM changes "
            "WHERE collection = ? AND entry_id = ? AND action = 'remove' ORDER BY seq DESC LIMIT 1",
            (collection, id_),
        )
        if row is None:
            return None
        with decoding(self._database.path):
            return entry_from_facts(self._facts(*row[:3])["before"]), self._vector(row[0], row[3], row[4])

    def descriptions(self, collection: int) -> Iterator[Entry]:
        """Yield each entry as it was after a change, the newest change first, as far as the log is intact."""
        below = 1 << 62
        while True:
            rows = self._database.all(
                f"SELECT seq, detail, {self._sums[0]} FROM changes WHERE collection = ? AND seq < ? "
                "ORDER BY seq DESC LIMIT 2000",
                (collection, below),
            )
            for row in rows:
                with suppress(GalleryFormatError), decoding(self._database.path):
                    facts = self._facts(*row).get("after")
                    if facts is not None:
                        yield entry_from_facts(facts)
            if len(rows) < 2000:
                return
            below = rows[-1][0]

    def _facts(self, seq: int, detail: str, checksum: int | None) -> dict[str, Any]:
        """Return the facts of a change, after a comparison with their checksum where there is one."""
        with decoding(self._database.path):
            if checksum is not None and checksum != text_checksum(detail):
                raise self._damage(seq)
            return dict(json.loads(detail))

    def _vector(self, seq: int, vector: bytes | None, checksum: int | None) -> bytes:
        """Return the vector that a change keeps, after a comparison with its checksum where there is one."""
        if not isinstance(vector, bytes) or (checksum is not None and checksum != vector_checksum(0, vector)):
            raise self._damage(seq)
        return vector

    def _damage(self, seq: int) -> GalleryFormatError:
        return GalleryFormatError(
            f"The change {seq} in the log of {self._database.place} is damaged, or was made of a damaged entry.",
            hint="It cannot be undone. Restore a snapshot: `gtrack gallery snapshot --list` shows them.",
        )

    def was_changed_by(self, action: str, collection: int, id_: str) -> bool:
        """Return whether an operation of that action ever changed an entry."""
        if not self._has_operations:
            return False
        row = self._database.one(
            "SELECT 1 FROM changes AS c JOIN operations AS o ON o.seq = c.operation "
            "WHERE c.collection = ? AND c.entry_id = ? AND o.action = ? LIMIT 1",
            (collection, id_, action),
        )
        return row is not None

    def last_change(self, collection: int) -> int:
        """Return the number of the collection's newest change; 0 if there was none."""
        row = self._database.one("SELECT COALESCE(MAX(seq), 0) FROM changes WHERE collection = ?", (collection,))
        return int(row[0])

    def changes_after(self, collection: int, seq: int, until: int) -> list[tuple[str, str]]:
        """Return (action, entry id) of the changes after `seq` up to `until`, the oldest first."""
        return self._database.all(
            "SELECT action, entry_id FROM changes WHERE collection = ? AND seq > ? AND seq <= ? ORDER BY seq",
            (collection, seq, until),
        )

    def last_changes(self, collection: int, after: int) -> list[tuple[str, str, int | None]]:
        """Return (entry id, action, operation) of the last change of each entry changed after `after`, in order."""
        return self._database.all(
            "SELECT entry_id, action, operation FROM changes WHERE seq IN "
            "(SELECT MAX(seq) FROM changes WHERE collection = ? AND seq > ? GROUP BY entry_id) ORDER BY seq",
            (collection, after),
        )

    def recent(self, collection: int, seq: int, most: int) -> list[RecentChange] | None:
        """Return the changes after the change `seq`, the oldest first.

        Returns:
            None if there are more than `most`, if the log no longer has the change `seq`, because a snapshot of an
            earlier time was restored, or if the record has format 1, which has no operations.
        """
        if not self._has_operations:
            return None
        rows = self._database.all(
            "SELECT c.seq, c.entry_id, COALESCE(o.action, ''), instr(c.detail, '\"not\": [') > 0 "
            "FROM changes AS c LEFT JOIN operations AS o ON o.seq = c.operation "
            "WHERE c.collection = ? AND c.seq > ? ORDER BY c.seq LIMIT ?",
            (collection, seq, most + 1),
        )
        known = not seq or self._database.one(
            "SELECT 1 FROM changes WHERE seq = ? AND collection = ?", (seq, collection)
        )
        if not known or len(rows) > most:
            return None
        return [RecentChange(row[0], row[1], row[2], bool(row[3])) for row in rows]
