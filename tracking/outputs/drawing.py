"""Annotated frames: a box and a label for each track, and on request trails and blur."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.limits import shorten_drawn
from gallery_db.media.fonts import drawable
from gallery_db.visible_text import shorten, visible
from tracking.outputs.blur import Blur, Blurring, is_blurred
from tracking.outputs.labels import LabelPlacer
from tracking.outputs.trails import Trails

__all__ = ["FramePainter", "colour_of"]

Box = tuple[int, int, int, int]
Colour = tuple[int, int, int]

_GREY = (150, 150, 150)
_MAX_NAME = 60  # characters in a label
_SIDE_PER_LINE = 200  # pixels of the frame's shorter side for one of a line's width
_SIDE_PER_LETTER = 42
_MIN_LETTER = 11
_LUMINANCE = (0.114, 0.587, 0.299)
"""Weights of blue, green and red in the brightness of a colour (ITU-R BT.601)."""


@lru_cache(maxsize=4096)
def colour_of(key: str) -> Colour:
    """Return a stable, clearly visible BGR colour for a name or a track id."""
    hue = (zlib.crc32(key.encode("utf-8", "replace")) * 0.618033988749895) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return int(blue * 255), int(green * 255), int(red * 255)


@lru_cache(maxsize=1024)
def _label(text: str, background: Colour, size: int, most: int) -> NDArray[np.uint8]:
    """Draw a label as a small BGR image of at most `most` columns; a longer text is shortened at its end.

    By Pillow, because OpenCV draws ASCII alone; cached, because a track has the same label for many frames.
    """
    from PIL import Image, ImageDraw

    font, text = drawable(text, size)
    whole = text
    while text and font.getlength(text) > most - 6:
        whole = whole[:-1]
        text = f"{whole}…" if whole else ""
    left, top, right, bottom = (int(v) for v in font.getbbox(text))
    image = Image.new("RGB", (right - left + 6, bottom - top + 4), background[::-1])
    dark = np.dot(background, _LUMINANCE) > 128
    ImageDraw.Draw(image).text((3 - left, 2 - top), text, font=font, fill=(0, 0, 0) if dark else (255, 255, 255))
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])


class FramePainter:
    """Blurs and draws the frames of a video, one after the other.

    A named track is drawn in the colour of its identity with name and distance, an unnamed one in the colour of the
    track with its id, and a detection without a track as a thin grey box. Labels stay inside the frame, and never
    cover each other; a frame that is full has no room for further ones. A blurred track keeps its id, without a name.

    Args:
        class_names: Class names by class id, for detections without a name of their own.
        fps: Frames per second of the video.
        trails: Seconds for which a trail shows where a track was; 0 for none.
        blur: Whose boxes are blurred, None for nobody; see `is_blurred`.
        line_width: Width of lines in pixels; None for one that fits the frame.
        has_tracks: Whether a track id means the same from frame to frame.
    """

    def __init__(
        self,
        class_names: Mapping[int, str] | None = None,
        *,
        fps: float = 30.0,
        trails: float = 0.0,
        blur: Blur | None = None,
        line_width: int | None = None,
        has_tracks: bool = True,
    ) -> None:
        self._class_names = class_names or {}
        self._line_width = line_width
        self._blur = blur
        self._blurring = None if blur is None else Blurring(blur, fps, has_tracks=has_tracks)
        self._trails = Trails(max(1, round(trails * fps))) if trails else None
        self._placer = LabelPlacer()

    def blur(self, document: Mapping[str, Any], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the frame with blurred boxes, or the same image where nothing is to be blurred.

        Args:
            document: Its track-v1, with all its detections.
            image: (H, W, 3) uint8 BGR; not changed.
        """
        if self._blurring is None:
            return image
        return self._blurring.apply(int(document["frame"]), document["detections"], image)

    def draw(self, document: Mapping[str, Any], image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a copy of the frame with its tracks drawn.

        Args:
            document: Its track-v1.
            image: (H, W, 3) uint8 BGR, blurred already; not changed.
        """
        canvas = image.copy()
        height, width = canvas.shape[:2]
        line_width = self._line_width or max(1, round(min(height, width) / _SIDE_PER_LINE))
        tracked: list[tuple[Mapping[str, Any], Box, Colour]] = []
        for detection in document["detections"]:
            box = _whole_pixels(detection["bbox"])
            if "track_id" in detection:
                tracked.append((detection, box, self._colour(detection)))
            else:
                _draw_box(canvas, box, _GREY, max(1, line_width // 3))
        tracked.sort(key=lambda one: "gallery_id" in one[0])  # names on top
        if self._trails is not None:
            self._trails.add(int(document["frame"]), ((str(d["track_id"]), box) for d, box, _ in tracked))
            for detection, _, colour in tracked:
                self._trails.draw(canvas, str(detection["track_id"]), colour, line_width)
        for _, box, colour in tracked:
            _draw_box(canvas, box, colour, line_width)
        self._draw_labels(canvas, tracked[::-1], line_width)
        return canvas

    def _draw_labels(
        self, canvas: NDArray[np.uint8], tracked: Sequence[tuple[Mapping[str, Any], Box, Colour]], line_width: int
    ) -> None:
        import cv2

        height, width = canvas.shape[:2]
        size = max(_MIN_LETTER, round(min(height, width) / _SIDE_PER_LETTER))
        labels = [_label(self._text(detection), colour, size, width) for detection, _, colour in tracked]
        places = self._placer.place(
            [str(detection["track_id"]) for detection, _, _ in tracked],
            np.array([box for _, box, _ in tracked], np.float64).reshape(-1, 4),
            [(label.shape[1], label.shape[0]) for label in labels],
            (width, height),
        )
        placed = [(*one, *place) for one, place in zip(zip(tracked, labels, strict=True), places, strict=True) if place]
        for (_, box, colour), label, left, top in placed:  # under the labels: a line to one that is away from its box
            ends = _link(box, (left, top, left + label.shape[1], top + label.shape[0]))
            if ends is not None:
                cv2.line(canvas, *ends, colour, max(1, line_width // 2), cv2.LINE_AA)
        for _, label, left, top in placed:
            canvas[top : top + label.shape[0], left : left + label.shape[1]] = label

    def _colour(self, detection: Mapping[str, Any]) -> Colour:
        identity = detection.get("gallery_id")
        if identity is None or is_blurred(self._blur, detection):
            return colour_of(f"track:{detection['track_id']}")
        return colour_of(f"id:{identity}")

    def _text(self, detection: Mapping[str, Any]) -> str:
        shown_id = _shown(str(detection["track_id"]))
        identity = detection.get("gallery_id")
        if identity is not None and not is_blurred(self._blur, detection):
            distance = detection.get("gallery_distance")
            near = "" if distance is None else f" {float(distance):.2f}"
            return shorten_drawn(f"{_shown(identity)}{near} #{shown_id}")
        class_name = detection.get("class_name") or self._class_names.get(int(detection["class_id"]), "")
        return shorten_drawn(f"#{shown_id} {_shown(class_name)}".strip())


def _whole_pixels(box: Sequence[float]) -> Box:
    x1, y1, x2, y2 = (round(float(v)) for v in np.clip(box, -1e5, 1e5))
    return x1, y1, x2, y2


def _draw_box(canvas: NDArray[np.uint8], box: Box, colour: Colour, width: int) -> None:
    """Draw a box with lines of exactly that width; OpenCV draws them up to two pixels wider."""
    x1, y1, x2, y2 = box
    half = width // 2
    left, top, right, bottom = (max(0, v - half) for v in (x1, y1, x2, y2))
    ends_x, ends_y = max(0, x2 - half + width), max(0, y2 - half + width)
    canvas[top : max(0, y1 - half + width), left:ends_x] = colour
    canvas[bottom:ends_y, left:ends_x] = colour
    canvas[top:ends_y, left : max(0, x1 - half + width)] = colour
    canvas[top:ends_y, right:ends_x] = colour


def _shown(name: str) -> str:
    """Return a name as a label has it; a long one would cover the picture."""
    return shorten(visible(shorten(name, _MAX_NAME)), _MAX_NAME)


def _link(box: Box, label: Box) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return the ends of the shortest line from a box to its label; None where they touch."""
    ends = []
    for low, high in ((0, 2), (1, 3)):
        start = min(max((label[low] + label[high]) // 2, box[low]), box[high])
        ends.append((start, min(max(start, label[low]), label[high])))
    (x1, x2), (y1, y2) = ends
    return None if abs(x1 - x2) <= 1 and abs(y1 - y2) <= 1 else ((x1, y1), (x2, y2))
