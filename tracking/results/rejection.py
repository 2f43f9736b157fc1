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

from gallery_db import Curator, Entry, Gallery
from gallery_db.atomic_files import atomic_path
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


@dataclass(frozen=True, slots=True)
class _Track:
    """A track of the run.

    Attributes:
        id: The track id.
        source_id: The run's source, None where it has none.
        detections: In order of time.
    """

    id: str
    source_id: str | None
    detections: Sequence[_TrackDetection]

    @property
    def class_name(self) -> str:
        """The most frequent class of the detections."""
        names = [detection.class_name for detection in self.detections]
        return max(set(names), key=names.count)

    def detections_named(self, name: str) -> list[_TrackDetection]:
        """Return the detections with a name, or all if there are none: the others may show another person."""
        return [d for d in self.detections if d.identity == name] or list(self.detections)

    def best_boxes(self, name: str) -> list[tuple[int, Box]]:
        """Return at most `MAX_CROPS` (frame, box) of the detections with a name, spread over their time."""

        def value(detection: _TrackDetection) -> float:
            x1, y1, x2, y2 = detection.box
            return detection.score * max(0.0, x2 - x1) * max(0.0, y2 - y1)

        candidates = self.detections_named(name)
        parts = np.array_split(np.arange(len(candidates)), min(MAX_CROPS, len(candidates)))
        best = [max((candidates[i] for i in part.tolist()), key=value) for part in parts]
        return [(detection.frame, detection.box) for detection in best]


_Crop = tuple[int, Box, NDArray[np.uint8]]
"""Frame, box and image."""


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
    track = _read_track(read_tracks(source), track_id)
    curator = Curator(gallery)
    enrolled = _enrolled_entries(gallery, track, name)
    if enrolled:
        _, leaves = curator.reject([entry.id for entry in enrolled], name)
        return TrackRejection(tuple(entry.id for entry in enrolled), False, leaves or enrolled[0].identity)
    if not track.detections:
        raise OptionError(f"there is no track {track_id} in the tracks given.", hint="Look for its id in tracked.json.")
    curator.entries(name, track.class_name)  # raises an error if there is no such identity
    crops = _cut_crops(video, track.best_boxes(name))
    embedding = _mean_embedding(embedder, crops)
    entry = _entry_of_crops(gallery, track, name, video, crops)
    with gallery.transaction():
        identity = curator.unknown_name()
        with gallery.operation("reject", f"track {track_id} of {video.name}: not {name!r}"):
            existing = gallery.by_ids([entry.id])
            if entry.id in existing:
                identity = existing[entry.id].identity
            else:
                gallery.add([replace(entry, identity=identity)], embedding[None])
    return TrackRejection((entry.id,), True, identity)


def _read_track(reader: TrackReader, track_id: str) -> _Track:
    detections = []
    for frame in reader:
        if track_id not in frame.track_ids:
            continue
        row = frame.track_ids.index(track_id)
        x1, y1, x2, y2 = frame.boxes[row].tolist()
        score = float(frame.scores[row])
        detections.append(
            _TrackDetection(
                frame.frame,
                (x1, y1, x2, y2),
                1.0 if math.isnan(score) else score,
                frame.class_names[row] or "person",
                frame.gallery_ids[row],
            )
        )
    return _Track(track_id, reader.config.get("source_id"), detections)


def _enrolled_entries(gallery: Gallery, track: _Track, name: str) -> list[Entry]:
    """Return the entries that the run enrolled from the track while it had the name, or from all of it."""
    if track.source_id is None:
        return []
    frames = [detection.frame for detection in track.detections_named(name)]
    return [
        entry
        for entry in gallery.entries()
        if entry.origin == "track"
        and entry.extra.get("source_id") == track.source_id
        and str(entry.extra.get("track_id")) == track.id
        and any(entry.extra.get("first_frame", 0) <= n <= entry.extra.get("last_frame", -1) for n in frames)
    ]


def _cut_crops(video: Path, boxes: Sequence[tuple[int, Box]]) -> list[_Crop]:
    """Cut boxes, one a frame, out of a video."""
    wanted = [((frame, box), frame, box) for frame, box in boxes]
    found = [(frame, box, part.copy()) for (frame, box), part in video_crops(video, wanted)]
    if not found:
        raise VideoError(
            f"video {video} has no image at the boxes of the track.", hint="Give the video of the run with `video`."
        )
    return found


def _mean_embedding(embedder: Embedder, crops: Sequence[_Crop]) -> NDArray[np.float32]:
    total = embedder.embed([image for _, _, image in crops]).sum(axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-9), np.float32)


def _entry_of_crops(gallery: Gallery, track: _Track, name: str, video: Path, crops: Sequence[_Crop]) -> Entry:
    """Make an entry, still without an identity, of a track's crops, and store the largest crop."""
    boxes = track.best_boxes(name)
    facts = [str(video.name), track.id, boxes, name]
    id_ = f"track-not-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}"
    frame, box, image = max(crops, key=lambda crop: crop[2].shape[0] * crop[2].shape[1])
    extra: dict[str, Any] = {
        "track_id": track.id,
        "source_id": video.stem if track.source_id is None else track.source_id,
        "num_looks": len(crops),
        "first_frame": boxes[0][0],
        "last_frame": boxes[-1][0],
        "reviewed": True,
        NOT: [name],
        "crop": _save_crop(gallery.path, id_, image),
    }
    return Entry(id_, "", track.class_name, "track", str(video.absolute()), frame=frame, box=box, extra=extra)


def _save_crop(gallery: Path, id_: str, image: NDArray[np.uint8]) -> str:
    import cv2

    path = gallery / CROPS / f"{id_}.jpg"
    path.parent.mkdir(exist_ok=True)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())
    return f"{CROPS}/{id_}.jpg"
