"""``builtin``: OpenCV's people detector, which needs no file.

HOG features and a linear SVM (Dalal and Triggs, 2005, trained on INRIA): upright people in full view, from about
85 pixels of height in the scaled frame. It is no match for a trained network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.detectors.base import DetectorOptions, StageSeconds, keep_best, within
from tracking.errors import OptionError

__all__ = ["OpenCvPeople"]

_LONGER_SIDE = 1152
_NMS_IOU = 0.3
_PERSON = np.array([0.52, 0.8])
"""Width and height of the person within the window, which was trained with a margin all around."""
_MIDDLE, _STEEPNESS = 0.5, 3.0
"""The SVM's margin that becomes a score of 0.5, and how fast the score rises there."""


class OpenCvPeople:
    """People by OpenCV's HOG detector; class 0, ``person``.

    The score is the SVM's margin through a logistic curve, so that its usual range lies where trackers expect
    scores; it is no probability.

    Args:
        options: How to run it; `image_size` is the longer side that frames are scaled to.

    Raises:
        OptionError: Classes other than 0 are asked for.

    Attributes:
        seconds: What the stages cost so far.
        notices: What the user should know, one sentence each.
    """

    def __init__(self, options: DetectorOptions) -> None:
        import cv2

        if options.classes is not None and 0 not in options.classes:
            raise OptionError(f"--classes: builtin knows class 0 (person) alone, got {list(options.classes)}.")
        self._options = options
        self._side = options.image_size or _LONGER_SIDE
        self._hog = cv2.HOGDescriptor()
        detector: Any = cv2.HOGDescriptor.getDefaultPeopleDetector()
        self._hog.setSVMDetector(detector)
        chance = min(options.score_threshold, 1 - 1e-6)
        self._margin = _MIDDLE + math.log(chance / (1 - chance)) / _STEEPNESS
        self.seconds = StageSeconds()
        self.notices: list[str] = []
        self.class_names: Mapping[int, str] = {0: "person", **options.class_names}

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
        import cv2

        height, width = frame.shape[:2]
        scale = self._side / max(height, width)
        with self.seconds.measure("pre"):
            size = max(1, round(width * scale)), max(1, round(height * scale))
            scaled = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA)
        if size[0] < 64 or size[1] < 128:  # smaller than the window: OpenCV asserts, and there is nobody to find
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
            rows = keep_best(
                np.hstack([middle - half, middle + half]),
                np.maximum(scores, self._options.score_threshold),  # rounding at the threshold itself
                np.zeros(len(found), np.int64),
                nms_iou=self._options.nms_iou or _NMS_IOU,
            )
            return within(rows, frame)
