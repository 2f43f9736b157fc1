"""Crops cut out of the video of a run, as small JPEG images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import OutputError, VideoError
from tracking.identification.quality import sharpness
from tracking.results.best_crops import CropCandidate
from tracking.video.reader import VideoReader

__all__ = ["MAX_IMAGE_BYTES", "MAX_IMAGE_SIDE", "CropImage", "cut_crops", "open_video"]

MAX_IMAGE_SIDE = 168
"""Pixels of an image's longer side at most."""
MAX_IMAGE_BYTES = 16_384

_MARGIN = 0.06
"""Margin around the box, as a share of its longer side: it makes a person easier to recognise."""


@dataclass(frozen=True, slots=True)
class CropImage:
    """An image of a crop.

    Attributes:
        jpeg: The JPEG file's bytes, at most `MAX_IMAGE_BYTES`.
        width, height: In pixels.
        quality: Quality of the candidate, times the sharpness of the image.
    """

    jpeg: bytes
    width: int
    height: int
    quality: float


def open_video(path: Path, frame_size: tuple[int, int] | None, name: str) -> VideoReader:
    """Open the video of a run.

    Args:
        path: The video.
        frame_size: Width and height of the video that the run read, None where unknown.
        name: The name of the tracks in messages.

    Raises:
        VideoError: It cannot be opened, or has another size.
    """
    reader = VideoReader(path)
    if frame_size is not None and frame_size != (reader.width, reader.height):
        reader.close()
        raise VideoError(
            f"{name} was made from a video of {frame_size[0]} x {frame_size[1]} pixels, but {path} has "
            f"{reader.width} x {reader.height}.",
            hint="Give the video that the run read.",
        )
    return reader


def cut_crops(
    reader: VideoReader, candidates: Iterable[CropCandidate], progress: Callable[[int, int | None], None] | None = None
) -> Mapping[CropCandidate, CropImage]:
    """Cut crops out of a video, in the order of its frames.

    Args:
        reader: The video, before its first frame.
        candidates: The crops to cut.
        progress: Called with (frames done, frames to read).

    Returns:
        An image of each candidate; none for a box outside its frame or after the end of the video.

    Raises:
        VideoError: A frame of a candidate is damaged.
    """
    by_frame: dict[int, dict[CropCandidate, None]] = {}
    for candidate in candidates:
        by_frame.setdefault(candidate.frame, {})[candidate] = None
    last = max(by_frame, default=-1)
    images: dict[CropCandidate, CropImage] = {}
    for frame in sorted(by_frame):
        has_frame = reader.seek(frame)
        if progress is not None:
            progress(reader.frame + 1, last + 1)
        if not has_frame:
            break
        for candidate in by_frame[frame]:
            image = _cut(reader.image(), candidate)
            if image is not None:
                images[candidate] = image
    return images


def _cut(image: NDArray[np.uint8], candidate: CropCandidate) -> CropImage | None:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = candidate.box
    margin = _MARGIN * max(x2 - x1, y2 - y1)
    left, top = max(0, round(x1 - margin)), max(0, round(y1 - margin))
    right, bottom = min(width, round(x2 + margin)), min(height, round(y2 + margin))
    if right - left < 2 or bottom - top < 2:
        return None
    part = image[top:bottom, left:right]
    jpeg, shape = _encode(part)
    return CropImage(jpeg, shape[1], shape[0], candidate.quality * sharpness(part))


def _encode(part: NDArray[Any]) -> tuple[bytes, tuple[int, ...]]:
    """Return the JPEG of an image, reduced in size and quality until it fits, and its shape."""
    import cv2

    side, quality = MAX_IMAGE_SIDE, 82
    while True:
        scale = side / max(part.shape[:2])
        if scale < 1:
            size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
            small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        else:
            small = part
        ok, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not ok:
            raise OutputError("OpenCV cannot encode a crop as JPEG.")
        if len(data) <= MAX_IMAGE_BYTES:
            return data.tobytes(), small.shape
        # Noise at 168 pixels and quality 82 may be 25 KB; one or two steps down are enough.
        side, quality = (side, quality - 20) if quality > 40 else (side // 2, quality)
