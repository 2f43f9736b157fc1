"""Choice of the tracks to observe in a frame, within a budget of embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracking.identification.track_evidence import TrackEvidence, are_different_classes

__all__ = ["ObservationSchedule"]


class ObservationSchedule:
    """Chooses the tracks of a frame that should be observed, where an observation is worth most.

    Those are new tracks, tracks whose evidence is contradicted, tracks that come out from behind others (where
    trackers mix people up), and undecided tracks. In all, they cost no more than one observation for each new track
    and one every `every` frames: what decided tracks leave over is what the others spend.

    Args:
        tracks: The evidence of all tracks, by id; read at every call.
        every: Frames between two observations of a track, on average.
    """

    RISKY_OVERLAP = 0.3
    """Overlap from which on the tracker may mix two people up."""
    RISKY_GAP = 3
    """Frames out of sight from which on it may, too."""
    MIN_OTHER_CLASS_FRAMES = 3
    """Frames in a row with a box of another class that show a swap; fewer are the detector's flicker."""
    CLEAR_OVERLAP = 0.15
    """Overlap up to which a crop shows the person alone."""
    GOOD_QUALITY = 0.6
    """Part of a track's usual box quality from which on a frame is good enough."""
    DECIDED_INTERVAL = 2.0
    """Decided tracks are observed at this multiple of `every` frames ..."""
    PLENTY_CREDIT = 10.0
    """... but every `every` frames while this many observations are left over."""
    ADVANCE = 4.0
    """Observations that may be spent before they are earned."""
    MAX_DELAY = 3
    """Frames by which the first observation of a hidden track is put off."""

    def __init__(self, tracks: Mapping[int, TrackEvidence], every: int) -> None:
        self._tracks = tracks
        self._every = max(1, every)
        self._credit = 0.0
        self._unobserved: dict[int, int] = {}

    def due(
        self,
        frame: int,
        track_ids: Sequence[int],
        box_qualities: Sequence[float] | None = None,
        overlaps: Sequence[float] | None = None,
        class_names: Sequence[str | None] | None = None,
    ) -> list[int]:
        """Return the tracks that should be observed in this frame; see `TrackIdentifier.due`."""
        self._credit += len(track_ids) / self._every
        wanted: list[tuple[float, float, int]] = []
        new: list[int] = []
        for i, track_id in enumerate(track_ids):
            overlap = overlaps[i] if overlaps is not None else 0.0
            track = self._tracks.get(track_id)
            if track is None:
                since = self._unobserved.setdefault(track_id, frame)
                if overlap <= self.RISKY_OVERLAP or frame - since >= self.MAX_DELAY:
                    new.append(i)
                continue
            quality = box_qualities[i] if box_qualities is not None else 1.0
            class_name = class_names[i] if class_names is not None else None
            self._update_swap_risk(track, frame, overlap, quality, class_name)
            urgency = self._urgency(track, frame, overlap, quality)
            if urgency is not None:
                wanted.append((urgency, -quality, i))
        wanted.sort()
        budget = max(0, int(self._credit + self.ADVANCE))
        chosen = new + [i for _, _, i in wanted[:budget]]
        return sorted(chosen)

    def note_first_observation(self, track_id: int, frame: int) -> int:
        """Note that a new track was observed, which costs nothing, and return the frame that it was first seen in."""
        return self._unobserved.pop(track_id, frame)

    def note_further_observation(self) -> None:
        """Charge an observation of a track that had been observed before."""
        self._credit -= 1.0

    def forget(self, frame: int, after: int) -> None:
        """Drop tracks that were never observed and appeared more than `after` frames ago."""
        for track_id in [t for t, first in self._unobserved.items() if frame - first > after]:
            del self._unobserved[track_id]

    def _update_swap_risk(
        self, track: TrackEvidence, frame: int, overlap: float, box_quality: float, class_name: str | None
    ) -> None:
        """Note what may have caused the tracker to go over to another person, or shows that it did."""
        gap = frame - track.last_seen - 1
        track.max_overlap = max(track.max_overlap, overlap)
        risk = track.max_overlap if track.max_overlap >= self.RISKY_OVERLAP else 0.0
        if gap >= self.RISKY_GAP or (gap > 0 and risk > 0.0):
            risk += min(0.5 + 0.05 * gap, 1.0)
        if risk > track.swap_risk:
            track.swap_risk, track.swap_risk_frame = risk, frame
        other = are_different_classes(class_name, track.tracklet.class_name)
        track.other_class_frames = track.other_class_frames + 1 if other else 0
        if track.other_class_frames == self.MIN_OTHER_CLASS_FRAMES:
            track.swap_risk = max(track.swap_risk, 1.0)
            track.swap_risk_frame = frame - self.MIN_OTHER_CLASS_FRAMES + 1
        usual = track.usual_box_quality
        track.usual_box_quality = box_quality if usual == 0.0 else 0.95 * usual + 0.05 * box_quality

    def _urgency(self, track: TrackEvidence, frame: int, overlap: float, box_quality: float) -> float | None:
        """Return how urgent an observation of a track is, 0 the most; None where none is needed.

        In this order: contradicted evidence; probable swaps (hidden and out of sight); undecided tracks, at growing
        intervals; less probable swaps; decided tracks.
        """
        if 0 < track.other_class_frames < self.MIN_OTHER_CLASS_FRAMES:
            return None
        age = frame - track.last_observed
        clear = overlap <= self.CLEAR_OVERLAP and box_quality >= self.GOOD_QUALITY * track.usual_box_quality
        if track.held:
            wait = 1 if track.swap_risk > 0.0 else 3
            return 0.0 if age >= wait and (overlap <= self.RISKY_OVERLAP or age >= self._every // 2) else None
        status = track.status
        if track.swap_risk > 0.5 and age > 1 and (clear or age >= 2 * self._every):
            return 1.0 - 0.1 * track.swap_risk
        if status == "undecided":
            patience = min(self._every, track.tracklet.num_observations)
            return 2.0 if age >= patience and (clear or age >= 2 * patience) else None
        if track.swap_risk > 0.0:
            return 3.0 - 0.1 * track.swap_risk if (clear and age > 1) or age >= 2 * self._every else None
        if age >= self.DECIDED_INTERVAL * self._every:
            return 4.0
        return 5.0 if age >= self._every and self._credit >= self.PLENTY_CREDIT and clear else None
