"""Small track-v1 documents for the tests of timelines, exports and reports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Document = dict[str, Any]

_FILTER = {"track_classes": None, "filter_gallery_for_tracked_classes": False}


def make_detection(
    track: str | None,
    name: str | None = None,
    distance: float | None = None,
    *,
    box: tuple[float, float, float, float] = (10, 20, 30, 60),
    **more: Any,
) -> Document:
    """Return a detection; a value of None leaves its key out."""
    detection = {
        "bbox": list(box),
        "score": 0.5,
        "class_id": 0,
        "class_name": "person",
        "track_id": track,
        "gallery_id": name,
        "gallery_distance": distance,
        **more,
    }
    return {key: value for key, value in detection.items() if value is not None}


def make_document(
    frames: Mapping[int, Iterable[Document]] | list[Any],
    *,
    tracker: str = "gallery_hybrid",
    threshold: float | None = 0.25,
    fps: float | None = 10.0,
    **changes: Any,
) -> Document:
    """Return a track-v1 document of frames by number; a change to ``...`` leaves the key out."""
    entries = frames
    if not isinstance(frames, list):
        entries = [
            {
                "frame": number,
                "file": f"{number:06d}.jpg",
                "detections": [{"det_ind": i, **d} for i, d in enumerate(detections)],
            }
            for number, detections in frames.items()
        ]
    config = {"track_thresh": 0.45} if threshold is None else {"gallery_match_threshold": threshold}
    video = {"path": "films/clip.mp4", "frame_count": 100, "width": 200, "height": 100}
    whole = {
        "schema_version": "track-v1",
        "parent_schema_version": "det-v1",
        "video": video if fps is None else {**video, "fps": fps},
        "detector": {"name": "made here"},
        "created_at_utc": "2026-01-02T03:04:05+00:00",
        "tracker": {"name": tracker, "class_filter": _FILTER, "config": config},
        **changes,
        "frames": entries,
    }
    return {key: value for key, value in whole.items() if value is not ...}


def write_json(path: Path, content: Any) -> Path:
    """Write a JSON file, and return its path."""
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
