"""Intersection over union of boxes, and the numbers that they can have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST_NUMBER", "iou", "pairwise_iou"]

LARGEST_NUMBER = 1e10
"""Largest absolute coordinate, score or other number that is read from tracks and ground truth: far beyond any meaning,
and small enough that areas and sums are finite."""

_TINY = 1e-9


def iou(box: Sequence[float] | NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return the intersection over union of one box with others, in [0, 1].

    Args:
        box: (4,) xyxy.
        others: (N, 4) xyxy.

    Returns:
        (N,) float64.
    """
    one = np.asarray(box, np.float64)
    low = np.maximum(one[:2], others[:, :2])
    high = np.minimum(one[2:], others[:, 2:])
    inner = np.clip(high - low, 0, None).prod(axis=1)
    union = (one[2:] - one[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - inner
    return np.asarray(np.clip(inner / np.maximum(union, _TINY), 0.0, 1.0), np.float64)


def pairwise_iou(boxes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return (N, N) the intersection over union of each pair of N boxes (N, 4) xyxy, in [0, 1]."""
    array = np.asarray(boxes, np.float64).reshape(-1, 4)
    low = np.maximum(array[:, None, :2], array[None, :, :2])
    high = np.minimum(array[:, None, 2:], array[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(axis=2)
    areas = (array[:, 2:] - array[:, :2]).prod(axis=1)
    union = areas[:, None] + areas[None] - inner
    return np.asarray(np.clip(inner / np.maximum(union, _TINY), 0.0, 1.0), np.float64)
