"""Measure CPU seconds until the first frame is done, without a gallery and with galleries of many images.

``python tests/benchmarks/bench_startup.py --data ../shared/data [--sizes 1000,20000] [--rounds 3]``

Makes image folders of that many different crops and ingests each once. Then starts `gtrack run` on one frame, in its
own process: without a gallery, with the gallery, and with the image folder as the gallery (which is found in the cache
and checked for changes).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tracking import open_detections
from tracking.video.crops import crop
from tracking.video.reader import VideoReader


def run_gtrack(*words: object) -> float:
    """Run gtrack in its own process, and return its CPU seconds."""
    process = subprocess.Popen([sys.executable, "-m", "cli.main", *map(str, words)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"gtrack {words} failed")
    return usage.ru_utime + usage.ru_stime


def make_folder(folder: Path, size: int, video: Path, detections: Path) -> None:
    """Write different crops of the people of a video, 20 images for each identity."""
    import cv2

    source = open_detections(detections)
    generator = np.random.default_rng(0)
    made = 0
    while made < size:
        with VideoReader(video) as reader:
            while reader.advance() and made < size:
                boxes = source.at(reader.frame).boxes
                crops, _ = crop(reader.image(), boxes + generator.normal(0, 2, boxes.shape))
                for image in crops:
                    if made < size and min(image.shape[:2]) > 12:
                        path = folder / f"person-{made // 20:04d}" / f"{made:06d}.jpg"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        cv2.imwrite(str(path), image)
                        made += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sizes", default="1000,20000")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    video = arguments.data / "video" / "pets09-s2l1.avi"
    detections = arguments.data / "video" / "pets09-s2l1.detections.json"
    weights = arguments.data / "weights" / "osnet_x0_25_msmt17.onnx"
    run = ("run", video, "--dets-json", detections, "--range", "0:1", "--reid-weights", weights)
    variants: dict[str, tuple[object, ...]] = {"no gallery": run}
    with tempfile.TemporaryDirectory() as work:
        os.environ["GTRACK_CACHE_DIR"] = str(Path(work) / "cache")
        for size in (int(s) for s in arguments.sizes.split(",")):
            folder = Path(work) / f"images-{size}"
            make_folder(folder, size, video, detections)
            gallery = Path(work) / f"gallery-{size}"
            cost = run_gtrack("gallery", "ingest", folder, "--gallery", gallery, "--reid-weights", weights)
            print(f"ingest of {size} images, once: {cost:.1f} CPU s")
            again = run_gtrack("gallery", "ingest", folder, "--gallery", gallery, "--reid-weights", weights)
            print(f"ingest of the same again:     {again:.1f} CPU s")
            variants[f"gallery of {size}"] = (*run, "--gallery", gallery)
            run_gtrack(*run, "--gallery", folder)
            variants[f"folder of {size}, cached"] = (*run, "--gallery", folder)
        times: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(arguments.rounds):
            for name, words in variants.items():
                times[name].append(run_gtrack(*words))
    base = statistics.median(times["no gallery"])
    print(f"process start to first frame done, median of {arguments.rounds} rounds in turn:")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"  {name:26s} {median:6.2f} CPU s   {median - base:+6.2f} s   ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
