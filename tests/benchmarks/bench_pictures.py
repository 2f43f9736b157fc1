"""Measure annotated pictures: drawing, blur, and the codecs of the saved video.

``python tests/benchmarks/bench_pictures.py --data ../shared/data [--rounds 3]``

PETS with a gallery of the people of its first half is tracked once; its frames are then decoded into memory, and drawn
and encoded again and again. Figures are medians of CPU milliseconds a frame, over all threads.

"Named after blur" is what identification makes of blurred people: every tenth frame is blurred, the boxes of named
tracks are cut out of it, and each crop is compared with the gallery.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db import DEFAULT_THRESHOLD, Gallery, ingest_folder
from gallery_db.model import Embedder
from tracking import load_embedder, track_video
from tracking.outputs.drawing import FramePainter
from tracking.video.crops import crop
from tracking.video.reader import VideoReader
from tracking.video.writer import open_video_writer

Frames = list[tuple[dict[str, Any], NDArray[np.uint8]]]


def cpu_milliseconds(rounds: int, work: Callable[[], object], count: int) -> float:
    """Return the median CPU milliseconds of a call for each of `count` frames."""
    found = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        found.append((time.process_time() - started) * 1000 / count)
    return statistics.median(found)


def draw(frames: Frames, fps: float, **options: Any) -> Iterator[NDArray[np.uint8]]:
    """Blur and draw all frames."""
    painter = FramePainter(fps=fps, **options)
    for document, image in frames:
        yield painter.draw(document, painter.blur(document, image))


def draw_all(frames: Frames, fps: float, **options: Any) -> None:
    """Blur and draw all frames, and keep none."""
    deque(draw(frames, fps, **options), maxlen=0)


def encode(drawn: list[NDArray[np.uint8]], fps: float, path: Path, fourcc: str | None) -> None:
    """Write a video of frames."""
    height, width = drawn[0].shape[:2]
    writer = open_video_writer(path, width=width, height=height, fps=fps, fourcc=fourcc)
    for image in drawn:
        writer.write(image)
    writer.close()


def print_naming(frames: Frames, fps: float, gallery: Gallery, embedder: Embedder) -> None:
    """Print how often the people of every tenth frame are named, as they are and blurred."""
    painter = FramePainter(fps=fps, blur="all")
    crops: dict[str, list[NDArray[np.uint8]]] = {"clear": [], "blurred": []}
    names: list[str] = []
    for document, image in frames:
        blurred = painter.blur(document, image)
        for detection in document["detections"] if document["frame"] % 10 == 0 else ():
            parts = [crop(picture, [detection["bbox"]])[0] for picture in (image, blurred)]
            if "gallery_id" in detection and parts[0]:
                names.append(detection["gallery_id"])
                crops["clear"].append(parts[0][0].copy())
                crops["blurred"].append(parts[1][0].copy())
    view = gallery.view()
    print(
        f"named tracks: {len(names)} boxes; always the most frequent: {max(Counter(names).values()) / len(names):.3f}"
    )
    for kind, pictures in crops.items():
        distances = 1 - embedder.embed(pictures) @ view.embeddings.T
        rows = distances.argmin(axis=1)
        nearest = distances[np.arange(len(rows)), rows]
        right = [view.identities[view.row_columns[row]] == name for row, name in zip(rows, names, strict=True)]
        print(
            f"{kind:8}  nearest identity right {np.mean(right):.3f}, "
            f"accepted {np.mean(nearest <= DEFAULT_THRESHOLD):.3f}, "
            f"distance {nearest.min():.3f} at least, median {np.median(nearest):.3f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    video = arguments.data / "video/pets09-s2l1.avi"
    embedder = load_embedder(arguments.data / "weights/osnet_x0_25_msmt17.onnx")
    with tempfile.TemporaryDirectory() as scratch:
        with Gallery.open_or_create(Path(scratch) / "people", embedder.model) as target:
            ingest_folder(target, arguments.data / "galleries/pets09-first-half", embedder)
        result = track_video(
            dets_json=video.with_suffix(".detections.json"),
            video=video,
            gallery=Path(scratch) / "people",
            reid_weights=arguments.data / "weights/osnet_x0_25_msmt17.onnx",
            no_progress=True,
        )
        frames: Frames = []
        with VideoReader(video) as reader:
            fps = reader.fps or 10.0
            for document in result.payload["frames"]:
                reader.advance()
                frames.append((document, reader.image().copy()))
        with Gallery.open(Path(scratch) / "people") as gallery:
            print_naming(frames, fps, gallery, embedder)
        variants: dict[str, dict[str, Any]] = {
            "boxes and labels": {},
            "and trails of 2 s": {"trails": 2.0},
            "and blur": {"blur": "all"},
        }
        for name, options in variants.items():
            spent = cpu_milliseconds(arguments.rounds, partial(draw_all, frames, fps, **options), len(frames))
            print(f"{name:20} {spent:.2f} ms a frame")
        drawn = list(draw(frames, fps))
        path = Path(scratch) / "drawn.mp4"
        for fourcc in (None, "mp4v"):
            spent = cpu_milliseconds(arguments.rounds, partial(encode, drawn, fps, path, fourcc), len(frames))
            print(f"{fourcc or 'H.264':20} {spent:.2f} ms a frame, {path.stat().st_size / 1024:,.0f} KiB")


if __name__ == "__main__":
    main()
