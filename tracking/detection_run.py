"""A detection run: from a video to a det-v1 file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracking.detections.detector_feed import DetectorFeed
from tracking.detectors.base import Detector, DetectorOptions
from tracking.detectors.loader import load_detector
from tracking.errors import OutputError, VideoError
from tracking.options import FrameRange, check_range
from tracking.progress import progress_bar
from tracking.run.detector_scores import sampled_level
from tracking.run.inputs import read_ahead
from tracking.video.addresses import public_name
from tracking.video.ahead import AheadReader
from tracking.video.live import LiveOptions, LiveReader
from tracking.video.opening import open_video, skip_to
from tracking.video.reader import FrameReader

__all__ = ["DetectResult", "DetectionRun", "detect_video"]


@dataclass(frozen=True, slots=True)
class DetectResult:
    """The result of a detection run.

    Attributes:
        path: The det-v1 file; None where no frame was done.
        frames: Number of frames done.
        detections: Number of detections by class id.
        class_names: Names by class id.
        seconds: Wall-clock time of the frame loop.
        cpu_seconds: CPU seconds of the frame loop by stage: ``decode`` of a file; ``pre``, ``inference`` and ``post``
            of a detector that measures them; ``rest`` (threads of the decoder's own are part of it).
        dropped: Frames of a live source that were dropped because they came faster than they could be processed.
        reconnects: How often a stream was lost and connected again.
    """

    path: Path | None
    frames: int
    detections: Mapping[int, int]
    class_names: Mapping[int, str]
    seconds: float
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    dropped: int = 0
    reconnects: int = 0


class DetectionRun:
    """One run of a detector over a video.

    Args:
        video: A video file, a camera's index, or the address of a stream.
        detector: The options of a detector, or a loaded one.
        path: The det-v1 file to write.
        frame_range: First frame and the one after the last; for video files only.
        live: How a live source is read.
        notify: Takes one-line messages for the user.

    Raises:
        OptionError: A value out of range, or options that do not go together.
    """

    def __init__(
        self,
        video: str | Path,
        detector: DetectorOptions | Detector,
        path: str | Path,
        *,
        frame_range: FrameRange = (None, None),
        live: LiveOptions | None = None,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self._video = video
        self._detector = detector
        self._path = Path(path)
        self._range = frame_range
        self._live = live or LiveOptions()
        self._notify = notify or (lambda message: None)
        self.result: DetectResult | None = None
        """Set when the file is complete, also after an error or Ctrl-C on the way."""
        if isinstance(detector, DetectorOptions):
            detector.validate()
        check_range(video, frame_range, self._live)

    def execute(self, *, progress: Callable[[int, int | None], None] | None = None) -> DetectResult:
        """Do the run.

        An error or KeyboardInterrupt on the way still completes the file for the frames done, with a ``note``, sets
        `result`, and is then raised.

        Args:
            progress: Called with (frames done, total or None).

        Raises:
            GtrackError: Any leaf of the tree.
        """
        if not self._path.parent.is_dir():
            raise OutputError(f"cannot write {self._path}: there is no folder {self._path.parent}.")
        start, stop = self._range[0] or 0, self._range[1]
        name = public_name(self._video)
        with ExitStack() as stack:
            source = open_video(self._video, self._live, notify=self._notify)
            stack.callback(source.close)
            total = source.frame_count
            if total is not None and start >= total:
                raise VideoError(f"video {name} has {total} frames, and `frame_range` starts at {start}.")
            skip_to(source, start)
            detector = self._detector
            level = None
            if isinstance(detector, DetectorOptions):
                is_live = isinstance(source, LiveReader)
                detector = load_detector(detector, notify=self._notify, concurrent=not is_live)
                if not is_live:
                    level = sampled_level(detector, self._video, total, self._range)
            if total is not None:
                total = (total if stop is None else min(stop, total)) - start
            reader = read_ahead(source, self._range, detector, stack=stack)
            feed = DetectorFeed(detector, reader, name=name, save=self._path, level=level)
            clock = _Clock(detector, reader)
            started, done, note = time.perf_counter(), 0, "stopped before the end"
            try:
                while (stop is None or reader.frame + 1 < stop) and reader.advance():
                    if reader.frame < start:
                        continue
                    feed.at(reader.frame)
                    done += 1
                    if progress:
                        progress(done, total)
                if not done:
                    raise VideoError(
                        f"video {name} has {reader.frame + 1} frames, and `frame_range` starts at {start}."
                    )
                note = ""
            finally:
                of = "" if total is None else f" of {total}"
                feed.close(f"{note}: {done}{of} frames were done" if note else None)
                self.result = DetectResult(
                    path=self._path if done else None,
                    frames=done,
                    detections=dict(sorted(feed.counts.items())),
                    class_names=feed.class_names,
                    seconds=time.perf_counter() - started,
                    cpu_seconds=clock.shares(),
                    dropped=source.dropped if isinstance(source, LiveReader) else 0,
                    reconnects=source.reconnects if isinstance(source, LiveReader) else 0,
                )
        return self.result


class _Clock:
    """Measures CPU seconds by stage."""

    def __init__(self, detector: Detector, reader: FrameReader) -> None:
        self._stages: Any = getattr(detector, "seconds", None)
        self._reader = reader
        self._before = self._now()
        self._started = time.process_time()

    def _now(self) -> dict[str, float]:
        decode = self._reader.decode_seconds if isinstance(self._reader, AheadReader) else 0.0
        return {"decode": decode} | {
            name: float(getattr(self._stages, name, 0.0)) for name in ("pre", "inference", "post")
        }

    def shares(self) -> dict[str, float]:
        """Return the seconds of each stage; see `DetectResult.cpu_seconds`."""
        found = {name: value - self._before[name] for name, value in self._now().items()}
        found["rest"] = max(0.0, time.process_time() - self._started - sum(found.values()))
        return {name: round(value, 3) for name, value in found.items()}


def detect_video(
    *,
    video: str | Path,
    weights: str | Path | DetectorOptions | Detector,
    json_path: str | Path,
    frame_range: FrameRange = (None, None),
    live: LiveOptions | None = None,
    no_progress: bool = False,
    notify: Callable[[str], None] | None = None,
) -> DetectResult:
    """Detect objects in a video and write them as det-v1.

    Args:
        video: A video file, a camera's index (``"0"``), or the address of a stream.
        weights: ``builtin``, a ``.onnx`` or ``.pt`` file, options that name one, or a `Detector` of your own.
        json_path: The file to write.
        frame_range: First frame and the one after the last.
        live: How a live source is read.
        no_progress: No progress bar.
        notify: Takes one-line messages for the user; they are dropped if None.

    Raises:
        GtrackError: Any leaf of the tree in `gallery_db.errors`.
        KeyboardInterrupt: Ctrl-C, after the file is complete for the frames done.
    """
    detector = DetectorOptions(weights=weights) if isinstance(weights, (str, Path)) else weights
    run = DetectionRun(video, detector, json_path, frame_range=frame_range, live=live, notify=notify)
    with progress_bar("detecting", "frames", enabled=not no_progress) as progress:
        return run.execute(progress=progress)
