"""Measure how often people get their right name on PETS09-S2L1 when they come back.

``python tests/benchmarks/bench_names.py --data ../shared/data``

The gallery holds crops of eight people from the video's first half; the run names the tracks of the
second half (frames 400 on), where six of them return and two unknown people appear. Scored against
ground truth, over the person-frames that a track covers with IoU >= 0.5.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from gallery_db import Gallery, ingest_folder
from tracking import load_embedder, track_video
from tracking.evaluation import evaluate_identity, read_track_table, read_truth

FIRST = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    data = arguments.data
    images = data / "galleries" / "pets09-first-half"
    sequence = data / "mot" / "PETS09-S2L1"
    truth = read_truth(sequence, sequence / "people.csv")
    names = {path.name for path in images.iterdir()}
    print(f"{'embedder':26s} {'threshold':>9s} {'right':>6s} {'wrong':>6s} {'unnamed':>8s} {'unknown named':>16s}")
    for weights in (str(data / "weights" / "osnet_x0_25_msmt17.onnx"), "builtin"):
        embedder = load_embedder(weights)
        with tempfile.TemporaryDirectory() as work:
            with Gallery.open_or_create(Path(work) / "gallery", embedder.model) as gallery:
                ingest_folder(gallery, images, embedder)
            for threshold in (0.20, 0.25, 0.30):
                result = track_video(
                    dets_json=data / "video" / "pets09-s2l1.detections.json",
                    video=data / "video" / "pets09-s2l1.avi",
                    gallery=Path(work) / "gallery",
                    reid_weights=weights,
                    frame_range=(FIRST, None),
                    gallery_match_threshold=threshold,
                    no_progress=True,
                )
                report = evaluate_identity(read_track_table(result.payload), truth, names, frame_range=(FIRST, None))
                known, strangers = report.known, report.strangers
                frames = sum(p.frames for p in known)
                print(
                    f"{embedder.model.name:26s} {threshold:9.2f} {sum(p.right for p in known) / frames:6.3f} "
                    f"{sum(p.wrong for p in known) / frames:6.3f} {sum(p.unnamed for p in known) / frames:8.3f} "
                    f"{sum(p.wrong for p in strangers) / sum(p.frames for p in strangers):16.3f}"
                )


if __name__ == "__main__":
    main()
