"""Measure CPU time and memory for reading a long track-v1 document and exporting it to each format.

python tests/benchmarks/bench_tracks.py [--frames 100000]

Each job runs in its own process, so that its memory is measured alone.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson

_JOB = """
import resource, sys, time
from tracking import build_timeline, export_tracks, read_tracks
from tracking.results.best_crops import BestCrops
source, job, target = sys.argv[1:]
started = time.process_time()
if job == "read":
    sum(len(frame) for frame in read_tracks(source))
elif job == "timeline":
    build_timeline(source)
elif job == "crops":
    crops = BestCrops((1920, 1080), has_tracks=True)
    for frame in read_tracks(source):
        crops.add(frame)
else:
    export_tracks(source, target)
seconds = time.process_time() - started
print(f"{job:10} {seconds:6.1f} CPU s {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:6} MiB")
"""


def write_document(path: Path, frames: int, people: int = 10) -> None:
    """Write a document with ten people in each frame and new tracks every 200 frames; six people are named."""
    draw = random.Random(0)
    header = {
        "schema_version": "track-v1",
        "parent_schema_version": "det-v1",
        "video": {"path": "long.mp4", "fps": 25, "width": 1920, "height": 1080},
        "detector": None,
        "created_at_utc": "2026-01-01T00:00:00+00:00",
        "tracker": {"name": "gallery_hybrid", "class_filter": {}, "config": {"gallery_match_threshold": 0.25}},
    }
    with path.open("wb") as file:
        file.write(orjson.dumps(header)[:-1] + b',"frames":[')
        for number in range(frames):
            detections = []
            for person in range(people):
                x, y = round(draw.uniform(0, 1800), 3), round(draw.uniform(0, 800), 3)
                named = {"gallery_id": f"person-{person}", "gallery_distance": 0.1} if person < 6 else {}
                detections.append(
                    {
                        "bbox": [x, y, round(x + 80, 3), round(y + 200, 3)],
                        "score": 0.8,
                        "class_id": 0,
                        "class_name": "person",
                        "det_ind": person,
                        "track_id": str(person + people * (number // 200)),
                        **named,
                    }
                )
            file.write((b",\n" if number else b"\n") + orjson.dumps({"frame": number, "detections": detections}))
        file.write(b"\n]}\n")


def main() -> None:
    """Write the document, and run every job on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100_000)
    frames = parser.parse_args().frames
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "tracked.json"
        write_document(source, frames)
        print(f"{frames:,} frames, {10 * frames:,} detections, {source.stat().st_size / 1e6:.0f} MB", flush=True)
        for job in ("read", "timeline", "crops", "txt", "json", "csv", "parquet", "html"):
            target = Path(folder) / f"out.{job}"
            subprocess.run([sys.executable, "-c", _JOB, str(source), job, str(target)], check=True)


if __name__ == "__main__":
    main()
