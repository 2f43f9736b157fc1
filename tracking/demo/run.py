"""The demonstration: render a clip, build its gallery, run, query, and compare the result with the truth."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db import ContactRow, Gallery, Match, ingest_folder, write_contact_sheet
from gallery_db.transfer.ingest import IngestReport
from tracking.evaluation.identity import evaluate_identity
from tracking.evaluation.identity_report import PersonReport
from tracking.evaluation.track_table import read_track_table
from tracking.evaluation.truth import scene_truth
from tracking.identification.gallery_source import EmbedderOptions
from tracking.options import RunOptions
from tracking.outputs.options import OutputOptions
from tracking.outputs.result import TrackResult
from tracking.outputs.run_folder import locked_folder
from tracking.pipeline import TrackingRun
from tracking.synthetic.config import SceneConfig
from tracking.synthetic.rendering import Scene, render_scene
from tracking.video.crops import video_crops

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["DemoReport", "PersonReport", "compare_with_truth", "run_demo"]

ProgressBar = Callable[[str, str], "AbstractContextManager[Callable[[int, int | None], None]]"]


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Files and results of the demonstration.

    Attributes:
        scene: The rendered scene.
        gallery: Path of the gallery.
        ingested: Report of building the gallery.
        result: Result of the run.
        people: Frames named right, wrong and not at all, person by person.
        contact_sheet: Path of the sheet with query results.
    """

    scene: Scene
    gallery: Path
    ingested: IngestReport
    result: TrackResult
    people: tuple[PersonReport, ...]
    contact_sheet: Path


def compare_with_truth(payload: Mapping[str, Any], truth: Mapping[str, Any]) -> tuple[PersonReport, ...]:
    """Compare the names in a track-v1 document with a scene's ground truth, person by person.

    See `tracking.evaluation.identity` for the definitions of right, wrong and unnamed.

    Args:
        payload: A track-v1 document.
        truth: The scene's ``truth.json``.
    """
    return evaluate_identity(read_track_table(payload), scene_truth(truth)).people


def _best_boxes(payload: Mapping[str, Any], most: int) -> list[tuple[str, int, list[float]]]:
    """Return the best detection of each identity and of the longest unnamed tracks, as (title, frame, box).

    The best detection has the largest product of score and area.
    """
    candidates: dict[str, list[tuple[float, int, list[float]]]] = defaultdict(list)
    for frame in payload["frames"]:
        for detection in frame["detections"]:
            if detection.get("class_name", "person") != "person" or "track_id" not in detection:
                continue
            name = detection.get("gallery_id")
            title = f"named {name}" if name else f"unnamed, track {detection['track_id']}"
            x1, y1, x2, y2 = detection["bbox"]
            candidates[title].append((detection["score"] * (x2 - x1) * (y2 - y1), frame["frame"], detection["bbox"]))
    order = sorted(candidates, key=lambda title: (title.startswith("unnamed"), -len(candidates[title])))
    return [(title, *max(candidates[title])[1:]) for title in order[:most]]


def _cut_crops(video: Path, boxes: Sequence[tuple[str, int, list[float]]]) -> list[NDArray[np.uint8]]:
    """Cut boxes, given as (title, frame, box), out of a video. Boxes that show nothing are left out."""
    wanted = [(position, frame, box) for position, (_, frame, box) in enumerate(boxes)]
    found = {position: part.copy() for position, part in video_crops(video, wanted)}
    return [found[position] for position in sorted(found)]


def run_demo(
    out: Path,
    *,
    config: SceneConfig | None = None,
    notify: Callable[[str], None] | None = None,
    bar: ProgressBar | None = None,
) -> DemoReport:
    """Render a clip, and identify its people with the built-in embedder, which needs no weights.

    Args:
        out: Output folder; files of an earlier demonstration are replaced.
        config: Options of the scene; None for the default scene.
        notify: Called with one-line messages.
        bar: Makes a progress bar from a title and a unit.

    Raises:
        GtrackError: The folder cannot be written, another demonstration writes into it, or OpenCV cannot write video on
            this machine.
    """
    with locked_folder(out, "folder of the demonstration", "`out`"):
        return _demo(out, config, notify, bar or (lambda title, unit: nullcontext(lambda done, total: None)))


def _demo(out: Path, config: SceneConfig | None, notify: Callable[[str], None] | None, show: ProgressBar) -> DemoReport:
    with show("rendering the clip", "frames") as progress:
        scene = render_scene(out, config, progress=progress)
    path = out / "gallery-db"
    options = EmbedderOptions(weights="builtin")
    embedder = options.load(None, notify)
    with (
        Gallery.open_or_create(path, embedder.model, new_collection=True) as gallery,
        show("ingesting the gallery", "images") as progress,
    ):
        report = ingest_folder(gallery, scene.gallery, embedder, prune=True, progress=progress)
    run = TrackingRun(
        scene.detections,
        scene.video,
        RunOptions(
            gallery=path,
            embedder=options,
            output=OutputOptions(save_json=True, save_video="annotated.mp4", out_dir=out, run_name="run"),
        ),
        notify=notify,
    )
    with show("tracking", "frames") as progress:
        result = run.execute(progress=progress)
    payload = result.payload
    people = compare_with_truth(payload, json.loads(scene.truth.read_text(encoding="utf-8")))
    sheet = out / "run" / "contact-sheet.jpg"
    boxes = _best_boxes(payload, most=len(people))
    crops = _cut_crops(scene.video, boxes)
    with Gallery.open(path, model=embedder.model) as gallery:
        answers: list[list[Match]] = gallery.query(embedder.embed(crops), top_k=5) if crops else []
    rows = zip(crops, (title for title, _, _ in boxes), answers, strict=True)
    write_contact_sheet(sheet, [ContactRow(*row) for row in rows], gallery=path)
    return DemoReport(scene, path, report, result, people, sheet)
