"""The parts of a timeline: sightings, and the row in which those of one identity stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tracking.frame_times import FrameTimes
from tracking.results.formatting import round_or_none, without_none

__all__ = ["Box", "Kind", "Sighting", "TimelineRow"]

Box = tuple[float, float, float, float]
Kind = Literal["known", "unknown", "unnamed"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A track under one name (or without a name), from one frame to another.

    It ends where the name changes, or where the track is not detected for more frames than the timeline's `max_gap`.

    Attributes:
        track_id: The track; None where there are no tracks (`gallery_only`).
        identity: The name of the track in these frames; None for a track without one.
        first, last: Frames, 0-based, both included.
        frames: Number of frames with a detection.
        mean_distance, worst_distance: Cosine distance to the identity over these frames, mean and largest; None where
            unknown.
        worst_frame: Frame of the largest distance.
        first_box, last_box: xyxy in pixels.
    """

    track_id: str | None
    identity: str | None
    first: int
    last: int
    frames: int
    mean_distance: float | None
    worst_distance: float | None
    worst_frame: int | None
    first_box: Box
    last_box: Box

    def as_dict(self) -> dict[str, Any]:
        """Return the sighting as JSON types, without unknown values."""
        return without_none(
            track_id=self.track_id,
            first_frame=self.first,
            last_frame=self.last,
            frames=self.frames,
            mean_distance=round_or_none(self.mean_distance, 6),
            worst_distance=round_or_none(self.worst_distance, 6),
        )


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """A row of the timeline: an identity, or a track that never got a name.

    Attributes:
        kind: ``known``; ``unknown`` for an unknown identity (``unknown-0007``); ``unnamed`` for a track without a name.
        identity: The name; None for a track without one.
        track_ids: The tracks that had the name, in order of appearance; empty for `gallery_only`.
        class_name: The detector's latest class name; None where it gave none.
        first, last: Frames, 0-based, both included.
        frames: Number of frames with a detection.
        sightings: In order of their first frames.
        mean_distance, worst_distance: Cosine distance over these frames, mean and largest; None where unknown.
        mean_score: Mean score of the detections, in [0, 1]; None where unknown.
        first_box, last_box: xyxy in pixels.
        mean_position: Mean of the boxes' centres, in pixels.
        path: Positions over time as (frame, x, y), with the middle of the box's lower edge in pixels; thinned to at
            most 96.
    """

    kind: Kind
    identity: str | None
    track_ids: tuple[str, ...]
    class_name: str | None
    first: int
    last: int
    frames: int
    sightings: tuple[Sighting, ...]
    mean_distance: float | None
    worst_distance: float | None
    mean_score: float | None
    first_box: Box
    last_box: Box
    mean_position: tuple[float, float]
    path: tuple[tuple[int, float, float], ...]

    @property
    def label(self) -> str:
        """The identity, or ``track 7`` for a track without a name."""
        return self.identity if self.identity is not None else f"track {self.track_ids[0]}"

    def as_dict(self, times: FrameTimes) -> dict[str, Any]:
        """Return the row as JSON types, without unknown values.

        Args:
            times: Those of the frames; where known, they add ``first_s``, ``last_s`` (the end of the last frame) and
                ``seconds``.
        """
        return without_none(
            kind=self.kind,
            identity=self.identity,
            track_ids=list(self.track_ids),
            class_name=self.class_name,
            first_frame=self.first,
            last_frame=self.last,
            frames=self.frames,
            first_s=round_or_none(times.at(self.first), 3),
            last_s=round_or_none(times.end(self.last), 3),
            seconds=round_or_none(times.duration(self.first, self.last, self.frames), 3),
            mean_distance=round_or_none(self.mean_distance, 6),
            worst_distance=round_or_none(self.worst_distance, 6),
            mean_score=round_or_none(self.mean_score, 4),
            first_box=[round(v, 3) for v in self.first_box],
            last_box=[round(v, 3) for v in self.last_box],
            mean_position=[round(v, 1) for v in self.mean_position],
            stretches=[sighting.as_dict() for sighting in self.sightings],
        )
