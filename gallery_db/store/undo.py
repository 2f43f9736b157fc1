"""Undo operations of a gallery, exactly or not at all; `gallery_db.Curator.undo` is the public method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.errors import UndoError
from gallery_db.store.changes import RESTORED
from gallery_db.store.entry_rows import entry_from_facts, facts_of

if TYPE_CHECKING:
    from gallery_db.store.changes import Operation
    from gallery_db.store.ingested_files import FileRow
    from gallery_db.store.record import CollectionRow, Record

__all__ = ["undo_operations"]

_PAGE = 1000

_T = TypeVar("_T")


@dataclass(slots=True)
class _Reversal:
    """What an undo has to do to an entry, over all of the operations.

    Attributes:
        now: The entry's facts after the newest change; None if that removed it.
        then: Its facts before the oldest change; None if that added it.
        vector: Number of the change that keeps the vector of `then`; None if the vector is still the same.
        seq: Its row number before it was removed.
    """

    now: dict[str, Any] | None
    then: dict[str, Any] | None
    vector: int | None = None
    seq: int | None = None


def undo_operations(record: Record, row: CollectionRow, operations: Sequence[Operation]) -> int:
    """Bring a collection back to the state before the oldest of its last operations.

    Args:
        record: Open for writing.
        row: The collection.
        operations: Its last operations, all of them, the newest first.

    Returns:
        Number of entries that changed.

    Raises:
        UndoError: It cannot be done exactly; nothing was changed.
    """
    for operation in operations:
        if operation.action == RESTORED:
            raise UndoError(
                f"Operation {operation.seq} ({operation.words}) restored a whole snapshot; no undo goes beyond it.",
                hint="Restore the snapshot that was taken before it: `gtrack gallery snapshot --list` shows them.",
            )
    first = operations[-1].seq
    with record.transaction():
        reversals = _reversals(record, row.id, first)
        _check_present(record, row.id, reversals)
        kept = [id_ for id_, one in reversals.items() if one.now is not None and one.then is not None]
        before: dict[str, FileRow | None] = {file.path: file for file in record.files.of_entries(row.id, kept)}
        before.update(record.files.before(row.id, first))
        changed = _apply(record, row, reversals)
        _restore_files(record, row, before)
        return changed


def _reversals(record: Record, collection: int, first: int) -> dict[str, _Reversal]:
    reversals: dict[str, _Reversal] = {}
    for change in record.log.changes_from(collection, first):
        one = reversals.get(change.entry_id)
        if one is None:
            one = reversals[change.entry_id] = _Reversal(change.after, change.before)
        elif one.then != change.after:
            raise UndoError(
                f"The change log does not hold all changes of the entry {change.entry_id!r}.",
                hint="Restore a snapshot instead: `gtrack gallery snapshot --list` shows them.",
            )
        one.then = change.before
        if change.before is None:
            one.vector = one.seq = None
        else:
            if change.has_vector:
                one.vector = change.seq
            if change.entry_seq is not None:
                one.seq = change.entry_seq
    return reversals


def _check_present(record: Record, collection: int, reversals: dict[str, _Reversal]) -> None:
    """Refuse an undo if an entry differs from what the newest change made of it."""
    for ids in _pages(list(reversals)):
        present = record.entries.by_ids(collection, ids)
        for id_ in ids:
            entry, now = present.get(id_), reversals[id_].now
            if now is None and entry is not None:
                reason = "exists again"
            elif now is not None and entry is None:
                reason = "does not exist any more"
            elif entry is not None and facts_of(entry) != now:
                reason = "was changed since, and the log does not hold that change"
            else:
                continue
            raise UndoError(
                f"This cannot be undone exactly: the entry {id_!r} {reason}. Nothing was changed.",
                hint="Correct the entry by hand, or restore a snapshot.",
            )


def _apply(record: Record, row: CollectionRow, reversals: dict[str, _Reversal]) -> int:
    # An entry that was removed and added again has another row number now: it is removed, and added with its old one.
    removed = [
        id_ for id_, one in reversals.items() if one.now is not None and (one.then is None or one.seq is not None)
    ]
    added = [one for one in reversals.values() if one.then is not None and (one.now is None or one.seq is not None)]
    kept = [one for one in reversals.values() if one.then is not None and one.now is not None and one.seq is None]
    changed = sum(reversals[id_].then is None for id_ in removed)
    for ids in _pages(removed):
        record.entries.delete(row.id, ids)
    # In the order of their row numbers; the log of format 1 does not hold them.
    for some in _pages(sorted(added, key=lambda one: one.seq or 0)):
        record.entries.insert(row.id, _entries_of(some), _vectors_of(record, row, some), [one.seq for one in some])
        changed += len(some)
    for some in _pages([one for one in kept if one.vector is not None]):
        record.entries.replace(row.id, _entries_of(some), _vectors_of(record, row, some))
        changed += len(some)
    for some in _pages([one for one in kept if one.vector is None]):
        changed += record.entries.update(row.id, _entries_of(some))
    return changed


def _restore_files(record: Record, row: CollectionRow, before: dict[str, FileRow | None]) -> None:
    known = record.files.at(row.id, list(before))
    wrong = [path for path, file in before.items() if known.get(path) != file]
    put = [file for path in wrong if (file := before[path]) is not None]
    if put:
        record.files.put(row.id, put)
    forget = [path for path in wrong if before[path] is None]
    if forget:
        record.files.forget(row.id, forget)


def _entries_of(reversals: Sequence[_Reversal]) -> list[Entry]:
    return [entry_from_facts(one.then) for one in reversals if one.then is not None]


def _vectors_of(record: Record, row: CollectionRow, reversals: Sequence[_Reversal]) -> NDArray[np.float32]:
    changes = [one.vector for one in reversals if one.vector is not None]
    if len(changes) != len(reversals):
        lost = next(one.then for one in reversals if one.vector is None)
        raise UndoError(
            f"This cannot be undone exactly: the log keeps no vector of the entry {(lost or {}).get('id')!r}.",
            hint="Restore a snapshot instead.",
        )
    return record.log.vectors_before(changes, row.model.dimension)


def _pages(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _PAGE):
        yield items[start : start + _PAGE]
