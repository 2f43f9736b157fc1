"""The trackers by name, and how each is built from the parts of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracking.identification.identifier import TrackIdentifier
from tracking.trackers.base import Tracker
from tracking.trackers.gallery_only import GalleryOnly
from tracking.trackers.hybrid import Hybrid
from tracking.trackers.temporal import TemporalOptions, TemporalTracker

if TYPE_CHECKING:
    from gallery_db import GalleryView
    from gallery_db.model import Embedder
    from tracking.enrolment.enroller import Enroller

__all__ = ["TrackerParts", "available_trackers", "build_tracker"]


@dataclass(frozen=True, slots=True)
class TrackerParts:
    """The parts of a run that a tracker may be built from.

    Attributes:
        temporal: Options of temporal association.
        embedder: The ReID model; None where the run needs none.
        view: The gallery's view; None without a gallery.
        threshold: Largest cosine distance at which a name is given, in [0, 2].
        reid_frequency: Frames between two observations of a track, on average.
        keep_tracklets: Keep what `Hybrid.tracklets` needs after the last frame.
        explain: Also keep what the explanations need.
        enroller: Receives the observations of the tracks; None to enrol no track.
        camera: The camera's name; None where unknown.
        level: The level of the detections' scores, see `TemporalOptions.thresholds`.
    """

    temporal: TemporalOptions
    embedder: Embedder | None
    view: GalleryView | None
    threshold: float
    reid_frequency: int
    keep_tracklets: bool = False
    explain: bool = False
    enroller: Enroller | None = None
    camera: str | None = None
    level: float | None = None


def _build_hybrid(parts: TrackerParts) -> Hybrid:
    temporal = TemporalTracker(parts.temporal, have_embeddings=parts.embedder is not None, level=parts.level)
    identities = None
    if parts.view is not None:
        identities = TrackIdentifier(
            parts.view,
            threshold=parts.threshold,
            every=parts.reid_frequency,
            keep_tracklets=parts.keep_tracklets,
            explain=parts.explain,
            camera=parts.camera,
        )
    return Hybrid(temporal, parts.embedder, identities, parts.enroller, explain=parts.explain)


def _build_gallery_only(parts: TrackerParts) -> GalleryOnly:
    assert parts.embedder is not None  # RunOptions.validate: this tracker needs a gallery
    assert parts.view is not None
    return GalleryOnly(parts.embedder, parts.view, threshold=parts.threshold, camera=parts.camera)


_BUILDERS: dict[str, Callable[[TrackerParts], Tracker]] = {
    "gallery_hybrid": _build_hybrid,
    "gallery_only": _build_gallery_only,
}


def available_trackers() -> list[str]:
    """Return the names that `track_video(tracker=...)` takes, the default first."""
    return list(_BUILDERS)


def build_tracker(name: str, parts: TrackerParts) -> Tracker:
    """Build a tracker.

    Args:
        name: One of `available_trackers`.
        parts: The parts of the run.

    Raises:
        OptionError: See `TemporalOptions.constructor_arguments`.
        TrackerError: The temporal tracker needs embeddings and there is no ReID model.
    """
    return _BUILDERS[name](parts)
