"""Which track gets which detection: the assignment of the lowest total cost, computed from the boxes that overlap.

Boxes that do not overlap have the cost 1 and are no candidates, so that crowds cost about as much as there are
overlaps. Most pairs are certain at once, because nothing else could outweigh them; the Jonker-Volgenant algorithm
(of the package lapx) decides the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import lap
import numpy as np

from tracking.trackers.motion.kalman import Floats, Indices, Mask

__all__ = ["Candidates", "assign", "overlaps"]

# Costs nearer to each other than this may be equal but for rounding. Which of several best answers lapx finds depends
# on all that it is given; it then gets the whole matrix.
_TIE = 1e-9


class Candidates(NamedTuple):
    """Pairs of a track (row) and a detection (column), and the (K,) cost or IoU of each."""

    rows: Indices
    columns: Indices
    values: Floats

    def where(self, kept: Mask) -> Candidates:
        """Return the pairs of a mask (K,)."""
        return Candidates(self.rows[kept], self.columns[kept], self.values[kept])


def overlaps(first: Floats, second: Floats) -> Candidates:
    """Return all pairs of boxes (N, 4) and (M, 4) xyxy that overlap, and their IoU.

    A sweep from left to right: only boxes that are near in x are compared in y.
    """
    order = np.argsort(second[:, 0])
    left = second[order, 0]
    widest = (second[:, 2] - second[:, 0]).max(initial=0.0)
    start = np.searchsorted(left, first[:, 0] - widest)
    counts = np.maximum(np.searchsorted(left, first[:, 2]) - start, 0)
    rows = np.repeat(np.arange(len(first)), counts)
    columns = order[np.arange(len(rows)) + np.repeat(start - (counts.cumsum() - counts), counts)]
    rows, columns, height, _ = _common(first, second, rows, columns, axis=1)
    rows, columns, width, kept = _common(first, second, rows, columns, axis=0)
    area = width * height[kept]
    return Candidates(rows, columns, area / (_areas(first)[rows] + _areas(second)[columns] - area))


def _common(
    first: Floats, second: Floats, rows: Indices, columns: Indices, *, axis: int
) -> tuple[Indices, Indices, Floats, Indices]:
    """Return the pairs of boxes that overlap along an axis, the length that they share, and which pairs they are."""
    low = np.maximum(first[rows, axis], second[columns, axis])
    shared = np.minimum(first[rows, axis + 2], second[columns, axis + 2]) - low
    kept = np.flatnonzero(shared > 0)
    return rows[kept], columns[kept], shared[kept], kept


def _areas(boxes: Floats) -> Floats:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def assign(candidates: Candidates, rows: Indices, columns: Indices, limit: float) -> tuple[Indices, Indices]:
    """Return the rows that get a column, ascending, and their columns: the lowest sum of costs.

    To leave a row and a column without each other costs `limit`. Pairs that are no candidates have the cost 1.

    Args:
        candidates: Pairs with their costs.
        rows, columns: All rows and columns that take part, ascending.
        limit: Cost from which a pair is not assigned.
    """
    gain = limit - candidates.values
    if limit >= 1.0 or bool((np.abs(gain) < _TIE).any()):
        return _solve(candidates, rows, columns, limit)
    left = Candidates(candidates.rows, candidates.columns, gain).where(gain > 0)
    taken_rows: list[Indices] = []
    taken_columns: list[Indices] = []
    while len(left.rows):
        # A pair gains more than all that its row and its column could gain without it: it is part of every best answer.
        by_row, by_column = np.bincount(left.rows, left.values), np.bincount(left.columns, left.values)
        certain = 3 * left.values - by_row[left.rows] - by_column[left.columns] > _TIE
        if not certain.any():
            break
        taken_rows.append(left.rows[certain])
        taken_columns.append(left.columns[certain])
        by_row[left.rows[certain]] = by_column[left.columns[certain]] = -1.0
        left = left.where((by_row[left.rows] >= 0) & (by_column[left.columns] >= 0))
    if len(left.rows):
        if bool((np.diff(np.sort(left.values)) < _TIE).any()):
            return _solve(candidates, rows, columns, limit)
        rest = _solve(left._replace(values=limit - left.values), np.unique(left.rows), np.unique(left.columns), limit)
        taken_rows.append(rest[0])
        taken_columns.append(rest[1])
    if not taken_rows:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    found, partners = np.concatenate(taken_rows), np.concatenate(taken_columns)
    order = np.argsort(found)
    return found[order], partners[order]


def _solve(candidates: Candidates, rows: Indices, columns: Indices, limit: float) -> tuple[Indices, Indices]:
    """Do what `assign` does, by the matrix of these rows and columns."""
    costs = np.ones((len(rows), len(columns)))
    if not costs.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    costs[np.searchsorted(rows, candidates.rows), np.searchsorted(columns, candidates.columns)] = candidates.values
    partners, _ = lap.lapjv(costs, extend_cost=True, cost_limit=limit, return_cost=False)
    found = np.flatnonzero(partners >= 0)
    return rows[found], columns[partners[found]]
