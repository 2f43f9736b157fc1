"""The people of a video as a whole, seen before the run: where a gallery knows few people, they move its mean.

People of one place have light, ground and camera in common, and look more alike than those of the public set that a
known model's space starts from. A gallery of twenty people shows what they have in common; an empty one does not. A
look at some crops of the video does, before the first track is named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gallery_db.logs import get_logger
from gallery_db.spaces.learning import MEAN_PEOPLE, MIN_PEOPLE
from tracking.detections.source import DetectionSource
from tracking.errors import VideoError
from tracking.identification.quality import crowding
from tracking.video.crops import video_crops

if TYPE_CHECKING:
    from gallery_db import Gallery
    from gallery_db.model import Embedder
    from gallery_db.spaces.space import EmbeddingSpace
    from tracking.identification.gallery_source import SpaceOfRun
    from tracking.run.inputs import RunInputs

__all__ = ["space_of_run"]

_log = get_logger("gallery")

FRAMES = 16
"""Frames that are looked at, evenly spread."""
CROPS = 64
MIN_SCORE = 0.5
MAX_OVERLAP = 0.3
MIN_CROPS = 8


def space_of_run(inputs: RunInputs) -> SpaceOfRun:
    """Return a function that looks at the video where the gallery knows few people.

    It needs the detections of the whole video, in a file; where they are made during the run, nothing is looked at.
    """

    def find(gallery: Gallery, embedder: Embedder) -> EmbeddingSpace | None:
        space = gallery.space
        feed = inputs.feed
        if space is None or space.camera_means or inputs.is_live or not isinstance(feed, DetectionSource):
            return None
        own = int(space.facts.get("people", 0))
        if own >= MIN_PEOPLE:
            return None
        boxes, present = _clear_boxes(inputs, feed)
        people = present - own  # the others may be those that the gallery knows
        if people < 1:
            return None
        try:
            crops = [crop.copy() for _, crop in video_crops(inputs.source, boxes)]
        except VideoError:
            return None  # the run itself meets it, and says so
        if len(crops) < MIN_CROPS:
            return None
        mean = embedder.embed(crops).mean(axis=0)
        _log.info("the mean of %d crops of the video, of about %d people, moves the space", len(crops), people)
        return space.with_more_people(mean, people, own + MEAN_PEOPLE)

    return find


def _clear_boxes(inputs: RunInputs, feed: DetectionSource) -> tuple[list[tuple[int, int, list[float]]], int]:
    """Return boxes that show one person each, as `video_crops` takes them, and the most people seen at once."""
    start, stop = inputs.frame_range
    first = start or 0
    last = feed.last_frame + 1 if stop is None else min(stop, feed.last_frame + 1)
    found: list[tuple[int, int, list[float]]] = []
    people = 0
    for frame in np.unique(np.linspace(first, max(first, last - 1), FRAMES).astype(int)).tolist():
        detections = feed.at(frame)
        rows = np.flatnonzero(detections.scores >= MIN_SCORE)
        if inputs.selected is not None:
            rows = rows[np.isin(detections.class_ids[rows], list(inputs.selected))]
        people = max(people, len(rows))
        boxes = detections.boxes[rows]
        clear = crowding(boxes) <= MAX_OVERLAP
        found += [(len(found) + number, frame, box.tolist()) for number, box in enumerate(boxes[clear])]
    step = max(1, -(-len(found) // CROPS))
    return found[::step], people
