"""Who the tracks of one camera are, frame by frame: from boxes and embeddings to names and to enrolment.

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
"""Best crops that are kept of a tracklet."""


class BestCrop(NamedTuple):
    """Where a tracklet was seen well.

    Attributes:
        quality: Of the observation, in [0, 1].
        frame: Number of the frame.
        box: xyxy in pixels.
    """

    quality: float
    frame: int
    box: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TracksInFrame:
    """The tracks that are in a frame.

    Attributes:
        frame: Its number.
        track_ids: The N tracks.
        boxes: (N, 4) xyxy in pixels; a row of NaN where nobody knows the box.
        scores: N scores of the detections, in [0, 1].
        class_names: N classes, None where unknown.
        overlaps: N, the largest overlap of each with another box of the frame; see `crowding`.
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
        """What is known of looks at the tracks before anybody looks; see `box_quality`."""
        return [self._quality(position, None) for position in range(len(self.track_ids))]

    def quality(self, position: int, crop: NDArray[np.uint8] | None) -> float:
        """Return the quality of an observation of one track; see `observation_quality`. Without a crop, it is sharp."""
        return self._quality(position, None if crop is None else sharpness(crop))

    def _quality(self, position: int, sharp: float | None) -> float:
        box, score, overlap = self.boxes[position].tolist(), self.scores[position], self.overlaps[position]
        size = self.size
        if size is None or box[0] != box[0]:
            # Neither the size nor the edges can be judged: a box far from the edge that is high enough.
            size, box = (100, 100), [25.0, 25.0, 75.0, 75.0]
        if sharp is None:
            return box_quality(score, box, size, overlap=overlap)
        return observation_quality(score, box, size, overlap=overlap, sharp=sharp)


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """A look at one of the tracks of a frame.

    Attributes:
        position: Of the track in the frame's `TracksInFrame`.
        embedding: (D,) float32 of unit length.
        quality: What it is worth, in [0, 1].
        crop: (H, W, 3) uint8 BGR, what was looked at; None where there is no picture.
    """

    position: int
    embedding: NDArray[np.float32]
    quality: float
    crop: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class FrameIdentities:
    """Who the N tracks of a frame are.

    Attributes:
        named: Their identities, None where unknown.
        statuses: What can be said of each.
        reserved: For those who are nobody of the gallery, the name that they will be enrolled under, else None; None
            where nobody is enrolled.
    """

    named: list[Named | None]
    statuses: list[Status]
    reserved: list[str | None] | None


class CameraTracks:
    """Names the tracks of one camera and enrols them.

    For each frame, in order: `due`, then `observe`.

    Args:
        identities: Who the tracks are.
        enroller: Gets every look that the identities get; None to enrol nobody.
        explain: Remember where the tracks were seen best.

    Attributes:
        best_crops: Of each tracklet, by track and first frame: its best looks, the best first; None if not asked for.
    """

    def __init__(self, identities: TrackIdentifier, enroller: Enroller | None = None, *, explain: bool = False) -> None:
        self.best_crops: dict[tuple[int, int], list[BestCrop]] | None = {} if explain else None
        self._identities = identities
        self._enroller = enroller

    def due(self, present: TracksInFrame) -> list[int]:
        """Which tracks should be looked at in this frame, as positions; see `TrackIdentifier.due`."""
        return self._identities.due(
            present.frame, present.track_ids, present.box_qualities(), present.overlaps, present.class_names
        )

    def observe(self, present: TracksInFrame, looks: Sequence[Observation]) -> FrameIdentities:
        """Take the looks of a frame, and say who its tracks are.

        Args:
            present: The frame, as `due` was asked of it.
            looks: At most one at each track.
        """
        identities, frame, track_ids = self._identities, present.frame, present.track_ids
        if looks:
            identities.observe(
                frame,
                [track_ids[look.position] for look in looks],
                np.stack([look.embedding for look in looks]),
                [look.quality for look in looks],
                [present.class_names[look.position] for look in looks],
            )
        named = identities.names(frame, track_ids, present.class_names)
        statuses = [
            identities.status(track_id, kind) for track_id, kind in zip(track_ids, present.class_names, strict=True)
        ]
        if self.best_crops is not None:
            for look in looks:
                self._keep_best_crop(self.best_crops, present, look)
        if self._enroller is None:
            return FrameIdentities(named, statuses, None)
        for look in looks:
            self._enrol(self._enroller, present, look, named[look.position])
        self._enroller.note_seen(frame, track_ids)
        reserved = [
            self._enroller.reserve(track_id) if name is None and status == "unknown" else None
            for track_id, name, status in zip(track_ids, named, statuses, strict=True)
        ]
        return FrameIdentities(named, statuses, reserved)

    def _keep_best_crop(
        self, best_crops: dict[tuple[int, int], list[BestCrop]], present: TracksInFrame, look: Observation
    ) -> None:
        track_id = present.track_ids[look.position]
        evidence = self._identities.evidence(track_id)
        if evidence is None or evidence.held:
            return
        best = best_crops.setdefault((track_id, evidence.tracklet.first), [])
        best.append(BestCrop(look.quality, present.frame, tuple(present.boxes[look.position].tolist())))
        best.sort(key=lambda kept: (-kept.quality, kept.frame))
        del best[MAX_BEST_CROPS:]

    def _enrol(self, enroller: Enroller, present: TracksInFrame, look: Observation, named: Named | None) -> None:
        track_id = present.track_ids[look.position]
        evidence = self._identities.evidence(track_id)
        if evidence is None or (evidence.records and evidence.records[-1].agreement == "poor"):
            return
        enroller.observe(
            EnrolmentObservation(
                present.frame,
                track_id,
                look.embedding,
                look.quality,
                present.scores[look.position],
                present.boxes[look.position],
                present.class_names[look.position],
                None if named is None else named.identity,
                None if named is None else named.distance,
                look.crop,
                tracklet=evidence.tracklet.first,
                is_held=bool(evidence.held),
            )
        )

    def gallery_changed(self, before: Sequence[str], renamed: Mapping[str, str]) -> None:
        """See `TrackIdentifier.gallery_changed`."""
        self._identities.gallery_changed(before, renamed)

    def tracklets(self) -> list[NamedTracklet]:
        """See `TrackIdentifier.tracklets`."""
        return self._identities.tracklets()
