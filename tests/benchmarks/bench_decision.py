"""Compare two rules of identification on the same tracks at the same cost: the predecessor's and gtrack's.

``python tests/benchmarks/bench_decision.py --data ../shared/data``

PETS09-S2L1 from frame 400 on, with the gallery of its first half, and two clips that the project draws: the
demonstration's, and a harder one (ten known people in similar clothes, five unknown ones). Counted as `gtrack eval
identity` does it, over the person-frames that a track covers. "swapped" counts the name changes where the track had
moved to another person, "duplicates" the names that several boxes of one frame have. The third line of each clip is a
run with `--backfill`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from gallery_db import Gallery, GalleryView, ingest_folder
from tracking import TrackResult, load_embedder, track_video
from tracking.evaluation import Truth, evaluate_identity, read_track_table, read_truth
from tracking.identification.named_tracklets import Named, NamedTracklet
from tracking.identification.track_evidence import Status
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import render_scene

HARD = SceneConfig(seed=31, people=10, strangers=5, similar_clothes=0.5, frames=800)
FIRST = 400


class SingleObservationRule:
    """The predecessor's rule, inferred from its behaviour.

    At every tick all tracks are observed, each embedding is matched one-to-one within the threshold, and a track
    without a match keeps its earlier name unless another track took it.
    """

    def __init__(self, source: GalleryView, *, threshold: float, every: int, **ignored: object) -> None:
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
        distances = self._source.identity_distances(self._source.adapt(embeddings), class_names)
        gated = np.where(distances <= self._threshold, distances, 1e3)
        rows, columns = linear_sum_assignment(gated)
        for row, column in zip(rows, columns, strict=True):
            if gated[row, column] < 1e3:
                name = self._source.identities[column]
                self._names = {t: n for t, n in self._names.items() if n.identity != name or t not in track_ids}
                self._names[track_ids[row]] = Named(name, float(distances[row, column]))

    def names(self, frame: int, track_ids: Sequence[int], *ignored: object) -> list[Named | None]:
        return [self._names.get(track_id) for track_id in track_ids]

    def status(self, track_id: int, *ignored: object) -> Status:
        return "known" if track_id in self._names else "unknown"

    def tracklets(self) -> list[NamedTracklet]:
        return []


def format_row(title: str, result: TrackResult, truth: Truth, known: Collection[str]) -> str:
    """Return one line of the table."""
    report = evaluate_identity(read_track_table(result.payload), truth, known)
    frames = sum(p.frames for p in report.known)
    shares = [sum(getattr(p, what) for p in report.known) / frames for what in ("right", "wrong", "unnamed")]
    named, strangers = sum(p.wrong for p in report.strangers), sum(p.frames for p in report.strangers)
    changes = report.name_changes or ()
    return (
        f"  {title:20s} {' '.join(f'{share:8.4f}' for share in shares)} {named:5d}/{strangers:<5d} {len(changes):8d} "
        f"{sum(change.swapped for change in changes):8d} {len(report.duplicates):10d} {result.stats['crops']:6.0f}"
    )


def compare(title: str, truth: Truth, known: Collection[str], **arguments: Any) -> None:
    """Run a clip with both rules, and print the lines."""
    print(title)
    with patch("tracking.trackers.registry.TrackIdentifier", SingleObservationRule):
        print(format_row("single observation", track_video(**arguments, no_progress=True), truth, known))
    print(format_row("gtrack", track_video(**arguments, no_progress=True), truth, known))
    print(
        format_row("gtrack --backfill", track_video(**arguments, no_progress=True, backfill=True), truth, known),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    data = arguments.data
    osnet = str(data / "weights" / "osnet_x0_25_msmt17.onnx")
    columns = f"{'right':>8s} {'wrong':>8s} {'unnamed':>8s} {'unknown':>11s} {'changes':>8s} {'swapped':>8s}"
    print(f"{'':23s}{columns} {'duplicates':>10s} {'crops':>6s}")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)

        def gallery_of(images: Path, weights: str) -> Path:
            embedder = load_embedder(weights)
            path = work / f"{images.parent.name}-{images.name}-{Path(weights).stem}"
            with Gallery.open_or_create(path, embedder.model) as gallery:
                ingest_folder(gallery, images, embedder)
            return path

        images = data / "galleries" / "pets09-first-half"
        pets = data / "mot" / "PETS09-S2L1"
        truth = read_truth(pets, pets / "people.csv").between((FIRST, None))
        for weights in (osnet, "builtin"):
            compare(
                f"PETS09-S2L1 from frame {FIRST} on, {Path(weights).stem}",
                truth,
                [p.name for p in images.iterdir()],
                dets_json=data / "video" / "pets09-s2l1.detections.json",
                video=data / "video" / "pets09-s2l1.avi",
                gallery=gallery_of(images, weights),
                reid_weights=weights,
                frame_range=(FIRST, None),
            )
        for title, config in (("demo clip", SceneConfig()), ("hard demo clip", HARD)):
            scene = render_scene(work / title.replace(" ", "-"), config)
            truth = read_truth(scene.truth)
            for weights in (osnet, "builtin"):
                compare(
                    f"{title}, {Path(weights).stem}",
                    truth,
                    truth.known or (),
                    dets_json=scene.detections,
                    video=scene.video,
                    gallery=gallery_of(scene.gallery, weights),
                    reid_weights=weights,
                )


if __name__ == "__main__":
    main()
