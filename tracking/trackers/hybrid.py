"""The tracker `gallery_hybrid`: temporal association, and identities from observations spread over each track."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gallery_db.model import Embedder
from tracking.detections.base import FrameDetections
from tracking.enrolment.camera_tracks import BestCrop, CameraTracks, Observation, TracksInFrame
from tracking.enrolment.enroller import Enroller
from tracking.identification.identifier import TrackIdentifier
from tracking.identification.named_tracklets import NamedTracklet
from tracking.identification.quality import crowding
from tracking.trackers.base import FrameTracks, Pixels
from tracking.trackers.temporal import TemporalTracker
from tracking.video.crops import crop

__all__ = ["Hybrid"]


class Hybrid:
    """Temporal association, and identities from observations spread over each track's life.

    Args:
        temporal: The temporal tracker.
        embedder: The ReID model; needed where the temporal tracker uses embeddings, or with `identities`.
        identities: Decides the identities of the tracks; None to track without a gallery.
        enroller: Receives every observation that `identities` receives; None to enrol no track.
        explain: Keep the best observations of each track for the explanations.
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
        self._camera = None if identities is None else CameraTracks(identities, enroller, explain=explain)

    @property
    def best_crops(self) -> dict[tuple[int, int], list[BestCrop]] | None:
        """See `CameraTracks`."""
        return None if self._camera is None else self._camera.best_crops

    def update(
        self, frame: int, detections: FrameDetections, class_names: Sequence[str | None], pixels: Pixels
    ) -> FrameTracks:
        """See `Tracker.update`."""
        temporal = self._temporal
        image = pixels.image() if temporal.uses_frame else None
        rows, crops, embeddings = self._embed_for_association(detections, pixels)
        ids, taken, boxes = temporal.update(
            detections.boxes[rows], detections.scores[rows], detections.class_ids[rows], image, embeddings
        )
        indices = rows[taken]
        track_ids = [int(t) for t in ids]
        names = [str(t) for t in track_ids]
        if self._camera is None or self._embedder is None:
            return FrameTracks(indices, names, boxes, [None] * len(names), crops=len(crops))
        present = TracksInFrame(
            frame,
            track_ids,
            np.asarray(detections.boxes[indices], np.float64),
            detections.scores[indices].tolist(),
            [class_names[i] for i in indices],
            crowding(detections.boxes)[indices].tolist(),
            (pixels.width, pixels.height),
        )
        due = self._camera.due(present)
        if embeddings is not None:
            embedded = len(crops)
            observed = due
            due_crops, due_embeddings = [crops[int(i)] for i in taken[due]], embeddings[taken[due]]
        else:
            observed, due_crops, due_embeddings = self._embed_due(due, detections, indices, pixels)
            embedded = len(due_crops)
        answers = self._camera.observe(
            present,
            [
                Observation(position, embedding, present.quality(position, part), part)
                for position, embedding, part in zip(observed, due_embeddings, due_crops, strict=True)
            ],
        )
        return FrameTracks(
            indices,
            names,
            boxes,
            answers.named,
            crops=embedded,
            statuses=answers.statuses,
            reserved=answers.reserved,
        )

    def _embed_for_association(
        self, detections: FrameDetections, pixels: Pixels
    ) -> tuple[NDArray[np.int64], list[NDArray[np.uint8]], NDArray[np.float32] | None]:
        """Embed all detections where the temporal tracker uses embeddings; they then serve the gallery as well.

        Returns:
            The rows of the detections to track, their crops, and their embeddings. Where embeddings are used, a box
            without a visible part has none, and is left out: such a tracker cannot take it. Otherwise all rows, no
            crops, and None.
        """
        if not self._temporal.uses_embeddings or self._embedder is None:
            return np.arange(len(detections)), [], None
        crops, rows = crop(pixels.image(), detections.boxes)
        return rows, crops, self._embedder.embed(crops)

    def _embed_due(
        self, due: Sequence[int], detections: FrameDetections, indices: NDArray[np.int64], pixels: Pixels
    ) -> tuple[list[int], list[NDArray[np.uint8]], NDArray[np.float32]]:
        """Embed the tracks that are due; returns the positions of those with a visible part, crops and embeddings."""
        if not due or self._embedder is None:
            return [], [], np.empty((0, 0), np.float32)
        crops, kept = crop(pixels.image(), detections.boxes[indices[due]])
        return [due[k] for k in kept], crops, self._embedder.embed(crops)

    def gallery_changed(self, before: Sequence[str], renamed: Mapping[str, str]) -> None:
        """See `Tracker.gallery_changed`."""
        if self._camera is not None:
            self._camera.gallery_changed(before, renamed)

    def tracklets(self) -> list[NamedTracklet]:
        """See `TrackIdentifier.tracklets`."""
        return [] if self._camera is None else self._camera.tracklets()
