"""Taking operations of a gallery back, exactly or not at all. Package-internal; `Curator.undo` is for users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.errors import UndoError
from gallery_db.store.change_log import RESTORED, Operation
from gallery_db.store.entry_rows import entry_from_facts, facts_of
from gallery_db.store.ingested_files import FileRow
from gallery_db.store.record import CollectionRow, Record

__all__ = ["take_back"]

_PAGE = 1000

_T = TypeVar("_T")


@dataclass(slots=True)
class _Way:
    """An entry's way back over all of the operations.

    Attributes:
        now: Its facts as the newest change left them; None where that removed it.
        then: Its facts before the oldest change; None where that added it.
        vector: Number of the change that keeps the vector of `then`; None where the vector is still the same.
        place: Where it stood before it was removed.
    """

    now: dict[str, Any] | None
    then: dict[str, Any] | None
    vector: int | None = None
    place: int | None = None


def take_back(record: Record, row: CollectionRow, operations: Sequence[Operation]) -> int:
    """Put a collection back to before the oldest of its last operations.

    Args:
        record: Open for writing.
        row: The collection.
        operations: The last ones, all of them, the newest first.

    Returns:
        How many entries are other than before.

    Raises:
        UndoError: It cannot be done exactly; nothing was changed.
    """
    for operation in operations:
        if operation.action == RESTORED:
            raise UndoError(
                f"Operation {operation.seq} ({operation.words}) put a whole snapshot back, which no undo reaches over.",
                hint="Restore the snapshot that was taken before it: `gtrack gallery snapshot --list` shows them.",
            )
    first = operations[-1].seq
    with record.transaction():
        ways = _ways(record, row.id, first)
        _check_present(record, row.id, ways)
        moved = [id_ for id_, way in ways.items() if way.now is not None and way.then is not None]
        before: dict[str, FileRow | None] = {file.path: file for file in record.files.of_entries(row.id, moved)}
        before.update(record.files.before(row.id, first))
        changed = _apply(record, row, ways)
        known = record.files.at(row.id, list(before))
        wrong = [path for path, file in before.items() if known.get(path) != file]
        put = [file for path in wrong if (file := before[path]) is not None]
        if put:
            record.files.put(row.id, put)
        forget = [path for path in wrong if before[path] is None]
        if forget:
            record.files.forget(row.id, forget)
        return changed


def _ways(record: Record, collection: int, first: int) -> dict[str, _Way]:
    ways: dict[str, _Way] = {}
    for change in record.log.changes_from(collection, first):
        way = ways.get(change.entry_id)
        if way is None:
            way = ways[change.entry_id] = _Way(change.after, change.before)
        elif way.then != change.after:
            raise UndoError(
                f"The change log does not tell all that happened to the entry {change.entry_id!r}.",
                hint="Restore a snapshot instead: `gtrack gallery snapshot --list` shows them.",
            )
        way.then = change.before
        if change.before is None:
            way.vector = way.place = None
        else:
            if change.has_vector:
                way.vector = change.seq
            if change.entry_seq is not None:
                way.place = change.entry_seq
    return ways


def _check_present(record: Record, collection: int, ways: dict[str, _Way]) -> None:
    for ids in _pages(list(ways)):
        present = record.entries.by_ids(collection, ids)
        for id_ in ids:
            entry, now = present.get(id_), ways[id_].now
            if now is None and entry is not None:
                reason = "exists again"
            elif now is not None and entry is None:
                reason = "is no longer there"
            elif entry is not None and facts_of(entry) != now:
                reason = "was changed since in a way that the log does not know"
            else:
                continue
            raise UndoError(
                f"This cannot be taken back exactly: the entry {id_!r} {reason}. Nothing was changed.",
                hint="Correct the entry by hand, or restore a snapshot.",
            )


def _apply(record: Record, row: CollectionRow, ways: dict[str, _Way]) -> int:
    # What was removed and came back in between stands elsewhere now: out, and in again at its old place.
    out = [id_ for id_, way in ways.items() if way.now is not None and (way.then is None or way.place is not None)]
    back = [way for way in ways.values() if way.then is not None and (way.now is None or way.place is not None)]
    there = [way for way in ways.values() if way.then is not None and way.now is not None and way.place is None]
    changed = sum(ways[id_].then is None for id_ in out)
    for ids in _pages(out):
        record.entries.delete(row.id, ids)
    # In the order of their places, for the sake of those of format 1, which noted none.
    for some in _pages(sorted(back, key=lambda way: way.place or 0)):
        record.entries.insert(row.id, _entries_of(some), _vectors_of(record, row, some), [way.place for way in some])
        changed += len(some)
    for some in _pages([way for way in there if way.vector is not None]):
        record.entries.replace(row.id, _entries_of(some), _vectors_of(record, row, some))
        changed += len(some)
    for some in _pages([way for way in there if way.vector is None]):
        changed += record.entries.update(row.id, _entries_of(some))
    return changed


def _entries_of(ways: Sequence[_Way]) -> list[Entry]:
    return [entry_from_facts(way.then) for way in ways if way.then is not None]


def _vectors_of(record: Record, row: CollectionRow, ways: Sequence[_Way]) -> NDArray[np.float32]:
    changes = [way.vector for way in ways if way.vector is not None]
    if len(changes) != len(ways):
        lost = next(way.then for way in ways if way.vector is None)
        raise UndoError(
            f"This cannot be taken back exactly: the log keeps no vector of the entry {(lost or {}).get('id')!r}.",
            hint="Restore a snapshot instead.",
        )
    return record.log.vectors_before(changes, row.model.dimension)


def _pages(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _PAGE):
        yield items[start : start + _PAGE]
