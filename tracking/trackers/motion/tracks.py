"""The tracks of one camera as arrays, one row for each track."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tracking.trackers.motion.kalman import Floats, Indices, Mask

__all__ = ["TrackTable", "new_tracks"]


@dataclass(slots=True)
class TrackTable:
    """N tracks: first the active ones, which have a detection in this frame, then the lost ones.

    Attributes:
        ids: (N,) track ids.
        first, last: (N,) numbers of the frames of their first and their last detection.
        detections: (N,) their detections in this frame, -1 where they have none.
        removals: (N,) where a track was removed, the number of that removal among all; else 0.
        confirmed: (N,) False where a track has had one detection only, unless that was in the first frame of all.
        lost: (N,) whether it had no detection in the frame before.
        states: (N, 5, 4) states of the Kalman filter.
    """

    ids: Indices
    first: Indices
    last: Indices
    detections: Indices
    removals: Indices
    confirmed: Mask
    lost: Mask
    states: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Indices | Mask) -> TrackTable:
        """Return the table of these rows."""
        return TrackTable(*(getattr(self, column.name)[rows] for column in fields(self)))

    def __add__(self, other: TrackTable) -> TrackTable:
        return TrackTable(*(np.concatenate([getattr(self, c.name), getattr(other, c.name)]) for c in fields(self)))


def new_tracks(first_id: int, frame: int, detections: Indices, states: Floats) -> TrackTable:
    """Return tracks that begin in a frame with these detections (N,) and states (N, 5, 4)."""
    count = len(detections)
    frames = np.full(count, frame)
    return TrackTable(
        ids=np.arange(first_id, first_id + count),
        first=frames,
        last=frames,
        detections=detections,
        removals=np.zeros(count, np.int64),
        confirmed=np.full(count, frame == 1),
        lost=np.zeros(count, np.bool_),
        states=states,
    )
