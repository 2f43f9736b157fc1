""" "This track is not alice": said of a track of a finished run, and kept in the gallery."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db import Curator, Entry, Gallery, atomic_path
from gallery_db.rejections import NOT
from tracking.enrolment.gallery_writer import CROPS
from tracking.errors import OptionError, VideoError
from tracking.reid.crops import crop
from tracking.video.files import VideoReader

if TYPE_CHECKING:
    from gallery_db.model import Embedder

__all__ = ["TrackRejection", "entries_of_track", "reject_track", "track_boxes"]

LOOKS = 5
"""Boxes from which the embedding of a track that was not enrolled is made again."""

Boxes = list[tuple[int, tuple[float, float, float, float]]]


@dataclass(frozen=True, slots=True)
class TrackRejection:
    """What became of it.

    Attributes:
        entries: Ids of the entries that say it.
        made: Whether they were made for it; else they were the track's own.
        identity: Whose they are now.
    """

    entries: tuple[str, ...]
    made: bool
    identity: str


def track_boxes(document: Mapping[str, Any], track_id: str, name: str) -> tuple[Boxes, str]:
    """The best boxes of a track, at most `LOOKS`, spread over its life, and its class.

    Args:
        document: track-v1.
        track_id: The track.
        name: Frames in which it has this name are preferred: the others may show somebody else.

    Raises:
        OptionError: There is no such track.
    """
    found: list[tuple[bool, float, int, tuple[float, float, float, float]]] = []
    kinds: list[str] = []
    for frame in document["frames"]:
        for detection in frame["detections"]:
            if str(detection.get("track_id")) == track_id:
                x1, y1, x2, y2 = (float(value) for value in detection.get("bbox", detection.get("xyxy")))
                worth = float(detection.get("score", 1.0)) * max(0.0, x2 - x1) * max(0.0, y2 - y1)
                number = int(frame.get("frame", frame.get("frame_index")))
                found.append((detection.get("gallery_id") == name, worth, number, (x1, y1, x2, y2)))
                kinds.append(str(detection.get("class_name") or "person"))
    if not found:
        raise OptionError(f"there is no track {track_id} in the tracks given.", hint="Look into tracked.json for it.")
    if any(named for named, *_ in found):
        found = [row for row in found if row[0]]
    found.sort(key=lambda row: row[2])
    parts = np.array_split(np.arange(len(found)), min(LOOKS, len(found)))
    best = [max((found[i] for i in part.tolist()), key=lambda row: row[1]) for part in parts]
    return [(frame, box) for _, _, frame, box in best], max(set(kinds), key=kinds.count)


def entries_of_track(gallery: Gallery, document: Mapping[str, Any], track_id: str, name: str) -> list[Entry]:
    """The entries that the run of a track-v1 document enrolled of a track, where it is called that name if any is."""
    config = document["tracker"]["config"]
    source = config.get("source_id")
    if source is None:
        return []
    numbers = [
        (int(frame.get("frame", frame.get("frame_index"))), detection.get("gallery_id"))
        for frame in document["frames"]
        for detection in frame["detections"]
        if str(detection.get("track_id")) == track_id
    ]
    wanted = [n for n, called in numbers if called == name] or [n for n, _ in numbers]
    return [
        entry
        for entry in gallery.entries()
        if entry.origin == "track"
        and entry.extra.get("source_id") == source
        and str(entry.extra.get("track_id")) == track_id
        and any(entry.extra.get("first_frame", 0) <= n <= entry.extra.get("last_frame", -1) for n in wanted)
    ]


def reject_track(
    gallery: Gallery,
    document: Mapping[str, Any],
    track_id: str,
    name: str,
    video: Path,
    embedder: Embedder,
) -> TrackRejection:
    """Say that a track is not an identity: of its entries, or, if it was not enrolled, of one made for it.

    Args:
        gallery: Open for writing.
        document: track-v1 of the run.
        track_id: The track.
        name: Whom it does not show.
        video: The run's video.
        embedder: The gallery's model.

    Raises:
        OptionError: There is no such track.
        VideoError: The video lacks the track's frames.
        GtrackError: As of `Curator.reject`.
    """
    people = Curator(gallery)
    own = entries_of_track(gallery, document, track_id, name)
    if own:
        _, leaves = people.reject([entry.id for entry in own], name)
        return TrackRejection(tuple(entry.id for entry in own), False, leaves or own[0].identity)
    boxes, kind = track_boxes(document, track_id, name)
    people.entries(name, kind)  # says that there is none
    pictures = _pictures(video, boxes)
    vectors = embedder.embed([picture for _, _, picture in pictures])
    mean = vectors.sum(axis=0)
    mean = np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)
    facts = [str(video.name), track_id, boxes, name]
    id_ = f"track-not-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"
    frame, box, picture = max(pictures, key=lambda row: row[2].shape[0] * row[2].shape[1])
    extra: dict[str, Any] = {
        "track_id": track_id,
        "source_id": document["tracker"]["config"].get("source_id", video.stem),
        "num_looks": len(pictures),
        "first_frame": boxes[0][0],
        "last_frame": boxes[-1][0],
        "reviewed": True,
        NOT: [name],
        "crop": _save(gallery.path, id_, picture),
    }
    with gallery.transaction():
        identity = people.unknown_name()
        entry = Entry(id_, identity, kind, "track", str(video.absolute()), frame=frame, box=box, extra=extra)
        with gallery.operation("reject", f"track {track_id} of {video.name}: not {name!r}"):
            there = gallery.record.by_ids(gallery.collection_key, [id_])
            if id_ in there:
                identity = there[id_].identity
            else:
                gallery.add([entry], mean[None])
    return TrackRejection((id_,), True, identity)


def _pictures(video: Path, boxes: Boxes) -> list[tuple[int, tuple[float, float, float, float], NDArray[np.uint8]]]:
    wanted: dict[int, Sequence[float]] = dict(boxes)
    found = []
    with VideoReader(video) as reader:
        while wanted and reader.advance():
            box = wanted.pop(reader.frame, None)
            if box is not None:
                parts, _ = crop(reader.image(), np.array([box]))
                x1, y1, x2, y2 = box
                found += [(reader.frame, (x1, y1, x2, y2), part.copy()) for part in parts]
    if not found:
        raise VideoError(
            f"video {video} shows nothing at the track's boxes.", hint="Give the run's own video with --video."
        )
    return found


def _save(gallery: Path, id_: str, picture: NDArray[np.uint8]) -> str:
    import cv2

    path = gallery / CROPS / f"{id_}.jpg"
    path.parent.mkdir(exist_ok=True)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    with atomic_path(path) as beside:
        beside.write_bytes(data.tobytes())
    return f"{CROPS}/{id_}.jpg"
