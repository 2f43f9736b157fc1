"""Measure how well unknown people of one camera get their names on the next, and what enrolment costs, on PETS09-S2L1.

``python tests/benchmarks/bench_enrolment.py --data ../shared/data``

An empty gallery; frames 0 to 399 as camera A, then 400 on as camera B, ``--enroll unknown``. An unknown identity
stands for the person that most of its entries show, by the ground truth at each entry's best frame. Counted as
`gtrack eval identity` does it. The runs do not use the ground truth.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gallery_db import Gallery
from tracking import TrackResult, track_video
from tracking.evaluation import Truth, evaluate_identity, read_track_table, read_truth
from tracking.geometry import iou

HALF = 400


def person_at(truth: Truth, frame: int, box: Sequence[float], min_iou: float) -> str | None:
    """Return the person in a box, or None if no person overlaps it enough."""
    assert truth.persons is not None
    rows = np.flatnonzero((truth.frames == frame) & (truth.persons >= 0))
    overlaps = iou(box, truth.xyxy[rows]) if len(rows) else np.zeros(1)
    best = int(np.argmax(overlaps))
    return truth.people[truth.persons[rows[best]]] if overlaps[best] >= min_iou else None


def count_people(gallery: Path, truth: Truth) -> dict[str, Counter[str | None]]:
    """Count, for each identity of a gallery, the people that its entries show."""
    found: dict[str, Counter[str | None]] = defaultdict(Counter)
    with Gallery.open(gallery) as opened:
        for entry in opened.entries():
            assert entry.frame is not None
            assert entry.box is not None
            found[entry.identity][person_at(truth, entry.frame, entry.box, 0.3)] += 1
    return found


def print_score(title: str, result: TrackResult, truth: Truth, identities: Mapping[str, Counter[str | None]]) -> None:
    """Print the shares of right names; an identity stands for the person that most of its entries show."""
    meaning = {
        identity: people.most_common(1)[0][0] or f"nobody ({identity})" for identity, people in identities.items()
    }
    payload = copy.deepcopy(result.payload)
    for frame in payload["frames"]:
        for detection in frame["detections"]:
            if "gallery_id" in detection:
                detection["gallery_id"] = meaning.get(detection["gallery_id"], detection["gallery_id"])
    report = evaluate_identity(read_track_table(payload), truth, set(meaning.values()), frame_range=(HALF, None))
    print(title)
    for group, people in (("known", report.known), ("new", report.strangers)):
        for person in (p for p in people if p.frames):
            print(
                f"  {group:6s} {person.name:16s} right {person.right}, wrong {person.wrong}, unnamed {person.unnamed}"
            )
        frames = sum(p.frames for p in people)
        shares = {what: sum(getattr(p, what) for p in people) for what in ("right", "wrong", "unnamed")}
        print(f"  {group:6s} total {frames}:", {what: f"{n} ({n / max(frames, 1):.4f})" for what, n in shares.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    data = arguments.data
    pets = data / "mot" / "PETS09-S2L1"
    truth = read_truth(pets, pets / "people.csv")
    common: dict[str, Any] = {
        "dets_json": data / "video" / "pets09-s2l1.detections.json",
        "video": data / "video" / "pets09-s2l1.avi",
        "reid_weights": data / "weights" / "osnet_x0_25_msmt17.onnx",
        "no_progress": True,
    }
    costs: dict[str, list[float]] = defaultdict(list)
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            gallery = Path(folder) / "gallery"
            first = track_video(
                **common, gallery=gallery, enroll="unknown", backfill=False, source_id="A", frame_range=(0, HALF)
            )
            after_a = count_people(gallery, truth)
            off = track_video(**common, gallery=gallery, frame_range=(HALF, None))
            second = track_video(
                **common, gallery=gallery, enroll="unknown", backfill=False, source_id="B", frame_range=(HALF, None)
            )
            costs["camera B, without enrolment"].append(off.stats["cpu_seconds"])
            costs["camera B, with enrolment"].append(second.stats["cpu_seconds"])
            if number:
                continue
            after_b = count_people(gallery, truth)
            for name, result, identities in (("A", first, after_a), ("B", second, after_b)):
                print(f"\ncamera {name}: {result.enrolment}")
                for identity, people in sorted(identities.items()):
                    print(f"  {identity}: {', '.join(f'{person} x {count}' for person, count in people.most_common())}")
            print_score("\nCamera B, person-frames, with the identities of camera A:", off, truth, after_a)
            print_score("Camera B with enrolment, with the identities at its end:", second, truth, after_b)
    print()
    for name, values in costs.items():
        print(f"{name}: {statistics.median(values):.2f} CPU s for the frame loop")


if __name__ == "__main__":
    main()
