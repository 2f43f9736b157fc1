"""Measure gtrack beside other libraries: tracks of PETS09-S2L1, without names.

``python tests/benchmarks/bench_libraries.py LIBRARY --data ../shared/data [--rounds 3]``

LIBRARY is ``gtrack``, ``boxmot`` (its trackers in a loop of one's own), or ``roboflow`` (the package `trackers`). The
last two need no gtrack: run the script with the interpreter of an environment that has the library. Each decodes every
frame with OpenCV and tracks the same detections, with its own default settings. Start and imports are not counted.
Figures are the median, the least and the greatest of the rounds, in CPU seconds of the process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np


def read_frames(video: Path, document: Path) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield each frame with its detections: (N, 6) x1, y1, x2, y2, score, class."""
    import cv2

    frames = json.loads(document.read_text(encoding="utf-8"))["frames"]
    by_frame = {
        int(frame["frame"]): np.array(
            [[*d["bbox"], d["score"], d.get("class_id", 0)] for d in frame["detections"]], np.float32
        ).reshape(-1, 6)
        for frame in frames
    }
    none = np.empty((0, 6), np.float32)
    capture = cv2.VideoCapture(str(video))
    number = 0
    while True:
        ok, image = capture.read()
        if not ok:
            return
        yield image, by_frame.get(number, none)
        number += 1


def gtrack(video: Path, document: Path) -> dict[str, Callable[[], int]]:
    """Return a run of gtrack without a gallery; it returns the number of boxes with a track."""
    track_video = import_module("tracking").track_video

    def run(temporal: str) -> int:
        result = track_video(dets_json=document, video=video, temporal=temporal, no_progress=True)
        return sum("track_id" in found for frame in result.payload["frames"] for found in frame["detections"])

    return {name: lambda name=name: run(name) for name in ("botsort_motion", "bytetrack")}


def boxmot(video: Path, document: Path) -> dict[str, Callable[[], int]]:
    """Return loops over BoxMOT's trackers."""
    library = import_module("boxmot")

    def run(make: Callable[[], Any]) -> int:
        tracker = make()
        return sum(len(tracker.update(rows, image)) for image, rows in read_frames(video, document))

    return {
        "BotSort without embeddings and camera motion": lambda: run(
            lambda: library.BotSort(use_embeddings=False, use_cmc=False)
        ),
        "ByteTrack": lambda: run(library.ByteTrack),
    }


def roboflow(video: Path, document: Path) -> dict[str, Callable[[], int]]:
    """Return loops over the trackers of roboflow's `trackers`."""
    library = import_module("trackers")
    detections_of = import_module("supervision").Detections

    def run(make: Callable[[], Any]) -> int:
        tracker, boxes = make(), 0
        for _, rows in read_frames(video, document):
            found = tracker.update(
                detections_of(xyxy=rows[:, :4], confidence=rows[:, 4], class_id=rows[:, 5].astype(int))
            )
            boxes += int(np.count_nonzero(np.asarray(found.tracker_id) >= 0))
        return boxes

    return {
        name: lambda name=name: run(getattr(library, name))
        for name in ("ByteTrackTracker", "SORTTracker", "OCSORTTracker")
        if hasattr(library, name)
    }


LIBRARIES = {"gtrack": gtrack, "boxmot": boxmot, "roboflow": roboflow}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", choices=LIBRARIES)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    video = arguments.data / "video" / "pets09-s2l1.avi"
    document = arguments.data / "video" / "pets09-s2l1.detections.json"
    frames = sum(1 for _ in read_frames(video, document))
    runs = LIBRARIES[arguments.library](video, document)
    for name, run in runs.items():
        times, boxes = [], 0
        for _ in range(arguments.rounds):
            started = time.process_time()
            boxes = run()
            times.append(time.process_time() - started)
        middle = statistics.median(times)
        print(
            f"{arguments.library:9s} {name:46s} {middle:6.2f} CPU s ({min(times):.2f} to {max(times):.2f}) "
            f"{frames / middle:6.0f} frames per CPU s, {boxes} boxes with a track"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
