"""What is doubtful of what a run decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from tracking.results.presence import Stretch, clock, rounded, without_none

__all__ = ["NEAR", "SHORT", "Doubt", "doubts_of"]

NEAR = 0.8
"""Share of the threshold beyond which a mean distance is doubtful."""
SHORT = 5
"""Frames that a track must have carried a name for, to be believed; enrolment asks for as many."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Doubt:
    """A decision that somebody should look at.

    Attributes:
        kind: ``changed``: a track's name changed; ``contested``: a name went over to another track at once, while
            the first was still in sight; ``twice``: a name stood twice in a frame; ``near``: the mean distance of a
            track to its name is more than 0.8 of the threshold; ``short``: a track carried a name for fewer than 5
            frames.
        identity: The name in question (of `changed`, the new one).
        track_id: The track in question; None for `gallery_only`.
        frame: Where to look, 0-based.
        text: What happened, a sentence.
        other_identity: Of `changed`, the name before.
        other_track: Of `contested` and `twice`, the other track.
        distance: Of `near`, the mean distance.
    """

    kind: Literal["changed", "contested", "twice", "near", "short"]
    identity: str
    track_id: str | None
    frame: int
    text: str
    other_identity: str | None = None
    other_track: str | None = None
    distance: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON types; what does not apply is left out."""
        return without_none(
            kind="doubt",
            doubt=self.kind,
            identity=self.identity,
            track_id=self.track_id,
            frame=self.frame,
            text=self.text,
            other_identity=self.other_identity,
            other_track=self.other_track,
            distance=rounded(self.distance, 6),
        )


def doubts_of(
    stretches: Sequence[Stretch], threshold: float | None, fps: float | None, max_gap: int
) -> Iterable[Doubt]:
    """The doubts that stretches tell of.

    Args:
        stretches: All of a run, in any order.
        threshold: Largest distance at which the run gave a name; None where unknown.
        fps: Frames per second, for the sentences; None where unknown.
        max_gap: Frames between two stretches up to which a name went over at once.
    """
    named: dict[str, list[Stretch]] = {}
    bearers: dict[str, list[Stretch]] = {}
    seen: dict[str, list[tuple[int, int]]] = {}
    for stretch in sorted(stretches, key=lambda s: (s.first, s.last)):
        if stretch.track_id is not None:
            seen.setdefault(stretch.track_id, []).append((stretch.first, stretch.last))
        if stretch.identity is not None:
            bearers.setdefault(stretch.identity, []).append(stretch)
            if stretch.track_id is not None:
                named.setdefault(stretch.track_id, []).append(stretch)
    for track_id, own in named.items():
        for before, after in pairwise(own):
            if before.identity != after.identity:
                text = (
                    f"Track {track_id} was {before.identity} and becomes {after.identity} at {clock(after.first, fps)}."
                )
                yield Doubt("changed", str(after.identity), track_id, after.first, text, other_identity=before.identity)
    for identity, own in bearers.items():
        for before, after in pairwise(own):
            if before.track_id is None or before.track_id == after.track_id:
                continue
            # Both were candidates: the name moved, and the track that had it was still there.
            at_once = 0 <= after.first - before.last - 1 <= max_gap
            if at_once and any(first <= after.first <= last for first, last in seen[before.track_id]):
                text = (
                    f"{identity} goes over from track {before.track_id} to track {after.track_id} at "
                    f"{clock(after.first, fps)}, with both in sight."
                )
                yield Doubt("contested", identity, after.track_id, after.first, text, other_track=before.track_id)
        by_track: dict[str | None, list[Stretch]] = {}
        for stretch in own:
            by_track.setdefault(stretch.track_id, []).append(stretch)
        for bearer, parts in by_track.items():
            frames = sum(part.frames for part in parts)
            first = parts[0].first
            if frames < SHORT and bearer is not None:
                what = "one frame" if frames == 1 else f"{frames} frames"
                text = f"Track {bearer} is {identity} for only {what}, at {clock(first, fps)}."
                yield Doubt("short", identity, bearer, first, text)
            known = [(part.mean_distance, part.frames) for part in parts if part.mean_distance is not None]
            if threshold is None or not known:
                continue
            mean = sum(distance * count for distance, count in known) / sum(count for _, count in known)
            # A mean of many equal distances is theirs but for the last digits.
            if mean > NEAR * threshold + _ROUNDING:
                who = identity if bearer is None else f"Track {bearer} as {identity}"
                text = (
                    f"{who}, from {clock(first, fps)} on, is near the limit: mean distance {mean:.3f}, and "
                    f"{threshold:g} is the largest accepted."
                )
                yield Doubt("near", identity, bearer, first, text, distance=mean)
