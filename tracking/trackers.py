"""The two trackers: `gallery_hybrid` (temporal association plus identities) and `gallery_only`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.model import Embedder
from tracking.detections import FrameDetections
from tracking.enrolment import Enroller, look_quality, max_overlap, sharpness
from tracking.identity import IdentitySource, Named, TrackIdentities, name_detections
from tracking.reid.crops import crop
from tracking.temporal import TemporalTracker

__all__ = ["FrameTracks", "GalleryOnly", "Hybrid", "Pixels", "Tracker", "available_trackers"]


def available_trackers() -> list[str]:
    """The names that `track_video(tracker=...)` takes."""
    return ["gallery_hybrid", "gallery_only"]


class Pixels(Protocol):
    """Where a tracker gets the current frame from, if it looks at all."""

    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR."""
        ...


@dataclass(frozen=True, slots=True)
class FrameTracks:
    """What a tracker made of one frame's detections.

    Attributes:
        indices: (M,) rows of the detections that got a track.
        track_ids: Their M track ids.
        boxes: (M, 4) smoothed boxes, or None where the detection's own box stands.
        named: Their M identities, None where unknown.
        crops: Number of crops embedded in this frame.
    """

    indices: NDArray[np.int64]
    track_ids: list[str]
    boxes: NDArray[np.float64] | None
    named: list[Named | None]
    crops: int = 0


class Tracker(Protocol):
    """Turns detections into tracks, frame by frame."""

    def update(
        self, frame: int, detections: FrameDetections, class_names: Sequence[str | None], pixels: Pixels
    ) -> FrameTracks:
        """Advance by one frame; called for every frame in order, also for one without detections."""
        ...

    def gallery_changed(self, before: Sequence[str]) -> None:
        """Go on after the identities of the gallery have changed; `before` is what they were."""
        ...


class GalleryOnly:
    """Names every detection of every frame by itself; no association over time.

    The track id is the detection's index in its frame.
    """

    def __init__(self, embedder: Embedder, source: IdentitySource, *, threshold: float) -> None:
        self._embedder = embedder
        self._source = source
        self._threshold = threshold

    def update(
        self, frame: int, detections: FrameDetections, class_names: Sequence[str | None], pixels: Pixels
    ) -> FrameTracks:
        """See `Tracker`."""
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
        return FrameTracks(np.arange(count), [str(int(i)) for i in detections.det_inds], None, named, crops=len(kept))

    def gallery_changed(self, before: Sequence[str]) -> None:
        """See `Tracker`; every frame is named anew here."""


class Hybrid:
    """Temporal association by a BoxMOT tracker, and identities from looks spread over each track's life.

    Args:
        temporal: The temporal tracker.
        embedder: Needed where the temporal tracker uses embeddings, or with `identities`.
        identities: Who the tracks are, or None to track without a gallery.
        enroller: Gets every look that the identities get; None to enrol nobody.
    """

    def __init__(
        self,
        temporal: TemporalTracker,
        embedder: Embedder | None = None,
        identities: TrackIdentities | None = None,
        enroller: Enroller | None = None,
    ) -> None:
        self._temporal = temporal
        self._embedder = embedder
        self._identities = identities
        self._enroller = enroller

    def update(
        self, frame: int, detections: FrameDetections, class_names: Sequence[str | None], pixels: Pixels
    ) -> FrameTracks:
        """See `Tracker`."""
        temporal = self._temporal
        image = pixels.image() if temporal.uses_frame else None
        embeddings: NDArray[np.float32] | None = None
        rows = np.arange(len(detections))
        embedded = 0
        if temporal.uses_embeddings and self._embedder is not None:
            # Embedded once, for the association and for the gallery. A box that shows nothing has
            # no embedding, and a tracker that lives on embeddings cannot take it.
            crops, rows = crop(pixels.image(), detections.boxes)
            embeddings = self._embedder.embed(crops)
            embedded = len(crops)
        ids, taken, boxes = temporal.update(
            detections.boxes[rows], detections.scores[rows], detections.class_ids[rows], image, embeddings
        )
        indices = rows[taken]
        track_ids = [int(t) for t in ids]
        named: list[Named | None] = [None] * len(track_ids)
        identities = self._identities
        if identities is not None and self._embedder is not None:
            due = identities.due(frame, track_ids)
            looked: list[int] = []
            looks: NDArray[np.float32] | None = None
            if due:
                looked = due
                if embeddings is not None:
                    looks = embeddings[taken[due]]
                else:
                    crops, kept = crop(pixels.image(), detections.boxes[indices[due]])
                    looked = [due[k] for k in kept]
                    looks = self._embedder.embed(crops)
                    embedded = len(crops)
                identities.observe(
                    frame,
                    [track_ids[i] for i in looked],
                    looks,
                    [float(detections.scores[indices[i]]) for i in looked],
                    [class_names[indices[i]] for i in looked],
                )
            named = identities.names(frame, track_ids)
            if self._enroller is not None:
                if looked and looks is not None:
                    self._enrol(frame, detections, class_names, pixels, indices, track_ids, named, looked, looks)
                self._enroller.seen(frame, track_ids)
        return FrameTracks(indices, [str(t) for t in track_ids], boxes, named, crops=embedded)

    def gallery_changed(self, before: Sequence[str]) -> None:
        """See `Tracker`."""
        if self._identities is not None:
            self._identities.gallery_changed(before)

    def _enrol(
        self,
        frame: int,
        detections: FrameDetections,
        class_names: Sequence[str | None],
        pixels: Pixels,
        indices: NDArray[np.int64],
        track_ids: Sequence[int],
        named: Sequence[Named | None],
        looked: Sequence[int],
        looks: NDArray[np.float32],
    ) -> None:
        """Tell the enroller of looks; `looked` are positions in `track_ids`, `looks` their embeddings."""
        assert self._enroller is not None
        image = pixels.image()
        size = (image.shape[1], image.shape[0])
        for position, embedding in zip(looked, looks, strict=True):
            row = int(indices[position])
            box, score, name = detections.boxes[row], float(detections.scores[row]), named[position]
            crops, _ = crop(image, box[None])
            part = crops[0] if crops else None
            overlap = max_overlap(box, np.delete(detections.boxes, row, axis=0))
            sharp = 0.0 if part is None else sharpness(part)
            self._enroller.observe(
                frame,
                track_ids[position],
                embedding,
                look_quality(score, box, size, overlap=overlap, sharp=sharp),
                score,
                box,
                class_names[row],
                None if name is None else name.identity,
                None if name is None else name.distance,
                part,
            )
