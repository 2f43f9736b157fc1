"""The whole job on a clip of our own: render, ingest, run, query, and hold the answer against the truth."""

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

from gallery_db import ContactRow, Gallery, IngestReport, Match, ingest_folder, write_contact_sheet
from tracking.demo.scene import Scene, SceneConfig, render_scene
from tracking.evaluation.identity import PersonReport, evaluate_identity
from tracking.evaluation.track_table import read_track_table
from tracking.evaluation.truth import scene_truth
from tracking.identification.gallery_source import EmbedderOptions
from tracking.options import RunOptions
from tracking.outputs.result import TrackResult
from tracking.outputs.run_outputs import OutputOptions
from tracking.pipeline import TrackingRun
from tracking.trackers.temporal import TemporalOptions
from tracking.video.crops import video_crops

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["DemoReport", "PersonReport", "compare_with_truth", "run_demo"]

Bar = Callable[[str, str], "AbstractContextManager[Callable[[int, int | None], None]]"]


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demonstration made and found."""

    scene: Scene
    gallery: Path
    ingested: IngestReport
    result: TrackResult
    people: tuple[PersonReport, ...]
    contact_sheet: Path


def compare_with_truth(payload: Mapping[str, Any], truth: Mapping[str, Any]) -> tuple[PersonReport, ...]:
    """Count, person by person, how a track-v1 document names the people of a scene.

    `tracking.evaluation.identity` says what is right, wrong and unnamed.

    Args:
        payload: track-v1.
        truth: A scene's ``truth.json``.
    """
    return evaluate_identity(read_track_table(payload), scene_truth(truth)).people


def _best_looks(payload: Mapping[str, Any], most: int) -> list[tuple[str, int, list[float]]]:
    """For each identity, and for the longest unnamed tracks, its largest sure detection: (title, frame, box)."""
    looks: dict[str, list[tuple[float, int, list[float]]]] = defaultdict(list)
    for frame in payload["frames"]:
        for detection in frame["detections"]:
            if detection.get("class_name", "person") != "person" or "track_id" not in detection:
                continue
            name = detection.get("gallery_id")
            title = f"named {name}" if name else f"unnamed, track {detection['track_id']}"
            x1, y1, x2, y2 = detection["bbox"]
            looks[title].append((detection["score"] * (x2 - x1) * (y2 - y1), frame["frame"], detection["bbox"]))
    order = sorted(looks, key=lambda title: (title.startswith("unnamed"), -len(looks[title])))
    return [(title, *max(looks[title])[1:]) for title in order[:most]]


def _crops(video: Path, looks: Sequence[tuple[str, int, list[float]]]) -> list[NDArray[np.uint8]]:
    wanted = [(position, frame, box) for position, (_, frame, box) in enumerate(looks)]
    found = {position: part.copy() for position, part in video_crops(video, wanted)}
    return [found[position] for position in sorted(found)]


def run_demo(
    out: Path,
    *,
    config: SceneConfig | None = None,
    notify: Callable[[str], None] | None = None,
    bar: Bar | None = None,
) -> DemoReport:
    """Render a clip and do the main job on it, with the embedder that needs no weights.

    Args:
        out: Folder for everything that is made; files of an earlier demonstration are replaced.
        config: What scene; the default one if None.
        notify: Takes one-line messages.
        bar: Makes a progress bar from a title and a unit.

    Raises:
        GtrackError: The folder cannot be written, or OpenCV cannot write video here.
    """
    show: Bar = bar or (lambda title, unit: nullcontext(lambda done, total: None))
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
            temporal=TemporalOptions(frame_rate=round(scene.config.fps)),
            output=OutputOptions(json=True, video="annotated.mp4", out_dir=out, run_name="run"),
        ),
        notify=notify,
    )
    with show("tracking", "frames") as progress:
        result = run.execute(progress=progress)
    payload = result.payload
    people = compare_with_truth(payload, json.loads(scene.truth.read_text(encoding="utf-8")))
    sheet = out / "run" / "contact-sheet.jpg"
    looks = _best_looks(payload, most=len(people))
    crops = _crops(scene.video, looks)
    with Gallery.open(path, model=embedder.model) as gallery:
        answers: list[list[Match]] = gallery.query(embedder.embed(crops), top_k=5) if crops else []
    rows = zip(crops, (title for title, _, _ in looks), answers, strict=True)
    write_contact_sheet(sheet, [ContactRow(*row) for row in rows], gallery=path)
    return DemoReport(scene, path, report, result, people, sheet)
