"""The camera that an entry was seen by."""

from __future__ import annotations

from gallery_db.entry import Entry
from gallery_db.media.market_names import parse_market_name

__all__ = ["camera_of"]


def camera_of(entry: Entry) -> str | None:
    """Return the camera of an entry: that of its enrolment, or that in a file name of the Market-1501 style."""
    camera = entry.extra.get("source_id")
    if isinstance(camera, str) and camera:
        return camera
    named = parse_market_name(entry.source) if entry.origin == "image" else None
    return f"c{named.camera}" if named else None
