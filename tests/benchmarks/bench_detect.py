"""Measure recall, precision and cost of the detectors on PETS09-S2L1, and the memory of a run over a stream.

``python tests/benchmarks/bench_detect.py --data ../shared/data [--every 5] [--seconds 300]``

Recall and precision against ground truth at IoU 0.5, highest scores first, each person once. Costs are CPU seconds over
all threads of the process. YOLOX runs on every frame, `builtin` on every fifth. With ``--seconds``, the looped video is
then read like a camera, and the resident memory of that run is printed ten times.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking import DetectorOptions, LiveOptions, RunOptions, TrackingRun, load_detector, track_video
from tracking.geometry import iou
from tracking.video.reader import VideoReader

Rows = dict[int, NDArray[Any]]


def read_boxes(path: Path) -> Rows:
    """Return the boxes (N, 4) of each frame of a MOTChallenge ground truth."""
    boxes: dict[int, list[list[float]]] = defaultdict(list)
    for line in path.read_text().splitlines():
        frame, _, x, y, width, height = map(float, line.split(",")[:6])
        boxes[int(frame) - 1].append([x, y, x + width, y + height])
    return {frame: np.array(found) for frame, found in boxes.items()}


def score(found: Rows, truth: Rows, threshold: float) -> tuple[float, float]:
    """Return recall and precision at IoU 0.5."""
    right = detections = people = 0
    for frame, rows in found.items():
        boxes = truth.get(frame, np.empty((0, 4)))
        kept = rows[rows[:, 4] >= threshold]
        free = np.ones(len(boxes), bool)
        people, detections = people + len(boxes), detections + len(kept)
        for row in kept[np.argsort(-kept[:, 4], kind="stable")]:
            overlap = np.where(free, iou(row[:4], boxes), 0.0) if len(boxes) else np.zeros(1)
            if overlap.max() >= 0.5:
                free[overlap.argmax()] = False
                right += 1
    return right / max(people, 1), right / max(detections, 1)


def detect(video: Path, options: DetectorOptions, every: int) -> tuple[Rows, str]:
    """Return the detections of a video by frame, and a line about their cost."""
    detector = load_detector(options)
    found: Rows = {}
    decode = 0.0
    started = time.process_time()
    with VideoReader(video) as reader:
        while True:
            before = time.process_time()
            if not reader.advance():
                break
            image = reader.image() if reader.frame % every == 0 else None
            decode += time.process_time() - before
            if image is not None:
                found[reader.frame] = detector.detect([image])[0]
    total = time.process_time() - started
    seconds: Any = detector.seconds  # type: ignore[attr-defined]
    shares = {"decode": decode, "pre": seconds.pre, "inference": seconds.inference, "post": seconds.post}
    text = ", ".join(f"{name} {100 * value / total:.1f}%" for name, value in shares.items())
    return found, f"{len(found)} frames, {total:.1f} CPU s, {len(found) / total:.1f} frames per CPU s: {text}"


def measure_memory(video: Path, weights: Path, seconds: float) -> None:
    """Print the resident memory of a run over a looped video."""
    started = time.monotonic()
    marks: list[str] = []

    def progress(done: int, total: int | None) -> None:
        elapsed = time.monotonic() - started
        if elapsed >= (len(marks) + 1) * seconds / 10:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            marks.append(f"{elapsed:.0f} s: {pages * resource.getpagesize() / 2**20:.0f}")

    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(
            live=LiveOptions(loop=True, duration=seconds), save_detections=Path(folder) / "d.json", classes=[0]
        )
        detector = DetectorOptions(weights, classes=[0], threads=1)
        result = TrackingRun(detector, video, options).execute(progress=progress)
    print(
        f"looped for {seconds:g} s: {result.stats['frames']:.0f} frames, {result.stats['dropped']:.0f} dropped; "
        f"resident MiB: {', '.join(marks)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--every", type=int, default=5, help="builtin runs on every N-th frame")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.0, help="length of the memory run; 0 to leave it out")
    arguments = parser.parse_args()
    data = arguments.data
    video, weights = data / "video" / "pets09-s2l1.avi", data / "weights" / "yolox_nano.onnx"
    truth = read_boxes(data / "mot" / "PETS09-S2L1" / "gt" / "gt.txt")
    for name, every in ((weights, 1), ("builtin", arguments.every)):
        options = DetectorOptions(name, classes=[0], device="cpu", threads=arguments.threads)
        found, cost = detect(video, options, every)
        print(f"{options.weights}: {cost}")
        for threshold in (0.1, 0.3, 0.45, 0.6):
            recall, precision = score(found, truth, threshold)
            print(f"  score >= {threshold:.2f}: recall {recall:.3f}, precision {precision:.3f}")
    for label, arguments_of in (
        ("yolox_nano in one pass", {"detect": DetectorOptions(weights, classes=[0], threads=arguments.threads)}),
        ("YOLO11n, from its file", {"dets_json": data / "video" / "pets09-s2l1.detections.json"}),
    ):
        result = track_video(**arguments_of, video=video, no_progress=True)
        tracks: Rows = {
            f["frame"]: np.array([[*d["bbox"], 1.0] for d in f["detections"] if "track_id" in d]).reshape(-1, 5)
            for f in result.payload["frames"]
        }
        recall, precision = score(tracks, truth, 0.5)
        stats = result.stats
        print(
            f"run, {label}: {stats['tracks']:.0f} tracks (there are 19), tracked boxes: recall {recall:.3f}, precision "
            f"{precision:.3f}; {stats['cpu_seconds']:.1f} CPU s, {stats['frames'] / stats['cpu_seconds']:.1f} frames "
            "per CPU s"
        )
    if arguments.seconds:
        measure_memory(video, weights, arguments.seconds)


if __name__ == "__main__":
    main()
