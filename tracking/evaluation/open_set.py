"""Misses of known people's tracks against strangers' tracks that get a name: FNIR at FPIR, as NIST reports it.

A *search* is a track, and shows the person that it covers in most frames (those of the ground truth that count). Its
*candidate* is the name from the gallery with the smallest distance in the frames in which the track covers that person.
Unknown identities (``unknown-0007``) are no candidates. At a threshold t, in the words of NIST's FRTE 1:N (NIST IR
8271) and of ISO/IEC 19795-1:

- a *false positive identification* is the track of a stranger whose candidate is at most t away;
- a *false negative identification* (miss) is the track of a known person whose candidate is another person, or further
  away than t, or missing (the candidate list has length 1).

The threshold for a wanted FPIR is the largest at which no larger share of the strangers' tracks has a name. Intervals
are those of Wilson (1927) for independent tracks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WANTED_FPIR", "OpenSetPoint", "Share", "TrackSearches", "open_set_points"]

WANTED_FPIR = (0.01, 0.05, 0.10)
_Z = 1.959963984540054  # of a normal distribution, for 95 %


@dataclass(frozen=True, slots=True)
class Share:
    """A share of tracks, with its 95 % interval by Wilson (1927).

    Attributes:
        count: Number of these tracks.
        total: Number of all tracks.
    """

    count: int
    total: int

    @property
    def estimate(self) -> float | None:
        """The share, in [0, 1]; None where there are no tracks."""
        return self.count / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """The interval, in [0, 1]; everything where there are no tracks."""
        if not self.total:
            return 0.0, 1.0
        share, spread = self.count / self.total, _Z**2 / self.total
        middle = (share + spread / 2) / (1 + spread)
        half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
        # The ends are exact where they are 0 or 1, without the rounding of the difference.
        low = 0.0 if self.count == 0 else max(0.0, middle - half)
        return low, 1.0 if self.count == self.total else min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class OpenSetPoint:
    """The errors at the threshold for one wanted FPIR.

    Attributes:
        wanted: The largest FPIR.
        threshold: Largest cosine distance of a candidate at this point; None where no candidate is near enough.
        is_limit: Whether it is the run's own threshold: the run named no larger share of the strangers, and a looser
            threshold, with fewer misses, needs another run.
        fpir: Strangers' tracks with a name.
        fnir: Known people's tracks without their name.
        wrong: Known people's tracks with another person's name; they are among the misses.
    """

    wanted: float
    threshold: float | None
    is_limit: bool
    fpir: Share
    fnir: Share
    wrong: int


@dataclass(frozen=True, slots=True, eq=False)
class TrackSearches:
    """The searches of a run, as parallel arrays, one for each track that covers a person.

    Attributes:
        known: (T,) bool, whether the gallery has the person.
        distances: (T,) float64, cosine distance of the candidate; +inf where the track has none.
        right: (T,) bool, whether the candidate is the person.
        persons: (T,) int64, number of the person.
    """

    known: NDArray[np.bool_]
    distances: NDArray[np.float64]
    right: NDArray[np.bool_]
    persons: NDArray[np.int64]


def open_set_points(searches: TrackSearches, wanted: Sequence[float] = WANTED_FPIR) -> tuple[OpenSetPoint, ...]:
    """Return the errors at each wanted FPIR; empty where there is no track of a stranger, or of a known person."""
    strangers = np.sort(searches.distances[~searches.known])
    mates = int(searches.known.sum())
    if not len(strangers) or not mates:
        return ()
    points = []
    for share in wanted:
        allowed = int(share * len(strangers) + 1e-9)
        # Every candidate below that of the first stranger who must not get a name.
        limit = float(strangers[allowed])
        accepted = searches.distances < limit
        right = accepted & searches.right
        points.append(
            OpenSetPoint(
                wanted=share,
                threshold=float(searches.distances[accepted].max()) if accepted.any() else None,
                is_limit=math.isinf(limit),
                fpir=Share(int((accepted & ~searches.known).sum()), len(strangers)),
                fnir=Share(mates - int((right & searches.known).sum()), mates),
                wrong=int((accepted & searches.known & ~right).sum()),
            )
        )
    return tuple(points)
