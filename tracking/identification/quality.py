"""Quality of an observation: one definition, for identification and for enrolment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.geometry import iou, pairwise_iou

__all__ = ["box_quality", "crowding", "max_overlap", "observation_quality", "sharpness"]


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Return the sharpness of a crop, from 0 for a blank wall to nearly 1.

    The variance v of the Laplacian (Pech-Pacheco et al., 2000), after the crop is brought to a height of 128
    pixels, as v / (v + 100).

    Args:
        crop: (H, W, 3) uint8 BGR, at least 1 x 1.
    """
    import cv2

    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    width = max(1, round(128 * grey.shape[1] / grey.shape[0]))
    interpolation = cv2.INTER_AREA if grey.shape[0] > 128 else cv2.INTER_LINEAR
    resized = cv2.resize(grey, (min(width, 512), 128), interpolation=interpolation)
    variance = float(cv2.Laplacian(resized, cv2.CV_32F).var())
    return variance / (variance + 100.0)


def max_overlap(box: Sequence[float], others: NDArray[np.floating[Any]]) -> float:
    """Return the largest IoU of a box with others, in [0, 1]; 0 where there are none.

    Args:
        box: xyxy.
        others: (N, 4) xyxy, without the box itself.
    """
    if not len(others):
        return 0.0
    return float(iou(box, others).max())


def crowding(boxes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return (N,) for each of N boxes (N, 4) of a frame its largest IoU with another of them; see `max_overlap`."""
    overlaps = pairwise_iou(boxes)
    np.fill_diagonal(overlaps, 0.0)
    return np.asarray(overlaps.max(axis=1, initial=0.0), np.float64)


def box_quality(score: float, box: Sequence[float], frame_size: tuple[int, int], *, overlap: float) -> float:
    """Return what a box alone says about an observation's quality, in [0, 1]: the product of four factors in [0, 1].

    The detection's score; the box's height, full from a quarter of the frame's height on; one half for each
    edge of the frame that cuts the box (2 pixels near); and 1 - overlap.

    Args:
        score: Score of the detection, in [0, 1].
        box: xyxy in pixels.
        frame_size: Width and height of the frame in pixels.
        overlap: Largest IoU with another box of the frame, in [0, 1]; see `max_overlap`.
    """
    width, height = frame_size
    x1, y1, x2, y2 = box
    size = (y2 - y1) / (0.25 * height) if height > 0 else 0.0
    cut = sum((x1 < 2, y1 < 2, x2 > width - 2, y2 > height - 2))
    quality: float = 0.5**cut
    for factor in (score, size, 1.0 - overlap):
        quality *= _clipped(factor)
    return quality


def observation_quality(
    score: float, box: Sequence[float], frame_size: tuple[int, int], *, overlap: float, sharp: float
) -> float:
    """Return the quality of an observation, in [0, 1]: `box_quality` times the sharpness of the crop.

    Args:
        score, box, frame_size, overlap: See `box_quality`.
        sharp: See `sharpness`, in [0, 1].
    """
    return box_quality(score, box, frame_size, overlap=overlap) * _clipped(sharp)


def _clipped(factor: float) -> float:
    """Return a factor clipped to [0, 1]; 0 for NaN."""
    return min(1.0, max(0.0, factor)) if factor == factor else 0.0
