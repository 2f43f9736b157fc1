"""The result of a run: the track-v1 document, the run's figures, and the sightings of each identity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tracking.frame_times import FrameTimes
from tracking.outputs.box_table import box_table
from tracking.outputs.options import TrackPaths
from tracking.outputs.track_file import TrackFile

if TYPE_CHECKING:
    import pandas as pd

    from tracking.enrolment.base import EnrolmentCounts
    from tracking.trackers.base import FrameTracks

__all__ = ["Sighting", "Tally", "TrackResult", "frame_document"]

_ALIASES = {"xyxy": "bbox", "conf": "score", "class": "class_id"}


@dataclass(frozen=True, slots=True)
class Sighting:
    """An identity that was seen by the camera from one time to another.

    Attributes:
        identity: Its name in the gallery.
        frames: Number of frames in which a detection has the name.
        first, last: First and last such frame.
        tracks: Number of tracks that had the name (0 for `gallery_only`, which has no tracks).
    """

    identity: str
    frames: int
    first: int
    last: int
    tracks: int


class TrackResult:
    """The result of a run.

    Attributes:
        paths: Where the outputs are; all None where nothing is saved.
        stats: ``frames``, ``fps``, ``seconds`` and ``cpu_seconds`` of the frame loop, ``detections``,
            ``tracked``, ``named``, ``tracks``, ``identities``, ``crops`` and ``warnings``, all numbers; with
            backfill, also ``backfilled``, the number of detections whose name it changed.
        sightings: One for each identity, most frames first.
        warnings: What was left out or corrected, one sentence each.
        times: Times of the video's frames; unknown for a live source.
        enrolment: How many tracks were enrolled, and why the others were not; None for a run that does not enrol.
            `stats` has its figures as ``enrolled``, ``new_identities``, ``too_short``, ``too_poor``, ``unsure`` and
            ``redundant``.
    """

    def __init__(
        self,
        file: TrackFile,
        paths: TrackPaths,
        stats: Mapping[str, float],
        sightings: Sequence[Sighting],
        warnings: Sequence[str],
        times: FrameTimes,
        enrolment: EnrolmentCounts | None = None,
    ) -> None:
        self.times = times
        self.enrolment = enrolment
        self._file = file
        self.paths = paths
        self.stats = dict(stats)
        self.sightings = tuple(sightings)
        self.warnings = tuple(warnings)

    @property
    def video_fps(self) -> float | None:
        """Frames per second of the video; None where the file does not state them."""
        return self.times.fps

    @property
    def payload(self) -> dict[str, Any]:
        """The track-v1 document.

        It is read back when first used, so that a long run needs no memory for it.
        """
        return self._file.payload

    def to_pandas(self, *, untracked: bool = False) -> pd.DataFrame:
        """Return the boxes as a table with a row for each, and the columns of tracks as CSV.

        `docs/reference/tracks-formats.md` explains the columns; unknown values are missing. The table of the
        sightings is ``pandas.DataFrame(result.sightings)``.

        Args:
            untracked: Also the detections without a track.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return box_table(self.payload, self.times, untracked=untracked)

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.stats.get(name, 0):g} {name}" for name in ("frames", "tracks", "identities"))
        enrolled = f", {self.stats['enrolled']:g} enrolled" if "enrolled" in self.stats else ""
        warned = f", {len(self.warnings)} warnings" if self.warnings else ""
        json = f", json={str(self.paths.json_path)!r}" if self.paths.json_path is not None else ""
        return f"TrackResult({counts}{enrolled}{warned}{json})"


class Tally:
    """Counts frames, detections, tracks and names over a run."""

    def __init__(self) -> None:
        self.frames = self.detections = self.tracked = self.named = self.crops = self.backfilled = 0
        self.tracks: set[str] = set()
        self._spans: dict[str, list[int]] = {}  # identity: number of frames, first and last frame
        self._tracks_of: dict[str, set[str]] = {}

    def add(self, frame: int, detections: int, tracks: FrameTracks, *, temporal: bool) -> None:
        """Count a frame: its number of detections, its tracks and their names."""
        self.frames += 1
        self.detections += detections
        self.tracked += len(tracks.track_ids)
        self.crops += tracks.crops
        if temporal:
            self.tracks.update(tracks.track_ids)
        for track_id, named in zip(tracks.track_ids, tracks.named, strict=True):
            if named is not None:
                self._count_name(frame, named.identity, track_id, temporal=temporal)
        for track_id, name in zip(tracks.track_ids, tracks.reserved or (), strict=False):
            if name is not None:
                self._count_name(frame, name, track_id, temporal=temporal)

    def recount(self, documents: Iterable[Mapping[str, Any]], *, temporal: bool) -> None:
        """Count the names again, from frames of track-v1 whose names were corrected."""
        self.named = 0
        self._spans, self._tracks_of = {}, {}
        for document in documents:
            for detection in document["detections"]:
                if "gallery_id" in detection:
                    self._count_name(
                        int(document["frame"]), detection["gallery_id"], detection["track_id"], temporal=temporal
                    )

    def _count_name(self, frame: int, identity: str, track_id: str, *, temporal: bool) -> None:
        self.named += 1
        span = self._spans.setdefault(identity, [0, frame, frame])
        span[0] += 1
        span[2] = frame
        tracks = self._tracks_of.setdefault(identity, set())
        if temporal:
            tracks.add(track_id)

    @property
    def names(self) -> list[str]:
        """The names that were given."""
        return list(self._spans)

    def forget(self, names: Iterable[str]) -> None:
        """Leave names out, as if they had not been given."""
        for name in names:
            self.named -= self._spans.pop(name)[0]
            del self._tracks_of[name]

    def sightings(self) -> list[Sighting]:
        """Return the sighting of each identity, most frames first."""
        found = [
            Sighting(name, frames, first, last, len(self._tracks_of[name]))
            for name, (frames, first, last) in self._spans.items()
        ]
        return sorted(found, key=lambda s: (-s.frames, s.identity))

    def stats(
        self, seconds: float, cpu_seconds: float, warnings: Sequence[str], enrolled: EnrolmentCounts | None
    ) -> dict[str, float]:
        """Return the figures of `TrackResult.stats`."""
        stats: dict[str, float] = {
            "frames": self.frames,
            "fps": round(self.frames / seconds, 2) if seconds > 0 else 0.0,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds, 3),
            "detections": self.detections,
            "tracked": self.tracked,
            "named": self.named,
            "tracks": len(self.tracks),
            "identities": len(self._spans),
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
    time: float | None = None,
) -> dict[str, Any]:
    """Return one track-v1 frame: the det-v1 frame with all its keys, and the tracks with their identities.

    Args:
        frame: Number of the frame.
        raw: The frame in det-v1; None where it has no detections.
        rows: (N,) int64, the rows of `raw`'s detections that the tracker received.
        tracks: The tracker's answer; its indices are positions in `rows`.
        drop_unnamed: Drop the detections that the tracker received and did not name.
        time: Its presentation time in seconds, where it is not ``frame / fps``.
    """
    document: dict[str, Any] = {"frame": frame}
    if time is not None:
        document["time_s"] = round(time, 6)
    found: list[dict[str, Any]] = []
    if raw is not None:
        document.update((k, v) for k, v in raw.items() if k not in {"frame", "frame_index", "time_s", "detections"})
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
