"""What a run returns: the track-v1 document, figures, and who was seen when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tracking.outputs.run_outputs import TrackFile, TrackPaths

if TYPE_CHECKING:
    from tracking.enrolment.base import EnrolmentCounts
    from tracking.trackers.trackers import FrameTracks

__all__ = ["Seen", "Tally", "TrackResult", "frame_document"]

_ALIASES = {"xyxy": "bbox", "conf": "score", "class": "class_id"}


@dataclass(frozen=True, slots=True)
class Seen:
    """When an identity was on the video.

    Attributes:
        identity: Name in the gallery.
        frames: Number of frames in which it was named.
        first, last: First and last such frame.
        tracks: Number of tracks that carried the name (0 for `gallery_only`, which has none).
    """

    identity: str
    frames: int
    first: int
    last: int
    tracks: int


class TrackResult:
    """What a run returns.

    Attributes:
        paths: Where the outputs are; all None if nothing was saved.
        stats: ``frames``, ``fps``, ``seconds`` and ``cpu_seconds`` of the frame loop, ``detections``,
            ``tracked``, ``named``, ``tracks``, ``identities``, ``crops`` and ``warnings``, all numbers; with
            backfill, also ``backfilled``, the detections that it named otherwise.
        seen: Who was seen when, most frames first.
        warnings: What was left out or mended, one sentence each.
        video_fps: Frames per second of the video, None where the file does not say.
        enrolment: What became of the tracks that were to be enrolled; None where nobody was. `stats` has
            its figures as ``enrolled``, ``new_identities``, ``too_short``, ``too_poor``, ``unsure`` and
            ``redundant``.
    """

    def __init__(
        self,
        file: TrackFile,
        paths: TrackPaths,
        stats: Mapping[str, float],
        seen: Sequence[Seen],
        warnings: Sequence[str],
        video_fps: float | None,
        enrolment: EnrolmentCounts | None = None,
    ) -> None:
        self.video_fps = video_fps
        self.enrolment = enrolment
        self._file = file
        self.paths = paths
        self.stats = dict(stats)
        self.seen = tuple(seen)
        self.warnings = tuple(warnings)

    @property
    def payload(self) -> dict[str, Any]:
        """The track-v1 document. It is read back when first asked for, so that a long run whose
        payload nobody reads needs no memory for it."""
        return self._file.payload


class Tally:
    """What is counted over a run."""

    def __init__(self) -> None:
        self.frames = self.detections = self.tracked = self.named = self.crops = self.backfilled = 0
        self.tracks: set[str] = set()
        self.seen: dict[str, list[int]] = {}
        self.bearers: dict[str, set[str]] = {}

    def add(self, frame: int, detections: int, tracks: FrameTracks, *, temporal: bool) -> None:
        """Count a frame: its number of detections, and what became of them."""
        self.frames += 1
        self.detections += detections
        self.tracked += len(tracks.track_ids)
        self.crops += tracks.crops
        if temporal:
            self.tracks.update(tracks.track_ids)
        for track_id, named in zip(tracks.track_ids, tracks.named, strict=True):
            if named is not None:
                self._see(frame, named.identity, track_id, temporal=temporal)
        for track_id, name in zip(tracks.track_ids, tracks.reserved or (), strict=False):
            if name is not None:
                self._see(frame, name, track_id, temporal=temporal)

    def recount(self, documents: Iterable[Mapping[str, Any]], *, temporal: bool) -> None:
        """Count the names anew, from frames of track-v1 whose names were corrected."""
        self.named = 0
        self.seen, self.bearers = {}, {}
        for document in documents:
            for detection in document["detections"]:
                if "gallery_id" in detection:
                    self._see(int(document["frame"]), detection["gallery_id"], detection["track_id"], temporal=temporal)

    def _see(self, frame: int, identity: str, track_id: str, *, temporal: bool) -> None:
        self.named += 1
        record = self.seen.setdefault(identity, [0, frame, frame])
        record[0] += 1
        record[2] = frame
        bearers = self.bearers.setdefault(identity, set())
        if temporal:
            bearers.add(track_id)

    def summary(self) -> list[Seen]:
        """Who was seen when, most frames first."""
        seen = [Seen(name, n, first, last, len(self.bearers[name])) for name, (n, first, last) in self.seen.items()]
        return sorted(seen, key=lambda s: (-s.frames, s.identity))

    def stats(
        self, seconds: float, cpu_seconds: float, warnings: Sequence[str], enrolled: EnrolmentCounts | None
    ) -> dict[str, float]:
        """The figures of `TrackResult.stats`."""
        stats: dict[str, float] = {
            "frames": self.frames,
            "fps": round(self.frames / seconds, 2) if seconds > 0 else 0.0,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "detections": self.detections,
            "tracked": self.tracked,
            "named": self.named,
            "tracks": len(self.tracks),
            "identities": len(self.seen),
            "crops": self.crops,
            "warnings": len(warnings),
        }
        if self.backfilled:
            stats["backfilled"] = self.backfilled
        if enrolled is not None:
            stats |= {
                "enrolled": enrolled.enrolled,
                "new_identities": enrolled.identities,
                "too_short": enrolled.too_short,
                "too_poor": enrolled.too_poor,
                "unsure": enrolled.unsure,
                "redundant": enrolled.redundant,
            }
        return stats


def frame_document(
    frame: int,
    raw: Mapping[str, Any] | None,
    rows: np.ndarray[Any, np.dtype[np.int64]],
    tracks: FrameTracks,
    *,
    drop_unnamed: bool,
) -> dict[str, Any]:
    """One track-v1 frame: the det-v1 frame with all its keys, and what the tracker made of it."""
    document: dict[str, Any] = {"frame": frame}
    found: list[dict[str, Any]] = []
    if raw is not None:
        document.update((k, v) for k, v in raw.items() if k not in {"frame", "frame_index", "detections"})
        found = [{_ALIASES.get(k, k): v for k, v in d.items()} for d in raw["detections"]]
    named = set()
    boxes = None if tracks.boxes is None else np.round(tracks.boxes, 3).tolist()
    for i, (index, track_id, name) in enumerate(zip(tracks.indices, tracks.track_ids, tracks.named, strict=True)):
        row = int(rows[index])
        detection = found[row]
        if boxes is not None:
            detection["bbox"] = boxes[i]
        detection["track_id"] = track_id
        if name is not None:
            named.add(row)
            detection["gallery_id"] = name.identity
            detection["gallery_distance"] = round(name.distance, 6)
        elif tracks.reserved is not None and tracks.reserved[i] is not None:
            named.add(row)
            detection["gallery_id"] = tracks.reserved[i]
        if tracks.statuses is not None:
            detection["identity_status"] = tracks.statuses[i]
    if drop_unnamed:
        dropped = {int(r) for r in rows} - named
        found = [d for i, d in enumerate(found) if i not in dropped]
    document["detections"] = found
    return document
