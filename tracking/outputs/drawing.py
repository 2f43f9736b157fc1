"""Annotated frames: a box and a label for each detection, with names in any script."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.limits import shorten_drawn
from gallery_db.visible_text import shorten, visible

__all__ = ["annotate", "colour_of"]

_GREY = (150, 150, 150)
_MAX_NAME = 60  # characters in a label


@lru_cache(maxsize=4096)
def colour_of(key: str) -> tuple[int, int, int]:
    """Return a stable, clearly visible BGR colour for a name or a track id."""
    hue = (zlib.crc32(key.encode("utf-8", "replace")) * 0.618033988749895) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return int(blue * 255), int(green * 255), int(red * 255)


@lru_cache(maxsize=1)
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


@lru_cache(maxsize=1024)
def _label(text: str, background: tuple[int, int, int], size: int) -> NDArray[np.uint8]:
    """Draw a label as a small BGR image.

    By Pillow, because OpenCV draws ASCII alone; cached, because a track has the same label for many frames.
    """
    from PIL import Image, ImageDraw

    font = _font(size)
    left, top, right, bottom = (int(v) for v in font.getbbox(text))
    image = Image.new("RGB", (right - left + 6, bottom - top + 4), background[::-1])
    dark = sum(background) > 380
    ImageDraw.Draw(image).text((3 - left, 2 - top), text, font=font, fill=(0, 0, 0) if dark else (255, 255, 255))
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


def annotate(
    image: NDArray[np.uint8], detections: Sequence[Mapping[str, Any]], class_names: Mapping[int, str] | None = None
) -> NDArray[np.uint8]:
    """Draw the detections of a track-v1 frame.

    A named track is drawn in the colour of its identity with name and distance, an unnamed one in the colour of the
    track with its id, and a detection without a track as a thin grey box.

    Args:
        image: (H, W, 3) uint8 BGR; not changed.
        detections: Detections of a track-v1 frame.
        class_names: Class names by class id, for detections without a name of their own.

    Returns:
        A new image of the same shape.
    """
    import cv2

    canvas = image.copy()
    height, width = canvas.shape[:2]
    size = max(11, round(height / 42))
    thickness = max(1, round(height / 360))
    taken: list[tuple[int, int, int, int]] = []
    for detection in sorted(detections, key=lambda d: ("gallery_id" in d, "track_id" in d)):
        x1, y1, x2, y2 = (round(float(np.clip(v, -1e5, 1e5))) for v in detection["bbox"])
        track_id, identity = detection.get("track_id"), detection.get("gallery_id")
        if track_id is None:
            cv2.rectangle(canvas, (x1, y1), (x2, y2), _GREY, 1)
            continue
        colour = colour_of(f"id:{identity}" if identity is not None else f"track:{track_id}")
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, thickness + (identity is not None))
        shown_id = _shown(str(track_id))
        class_name = detection.get("class_name") or (class_names or {}).get(int(detection["class_id"]), "")
        text = f"#{shown_id} {_shown(class_name)}".strip()
        if identity is not None:
            distance = detection.get("gallery_distance")
            near = "" if distance is None else f" {float(distance):.2f}"
            text = f"{_shown(identity)}{near} #{shown_id}"
        label = _label(shorten_drawn(text), colour, size)
        label_height, label_width = label.shape[:2]
        left = int(np.clip(x1, 0, max(0, width - label_width)))
        # Above the box, else in it, else under it: the first of these that hides no other label.
        tops = [int(np.clip(y, 0, max(0, height - label_height))) for y in (y1 - label_height, y1, y2)]
        top = next((y for y in tops if not _overlaps_any(taken, left, y, label_width, label_height)), tops[0])
        taken.append((left, top, left + label_width, top + label_height))
        patch = canvas[top : top + label_height, left : left + label_width]
        patch[:] = label[: patch.shape[0], : patch.shape[1]]
    return canvas


def _shown(name: str) -> str:
    """Return a name as a label has it; a long one would cover the picture."""
    return shorten(visible(shorten(name, _MAX_NAME)), _MAX_NAME)


def _overlaps_any(taken: Sequence[tuple[int, int, int, int]], left: int, top: int, width: int, height: int) -> bool:
    return any(left < x2 and x1 < left + width and top < y2 and y1 < top + height for x1, y1, x2, y2 in taken)
