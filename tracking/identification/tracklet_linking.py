"""Tracklet linking: which tracklets of a whole run show the same person.

During a run, tracks are named as they go. When it is over, all tracklets can be compared with each other. They are
grouped by average linkage, under constraints: one person is not in two places at once, and has one name of the gallery
and one class. Each track is then decoded again, sample by sample, as a path through the persons found.

This module knows tracklets with their samples; it knows nothing of galleries, files or video.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_mean
from tracking.identification.decision_rule import DecisionRule
from tracking.identification.named_tracklets import Named, NamedTracklet
from tracking.identification.track_evidence import EvidenceSample

__all__ = ["LinkedPerson", "link_tracklets", "name_tracklets", "tracklet_mean"]

MAX_SHARED_FRAMES = 2
"""Frames that two tracklets of one person may share: a new track can begin while the old one still ends."""
SWITCH_COST = 0.4
"""Cost of a change of person in a track's path, as a part of `DecisionRule.alike`: about one good observation that
clearly shows another person."""
MAX_DISTANCE_COST = 2.4
"""Largest distance that counts for an observation that shows no single person, as a part of `DecisionRule.alike`."""
_BLOCK = 1024


@dataclass(slots=True, eq=False)
class LinkedPerson:
    """Tracklets that show the same person.

    Attributes:
        members: Positions of the tracklets.
        total: (D,) sum of the members' means, weighted.
        weight: Sum of the weights.
        anchor: The name that one of them has for certain, or None.
        runs: Runs of frames in which they are seen, (first, last), sorted.
        class_name: In lower case; None where unknown.
        excluded: Names that one of them certainly does not have.
        constant: See `unit_mean`.
        is_closed: Whether nothing else is linked to it: its name rests on too little to be given to other tracklets.
    """

    members: list[int]
    total: NDArray[np.float32]
    weight: float
    anchor: str | None
    runs: list[tuple[int, int]]
    class_name: str | None
    excluded: frozenset[str] = frozenset()
    constant: float = 0.0
    is_closed: bool = False

    @property
    def mean(self) -> NDArray[np.float32]:
        """(D,) the mean embedding, of unit length."""
        return unit_mean(self.total, self.constant)


def link_tracklets(
    tracklets: Sequence[NamedTracklet],
    rule: DecisionRule,
    anchors: Sequence[str | None],
    excluded: Sequence[frozenset[str]] = (),
) -> list[LinkedPerson]:
    """Group the tracklets of one person.

    The two nearest groups are merged as long as their members are on average no further apart than what makes
    an unknown person (`DecisionRule.reject`); where one of the groups has a name, than what gives a name
    (`DecisionRule.accept`): to take an unknown person for a known one is the worse mistake. A tracklet that is not
    sure of its name (`NamedTracklet.is_sure`) stays alone. Memory grows with the number of pairs that are near each
    other.

    Args:
        tracklets: Each with at least one sample.
        rule: The limits of the decision.
        anchors: For each, the name that it has for certain, or None.
        excluded: For each, the names that it certainly does not have; none by default.
    """
    persons: dict[int, LinkedPerson] = {}
    for position, (tracklet, anchor) in enumerate(zip(tracklets, anchors, strict=True)):
        weight = sum(sample.weight for sample in tracklet.samples)
        class_name = None if tracklet.class_name is None else tracklet.class_name.casefold()
        total = tracklet_mean(tracklet.samples, rule.constant) * np.float32(weight)
        persons[position] = LinkedPerson([position], total, weight, anchor, list(tracklet.runs), class_name)
        persons[position].constant = rule.constant
        persons[position].is_closed = (
            tracklet.named is not None and tracklet.named.identity == anchor and not tracklet.is_sure
        )
        if excluded:
            persons[position].excluded = excluded[position]
    queue: list[tuple[float, int, int]] = []
    near: dict[int, set[int]] = defaultdict(set)
    means = np.stack([person.mean for person in persons.values()]) if persons else np.empty((0, 1), np.float32)
    for start in range(0, len(means), _BLOCK):
        distances = 1.0 - means[start : start + _BLOCK] @ means.T
        for row, column in zip(*np.nonzero(distances <= 2 * rule.reject), strict=True):
            first, second = start + int(row), int(column)
            if first < second:
                near[first].add(second)
                near[second].add(first)
                _queue_if_mergeable(queue, persons, rule, first, second)
    number = len(persons)
    while queue:
        _, first, second = heapq.heappop(queue)
        if first not in persons or second not in persons:
            continue
        persons[number] = _merged(persons.pop(first), persons.pop(second))
        for neighbour in sorted((near.pop(first) | near.pop(second)) - {first, second}):
            if neighbour in persons:
                near[neighbour] -= {first, second}
                near[neighbour].add(number)
                near[number].add(neighbour)
                _queue_if_mergeable(queue, persons, rule, neighbour, number)
        number += 1
    return sorted(persons.values(), key=lambda person: min(person.members))


def _merged(one: LinkedPerson, other: LinkedPerson) -> LinkedPerson:
    return LinkedPerson(
        one.members + other.members,
        one.total + other.total,
        one.weight + other.weight,
        one.anchor if one.anchor is not None else other.anchor,
        sorted(one.runs + other.runs),
        one.class_name if one.class_name is not None else other.class_name,
        one.excluded | other.excluded,
        one.constant,
    )


def _queue_if_mergeable(
    queue: list[tuple[float, int, int]],
    persons: Mapping[int, LinkedPerson],
    rule: DecisionRule,
    first: int,
    second: int,
) -> None:
    """Queue two groups by their distance, unless a constraint keeps them apart."""
    one, other = persons[first], persons[second]
    if one.is_closed or other.is_closed:
        return
    if one.anchor is not None and other.anchor is not None and one.anchor != other.anchor:
        return
    if one.anchor in other.excluded or other.anchor in one.excluded:
        return
    if one.class_name is not None and other.class_name is not None and one.class_name != other.class_name:
        return
    # The mean over all pairs of members, as the members' means have unit length.
    distance = 1.0 - float(one.total @ other.total) / (one.weight * other.weight)
    limit = rule.reject if one.anchor is None and other.anchor is None else rule.accept
    if distance <= limit and _shared_frames(one.runs, other.runs) <= MAX_SHARED_FRAMES:
        heapq.heappush(queue, (distance, first, second))


def _shared_frames(first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]]) -> int:
    """Return the number of frames in which two sorted lists of runs overlap."""
    shared = one = other = 0
    while one < len(first) and other < len(second):
        begin = max(first[one][0], second[other][0])
        end = min(first[one][1], second[other][1])
        shared += max(0, end - begin + 1)
        if first[one][1] < second[other][1]:
            one += 1
        else:
            other += 1
    return shared


def tracklet_mean(samples: Sequence[EvidenceSample], constant: float = 0.0) -> NDArray[np.float32]:
    """Return the (D,) mean of samples, of unit length; see `unit_mean` for the constant."""
    return unit_mean(np.sum([sample.total for sample in samples], axis=0), constant)


def name_tracklets(
    tracklets: Sequence[NamedTracklet],
    persons: Sequence[LinkedPerson],
    names: Sequence[str | None],
    rule: DecisionRule,
) -> list[NamedTracklet]:
    """Return the tracklets with the names of the persons they show, cut where an unnoticed swap happened.

    A track without anchored tracklets is decoded as a path: each sample costs its distance to the person, weighted by
    its quality, and each change of person costs `SWITCH_COST`.

    Args:
        tracklets: As given to `link_tracklets`.
        persons: The result of `link_tracklets`.
        names: The name of each person; None for no name.
        rule: The limits of the decision.

    Returns:
        Tracklets with final names, which do not overlap within a track.
    """
    person_of = {member: number for number, person in enumerate(persons) for member in person.members}
    anchored = {number for number, person in enumerate(persons) if person.anchor is not None}
    free = [number for number in range(len(persons)) if number not in anchored]
    tracks: dict[int, list[int]] = defaultdict(list)
    for position, tracklet in enumerate(tracklets):
        tracks[tracklet.track_id].append(position)
    final: list[NamedTracklet] = []
    for positions in tracks.values():
        if any(person_of[position] in anchored for position in positions):
            for position in positions:
                number = person_of[position]
                mean = tracklet_mean(tracklets[position].samples, rule.constant)
                final.append(_with_name(tracklets[position], persons[number], names[number], mean))
            continue
        parts = sorted((tracklets[p] for p in positions), key=lambda tracklet: tracklet.first)
        final += _decode_track(parts, persons, names, free, rule)
    return final


def _decode_track(
    parts: Sequence[NamedTracklet],
    persons: Sequence[LinkedPerson],
    names: Sequence[str | None],
    free: Sequence[int],
    rule: DecisionRule,
) -> list[NamedTracklet]:
    """Return a track's tracklets along its cheapest path through the persons, found by the Viterbi algorithm."""
    samples = sorted((sample for part in parts for sample in part.samples), key=lambda sample: sample.first)
    class_name = parts[0].class_name
    choice = [n for n in free if class_name is None or persons[n].class_name in (None, class_name.casefold())]
    means = np.stack([persons[number].mean for number in choice])
    embeddings = np.stack([tracklet_mean([sample], rule.constant) for sample in samples])
    weights = np.array([sample.weight for sample in samples])
    costs = np.minimum(1.0 - embeddings @ means.T, MAX_DISTANCE_COST * rule.alike) * weights[:, None]
    best = costs[0].astype(np.float64)
    came_from: list[NDArray[np.int64]] = []
    stay = np.arange(len(choice))
    for row in costs[1:]:
        cheapest = int(np.argmin(best))
        switched = best[cheapest] + SWITCH_COST * rule.alike
        came_from.append(np.where(best <= switched, stay, cheapest))
        best = np.minimum(best, switched) + row
    path = [int(np.argmin(best))]
    for back in reversed(came_from):
        path.append(int(back[path[-1]]))
    path.reverse()
    pieces: list[NamedTracklet] = []
    begin = 0
    first = parts[0].first
    for end in range(1, len(path) + 1):
        if end < len(path) and path[end] == path[begin]:
            continue
        # The change was somewhere between two observations: half-way is as good a guess as any.
        last = parts[-1].last if end == len(path) else (samples[end - 1].last + samples[end].first) // 2
        last = max(last, first)
        number = choice[path[begin]]
        inside = tuple(samples[begin:end])
        piece = replace(parts[0], first=first, last=last, samples=inside)
        pieces.append(_with_name(piece, persons[number], names[number], tracklet_mean(inside, rule.constant)))
        begin, first = end, last + 1
    return pieces


def _with_name(
    tracklet: NamedTracklet, person: LinkedPerson, name: str | None, mean: NDArray[np.float32]
) -> NamedTracklet:
    distance = min(2.0, max(0.0, 1.0 - float(mean @ person.mean)))
    if person.anchor is not None and tracklet.named is not None and tracklet.named.identity == name:
        return tracklet  # named from the gallery during the run, which is the better evidence
    named = None if name is None else Named(name, distance)
    return replace(tracklet, named=named, certain_from=tracklet.first, known_from=tracklet.first, final=True)
