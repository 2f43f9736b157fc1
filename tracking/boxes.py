"""Arithmetic on boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["iou"]

_TINY = 1e-9


def iou(box: Sequence[float] | NDArray[np.floating[Any]], others: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Intersection over union of a box with others, in [0, 1].

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
