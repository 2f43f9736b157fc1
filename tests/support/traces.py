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

    def identity_distances(
        self,
        probes: NDArray[np.float32],
        class_names: Sequence[str | None],
        *,
        limit: float | None = None,
        nearest: int | None = None,
        held: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        distances = 1 - probes @ np.stack([A, B, C]).T
        for row in range(len(probes) if limit is not None else 0):
            # No more than is promised.
            far = distances[row] > limit
            far[[column for column in (held or [-1] * len(probes))[row : row + 1] if column >= 0]] = False
            distances[row, far] = np.inf
        for row, name in enumerate(class_names):
            if name is not None:
                distances[row, [c != name for c in self.classes]] = np.inf
        return distances


def observe(identities: TrackIdentifier, frame: int, observations: Observations, quality: float = 1.0) -> None:
    """Observe all of these tracks, due or not."""
    found = {t: observation for t, observation in observations.items() if observation is not None}
    identities.observe(
        frame, list(found), np.stack(list(found.values())), [quality] * len(found), ["person"] * len(found)
    )
