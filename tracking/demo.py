"""The whole job on a clip of our own: render, ingest, run, query, and hold the answer against the truth."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db import ContactRow, Gallery, IngestReport, Match, ingest_folder, write_contact_sheet
from tracking.artifacts import OutputOptions
from tracking.boxes import iou
from tracking.demo_scene import Scene, SceneConfig, render_scene
from tracking.galleries import EmbedderOptions
from tracking.options import RunOptions
from tracking.pipeline import TrackingRun
from tracking.reid.crops import crop
from tracking.result import TrackResult
from tracking.temporal import TemporalOptions
from tracking.video import VideoReader

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["DemoReport", "PersonReport", "compare_with_truth", "run_demo"]

Bar = Callable[[str, str], "AbstractContextManager[Callable[[int, int | None], None]]"]

_VISIBLE = 0.3
"""A person who is hidden more than that cannot be asked for by name."""


@dataclass(slots=True)
class PersonReport:
    """A person of the truth, and what the run said of them.

    Attributes:
        name: The true name.
        known: Whether the gallery has them.
        frames: Frames in which they are in sight and a track covers them.
        right, wrong, unnamed: How often they were named rightly, otherwise, and not at all.
        spans: (first, last) frame of each stay in the image, as it really was.
        seen: (first, last) frame in which they were named rightly, or None.
    """

    name: str
    known: bool
    frames: int = 0
    right: int = 0
    wrong: int = 0
    unnamed: int = 0
    spans: list[tuple[int, int]] = field(default_factory=list)
    seen: tuple[int, int] | None = None


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

    A person counts in a frame where they are in sight and a tracked detection overlaps them with
    IoU >= 0.5; of several, the one that overlaps most.

    Args:
        payload: track-v1.
        truth: A scene's ``truth.json``.
    """
    known = set(truth["known"])
    people = {name: PersonReport(name, name in known) for name in [*truth["known"], *truth["strangers"]]}
    tracked = {frame["frame"]: [d for d in frame["detections"] if "track_id" in d] for frame in payload["frames"]}
    for frame in truth["frames"]:
        number = frame["frame"]
        detections = tracked.get(number, [])
        boxes = np.array([d["bbox"] for d in detections], np.float64).reshape(-1, 4)
        for person in frame["people"]:
            report = people[person["name"]]
            if report.spans and number - report.spans[-1][1] <= 1:
                report.spans[-1] = (report.spans[-1][0], number)
            else:
                report.spans.append((number, number))
            if person["visible"] < _VISIBLE or not len(boxes):
                continue
            overlap = iou(person["box"], boxes)
            best = int(np.argmax(overlap))
            if overlap[best] < 0.5:
                continue
            name = detections[best].get("gallery_id")
            report.frames += 1
            report.right += name == report.name
            report.unnamed += name is None
            report.wrong += name is not None and name != report.name
            if name == report.name:
                report.seen = (report.seen[0] if report.seen else number, number)
    return tuple(people.values())


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
    wanted = defaultdict(list)
    for position, (_, frame, box) in enumerate(looks):
        wanted[frame].append((position, box))
    found: dict[int, NDArray[np.uint8]] = {}
    with VideoReader(video) as reader:
        while wanted and reader.advance():
            for position, box in wanted.pop(reader.frame, []):
                parts, _ = crop(reader.image(), np.array([box]))
                if parts:
                    found[position] = parts[0].copy()
    return [found[i] for i in sorted(found)]


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
