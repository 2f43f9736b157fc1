"""Restore a snapshot as an operation of the log, which can be undone: only what differs from it is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gallery_db.store.changes import RESTORED
from gallery_db.store.ingested_files import FileRow
from gallery_db.store.record import CollectionRow, Record
from gallery_db.store.thresholds import change_thresholds, thresholds_for_others, without_counters

__all__ = ["restore_entries"]

_PAGE = 1000

_T = TypeVar("_T")


@dataclass(slots=True)
class _Differences:
    """What has to be done to a collection to make it that of a snapshot, as ids of entries.

    Attributes:
        removed: What the snapshot does not have, or at another place.
        added: What the collection does not have, or at another place: (id, row number).
        updated: What has another description.
        replaced: What has another vector.
    """

    removed: list[str] = field(default_factory=list)
    added: list[tuple[str, int]] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)


def restore_entries(present: Record, snapshot: Path, words: str) -> bool:
    """Make the entries, files and thresholds of all collections those of a snapshot, as one operation.

    Collections that the snapshot does not have lose their entries.

    Args:
        present: The record, open for writing.
        snapshot: The snapshot's file, in the newest format.
        words: The operation's description.

    Returns:
        False if one of the two is damaged, or if the snapshot has a collection that the record does not have; then
        nothing was changed.
    """
    source = Record.open(snapshot, write=False)
    try:
        theirs = {row.id: row for row in source.collections()}
        ours = present.collections()
        known = {(row.id, row.name, row.model.sha256, row.model.dimension, row.model.preprocessing) for row in ours}
        if not all(
            (row.id, row.name, row.model.sha256, row.model.dimension, row.model.preprocessing) in known
            for row in theirs.values()
        ):
            return False
        if _is_damaged(present) or _is_damaged(source):
            return False
        with present.operation(RESTORED, words), present.transaction():
            for row in ours:
                _restore_collection(present, row, source if row.id in theirs else None)
        return True
    finally:
        source.close()


def _is_damaged(record: Record) -> bool:
    return bool(record.check_integrity()) or any(
        record.entries.find_damaged(row.id, row.model.dimension) for row in record.collections()
    )


def _restore_collection(present: Record, row: CollectionRow, source: Record | None) -> None:
    """Make a collection that of a snapshot with the same collections; empty it if `source` is None."""
    if source is None:
        for ids in _pages(present.entries.ids(row.id)):
            present.entries.delete(row.id, ids)
        return
    had_thresholds = thresholds_for_others(present, row.id)
    generation = present.generation(row.id)
    found = _compare(present, source, row.id)
    for ids in _pages(found.removed):
        present.entries.delete(row.id, ids)
    for some in _pages(found.added):
        entries, vectors = source.entries.with_vectors(row.id, [id_ for id_, _ in some], row.model.dimension)
        present.entries.insert(row.id, entries, vectors, [seq for _, seq in some])
    for ids in _pages(found.replaced):
        present.entries.replace(row.id, *source.entries.with_vectors(row.id, ids, row.model.dimension))
    for ids in _pages(found.updated):
        present.entries.update(row.id, list(source.entries.by_ids(row.id, ids).values()))
    _restore_files(present, source, row.id)
    thresholds = thresholds_for_others(source, row.id)
    if present.generation(row.id) != generation or without_counters(thresholds) != without_counters(had_thresholds):
        change_thresholds(present, row.id, thresholds, had_thresholds)


def _compare(present: Record, source: Record, collection: int) -> _Differences:
    found = _Differences()
    pairs = _merged(
        present.entries.stored_rows(collection), source.entries.stored_rows(collection), lambda stored: int(stored[0])
    )
    for ours, theirs in pairs:
        if ours is not None and theirs is not None and ours[1] == theirs[1]:
            if ours[-1] != theirs[-1]:
                found.replaced.append(ours[1])
            elif ours != theirs:
                found.updated.append(ours[1])
            continue
        if ours is not None:
            found.removed.append(ours[1])
        if theirs is not None:
            found.added.append((theirs[1], theirs[0]))
    return found


def _restore_files(present: Record, source: Record, collection: int) -> None:
    put: list[FileRow] = []
    forgotten: list[str] = []
    for ours, theirs in _merged(present.files.all(collection), source.files.all(collection), lambda file: file.path):
        if theirs is None:
            assert ours is not None
            forgotten.append(ours.path)
        elif ours != theirs:
            put.append(theirs)
    for files in _pages(put):
        present.files.put(collection, files)
    for paths in _pages(forgotten):
        present.files.forget(collection, paths)


def _merged(
    ours: Iterator[_T], theirs: Iterator[_T], key: Callable[[_T], Any]
) -> Iterator[tuple[_T | None, _T | None]]:
    """Yield the items of two sorted iterators, those of the same key together; None where one has no such item."""
    one, other = next(ours, None), next(theirs, None)
    while one is not None or other is not None:
        if other is None or (one is not None and key(one) < key(other)):
            yield one, None
            one = next(ours, None)
        elif one is None or key(other) < key(one):
            yield None, other
            other = next(theirs, None)
        else:
            yield one, other
            one, other = next(ours, None), next(theirs, None)


def _pages(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _PAGE):
        yield items[start : start + _PAGE]
