"""Answer which identities and entries are nearest to probes: with all entries, with bounds, or with an index.

Three ways lead to the best similarity of each probe to each column:

- *all entries*: one matrix product with every entry, exact for all columns;
- *bounds*: upper bounds select the few entries that can be near enough, and these are compared exactly
  (`SimilarityBounds`); columns that are not near enough stay at -inf;
- *index*: an approximate index names candidates, which are compared exactly; probes for which its candidates do not
  reach far enough are answered with bounds.

Similarities are turned into distances, ``1 - similarity``, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_rows
from gallery_db.errors import EmbeddingError
from gallery_db.search.table import EntryTable

__all__ = ["EntryIndex", "NearestSearch", "Search"]

Search = Literal["auto", "hnsw", "exact"]
"""How to search: with Chroma's approximate HNSW index, with every entry in memory, or whatever is best."""

_ANY_CLASS = -1
_ABSENT_CLASS = -2

_MAX_PRODUCTS = 4_000_000
"""Similarities that are held at the same time, 4 bytes each."""

_ROUNDING = 2e-6
"""Largest difference between two ways to compute the same similarity."""

_INDEX_CANDIDATES = 64
"""Entries that an index is asked for; its cost hardly depends on their number."""


class EntryIndex(Protocol):
    """An approximate index of a collection's entries, outside the view."""

    def nearest(
        self, probes: NDArray[np.float32], count: int, generation: int
    ) -> tuple[Sequence[Sequence[str]], Sequence[Sequence[float]]] | None:
        """Return the ids of the nearest entries and their distances, the nearest first.

        Args:
            probes: (P, D) float32, rows of unit length.
            count: How many for each probe.
            generation: Generation of the collection that the view shows.

        Returns:
            P sequences of each; None where the index is not at that generation.
        """
        ...


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
        best: NDArray[np.float32] | None = None
        if limit is not None or nearest is not None:
            floor = -np.inf if limit is None else 1.0 - limit
            best = self._best_above(array, codes, np.full(len(array), floor), nearest, generation)
        if best is None:
            return self._to_distances(array, self._best_of_all(array), codes)
        exact = [(probe, column) for probe, column in enumerate(held or ()) if column >= 0]
        for probe, column in exact:
            best[probe, column] = self._best_of_column(array[probe], column)
        distances = self._to_distances(array, best, codes)
        if nearest is not None and nearest < distances.shape[1]:
            # Of columns further away, some entry was compared, which need not be the column's nearest.
            beyond = distances > np.partition(distances, nearest - 1, axis=1)[:, nearest - 1, None]
            for probe, column in exact:
                beyond[probe, column] = False
            distances[beyond] = np.inf
        return distances

    def nearest_identities(
        self, probes: Any, k: int, class_names: Sequence[str | None] | None, *, generation: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """See `GalleryView.nearest_identities`."""
        array, codes = self._check_probes(probes, class_names)
        _check_count(k)
        count = min(k, len(self._table.names))
        if not len(array) or not count:
            return np.empty((len(array), count), np.intp), np.empty((len(array), count), np.float32)
        best = self._best_above(array, codes, np.full(len(array), -np.inf), count, generation)
        if best is None:
            best = self._best_of_all(array)
        distances = self._to_distances(array, best, codes)
        columns, found = _smallest(distances, count)
        columns[~np.isfinite(found)] = -1
        return columns, found

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
        """Return the probes (P, D) and the class numbers (P,), `_ANY_CLASS` and `_ABSENT_CLASS` among them."""
        array = unit_rows(probes, self._table.dimension, what="probes")
        if class_names is None:
            return array, np.full(len(array), _ANY_CLASS, np.intp)
        if len(class_names) != len(array):
            raise EmbeddingError(
                f"Expected {len(array)} class names, one for each probe, found {len(class_names)}.",
                hint="Give a class name, or None for any class, for each probe.",
            )
        of = self._table.class_codes
        codes = [_ANY_CLASS if name is None else of.get(name.casefold(), _ABSENT_CLASS) for name in class_names]
        return array, np.asarray(codes, dtype=np.intp)

    def _to_distances(
        self, probes: NDArray[np.float32], best: NDArray[np.float32], codes: NDArray[np.intp]
    ) -> NDArray[np.float32]:
        """Turn similarities (P, I) into distances, in place: -inf, other classes and rejections become +inf."""
        table = self._table
        distances: NDArray[np.float32] = np.subtract(np.float32(1.0), best, out=best)
        not_compared = np.isposinf(distances)
        np.clip(distances, np.float32(0.0), np.float32(2.0), out=distances)
        distances[not_compared] = np.inf
        if len(table.class_codes) > 1 or (codes == _ABSENT_CLASS).any():
            for probe, code in enumerate(codes):
                if code != _ANY_CLASS:
                    distances[probe, table.column_codes != code] = np.inf
        if table.rejections is not None:
            table.rejections.apply(probes, distances, table.names)
        return distances

    def _best_of_all(self, probes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the best similarity (P, I), less penalties, to each column, from all entries."""
        table = self._table
        best: NDArray[np.float32] = np.full((len(probes), len(table.names)), -np.inf, np.float32)
        loaded = table.loaded
        _max_of_runs(probes, loaded.vectors, loaded.penalties, table.starts, best[:, : len(table.starts)])
        self._include_appended(probes, best)
        return best

    def _include_appended(self, probes: NDArray[np.float32], best: NDArray[np.float32]) -> None:
        appended = self._table.appended
        if appended.ids:
            columns, starts = np.unique(appended.columns, return_index=True)
            more = np.empty((len(probes), len(columns)), np.float32)
            _max_of_runs(probes, appended.vectors, appended.penalties, starts, more)
            best[:, columns] = np.maximum(best[:, columns], more)

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

    def _best_above(
        self,
        probes: NDArray[np.float32],
        codes: NDArray[np.intp],
        floors: NDArray[np.float64],
        nearest: int | None,
        generation: int,
    ) -> NDArray[np.float32] | None:
        """Return the best similarity to each column where it matters, with bounds or with the index.

        Args:
            probes: (P, D) float32, rows of unit length.
            codes: (P,) class numbers.
            floors: (P,) similarities below which a column does not matter.
            nearest: Number of nearest columns that matter; None for no such limit.
            generation: Generation that the table shows, for the index.

        Returns:
            (P, I) float32, less penalties; -inf for columns that do not matter. None where comparing with all entries
            is as fast.
        """
        if self.mode == "exact":
            return None
        table = self._table
        best: NDArray[np.float32] | None = None
        open_probes = np.ones(len(probes), bool)
        if self.mode == "hnsw" and self._index is not None:
            best, open_probes = self._best_from_index(self._index, probes, codes, floors, nearest, generation)
        if open_probes.any():
            bounds = table.bounds()
            if bounds is not None:
                some = np.flatnonzero(open_probes)
                columns, penalties = table.loaded.columns, table.loaded.penalties
                pairs, left_out = bounds.find_pairs(
                    probes[some], codes[some], floors[some], columns=columns, penalties=penalties, nearest=nearest
                )
                best = self._no_similarities(len(probes)) if best is None else best
                np.maximum.at(best, (some[pairs.probes], columns[pairs.rows]), pairs.similarities)
                open_probes = np.zeros(len(probes), bool)
                open_probes[some[left_out]] = True
        if best is None:
            return None
        self._include_appended(probes, best)
        # Of a column below the floor, some entry was compared, which need not be the column's nearest.
        best[best < (floors - _ROUNDING)[:, None]] = -np.inf
        if open_probes.any():
            best[open_probes] = self._best_of_all(probes[open_probes])
        return best

    def _no_similarities(self, probes: int) -> NDArray[np.float32]:
        return np.full((probes, len(self._table.names)), -np.inf, np.float32)

    def _best_from_index(
        self,
        index: EntryIndex,
        probes: NDArray[np.float32],
        codes: NDArray[np.intp],
        floors: NDArray[np.float64],
        nearest: int | None,
        generation: int,
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_]]:
        """Return the best similarities (P, I) among the index's candidates, and which probes (P,) are still open.

        A probe is open where an entry behind the last candidate could matter. None and all probes where the index
        has no answer.
        """
        open_probes = np.ones(len(probes), bool)
        loaded, column_codes = self._table.loaded, self._table.column_codes
        vectors, columns, penalties = loaded.vectors, loaded.columns, loaded.penalties
        count = min(_INDEX_CANDIDATES, len(loaded.ids))
        answer = index.nearest(probes, count, generation) if count else None
        if answer is None:
            return None, open_probes
        row_of = self._table.loaded_rows()
        best = self._no_similarities(len(probes))
        for probe, (ids, distances) in enumerate(zip(answer[0], answer[1], strict=True)):
            rows = np.asarray([row for row in map(row_of.get, ids) if row is not None], dtype=np.intp)
            similarities = np.vecdot(vectors[rows], probes[probe])
            if penalties is not None:
                similarities = similarities - penalties[rows]
            np.maximum.at(best[probe], columns[rows], similarities)
            code = codes[probe]
            met = best[probe] > -np.inf
            if code != _ANY_CLASS:
                met &= column_codes == code
            # Every entry that is not a candidate is further away than the last candidate.
            reach = 1.0 - distances[-1] if len(distances) == count else np.inf
            floor = floors[probe]
            if nearest is not None:
                order = np.sort(best[probe][met])[::-1]
                floor = max(floor, float(order[nearest - 1]) if len(order) >= nearest else -np.inf)
            open_probes[probe] = reach > floor
            if open_probes[probe]:
                best[probe] = -np.inf
        return best, open_probes


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
