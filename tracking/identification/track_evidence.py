"""What the looks at one track say of who it shows: evidence over time, in tracklets of one person each.

This room knows vectors, distances and frame numbers; which track may have which name beside others is
`tracking.identification.identifier`'s.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Decision",
    "DecisionRule",
    "EvidenceSample",
    "ObservationRecord",
    "Status",
    "TrackEvidence",
    "Tracklet",
    "add_sample",
    "are_different_classes",
    "two_nearest",
]

Status = Literal["known", "unknown", "undecided"]
"""Has a name; is nobody of the gallery; cannot be told yet, or not from somebody else."""

Decision = Literal["for", "against", "poor"]
"""A look for the evidence so far; against it, and held back; or against it, but too bad to mean anything."""

_TINY = 1e-3


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """The limits of the decision, all cosine distances. All follow from the accepted one, in `of`.

    Attributes:
        accept: Largest distance at which a track's evidence is somebody's (``--gallery-match-threshold``).
        sure: Up to this, a single look will do; beyond it two, or one with twice the margin.
        reject: Evidence further than this from everybody is a stranger's.
        margin: How much further away the second-best identity must be after one look; less after more.
        hysteresis: How much worse than accepted, or than another, a name may be before a look speaks against
            it, and how much better another track must fit to take it.
    """

    accept: float
    sure: float
    reject: float
    margin: float
    hysteresis: float

    @classmethod
    def of(cls, accept: float) -> DecisionRule:
        """The limits that go with an accepted distance: fixed parts of it."""
        return cls(
            accept=accept,
            sure=0.8 * accept,
            reject=1.2 * accept,
            margin=0.2 * accept,
            hysteresis=0.2 * accept,
        )

    def suffices(self, looks: int, distance: float, margin: float) -> bool:
        """Whether that many looks, at that distance and with the second-best that much further, give a name."""
        if looks < 1 or margin < self.margin / looks:
            return False
        more = looks > 1 or margin >= 2 * self.margin
        return distance <= (self.accept if more else self.sure)


@dataclass(frozen=True, slots=True)
class ObservationRecord:
    """One look at a track, as it was taken.

    Attributes:
        frame: When.
        quality: What it was worth, in [0, 1].
        nearest: Column of the identity nearest to it, -1 where there is none.
        distance: To that identity.
        second: To the next identity; inf where there is none.
        verdict: What it said of the evidence so far.
    """

    frame: int
    quality: float
    nearest: int
    distance: float
    second: float
    verdict: Decision


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceSample:
    """Some looks in a row at one person, kept for what can be said only in the end.

    Attributes:
        first, last: Frames of the first and of the last.
        total: (D,) their sum, weighted by quality.
        weight: Sum of the weights.
    """

    first: int
    last: int
    total: NDArray[np.float32]
    weight: float


def are_different_classes(one: str | None, other: str | None) -> bool:
    """Whether two classes are both known, and not the same but for upper case."""
    return one is not None and other is not None and one.casefold() != other.casefold()


def add_sample(samples: list[EvidenceSample], sample: EvidenceSample, most: int) -> None:
    """Add a sample to a list of at most `most`; for more, the two next to each other in time become one."""
    samples.append(sample)
    if len(samples) > most:
        place = min(range(len(samples) - 1), key=lambda i: samples[i + 1].last - samples[i].first)
        one, other = samples[place : place + 2]
        samples[place : place + 2] = [
            EvidenceSample(one.first, other.last, one.total + other.total, one.weight + other.weight)
        ]


@dataclass(slots=True, eq=False)
class Tracklet:
    """A part of a track that shows one person: the fading sum of its looks, weighted by their quality.

    Attributes:
        first: The frame that it begins with.
        known_from: The frame from which on that was known: a swap is seen only later.
        total: (D,) the sum.
        distances: (I,) of the mean to the nearest entry of each identity.
        supported: (I,) of the mean to several entries of each identity; see `tracking.identification.identifier`.
        looks: How many it is of.
        name: Column of the identity that was decided on, or -1.
        last: The frame that it ends with, once it has ended.
        early: Its first looks, (frame, embedding), until they tell no more.
        samples: All its looks, the more of them in one the longer it is; None where nobody wants to know.
        class_name: The class of all of them; None where unknown.
    """

    EARLY: ClassVar[int] = 8
    MAX_SAMPLES: ClassVar[int] = 32

    first: int
    known_from: int
    total: NDArray[np.float32]
    distances: NDArray[np.float32]
    supported: NDArray[np.float32]
    looks: int = 0
    name: int = -1
    last: int = -1
    early: list[tuple[int, NDArray[np.float32]]] = field(default_factory=list)
    samples: list[EvidenceSample] | None = None
    class_name: str | None = None

    @property
    def mean(self) -> NDArray[np.float32]:
        """(D,) of unit length."""
        return self.total / np.float32(max(float(np.linalg.norm(self.total)), 1e-9))


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """A look that speaks against the evidence and waits for more of its kind."""

    frame: int
    embedding: NDArray[np.float32]
    weight: float
    class_name: str | None


@dataclass(slots=True, eq=False)
class TrackEvidence:
    """All that is known of a track, in bounded memory.

    A look that speaks against the evidence so far is held back: somebody passed in front, or the tracker went
    over to another person, and only further looks can tell. Some such looks in a row that show the same person
    begin a new tracklet, from the sample where the track was most at risk of a swap; if the person before is
    seen again before the new one has got a name, the old tracklet goes on. A look at something of another class
    always speaks against the evidence, since a tracker may go over from a person to a car.

    Attributes:
        rule: The limits.
        tracklet: The tracklet that it is in now.
        before: The one before.
        last_look, last_for, last_seen: Frames of the last look, of the last that agreed, and of the last sight.
        risk: How likely a swap is since the last good look: 0 for not at all, overlap and time out of sight add
            up to more.
        risk_frame: When most.
        crowd: Largest overlap with another box since then.
        usual: What a look at it is usually worth; see `observation_quality`.
        worth: The same without sharpness, from all its boxes; see `box_quality`.
        otherwise: In how many frames in a row, up to now, its box has been of another class than the tracklet.
        held: Looks held back.
        journal: Its last looks.
        answers: The last changes of what it is called: (frame, status, name or None).
        runs: Frames in which it was seen, [first, last]; the shortest gaps are forgotten where there are too many.
    """

    RUNS = 64
    PATIENCE = 2
    """Contrary looks in a row that begin a new tracklet ..."""
    PATIENCE_UNPROVOKED = 4
    """... and where nothing happened that could have made the tracker go over to somebody else."""
    ENOUGH = 4
    """Looks that it takes to call somebody unknown."""
    MEMORY = 0.9
    """What is left of a look's weight after the next."""
    POOR = 0.4
    """A look worth less than this part of the usual does not count against the evidence ..."""
    CONVINCING = 0.6
    """... and one worth less than this does not show that no swap took place."""

    rule: DecisionRule
    tracklet: Tracklet
    last_look: int
    last_seen: int
    last_for: int = -1
    before: Tracklet | None = None
    risk: float = 0.0
    risk_frame: int = -1
    crowd: float = 0.0
    usual: float = 0.0
    worth: float = 0.0
    otherwise: int = 0
    held: list[_Held] = field(default_factory=list)
    journal: deque[ObservationRecord] = field(default_factory=lambda: deque(maxlen=32))
    answers: deque[tuple[int, Status, str | None]] = field(default_factory=lambda: deque(maxlen=16))
    runs: list[list[int]] = field(default_factory=list)

    def seen(self, frame: int) -> None:
        """Note that it is in a frame."""
        self.last_seen = frame
        runs = self.runs
        if runs and frame - runs[-1][1] <= 1:
            runs[-1][1] = frame
            return
        runs.append([frame, frame])
        if len(runs) > self.RUNS:
            place = min(range(len(runs) - 1), key=lambda i: runs[i + 1][0] - runs[i][1])
            runs[place : place + 2] = [[runs[place][0], runs[place + 1][1]]]

    def take(
        self,
        frame: int,
        embedding: NDArray[np.float32],
        quality: float,
        look: NDArray[np.float32],
        class_name: str | None = None,
    ) -> bool:
        """Add a look, hold it back, or begin a new tracklet.

        Args:
            frame: When.
            embedding: (D,) of unit length.
            quality: In [0, 1].
            look: (I,) its distances to the identities.
            class_name: Of what was looked at; None where unknown.

        Returns:
            Whether a new tracklet has begun with it.
        """
        weight = max(quality, _TINY)
        self.last_look = frame
        other = are_different_classes(class_name, self.tracklet.class_name)
        against = other or (self.tracklet.looks > 0 and self._speaks_against(embedding, look))
        poor = against and not other and quality < self.POOR * self.usual
        self.journal.append(
            ObservationRecord(frame, quality, *two_nearest(look), "poor" if poor else "against" if against else "for")
        )
        if poor:
            return False
        self.usual = weight if self.usual == 0.0 else 0.8 * self.usual + 0.2 * weight
        if against and self._returns(embedding, look, class_name):
            assert self.before is not None
            self.tracklet, self.before, against = self.before, None, False
        if not against:
            self.held.clear()
            self._add(frame, embedding, weight)
            self.tracklet.class_name = self.tracklet.class_name or class_name
            self.last_for = frame
            if quality >= self.CONVINCING * self.usual:
                self.risk = self.crowd = 0.0
            return False
        if self.held and not self._alike(self.held[-1], embedding, class_name):
            self.held.clear()  # neither of the two passers-by is whom the track shows
        self.held.append(_Held(frame, embedding, weight, class_name))
        if len(self.held) < (self.PATIENCE if self.risk > 0.0 else self.PATIENCE_UNPROVOKED):
            return False
        self._begin_anew(frame)
        return True

    def _begin_anew(self, frame: int) -> None:
        first = self.held[0].frame
        if self.risk > 0.0 and self.last_for < self.risk_frame < first:
            first = self.risk_frame
        old = self.tracklet
        old.last = first - 1
        self.before = old
        samples: list[EvidenceSample] | None = None if old.samples is None else []
        kind = next((held.class_name for held in self.held if held.class_name is not None), None)
        self.tracklet = Tracklet(
            first, frame, np.zeros_like(old.total), old.distances, old.supported, samples=samples, class_name=kind
        )
        for held in self.held:
            self._add(held.frame, held.embedding, held.weight)
        self.held.clear()
        self.risk = self.crowd = 0.0

    def _add(self, frame: int, embedding: NDArray[np.float32], weight: float) -> None:
        tracklet = self.tracklet
        if len(tracklet.early) < Tracklet.EARLY:
            tracklet.early.append((frame, embedding))
        if tracklet.samples is not None:
            sample = EvidenceSample(frame, frame, embedding * np.float32(weight), weight)
            add_sample(tracklet.samples, sample, Tracklet.MAX_SAMPLES)
        tracklet.total = tracklet.total * np.float32(self.MEMORY) + embedding * np.float32(weight)
        tracklet.looks += 1

    def _speaks_against(self, embedding: NDArray[np.float32], look: NDArray[np.float32]) -> bool:
        rule, name = self.rule, self.tracklet.name
        own = 1.0 - float(embedding @ self.tracklet.mean)
        if own <= rule.sure:
            return False
        if name < 0 or name >= len(look):
            return own > rule.accept + rule.hysteresis
        distance = float(look[name])
        return distance > rule.accept + rule.hysteresis or float(look.min()) < distance - rule.hysteresis

    def _returns(self, embedding: NDArray[np.float32], look: NDArray[np.float32], class_name: str | None) -> bool:
        """Whether the track shows again whom it showed before somebody, never named, came in between."""
        before = self.before
        if before is None or self.tracklet.name >= 0 or are_different_classes(class_name, before.class_name):
            return False
        own = 1.0 - float(embedding @ before.mean)
        if before.name < 0 or before.name >= len(look):
            return own <= self.rule.sure
        return own <= self.rule.accept and float(look[before.name]) <= min(self.rule.accept, float(look.min()))

    def _alike(self, held: _Held, embedding: NDArray[np.float32], class_name: str | None) -> bool:
        if are_different_classes(held.class_name, class_name):
            return False
        return 1.0 - float(held.embedding @ embedding) <= self.rule.accept + self.rule.hysteresis

    @property
    def doubtful(self) -> bool:
        """Whether the tracker has probably gone over to somebody else: a swap was likely, and a look says so."""
        return bool(self.held) and self.risk > 0.0

    @property
    def status(self) -> Status:
        """What can be said of the tracklet that it is in."""
        tracklet = self.tracklet
        if self.doubtful:
            return "undecided"
        if tracklet.name >= 0:
            return "known"
        far = float(tracklet.distances.min(initial=np.inf)) > self.rule.reject
        return "unknown" if far and tracklet.looks >= self.ENOUGH else "undecided"


def two_nearest(distances: NDArray[np.floating]) -> tuple[int, float, float]:
    """The column of the least distance (-1 if none is finite), it, and the second-least (inf if there is none)."""
    if not len(distances):
        return -1, float("inf"), float("inf")
    nearest = int(np.argmin(distances))
    best = float(distances[nearest])
    second = float(np.partition(distances, 1)[1]) if len(distances) > 1 else float("inf")
    return (nearest if np.isfinite(best) else -1), best, second
