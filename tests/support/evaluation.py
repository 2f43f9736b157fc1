"""Small results and ground truths for the tests of evaluation, and TrackEval's own script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Row = tuple[int, str, float, str | None] | tuple[int, str, float, str | None, float]
"""Frame, track id, left edge, name, and its distance (0.1 if omitted)."""

WIDTH, HEIGHT = 10.0, 20.0


def make_track_v1(
    rows: Iterable[Row], *, frames: Iterable[int] = (), tracker: str = "gallery_hybrid"
) -> dict[str, Any]:
    """Make a track-v1 document of boxes of 10 x 20 pixels at y = 0."""
    entries: dict[int, list[dict[str, Any]]] = {frame: [] for frame in frames}
    for frame, track_id, left, name, *rest in rows:
        found: dict[str, Any] = {
            "bbox": [left, 0.0, left + WIDTH, HEIGHT],
            "score": 0.9,
            "class_id": 0,
            "class_name": "person",
            "track_id": track_id,
        }
        if name is not None:
            found |= {"gallery_id": name, "gallery_distance": rest[0] if rest else 0.1}
        entries.setdefault(frame, []).append(found)
    return {
        "schema_version": "track-v1",
        "parent_schema_version": "det-v1",
        "video": {"fps": 10.0},
        "detector": None,
        "created_at_utc": "2026-01-01T00:00:00Z",
        "tracker": {
            "name": tracker,
            "class_filter": {"track_classes": None, "filter_gallery_for_tracked_classes": False},
            "config": {},
        },
        "frames": [{"frame": frame, "detections": found} for frame, found in sorted(entries.items())],
    }


def write_gt(path: Path, rows: Iterable[tuple[int, int, float]]) -> Path:
    """Write MOT15 ground truth of (0-based frame, id, left edge)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{f + 1},{i},{x},0,{WIDTH},{HEIGHT},1,-1,-1,-1\n" for f, i, x in rows))
    return path


def write_people(path: Path, names: Mapping[int, str]) -> Path:
    """Write the names of ground truth ids."""
    path.write_text("gt_id,person\n" + "".join(f"{number},{name}\n" for number, name in names.items()))
    return path


def run_trackeval(gt_folder: Path, sequence: str, result: Path, work: Path, benchmark: str) -> dict[str, Any]:
    """Run the steps of TrackEval's own script for MOTChallenge; return each metric with its figures.

    `gt_folder` contains the sequence's folder, whose seqinfo.ini has the length.
    """
    import trackeval

    data = work / "trackers" / "ours" / "data"
    data.mkdir(parents=True)
    (data / f"{sequence}.txt").write_bytes(result.read_bytes())
    quiet = {"PRINT_CONFIG": False, "PRINT_RESULTS": False, "TIME_PROGRESS": False, "LOG_ON_ERROR": None}
    evaluator = trackeval.Evaluator(
        {**quiet, "PLOT_CURVES": False, "OUTPUT_SUMMARY": False, "OUTPUT_DETAILED": False, "BREAK_ON_ERROR": True}
    )
    dataset = trackeval.datasets.MotChallenge2DBox(
        {
            "GT_FOLDER": str(gt_folder),
            "TRACKERS_FOLDER": str(work / "trackers"),
            "TRACKERS_TO_EVAL": ["ours"],
            "BENCHMARK": benchmark,
            "SEQ_INFO": {sequence: None},
            "SKIP_SPLIT_FOL": True,
            "PRINT_CONFIG": False,
        }
    )
    settings = {"THRESHOLD": 0.5, "PRINT_CONFIG": False}
    metrics = [
        trackeval.metrics.HOTA(),
        trackeval.metrics.CLEAR(dict(settings)),
        trackeval.metrics.Identity(dict(settings)),
    ]
    found, _ = evaluator.evaluate([dataset], metrics)
    figures: dict[str, Any] = found["MotChallenge2DBox"]["ours"]["COMBINED_SEQ"]["pedestrian"]
    return figures
