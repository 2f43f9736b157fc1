"""Which tracks of a whole run show the same person: known in the end, and only then.

A run names as it goes; once it is over, all tracks can be held against each other. Stretches of tracks are put
together by average linkage, with what cannot be (two places at once, two names of the gallery, two classes) kept
apart, and each track is then read once more, look by look, as a path through the people so found.

This room knows tracklets with their looks; it knows nothing of galleries, files or video.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tracking.identification.identifier import Named, NamedTracklet
from tracking.identification.track_evidence import DecisionRule, EvidenceSample

__all__ = ["LinkedPerson", "link_tracklets", "name_tracklets"]

TOGETHER = 2
"""Frames that two tracklets of one person may share: a new track begins where the old one still ends."""
SWITCH = 0.4
"""What it costs a track's path to go over to somebody else, in parts of the accepted distance: about one good look
at somebody who is clearly another."""
MOST = 2.4
"""A look at nobody in particular counts as this far away at most, in parts of the accepted distance."""
_BLOCK = 1024


@dataclass(slots=True, eq=False)
class LinkedPerson:
    """Stretches that show the same person.

    Attributes:
        members: Positions of the tracklets.
        total: (D,) sum of the members' means, weighted.
        weight: Sum of the weights.
        anchor: The name that one of them surely has, or None.
        runs: Frames in which they are seen, (first, last), sorted.
        class_name: In lower case; None where unknown.
        out: Names that one of them is surely not.
    """

    members: list[int]
    total: NDArray[np.float32]
    weight: float
    anchor: str | None
    runs: list[tuple[int, int]]
    class_name: str | None
    out: frozenset[str] = frozenset()

    @property
    def mean(self) -> NDArray[np.float32]:
        """(D,) of unit length."""
        return self.total / np.float32(max(float(np.linalg.norm(self.total)), 1e-9))


def link_tracklets(
    tracklets: Sequence[NamedTracklet],
    rule: DecisionRule,
    anchors: Sequence[str | None],
    out: Sequence[frozenset[str]] = (),
) -> list[LinkedPerson]:
    """Put tracklets of one person together.

    The two nearest groups become one as long as their members are on average no further apart than what makes
    somebody a stranger (`DecisionRule.reject`); where one of the groups has a name, than what makes a name
    (`DecisionRule.accept`): to take a stranger for somebody known is the worse mistake. Memory grows with the
    number of pairs that are near each other.

    Args:
        tracklets: Each with at least one sample.
        rule: The limits.
        anchors: For each, the name that it surely has, or None.
        out: For each, the names that it surely has not; none by default.
    """
    people: dict[int, LinkedPerson] = {}
    for position, (tracklet, anchor) in enumerate(zip(tracklets, anchors, strict=True)):
        weight = sum(sample.weight for sample in tracklet.samples)
        kind = None if tracklet.class_name is None else tracklet.class_name.casefold()
        people[position] = LinkedPerson(
            [position], _mean(tracklet.samples) * np.float32(weight), weight, anchor, list(tracklet.runs), kind
        )
        if out:
            people[position].out = out[position]
    queue: list[tuple[float, int, int]] = []
    near: dict[int, set[int]] = defaultdict(set)
    means = np.stack([person.mean for person in people.values()]) if people else np.empty((0, 1), np.float32)
    for start in range(0, len(means), _BLOCK):
        distances = 1.0 - means[start : start + _BLOCK] @ means.T
        for row, column in zip(*np.nonzero(distances <= 2 * rule.reject), strict=True):
            first, second = start + int(row), int(column)
            if first < second:
                near[first].add(second)
                near[second].add(first)
                _offer(queue, people, rule, first, second)
    number = len(people)
    while queue:
        _, first, second = heapq.heappop(queue)
        if first not in people or second not in people:
            continue
        one, other = people.pop(first), people.pop(second)
        people[number] = LinkedPerson(
            one.members + other.members,
            one.total + other.total,
            one.weight + other.weight,
            one.anchor if one.anchor is not None else other.anchor,
            sorted(one.runs + other.runs),
            one.class_name if one.class_name is not None else other.class_name,
            one.out | other.out,
        )
        for neighbour in sorted((near.pop(first) | near.pop(second)) - {first, second}):
            if neighbour in people:
                near[neighbour] -= {first, second}
                near[neighbour].add(number)
                near[number].add(neighbour)
                _offer(queue, people, rule, neighbour, number)
        number += 1
    return sorted(people.values(), key=lambda person: min(person.members))


def _offer(
    queue: list[tuple[float, int, int]], people: Mapping[int, LinkedPerson], rule: DecisionRule, first: int, second: int
) -> None:
    one, other = people[first], people[second]
    if one.anchor is not None and other.anchor is not None and one.anchor != other.anchor:
        return
    if one.anchor in other.out or other.anchor in one.out:
        return
    if one.class_name is not None and other.class_name is not None and one.class_name != other.class_name:
        return
    # The mean over all pairs of members, as the members' means have unit length.
    distance = 1.0 - float(one.total @ other.total) / (one.weight * other.weight)
    limit = rule.reject if one.anchor is None and other.anchor is None else rule.accept
    if distance <= limit and _shared(one.runs, other.runs) <= TOGETHER:
        heapq.heappush(queue, (distance, first, second))


def _shared(first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]]) -> int:
    """In how many frames two sorted lists of runs overlap."""
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


def _mean(samples: Sequence[EvidenceSample]) -> NDArray[np.float32]:
    total = np.sum([sample.total for sample in samples], axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-9), np.float32)


def name_tracklets(
    tracklets: Sequence[NamedTracklet],
    people: Sequence[LinkedPerson],
    names: Sequence[str | None],
    rule: DecisionRule,
) -> list[NamedTracklet]:
    """The tracklets with the names of the people they show, cut anew where a track went over unnoticed.

    A track without anchored tracklets is read as a path: each sample costs its distance to the person, weighted by
    its quality, and each change of person `SWITCH`.

    Args:
        tracklets: As given to `link_tracklets`.
        people: What it returned.
        names: What each of them is called; None for nothing.
        rule: The limits.

    Returns:
        Settled tracklets, which do not overlap in a track.
    """
    person_of = {member: number for number, person in enumerate(people) for member in person.members}
    fixed = {number for number, person in enumerate(people) if person.anchor is not None}
    free = [number for number in range(len(people)) if number not in fixed]
    tracks: dict[int, list[int]] = defaultdict(list)
    for position, tracklet in enumerate(tracklets):
        tracks[tracklet.track_id].append(position)
    final: list[NamedTracklet] = []
    for positions in tracks.values():
        if any(person_of[position] in fixed for position in positions):
            for position in positions:
                number = person_of[position]
                mean = _mean(tracklets[position].samples)
                final.append(_named(tracklets[position], people[number], names[number], mean))
            continue
        final += _path(sorted((tracklets[p] for p in positions), key=lambda s: s.first), people, names, free, rule)
    return final


def _path(
    parts: Sequence[NamedTracklet],
    people: Sequence[LinkedPerson],
    names: Sequence[str | None],
    free: Sequence[int],
    rule: DecisionRule,
) -> list[NamedTracklet]:
    samples = sorted((sample for part in parts for sample in part.samples), key=lambda sample: sample.first)
    kind = parts[0].class_name
    choice = [n for n in free if kind is None or people[n].class_name in (None, kind.casefold())]
    means = np.stack([people[number].mean for number in choice])
    looks = np.stack([_mean([sample]) for sample in samples])
    weights = np.array([sample.weight for sample in samples])
    costs = np.minimum(1.0 - looks @ means.T, MOST * rule.accept) * weights[:, None]
    best = costs[0].astype(np.float64)
    came: list[NDArray[np.int64]] = []
    everybody = np.arange(len(choice))
    for row in costs[1:]:
        cheapest = int(np.argmin(best))
        over = best[cheapest] + SWITCH * rule.accept
        came.append(np.where(best <= over, everybody, cheapest))
        best = np.minimum(best, over) + row
    path = [int(np.argmin(best))]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    path.reverse()
    pieces: list[NamedTracklet] = []
    begin = 0
    first = parts[0].first
    for end in range(1, len(path) + 1):
        if end < len(path) and path[end] == path[begin]:
            continue
        # The change was somewhere between two looks: half-way is as good a guess as any.
        last = parts[-1].last if end == len(path) else (samples[end - 1].last + samples[end].first) // 2
        last = max(last, first)
        number = choice[path[begin]]
        inside = tuple(samples[begin:end])
        piece = replace(parts[0], first=first, last=last, samples=inside)
        pieces.append(_named(piece, people[number], names[number], _mean(inside)))
        begin, first = end, last + 1
    return pieces


def _named(tracklet: NamedTracklet, person: LinkedPerson, name: str | None, mean: NDArray[np.float32]) -> NamedTracklet:
    distance = min(2.0, max(0.0, 1.0 - float(mean @ person.mean)))
    if person.anchor is not None and tracklet.named is not None and tracklet.named.identity == name:
        return tracklet  # named by the gallery, and with more care than here
    named = None if name is None else Named(name, distance)
    return replace(tracklet, named=named, certain_from=tracklet.first, known_from=tracklet.first, final=True)
