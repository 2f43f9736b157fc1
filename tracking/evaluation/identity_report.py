"""The result of an evaluation of names: counts for each person and sighting, and figures over thresholds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tracking.evaluation.open_set import OpenSetPoint

__all__ = [
    "RIGHT",
    "UNCOVERED",
    "UNNAMED",
    "WRONG",
    "CurvePoint",
    "DuplicateName",
    "IdentityReport",
    "NameChange",
    "PersonReport",
    "SightingReport",
]

UNCOVERED, UNNAMED, WRONG, RIGHT = 0, 1, 2, 3
"""The outcomes of a person-frame."""


@dataclass(slots=True)
class PersonReport:
    """A person of the ground truth, and how the run named them.

    Attributes:
        name: The true name.
        known: Whether the gallery has the person.
        in_sight: Number of their person-frames.
        frames: Number of these that a track covers.
        shared: Number of the others in which a tracked box that covers another person overlaps them.
        right, wrong, unnamed: Number of covered person-frames with the right name, a wrong name and no name; their sum
            is `frames`.
        by_name: Number of wrong ones with a name from the gallery, not with the unknown identity of another person.
        names_given: Names that they were given, and in how many frames.
        spans: (first, last) frame of each time that the person is in the image, by the ground truth.
        right_span: (first, last) frame with the right name; None where there is none.
    """

    name: str
    known: bool
    in_sight: int = 0
    frames: int = 0
    shared: int = 0
    right: int = 0
    wrong: int = 0
    unnamed: int = 0
    by_name: int = 0
    names_given: Counter[str] = field(default_factory=Counter)
    spans: list[tuple[int, int]] = field(default_factory=list)
    right_span: tuple[int, int] | None = None


@dataclass(slots=True)
class SightingReport:
    """A sighting of a person by the ground truth: from entering the image to leaving it.

    Attributes:
        person: The true name.
        known: Whether the gallery has the person.
        number: The id of the sighting in the ground truth.
        first, last: First and last frame of those evaluated.
        covered: First frame that a track covers; None where there is none.
        named: First frame with the right name; None where there is none.
    """

    person: str
    known: bool
    number: int
    first: int
    last: int
    covered: int | None = None
    named: int | None = None

    @property
    def wait(self) -> int | None:
        """Frames from the first frame to the first right name; None where there is no right name."""
        return None if self.named is None else self.named - self.first

    @property
    def wait_covered(self) -> int | None:
        """Frames from the first frame that a track covers to the first right name; None where there is none."""
        return None if self.named is None or self.covered is None else self.named - self.covered


@dataclass(frozen=True, slots=True)
class NameChange:
    """A change of a track's name. Frames without a name in between are ignored.

    Attributes:
        track_id: The track.
        frame: The first frame with the new name.
        before, after: The names.
        swapped: Whether the track itself moved to another person: the person that it covers most often under the new
            name differs from the one under the old name. Then the tracker made the error, and the name followed.
    """

    track_id: str
    frame: int
    before: str
    after: str
    swapped: bool


@dataclass(frozen=True, slots=True)
class DuplicateName:
    """A name that several boxes of one frame have."""

    frame: int
    name: str
    times: int


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The figures of names from the gallery if the run's threshold had been stricter.

    Attributes:
        threshold: Names at a larger cosine distance are removed.
        named: Person-frames that keep a name, of known people and of strangers.
        right: Those of them with the right name.
        precision: ``right / named``; 1 where nothing is named.
        recall: ``right`` divided by the covered person-frames of known people.
        strangers_named: Person-frames of strangers that keep a name.
    """

    threshold: float
    named: int
    right: int
    precision: float
    recall: float
    strangers_named: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IdentityReport:
    """The evaluation of a run's names.

    Attributes:
        people: All people of the ground truth, the known ones first.
        sightings: In the order of their first frames.
        owners: Unknown identity (``unknown-0007``) to the person that it belongs to; None if it belongs to no person.
        name_changes: In all tracks; None where there are no tracks (``gallery_only``).
        duplicates: Every name that several boxes of one frame have.
        named_elsewhere: Number of boxes with a name that overlap no person enough, hidden people included.
        curve: By ascending thresholds; empty where `curve_note` says why.
        curve_note: What the curve shows and what it cannot show.
        open_set: Misses of known people's tracks (FNIR) where given shares of strangers' tracks have a name (FPIR);
            empty where `open_set_note` says why.
        open_set_note: From how much the figures come, and what they cannot show.
        fps: Frames per second, None where unknown.
        frames: (first, last) evaluated frame of the ground truth.
        frame_of, person_of, outcome_of: (M,) int64 each, for the person-frames: the frame, the index in `people`, and
            `UNCOVERED`, `UNNAMED`, `WRONG` or `RIGHT`.
    """

    people: tuple[PersonReport, ...]
    sightings: tuple[SightingReport, ...]
    owners: Mapping[str, str | None]
    name_changes: tuple[NameChange, ...] | None
    duplicates: tuple[DuplicateName, ...]
    named_elsewhere: int
    curve: tuple[CurvePoint, ...]
    curve_note: str
    open_set: tuple[OpenSetPoint, ...]
    open_set_note: str
    fps: float | None
    frames: tuple[int, int]
    frame_of: NDArray[np.int64]
    person_of: NDArray[np.int64]
    outcome_of: NDArray[np.int64]

    def __repr__(self) -> str:
        return (
            f"IdentityReport(frames {self.frames[0]} to {self.frames[1]}: {len(self.people)} people, "
            f"{len(self.known)} of them known, {len(self.sightings)} sightings)"
        )

    @property
    def known(self) -> tuple[PersonReport, ...]:
        """The people that the gallery has."""
        return tuple(p for p in self.people if p.known)

    @property
    def strangers(self) -> tuple[PersonReport, ...]:
        """The people that the gallery does not have."""
        return tuple(p for p in self.people if not p.known)

    def waits(self, *, covered: bool = False) -> list[int]:
        """Return the frames until the first right name of each sighting of a known person that has one, ascending."""
        waits = [s.wait_covered if covered else s.wait for s in self.sightings if s.known]
        return sorted(wait for wait in waits if wait is not None)
