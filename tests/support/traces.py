"""Traces of embeddings for the tests of naming: a gallery of three, vectors near them, and observations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tracking.identification.identifier import TrackIdentifier

Observations = dict[int, NDArray[np.float32] | None]


def unit(*values: float) -> NDArray[np.float32]:
    vector = np.asarray(values, np.float32)
    return vector / np.linalg.norm(vector)


A, B, C, D = (unit(*row) for row in np.eye(4))


def mix(first: NDArray[np.float32], second: NDArray[np.float32], distance: float) -> NDArray[np.float32]:
    """A unit vector at that cosine distance from the first of two orthogonal ones."""
    cosine = 1 - distance
    return (first * cosine + second * np.sqrt(1 - cosine**2)).astype(np.float32)


class Known:
    """A gallery of three orthogonal identities; the third is a car."""

    identities = ("ann", "bob", "car")
    classes = ("person", "person", "car")
    constant = 0.0

    def adapt(self, embeddings: NDArray[np.float32], camera: str | None = None) -> NDArray[np.float32]:
        return embeddings

    def near_identities(
        self,
        probes: NDArray[np.float32],
        class_names: Sequence[str | None],
        *,
        limit: float | NDArray[np.float64],
        nearest: int | None = None,
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        distances = np.stack([self.column_distances(probes, [c] * len(probes), class_names) for c in range(3)], axis=1)
        limits = np.broadcast_to(limit, len(probes))[:, None]
        rows, columns = np.nonzero((distances <= limits) & np.isfinite(distances))  # no more than is promised
        order = np.lexsort((columns, distances[rows, columns], rows))
        rows, columns = rows[order], columns[order]
        first = np.arange(len(rows)) - np.searchsorted(rows, rows) < (nearest or 3)
        return rows[first], columns[first], distances[rows[first], columns[first]]

    def column_distances(
        self, probes: NDArray[np.float32], columns: Sequence[int], class_names: Sequence[str | None]
    ) -> NDArray[np.float32]:
        vectors = np.stack([A, B, C])
        distances = 1 - np.vecdot(probes, vectors[list(columns)])
        different = [name is not None and name != self.classes[c] for name, c in zip(class_names, columns, strict=True)]
        return np.where(different, np.inf, distances).astype(np.float32)


def observe(identities: TrackIdentifier, frame: int, observations: Observations, quality: float = 1.0) -> None:
    """Observe all of these tracks, due or not."""
    found = {t: observation for t, observation in observations.items() if observation is not None}
    identities.observe(
        frame, list(found), np.stack(list(found.values())), [quality] * len(found), ["person"] * len(found)
    )
