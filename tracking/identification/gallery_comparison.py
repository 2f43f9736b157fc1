"""Distances of embeddings to the identities of a gallery, with and without the support of several entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracking.identification.decision_rule import DecisionRule
from tracking.identification.neighbours import Neighbour, Neighbours

__all__ = ["EntrySource", "IdentitySource", "compare_for_decision", "compare_with_gallery"]

SUPPORT_ENTRIES = 3
"""Nearest entries of an identity whose distances are averaged."""
MAX_RIVALS = 5
"""Identities that are compared in full for a track."""


class IdentitySource(Protocol):
    """What identification needs of a gallery; `gallery_db.GalleryView` is one."""

    @property
    def identities(self) -> Sequence[str]:
        """Names, one for each column. New ones may be appended; none is renumbered."""
        ...

    @property
    def constant(self) -> float:
        """The last number of each vector, which a mean of vectors has, too; 0.0 where there is none."""
        ...

    def adapt(self, embeddings: NDArray[np.float32], camera: str | None = None) -> NDArray[np.float32]:
        """Return embeddings (N, E) as the vectors (N, D) that are compared, rows of unit length."""
        ...

    def near_identities(
        self,
        probes: NDArray[np.float32],
        class_names: Sequence[str | None],
        *,
        limit: float | NDArray[np.float64],
        nearest: int | None = None,
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Return the identities near to each probe: numbers of probes, columns and cosine distances, (M,) each.

        Those are the identities of the probe's class whose nearest entry is within the limit (one, or P), at most the
        `nearest` of each probe; sorted by probe, distance and column.
        """
        ...

    def column_distances(
        self, probes: NDArray[np.float32], columns: Sequence[int], class_names: Sequence[str | None]
    ) -> NDArray[np.float32]:
        """Return the distance (P,) of each probe to the nearest entry of its column; inf across classes."""
        ...


class EntrySource(IdentitySource, Protocol):
    """A gallery that also returns an identity's entries; `gallery_db.GalleryView` is one."""

    def column_embeddings(self, column: int) -> NDArray[np.float32]:
        """Return the (n, D) embeddings of one column's entries, rows of unit length."""
        ...


def compare_with_gallery(
    source: IdentitySource,
    vectors: NDArray[np.float32],
    class_names: Sequence[str | None],
    held: Sequence[int],
    *,
    limit: float | NDArray[np.float64],
) -> list[Neighbours]:
    """Return the identities near to vectors, with their distances from the nearest entry and from several entries.

    The second is the mean distance to the nearest `SUPPORT_ENTRIES` entries (of few entries: half of them, so that
    two coats of three pictures each do not mix). A single entry that sits at a wrong identity can be the nearest
    entry; it cannot make that identity the best supported one.

    Args:
        source: The gallery.
        vectors: (N, D) float32, rows of unit length.
        class_names: N classes, None where unknown.
        held: N columns that are compared in any case, -1 for none: the identities whose names tracks have.
        limit: Largest distance of the others, one or N.

    Returns:
        For each vector the `MAX_RIVALS` nearest identities within the limit, and the held one.
    """
    rows, columns, distances = source.near_identities(vectors, class_names, limit=limit, nearest=MAX_RIVALS)
    found: list[list[Neighbour]] = [[] for _ in vectors]
    support = _Support(source)
    for row, column, distance in zip(rows.tolist(), columns.tolist(), distances.tolist(), strict=True):
        found[row].append(Neighbour(support.distance(vectors[row], column, distance), column, distance))
    missing = [
        row for row, column in enumerate(held) if column >= 0 and all(one.column != column for one in found[row])
    ]
    for row, distance in zip(missing, _held_distances(source, vectors, class_names, held, missing), strict=True):
        if distance < float("inf"):
            found[row].append(Neighbour(distance, held[row], distance))
    return [Neighbours(some) for some in found]


def compare_for_decision(
    source: IdentitySource,
    vectors: NDArray[np.float32],
    class_names: Sequence[str | None],
    held: Sequence[int],
    rule: DecisionRule,
    num_observations: Sequence[int],
) -> list[Neighbours]:
    """Return the identities near to vectors, as far as they can matter to decisions on them.

    The result of a decision is the same as with the distances to all identities: whether a vector is far from all of
    them, which one is the best supported within the accepted distance, whether another one is too near to that, and
    whether another one is better supported than the one held.

    Args:
        source: The gallery.
        vectors: (N, D) float32, rows of unit length.
        class_names: N classes, None where unknown.
        held: N columns, as in `compare_with_gallery`.
        rule: The limits of the decision.
        num_observations: N numbers of observations of which the vectors are the means; 0 for a single observation,
            which is only asked whether it contradicts the evidence so far.
    """
    limits = np.full(len(vectors), rule.reject)
    holding = [row for row, column in enumerate(held) if column >= 0 and num_observations[row]]
    support = _Support(source)
    for row, distance in zip(holding, _held_distances(source, vectors, class_names, held, holding), strict=True):
        limits[row] = max(rule.reject, support.distance(vectors[row], held[row], distance))
    compared = compare_with_gallery(source, vectors, class_names, held, limit=limits)
    wider = []
    for row, (near, count) in enumerate(zip(compared, num_observations, strict=True)):
        # Where a name may be given, rivals count up to the margin that it needs. The name may be that of the second
        # identity, if the first one is taken and not much nearer.
        needed = near.best.supported + rule.margin / 2 + rule.largest_margin(count)
        if count and near.least_distance <= rule.with_observation and len(near) < MAX_RIVALS and needed > limits[row]:
            limits[row] = needed
            wider.append(row)
    if wider:
        names, columns = [class_names[row] for row in wider], [held[row] for row in wider]
        again = compare_with_gallery(source, vectors[wider], names, columns, limit=limits[wider])
        for row, near in zip(wider, again, strict=True):
            compared[row] = near
    return compared


def _held_distances(
    source: IdentitySource,
    vectors: NDArray[np.float32],
    class_names: Sequence[str | None],
    held: Sequence[int],
    rows: Sequence[int],
) -> list[float]:
    if not rows:
        return []
    columns, names = [held[row] for row in rows], [class_names[row] for row in rows]
    distances: list[float] = source.column_distances(vectors[list(rows)], columns, names).tolist()
    return distances


class _Support:
    """Distances from several entries of an identity."""

    def __init__(self, source: IdentitySource) -> None:
        # Looked up, as `isinstance` with a protocol costs more than a search.
        self._entries_of: Callable[[int], NDArray[np.float32]] | None = getattr(source, "column_embeddings", None)
        self._entries: dict[int, NDArray[np.float32]] = {}

    def distance(self, vector: NDArray[np.float32], column: int, nearest: float) -> float:
        """Return the mean distance to the nearest entries of a column; `nearest` is that of the nearest one."""
        if self._entries_of is None or nearest == float("inf"):
            return nearest
        entries = self._entries.get(column)
        if entries is None:
            entries = self._entries[column] = self._entries_of(column)
        few = min(SUPPORT_ENTRIES, (len(entries) + 1) // 2)
        if few < 2:
            return nearest
        distances = 1.0 - entries @ vector
        distances.sort()
        # Only the difference is added: the source may weight the nearest distance itself.
        few_distances: list[float] = distances[:few].tolist()
        return nearest + max(0.0, sum(few_distances) / few - few_distances[0])
