"""An exact view of a collection in memory, for whoever asks many times a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_rows
from gallery_db.errors import EmbeddingError

if TYPE_CHECKING:
    from gallery_db.record import Record

__all__ = ["GalleryView"]


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

    def __init__(self, dimension: int, *, record: Record | None = None, collection: int = 0) -> None:
        self.dimension = dimension
        self._record = record
        self._collection = collection
        self._generation = -1
        self._load([], [], [], np.empty((0, dimension), np.float32))
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
    ) -> GalleryView:
        """A view of embeddings that no gallery holds.

        Args:
            identities: N names.
            embeddings: (N, D) float, rows of unit length.
            class_names: N classes; all ``"person"`` by default.
            ids: N entry ids; ``"0"``, ``"1"``, ... by default.

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
            unit_rows(embeddings, view.dimension, count=count, what="embeddings"),
        )
        return view

    def _load(
        self, ids: list[str], identities: list[str], class_names: list[str], vectors: NDArray[np.float32]
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
        last: tuple[str, str] | None = None
        for place, row in enumerate(order):
            key = (identities[row], folded[row])
            if key != last:
                names.append(identities[row])
                classes.append(class_names[row])
                starts.append(place)
                column_codes.append(codes.setdefault(folded[row], len(codes)))
                last = key
        self._names = tuple(names)
        self._classes = tuple(classes)
        self._starts = np.asarray(starts, dtype=np.intp)
        self._codes = codes
        self._column_codes = np.asarray(column_codes, dtype=np.intp)
        sizes = np.diff(np.append(self._starts, len(order)))
        self._columns = np.repeat(np.arange(len(names), dtype=np.intp), sizes)

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
        self._load(rows.ids, rows.identities, rows.class_names, rows.vectors)
        self._generation = rows.generation
        return True

    def __len__(self) -> int:
        """Number of entries, N."""
        return len(self._ids)

    @property
    def identities(self) -> tuple[str, ...]:
        """The I names of the columns, sorted."""
        return self._names

    @property
    def identity_classes(self) -> tuple[str, ...]:
        """The I class names of the columns."""
        return self._classes

    @property
    def entry_ids(self) -> tuple[str, ...]:
        """The N entry ids, by row."""
        return self._ids

    @property
    def row_columns(self) -> NDArray[np.intp]:
        """(N,) the column that each row belongs to."""
        return self._columns

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(N, D) float32, rows of unit length, sorted by identity and class. Not to be written to."""
        return self._vectors

    def identity_distances(self, probes: Any, class_names: Sequence[str | None] | None = None) -> NDArray[np.float32]:
        """How far each probe is from the nearest entry of each identity.

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
        nearest = np.maximum.reduceat(array @ self._vectors.T, self._starts, axis=1)
        distances = np.clip(np.float32(1.0) - nearest, np.float32(0.0), np.float32(2.0))
        for row, name in enumerate(class_names or ()):
            if name is not None:
                distances[row, self._column_codes != self._codes.get(name.casefold(), -1)] = np.inf
        return distances

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
            rows = np.flatnonzero(self._column_codes[self._columns] == code) if len(self) else None
        return self.nearest_of(probes, k, rows)

    def nearest_of(
        self, probes: Any, k: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """`nearest` among given rows, sorted; among all of them for None."""
        array = unit_rows(probes, self.dimension, what="probes")
        if k < 1:
            raise EmbeddingError(f"Expected k of at least 1, found {k}.")
        vectors = self._vectors if rows is None else self._vectors[rows]
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
