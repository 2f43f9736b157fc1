"""The entries of a gallery, and the matches that a search returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gallery_db.times import utc_now

__all__ = ["Box", "Entry", "Match"]

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels of the source image or frame."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The description of one embedding. The vector itself is a row of an (N, D) array beside it.

    Attributes:
        id: Unique in its collection, and reproducible: the same content gets the same id again.
        identity: The person or thing that it shows.
        class_name: The detector's class, such as ``"person"``; detections of one class never match identities of
            another.
        origin: ``"image"`` for an image file, ``"track"`` for a track of a video.
        source: Path of the image file or of the video.
        content_hash: SHA-256 of the image file's bytes; None for a track.
        frame: 0-based frame number in the source video; None for an image.
        box: Its box in the source, in pixels; None for the whole image.
        created_at: ISO 8601 UTC.
        extra: Further values of JSON types, such as ``track_id`` or ``num_frames``.
    """

    id: str
    identity: str
    class_name: str = "person"
    origin: str = "image"
    source: str = ""
    content_hash: str | None = None
    frame: int | None = None
    box: Box | None = None
    created_at: str = field(default_factory=utc_now)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Match:
    """An entry found for a probe.

    Attributes:
        entry: The entry.
        distance: Cosine distance to the probe, ``1 - cosine similarity``, in [0, 2].
    """

    entry: Entry
    distance: float

    @property
    def similarity(self) -> float:
        """Cosine similarity, ``1 - distance``, in [-1, 1]."""
        return 1.0 - self.distance
