"""Selection of a track's best crops: large, inside the image, not covered, and spread over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tracking.geometry import iou
from tracking.identification.quality import box_quality
from tracking.results.sightings import Box
from tracking.results.track_frame import TrackFrame

__all__ = ["BestCrops", "CropCandidate", "group_by_time"]

_SLOTS = 12
_DEFAULT_SIZE = (1920, 1080)


@dataclass(frozen=True, slots=True)
class CropCandidate:
    """A box of a frame that may be cut out.

    Attributes:
        frame: 0-based.
        box: xyxy in pixels.
        quality: In [0, 1], judged by the boxes of the frame; see `tracking.identification.quality.box_quality`.
    """

    frame: int
    box: Box
    quality: float


class _TimeSlots:
    """The best candidate of each time slot. There are at most 12 slots, which become longer as time passes."""

    __slots__ = ("best", "first", "width")

    def __init__(self, first: int) -> None:
        self.first, self.width = first, 1
        self.best: dict[int, CropCandidate] = {}

    def quality_at(self, frame: int) -> float:
        """Return the quality that a candidate of a frame must exceed to be kept."""
        found = self.best.get((frame - self.first) // self.width)
        return -1.0 if found is None else found.quality

    def add(self, candidate: CropCandidate) -> None:
        self.best[(candidate.frame - self.first) // self.width] = candidate
        while len(self.best) > _SLOTS:
            self.width *= 2
            merged: dict[int, CropCandidate] = {}
            for kept in self.best.values():
                slot = (kept.frame - self.first) // self.width
                if slot not in merged or kept.quality > merged[slot].quality:
                    merged[slot] = kept
            self.best = merged


class BestCrops:
    """Collects the best crops of each track under each name over its whole time, in bounded memory for each.

    Args:
        frame_size: Width and height of the video in pixels, None where unknown.
        has_tracks: False where track ids have no meaning from frame to frame (`gallery_only`).
    """

    def __init__(self, frame_size: tuple[int, int] | None, *, has_tracks: bool) -> None:
        self._size = frame_size or _DEFAULT_SIZE
        self._has_tracks = has_tracks
        self._slots: dict[tuple[str | None, str | None], _TimeSlots] = {}

    def add(self, frame: TrackFrame) -> None:
        """Add the next frame."""
        rows = frame.tracked
        boxes = frame.boxes[rows]
        values = boxes.tolist()
        for position, row in enumerate(rows):
            key = (frame.track_ids[row] if self._has_tracks else None, frame.gallery_ids[row])
            if key == (None, None):
                continue
            slots = self._slots.setdefault(key, _TimeSlots(frame.frame))
            score = float(frame.scores[row])
            box: Box = tuple(values[position])
            quality = box_quality(1.0 if score != score else score, box, self._size, overlap=0.0)
            # The overlap can only lower the quality, and it is slow: compute it only where the crop may be kept.
            if quality <= slots.quality_at(frame.frame):
                continue
            if len(rows) > 1:
                quality *= 1.0 - float(np.delete(iou(box, boxes), position).max())
            if quality > slots.quality_at(frame.frame):
                slots.add(CropCandidate(frame.frame, box, quality))

    def of(self, track_id: str | None, identity: str | None) -> list[CropCandidate]:
        """Return the best crops of a track under a name, in order of time."""
        slots = self._slots.get((track_id, identity))
        return [] if slots is None else sorted(slots.best.values(), key=lambda candidate: candidate.frame)


def group_by_time(
    candidates: Sequence[CropCandidate], groups: int, *, group_size: int = 2
) -> list[list[CropCandidate]]:
    """Divide crops into groups that are neighbours in time, and keep the best crops of each group, the best first.

    Args:
        candidates: In any order.
        groups: Number of groups at most.
        group_size: Crops of a group at most.
    """
    if not candidates or groups < 1:
        return []
    ordered = sorted(candidates, key=lambda candidate: candidate.frame)
    bounds = np.linspace(0, len(ordered), min(groups, len(ordered)) + 1).round().astype(int).tolist()
    parts = [ordered[start:stop] for start, stop in pairwise(bounds)]
    return [sorted(part, key=lambda candidate: -candidate.quality)[:group_size] for part in parts]
