"""``builtin``: OpenCV's people detector, which needs no file.

It uses HOG features and a linear SVM (Dalal and Triggs, CVPR 2005, trained on INRIA), and finds upright people in full
view from about 85 pixels of height in the scaled frame. It is far less accurate than a trained network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.classes import ids_of_classes
from tracking.detectors.base import DetectorOptions, StageSeconds, clip_rows, suppress_overlaps
from tracking.errors import DetectorError, OptionError

__all__ = ["OpenCvPeople"]

_LONGER_SIDE = 1152
_NMS_IOU = 0.3
_PERSON = np.array([0.52, 0.8])
"""Width and height of the person as fractions of the window, which was trained with a margin on all sides."""
_MIDDLE, _STEEPNESS = 0.5, 3.0
"""Of the logistic curve from the SVM's margin to the score: the margin with score 0.5, and the steepness."""


class OpenCvPeople:
    """Finds people with OpenCV's HOG detector; class 0, ``person``.

    The score is a logistic function of the SVM's margin, so that it is in the range that trackers expect. It is not a
    probability.

    Args:
        options: Its options; `image_size` is the longer side to which frames are scaled.

    Raises:
        OptionError: Class 0 is not among the classes asked for.
        DetectorError: The installed OpenCV has no HOG detector; OpenCV 5 has none.

    Attributes:
        seconds: CPU seconds of its stages so far.
        notices: Sentences for the user.
    """

    def __init__(self, options: DetectorOptions) -> None:
        import cv2

        self.class_names: Mapping[int, str] = {0: "person", **options.class_names}
        wanted = ids_of_classes(options.classes, self.class_names, "builtin")
        if wanted is not None and 0 not in wanted:
            raise OptionError(
                f"`classes`: builtin has only class 0 ({self.class_names[0]}), found {', '.join(map(str, wanted))}.",
                field="classes",
            )
        if not hasattr(cv2, "HOGDescriptor"):
            raise DetectorError(
                f"builtin detection needs the HOG detector of OpenCV 4; OpenCV {cv2.__version__} has none.",
                hint="Run: pip install 'opencv-python<5'; or give the weights of another detector.",
            )
        self._options = options
        self._side = options.image_size or _LONGER_SIDE
        self._hog = cv2.HOGDescriptor()
        detector: Any = cv2.HOGDescriptor.getDefaultPeopleDetector()
        self._hog.setSVMDetector(detector)
        threshold = min(options.score_threshold, 1 - 1e-6)
        self._margin = _MIDDLE + math.log(threshold / (1 - threshold)) / _STEEPNESS
        self.seconds = StageSeconds()
        self.notices: list[str] = []

    @property
    def facts(self) -> Mapping[str, Any]:
        """See `Detector`."""
        options = self._options
        return {
            "name": "opencv_people",
            "weights": "builtin",
            "classes": [0],
            "conf_thresh": options.score_threshold,
            "imgsz": self._side,
            "device": "cpu",
            "half": False,
            "backend": "opencv",
            "task": "detect",
            "model_family": "hog",
            "nms_iou": options.nms_iou or _NMS_IOU,
        }

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """See `Detector`."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the people in one frame."""
        import cv2

        height, width = frame.shape[:2]
        scale = self._side / max(height, width)
        with self.seconds.measure("pre"):
            size = max(1, round(width * scale)), max(1, round(height * scale))
            scaled = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA)
        if size[0] < 64 or size[1] < 128:  # smaller than the window: OpenCV would fail
            return np.empty((0, 6), np.float32)
        with self.seconds.measure("inference"):
            windows, margins = self._hog.detectMultiScale(
                scaled, hitThreshold=self._margin, winStride=(8, 8), padding=(16, 16), scale=1.1, groupThreshold=0
            )
        with self.seconds.measure("post"):
            found = np.asarray(windows, np.float64).reshape(-1, 4) / scale
            weights = np.asarray(margins, np.float64).ravel()
            middle, half = found[:, :2] + found[:, 2:] / 2, found[:, 2:] * _PERSON / 2
            scores = 1.0 / (1.0 + np.exp(-_STEEPNESS * (weights - _MIDDLE)))
            rows = suppress_overlaps(
                np.hstack([middle - half, middle + half]),
                np.maximum(scores, self._options.score_threshold),  # against rounding at the threshold
                np.zeros(len(found), np.int64),
                nms_iou=self._options.nms_iou or _NMS_IOU,
            )
            return clip_rows(rows, frame)
