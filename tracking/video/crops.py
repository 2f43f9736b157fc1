"""Cut boxes out of frames and videos."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.video.reader import VideoReader

__all__ = ["MIN_SIDE", "clip_boxes", "crop", "video_crops"]

MIN_SIDE = 2
"""Smallest side of a clipped box in pixels. Smaller boxes show nothing that could be recognised."""

Key = TypeVar("Key")


def clip_boxes(boxes: ArrayLike, width: int, height: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Round boxes to whole pixels and clip them to the frame.

    Args:
        boxes: (N, 4) xyxy in pixels, any real dtype; NaN and infinities allowed.
        width: The frame's width in pixels.
        height: The frame's height in pixels.

    Returns:
        (N, 4) int64 boxes in [0, width] x [0, height], and (N,) bool: which of them are usable. A box that is empty,
        reversed, not finite, off the frame, or under 2 pixels on a side after clipping has False and zeros.

    Raises:
        ValueError: Boxes of another shape.
    """
    values = np.asarray(boxes, dtype=np.float64)
    if values.size == 0:
        values = values.reshape(0, 4)
    if values.ndim != 2 or values.shape[1] != 4:
        raise ValueError(f"expected boxes of shape (N, 4), found {values.shape}")
    finite = np.isfinite(values)
    keep: NDArray[np.bool_] = np.asarray(finite.all(axis=1))
    # A finite value may exceed every integer type: clip first, then convert.
    limit = np.array([width, height, width, height], dtype=np.float64)
    clipped = np.clip(np.rint(np.where(finite, values, 0.0)), 0.0, limit).astype(np.int64)
    keep &= (clipped[:, 2] - clipped[:, 0] >= MIN_SIDE) & (clipped[:, 3] - clipped[:, 1] >= MIN_SIDE)
    clipped[~keep] = 0
    return clipped, keep


def crop(frame: NDArray[np.uint8], boxes: ArrayLike) -> tuple[list[NDArray[np.uint8]], NDArray[np.int64]]:
    """Cut boxes out of a frame, without copying.

    Args:
        frame: (H, W, 3) uint8.
        boxes: (N, 4) xyxy in pixels.

    Returns:
        M views of the frame, and (M,) int64 indices of their boxes; see `clip_boxes` for the boxes left out.
    """
    height, width = frame.shape[:2]
    clipped, keep = clip_boxes(boxes, width, height)
    kept = np.flatnonzero(keep).astype(np.int64)
    return [frame[y1:y2, x1:x2] for x1, y1, x2, y2 in clipped[kept].tolist()], kept


def video_crops(
    video: str | Path, boxes: Iterable[tuple[Key, int, Sequence[float]]]
) -> Iterator[tuple[Key, NDArray[np.uint8]]]:
    """Cut boxes out of a video, in the order of its frames.

    Args:
        video: Path of the video.
        boxes: For each box a key of the caller's choice, the frame number, and xyxy in pixels.

    Yields:
        The key and the crop, a (H, W, 3) uint8 BGR view that is valid until the next one. Boxes that `clip_boxes`
        finds unusable, and boxes of frames after the video's end, are left out.

    Raises:
        VideoError: The video cannot be opened, or a frame is damaged.
    """
    boxes_by_frame: dict[int, list[tuple[Key, Sequence[float]]]] = defaultdict(list)
    for key, frame, box in boxes:
        boxes_by_frame[frame].append((key, box))
    with VideoReader(video) as reader:
        for frame in sorted(boxes_by_frame):
            if not reader.seek(frame):
                break
            for key, box in boxes_by_frame[frame]:
                for part in crop(reader.image(), np.array([box]))[0]:
                    yield key, part
