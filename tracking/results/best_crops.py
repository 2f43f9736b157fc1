"""Good looks at people: large, whole, not hidden, sharp, and spread in time; and their pictures, cut from the video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import OutputError, VideoError
from tracking.geometry import iou
from tracking.identification.quality import box_quality, sharpness
from tracking.results.presence import Box
from tracking.results.track_frame import TrackFrame
from tracking.video.reader import VideoReader

__all__ = ["MAX_PICTURE_BYTES", "PICTURE_SIDE", "Moment", "Moments", "Picture", "cut_pictures", "open_video", "spread"]

PICTURE_SIDE = 168
"""Pixels of a picture's longer side at most."""
MAX_PICTURE_BYTES = 16_384

_SLOTS = 12
_USUAL_SIZE = (1920, 1080)
_MARGIN = 0.06
"""Of the box's sides, kept around it: a person is easier to recognise with a little air."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A look at somebody.

    Attributes:
        frame: 0-based.
        box: xyxy in pixels.
        quality: In [0, 1], as far as boxes tell it; see `tracking.identification.quality.box_quality`.
    """

    frame: int
    box: Box
    quality: float


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a moment.

    Attributes:
        jpeg: The file's bytes, at most `MAX_PICTURE_BYTES`.
        width, height: Pixels.
        quality: The moment's, times its sharpness.
    """

    jpeg: bytes
    width: int
    height: int
    quality: float


class _Slots:
    """The best moment of each of at most 12 stretches of time, which grow as time goes on."""

    __slots__ = ("best", "first", "width")

    def __init__(self, first: int) -> None:
        self.first, self.width = first, 1
        self.best: dict[int, Moment] = {}

    def least(self, frame: int) -> float:
        """What a moment must surpass to be kept."""
        found = self.best.get((frame - self.first) // self.width)
        return -1.0 if found is None else found.quality

    def add(self, moment: Moment) -> None:
        self.best[(moment.frame - self.first) // self.width] = moment
        while len(self.best) > _SLOTS:
            self.width *= 2
            merged: dict[int, Moment] = {}
            for kept in self.best.values():
                slot = (kept.frame - self.first) // self.width
                if slot not in merged or kept.quality > merged[slot].quality:
                    merged[slot] = kept
            self.best = merged


class Moments:
    """Gathers, for every track and name, the best looks over its whole time, in bounded memory for each.

    Args:
        frame_size: Width and height of the video in pixels, None where unknown.
        has_tracks: False where track ids mean nothing (`gallery_only`).
    """

    def __init__(self, frame_size: tuple[int, int] | None, *, has_tracks: bool) -> None:
        self._size = frame_size or _USUAL_SIZE
        self._has_tracks = has_tracks
        self._slots: dict[tuple[str | None, str | None], _Slots] = {}

    def add(self, frame: TrackFrame) -> None:
        """Take one frame."""
        rows = frame.tracked
        boxes = frame.boxes[rows]
        values = boxes.tolist()
        for place, row in enumerate(rows):
            key = (frame.track_ids[row] if self._has_tracks else None, frame.gallery_ids[row])
            if key == (None, None):
                continue
            slots = self._slots.setdefault(key, _Slots(frame.frame))
            score = float(frame.scores[row])
            box: Box = tuple(values[place])
            quality = box_quality(1.0 if score != score else score, box, self._size, overlap=0.0)
            # Overlap only takes away, and is what costs time: asked only of those that may be kept.
            if quality <= slots.least(frame.frame):
                continue
            if len(rows) > 1:
                quality *= 1.0 - float(np.delete(iou(box, boxes), place).max())
            if quality > slots.least(frame.frame):
                slots.add(Moment(frame.frame, box, quality))

    def of(self, track_id: str | None, identity: str | None) -> list[Moment]:
        """The looks at a track under a name, in order of time."""
        slots = self._slots.get((track_id, identity))
        return [] if slots is None else sorted(slots.best.values(), key=lambda moment: moment.frame)


def spread(moments: Sequence[Moment], count: int, *, each: int = 2) -> list[list[Moment]]:
    """Groups of neighbouring moments, at most `count`, each with its best `each`, the best first.

    Args:
        moments: In any order.
        count: Number of groups at most.
        each: Moments of a group at most.
    """
    if not moments or count < 1:
        return []
    ordered = sorted(moments, key=lambda moment: moment.frame)
    bounds = np.linspace(0, len(ordered), min(count, len(ordered)) + 1).round().astype(int).tolist()
    groups = [ordered[start:stop] for start, stop in pairwise(bounds)]
    return [sorted(group, key=lambda moment: -moment.quality)[:each] for group in groups]


def open_video(path: Path, frame_size: tuple[int, int] | None, name: str) -> VideoReader:
    """The video of some tracks.

    Args:
        path: The video.
        frame_size: Width and height that the tracks were made with, None where unknown.
        name: What to call the tracks in a message.

    Raises:
        VideoError: It cannot be opened, or has another size.
    """
    reader = VideoReader(path)
    if frame_size is not None and frame_size != (reader.width, reader.height):
        reader.close()
        raise VideoError(
            f"{name} was made from a video of {frame_size[0]} x {frame_size[1]} pixels, but {path} has "
            f"{reader.width} x {reader.height}.",
            hint="Give the video that the tracks are of.",
        )
    return reader


def cut_pictures(
    reader: VideoReader, moments: Iterable[Moment], progress: Callable[[int, int | None], None] | None = None
) -> Mapping[Moment, Picture]:
    """Cut moments out of a video, in one pass.

    Args:
        reader: The video, before its first frame.
        moments: What to cut.
        progress: Called with (frames done, frames to go through).

    Returns:
        A picture for each moment; none for those beyond the video's end or outside of its frames.

    Raises:
        VideoError: A frame that is wanted is damaged.
    """
    wanted: dict[int, dict[Moment, None]] = {}
    for moment in moments:
        wanted.setdefault(moment.frame, {})[moment] = None
    last = max(wanted, default=-1)
    pictures: dict[Moment, Picture] = {}
    while reader.frame < last and reader.advance():
        for moment in wanted.get(reader.frame, ()):
            picture = _cut(reader.image(), moment)
            if picture is not None:
                pictures[moment] = picture
        if progress is not None:
            progress(reader.frame + 1, last + 1)
    return pictures


def _cut(image: NDArray[np.uint8], moment: Moment) -> Picture | None:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = moment.box
    margin = _MARGIN * max(x2 - x1, y2 - y1)
    left, top = max(0, round(x1 - margin)), max(0, round(y1 - margin))
    right, bottom = min(width, round(x2 + margin)), min(height, round(y2 + margin))
    if right - left < 2 or bottom - top < 2:
        return None
    part = image[top:bottom, left:right]
    jpeg, shape = _jpeg(part)
    return Picture(jpeg, shape[1], shape[0], moment.quality * sharpness(part))


def _jpeg(part: NDArray[Any]) -> tuple[bytes, tuple[int, ...]]:
    import cv2

    side, quality = PICTURE_SIDE, 82
    while True:
        scale = side / max(part.shape[:2])
        if scale < 1:
            size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
            small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        else:
            small = part
        ok, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not ok:
            raise OutputError("OpenCV cannot encode a picture as JPEG.")
        if len(data) <= MAX_PICTURE_BYTES:
            return data.tobytes(), small.shape
        # Noise at 168 pixels and quality 82 may be 25 KB; one or two steps down are enough.
        side, quality = (side, quality - 20) if quality > 40 else (side // 2, quality)
