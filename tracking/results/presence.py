"""A track under one name, and all that is known of one identity: the parts that a timeline is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Box", "Kind", "Presence", "Stretch", "clock", "natural", "rounded", "without_none"]

Box = tuple[float, float, float, float]
Kind = Literal["known", "unknown", "unnamed"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A track under one name (or none), out of sight for no longer than the timeline's `max_gap`.

    Attributes:
        track_id: The track; None where there are no tracks (`gallery_only`).
        identity: The name that it carried; None for none.
        first, last: Frames, 0-based, both included.
        frames: Number of frames in which it was seen.
        mean_distance, worst_distance: Cosine distance to the identity, over the frames; None where unknown.
        worst_frame: Frame of the worst distance.
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
        """JSON types; what is unknown is left out."""
        return without_none(
            track_id=self.track_id,
            first_frame=self.first,
            last_frame=self.last,
            frames=self.frames,
            mean_distance=rounded(self.mean_distance, 6),
            worst_distance=rounded(self.worst_distance, 6),
        )


@dataclass(frozen=True, slots=True)
class Presence:
    """A line of the timeline: an identity, or a track that never got a name.

    Attributes:
        kind: ``known``; ``unknown`` for a stranger whom enrolment named (``unknown-0007``); ``unnamed`` for a track.
        identity: The name; None for a track without one.
        track_ids: The tracks that carried it, in order of appearance; empty for `gallery_only`.
        class_name: What the detector called it most recently; None where it did not say.
        first, last: Frames, 0-based, both included.
        frames: Number of frames in which it was there.
        stretches: In order of their first frames.
        mean_distance, worst_distance: Cosine distance over the frames; None where unknown.
        mean_score: Of the detections, in [0, 1]; None where unknown.
        first_box, last_box: xyxy in pixels.
        mean_position: Mean of the boxes' centres, in pixels.
        path: Where it stood, as (frame, x, y): middles of the boxes' lower edges, in pixels, in order of time,
            thinned to at most 96.
    """

    kind: Kind
    identity: str | None
    track_ids: tuple[str, ...]
    class_name: str | None
    first: int
    last: int
    frames: int
    stretches: tuple[Stretch, ...]
    mean_distance: float | None
    worst_distance: float | None
    mean_score: float | None
    first_box: Box
    last_box: Box
    mean_position: tuple[float, float]
    path: tuple[tuple[int, float, float], ...]

    @property
    def label(self) -> str:
        """What to call it."""
        return self.identity if self.identity is not None else f"track {self.track_ids[0]}"

    def as_dict(self, fps: float | None) -> dict[str, Any]:
        """JSON types; what is unknown is left out. With `fps` also ``first_s``, ``last_s`` (its end), ``seconds``."""
        times: dict[str, float] = {}
        if fps:
            times = {
                "first_s": round(self.first / fps, 3),
                "last_s": round((self.last + 1) / fps, 3),
                "seconds": round(self.frames / fps, 3),
            }
        return without_none(
            kind=self.kind,
            identity=self.identity,
            track_ids=list(self.track_ids),
            class_name=self.class_name,
            first_frame=self.first,
            last_frame=self.last,
            frames=self.frames,
            **times,
            mean_distance=rounded(self.mean_distance, 6),
            worst_distance=rounded(self.worst_distance, 6),
            mean_score=rounded(self.mean_score, 4),
            first_box=[round(v, 3) for v in self.first_box],
            last_box=[round(v, 3) for v in self.last_box],
            mean_position=[round(v, 1) for v in self.mean_position],
            stretches=[stretch.as_dict() for stretch in self.stretches],
        )


def clock(frame: float, fps: float | None) -> str:
    """A frame's time as people read it: ``1:02.5``, ``1:00:02``; its number where the speed is unknown."""
    if not fps:
        return f"frame {frame:.0f}"
    # Tenths first: 59.96 s are 1:00.0, not 0:60.0.
    tenths = round(frame / fps * 10)
    minutes, seconds = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds // 10:02d}" if hours else f"{minutes}:{seconds // 10:02d}.{seconds % 10}"


def natural(text: str) -> tuple[int, int, str]:
    """A key to sort ids by: whole numbers by value, before words."""
    return (0, int(text), text) if text.isdecimal() and len(text) < 19 else (1, 0, text)


def rounded(value: float | None, digits: int) -> float | None:
    """For JSON: no more digits than mean something."""
    return None if value is None else round(value, digits)


def without_none(**items: Any) -> dict[str, Any]:
    """What is known of some items; track-v1 leaves out what is unknown, and so do these."""
    return {key: value for key, value in items.items() if value is not None}
