"""The two trackers: `gallery_hybrid` (temporal association plus identities) and `gallery_only`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.model import Embedder
from tracking.detections.reader import FrameDetections
from tracking.enrolment.camera_tracks import BestCrop, CameraTracks, FrameIdentities, Observation, TracksInFrame
from tracking.enrolment.enroller import Enroller
from tracking.identification.assignment import name_detections
from tracking.identification.gallery_comparison import IdentitySource
from tracking.identification.identifier import TrackIdentifier
from tracking.identification.named_tracklets import Named, NamedTracklet
from tracking.identification.quality import crowding
from tracking.identification.track_evidence import Status
from tracking.trackers.temporal import TemporalTracker
from tracking.video.crops import crop

__all__ = ["BestCrop", "FrameTracks", "GalleryOnly", "Hybrid", "Pixels", "Tracker", "available_trackers"]


def available_trackers() -> list[str]:
    """The names that `track_video(tracker=...)` takes."""
    return ["gallery_hybrid", "gallery_only"]


class Pixels(Protocol):
    """Where a tracker gets the current frame from, if it looks at all.

    Attributes:
        width, height: Pixels of a frame.
    """

    width: int
    height: int

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
        statuses: What can be said of each of the M; None where nobody was asked.
        reserved: For those who are nobody of the gallery, the name that they will be enrolled under, else None; None
            where nobody is enrolled.
    """

    indices: NDArray[np.int64]
    track_ids: list[str]
    boxes: NDArray[np.float64] | None
    named: list[Named | None]
    crops: int = 0
    statuses: list[Status] | None = None
    reserved: list[str | None] | None = None


class Tracker(Protocol):
    """Turns detections into tracks, frame by frame."""

    def update(
        self, frame: int, detections: FrameDetections, class_names: Sequence[str | None], pixels: Pixels
    ) -> FrameTracks:
        """Advance by one frame; called for every frame in order, also for one without detections."""
        ...

    def gallery_changed(self, before: Sequence[str], renamed: Mapping[str, str]) -> None:
        """Go on after the identities of the gallery have changed.

        Args:
            before: What they were.
            renamed: Those that are called otherwise now, the old name to the new one.
        """
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
        return FrameTracks(
            np.arange(count),
            [str(int(i)) for i in detections.det_inds],
            None,
            named,
            crops=len(kept),
            statuses=["unknown" if name is None else "known" for name in named],
        )

    def gallery_changed(self, before: Sequence[str], renamed: Mapping[str, str]) -> None:
        """See `Tracker`; every frame is named anew here."""


class Hybrid:
    """Temporal association by a BoxMOT tracker, and identities from looks spread over each track's life.

    Args:
        temporal: The temporal tracker.
        embedder: Needed where the temporal tracker uses embeddings, or with `identities`.
        identities: Who the tracks are, or None to track without a gallery.
        enroller: Gets every look that the identities get; None to enrol nobody.
        explain: Remember where the tracks were seen best.
    """

    def __init__(
        self,
        temporal: TemporalTracker,
        embedder: Embedder | None = None,
        identities: TrackIdentifier | None = None,
        enroller: Enroller | None = None,
        *,
        explain: bool = False,
    ) -> None:
        self._temporal = temporal
        self._embedder = embedder
        self._recognition = None if identities is None else CameraTracks(identities, enroller, explain=explain)

    @property
    def best_crops(self) -> dict[tuple[int, int], list[BestCrop]] | None:
        """See `CameraTracks`."""
        return None if self._recognition is None else self._recognition.best_crops

    def update(
        self, frame: int, detections: FrameDetections, class_names: Sequence[str | None], pixels: Pixels
    ) -> FrameTracks:
        """See `Tracker`."""
        temporal = self._temporal
        image = pixels.image() if temporal.uses_frame else None
        parts: list[NDArray[np.uint8]] = []
        embeddings: NDArray[np.float32] | None = None
        rows = np.arange(len(detections))
        embedded = 0
        if temporal.uses_embeddings and self._embedder is not None:
            # Embedded once, for the association and for the gallery. A box that shows nothing has
            # no embedding, and a tracker that lives on embeddings cannot take it.
            parts, rows = crop(pixels.image(), detections.boxes)
            embeddings = self._embedder.embed(parts)
            embedded = len(parts)
        ids, taken, boxes = temporal.update(
            detections.boxes[rows], detections.scores[rows], detections.class_ids[rows], image, embeddings
        )
        indices = rows[taken]
        track_ids = [int(t) for t in ids]
        answers: FrameIdentities | None = None
        recognition = self._recognition
        if recognition is not None and self._embedder is not None:
            present = TracksInFrame(
                frame,
                track_ids,
                np.asarray(detections.boxes[indices], np.float64),
                detections.scores[indices].tolist(),
                [class_names[i] for i in indices],
                crowding(detections.boxes)[indices].tolist(),
                (pixels.width, pixels.height),
            )
            due = recognition.due(present)
            looked: list[int] = []
            looks = np.empty((0, 0), np.float32)
            crops: list[NDArray[np.uint8]] = []
            if due and embeddings is not None:
                looked, looks, crops = due, embeddings[taken[due]], [parts[int(i)] for i in taken[due]]
            elif due:
                crops, kept = crop(pixels.image(), detections.boxes[indices[due]])
                looked = [due[k] for k in kept]
                looks = self._embedder.embed(crops)
                embedded = len(crops)
            answers = recognition.observe(
                present,
                [
                    Observation(position, embedding, present.quality(position, part), part)
                    for position, embedding, part in zip(looked, looks, crops, strict=True)
                ],
            )
        return FrameTracks(
            indices,
            [str(t) for t in track_ids],
            boxes,
            [None] * len(track_ids) if answers is None else answers.named,
            crops=embedded,
            statuses=None if answers is None else answers.statuses,
            reserved=None if answers is None else answers.reserved,
        )

    def gallery_changed(self, before: Sequence[str], renamed: Mapping[str, str]) -> None:
        """See `Tracker`."""
        if self._recognition is not None:
            self._recognition.gallery_changed(before, renamed)

    def tracklets(self) -> list[NamedTracklet]:
        """See `TrackIdentifier.tracklets`."""
        return [] if self._recognition is None else self._recognition.tracklets()
