"""How far a record follows the log of a served gallery, what it has to tell it, and how both become one.

Everybody applies the log's rows in the log's order: the last writer of an entry wins, for what is said of it and
for its vector; an add of an entry that is there replaces it; an update of one that is gone is nothing. A change
made here counts as newer than every row that is not from here, because it will stand behind them in the log. So
all records that have read the same log, and have nothing to tell, hold the same entries.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.names import unknown_number
from gallery_db.noted_lock import user_at_host
from gallery_db.served.rows import LogRow, OperationFacts, keep_pictures
from gallery_db.store.entry_rows import entry_from_facts, facts_of
from gallery_db.store.record import CollectionRow, Record
from gallery_db.store.thresholds import THRESHOLDS, as_of_now, for_others
from gallery_db.times import utc_now

__all__ = ["Ledger", "LogState", "forget_logs", "forget_serving"]

_TABLES = (
    """CREATE TABLE IF NOT EXISTS served_logs (
        collection INTEGER PRIMARY KEY,
        epoch TEXT NOT NULL,
        position INTEGER NOT NULL,
        last_row TEXT NOT NULL,
        changes INTEGER NOT NULL,
        exported INTEGER NOT NULL,
        resync INTEGER NOT NULL,
        reserved INTEGER NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS served_operations (
        collection INTEGER NOT NULL, uuid TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (collection, uuid)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS served_operations_by_seq ON served_operations (seq)",
    """CREATE TABLE IF NOT EXISTS served_outbox (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        collection INTEGER NOT NULL,
        row TEXT NOT NULL UNIQUE,
        sent INTEGER NOT NULL DEFAULT 0,
        operation INTEGER NOT NULL,
        action TEXT NOT NULL,
        changes INTEGER NOT NULL,
        facts TEXT NOT NULL,
        vectors BLOB
    )""",
    "CREATE TABLE IF NOT EXISTS served_pending (collection INTEGER NOT NULL, entry_id TEXT NOT NULL, outbox INTEGER)",
    "CREATE INDEX IF NOT EXISTS served_pending_by_entry ON served_pending (collection, entry_id)",
    "CREATE INDEX IF NOT EXISTS served_pending_by_outbox ON served_pending (outbox)",
    """CREATE TABLE IF NOT EXISTS served_unindexed (
        collection INTEGER, entry_id TEXT, PRIMARY KEY (collection, entry_id)
    )""",
    "CREATE TABLE IF NOT EXISTS served_seen (collection INTEGER, entry_id TEXT, PRIMARY KEY (collection, entry_id))",
    "CREATE TABLE IF NOT EXISTS served_blocks (row TEXT PRIMARY KEY, start INTEGER NOT NULL)",
    # What the log says, in the words of the record that served it.
    """CREATE TABLE IF NOT EXISTS served_settings (
        collection INTEGER, name TEXT, value TEXT, PRIMARY KEY (collection, name)
    )""",
)
_NAMES = ("logs", "operations", "outbox", "pending", "unindexed", "seen", "blocks", "settings")
_SETTING = "setting"
_SEEN_SETTING = ""  # in the place of an entry's id, which is never empty

_CHANGES_A_ROW = 32  # 2.3 times as quick as one a row, in writing and in reading
_PICTURES_A_ROW = 8


@dataclass(frozen=True, slots=True)
class LogState:
    """How far a record follows a log.

    Attributes:
        epoch: Which log; empty for none.
        position: Number of its rows that are applied.
        last_row: Id of the last of them.
        changes: Number of changes in them.
        exported: Number of the record's own last change that the log knows of; only where it is served from.
        resync: Whether it reads another log than before from its beginning, and has not come to its end.
        reserved: The highest number of a stranger's name that is given out.
    """

    epoch: str = ""
    position: int = 0
    last_row: str = ""
    changes: int = 0
    exported: int = 0
    resync: bool = False
    reserved: int = 0


@dataclass(slots=True)
class _Pending:
    """What is waiting for an entry: whether it leaves nothing to anybody else, or else what it says."""

    whole: bool = False
    entry: Entry | None = None
    vector: NDArray[np.float32] | None = None


class Ledger:
    """The state of one collection's serving, in the record itself: it commits with what it is about.

    Args:
        record: Open for writing.
        row: The collection.
        folder: Where crops are put that come with rows.
        a_row: Most changes in one row of the log.
    """

    def __init__(self, record: Record, row: CollectionRow, folder: Path, *, a_row: int = _CHANGES_A_ROW) -> None:
        self._record = record
        self._tables = record.server
        self._key = row.id
        self._dimension = row.model.dimension
        self._folder = folder
        self._a_row = a_row
        with record.transaction():
            for statement in _TABLES:
                record.server.run(statement)

    # -- state -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> LogState:
        """How far the record is."""
        rows = self._tables.run(
            "SELECT epoch, position, last_row, changes, exported, resync, reserved FROM served_logs "
            "WHERE collection = ?",
            (self._key,),
        )
        if not rows:
            return LogState()
        epoch, position, last_row, changes, exported, resync, reserved = rows[0]
        return LogState(epoch, position, last_row, changes, exported, bool(resync), reserved)

    def put_state(self, state: LogState) -> None:
        """Note how far the record is."""
        with self._record.transaction():
            self._tables.run(
                "INSERT OR REPLACE INTO served_logs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self._key,
                    state.epoch,
                    state.position,
                    state.last_row,
                    state.changes,
                    state.exported,
                    int(state.resync),
                    state.reserved,
                ),
            )

    def adopt(self, epoch: str) -> None:
        """Follow a log from its beginning. What was sent to an earlier one is in this one, by whoever made it."""
        with self._record.transaction():
            self._tables.run("DELETE FROM served_seen WHERE collection = ?", (self._key,))
            gone = "SELECT seq FROM served_outbox WHERE collection = ? AND sent"
            self._tables.run(f"DELETE FROM served_pending WHERE outbox IN ({gone})", (self._key,))
            self._tables.run("DELETE FROM served_outbox WHERE collection = ? AND sent", (self._key,))
            self.put_state(LogState(epoch, resync=self._record.entries.count(self._key) > 0))

    def block(self, row: str) -> int | None:
        """The first number of the names that a row has reserved; None where it has not been read yet."""
        found = self._tables.run("SELECT start FROM served_blocks WHERE row = ?", (row,))
        return int(found[0][0]) if found else None

    # -- what is told to the log -----------------------------------------------------------------------------

    def note(
        self,
        action: str,
        collection: int,
        entries: Sequence[Entry],
        vectors: NDArray[np.float32] | None,
        operation: int,
    ) -> None:
        """Put a change into the journal; see `gallery_db.store.changes.ChangeFeed`."""
        if collection != self._key:
            return
        pictured = any(entry.extra.get("crop") for entry in entries) and vectors is not None
        step = min(self._a_row, _PICTURES_A_ROW) if pictured else self._a_row
        for start in range(0, len(entries), step):
            part = entries[start : start + step]
            facts = [entry.id if action == "remove" else facts_of(entry) for entry in part]
            blob = None if vectors is None else vectors[start : start + step].astype("<f4").tobytes()
            number = self._tables.insert(
                "INSERT INTO served_outbox (collection, row, operation, action, changes, facts, vectors) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (collection, uuid.uuid4().hex, operation, action, len(part), json.dumps(facts), blob),
            )
            self._tables.run_many(
                "INSERT INTO served_pending VALUES (?, ?, ?)", ((collection, entry.id, number) for entry in part)
            )

    def note_setting(self, collection: int, name: str, value: str) -> None:
        """Put a fact about the collection into the journal; see `gallery_db.store.changes.ChangeFeed`."""
        if collection != self._key:
            return
        facts = {"name": name, "value": value, "who": user_at_host(), "at": utc_now()}
        self._tables.run(
            "INSERT INTO served_outbox (collection, row, operation, action, changes, facts) VALUES (?, ?, 0, ?, 1, ?)",
            (collection, uuid.uuid4().hex, _SETTING, json.dumps(facts)),
        )

    def waiting(self) -> int:
        """Number of changes that no server has acknowledged."""
        found = self._tables.run(
            "SELECT COALESCE(SUM(changes), 0) FROM served_outbox WHERE collection = ? AND NOT sent", (self._key,)
        )
        return int(found[0][0])

    def unsent(self, most: int) -> list[LogRow]:
        """The oldest rows that no server has acknowledged, at most so many; without their pictures."""
        found = self._tables.run(
            "SELECT row, operation, action, facts, vectors FROM served_outbox WHERE collection = ? AND NOT sent "
            "ORDER BY seq LIMIT ?",
            (self._key, most),
        )
        return [self._row(*values) for values in found]

    def _row(self, id_: str, operation: int, action: str, facts: str, blob: bytes | None) -> LogRow:
        if action == _SETTING:
            return setting_row(id_, **json.loads(facts))
        whose = OperationFacts(self._uuid_of(operation), *self._record.log.operation_facts(operation))
        values = json.loads(facts)
        if action == "remove":
            return LogRow(id_, action, whose, ids=tuple(values))
        entries = tuple(entry_from_facts(value) for value in values)
        return LogRow(id_, action, whose, entries, vectors=self._vectors(blob, len(entries)))

    def _vectors(self, blob: bytes | None, count: int) -> NDArray[np.float32] | None:
        return None if blob is None else np.frombuffer(blob, "<f4").reshape(count, self._dimension)

    def _uuid_of(self, operation: int) -> str:
        found = self._tables.run(
            "SELECT uuid FROM served_operations WHERE collection = ? AND seq = ?", (self._key, operation)
        )
        if found:
            return str(found[0][0])
        name = uuid.uuid4().hex
        with self._record.transaction():
            self._tables.run("INSERT INTO served_operations VALUES (?, ?, ?)", (self._key, name, operation))
        return name

    def acknowledge(self, rows: Sequence[LogRow], *, unindexed: bool) -> None:
        """Note that the log holds these rows; they count as pending until they are read there.

        Args:
            rows: The rows.
            unindexed: Whether their entries are now to be brought to the server's index.
        """
        with self._record.transaction():
            self._tables.run_many("UPDATE served_outbox SET sent = 1 WHERE row = ?", ((row.id,) for row in rows))
            if unindexed:
                ids = {id_ for row in rows for id_ in (*row.ids, *(entry.id for entry in row.entries))}
                self._tables.run_many(
                    "INSERT OR IGNORE INTO served_unindexed VALUES (?, ?)", ((self._key, id_) for id_ in ids)
                )

    def unindexed(self, most: int) -> list[str]:
        """Ids of entries whose change the server's index does not know."""
        found = self._tables.run(
            "SELECT entry_id FROM served_unindexed WHERE collection = ? LIMIT ?", (self._key, most)
        )
        return [row[0] for row in found]

    def indexed(self, ids: Sequence[str] | None = None) -> None:
        """Note that the server's index knows these; all for None."""
        with self._record.transaction():
            if ids is None:
                self._tables.run("DELETE FROM served_unindexed WHERE collection = ?", (self._key,))
            else:
                self._tables.run_many(
                    "DELETE FROM served_unindexed WHERE collection = ? AND entry_id = ?",
                    ((self._key, id_) for id_ in ids),
                )

    # -- what the log tells ----------------------------------------------------------------------------------

    def apply(self, rows: Sequence[LogRow | None], ids: Sequence[str]) -> None:
        """Apply the rows that follow in the log, in one transaction.

        Args:
            rows: The rows; None for one that cannot be read, which everybody leaves out.
            ids: The ids of all of them.
        """
        if not ids:
            return
        with self._record.transaction():
            state = self.state
            reserved = state.reserved
            alone = not self._tables.run("SELECT 1 FROM served_outbox WHERE collection = ? LIMIT 1", (self._key,))
            for row in _joined(rows) if alone else rows:
                if row is None:
                    continue
                own = not alone and self._forget_own(row.id)
                if row.action == _SETTING:
                    self._set(row, own=own, resync=state.resync)
                elif row.action == "base":
                    reserved = max(reserved, row.number)
                elif row.action == "reserve":
                    self._tables.run("INSERT OR REPLACE INTO served_blocks VALUES (?, ?)", (row.id, reserved + 1))
                    reserved += row.number
                else:
                    if state.resync:
                        self._see(row)
                    self._apply(row, alone)
                    reserved = max(reserved, *(unknown_number(entry.identity) or 0 for entry in row.entries), 0)
                if row.pictures:
                    keep_pictures(self._folder, row)
            self.put_state(
                LogState(
                    state.epoch,
                    state.position + len(ids),
                    ids[-1],
                    state.changes + sum(row.changes for row in rows if row is not None),
                    state.exported,
                    state.resync,
                    reserved,
                )
            )

    def _forget_own(self, row: str) -> bool:
        found = self._tables.run("SELECT seq FROM served_outbox WHERE row = ?", (row,))
        if found:
            self._tables.run("DELETE FROM served_pending WHERE outbox = ?", found[0])
            self._tables.run("DELETE FROM served_outbox WHERE seq = ?", found[0])
        return bool(found)

    def _set(self, row: LogRow, *, own: bool, resync: bool) -> None:
        """Note what a row says of the collection, unless it was said here, or something newer is to be told."""
        if row.setting is None or row.setting[0] != THRESHOLDS:
            return  # of a newer gtrack
        if resync:
            self._tables.run("INSERT OR IGNORE INTO served_seen VALUES (?, ?)", (self._key, _SEEN_SETTING))
        if not own and not self._has_setting_to_tell():
            self._record.set_meta(f"{THRESHOLDS}:{self._key}", as_of_now(row.setting[1], self._record, self._key))
        self.note_told()

    def _has_setting_to_tell(self) -> bool:
        values = (self._key, _SETTING)
        return bool(self._tables.run("SELECT 1 FROM served_outbox WHERE collection = ? AND action = ? LIMIT 1", values))

    def untold(self) -> LogRow | None:
        """What the log does not say yet of the collection, where the record that it is served from was changed."""
        value = self._record.setting(self._key, THRESHOLDS)
        told = self._tables.run(
            "SELECT value FROM served_settings WHERE collection = ? AND name = ?", (self._key, THRESHOLDS)
        )
        if (value or "") == (told[0][0] if told else ""):
            return None
        text = for_others(value or "", self._record, self._key)
        return setting_row(uuid.uuid4().hex, THRESHOLDS, text, user_at_host(), utc_now())

    def note_told(self) -> None:
        """Note that the log says of the collection what the record does."""
        value = self._record.setting(self._key, THRESHOLDS) or ""
        with self._record.transaction():
            self._tables.run("INSERT OR REPLACE INTO served_settings VALUES (?, ?, ?)", (self._key, THRESHOLDS, value))

    def _see(self, row: LogRow) -> None:
        if row.action == "add":
            ids = ((self._key, entry.id) for entry in row.entries)
            self._tables.run_many("INSERT OR IGNORE INTO served_seen VALUES (?, ?)", ids)
        gone = ((self._key, id_) for id_ in row.ids)
        self._tables.run_many("DELETE FROM served_seen WHERE collection = ? AND entry_id = ?", gone)

    def _apply(self, row: LogRow, alone: bool) -> None:
        wanted = row.ids or tuple(entry.id for entry in row.entries)
        pending = {} if alone else self._pending(wanted)
        found, found_vectors = self._record.entries.with_vectors(self._key, wanted, self._dimension)
        there = {entry.id: (entry, vector) for entry, vector in zip(found, found_vectors, strict=True)}
        damaged = {id_ for id_ in wanted if id_ in self._record.entries.damaged}
        held = there.keys() | damaged
        out = [id_ for id_ in row.ids if id_ in held and not (id_ in pending and pending[id_].whole)]
        new: list[tuple[Entry, NDArray[np.float32]]] = []
        other: list[tuple[Entry, NDArray[np.float32]]] = []
        said: list[Entry] = []
        for number, entry in enumerate(row.entries):
            waits = pending.get(entry.id)
            if waits is not None and waits.whole:
                continue
            vector = None if row.vectors is None else row.vectors[number]
            if waits is not None:
                entry = waits.entry or entry
                vector = waits.vector if waits.vector is not None else vector
            if entry.id not in there:
                if entry.id in damaged and vector is not None:
                    other.append((entry, vector))
                elif row.action == "add" and vector is not None:
                    new.append((entry, vector))
                continue
            known, known_vector = there[entry.id]
            if vector is not None and vector.tobytes() != known_vector.tobytes():
                other.append((entry, vector))
            elif entry != known:
                said.append(entry)
        if not (out or new or other or said):
            return
        with self._record.log.made_elsewhere(self._operation(row.operation), row.operation.who, row.operation.at):
            if out:
                self._record.entries.delete(self._key, out)
            if new:
                self._record.entries.insert(self._key, [entry for entry, _ in new], np.stack([v for _, v in new]))
            if other:
                self._record.entries.replace(self._key, [entry for entry, _ in other], np.stack([v for _, v in other]))
            if said:
                self._record.entries.update(self._key, said)

    def _operation(self, operation: OperationFacts) -> int:
        found = self._tables.run(
            "SELECT seq FROM served_operations WHERE collection = ? AND uuid = ?", (self._key, operation.uuid)
        )
        if found:
            return int(found[0][0])
        seq = self._record.log.new_operation(self._key, operation.action, operation.words, operation.who, operation.at)
        self._tables.run("INSERT INTO served_operations VALUES (?, ?, ?)", (self._key, operation.uuid, seq))
        return seq

    def _pending(self, ids: Sequence[str]) -> dict[str, _Pending]:
        found: dict[str, _Pending] = {}
        lines = self._tables.run_among(
            "SELECT p.entry_id, o.action, o.facts, o.vectors, o.changes FROM served_pending AS p "
            "JOIN served_outbox AS o ON o.seq = p.outbox WHERE p.collection = ? AND p.entry_id IN ({}) "
            "ORDER BY o.seq",
            (self._key,),
            ids,
        )
        for id_, action, facts, blob, changes in lines:
            waits = found.setdefault(id_, _Pending())
            if action in ("add", "remove"):
                waits.whole = True
            if waits.whole:
                continue
            values = json.loads(facts)
            number = next(place for place, value in enumerate(values) if value["id"] == id_)
            waits.entry = entry_from_facts(values[number])
            vectors = self._vectors(blob, changes)
            if vectors is not None:
                waits.vector = vectors[number]
        return found

    def settle(self) -> None:
        """At the end of another log than before: what it does not hold goes, but for what is new here."""
        if not self.state.resync:
            return
        with self._record.transaction():
            gone = [
                row[0]
                for row in self._tables.run(
                    "SELECT id FROM entries AS e WHERE collection = ? "
                    "AND NOT EXISTS (SELECT 1 FROM served_seen AS s WHERE s.collection = e.collection "
                    "AND s.entry_id = e.id) "
                    "AND NOT EXISTS (SELECT 1 FROM served_pending AS p JOIN served_outbox AS o ON o.seq = p.outbox "
                    "WHERE p.collection = e.collection AND p.entry_id = e.id AND o.action = 'add')",
                    (self._key,),
                )
            ]
            if gone:
                now = utc_now()
                words = "follow the served gallery, which does not hold them"
                operation = self._record.log.new_operation(self._key, "follow", words, user_at_host(), now)
                with self._record.log.made_elsewhere(operation, user_at_host(), now):
                    self._record.entries.delete(self._key, gone)
            seen = self._tables.run(
                "SELECT 1 FROM served_seen WHERE collection = ? AND entry_id = ?", (self._key, _SEEN_SETTING)
            )
            if not seen and not self._has_setting_to_tell() and self._record.setting(self._key, THRESHOLDS):
                self._record.set_meta(f"{THRESHOLDS}:{self._key}", "")
            self._tables.run("DELETE FROM served_seen WHERE collection = ?", (self._key,))
            state = self.state
            self.put_state(
                LogState(
                    state.epoch, state.position, state.last_row, state.changes, state.exported, False, state.reserved
                )
            )


def _joined(rows: Sequence[LogRow | None]) -> Iterator[LogRow | None]:
    """Rows of one operation that add further entries, made one: the record takes many at once far more quickly."""
    waiting: list[LogRow] = []
    ids: set[str] = set()

    def together() -> LogRow:
        if len(waiting) == 1:
            return waiting[0]
        return LogRow(
            waiting[-1].id,
            "add",
            waiting[0].operation,
            tuple(entry for row in waiting for entry in row.entries),
            vectors=np.concatenate([row.vectors for row in waiting if row.vectors is not None]),
            pictures={place: data for row in waiting for place, data in row.pictures.items()},
        )

    for row in rows:
        own = {entry.id for entry in row.entries} if row is not None and row.action == "add" else set()
        fits = bool(own) and row is not None and not own & ids
        if waiting and not (fits and row is not None and row.operation.uuid == waiting[0].operation.uuid):
            yield together()
            waiting, ids = [], set()
        if own and row is not None:
            waiting.append(row)
            ids |= own
        else:
            yield row
    if waiting:
        yield together()


def setting_row(id_: str, name: str, value: str, who: str, at: str) -> LogRow:
    """The row that says a fact about a collection. It belongs to no operation of the gallery's: no undo reaches it."""
    return LogRow(
        id_, _SETTING, OperationFacts(uuid.uuid4().hex, _SETTING, f"set {name}", who, at), setting=(name, value)
    )


def forget_logs(record: Record) -> None:
    """Note that the logs that a gallery's record has read are gone."""
    with record.transaction():
        if record.server.exists("served_logs"):
            record.server.run("DELETE FROM served_logs")


def forget_serving(record: Record) -> None:
    """Drop all that a record knows of logs, where it is no longer of them: a snapshot, or one put back."""
    with record.transaction():
        for name in _NAMES:
            record.server.run(f"DROP TABLE IF EXISTS served_{name}")
