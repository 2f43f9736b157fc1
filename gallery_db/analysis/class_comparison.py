"""All entries of one class compared with each other: the similarities that every search for anomalies needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gallery_db.search.view import GalleryView

__all__ = ["NO_SIMILARITY", "ClassComparison", "block_rows", "to_distance"]

NO_SIMILARITY = np.float32(-3.0)
"""Stands for "nothing to compare with"; less than any cosine similarity."""

_BLOCK_CELLS = 1 << 24  # similarities in one block: 64 MiB of float32
_MAX_BLOCK_ROWS = 1024
_PRIOR_ENTRIES = 2  # the median spread counts as much as this many entries of an identity


def block_rows(columns: int) -> int:
    """Return how many rows of a similarity matrix with this many columns to compute at once, to bound memory."""
    return max(1, min(_MAX_BLOCK_ROWS, _BLOCK_CELLS // columns))


def to_distance(similarity: np.floating | float) -> float:
    """Return the cosine distance of a cosine similarity, in [0, 2]."""
    return float(np.clip(1.0 - float(similarity), 0.0, 2.0))


class ClassComparison:
    """The N entries of the I identities of one class, sorted by identity, with their similarities.

    Attributes:
        class_name: The class, in the spelling of its first identity.
        names: I names of identities.
        ids: N entry ids.
        embeddings: (N, D) float32, rows of unit length.
        identity_of: (N,) number of each entry's identity, ascending.
        sizes: (I,) number of entries of each identity.
        sums: (I, D) float32, the sum of the embeddings of each identity.
        means: (I, D) float32, the same with unit length.
        spread: (I,) mean cosine distance of an identity's entries to their mean. The spread of few entries is
            uncertain, so it is drawn towards the median of the others. NaN where no identity has two entries.
        own: (N,) similarity of each entry to the nearest other entry of its identity.
        other: (N,) similarity of each entry to the nearest entry of another identity.
        nearest_other: (N,) row of that nearest entry.
        other_mean: (N,) similarity of each entry to the nearest mean of another identity.
    """

    def __init__(self, view: GalleryView, columns: NDArray[np.intp]) -> None:
        """Compare the entries of the identities in some columns of a view, (I,) ascending."""
        self.names = [view.identities[column] for column in columns]
        self.class_name = view.identity_classes[columns[0]]
        rows = np.flatnonzero(np.isin(view.row_columns, columns))
        is_whole_view = len(rows) == len(view)
        self.ids = [view.entry_ids[row] for row in rows]
        self.embeddings = view.embeddings if is_whole_view else view.embeddings[rows]
        self.identity_of = np.searchsorted(columns, view.row_columns[rows])
        self._starts = np.searchsorted(self.identity_of, np.arange(len(columns)))
        self.sizes = np.diff(np.append(self._starts, len(rows)))
        self.sums = np.add.reduceat(self.embeddings, self._starts, axis=0, dtype=np.float32)
        norms = np.linalg.norm(self.sums, axis=1)
        self.means = self.sums / np.maximum(norms, 1e-9)[:, None]
        self.spread = self._spread_of(norms)
        self._compare_entries()

    def rows_of(self, identity: int) -> slice:
        """Return the rows of an identity's entries."""
        return slice(int(self._starts[identity]), int(self._starts[identity] + self.sizes[identity]))

    def _spread_of(self, norms: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return (I,) spreads, given the (I,) lengths of the sums."""
        several = self.sizes > 1
        spread = np.full(len(self.sizes), np.nan)
        # 1 - |sum| / n is the mean distance to the mean; n / (n - 1) corrects for each entry's part in that mean.
        spread[several] = np.clip(1.0 - norms[several] / self.sizes[several], 0, None)
        spread[several] *= self.sizes[several] / (self.sizes[several] - 1)
        if several.any():
            typical = np.median(spread[several])
            freedom = self.sizes - 1
            spread = (freedom * np.where(several, spread, 0.0) + _PRIOR_ENTRIES * typical) / (freedom + _PRIOR_ENTRIES)
        return spread

    def _compare_entries(self) -> None:
        """Compare each entry with all entries and all means, a block of entries at a time."""
        count = len(self.ids)
        self.own = np.full(count, NO_SIMILARITY, np.float32)
        self.other = np.full(count, NO_SIMILARITY, np.float32)
        self.nearest_other = np.zeros(count, np.intp)
        self.other_mean = np.full(count, NO_SIMILARITY, np.float32)
        block = block_rows(count)
        for start in range(0, count, block):
            stop = min(start + block, count)
            part = self.embeddings[start:stop]
            to_all = part @ self.embeddings.T
            to_means = part @ self.means.T
            for identity in range(self.identity_of[start], self.identity_of[stop - 1] + 1):
                first = self._starts[identity]
                last = first + self.sizes[identity]
                top, bottom = max(first, start), min(last, stop)
                own = to_all[top - start : bottom - start, first:last]
                own[np.arange(bottom - top), np.arange(top - first, bottom - first)] = NO_SIMILARITY
                self.own[top:bottom] = own.max(axis=1)
                own[:] = NO_SIMILARITY  # what is left are the other identities
                to_means[top - start : bottom - start, identity] = NO_SIMILARITY
            nearest = to_all.argmax(axis=1)
            self.nearest_other[start:stop] = nearest
            self.other[start:stop] = np.take_along_axis(to_all, nearest[:, None], axis=1)[:, 0]
            self.other_mean[start:stop] = to_means.max(axis=1)
