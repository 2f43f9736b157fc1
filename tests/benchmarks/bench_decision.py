"""Who is who, by two rules on the same tracks at the same cost: the predecessor's, and gtrack's.

``python tests/benchmarks/bench_decision.py --data ../shared/data``

PETS09-S2L1 from frame 400 on, with the gallery of its first half, and two clips that the project draws: the
demonstration's, and a harder one (ten known people in similar clothes, five strangers). A person-frame counts where
a tracked box overlaps the person with IoU >= 0.5. Where two people share one box, one of the two cannot be right: the
columns "alone" leave out the one who overlaps it less. `--backfill` is the third line of each.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from bench_names import truth_of
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from gallery_db import Gallery, ingest_folder
from tracking import TrackResult, load_embedder, track_video
from tracking.boxes import iou
from tracking.demo import compare_with_truth
from tracking.demo_scene import SceneConfig, render_scene
from tracking.evidence import Status
from tracking.identity import IdentitySource, Named, NamedStretch

HARD = SceneConfig(seed=31, people=10, strangers=5, similar_clothes=0.5, frames=800)
FIRST = 400


class SingleLook:
    """The predecessor's rule, told from what it does: at every tick, all tracks are looked at, each look is matched
    one-to-one within the threshold, and who is not matched keeps an earlier name unless another track took it."""

    def __init__(self, source: IdentitySource, *, threshold: float, every: int, keep: bool = False) -> None:
        self._source = source
        self._threshold = threshold
        self._every = every
        self._frames = 0
        self._names: dict[int, Named] = {}

    def due(self, frame: int, track_ids: Sequence[int], *ignored: object) -> list[int]:
        self._frames += 1
        return list(range(len(track_ids))) if self._frames % self._every == 0 else []

    def observe(
        self,
        frame: int,
        track_ids: Sequence[int],
        embeddings: NDArray[np.float32],
        qualities: Sequence[float],
        class_names: Sequence[str | None],
    ) -> None:
        if not len(track_ids):
            return
        distances = self._source.identity_distances(embeddings, class_names)
        gated = np.where(distances <= self._threshold, distances, 1e3)
        rows, columns = linear_sum_assignment(gated)
        for row, column in zip(rows, columns, strict=True):
            if gated[row, column] < 1e3:
                name = self._source.identities[column]
                self._names = {t: n for t, n in self._names.items() if n.identity != name or t not in track_ids}
                self._names[track_ids[row]] = Named(name, float(distances[row, column]))

    def names(self, frame: int, track_ids: Sequence[int]) -> list[Named | None]:
        return [self._names.get(track_id) for track_id in track_ids]

    def status(self, track_id: int) -> Status:
        return "known" if track_id in self._names else "unknown"

    def stretches(self) -> list[NamedStretch]:
        return []


def alone(truth: Mapping[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    """The truth without those who share another's box and overlap it less."""
    tracked = {frame["frame"]: [d for d in frame["detections"] if "track_id" in d] for frame in payload["frames"]}
    frames = []
    for frame in truth["frames"]:
        boxes = np.array([d["bbox"] for d in tracked.get(frame["frame"], [])], np.float64).reshape(-1, 4)
        best: dict[int, tuple[float, int]] = {}
        people = [dict(person) for person in frame["people"]]
        for number, person in enumerate(people):
            overlap = iou(person["box"], boxes) if len(boxes) and person["visible"] >= 0.3 else np.zeros(1)
            row = int(np.argmax(overlap))
            if overlap[row] < 0.5:
                continue
            other = best.get(row)
            if other is None or overlap[row] > other[0]:
                best[row] = (float(overlap[row]), number)
            loser = number if other is not None and best[row] == other else None if other is None else other[1]
            if loser is not None:
                people[loser]["visible"] = 0.0
        frames.append({"frame": frame["frame"], "people": people})
    return {**truth, "frames": frames}


def counts(payload: Mapping[str, Any]) -> tuple[int, int]:
    """How often a track's name changes, and how often a name stands twice in a frame."""
    last: dict[str, str] = {}
    changes = doubles = 0
    for frame in payload["frames"]:
        named = [d for d in frame["detections"] if "gallery_id" in d]
        doubles += len(named) - len({d["gallery_id"] for d in named})
        for detection in named:
            changes += last.get(detection["track_id"], detection["gallery_id"]) != detection["gallery_id"]
            last[detection["track_id"]] = detection["gallery_id"]
    return changes, doubles


def row(title: str, result: TrackResult, truth: Mapping[str, Any]) -> str:
    """One line of the table."""
    text = f"  {title:28s}"
    for part in (truth, alone(truth, result.payload)):
        people = compare_with_truth(result.payload, part)
        known = [p for p in people if p.known]
        strangers = [p for p in people if not p.known]
        frames = sum(p.frames for p in known)
        shares = [sum(getattr(p, what) for p in known) / frames for what in ("right", "wrong", "unnamed")]
        text += " ".join(f"{share:8.4f}" for share in shares)
        text += f" {sum(p.wrong for p in strangers):5d}/{sum(p.frames for p in strangers):<5d}"
    changes, doubles = counts(result.payload)
    return f"{text} {changes:8d} {doubles:8d} {result.stats['crops']:6.0f}"


def compare(title: str, truth: Mapping[str, Any], **arguments: Any) -> None:
    """Run a clip by both rules, and print the lines."""
    print(title)
    with patch("tracking.pipeline.TrackIdentities", SingleLook):
        print(row("single look, sticky", track_video(**arguments, no_progress=True), truth))
    print(row("gtrack", track_video(**arguments, no_progress=True), truth))
    print(row("gtrack --backfill", track_video(**arguments, no_progress=True, backfill=True), truth), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    data = arguments.data
    osnet = str(data / "weights" / "osnet_x0_25_msmt17.onnx")
    columns = f"{'right':>8s} {'wrong':>8s} {'unnamed':>8s} {'strangers':>11s}"
    print(f"{'':30s}{columns}{columns.replace('right', 'alone')} {'changes':>8s} {'doubles':>8s} {'crops':>6s}")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)

        def gallery_of(images: Path, weights: str) -> Path:
            embedder = load_embedder(weights)
            path = place / f"{images.parent.name}-{images.name}-{Path(weights).stem}"
            with Gallery.open_or_create(path, embedder.model) as gallery:
                ingest_folder(gallery, images, embedder)
            return path

        images = data / "galleries" / "pets09-first-half"
        truth = truth_of(data / "mot" / "PETS09-S2L1", sorted(p.name for p in images.iterdir()))
        for weights in (osnet, "builtin"):
            compare(
                f"PETS09-S2L1 from frame {FIRST} on, {Path(weights).stem}",
                truth,
                dets_json=data / "video" / "pets09-s2l1.detections.json",
                video=data / "video" / "pets09-s2l1.avi",
                gallery=gallery_of(images, weights),
                reid_weights=weights,
                frame_range=(FIRST, None),
            )
        for title, config in (("demo clip", SceneConfig()), ("hard demo clip", HARD)):
            scene = render_scene(place / title.replace(" ", "-"), config)
            truth = json.loads(scene.truth.read_text())
            for weights in (osnet, "builtin"):
                compare(
                    f"{title}, {Path(weights).stem}",
                    truth,
                    dets_json=scene.detections,
                    video=scene.video,
                    gallery=gallery_of(scene.gallery, weights),
                    reid_weights=weights,
                    frame_rate=round(config.fps),
                )


if __name__ == "__main__":
    main()
