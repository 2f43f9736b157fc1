"""Learn the space of a collection from its entries, without labels of other cameras, starting from a prior.

How much an estimate counts depends on how many *people* are behind it: many pictures of few people say little of how
people differ. With few, the prior decides, and without a prior nothing is whitened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.spaces.prior import Prior
from gallery_db.spaces.space import EmbeddingSpace

__all__ = ["MIN_PEOPLE", "PeopleStatistics", "learn_space"]

# Chosen on the Market-1501 test subset (OSNet x0.25, Intel's 0277 and 0287, ten draws of its people) and on
# PETS09-S2L1; docs/explanation/embedding-space.md has the figures.
MIN_PEOPLE = 20
"""People from which on a collection of a model without a prior is adapted."""
MEAN_PEOPLE = 20
"""People that the mean of the prior counts as."""
COVARIANCE_PEOPLE = 100
"""People that the covariance of the prior counts as ..."""
ISOTROPIC_PEOPLE = 200
"""... and, without a prior, a covariance that is the same in all directions."""
CAMERA_PEOPLE = 50
"""People that the mean of all cameras counts as in the mean of one."""
SHRINKAGE = 0.5
"""Part of the covariance that is replaced by its mean over all directions before whitening."""
MAX_DIRECTIONS = 127
"""Directions that are kept, those of largest variance; with the constant, vectors of 128 numbers."""
MEAN_DISTANCE = 0.45
"""Mean distance of different people in the space, so that the default match threshold fits every model."""


class PeopleStatistics:
    """Mean and covariance of embeddings over people; each person counts the same.

    Args:
        embeddings: (N, D) float32, rows of unit length.
        people: (N,) number of the person of each.
    """

    def __init__(self, embeddings: NDArray[np.float32], people: NDArray[np.intp]) -> None:
        self._embeddings = embeddings
        _, self._index, sizes = np.unique(people, return_inverse=True, return_counts=True)
        self.count = len(sizes)
        self._weights = (1.0 / (sizes * max(1, self.count)))[self._index]

    def mean(self) -> NDArray[np.float64]:
        """Return the mean (D,) over people."""
        found: NDArray[np.float64] = self._weights @ self._embeddings.astype(np.float64)
        return found

    def covariance(self, centres: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the covariance (D, D) about centres (D,) or (N, D)."""
        centred = self._embeddings - centres.astype(np.float32)
        weighted = centred * self._weights[:, None].astype(np.float32)
        found: NDArray[np.float64] = (weighted.T @ centred).astype(np.float64)
        return found

    def other_distance(self, vectors: NDArray[np.float32]) -> float:
        """Return the mean cosine distance between vectors (N, K) of different people; NaN for one person."""
        if self.count < 2:
            return float("nan")
        means = np.zeros((self.count, vectors.shape[1]))
        np.add.at(means, self._index, vectors * (self._weights * self.count)[:, None])
        total = means.sum(axis=0)
        pairs = self.count * (self.count - 1)
        return 1.0 - float(total @ total - (means * means).sum()) / pairs


def learn_space(
    embeddings: NDArray[np.float32],
    people: NDArray[np.intp],
    prior: Prior | None,
    cameras: Sequence[str | None] | None = None,
    facts: dict[str, Any] | None = None,
) -> EmbeddingSpace | None:
    """Learn a space.

    Args:
        embeddings: (N, D) float32, rows of unit length; may be empty with a prior.
        people: (N,) number of the person of each.
        prior: What is known of the model.
        cameras: The camera of each embedding; None where unknown.
        facts: Further facts to keep with it.

    Returns:
        The space; None without a prior where fewer than `MIN_PEOPLE` people are at hand.
    """
    statistics = PeopleStatistics(embeddings, people)
    count = statistics.count
    if prior is None and count < MIN_PEOPLE:
        return None
    dimension = embeddings.shape[1]
    if prior is not None:
        mean = (count * statistics.mean() + MEAN_PEOPLE * prior.mean) / (count + MEAN_PEOPLE)
    else:
        mean = statistics.mean() * count / (count + MEAN_PEOPLE)
    means = _camera_means(embeddings, people, cameras, mean)
    centres = np.stack([means.get(camera or "", mean) for camera in cameras or ()]) if means else mean
    own = statistics.covariance(centres) if count else np.zeros((dimension, dimension))
    if prior is not None:
        covariance = (count * own + COVARIANCE_PEOPLE * prior.covariance()) / (count + COVARIANCE_PEOPLE)
    else:
        isotropic = np.eye(dimension) * np.trace(own) / dimension
        covariance = (count * own + ISOTROPIC_PEOPLE * isotropic) / (count + ISOTROPIC_PEOPLE)
    whitening = _whitening(covariance)
    float_means = {camera: found.astype(np.float32) for camera, found in means.items()}
    plain = EmbeddingSpace(mean.astype(np.float32), whitening, 1.0, float_means)
    distance = 1.0  # of different people in a centred space
    if count >= MIN_PEOPLE:
        # `plain` has a scale of 1 and so no constant part.
        measured = statistics.other_distance(plain.apply(embeddings, cameras))
        distance = (count * measured + MEAN_PEOPLE * distance) / (count + MEAN_PEOPLE)
    known = {"people": count, "entries": len(embeddings), "prior": None if prior is None else prior.name}
    scale = float(min(1.0, MEAN_DISTANCE / max(distance, MEAN_DISTANCE)))
    return EmbeddingSpace(plain.mean, whitening, scale, float_means, {**known, **(facts or {})})


def _camera_means(
    embeddings: NDArray[np.float32],
    people: NDArray[np.intp],
    cameras: Sequence[str | None] | None,
    mean: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Return the mean of each camera, drawn towards the mean of all by how few people it has seen."""
    names = sorted({camera for camera in cameras or () if camera is not None})
    if len(names) < 2 or cameras is None:
        return {}
    found = {}
    of = np.asarray([camera or "" for camera in cameras])
    for camera in names:
        rows = np.flatnonzero(of == camera)
        own = PeopleStatistics(embeddings[rows], people[rows])
        found[camera] = (own.count * own.mean() + CAMERA_PEOPLE * mean) / (own.count + CAMERA_PEOPLE)
    return found


def _whitening(covariance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the whitening (D, K) of a covariance, shrunk towards equal variances (Ledoit and Wolf, 2004)."""
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = variances[::-1], directions[:, ::-1]
    shrunk = (1.0 - SHRINKAGE) * variances + SHRINKAGE * variances.mean()
    kept = min(MAX_DIRECTIONS, len(variances))
    found = directions[:, :kept] / np.sqrt(np.maximum(shrunk[:kept], 1e-12))
    result: NDArray[np.float32] = np.ascontiguousarray(found, dtype=np.float32)
    return result
