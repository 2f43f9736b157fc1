"""Measure names on worse video: fewer frames, fewer pixels, fewer bits, worse boxes.

``OMP_NUM_THREADS=1 python tests/benchmarks/bench_robustness.py --data ../shared/data``

PETS09-S2L1 from frame 400 on with the gallery of its first half, and its mirror, as in bench_trackers.py; the galleries
are cut from the video as it is. At default settings: known people's person-frames that are named rightly and wrongly,
and strangers' that are named, as `gtrack eval identity` counts them: the single look of bench_decision.py in the same
space, a run, and a run with `--backfill`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import cv2
import numpy as np
from bench_decision import SingleObservationRule
from bench_trackers import HALF, cut_gallery

from gallery_db import DEFAULT_THRESHOLD, Gallery, ingest_folder
from tracking import load_embedder, track_video
from tracking.evaluation import Truth, evaluate_identity, read_track_table, read_truth
from tracking.video.reader import VideoReader

NETWORKS = {"OSNet x0.25": "osnet_x0_25_msmt17.onnx", "0287": "person-reidentification-retail-0287.xml"}
FPS = 10


@dataclass(frozen=True)
class Variant:
    """A worse copy of the video.

    Attributes:
        step: Every how many-th frame is kept.
        scale: Factor of its size.
        bits: H.264 bit rate per second; None for a lossless copy.
        worse_boxes: Whether a fifth of the boxes is dropped, and the edges of the others are moved, with a standard
            deviation of 5 % of their size.
    """

    step: int = 1
    scale: float = 1.0
    bits: int | None = None
    worse_boxes: bool = False


VARIANTS = {
    "as it is": Variant(),
    "half the frames": Variant(step=2),
    "a quarter of the frames": Variant(step=4),
    "half the size": Variant(scale=0.5),
    "H.264 at 100 kbit/s": Variant(bits=100_000),
    "H.264 at 40 kbit/s": Variant(bits=40_000),
    "worse boxes": Variant(worse_boxes=True),
}


def write_video(source: Path, target: Path, variant: Variant) -> None:
    """Write a worse copy of a video."""
    with av.open(str(target), "w") as container, VideoReader(source) as reader:
        rate = Fraction(FPS, variant.step)
        stream: Any = container.add_stream("ffv1" if variant.bits is None else "libx264", rate=rate)
        stream.width, stream.height = round(reader.width * variant.scale), round(reader.height * variant.scale)
        stream.pix_fmt = "bgr0" if variant.bits is None else "yuv420p"
        if variant.bits is not None:
            stream.bit_rate = variant.bits
        while reader.advance():
            if reader.frame % variant.step:
                continue
            size = (stream.width, stream.height)
            image = cv2.resize(reader.image(), size, interpolation=cv2.INTER_AREA)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())


def write_detections(source: Path, target: Path, variant: Variant) -> None:
    """Write the detections that fit the copy."""
    document = json.loads(source.read_text())
    random = np.random.default_rng(0)
    frames = []
    for frame in document["frames"]:
        if frame["frame"] % variant.step:
            continue
        detections = []
        for detection in frame["detections"]:
            box = np.asarray(detection["bbox"])
            if variant.worse_boxes:
                if random.random() < 0.2:
                    continue
                box = box + random.normal(0, 0.05, 4) * np.tile(box[2:] - box[:2], 2)
            box = (box * variant.scale).clip(0, np.tile([767.0, 575.0], 2) * variant.scale)
            detections.append({**detection, "bbox": box.round(3).tolist(), "det_ind": len(detections)})
        frames.append({**frame, "frame": frame["frame"] // variant.step, "detections": detections})
    size = {name: round(document["video"][name] * variant.scale) for name in ("width", "height")}
    video = {**document["video"], **size, "fps": FPS / variant.step, "frame_count": len(frames)}
    target.write_text(json.dumps({**document, "video": video, "frames": frames}))


def change_truth(truth: Truth, variant: Variant) -> Truth:
    """Return the ground truth that fits the copy."""
    rows = np.flatnonzero(truth.frames % variant.step == 0)
    assert truth.persons is not None
    return replace(
        truth,
        frames=truth.frames[rows] // variant.step,
        ids=truth.ids[rows],
        xyxy=truth.xyxy[rows] * variant.scale,
        ltwh=truth.ltwh[rows] * variant.scale,
        visible=truth.visible[rows],
        marks=truth.marks[rows],
        classes=truth.classes[rows],
        persons=truth.persons[rows],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--before", action="store_true", help="a column more: embeddings as they are, 0.25")
    arguments = parser.parse_args()
    data: Path = arguments.data
    sequence = data / "mot" / "PETS09-S2L1"
    truth = read_truth(sequence, sequence / "people.csv")
    source = data / "video" / "pets09-s2l1.avi"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        images = {
            "PETS": data / "galleries" / "pets09-first-half",
            "mirror": cut_gallery(work / "second-half", source, truth.between((HALF, None))),
        }
        for network in arguments.networks:
            weights = str(data / "weights" / NETWORKS[network])
            embedder = load_embedder(weights)
            for clip, crops in images.items():
                for space in ("plain", "adapted"):
                    with Gallery.open_or_create(work / f"{network}-{clip}-{space}", embedder.model) as gallery:
                        if space == "plain":
                            gallery.reset_space(plain=True)
                        ingest_folder(gallery, crops, embedder)
        for title in arguments.variants:
            variant = VARIANTS[title]
            video, detections = work / "video.mkv", work / "detections.json"
            write_video(source, video, variant)
            write_detections(data / "video" / "pets09-s2l1.detections.json", detections, variant)
            changed = change_truth(truth, variant)
            half = HALF // variant.step
            for network in arguments.networks:
                for clip, crops in images.items():
                    frames = (half, None) if clip == "PETS" else (0, half)
                    known = {path.name for path in crops.iterdir()}
                    ours = changed.between(frames)

                    def run(space: str, **options: Any) -> str:
                        result = track_video(
                            dets_json=detections,  # noqa: B023
                            video=video,  # noqa: B023
                            gallery=work / f"{network}-{clip}-{space}",  # noqa: B023
                            reid_weights=str(data / "weights" / NETWORKS[network]),  # noqa: B023
                            frame_range=frames,  # noqa: B023
                            no_progress=True,
                            **options,
                        )
                        report = evaluate_identity(read_track_table(result.payload), ours, known)  # noqa: B023
                        total = sum(p.frames for p in report.known)
                        right, wrong = (sum(getattr(p, what) for p in report.known) for what in ("right", "wrong"))
                        shares = [f"{share / total:.3f}".removeprefix("0") for share in (right, wrong)]
                        return f"{' '.join(shares)} {sum(p.wrong for p in report.strangers)}"

                    cells = [_single(run)]
                    if arguments.before:
                        cells.append(run("plain", gallery_match_threshold=DEFAULT_THRESHOLD))
                    cells += [run("adapted"), run("adapted", backfill=True)]
                    print(f"| {title} | {clip} | {network} | {' | '.join(cells)} |", flush=True)


def _single(run: Callable[[str], str]) -> str:
    with patch("tracking.trackers.registry.TrackIdentifier", SingleObservationRule):
        return run("adapted")


if __name__ == "__main__":
    main()
