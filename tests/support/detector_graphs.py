"""Small ONNX detectors: graphs with the outputs of YOLO exports, and a network that detects bright squares.

A *fixed* detector returns the rows that the test chose, for every image of the batch. A *bright square detector* is a
convolution: it scores each cell of 8 pixels by the brightness of its green channel, so that its result depends on the
pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def _save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, NDArray[np.generic]],
    size: tuple[int | str, int | str],
    batch: int | str,
    metadata: Mapping[str, str],
    dtype: int = TensorProto.FLOAT,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "detector",
        [helper.make_tensor_value_info("images", dtype, [batch, 3, *size])],
        [helper.make_tensor_value_info("output", dtype, ["b", "n", "c"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if metadata:
        helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def make_fixed_detector(
    path: Path,
    rows: NDArray[np.float32],
    *,
    size: tuple[int | str, int | str] = (64, 96),
    batch: int | str = "batch",
    metadata: Mapping[str, str] | None = None,
    half: bool = False,
) -> Path:
    """Write a graph that returns the same `rows` (N, C) for each frame of its batch."""
    dtype = np.float16 if half else np.float32
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Squeeze", ["mean", "last"], ["flat"]),
        helper.make_node("Mul", ["flat", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "rows"], ["output"]),
    ]
    constants = {"last": np.array([3], np.int64), "zero": np.zeros(1, dtype), "rows": rows.astype(dtype)[None]}
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    return _save(path, nodes, constants, size, batch, metadata or {}, kind)


def make_bright_square_detector(path: Path, *, size: tuple[int, int] = (192, 320), batch: int | str = "batch") -> Path:
    """Write a detector of bright squares: a box of 16 x 16 pixels around each cell of 8 pixels, scored by mean green.

    Its output has the form of YOLOv8 with one class "lamp"; only stride 8 has scores, the rows of the others are zero.
    """
    height, width = size
    rows, columns = height // 8, width // 8
    y, x = np.mgrid[:rows, :columns]
    centres = np.stack([x.ravel() * 8 + 4, y.ravel() * 8 + 4], axis=0).astype(np.float32)
    boxes = np.concatenate([centres, np.full_like(centres, 16)])[None]
    others = sum((height // s) * (width // s) for s in (16, 32))
    kernel = np.zeros((1, 3, 8, 8), np.float32)
    kernel[0, 1] = 1 / 64
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["cells", "shape"], ["scores"]),
        # Boxes for each frame of the batch: zero times the scores, and the boxes.
        helper.make_node("Mul", ["scores", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "boxes"], ["places"]),
        helper.make_node("Concat", ["places", "scores"], ["fine"], axis=1),
        helper.make_node("Pad", ["fine", "pads"], ["output"]),
    ]
    constants = {
        "kernel": kernel,
        "shape": np.array([0, 1, -1], np.int64),
        "zero": np.zeros(1, np.float32),
        "boxes": boxes,
        "pads": np.array([0, 0, 0, 0, 0, others], np.int64),
    }
    return _save(path, nodes, constants, size, batch, {"names": "{0: 'lamp'}", "task": "detect", "stride": "32"})
