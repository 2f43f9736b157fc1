"""Measure time and peak memory of reading a million detections: ``python tests/benchmarks/bench_detections.py``."""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

from tracking.detections.reader import open_detections

__all__ = ["main", "write_detections"]


def write_detections(path: Path, frames: int, per_frame: int) -> None:
    """Write a det-v1 file with `per_frame` detections in each of `frames` frames."""
    video = {"path": "long.mp4", "fps": 25.0, "frame_count": frames, "width": 1920, "height": 1080}
    with path.open("w", encoding="utf-8") as file:
        file.write(f'{{"schema_version": "det-v1", "video": {json.dumps(video)}, "frames": [')
        for frame in range(frames):
            detections = []
            for index in range(per_frame):
                x, y = (frame * 3.7 + index * 171.3) % 1800, (frame * 1.3 + index * 53.9) % 850
                detections.append(
                    {
                        "bbox": [round(value, 2) for value in (x, y, x + 61.37, y + 180.21)],
                        "score": (frame * 31 + index * 17) % 9000 / 10000 + 0.1,
                        "class_id": 0,
                        "class_name": "person",
                        "det_ind": index,
                    }
                )
            entry = {"frame": frame, "file": f"{frame:06d}.jpg", "detections": detections}
            file.write(("," if frame else "") + json.dumps(entry))
        file.write("]}")


def main() -> None:
    """Write the file into a temporary folder, read it, and print the cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--per-frame", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "detections.json"
        write_detections(path, options.frames, options.per_frame)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        wall, cpu = time.perf_counter(), time.process_time()
        source = open_detections(path)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{source.count} detections, {path.stat().st_size / 1e6:.0f} MB: {wall:.1f} s wall, {cpu:.1f} s CPU")
        print(f"peak memory {peak:.0f} MiB ({before:.0f} MiB before reading)")
        wall = time.perf_counter()
        for frame in range(0, options.frames, 10):
            source.at(frame)
            source.raw(frame)
        wall = time.perf_counter() - wall
        print(f"at + raw: {wall / len(range(0, options.frames, 10)) * 1e6:.0f} us a frame")


if __name__ == "__main__":
    main()
