"""Measure `gtrack run`: efficiency of the frame loop, frames per CPU second, and memory over a long run.

``python tests/benchmarks/bench_pipeline.py --data ../shared/data [--rounds 3]``

All variants run in turn in one process, round by round, so that a change of the machine's speed affects them equally;
figures are medians of CPU seconds. "Decode and network" is a minimal loop that reads every frame and runs the ONNX
session, opened as gtrack opens it, on the same crops (the same boxes, prepared beforehand, in the same batches), and
nothing else; "crop preparation" also cuts, resizes and normalises them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gallery_db import Gallery, ingest_folder
from tracking import RunOptions, TrackingRun, load_embedder, open_detections, track_video
from tracking.identification.gallery_source import EmbedderOptions
from tracking.reid import CropBatch, default_preprocessing
from tracking.reid.onnx_embedder import open_session
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import render_scene
from tracking.video.crops import crop


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds of a call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure_memory(frames: int) -> str:
    """Return a line about the resident memory over a long run of the demo scene."""
    marks: list[tuple[int, float]] = []

    def progress(done: int, total: int | None) -> None:
        if done % (frames // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            marks.append((done, pages * resource.getpagesize() / 2**20))

    with tempfile.TemporaryDirectory() as folder:
        scene = render_scene(Path(folder) / "long", SceneConfig(frames=frames, width=320, height=240))
        builtin = load_embedder("builtin")
        with Gallery.open_or_create(Path(folder) / "people", builtin.model) as target:
            ingest_folder(target, scene.gallery, builtin)
        options = RunOptions(gallery=Path(folder) / "people", embedder=EmbedderOptions(weights="builtin"))
        result = TrackingRun(scene.detections, scene.video, options).execute(progress=progress)
    return f"memory over {frames} frames ({result.stats['tracks']:.0f} tracks), resident MiB: " + ", ".join(
        f"{done}: {mib:.0f}" for done, mib in marks
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--long", type=int, default=20_000, help="frames of the memory run; 0 to leave it out")
    arguments = parser.parse_args()
    import cv2

    video = arguments.data / "video" / "pets09-s2l1.avi"
    source = open_detections(arguments.data / "video" / "pets09-s2l1.detections.json")
    weights = arguments.data / "weights" / "osnet_x0_25_msmt17.onnx"
    embedder = load_embedder(weights, threads=arguments.threads)
    folder = tempfile.TemporaryDirectory()
    gallery = Path(folder.name) / "gallery"
    with Gallery.open_or_create(gallery, embedder.model) as target:
        ingest_folder(target, arguments.data / "galleries" / "pets09-first-half", embedder)

    session = open_session(weights, arguments.threads)
    name = session.get_inputs()[0].name
    preprocessing = default_preprocessing("osnet_x0_25")
    batch = CropBatch(preprocessing, 64)

    def decode(use: Callable[[int, np.ndarray], object] | None = None) -> None:
        capture = cv2.VideoCapture(str(video))
        number = 0
        while True:
            ok, image = capture.read()
            if not ok:
                break
            if use:
                use(number, image)
            number += 1

    prepared: list[np.ndarray] = []
    decode(lambda n, image: prepared.append(batch.fill(crop(image, source.at(n).boxes)[0]).copy()))

    step = 8

    def network(blob: np.ndarray) -> None:
        for first in range(0, len(blob), step):
            session.run(None, {name: blob[first : first + step]})

    def without_preparation(n: int, image: np.ndarray) -> None:
        network(prepared[n])

    def with_preparation(n: int, image: np.ndarray) -> None:
        network(batch.fill(crop(image, source.at(n).boxes)[0]))

    def run(tracker: str, with_gallery: bool = True) -> float:
        stats = track_video(
            dets_json=source,
            video=video,
            tracker=tracker,
            gallery=gallery if with_gallery else None,
            reid_weights=weights if with_gallery else None,
            threads=arguments.threads,
            no_progress=True,
        ).stats
        return float(stats["cpu_seconds"])

    variants: dict[str, Callable[[], float]] = {
        "decode": lambda: cpu_seconds(decode),
        "decode and network": lambda: cpu_seconds(lambda: decode(without_preparation)),
        "decode, crop preparation and network": lambda: cpu_seconds(lambda: decode(with_preparation)),
        "gallery_only": lambda: run("gallery_only"),
        "gallery_hybrid, observed every 10 frames": lambda: run("gallery_hybrid"),
        "gallery_hybrid, no gallery": lambda: run("gallery_hybrid", with_gallery=False),
    }
    times: dict[str, list[float]] = {key: [] for key in variants}
    for _ in range(arguments.rounds):
        for key, variant in variants.items():
            times[key].append(variant())
    frames = 795
    print(
        f"PETS09-S2L1, {frames} frames, {source.count} detections, {arguments.threads} thread(s), "
        f"median of {arguments.rounds} rounds"
    )
    for key, values in times.items():
        median = statistics.median(values)
        print(
            f"  {key:40s} {median:7.2f} CPU s  {frames / median:7.1f} frames per CPU s   "
            f"({min(values):.2f} to {max(values):.2f})"
        )
    for key in ("decode and network", "decode, crop preparation and network"):
        ratios = [b / w for b, w in zip(times[key], times["gallery_only"], strict=True)]
        print(f"  efficiency of gallery_only, ({key}) / whole loop: {statistics.median(ratios):.3f}")

    folder.cleanup()
    if arguments.long:
        # In a process of its own: the prepared crops above fill gigabytes of this one.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(measure_memory, (arguments.long,)))


if __name__ == "__main__":
    main()
