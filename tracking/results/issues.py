"""Issues of a run: decisions that a person should check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from tracking.frame_times import FrameTimes
from tracking.results.confidence import NEAR_LIMIT_SHARE
from tracking.results.formatting import format_time, round_or_none, without_none
from tracking.results.sightings import Sighting

__all__ = ["MARKED_ISSUES", "MIN_NAMED_FRAMES", "Issue", "duplicate_issues", "find_issues"]

MIN_NAMED_FRAMES = 5
"""A name that a track has for fewer frames is an issue; enrolment asks for as many."""

MARKED_ISSUES = ("changed", "contested", "twice")
"""Kinds of issues that charts mark at their frame. The colour or length of the row shows the others."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Issue:
    """A decision that a person should check.

    Attributes:
        kind: ``changed``: the name of a track changed. ``contested``: a name moved to another track while the first
            track was still in view. ``twice``: two boxes of a frame had the same name. ``near``: the mean distance of a
            track to its name is more than 0.8 of the threshold. ``short``: a track had a name for fewer than 5 frames.
        identity: The name in question (the new one of `changed`).
        track_id: The track in question; None for `gallery_only`.
        frame: The frame to look at, 0-based.
        text: A sentence that says what happened.
        other_identity: The previous name of `changed`.
        other_track: The other track of `contested` and `twice`.
        distance: The mean distance of `near`.
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
        """Return the issue as JSON types, without values that do not apply."""
        return without_none(
            kind="doubt",
            doubt=self.kind,
            identity=self.identity,
            track_id=self.track_id,
            frame=self.frame,
            text=self.text,
            other_identity=self.other_identity,
            other_track=self.other_track,
            distance=round_or_none(self.distance, 6),
        )


def find_issues(
    sightings: Sequence[Sighting], threshold: float | None, times: FrameTimes, max_gap: int
) -> Iterator[Issue]:
    """Find the issues of a run that its sightings show.

    Args:
        sightings: All sightings of the run, in any order.
        threshold: Largest distance at which the run gave a name; None where unknown.
        times: Times of the frames, for the sentences.
        max_gap: Largest number of frames between two sightings at which a name counts as moved directly.
    """
    named_by_track: dict[str, list[Sighting]] = {}
    by_identity: dict[str, list[Sighting]] = {}
    in_view: dict[str, list[tuple[int, int]]] = {}
    for sighting in sorted(sightings, key=lambda s: (s.first, s.last)):
        if sighting.track_id is not None:
            in_view.setdefault(sighting.track_id, []).append((sighting.first, sighting.last))
        if sighting.identity is not None:
            by_identity.setdefault(sighting.identity, []).append(sighting)
            if sighting.track_id is not None:
                named_by_track.setdefault(sighting.track_id, []).append(sighting)
    for track_id, sightings_of_track in named_by_track.items():
        yield from _name_changes(track_id, sightings_of_track, times)
    for identity, sightings_of_identity in by_identity.items():
        yield from _moved_names(identity, sightings_of_identity, in_view, times, max_gap)
        yield from _weak_names(identity, sightings_of_identity, threshold, times)


def duplicate_issues(
    frames_by_pair: Mapping[tuple[str, str | None, str | None], Sequence[int]], times: FrameTimes
) -> Iterator[Issue]:
    """Return an issue for each pair of tracks that had the same name in the same frames.

    Args:
        frames_by_pair: (identity, track, other track) to the frames, ascending; None where there are no tracks.
        times: Times of the frames, for the sentences.
    """
    for (identity, track, other), frames in frames_by_pair.items():
        where = "two boxes" if track is None else f"track {track} and track {other}"
        count = f"{len(frames)} frames, first" if len(frames) > 1 else "one frame,"
        text = f"{identity} is the name of {where} in {count} at {format_time(frames[0], times)}."
        yield Issue("twice", identity, other, frames[0], text, other_track=track)


def _name_changes(track_id: str, sightings: Sequence[Sighting], times: FrameTimes) -> Iterator[Issue]:
    for before, after in pairwise(sightings):
        if before.identity != after.identity:
            text = (
                f"The name of track {track_id} changes from {before.identity} to {after.identity} at "
                f"{format_time(after.first, times)}."
            )
            yield Issue("changed", str(after.identity), track_id, after.first, text, other_identity=before.identity)


def _moved_names(
    identity: str,
    sightings: Sequence[Sighting],
    in_view: Mapping[str, Sequence[tuple[int, int]]],
    times: FrameTimes,
    max_gap: int,
) -> Iterator[Issue]:
    for before, after in pairwise(sightings):
        if before.track_id is None or before.track_id == after.track_id:
            continue
        moved_directly = 0 <= after.first - before.last - 1 <= max_gap
        if moved_directly and any(first <= after.first <= last for first, last in in_view[before.track_id]):
            text = (
                f"The name {identity} moves from track {before.track_id} to track {after.track_id} at "
                f"{format_time(after.first, times)}, while both are in view."
            )
            yield Issue("contested", identity, after.track_id, after.first, text, other_track=before.track_id)


def _weak_names(
    identity: str, sightings: Sequence[Sighting], threshold: float | None, times: FrameTimes
) -> Iterator[Issue]:
    """Return the issues of names that a track had for a short time, or at a distance near the threshold."""
    by_track: dict[str | None, list[Sighting]] = {}
    for sighting in sightings:
        by_track.setdefault(sighting.track_id, []).append(sighting)
    for track_id, parts in by_track.items():
        frames = sum(part.frames for part in parts)
        first = parts[0].first
        if frames < MIN_NAMED_FRAMES and track_id is not None:
            count = "one frame" if frames == 1 else f"{frames} frames"
            text = f"Track {track_id} is named {identity} for only {count}, at {format_time(first, times)}."
            yield Issue("short", identity, track_id, first, text)
        mean = _mean_distance(parts)
        # A mean of many equal distances differs from them in its last digits.
        if threshold is not None and mean is not None and mean > NEAR_LIMIT_SHARE * threshold + _ROUNDING:
            subject = identity if track_id is None else f"track {track_id} as {identity}"
            text = (
                f"The mean distance of {subject}, from {format_time(first, times)} on, is {mean:.3f}; the largest "
                f"accepted distance is {threshold:g}."
            )
            yield Issue("near", identity, track_id, first, text, distance=mean)


def _mean_distance(sightings: Iterable[Sighting]) -> float | None:
    known = [(s.mean_distance, s.frames) for s in sightings if s.mean_distance is not None]
    return sum(distance * count for distance, count in known) / sum(count for _, count in known) if known else None
