"""The interface of detectors, their options, and what they share: timing and non-maximum suppression."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tracking.classes import Classes
from tracking.errors import OptionError

__all__ = [
    "LEVEL_KEY",
    "NETWORK_NMS_IOU",
    "Detector",
    "DetectorOptions",
    "Family",
    "StageSeconds",
    "clip_rows",
    "suppress_overlaps",
]

Family = Literal["auto", "yolox", "yolov5", "yolov8", "end2end"]
"""Families of output layouts; see `tracking.detectors.decode`."""

NETWORK_NMS_IOU = 0.5
"""Default IoU threshold of non-maximum suppression for networks."""

_MIN_SIDE = 1.0
"""Smallest side of a box in pixels, after clipping."""

_MAX_CANDIDATES = 3000
"""Maximum number of boxes that enter non-maximum suppression."""

LEVEL_KEY = "score_level"
"""Key of `Detector.facts`, and so of ``detector`` in det-v1: the score that the detector gives to what it is sure of.
See `tracking.detections.score_level`; a detector may leave it out."""


@runtime_checkable
class Detector(Protocol):
    """Finds objects in frames.

    A detector may have two more attributes: ``batch_size``, the number of frames that it takes at once, and
    ``workers``, the number of threads that may call `detect` at the same time. Without ``workers``, the run's own
    thread calls it.
    """

    @property
    def class_names(self) -> Mapping[int, str]:
        """Class id to name, as far as names are known."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """The value of ``detector`` in det-v1, of JSON types."""
        ...

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Find objects in frames.

        Args:
            frames: Any number of (H, W, 3) uint8 BGR images of one size; they are not changed.

        Returns:
            For each frame (N, 6) float32: x1, y1, x2, y2 in pixels of the frame, the score in [0, 1], and the class
            id; best scores first.

        Raises:
            DetectorError: The model failed.
        """
        ...


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """Options of a detector.

    Attributes:
        weights: ``builtin``, an ``.onnx`` file, a ``.pt`` file of Ultralytics, the name of a published model
            (`gtrack models list`), or ``hf://OWNER/REPOSITORY/FILE``; bare names are found in `models_dir`.
        score_threshold: Lowest score that is kept, in (0, 1]. It is low because trackers use weak detections as well.
        nms_iou: IoU threshold of non-maximum suppression in each class, in (0, 1]; None for 0.5, or 0.3 for
            ``builtin``, which finds one person at several sizes. End-to-end networks do it themselves and ignore this.
        classes: Ids or names of the classes to detect; None for all.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, an index, ``mps``, or for ONNX models ``tensorrt`` or
            ``tensorrt:N``.
        half: Compute in FP16, for Ultralytics weights on a GPU, and in TensorRT; elsewhere an ONNX model's precision
            is in its file.
        batch_size: Frames per inference, if the model allows it.
        image_size: Side of the network's square input in pixels, if the model does not fix it; for ``builtin``, the
            longer side of the scaled frame. None for the model's own size, else 640 (``builtin``: 1152).
        threads: CPU threads; None for the number of cores, at most 4. An ``.onnx`` model computes as many frames of a
            file at the same time, and a frame of a live source with all of them.
        family: Family of an ONNX model's output, if ``auto`` does not recognise it.
        class_names: Class id to name, for a model without names.
        models_dir: Folder in which bare names are looked up.
        trust_weights: Whether the ``.pt`` file that `weights` names may run code, as such files can (see
            `tracking.reid.trust`). It is remembered for that file.
        download: Whether a published model may be downloaded into the cache.
    """

    weights: str | Path = "builtin"
    score_threshold: float = 0.1
    nms_iou: float | None = None
    classes: Classes | None = None
    device: str = "auto"
    half: bool = False
    batch_size: int = 1
    image_size: int | None = None
    threads: int | None = None
    family: Family = "auto"
    class_names: Mapping[int, str] = field(default_factory=dict)
    models_dir: str | Path = "models"
    trust_weights: bool = False
    download: bool = False

    def validate(self) -> None:
        """Check the values before a model is loaded.

        Raises:
            OptionError: A value is out of its range.
        """
        for name, value in (("score_threshold", self.score_threshold), ("nms_iou", self.nms_iou)):
            if value is not None and not 0.0 < value <= 1.0:
                raise OptionError(f"`{name}` must be above 0 and at most 1, found {value}.", field=name)
        if self.batch_size < 1:
            raise OptionError(f"`batch_size` must be at least 1, found {self.batch_size}.", field="batch_size")
        if self.image_size is not None and not 32 <= self.image_size <= 8192:
            raise OptionError(f"`image_size` must be 32 to 8192 pixels, found {self.image_size}.", field="image_size")
        if self.family not in get_args(Family):
            raise OptionError(
                f"`family` must be one of {', '.join(get_args(Family))}, found {self.family!r}.", field="family"
            )
        if self.classes is not None and not self.classes:
            raise OptionError("`classes` must name at least one class, or be None for all.", field="classes")


@dataclass(slots=True)
class StageSeconds:
    """CPU seconds spent in the stages of a detector so far.

    Attributes:
        pre: Preparing the input.
        inference: Running the network.
        post: Decoding its output, and non-maximum suppression.
        own_thread: Count the calling thread alone, for a detector that several threads call at the same time;
            otherwise all threads of the process.
    """

    pre: float = 0.0
    inference: float = 0.0
    post: float = 0.0
    own_thread: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the CPU seconds of a ``with`` block to a stage."""
        clock = time.thread_time if self.own_thread else time.process_time
        started = clock()
        try:
            yield
        finally:
            spent = clock() - started
            with self._lock:
                setattr(self, stage, getattr(self, stage) + spent)


def suppress_overlaps(
    boxes: NDArray[np.floating[Any]],
    scores: NDArray[np.floating[Any]],
    classes: NDArray[np.integer[Any]],
    *,
    nms_iou: float | None,
    limit: int = 300,
) -> NDArray[np.float32]:
    """Return the best boxes after non-maximum suppression in each class.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,) scores.
        classes: (N,) class ids.
        nms_iou: IoU from which the weaker of two boxes is dropped; None for no suppression.
        limit: Maximum number of rows to return.

    Returns:
        (M, 6) rows as of `Detector.detect`, best first.
    """
    import cv2

    order = np.argsort(-scores, kind="stable")[:_MAX_CANDIDATES]
    if nms_iou is not None and len(order) > 1:
        corner = np.hstack([boxes[order, :2], boxes[order, 2:] - boxes[order, :2]]).astype(np.float64)
        rows = corner.tolist(), scores[order].astype(np.float32).tolist(), classes[order].astype(int).tolist()
        kept = cv2.dnn.NMSBoxesBatched(*rows, 0.0, nms_iou)
        # OpenCV returns them class by class; restore the order by score.
        order = order[np.sort(np.asarray(kept, np.int64).ravel())]
    order = order[:limit]
    return np.hstack([boxes[order], scores[order, None], classes[order, None]]).astype(np.float32)


def clip_rows(rows: NDArray[np.float32], frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Clip rows, as of `Detector.detect`, to the frame. Boxes less than a pixel wide or high after that are dropped."""
    height, width = frame.shape[:2]
    rows[:, :4] = np.clip(rows[:, :4], 0.0, [width, height, width, height])
    return rows[((rows[:, 2:4] - rows[:, :2]) >= _MIN_SIDE).all(axis=1)]
