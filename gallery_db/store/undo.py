"""Undo and redo operations, exactly or not at all; `gallery_db.Gallery.undo` and `redo` are the public methods."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.errors import GalleryError, UndoError
from gallery_db.store.changes import REDO, UNDO, HistoryStep
from gallery_db.store.entry_rows import entry_from_facts, facts_of
from gallery_db.store.thresholds import THRESHOLDS, change_thresholds, thresholds_for_others

if TYPE_CHECKING:
    from gallery_db.store.changes import Operation
    from gallery_db.store.history import History, Step
    from gallery_db.store.ingested_files import FileRow
    from gallery_db.store.record import CollectionRow, Record

__all__ = ["redo_operations", "undo_operations"]

_PAGE = 1000

_T = TypeVar("_T")


@dataclass(slots=True)
class _Reversal:
    """What an undo or a redo has to do to an entry, over all changes of one operation.

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


def undo_operations(record: Record, row: CollectionRow, count: int = 1) -> HistoryStep:
    """Undo the last operations of a collection that are not undone, as an undo operation for each of them.

    Args:
        record: Open for writing.
        row: The collection.
        count: Number of operations, at least 1.

    Raises:
        UndoError: There are fewer operations, or they cannot be undone exactly; nothing was changed.
    """
    return _walk(record, row, UNDO, count)


def redo_operations(record: Record, row: CollectionRow, count: int = 1) -> HistoryStep:
    """Do the last undone operations of a collection again, as a redo operation for each of them.

    Args:
        record: Open for writing.
        row: The collection.
        count: Number of operations, at least 1.

    Raises:
        UndoError: There are fewer undone operations, a new operation was made since, or they cannot be done again
            exactly; nothing was changed.
    """
    return _walk(record, row, REDO, count)


def _walk(record: Record, row: CollectionRow, action: str, count: int) -> HistoryStep:
    if count < 1:
        raise GalleryError(f"Expected to {action} at least one operation, found {count}.", hint="Give 1 or more.")
    with record.transaction():
        history = record.log.history(row.id)
        steps = history.done if action == UNDO else history.undone
        if len(steps) < count:
            raise _too_few(row, history, action, count)
        # Each of them is the last one that was done or undone when its turn comes, so that its own changes suffice.
        chosen = steps[-count:][::-1]
        found = record.log.operations_by_number([step.operation for step in chosen], undone=action == UNDO)
        operations = tuple(found[step.operation] for step in chosen)
        changed: set[str] = set()
        for operation, step in zip(operations, chosen, strict=True):
            words = f"{action} {operation.seq}: {operation.words}"
            with record.log.walk(row.id, action, words, operation.seq):
                changed.update(_reverse(record, row, step.last))
        after = record.log.history(row.id)
        return HistoryStep(
            operations,
            len(changed),
            _next(record, after.done, undone=False),
            _next(record, after.undone, undone=True),
        )


def _next(record: Record, steps: Sequence[Step], *, undone: bool) -> Operation | None:
    if not steps:
        return None
    number = steps[-1].operation
    return record.log.operations_by_number([number], undone=undone)[number]


def _too_few(row: CollectionRow, history: History, action: str, count: int) -> UndoError:
    """Return the error for an undo or a redo of more operations than there are."""
    there = len(history.done if action == UNDO else history.undone)
    asked = (
        f"The collection {row.name} has {there} operation{'' if there == 1 else 's'} to {action}; expected {count}."
        if there
        else f"There is nothing to {action} in the collection {row.name}."
    )
    hint = "`gtrack gallery log` shows the operations."
    if action == UNDO and history.wall is not None:
        asked += f" Operation {history.wall} put a snapshot in the place of the whole record, with its log."
        hint = "Restore a snapshot instead: `gtrack gallery snapshot --list` shows them."
    elif action == REDO and history.dropped is not None:
        asked += f" Operation {history.dropped} was made after the last undo, and ended the redo."
    return UndoError(asked, hint=hint)


def _reverse(record: Record, row: CollectionRow, operation: int) -> Collection[str]:
    """Reverse the changes of an operation, within a transaction; return the ids of the entries that changed."""
    reversals = _reversals(record, row.id, operation)
    had_thresholds = thresholds_for_others(record, row.id)
    _check_present(record, row.id, reversals)
    kept = [id_ for id_, one in reversals.items() if one.now is not None and one.then is not None]
    before: dict[str, FileRow | None] = {file.path: file for file in record.files.of_entries(row.id, kept)}
    before.update(record.files.before(row.id, operation))
    _apply(record, row, reversals)
    _restore_files(record, row, before)
    if (thresholds := record.log.settings_before(row.id, operation).get(THRESHOLDS)) is not None:
        change_thresholds(record, row.id, thresholds, had_thresholds)
    return reversals.keys()


def _reversals(record: Record, collection: int, operation: int) -> dict[str, _Reversal]:
    reversals: dict[str, _Reversal] = {}
    for change in record.log.changes_of(collection, operation):
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
    """Refuse if an entry differs from what the newest change made of it."""
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
                f"This cannot be done exactly: the entry {id_!r} {reason}. Nothing was changed.",
                hint="Correct the entry by hand, or restore a snapshot.",
            )


def _apply(record: Record, row: CollectionRow, reversals: dict[str, _Reversal]) -> None:
    # An entry that was removed and added again has another row number now: it is removed, and added with its old one.
    removed = [
        id_ for id_, one in reversals.items() if one.now is not None and (one.then is None or one.seq is not None)
    ]
    added = [one for one in reversals.values() if one.then is not None and (one.now is None or one.seq is not None)]
    kept = [one for one in reversals.values() if one.then is not None and one.now is not None and one.seq is None]
    for ids in _pages(removed):
        record.entries.delete(row.id, ids)
    # In the order of their row numbers; the log of format 1 does not hold them.
    for some in _pages(sorted(added, key=lambda one: one.seq or 0)):
        record.entries.insert(row.id, _entries_of(some), _vectors_of(record, row, some), [one.seq for one in some])
    for some in _pages([one for one in kept if one.vector is not None]):
        record.entries.replace(row.id, _entries_of(some), _vectors_of(record, row, some))
    for some in _pages([one for one in kept if one.vector is None]):
        record.entries.update(row.id, _entries_of(some))


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
            f"This cannot be done exactly: the log keeps no vector of the entry {(lost or {}).get('id')!r}.",
            hint="Restore a snapshot instead.",
        )
    return record.log.vectors_before(changes, row.model.dimension)


def _pages(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _PAGE):
        yield items[start : start + _PAGE]
