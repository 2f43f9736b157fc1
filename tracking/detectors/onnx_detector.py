"""YOLO and YOLOX networks in ONNX, run by ONNX Runtime."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracking.classes import COCO_NAMES, ids_of_classes
from tracking.detectors.base import (
    LEVEL_KEY,
    NETWORK_NMS_IOU,
    DetectorOptions,
    Family,
    StageSeconds,
    clip_rows,
    suppress_overlaps,
)
from tracking.detectors.decode import decode, recognise
from tracking.errors import DetectorError, EmbedderError, OptionError, error_line
from tracking.json_stream import show
from tracking.models.catalogue import published_level
from tracking.reid.devices import Device, default_threads, parse_device
from tracking.reid.onnx_session import InputShape, choose_providers, open_on_device, open_tensorrt

__all__ = ["OnnxDetector"]

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_PADDING_GREY = 114
_DEFAULT_SIZE = 640
# What a model's file states about itself is checked: a stranger's file can state anything.
_MAX_LITERAL = 100_000
_MAX_CLASS_ID = 2**31 - 1
_MAX_INPUT_PIXELS = 32_000_000
_MAX_COORDINATE = 1e5
_TASKS_WITH_BOXES = frozenset({"segment", "pose"})
"""Tasks whose outputs have columns after those of the boxes: mask coefficients, keypoints."""


class _Letterbox(NamedTuple):
    """Place of a scaled frame in the network's input: its scales, and its upper left corner in pixels."""

    scale_x: float
    scale_y: float
    left: float
    top: float


def _literal(text: str | None) -> Any:
    """Return a value that Ultralytics wrote to the metadata as a Python literal; None if it is not a literal."""
    if text is None or len(text) > _MAX_LITERAL:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


class OnnxDetector:
    """An ``.onnx`` detector: one input [B, 3, H, W] of float32 or float16, and an output that `recognise` knows.

    Names, size and task are read from the file's metadata if Ultralytics exported it. A run on a grey image at loading
    shows the layout of the output, and whether the model works.

    Args:
        weights: The file.
        options: Its options.
        concurrent: Whether several threads will call `detect` at the same time. On the CPU, each call then computes in
            its own thread alone.

    Raises:
        DetectorError: The file is not an ONNX model, the device does not exist, or an input or output has another form.
        OptionError: The model does not have a class that was asked for.

    Attributes:
        seconds: CPU seconds of its stages so far.
        notices: Sentences for the user.
        layout: Layout of its output.
        workers: Number of threads that should call `detect` at the same time; 0 without `concurrent`.
    """

    def __init__(self, weights: Path, options: DetectorOptions, *, concurrent: bool = False) -> None:
        import onnxruntime

        self._options = options
        self._weights = weights
        self.notices: list[str] = []
        threads = options.threads or default_threads()
        try:
            device, providers = choose_providers(parse_device(options.device), onnxruntime.get_available_providers())
            self._session = open_on_device(weights, 1 if concurrent else threads, device, providers)
        except EmbedderError as error:
            raise DetectorError(error.message, hint=error.hint) from error
        except Exception as error:  # ONNX Runtime's errors have no common base.
            raise DetectorError(
                f"{weights}: ONNX Runtime cannot load it: {error_line(error)}.",
                hint="It is damaged, is not an ONNX model, or needs a newer onnxruntime.",
            ) from error
        self.workers = (threads if device.kind == "cpu" else 1) if concurrent else 0
        self.seconds = StageSeconds(own_thread=concurrent)
        self._device = str(device)
        inputs = self._session.get_inputs()
        # A dynamic dimension is a string, or None.
        shape = [size if isinstance(size, int) else 0 for size in inputs[0].shape]
        if len(inputs) != 1 or len(shape) != 4 or shape[1] not in (0, 3) or inputs[0].type not in _DTYPES:
            found = "; ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
            raise DetectorError(f"{weights}: expected one input [B, 3, H, W] of float32 or float16, found {found}.")
        self._input, self._dtype = inputs[0].name, _DTYPES[inputs[0].type]
        # Segmentation models have their masks in another output, with four dimensions.
        outputs = self._session.get_outputs()
        self._output = next((item.name for item in outputs if len(item.shape) == 3), outputs[0].name)
        self._fixed_batch = shape[0]
        metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._size = self._input_size(shape[2], shape[3], _literal(metadata.get("imgsz")))
        self._check_task(metadata.get("task"))
        self._half = self._dtype is np.float16
        if device.kind == "tensorrt":
            self._half = self._half or options.half
            self._session = self._on_tensorrt(threads, device, fixed=all(shape))
        stated = self._stated_names(_literal(metadata.get("names")))
        sample = self._run(np.full((self._fixed_batch or 1, 3, *self._size), _PADDING_GREY / 255, self._dtype))
        self.layout = recognise(
            sample,
            self._size,
            class_count=len(stated) or None,
            family=self._family(metadata),
            more_columns=metadata.get("task") in _TASKS_WITH_BOXES,
            what=str(weights),
        )
        self._nms_iou = None if self.layout.family == "end2end" else options.nms_iou or NETWORK_NMS_IOU
        if not stated and self.layout.classes == len(COCO_NAMES):
            stated = dict(enumerate(COCO_NAMES))
        self.class_names: Mapping[int, str] = {**stated, **options.class_names}
        self._classes = self._wanted_classes()
        if options.half and not self._half:
            self.notices.append(f"`half` has no effect on {weights.name}: an ONNX model's precision is in its file.")
        if self._fixed_batch == 1 and options.batch_size > 1:
            self.notices.append(f"{weights.name} takes one frame at a time; `batch_size` is not used.")

    def _on_tensorrt(self, threads: int, device: Device, *, fixed: bool) -> Any:
        """Return a session with an engine of TensorRT."""
        sizes = InputShape(self._input, self.batch_size, (3, *self._size), fixed=fixed)
        try:
            return open_tensorrt(self._weights, threads, device, sizes, half=self._options.half)
        except EmbedderError as error:
            raise DetectorError(error.message, hint=error.hint) from error

    def _input_size(self, height: int, width: int, stated: object) -> tuple[int, int]:
        """Return the size of the input: the model's fixed size, else the option's, else the metadata's, else 640."""
        requested = self._options.image_size
        if height and width:
            self._check_pixels(height, width)
            if requested is not None and (requested, requested) != (height, width):
                self.notices.append(
                    f"`image_size` has no effect on {self._weights.name}: its input is {height} x {width} pixels."
                )
            return height, width
        if requested is not None:
            sides: Sequence[object] = (requested, requested)
        elif stated is None:
            sides = (_DEFAULT_SIZE, _DEFAULT_SIZE)
        else:
            sides = stated if isinstance(stated, (list, tuple)) else (stated, stated)
        whole = [side for side in sides if type(side) is int and side > 0]
        if len(whole) != 2 or len(sides) != 2:
            raise DetectorError(
                f"{self._weights}: expected its metadata imgsz to be one or two sizes in pixels, found {show(stated)}.",
                hint="Export the model again, or give its input's side with `image_size`.",
            )
        if isinstance(stated, (list, tuple)) and requested is None:
            size = (height or whole[0], width or whole[1])
        else:
            # The grid of a network has whole cells of 32 pixels.
            side = -(-whole[0] // 32) * 32
            size = (height or side, width or side)
        if requested is None:
            self._check_pixels(*size)
        return size

    def _check_pixels(self, height: int, width: int) -> None:
        """Check that the input that the file states can be held in memory."""
        batch = self._fixed_batch or 1
        if batch * height * width > _MAX_INPUT_PIXELS:
            raise DetectorError(
                f"{self._weights}: its input is {batch} x {height} x {width} pixels; "
                f"the limit is {_MAX_INPUT_PIXELS:,} pixels.",
                hint="Export the model for a smaller input or batch.",
            )

    def _stated_names(self, names: object) -> dict[int, str]:
        """Return the class names of the metadata; none where it has none."""
        if isinstance(names, (list, tuple)):
            names = dict(enumerate(names))
        if not isinstance(names, dict):
            return {}
        for key, name in names.items():
            if type(key) is not int or not 0 <= key <= _MAX_CLASS_ID or not isinstance(name, str):
                raise DetectorError(
                    f"{self._weights}: expected its metadata names to be class ids with names, such as "
                    f"{{0: 'person'}}, found {show({key: name})}.",
                    hint="Export the model again.",
                )
        return names

    def _family(self, metadata: Mapping[str, str]) -> Family:
        """Return the family that was asked for; for ``auto``, ``end2end`` if the metadata states that NMS is inside."""
        arguments = _literal(metadata.get("args"))
        has_nms = _literal(metadata.get("end2end")) is True or (
            isinstance(arguments, dict) and arguments.get("nms") is True
        )
        return "end2end" if has_nms and self._options.family == "auto" else self._options.family

    def _check_task(self, task: str | None) -> None:
        """Check that the model's task gives boxes."""
        if task in _TASKS_WITH_BOXES:
            self.notices.append(f"{self._weights.name} is a {task} model; only its boxes are used.")
        elif task not in (None, "detect"):
            raise DetectorError(f"{self._weights}: expected a model that detects, found one for {show(task)}.")

    def _wanted_classes(self) -> tuple[int, ...] | None:
        """Return the ids of the classes that were asked for, None for all; check that the model has them."""
        wanted = ids_of_classes(self._options.classes, self.class_names, self._weights.name)
        known = self.layout.classes or len(self.class_names)
        missing = [c for c in wanted or () if known and not 0 <= c < known and c not in self.class_names]
        if missing:
            raise OptionError(
                f"`classes`: {self._weights.name} has no class {', '.join(map(str, missing))}; "
                f"it has 0 to {known - 1}.",
                field="classes",
            )
        return wanted

    @property
    def batch_size(self) -> int:
        """Frames per inference."""
        return self._fixed_batch or self._options.batch_size

    @property
    def facts(self) -> Mapping[str, Any]:
        """See `Detector`."""
        options = self._options
        height, width = self._size
        level = published_level(self._weights.name)
        return {
            "name": "yolox" if self.layout.family == "yolox" else "yolo_bbox",
            "weights": str(options.weights),
            "classes": None if self._classes is None else list(self._classes),
            "conf_thresh": options.score_threshold,
            "imgsz": height if height == width else [height, width],
            "device": self._device,
            "half": self._half,
            "backend": "onnxruntime",
            "task": "detect",
            "model_family": self.layout.family,
            "nms_iou": self._nms_iou,
            **({} if level is None else {LEVEL_KEY: level}),
        }

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """See `Detector`."""
        found: list[NDArray[np.float32]] = []
        step = self.batch_size
        for first in range(0, len(frames), step):
            part = frames[first : first + step]
            with self.seconds.measure("pre"):
                letterboxed = [self._letterbox(frame) for frame in part]
                blob = self._blob([canvas for canvas, _ in letterboxed])
            with self.seconds.measure("inference"):
                output = self._run(blob)
            with self.seconds.measure("post"):
                found += [
                    self._decode(output[i], frame, place)
                    for i, (frame, (_, place)) in enumerate(zip(part, letterboxed, strict=True))
                ]
        return found

    def _letterbox(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], _Letterbox]:
        """Scale a frame to the network's input, keeping its aspect ratio. Return it with its place there."""
        import cv2

        height, width = self._size
        scale = min(height / frame.shape[0], width / frame.shape[1])
        if self._is_yolox:
            size = int(frame.shape[1] * scale), int(frame.shape[0] * scale)
            left = top = 0
        else:
            size = round(frame.shape[1] * scale), round(frame.shape[0] * scale)
            left, top = round((width - size[0]) / 2 - 0.1), round((height - size[1]) / 2 - 0.1)
        size = max(1, size[0]), max(1, size[1])
        canvas = np.full((height, width, 3), _PADDING_GREY, np.uint8)
        inner = canvas[top : top + size[1], left : left + size[0]]
        if size == (frame.shape[1], frame.shape[0]):
            inner[:] = frame
        else:
            cv2.resize(frame, size, dst=inner, interpolation=cv2.INTER_LINEAR)
        # Sizes are whole pixels, so the scales differ slightly. With one scale, boxes at the far edge would be shifted.
        return canvas, _Letterbox(size[0] / frame.shape[1], size[1] / frame.shape[0], float(left), float(top))

    def _blob(self, canvases: list[NDArray[np.uint8]]) -> NDArray[np.floating[Any]]:
        """Return the network's input for letterboxed frames."""
        import cv2

        # A fixed batch is filled up with black images.
        missing = (self._fixed_batch or len(canvases)) - len(canvases)
        filled = [*canvases, *[np.zeros_like(canvases[0])] * missing]
        # YOLOX was trained on BGR from 0 to 255, the others on RGB from 0 to 1.
        scale = 1.0 if self._is_yolox else 1 / 255.0
        blob: Any = cv2.dnn.blobFromImages(filled, scale, swapRB=not self._is_yolox)
        return np.asarray(blob, self._dtype)

    @property
    def _is_yolox(self) -> bool:
        return self.layout.family == "yolox"

    def _run(self, blob: NDArray[Any]) -> NDArray[np.floating[Any]]:
        """Return the network's output for a batch.

        Raises:
            DetectorError: ONNX Runtime failed.
        """
        try:
            results: list[NDArray[np.floating[Any]]] = self._session.run([self._output], {self._input: blob})
        except Exception as error:  # ONNX Runtime's errors have no common base.
            raise DetectorError(
                f"{self._weights}: ONNX Runtime failed on an input of {list(blob.shape)}: {error_line(error)}."
            ) from error
        return results[0]

    def _decode(
        self, output: NDArray[np.floating[Any]], frame: NDArray[np.uint8], letterbox: _Letterbox
    ) -> NDArray[np.float32]:
        """Return the detections of one frame, in its own pixels."""
        options = self._options
        boxes, scores, class_ids = decode(output, self.layout, threshold=options.score_threshold, classes=self._classes)
        if np.isnan(boxes).any():
            raise DetectorError(f"{self._weights}: the network returned boxes that are not numbers.")
        shift = np.array([letterbox.left, letterbox.top] * 2, np.float32)
        scale = np.array([letterbox.scale_x, letterbox.scale_y] * 2, np.float32)
        boxes = (boxes - shift) / scale
        # Suppression comes before clipping to the frame, as in the networks' own tools; overflowed sizes become finite.
        rows = suppress_overlaps(
            np.clip(boxes, -_MAX_COORDINATE, _MAX_COORDINATE),
            scores,
            class_ids,
            nms_iou=self._nms_iou,
        )
        return clip_rows(rows, frame)
