"""How rightly a run names people, over a video whose truth of who is who is known. Open set: strangers walk by.

A *person-frame* is a person in a frame, at least `MIN_VISIBLE` of them in sight. A track *covers* it if one of the
frame's tracked boxes is the person's. Boxes and people are matched one to one, as CLEAR MOT does it (Bernardin and
Stiefelhagen, 2008): with an IoU of at least `MIN_OVERLAP`, a track that covered somebody in the frame before keeps
them, and for the rest the overlaps add up to the most. So of two people in one box the box has one name to give, and
it is asked for one; the other is *shared*. What the box is called is right, wrong, or nothing at all (unnamed):

================================  =========================  ==================================
the box is called                 of a known person          of a stranger
================================  =========================  ==================================
the person's own name             right                      (a stranger has none)
nothing                           unnamed                    unnamed
another person's name             wrong                      wrong: a stranger named by mistake
``unknown-0007``, theirs          unnamed                    right
``unknown-0007``, not theirs      wrong                      wrong
================================  =========================  ==================================

A lasting id of enrolment (``unknown-0007``) is *theirs* by a one-to-one assignment of such ids to people that makes
the most person-frames theirs (Kuhn, 1955): of two ids that one stranger was given, one is his; of two strangers
under one id, one has it. A known person under an id of his own is kept apart from others, but not recognised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tracking.enrolment.base import is_unknown
from tracking.errors import EvaluationError
from tracking.evaluation.track_table import FrameRange, TrackTable, rows_by_frame
from tracking.evaluation.truth import Truth
from tracking.geometry import iou

__all__ = [
    "MIN_OVERLAP",
    "MIN_VISIBLE",
    "RIGHT",
    "UNCOVERED",
    "UNNAMED",
    "WRONG",
    "AppearanceReport",
    "CurvePoint",
    "Duplicate",
    "IdentityReport",
    "NameChange",
    "PersonReport",
    "evaluate_identity",
]

MIN_OVERLAP = 0.5
"""IoU from which a track covers a person."""

MIN_VISIBLE = 0.3
"""A person who is hidden more than that cannot be asked for by name."""

UNCOVERED, UNNAMED, WRONG, RIGHT = 0, 1, 2, 3
"""What became of a person-frame."""

_STEP = 0.01  # of the thresholds of the curve


@dataclass(slots=True)
class PersonReport:
    """A person of the truth, and what the run said of them.

    Attributes:
        name: The true name.
        known: Whether the gallery has them.
        in_sight: Their person-frames.
        frames: Those of them that a track covers.
        shared: Those of the others in which a tracked box overlaps them that is somebody else's.
        right, wrong, unnamed: How often they were named rightly, otherwise, and not at all; `frames` together.
        by_name: Of `wrong`: under a name of the gallery, and not under the lasting id of another stranger.
        called: What they were called, and in how many frames; not when nothing.
        spans: (first, last) frame of each stay in the image, as it really was.
        seen: (first, last) frame in which they were named rightly, or None.
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
    called: Counter[str] = field(default_factory=Counter)
    spans: list[tuple[int, int]] = field(default_factory=list)
    seen: tuple[int, int] | None = None


@dataclass(slots=True)
class AppearanceReport:
    """One appearance of a person: from when they come into the image to when they leave it.

    Attributes:
        person: The true name.
        known: Whether the gallery has them.
        number: The truth's id of the appearance.
        first, last: First and last frame in sight, of those evaluated.
        covered: First frame that a track covers, None if there is none.
        named: First frame with the right name, None if there is none.
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
        """Frames from the first in sight to the first right name; None where there is no right name."""
        return None if self.named is None else self.named - self.first

    @property
    def wait_covered(self) -> int | None:
        """The same from the first frame that a track covers."""
        return None if self.named is None or self.covered is None else self.named - self.covered


@dataclass(frozen=True, slots=True)
class NameChange:
    """A track that goes from one name to another; frames without a name in between do not matter.

    Attributes:
        track_id: The track.
        frame: The first with the new name.
        before, after: The names.
        swapped: Whether the track itself went over to somebody else: whom it covers most from the new name on is not
            whom it covered most from the old one on. The change is the tracker's then, and the name followed it.
    """

    track_id: str
    frame: int
    before: str
    after: str
    swapped: bool


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A name that stands more than once in a frame."""

    frame: int
    name: str
    times: int


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What would be left of the names of gallery people with a stricter threshold.

    Attributes:
        threshold: Names whose evidence is further away (cosine distance) are taken off.
        named: Person-frames that keep a name, of known people and of strangers.
        right: Those of them that are right.
        precision: ``right / named``; 1 where nothing is named.
        recall: ``right`` over the covered person-frames of known people.
        strangers_named: Person-frames of strangers that keep a name.
    """

    threshold: float
    named: int
    right: int
    precision: float
    recall: float
    strangers_named: int


@dataclass(frozen=True, slots=True, eq=False)
class IdentityReport:
    """How rightly a run names people.

    Attributes:
        people: Everybody of the truth, the known people first.
        appearances: In the order of their first frames.
        owners: Lasting id to the person whose it is; None for one that is nobody's.
        name_changes: In all tracks; None where there are no tracks (``gallery_only``).
        duplicates: Every name that stands more than once in a frame.
        named_elsewhere: Named boxes that overlap nobody with `MIN_OVERLAP`, not even somebody hidden.
        curve: Ascending thresholds; empty where `curve_note` says why.
        curve_note: What the curve can and cannot say.
        fps: Frames per second, None where unknown.
        frames: (first, last) frame of the truth that was evaluated.
        frame_of, person_of, verdict_of: (M,) int64 each: the person-frames, with rows of `people` and `UNCOVERED`,
            `UNNAMED`, `WRONG` or `RIGHT`.
    """

    people: tuple[PersonReport, ...]
    appearances: tuple[AppearanceReport, ...]
    owners: Mapping[str, str | None]
    name_changes: tuple[NameChange, ...] | None
    duplicates: tuple[Duplicate, ...]
    named_elsewhere: int
    curve: tuple[CurvePoint, ...]
    curve_note: str
    fps: float | None
    frames: tuple[int, int]
    frame_of: NDArray[np.int64]
    person_of: NDArray[np.int64]
    verdict_of: NDArray[np.int64]

    @property
    def known(self) -> tuple[PersonReport, ...]:
        """Those whom the gallery has."""
        return tuple(p for p in self.people if p.known)

    @property
    def strangers(self) -> tuple[PersonReport, ...]:
        """The others."""
        return tuple(p for p in self.people if not p.known)

    def waits(self, *, covered: bool = False) -> list[int]:
        """Frames to the first right name of each appearance of a known person that got one, ascending."""
        waits = [a.wait_covered if covered else a.wait for a in self.appearances if a.known]
        return sorted(wait for wait in waits if wait is not None)


def evaluate_identity(
    tracks: TrackTable,
    truth: Truth,
    known: Collection[str] | None = None,
    *,
    frame_range: FrameRange = (None, None),
    min_overlap: float = MIN_OVERLAP,
    min_visible: float = MIN_VISIBLE,
    is_lasting: Callable[[str], bool] = is_unknown,
) -> IdentityReport:
    """Count how a run names people; see the module for what is right.

    Args:
        tracks: The run.
        truth: Who was where.
        known: Names of the truth's people whom the gallery had; others among them do not matter. What the truth
            says itself if None.
        frame_range: Only these frames, of both.
        min_overlap: IoU from which a track covers a person, in (0, 1].
        min_visible: Least visible part of a person that counts, in [0, 1].
        is_lasting: Tells ids that enrolment gives to strangers from names.

    Raises:
        EvaluationError: The truth does not say who is who, or who is known, or has nobody in these frames.
    """
    if truth.persons is None:
        raise EvaluationError(
            f"{truth.path} does not say who is who.", hint="Give a CSV file of gt_id,person with --people."
        )
    if known is None:
        known = truth.known
    if known is None:
        raise EvaluationError(
            f"{truth.path} does not say whom the gallery knew.", hint="Give their names, or the gallery."
        )
    tracks, truth = tracks.between(frame_range), truth.between(frame_range)
    if truth.persons is None or not (truth.persons >= 0).any():
        raise EvaluationError(f"{truth.path} has nobody in the frames asked for.", hint="Check the range of frames.")
    return _Evaluation(tracks, truth, truth.persons, frozenset(known), min_overlap, min_visible, is_lasting).report()


class _Evaluation:
    def __init__(
        self,
        tracks: TrackTable,
        truth: Truth,
        persons: NDArray[np.int64],
        known: frozenset[str],
        min_overlap: float,
        min_visible: float,
        is_lasting: Callable[[str], bool],
    ) -> None:
        self._tracks = tracks
        self._truth = truth
        order = sorted(range(len(truth.people)), key=lambda code: truth.people[code] not in known)
        self._people = tuple(PersonReport(truth.people[c], truth.people[c] in known) for c in order)
        place = np.full(len(order) + 1, -1, np.int64)
        place[order] = np.arange(len(order))
        self._persons = place[persons]
        self._min_overlap = min_overlap
        self._min_visible = min_visible
        self._lasting = np.array([is_lasting(name) for name in tracks.gallery_ids], np.bool_)

    def report(self) -> IdentityReport:
        truth, tracks = self._truth, self._tracks
        rows = np.flatnonzero((self._persons >= 0) & (truth.visible >= self._min_visible))
        rows = rows[np.argsort(truth.frames[rows], kind="stable")]
        self._rows = rows
        self._who = self._persons[rows]
        self._cover, self._shared, near_somebody = self._match(rows)
        self._called = np.where(self._cover >= 0, tracks.names[self._cover], -1) if len(tracks) else self._cover.copy()
        self._own = self._assign()
        verdicts = self._judge()
        self._fill_people(verdicts)
        curve, note = self._curve(verdicts)
        listed = truth.frames[self._persons >= 0]
        return IdentityReport(
            people=self._people,
            appearances=self._appearances(verdicts),
            owners={
                name: None if self._own[code] < 0 else self._people[self._own[code]].name
                for code, name in enumerate(tracks.gallery_ids)
                if self._lasting[code] and (tracks.names == code).any()
            },
            name_changes=self._name_changes(),
            duplicates=self._duplicates(),
            named_elsewhere=int(((tracks.names >= 0) & ~near_somebody).sum()),
            curve=curve,
            curve_note=note,
            fps=tracks.fps or truth.fps,
            frames=(int(listed.min()), int(listed.max())),
            frame_of=truth.frames[rows],
            person_of=self._who,
            verdict_of=verdicts,
        )

    def _match(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """The track's row that covers each person-frame, or -1; whether one that covers somebody else overlaps it; and
        which rows of tracks overlap anybody at all, also somebody hidden."""
        truth, tracks = self._truth, self._tracks
        cover = np.full(len(rows), -1, np.int64)
        shared = np.zeros(len(rows), np.bool_)
        near = np.zeros(len(tracks), np.bool_)
        boxes_of = rows_by_frame(tracks.frames)
        asked = {row: at for at, row in enumerate(rows.tolist())}
        had: dict[int, int] = {}
        last = -1
        for frame, people in rows_by_frame(truth.frames).items():
            boxes = boxes_of.get(frame)
            before, had = had if frame == last + 1 else {}, {}
            last = frame
            if boxes is None:
                continue
            overlap = np.stack([iou(truth.xyxy[row], tracks.xyxy[boxes]) for row in people])
            overlap[overlap < self._min_overlap] = 0.0
            near[boxes] |= overlap.any(axis=0)
            here = [at for at, row in enumerate(people.tolist()) if row in asked]
            ids = truth.ids[people[here]].tolist()
            kept = [before.get(number, -1) for number in ids] if tracks.has_tracks else []
            pairs = _one_to_one(overlap[here], kept, tracks.tracks[boxes])
            for at, number, column in zip(here, ids, pairs, strict=True):
                place = asked[int(people[at])]
                if column >= 0:
                    cover[place] = boxes[column]
                    had[number] = int(tracks.tracks[boxes[column]])
                else:
                    shared[place] = overlap[at].any()
        return cover, shared, near

    def _assign(self) -> NDArray[np.int64]:
        """The person whose each lasting id is, -1 for none (and for names)."""
        own = np.full(len(self._tracks.gallery_ids), -1, np.int64)
        ids = np.flatnonzero(self._lasting)
        if not len(ids):
            return own
        from scipy.optimize import linear_sum_assignment

        together = np.zeros((len(own), len(self._people)), np.int64)
        named = self._called >= 0
        np.add.at(together, (self._called[named], self._who[named]), 1)
        id_rows, columns = linear_sum_assignment(-together[ids])
        for id_row, column in zip(id_rows, columns, strict=True):
            if together[ids[id_row], column] > 0:
                own[ids[id_row]] = column
        return own

    def _judge(self) -> NDArray[np.int64]:
        verdicts = np.full(len(self._rows), UNCOVERED, np.int64)
        names = self._tracks.gallery_ids
        for at, (cover, code, who) in enumerate(zip(self._cover, self._called, self._who, strict=True)):
            if cover < 0:
                continue
            person = self._people[who]
            if code < 0:
                verdicts[at] = UNNAMED
            elif self._lasting[code]:
                theirs = self._own[code] == who
                verdicts[at] = (UNNAMED if person.known else RIGHT) if theirs else WRONG
            else:
                verdicts[at] = RIGHT if person.known and names[code] == person.name else WRONG
        return verdicts

    def _fill_people(self, verdicts: NDArray[np.int64]) -> None:
        names = self._tracks.gallery_ids
        frames = self._truth.frames
        listed = self._persons >= 0
        order = np.argsort(frames[listed], kind="stable")
        for number, who in zip(frames[listed][order].tolist(), self._persons[listed][order].tolist(), strict=True):
            spans = self._people[who].spans
            if spans and number - spans[-1][1] <= 1:
                spans[-1] = (spans[-1][0], number)
            else:
                spans.append((number, number))
        for number, who, verdict, code, shared in zip(
            frames[self._rows].tolist(),
            self._who.tolist(),
            verdicts.tolist(),
            self._called.tolist(),
            self._shared.tolist(),
            strict=True,
        ):
            person = self._people[who]
            person.in_sight += 1
            person.frames += verdict != UNCOVERED
            person.shared += shared
            person.right += verdict == RIGHT
            person.wrong += verdict == WRONG
            person.unnamed += verdict == UNNAMED
            if code >= 0:
                person.called[names[code]] += 1
                person.by_name += verdict == WRONG and not self._lasting[code]
            if verdict == RIGHT:
                person.seen = (person.seen[0] if person.seen else number, number)

    def _appearances(self, verdicts: NDArray[np.int64]) -> tuple[AppearanceReport, ...]:
        found: dict[tuple[int, int], AppearanceReport] = {}
        numbers = self._truth.ids[self._rows].tolist()
        frames = self._truth.frames[self._rows].tolist()
        for frame, who, number, verdict in zip(frames, self._who.tolist(), numbers, verdicts.tolist(), strict=True):
            person = self._people[who]
            stay = found.get((who, number))
            if stay is None:
                stay = found[who, number] = AppearanceReport(person.name, person.known, number, frame, frame)
            stay.last = frame
            if stay.covered is None and verdict != UNCOVERED:
                stay.covered = frame
            if stay.named is None and verdict == RIGHT:
                stay.named = frame
        return tuple(sorted(found.values(), key=lambda stay: (stay.first, stay.person)))

    def _name_changes(self) -> tuple[NameChange, ...] | None:
        tracks = self._tracks
        if not tracks.has_tracks:
            return None
        who = dict(zip(self._cover.tolist(), self._who.tolist(), strict=True))
        # Of each track: its names in turn, each with its first row and how often whom it covers until the next.
        turns: dict[int, list[tuple[int, int, Counter[int]]]] = {}
        for row in np.argsort(tracks.frames, kind="stable").tolist():
            name = int(tracks.names[row])
            mine = turns.setdefault(int(tracks.tracks[row]), [])
            if name >= 0 and (not mine or mine[-1][0] != name):
                mine.append((name, row, Counter()))
            if mine and row in who:
                mine[-1][2][who[row]] += 1
        changes = []
        for track, mine in turns.items():
            for (before, _, whom), (after, row, whom_then) in pairwise(mine):
                swapped = bool(whom and whom_then) and whom.most_common(1)[0][0] != whom_then.most_common(1)[0][0]
                names = tracks.gallery_ids[before], tracks.gallery_ids[after]
                changes.append(NameChange(tracks.track_ids[track], int(tracks.frames[row]), *names, swapped))
        return tuple(sorted(changes, key=lambda change: change.frame))

    def _duplicates(self) -> tuple[Duplicate, ...]:
        tracks = self._tracks
        named = tracks.names >= 0
        pairs, times = np.unique(np.stack([tracks.frames[named], tracks.names[named]]), axis=1, return_counts=True)
        return tuple(
            Duplicate(int(pairs[0, at]), tracks.gallery_ids[pairs[1, at]], int(times[at]))
            for at in np.flatnonzero(times > 1)
        )

    def _curve(self, verdicts: NDArray[np.int64]) -> tuple[tuple[CurvePoint, ...], str]:
        """Precision and recall of the names of gallery people, over thresholds that are stricter than the run's."""
        covered = self._cover >= 0
        is_known = np.array([p.known for p in self._people], np.bool_)[self._who]
        claimed = covered & (self._called >= 0)
        claimed[claimed] = ~self._lasting[self._called[claimed]]
        if not claimed.any():
            return (), "nobody was named from the gallery: there is no threshold to vary"
        distances = self._tracks.distances[self._cover[claimed]]
        if np.isnan(distances).any():
            return (), f"no curve: {self._tracks.path} names people without gallery_distance"
        right = (verdicts == RIGHT)[claimed]
        strangers = ~is_known[claimed]
        most = int((covered & is_known).sum())
        largest = float(distances.max())
        # The end is the run as it was, whatever the steps.
        ends = np.ceil(np.array([distances.min(), largest]) / _STEP - 1e-9)
        steps = np.arange(ends[0], ends[1]) * _STEP
        points = []
        for threshold in [*steps.tolist(), largest]:
            kept = distances <= threshold + 1e-12
            count, hits = int(kept.sum()), int((kept & right).sum())
            points.append(
                CurvePoint(
                    threshold=round(threshold, 6),
                    named=count,
                    right=hits,
                    precision=hits / count if count else 1.0,
                    recall=hits / most if most else 0.0,
                    strangers_named=int((kept & strangers).sum()),
                )
            )
        note = (
            f"the run's names with evidence further away than the threshold taken off, up to its largest distance "
            f"({largest:.3f}); more names than it gave, or a name for another track instead, only another run can show"
        )
        return tuple(points), note


def _one_to_one(overlap: NDArray[np.float64], kept: Sequence[int], tracks: NDArray[np.int64]) -> list[int]:
    """The column of each row, or -1, no column twice.

    Args:
        overlap: (R, C), 0 where a pair is impossible.
        kept: R tracks, the one that each row had before, -1 for none; empty where tracks do not matter.
        tracks: (C,) those of the columns.
    """
    from scipy.optimize import linear_sum_assignment

    gain = overlap.copy()
    for row, track in enumerate(kept):
        # More than all overlaps of a frame together.
        gain[row, (tracks == track) & (overlap[row] > 0.0)] += len(overlap) + 1.0
    result = [-1] * len(overlap)
    for row, column in zip(*linear_sum_assignment(-gain), strict=True):
        if overlap[row, column] > 0.0:
            result[int(row)] = int(column)
    return result
