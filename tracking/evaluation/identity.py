"""Evaluation of the names that a run gives, over a video whose ground truth names the people. Strangers are included.

A *person-frame* is a person in a frame who is visible enough (`MIN_VISIBLE`). A track *covers* it if a tracked box of
the frame is matched with the person (`tracking.evaluation.person_matching`, with an IoU of at least `MIN_OVERLAP`).
Where two people are in one box, the box can have one name only: one of them is covered, and the other is *shared*.
The name of the covering box is right, wrong, or missing (unnamed):

================================  =========================  ==================================
name of the box                   known person               stranger
================================  =========================  ==================================
the person's own name             right                      (a stranger has none)
none                              unnamed                    unnamed
another person's name             wrong                      wrong: a stranger named by mistake
``unknown-0007``, theirs          unnamed                    right
``unknown-0007``, not theirs      wrong                      wrong
================================  =========================  ==================================

An unknown identity (``unknown-0007``, given by enrolment) is *theirs* by a one-to-one assignment of unknown identities
to people that maximises the person-frames with their own identity (Kuhn, 1955). If one stranger was given two, one of
them is theirs; if two strangers share one, it belongs to one of them. A known person with an unknown identity of their
own is kept apart from other people, but not recognised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tracking.enrolment.base import is_unknown
from tracking.errors import EvaluationError
from tracking.evaluation.identity_report import (
    RIGHT,
    UNCOVERED,
    UNNAMED,
    WRONG,
    CurvePoint,
    DuplicateName,
    IdentityReport,
    NameChange,
    PersonReport,
    SightingReport,
)
from tracking.evaluation.open_set import OpenSetPoint, TrackSearches, open_set_points
from tracking.evaluation.person_matching import match_people
from tracking.evaluation.threshold_curve import threshold_curve
from tracking.evaluation.track_table import FrameRange, TrackTable
from tracking.evaluation.truth import Truth

__all__ = ["MIN_OVERLAP", "MIN_VISIBLE", "evaluate_identity"]

MIN_OVERLAP = 0.5
"""Smallest IoU at which a tracked box covers a person."""

MIN_VISIBLE = 0.3
"""Smallest visible part of a person who counts."""


def evaluate_identity(
    tracks: TrackTable,
    truth: Truth,
    known: Collection[str] | None = None,
    *,
    frame_range: FrameRange = (None, None),
    min_overlap: float = MIN_OVERLAP,
    min_visible: float = MIN_VISIBLE,
    is_unknown_id: Callable[[str], bool] = is_unknown,
) -> IdentityReport:
    """Count the right, wrong and missing names of a run, as the module defines them.

    Args:
        tracks: The tracked boxes of the run.
        truth: The ground truth.
        known: Names of the people that the gallery had; names that are not in the ground truth are ignored. None for
            those that the ground truth itself lists.
        frame_range: Evaluate only these frames.
        min_overlap: Smallest IoU at which a tracked box covers a person, in (0, 1].
        min_visible: Smallest visible part of a person who counts, in [0, 1].
        is_unknown_id: Returns whether a name is an unknown identity that enrolment gave.

    Raises:
        EvaluationError: The ground truth does not name the person of each id, does not say which people are known, or
            has no person in these frames.
    """
    if truth.persons is None:
        raise EvaluationError(
            f"{truth.path} does not name the person of each id.",
            hint="Give a CSV file of gt_id,person with `people`.",
        )
    if known is None:
        known = truth.known
    if known is None:
        raise EvaluationError(
            f"{truth.path} does not say which people the gallery knew.",
            hint="Give their names, or the gallery.",
        )
    tracks, truth = tracks.between(frame_range), truth.between(frame_range)
    if truth.persons is None or not (truth.persons >= 0).any():
        raise EvaluationError(f"{truth.path} has no person in the given frames.", hint="Check the range of frames.")
    people, persons = _people_of(truth, truth.persons, frozenset(known))
    rows = np.flatnonzero((persons >= 0) & (truth.visible >= min_visible))
    rows = rows[np.argsort(truth.frames[rows], kind="stable")]
    matches = match_people(tracks, truth, rows, min_overlap)
    covered = matches.boxes >= 0
    unknown_ids = np.array([is_unknown_id(name) for name in tracks.gallery_ids], np.bool_)
    case = _PersonFrames(
        frames=truth.frames[rows],
        persons=persons[rows],
        sightings=truth.ids[rows],
        boxes=matches.boxes,
        names=np.where(covered, tracks.names[matches.boxes], -1) if len(tracks) else matches.boxes.copy(),
        shared=matches.shared,
    )
    owners = _assign_unknown_ids(case, unknown_ids, len(people))
    outcomes = _judge(case, people, tracks.gallery_ids, unknown_ids, owners)
    _fill_spans(people, truth.frames, persons)
    _fill_counts(people, case, outcomes, tracks.gallery_ids, unknown_ids)
    curve, curve_note = _curve(case, outcomes, people, tracks, unknown_ids)
    open_set, open_set_note = _open_set(case, people, tracks, unknown_ids)
    listed = truth.frames[persons >= 0]
    return IdentityReport(
        people=people,
        sightings=_sightings(case, outcomes, people),
        owners={
            name: None if owners[code] < 0 else people[owners[code]].name
            for code, name in enumerate(tracks.gallery_ids)
            if unknown_ids[code] and (tracks.names == code).any()
        },
        name_changes=_name_changes(case, tracks) if tracks.has_tracks else None,
        duplicates=_duplicates(tracks),
        named_elsewhere=int(((tracks.names >= 0) & ~matches.near_person).sum()),
        curve=curve,
        curve_note=curve_note,
        open_set=open_set,
        open_set_note=open_set_note,
        fps=tracks.fps or truth.fps,
        frames=(int(listed.min()), int(listed.max())),
        frame_of=case.frames,
        person_of=case.persons,
        outcome_of=outcomes,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _PersonFrames:
    """The M person-frames as parallel arrays, in order of time.

    Attributes:
        frames: (M,) int64, frame numbers.
        persons: (M,) int64, indices of the people.
        sightings: (M,) int64, ids of the ground truth.
        boxes: (M,) int64, row of the tracked box that covers the person, -1 for none.
        names: (M,) int64, code of that box's name, -1 for none.
        shared: (M,) bool, see `PersonMatches`.
    """

    frames: NDArray[np.int64]
    persons: NDArray[np.int64]
    sightings: NDArray[np.int64]
    boxes: NDArray[np.int64]
    names: NDArray[np.int64]
    shared: NDArray[np.bool_]


def _people_of(
    truth: Truth, persons: NDArray[np.int64], known: frozenset[str]
) -> tuple[tuple[PersonReport, ...], NDArray[np.int64]]:
    """Return the people, the known ones first, and the index of the person of each row of the ground truth."""
    order = sorted(range(len(truth.people)), key=lambda code: truth.people[code] not in known)
    index_of_code = np.full(len(order) + 1, -1, np.int64)
    index_of_code[order] = np.arange(len(order))
    people = tuple(PersonReport(truth.people[code], truth.people[code] in known) for code in order)
    return people, index_of_code[persons]


def _assign_unknown_ids(case: _PersonFrames, unknown_ids: NDArray[np.bool_], people: int) -> NDArray[np.int64]:
    """Return, for each code of a name, the person of the unknown identity; -1 for none, and for names."""
    owners = np.full(len(unknown_ids), -1, np.int64)
    codes = np.flatnonzero(unknown_ids)
    if not len(codes):
        return owners
    from scipy.optimize import linear_sum_assignment

    together = np.zeros((len(owners), people), np.int64)
    named = case.names >= 0
    np.add.at(together, (case.names[named], case.persons[named]), 1)
    for row, person in zip(*linear_sum_assignment(-together[codes]), strict=True):
        if together[codes[row], person] > 0:
            owners[codes[row]] = person
    return owners


def _judge(
    case: _PersonFrames,
    people: tuple[PersonReport, ...],
    names: tuple[str, ...],
    unknown_ids: NDArray[np.bool_],
    owners: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the outcome of each person-frame."""
    outcomes = np.full(len(case.frames), UNCOVERED, np.int64)
    for at, (box, code, index) in enumerate(zip(case.boxes, case.names, case.persons, strict=True)):
        if box < 0:
            continue
        person = people[index]
        if code < 0:
            outcomes[at] = UNNAMED
        elif unknown_ids[code]:
            theirs = owners[code] == index
            outcomes[at] = (UNNAMED if person.known else RIGHT) if theirs else WRONG
        else:
            outcomes[at] = RIGHT if person.known and names[code] == person.name else WRONG
    return outcomes


def _fill_spans(people: tuple[PersonReport, ...], frames: NDArray[np.int64], persons: NDArray[np.int64]) -> None:
    """Set when each person is in the image; `frames` and `persons` are those of the whole ground truth."""
    listed = persons >= 0
    order = np.argsort(frames[listed], kind="stable")
    for frame, index in zip(frames[listed][order].tolist(), persons[listed][order].tolist(), strict=True):
        spans = people[index].spans
        if spans and frame - spans[-1][1] <= 1:
            spans[-1] = (spans[-1][0], frame)
        else:
            spans.append((frame, frame))


def _fill_counts(
    people: tuple[PersonReport, ...],
    case: _PersonFrames,
    outcomes: NDArray[np.int64],
    names: tuple[str, ...],
    unknown_ids: NDArray[np.bool_],
) -> None:
    for frame, index, outcome, code, shared in zip(
        case.frames.tolist(),
        case.persons.tolist(),
        outcomes.tolist(),
        case.names.tolist(),
        case.shared.tolist(),
        strict=True,
    ):
        person = people[index]
        person.in_sight += 1
        person.frames += outcome != UNCOVERED
        person.shared += shared
        person.right += outcome == RIGHT
        person.wrong += outcome == WRONG
        person.unnamed += outcome == UNNAMED
        if code >= 0:
            person.names_given[names[code]] += 1
            person.by_name += outcome == WRONG and not unknown_ids[code]
        if outcome == RIGHT:
            person.right_span = (person.right_span[0] if person.right_span else frame, frame)


def _sightings(
    case: _PersonFrames, outcomes: NDArray[np.int64], people: tuple[PersonReport, ...]
) -> tuple[SightingReport, ...]:
    found: dict[tuple[int, int], SightingReport] = {}
    for frame, index, number, outcome in zip(
        case.frames.tolist(), case.persons.tolist(), case.sightings.tolist(), outcomes.tolist(), strict=True
    ):
        person = people[index]
        sighting = found.get((index, number))
        if sighting is None:
            sighting = found[index, number] = SightingReport(person.name, person.known, number, frame, frame)
        sighting.last = frame
        if sighting.covered is None and outcome != UNCOVERED:
            sighting.covered = frame
        if sighting.named is None and outcome == RIGHT:
            sighting.named = frame
    return tuple(sorted(found.values(), key=lambda sighting: (sighting.first, sighting.person)))


@dataclass(slots=True)
class _NamedPart:
    """A part of a track under one name: its code, its first row, and the people that it covers until the next name."""

    name: int
    first_row: int
    people: Counter[int]


def _name_changes(case: _PersonFrames, tracks: TrackTable) -> tuple[NameChange, ...]:
    person_of_box = dict(zip(case.boxes.tolist(), case.persons.tolist(), strict=True))
    parts_of: dict[int, list[_NamedPart]] = {}
    for row in np.argsort(tracks.frames, kind="stable").tolist():
        name = int(tracks.names[row])
        parts = parts_of.setdefault(int(tracks.tracks[row]), [])
        if name >= 0 and (not parts or parts[-1].name != name):
            parts.append(_NamedPart(name, row, Counter()))
        if parts and row in person_of_box:
            parts[-1].people[person_of_box[row]] += 1
    changes = [
        NameChange(
            tracks.track_ids[track],
            int(tracks.frames[after.first_row]),
            tracks.gallery_ids[before.name],
            tracks.gallery_ids[after.name],
            _moved(before.people, after.people),
        )
        for track, parts in parts_of.items()
        for before, after in pairwise(parts)
    ]
    return tuple(sorted(changes, key=lambda change: change.frame))


def _moved(before: Counter[int], after: Counter[int]) -> bool:
    """Return whether a track covers another person than before most often."""
    return bool(before and after) and before.most_common(1)[0][0] != after.most_common(1)[0][0]


def _duplicates(tracks: TrackTable) -> tuple[DuplicateName, ...]:
    named = tracks.names >= 0
    pairs, times = np.unique(np.stack([tracks.frames[named], tracks.names[named]]), axis=1, return_counts=True)
    return tuple(
        DuplicateName(int(pairs[0, at]), tracks.gallery_ids[pairs[1, at]], int(times[at]))
        for at in np.flatnonzero(times > 1)
    )


def _curve(
    case: _PersonFrames,
    outcomes: NDArray[np.int64],
    people: tuple[PersonReport, ...],
    tracks: TrackTable,
    unknown_ids: NDArray[np.bool_],
) -> tuple[tuple[CurvePoint, ...], str]:
    """Compute the curve of names from the gallery, without unknown identities."""
    covered = case.boxes >= 0
    is_known = np.array([person.known for person in people], np.bool_)[case.persons]
    by_gallery = _from_gallery(case, unknown_ids)
    return threshold_curve(
        tracks.distances[case.boxes[by_gallery]],
        (outcomes == RIGHT)[by_gallery],
        ~is_known[by_gallery],
        int((covered & is_known).sum()),
        tracks.path,
    )


def _from_gallery(case: _PersonFrames, unknown_ids: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (M,) which person-frames have a name from the gallery, not an unknown identity."""
    found = case.names >= 0
    found[found] = ~unknown_ids[case.names[found]]
    return found


def _open_set(
    case: _PersonFrames, people: tuple[PersonReport, ...], tracks: TrackTable, unknown_ids: NDArray[np.bool_]
) -> tuple[tuple[OpenSetPoint, ...], str]:
    """Compute the misses at given shares of strangers named, by track, and a note on what they show."""
    if not tracks.has_tracks:
        return (), "no figures: the run has no tracks"
    if np.isnan(tracks.distances[case.boxes[_from_gallery(case, unknown_ids)]]).any():
        return (), f"no figures: {tracks.path} has names without gallery_distance"
    searches = _track_searches(case, people, tracks, unknown_ids)
    strangers = len(set(searches.persons[~searches.known].tolist()))
    points = open_set_points(searches)
    if not points:
        missing = "a known person" if strangers else "a stranger"
        return (), f"no figures: no track shows {missing}"
    known = len(set(searches.persons[searches.known].tolist()))
    note = (
        f"{points[0].fnir.total} tracks of {known} known people, {points[0].fpir.total} of {strangers} strangers; the "
        "intervals hold for independent tracks: tracks of one person are alike, so the real ones are wider"
    )
    none_named = [point.wanted for point in points if point.fpir.total * point.wanted < 1.0]
    if none_named:
        note += f"; with so few tracks of strangers, an FPIR of up to {max(none_named):.0%} means that none is named"
    if any(point.is_limit and point.fnir.count for point in points):
        note += "; the run named no more strangers: fewer misses need another run, with a higher threshold"
    return points, note


def _track_searches(
    case: _PersonFrames, people: tuple[PersonReport, ...], tracks: TrackTable, unknown_ids: NDArray[np.bool_]
) -> TrackSearches:
    """Return the person and the candidate of each track that covers people."""
    covered = np.flatnonzero(case.boxes >= 0)
    boxes, persons, names = case.boxes[covered], case.persons[covered], case.names[covered]
    pairs, pair_of, frames = np.unique(
        np.stack([tracks.tracks[boxes], persons]), axis=1, return_inverse=True, return_counts=True
    )
    by_frames = np.lexsort((-frames, pairs[0]))
    chosen = by_frames[np.unique(pairs[0][by_frames], return_index=True)[1]]
    by_gallery = _from_gallery(case, unknown_ids)[covered]
    distances = np.where(by_gallery, tracks.distances[boxes], np.inf)
    by_distance = np.lexsort((distances, pair_of.ravel()))
    nearest = by_distance[np.unique(pair_of.ravel()[by_distance], return_index=True)[1]][chosen]
    known = np.array([person.known for person in people], np.bool_)[persons[nearest]]
    right = [
        name >= 0 and tracks.gallery_ids[name] == people[person].name
        for name, person in zip(names[nearest], persons[nearest], strict=True)
    ]
    return TrackSearches(known, distances[nearest], np.array(right, np.bool_) & by_gallery[nearest], persons[nearest])
