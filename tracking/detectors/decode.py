"""What the output of a YOLO network means: its form recognised, and read.

Four families cover the exports that are about:

- ``yolox``: [B, N, 5 + C], one row a grid cell: centre, size, objectness, class scores. Centre and size are
  relative to the cell (size as a logarithm) unless the export decodes them.
- ``yolov5``: [B, N, 5 + C], the same columns in pixels, three rows (anchors) a cell.
- ``yolov8`` (also v9, v11, v12): [B, 4 + C, N], centre and size in pixels, class scores, no objectness. What
  segmentation and pose models append to the classes is left unread.
- ``end2end`` (v10, v26, and any export with NMS inside): [B, K, 6], corners in pixels, score, class; best first. Those
  of segmentation and pose models have more columns behind.

N is the number of grid cells, and with it the families are told apart.
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
    "Known forms: YOLOX [B, N, 5 + classes], YOLOv5 [B, N, 5 + classes], YOLOv8 to v12 [B, 4 + classes, N] and "
    "end-to-end [B, K, 6]."
)


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How an output is to be read.

    Attributes:
        family: One of `Family`, but ``auto``.
        classes: Number of classes; 0 where the output does not say (``end2end``).
        rows_last: The rows are the last axis (as `yolov8` has them) and not the middle one.
        cells: (N, 3) float32: x, y and stride of each row's cell, where positions are relative to it; else None.
    """

    family: Family
    classes: int
    rows_last: bool = False
    cells: NDArray[np.float32] | None = None


def _cells(size: tuple[int, int], strides: Sequence[int]) -> NDArray[np.float32]:
    height, width = size
    parts = []
    for stride in strides:
        y, x = np.mgrid[: height // stride, : width // stride]
        parts.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    return np.concatenate(parts).astype(np.float32)


def _strides_for(rows: int, size: tuple[int, int]) -> tuple[tuple[int, ...], int] | None:
    """The strides and the anchors a cell that make that many rows."""
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
    """Tell how an output is to be read.

    Args:
        sample: (B, ., .) what the network returned for some image.
        size: Height and width of its input, in pixels.
        class_count: Number of classes, where the model's metadata says.
        family: The family, where it is known; ``auto`` to tell it from the numbers.
        more_columns: Whether it is known that masks or keypoints follow the columns of the boxes; those of
            ``yolov8`` may follow even so, an end-to-end output has six else.
        what: Name of the model, for messages.

    Raises:
        DetectorError: None of the known forms.
    """
    shape = list(sample.shape)
    refuse = f"{what}: its output {shape}, for an input of {size[0]} x {size[1]} pixels, is of no form that is known"
    if sample.ndim != 3:
        raise DetectorError(f"{refuse}.", hint=_FAMILIES_HINT)
    _, middle, last = shape
    by_middle, by_last = _strides_for(middle, size), _strides_for(last, size)
    if family == "auto":
        family = _guess(middle, last, by_middle, by_last, class_count, more_columns)
        if family == "auto":
            raise DetectorError(f"{refuse}.", hint=_FAMILIES_HINT)
    if family == "end2end":
        if last < 6 or (last > 6 and not more_columns):
            raise DetectorError(f"{refuse}: an end-to-end output has 6 columns.", hint=_FAMILIES_HINT)
        return Layout("end2end", 0)
    # Rows of a network are many more than its columns, so without a grid that fits the longer axis has them.
    rows_last = by_last is not None if (by_last is None) != (by_middle is None) else last > middle
    columns = middle if rows_last else last
    first = 4 if family == "yolov8" else 5
    classes = columns - first if class_count is None else class_count
    if classes < 1 or columns < first + classes:
        raise DetectorError(
            f"{refuse}: read as {family}, it has {columns - first} columns for classes"
            + (f", and the model names {class_count}." if class_count is not None else "."),
            hint="Choose another reading with --family.",
        )
    rows = sample[0].T if rows_last else sample[0]
    scores = rows[:, 4 : first + classes]
    if not np.isfinite(rows).all() or scores.min() < -_TOLERANCE or scores.max() > 1 + _TOLERANCE:
        raise DetectorError(
            f"{what}: read as {family}, its scores lie outside of 0 to 1 ({scores.min():.3g} to {scores.max():.3g}).",
            hint="Export it with its final sigmoid, or choose another reading with --family.",
        )
    cells = None
    if family == "yolox":
        found = by_last if rows_last else by_middle
        if found is None or found[1] != 1:
            raise DetectorError(f"{refuse}: YOLOX has one row for each grid cell.", hint=_FAMILIES_HINT)
        grid = _cells(size, found[0])
        # Relative positions are small; decoded ones lie near their own cell, wherever that is.
        relative = np.median(np.abs(rows[:, :2]))
        decoded = np.median(np.abs(rows[:, :2] / grid[:, 2:] - grid[:, :2]))
        cells = grid if relative <= decoded else None
    return Layout(family, classes, rows_last, cells)


def _guess(
    middle: int,
    last: int,
    by_middle: tuple[tuple[int, ...], int] | None,
    by_last: tuple[tuple[int, ...], int] | None,
    class_count: int | None,
    more_columns: bool,
) -> Family:
    if by_last is not None and by_last[1] == 1 and middle >= 5:
        return "yolov8"
    if by_middle is not None and last >= 5:
        if by_middle[1] == 3:
            return "yolov5"
        # A transposed v8 has as many rows as YOLOX has, and one column less.
        return "yolov8" if last == 4 + (80 if class_count is None else class_count) else "yolox"
    return "end2end" if last == 6 or (last > 6 and more_columns) else "auto"


def decode(
    output: NDArray[np.floating[Any]], layout: Layout, *, threshold: float, classes: Sequence[int] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Read one frame's output.

    Args:
        output: One item of the network's batch.
        layout: How to read it.
        threshold: Lowest score to keep.
        classes: Class ids to keep; None for all.

    Returns:
        (N, 4) boxes as corners in pixels of the network's input, (N,) scores, (N,) class ids; not suppressed.
    """
    rows = output.T if layout.rows_last else output
    if layout.family == "end2end":
        rows = rows[rows[:, 4] >= threshold].astype(np.float32)
        kinds = np.rint(rows[:, 5]).astype(np.int64)
        boxes, scores = rows[:, :4], rows[:, 4]
    elif layout.family == "yolov8":
        best = rows[:, 4 : 4 + layout.classes].max(axis=1)
        kept = np.flatnonzero(best >= threshold)
        kinds = rows[kept, 4 : 4 + layout.classes].argmax(axis=1)
        boxes, scores = _corners(rows[kept, :4].astype(np.float32)), best[kept].astype(np.float32)
    else:
        # A class score is at most 1, so that no row of less objectness can reach the threshold.
        likely = np.flatnonzero(rows[:, 4] >= threshold)
        chances = rows[likely, 5 : 5 + layout.classes] * rows[likely, 4:5]
        best = chances.max(axis=1) if len(likely) else np.empty(0, np.float32)
        kept = np.flatnonzero(best >= threshold)
        kinds = chances[kept].argmax(axis=1)
        scores = best[kept].astype(np.float32)
        place = rows[likely[kept], :4].astype(np.float32)
        if layout.cells is not None:
            cells = layout.cells[likely[kept]]
            with np.errstate(over="ignore"):
                place = np.hstack([(place[:, :2] + cells[:, :2]) * cells[:, 2:], np.exp(place[:, 2:]) * cells[:, 2:]])
        boxes = _corners(place)
    if classes is not None:
        wanted = np.isin(kinds, list(classes))
        boxes, scores, kinds = boxes[wanted], scores[wanted], kinds[wanted]
    return boxes, np.clip(scores, 0.0, 1.0), kinds.astype(np.int64)


def _corners(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    half = centred[:, 2:] / 2
    return np.hstack([centred[:, :2] - half, centred[:, :2] + half])
