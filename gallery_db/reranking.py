"""Re-ranking of the nearest entries by the neighbours that they share with the probe (k-reciprocal encoding)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["RERANK_CANDIDATES", "rerank_candidates"]

RERANK_CANDIDATES = 200
"""Nearest entries that are ranked again."""

# The values of the paper.
_NEIGHBOURS = 20
_EXPANSION_NEIGHBOURS = 6
_DISTANCE_WEIGHT = 0.3


def rerank_candidates(probe: NDArray[np.float32], candidates: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the order of a probe's candidates by k-reciprocal re-ranking (Zhong et al., CVPR 2017).

    Two pictures of one person have each other among their nearest, and share further neighbours. The order is that of
    0.7 times the Jaccard distance of the two sets of k-reciprocal neighbours and 0.3 times the distance of the
    embeddings, with k1 = 20 and k2 = 6. The paper finds neighbours among all probes and entries; here they are found
    among the candidates and the probe, so that an answer does not depend on other probes and takes milliseconds.

    Args:
        probe: (D,) float32, of unit length.
        candidates: (N, D) float32, rows of unit length: the nearest entries, as a rule `RERANK_CANDIDATES` of them.

    Returns:
        (N,) positions in `candidates`, the best first; equal ones keep their order.
    """
    vectors = np.concatenate([probe[None], candidates])
    # Squared Euclidean distances, as in the paper: twice the cosine distances. The largest of each row becomes 1.
    distances = np.maximum(1.0 - vectors @ vectors.T, 0.0)
    distances /= np.maximum(distances.max(axis=1, keepdims=True), 1e-12)
    ranking = np.argsort(distances, axis=1, kind="stable")
    reciprocal = _reciprocal(ranking, _NEIGHBOURS)
    half = _reciprocal(ranking, _NEIGHBOURS // 2)
    # A neighbour's own neighbours are added where more than two thirds of them are neighbours already.
    shared = reciprocal @ half.T
    joins = reciprocal * (shared > 2.0 / 3.0 * half.sum(axis=1))
    sets = np.minimum(reciprocal + joins @ half, 1.0)
    weights = np.exp(-distances) * sets
    weights /= weights.sum(axis=1, keepdims=True)
    weights = weights[ranking[:, :_EXPANSION_NEIGHBOURS]].mean(axis=1)
    overlap = np.minimum(weights[0], weights[1:]).sum(axis=1)
    jaccard = 1.0 - overlap / (2.0 - overlap)
    order: NDArray[np.intp] = np.argsort(
        (1.0 - _DISTANCE_WEIGHT) * jaccard + _DISTANCE_WEIGHT * distances[0, 1:], kind="stable"
    )
    return order


def _reciprocal(ranking: NDArray[np.intp], count: int) -> NDArray[np.float32]:
    """Return (M, M), 1 where two vectors are among the `count` nearest of each other, and for each with itself."""
    near = np.zeros(ranking.shape, np.float32)
    np.put_along_axis(near, ranking[:, : count + 1], np.float32(1.0), axis=1)  # a vector is the nearest of itself
    mutual: NDArray[np.float32] = near * near.T
    return mutual
