"""Building of a timeline, frame by frame. Memory grows with the number of sightings, and of times that frames have."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from tracking.enrolment.base import is_unknown
from tracking.errors import OptionError
from tracking.frame_times import FrameTimes
from tracking.results.formatting import natural_key
from tracking.results.issues import duplicate_issues, find_issues
from tracking.results.reading import Source, TrackReader, read_tracks
from tracking.results.sightings import Box, Kind, Sighting, TimelineRow
from tracking.results.timeline import Timeline
from tracking.results.track_frame import TrackFrame

__all__ = ["build_timeline"]

_FALLBACK_FPS = 30.0
_MAX_PATH_POINTS = 96
"""Points of a path at most. Beyond, every other point is dropped, and from then on half as many are added."""

_KIND_ORDER: dict[Kind, int] = {"known": 0, "unknown": 1, "unnamed": 2}


def build_timeline(
    source: Source | Timeline,
    *,
    classes: Collection[int | str] | None = None,
    max_gap: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Timeline:
    """Build the timeline of a run: when each identity is in view, where, and at what distance.

    Args:
        source: See `read_tracks`; a `Timeline` is returned unchanged.
        classes: Only detections of these classes, by id or name; None for all.
        max_gap: Frames without a detection that do not end a sighting; None for one second.
        progress: Called with (frames done, total or None).

    Raises:
        TracksError: See `read_tracks` and `TrackReader`.
        OptionError: `max_gap` is negative.
    """
    if isinstance(source, Timeline):
        return source
    reader = read_tracks(source, classes=classes)
    if max_gap is None:
        max_gap = round(reader.fps or _FALLBACK_FPS)
    if max_gap < 0:
        raise OptionError(f"max_gap must be at least 0 frames, found {max_gap}.")
    builder = _TimelineBuilder(reader, max_gap)
    for done, frame in enumerate(reader, 1):
        builder.add(frame)
        if progress is not None:
            progress(done, reader.frame_count)
    return builder.build()


class _RunningMean:
    """The mean and the largest of the values so far; NaN is ignored."""

    __slots__ = ("count", "total", "worst", "worst_frame")

    def __init__(self) -> None:
        self.count, self.total, self.worst, self.worst_frame = 0, 0.0, -math.inf, -1

    def add(self, value: float, frame: int = -1) -> None:
        if value == value:
            self.count += 1
            self.total += value
            if value > self.worst:
                self.worst, self.worst_frame = value, frame

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None


class _OpenSighting:
    """A sighting that later frames may still continue."""

    __slots__ = ("distance", "first", "first_box", "frames", "identity", "last", "last_box", "track_id")

    def __init__(self, track_id: str | None, identity: str | None, frame: int, box: Box) -> None:
        self.track_id, self.identity = track_id, identity
        self.first = self.last = frame
        self.frames = 0
        self.first_box = self.last_box = box
        self.distance = _RunningMean()

    def add(self, frame: int, box: Box, distance: float) -> None:
        # With gallery_only a name may occur twice in a frame: that frame counts once.
        self.frames += frame != self.last or not self.frames
        self.last, self.last_box = frame, box
        self.distance.add(distance, frame)

    def close(self) -> Sighting:
        known = self.distance.count > 0
        return Sighting(
            track_id=self.track_id,
            identity=self.identity,
            first=self.first,
            last=self.last,
            frames=self.frames,
            mean_distance=self.distance.mean,
            worst_distance=self.distance.worst if known else None,
            worst_frame=self.distance.worst_frame if known else None,
            first_box=self.first_box,
            last_box=self.last_box,
        )


@dataclass(slots=True)
class _OpenRow:
    """The row of an identity, or of a track while it has no name."""

    class_name: str | None = None
    frames: int = 0
    last: int = -1
    distance: _RunningMean = field(default_factory=_RunningMean)
    score: _RunningMean = field(default_factory=_RunningMean)
    sum_x: float = 0.0
    sum_y: float = 0.0
    boxes: int = 0
    path_step: int = 1
    path: list[tuple[int, float, float]] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)

    def add(self, frame: int, box: Box, class_name: str | None, score: float, distance: float) -> None:
        self.frames += frame != self.last
        self.last = frame
        self.class_name = class_name if class_name is not None else self.class_name
        self.distance.add(distance)
        self.score.add(score)
        x1, y1, x2, y2 = box
        self.sum_x += (x1 + x2) / 2
        self.sum_y += (y1 + y2) / 2
        if self.boxes % self.path_step == 0:
            if len(self.path) == _MAX_PATH_POINTS:
                self.path = self.path[::2]
                self.path_step *= 2
            if self.boxes % self.path_step == 0:
                self.path.append((frame, round((x1 + x2) / 2, 1), round(y2, 1)))
        self.boxes += 1

    def close(self, kind: Kind, identity: str | None) -> TimelineRow:
        sightings = sorted(self.sightings, key=lambda s: (s.first, s.last))
        last = max(sightings, key=lambda s: s.last)
        return TimelineRow(
            kind=kind,
            identity=identity,
            track_ids=tuple(dict.fromkeys(s.track_id for s in sightings if s.track_id is not None)),
            class_name=self.class_name,
            first=sightings[0].first,
            last=last.last,
            frames=self.frames,
            sightings=tuple(sightings),
            mean_distance=self.distance.mean,
            worst_distance=self.distance.worst if self.distance.count else None,
            mean_score=self.score.mean,
            first_box=sightings[0].first_box,
            last_box=last.last_box,
            mean_position=(self.sum_x / self.boxes, self.sum_y / self.boxes),
            path=tuple(self.path),
        )


_Key = tuple["str | None", "str | None"]
"""(track id, identity) of a sighting; (None, identity) or (track id, None) of a row."""


class _TimelineBuilder:
    """Follows the tracks of a document from frame to frame."""

    def __init__(self, reader: TrackReader, max_gap: int) -> None:
        self._reader = reader
        self._max_gap = max_gap
        self._times = FrameTimes(reader.fps)
        self._open: dict[_Key, _OpenSighting] = {}
        self._rows: dict[_Key, _OpenRow] = {}
        self._current_names: dict[str, str | None] = {}
        self._names: dict[str, list[str]] = {}
        self._class_names: dict[int, str | None] = {}
        self._duplicates: dict[tuple[str, str | None, str | None], list[int]] = {}
        self._frames = self._detections = self._tracked = self._named = 0
        self._first: int | None = None
        self._last: int | None = None

    def add(self, frame: TrackFrame) -> None:
        """Add the next frame."""
        number = frame.frame
        if frame.time is not None:
            self._times.add(number, frame.time)
        self._first = number if self._first is None else self._first
        self._last = number
        self._frames += 1
        self._detections += len(frame)
        boxes, scores, distances = frame.boxes.tolist(), frame.scores.tolist(), frame.distances.tolist()
        track_of_name: dict[str, str | None] = {}
        for row in frame.tracked:
            track_id, identity = frame.track_ids[row], frame.gallery_ids[row]
            class_id, class_name = int(frame.class_ids[row]), frame.class_names[row]
            if class_name is not None or class_id not in self._class_names:
                self._class_names[class_id] = class_name
            self._tracked += 1
            self._named += identity is not None
            if not self._reader.has_tracks:
                track_id = None
                if identity is None:
                    continue
            box: Box = tuple(boxes[row])
            if track_id is not None:
                self._note_name(track_id, identity)
            if identity is not None and identity in track_of_name:
                self._duplicates.setdefault((identity, track_of_name[identity], track_id), []).append(number)
            elif identity is not None:
                track_of_name[identity] = track_id
            key = (track_id, identity)
            sighting = self._open.get(key)
            if sighting is not None and number - sighting.last - 1 > self._max_gap:
                self._close(key)
                sighting = None
            if sighting is None:
                sighting = self._open[key] = _OpenSighting(track_id, identity, number, box)
            sighting.add(number, box, distances[row])
            timeline_row = self._rows.setdefault(self._row_key(key), _OpenRow())
            timeline_row.add(number, box, class_name, scores[row], distances[row])

    def build(self) -> Timeline:
        """Return the timeline of all frames added."""
        for key in list(self._open):
            self._close(key)
        reader = self._reader
        threshold = reader.config.get("gallery_match_threshold")
        threshold = float(threshold) if isinstance(threshold, (int, float)) and threshold > 0 else None
        sightings = [sighting for row in self._rows.values() for sighting in row.sightings]
        issues = [
            *find_issues(sightings, threshold, self._times, self._max_gap),
            *duplicate_issues(self._duplicates, self._times),
        ]
        return Timeline(
            name=reader.name,
            header=reader.header,
            times=self._times,
            threshold=threshold,
            has_tracks=reader.has_tracks,
            first_frame=self._first,
            last_frame=self._last,
            frames=self._frames,
            detections=self._detections,
            tracked=self._tracked,
            named=self._named,
            tracks=len(self._names),
            max_gap=self._max_gap,
            rows=self._closed_rows(),
            issues=tuple(sorted(issues, key=lambda i: (i.frame, i.kind, i.identity, natural_key(i.track_id or "")))),
            class_names=dict(sorted(self._class_names.items())),
            track_names={track: tuple(self._names[track]) for track in sorted(self._names, key=natural_key)},
        )

    def _note_name(self, track_id: str, identity: str | None) -> None:
        names = self._names.setdefault(track_id, [])
        if identity is not None and identity not in names:
            names.append(identity)
        # A change of the name ends the sighting, also if the track gets the old name back in the next frame.
        if track_id in self._current_names and self._current_names[track_id] != identity:
            self._close((track_id, self._current_names[track_id]))
        self._current_names[track_id] = identity

    def _row_key(self, key: _Key) -> _Key:
        return (None, key[1]) if key[1] is not None else key

    def _close(self, key: _Key) -> None:
        sighting = self._open.pop(key, None)
        if sighting is not None:
            self._rows[self._row_key(key)].sightings.append(sighting.close())

    def _closed_rows(self) -> tuple[TimelineRow, ...]:
        rows: list[TimelineRow] = []
        for (track_id, identity), row in self._rows.items():
            if identity is not None:
                rows.append(row.close("unknown" if is_unknown(identity) else "known", identity))
            elif not self._names[str(track_id)]:
                rows.append(row.close("unnamed", None))
        rows.sort(key=lambda row: (_KIND_ORDER[row.kind], row.first, row.last, natural_key(row.label)))
        return tuple(rows)
