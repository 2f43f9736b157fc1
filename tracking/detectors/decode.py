"""Recognise the layout of a YOLO network's output, and decode it.

Four families cover the usual exports:

- ``yolox``: [B, N, 5 + C], one row for each grid cell: centre, size, objectness, class scores. Centre and size are
  relative to the cell (size as a logarithm) unless the export decodes them.
- ``yolov5``: [B, N, 5 + C], the same columns in pixels, three rows (anchors) for each cell.
- ``yolov8`` (also v9, v11, v12): [B, 4 + C, N], centre and size in pixels, class scores, no objectness. The
  columns that segmentation and pose models have after the classes are ignored.
- ``end2end`` (v10, v26, and any export with NMS inside): [B, K, 6], corners in pixels, score, class; best first.
  Segmentation and pose models have more columns after these.

N follows from the number of grid cells; the families are distinguished by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detectors.base import Family
from tracking.errors import DetectorError

__all__ = ["Layout", "decode", "recognise"]

_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32), (8, 16))
_TOLERANCE = 1e-3
_FAMILIES_HINT = (
    "Known layouts: YOLOX [B, N, 5 + classes], YOLOv5 [B, N, 5 + classes], YOLOv8 to v12 [B, 4 + classes, N] and "
    "end-to-end [B, K, 6]."
)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Layout of an output.

    Attributes:
        family: One of `Family`, not ``auto``.
        classes: Number of classes; 0 if the output does not show it (``end2end``).
        rows_last: Whether the rows are the last axis, as in ``yolov8``, and not the middle one.
        cells: (N, 3) float32: x, y and stride of each row's cell, if positions are relative to it; else None.
    """

    family: Family
    classes: int
    rows_last: bool = False
    cells: NDArray[np.float32] | None = None


def _grid_cells(size: tuple[int, int], strides: Sequence[int]) -> NDArray[np.float32]:
    """Return (N, 3) x, y and stride of all grid cells of an input of this size."""
    height, width = size
    parts = []
    for stride in strides:
        y, x = np.mgrid[: height // stride, : width // stride]
        parts.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    return np.concatenate(parts).astype(np.float32)


def _strides_for(rows: int, size: tuple[int, int]) -> tuple[tuple[int, ...], int] | None:
    """Return the strides, and the anchors for each cell, that give this number of rows; None if there are none."""
    for anchors in (1, 3):
        for strides in _STRIDES:
            if rows == anchors * sum((size[0] // s) * (size[1] // s) for s in strides):
                return strides, anchors
    return None


def recognise(
    sample: NDArray[np.floating[Any]],
    size: tuple[int, int],
    *,
    class_count: int | None = None,
    family: Family = "auto",
    more_columns: bool = False,
    what: str = "the model",
) -> Layout:
    """Recognise the layout of an output.

    Args:
        sample: (B, ., .) output of the network for any image.
        size: Height and width of the network's input, in pixels.
        class_count: Number of classes, if the model's metadata states it.
        family: The family, if it is known; ``auto`` to recognise it by the output's shape.
        more_columns: Whether masks or keypoints are known to follow the columns of the boxes. A ``yolov8`` output may
            have such columns in any case; an end-to-end output without them has six columns.
        what: Name of the model, for messages.

    Raises:
        DetectorError: The layout is not known.
    """
    shape = list(sample.shape)
    problem = f"{what}: its output {shape}, for an input of {size[0]} x {size[1]} pixels, has no known layout"
    if sample.ndim != 3:
        raise DetectorError(f"{problem}.", hint=_FAMILIES_HINT)
    _, middle, last = shape
    by_middle, by_last = _strides_for(middle, size), _strides_for(last, size)
    if family == "auto":
        family = _recognise_family(middle, last, by_middle, by_last, class_count, more_columns)
        if family == "auto":
            raise DetectorError(f"{problem}.", hint=_FAMILIES_HINT)
    if family == "end2end":
        if last < 6 or (last > 6 and not more_columns):
            raise DetectorError(f"{problem}: an end-to-end output has 6 columns.", hint=_FAMILIES_HINT)
        return Layout("end2end", 0)
    # An output has many more rows than columns: if no grid matches, the longer axis is that of the rows.
    rows_last = by_last is not None if (by_last is None) != (by_middle is None) else last > middle
    columns = middle if rows_last else last
    first = 4 if family == "yolov8" else 5
    classes = columns - first if class_count is None else class_count
    if classes < 1 or columns < first + classes:
        raise DetectorError(
            f"{problem}: read as {family}, it has {columns - first} columns for classes"
            + (f", and the model names {class_count}." if class_count is not None else "."),
            hint="Choose another family with `family`.",
        )
    rows = sample[0].T if rows_last else sample[0]
    scores = rows[:, 4 : first + classes]
    if not np.isfinite(rows).all() or scores.min() < -_TOLERANCE or scores.max() > 1 + _TOLERANCE:
        raise DetectorError(
            f"{what}: read as {family}, its scores are outside of 0 to 1 ({scores.min():.3g} to {scores.max():.3g}).",
            hint="Export it with its final sigmoid, or choose another family with `family`.",
        )
    cells = None
    if family == "yolox":
        found = by_last if rows_last else by_middle
        if found is None or found[1] != 1:
            raise DetectorError(f"{problem}: YOLOX has one row for each grid cell.", hint=_FAMILIES_HINT)
        grid = _grid_cells(size, found[0])
        # Relative positions are small; decoded positions are near their own cell.
        relative = np.median(np.abs(rows[:, :2]))
        decoded = np.median(np.abs(rows[:, :2] / grid[:, 2:] - grid[:, :2]))
        cells = grid if relative <= decoded else None
    return Layout(family, classes, rows_last, cells)


def _recognise_family(
    middle: int,
    last: int,
    by_middle: tuple[tuple[int, ...], int] | None,
    by_last: tuple[tuple[int, ...], int] | None,
    class_count: int | None,
    more_columns: bool,
) -> Family:
    """Return the family by the axes of an output; ``auto`` if it is not known."""
    if by_last is not None and by_last[1] == 1 and middle >= 5:
        return "yolov8"
    if by_middle is not None and last >= 5:
        if by_middle[1] == 3:
            return "yolov5"
        # A transposed YOLOv8 output has as many rows as YOLOX, and one column less.
        return "yolov8" if last == 4 + (80 if class_count is None else class_count) else "yolox"
    return "end2end" if last == 6 or (last > 6 and more_columns) else "auto"


def decode(
    output: NDArray[np.floating[Any]], layout: Layout, *, threshold: float, classes: Sequence[int] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Decode the output for one frame.

    Args:
        output: One item of the network's batch.
        layout: Its layout.
        threshold: Lowest score to keep.
        classes: Class ids to keep; None for all.

    Returns:
        (N, 4) boxes as corners in pixels of the network's input, (N,) scores, (N,) class ids; before
        non-maximum suppression.
    """
    rows = output.T if layout.rows_last else output
    if layout.family == "end2end":
        rows = rows[rows[:, 4] >= threshold].astype(np.float32)
        class_ids = np.rint(rows[:, 5]).astype(np.int64)
        boxes, scores = rows[:, :4], rows[:, 4]
    elif layout.family == "yolov8":
        best = rows[:, 4 : 4 + layout.classes].max(axis=1)
        kept = np.flatnonzero(best >= threshold)
        class_ids = rows[kept, 4 : 4 + layout.classes].argmax(axis=1)
        boxes, scores = _corners(rows[kept, :4].astype(np.float32)), best[kept].astype(np.float32)
    else:
        # A class score is at most 1, so a row with a lower objectness cannot reach the threshold.
        candidates = np.flatnonzero(rows[:, 4] >= threshold)
        row_scores = rows[candidates, 5 : 5 + layout.classes] * rows[candidates, 4:5]
        best = row_scores.max(axis=1) if len(candidates) else np.empty(0, np.float32)
        kept = np.flatnonzero(best >= threshold)
        class_ids = row_scores[kept].argmax(axis=1)
        scores = best[kept].astype(np.float32)
        centred = rows[candidates[kept], :4].astype(np.float32)
        if layout.cells is not None:
            cells = layout.cells[candidates[kept]]
            with np.errstate(over="ignore"):
                centred = np.hstack(
                    [(centred[:, :2] + cells[:, :2]) * cells[:, 2:], np.exp(centred[:, 2:]) * cells[:, 2:]]
                )
        boxes = _corners(centred)
    if classes is not None:
        wanted = np.isin(class_ids, list(classes))
        boxes, scores, class_ids = boxes[wanted], scores[wanted], class_ids[wanted]
    return boxes, np.clip(scores, 0.0, 1.0), class_ids.astype(np.int64)


def _corners(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (N, 4) corners for boxes given by centre and size."""
    half = centred[:, 2:] / 2
    return np.hstack([centred[:, :2] - half, centred[:, :2] + half])
