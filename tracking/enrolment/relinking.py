"""Second decision at the end of a run: tracklets are linked to persons, and entries follow.

It needs all tracklets of the run, with their samples, and the candidates that the enroller kept.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tracking.enrolment.base import is_unknown
from tracking.enrolment.enroller import Enroller
from tracking.identification.decision_rule import DecisionRule
from tracking.identification.tracklet_linking import LinkedPerson, link_tracklets, name_tracklets, tracklet_mean

if TYPE_CHECKING:
    from gallery_db import GalleryView
    from tracking.identification.named_tracklets import NamedTracklet

__all__ = ["relink_run"]


def relink_run(
    tracklets: Sequence[NamedTracklet], enroller: Enroller, view: GalleryView, threshold: float
) -> list[NamedTracklet]:
    """Link all tracklets of a run to persons, name them, and store and move the enroller's entries accordingly.

    Args:
        tracklets: The tracklets of all tracks.
        enroller: Has finished, and kept its candidates.
        view: The gallery's entries.
        threshold: Largest cosine distance at which a name is given.

    Returns:
        The tracklets with the names that they have in the gallery from now on; those without samples as they were.
    """
    sampled = [tracklet for tracklet in tracklets if tracklet.samples]
    rule = DecisionRule.of(threshold, view.constant)
    index = _TrackletIndex(sampled)
    persons = link_tracklets(sampled, rule, _anchors(sampled, enroller, index), _excluded_names(sampled, view))
    final = name_tracklets(sampled, persons, _person_names(persons, enroller, index), rule)
    final_index = _TrackletIndex(final)

    def identity_at(track_id: int, frame: int) -> str | None:
        position = final_index.position(track_id, frame)
        named = None if position is None else final[position].named
        return None if named is None else named.identity

    enroller.reassign(identity_at)
    return final + [tracklet for tracklet in tracklets if not tracklet.samples]


def _anchors(tracklets: Sequence[NamedTracklet], enroller: Enroller, index: _TrackletIndex) -> list[str | None]:
    """Return for each tracklet the name that it has for certain: of the gallery, or given by a person; else None."""
    others_names = enroller.book.others_names
    anchors = [
        tracklet.named.identity if tracklet.named is not None and tracklet.named.identity in others_names else None
        for tracklet in tracklets
    ]
    for candidate in enroller.candidates.values():
        position = index.position(candidate.track_id, candidate.frame)
        if candidate.is_fixed and position is not None:
            anchors[position] = candidate.identity
    return anchors


def _excluded_names(tracklets: Sequence[NamedTracklet], view: GalleryView) -> list[frozenset[str]]:
    """Return for each tracklet the names that people have rejected for entries like it."""
    if not tracklets:
        return []
    means = np.stack([tracklet_mean(tracklet.samples, view.constant) for tracklet in tracklets])
    # A mean of observations that cancel out has no direction, and so no distances.
    means[np.linalg.norm(means, axis=1) < 0.5] = np.eye(1, means.shape[1])
    return view.rejected_identities(means)


def _person_names(persons: Sequence[LinkedPerson], enroller: Enroller, index: _TrackletIndex) -> list[str | None]:
    """Return the name of each person: the certain one, else that of an earlier run, else that of most entries.

    A person with nothing worth storing has no name, and so has one whose tracks are all like an identity that the
    gallery knew, without being surely that one.
    """
    book = enroller.book
    person_of = {member: number for number, person in enumerate(persons) for member in person.members}
    votes: dict[tuple[int, str], tuple[bool, float]] = {}
    worthy: set[int] = set()
    for candidate in enroller.candidates.values():
        position = index.position(candidate.track_id, candidate.frame)
        if position is None or (candidate.is_fixed and candidate.identity is None):
            continue  # a track whose entry a user has removed is not given a name again
        number = person_of[position]
        if candidate.identity is not None or not candidate.is_like_known:
            worthy.add(number)
        # The name of an earlier run, or by now of another one, comes before those that this run gave.
        is_shared = candidate.identity in book.shared_names
        for name, is_earlier in ((candidate.earlier_identity, True), (candidate.identity, is_shared)):
            if name is not None and is_unknown(name) and name not in book.others_names:
                before, weight = votes.get((number, name), (False, 0.0))
                votes[number, name] = (before or is_earlier, weight + candidate.weight)
    names = [person.anchor for person in persons]
    taken = {name for name in names if name is not None}
    for (number, name), _ in sorted(votes.items(), key=lambda item: (-item[1][0], -item[1][1], item[0])):
        if names[number] is None and name not in taken:
            names[number] = name
            taken.add(name)
    for number in sorted(worthy):
        if names[number] is None:
            names[number] = book.new_name()
    return names


class _TrackletIndex:
    """Finds the tracklet that a track is in at a frame."""

    def __init__(self, tracklets: Sequence[NamedTracklet]) -> None:
        self._spans: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for position, tracklet in enumerate(tracklets):
            self._spans[tracklet.track_id].append((tracklet.first, tracklet.last, position))
        for spans in self._spans.values():
            spans.sort()

    def position(self, track_id: int, frame: int) -> int | None:
        """Return the position of the tracklet, or None."""
        spans = self._spans.get(track_id, [])
        index = bisect_right(spans, frame, key=lambda span: span[0]) - 1
        return spans[index][2] if index >= 0 and frame <= spans[index][1] else None
