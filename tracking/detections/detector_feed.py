"""Detections of a detector that runs during the tracking run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detections.base import FrameDetections
from tracking.detections.frame_feed import FrameByFrameFeed
from tracking.detections.writer import DetectionFile
from tracking.detectors.base import Detector
from tracking.video.lookahead import LookaheadReader
from tracking.video.reader import FrameReader

__all__ = ["DetectorFeed", "video_facts"]


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
    """Detections of a detector, which runs on each frame when the run reaches it.

    Boxes are rounded to a hundredth of a pixel and scores to four digits, as detect-lib writes them, so that a run
    with the saved detections has the same result.

    Args:
        detector: The detector.
        reader: The video; with a `LookaheadReader`, the detector gets several frames at once.
        name: Name of the video in det-v1.
        save: Path of a det-v1 file to write as well; None for no file.

    Raises:
        OutputError: The file cannot be written.

    Attributes:
        counts: Number of detections so far, by class id.
    """

    def __init__(self, detector: Detector, reader: FrameReader, *, name: str, save: Path | None = None) -> None:
        header = {
            "schema_version": "det-v1",
            "video": video_facts(name, reader),
            "detector": dict(detector.facts),
            "frames_dir": None,
        }
        super().__init__(header, lenient=False)
        self._detector = detector
        self._reader = reader
        self._pending: dict[int, NDArray[np.float32]] = {}
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
        reader = self._reader
        if frame not in self._pending:
            batch = reader.batch() if isinstance(reader, LookaheadReader) else [(frame, reader.image())]
            found = self._detector.detect([image for _, image in batch])
            self._pending = {number: rows for (number, _), rows in zip(batch, found, strict=True)}
        entry: dict[str, Any] = {"frame": frame, "file": f"{frame:06d}.jpg"}
        if reader.timestamp is not None:
            entry["timestamp"] = round(reader.timestamp, 3)
        entry["detections"] = self._detections(self._pending.pop(frame))
        detections = self._check_entry(entry)
        self.counts.update(detections.class_ids.tolist())
        if self._file is not None:
            self._file.write(entry)
        return detections

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
        if self._file is None:
            return
        if note is not None and not self._file.frames:
            self._file.discard()
        else:
            self._file.close(note)
