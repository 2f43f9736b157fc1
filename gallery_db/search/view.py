"""A view of a collection in memory, for whoever asks many times a second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_rows
from gallery_db.entry import Entry
from gallery_db.errors import EmbeddingError
from gallery_db.rejections import Rejections
from gallery_db.search.similarity_bounds import SimilarityBounds

if TYPE_CHECKING:
    from gallery_db.search.similarity_bounds import Pairs
    from gallery_db.store.record import Record

__all__ = ["SKETCH_FROM", "TRACK_PENALTY", "EntryIndex", "GalleryView", "Search", "ViewChange"]

Search = Literal["auto", "hnsw", "exact"]
"""How to search: Chroma's approximate HNSW index, exactly in memory, or what is best."""

SKETCH_FROM = 2000
"""Entries from which ``auto`` searches by a `SimilarityBounds`: below it, one product over all of them is as quick."""

TRACK_PENALTY = 0.03
"""Cosine distance that is added to an entry enrolled from a video, where its identity also has reviewed images.

A gallery that enrols by itself would otherwise drift: a track enrolled under a wrong name would attract the
next wrong one. What a person has looked at counts more than what the gallery concluded.
"""


_PRODUCTS = 4_000_000
"""Similarities that are held at once, 4 bytes each."""

_ROUNDING = 2e-6
"""How far two ways to compute a similarity may be apart."""

_FROM_INDEX = 64
"""Entries that an index is asked for; its cost is in finding them, and hardly in their number."""


_MOST_NEWS = 5000
"""Changes up to which they are taken in one by one; more of them come sooner with all the rest."""

_WHOLE = ("rename", "merge")
"""Operations that speak of an identity as a whole."""


@dataclass(frozen=True, slots=True)
class ViewChange:
    """What a view has found changed in its gallery.

    Attributes:
        entries: The entries that were changed since, by id, as they are now; None for one that is gone. Those that the
            view is without are among them. Empty where the collection was read anew as a whole.
        renamed: Identities that have another name now, as a whole: the old name to the new one.
        anew: Whether columns have other numbers, or entries other identities, so that whoever keeps either must ask
            anew. Otherwise entries have only come, behind the others, or gone.
    """

    entries: Mapping[str, Entry | None]
    renamed: Mapping[str, str]
    anew: bool


class EntryIndex(Protocol):
    """An approximate index of a collection's entries, outside of the view."""

    def nearest(
        self, probes: NDArray[np.float32], count: int, generation: int
    ) -> tuple[Sequence[Sequence[str]], Sequence[Sequence[float]]] | None:
        """Ids of the entries nearest to each probe, and their distances; None if it does not know that generation."""
        ...


class GalleryView:
    """All embeddings of a collection as one matrix, straight from the record.

    Made by `Gallery.view`, or by `GalleryView.from_arrays` without any gallery. It shows the collection as
    of its making or its last `refresh`. All distances are cosine distances, ``1 - cosine similarity``, in
    [0, 2].

    A *column* is an identity of one class: an identity that has entries of two classes has two columns.
    Classes are compared without regard to upper and lower case.

    Whoever wants to know only the nearest identities (`identity_distances` with a limit, `nearest_identities`)
    is answered from a `SimilarityBounds`, which is made when it is first of use. That changes the time, and no result.

    Attributes:
        dimension: D, the length of the vectors.
        search: How such questions are answered: ``"auto"`` uses a sketch where that is quicker, ``"exact"``
            compares with every entry, ``"hnsw"`` asks Chroma, approximately.
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
    ) -> None:
        self.dimension = dimension
        self.search = search
        self._index = index
        self._record = record
        self._collection = collection
        self._without = set(without)
        self._by_hand: set[str] = set()
        self._unheard: set[str] = set()  # those of them that the record has said nothing of yet
        self._generation = -1
        self._change = 0
        self._rejections: Rejections | None = None
        self._load([], [], [], [], np.empty((0, dimension), np.float32))
        if record is not None:
            self._read(record)

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
        """A view of embeddings that no gallery holds.

        Args:
            identities: N names.
            embeddings: (N, D) float, rows of unit length.
            class_names: N classes; all ``"person"`` by default.
            ids: N entry ids; ``"0"``, ``"1"``, ... by default.
            origins: N of ``"image"`` or ``"track"``; all ``"image"`` by default.
            search: ``"auto"`` or ``"exact"``; see the class.

        Raises:
            EmbeddingError: The embeddings are not (N, D), not finite, or not of unit length.
        """
        shape = np.shape(embeddings)
        if len(shape) != 2 or not shape[1]:
            raise EmbeddingError(f"Expected embeddings of shape (N, D), found {shape}.")
        view = cls(int(shape[1]), search=search)
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
        self._gone: NDArray[np.bool_] | None = None
        self._sketch: SimilarityBounds | None = None
        self._sketched = False
        self._row_of: dict[str, int] | None = None
        # What was appended since: rows behind the others, sorted by column as well.
        self._more_ids: list[str] = []
        self._more_columns = np.empty(0, np.intp)
        self._more_enrolled = np.empty(0, bool)
        self._more_vectors = np.empty((0, self.dimension), np.float32)
        self._all_vectors: NDArray[np.float32] | None = None
        self._weigh()

    def _weigh(self) -> None:
        """What each row's similarity loses, by `TRACK_PENALTY` or as it is gone; None where no row loses anything."""
        reviewed = np.zeros(len(self._names), bool)
        own = ~self._enrolled if self._gone is None else ~(self._enrolled | self._gone)
        reviewed[self._columns[own]] = True
        reviewed[self._more_columns[~self._more_enrolled]] = True
        self._loss = _loss(self._enrolled & reviewed[self._columns])
        if self._gone is not None:
            # Taken out of the arrays, all the others would have to move, and the sketch to be learnt anew.
            self._loss = np.zeros(len(self._ids), np.float32) if self._loss is None else self._loss
            self._loss[self._gone] = np.inf
        self._more_loss = _loss(self._more_enrolled & reviewed[self._more_columns])

    def append(self, entries: Sequence[Entry], embeddings: Any) -> None:
        """Show further entries, whether the gallery holds them or not; far cheaper than `refresh`.

        Nothing is sorted anew or renumbered: their rows and new columns follow behind those that there are. They
        stay as given until the gallery has something to say of them, which a later `refresh` then shows.

        Args:
            entries: N entries with ids that the view does not hold; it may have been told to be without them.
            embeddings: (N, D) float, rows of unit length.

        Raises:
            EmbeddingError: The embeddings are not (N, D), not finite, or not of unit length.
        """
        vectors = unit_rows(embeddings, self.dimension, count=len(entries), what="embeddings")
        if not len(entries):
            return
        ids = {entry.id for entry in entries}
        self._without -= ids
        self._by_hand |= ids
        if self._record is not None:
            self._unheard |= ids
        self._append(entries, vectors)
        self._weigh()

    def _append(self, entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
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

    def enrolled(self, identity: str, class_name: str) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """The entries of an identity that were enrolled from videos: their ids, and (N, D) their embeddings."""
        column = self._column_of.get((identity, class_name.casefold()), -1)
        rows = np.flatnonzero((self._columns == column) & self._enrolled)
        if self._gone is not None:
            rows = rows[~self._gone[rows]]
        more = np.flatnonzero((self._more_columns == column) & self._more_enrolled)
        ids = (*(self._ids[row] for row in rows), *(self._more_ids[row] for row in more))
        return ids, np.concatenate([self._vectors[rows], self._more_vectors[more]])

    def refresh(self) -> ViewChange | None:
        """Pick up what changed in the gallery, by this process or another.

        What changed is read from the gallery's log of changes. Entries that came follow behind the others, as of
        `append`, and those that went are no longer found, so that columns keep their numbers; where an identity has
        none left, or much has come and gone, all are sorted anew.

        Returns:
            What changed, after which rows have other numbers, and columns where it says so; None for nothing.

        Raises:
            GalleryError: The gallery that the view is of has been closed.
        """
        record = self._record
        if record is None:
            return None
        generation = record.generation(self._collection)
        if generation == self._generation:
            return None
        news = record.news(self._collection, self._change, _MOST_NEWS)
        if news is None:
            self._read(record)
            return ViewChange({}, {}, True)
        operations = {id_: operation for _, id_, operation, _ in news}
        rejected = any(speaks for _, _, _, speaks in news)
        found, vectors = record.with_vectors(self._collection, list(operations), self.dimension)
        now = {entry.id: (entry, vector) for entry, vector in zip(found, vectors, strict=True)}
        moved = self._take_in(list(operations), now)
        renamed = self._renamed(moved, operations)
        if rejected:
            self._read_rejections(record)
        sorted_anew = self._outgrown()
        if sorted_anew:
            self._sort_anew()
        self._generation = generation
        self._change = max((number for number, _, _, _ in news), default=self._change)
        entries = {id_: now[id_][0] if id_ in now else None for id_ in operations}
        return ViewChange(entries, renamed, sorted_anew or rejected or bool(moved))

    def _read(self, record: Record) -> None:
        """Read the collection as a whole."""
        rows = record.load_view(self._collection, self.dimension)
        kept = [row for row, id_ in enumerate(self._more_ids) if id_ in self._unheard]
        waiting = [
            Entry(
                self._more_ids[row],
                self._names[self._more_columns[row]],
                self._classes[self._more_columns[row]],
                "track" if self._more_enrolled[row] else "image",
            )
            for row in kept
        ]
        vectors = self._more_vectors[kept]
        if self._without or waiting:
            rows = rows.without(self._without | {entry.id for entry in waiting})
        self._load(rows.ids, rows.identities, rows.class_names, rows.origins, rows.vectors)
        if waiting:
            self._append(waiting, vectors)
            self._weigh()
        self._read_rejections(record)
        self._generation, self._change = rows.generation, rows.change

    def _read_rejections(self, record: Record) -> None:
        # What a person said of an entry counts, also where the entry itself is left out of the view.
        names, vectors = record.rejections(self._collection, self.dimension)
        self._rejections = Rejections(names, vectors) if names else None

    def _take_in(
        self, ids: Sequence[str], now: Mapping[str, tuple[Entry, NDArray[np.float32]]]
    ) -> dict[str, dict[str, str]]:
        """Show entries as they are now; returns, by the identity they had, whose those are that changed hands."""
        more = {id_: row for row, id_ in enumerate(self._more_ids)}
        moved: dict[str, dict[str, str]] = defaultdict(dict)
        out: list[int] = []
        out_more: list[int] = []
        new: list[str] = []
        for id_ in ids:
            self._unheard.discard(id_)
            if id_ in self._without:
                continue
            shown = self._shown(id_, more)
            if shown is not None:
                column, enrolled, vector = shown
                if id_ in now:
                    entry, own = now[id_]
                    same = self._column_of.get((entry.identity, entry.class_name.casefold())) == column
                    if same and (entry.origin == "track") == enrolled and np.array_equal(own, vector):
                        continue
                    if entry.identity != self._names[column]:
                        moved[self._names[column]][id_] = entry.identity
                if id_ in more:
                    out_more.append(more[id_])
                else:
                    out.append(self._rows_by_id()[id_])
            if id_ in now:
                new.append(id_)
        if out:
            self._gone = np.zeros(len(self._ids), bool) if self._gone is None else self._gone
            self._gone[out] = True
        if out_more:
            kept = np.delete(np.arange(len(self._more_ids)), out_more)
            self._more_ids = [self._more_ids[row] for row in kept]
            self._more_columns, self._more_enrolled = self._more_columns[kept], self._more_enrolled[kept]
            self._more_vectors = self._more_vectors[kept]
        self._all_vectors = None
        if new:
            self._append([now[id_][0] for id_ in new], np.stack([now[id_][1] for id_ in new]))
        self._weigh()
        return moved

    def _shown(self, id_: str, more: Mapping[str, int]) -> tuple[int, bool, NDArray[np.float32]] | None:
        """The column of an entry, whether it was enrolled, and its vector (D,); None for one that is not shown."""
        if id_ in more:
            row = more[id_]
            return int(self._more_columns[row]), bool(self._more_enrolled[row]), self._more_vectors[row]
        row = self._rows_by_id().get(id_, -1)
        if row < 0 or (self._gone is not None and self._gone[row]):
            return None
        return int(self._columns[row]), bool(self._enrolled[row]), self._vectors[row]

    def _renamed(self, moved: Mapping[str, Mapping[str, str]], operations: Mapping[str, str]) -> dict[str, str]:
        """Of the identities that lost entries to others: which of them are called otherwise now."""
        renamed = {}
        shown = self.entry_ids if moved else ()
        for old, entries in moved.items():
            if len(set(entries.values())) > 1:
                continue
            left = {shown[row] for row in self.rows_of(identity=old)}
            # An entry that was appended here, and that whoever gave the other name could not know of, does not count.
            if not left or (left <= self._by_hand and all(operations[id_] in _WHOLE for id_ in entries)):
                renamed[old] = next(iter(entries.values()))
        return renamed

    def _outgrown(self) -> bool:
        """Whether a column has no entry left, or so much came and went that it costs more than to sort it all anew."""
        left = np.bincount(self.row_columns, minlength=len(self._names))
        gone = 0 if self._gone is None else int(self._gone.sum())
        return bool((left == 0).any()) or gone + len(self._more_ids) > max(SKETCH_FROM, len(self._ids) // 8)

    def _sort_anew(self) -> None:
        columns = self.row_columns
        enrolled = np.append(self._enrolled[self._there], self._more_enrolled)
        self._load(
            list(self.entry_ids),
            [self._names[column] for column in columns],
            [self._classes[column] for column in columns],
            ["track" if own else "image" for own in enrolled],
            self.embeddings,
        )

    @property
    def _there(self) -> NDArray[np.bool_] | slice:
        """Which of the rows that were loaded are not gone since."""
        return slice(None) if self._gone is None else ~self._gone

    @property
    def generation(self) -> int:
        """Of the collection as it is shown; see `Gallery.generation`."""
        return self._generation

    def __len__(self) -> int:
        """Number of entries, N."""
        gone = 0 if self._gone is None else int(self._gone.sum())
        return len(self._ids) - gone + len(self._more_ids)

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
        if self._gone is not None:
            return (
                *(id_ for id_, gone in zip(self._ids, self._gone.tolist(), strict=True) if not gone),
                *self._more_ids,
            )
        return (*self._ids, *self._more_ids) if self._more_ids else self._ids

    @property
    def row_columns(self) -> NDArray[np.intp]:
        """(N,) the column that each row belongs to."""
        columns = self._columns[self._there]
        return np.append(columns, self._more_columns) if self._more_ids else columns

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """(N, D) float32, rows of unit length, sorted by column, then those appended. Not to be written to."""
        if not self._more_ids and self._gone is None:
            return self._vectors
        if self._all_vectors is None:
            self._all_vectors = np.concatenate([self._vectors[self._there], self._more_vectors])
        return self._all_vectors

    def identity_distances(
        self,
        probes: Any,
        class_names: Sequence[str | None] | None = None,
        *,
        limit: float | None = None,
        nearest: int | None = None,
        held: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """How far each probe is from the nearest entry of each identity.

        An entry enrolled from a video counts as `TRACK_PENALTY` further away where its identity has images too. What
        is nearer to an entry that a person said is not an identity is infinitely far from it; see `Rejections`.

        Args:
            probes: (P, D) float, rows of unit length.
            class_names: P class names; None for one (or for all) matches every class.
            limit: Only distances up to it matter, which costs far less in a large gallery: a greater one is
                exact or +inf. With ``search="hnsw"``, a smaller one may also be missed.
            nearest: Only that many nearest identities of each probe matter; the others are exact or +inf.
            held: P columns, -1 for none, whose distance is exact whatever it is.

        Returns:
            (P, I) float32 cosine distances; +inf where the probe's class is another than the column's.

        Raises:
            EmbeddingError: The probes are not (P, D), not finite, or not of unit length, or the number of
                class names is another than P.
        """
        array, codes = self._asked(probes, class_names)
        if not len(array) or not self._names:
            return np.empty((len(array), len(self._names)), np.float32)
        found: NDArray[np.float32] | None = None
        if limit is not None or nearest is not None:
            floor = -np.inf if limit is None else 1.0 - limit
            found = self._near(array, codes, np.full(len(array), floor), nearest=nearest)
        if found is None:
            return self._as_distances(array, self._nearest_of_columns(array), codes)
        own = [(row, column) for row, column in enumerate(held or ()) if column >= 0]
        for row, column in own:
            found[row, column] = self._nearest_of(array[row], column)
        distances = self._as_distances(array, found, codes)
        if nearest is not None and nearest < distances.shape[1]:
            # Of the identities behind those, some entry was met, not always the nearest.
            beyond = distances > np.partition(distances, nearest - 1, axis=1)[:, nearest - 1, None]
            for row, column in own:
                beyond[row, column] = False
            distances[beyond] = np.inf
        return distances

    def nearest_identities(
        self, probes: Any, k: int, class_names: Sequence[str | None] | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """The identities nearest to each probe.

        Args:
            probes: (P, D) float, rows of unit length.
            k: How many, at least 1.
            class_names: P class names; None for one (or for all) matches every class.

        Returns:
            Columns (P, K) and their distances (P, K) as of `identity_distances`, the nearest first, equals by
            column. K is `k`, or less where there are fewer columns; where the probe's class has fewer than K,
            the columns at the end are -1, and their distances +inf.

        Raises:
            EmbeddingError: As of `identity_distances`, and for a `k` below 1.
        """
        array, codes = self._asked(probes, class_names)
        if k < 1:
            raise EmbeddingError(f"Expected k of at least 1, found {k}.")
        count = min(k, len(self._names))
        if not len(array) or not count:
            return np.empty((len(array), count), np.intp), np.empty((len(array), count), np.float32)
        nearest = self._near(array, codes, np.full(len(array), -np.inf), nearest=count)
        if nearest is None:
            nearest = self._nearest_of_columns(array)
        distances = self._as_distances(array, nearest, codes)
        chosen, found = _smallest(distances, count)
        chosen[~np.isfinite(found)] = -1
        return chosen, found

    def _asked(
        self, probes: Any, class_names: Sequence[str | None] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """The probes, checked, and the code of each one's class: -1 for any, -2 for one that is not there."""
        array = unit_rows(probes, self.dimension, what="probes")
        if class_names is None:
            return array, np.full(len(array), -1, np.intp)
        if len(class_names) != len(array):
            raise EmbeddingError(f"Expected {len(array)} class names, one for each probe, found {len(class_names)}.")
        codes = [-1 if name is None else self._codes.get(name.casefold(), -2) for name in class_names]
        return array, np.asarray(codes, dtype=np.intp)

    def _as_distances(
        self, probes: NDArray[np.float32], nearest: NDArray[np.float32], codes: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Similarities (P, I) to distances; -inf to +inf, and across classes too."""
        distances: NDArray[np.float32] = np.subtract(np.float32(1.0), nearest, out=nearest)
        unknown = np.isposinf(distances)
        np.clip(distances, np.float32(0.0), np.float32(2.0), out=distances)
        distances[unknown] = np.inf
        if len(self._codes) > 1 or (codes == -2).any():
            for row, code in enumerate(codes):
                if code != -1:
                    distances[row, self._column_codes != code] = np.inf
        if self._rejections is not None:
            self._rejections.apply(probes, distances, self._names)
        return distances

    def _nearest_of_columns(self, probes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(P, I) the greatest similarity, less what the entry loses, to each column."""
        nearest: NDArray[np.float32] = np.full((len(probes), len(self._names)), -np.inf, np.float32)
        _greatest(probes, self._vectors, self._loss, self._starts, nearest[:, : len(self._starts)])
        self._with_appended(probes, nearest)
        return nearest

    def column_embeddings(self, column: int) -> NDArray[np.float32]:
        """(n, D) float32, the embeddings of one column's entries, rows of unit length."""
        rows, more = self._rows_of(column)
        if self._gone is not None and self._gone[rows].any():
            return np.concatenate([self._vectors[rows][~self._gone[rows]], self._more_vectors[more]])
        if rows.start == rows.stop or more.start == more.stop:
            return self._vectors[rows] if rows.start != rows.stop else self._more_vectors[more]
        return np.concatenate([self._vectors[rows], self._more_vectors[more]])

    def _rows_of(self, column: int) -> tuple[slice, slice]:
        """Where a column's rows lie, and those that were appended."""
        rows = slice(0, 0)
        if column < len(self._starts):
            stop = self._starts[column + 1] if column + 1 < len(self._starts) else len(self._vectors)
            rows = slice(int(self._starts[column]), int(stop))
        first, last = np.searchsorted(self._more_columns, [column, column + 1]).tolist()
        return rows, slice(first, last)

    def _with_appended(self, probes: NDArray[np.float32], nearest: NDArray[np.float32]) -> None:
        if self._more_ids:
            columns, starts = np.unique(self._more_columns, return_index=True)
            more = np.empty((len(probes), len(columns)), np.float32)
            _greatest(probes, self._more_vectors, self._more_loss, starts, more)
            nearest[:, columns] = np.maximum(nearest[:, columns], more)

    def _nearest_of(self, probe: NDArray[np.float32], column: int) -> float:
        """The greatest similarity, less what the entry loses, to one column."""
        best = -np.inf
        for vectors, loss, part in zip(
            (self._vectors, self._more_vectors), (self._loss, self._more_loss), self._rows_of(column), strict=True
        ):
            near = np.vecdot(vectors[part], probe)
            best = max(best, float((near if loss is None else near - loss[part]).max(initial=-np.inf)))
        return best

    # -- only what is near -----------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Do now what the first question about the nearest would else wait for."""
        if not self._sketched and self.search != "exact":
            self._sketched = True
            if len(self._vectors) >= SKETCH_FROM:
                self._sketch = SimilarityBounds.learn(self._vectors, self._column_codes[self._columns])

    def _near(
        self,
        probes: NDArray[np.float32],
        codes: NDArray[np.intp],
        floors: NDArray[np.float64],
        nearest: int | None = None,
    ) -> NDArray[np.float32] | None:
        """As `_nearest_of_columns`, but -inf where a similarity is under the floor (or not of the `nearest`).

        None where nothing is quicker than to ask for all.
        """
        if self.search == "exact":
            return None
        out: NDArray[np.float32] | None = None
        over = np.ones(len(probes), bool)
        if self.search == "hnsw" and self._index is not None:
            out, over = self._near_by_index(self._index, probes, codes, floors, nearest)
        if over.any():
            self.prepare()
            if self._sketch is not None:
                some = np.flatnonzero(over)
                pairs, passed = self._sketch.at_least(
                    probes[some], codes[some], floors[some], columns=self._columns, loss=self._loss, nearest=nearest
                )
                out = self._nothing(len(probes)) if out is None else out
                self._take(out, some[pairs.probes], pairs)
                over = np.zeros(len(probes), bool)
                over[some[passed]] = True
        if out is None:
            return None
        self._with_appended(probes, out)
        # Of an identity that is beyond the floor only some entry was met, not always its nearest.
        out[out < (floors - _ROUNDING)[:, None]] = -np.inf
        if over.any():
            out[over] = self._nearest_of_columns(probes[over])
        return out

    def _nothing(self, probes: int) -> NDArray[np.float32]:
        return np.full((probes, len(self._names)), -np.inf, np.float32)

    def _take(self, out: NDArray[np.float32], probes: NDArray[np.intp], pairs: Pairs) -> None:
        np.maximum.at(out, (probes, self._columns[pairs.rows]), pairs.similarities)

    def _near_by_index(
        self,
        index: EntryIndex,
        probes: NDArray[np.float32],
        codes: NDArray[np.intp],
        floors: NDArray[np.float64],
        nearest: int | None,
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_]]:
        """The same by an index, and for which probes its answer does not reach far enough."""
        over = np.ones(len(probes), bool)
        count = min(_FROM_INDEX, len(self._ids))
        answer = index.nearest(probes, count, self._generation) if count else None
        if answer is None:
            return None, over
        places = self._rows_by_id()
        out = self._nothing(len(probes))
        for probe, (ids, distances) in enumerate(zip(answer[0], answer[1], strict=True)):
            rows = np.asarray([row for row in map(places.get, ids) if row is not None], dtype=np.intp)
            near = np.vecdot(self._vectors[rows], probes[probe])
            if self._loss is not None:
                near = near - self._loss[rows]
            np.maximum.at(out[probe], self._columns[rows], near)
            code = codes[probe]
            fit = out[probe] > -np.inf if code == -1 else (out[probe] > -np.inf) & (self._column_codes == code)
            # Whoever stands behind the last entry that it gave is further away than that.
            reach = 1.0 - distances[-1] if len(distances) == count else np.inf
            floor = floors[probe]
            if nearest is not None:
                order = np.sort(out[probe][fit])[::-1]
                floor = max(floor, float(order[nearest - 1]) if len(order) >= nearest else -np.inf)
            over[probe] = reach > floor
            if over[probe]:
                out[probe] = -np.inf
        return out, over

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
        return self.nearest_of(probes, k, None if class_name is None else self.rows_of(class_name=class_name))

    def rows_of(
        self, *, class_name: str | None = None, identity: str | None = None, ids: Sequence[str] | None = None
    ) -> NDArray[np.intp]:
        """The rows, sorted, of the entries of a class, of an identity, and with one of these ids."""
        fits = np.ones(len(self._names), bool)
        if class_name is not None:
            fits &= self._column_codes == self._codes.get(class_name.casefold(), -1)
        if identity is not None:
            fits &= np.asarray([name == identity for name in self._names], dtype=bool)
        of = fits[self.row_columns]
        if ids is not None:
            among = np.zeros(len(self._ids), bool)
            places = self._rows_by_id()
            among[[places[id_] for id_ in ids if id_ in places]] = True
            more = set(ids) if self._more_ids else set()
            of &= np.append(among[self._there], np.asarray([id_ in more for id_ in self._more_ids], dtype=bool))
        return np.flatnonzero(of)

    def _rows_by_id(self) -> dict[str, int]:
        """Of the entries that were loaded."""
        if self._row_of is None:
            self._row_of = {id_: row for row, id_ in enumerate(self._ids)}
        return self._row_of

    def nearest_of(
        self, probes: Any, k: int, rows: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """`nearest` among given rows, sorted; among all of them for None."""
        array = unit_rows(probes, self.dimension, what="probes")
        if k < 1:
            raise EmbeddingError(f"Expected k of at least 1, found {k}.")
        count = min(k, len(self) if rows is None else len(rows))
        if not count or not len(array):
            return np.empty((len(array), count), np.intp), np.empty((len(array), count), np.float32)
        # To copy most of the vectors would cost more than to compare with the others as well.
        some = rows is not None and 4 * len(rows) < len(self)
        similarity = ((self.embeddings[rows] if some else self.embeddings) @ array.T).T
        if rows is not None and not some:
            similarity = similarity[:, rows]
        distances = np.clip(np.float32(1.0) - similarity, np.float32(0.0), np.float32(2.0), order="C")
        chosen, found = _smallest(distances, count)
        return (chosen if rows is None else rows[chosen]), found


def _smallest(distances: NDArray[np.float32], count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The places (P, count) and values of the smallest of each row, equals by place."""
    chosen = np.empty((len(distances), count), np.intp)
    for probe, row in enumerate(distances):
        some = np.flatnonzero(row < np.inf)
        if len(some) < count:
            some = np.arange(len(row))
        elif len(some) > 4 * count:
            # A few more than count, for equals at the border to come out by place, whatever the partition did.
            some = some[row[some] <= np.partition(row[some], count - 1)[count - 1]]
        chosen[probe] = some[np.argsort(row[some], kind="stable")[:count]]
    return chosen, np.take_along_axis(distances, chosen, axis=1)


def _loss(rows: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    return np.where(rows, np.float32(TRACK_PENALTY), np.float32(0.0)) if rows.any() else None


def _greatest(
    probes: NDArray[np.float32],
    vectors: NDArray[np.float32],
    loss: NDArray[np.float32] | None,
    starts: NDArray[np.intp],
    out: NDArray[np.float32],
) -> None:
    """The greatest similarity in each run of rows, into (P, number of starts)."""
    at_once = max(1, _PRODUCTS // max(1, len(probes)))
    first = 0
    while first < len(starts):
        # As many whole runs as fit, one at least.
        begin = int(starts[first])
        last = max(first + 1, int(np.searchsorted(starts, begin + at_once, side="right")) - 1)
        if begin + at_once >= len(vectors):
            last = len(starts)
        end = int(starts[last]) if last < len(starts) else len(vectors)
        # Rows times probes: BLAS takes a tall product in this order in two thirds of the time.
        similarity = np.ascontiguousarray((vectors[begin:end] @ probes.T).T)
        if loss is not None:
            similarity -= loss[begin:end]
        out[:, first:last] = np.maximum.reduceat(similarity, starts[first:last] - begin, axis=1)
        first = last
