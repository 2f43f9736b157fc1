"""Detections that lie beside their video."""

from __future__ import annotations

from pathlib import Path

__all__ = ["detections_beside"]


def detections_beside(video: str) -> Path | None:
    """Return ``CLIP.json``, else ``CLIP.detections.json``, beside the video ``CLIP.mp4``; None if there is neither."""
    path = Path(video).expanduser()
    if not path.is_file():  # a camera, a stream, or a video that is not there
        return None
    return next(
        (found for suffix in (".json", ".detections.json") if (found := path.with_suffix(suffix)).is_file()), None
    )
