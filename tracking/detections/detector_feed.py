"""Detections of a detector that runs during the tracking run."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detections.base import FrameDetections
from tracking.detections.frame_feed import FrameByFrameFeed
from tracking.detections.writer import DetectionFile
from tracking.detectors.base import LEVEL_KEY, Detector
from tracking.video.ahead import AheadReader
from tracking.video.reader import FrameReader

__all__ = ["DetectorFeed", "frames_ahead", "video_facts"]


_WAITING_FRAMES = 4
"""Frames that wait for a thread of the detector beside those in it: some frames keep the run longer than others."""


def frames_ahead(detector: Detector) -> int:
    """Return the number of frames of a file that the detector may be given before the run needs their detections."""
    batch_size, workers = _capacity(detector)
    return batch_size * (workers + max(1, _WAITING_FRAMES // batch_size) if workers else 1)


def _capacity(detector: Detector) -> tuple[int, int]:
    """Return the number of frames in a batch, and the number of threads that call the detector; 0: the run's own."""
    return max(1, int(getattr(detector, "batch_size", 1))), int(getattr(detector, "workers", 0))


def video_facts(name: str, reader: FrameReader) -> dict[str, Any]:
    """Return the value of ``video`` in det-v1."""
    return {
        "path": name,
        "fps": reader.fps,
        "frame_count": reader.frame_count,
        "width": reader.width,
        "height": reader.height,
    }


class DetectorFeed(FrameByFrameFeed):
    """Detections of a detector, which runs on the frames as the run reaches them.

    With an `AheadReader`, the detector gets frames in batches. One that has an attribute `workers`, a number of
    threads, gets several batches at the same time, before the run needs them; the results come in order all the same.
    An error is raised at its frame.

    Boxes are rounded to a hundredth of a pixel and scores to four digits, as detect-lib writes them, so that a run
    with the saved detections has the same result.

    Args:
        detector: The detector.
        reader: The video.
        name: Name of the video in det-v1.
        save: Path of a det-v1 file to write as well; None for no file.
        level: The level of the detector's scores, where it is not among its facts: see `score_level`.

    Raises:
        OutputError: The file cannot be written.

    Attributes:
        counts: Number of detections so far, by class id.
    """

    def __init__(
        self,
        detector: Detector,
        reader: FrameReader,
        *,
        name: str,
        save: Path | None = None,
        level: float | None = None,
    ) -> None:
        header = {
            "schema_version": "det-v1",
            "video": video_facts(name, reader),
            "detector": {**detector.facts, **({} if level is None else {LEVEL_KEY: level})},
            "frames_dir": None,
        }
        super().__init__(header, lenient=False)
        self._detector = detector
        self._reader = reader
        self._batch_size, workers = _capacity(detector)
        self._ahead = frames_ahead(detector)
        self._jobs: deque[tuple[tuple[int, ...], Future[list[NDArray[np.float32]]]]] = deque()
        self._found: dict[int, NDArray[np.float32]] = {}
        self._threads: ThreadPoolExecutor | None = None
        if workers and isinstance(reader, AheadReader):
            self._threads = ThreadPoolExecutor(workers, thread_name_prefix="gtrack-detect")
        self._file = None if save is None else DetectionFile(save, header)
        self._names = dict(detector.class_names)
        self.counts: Counter[int] = Counter()
        wanted = detector.facts.get("classes")
        self._class_ids = tuple(sorted(c for c in self._names if wanted is None or c in wanted))

    @property
    def class_ids(self) -> tuple[int, ...]:
        """See `DetectionFeed`. All classes that the detector may find."""
        return self._class_ids

    @property
    def class_names(self) -> Mapping[int, str]:
        """See `DetectionFeed`."""
        return {class_id: self._names[class_id] for class_id in self._class_ids}

    def at(self, frame: int) -> FrameDetections:
        """See `DetectionFeed`.

        Raises:
            DetectorError: The detector failed.
            OutputError: The file cannot be written.
        """
        if frame not in self._found:
            self._found = self._detect(frame)
        reader = self._reader
        entry: dict[str, Any] = {"frame": frame, "file": f"{frame:06d}.jpg"}
        if reader.timestamp is not None:
            entry["timestamp"] = round(reader.timestamp, 3)
        entry["detections"] = self._detections(self._found.pop(frame))
        detections = self._check_entry(entry)
        self.counts.update(detections.class_ids.tolist())
        if self._file is not None:
            self._file.write(entry)
        return detections

    def _detect(self, frame: int) -> dict[int, NDArray[np.float32]]:
        """Return the rows of the batch that begins with the current frame, by frame."""
        reader = self._reader
        if not isinstance(reader, AheadReader):
            return {frame: self._detector.detect([reader.image()])[0]}
        if self._threads is None:
            numbers, images = zip(*reader.upcoming(self._batch_size), strict=True)
            return dict(zip(numbers, self._detector.detect(images), strict=True))
        given = self._jobs[-1][0][-1] if self._jobs else frame - 1
        waiting = [item for item in reader.upcoming(self._ahead) if item[0] > given]
        for first in range(0, len(waiting), self._batch_size):
            numbers, images = zip(*waiting[first : first + self._batch_size], strict=True)
            self._jobs.append((numbers, self._threads.submit(self._detector.detect, images)))
        done, job = self._jobs.popleft()
        return dict(zip(done, job.result(), strict=True))

    def _detections(self, rows: NDArray[np.float32]) -> list[dict[str, Any]]:
        """Return a detector's rows as det-v1 detections."""
        # Convert to float64 first: a rounded float32 has more digits in JSON.
        wide = rows.astype(np.float64)
        detections: list[dict[str, Any]] = []
        boxes, scores = np.round(wide[:, :4], 2).tolist(), np.round(wide[:, 4], 4).tolist()
        for box, score, class_id in zip(boxes, scores, rows[:, 5].astype(int).tolist(), strict=True):
            detection: dict[str, Any] = {"bbox": box, "score": score, "class_id": class_id}
            if class_id in self._names:
                detection["class_name"] = self._names[class_id]
            detection["det_ind"] = len(detections)
            detections.append(detection)
        return detections

    def close(self, note: str | None = None) -> None:
        """See `DetectionFeed`. A run that ends early before its first frame leaves no file."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        if self._file is None:
            return
        if note is not None and not self._file.frames:
            self._file.discard()
        else:
            self._file.close(note)
