"""Measure what other precisions of a ReID model gain on this processor, and what accuracy they cost.

``python tests/benchmarks/bench_precision.py --data ../shared/data [--threads 1] [--rounds 5]``

One row each: FP32 in ONNX Runtime as the file is, and as gtrack runs it (denormal numbers are zero); OpenVINO in FP32,
and in bfloat16 where the processor has it; INT8 in both. INT8 is static: `onnxruntime.quantization` measures the ranges
of the activations on crops of people who are not in the evaluation (``--calibration``). The models take turns, each in
its own process, because the first session of a process decides how its calling thread treats denormal numbers. Rank-1
and mAP are those of the Market-1501 subset: queries are the first image of each identity and camera.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
MIN_OPSET = 13
"""First version of ONNX with a scale for each channel."""


def onnx_network(weights: Path, threads: int, as_gtrack: bool) -> Any:
    """Return a function that runs an ONNX model in ONNX Runtime."""
    import onnxruntime

    if as_gtrack:
        from tracking.reid.onnx_session import open_session

        session = open_session(weights, threads)
    else:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def openvino_network(weights: Path, threads: int, precision: str) -> Any:
    """Return a function that runs an ONNX model in OpenVINO."""
    from gallery_db.privacy import import_openvino

    openvino = import_openvino()
    config = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "CPU_DENORMALS_OPTIMIZATION": True,
    }
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(weights)), "CPU", config)
    return lambda batch: compiled(batch)[0]


def serve(kind: str, weights: Path, threads: int, pipe: Connection) -> None:
    """Answer batches with the CPU seconds of an inference and its result, until None comes."""
    runtime, mode = kind.split(":")
    if runtime == "openvino":
        network = openvino_network(weights, threads, mode)
    else:
        network = onnx_network(weights, threads, mode == "gtrack")
    while (batch := pipe.recv()) is not None:
        started = time.process_time()
        result = network(batch)
        pipe.send((time.process_time() - started, np.array(result)))


class Calibration:
    """Batches of network inputs for `onnxruntime.quantization`."""

    def __init__(self, name: str, inputs: Array) -> None:
        self._batches: Iterator[Any] = iter([{name: inputs[at : at + 8]} for at in range(0, len(inputs), 8)])

    def get_next(self) -> Any:
        return next(self._batches, None)


def quantise(weights: Path, target: Path, inputs: Array, method: str) -> None:
    """Write a static INT8 version of an ONNX model, calibrated on network inputs."""
    import onnx
    import onnx.version_converter
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from tracking.reid.denormals import zero_denormals

    prepared = target.with_suffix(".prepared.onnx")
    model = onnx.load(str(weights))
    if model.opset_import[0].version < MIN_OPSET:
        model = onnx.version_converter.convert_version(model, MIN_OPSET)
    quant_pre_process(model, str(prepared), skip_symbolic_shape=True)
    model = onnx.load(str(prepared))
    zero_denormals(model)
    onnx.save(model, str(prepared))
    quantize_static(
        str(prepared),
        str(target),
        Calibration(model.graph.input[0].name, inputs),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[method],
    )


def read_inputs(files: list[Path], weights: Path) -> Array:
    """Return the network inputs of image files."""
    from gallery_db.media.images import read_image
    from tracking.reid.crop_batch import CropBatch
    from tracking.reid.model_description import resolve_preprocessing

    return CropBatch(resolve_preprocessing(weights, (256, 128)), len(files)).fill([read_image(file) for file in files])


def market_scores(embeddings: Array, files: list[Path]) -> tuple[float, float]:
    """Return rank-1 and mAP in percent of raw embeddings of Market-1501 images."""
    from tracking.evaluation import score_rankings

    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    people = np.array([file.name.split("_")[0] for file in files])
    cameras = np.array([file.name.split("_")[1][:2] for file in files])
    first: dict[tuple[str, str], int] = {}
    for index, key in enumerate(zip(people, cameras, strict=True)):
        first.setdefault(key, index)
    rankings = []
    for query in first.values():
        others = ~((people == people[query]) & (cameras == cameras[query]))
        order = np.argsort(-(unit[others] @ unit[query]), kind="stable")
        hits = (people[others] == people[query])[order]
        rankings.append((hits, int(hits.sum())))
    scores = score_rankings(rankings)
    return 100 * scores.ranks[1], 100 * scores.mean_ap


def processor() -> str:
    """Return the processor's name, family and model, where Linux states them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{facts.get('model name')}, family {facts.get('cpu family')} model {facts.get('model')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", type=Path, help="an .onnx model; default: OSNet x0.25 of the data")
    parser.add_argument("--calibration", type=Path, help="folder of crops; default: the gallery of PETS")
    parser.add_argument("--methods", nargs="*", default=["MinMax", "Percentile"], help="of the calibration")
    parser.add_argument("--images", type=int, help="images of the evaluation; default: all")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    weights = arguments.weights or arguments.data / "weights" / "osnet_x0_25_msmt17.onnx"
    crops = sorted((arguments.calibration or arguments.data / "galleries" / "pets09-first-half").rglob("*.jpg"))
    market = sorted((arguments.data / "reid" / "market1501-test-subset").glob("*.jpg"))[: arguments.images]
    inputs = read_inputs(market, weights)
    context = multiprocessing.get_context("spawn")
    print(f"{processor()}; {arguments.threads} thread(s), batches of {arguments.batch}, rounds in turn")
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            ("FP32, ONNX Runtime, as the file is", "onnx:plain", weights),
            ("FP32, ONNX Runtime, no denormals", "onnx:gtrack", weights),
            ("FP32, OpenVINO", "openvino:f32", weights),
            ("BF16, OpenVINO", "openvino:bf16", weights),
        ]
        for method in arguments.methods:
            quantised = Path(folder) / f"{method}.onnx"
            quantise(weights, quantised, read_inputs(crops, weights), method)
            rows += [
                (f"INT8 {method}, ONNX Runtime", "onnx:gtrack", quantised),
                (f"INT8 {method}, OpenVINO", "openvino:f32", quantised),
            ]
        servers = []
        for _, kind, file in rows:
            mine, theirs = context.Pipe()
            process = context.Process(target=serve, args=(kind, file, arguments.threads, theirs), daemon=True)
            process.start()
            theirs.close()  # So that the end of a process that failed is an error here.
            servers.append((process, mine))

        def ask(pipe: Connection, batch: Array) -> tuple[float, Array]:
            pipe.send(batch)
            spent, result = pipe.recv()
            return spent, result

        found = [
            np.concatenate([ask(pipe, inputs[at : at + 32])[1] for at in range(0, len(inputs), 32)])
            for _, pipe in servers
        ]
        times: list[list[float]] = [[] for _ in rows]
        for turn in range(arguments.rounds + 2):
            for (_, pipe), seconds in zip(servers, times, strict=True):
                spent = sum(ask(pipe, inputs[: arguments.batch])[0] for _ in range(8)) / 8
                if turn > 1:
                    seconds.append(1000 * spent / arguments.batch)
        print(f"{'':36s} {'CPU ms a crop':>13s} {'least cosine':>12s} {'rank-1':>7s} {'mAP':>6s}")
        for (name, _, _), seconds, result in zip(rows, times, found, strict=True):
            pair = (found[0], result)
            a, b = (item / np.linalg.norm(item, axis=1, keepdims=True) for item in pair)
            rank, mean = market_scores(result, market)
            least = float((a * b).sum(1).min())
            print(f"{name:36s} {statistics.median(seconds):13.2f} {least:12.6f} {rank:7.1f} {mean:6.1f}")
        for process, pipe in servers:
            pipe.send(None)
            process.join()


if __name__ == "__main__":
    main()
