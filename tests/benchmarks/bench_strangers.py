"""Measure how many strangers get a name where most people are strangers, and are stored under it.

``python tests/benchmarks/bench_strangers.py --data ../shared/data``

PETS09-S2L1 and its mirror (see `bench_trackers`), each with ten galleries of two or three of its people: all others
are strangers. And ten drawn clips of three to seven known people and six strangers in similar clothes. Person-frames
over all clips of a kind, counted as `gtrack eval identity` does it: as it runs, with `--backfill`, and the entries that
`--enroll all` (without `--backfill`) stored under a known person's name: of that person, of another known one, and of
strangers.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
from bench_enrolment import person_at
from bench_trackers import HALF, Case, cut_gallery

from gallery_db import Gallery, ingest_folder
from tracking import load_embedder, track_video
from tracking.evaluation import evaluate_identity, read_track_table, read_truth
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import render_scene

DRAWS = 10


def make_gallery(work: Path, weights: str, images: Path, people: Collection[str] | None = None) -> Path:
    """Ingest the images of some people, or of all."""
    folder = Path(tempfile.mkdtemp(dir=work))
    for person in images.iterdir():
        if people is None or person.name in people:
            shutil.copytree(person, folder / "images" / person.name)
    embedder = load_embedder(weights)
    with Gallery.open_or_create(folder / "gallery", embedder.model) as gallery:
        ingest_folder(gallery, folder / "images", embedder)
    return folder / "gallery"


def few_known(data: Path, work: Path, weights: str) -> Iterator[Case]:
    """Yield PETS and its mirror with few known people."""
    sequence = data / "mot" / "PETS09-S2L1"
    truth = read_truth(sequence, sequence / "people.csv")
    clip = {
        "dets_json": data / "video" / "pets09-s2l1.detections.json",
        "video": data / "video" / "pets09-s2l1.avi",
    }
    first = data / "galleries" / "pets09-first-half"
    second = cut_gallery(work / "second-half", clip["video"], truth.between((HALF, None)))
    for images, frames in ((first, (HALF, None)), (second, (0, HALF))):
        names = sorted(path.name for path in images.iterdir())
        for draw in range(DRAWS):
            people = frozenset(np.random.default_rng(draw).choice(names, 2 + draw % 2, replace=False).tolist())
            arguments = {**clip, "gallery": make_gallery(work, weights, images, people), "frame_range": frames}
            yield Case(arguments, truth.between(frames), people)


def similar_clothes(work: Path, weights: str) -> Iterator[Case]:
    """Yield drawn clips of people in similar clothes."""
    for seed in range(101, 101 + DRAWS):
        people = int(np.random.default_rng(seed).integers(3, 8))
        similar = (0.5, 0.65, 0.8)[seed % 3]
        scene = render_scene(
            work / f"scene-{seed}",
            SceneConfig(seed=seed, people=people, strangers=6, similar_clothes=similar, frames=600),
        )
        truth = read_truth(scene.truth)
        arguments = {
            "dets_json": scene.detections,
            "video": scene.video,
            "gallery": make_gallery(work, weights, scene.gallery),
            "frame_rate": 25,
        }
        yield Case(arguments, truth, frozenset(truth.known or ()))


def measure(case: Case, weights: str, work: Path, counts: Counter[tuple[str, str]]) -> None:
    """Add what the three runs of a clip give."""
    for title, options in (("as it runs", {}), ("backfill", {"backfill": True})):
        result = track_video(**case.arguments, reid_weights=weights, no_progress=True, **options)
        report = evaluate_identity(read_track_table(result.payload), case.truth, case.known)
        for what in ("frames", "right", "wrong"):
            counts[title, what] += sum(getattr(person, what) for person in report.known)
        counts[title, "strangers"] += sum(person.wrong for person in report.strangers)
        counts[title, "of"] += sum(person.frames for person in report.strangers)
    gallery = Path(tempfile.mkdtemp(dir=work)) / "gallery"
    shutil.copytree(case.arguments["gallery"], gallery)
    arguments = {**case.arguments, "gallery": gallery, "source_id": "camera"}
    track_video(**arguments, reid_weights=weights, no_progress=True, enroll="all", backfill=False)
    with Gallery.open(gallery) as opened:
        for entry in opened.entries():
            if entry.origin == "track" and entry.identity in case.known:
                assert entry.frame is not None
                assert entry.box is not None
                person = person_at(case.truth, entry.frame, entry.box, 0.3)
                kind = "right" if person == entry.identity else "other" if person in case.known else "stranger"
                counts["enrolled", kind] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", default="osnet_x0_25_msmt17.onnx", help="a file of weights, or builtin")
    arguments = parser.parse_args()
    weights = arguments.weights
    if weights != "builtin":
        weights = str(arguments.data / "weights" / weights)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        kinds = {"few known": few_known(arguments.data, work, weights), "drawn": similar_clothes(work, weights)}
        for kind, cases in kinds.items():
            counts: Counter[tuple[str, str]] = Counter()
            for case in cases:
                measure(case, weights, work, counts)
            for title in ("as it runs", "backfill"):
                frames = counts[title, "frames"]
                print(
                    f"{kind}, {title}: right {counts[title, 'right'] / frames:.4f}, wrong "
                    f"{counts[title, 'wrong'] / frames:.4f}, strangers named {counts[title, 'strangers']} of "
                    f"{counts[title, 'of']}"
                )
            stored = ", ".join(f"{what} {counts['enrolled', what]}" for what in ("right", "other", "stranger"))
            print(f"{kind}, entries of known people: {stored}", flush=True)


if __name__ == "__main__":
    main()
