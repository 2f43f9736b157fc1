"""Evidence of a track: its observations over time, in tracklets that show one person each.

This module knows vectors, distances and frame numbers. How names are shared out among the tracks of a frame is the
task of `tracking.identification.identifier`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_mean
from tracking.identification.decision_rule import DecisionRule
from tracking.identification.neighbours import Neighbours

__all__ = [
    "Agreement",
    "EvidenceSample",
    "Foresight",
    "ObservationRecord",
    "Status",
    "TrackEvidence",
    "Tracklet",
    "add_sample",
    "are_different_classes",
]

Status = Literal["known", "unknown", "undecided"]
"""Known: the track has a name. Unknown: not in the gallery. Undecided: too little or ambiguous evidence."""

Agreement = Literal["for", "against", "poor"]
"""An observation agrees with the evidence so far, contradicts it, or contradicts it but is too poor to count."""

_MIN_WEIGHT = 1e-3


@dataclass(frozen=True, slots=True)
class ObservationRecord:
    """One observation of a track, as it was compared with the gallery.

    Attributes:
        frame: Number of the frame.
        quality: Quality of the observation, in [0, 1].
        nearest: Column of the nearest identity; -1 where there is none, or where the observation was not compared.
        distance: Distance to that identity; inf without one.
        second: Distance to the second-nearest identity; inf without one.
        agreement: Whether it agreed with the evidence so far.
    """

    frame: int
    quality: float
    nearest: int
    distance: float
    second: float
    agreement: Agreement


@dataclass(frozen=True, slots=True, eq=False)
class EvidenceSample:
    """The sum of some consecutive observations of a tracklet, kept for tracklet linking at the end of the run.

    Attributes:
        first, last: Frames of the first and of the last observation.
        total: (D,) sum of the embeddings, weighted by quality.
        weight: Sum of the weights.
    """

    first: int
    last: int
    total: NDArray[np.float32]
    weight: float


class Foresight(NamedTuple):
    """What is known of an observation before it is compared with the gallery.

    Attributes:
        may_agree, may_contradict: Whether it may agree with the evidence, and contradict it.
        needs_comparison: Whether the identities near it are needed to decide.
    """

    may_agree: bool
    may_contradict: bool
    needs_comparison: bool


def are_different_classes(one: str | None, other: str | None) -> bool:
    """Return whether both classes are known and differ by more than upper and lower case."""
    return one is not None and other is not None and one.casefold() != other.casefold()


def add_sample(samples: list[EvidenceSample], sample: EvidenceSample, limit: int) -> None:
    """Append a sample; beyond `limit` samples, merge the two neighbours that span the least time."""
    samples.append(sample)
    if len(samples) > limit:
        index = min(range(len(samples) - 1), key=lambda i: samples[i + 1].last - samples[i].first)
        one, other = samples[index : index + 2]
        merged = EvidenceSample(one.first, other.last, one.total + other.total, one.weight + other.weight)
        samples[index : index + 2] = [merged]


@dataclass(slots=True, eq=False)
class Tracklet:
    """A part of a track that shows one person: the fading sum of its observations, weighted by their quality.

    Attributes:
        first: Its first frame.
        known_from: The frame in which its beginning was detected; a swap is detected some frames later.
        total: (D,) the weighted sum.
        near: The identities near the mean.
        num_observations: Number of observations in it.
        column: Column of the identity whose name it has, or -1.
        last: Its last frame, once it has ended; -1 before.
        early: Its first observations, (frame, embedding), at most `MAX_EARLY`; none without `samples`.
        samples: All its observations, merged as they get many; None where tracklets are not kept.
        class_name: The class of its boxes; None where unknown.
        constant: See `unit_mean`.
        nearest_observations: For the columns that one of its observations was nearest to, within the accepted
            distance: the least distance. Kept only where it can matter; see `DecisionRule.with_observation`.
    """

    MAX_EARLY: ClassVar[int] = 8
    MAX_SAMPLES: ClassVar[int] = 32

    first: int
    known_from: int
    total: NDArray[np.float32]
    near: Neighbours
    num_observations: int = 0
    column: int = -1
    last: int = -1
    early: list[tuple[int, NDArray[np.float32]]] = field(default_factory=list)
    samples: list[EvidenceSample] | None = None
    class_name: str | None = None
    constant: float = 0.0
    nearest_observations: dict[int, float] = field(default_factory=dict)

    @property
    def mean(self) -> NDArray[np.float32]:
        """(D,) the mean embedding, of unit length."""
        return unit_mean(self.total, self.constant)


@dataclass(frozen=True, slots=True, eq=False)
class _HeldObservation:
    """An observation that contradicts the evidence and waits for more of its kind."""

    frame: int
    embedding: NDArray[np.float32]
    weight: float
    class_name: str | None


@dataclass(slots=True, eq=False)
class TrackEvidence:
    """Accumulates the evidence of one track, in bounded memory.

    An observation that contradicts the evidence is held back: another person may have passed in front, or the tracker
    may have gone over to another person, and only further observations can show it. Several such observations in a row
    that show the same person begin a new tracklet, from the frame where a swap was most likely. If the first person is
    seen again before the new tracklet has a name, the old tracklet goes on. An observation of another class always
    contradicts the evidence, since a tracker may go over from a person to a car.

    Attributes:
        rule: The limits of the decision.
        tracklet: The current tracklet.
        previous: The tracklet before it.
        last_observed, last_agreed, last_seen: Frames of the last observation, of the last one that agreed with the
            evidence, and of the last box.
        swap_risk: How likely a swap is since the last good observation: 0 without any sign of one; overlap and time
            out of sight add to it.
        swap_risk_frame: The frame in which it was highest.
        max_overlap: Largest overlap with another box since the last good observation.
        usual_quality: Running mean of the observations' quality; see `observation_quality`.
        usual_box_quality: Running mean of the quality of all boxes, observed or not; see `box_quality`.
        other_class_frames: Number of frames in a row, up to now, with a box of another class than the tracklet's.
        held: Observations held back.
        records: The last observations.
        status_changes: The last changes of its status or name: (frame, status, name or None).
        frame_runs: Runs of frames in which it was seen, [first, last]; beyond `MAX_RUNS` the shortest gaps are closed.
    """

    MAX_RUNS = 64
    CONTRARY_AFTER_RISK = 2
    """Contrary observations in a row that begin a new tracklet where a swap was likely ..."""
    CONTRARY_WITHOUT_RISK = 4
    """... and where nothing happened that could have caused a swap."""
    MIN_UNKNOWN_OBSERVATIONS = 4
    """Observations needed before a track is called unknown."""
    DECAY = 0.9
    """Factor by which an observation's weight fades with each later one."""
    POOR_QUALITY = 0.4
    """An observation below this part of the usual quality does not count against the evidence ..."""
    CONVINCING_QUALITY = 0.6
    """... and one below this part does not show that no swap took place."""

    rule: DecisionRule
    tracklet: Tracklet
    last_observed: int
    last_seen: int
    last_agreed: int = -1
    previous: Tracklet | None = None
    swap_risk: float = 0.0
    swap_risk_frame: int = -1
    max_overlap: float = 0.0
    usual_quality: float = 0.0
    usual_box_quality: float = 0.0
    other_class_frames: int = 0
    held: list[_HeldObservation] = field(default_factory=list)
    records: deque[ObservationRecord] = field(default_factory=lambda: deque(maxlen=32))
    status_changes: deque[tuple[int, Status, str | None]] = field(default_factory=lambda: deque(maxlen=16))
    frame_runs: list[list[int]] = field(default_factory=list)

    def note_seen(self, frame: int) -> None:
        """Note that the track has a box in a frame."""
        self.last_seen = frame
        runs = self.frame_runs
        if runs and frame - runs[-1][1] <= 1:
            runs[-1][1] = frame
            return
        runs.append([frame, frame])
        if len(runs) > self.MAX_RUNS:
            index = min(range(len(runs) - 1), key=lambda i: runs[i + 1][0] - runs[i][1])
            runs[index : index + 2] = [[runs[index][0], runs[index + 1][1]]]

    def mean_with(self, embedding: NDArray[np.float32], quality: float) -> NDArray[np.float32]:
        """Return the mean (D,) that the tracklet has once an observation has been added that agrees with it."""
        return unit_mean(self._total_with(embedding, max(quality, _MIN_WEIGHT)), self.rule.constant)

    def foresee(self, embedding: NDArray[np.float32], class_name: str | None) -> Foresight:
        """Return what is known of an observation before the embedding is compared with the gallery."""
        tracklet, rule = self.tracklet, self.rule
        other_class = are_different_classes(class_name, tracklet.class_name)
        to_mean = 1.0 - float(embedding @ tracklet.mean) if tracklet.num_observations else 0.0
        agrees = not other_class and to_mean <= rule.surely_alike
        if tracklet.column >= 0:
            return Foresight(not other_class, not agrees, not agrees and not other_class)
        against = other_class or (not agrees and to_mean > rule.contrary)
        return Foresight(not against, against, against and self.previous is not None and self.previous.column >= 0)

    def add(
        self,
        frame: int,
        embedding: NDArray[np.float32],
        quality: float,
        near: Neighbours,
        class_name: str | None = None,
    ) -> bool:
        """Add an observation, hold it back, or begin a new tracklet with it.

        Args:
            frame: Number of the frame.
            embedding: (D,) of unit length.
            quality: In [0, 1].
            near: The identities near the embedding; used only where `foresee` says so.
            class_name: Class of the box; None where unknown.

        Returns:
            Whether a new tracklet has begun.
        """
        weight = max(quality, _MIN_WEIGHT)
        self.last_observed = frame
        other_class = are_different_classes(class_name, self.tracklet.class_name)
        against = other_class or (self.tracklet.num_observations > 0 and self._contradicts(embedding, near))
        poor = against and not other_class and quality < self.POOR_QUALITY * self.usual_quality
        self.records.append(
            ObservationRecord(
                frame,
                quality,
                near.best.column,
                near.best.supported,
                near.second.supported,
                "poor" if poor else "against" if against else "for",
            )
        )
        if poor:
            return False
        self.usual_quality = weight if self.usual_quality == 0.0 else 0.8 * self.usual_quality + 0.2 * weight
        if against and self._shows_previous(embedding, near, class_name):
            assert self.previous is not None
            self.tracklet, self.previous, against = self.previous, None, False
        if not against:
            self.held.clear()
            self._accumulate(frame, embedding, weight)
            self.tracklet.class_name = self.tracklet.class_name or class_name
            self.last_agreed = frame
            if quality >= self.CONVINCING_QUALITY * self.usual_quality:
                self.swap_risk = self.max_overlap = 0.0
            return False
        if self.held and not self._are_alike(self.held[-1], embedding, class_name):
            self.held.clear()  # two different people in a row: each only passed by
        self.held.append(_HeldObservation(frame, embedding, weight, class_name))
        if len(self.held) < (self.CONTRARY_AFTER_RISK if self.swap_risk > 0.0 else self.CONTRARY_WITHOUT_RISK):
            return False
        self._begin_tracklet(frame)
        return True

    def _begin_tracklet(self, frame: int) -> None:
        first = self.held[0].frame
        if self.swap_risk > 0.0 and self.last_agreed < self.swap_risk_frame < first:
            first = self.swap_risk_frame
        old = self.tracklet
        old.last = first - 1
        self.previous = old
        self.tracklet = Tracklet(
            first,
            frame,
            np.zeros_like(old.total),
            old.near,
            samples=None if old.samples is None else [],
            class_name=next((held.class_name for held in self.held if held.class_name is not None), None),
            constant=self.rule.constant,
        )
        for held in self.held:
            self._accumulate(held.frame, held.embedding, held.weight)
        self.held.clear()
        self.swap_risk = self.max_overlap = 0.0

    def _accumulate(self, frame: int, embedding: NDArray[np.float32], weight: float) -> None:
        tracklet = self.tracklet
        if tracklet.samples is not None:
            if len(tracklet.early) < Tracklet.MAX_EARLY:
                tracklet.early.append((frame, embedding))
            sample = EvidenceSample(frame, frame, embedding * np.float32(weight), weight)
            add_sample(tracklet.samples, sample, Tracklet.MAX_SAMPLES)
        tracklet.total = self._total_with(embedding, weight)
        tracklet.num_observations += 1

    def _total_with(self, embedding: NDArray[np.float32], weight: float) -> NDArray[np.float32]:
        return self.tracklet.total * np.float32(self.DECAY) + embedding * np.float32(weight)

    def _contradicts(self, embedding: NDArray[np.float32], near: Neighbours) -> bool:
        rule, column = self.rule, self.tracklet.column
        to_mean = 1.0 - float(embedding @ self.tracklet.mean)
        if to_mean <= rule.surely_alike:
            return False
        if column < 0:
            return to_mean > rule.contrary
        distance = near.of(column).supported
        return distance > rule.contrary or near.best.supported < distance - rule.hysteresis

    def _shows_previous(self, embedding: NDArray[np.float32], near: Neighbours, class_name: str | None) -> bool:
        """Return whether the track shows its previous tracklet's person again; never after the current one is named."""
        previous = self.previous
        if previous is None or self.tracklet.column >= 0 or are_different_classes(class_name, previous.class_name):
            return False
        to_mean = 1.0 - float(embedding @ previous.mean)
        if previous.column < 0:
            return to_mean <= self.rule.surely_alike
        supported = near.of(previous.column).supported
        return to_mean <= self.rule.alike and supported <= min(self.rule.alike, near.best.supported)

    def _are_alike(self, held: _HeldObservation, embedding: NDArray[np.float32], class_name: str | None) -> bool:
        if are_different_classes(held.class_name, class_name):
            return False
        return 1.0 - float(held.embedding @ embedding) <= self.rule.contrary

    @property
    def is_swap_suspected(self) -> bool:
        """Whether a swap is probable: something happened that could cause one, and an observation fits it."""
        return bool(self.held) and self.swap_risk > 0.0

    @property
    def status(self) -> Status:
        """The status of the current tracklet."""
        tracklet = self.tracklet
        if self.is_swap_suspected:
            return "undecided"
        if tracklet.column >= 0:
            return "known"
        far = tracklet.near.least_distance > self.rule.reject
        return "unknown" if far and tracklet.num_observations >= self.MIN_UNKNOWN_OBSERVATIONS else "undecided"
