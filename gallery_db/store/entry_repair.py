"""Repair damaged entries of a record: from its snapshots and its log, bit for bit, or from a copy of their vectors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_rows
from gallery_db.entry import Entry
from gallery_db.errors import GtrackError
from gallery_db.store.checksums import DamagedEntry, entry_checksum, vector_checksum
from gallery_db.store.entry_rows import ENTRY_COLUMNS, entry_from_row, row_of
from gallery_db.store.snapshot_files import snapshots_in

if TYPE_CHECKING:
    from gallery_db.store.record import CollectionRow, Record

__all__ = ["repair_entries"]

Copies = Callable[[Sequence[str]], dict[str, NDArray[np.float32]]]
"""Returns copies of the vectors (D,) of entries, by id, as far as there are any."""


def repair_entries(record: Record, row: CollectionRow, copies: Copies) -> tuple[list[DamagedEntry], list[DamagedEntry]]:
    """Repair the damaged entries of a collection where what they were is known.

    A description comes from a snapshot or from the log, a vector from a snapshot; both only if they fit the checksum
    that the entry has. Else the vector comes from `copies`, which are the same but for rounding, and gets a new
    checksum.

    Args:
        record: Open for writing.
        row: The collection.
        copies: Gives copies of vectors, of a source that is intact and up to date.

    Returns:
        The repaired entries, and those that are left as they are.
    """
    damaged = record.entries.find_damaged(row.id, row.model.dimension)
    if not damaged:
        return [], []
    entries: dict[int, Entry] = {}
    vectors: dict[int, NDArray[np.float32]] = {}
    sums = {one.seq: record.entries.sums_of(one.seq) for one in damaged}
    for seq, entry, blob in _candidates(record, row, damaged):
        wanted = sums[seq]
        if wanted is not None and entry is not None and seq not in entries:
            stored = row_of(entry)
            if entry_checksum(seq, row.id, (*stored[:4], stored[9])) == wanted[0]:
                entries[seq] = entry
        if wanted is not None and blob is not None and vector_checksum(seq, blob) == wanted[1]:
            vectors[seq] = np.frombuffer(blob, "<f4").astype(np.float32)
    ids = {one.seq: entries[one.seq].id if one.seq in entries else one.id for one in damaged}
    wanting = [one for one in damaged if one.vector and one.seq not in vectors]
    found = copies([ids[one.seq] for one in wanting]) if wanting else {}
    for one in wanting:
        if (one.seq in entries or not one.description) and (copy := found.get(ids[one.seq])) is not None:
            with suppress(GtrackError):
                vectors[one.seq] = unit_rows(copy, row.model.dimension, count=1, what="embeddings")[0]
    repaired = [
        one for one in damaged if (not one.description or one.seq in entries) and (not one.vector or one.seq in vectors)
    ]
    with record.transaction():
        for one in repaired:
            entry = entries[one.seq] if one.description else None
            record.entries.repair(row.id, one, entry, vectors[one.seq] if one.vector else None)
    return repaired, [one for one in damaged if one not in repaired]


def _candidates(
    record: Record, row: CollectionRow, damaged: Sequence[DamagedEntry]
) -> Iterator[tuple[int, Entry | None, bytes | None]]:
    """Yield (row number, what the entry may have been, what its vector may have been)."""
    for snapshot in reversed(snapshots_in(record.path.parent)):
        with suppress(sqlite3.Error, GtrackError):
            yield from _of_snapshot(snapshot.path, row, damaged)
    described = [one for one in damaged if one.description]
    if described:
        for entry in record.log.descriptions(row.id):
            for one in described:
                yield one.seq, entry, None


def _of_snapshot(
    path: Path, row: CollectionRow, damaged: Sequence[DamagedEntry]
) -> Iterator[tuple[int, Entry | None, bytes | None]]:
    statement = (
        f"SELECT vector, {ENTRY_COLUMNS} FROM entries JOIN vectors USING (seq) WHERE seq = ? AND +collection = ?"
    )
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        for one in damaged:
            found: tuple[Any, ...] | None = connection.execute(statement, (one.seq, row.id)).fetchone()
            if found is not None and isinstance(found[0], bytes):
                with suppress(GtrackError):
                    yield one.seq, entry_from_row(found[1:], path), found[0]
