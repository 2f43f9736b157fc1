"""The tracks of a result as arrays, from track-v1 or from MOTChallenge text."""

from __future__ import annotations

import math
import os
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tracking.detections.mot_text import MAX_FRAME, read_mot
from tracking.errors import EvaluationError
from tracking.json_stream import JsonStream, JsonStreamError, show
from tracking.results.reading import run_fps

__all__ = ["FrameRange", "TrackTable", "in_range", "read_tracks", "rows_by_frame"]

FrameRange = tuple[int | None, int | None]
"""Frames from the first up to, not including, the second; None for no limit."""

_CHUNK_BYTES = 1 << 20
_NO_LIMIT: FrameRange = (None, None)


def in_range(frames: NDArray[np.int64], frame_range: FrameRange) -> NDArray[np.bool_]:
    """Which of some frame numbers lie in a range."""
    start, stop = frame_range
    inside = np.ones(len(frames), np.bool_)
    if start is not None:
        inside &= frames >= start
    if stop is not None:
        inside &= frames < stop
    return inside


def rows_by_frame(frames: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    """Frame number to the rows (positions in (N,) frame numbers) that bear it, frames ascending."""
    order = np.argsort(frames, kind="stable")
    numbers, starts = np.unique(frames[order], return_index=True)
    return dict(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True)) if len(order) else {}


@dataclass(frozen=True, slots=True, eq=False)
class TrackTable:
    """The tracked boxes of a result as parallel arrays, one row a box, in the order of the file.

    Attributes:
        path: Where it is from, for messages.
        frames: (N,) int64, 0-based.
        xyxy: (N, 4) float64, corners in pixels.
        ltwh: (N, 4) float64, left, top, width, height; not recomputed where the file has them.
        scores: (N,) float64; 1 where unknown.
        tracks: (N,) int64, rows of `track_ids`.
        track_ids: Names of the tracks.
        names: (N,) int64, rows of `gallery_ids`; -1 where the box has no name.
        gallery_ids: Names of identities, sorted.
        distances: (N,) float64, cosine distance to the identity; NaN where unknown.
        covered: (first, last) frame that the result has an entry for, also an empty one; None without any.
        fps: Frames per second of the video; see `run_fps`. None where unknown.
        has_tracks: False where track ids mean nothing from frame to frame (``gallery_only``).
        other_classes: Tracked boxes that were left out, by their class.
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
        """The name that a row has."""
        code = int(self.names[row])
        return self.gallery_ids[code] if code >= 0 else None

    def between(self, frame_range: FrameRange) -> TrackTable:
        """The rows of a range of frames."""
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


def read_tracks(
    source: str | os.PathLike[str] | Mapping[str, Any] | TrackTable, *, class_name: str | None = "person"
) -> TrackTable:
    """Read a result.

    Args:
        source: A track-v1 file or document, or a file of MOTChallenge text (whose frames count from 1).
        class_name: Only boxes of that class and those without one, whatever their case; None for all. Of
            MOTChallenge text only class 1 (or -1) is accepted, whatever this says.

    Raises:
        EvaluationError: Not such a file, or something in it cannot be used; names the frame and the detection.
        MotTextError: The same of MOTChallenge text; names the line.
    """
    if isinstance(source, TrackTable):
        return source
    collector = _Collector(class_name)
    if isinstance(source, Mapping):
        collector.path = "the result"
        for key, value in source.items():
            if key != "frames":
                collector.member(key, value)
        frames = source.get("frames")
        if not isinstance(frames, (list, tuple)):
            collector.fail(f"expected frames as a list, found {show(frames)}")
        for entry in frames:
            collector.frame(entry)
        return collector.table()
    path = Path(source)
    collector.path = str(path)
    try:
        with path.open("rb") as file:
            if file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
                return _from_mot(path)
            file.seek(0)
            _stream(JsonStream(file, document="track-v1 JSON", chunk_bytes=_CHUNK_BYTES), collector)
    except JsonStreamError as error:
        raise EvaluationError(f"{path}: {error}.", hint="Run gtrack again, or copy the file again.") from error
    except FileNotFoundError as error:
        raise EvaluationError(
            f"{path}: there is no such file.", hint="Expected tracked.json (of gtrack run --json) or MOTChallenge text."
        ) from error
    except IsADirectoryError as error:
        raise EvaluationError(
            f"{path}: expected a file, found a folder.", hint="Give tracked.json, or a file of MOTChallenge text."
        ) from error
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror or error}.") from error
    return collector.table()


def _stream(reader: JsonStream, collector: _Collector) -> None:
    for key in reader.members():
        if key != "frames" or not reader.at_list():
            value, _ = reader.parse(*reader.value(f"the value of {key!r}"))
            collector.member(key, value)
            continue
        for blob, offset in reader.items("a frame", "frames"):
            entry, _ = reader.parse(blob, offset)
            collector.frame(entry)


class _Collector:
    """Takes a track-v1 document piece by piece."""

    def __init__(self, class_name: str | None) -> None:
        self.path = ""
        self._class_name = None if class_name is None else class_name.casefold()
        self._header: dict[str, Any] = {}
        self._frames = array("q")
        self._boxes = array("d")
        self._scores = array("d")
        self._distances = array("d")
        self._tracks = array("q")
        self._names = array("q")
        self._track_codes: dict[str, int] = {}
        self._name_codes: dict[str, int] = {}
        self._entries: set[int] = set()
        self._others: Counter[str] = Counter()

    def fail(self, problem: str, hint: str | None = None) -> NoReturn:
        raise EvaluationError(f"{self.path}: {problem}.", hint=hint)

    def member(self, key: str, value: Any) -> None:
        """A top-level key other than the list of frames."""
        self._header[key] = value
        if key == "schema_version" and value != "track-v1":
            hint = "Those are detections without tracks; gtrack run makes tracks of them."
            problem = f"expected schema_version 'track-v1', found {show(value)}"
            self.fail(problem, hint if value == "det-v1" else None)
        if key == "frames":
            self.fail(f"expected frames as a list, found {show(value)}")

    def frame(self, entry: Any) -> None:
        """An entry of ``frames``."""
        number = entry.get("frame", entry.get("frame_index")) if isinstance(entry, Mapping) else None
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_FRAME:
            self.fail(f"expected a frame with its number, found {show(entry)}")
        if number in self._entries:
            self.fail(f"expected one entry for frame {number}, found two")
        self._entries.add(number)
        detections = entry.get("detections")
        if not isinstance(detections, (list, tuple)):
            self.fail(f"frame {number}: expected detections as a list, found {show(detections)}")
        seen: set[str] = set()
        for index, detection in enumerate(detections):
            if not isinstance(detection, Mapping):
                self.fail(f"frame {number}, detection {index}: expected an object, found {show(detection)}")
            if detection.get("track_id") is not None:
                self._take(number, index, detection, seen)

    def _take(self, frame: int, index: int, detection: Mapping[str, Any], seen: set[str]) -> None:
        place = f"frame {frame}, detection {index}"
        track_id = str(detection["track_id"])
        class_name = detection.get("class_name")
        if self._class_name is not None and class_name is not None and str(class_name).casefold() != self._class_name:
            self._others[str(class_name)] += 1
            return
        if track_id in seen:
            self.fail(f"{place}: this frame has track {track_id!r} already")
        seen.add(track_id)
        box = detection.get("bbox", detection.get("xyxy"))
        if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(_is_number, box)):
            self.fail(f"{place}: expected bbox as [x1, y1, x2, y2], found {show(box)}")
        name = detection.get("gallery_id")
        score = detection.get("score", detection.get("conf"))
        distance = detection.get("gallery_distance") if name is not None else None
        self._frames.append(frame)
        self._boxes.extend(float(value) for value in box)
        self._scores.append(_number_or(score, 1.0))
        self._distances.append(_number_or(distance, math.nan))
        self._tracks.append(self._track_codes.setdefault(track_id, len(self._track_codes)))
        code = -1 if name is None else self._name_codes.setdefault(str(name), len(self._name_codes))
        self._names.append(code)

    def table(self) -> TrackTable:
        """All of it."""
        if "schema_version" not in self._header:
            self.fail(
                "expected track-v1 with its schema_version, found none", "Give tracked.json of gtrack run --json."
            )
        tracker = self._header.get("tracker")
        xyxy = np.frombuffer(self._boxes, np.float64).reshape(-1, 4).copy()
        sorted_names = tuple(sorted(self._name_codes))
        # One more place, for the -1 of those without a name.
        renumbered = np.full(len(sorted_names) + 1, -1, np.int64)
        for code, name in enumerate(sorted_names):
            renumbered[self._name_codes[name]] = code
        return TrackTable(
            path=self.path,
            frames=np.array(self._frames, np.int64),
            xyxy=xyxy,
            ltwh=np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1),
            scores=np.array(self._scores, np.float64),
            tracks=np.array(self._tracks, np.int64),
            track_ids=tuple(self._track_codes),
            names=renumbered[np.array(self._names, np.int64)],
            gallery_ids=sorted_names,
            distances=np.array(self._distances, np.float64),
            covered=(min(self._entries), max(self._entries)) if self._entries else None,
            fps=run_fps(self._header),
            has_tracks=not (isinstance(tracker, Mapping) and tracker.get("name") == "gallery_only"),
            other_classes=dict(self._others),
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _number_or(value: Any, otherwise: float) -> float:
    return float(value) if _is_number(value) else otherwise


def _from_mot(path: Path) -> TrackTable:
    rows = read_mot(path)
    if (rows.classes > 1).any():
        at = int(np.flatnonzero(rows.classes > 1)[0])
        raise EvaluationError(
            f"{path}, line {rows.lines[at]}: expected class 1 (a pedestrian) or -1, found {rows.classes[at]}.",
            hint="MOTChallenge's measures are for pedestrians alone; leave the other rows out.",
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
