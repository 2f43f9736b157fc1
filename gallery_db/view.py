"""An exact view of a collection in memory, for whoever asks many times a second."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_rows
from gallery_db.errors import EmbeddingError
from gallery_db.rejections import Rejections

if TYPE_CHECKING:
    from gallery_db.entry import Entry
    from gallery_db.record import Record

__all__ = ["TRACK_PENALTY", "GalleryView"]

TRACK_PENALTY = 0.03
"""Cosine distance that is added to an entry enrolled from a video, where its identity also has reviewed images.

A gallery that enrols by itself would otherwise drift: a track enrolled under a wrong name would attract the
next wrong one. What a person has looked at counts more than what the gallery concluded.
"""


class GalleryView:
    """All embeddings of a collection as one matrix, straight from the record; no Chroma is involved.

    Made by `Gallery.view`, or by `GalleryView.from_arrays` without any gallery. It shows the collection as
    of its making or its last `refresh`. All distances are cosine distances, ``1 - cosine similarity``, in
    [0, 2].

    A *column* is an identity of one class: an identity that has entries of two classes has two columns.
    Classes are compared without regard to upper and lower case.

    Attributes:
        dimension: D, the length of the vectors.
    """

    def __init__(
        self, dimension: int, *, record: Record | None = None, collection: int = 0, without: Collection[str] = ()
    ) -> None:
        self.dimension = dimension
        self._record = record
        self._collection = collection
        self._without = frozenset(without)
        self._generation = -1
        self._rejections: Rejections | None = None
        self._load([], [], [], [], np.empty((0, dimension), np.float32))
        if record is not None:
            self.refresh()

    @classmethod
    def from_arrays(
        cls,
        identities: Sequence[str],
        embeddings: Any,
        *,
        class_names: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        origins: Sequence[str] | None = None,
    ) -> GalleryView:
        """A view of embeddings that no gallery holds.

        Args:
            identities: N names.
            embeddings: (N, D) float, rows of unit length.
            class_names: N classes; all ``"person"`` by default.
            ids: N entry ids; ``"0"``, ``"1"``, ... by default.
            origins: N of ``"image"`` or ``"track"``; all ``"image"`` by default.

        Raises:
            EmbeddingError: The embeddings are not (N, D), not finite, or not of unit length.
        """
        shape = np.shape(embeddings)
        if len(shape) != 2 or not shape[1]:
            raise EmbeddingError(f"Expected embeddings of shape (N, D), found {shape}.")
        view = cls(int(shape[1]))
        count = len(identities)
        view._load(
            list(ids) if ids is not None else [str(number) for number in range(count)],
            list(identities),
            list(class_names) if class_names is not None else ["person"] * count,
            list(origins) if origins is not None else ["image"] * count,
            unit_rows(embeddings, view.dimension, count=count, what="embeddings"),
        )
        return view

    def _load(
        self,
        ids: list[str],
        identities: list[str],
        class_names: list[str],
        origins: list[str],
        vectors: NDArray[np.float32],
    ) -> None:
        folded = [name.casefold() for name in class_names]
        order = sorted(range(len(ids)), key=lambda row: (identities[row], folded[row]))
        # The rows of a column lie together, so that its nearest is one reduceat over one product.
        self._vectors: NDArray[np.float32] = np.ascontiguousarray(vectors[order] if order else vectors)
        self._ids = tuple(ids[row] for row in order)
        names: list[str] = []
        classes: list[str] = []
        starts: list[int] = []
        codes: dict[str, int] = {}
        column_codes: list[int] = []
        column_of: dict[tuple[str, str], int] = {}
        for place, row in enumerate(order):
            key = (identities[row], folded[row])
            if key not in column_of:
                column_of[key] = len(names)
                names.append(identities[row])
                classes.append(class_names[row])
                starts.append(place)
                column_codes.append(codes.setdefault(folded[row], len(codes)))
        self._names = tuple(names)
        self._classes = tuple(classes)
        self._starts = np.asarray(starts, dtype=np.intp)
        self._codes = codes
        self._column_of = column_of
        self._column_codes = np.asarray(column_codes, dtype=np.intp)
        sizes = np.diff(np.append(self._starts, len(order)))
        self._columns = np.repeat(np.arange(len(names), dtype=np.intp), sizes)
        self._enrolled = np.asarray([origins[row] == "track" for row in order], dtype=bool)
        # What was appended since: rows behind the others, sorted by column as well.
        self._more_ids: list[str] = []
        self._more_columns = np.empty(0, np.intp)
        self._more_enrolled = np.empty(0, bool)
        self._more_vectors = np.empty((0, self.dimension), np.float32)
        self._all_vectors: NDArray[np.float32] | None = None
        self._weigh()

    def _weigh(self) -> None:
        """What each row's similarity loses, by `TRACK_PENALTY`; None where no row loses anything."""
        reviewed = np.zeros(len(self._names), bool)
        reviewed[self._columns[~self._enrolled]] = True
        reviewed[self._more_columns[~self._more_enrolled]] = True
        self._loss = _loss(self._enrolled & reviewed[self._columns])
        self._more_loss = _loss(self._more_enrolled & reviewed[self._more_columns])

    def append(self, entries: Sequence[Entry], embeddings: Any) -> None:
        """Show further entries, whether the gallery holds them or not; far cheaper than `refresh`.

        Nothing is sorted anew or renumbered: their rows and new columns follow behind those that there are. A
        later `refresh` that finds a change shows what the gallery holds, and only that.

        Args:
            entries: N entries with ids that the view does not hold.
            embeddings: (N, D) float, rows of unit length.

        Raises:
            EmbeddingError: The embeddings are not (N, D), not finite, or not of unit length.
        """
        vectors = unit_rows(embeddings, self.dimension, count=len(entries), what="embeddings")
        if not len(entries):
            return
        names, classes, column_codes = list(self._names), list(self._classes), self._column_codes.tolist()
        columns: list[int] = []
        for entry in entries:
            folded = entry.class_name.casefold()
            column = self._column_of.setdefault((entry.identity, folded), len(names))
            if column == len(names):
                names.append(entry.identity)
                classes.append(entry.class_name)
                column_codes.append(self._codes.setdefault(folded, len(self._codes)))
            columns.append(column)
        if len(names) > len(self._names):
            self._names, self._classes = tuple(names), tuple(classes)
            self._column_codes = np.asarray(column_codes, dtype=np.intp)
        joined = np.append(self._more_columns, columns).astype(np.intp)
        order = np.argsort(joined, kind="stable")
        ids = [*self._more_ids, *(entry.id for entry in entries)]
        self._more_ids = [ids[row] for row in order]
        self._more_columns = joined[order]
        self._more_enrolled = np.append(self._more_enrolled, [e.origin == "track" for e in entries]).astype(bool)[order]
        self._more_vectors = np.ascontiguousarray(np.concatenate([self._more_vectors, vectors])[order])
        self._all_vectors = None
        self._weigh()

    def enrolled(self, identity: str, class_name: str) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """The entries of an identity that were enrolled from videos: their ids, and (N, D) their embeddings."""
        column = self._column_of.get((identity, class_name.casefold()), -1)
        rows = np.flatnonzero((self._columns == column) & self._enrolled)
        more = np.flatnonzero((self._more_columns == column) & self._more_enrolled)
        ids = (*(self._ids[row] for row in rows), *(self._more_ids[row] for row in more))
        return ids, np.concatenate([self._vectors[rows], self._more_vectors[more]])

    def refresh(self) -> bool:
        """Pick up what changed in the gallery, by this process or another.

        Returns:
            Whether anything changed; then `identities` and the meaning of rows and columns may have, too.

        Raises:
            GalleryError: The gallery that the view is of has been closed.
        """
        if self._record is None or self._record.generation(self._collection) == self._generation:
            return False
        rows = self._record.load_view(self._collection, self.dimension)
        if self._without:
            rows = rows.without(self._without)
        self._load(rows.ids, rows.identities, rows.class_names, rows.origins, rows.vectors)
        # What a person said of an entry counts, also where the entry itself is left out of the view.
        names, vectors = self._record.rejections(self._collection, self.dimension)
        self._rejections = Rejections(names, vectors) if names else None
        self._generation = rows.generation
        return True

    def __len__(self) -> int:
        """Number of entries, N."""
        return len(self._ids) + len(self._more_ids)

    @property
    def identities(self) -> tuple[str, ...]:
        """The I names of the columns, sorted, but for those that were appended."""
        return self._names

    @property
    def identity_classes(self) -> tuple[str, ...]:
        """The I class names of the columns."""
        return self._classes

    @property
    def entry_ids(self) -> tuple[str, ...]:
        """The N entry ids, by row."""
        return (*self._ids, *self._more_ids) if self._more_ids else self._ids

    @property
    def row_columns(self) -> NDArray[np.intp]:
        """(N,) the column that each row belongs to."""
        return np.append(self._columns, self._more_columns) if self._more_ids else self._columns

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(N, D) float32, rows of unit length, sorted by column, then those appended. Not to be written to."""
        if not self._more_ids:
            return self._vectors
        if self._all_vectors is None:
            self._all_vectors = np.concatenate([self._vectors, self._more_vectors])
        return self._all_vectors

    def identity_distances(self, probes: Any, class_names: Sequence[str | None] | None = None) -> NDArray[np.float32]:
        """How far each probe is from the nearest entry of each identity.

        An entry enrolled from a video counts as `TRACK_PENALTY` further away where its identity has images too. What
        is nearer to an entry that a person said is not an identity is infinitely far from it; see `Rejections`.

        Args:
            probes: (P, D) float, rows of unit length.
            class_names: P class names; None for one (or for all) matches every class.

        Returns:
            (P, I) float32 cosine distances; +inf where the probe's class is another than the column's.

        Raises:
            EmbeddingError: The probes are not (P, D), not finite, or not of unit length, or the number of
                class names is another than P.
        """
        array = unit_rows(probes, self.dimension, what="probes")
        if class_names is not None and len(class_names) != len(array):
            raise EmbeddingError(f"Expected {len(array)} class names, one for each probe, found {len(class_names)}.")
        if not len(array) or not self._names:
            return np.empty((len(array), len(self._names)), np.float32)
        distances: NDArray[np.float32] = np.float32(1.0) - self._nearest_of_columns(array)
        np.clip(distances, np.float32(0.0), np.float32(2.0), out=distances)
        for row, name in enumerate(class_names or ()):
            if name is not None:
                distances[row, self._column_codes != self._codes.get(name.casefold(), -1)] = np.inf
        if self._rejections is not None:
            self._rejections.apply(array, distances, self._names)
        return distances

    def _nearest_of_columns(self, probes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(P, I) the greatest similarity, less what the entry loses, to each column."""
        if not self._more_ids:
            return _greatest(probes, self._vectors, self._loss, self._starts)
        nearest: NDArray[np.float32] = np.full((len(probes), len(self._names)), -np.inf, np.float32)
        if len(self._starts):
            nearest[:, : len(self._starts)] = _greatest(probes, self._vectors, self._loss, self._starts)
        columns, starts = np.unique(self._more_columns, return_index=True)
        more = _greatest(probes, self._more_vectors, self._more_loss, starts)
        nearest[:, columns] = np.maximum(nearest[:, columns], more)
        return nearest

    def column_embeddings(self, column: int) -> NDArray[np.float32]:
        """(n, D) float32, the embeddings of one column's entries, rows of unit length."""
        rows: NDArray[np.float32] = self.embeddings[self.row_columns == column]
        return rows

    def nearest(
        self, probes: Any, k: int, class_name: str | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """The entries nearest to each probe.

        Args:
            probes: (P, D) float, rows of unit length.
            k: How many, at least 1.
            class_name: Only entries of that class.

        Returns:
            Row numbers (P, K) and their cosine distances (P, K) float32, the nearest first, equals by row;
            K is `k`, or less where there are fewer entries. `entry_ids` and `row_columns` say what a row is.

        Raises:
            EmbeddingError: The probes are not (P, D), not finite, or not of unit length.
        """
        rows: NDArray[np.intp] | None = None
        if class_name is not None:
            code = self._codes.get(class_name.casefold(), -1)
            rows = np.flatnonzero(self._column_codes[self.row_columns] == code) if len(self) else None
        return self.nearest_of(probes, k, rows)

    def nearest_of(
        self, probes: Any, k: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """`nearest` among given rows, sorted; among all of them for None."""
        array = unit_rows(probes, self.dimension, what="probes")
        if k < 1:
            raise EmbeddingError(f"Expected k of at least 1, found {k}.")
        vectors = self.embeddings if rows is None else self.embeddings[rows]
        count = min(k, len(vectors))
        if not count or not len(array):
            return np.empty((len(array), count), np.intp), np.empty((len(array), count), np.float32)
        distances = np.clip(np.float32(1.0) - array @ vectors.T, np.float32(0.0), np.float32(2.0))
        if count < len(vectors):
            # A few more than k, for equals at the border to come out by row, whatever the partition did.
            border = np.partition(distances, count - 1, axis=1)[:, count - 1]
            chosen = np.empty((len(array), count), np.intp)
            for probe, limit in enumerate(border):
                near = np.flatnonzero(distances[probe] <= limit)
                chosen[probe] = near[np.argsort(distances[probe, near], kind="stable")[:count]]
        else:
            chosen = np.argsort(distances, axis=1, kind="stable")
        found = np.take_along_axis(distances, chosen, axis=1)
        return (chosen if rows is None else rows[chosen]), found


def _loss(rows: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    return np.where(rows, np.float32(TRACK_PENALTY), np.float32(0.0)) if rows.any() else None


def _greatest(
    probes: NDArray[np.float32],
    vectors: NDArray[np.float32],
    loss: NDArray[np.float32] | None,
    starts: NDArray[np.intp],
) -> NDArray[np.float32]:
    """(P, number of starts) the greatest similarity in each run of rows."""
    similarity = probes @ vectors.T
    if loss is not None:
        similarity -= loss
    greatest: NDArray[np.float32] = np.maximum.reduceat(similarity, starts, axis=1)
    return greatest
