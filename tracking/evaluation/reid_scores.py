"""Rank-k, mAP and mINP of rankings, by Market-1501's protocol (Zheng et al., 2015)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RANKS", "ReidScores", "score_rankings"]

RANKS = (1, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class ReidScores:
    """The figures of one kind of search, all in [0, 1].

    Attributes:
        ranks: k to the share of queries with a right entry among the first k.
        mean_ap: mAP.
        mean_inp: mINP.
        queries: Number of queries that count.
    """

    ranks: dict[int, float]
    mean_ap: float
    mean_inp: float
    queries: int


def score_rankings(rankings: Iterable[tuple[NDArray[np.bool_], int]]) -> ReidScores:
    """Compute the figures over queries.

    Args:
        rankings: For each query, whether each answer is right, as a bool array with the nearest answer first and
            without ignored entries; and the number of right entries in total. Queries with none do not count.
    """
    first_ranks: list[int] = []
    average_precisions: list[float] = []
    inverse_penalties: list[float] = []
    for hits, total in rankings:
        if total < 1:
            continue
        ranks = np.flatnonzero(hits)
        first_ranks.append(int(ranks[0]) if len(ranks) else -1)
        average_precisions.append(float((np.arange(1, len(ranks) + 1) / (ranks + 1)).sum()) / total)
        inverse_penalties.append(total / (int(ranks[-1]) + 1) if len(ranks) == total else 0.0)
    count = len(first_ranks)
    found = np.asarray(first_ranks)
    return ReidScores(
        ranks={k: float(((found >= 0) & (found < k)).mean()) if count else 0.0 for k in RANKS},
        mean_ap=float(np.mean(average_precisions)) if count else 0.0,
        mean_inp=float(np.mean(inverse_penalties)) if count else 0.0,
        queries=count,
    )
