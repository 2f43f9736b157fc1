"""How well strangers of one camera are recognised on the next, and what enrolment costs, on PETS09-S2L1.

``python tests/benchmarks/bench_enrolment.py --data ../shared/data``

An empty gallery; frames 0 to 399 as camera A, then 400 on as camera B, ``--enroll unknown``. An unknown identity
stands for the person whom most of its entries show, told from ground truth at each entry's best frame. Scored
over the person-frames that a track covers with IoU >= 0.5. Nothing of the ground truth goes into the runs.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gallery_db import Gallery
from tracking import TrackResult, track_video
from tracking.quality import max_overlap

HALF = 400
Truth = dict[int, list[tuple[str, list[float]]]]


def truth_of(folder: Path) -> Truth:
    with (folder / "people.csv").open() as stream:
        who = {int(row["gt_id"]): row["person"] for row in csv.DictReader(stream)}
    people: Truth = defaultdict(list)
    for line in (folder / "gt" / "gt.txt").read_text().splitlines():
        frame, track, x, y, width, height = map(float, line.split(",")[:6])
        people[int(frame) - 1].append((who[int(track)], [x, y, x + width, y + height]))
    return people


def person_at(truth: Truth, frame: int, box: Sequence[float], least: float) -> str | None:
    overlaps = [(max_overlap(box, np.array([other])), name) for name, other in truth.get(frame, [])]
    best = max(overlaps, default=(0.0, ""))
    return best[1] if best[0] >= least else None


def shown(gallery: Path, truth: Truth) -> dict[str, Counter[str | None]]:
    """Whom the entries of each identity show."""
    found: dict[str, Counter[str | None]] = defaultdict(Counter)
    with Gallery.open(gallery) as opened:
        for entry in opened.entries():
            assert entry.frame is not None
            assert entry.box is not None
            found[entry.identity][person_at(truth, entry.frame, entry.box, 0.3)] += 1
    return found


def score(result: TrackResult, truth: Truth, meaning: Mapping[str, str | None]) -> dict[str, Counter[str]]:
    people: dict[str, Counter[str]] = defaultdict(Counter)
    for frame in result.payload["frames"]:
        tracked = [d for d in frame["detections"] if "track_id" in d]
        for name, box in truth.get(frame["frame"], []):
            overlaps = [max_overlap(box, np.array([d["bbox"]])) for d in tracked]
            if not overlaps or max(overlaps) < 0.5:
                continue
            said = tracked[int(np.argmax(overlaps))].get("gallery_id")
            verdict = "unnamed" if said is None else "right" if meaning.get(said) == name else "wrong"
            people[name][verdict] += 1
    return people


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = arguments.data
    truth = truth_of(data / "mot" / "PETS09-S2L1")
    common: dict[str, Any] = {
        "dets_json": data / "video" / "pets09-s2l1.detections.json",
        "video": data / "video" / "pets09-s2l1.avi",
        "reid_weights": data / "weights" / "osnet_x0_25_msmt17.onnx",
        "no_progress": True,
    }
    costs: dict[str, list[float]] = defaultdict(list)
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as place:
            gallery = Path(place) / "gallery"
            first = track_video(**common, gallery=gallery, enroll="unknown", source_id="A", frame_range=(0, HALF))
            after_a = shown(gallery, truth)
            off = track_video(**common, gallery=gallery, frame_range=(HALF, None))
            second = track_video(**common, gallery=gallery, enroll="unknown", source_id="B", frame_range=(HALF, None))
            costs["camera B, enroll off"].append(off.stats["cpu_seconds"])
            costs["camera B, enroll unknown"].append(second.stats["cpu_seconds"])
            if number:
                continue
            after_b = shown(gallery, truth)
            for name, result, there in (("A", first, after_a), ("B", second, after_b)):
                print(f"\ncamera {name}: {result.enrolment}")
                for identity, people in sorted(there.items()):
                    print(f"  {identity}: {', '.join(f'{who} x {count}' for who, count in people.most_common())}")
            meaning = {identity: people.most_common(1)[0][0] for identity, people in after_a.items()}
            known = set(meaning.values())
            print("\nCamera B, person-frames, with the identities of camera A:")
            total: Counter[str] = Counter()
            for name, verdicts in sorted(score(off, truth, meaning).items()):
                print(f"  {name:16s} {'enrolled on A' if name in known else 'new':14s} {dict(verdicts)}")
                total.update({("known " if name in known else "new ") + v: n for v, n in verdicts.items()})
            print("  in all:", dict(total))
            meaning = {identity: people.most_common(1)[0][0] for identity, people in after_b.items()}
            print("Camera B while it enrols, identities as they are in the end:")
            total = Counter()
            for name, verdicts in sorted(score(second, truth, meaning).items()):
                print(f"  {name:16s} {'enrolled on A' if name in known else 'new':14s} {dict(verdicts)}")
                total.update({("known " if name in known else "new ") + v: n for v, n in verdicts.items()})
            print("  in all:", dict(total))
    print()
    for name, values in costs.items():
        print(f"{name}: {statistics.median(values):.2f} CPU s for the frame loop")


if __name__ == "__main__":
    main()
