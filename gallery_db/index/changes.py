"""Bring the changes of a collection's record into its Chroma index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gallery_db.index.base import Progress
from gallery_db.index.chroma_index import BATCH_SIZE, ChromaIndex

if TYPE_CHECKING:
    from gallery_db.store.record import CollectionRow, Record

__all__ = [
    "IndexChanges",
    "add_from_record",
    "pending_changes",
    "pending_ids",
    "sync_server_index",
    "update_from_record",
]


@dataclass(frozen=True, slots=True)
class IndexChanges:
    """The changes that an index lacks.

    Attributes:
        last_change: Number of the record's last change among them.
        removed: Ids to remove first.
        added: Ids to add after that.
        updated: Ids of which only the metadata changed.
    """

    last_change: int
    removed: list[str]
    added: list[str]
    updated: list[str]


def pending_changes(record: Record, row: CollectionRow) -> IndexChanges:
    """Return the changes of a collection that its index does not have yet."""
    last_change = record.log.last_change(row.id)
    first_action: dict[str, str] = {}
    rewritten: set[str] = set()
    for action, id_ in record.log.changes_after(row.id, row.applied_seq, last_change):
        first_action.setdefault(id_, action)
        if action != "update":
            rewritten.add(id_)
    present: set[str] = set()
    for start in range(0, len(first_action), BATCH_SIZE):
        present.update(record.entries.by_ids(row.id, list(first_action)[start : start + BATCH_SIZE]))
    # A vector that changed is removed and added: Chroma's upsert of an existing one is far slower.
    return IndexChanges(
        last_change,
        removed=[id_ for id_, action in first_action.items() if action != "add" and (id_ in rewritten)],
        added=[id_ for id_ in first_action if id_ in present and id_ in rewritten],
        updated=[id_ for id_ in first_action if id_ in present and id_ not in rewritten],
    )


def pending_ids(record: Record, row: CollectionRow) -> set[str]:
    """Return the ids of the entries that were changed since the index was last brought up to date."""
    return {id_ for _, id_ in record.log.changes_after(row.id, row.applied_seq, record.log.last_change(row.id))}


def update_from_record(index: ChromaIndex, record: Record, row: CollectionRow, ids: Sequence[str]) -> None:
    """Replace the metadata of entries in the index with the record's."""
    for start in range(0, len(ids), BATCH_SIZE):
        index.update_metadata(list(record.entries.by_ids(row.id, ids[start : start + BATCH_SIZE]).values()))


def add_from_record(
    index: ChromaIndex,
    record: Record,
    row: CollectionRow,
    ids: Sequence[str],
    progress: Progress | None,
    done: int = 0,
    total: int | None = None,
) -> None:
    """Add entries of the record to the index, and make Chroma apply them.

    Args:
        index: The index.
        record: The record.
        row: The collection.
        ids: The entries to add.
        progress: Called after each batch.
        done: Entries that were added before, for `progress`.
        total: All entries, for `progress`; the number of ids by default.
    """
    total = len(ids) if total is None else total
    for start in range(0, len(ids), BATCH_SIZE):
        entries, vectors = record.entries.with_vectors(row.id, ids[start : start + BATCH_SIZE], row.model.dimension)
        index.add(entries, vectors)
        if progress is not None:
            progress(min(done + start + BATCH_SIZE, done + len(ids)), total)
    probe = np.zeros((1, row.model.dimension), np.float32)
    probe[0, 0] = 1.0
    index.apply_log(probe)


def sync_server_index(index: ChromaIndex, record: Record, row: CollectionRow) -> None:
    """Bring an index on a server up to date with the record; may be repeated after an interruption."""
    if row.applied_seq >= record.log.last_change(row.id):
        return
    changes = pending_changes(record, row)
    # Entries to add are removed, too: an interrupted call may have added them already.
    index.delete([*changes.removed, *changes.added])
    update_from_record(index, record, row, changes.updated)
    for start in range(0, len(changes.added), BATCH_SIZE):
        index.add(*record.entries.with_vectors(row.id, changes.added[start : start + BATCH_SIZE], row.model.dimension))
    record.note_applied(row.id, changes.last_change)
