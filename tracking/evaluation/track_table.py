"""The tracked boxes of a result as arrays, from track-v1 or from MOTChallenge text."""

from __future__ import annotations

import math
import os
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.regular_files import open_regular
from tracking.detections.mot_text import read_mot
from tracking.errors import EvaluationError
from tracking.results.reading import TrackReader, read_tracks
from tracking.results.track_frame import TrackFrame

__all__ = ["FrameRange", "TrackTable", "in_range", "read_track_table", "rows_by_frame"]

FrameRange = tuple[int | None, int | None]
"""Frames from the first up to, not including, the second; None for no limit."""

_NO_LIMIT: FrameRange = (None, None)


def in_range(frames: NDArray[np.int64], frame_range: FrameRange) -> NDArray[np.bool_]:
    """Return which of (N,) frame numbers are in a range, as (N,) bool."""
    start, stop = frame_range
    inside = np.ones(len(frames), np.bool_)
    if start is not None:
        inside &= frames >= start
    if stop is not None:
        inside &= frames < stop
    return inside


def rows_by_frame(frames: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Map each of (N,) frame numbers, ascending, to the rows that have it."""
    order = np.argsort(frames, kind="stable")
    numbers, starts = np.unique(frames[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}


@dataclass(frozen=True, slots=True, eq=False)
class TrackTable:
    """The tracked boxes of a result as parallel arrays, one row a box, in the order of the file.

    Attributes:
        path: Its file, for messages.
        frames: (N,) int64, 0-based.
        xyxy: (N, 4) float64, corners in pixels.
        ltwh: (N, 4) float64, left, top, width, height; not recomputed where the file has them.
        scores: (N,) float64; 1 where unknown.
        tracks: (N,) int64, rows of `track_ids`.
        track_ids: Names of the tracks.
        names: (N,) int64, rows of `gallery_ids`; -1 where the box has no name.
        gallery_ids: Names of identities, sorted.
        distances: (N,) float64, cosine distance to the identity; NaN where unknown.
        covered: (first, last) frame with an entry, also an empty one; None where there is no entry.
        fps: Frames per second of the video; see `tracking.results.header.run_fps`. None where unknown.
        has_tracks: False where track ids have no meaning from frame to frame (``gallery_only``).
        other_classes: Number of tracked boxes that were left out, by class name.
    """

    path: str
    frames: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    ltwh: NDArray[np.float64]
    scores: NDArray[np.float64]
    tracks: NDArray[np.int64]
    track_ids: tuple[str, ...]
    names: NDArray[np.int64]
    gallery_ids: tuple[str, ...]
    distances: NDArray[np.float64]
    covered: tuple[int, int] | None
    fps: float | None
    has_tracks: bool
    other_classes: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def has_names(self) -> bool:
        """Whether any box has a name."""
        return bool((self.names >= 0).any())

    def name_of(self, row: int) -> str | None:
        """Return the name of a row's box, None where it has none."""
        code = int(self.names[row])
        return self.gallery_ids[code] if code >= 0 else None

    def between(self, frame_range: FrameRange) -> TrackTable:
        """Return the rows of a range of frames."""
        if frame_range == _NO_LIMIT:
            return self
        rows = np.flatnonzero(in_range(self.frames, frame_range))
        return replace(
            self,
            frames=self.frames[rows],
            xyxy=self.xyxy[rows],
            ltwh=self.ltwh[rows],
            scores=self.scores[rows],
            tracks=self.tracks[rows],
            names=self.names[rows],
            distances=self.distances[rows],
        )


def read_track_table(
    source: str | os.PathLike[str] | Mapping[str, Any] | TrackReader | TrackTable, *, class_name: str | None = "person"
) -> TrackTable:
    """Read all tracked boxes of a result.

    Args:
        source: A track-v1 file, document or reader, or a file of MOTChallenge text (whose frames count from 1).
        class_name: Only boxes of that class and those without one, whatever their case; None for all. Of
            MOTChallenge text only class 1 (or -1) is accepted, whatever this says.

    Raises:
        TracksError: Not track-v1, or a part of it cannot be used; names the frame and the detection.
        MotTextError: The same of MOTChallenge text; names the line.
        EvaluationError: The file cannot be read, or has MOTChallenge rows of another class.
    """
    if isinstance(source, TrackTable):
        return source
    if not isinstance(source, (Mapping, TrackReader)) and not _is_json(Path(source)):
        return _from_mot(Path(source))
    reader = read_tracks(source)
    collector = _Collector(class_name)
    for frame in reader:
        collector.add(frame)
    return collector.table(reader)


def _is_json(path: Path) -> bool:
    """Return whether a file starts as a JSON object, and is not MOTChallenge text."""
    try:
        with open_regular(path) as file:
            return file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{"
    except FileNotFoundError as error:
        raise EvaluationError(
            f"{path}: there is no such file.",
            hint="Expected tracked.json (of gtrack run --save-json) or MOTChallenge text.",
        ) from error
    except IsADirectoryError as error:
        raise EvaluationError(
            f"{path}: expected a file, found a folder.", hint="Give tracked.json, or a file of MOTChallenge text."
        ) from error
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror or error}.") from error


class _Collector:
    """Collects the tracked boxes of a document, frame by frame, in compact arrays."""

    def __init__(self, class_name: str | None) -> None:
        self._class_name = None if class_name is None else class_name.casefold()
        self._frames = array("q")
        self._boxes = array("d")
        self._scores = array("d")
        self._distances = array("d")
        self._tracks = array("q")
        self._names = array("q")
        self._track_codes: dict[str, int] = {}
        self._name_codes: dict[str, int] = {}
        self._other_classes: Counter[str] = Counter()
        self._covered: tuple[int, int] | None = None

    def add(self, frame: TrackFrame) -> None:
        """Collect one frame; frames come in ascending order."""
        self._covered = (self._covered[0] if self._covered else frame.frame, frame.frame)
        boxes, scores, distances = frame.boxes.tolist(), frame.scores.tolist(), frame.distances.tolist()
        for row, track_id in enumerate(frame.track_ids):
            if track_id is None:
                continue
            class_name, name = frame.class_names[row], frame.gallery_ids[row]
            if self._class_name is not None and class_name is not None and class_name.casefold() != self._class_name:
                self._other_classes[class_name] += 1
                continue
            self._frames.append(frame.frame)
            self._boxes.extend(boxes[row])
            self._scores.append(1.0 if math.isnan(scores[row]) else scores[row])
            self._distances.append(math.nan if name is None else distances[row])
            self._tracks.append(self._track_codes.setdefault(track_id, len(self._track_codes)))
            self._names.append(-1 if name is None else self._name_codes.setdefault(name, len(self._name_codes)))

    def table(self, reader: TrackReader) -> TrackTable:
        """Return everything collected, with the facts of the document's header."""
        xyxy = np.frombuffer(self._boxes, np.float64).reshape(-1, 4).copy()
        sorted_names = tuple(sorted(self._name_codes))
        # One element more than there are names, so that -1 (no name) stays -1.
        renumbered = np.full(len(sorted_names) + 1, -1, np.int64)
        for code, name in enumerate(sorted_names):
            renumbered[self._name_codes[name]] = code
        return TrackTable(
            path=reader.name,
            frames=np.array(self._frames, np.int64),
            xyxy=xyxy,
            ltwh=np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1),
            scores=np.array(self._scores, np.float64),
            tracks=np.array(self._tracks, np.int64),
            track_ids=tuple(self._track_codes),
            names=renumbered[np.array(self._names, np.int64)],
            gallery_ids=sorted_names,
            distances=np.array(self._distances, np.float64),
            covered=self._covered,
            fps=reader.fps,
            has_tracks=reader.has_tracks,
            other_classes=dict(self._other_classes),
        )


def _from_mot(path: Path) -> TrackTable:
    rows = read_mot(path)
    if (rows.classes > 1).any():
        at = int(np.flatnonzero(rows.classes > 1)[0])
        raise EvaluationError(
            f"{path}, line {rows.lines[at]}: expected class 1 (a pedestrian) or -1, found {rows.classes[at]}.",
            hint="MOTChallenge's metrics are defined for pedestrians only; remove the other rows.",
        )
    ids = np.unique(rows.ids)
    return TrackTable(
        path=str(path),
        frames=rows.frames,
        xyxy=rows.xyxy,
        ltwh=rows.ltwh,
        scores=rows.confidences,
        tracks=np.searchsorted(ids, rows.ids).astype(np.int64),
        track_ids=tuple(str(id_) for id_ in ids.tolist()),
        names=np.full(len(rows), -1, np.int64),
        gallery_ids=(),
        distances=np.full(len(rows), np.nan),
        covered=(int(rows.frames.min()), int(rows.frames.max())) if len(rows) else None,
        fps=None,
        has_tracks=True,
        other_classes={},
    )
