"""The loop of ByteTrack (Zhang et al., ECCV 2022), which BoT-SORT (Aharon et al., 2022) shares, in arrays.

Ids are those of BoxMOT 25's ByteTrack and BotSort (without embeddings and camera motion compensation), frame by frame;
tests compare them. Classes have no part in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.errors import TrackerError
from tracking.trackers.motion.association import assign, overlaps
from tracking.trackers.motion.kalman import Floats, Indices, Mask, measured_corners
from tracking.trackers.motion.settings import MotionSettings
from tracking.trackers.motion.tracks import new_tracks

__all__ = ["MotionTracker"]

# An active and a lost track whose boxes have a lower cost (1 - IoU) than this follow one object (ByteTrack's code).
_DUPLICATE = 0.15


class MotionTracker:
    """One tracker over one stream of frames. Ids start at 0.

    Args:
        settings: See `motion_settings`.
    """

    uses_embeddings = False
    uses_frame = False

    def __init__(self, settings: MotionSettings) -> None:
        self._settings = settings
        self._model = settings.model
        self._tracks = new_tracks(0, 0, np.empty(0, np.int64), np.empty((0, 5, 4)))
        self._frame = 0
        self._next_id = 0
        self._removals = 0

    def update(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Advance by one frame; must be called for every frame, also for one without detections.

        Args:
            boxes: (N, 4) xyxy pixels, finite, of positive area.
            scores: (N,) in [0, 1].

        Returns:
            Track ids (M,), the detection (M,) of each, and the smoothed boxes (M, 4).

        Raises:
            TrackerError: A box without area, or not finite.
        """
        if not (np.isfinite(boxes).all() and (boxes[:, :2] < boxes[:, 2:]).all()):
            raise TrackerError("a temporal tracker needs finite boxes [x1, y1, x2, y2] with x1 < x2 and y1 < y2.")
        self._frame += 1
        self._predict()
        free = self._match(boxes, scores)
        self._correct(self._model.measure(boxes), np.flatnonzero(free & (scores >= self._settings.new)))
        self._sort()
        track_boxes = self._drop_duplicates()
        tracks = self._tracks
        shown = tracks.confirmed & ~tracks.lost
        return tracks.ids[shown], tracks.detections[shown], track_boxes[shown].astype(np.float32)

    def _predict(self) -> None:
        tracks = self._tracks
        rows = np.flatnonzero(tracks.confirmed)
        tracks.states[rows] = self._model.predict(tracks.states[rows], tracks.lost[rows])

    def _match(self, boxes: NDArray[np.float32], scores: NDArray[np.float32]) -> Mask:
        """Give tracks their detections; returns the detections with a high score that no track got."""
        settings, tracks = self._settings, self._tracks
        overlapping = overlaps(self._model.boxes(tracks.states), measured_corners(boxes).astype(np.float64))
        detections = np.full(len(tracks), -1)

        def match(rows: Mask, columns: Mask, limit: float, *, fuse: bool) -> None:
            pairs = overlapping.where(rows[overlapping.rows] & columns[overlapping.columns])
            costs = 1 - pairs.values
            if fuse:
                costs = 1 - (1 - costs) * scores[pairs.columns]
            taken, given = assign(pairs._replace(values=costs), np.flatnonzero(rows), np.flatnonzero(columns), limit)
            detections[taken] = given
            columns[given] = False

        free = scores > settings.high
        match(tracks.confirmed, free, settings.first, fuse=settings.fuse_first)
        low = (scores > settings.low) & (scores < settings.high)
        match(tracks.confirmed & ~tracks.lost & (detections < 0), low, settings.second, fuse=False)
        match(~tracks.confirmed, free, settings.unconfirmed, fuse=True)
        tracks.detections = detections
        return free

    def _correct(self, values: NDArray[np.float32], started: Indices) -> None:
        """Correct the tracks by their detections (N, 4), and start new ones with some of these."""
        tracks = self._tracks
        seen = np.flatnonzero(tracks.detections >= 0)
        tracks.states[seen] = self._model.correct(tracks.states[seen], values[tracks.detections[seen]])
        tracks.last[seen] = self._frame
        tracks.confirmed[seen] = True
        self._tracks = tracks + new_tracks(self._next_id, self._frame, started, self._model.start(values[started]))
        self._next_id += len(started)

    def _sort(self) -> None:
        """Bring the tracks into their order, and remove those that were not seen for too long."""
        tracks, settings = self._tracks, self._settings
        seen = tracks.detections >= 0
        active = np.concatenate([np.flatnonzero(seen & ~tracks.lost), np.flatnonzero(seen & tracks.lost)])
        unseen = ~seen & tracks.confirmed
        lost = np.concatenate([np.flatnonzero(unseen & tracks.lost), np.flatnonzero(unseen & ~tracks.lost)])
        # As in ByteTrack's code, a removed track stays for one more frame, in which a detection can bring it back.
        kept = lost[tracks.removals[lost] <= max(self._removals - settings.remembered, 0)]
        self._removals += int(np.count_nonzero(~seen & ~tracks.confirmed))
        expired = np.flatnonzero(unseen & tracks.lost & (self._frame - tracks.last > settings.max_lost))
        tracks.removals[expired] = self._removals + 1 + np.arange(len(expired))
        self._removals += len(expired)
        tracks.lost = ~seen
        self._tracks = tracks.take(np.concatenate([active, kept]))

    def _drop_duplicates(self) -> Floats:
        """Where an active and a lost track follow one object, drop the younger; returns the boxes (N, 4) of all."""
        tracks = self._tracks
        boxes = self._model.boxes(tracks.states)
        active = len(tracks) - np.count_nonzero(tracks.lost)
        if active in (0, len(tracks)):
            return boxes
        pairs = overlaps(boxes[:active], boxes[active:])
        pairs = pairs.where(1 - pairs.values < _DUPLICATE)
        if not len(pairs.rows):
            return boxes
        age = tracks.last - tracks.first
        lost = pairs.columns + active
        kept = np.ones(len(tracks), np.bool_)
        kept[np.where(age[pairs.rows] > age[lost], lost, pairs.rows)] = False
        self._tracks = tracks.take(kept)
        return boxes[kept]
