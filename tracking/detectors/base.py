"""What a detector is, and what shapes one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tracking.errors import OptionError

__all__ = ["NETWORK_NMS_IOU", "Detector", "DetectorOptions", "Family", "StageSeconds", "keep_best", "within"]

Family = Literal["auto", "yolox", "yolov5", "yolov8", "end2end"]
"""Forms of a network's output; see `tracking.detectors.decode`."""

NETWORK_NMS_IOU = 0.5
"""What networks are suppressed with unless asked otherwise."""

_MIN_SIDE = 1.0

_CANDIDATES = 3000


@runtime_checkable
class Detector(Protocol):
    """Finds objects in frames."""

    @property
    def class_names(self) -> Mapping[int, str]:
        """Names by class id, as far as they are known."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What det-v1 says of its ``detector``; JSON types."""
        ...

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Find objects.

        Args:
            frames: Any number of (H, W, 3) uint8 BGR of one size; not changed.

        Returns:
            For each frame (N, 6) floats: x1, y1, x2, y2 in pixels of the frame, the score in [0, 1], and the
            class id; best scores first.

        Raises:
            DetectorError: The model failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """Which detector, and how it is to run.

    Attributes:
        weights: ``builtin``, or a file: ``.onnx``, or ``.pt`` of Ultralytics; a bare name is looked up in `models_dir`.
        score_threshold: Lowest score that is kept, in (0, 1]. Trackers make use of weak detections, so it is low.
        nms_iou: IoU from which the weaker of two boxes of a class is dropped, in (0, 1]; None: 0.5, and 0.3 for
            ``builtin``, which finds people at several sizes. Networks that do that themselves (end to end) are
            left as they are.
        classes: Class ids to detect; None for all.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, an index, or ``mps``.
        half: FP16, for Ultralytics weights on a GPU; an ONNX model's precision is in its file.
        batch_size: Frames per inference, where the model allows it.
        image_size: Pixels of the network's square input, where the model leaves it open; of the longer side of
            the frame for ``builtin``. None: what the model says, else 640 (``builtin``: 1152).
        threads: CPU threads; None: the cores, at most 4.
        family: Form of an ONNX model's output, where ``auto`` guesses wrong.
        class_names: Names by class id, for a model that knows none.
        models_dir: Where bare names are looked up.
    """

    weights: str | Path = "builtin"
    score_threshold: float = 0.1
    nms_iou: float | None = None
    classes: Sequence[int] | None = None
    device: str = "auto"
    half: bool = False
    batch_size: int = 1
    image_size: int | None = None
    threads: int | None = None
    family: Family = "auto"
    class_names: Mapping[int, str] = field(default_factory=dict)
    models_dir: str | Path = "models"

    def validate(self) -> None:
        """Check values before a model is loaded.

        Raises:
            OptionError: One that makes no sense.
        """
        for name, value in (("--score-threshold", self.score_threshold), ("--nms-iou", self.nms_iou)):
            if value is not None and not 0.0 < value <= 1.0:
                raise OptionError(f"{name} must be above 0 and at most 1, got {value}.")
        if self.batch_size < 1:
            raise OptionError(f"--batch-size must be at least 1, got {self.batch_size}.")
        if self.image_size is not None and not 32 <= self.image_size <= 8192:
            raise OptionError(f"--image-size must be 32 to 8192 pixels, got {self.image_size}.")
        if self.family not in get_args(Family):
            raise OptionError(f"--family must be one of {', '.join(get_args(Family))}, got {self.family!r}.")
        if self.classes is not None and not self.classes:
            raise OptionError("--classes names no class.")


@dataclass(slots=True)
class StageSeconds:
    """CPU seconds of a detector's stages so far, over all threads of the process.

    Attributes:
        pre: Resizing and arranging pixels.
        inference: The network itself.
        post: Decoding its output, non-maximum suppression.
    """

    pre: float = 0.0
    inference: float = 0.0
    post: float = 0.0

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add what the block costs to a stage."""
        started = time.process_time()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.process_time() - started)


def keep_best(
    boxes: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    classes: NDArray[np.integer[Any]],
    *,
    nms_iou: float | None,
    most: int = 300,
) -> NDArray[np.float32]:
    """Non-maximum suppression, class by class.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,).
        classes: (N,).
        nms_iou: IoU from which the weaker of two boxes goes; None to suppress nothing.
        most: Most rows to return.

    Returns:
        (M, 6) as `Detector.detect` says, best first.
    """
    import cv2

    order = np.argsort(-scores, kind="stable")[:_CANDIDATES]
    if nms_iou is not None and len(order) > 1:
        corner = np.hstack([boxes[order, :2], boxes[order, 2:] - boxes[order, :2]]).astype(np.float64)
        rows = corner.tolist(), scores[order].astype(np.float32).tolist(), classes[order].astype(int).tolist()
        kept = cv2.dnn.NMSBoxesBatched(*rows, 0.0, nms_iou)
        # Returned class by class; the order by score is ours.
        order = order[np.sort(np.asarray(kept, np.int64).ravel())]
    order = order[:most]
    return np.hstack([boxes[order], scores[order, None], classes[order, None]]).astype(np.float32)


def within(rows: NDArray[np.float32], frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Rows as of `Detector.detect`, clipped to the frame; what is thinner than a pixel there shows nothing."""
    height, width = frame.shape[:2]
    rows[:, :4] = np.clip(rows[:, :4], 0.0, [width, height, width, height])
    return rows[((rows[:, 2:4] - rows[:, :2]) >= _MIN_SIDE).all(axis=1)]
