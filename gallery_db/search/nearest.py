"""Answer which identities and entries are nearest to probes: with all entries, with bounds, or with an index.

Three ways lead to the best similarity of each probe to each column:

- *all entries*: one matrix product with every entry, exact for all columns;
- *bounds*: upper bounds select the few entries that can be near enough, and these are compared exactly
  (`SimilarityBounds`);
- *index*: an approximate index names candidates, which are compared exactly; probes for which its candidates do not
  reach far enough are answered with bounds.

Similarities are turned into distances, ``1 - similarity``, at the end. Answers are sparse: only the columns that matter
to a probe are kept, so that a gallery of many identities costs no more memory than one of few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_rows
from gallery_db.errors import EmbeddingError
from gallery_db.search.index_candidates import EntryIndex, pairs_of_index
from gallery_db.search.pairs import (
    ANY_CLASS,
    NearIdentities,
    Pairs,
    best_pairs,
    blocks,
    distances_of,
    join_pairs,
    no_pairs,
    ranks,
    smallest_within,
)
from gallery_db.search.table import EntryTable

__all__ = ["NearestSearch", "Search"]

Search = Literal["auto", "hnsw", "exact"]
"""How to search: with Chroma's approximate HNSW index, with every entry in memory, or whatever is best."""

_ABSENT_CLASS = -2

_MAX_PRODUCTS = 4_000_000
"""Similarities that are held at the same time, 4 bytes each."""

_ROUNDING = 2e-6
"""Largest difference between two ways to compute the same similarity."""


class NearestSearch:
    """Searches a table.

    Args:
        table: The entries; they may change between searches.
        mode: See `Search`; may be changed between searches.
        index: The index for ``"hnsw"``.
    """

    def __init__(self, table: EntryTable, mode: Search, index: EntryIndex | None = None) -> None:
        self._table = table
        self._index = index
        self.mode: Search = mode

    def prepare(self) -> None:
        """Learn the bounds now, for which the first search would otherwise wait."""
        if self.mode != "exact":
            self._table.bounds()

    # -- identities ------------------------------------------------------------------------------------------

    def near_identities(
        self,
        probes: Any,
        class_names: Sequence[str | None] | None,
        *,
        limit: float | Sequence[float] | NDArray[np.float64],
        nearest: int | None,
        generation: int,
    ) -> NearIdentities:
        """See `GalleryView.near_identities`."""
        array, codes = self._check_probes(probes, class_names)
        limits = np.broadcast_to(np.asarray(limit, np.float64), (len(array),))
        if nearest is not None:
            _check_count(nearest)
        return self._near(array, codes, limits, nearest, generation)

    def column_distances(
        self, probes: Any, columns: Sequence[int], class_names: Sequence[str | None] | None
    ) -> NDArray[np.float32]:
        """See `GalleryView.column_distances`."""
        array, codes = self._check_probes(probes, class_names)
        return self._column_distances(array, codes, np.asarray(columns, np.intp))

    def rejected_identities(self, probes: Any) -> list[frozenset[str]]:
        """See `GalleryView.rejected_identities`."""
        array, codes = self._check_probes(probes, None)
        table = self._table
        rejected = frozenset() if table.rejections is None else table.rejections.names
        columns = [column for column, name in enumerate(table.names) if rejected and name in rejected]
        found: list[set[str]] = [set() for _ in array]
        for column in columns:
            distances = self._column_distances(array, codes, np.full(len(array), column))
            for probe in np.flatnonzero(np.isposinf(distances)).tolist():
                found[probe].add(table.names[column])
        return [frozenset(names) for names in found]

    def identity_distances(
        self,
        probes: Any,
        class_names: Sequence[str | None] | None,
        *,
        limit: float | None,
        nearest: int | None,
        held: Sequence[int] | None,
        generation: int,
    ) -> NDArray[np.float32]:
        """See `GalleryView.identity_distances`."""
        array, codes = self._check_probes(probes, class_names)
        columns = len(self._table.names)
        if not len(array) or not columns:
            return np.empty((len(array), columns), np.float32)
        if limit is None and nearest is None:
            return self._to_distances(array, self._best_of_all(array), codes)
        limits = np.full(len(array), np.inf if limit is None else limit)
        near = self._near(array, codes, limits, nearest, generation)
        distances = np.full((len(array), columns), np.inf, np.float32)
        distances[near.probes, near.columns] = near.distances
        if held is not None:
            of = np.asarray(held, np.intp)
            some = np.flatnonzero(of >= 0)
            distances[some, of[some]] = self._column_distances(array[some], codes[some], of[some])
        return distances

    def nearest_identities(
        self, probes: Any, k: int, class_names: Sequence[str | None] | None, *, generation: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """See `GalleryView.nearest_identities`."""
        array, codes = self._check_probes(probes, class_names)
        _check_count(k)
        count = min(k, len(self._table.names))
        columns = np.full((len(array), count), -1, np.intp)
        distances = np.full((len(array), count), np.inf, np.float32)
        if len(array) and count:
            near = self._near(array, codes, np.full(len(array), np.inf), count, generation)
            rank = ranks(near.probes)
            columns[near.probes, rank] = near.columns
            distances[near.probes, rank] = near.distances
        return columns, distances

    # -- entries ---------------------------------------------------------------------------------------------

    def nearest_rows(
        self, probes: Any, k: int, rows: NDArray[np.intp] | None
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """See `GalleryView.nearest_of`."""
        table = self._table
        array = unit_rows(probes, table.dimension, what="probes")
        _check_count(k)
        entries = len(table)
        count = min(k, entries if rows is None else len(rows))
        if not count or not len(array):
            return np.empty((len(array), count), np.intp), np.empty((len(array), count), np.float32)
        # To copy most of the vectors would cost more than to compare with the others as well.
        copying = rows is not None and 4 * len(rows) < entries
        similarity = ((table.embeddings[rows] if copying else table.embeddings) @ array.T).T
        if rows is not None and not copying:
            similarity = similarity[:, rows]
        distances = np.clip(np.float32(1.0) - similarity, np.float32(0.0), np.float32(2.0), order="C")
        chosen, found = _smallest(distances, count)
        return (chosen if rows is None else rows[chosen]), found

    # -- the best similarity to each column ------------------------------------------------------------------

    def _check_probes(
        self, probes: Any, class_names: Sequence[str | None] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """Return the probes (P, D) and the class numbers (P,), `ANY_CLASS` and `_ABSENT_CLASS` among them."""
        array = unit_rows(probes, self._table.dimension, what="probes")
        if class_names is None:
            return array, np.full(len(array), ANY_CLASS, np.intp)
        if len(class_names) != len(array):
            raise EmbeddingError(
                f"Expected {len(array)} class names, one for each probe, found {len(class_names)}.",
                hint="Give a class name, or None for any class, for each probe.",
            )
        of = self._table.class_codes
        codes = [ANY_CLASS if name is None else of.get(name.casefold(), _ABSENT_CLASS) for name in class_names]
        return array, np.asarray(codes, dtype=np.intp)

    def _to_distances(
        self, probes: NDArray[np.float32], best: NDArray[np.float32], codes: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Turn similarities (P, I) into distances, in place: -inf, other classes and rejections become +inf."""
        table = self._table
        distances = distances_of(best, out=best)
        if len(table.class_codes) > 1 or (codes == _ABSENT_CLASS).any():
            for probe, code in enumerate(codes):
                if code != ANY_CLASS:
                    distances[probe, table.column_codes != code] = np.inf
        if table.rejections is not None:
            table.rejections.apply(probes, distances, table.names)
        return distances

    def _near(
        self,
        probes: NDArray[np.float32],
        codes: NDArray[np.intp],
        limits: NDArray[np.float64],
        nearest: int | None,
        generation: int,
    ) -> NearIdentities:
        """Return the columns within the limit (P,) of each probe, at most the `nearest`, with their distances."""
        table = self._table
        pairs, open_probes = self._pairs_above(probes, codes, 1.0 - limits, nearest, generation)
        of, columns, best = best_pairs(*pairs)
        own = (codes[of] == ANY_CLASS) | (codes[of] == table.column_codes[columns])
        of, columns, distances = of[own], columns[own], distances_of(best[own])
        if table.rejections is not None:
            names = [table.names[column] for column in columns]
            distances[table.rejections.exclude(probes, of, names, distances)] = np.inf
        found = [(of, columns, distances)]
        for some in blocks(open_probes, _MAX_PRODUCTS // max(1, len(table.names))):
            dense = self._to_distances(probes[some], self._best_of_all(probes[some]), codes[some])
            which, columns = smallest_within(dense, limits[some], nearest)
            found.append((some[which], columns, dense[which, columns]))
        of, columns, distances = join_pairs(found)
        order = np.lexsort((columns, distances, of))
        order = order[(distances[order] <= limits[of[order]]) & (distances[order] < np.inf)]
        of, columns, distances = of[order], columns[order], distances[order]
        if nearest is not None:
            first = ranks(of) < nearest
            of, columns, distances = of[first], columns[first], distances[first]
        return NearIdentities(of, columns, distances)

    def _column_distances(
        self, probes: NDArray[np.float32], codes: NDArray[np.intp], columns: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Return the distance (P,) of each probe to its column (P,)."""
        table = self._table
        best = [self._best_of_column(probe, column) for probe, column in zip(probes, columns.tolist(), strict=True)]
        distances = distances_of(np.asarray(best, np.float32))
        distances[(codes != ANY_CLASS) & (table.column_codes[columns] != codes)] = np.inf
        if table.rejections is not None:
            names = [table.names[column] for column in columns]
            distances[table.rejections.exclude(probes, np.arange(len(probes)), names, distances)] = np.inf
        return distances

    def _best_of_all(self, probes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the best similarity (P, I), less penalties, to each column, from all entries."""
        table = self._table
        best: NDArray[np.float32] = np.full((len(probes), len(table.names)), -np.inf, np.float32)
        loaded = table.loaded
        _max_of_runs(probes, loaded.vectors, loaded.penalties, table.starts, best[:, : len(table.starts)])
        appended = table.appended
        if appended.ids:
            columns, more = self._best_of_appended(probes)
            best[:, columns] = np.maximum(best[:, columns], more)
        return best

    def _best_of_appended(self, probes: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the C columns that have appended rows, and the best similarities (P, C) of these rows."""
        appended = self._table.appended
        columns, starts = np.unique(appended.columns, return_index=True)
        best = np.empty((len(probes), len(columns)), np.float32)
        _max_of_runs(probes, appended.vectors, appended.penalties, starts, best)
        return columns, best

    def _best_of_column(self, probe: NDArray[np.float32], column: int) -> float:
        """Return the best similarity, less penalties, of one probe (D,) to one column."""
        best = -np.inf
        blocks = (self._table.loaded, self._table.appended)
        for block, rows in zip(blocks, self._table.column_rows(column), strict=True):
            similarities = np.vecdot(block.vectors[rows], probe)
            if block.penalties is not None:
                similarities = similarities - block.penalties[rows]
            best = max(best, float(similarities.max(initial=-np.inf)))
        return best

    def _pairs_above(
        self,
        probes: NDArray[np.float32],
        codes: NDArray[np.intp],
        floors: NDArray[np.float64],
        nearest: int | None,
        generation: int,
    ) -> tuple[Pairs, NDArray[np.intp]]:
        """Return the similarities to entries that matter, with bounds or with the index.

        Args:
            probes: (P, D) float32, rows of unit length.
            codes: (P,) class numbers.
            floors: (P,) similarities below which a column does not matter.
            nearest: Number of nearest columns that matter; None for no such limit.
            generation: Generation that the table shows, for the index.

        Returns:
            Probes, columns and similarities (M,), less penalties, with the best similarity of each column that
            matters among them. And the probes without an answer, for which comparing with all entries is as fast.
        """
        table = self._table
        found: list[Pairs] = []
        open_probes = np.arange(len(probes))
        if not len(table.names) or self.mode == "exact":
            return no_pairs(), open_probes if len(table.names) else open_probes[:0]
        if self.mode == "hnsw" and self._index is not None:
            pairs, open_probes = pairs_of_index(
                self._index, table, probes, codes, floors, nearest=nearest, generation=generation
            )
            found.append(pairs)
        bounds = table.bounds() if len(open_probes) else None
        if bounds is not None:
            of, penalties = table.loaded.columns, table.loaded.penalties
            bounded, left_out = bounds.find_pairs(
                probes[open_probes],
                codes[open_probes],
                floors[open_probes],
                columns=of,
                penalties=penalties,
                nearest=nearest,
            )
            found.append((open_probes[bounded.probes], of[bounded.rows], bounded.similarities))
            open_probes = open_probes[left_out]
        if len(open_probes) < len(probes) and table.appended.ids:
            answered = np.setdiff1d(np.arange(len(probes)), open_probes)
            columns, best = self._best_of_appended(probes[answered])
            which, column = np.nonzero(best >= (floors[answered] - _ROUNDING)[:, None])
            found.append((answered[which], columns[column], best[which, column]))
        return join_pairs(found), open_probes


def _check_count(k: int) -> None:
    if k < 1:
        raise EmbeddingError(f"Expected k of at least 1, found {k}.")


def _smallest(distances: NDArray[np.float32], count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the positions and values (P, count) of the smallest in each row, equal values by position."""
    chosen = np.empty((len(distances), count), np.intp)
    for probe, row in enumerate(distances):
        some = np.flatnonzero(row < np.inf)
        if len(some) < count:
            some = np.arange(len(row))
        elif len(some) > 4 * count:
            # All values equal to the last one are kept, so that positions decide, not the order of the partition.
            some = some[row[some] <= np.partition(row[some], count - 1)[count - 1]]
        chosen[probe] = some[np.argsort(row[some], kind="stable")[:count]]
    return chosen, np.take_along_axis(distances, chosen, axis=1)


def _max_of_runs(
    probes: NDArray[np.float32],
    vectors: NDArray[np.float32],
    penalties: NDArray[np.float32] | None,
    starts: NDArray[np.intp],
    out: NDArray[np.float32],
) -> None:
    """Write the greatest similarity, less penalties, of each run of rows into `out`.

    Args:
        probes: (P, D).
        vectors: (n, D).
        penalties: (n,) or None.
        starts: (R,) first row of each run; a run ends where the next one starts.
        out: (P, R).
    """
    rows_at_once = max(1, _MAX_PRODUCTS // max(1, len(probes)))
    first = 0
    while first < len(starts):
        # As many whole runs as fit, at least one.
        begin = int(starts[first])
        last = max(first + 1, int(np.searchsorted(starts, begin + rows_at_once, side="right")) - 1)
        if begin + rows_at_once >= len(vectors):
            last = len(starts)
        end = int(starts[last]) if last < len(starts) else len(vectors)
        # Rows times probes: BLAS computes a tall product in this order in two thirds of the time.
        similarity = np.ascontiguousarray((vectors[begin:end] @ probes.T).T)
        if penalties is not None:
            similarity -= penalties[begin:end]
        out[:, first:last] = np.maximum.reduceat(similarity, starts[first:last] - begin, axis=1)
        first = last
