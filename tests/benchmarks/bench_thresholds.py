"""Measure tracks with one threshold for all detectors, and with thresholds that follow from each detector's scores.

``python tests/benchmarks/bench_thresholds.py --data ../shared/data --detections yolo11n.json yolox.json public.json``

Each det-v1 file of PETS09-S2L1 is tracked forward and in reverse. HOTA / MOTA / IDF1 of the tracks against sightings.
"""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from tracking.detections.base import FrameDetections
from tracking.detections.reader import open_detections
from tracking.detections.score_level import score_level
from tracking.evaluation import Truth, evaluate_tracks, read_track_table, read_truth
from tracking.trackers.temporal import TemporalOptions, TemporalTracker

TRACKERS = ("botsort_motion", "bytetrack", "rf_bytetrack", "rf_cbiou")


def reverse(truth: Truth, frames: int) -> Truth:
    """Return the truth of the video that runs backwards."""
    numbers = frames - 1 - truth.frames
    order = np.argsort(numbers, kind="stable")
    columns: dict[str, Any] = {one.name: getattr(truth, one.name) for one in fields(truth)}
    columns = {
        name: value[order]
        for name, value in columns.items()
        if isinstance(value, np.ndarray) and len(value) == len(order)
    }
    return replace(truth, **{**columns, "frames": numbers[order]})


def tracks(frames: list[FrameDetections], options: TemporalOptions, level: float | None) -> dict[str, Any]:
    """Return track-v1 of the frames."""
    tracker = TemporalTracker(options, have_embeddings=False, level=level)
    found = []
    for number, frame in enumerate(frames):
        ids, rows, boxes = tracker.update(frame.boxes, frame.scores, frame.class_ids)
        detections = [
            {
                "bbox": [round(float(value), 2) for value in box],
                "score": float(frame.scores[row]),
                "class_id": 0,
                "det_ind": int(row),
                "track_id": str(track),
            }
            for track, row, box in zip(ids.tolist(), rows.tolist(), boxes, strict=True)
        ]
        found.append({"frame": number, "detections": detections})
    return {"schema_version": "track-v1", "tracker": {"name": "gallery_hybrid", "config": {}}, "frames": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--detections", type=Path, nargs="+", required=True)
    parser.add_argument("--trackers", nargs="+", default=list(TRACKERS))
    arguments = parser.parse_args()
    truth = read_truth(arguments.data / "mot" / "PETS09-S2L1")
    for path in arguments.detections:
        source = open_detections(path)
        frames = [source.at(number) for number in range(int(source.video["frame_count"]))]
        level = score_level(source.scores())
        print(f"{path.name}: level {level}")
        clips = {"forward": (frames, truth), "reversed": (frames[::-1], reverse(truth, len(frames)))}
        for tracker in arguments.trackers:
            for threshold in (0.45, None):
                options = TemporalOptions(name=tracker, track_thresh=threshold).for_video(float(source.video["fps"]))
                cells = []
                for name, (clip, of_clip) in clips.items():
                    metrics = evaluate_tracks(read_track_table(tracks(clip, options, level)), of_clip).metrics
                    hota = np.mean(metrics["HOTA"]["HOTA"])
                    values = (hota, metrics["CLEAR"]["MOTA"], metrics["Identity"]["IDF1"])
                    cells.append(f"{name} " + " / ".join(f"{100 * value:.1f}" for value in values))
                print(f"  {tracker}, {threshold or 'from the scores'}: {', '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
