"""Compare the temporal trackers: how often people get their right name on their tracks, and how good the tracks are.

``python tests/benchmarks/bench_trackers.py --data ../shared/data``

PETS09-S2L1 from frame 400 on with the gallery of its first half; "mirror", which is the first half with a gallery cut
from the second; and five drawn clips, three of them of people in similar clothes. OSNet x0.25, without and with
`--backfill`, counted as `gtrack eval identity` does it: share (and number) of person-frames with the right name, share
with a wrong name, frames in which unknown people got a known name, [crops]; then name changes, and in parentheses those
where the track had moved to another person. The tracks as `gtrack eval tracks` measures them (needs trackeval): all of
PETS, track_id against sightings, and the mean of the drawn clips, track_id against people. `--track-buffer 25 45 75`
compares how long a lost track is kept.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bench_decision import HARD

from gallery_db import Gallery, ingest_folder
from tracking import TemporalOptions, TrackResult, load_embedder, track_video
from tracking.evaluation import Truth, evaluate_identity, evaluate_tracks, read_track_table, read_truth
from tracking.geometry import iou
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import render_scene
from tracking.trackers.temporal import available_temporal
from tracking.video.reader import VideoReader

HALF = 400
CROPS = 10
SCENES = {
    "demo": SceneConfig(),
    "demo 8": SceneConfig(seed=8, frames=500),
    "hard 31": HARD,
    "hard 5": replace(HARD, seed=5, frames=600),
    "hard 77": replace(HARD, seed=77, frames=600),
}


@dataclass(frozen=True)
class Case:
    """A run and its ground truth."""

    arguments: Mapping[str, Any]
    truth: Truth
    known: frozenset[str]


def cut_gallery(folder: Path, video: Path, truth: Truth) -> Path:
    """Write a folder of crops for each person, evenly spread over the frames where nobody else is in the box."""
    assert truth.persons is not None
    good: dict[str, list[tuple[int, np.ndarray[Any, np.dtype[np.float64]]]]] = {}
    for frame in np.unique(truth.frames).tolist():
        rows = np.flatnonzero((truth.frames == frame) & truth.counts)
        for row in rows.tolist():
            box, others = truth.xyxy[row], truth.xyxy[rows[rows != row]]
            if (not len(others) or iou(box, others).max() < 0.15) and box[0] > 2 and box[2] < 766:
                good.setdefault(truth.people[truth.persons[row]], []).append((frame, box))
    wanted: dict[int, list[tuple[str, int, np.ndarray[Any, np.dtype[np.float64]]]]] = {}
    for name, crops in good.items():
        (folder / name).mkdir(parents=True)
        for number in range(CROPS):
            frame, box = crops[number * (len(crops) - 1) // (CROPS - 1)]
            wanted.setdefault(frame, []).append((name, number, box))
    with VideoReader(video) as reader:
        while reader.advance():
            for name, number, box in wanted.get(reader.frame, ()):
                x1, y1, x2, y2 = box.round().astype(int).clip(0).tolist()
                cv2.imwrite(str(folder / name / f"{number}.png"), reader.image()[y1:y2, x1:x2])
    return folder


def cases(data: Path, work: Path, weights: str) -> dict[str, Case]:
    """Return all runs by name."""
    embedder = load_embedder(weights)

    def gallery_of(name: str, images: Path) -> Path:
        with Gallery.open_or_create(work / f"gallery-{name}", embedder.model) as gallery:
            ingest_folder(gallery, images, embedder)
        return work / f"gallery-{name}"

    sequence = data / "mot" / "PETS09-S2L1"
    truth = read_truth(sequence, sequence / "people.csv")
    pets = {
        "dets_json": data / "video" / "pets09-s2l1.detections.json",
        "video": data / "video" / "pets09-s2l1.avi",
    }
    first = data / "galleries" / "pets09-first-half"
    second = cut_gallery(work / "second-half", Path(pets["video"]), truth.between((HALF, None)))
    found = {}
    for name, images, frames in (("PETS", first, (HALF, None)), ("mirror", second, (0, HALF))):
        arguments: dict[str, Any] = {**pets, "gallery": gallery_of(name, images), "frame_range": frames}
        found[name] = Case(arguments, truth.between(frames), frozenset(path.name for path in images.iterdir()))
    for name, config in SCENES.items():
        scene = render_scene(work / name, config)
        arguments = {
            "dets_json": scene.detections,
            "video": scene.video,
            "gallery": gallery_of(name, scene.gallery),
        }
        drawn = read_truth(scene.truth)
        found[name] = Case(arguments, drawn, frozenset(drawn.known or ()))
    return found


def tracks_of(result: TrackResult, truth: Truth) -> list[float]:
    """Return HOTA, MOTA and IDF1 in per cent, and the number of id switches."""
    metrics = evaluate_tracks(read_track_table(result.payload), truth).metrics
    hota, clear = float(np.mean(metrics["HOTA"]["HOTA"])), metrics["CLEAR"]
    return [100 * hota, 100 * clear["MOTA"], 100 * metrics["Identity"]["IDF1"], clear["IDSW"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--trackers", nargs="+", default=list(available_temporal()))
    parser.add_argument("--clips", nargs="+", default=["PETS", "mirror", *SCENES])
    parser.add_argument("--track-buffer", nargs="+", type=int, default=[TemporalOptions().track_buffer])
    arguments = parser.parse_args()
    data: Path = arguments.data
    weights = str(data / "weights" / "osnet_x0_25_msmt17.onnx")
    with tempfile.TemporaryDirectory() as folder:
        every = cases(data, Path(folder), weights)
        runs = {name: every[name] for name in arguments.clips}
        for tracker, buffer in itertools.product(arguments.trackers, arguments.track_buffer):
            print(f"{tracker}, lost tracks kept for {buffer / 30:.2f} s")
            options = {"reid_weights": weights, "temporal": tracker, "track_buffer": buffer, "no_progress": True}
            drawn: list[list[float]] = []
            for backfill in (False, True):
                changes = swaps = 0
                cells = []
                for name, case in runs.items():
                    result = track_video(**case.arguments, **options, backfill=backfill)
                    if name in SCENES and not backfill:
                        drawn.append(tracks_of(result, case.truth))
                    report = evaluate_identity(read_track_table(result.payload), case.truth, case.known)
                    right, wrong = (sum(getattr(p, what) for p in report.known) for what in ("right", "wrong"))
                    frames = sum(p.frames for p in report.known)
                    strangers = sum(p.wrong for p in report.strangers)
                    cells.append(
                        f"{name} {right / frames:.3f} ({right}) {wrong / frames:.3f} {strangers} "
                        f"[{result.stats['crops']:.0f}]"
                    )
                    found = report.name_changes or ()
                    changes, swaps = changes + len(found), swaps + sum(change.swapped for change in found)
                title = "backfill" if backfill else "without backfill"
                print(f"  {title}: {', '.join(cells)}; changes {changes} ({swaps})")
            whole = {key: every["PETS"].arguments[key] for key in ("dets_json", "video")}
            pets = tracks_of(track_video(**whole, **options), read_truth(data / "mot" / "PETS09-S2L1"))
            means = {"PETS": pets} | ({"drawn": np.mean(drawn, axis=0).tolist()} if drawn else {})
            for title, (hota, mota, idf1, switches) in means.items():
                print(
                    f"  tracks, {title}: HOTA {hota:.1f}, MOTA {mota:.1f}, IDF1 {idf1:.1f}, IDSW {switches:.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
