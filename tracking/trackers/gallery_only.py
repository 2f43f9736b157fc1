"""The tracker `gallery_only`: each detection is compared with the gallery by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gallery_db.model import Embedder
from tracking.detections.base import FrameDetections
from tracking.identification.assignment import name_detections
from tracking.identification.gallery_comparison import IdentitySource
from tracking.identification.named_tracklets import Named
from tracking.trackers.base import FrameTracks, Pixels
from tracking.video.crops import crop

__all__ = ["GalleryOnly"]


class GalleryOnly:
    """Names every detection of every frame by itself, without association over time.

    The track id is the detection's index in its frame.

    Args:
        embedder: The ReID model of the gallery.
        source: The gallery's view.
        threshold: Largest cosine distance at which a name is given, in [0, 2].
    """

    def __init__(self, embedder: Embedder, source: IdentitySource, *, threshold: float) -> None:
        self._embedder = embedder
        self._source = source
        self._threshold = threshold

    def update(
        self, frame: int, detections: FrameDetections, class_names: Sequence[str | None], pixels: Pixels
    ) -> FrameTracks:
        """See `Tracker.update`."""
        count = len(detections)
        named: list[Named | None] = [None] * count
        kept: NDArray[np.int64] = np.empty(0, np.int64)
        if count:
            crops, kept = crop(pixels.image(), detections.boxes)
            found = name_detections(
                self._source, self._embedder.embed(crops), [class_names[i] for i in kept], self._threshold
            )
            for row, name in zip(kept, found, strict=True):
                named[row] = name
        return FrameTracks(
            np.arange(count),
            [str(int(i)) for i in detections.det_inds],
            None,
            named,
            crops=len(kept),
            statuses=["unknown" if name is None else "known" for name in named],
        )

    def gallery_changed(self, before: Sequence[str], renamed: Mapping[str, str]) -> None:
        """Do nothing: this tracker keeps no decision from one frame to the next."""
