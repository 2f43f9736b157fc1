"""Ultralytics weights (``.pt``), run by the Ultralytics package if it is installed. gtrack installs nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.privacy import ULTRALYTICS_OFFLINE, set_defaults
from tracking.classes import ids_of_classes
from tracking.detectors.base import NETWORK_NMS_IOU, DetectorOptions, StageSeconds, clip_rows, suppress_overlaps
from tracking.errors import DetectorError, EmbedderError, OptionError, error_line
from tracking.reid.devices import parse_device, torch_device

__all__ = ["UltralyticsDetector"]


class UltralyticsDetector:
    """A detector of the Ultralytics package.

    Its weights are pickles, which can run code when they are loaded: `load_detector` first asks whether the file is
    trusted (`tracking.reid.trust`).

    Args:
        weights: The file.
        options: Its options.

    Raises:
        DetectorError: The package is missing, or cannot use the file.
        OptionError: The model does not have a class that was asked for.

    Attributes:
        seconds: CPU seconds of its stages so far.
        notices: Sentences for the user.
    """

    def __init__(self, weights: Path, options: DetectorOptions) -> None:
        if find_spec("ultralytics") is None:
            raise DetectorError(
                f"{weights}: .pt detectors are run by Ultralytics, which is not installed.",
                hint="Install it with: pip install ultralytics; or export the model to .onnx on another machine.",
            )
        # The package reads these when it is imported. It must not install or download anything by itself.
        set_defaults(ULTRALYTICS_OFFLINE)
        self._options = options
        self.seconds = StageSeconds()
        self.notices: list[str] = []
        try:
            self._device = str(torch_device(parse_device(options.device)))
        except EmbedderError as error:
            raise DetectorError(error.message, hint=error.hint) from error
        self._half = options.half and self._device.startswith("cuda")
        if options.half and not self._half:
            self.notices.append(f"`half` has no effect on device {self._device}.")
        try:
            from ultralytics import YOLO

            self._model: Any = YOLO(str(weights))
            names: Mapping[int, str] = self._model.names
            task: str = self._model.task
        except Exception as error:  # Ultralytics documents no common base of its errors.
            raise DetectorError(
                f"{weights}: Ultralytics cannot load it: {error_line(error)}.",
                hint="Expected the weights of a YOLO detector of Ultralytics.",
            ) from error
        if task not in ("detect", "segment", "pose"):
            raise DetectorError(f"{weights}: expected a model that detects, found one for {task!r}.")
        self._weights = weights
        self._task = task
        if task != "detect":
            self.notices.append(f"{weights.name} is a {task} model; only its boxes are used.")
        self.class_names: Mapping[int, str] = {**{int(k): str(v) for k, v in names.items()}, **options.class_names}
        self._classes = ids_of_classes(options.classes, self.class_names, weights.name)
        missing = [c for c in self._classes or () if c not in self.class_names]
        if missing:
            raise OptionError(
                f"`classes`: {weights.name} has no class {', '.join(map(str, missing))}; "
                f"it has {len(self.class_names)}, from 0.",
                field="classes",
            )

    @property
    def batch_size(self) -> int:
        """Frames per inference."""
        return self._options.batch_size

    @property
    def facts(self) -> Mapping[str, Any]:
        """See `Detector`."""
        options = self._options
        return {
            "name": "yolo_bbox",
            "weights": str(options.weights),
            "classes": None if self._classes is None else list(self._classes),
            "conf_thresh": options.score_threshold,
            "imgsz": options.image_size or 640,
            "device": self._device,
            "half": self._half,
            "backend": "ultralytics",
            "task": self._task,
            "model_family": "ultralytics",
            "nms_iou": options.nms_iou or NETWORK_NMS_IOU,
        }

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """See `Detector`."""
        options = self._options
        found: list[NDArray[np.float32]] = []
        for first in range(0, len(frames), options.batch_size):
            try:
                with self.seconds.measure("inference"):
                    results = self._model.predict(
                        list(frames[first : first + options.batch_size]),
                        conf=options.score_threshold,
                        iou=options.nms_iou or NETWORK_NMS_IOU,
                        classes=None if self._classes is None else list(self._classes),
                        imgsz=options.image_size or 640,
                        device=self._device,
                        verbose=False,
                        # Newer versions warn if the option is given at all.
                        **({"half": True} if self._half else {}),
                    )
            except Exception as error:  # as above
                raise DetectorError(f"{self._weights}: Ultralytics failed: {error_line(error)}.") from error
            with self.seconds.measure("post"):
                for frame, result in zip(frames[first : first + options.batch_size], results, strict=True):
                    boxes = result.boxes.cpu().numpy()
                    rows = suppress_overlaps(
                        np.asarray(boxes.xyxy, np.float32).reshape(-1, 4),
                        np.asarray(boxes.conf, np.float32).reshape(-1),
                        np.asarray(boxes.cls, np.int64).reshape(-1),
                        nms_iou=None,  # done already
                    )
                    found.append(clip_rows(rows, frame))
        return found
