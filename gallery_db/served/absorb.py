"""A gallery's own folder and the logs of its server: the record is the authority, and takes in what clients did."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.address import Address
from gallery_db.entry import Entry
from gallery_db.errors import GalleryError, GalleryIndexError
from gallery_db.index.chroma_client import chroma_errors, close_client, open_folder
from gallery_db.index.maintenance import IndexMaintenance
from gallery_db.noted_lock import user_at_host
from gallery_db.served.ledger import Ledger, LogState, forget_logs
from gallery_db.served.log import SERVER, ServedLog, check_log_name, create_log, find_logs, log_name
from gallery_db.served.rows import LOG_FORMAT, LogRow, OperationFacts, pictures_of
from gallery_db.store.record import CollectionRow, Record
from gallery_db.times import utc_now

__all__ = ["Tail", "absorb", "gallery_id", "index_maintenance", "prepare_logs"]

_ROW = 32
_PICTURED_ROW = 8
_MOST_OLD = 10_000


def gallery_id(record: Record) -> str:
    """The gallery's unique id, made when it is first served."""
    known = record.meta("gallery_id")
    if known is None:
        known = uuid.uuid4().hex
        record.set_meta("gallery_id", known)
    return known


@dataclass(slots=True)
class Tail:
    """A collection of the record and how far it has read its log."""

    row: CollectionRow
    ledger: Ledger
    log: ServedLog

    def read(self, record: Record) -> int:
        """Take in what the log holds beyond; returns the number of rows.

        Raises:
            GalleryIndexError, GalleryServerError: The log cannot be read, or is not the one that was read.
        """
        total = 0
        head = len(self.log)
        while True:
            state = self.ledger.state
            before = min(1, state.position)
            if state.position == head:
                return total
            ids, rows = self.log.page(state.position - before)
            if before and ids[:1] != [state.last_row]:
                raise GalleryIndexError(
                    f"The log of {self.row.name!r} is not the one that the record has read.",
                    hint="Serve the gallery again; the log is then made anew.",
                )
            if len(ids) == before:
                return total
            known = state.exported == record.log.last_change(self.row.id)
            with record.transaction():
                self.ledger.apply(rows[before:], ids[before:])
                state = self.ledger.state
                if known:
                    self.ledger.put_state(replace(state, exported=record.log.last_change(self.row.id)))
                if state.reserved > int(record.meta("reserved_numbers") or 0):
                    record.set_meta("reserved_numbers", str(state.reserved))
            total += len(ids) - before


def tails(place: Path | Address, client: Any, record: Record) -> list[Tail]:
    """The logs of this gallery's collections that its record can go on reading; new collections get into the record."""
    own = gallery_id(record)
    found = []
    for info in find_logs(place, client):
        if info.gallery != own:
            continue
        row = next((row for row in record.collections() if row.name == info.collection), None)
        if row is None:  # a client has made it
            record.add_collection(info.collection, info.model)
            row = next(row for row in record.collections() if row.name == info.collection)
            ledger = Ledger(record, row, record.path.parent)
            ledger.put_state(LogState(info.epoch))
        ledger = Ledger(record, row, record.path.parent)
        if ledger.state.epoch == info.epoch and row.model.same_space(info.model):
            found.append(Tail(row, ledger, ServedLog(place, client, info)))
    return found


def absorb(folder: Path, record: Record, notices: list[str], killed: bool = True) -> None:
    """Take in what clients stored with a server that did not end as it should. Needs the lock held.

    Args:
        folder: Of Chroma's files.
        record: Open for writing.
        notices: Where to say what happened.
        killed: Whether it is to be said that there was something.
    """
    if (folder / "chroma.sqlite3").is_file():
        try:
            with chroma_errors(folder, "opening"):
                client = open_folder(folder)
            try:
                rows = sum(tail.read(record) for tail in tails(folder, client, record))
            finally:
                close_client(client)
        except GalleryError as error:
            # The rows are in there; whatever is made anew must not take their place.
            kept = folder.with_name(f"{folder.name}.unread-{utc_now().replace(':', '-')[:19]}")
            folder.rename(kept)
            notices.append(
                f"What clients stored last with the server of this gallery could not be read: {error.message} "
                f"The Chroma folder is kept as {kept}."
            )
            rows = 0
        if rows and killed:
            notices.append(f"{rows} rows that clients stored with a server that was killed were taken in.")
    record.set_meta("served_open", "0")


def index_maintenance(folder: Path, notices: list[str]) -> IndexMaintenance:
    """Return the maintenance of the index in a gallery's folder, which also looks after the logs of its server.

    Args:
        folder: The gallery's folder.
        notices: Where repairs are noted for the user.
    """
    return IndexMaintenance(folder, notices, recover_log=absorb, forget_logs=forget_logs)


def prepare_logs(folder: Path, record: Record) -> None:
    """Bring the logs up to date with the record before they are served. Needs the lock held, and all absorbed."""
    for row in record.collections():
        check_log_name(row.name)
    with chroma_errors(folder, "opening"):
        folder.mkdir(exist_ok=True)
        client = open_folder(folder)
    try:
        own = gallery_id(record)
        there = {info.collection: info for info in find_logs(folder, client)}
        for info in there.values():
            if info.gallery != own:
                raise GalleryError(
                    f"The Chroma folder {folder} holds the log {log_name(info.collection)!r} of another gallery.",
                    hint="`gtrack gallery rebuild` makes the folder anew.",
                )
        for row in record.collections():
            ledger = Ledger(record, row, record.path.parent)
            state, known = ledger.state, there.get(row.name)
            fits = known is not None and known.epoch == state.epoch and known.model.same_space(row.model)
            fits = fits and known is not None and known.format == LOG_FORMAT
            if fits and state.changes <= 2 * record.entries.count(row.id) + _MOST_OLD:
                assert known is not None
                _export(ServedLog(folder, client, known), record, row, ledger)
                continue
            if known is not None:
                with chroma_errors(folder, "removing a log"):
                    client.delete_collection(log_name(row.name))
            _make(folder, client, record, row, ledger, own)
    finally:
        close_client(client)


def _make(folder: Path, client: Any, record: Record, row: CollectionRow, ledger: Ledger, gallery: str) -> None:
    info = create_log(folder, client, row.name, row.model, gallery=gallery, keeper=SERVER)
    log = ServedLog(folder, client, info)
    last = record.log.last_change(row.id)
    reserved = record.last_unknown_number(row.id)
    operation = OperationFacts(uuid.uuid4().hex, "serve", f"serve {row.name}", user_at_host(), utc_now())
    base = LogRow(uuid.uuid4().hex, "base", operation, number=reserved)
    state = _append(log, LogState(info.epoch, exported=last, reserved=reserved), [base])
    for entries, vectors in record.entries.pages(row.id, row.model.dimension):
        rows = list(_rows(record, entries, vectors, operation))
        state = _append(log, state, rows)
    record.server.run("DELETE FROM served_settings WHERE collection = ?", (row.id,))
    _tell_settings(log, ledger, state)


def _tell_settings(log: ServedLog, ledger: Ledger, state: LogState) -> None:
    """Tell what is known of the collection, behind all that is known of its entries, and note how far the log is."""
    if (setting := ledger.untold()) is not None:
        state = _append(log, state, [setting])
        ledger.note_told()
    ledger.put_state(state)


def _append(log: ServedLog, state: LogState, rows: list[LogRow]) -> LogState:
    while rows:
        done = log.append(rows)
        state = replace(
            state,
            position=state.position + done,
            last_row=rows[done - 1].id,
            changes=state.changes + sum(one.changes for one in rows[:done]),
        )
        rows = rows[done:]
    return state


def _rows(
    record: Record, entries: Sequence[Entry], vectors: NDArray[np.float32], operation: OperationFacts
) -> Iterator[LogRow]:
    step = _PICTURED_ROW if any(entry.extra.get("crop") for entry in entries) else _ROW
    for start in range(0, len(entries), step):
        some = tuple(entries[start : start + step])
        yield LogRow(
            uuid.uuid4().hex,
            "add",
            operation,
            some,
            vectors=vectors[start : start + step],
            pictures=pictures_of(record.path.parent, some),
        )


def _export(log: ServedLog, record: Record, row: CollectionRow, ledger: Ledger) -> None:
    """Tell the log what was changed in the folder since it was served last: each entry as it is now."""
    state = ledger.state
    last = record.log.last_change(row.id)
    now = replace(state, exported=last)
    lines = record.log.last_changes(row.id, state.exported)
    start = 0
    while start < len(lines):
        operation = lines[start][2]
        end = start
        while end < len(lines) and lines[end][2] == operation and end - start < 1000:
            end += 1
        ids = [id_ for id_, _, _ in lines[start:end]]
        facts = ("change", "change of before operations were kept", user_at_host(), utc_now())
        whose = OperationFacts(
            uuid.uuid4().hex, *(facts if operation is None else record.log.operation_facts(operation))
        )
        entries, vectors = record.entries.with_vectors(row.id, ids, row.model.dimension)
        there = {entry.id for entry in entries}
        rows = list(_rows(record, entries, vectors, whose))
        gone = [id_ for id_ in ids if id_ not in there]
        rows += [
            LogRow(uuid.uuid4().hex, "remove", whose, ids=tuple(gone[first : first + _ROW]))
            for first in range(0, len(gone), _ROW)
        ]
        now = _append(log, now, rows)
        start = end
    _tell_settings(log, ledger, now)
