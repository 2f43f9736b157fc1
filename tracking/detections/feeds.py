"""Where a run's detections come from: a det-v1 file, a detector that looks at each frame, or Python.

The pipeline sees `DetectionFeed` alone. What does not come from a file passes the same checks as if it did: each
frame's detections are put into det-v1's form and read by `tracking.detections.reader`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracking.detections.reader import DetectionSource, FrameDetections, open_detections
from tracking.detections.writer import DetectionFile
from tracking.errors import DetectionsError

if TYPE_CHECKING:
    from tracking.detectors.base import Detector
    from tracking.video.reader import FrameReader

__all__ = ["DetectionFeed", "DetectorFeed", "FramesAhead", "IterableFeed", "video_facts"]


class DetectionFeed(Protocol):
    """The detections of a video, frame by frame; `tracking.detections.reader.DetectionSource` is one.

    Attributes:
        header: Top-level keys of det-v1 but ``frames``.
        path: The file; None where there is none.
        last_frame: The highest frame that is known to have an entry; -1 where that is not known.
        class_ids: Class ids that may occur; empty where that is not known.
        class_names: Names by class id.
        warnings: Reason to count, of what was left out or repaired.
        video: What det-v1 says of the video.
    """

    header: Mapping[str, Any]
    path: str | None
    last_frame: int
    warnings: Mapping[str, int]

    @property
    def video(self) -> Mapping[str, Any]: ...  # noqa: D102

    @property
    def class_ids(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def class_names(self) -> Mapping[int, str]: ...  # noqa: D102

    def at(self, frame: int) -> FrameDetections:
        """The detections of the frame that is current; frames are asked for in their order."""
        ...

    def raw(self, frame: int) -> dict[str, Any] | None:
        """The det-v1 entry of that frame, row for row as `at`; None where it has none."""
        ...

    def beyond(self, frame: int) -> NDArray[np.int64]:
        """Numbers of frames after this one that have an entry, as far as that is known."""
        ...

    def close(self, note: str | None = None) -> None:
        """Complete what the feed writes; `note` says why it ends early, where it does."""
        ...


def video_facts(name: str, reader: FrameReader) -> dict[str, Any]:
    """det-v1's ``video``."""
    return {
        "path": name,
        "fps": reader.fps,
        "frame_count": reader.frame_count,
        "width": reader.width,
        "height": reader.height,
    }


class FramesAhead:
    """A `FrameReader` that can read a few frames ahead, so that a detector gets them as one batch.

    Args:
        reader: Where the frames come from; a file, since a live source must not be waited for.
        size: Most frames of a batch.
        stop: The frame before which reading ends; None for the end of the video.
    """

    def __init__(self, reader: FrameReader, size: int, stop: int | None) -> None:
        self._reader = reader
        self._size = size
        self._stop = stop
        self._ahead: deque[tuple[int, NDArray[np.uint8]]] = deque()
        self._current: tuple[int, NDArray[np.uint8]] | None = None
        self.width, self.height = reader.width, reader.height
        self.fps, self.frame_count = reader.fps, reader.frame_count

    @property
    def frame(self) -> int:
        """See `FrameReader`."""
        return self._reader.frame if self._current is None else self._current[0]

    @property
    def timestamp(self) -> float | None:
        """See `FrameReader`."""
        return None

    def advance(self) -> bool:
        """See `FrameReader`."""
        if self._ahead:
            self._current = self._ahead.popleft()
            return True
        if self._reader.advance():
            self._current = None
            return True
        return False

    def image(self) -> NDArray[np.uint8]:
        """See `FrameReader`."""
        return self._reader.image() if self._current is None else self._current[1]

    def batch(self) -> list[tuple[int, NDArray[np.uint8]]]:
        """The current frame and those after it, each with its number; they are decoded once."""
        if self._current is None:
            self._current = self._reader.frame, self._reader.image()
        frames = [self._current, *self._ahead]
        while (
            len(frames) < self._size
            and (self._stop is None or self._reader.frame + 1 < self._stop)
            and self._reader.advance()
        ):
            frames.append((self._reader.frame, self._reader.image()))
            self._ahead.append(frames[-1])
        return frames

    def close(self) -> None:
        """See `FrameReader`."""
        self._reader.close()


class _FrameByFrame:
    """What feeds share that learn of a frame's detections when they are asked for it."""

    path: str | None = None
    last_frame = -1

    def __init__(self, header: Mapping[str, Any], *, lenient: bool) -> None:
        self.header: Mapping[str, Any] = MappingProxyType(dict(header))
        self._lenient = lenient
        self._counted: Counter[str] = Counter()
        self.warnings: Mapping[str, int] = self._counted
        self._checked: DetectionSource | None = None

    @property
    def video(self) -> Mapping[str, Any]:
        """Empty: nothing was known of the video before it was opened."""
        return {}

    def _check(self, entry: dict[str, Any]) -> FrameDetections:
        """Check a frame's entry as one of a file is checked, and keep it for `raw`."""
        document = {"schema_version": "det-v1", "frames": [entry]}
        self._checked = open_detections(document, lenient=self._lenient)
        self._counted.update(self._checked.warnings)
        return self._checked.at(int(entry["frame"]))

    def raw(self, frame: int) -> dict[str, Any] | None:
        """See `DetectionFeed`."""
        return None if self._checked is None else self._checked.raw(frame)

    def beyond(self, frame: int) -> NDArray[np.int64]:
        """See `DetectionFeed`; nothing is known of later frames."""
        return np.empty(0, np.int64)

    def close(self, note: str | None = None) -> None:
        """See `DetectionFeed`."""


class DetectorFeed(_FrameByFrame):
    """Detections by a detector that looks at each frame when the run comes to it.

    Boxes are rounded to a hundredth of a pixel and scores to four digits, as detect-lib writes them, so that a run
    from saved detections is the same run.

    Args:
        detector: The detector.
        reader: The video; with `FramesAhead`, several frames are detected at once.
        name: The video's name, for det-v1.
        save: Also write the detections to this file.

    Raises:
        OutputError: The file cannot be written.

    Attributes:
        counts: Detections so far, by class id.
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
        self._ready: dict[int, NDArray[np.float32]] = {}
        self._file = None if save is None else DetectionFile(save, header)
        self._names = dict(detector.class_names)
        self.counts: Counter[int] = Counter()
        wanted = detector.facts.get("classes")
        self._class_ids = tuple(sorted(c for c in self._names if wanted is None or c in wanted))

    @property
    def class_ids(self) -> tuple[int, ...]:
        """See `DetectionFeed`: all that the detector may find."""
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
        if frame not in self._ready:
            batch = reader.batch() if isinstance(reader, FramesAhead) else [(frame, reader.image())]
            found = self._detector.detect([image for _, image in batch])
            self._ready = {number: rows for (number, _), rows in zip(batch, found, strict=True)}
        entry: dict[str, Any] = {"frame": frame, "file": f"{frame:06d}.jpg"}
        if reader.timestamp is not None:
            entry["timestamp"] = round(reader.timestamp, 3)
        entry["detections"] = self._detections(self._ready.pop(frame))
        detections = self._check(entry)
        self.counts.update(detections.class_ids.tolist())
        if self._file is not None:
            self._file.write(entry)
        return detections

    def _detections(self, rows: NDArray[np.float32]) -> list[dict[str, Any]]:
        # float64 first: a float32 rounded to two digits is not what JSON would show.
        wide = rows.astype(np.float64)
        detections: list[dict[str, Any]] = []
        boxes, scores = np.round(wide[:, :4], 2).tolist(), np.round(wide[:, 4], 4).tolist()
        for box, score, kind in zip(boxes, scores, rows[:, 5].astype(int).tolist(), strict=True):
            detection: dict[str, Any] = {"bbox": box, "score": score, "class_id": kind}
            if kind in self._names:
                detection["class_name"] = self._names[kind]
            detection["det_ind"] = len(detections)
            detections.append(detection)
        return detections

    def close(self, note: str | None = None) -> None:
        """See `DetectionFeed`; a file without a frame is not left behind by a run that ended early."""
        if self._file is None:
            return
        if note is not None and not self._file.frames:
            self._file.discard()
        else:
            self._file.close(note)


class IterableFeed(_FrameByFrame):
    """Detections from Python, one item a frame from frame 0 on.

    An item is an array of 5 or 6 columns (x1, y1, x2, y2 in pixels, score in [0, 1], and a class id; without one
    it is -1), a ``Detections`` of supervision, a ``Results`` of Ultralytics, or None for a frame without any.

    Args:
        items: The items; they are taken as the run comes to their frames.
        lenient: Leave unusable detections out, counted, and take a missing end for frames without detections.
    """

    def __init__(self, items: Iterable[Any], *, lenient: bool = False) -> None:
        super().__init__({"schema_version": "det-v1"}, lenient=lenient)
        self._items: Iterator[Any] = iter(items)
        self._next = 0

    @property
    def class_ids(self) -> tuple[int, ...]:
        """See `DetectionFeed`; not known."""
        return ()

    @property
    def class_names(self) -> Mapping[int, str]:
        """See `DetectionFeed`; not known."""
        return {}

    def at(self, frame: int) -> FrameDetections:
        """See `DetectionFeed`.

        Raises:
            DetectionsError: An item is of no known form, a detection cannot be used, or the items end too early.
        """
        item = None
        while self._next <= frame:
            try:
                item = next(self._items)
            except StopIteration:
                if not self._lenient:
                    raise DetectionsError(
                        f"the detections end after frame {self._next - 1}, and the video goes on.",
                        hint="Give one item a frame (None where there is no detection), or limit the run with a range.",
                    ) from None
                item = None
            self._next += 1
        return self._check({"frame": frame, "detections": _detections_of(item, frame)})

    def beyond(self, frame: int) -> NDArray[np.int64]:
        """See `DetectionFeed`: the next item's frame, if there is one."""
        for _ in self._items:
            self._next += 1
            return np.array([self._next - 1], np.int64)
        return np.empty(0, np.int64)


def _numpy(value: Any) -> NDArray[np.float64]:
    # A tensor, perhaps on a GPU.
    return np.asarray(value.cpu() if hasattr(value, "cpu") else value, np.float64)


def _columns(item: Any) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], list[str | None]]:
    """Boxes, scores, class ids and names of an item; see `IterableFeed`.

    Raises:
        ValueError, TypeError, AttributeError: It is of no known form.
    """
    if item is None:
        return np.empty((0, 4)), np.empty(0), np.empty(0), []
    if hasattr(item, "xyxy") and hasattr(item, "confidence"):  # supervision
        boxes = _numpy(item.xyxy).reshape(-1, 4)
        scores = np.ones(len(boxes)) if item.confidence is None else _numpy(item.confidence)
        kinds = np.full(len(boxes), -1.0) if item.class_id is None else _numpy(item.class_id)
        given = (item.data or {}).get("class_name")
        names: list[str | None] = [None] * len(boxes)
        if given is not None:
            names = [None if name is None else str(name) for name in given]
        return boxes, scores, kinds, names
    if hasattr(item, "boxes") and hasattr(item, "names"):  # Ultralytics
        if item.boxes is None:
            raise ValueError("results without boxes")
        boxes = _numpy(item.boxes.xyxy).reshape(-1, 4)
        kinds = _numpy(item.boxes.cls).reshape(-1)
        return boxes, _numpy(item.boxes.conf).reshape(-1), kinds, [item.names.get(int(kind)) for kind in kinds]
    rows = _numpy(item)
    if rows.size == 0:
        return _columns(None)
    if rows.ndim != 2 or rows.shape[1] not in (5, 6):
        raise ValueError(f"an array of shape {list(rows.shape)}")
    kinds = rows[:, 5] if rows.shape[1] == 6 else np.full(len(rows), -1.0)
    return rows[:, :4], rows[:, 4], kinds, [None] * len(rows)


def _detections_of(item: Any, frame: int) -> list[dict[str, Any]]:
    """The det-v1 detections of an item; see `IterableFeed`."""
    detections: list[dict[str, Any]] = []
    try:
        boxes, scores, kinds, names = _columns(item)
        for box, score, kind, name in zip(boxes.tolist(), scores.tolist(), kinds.tolist(), names, strict=True):
            detection = {"bbox": box, "score": score, "class_id": int(kind) if kind % 1 == 0 else kind}
            if name is not None:
                detection["class_name"] = name
            detections.append({**detection, "det_ind": len(detections)})
    except (TypeError, ValueError, AttributeError) as error:
        raise DetectionsError(
            f"the detections of frame {frame} cannot be read: {type(item).__name__}: {error}.",
            hint="Expected an array (N, 5) or (N, 6) of x1, y1, x2, y2, score, class id; a Detections of supervision; "
            "a Results of Ultralytics; or None.",
        ) from error
    return detections
