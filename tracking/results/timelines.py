"""Who was there, from when to when, where, and how surely; and which of that is doubtful.

A `Stretch` is a track under one name, as long as it lasts. Stretches of one identity make a `Presence`, a line of
the timeline; so do those of a track that never got a name. Memory grows with the stretches, not with the frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tracking.enrolment.base import is_unknown
from tracking.errors import OptionError
from tracking.results.issues import Doubt, doubts_of
from tracking.results.presence import Box, Kind, Presence, Stretch, clock, natural, without_none
from tracking.results.reading import Source, TrackReader, read_tracks
from tracking.results.track_frame import TrackFrame

__all__ = ["Timeline", "timeline"]

_FALLBACK_FPS = 30.0
_PATH = 96
"""Points of a path at most; beyond, every other one goes and half as many are taken from then on."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """The timeline of a run. Made by `timeline`.

    Attributes:
        name: Where it is from, for messages.
        header: The document's header: every top-level key of track-v1 but ``frames``.
        fps: Frames per second of the video; None where unknown.
        threshold: Largest distance at which the run gave a name; None where unknown.
        has_tracks: False where track ids mean nothing from frame to frame (`gallery_only`).
        first_frame, last_frame: The frames that have an entry; None where there is none.
        frames: Number of such frames.
        detections, tracked, named: How many there were.
        tracks: Number of tracks.
        max_gap: Frames out of sight that do not end a stretch.
        presences: Known people first, then strangers with a name, then tracks without; each by first appearance.
        doubts: By frame.
        class_names: Class id to the detector's latest word for it (None where it has none), of tracked detections.
        track_names: Track id to the names that it carried, in order; every track has an entry.
    """

    name: str
    header: Mapping[str, Any]
    fps: float | None
    threshold: float | None
    has_tracks: bool
    first_frame: int | None
    last_frame: int | None
    frames: int
    detections: int
    tracked: int
    named: int
    tracks: int
    max_gap: int
    presences: tuple[Presence, ...]
    doubts: tuple[Doubt, ...]
    class_names: Mapping[int, str | None]
    track_names: Mapping[str, tuple[str, ...]]

    def of_kind(self, *kinds: Kind) -> tuple[Presence, ...]:
        """The lines of these kinds."""
        return tuple(presence for presence in self.presences if presence.kind in kinds)

    def as_dict(self) -> dict[str, Any]:
        """The whole as JSON types; docs/reference/tracks-formats.md says what each key means."""
        video, tracker = self.header.get("video"), self.header.get("tracker")
        return without_none(
            format="gtrack-timeline",
            version=1,
            video=video,
            tracker=tracker,
            created_at_utc=self.header.get("created_at_utc"),
            first_frame=self.first_frame,
            last_frame=self.last_frame,
            frames=self.frames,
            detections=self.detections,
            tracked=self.tracked,
            named=self.named,
            tracks=self.tracks,
            max_gap=self.max_gap,
            presences=[presence.as_dict(self.fps) for presence in self.presences],
            doubts=[doubt.as_dict() for doubt in self.doubts],
        )


def timeline(
    source: Source | Timeline,
    *,
    classes: Collection[int] | None = None,
    max_gap: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Timeline:
    """Tell who was there when, where, and how surely.

    Args:
        source: What `read_tracks` takes; a `Timeline` is returned as it is.
        classes: Only detections of these class ids; None for all.
        max_gap: Frames that somebody may be out of sight without a new stretch beginning; None for one second.
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
        raise OptionError(f"max_gap must be at least 0 frames, got {max_gap}.")
    builder = _Builder(reader, max_gap)
    for done, frame in enumerate(reader, 1):
        builder.add(frame)
        if progress is not None:
            progress(done, reader.frame_count)
    return builder.build()


class _Mean:
    """A mean of what is known, and the worst of it."""

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


class _OpenStretch:
    __slots__ = ("distance", "first", "first_box", "frames", "identity", "last", "last_box", "track_id")

    def __init__(self, track_id: str | None, identity: str | None, frame: int, box: Box) -> None:
        self.track_id, self.identity = track_id, identity
        self.first = self.last = frame
        self.frames = 0
        self.first_box = self.last_box = box
        self.distance = _Mean()

    def add(self, frame: int, box: Box, distance: float) -> None:
        # A name that stands twice in a frame of gallery_only counts once.
        self.frames += frame != self.last or not self.frames
        self.last, self.last_box = frame, box
        self.distance.add(distance, frame)

    def close(self) -> Stretch:
        known = self.distance.count > 0
        return Stretch(
            self.track_id,
            self.identity,
            self.first,
            self.last,
            self.frames,
            self.distance.mean,
            self.distance.worst if known else None,
            self.distance.worst_frame if known else None,
            self.first_box,
            self.last_box,
        )


@dataclass(slots=True)
class _Line:
    """What is known of an identity, or of a track while it had no name."""

    class_name: str | None = None
    frames: int = 0
    last: int = -1
    distance: _Mean = field(default_factory=_Mean)
    score: _Mean = field(default_factory=_Mean)
    sum_x: float = 0.0
    sum_y: float = 0.0
    seen: int = 0
    step: int = 1
    path: list[tuple[int, float, float]] = field(default_factory=list)
    stretches: list[Stretch] = field(default_factory=list)

    def add(self, frame: int, box: Box, class_name: str | None, score: float, distance: float) -> None:
        self.frames += frame != self.last
        self.last = frame
        self.class_name = class_name if class_name is not None else self.class_name
        self.distance.add(distance)
        self.score.add(score)
        x1, y1, x2, y2 = box
        self.sum_x += (x1 + x2) / 2
        self.sum_y += (y1 + y2) / 2
        if self.seen % self.step == 0:
            if len(self.path) == _PATH:
                self.path = self.path[::2]
                self.step *= 2
            if self.seen % self.step == 0:
                self.path.append((frame, round((x1 + x2) / 2, 1), round(y2, 1)))
        self.seen += 1

    def close(self, kind: Kind, identity: str | None) -> Presence:
        stretches = sorted(self.stretches, key=lambda s: (s.first, s.last))
        last = max(stretches, key=lambda s: s.last)
        tracks = dict.fromkeys(s.track_id for s in stretches if s.track_id is not None)
        return Presence(
            kind,
            identity,
            tuple(tracks),
            self.class_name,
            stretches[0].first,
            last.last,
            self.frames,
            tuple(stretches),
            self.distance.mean,
            self.distance.worst if self.distance.count else None,
            self.score.mean,
            stretches[0].first_box,
            last.last_box,
            (self.sum_x / self.seen, self.sum_y / self.seen),
            tuple(self.path),
        )


class _Builder:
    def __init__(self, reader: TrackReader, max_gap: int) -> None:
        self._reader = reader
        self._max_gap = max_gap
        self._open: dict[tuple[str | None, str | None], _OpenStretch] = {}
        self._current: dict[str, str | None] = {}
        self._lines: dict[tuple[str | None, str | None], _Line] = {}
        self._names: dict[str, list[str]] = {}
        self._class_names: dict[int, str | None] = {}
        self._twice: dict[tuple[str, str | None, str | None], list[int]] = {}
        self._frames = self._detections = self._tracked = self._named = 0
        self._first: int | None = None
        self._last: int | None = None

    def add(self, frame: TrackFrame) -> None:
        number = frame.frame
        self._first = number if self._first is None else self._first
        self._last = number
        self._frames += 1
        self._detections += len(frame)
        boxes, scores, distances = frame.boxes.tolist(), frame.scores.tolist(), frame.distances.tolist()
        bearers: dict[str, str | None] = {}
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
                names = self._names.setdefault(track_id, [])
                if identity is not None and identity not in names:
                    names.append(identity)
                # The stretch of another name ends here, also if the track gets that name back at once.
                if track_id in self._current and self._current[track_id] != identity:
                    self._close((track_id, self._current[track_id]))
                self._current[track_id] = identity
            if identity is not None and identity in bearers:
                self._twice.setdefault((identity, bearers[identity], track_id), []).append(number)
            elif identity is not None:
                bearers[identity] = track_id
            key = (track_id, identity)
            stretch = self._open.get(key)
            if stretch is not None and number - stretch.last - 1 > self._max_gap:
                self._close(key)
                stretch = None
            if stretch is None:
                stretch = self._open[key] = _OpenStretch(track_id, identity, number, box)
            stretch.add(number, box, distances[row])
            line = self._lines.setdefault(self._line_key(key), _Line())
            line.add(number, box, class_name, scores[row], distances[row])

    def _line_key(self, key: tuple[str | None, str | None]) -> tuple[str | None, str | None]:
        return (None, key[1]) if key[1] is not None else key

    def _close(self, key: tuple[str | None, str | None]) -> None:
        stretch = self._open.pop(key, None)
        if stretch is not None:
            self._lines[self._line_key(key)].stretches.append(stretch.close())

    def build(self) -> Timeline:
        for key in list(self._open):
            self._close(key)
        presences: list[Presence] = []
        stretches: list[Stretch] = []
        for (track_id, identity), line in self._lines.items():
            stretches += line.stretches
            if identity is not None:
                presences.append(line.close("unknown" if is_unknown(identity) else "known", identity))
            elif not self._names[str(track_id)]:
                presences.append(line.close("unnamed", None))
        order = {"known": 0, "unknown": 1, "unnamed": 2}
        presences.sort(key=lambda p: (order[p.kind], p.first, p.last, natural(p.label)))
        reader = self._reader
        threshold = reader.config.get("gallery_match_threshold")
        threshold = float(threshold) if isinstance(threshold, (int, float)) and threshold > 0 else None
        doubts = [
            *doubts_of(stretches, threshold, reader.fps, self._max_gap),
            *self._doubts_of_frames(),
        ]
        return Timeline(
            name=reader.name,
            header=reader.header,
            fps=reader.fps,
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
            presences=tuple(presences),
            doubts=tuple(sorted(doubts, key=lambda d: (d.frame, d.kind, d.identity, natural(d.track_id or "")))),
            class_names=dict(sorted(self._class_names.items())),
            track_names={track: tuple(self._names[track]) for track in sorted(self._names, key=natural)},
        )

    def _doubts_of_frames(self) -> Iterable[Doubt]:
        for (identity, one, other), frames in self._twice.items():
            who = "twice" if one is None else f"on track {one} and track {other}"
            count = f"in {len(frames)} frames, first" if len(frames) > 1 else "in one frame,"
            text = f"{identity} stands {who} {count} at {clock(frames[0], self._reader.fps)}."
            yield Doubt("twice", identity, other, frames[0], text, other_track=one)
