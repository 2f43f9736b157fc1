"""What the change log of a record holds, as classes, and the protocol of a change feed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.store.entry_rows import facts_of

__all__ = [
    "REDO",
    "REPLACED",
    "RESTORED",
    "UNDO",
    "Change",
    "ChangeFeed",
    "HistoryStep",
    "LogLine",
    "LoggedChange",
    "Operation",
    "RecentChange",
]

RESTORED = "restore"
"""The action of an operation that restored a snapshot."""

REPLACED = "replace-record"
"""The action of an operation that put a snapshot in the place of the whole record, log included. It ends every undo."""

UNDO = "undo"
"""The action of an operation that undid another one, its `target`."""

REDO = "redo"
"""The action of an operation that did an undone one again, its `target`."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a gallery's change log.

    Attributes:
        seq: Number of the change, increasing.
        at: When, ISO 8601 UTC.
        who: ``user@host``.
        action: ``"add"``, ``"update"``, ``"replace"`` or ``"remove"``.
        entry_id: The entry that was changed.
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
    """Something that a user or a run did to a gallery: all of its changes were made, or none.

    Attributes:
        seq: Number of the operation, increasing.
        at: When, ISO 8601 UTC.
        who: ``user@host``.
        action: One word, such as ``"rename"`` or ``"ingest"``.
        words: A description.
        entries: Number of entries that it changed.
        target: Number of the operation that an undo undid, or that a redo did again; None for other operations.
        undone: Whether it is undone now.
    """

    seq: int
    at: str
    who: str
    action: str
    words: str
    entries: int
    target: int | None = None
    undone: bool = False


@dataclass(frozen=True, slots=True)
class HistoryStep:
    """The result of an undo or a redo.

    Attributes:
        operations: The operations that were undone or done again, in this order.
        entries: Number of entries that changed.
        next_undo: The operation that the next undo undoes; None if there is none.
        next_redo: The operation that the next redo does again; None if there is none.
    """

    operations: tuple[Operation, ...]
    entries: int
    next_undo: Operation | None
    next_redo: Operation | None


class LoggedChange(NamedTuple):
    """A change as `gallery_db.store.undo` needs it.

    Attributes:
        seq: Number of the change.
        entry_id: The entry that was changed.
        before: Its fields before the change; None if there was no such entry.
        after: Its fields after the change; None if there was no such entry any more.
        has_vector: Whether the log keeps the vector that the entry had before.
        entry_seq: Row number of a removed entry.
    """

    seq: int
    entry_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    has_vector: bool
    entry_seq: int | None


class RecentChange(NamedTuple):
    """A change as a view needs it to follow the gallery.

    Attributes:
        seq: Number of the change.
        entry_id: The entry that was changed.
        action: The action of its operation; empty where that is not known.
        rejects: Whether the entry rejects an identity, before or after the change.
    """

    seq: int
    entry_id: str
    action: str
    rejects: bool


class LogLine(NamedTuple):
    """A change to write to the log.

    Attributes:
        at: When, ISO 8601 UTC.
        entry_id: The entry.
        before: The entry before the change; None for a new one.
        after: The entry after the change; None for a removed one.
        vector: Its vector before the change, as the record stores it; None if that stays.
        entry_seq: Row number of a removed entry, which an undo gives it again.
    """

    at: str
    entry_id: str
    before: Entry | None = None
    after: Entry | None = None
    vector: bytes | None = None
    entry_seq: int | None = None

    @property
    def detail(self) -> str:
        """The entry before and after the change, as JSON."""
        detail = {}
        if self.before is not None:
            detail["before"] = facts_of(self.before)
        if self.after is not None:
            detail["after"] = facts_of(self.after)
        return json.dumps(detail, ensure_ascii=False)


class ChangeFeed(Protocol):
    """Receives every change that is made in a record, to bring it to other records of the gallery."""

    def note(
        self,
        action: str,
        collection: int,
        entries: Sequence[Entry],
        vectors: NDArray[np.float32] | None,
        operation: int,
    ) -> None:
        """Take changed entries, in the transaction that is open.

        Args:
            action: ``"add"``, ``"update"``, ``"replace"`` or ``"remove"``.
            collection: Their collection.
            entries: N entries.
            vectors: (N, D) float32, where the change sets them.
            operation: Number of the operation.
        """
        ...

    def note_setting(self, collection: int, name: str, value: str) -> None:
        """Take a collection's new setting, in the transaction that is open; see `Record.put_setting`."""
        ...

    def committed(self) -> None:
        """Handle the commit of a transaction in which something was noted; no lock is held."""
        ...
