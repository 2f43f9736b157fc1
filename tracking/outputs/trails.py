"""Trails: where the tracks of a frame were in the seconds before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Trails"]

_PARTS = 4
"""Parts of a trail, each thinner than the one after it."""


class Trails:
    """Keeps the last points of each track, in the middle of the lower edge of its box, and draws them as lines.

    Args:
        frames: Length of a trail in frames of the video.
    """

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._points: dict[str, deque[tuple[int, int, int]]] = {}

    def add(self, frame: int, tracks: Iterable[tuple[str, tuple[int, int, int, int]]]) -> None:
        """Add the boxes of a frame, each with its track's id; forget points that are too old.

        Args:
            frame: Its number.
            tracks: Track ids, and boxes xyxy in whole pixels.
        """
        for track_id, (x1, _, x2, y2) in tracks:
            self._points.setdefault(track_id, deque()).append((frame, (x1 + x2) // 2, y2))
        for track_id, points in list(self._points.items()):
            while points and points[0][0] < frame - self._frames:
                points.popleft()
            if not points:
                del self._points[track_id]

    def draw(self, canvas: NDArray[np.uint8], track_id: str, colour: tuple[int, int, int], width: int) -> None:
        """Draw the trail of a track into a frame, (H, W, 3) uint8 BGR, with lines of at most `width` pixels."""
        import cv2

        points: NDArray[Any] = np.array([(x, y) for _, x, y in self._points.get(track_id, ())], np.int32)
        for part in range(_PARTS):
            first, end = len(points) * part // _PARTS, len(points) * (part + 1) // _PARTS
            piece = points[max(0, first - 1) : end]
            if len(piece) > 1:
                thickness = max(1, round(width * (part + 1) / _PARTS))
                cv2.polylines(canvas, [piece], False, colour, thickness, cv2.LINE_AA)
