"""Search all embeddings of a collection in memory.

Words that this package uses:

- A *row* is an entry with its embedding. Rows that were loaded together are sorted by column; rows that were appended
  later follow behind them.
- A *column* is an identity of one class. An identity with entries of two classes has two columns. Distances of P
  probes to I columns are an array (P, I), and the distance to a column is the one to its nearest entry.
- A *probe* is an embedding that is searched for.

A view is made of three parts: the table of rows and columns (`table`), which the record fills and updates
(`refresh`), and the search in it (`nearest`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_rows
from gallery_db.entry import Entry
from gallery_db.errors import EmbeddingError
from gallery_db.search.index_candidates import EntryIndex
from gallery_db.search.nearest import NearestSearch, Search
from gallery_db.search.pairs import NearIdentities
from gallery_db.search.refresh import RecordReader, ViewChange
from gallery_db.search.table import EntryTable
from gallery_db.spaces.space import EmbeddingSpace

if TYPE_CHECKING:
    from gallery_db.store.record import Record

__all__ = ["GalleryView"]


class GalleryView:
    """All embeddings of a collection in memory, for many searches a second.

    Made by `Gallery.view`, or without a gallery by `GalleryView.from_arrays`. It shows the collection as it was when
    the view was made or last refreshed. All distances are cosine distances, ``1 - cosine similarity``, in [0, 2].

    A *column* is an identity of one class: an identity with entries of two classes has two columns. Classes are
    compared in upper or lower case.

    The vectors of a view, and the probes that it is asked for, are those of its `space`, where the collection has one:
    `adapt` makes them of embeddings.

    Searches for near identities only (`identity_distances` with a limit, `nearest_identities`) use
    `SimilarityBounds`, which are learned at the first such search. They change the time, not the result.

    Args:
        dimension: Length of the embeddings.
        record: The gallery's record; None for a view without a gallery.
        collection: Key of the collection in the record.
        without: Ids of entries that the view does not show.
        search: See `search`.
        index: The index that ``"hnsw"`` asks.
        space: The space in which entries and probes are compared; None to compare embeddings as they are.
    """

    def __init__(
        self,
        dimension: int,
        *,
        record: Record | None = None,
        collection: int = 0,
        without: Collection[str] = (),
        search: Search = "auto",
        index: EntryIndex | None = None,
        space: EmbeddingSpace | None = None,
    ) -> None:
        self.space = space
        self._table = EntryTable(dimension if space is None else space.dimension)
        self._nearest = NearestSearch(self._table, search, index)
        self._reader = None if record is None else RecordReader(self._table, record, collection, without, space)

    @classmethod
    def from_arrays(
        cls,
        identities: Sequence[str],
        embeddings: Any,
        *,
        class_names: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        origins: Sequence[str] | None = None,
        search: Search = "auto",
    ) -> GalleryView:
        """Return a view of embeddings that are in no gallery.

        Args:
            identities: N names.
            embeddings: (N, D) float, rows of unit length.
            class_names: N classes; all ``"person"`` by default.
            ids: N entry ids; ``"0"``, ``"1"``, ... by default.
            origins: N of ``"image"`` or ``"track"``; all ``"image"`` by default.
            search: ``"auto"`` or ``"exact"``; see `search`.

        Raises:
            EmbeddingError: The embeddings are not (N, D), not finite, or not of unit length.
        """
        shape = np.shape(embeddings)
        if len(shape) != 2 or not shape[1]:
            raise EmbeddingError(f"Expected embeddings of shape (N, D), found {shape}.")
        view = cls(int(shape[1]), search=search)
        count = len(identities)
        view._table.load(
            list(ids) if ids is not None else [str(number) for number in range(count)],
            list(identities),
            list(class_names) if class_names is not None else ["person"] * count,
            list(origins) if origins is not None else ["image"] * count,
            unit_rows(embeddings, view.dimension, count=count, what="embeddings"),
        )
        return view

    # -- what the view shows ---------------------------------------------------------------------------------

    @property
    def dimension(self) -> int:
        """D, the length of the vectors."""
        return self._table.dimension

    def adapt(self, embeddings: Any, camera: str | None = None) -> NDArray[np.float32]:
        """Return embeddings as vectors of the view's space, to be searched for.

        Args:
            embeddings: (N, E) float, rows of unit length, as the model returns them.
            camera: The camera that they were seen by; None where unknown.

        Returns:
            (N, D) float32, rows of unit length; the embeddings themselves in a view without a space.

        Raises:
            EmbeddingError: The embeddings are not (N, E), not finite, or not of unit length.
        """
        if self.space is None:
            return unit_rows(embeddings, self.dimension, what="embeddings")
        return self.space.apply(embeddings, None if camera is None else [camera] * len(np.atleast_2d(embeddings)))

    @property
    def constant(self) -> float:
        """The last number of each vector, which a mean of vectors has, too; 0.0 without a space."""
        return 0.0 if self.space is None else self.space.constant

    @property
    def generation(self) -> int:
        """Generation of the collection that the view shows; see `Gallery.generation`. -1 without a gallery."""
        return -1 if self._reader is None else self._reader.generation

    def __repr__(self) -> str:
        return f"GalleryView({len(self)} entries of {len(self.identities)} identities, {self.dimension} dimensions)"

    def __len__(self) -> int:
        """Number of entries, N."""
        return len(self._table)

    @property
    def identities(self) -> tuple[str, ...]:
        """The I identity names of the columns, sorted, except for appended columns."""
        return self._table.names

    @property
    def identity_classes(self) -> tuple[str, ...]:
        """The I class names of the columns."""
        return self._table.classes

    @property
    def entry_ids(self) -> tuple[str, ...]:
        """The N entry ids, by row."""
        return self._table.entry_ids

    @property
    def origins(self) -> tuple[str, ...]:
        """The N origins, ``"image"`` or ``"track"``, by row."""
        return self._table.origins

    @property
    def row_columns(self) -> NDArray[np.intp]:
        """(N,) the column of each row."""
        return self._table.row_columns

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(N, D) float32, rows of unit length, sorted by column, then the appended rows. Must not be written to."""
        return self._table.embeddings

    def column_embeddings(self, column: int) -> NDArray[np.float32]:
        """Return the embeddings (n, D) float32 of one column's entries, rows of unit length."""
        return self._table.column_embeddings(column)

    def enrolled(self, identity: str, class_name: str) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """Return the ids and the embeddings (n, D) of an identity's entries that were enrolled from videos."""
        return self._table.enrolled(identity, class_name)

    def rows_of(
        self, *, class_name: str | None = None, identity: str | None = None, ids: Sequence[str] | None = None
    ) -> NDArray[np.intp]:
        """Return the row numbers, ascending, of the entries that meet all given conditions.

        Args:
            class_name: Only entries of this class, in upper or lower case.
            identity: Only entries of this identity.
            ids: Only entries with one of these ids.
        """
        return self._table.rows_of(class_name=class_name, identity=identity, ids=ids)

    # -- changing --------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry], embeddings: Any) -> None:
        """Show further entries, whether or not the gallery holds them; much faster than `refresh`.

        Their new columns follow behind the existing ones, which keep their numbers; rows may get other numbers. They
        stay as given until the gallery has a change of theirs, which a later `refresh` then shows.

        Args:
            entries: N entries with ids that the view does not show; ids of `without` are allowed.
            embeddings: (N, D) float, rows of unit length, of the view's space; see `adapt`.

        Raises:
            EmbeddingError: The embeddings are not (N, D), not finite, or not of unit length.
        """
        vectors = unit_rows(embeddings, self.dimension, count=len(entries), what="embeddings")
        if not len(entries):
            return
        if self._reader is not None:
            self._reader.note_appended({entry.id for entry in entries})
        self._table.append(entries, vectors)

    def refresh(self) -> ViewChange | None:
        """Show what changed in the gallery since, by this process or another.

        The changes are read from the gallery's log of changes. New entries are appended behind the others, and removed
        ones are no longer found, so that columns keep their numbers. Where an identity has no entry left, or too much
        has changed, all entries are sorted again.

        Returns:
            What changed; None for nothing. Rows have other numbers after a change; columns only where it is a `reset`.

        Raises:
            GalleryError: The view's gallery has been closed.
        """
        return None if self._reader is None else self._reader.refresh()

    # -- searching -------------------------------------------------------------------------------------------

    @property
    def search(self) -> Search:
        """How near identities are searched for.

        ``"auto"`` uses similarity bounds where they are faster, ``"exact"`` compares with every entry, ``"hnsw"`` asks
        Chroma, approximately.
        """
        return self._nearest.mode

    @search.setter
    def search(self, search: Search) -> None:
        self._nearest.mode = search

    def prepare(self) -> None:
        """Do the work now for which the first search for near identities would otherwise wait."""
        self._nearest.prepare()

    def near_identities(
        self,
        probes: Any,
        class_names: Sequence[str | None] | None = None,
        *,
        limit: float | Sequence[float] | NDArray[np.float64],
        nearest: int | None = None,
    ) -> NearIdentities:
        """Return the identities near to each probe, in memory that does not grow with the number of identities.

        Args:
            probes: (P, D) float, rows of unit length.
            class_names: P class names; None for one (or for all) matches every class.
            limit: Largest distance, inclusive, or one for each probe; the smaller, the faster in a large gallery.
            nearest: Only that many nearest identities of each probe.

        Returns:
            Numbers of probes, columns, and distances as in `identity_distances`, (M,) each: by probe, the nearest
            first, equal distances by column. With ``search="hnsw"``, some may be missed.

        Raises:
            EmbeddingError: As in `identity_distances`, and for a `nearest` below 1.
        """
        return self._nearest.near_identities(
            probes, class_names, limit=limit, nearest=nearest, generation=self.generation
        )

    def column_distances(
        self, probes: Any, columns: Sequence[int], class_names: Sequence[str | None] | None = None
    ) -> NDArray[np.float32]:
        """Return the distance of each probe to one identity.

        Args:
            probes: (P, D) float, rows of unit length.
            columns: P columns.
            class_names: P class names; None for one (or for all) matches every class.

        Returns:
            (P,) float32, as in `identity_distances`.

        Raises:
            EmbeddingError: As in `identity_distances`.
        """
        return self._nearest.column_distances(probes, columns, class_names)

    def rejected_identities(self, probes: Any) -> list[frozenset[str]]:
        """Return the identities that rejections exclude for each probe; see `Rejections`.

        Args:
            probes: (P, D) float, rows of unit length.

        Raises:
            EmbeddingError: As in `identity_distances`.
        """
        return self._nearest.rejected_identities(probes)

    def identity_distances(
        self,
        probes: Any,
        class_names: Sequence[str | None] | None = None,
        *,
        limit: float | None = None,
        nearest: int | None = None,
        held: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """Return the distance of each probe to the nearest entry of each identity.

        An entry enrolled from a video counts as `TRACK_PENALTY` further away where its identity has images too. An
        identity is infinitely far from a probe that is nearer to an entry which a person rejected for that identity;
        see `Rejections`.

        Args:
            probes: (P, D) float, rows of unit length.
            class_names: P class names; None for one (or for all) matches every class.
            limit: Only distances up to it matter, which is much faster in a large gallery: a greater distance is
                exact or +inf. With ``search="hnsw"``, a smaller one may also be missed.
            nearest: Only that many nearest identities of each probe matter; the others are exact or +inf.
            held: P columns, -1 for none, whose distance is exact in any case: the identities that the probes hold.

        Returns:
            (P, I) float32 cosine distances; +inf where the probe's class differs from the column's.

        Raises:
            EmbeddingError: The probes are not (P, D), not finite, or not of unit length, or the number of
                class names is not P.
        """
        return self._nearest.identity_distances(
            probes, class_names, limit=limit, nearest=nearest, held=held, generation=self.generation
        )

    def nearest_identities(
        self, probes: Any, k: int, class_names: Sequence[str | None] | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the identities nearest to each probe.

        Args:
            probes: (P, D) float, rows of unit length.
            k: How many, at least 1.
            class_names: P class names; None for one (or for all) matches every class.

        Returns:
            Columns (P, K) and their distances (P, K) as in `identity_distances`, the nearest first, equal distances
            by column. K is `k`, or less where there are fewer columns. Where the probe's class has fewer than K
            columns, the last ones are -1, and their distances +inf.

        Raises:
            EmbeddingError: As in `identity_distances`, and for a `k` below 1.
        """
        return self._nearest.nearest_identities(probes, k, class_names, generation=self.generation)

    def nearest(
        self, probes: Any, k: int, class_name: str | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the entries nearest to each probe.

        Args:
            probes: (P, D) float, rows of unit length.
            k: How many, at least 1.
            class_name: Only entries of that class.

        Returns:
            Row numbers (P, K) and their cosine distances (P, K) float32, without penalties, the nearest first, equal
            distances by row. K is `k`, or less where there are fewer entries. `entry_ids` and `row_columns` give the
            entry and the column of a row.

        Raises:
            EmbeddingError: The probes are not (P, D), not finite, or not of unit length, or `k` is below 1.
        """
        return self.nearest_of(probes, k, None if class_name is None else self.rows_of(class_name=class_name))

    def nearest_of(
        self, probes: Any, k: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the entries nearest to each probe among the given rows, ascending; see `nearest`.

        Args:
            probes: (P, D) float, rows of unit length.
            k: How many, at least 1.
            rows: Row numbers, ascending; None for all rows.

        Returns:
            As `nearest`.

        Raises:
            EmbeddingError: As `nearest`.
        """
        return self._nearest.nearest_rows(probes, k, rows)
