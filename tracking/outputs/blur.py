"""Make people unrecognisable in a frame, before anything is drawn into it or cut out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tracking.enrolment.base import is_unknown
from tracking.geometry import iou

__all__ = ["Blur", "Blurring", "is_blurred"]

Blur = Literal["all", "unknown", "named"]
"""Which boxes are blurred: of all people, of those without a name, or with one; see `is_blurred`."""

_CELLS = 4
"""Pixels to which the longer side of a box is reduced; a head has one. They are grey: people are known by the colours
of their clothes, too. Among the 8 people of PETS, the nearest identity of a blurred box is right as often as by chance;
with 6 coloured pixels, three times as often."""
_SMALLEST_FACTOR = 4
"""Least number of pixels that become one, for boxes of few pixels."""
_MARGIN = 0.06
"""Margin around a box, as a share of its longer side: boxes cut off hands, feet and hair."""
_HOLD_SECONDS = 0.5
"""Time for which the place of a box stays blurred after its last detection: detectors miss people in single frames."""
_HOLD_GROWTH = 0.5
"""Growth of such a place in that time on each side, as a share of its width: the person may go on."""
_SAME_PLACE = 0.3
"""IoU with a blurred box from which a place without a track needs no blur of its own."""


def is_blurred(mode: Blur | None, detection: Mapping[str, Any]) -> bool:
    """Return whether a detection of track-v1 is blurred.

    What is not decided counts on the safe side: a person without a decision may be unknown, and may get a name later,
    so that both ``unknown`` and ``named`` blur them. An id such as ``unknown-0007`` is no name.
    """
    if mode is None or mode == "all":
        return mode is not None
    name = detection.get("gallery_id")
    if name is not None and not is_unknown(str(name)):
        return True if mode == "named" else detection.get("identity_status", "known") != "known"
    is_decided = name is not None or detection.get("identity_status") == "unknown"
    return mode == "unknown" or not is_decided


@dataclass(frozen=True, slots=True)
class _Place:
    """A blurred box, when it was last seen, and its track."""

    frame: int
    box: tuple[float, float, float, float]
    track_id: str | None


class Blurring:
    """Blurs the boxes of a video's frames, one frame after the other.

    The box is reduced to `_CELLS` grey pixels and enlarged again, so that nothing is left to restore.

    Args:
        mode: Which boxes.
        fps: Frames per second.
        has_tracks: Whether a track id means the same from frame to frame.
    """

    def __init__(self, mode: Blur, fps: float, *, has_tracks: bool = True) -> None:
        self._mode = mode
        self._has_tracks = has_tracks
        self._hold = max(1, round(_HOLD_SECONDS * fps))
        self._places: list[_Place] = []

    def apply(self, frame: int, detections: Sequence[Mapping[str, Any]], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a copy of a frame in which the boxes are blurred.

        Args:
            frame: Its number.
            detections: Its detections of track-v1, all of them.
            image: (H, W, 3) uint8 BGR; not changed.
        """
        seen = [
            _Place(frame, _finite(detection["bbox"]), detection.get("track_id") if self._has_tracks else None)
            for detection in detections
            if is_blurred(self._mode, detection)
        ]
        present = {detection["track_id"] for detection in detections if "track_id" in detection}
        boxes = np.array([place.box for place in seen]).reshape(-1, 4)
        held = [
            place
            for place in self._places
            if frame - place.frame <= self._hold and not self._is_seen_again(place, present, boxes)
        ]
        self._places = seen + held
        blurred = image.copy()
        for place in self._places:
            _blur(blurred, place.box, _HOLD_GROWTH * (frame - place.frame) / self._hold)
        return blurred

    @staticmethod
    def _is_seen_again(place: _Place, present: set[str], boxes: NDArray[np.float64]) -> bool:
        if place.track_id is not None:
            return place.track_id in present
        return bool(len(boxes)) and float(iou(place.box, boxes).max()) >= _SAME_PLACE


def _finite(box: Sequence[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(v) for v in np.nan_to_num(np.clip(np.asarray(box, np.float64), -1e5, 1e5)))
    return x1, y1, x2, y2


def _blur(image: NDArray[np.uint8], box: tuple[float, float, float, float], growth: float) -> None:
    import cv2

    x1, y1, x2, y2 = box
    margin = _MARGIN * max(x2 - x1, y2 - y1) + growth * (x2 - x1)
    height, width = image.shape[:2]
    left, top = max(0, int(np.floor(x1 - margin))), max(0, int(np.floor(y1 - margin)))
    right, bottom = min(width, int(np.ceil(x2 + margin))), min(height, int(np.ceil(y2 + margin)))
    if right <= left or bottom <= top:
        return
    part = image[top:bottom, left:right]
    scale = min(_CELLS / max(right - left, bottom - top), 1 / _SMALLEST_FACTOR)
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    cells = cv2.cvtColor(cv2.resize(part, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    part[:] = cv2.resize(cells, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)[:, :, None]
