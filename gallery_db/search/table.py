"""The table behind a `GalleryView`: a row for each entry, a column for each identity of one class.

The rows stand in two blocks. The *loaded* block is sorted by column, so that the best entry of every identity comes
from one matrix product and one ``reduceat``. Entries that come later go to the *appended* block, which is small and
sorted by column as well; when it gets large, it is merged into the loaded block. A loaded entry that is removed stays
in the arrays, with an infinite penalty: to take it out, all other rows would have to move. When too much has changed,
everything is sorted into one loaded block again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.rejections import Rejections
from gallery_db.search.similarity_bounds import SimilarityBounds

__all__ = ["BOUNDS_MIN_ENTRIES", "TRACK_PENALTY", "EntryTable", "RowBlock", "ShownEntry"]

BOUNDS_MIN_ENTRIES = 2000
"""Entries from which similarity bounds are used; below it, one product with all entries is as fast."""

_MERGED_ROWS = 500
"""Appended rows from which on they are merged into the loaded block, or an eighth of its rows if these are more."""

TRACK_PENALTY = 0.03
"""Cosine distance added to an entry enrolled from a video, where its identity also has reviewed images.

Without it, a gallery that enrols automatically would drift: a track enrolled under a wrong name would attract the next
wrong one. An image that a person chose counts more than a conclusion of the gallery.
"""


@dataclass(slots=True)
class RowBlock:
    """Rows sorted by column.

    Attributes:
        ids: n entry ids.
        columns: (n,) the column of each row, ascending.
        enrolled: (n,) whether the entry was enrolled from a video.
        vectors: (n, D) float32, rows of unit length, C-contiguous.
        penalties: (n,) float32, subtracted from the row's similarities: 0, `TRACK_PENALTY`, or inf for a removed
            entry; None where all are 0.
    """

    ids: tuple[str, ...]
    columns: NDArray[np.intp]
    enrolled: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    penalties: NDArray[np.float32] | None = None


class ShownEntry(NamedTuple):
    """An entry as the table shows it.

    Attributes:
        column: Its column.
        enrolled: Whether it was enrolled from a video.
        vector: (D,) float32.
    """

    column: int
    enrolled: bool
    vector: NDArray[np.float32]


class EntryTable:
    """The entries that a view shows, ready for matrix products.

    Attributes:
        dimension: D, the length of the vectors.
        names: The I identity names, one for each column.
        classes: The I class names, one for each column.
        class_codes: The number of each class, by its case-folded name.
        column_codes: (I,) the class number of each column.
        loaded: The rows that were loaded together.
        starts: The first loaded row of each column; shorter than I where columns were appended.
        removed: (n,) which loaded rows are removed; None for none.
        appended: The rows that were appended since.
        rejections: Entries that a person said do not show an identity; None for none.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    class_codes: dict[str, int]
    column_codes: NDArray[np.intp]
    loaded: RowBlock
    starts: NDArray[np.intp]
    removed: NDArray[np.bool_] | None
    appended: RowBlock

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.rejections: Rejections | None = None
        self.load([], [], [], [], np.empty((0, dimension), np.float32))

    # -- changing --------------------------------------------------------------------------------------------

    def load(
        self,
        ids: Sequence[str],
        identities: Sequence[str],
        class_names: Sequence[str],
        origins: Sequence[str],
        vectors: NDArray[np.float32],
    ) -> None:
        """Replace all entries by N others, and sort them by identity and class.

        Args:
            ids: N entry ids.
            identities: N identity names.
            class_names: N class names.
            origins: N of ``"image"`` or ``"track"``.
            vectors: (N, D) float32, rows of unit length.
        """
        folded = [name.casefold() for name in class_names]
        order = sorted(range(len(ids)), key=lambda row: (identities[row], folded[row]))
        names: list[str] = []
        classes: list[str] = []
        starts: list[int] = []
        codes: dict[str, int] = {}
        column_codes: list[int] = []
        column_of: dict[tuple[str, str], int] = {}
        for position, row in enumerate(order):
            key = (identities[row], folded[row])
            if key not in column_of:
                column_of[key] = len(names)
                names.append(identities[row])
                classes.append(class_names[row])
                starts.append(position)
                column_codes.append(codes.setdefault(folded[row], len(codes)))
        self.names = tuple(names)
        self.classes = tuple(classes)
        self.class_codes = codes
        self.column_codes = np.asarray(column_codes, dtype=np.intp)
        self._column_of = column_of
        sizes = np.diff([*starts, len(order)])
        self._set_loaded(
            RowBlock(
                tuple(ids[row] for row in order),
                np.repeat(np.arange(len(names), dtype=np.intp), sizes),
                np.asarray([origins[row] == "track" for row in order], dtype=bool),
                np.ascontiguousarray(vectors[order] if order else vectors),
            )
        )
        self._update_penalties()

    def _set_loaded(self, block: RowBlock) -> None:
        """Let a block hold all rows."""
        self.loaded = block
        self.starts = np.searchsorted(block.columns, np.arange(len(self.names)))
        self.removed = None
        self.appended = RowBlock((), np.empty(0, np.intp), np.empty(0, bool), np.empty((0, self.dimension), np.float32))
        self._bounds: SimilarityBounds | None = None
        self._bounds_learned = False
        self._loaded_rows: dict[str, int] | None = None
        self._appended_rows: dict[str, int] | None = None
        self._all_vectors: NDArray[np.float32] | None = None

    def append(self, entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
        """Add entries; no column gets another number, but rows may.

        Args:
            entries: n entries with new ids.
            vectors: (n, D) float32, rows of unit length.
        """
        self._append(entries, vectors)
        if self.removed is None and len(self.appended.ids) > max(_MERGED_ROWS, len(self.loaded.ids) // 8):
            self._merge()
        self._update_penalties()

    def update(self, removed: Collection[str], entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
        """Remove entries by their ids, then append others; columns keep their numbers.

        Args:
            removed: Ids of shown entries.
            entries: n entries to append.
            vectors: (n, D) float32, rows of unit length.
        """
        appended_rows = self._find_appended_rows()
        loaded = [id_ for id_ in removed if id_ not in appended_rows]
        appended = [appended_rows[id_] for id_ in removed if id_ in appended_rows]
        if loaded:
            row_of = self.loaded_rows()
            self.removed = np.zeros(len(self.loaded.ids), bool) if self.removed is None else self.removed
            self.removed[[row_of[id_] for id_ in loaded]] = True
        if appended:
            kept = np.delete(np.arange(len(self.appended.ids)), appended)
            block = self.appended
            self.appended = RowBlock(
                tuple(block.ids[row] for row in kept), block.columns[kept], block.enrolled[kept], block.vectors[kept]
            )
        self._appended_rows = None
        self._all_vectors = None
        if entries:
            self._append(entries, vectors)
        self._update_penalties()

    def sort(self) -> None:
        """Sort all entries into one loaded block; rows and columns get other numbers."""
        columns = self.row_columns
        self.load(
            self.entry_ids,
            [self.names[column] for column in columns],
            [self.classes[column] for column in columns],
            self.origins,
            self.embeddings,
        )

    def needs_sorting(self) -> bool:
        """Return whether a column has no entry left, or so much changed that `sort` costs less than to go on."""
        entries = np.bincount(self.row_columns, minlength=len(self.names))
        changed = self._removed_count + len(self.appended.ids)
        return bool((entries == 0).any()) or changed > max(BOUNDS_MIN_ENTRIES, len(self.loaded.ids) // 8)

    def _merge(self) -> None:
        """Merge the appended rows into the loaded block; every column has a row, and keeps its number."""
        columns, vectors = self.row_columns, self.embeddings
        order = np.argsort(columns, kind="stable")
        ids = self.entry_ids
        enrolled = np.append(self.loaded.enrolled, self.appended.enrolled)
        columns = columns[order]
        self._set_loaded(RowBlock(tuple(ids[row] for row in order), columns, enrolled[order], vectors[order]))

    def _append(self, entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
        names, classes, column_codes = list(self.names), list(self.classes), self.column_codes.tolist()
        columns: list[int] = []
        for entry in entries:
            folded = entry.class_name.casefold()
            column = self._column_of.setdefault((entry.identity, folded), len(names))
            if column == len(names):
                names.append(entry.identity)
                classes.append(entry.class_name)
                column_codes.append(self.class_codes.setdefault(folded, len(self.class_codes)))
            columns.append(column)
        if len(names) > len(self.names):
            self.names, self.classes = tuple(names), tuple(classes)
            self.column_codes = np.asarray(column_codes, dtype=np.intp)
        block = self.appended
        joined = np.append(block.columns, columns).astype(np.intp)
        order = np.argsort(joined, kind="stable")
        ids = [*block.ids, *(entry.id for entry in entries)]
        enrolled = np.append(block.enrolled, [entry.origin == "track" for entry in entries]).astype(bool)
        self.appended = RowBlock(
            tuple(ids[row] for row in order),
            joined[order],
            enrolled[order],
            np.ascontiguousarray(np.concatenate([block.vectors, vectors])[order]),
        )
        self._appended_rows = None
        self._all_vectors = None

    def _update_penalties(self) -> None:
        loaded, appended = self.loaded, self.appended
        reviewed = np.zeros(len(self.names), bool)
        images = ~loaded.enrolled if self.removed is None else ~(loaded.enrolled | self.removed)
        reviewed[loaded.columns[images]] = True
        reviewed[appended.columns[~appended.enrolled]] = True
        loaded.penalties = _track_penalties(loaded.enrolled & reviewed[loaded.columns])
        if self.removed is not None:
            if loaded.penalties is None:
                loaded.penalties = np.zeros(len(loaded.ids), np.float32)
            loaded.penalties[self.removed] = np.inf
        appended.penalties = _track_penalties(appended.enrolled & reviewed[appended.columns])

    # -- reading ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Number of entries, N."""
        return len(self.loaded.ids) - self._removed_count + len(self.appended.ids)

    @property
    def entry_ids(self) -> tuple[str, ...]:
        """The N entry ids, by row."""
        ids = self.loaded.ids
        if self.removed is not None:
            ids = tuple(id_ for id_, removed in zip(ids, self.removed.tolist(), strict=True) if not removed)
        return (*ids, *self.appended.ids) if self.appended.ids else ids

    @property
    def origins(self) -> tuple[str, ...]:
        """The N origins, ``"image"`` or ``"track"``, by row."""
        enrolled = np.append(self.loaded.enrolled[self._kept], self.appended.enrolled)
        return tuple("track" if own else "image" for own in enrolled)

    @property
    def row_columns(self) -> NDArray[np.intp]:
        """(N,) the column of each row."""
        columns = self.loaded.columns[self._kept]
        return np.append(columns, self.appended.columns) if self.appended.ids else columns

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(N, D) float32, rows of unit length, by row."""
        if not self.appended.ids and self.removed is None:
            return self.loaded.vectors
        if self._all_vectors is None:
            self._all_vectors = np.concatenate([self.loaded.vectors[self._kept], self.appended.vectors])
        return self._all_vectors

    def column_of(self, identity: str, class_name: str) -> int | None:
        """Return the column of an identity and a class, in upper or lower case; None where there is none."""
        return self._column_of.get((identity, class_name.casefold()))

    def column_rows(self, column: int) -> tuple[slice, slice]:
        """Return the rows of a column in the loaded block, removed ones included, and in the appended block."""
        loaded = slice(0, 0)
        if column < len(self.starts):
            stop = self.starts[column + 1] if column + 1 < len(self.starts) else len(self.loaded.vectors)
            loaded = slice(int(self.starts[column]), int(stop))
        first, last = np.searchsorted(self.appended.columns, [column, column + 1]).tolist()
        return loaded, slice(first, last)

    def column_embeddings(self, column: int) -> NDArray[np.float32]:
        """Return the embeddings (n, D) of a column's entries."""
        loaded, appended = self.column_rows(column)
        vectors, more = self.loaded.vectors, self.appended.vectors
        if self.removed is not None and self.removed[loaded].any():
            return np.concatenate([vectors[loaded][~self.removed[loaded]], more[appended]])
        if loaded.start == loaded.stop or appended.start == appended.stop:
            return vectors[loaded] if loaded.start != loaded.stop else more[appended]
        return np.concatenate([vectors[loaded], more[appended]])

    def enrolled(self, identity: str, class_name: str) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """Return the ids and the embeddings (n, D) of an identity's entries that were enrolled from videos."""
        column = self._column_of.get((identity, class_name.casefold()), -1)
        loaded, appended = self.loaded, self.appended
        rows = np.flatnonzero((loaded.columns == column) & loaded.enrolled)
        if self.removed is not None:
            rows = rows[~self.removed[rows]]
        more = np.flatnonzero((appended.columns == column) & appended.enrolled)
        ids = (*(loaded.ids[row] for row in rows), *(appended.ids[row] for row in more))
        return ids, np.concatenate([loaded.vectors[rows], appended.vectors[more]])

    def find(self, id_: str) -> ShownEntry | None:
        """Return an entry as it is shown; None where it is not."""
        row = self._find_appended_rows().get(id_, -1)
        if row >= 0:
            block = self.appended
        else:
            block = self.loaded
            row = self.loaded_rows().get(id_, -1)
            if row < 0 or (self.removed is not None and self.removed[row]):
                return None
        return ShownEntry(int(block.columns[row]), bool(block.enrolled[row]), block.vectors[row])

    def appended_entries(self, ids: Collection[str]) -> tuple[list[Entry], NDArray[np.float32]]:
        """Return the appended entries among these ids, as far as the table knows them, and their vectors (n, D)."""
        block = self.appended
        rows = [row for row, id_ in enumerate(block.ids) if id_ in ids]
        entries = [
            Entry(
                block.ids[row],
                self.names[block.columns[row]],
                self.classes[block.columns[row]],
                "track" if block.enrolled[row] else "image",
            )
            for row in rows
        ]
        return entries, block.vectors[rows]

    def rows_of(
        self, *, class_name: str | None = None, identity: str | None = None, ids: Sequence[str] | None = None
    ) -> NDArray[np.intp]:
        """Return the row numbers, ascending, of the entries that meet all given conditions."""
        columns = np.ones(len(self.names), bool)
        if class_name is not None:
            columns &= self.column_codes == self.class_codes.get(class_name.casefold(), -1)
        if identity is not None:
            columns &= np.asarray([name == identity for name in self.names], dtype=bool)
        selected = columns[self.row_columns]
        if ids is not None:
            loaded = np.zeros(len(self.loaded.ids), bool)
            row_of = self.loaded_rows()
            loaded[[row_of[id_] for id_ in ids if id_ in row_of]] = True
            wanted = set(ids) if self.appended.ids else set()
            appended = np.asarray([id_ in wanted for id_ in self.appended.ids], dtype=bool)
            selected &= np.append(loaded[self._kept], appended)
        return np.flatnonzero(selected)

    def loaded_rows(self) -> dict[str, int]:
        """Return the row of each entry in the loaded block, removed entries included, by id."""
        if self._loaded_rows is None:
            self._loaded_rows = {id_: row for row, id_ in enumerate(self.loaded.ids)}
        return self._loaded_rows

    def bounds(self) -> SimilarityBounds | None:
        """Return the similarity bounds of the loaded rows, learned at the first call.

        Returns:
            None where there are fewer than `BOUNDS_MIN_ENTRIES` loaded rows, or where bounds would not help.
        """
        if not self._bounds_learned:
            self._bounds_learned = True
            if len(self.loaded.vectors) >= BOUNDS_MIN_ENTRIES:
                self._bounds = SimilarityBounds.learn(self.loaded.vectors, self.column_codes[self.loaded.columns])
        return self._bounds

    @property
    def _removed_count(self) -> int:
        return 0 if self.removed is None else int(self.removed.sum())

    @property
    def _kept(self) -> NDArray[np.bool_] | slice:
        """Index of the loaded rows that are not removed."""
        return slice(None) if self.removed is None else ~self.removed

    def _find_appended_rows(self) -> dict[str, int]:
        if self._appended_rows is None:
            self._appended_rows = {id_: row for row, id_ in enumerate(self.appended.ids)}
        return self._appended_rows


def _track_penalties(rows: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    return np.where(rows, np.float32(TRACK_PENALTY), np.float32(0.0)) if rows.any() else None
