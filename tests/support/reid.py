"""Crops, small ONNX networks, and the Market-1501 protocol for tests of ReID."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gallery_db.privacy import import_openvino
from tracking.evaluation import score_rankings

HEIGHT, WIDTH, DIMENSION = 64, 32, 8


def make_crops(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Return random crops of several sizes, in smooth blocks, so that resizing keeps their content."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        height, width = int(generator.integers(20, 200)), int(generator.integers(10, 90))
        coarse = generator.integers(0, 256, (6, 3, 3), dtype=np.uint8)
        images.append(coarse[np.arange(height) * 6 // height][:, np.arange(width) * 3 // width])
    return images


def make_onnx(
    path: Path,
    batch: int | str = "batch",
    size: tuple[int | str, int | str] = (HEIGHT, WIDTH),
    *,
    tail: str = "flatten",
    bias: float = 0.1,
    half: bool = False,
    zero: bool = False,
) -> Path:
    """Write a one-convolution ReID network.

    `tail`: "flatten" gives (N, 8); "reshape" only works for a batch of that size (else one); "map" gives (N, 8, 1, 1).
    """
    generator = np.random.default_rng(1)
    dtype: Any = np.float16 if half else np.float32
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    weight = generator.standard_normal((DIMENSION, 3, 16, 16)).astype(dtype) * dtype(0 if zero else 0.1)
    initializers = [
        numpy_helper.from_array(weight, "w"),
        numpy_helper.from_array(np.full(DIMENSION, bias, dtype=dtype), "b"),
        numpy_helper.from_array(np.array([batch if isinstance(batch, int) else 1, DIMENSION]), "shape"),
    ]
    nodes = [
        helper.make_node("Conv", ["images", "w", "b"], ["c"], strides=[16, 16]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["out" if tail == "map" else "p"]),
    ]
    shape: list[int | str] = [batch, DIMENSION]
    if tail == "flatten":
        nodes.append(helper.make_node("Flatten", ["p"], ["out"]))
    elif tail == "reshape":
        nodes.append(helper.make_node("Reshape", ["p", "shape"], ["out"]))
    else:
        shape += [1, 1]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", kind, [batch, 3, *size])],
        [helper.make_tensor_value_info("out", kind, shape)],
        initializers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def make_openvino(weights: Path, folder: Path) -> Path:
    """Write an ONNX network as an OpenVINO model, ``tiny.xml`` in a new folder. Return the folder."""
    openvino = import_openvino()
    folder.mkdir()
    model = openvino.Core().read_model(str(weights))
    openvino.save_model(model, str(folder / "tiny.xml"), compress_to_fp16=False)
    return folder


def write_sidecar(weights: Path, **fields: Any) -> Path:
    """Write the `.gtrack.json` file beside weights."""
    path = weights.with_name(weights.name + ".gtrack.json")
    path.write_text(json.dumps(fields))
    return path


def market_scores(
    embeddings: NDArray[np.float32], ids: Sequence[int], cameras: Sequence[int]
) -> tuple[float, float, int]:
    """Return rank-1 and mAP in percent and the number of queries, by the protocol in the README of the data."""
    people, views = np.asarray(ids), np.asarray(cameras)
    first: dict[tuple[int, int], int] = {}
    for index, key in enumerate(zip(ids, cameras, strict=True)):
        first.setdefault(key, index)
    rankings = []
    for query in first.values():
        others = ~((people == people[query]) & (views == views[query]))
        order = np.argsort(-(embeddings[others] @ embeddings[query]), kind="stable")
        hits = (people[others] == people[query])[order]
        rankings.append((hits, int(hits.sum())))
    scores = score_rankings(rankings)
    return 100 * scores.ranks[1], 100 * scores.mean_ap, scores.queries
