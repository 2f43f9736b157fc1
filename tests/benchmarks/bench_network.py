"""Measure the networks alone: CPU milliseconds a crop or frame, over batch sizes, with and without denormal numbers.

``python tests/benchmarks/bench_network.py --data ../shared/data [--rounds 5] [--threads 1]``

Each row is one model and batch size. "As the file is" opens a plain ONNX Runtime session; "gtrack" is a session as
gtrack opens it: denormal weights are zero, and denormal activations are taken as zero. The two take turns, so that a
change of the machine's speed affects both. Each session has its own process, because the first session of a process
decides how its calling thread treats denormal numbers. The last column is the least cosine similarity of the results.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np


def serve(weights: Path, threads: int, as_gtrack: bool, pipe: Connection) -> None:
    """Answer batches with the CPU seconds of an inference and its result, until None comes."""
    if as_gtrack:
        from tracking.reid.onnx_session import open_session

        session = open_session(weights, threads)
    else:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    pipe.send([size if isinstance(size, int) else 0 for size in entry.shape])
    while (batch := pipe.recv()) is not None:
        started = time.process_time()
        result = session.run(None, {entry.name: batch})[0]
        pipe.send((time.process_time() - started, result))


def least_cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Return the least cosine similarity of the rows of two results."""
    a, b = (np.reshape(item, (len(item), -1)).astype(np.float64) for item in (first, second))
    return float(np.min((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", type=Path, nargs="*", help="ONNX files; default: those of the data")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    models = arguments.models or sorted((arguments.data / "weights").glob("*.onnx"))
    context = multiprocessing.get_context("spawn")
    generator = np.random.default_rng(0)
    print(f"{arguments.threads} thread(s), median of {arguments.rounds} rounds in turn, CPU ms an image")
    print(f"{'model':34s} {'batch':>5s} {'as the file is':>15s} {'gtrack':>8s} {'least cosine':>13s}")
    for weights in models:
        pipes, processes = [], []
        for as_gtrack in (False, True):
            mine, theirs = context.Pipe()
            process = context.Process(target=serve, args=(weights, arguments.threads, as_gtrack, theirs), daemon=True)
            process.start()
            pipes.append(mine)
            processes.append(process)
        shape = [pipe.recv() for pipe in pipes][-1]
        for size in [shape[0]] if shape[0] else arguments.batches:
            batch = generator.standard_normal((size, 3, shape[2] or 256, shape[3] or 128)).astype(np.float32)
            times: tuple[list[float], list[float]] = ([], [])
            results = []
            for turn in range(arguments.rounds + 1):
                results = []
                for pipe, seconds in zip(pipes, times, strict=True):
                    pipe.send(batch)
                    spent, result = pipe.recv()
                    results.append(result)
                    if turn:  # The first inference allocates memory.
                        seconds.append(spent / size * 1000)
            plain, ours = (statistics.median(item) for item in times)
            print(f"{weights.name:34s} {size:5d} {plain:15.2f} {ours:8.2f} {least_cosine(*results):13.8f}")
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send(None)
            process.join()


if __name__ == "__main__":
    main()
