"""Decision what an ended track becomes: an entry of a known or of a new identity, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tracking.enrolment.base import EnrolMode, KnownIdentities, is_unknown
from tracking.enrolment.open_tracks import OpenTrack
from tracking.identification.identity_spread import IdentitySpread

__all__ = [
    "MIN_MARGIN",
    "MIN_QUALITY",
    "MIN_SHARED_FRAMES",
    "SURE_PART",
    "IdentityPresence",
    "NearestIdentity",
    "Outcome",
    "decide_outcome",
    "is_too_short",
    "nearest_identity",
]

MIN_FRAMES = 5
"""Frames in which a track must have been seen."""
MIN_OBSERVATIONS = 2
"""Observations that a track must have ..."""
VERY_GOOD_QUALITY = 0.6
"""... unless one is of this quality."""
MIN_QUALITY = 0.1
"""Least mean quality of a track's observations."""
SURE_PART = 0.6
"""A match is sure up to this part of the threshold ..."""
MIN_MARGIN = 0.05
"""... and where the next identity is this much further away."""
MIN_SHARED_FRAMES = 20
"""Frames that two tracks must share to be two people for sure, and not two boxes of one."""


def is_too_short(track: OpenTrack) -> bool:
    """Return whether an ended track was seen in too few frames or observed too seldom."""
    seldom = track.num_observations < MIN_OBSERVATIONS and track.best_quality < VERY_GOOD_QUALITY
    return track.num_frames < MIN_FRAMES or track.total is None or seldom


@dataclass(frozen=True, slots=True)
class NearestIdentity:
    """The identity that is nearest to a track.

    Attributes:
        identity: Its name; None where none is within the threshold.
        is_close: Whether it is within `SURE_PART` of the threshold and, where it has a name that people gave, within
            its own spread; see `IdentitySpread`.
        margin: How much further away the second-nearest identity is; inf where it is further than `MIN_MARGIN` beyond
            the threshold.
    """

    identity: str | None
    is_close: bool
    margin: float


def nearest_identity(
    known: KnownIdentities, mean: NDArray[np.float32], class_name: str, threshold: float
) -> NearestIdentity:
    """Return the identity nearest to the vector (D,) of a track's mean."""
    _, columns, found = known.near_identities(mean[None], [class_name], limit=threshold + MIN_MARGIN, nearest=2)
    distances = found.tolist()
    best = distances[0] if distances else float("inf")
    margin = distances[1] - best if len(distances) > 1 else float("inf")
    identity = known.identities[columns[0]] if best <= threshold else None
    is_close = best <= SURE_PART * threshold
    if is_close and identity is not None and not is_unknown(identity):
        spreads = IdentitySpread(known).relative_distance(mean, int(columns[0]), threshold)
        is_close = spreads <= IdentitySpread.MAX_SPREADS
    return NearestIdentity(identity, is_close, margin)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an ended track becomes.

    Attributes:
        kind: ``"new"``: an entry of a new identity. ``"joins"``: an entry of a known one. ``"unsure"``: no entry, as it
            may be the one identity or another. ``"named"``: no entry, as it shows a named person and the mode stores
            none of those.
        identity: The identity that it joins, else None.
    """

    kind: Literal["new", "joins", "unsure", "named"]
    identity: str | None = None


def decide_outcome(
    identity: str | None, nearest: NearestIdentity, mode: EnrolMode, shared_frames: Callable[[str], int]
) -> Outcome:
    """Decide what a track becomes that is good enough to be stored.

    Nothing is stored that may show another person, and one person is not in two places at once: a track that is merely
    like an identity, and was there beside it for long, shows a new person.

    Args:
        identity: The name that the track had at its end, or None.
        nearest: The identity nearest to it now.
        mode: ``"unknown"`` or ``"all"``.
        shared_frames: Returns in how many frames an identity was on the video as another track.
    """
    near = nearest.identity
    joins: str | None
    if identity is not None and not is_unknown(identity):
        if mode != "all":
            return Outcome("named")
        joins, sure = identity, identity == near and nearest.is_close
    elif near is None:
        joins, sure = None, identity is None
    elif shared_frames(near) >= MIN_SHARED_FRAMES and not nearest.is_close:
        # Alike, but both were there: two people. Two boxes of one person would be nearer.
        joins, sure = None, True
    elif identity is None:
        # The run could not name it; identities enrolled since can.
        joins, sure = near, nearest.is_close and (is_unknown(near) or mode == "all")
    else:
        joins, sure = identity, identity == near
    if joins is not None:
        sure = sure and nearest.margin >= MIN_MARGIN and shared_frames(joins) <= 0
    if not sure:
        return Outcome("unsure")
    return Outcome("new") if joins is None else Outcome("joins", joins)


class IdentityPresence:
    """The frames in which each identity was on the video."""

    def __init__(self) -> None:
        self._spans: dict[str, set[tuple[int, int]]] = {}

    def add(self, identity: str, track: OpenTrack) -> None:
        """Note that a track shows an identity."""
        self._spans.setdefault(identity, set()).add((track.first, track.last))

    def rename(self, old: str, new: str) -> None:
        """Change the name of an identity, which may join another."""
        if old in self._spans:
            self._spans.setdefault(new, set()).update(self._spans.pop(old))

    def shared_frames(self, identity: str, track: OpenTrack, others: Iterable[OpenTrack]) -> int:
        """Return in how many frames, at most, an identity was there as another track; 0 or less: in none.

        Args:
            identity: The identity.
            track: The track to compare with.
            others: The tracks that are open now.
        """
        spans = set(self._spans.get(identity, ()))
        spans.update((t.first, t.last) for t in others if t.identity == identity and t is not track)
        return max((min(last, track.last) - max(first, track.first) + 1 for first, last in spans), default=0)
