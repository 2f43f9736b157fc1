"""Rejection of a name for a track of a finished run ("this track is not alice"), stored in the gallery."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db import Curator, Entry, Gallery, atomic_path
from gallery_db.entry import Box
from gallery_db.rejections import NOT
from tracking.enrolment.gallery_writer import CROPS
from tracking.errors import OptionError, VideoError
from tracking.results.reading import Source, TrackReader, read_tracks
from tracking.video.crops import video_crops

if TYPE_CHECKING:
    from gallery_db.model import Embedder

__all__ = ["MAX_CROPS", "TrackRejection", "reject_track"]

MAX_CROPS = 5
"""Crops from which the embedding of a track that was not enrolled is computed."""


@dataclass(frozen=True, slots=True)
class TrackRejection:
    """The result of a rejection.

    Attributes:
        entries: Ids of the entries that carry the rejection.
        made: Whether they were added for it; else they are the entries that the run enrolled.
        identity: The identity that they belong to now.
    """

    entries: tuple[str, ...]
    made: bool
    identity: str


@dataclass(frozen=True, slots=True)
class _TrackDetection:
    """One detection of the track: frame, xyxy in pixels, score (1 where unknown), class and name."""

    frame: int
    box: Box
    score: float
    class_name: str
    identity: str | None


def reject_track(
    gallery: Gallery,
    source: Source,
    track_id: str,
    name: str,
    video: Path,
    embedder: Embedder,
) -> TrackRejection:
    """Store that a track does not show an identity.

    The rejection is stored in the entries that the run enrolled from the track. If there are none, an entry is made
    from the track's best crops.

    Args:
        gallery: Open for writing.
        source: The tracks of the run; see `read_tracks`.
        track_id: The track.
        name: The identity that it does not show.
        video: The run's video.
        embedder: The gallery's model.

    Raises:
        TracksError: The tracks cannot be read.
        OptionError: There is no such track.
        VideoError: The video has no image of the track.
        GtrackError: As of `Curator.reject`.
    """
    reader = read_tracks(source)
    detections = _track_detections(reader, track_id)
    curator = Curator(gallery)
    enrolled = _enrolled_entries(gallery, reader, track_id, detections, name)
    if enrolled:
        _, leaves = curator.reject([entry.id for entry in enrolled], name)
        return TrackRejection(tuple(entry.id for entry in enrolled), False, leaves or enrolled[0].identity)
    if not detections:
        raise OptionError(f"there is no track {track_id} in the tracks given.", hint="Look for its id in tracked.json.")
    boxes, class_name = _best_boxes(detections, name)
    curator.entries(name, class_name)  # raises an error if there is no such identity
    crops = _cut_crops(video, boxes)
    entry, embedding = _entry_of_crops(gallery, reader, track_id, name, class_name, video, boxes, crops, embedder)
    with gallery.transaction():
        identity = curator.unknown_name()
        with gallery.operation("reject", f"track {track_id} of {video.name}: not {name!r}"):
            existing = gallery.by_ids([entry.id])
            if entry.id in existing:
                identity = existing[entry.id].identity
            else:
                gallery.add([replace(entry, identity=identity)], embedding[None])
    return TrackRejection((entry.id,), True, identity)


def _track_detections(reader: TrackReader, track_id: str) -> list[_TrackDetection]:
    """Return the detections of a track, in order of time."""
    found = []
    for frame in reader:
        if track_id not in frame.track_ids:
            continue
        row = frame.track_ids.index(track_id)
        x1, y1, x2, y2 = frame.boxes[row].tolist()
        score = float(frame.scores[row])
        found.append(
            _TrackDetection(
                frame.frame,
                (x1, y1, x2, y2),
                1.0 if math.isnan(score) else score,
                frame.class_names[row] or "person",
                frame.gallery_ids[row],
            )
        )
    return found


def _enrolled_entries(
    gallery: Gallery, reader: TrackReader, track_id: str, detections: Sequence[_TrackDetection], name: str
) -> list[Entry]:
    """Return the entries that the run enrolled from a track, from the frames with the name if there are any."""
    source_id = reader.config.get("source_id")
    if source_id is None:
        return []
    frames = [d.frame for d in detections if d.identity == name] or [d.frame for d in detections]
    return [
        entry
        for entry in gallery.entries()
        if entry.origin == "track"
        and entry.extra.get("source_id") == source_id
        and str(entry.extra.get("track_id")) == track_id
        and any(entry.extra.get("first_frame", 0) <= n <= entry.extra.get("last_frame", -1) for n in frames)
    ]


def _best_boxes(detections: Sequence[_TrackDetection], name: str) -> tuple[list[tuple[int, Box]], str]:
    """Return at most `MAX_CROPS` (frame, box) of a track, spread over its life, and its class.

    Frames in which the track has the name are preferred: the others may show another person.
    """

    def value(detection: _TrackDetection) -> float:
        x1, y1, x2, y2 = detection.box
        return detection.score * max(0.0, x2 - x1) * max(0.0, y2 - y1)

    class_names = [d.class_name for d in detections]
    candidates = [d for d in detections if d.identity == name] or list(detections)
    parts = np.array_split(np.arange(len(candidates)), min(MAX_CROPS, len(candidates)))
    best = [max((candidates[i] for i in part.tolist()), key=value) for part in parts]
    return [(d.frame, d.box) for d in best], max(set(class_names), key=class_names.count)


def _cut_crops(video: Path, boxes: Sequence[tuple[int, Box]]) -> list[tuple[int, Box, NDArray[np.uint8]]]:
    """Cut boxes, one a frame, out of a video, as (frame, box, crop)."""
    wanted = [((frame, box), frame, box) for frame, box in boxes]
    found = [(frame, box, part.copy()) for (frame, box), part in video_crops(video, wanted)]
    if not found:
        raise VideoError(
            f"video {video} has no image at the boxes of the track.", hint="Give the run's own video with --video."
        )
    return found


def _entry_of_crops(
    gallery: Gallery,
    reader: TrackReader,
    track_id: str,
    name: str,
    class_name: str,
    video: Path,
    boxes: Sequence[tuple[int, Box]],
    crops: Sequence[tuple[int, Box, NDArray[np.uint8]]],
    embedder: Embedder,
) -> tuple[Entry, NDArray[np.float32]]:
    """Make an entry, still without an identity, and its embedding from a track's crops; store the largest crop."""
    total = embedder.embed([image for _, _, image in crops]).sum(axis=0)
    embedding = np.asarray(total / max(float(np.linalg.norm(total)), 1e-9), np.float32)
    facts = [str(video.name), track_id, boxes, name]
    id_ = f"track-not-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"
    frame, box, image = max(crops, key=lambda row: row[2].shape[0] * row[2].shape[1])
    extra: dict[str, Any] = {
        "track_id": track_id,
        "source_id": reader.config.get("source_id", video.stem),
        "num_looks": len(crops),
        "first_frame": boxes[0][0],
        "last_frame": boxes[-1][0],
        "reviewed": True,
        NOT: [name],
        "crop": _save_crop(gallery.path, id_, image),
    }
    return Entry(id_, "", class_name, "track", str(video.absolute()), frame=frame, box=box, extra=extra), embedding


def _save_crop(gallery: Path, id_: str, image: NDArray[np.uint8]) -> str:
    import cv2

    path = gallery / CROPS / f"{id_}.jpg"
    path.parent.mkdir(exist_ok=True)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
    return f"{CROPS}/{id_}.jpg"
