"""How rightly people are named on PETS09-S2L1 when they come back.

``python tests/benchmarks/bench_names.py --data ../shared/data``

The gallery holds crops of eight people from the video's first half; the run names the tracks of the
second half (frames 400 on), where six of them return and two strangers appear. Scored against ground
truth, over the person-frames that a track covers with IoU >= 0.5.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from gallery_db import Gallery, ingest_folder
from tracking import load_embedder, track_video
from tracking.demo import compare_with_truth

FIRST = 400


def truth_of(folder: Path, known: list[str]) -> dict[str, Any]:
    """Ground truth of the second half, in the form of a scene's truth."""
    with (folder / "people.csv").open() as stream:
        who = {int(row["gt_id"]): row["person"] for row in csv.DictReader(stream)}
    people: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for line in (folder / "gt" / "gt.txt").read_text().splitlines():
        frame, track, x, y, width, height = map(float, line.split(",")[:6])
        people[int(frame) - 1].append({"name": who[int(track)], "box": [x, y, x + width, y + height], "visible": 1.0})
    frames = [{"frame": f, "people": people[f]} for f in sorted(people) if f >= FIRST]
    return {"known": known, "strangers": sorted(set(who.values()) - set(known)), "frames": frames}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    data = arguments.data
    images = data / "galleries" / "pets09-first-half"
    truth = truth_of(data / "mot" / "PETS09-S2L1", sorted(p.name for p in images.iterdir()))
    print(f"{'embedder':26s} {'threshold':>9s} {'right':>6s} {'wrong':>6s} {'unnamed':>8s} {'strangers named':>16s}")
    for weights in (str(data / "weights" / "osnet_x0_25_msmt17.onnx"), "builtin"):
        embedder = load_embedder(weights)
        with tempfile.TemporaryDirectory() as place:
            with Gallery.open_or_create(Path(place) / "gallery", embedder.model) as gallery:
                ingest_folder(gallery, images, embedder)
            for threshold in (0.20, 0.25, 0.30):
                result = track_video(
                    dets_json=data / "video" / "pets09-s2l1.detections.json",
                    video=data / "video" / "pets09-s2l1.avi",
                    gallery=Path(place) / "gallery",
                    reid_weights=weights,
                    frame_range=(FIRST, None),
                    gallery_match_threshold=threshold,
                    no_progress=True,
                )
                people = compare_with_truth(result.payload, truth)
                known = [p for p in people if p.known]
                strangers = [p for p in people if not p.known]
                frames = sum(p.frames for p in known)
                print(
                    f"{embedder.model.name:26s} {threshold:9.2f} {sum(p.right for p in known) / frames:6.3f} "
                    f"{sum(p.wrong for p in known) / frames:6.3f} {sum(p.unnamed for p in known) / frames:8.3f} "
                    f"{sum(p.wrong for p in strangers) / sum(p.frames for p in strangers):16.3f}"
                )


if __name__ == "__main__":
    main()
