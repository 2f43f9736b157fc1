"""The header of a track-v1 document: every top-level key but ``frames``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gallery_db.limits import MAX_FPS, MIN_FPS
from tracking.geometry import LARGEST_NUMBER

__all__ = [
    "is_finite_number",
    "mapping_or_empty",
    "positive_number",
    "run_fps",
    "run_video",
    "text_or_none",
    "tracker_config",
    "video_name",
]


def run_video(header: Mapping[str, Any]) -> str | None:
    """Return the path or address of the video that a run read, None where the header has neither.

    gtrack stores it in the tracker's settings: the header's ``video`` describes the video of the detections, which may
    be another file. Documents that other programs wrote have ``video`` only.
    """
    path = tracker_config(header).get("video") or mapping_or_empty(header.get("video")).get("path")
    return str(path) if path else None


def run_fps(header: Mapping[str, Any]) -> float | None:
    """Return the frames per second of the video that a run read, with the same precedence; None where unknown.

    A rate that no video has counts as unknown: times of frames would be thousands of years long.
    """
    for value in (tracker_config(header).get("video_fps"), mapping_or_empty(header.get("video")).get("fps")):
        rate = positive_number(value)
        if rate is not None and MIN_FPS <= rate <= MAX_FPS:
            return rate
    return None


def video_name(header: Mapping[str, Any]) -> str | None:
    """Return a name for that video: a file's name without its folders, an address unchanged."""
    path = run_video(header)
    return path if path is None or "://" in path else Path(path).name


def tracker_config(header: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tracker's settings, empty where the header has none."""
    return mapping_or_empty(mapping_or_empty(header.get("tracker")).get("config"))


def mapping_or_empty(value: Any) -> Mapping[str, Any]:
    """Return a value that is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def positive_number(value: Any) -> float | None:
    """Return a value that is a number above 0, and not beyond any meaning, else None."""
    return float(value) if is_finite_number(value) and 0 < value <= LARGEST_NUMBER else None


def text_or_none(value: Any) -> str | None:
    """Return a value that is text, else None."""
    return value if isinstance(value, str) else None


def is_finite_number(value: Any) -> bool:
    """Return whether a value is an int or a float (bool excluded), and finite."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:  # an int of hundreds of digits
        return False
