"""Keep the table of a `GalleryView` up to date with the gallery's record."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.rejections import Rejections
from gallery_db.search.table import EntryTable
from gallery_db.spaces.cameras import camera_of, cameras_of
from gallery_db.spaces.space import EmbeddingSpace

if TYPE_CHECKING:
    from gallery_db.store.record import Record

__all__ = ["RecordReader", "ViewChange"]

_MAX_CHANGES = 5000
"""Changes that are applied one by one; more of them take longer than to read the whole collection again."""

_ROUNDING = 1e-6
"""Largest difference of a number between two adaptations of one embedding, made with others beside it."""

_WHOLE_IDENTITY_ACTIONS = ("rename", "merge")
"""Operations that change an identity as a whole."""


@dataclass(frozen=True, slots=True)
class ViewChange:
    """What a refresh found changed in the gallery.

    Attributes:
        entries: The changed entries by id, as they are now; None for a removed entry. Entries that the view excludes
            are among them. Empty where the whole collection was read again.
        renamed: Identities that have another name now: old name -> new name.
        reset: Whether column numbers, the identities of entries or the rejections changed, so that everything derived
            from columns or distances must be computed again. If False, entries were only appended or removed.
    """

    entries: Mapping[str, Entry | None]
    renamed: Mapping[str, str]
    reset: bool


class RecordReader:
    """Reads a collection into a table and applies later changes to it.

    Entries can also be appended to the table by hand, before the gallery stores them (`note_appended`). They stay as
    given until the record has a change of theirs.

    Args:
        table: The table to fill.
        record: The gallery's record.
        collection: Key of the collection.
        excluded: Ids of entries that the table never shows.
        space: Makes the table's vectors of embeddings; None where they are the embeddings.

    Attributes:
        generation: Generation of the collection that the table shows.
    """

    def __init__(
        self,
        table: EntryTable,
        record: Record,
        collection: int,
        excluded: Collection[str],
        space: EmbeddingSpace | None = None,
    ) -> None:
        self._table = table
        self._record = record
        self._collection = collection
        self._space = space
        self._dimension = table.dimension if space is None else space.input_dimension
        self._excluded = set(excluded)
        self._appended_by_hand: set[str] = set()
        self._unconfirmed: set[str] = set()  # appended by hand, and not in the record's changes yet
        self.generation = -1
        self._last_change = 0
        self._read_all()

    def note_appended(self, ids: Collection[str]) -> None:
        """Note entries that are appended to the table by hand; they are excluded no longer."""
        self._excluded.difference_update(ids)
        self._appended_by_hand.update(ids)
        self._unconfirmed.update(ids)

    def refresh(self) -> ViewChange | None:
        """Apply what changed in the record since the last call; see `GalleryView.refresh`."""
        record = self._record
        generation = record.generation(self._collection)
        if generation == self.generation:
            return None
        changes = record.log.recent(self._collection, self._last_change, _MAX_CHANGES)
        if changes is None:
            self._read_all()
            return ViewChange({}, {}, True)
        actions = {id_: action for _, id_, action, _ in changes}
        rejections_changed = any(concerns_rejection for _, _, _, concerns_rejection in changes)
        found, embeddings = record.entries.with_vectors(self._collection, list(actions), self._dimension)
        vectors = self._adapted(embeddings, [camera_of(entry) for entry in found])
        current = {entry.id: (entry, vector) for entry, vector in zip(found, vectors, strict=True)}
        moved = self._apply(list(actions), current)
        renamed = self._find_renamed(moved, actions)
        if rejections_changed:
            self._read_rejections()
        sorting = self._table.needs_sorting()
        if sorting:
            self._table.sort()
        self.generation = generation
        self._last_change = max((number for number, _, _, _ in changes), default=self._last_change)
        entries = {id_: current[id_][0] if id_ in current else None for id_ in actions}
        return ViewChange(entries, renamed, sorting or rejections_changed or bool(moved))

    def _read_all(self) -> None:
        rows = self._record.entries.view_rows(self._collection, self._dimension)
        unconfirmed, appended = self._table.appended_entries(self._unconfirmed)
        if self._excluded or unconfirmed:
            rows = rows.without(self._excluded | {entry.id for entry in unconfirmed})
        has_cameras = self._space is not None and self._space.camera_means
        vectors = self._adapted(rows.vectors, cameras_of(rows) if has_cameras else None)
        self._table.load(rows.ids, rows.identities, rows.class_names, rows.origins, vectors)
        if unconfirmed:
            self._table.append(unconfirmed, appended)
        self._read_rejections()
        self.generation, self._last_change = rows.generation, rows.change

    def _read_rejections(self) -> None:
        # A person's rejection counts also where the view excludes the rejected entry itself.
        names, embeddings = self._record.entries.rejections(self._collection, self._dimension)
        self._table.rejections = Rejections(names, self._adapted(embeddings, None)) if names else None

    def _adapted(self, embeddings: NDArray[np.float32], cameras: Sequence[str | None] | None) -> NDArray[np.float32]:
        return embeddings if self._space is None else self._space.apply(embeddings, cameras)

    def _apply(
        self, ids: Sequence[str], current: Mapping[str, tuple[Entry, NDArray[np.float32]]]
    ) -> dict[str, dict[str, str]]:
        """Show changed entries as they are now.

        Args:
            ids: The changed entries.
            current: Those of them that still exist, with their vectors (D,).

        Returns:
            The entries that moved to another identity: old identity -> entry id -> new identity.
        """
        table = self._table
        moved: dict[str, dict[str, str]] = defaultdict(dict)
        removed: list[str] = []
        added: list[str] = []
        for id_ in ids:
            self._unconfirmed.discard(id_)
            if id_ in self._excluded:
                continue
            shown = table.find(id_)
            if shown is not None:
                if id_ in current:
                    entry, vector = current[id_]
                    same_column = table.column_of(entry.identity, entry.class_name) == shown.column
                    same_origin = (entry.origin == "track") == shown.enrolled
                    if same_column and same_origin and np.allclose(vector, shown.vector, rtol=0, atol=_ROUNDING):
                        continue
                    old = table.names[shown.column]
                    if entry.identity != old:
                        moved[old][id_] = entry.identity
                removed.append(id_)
            if id_ in current:
                added.append(id_)
        vectors = [current[id_][1] for id_ in added]
        table.update(
            removed,
            [current[id_][0] for id_ in added],
            np.stack(vectors) if vectors else np.empty((0, table.dimension), np.float32),
        )
        return moved

    def _find_renamed(self, moved: Mapping[str, Mapping[str, str]], actions: Mapping[str, str]) -> dict[str, str]:
        """Return which of the identities that lost entries were renamed: old name -> new name.

        Args:
            moved: As `_apply` returns it.
            actions: The operation that changed each entry, by id.
        """
        renamed = {}
        ids = self._table.entry_ids if moved else ()
        for old, entries in moved.items():
            if len(set(entries.values())) > 1:
                continue
            left = {ids[row] for row in self._table.rows_of(identity=old)}
            # Who renamed the identity could not know of entries that were only appended here: they do not count.
            whole = all(actions[id_] in _WHOLE_IDENTITY_ACTIONS for id_ in entries)
            if not left or (left <= self._appended_by_hand and whole):
                renamed[old] = next(iter(entries.values()))
        return renamed
