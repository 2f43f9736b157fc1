"""Candidates that an approximate index names, compared exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.search.pairs import ANY_CLASS, Pairs, best_pairs, join_pairs, no_pairs
from gallery_db.search.table import EntryTable

__all__ = ["EntryIndex", "pairs_of_index"]

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


def pairs_of_index(
    index: EntryIndex,
    table: EntryTable,
    probes: NDArray[np.float32],
    codes: NDArray[np.intp],
    floors: NDArray[np.float64],
    *,
    nearest: int | None,
    generation: int,
) -> tuple[Pairs, NDArray[np.intp]]:
    """Return the similarities to the index's candidates, and the probes that are still open.

    A probe is open where an entry behind the last candidate could matter. No pairs and all probes where the index
    has no answer.
    """
    loaded, column_codes = table.loaded, table.column_codes
    count = min(_INDEX_CANDIDATES, len(loaded.ids))
    answer = index.nearest(probes, count, generation) if count else None
    if answer is None:
        return no_pairs(), np.arange(len(probes))
    row_of = table.loaded_rows()
    found: list[Pairs] = []
    open_probes = []
    for probe, (ids, distances) in enumerate(zip(answer[0], answer[1], strict=True)):
        rows = np.asarray([row for row in map(row_of.get, ids) if row is not None], dtype=np.intp)
        similarities = np.vecdot(loaded.vectors[rows], probes[probe])
        if loaded.penalties is not None:
            similarities = similarities - loaded.penalties[rows]
        columns = loaded.columns[rows]
        # Every entry that is not a candidate is further away than the last candidate.
        reach = 1.0 - distances[-1] if len(distances) == count else np.inf
        floor = floors[probe]
        if nearest is not None:
            own = codes[probe] == ANY_CLASS or column_codes[columns] == codes[probe]
            met = np.broadcast_to(own, columns.shape) & (similarities > -np.inf)
            _, _, best = best_pairs(np.zeros(int(met.sum()), np.intp), columns[met], similarities[met])
            order = np.sort(best)[::-1]
            floor = max(floor, float(order[nearest - 1]) if len(order) >= nearest else -np.inf)
        if reach > floor:
            open_probes.append(probe)
        else:
            found.append((np.full(len(rows), probe), columns, similarities))
    return join_pairs(found), np.asarray(open_probes, np.intp)
