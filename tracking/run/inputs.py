"""The inputs of a run: its frames, its detections, and the classes to track."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.limits import MAX_FPS, MIN_FPS
from tracking.classes import COCO_NAMES, describe_classes, ids_of_classes
from tracking.detections.base import DetectionFeed, FrameDetections
from tracking.detections.detector_feed import DetectorFeed, frames_ahead
from tracking.detections.iterable_feed import IterableFeed
from tracking.detections.reader import open_detections
from tracking.detections.score_level import ScoreLevel
from tracking.detections.source import DetectionSource
from tracking.detectors.base import Detector, DetectorOptions
from tracking.detectors.loader import load_detector
from tracking.errors import DetectionsError, OptionError, OutputError, VideoError
from tracking.frame_times import FrameTimes
from tracking.options import FrameRange, check_range
from tracking.run.detector_scores import sampled_level
from tracking.video.addresses import public_name
from tracking.video.ahead import AheadFrame, AheadReader
from tracking.video.live import LiveReader
from tracking.video.opening import open_video, skip_to
from tracking.video.reader import FrameReader

if TYPE_CHECKING:
    from tracking.options import RunOptions

__all__ = [
    "DetectedFrame",
    "DetectionInput",
    "RunInputs",
    "check_inputs",
    "open_sources",
    "read_ahead",
    "select_classes",
]

DetectionInput = str | Path | Mapping[str, Any] | DetectionSource | Detector | DetectorOptions | Iterable[Any]
"""What a run accepts as detections; see `TrackingRun`."""

Notify = Callable[[str], None]

_FALLBACK_FPS = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class DetectedFrame:
    """A frame of the range with the detections to track.

    Attributes:
        number: Its number.
        detections: Its detections of the selected classes.
        rows: Their rows among all its detections.
        raw: Its entry as the detector wrote it; None without one.
        time: Its presentation time; see `FrameReader`.
        pixels: Its pixels; those of an `AheadReader` stay valid, those of another reader until the next frame is read.
    """

    number: int
    detections: FrameDetections
    rows: NDArray[np.int64]
    raw: dict[str, Any] | None
    time: float | None
    pixels: FrameReader | AheadFrame


@dataclass(frozen=True, slots=True)
class RunInputs:
    """The opened inputs of a run.

    Attributes:
        source: The video as the user named it: a file, a camera's index, or the address of a stream.
        video: The path that outputs and entries are named after; a short name for a live source, which has no path.
        is_live: Whether the source is a camera or a stream, which cannot be read twice.
        feed: The detections.
        reader: The frames.
        frame_range: First frame and the one after the last; None for open ends.
        selected: Ids of the classes to track; None for all.
        class_names: Names by class id.
        times: Times of the frames read so far.
        level: The level of the detections' scores; None where nothing is known of them.
    """

    source: str | Path
    video: Path
    is_live: bool
    feed: DetectionFeed
    reader: FrameReader
    frame_range: tuple[int | None, int | None]
    selected: frozenset[int] | None
    class_names: Mapping[int, str]
    level: ScoreLevel | None = None
    times: FrameTimes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "times", FrameTimes(self.reader.fps))

    @property
    def fps(self) -> float | None:
        """Frames per second; None where unknown, and for a live source, whose frames have times of their own."""
        return None if self.is_live else self.reader.fps

    @property
    def frame_rate(self) -> float:
        """Frames per second as the source or the detections state them; 30 where neither does."""
        stated = float(self.reader.fps or self.feed.video.get("fps") or _FALLBACK_FPS)
        return stated if MIN_FPS <= stated <= MAX_FPS else _FALLBACK_FPS

    @property
    def total(self) -> int | None:
        """Number of frames to process; None where unknown."""
        start, stop = self.frame_range
        count = self.reader.frame_count
        last = count if stop is None else min(stop, count or stop)
        return None if last is None else max(0, last - (start or 0))

    def frames(self) -> Iterator[int]:
        """Read the frames of the range one after another, and yield their numbers."""
        start, stop = self.frame_range
        reader = self.reader
        while (stop is None or reader.frame + 1 < stop) and reader.advance():
            if reader.time is not None:
                self.times.add(reader.frame, reader.time)
            if reader.frame >= (start or 0):
                yield reader.frame

    def detected_frames(self) -> Generator[DetectedFrame, None, None]:
        """Read the frames of the range with their detections, one after another."""
        reader = self.reader
        for frame in self.frames():
            detections, rows = self.detections_at(frame)
            pixels = reader.current() if isinstance(reader, AheadReader) else reader
            yield DetectedFrame(frame, detections, rows, self.feed.raw(frame), pixels.time, pixels)

    def detections_at(self, frame: int) -> tuple[FrameDetections, NDArray[np.int64]]:
        """Return the detections of the selected classes in the current frame, and their rows in the feed's frame."""
        detections = self.feed.at(frame)
        if self.selected is None:
            return detections, np.arange(len(detections))
        rows = np.flatnonzero(np.isin(detections.class_ids, list(self.selected)))
        return _rows_of(detections, rows), rows

    def class_names_of(self, detections: FrameDetections) -> list[str | None]:
        """Return the class name of each detection, None where unknown."""
        return [
            own or self.class_names.get(int(class_id))
            for own, class_id in zip(detections.class_names, detections.class_ids, strict=True)
        ]

    def tracked_class_names(self) -> set[str]:
        """Return the names of the tracked classes; empty where the only class has no name.

        Raises:
            OptionError: There are several classes, and not all of them have a name.
        """
        tracked = [c for c in self.feed.class_ids if self.selected is None or c in self.selected]
        unnamed = [c for c in tracked if c not in self.class_names]
        if unnamed and len(tracked) > 1:
            raise OptionError(
                f"classes {', '.join(map(str, unnamed))} have no name in the detections, so that they cannot be "
                f"compared with the classes of the gallery's identities.",
                field="class_names",
                hint="Name them with `class_names`, or select one class with `classes`.",
            )
        return {self.class_names[c] for c in tracked if c in self.class_names}

    def check_end(self, *, lenient: bool) -> list[str]:
        """Check after the last frame that the video had every frame for which there are detections.

        Returns:
            What was left out, one sentence each; always empty unless lenient.

        Raises:
            DetectionsError: The video ends before the detections do.
            VideoError: The video ends before the range begins.
        """
        start, stop = self.frame_range
        reader = self.reader
        missing = self.feed.beyond(reader.frame)
        # A stop by range or by the user leaves later frames unread; the video's own end does not.
        if stop is not None:
            missing = missing[missing < stop]
        if not missing.size or reader.advance():
            if start is not None and reader.frame < start:
                raise VideoError(
                    f"video {self.video} has {reader.frame + 1} frames, and `frame_range` starts at {start}."
                )
            return []
        text = (
            f"video {self.video} ends after frame {reader.frame}, but there are detections for {missing.size} later "
            f"frames, the first of them frame {int(missing[0])}"
        )
        if lenient:
            return [f"{text}; they are left out"]
        raise DetectionsError(
            f"{text}.",
            hint="Give the video that the detections were made from, or ignore them with `lenient=True`.",
        )


def check_inputs(detections: DetectionInput, source: str | Path, options: RunOptions) -> None:
    """Check that the inputs and the options go together, before anything is opened.

    Raises:
        OptionError: They do not.
    """
    check_range(source, options.frame_range, options.live)
    is_live = options.live.live(source)
    if is_live and options.backfill and options.output.saves_pictures:
        raise OptionError(
            f"`backfill=True` draws pictures in a second pass, and {public_name(source)} cannot be read again.",
            field="backfill",
            hint="Save the JSON alone, or run without `backfill`.",
        )
    if is_live and options.explain:
        raise OptionError(
            f"`explain=True` cuts pictures from the video after the run, and {public_name(source)} cannot be read "
            f"again.",
            field="explain",
            hint="Run it on a recording.",
        )
    if isinstance(detections, DetectorOptions):
        detections.validate()
    elif not isinstance(detections, Detector):
        if is_live:
            raise OptionError(
                f"{public_name(source)} is a live source: detections that were made before cannot belong to it.",
                field="detect",
                hint='Detect during the run, with `detect="builtin"` or the weights of another detector.',
            )
        if options.save_detections is not None:
            raise OptionError(
                "`save_detections` saves the detections of a detector.",
                field="save_detections",
                hint="Use it with `detect`.",
            )


def open_sources(
    detections: DetectionInput, source: str | Path, options: RunOptions, *, stack: ExitStack, notify: Notify
) -> tuple[DetectionFeed, FrameReader]:
    """Open the detections and the frames; files are checked before a detector is loaded.

    Args:
        detections: See `TrackingRun`.
        source: The video.
        options: The run's options.
        stack: Closes the frames; the detections are left to the caller.
        notify: Takes one-line messages.

    Raises:
        DetectionsError, DetectorError, OutputError, VideoError: One of them cannot be opened.
    """
    detector = detections if isinstance(detections, (Detector, DetectorOptions)) else None
    feed: DetectionFeed | None = None
    if isinstance(detections, (str, Path, Mapping, DetectionSource)):
        feed = open_detections(detections, lenient=options.lenient)
        if isinstance(note := feed.header.get("note"), str):
            notify(f"{feed.path or 'the detections'}: {note}.")
    elif detector is None:
        assert isinstance(detections, Iterable)
        feed = IterableFeed(detections, lenient=options.lenient)
    reader: FrameReader = open_video(source, options.live, notify=notify)
    stack.callback(reader.close)
    start = options.frame_range[0]
    if reader.frame_count is not None and (start or 0) >= reader.frame_count:
        raise VideoError(
            f"video {public_name(source)} has {reader.frame_count} frames, and `frame_range` starts at {start}."
        )
    skip_to(reader, start or 0)
    if feed is not None or detector is None:
        assert feed is not None
        if options.needs_all_images:
            reader = read_ahead(reader, options.frame_range, stack=stack)
        return feed, reader
    level = None
    if isinstance(detector, DetectorOptions):
        is_live = isinstance(reader, LiveReader)
        detector = load_detector(detector, notify=notify, concurrent=not is_live)
        if options.needs_score_level and not is_live:
            level = sampled_level(detector, source, reader.frame_count, options.frame_range)
    reader = read_ahead(reader, options.frame_range, detector, stack=stack)
    save = options.save_detections
    if save is not None and not save.parent.is_dir():
        raise OutputError(f"cannot write {save}: there is no folder {save.parent}.")
    return DetectorFeed(detector, reader, name=public_name(source), save=save, level=level), reader


def select_classes(feed: DetectionFeed, options: RunOptions, notify: Notify) -> frozenset[int] | None:
    """Return the ids of the classes to track, None for all; notes those that no detection has.

    Raises:
        OptionError: A name that is neither of the detections' classes nor of COCO's.
    """
    names = {**feed.class_names, **options.class_names}
    selected = ids_of_classes(options.classes, names, "the detections", may_lack=COCO_NAMES)
    if selected is None:
        return None
    lacking = [
        one
        for one in options.classes or ()
        if not set(ids_of_classes([one], names, "", may_lack=COCO_NAMES) or ()) & set(feed.class_ids)
    ]
    if lacking and feed.class_ids:
        notify(
            f"no detection has class {', '.join(map(str, lacking))}; there are "
            f"{describe_classes(feed.class_ids, names)}."
        )
    return frozenset(selected)


def read_ahead(
    reader: FrameReader, frame_range: FrameRange, detector: Detector | None = None, *, stack: ExitStack
) -> FrameReader:
    """Return a reader that decodes in a thread of its own, and as far ahead as a detector needs; not for live sources.

    Args:
        reader: The frames.
        frame_range: First frame that is needed and the one after the last.
        detector: The detector that the frames are for.
        stack: Ends the thread.
    """
    if isinstance(reader, LiveReader):
        return reader
    start, stop = frame_range
    ahead = AheadReader(reader, start=start or 0, stop=stop, frames=1 if detector is None else frames_ahead(detector))
    stack.callback(ahead.close)
    return ahead


def _rows_of(detections: FrameDetections, rows: NDArray[np.int64]) -> FrameDetections:
    if len(rows) == len(detections):
        return detections
    return FrameDetections(
        frame=detections.frame,
        boxes=detections.boxes[rows],
        scores=detections.scores[rows],
        class_ids=detections.class_ids[rows],
        det_inds=detections.det_inds[rows],
        class_names=tuple(detections.class_names[r] for r in rows),
    )
