"""Open tracks: observations collected for each tracklet until its track has ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Box
from tracking.enrolment.base import EnrolmentObservation

__all__ = ["OpenTrack", "OpenTracks"]

_MAX_CROP_HEIGHT = 256
_TINY = 1e-6


@dataclass(slots=True)
class OpenTrack:
    """The observations of one tracklet of a track that has not ended.

    Attributes:
        track_id: The track.
        ordinal: Number of the track in the order of appearance; all tracklets of a track have the same.
        first, last: Its first and its last frame so far.
        tracklet: First frame of the tracklet, as identification counts it.
        num_frames: Frames in which it was seen.
        num_observations: Number of observations.
        total: (D,) sum of the embeddings, weighted by quality; None before the first observation.
        weight: Sum of the weights.
        quality_sum: Sum of the qualities, weighted by themselves.
        score_sum: Sum of the detections' scores.
        best_quality, best_frame, best_box, crop: The observation of the best quality.
        identity, distance: Its name now, and the distance to it.
        class_weights: Sum of the weights for each class.
        split: Number of tracklets of the same track before it.
        reserved_name: The name reserved for it as an unknown identity.
        is_reserved_elsewhere: Whether that name was reserved by another camera first.
    """

    track_id: int
    ordinal: int
    first: int
    last: int
    tracklet: int = 0
    num_frames: int = 0
    num_observations: int = 0
    total: NDArray[np.float32] | None = None
    weight: float = 0.0
    quality_sum: float = 0.0
    score_sum: float = 0.0
    best_quality: float = -1.0
    best_frame: int = 0
    best_box: Box | None = None
    crop: NDArray[np.uint8] | None = None
    identity: str | None = None
    distance: float | None = None
    class_weights: dict[str, float] | None = None
    split: int = 0
    reserved_name: str | None = None
    is_reserved_elsewhere: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """Track id and first frame of the tracklet, as identification counts it."""
        return self.track_id, self.tracklet

    @property
    def has_direction(self) -> bool:
        """Whether its observations have a mean; those of opposite directions cancel out."""
        return self.total is not None and float(np.linalg.norm(self.total)) > _TINY

    @property
    def mean(self) -> NDArray[np.float32]:
        """(D,) the mean embedding, of unit length; there must be an observation."""
        assert self.total is not None
        return self.total / np.float32(max(float(np.linalg.norm(self.total)), _TINY))

    @property
    def quality(self) -> float:
        """Mean quality of the observations, weighted by themselves."""
        return self.quality_sum / self.weight if self.weight > 0 else 0.0

    @property
    def class_name(self) -> str:
        """The class with the largest weight; ``"person"`` where no class is known."""
        weights = self.class_weights or {}
        return max(weights, key=lambda name: (weights[name], name)) if weights else "person"

    def add(self, observation: EnrolmentObservation) -> None:
        """Add an observation."""
        quality = observation.quality
        weight = max(quality, _TINY)
        weighted = observation.embedding * np.float32(weight)
        self.total = weighted if self.total is None else self.total + weighted
        self.num_observations += 1
        self.weight += weight
        self.quality_sum += weight * quality
        self.score_sum += observation.score
        self.identity, self.distance = observation.identity, observation.distance
        self.class_weights = self.class_weights or {}
        if observation.class_name is not None:
            self.class_weights[observation.class_name] = self.class_weights.get(observation.class_name, 0.0) + weight
        if quality > self.best_quality:
            x1, y1, x2, y2 = (float(value) for value in observation.box)
            self.best_quality, self.best_frame = quality, observation.frame
            self.best_box = (x1, y1, x2, y2) if x1 == x1 else None
            self.crop = None if observation.crop is None else _shrunk(observation.crop)


class OpenTracks:
    """Collects the observations of a camera's tracks until they end.

    A track has ended when it was not seen for more than the grace period. A track id that comes back within it is
    the same track; after it, another one.

    Args:
        grace_frames: Frames that a track may be out of sight.
        ended: Called with each track that has ended.

    Attributes:
        last_frame: The last frame so far; -1 before the first.
    """

    def __init__(self, grace_frames: int, ended: Callable[[OpenTrack], None]) -> None:
        self.last_frame = -1
        self._grace_frames = grace_frames
        self._ended = ended
        self._tracks: dict[tuple[int, int], OpenTrack] = {}
        self._tracklets: dict[int, int] = {}
        self._held: dict[int, list[EnrolmentObservation]] = {}
        self._num_opened = 0
        self._num_splits: dict[int, int] = {}

    def __iter__(self) -> Iterator[OpenTrack]:
        return iter(self._tracks.values())

    def current(self, track_id: int) -> OpenTrack | None:
        """Return the current tracklet of a track, or None."""
        return self._tracks.get((track_id, self._tracklets.get(track_id, -1)))

    def observe(self, observation: EnrolmentObservation) -> None:
        """Add an observation to its track; frames never go back."""
        frame, track_id, tracklet = observation.frame, observation.track_id, observation.tracklet
        if observation.is_held:
            # The crop is copied, so that no whole frame is kept for it.
            crop = None if observation.crop is None else _shrunk(observation.crop)
            held = replace(observation, identity=None, distance=None, crop=crop)
            self._held.setdefault(track_id, []).append(held)
            return
        waiting = self._held.pop(track_id, [])
        if tracklet is not None and tracklet != self._tracklets.get(track_id, tracklet):
            self._change_tracklet(frame, track_id, tracklet)
            if waiting and waiting[0].frame >= tracklet:
                for held in waiting:
                    self._open(held.frame, track_id, tracklet).add(held)
        self._open(frame, track_id, tracklet).add(observation)

    def note_seen(self, frame: int, track_ids: Sequence[int]) -> None:
        """Note the tracks in a frame; to be called once for every frame, also one without tracks."""
        self._end_unseen(frame)
        for track_id in track_ids:
            track = self._open(frame, track_id)
            track.last = frame
            track.num_frames += 1

    def rename(self, old: str, new: str) -> None:
        """Change the name of tracks."""
        for track in self._tracks.values():
            if track.identity == old:
                track.identity = new

    def end_all(self) -> None:
        """End all tracks."""
        while self._tracks:
            self._ended(self._tracks.pop(next(iter(self._tracks))))

    def _open(self, frame: int, track_id: int, tracklet: int | None = None) -> OpenTrack:
        """Return a tracklet of a track, by default the current one; a new one where there is none."""
        if frame > self.last_frame:
            self._end_unseen(frame)
        if tracklet is None:
            tracklet = self._tracklets.get(track_id, frame)
        key = (track_id, tracklet)
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = OpenTrack(track_id, self._num_opened, frame, frame, tracklet)
            self._num_opened += 1
        self._tracklets[track_id] = tracklet
        return track

    def _change_tracklet(self, frame: int, track_id: int, tracklet: int) -> None:
        """Note that a track shows another person since its frame `tracklet`, or again the person it showed before."""
        old = self._tracks.get((track_id, self._tracklets[track_id]))
        self._tracklets[track_id] = tracklet
        if old is not None and old.total is None:  # seen, but not observed yet
            del self._tracks[track_id, old.tracklet]
            old.tracklet = tracklet
            self._tracks[track_id, tracklet] = old
            return
        if old is None or tracklet <= old.first:
            return
        is_new = (track_id, tracklet) not in self._tracks
        track = self._open(frame, track_id, tracklet)
        if is_new:
            # The same ordinal: whether a swap is detected must not change the ids of all later tracks.
            self._num_opened -= 1
            track.ordinal = old.ordinal
            self._num_splits[old.ordinal] = track.split = self._num_splits.get(old.ordinal, 0) + 1
        track.first = tracklet
        moved = min(old.num_frames, max(0, old.last - tracklet + 1))
        old.num_frames -= moved
        track.num_frames += moved
        old.last = min(old.last, tracklet - 1)

    def _end_unseen(self, frame: int) -> None:
        self.last_frame = max(self.last_frame, frame)
        ended = [track for track in self._tracks.values() if frame - track.last - 1 > self._grace_frames]
        for track in ended:
            del self._tracks[track.track_id, track.tracklet]
            if self._tracklets.get(track.track_id) == track.tracklet:
                del self._tracklets[track.track_id]
                self._held.pop(track.track_id, None)
            self._ended(track)


def _shrunk(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy of a crop, at most `_MAX_CROP_HEIGHT` pixels high."""
    height, width = crop.shape[:2]
    if height <= _MAX_CROP_HEIGHT:
        return crop.copy()
    import cv2

    size = (max(1, round(width * _MAX_CROP_HEIGHT / height)), _MAX_CROP_HEIGHT)
    resized: NDArray[np.uint8] = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    return resized
