"""Precision and recall of the names from the gallery, over thresholds that are stricter than the run's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.evaluation.identity_report import CurvePoint

__all__ = ["threshold_curve"]

_STEP = 0.01
_ROUNDING = 1e-9


def threshold_curve(
    distances: NDArray[np.float64],
    right: NDArray[np.bool_],
    strangers: NDArray[np.bool_],
    known_frames: int,
    result: str,
) -> tuple[tuple[CurvePoint, ...], str]:
    """Compute the curve, and a note on what it shows.

    Args:
        distances: (M,) cosine distance of each covered person-frame with a name from the gallery; NaN where unknown.
        right: (M,) whether that name is right.
        strangers: (M,) whether the person is a stranger.
        known_frames: Number of covered person-frames of known people.
        result: Name of the result, for the note.

    Returns:
        The points by ascending thresholds, empty where the note says why; and the note.
    """
    if not len(distances):
        return (), "no curve: the run gave no name from the gallery, so there is no threshold to vary"
    if np.isnan(distances).any():
        return (), f"no curve: {result} has names without gallery_distance"
    largest = float(distances.max())
    # The last point is the run itself, wherever the steps are.
    ends = np.ceil(np.array([distances.min(), largest]) / _STEP - _ROUNDING)
    thresholds = (np.arange(ends[0], ends[1]) * _STEP).tolist()
    points = []
    for threshold in [*thresholds, largest]:
        kept = distances <= threshold + 1e-12
        named, hits = int(kept.sum()), int((kept & right).sum())
        points.append(
            CurvePoint(
                threshold=round(threshold, 6),
                named=named,
                right=hits,
                precision=hits / named if named else 1.0,
                recall=hits / known_frames if known_frames else 0.0,
                strangers_named=int((kept & strangers).sum()),
            )
        )
    note = (
        f"the names of this run without those at a distance above the threshold, up to its largest distance "
        f"({largest:.3f}); a higher threshold needs another run"
    )
    return tuple(points), note
