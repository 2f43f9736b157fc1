"""How far the entries of an identity are from each other, and whether a track is as near to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_mean
from tracking.identification.gallery_comparison import IdentitySource

__all__ = ["IdentitySpread"]


class IdentitySpread:
    """The spread of each identity: the mean distance of its entries, each from the mean of the others.

    The mean of a track's observations varies less than one entry does, so a track of that identity is within the
    spread, and one of a person who looks alike is often not, although it is near to one of the entries. An identity of
    few, or of nearly equal, entries counts as spread as much as identities are on average.

    Args:
        source: The gallery.
    """

    # Chosen on PETS09-S2L1 with OSNet x0.25 and 0277 in view; docs/benchmarks.md has 0287 and other clips.
    MAX_SPREADS = 1.5
    """Beyond this many spreads, a track is not surely of the identity."""
    MAX_IDENTITIES = 200
    """Identities, evenly spread over the columns, of which the average is made."""

    def __init__(self, source: IdentitySource) -> None:
        self.source = source
        self._entries_of: Callable[[int], NDArray[np.float32]] | None = getattr(source, "column_embeddings", None)
        self._average = 0.0
        self._num_averaged = -1

    def relative_distance(self, vector: NDArray[np.float32], column: int, accept: float) -> float:
        """Return the distance of a vector from the mean of an identity's entries, in spreads of the identity.

        Args:
            vector: (D,) of unit length, the mean of observations.
            column: Column of the identity.
            accept: The distance to the nearest entry that counts as `MAX_SPREADS` where no spread is known: no
                identity of the gallery has two entries that differ.
        """
        entries = np.empty((0, len(vector)), np.float32) if self._entries_of is None else self._entries_of(column)
        spread = max(self._spread(entries), self._average_spread())
        if spread <= 0.0 or not len(entries):
            distance = float(self.source.column_distances(vector[None], [column], [None])[0])
            return distance / accept * self.MAX_SPREADS if accept > 0.0 else float("inf")
        mean = unit_mean(entries.sum(axis=0), self.source.constant)
        return (1.0 - float(mean @ vector)) / spread

    def _average_spread(self) -> float:
        if self._entries_of is None:
            return 0.0
        count = len(self.source.identities)
        if count != self._num_averaged:
            columns = np.unique(np.linspace(0, count - 1, min(count, self.MAX_IDENTITIES)).astype(int)).tolist()
            spreads = [self._spread(self._entries_of(column)) for column in columns]
            known = [spread for spread in spreads if spread > 0.0]
            self._average, self._num_averaged = (float(np.mean(known)) if known else 0.0), count
        return self._average

    def _spread(self, entries: NDArray[np.float32]) -> float:
        if len(entries) < 2:
            return 0.0
        constant, total = self.source.constant, entries.sum(axis=0)
        distances = [1.0 - float(unit_mean(total - entry, constant) @ entry) for entry in entries]
        return max(0.0, float(np.mean(distances)))
