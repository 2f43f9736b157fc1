"""Tracks of one camera, frame by frame: boxes and embeddings in, names and enrolment out.

The one place where identification and enrolment meet. `tracking.trackers` feeds it from a video,
`tracking.enrolment.track_enroller` from a pipeline with its own tracker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracking.enrolment.base import EnrolmentObservation
from tracking.enrolment.enroller import Enroller
from tracking.identification.identifier import TrackIdentifier
from tracking.identification.named_tracklets import Named, NamedTracklet
from tracking.identification.quality import box_quality, observation_quality, sharpness
from tracking.identification.track_evidence import Status

__all__ = ["MAX_BEST_CROPS", "BestCrop", "CameraTracks", "FrameIdentities", "Observation", "TracksInFrame"]

MAX_BEST_CROPS = 3
"""Best crops kept of a tracklet."""


class BestCrop(NamedTuple):
    """Where a tracklet was seen well.

    Attributes:
        quality: Quality of the observation, in [0, 1].
        frame: Number of the frame.
        box: xyxy in pixels.
    """

    quality: float
    frame: int
    box: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TracksInFrame:
    """The tracks in a frame, with their boxes.

    Attributes:
        frame: Number of the frame.
        track_ids: The N tracks.
        boxes: (N, 4) xyxy in pixels; a row of NaN where the box is unknown.
        scores: N scores of the detections, in [0, 1].
        class_names: N classes, None where unknown.
        overlaps: N, the largest overlap of each box with another box of the frame; see `crowding`.
        size: Width and height of the frame in pixels; None where unknown.
    """

    frame: int
    track_ids: list[int]
    boxes: NDArray[np.float64]
    scores: list[float]
    class_names: list[str | None]
    overlaps: list[float]
    size: tuple[int, int] | None

    def box_qualities(self) -> list[float]:
        """Return the qualities of the N boxes, known before anything is embedded; see `box_quality`."""
        return [self._quality(position, None) for position in range(len(self.track_ids))]

    def quality(self, position: int, crop: NDArray[np.uint8] | None) -> float:
        """Return the quality of an observation of one track; see `observation_quality`. Without a crop, it is sharp."""
        return self._quality(position, None if crop is None else sharpness(crop))

    def _quality(self, position: int, sharp: float | None) -> float:
        box, score, overlap = self.boxes[position].tolist(), self.scores[position], self.overlaps[position]
        size = self.size
        if size is None or box[0] != box[0]:
            # Neither size nor edges can be judged: take a box far from the edges that is high enough.
            size, box = (100, 100), [25.0, 25.0, 75.0, 75.0]
        if sharp is None:
            return box_quality(score, box, size, overlap=overlap)
        return observation_quality(score, box, size, overlap=overlap, sharp=sharp)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One crop of a track, embedded, with its quality.

    Attributes:
        position: Position of the track in `TracksInFrame`.
        embedding: (D,) float32 of unit length.
        quality: In [0, 1].
        crop: (H, W, 3) uint8 BGR; None where there is no picture.
    """

    position: int
    embedding: NDArray[np.float32]
    quality: float
    crop: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class FrameIdentities:
    """The identities of the N tracks of a frame.

    Attributes:
        named: Their names, None where they have none.
        statuses: Whether each is known, unknown or undecided.
        reserved: For each unknown track the name that it will be enrolled under, else None; None as a whole where
            nothing is enrolled.
    """

    named: list[Named | None]
    statuses: list[Status]
    reserved: list[str | None] | None


class CameraTracks:
    """Names the tracks of one camera and enrols them.

    For each frame, in order: `due`, then `observe`.

    Args:
        identifier: Decides the identities of the tracks.
        enroller: Receives every observation that the identifier receives; None to enrol nothing.
        explain: Keep the best crops of each tracklet.

    Attributes:
        best_crops: The best crops of each tracklet, by track and first frame, the best first; None without `explain`.
    """

    def __init__(self, identifier: TrackIdentifier, enroller: Enroller | None = None, *, explain: bool = False) -> None:
        self.best_crops: dict[tuple[int, int], list[BestCrop]] | None = {} if explain else None
        self._identifier = identifier
        self._enroller = enroller

    def due(self, present: TracksInFrame) -> list[int]:
        """Return the positions of the tracks that should be observed in this frame; see `TrackIdentifier.due`."""
        return self._identifier.due(
            present.frame, present.track_ids, present.box_qualities(), present.overlaps, present.class_names
        )

    def observe(self, present: TracksInFrame, observations: Sequence[Observation]) -> FrameIdentities:
        """Add the observations of a frame, and return the identities of its tracks.

        Args:
            present: The frame, as given to `due`.
            observations: At most one of each track.
        """
        identifier, frame, track_ids = self._identifier, present.frame, present.track_ids
        if observations:
            identifier.observe(
                frame,
                [track_ids[observation.position] for observation in observations],
                np.stack([observation.embedding for observation in observations]),
                [observation.quality for observation in observations],
                [present.class_names[observation.position] for observation in observations],
            )
        named = identifier.names(frame, track_ids, present.class_names)
        statuses = [
            identifier.status(track_id, class_name)
            for track_id, class_name in zip(track_ids, present.class_names, strict=True)
        ]
        if self.best_crops is not None:
            for observation in observations:
                self._keep_best_crop(self.best_crops, present, observation)
        if self._enroller is None:
            return FrameIdentities(named, statuses, None)
        for observation in observations:
            self._enrol(self._enroller, present, observation, named[observation.position])
        self._enroller.note_seen(frame, track_ids)
        reserved = [
            self._enroller.reserve(track_id) if name is None and status == "unknown" else None
            for track_id, name, status in zip(track_ids, named, statuses, strict=True)
        ]
        return FrameIdentities(named, statuses, reserved)

    def _keep_best_crop(
        self, best_crops: dict[tuple[int, int], list[BestCrop]], present: TracksInFrame, observation: Observation
    ) -> None:
        position = observation.position
        track_id = present.track_ids[position]
        evidence = self._identifier.evidence(track_id)
        if evidence is None or evidence.held:
            return
        best = best_crops.setdefault((track_id, evidence.tracklet.first), [])
        best.append(BestCrop(observation.quality, present.frame, tuple(present.boxes[position].tolist())))
        best.sort(key=lambda kept: (-kept.quality, kept.frame))
        del best[MAX_BEST_CROPS:]

    def _enrol(self, enroller: Enroller, present: TracksInFrame, observation: Observation, named: Named | None) -> None:
        position = observation.position
        track_id = present.track_ids[position]
        evidence = self._identifier.evidence(track_id)
        if evidence is None or (evidence.records and evidence.records[-1].agreement == "poor"):
            return
        enroller.observe(
            EnrolmentObservation(
                present.frame,
                track_id,
                observation.embedding,
                observation.quality,
                present.scores[position],
                present.boxes[position],
                present.class_names[position],
                None if named is None else named.identity,
                None if named is None else named.distance,
                observation.crop,
                tracklet=evidence.tracklet.first,
                is_held=bool(evidence.held),
            )
        )

    def gallery_changed(self, before: Sequence[str], renamed: Mapping[str, str]) -> None:
        """See `TrackIdentifier.gallery_changed`."""
        self._identifier.gallery_changed(before, renamed)

    def tracklets(self) -> list[NamedTracklet]:
        """See `TrackIdentifier.tracklets`."""
        return self._identifier.tracklets()
