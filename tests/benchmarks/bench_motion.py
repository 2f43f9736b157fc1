"""Measure the temporal trackers by motion alone beside BoxMOT's: CPU time a frame, start and memory; compare their ids.

``OMP_NUM_THREADS=1 python tests/benchmarks/bench_motion.py --data ../shared/data [--long 20000]``

PETS09-S2L1 with its real detections, and drawn crowds of 50, 150 and 400 boxes on 1920 x 1080. `--long` runs gtrack's
trackers alone over that many frames of 50 boxes, and prints time and memory on the way. Each start is a process of its
own: the tracker is made and takes one frame.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tracking import open_detections
from tracking.trackers.temporal import TemporalOptions, TemporalTracker

Frame = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]

TRACKERS = ("bytetrack", "botsort_motion")
# An option that only BoxMOT's own tracker takes, at its default.
BOXMOT = {"asso_func": "iou"}
START = """
import resource, time
import numpy as np
from tracking.trackers.temporal import TemporalOptions, TemporalTracker
tracker = TemporalTracker(TemporalOptions(name={name!r}, extra={extra!r}), have_embeddings=False)
tracker.update(np.array([[10.0, 10, 40, 80]]), np.array([0.9]), np.array([0]))
used = resource.getrusage(resource.RUSAGE_SELF)
print(f"{{time.process_time():.2f}} CPU s, {{used.ru_maxrss / 1024:.0f}} MiB")
"""


def crowd(count: int, frames: int, seed: int = 1) -> Iterator[Frame]:
    """Make boxes of people who walk to and fro; some are missed, and some have low scores."""
    generator = np.random.default_rng(seed)
    size = np.array([1920, 1080])
    place, speed = generator.uniform(0, size, (count, 2)), generator.normal(0, 3, (count, 2))
    height = generator.uniform(60, 160, count)
    half = np.stack([height / 5, height / 2], axis=1)
    for _ in range(frames):
        place = place + speed
        speed = np.where((place < 0) | (place > size), -speed, speed)
        boxes = np.concatenate([place - half, place + half], axis=1) + generator.normal(0, 2, (count, 4))
        low, high = generator.uniform(0.05, 0.5, count), generator.uniform(0.5, 1, count)
        scores = np.where(generator.random(count) < 0.15, low, high)
        kept = generator.random(count) > 0.08
        yield boxes[kept], scores[kept], np.zeros(int(kept.sum()), np.int64)


def run(name: str, extra: dict[str, str], frames: list[Frame]) -> tuple[float, list[list[tuple[int, int]]]]:
    """Track frames; returns CPU milliseconds a frame, and for each frame its track ids and detections."""
    tracker = TemporalTracker(TemporalOptions(name=name, extra=extra), have_embeddings=False)
    found = []
    start = time.process_time()
    for frame in frames:
        ids, indices, _ = tracker.update(*frame)
        found.append(list(zip(ids.tolist(), indices.tolist(), strict=True)))
    return 1000 * (time.process_time() - start) / len(frames), found


def long_run(name: str, frames: int) -> None:
    """Print the CPU time a frame and the peak of memory five times on the way."""
    tracker = TemporalTracker(TemporalOptions(name=name), have_embeddings=False)
    step, seconds = max(1, frames // 5), 0.0
    for number, frame in enumerate(crowd(50, frames), 1):
        start = time.process_time()
        tracker.update(*frame)
        seconds += time.process_time() - start
        if number % step == 0:
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"  frame {number}: {1000 * seconds / step:.2f} ms a frame, {memory:.0f} MiB at most", flush=True)
            seconds = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--long", type=int, default=0, metavar="FRAMES")
    arguments = parser.parse_args()
    source = open_detections(arguments.data / "video" / "pets09-s2l1.detections.json")
    every = [source.at(number) for number in range(795)]
    clips = {"PETS": [(found.boxes, found.scores, found.class_ids) for found in every]}
    clips |= {str(count): list(crowd(count, frames)) for count, frames in ((50, 200), (150, 100), (400, 50))}
    # First what is measured without BoxMOT in this process: a child's peak of memory begins with that of its parent.
    for name in TRACKERS:
        for title, extra in (("gtrack", {}), ("BoxMOT", BOXMOT)):
            print(f"start, {name}, {title}:", end=" ", flush=True)
            subprocess.run([sys.executable, "-c", START.format(name=name, extra=extra)], check=True)
    for name in TRACKERS if arguments.long else ():
        print(f"{arguments.long} frames, {name}")
        long_run(name, arguments.long)
    for name in TRACKERS:
        print(name)
        for title, frames in clips.items():
            ours, found = run(name, {}, frames)
            theirs, expected = run(name, BOXMOT, frames)
            again, _ = run(name, {}, frames)
            boxes = sum(len(frame) for frame in expected)
            same = sum(len(set(a) & set(b)) for a, b in zip(found, expected, strict=True))
            print(
                f"  {title:5s} {min(ours, again):6.2f} ms a frame, BoxMOT {theirs:6.2f}; "
                f"{same} of {boxes} boxes have the same id",
                flush=True,
            )


if __name__ == "__main__":
    main()
