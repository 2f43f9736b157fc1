"""Candidates: tracks good enough to be stored, kept for a second decision at the end of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from tracking.enrolment.base import EnrolmentCounts, EnrolmentSink, is_unknown
from tracking.enrolment.shared_gallery import MAX_PROTOTYPES, EntryBook

__all__ = ["Candidates", "EnrolmentCandidate"]


@dataclass(slots=True, eq=False)
class EnrolmentCandidate:
    """A track that was good enough to be stored, and what became of it.

    Attributes:
        track_id: The track.
        frame: Frame of its best observation.
        weight: Sum of the weights of its observations.
        identity: The identity that it was stored under, or None.
        is_fixed: Whether a person has given it that identity, or removed it.
        earlier_identity: The identity that an earlier run over the same video gave it, or None.
        is_like_known: Whether it is like an identity that the gallery knew before the run.
        entry: Its entry; the identity is filled in when it is stored.
        embedding: (D,) its mean.
        crop: Its best crop, while it is not stored.
        is_unsure: Whether it was not stored because it may be the one identity or another.
    """

    track_id: int
    frame: int
    weight: float
    identity: str | None
    is_fixed: bool
    earlier_identity: str | None
    is_like_known: bool
    entry: Entry
    embedding: NDArray[np.float32]
    crop: NDArray[np.uint8] | None
    is_unsure: bool = False


class Candidates(dict[str, EnrolmentCandidate]):
    """The candidates of a run, by the ids of their entries; empty where no second decision is wanted."""

    MAX_CROPS = 256
    """Crops kept of tracks that were not stored and may yet be."""

    def add(self, id_: str, candidate: EnrolmentCandidate) -> None:
        """Add a candidate; its crop is kept while there are not too many."""
        if sum(other.crop is not None for other in self.values()) >= self.MAX_CROPS:
            candidate.crop = None
        self[id_] = candidate

    def note_unsure(self, id_: str) -> None:
        """Note that a track was not stored because it may be the one identity or another."""
        if id_ in self:
            self[id_].is_unsure = True

    def note_stored(self, id_: str, identity: str | None) -> None:
        """Note the identity that a track was stored under; None for removed."""
        if id_ in self:
            self[id_].identity = identity
            self[id_].crop = None

    def fix(self, id_: str, identity: str | None) -> None:
        """Note the identity that a person has given to a stored track; None for removed. It is not changed again."""
        if id_ in self:
            self[id_].identity, self[id_].is_fixed = identity, True

    def reassign(
        self,
        identity_at: Callable[[int, int], str | None],
        sink: EnrolmentSink,
        book: EntryBook,
        counts: EnrolmentCounts,
    ) -> None:
        """Store and move entries by what the whole run shows.

        Entries change their identity where the whole run shows another. A track that was unsure is stored where the
        run shows which of the unknown identities it is.

        Args:
            identity_at: Returns the identity that a track shows in a frame, or None where that is not known.
            sink: Receives the entries.
            book: The run's own entries.
            counts: Corrected accordingly.
        """
        for id_, candidate in self.items():
            identity = identity_at(candidate.track_id, candidate.frame)
            if identity is None or identity == candidate.identity or candidate.is_fixed:
                continue
            if candidate.identity is not None:
                sink.rename(id_, identity)
            elif is_unknown(identity) and candidate.is_unsure:
                extra = {**candidate.entry.extra, "enrolled_as": identity}
                entry = replace(candidate.entry, identity=identity, extra=extra)
                sink.put(entry, candidate.embedding, candidate.crop)
                counts.unsure -= 1
                counts.enrolled += 1
            else:
                continue
            book.own[id_] = identity
            candidate.identity = identity
        stored = [candidate for candidate in self.values() if candidate.identity is not None]
        counts.identities = len({one.identity for one in stored if not one.is_fixed} - book.others_names)
        for identity in {candidate.identity for candidate in stored}:
            self._remove_surplus(identity, sink, counts)

    def _remove_surplus(self, identity: str | None, sink: EnrolmentSink, counts: EnrolmentCounts) -> None:
        """Remove an identity's entries beyond `MAX_PROTOTYPES`, those of the least weight."""
        own = [id_ for id_, candidate in self.items() if candidate.identity == identity]
        own.sort(key=lambda id_: (not self[id_].is_fixed, -self[id_].weight, id_))
        for id_ in own[MAX_PROTOTYPES:]:
            if self[id_].is_fixed:
                continue
            sink.remove([id_])
            self[id_].identity = None
            counts.enrolled -= 1
            counts.redundant += 1
