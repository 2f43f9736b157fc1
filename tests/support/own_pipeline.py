"""A pipeline with its own tracker and embeddings, over a clip and its detections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db import EmbeddingModel
from gallery_db.model import Embedder
from tracking import TrackObservation
from tracking.detections.reader import open_detections
from tracking.detections.score_level import score_level
from tracking.trackers.temporal import TemporalOptions, TemporalTracker
from tracking.video.crops import crop
from tracking.video.reader import VideoReader

SIZE = 8
TOY = EmbeddingModel("toy", "0" * 64, SIZE, "none")
"""A model for embeddings that a test chooses."""


def axis(number: int) -> NDArray[np.float32]:
    """Return a unit vector along one axis."""
    return np.eye(SIZE, dtype=np.float32)[number]


@dataclass(frozen=True)
class OwnFrame:
    """A frame with its observations."""

    frame: int
    size: tuple[int, int]
    observations: list[TrackObservation]


def own_frames(video: Path, detections: Path, embedder: Embedder, class_id: int = 0) -> Iterator[OwnFrame]:
    """Yield each frame with all boxes of a class as observations with embeddings; boxes with a track come first."""
    source = open_detections(detections)
    # As in a run: thresholds from the scores of the file.
    tracker = TemporalTracker(TemporalOptions(), have_embeddings=True, level=score_level(source.scores({class_id})))
    with VideoReader(video) as reader:
        while reader.advance():
            found = source.at(reader.frame)
            rows = np.flatnonzero(found.class_ids == class_id)
            boxes, scores = found.boxes[rows], found.scores[rows]
            ids, taken, _ = tracker.update(boxes, scores, found.class_ids[rows])
            image = reader.image()
            parts, kept = crop(image, boxes)
            copies = [part.copy() for part in parts]  # so that no whole frame is kept
            embeddings = dict(zip(kept.tolist(), zip(embedder.embed(parts), copies, strict=True), strict=True))
            tracks = {int(row): int(track_id) for row, track_id in zip(taken, ids, strict=True)}
            order = [*tracks, *(row for row in range(len(rows)) if row not in tracks)]
            observations = []
            for row in order:
                embedding, part = embeddings.get(row, (None, None))
                extra: dict[str, Any] = {"score": float(scores[row]), "class_name": "person", "crop": part}
                observations.append(TrackObservation(tracks.get(row), embedding, boxes[row], **extra))
            yield OwnFrame(reader.frame, (reader.width, reader.height), observations)
