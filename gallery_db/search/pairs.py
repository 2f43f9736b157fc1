"""Pairs of a probe and a column: what a search keeps in place of an array of all columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ANY_CLASS",
    "NearIdentities",
    "Pairs",
    "best_pairs",
    "blocks",
    "distances_of",
    "join_pairs",
    "no_pairs",
    "ranks",
    "smallest_within",
]

ANY_CLASS = -1
"""Class number of a probe that searches all classes."""


class NearIdentities(NamedTuple):
    """Pairs of a probe and a column that is near to it: by probe, the nearest first, equal distances by column.

    Attributes:
        probes: (M,) numbers of probes.
        columns: (M,) columns.
        distances: (M,) float32 cosine distances.
    """

    probes: NDArray[np.intp]
    columns: NDArray[np.intp]
    distances: NDArray[np.float32]


Pairs = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]
"""Numbers of probes, numbers of columns, and similarities or distances, (M,) each."""


def no_pairs() -> Pairs:
    """Return M = 0 pairs."""
    return np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.float32)


def join_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Return all pairs of some parts."""
    probes, columns, values = zip(no_pairs(), *parts, strict=True)
    return np.concatenate(probes), np.concatenate(columns), np.concatenate(values)


def best_pairs(probes: NDArray[np.intp], columns: NDArray[np.intp], similarities: NDArray[np.float32]) -> Pairs:
    """Return each pair of a probe and a column once, with the greatest similarity."""
    order = np.lexsort((-similarities, columns, probes))
    probes, columns, similarities = probes[order], columns[order], similarities[order]
    first = np.ones(len(probes), bool)
    first[1:] = (probes[1:] != probes[:-1]) | (columns[1:] != columns[:-1])
    return probes[first], columns[first], similarities[first]


def ranks(probes: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the position (M,) of each pair among those of its probe; the pairs are sorted by probe."""
    return np.arange(len(probes)) - np.searchsorted(probes, probes)


def blocks(numbers: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    """Yield numbers in blocks of at most `size`, at least one."""
    for start in range(0, len(numbers), max(1, size)):
        yield numbers[start : start + max(1, size)]


def smallest_within(
    distances: NDArray[np.float32], limits: NDArray[np.float64], nearest: int | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns (M,) of finite distances within the limit of the row, at most the `nearest` of a row."""
    rows, columns = [], []
    for row, (some, limit) in enumerate(zip(distances, limits, strict=True)):
        chosen = np.flatnonzero((some <= limit) & (some < np.inf))
        if nearest is not None and len(chosen) > nearest:
            # All distances equal to the last one are kept, so that columns decide, not the order of the partition.
            chosen = chosen[some[chosen] <= np.partition(some[chosen], nearest - 1)[nearest - 1]]
        rows.append(np.full(len(chosen), row))
        columns.append(chosen)
    none = np.empty(0, np.intp)
    return np.concatenate([none, *rows]), np.concatenate([none, *columns])


def distances_of(similarities: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Return cosine distances in [0, 2]; +inf for -inf, which is what was not compared."""
    distances: NDArray[np.float32] = np.subtract(np.float32(1.0), similarities, out=out)
    not_compared = np.isposinf(distances)
    np.clip(distances, np.float32(0.0), np.float32(2.0), out=distances)
    distances[not_compared] = np.inf
    return distances
