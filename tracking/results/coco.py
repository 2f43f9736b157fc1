"""Tracks as COCO-VID: COCO's JSON with ``videos``, images with their video and frame, and annotations with their track.

The track's number is ``track_id``, as in TAO, and also ``instance_id``, as in MMTracking.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

from tracking.results.header import positive_number, text_or_none, video_name
from tracking.results.numbering import By, Numbering
from tracking.results.sinks import ExportedFile, atomic_output
from tracking.results.timeline import Timeline
from tracking.results.track_frame import TrackFrame

__all__ = ["CocoSink", "coco_sink"]

_IN_MEMORY = 4 << 20
_VIDEO_ID = 1


class CocoSink:
    """Writes annotations frame by frame. The images, a list of their own in COCO, are kept in a temporary file."""

    def __init__(
        self, path: Path, file: IO[bytes], images: IO[bytes], timeline: Timeline, numbering: Numbering
    ) -> None:
        self._path, self._file, self._images, self._numbering = path, file, images, numbering
        self._rows = self._frames = 0
        video = _video(timeline)
        self._size: dict[str, Any] = {key: video[key] for key in ("width", "height") if key in video}
        self.categories = _categories(timeline)

    @property
    def exported(self) -> ExportedFile:
        """The file that was written."""
        return ExportedFile(self._path, "coco-vid", self._rows)

    def write(self, frame: TrackFrame) -> None:
        """Write the next frame."""
        self._frames += 1
        image: dict[str, Any] = {
            "id": self._frames,
            "video_id": _VIDEO_ID,
            "frame_id": frame.frame,
            "file_name": frame.file or f"{frame.frame:06d}.jpg",
            **self._size,
        }
        self._images.write((b",\n" if self._frames > 1 else b"\n") + orjson.dumps(image))
        for row, number in self._numbering.number(frame):
            self._rows += 1
            x1, y1, x2, y2 = frame.boxes[row].tolist()
            width, height = round(x2 - x1, 3), round(y2 - y1, 3)
            annotation: dict[str, Any] = {
                "id": self._rows,
                "image_id": self._frames,
                "video_id": _VIDEO_ID,
                "category_id": self.categories[int(frame.class_ids[row])]["id"],
                "track_id": number,
                "instance_id": number,
                "bbox": [round(x1, 3), round(y1, 3), width, height],
                "area": round(width * height, 3),
                "iscrowd": 0,
            }
            score, distance = float(frame.scores[row]), float(frame.distances[row])
            if score == score:
                annotation["score"] = score
            attributes = {"track_id": frame.track_ids[row], "gallery_id": frame.gallery_ids[row]}
            annotation["attributes"] = {key: value for key, value in attributes.items() if value is not None}
            if distance == distance:
                annotation["attributes"]["gallery_distance"] = distance
            self._file.write((b",\n" if self._rows > 1 else b"\n") + orjson.dumps(annotation))


@contextmanager
def coco_sink(path: Path, timeline: Timeline, *, by: By | None = None) -> Iterator[CocoSink]:
    """Open a sink for COCO-VID.

    Args:
        path: The file to write.
        timeline: The timeline of the same document.
        by: The objects that ``track_id`` and ``instance_id`` number; see `Numbering`.
    """
    numbering = Numbering(timeline, by)
    video = _video(timeline)
    with (
        atomic_output(path) as temporary,
        tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as images,
        temporary.open("wb") as file,
    ):
        sink = CocoSink(path, file, images, timeline, numbering)
        head = {
            "info": {
                "description": f"Tracks of {video['name']}, made by gtrack.",
                "date_created": text_or_none(timeline.header.get("created_at_utc")),
                "track_id_by": numbering.by,
            },
            "licenses": [],
            "videos": [video],
            "categories": list(sink.categories.values()),
            "tracks": numbering.objects(),
        }
        file.write(orjson.dumps(head)[:-1] + b',\n"annotations": [')
        yield sink
        file.write(b'\n],\n"images": [')
        images.seek(0)
        shutil.copyfileobj(images, file)
        file.write(b"\n]}\n")


def _video(timeline: Timeline) -> dict[str, Any]:
    facts = timeline.header.get("video")
    facts = facts if isinstance(facts, dict) else {}
    name = video_name(timeline.header) or Path(timeline.name).stem
    video: dict[str, Any] = {"id": _VIDEO_ID, "name": name}
    for key in ("width", "height"):
        side = positive_number(facts.get(key))
        if side is not None:
            video[key] = round(side)
    if timeline.fps:
        video["fps"] = timeline.fps
    return video


def _categories(timeline: Timeline) -> dict[int, dict[str, Any]]:
    """Map class ids to categories. COCO's ids start at 1, class ids of detectors at 0 (-1: no class)."""
    largest_id = max(timeline.class_names, default=-1) + 1
    categories = {}
    for class_id, name in timeline.class_names.items():
        number = class_id + 1 if class_id >= 0 else largest_id - class_id
        fallback = f"class {class_id}" if class_id >= 0 else "object"
        categories[class_id] = {"id": number, "name": name or fallback, "class_id": class_id}
    return categories
