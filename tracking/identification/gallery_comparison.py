"""Distances of embeddings to the identities of a gallery, with and without the support of several entries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = ["EntrySource", "IdentitySource", "compare_with_gallery"]

SUPPORT_ENTRIES = 3
"""Nearest entries of an identity whose distances are averaged."""
MAX_RIVALS = 5
"""Identities that are compared in full for a track."""


class IdentitySource(Protocol):
    """What identification needs of a gallery; `gallery_db.GalleryView` is one."""

    @property
    def identities(self) -> Sequence[str]:
        """Names, one for each column of `identity_distances`. New ones may be appended; none is renumbered."""
        ...

    def identity_distances(
        self,
        probes: NDArray[np.float32],
        class_names: Sequence[str | None],
        *,
        limit: float | None = None,
        nearest: int | None = None,
        held: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        """Return the (P, I) cosine distances of each probe to each identity's nearest entry; inf across classes.

        A distance beyond `limit`, or not among the `nearest` smallest, is exact or inf, except in the columns that
        are `held` (P, -1 for none), where it is exact.
        """
        ...


@runtime_checkable
class EntrySource(IdentitySource, Protocol):
    """A gallery that also returns an identity's entries; `gallery_db.GalleryView` is one."""

    def column_embeddings(self, column: int) -> NDArray[np.float32]:
        """Return the (n, D) embeddings of one column of `identity_distances`, rows of unit length."""
        ...


def compare_with_gallery(
    source: IdentitySource,
    vectors: NDArray[np.float32],
    class_names: Sequence[str | None],
    held: Sequence[int] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the distances of vectors to each identity, from its nearest entry and from several entries.

    The second is the mean distance to the nearest `SUPPORT_ENTRIES` entries (of few entries: half of them, so that
    two coats of three pictures each do not mix), for the `MAX_RIVALS` nearest identities. A single entry that sits
    at a wrong identity can be the nearest entry; it cannot make that identity the best supported one.

    Args:
        source: The gallery.
        vectors: (N, D) float32, rows of unit length.
        class_names: N classes, None where unknown.
        held: N columns whose distances must be exact, -1 for none; None to compute all distances.

    Returns:
        Two arrays (N, I). With `held`, the distances of identities that are no rivals may be inf.
    """
    nearest = source.identity_distances(vectors, class_names, nearest=None if held is None else MAX_RIVALS, held=held)
    if not isinstance(source, EntrySource) or not nearest.size:
        return nearest, nearest
    supported = nearest.copy()
    entries: dict[int, NDArray[np.float32]] = {}
    for row, vector in enumerate(vectors):
        count = min(MAX_RIVALS, nearest.shape[1])
        for column in np.argpartition(nearest[row], count - 1)[:count].tolist():
            if not np.isfinite(nearest[row, column]):
                continue
            if column not in entries:
                entries[column] = source.column_embeddings(column)
            few = min(SUPPORT_ENTRIES, (len(entries[column]) + 1) // 2)
            if few > 1:
                distances = np.partition(1.0 - entries[column] @ vector, few - 1)[:few]
                # Only the difference is added: the source may weight the nearest distance itself.
                more = float(distances.mean()) - float(distances.min())
                supported[row, column] += np.float32(max(0.0, more))
    return nearest, supported
