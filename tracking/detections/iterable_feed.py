"""Detections from Python: arrays, or results of supervision and Ultralytics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detections.base import FrameDetections
from tracking.detections.frame_feed import FrameByFrameFeed
from tracking.errors import DetectionsError

__all__ = ["IterableFeed"]


class IterableFeed(FrameByFrameFeed):
    """Detections from a Python iterable, one item for each frame from frame 0 on.

    An item is an array of 5 or 6 columns (x1, y1, x2, y2 in pixels, score in [0, 1], and a class id; without one
    it is -1), a ``Detections`` of supervision, a ``Results`` of Ultralytics, or None for a frame without any.

    Args:
        items: The items; each is taken when the run reaches its frame.
        lenient: Leave unusable detections out and count them; if the items end early, the other frames have none.
    """

    def __init__(self, items: Iterable[Any], *, lenient: bool = False) -> None:
        super().__init__({"schema_version": "det-v1"}, lenient=lenient)
        self._items: Iterator[Any] = iter(items)
        self._next = 0

    @property
    def class_ids(self) -> tuple[int, ...]:
        """See `DetectionFeed`. Always empty: they are not known."""
        return ()

    @property
    def class_names(self) -> Mapping[int, str]:
        """See `DetectionFeed`. Always empty: they are not known."""
        return {}

    def at(self, frame: int) -> FrameDetections:
        """See `DetectionFeed`.

        Raises:
            DetectionsError: An item has an unknown form, a detection cannot be used, or the items end too early.
        """
        item = None
        while self._next <= frame:
            try:
                item = next(self._items)
            except StopIteration:
                if not self._lenient:
                    raise DetectionsError(
                        f"the detections end after frame {self._next - 1}, but the video continues.",
                        hint="Give one item a frame (None if it has no detections), or limit the run with a range.",
                    ) from None
                item = None
            self._next += 1
        return self._check_entry({"frame": frame, "detections": _as_detections(item, frame)})

    def beyond(self, frame: int) -> NDArray[np.int64]:
        """See `DetectionFeed`. The frame of the next item, if there is one."""
        for _ in self._items:
            self._next += 1
            return np.array([self._next - 1], np.int64)
        return np.empty(0, np.int64)


def _as_array(value: Any) -> NDArray[np.float64]:
    """Return an array or a tensor, which may be on a GPU, as a NumPy array."""
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value, np.float64)


def _columns(item: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], list[str | None]]:
    """Return boxes, scores, class ids and names of an item; see `IterableFeed` for its forms.

    Raises:
        ValueError, TypeError, AttributeError: The item has an unknown form.
    """
    if item is None:
        return np.empty((0, 4)), np.empty(0), np.empty(0), []
    if hasattr(item, "xyxy") and hasattr(item, "confidence"):  # supervision
        boxes = _as_array(item.xyxy).reshape(-1, 4)
        scores = np.ones(len(boxes)) if item.confidence is None else _as_array(item.confidence)
        class_ids = np.full(len(boxes), -1.0) if item.class_id is None else _as_array(item.class_id)
        given = (item.data or {}).get("class_name")
        names: list[str | None] = [None] * len(boxes)
        if given is not None:
            names = [None if name is None else str(name) for name in given]
        return boxes, scores, class_ids, names
    if hasattr(item, "boxes") and hasattr(item, "names"):  # Ultralytics
        if item.boxes is None:
            raise ValueError("results without boxes")
        boxes = _as_array(item.boxes.xyxy).reshape(-1, 4)
        class_ids = _as_array(item.boxes.cls).reshape(-1)
        return (
            boxes,
            _as_array(item.boxes.conf).reshape(-1),
            class_ids,
            [item.names.get(int(class_id)) for class_id in class_ids],
        )
    rows = _as_array(item)
    if rows.size == 0:
        return _columns(None)
    if rows.ndim != 2 or rows.shape[1] not in (5, 6):
        raise ValueError(f"an array of shape {list(rows.shape)}")
    class_ids = rows[:, 5] if rows.shape[1] == 6 else np.full(len(rows), -1.0)
    return rows[:, :4], rows[:, 4], class_ids, [None] * len(rows)


def _as_detections(item: Any, frame: int) -> list[dict[str, Any]]:
    """Return the det-v1 detections of an item.

    Raises:
        DetectionsError: The item has an unknown form.
    """
    detections: list[dict[str, Any]] = []
    try:
        boxes, scores, class_ids, names = _columns(item)
        for box, score, class_id, name in zip(boxes.tolist(), scores.tolist(), class_ids.tolist(), names, strict=True):
            detection = {"bbox": box, "score": score, "class_id": int(class_id) if class_id % 1 == 0 else class_id}
            if name is not None:
                detection["class_name"] = name
            detections.append({**detection, "det_ind": len(detections)})
    except (TypeError, ValueError, AttributeError) as error:
        raise DetectionsError(
            f"the detections of frame {frame} cannot be read: {type(item).__name__}: {error}.",
            hint="Expected an array (N, 5) or (N, 6) of x1, y1, x2, y2, score, class id; a Detections of supervision; "
            "a Results of Ultralytics; or None.",
        ) from error
    return detections
