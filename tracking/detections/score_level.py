"""The scale of a detector's scores, and the thresholds of temporal association that follow from it.

The same score means another thing with each detector: of the people on one video, YOLO11n gives most .7, YOLOX-nano .8,
and the detector of SORT's public files .98, while what YOLOX-nano takes for people by mistake has up to .6.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tracking.detectors.base import LEVEL_KEY

__all__ = ["ScoreLevel", "level_of_header", "score_level"]

Origin = Literal["detector", "scores"]


@dataclass(frozen=True, slots=True)
class ScoreLevel:
    """The level of the scores of a run's detections.

    Attributes:
        value: A score in (0, 1]: see `score_level`.
        origin: ``detector`` where it is known of the detector, ``scores`` where it comes from the detections.
    """

    value: float
    origin: Origin


def score_level(scores: NDArray[np.float64]) -> float | None:
    """Return the score that a detector gives to what it is sure of.

    It is the median of the scores, each weighted by its square: the many weak detections that a low threshold of the
    detector lets through hardly count.

    Args:
        scores: (N,) in [0, 1].

    Returns:
        A score in [0.01, 1], to two digits, as a user would write it; None where all scores are near 0, or there are
        none.
    """
    ordered = np.sort(scores)
    weights = np.cumsum(ordered**2)
    if not len(ordered) or weights[-1] <= 0:
        return None
    level = round(float(ordered[np.searchsorted(weights, weights[-1] / 2)]), 2)
    return level if level > 0 else None


def level_of_header(header: Mapping[str, Any]) -> ScoreLevel | None:
    """Return the level that det-v1's ``detector`` states; None where it states none."""
    detector = header.get("detector")
    level = detector.get(LEVEL_KEY) if isinstance(detector, Mapping) else None
    if isinstance(level, (int, float)) and not isinstance(level, bool) and 0 < level <= 1:
        return ScoreLevel(float(level), "detector")
    return None
