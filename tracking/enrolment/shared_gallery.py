"""What the enrollers of one gallery know of its entries and names: their own, and those of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.names import unknown_name
from tracking.enrolment.base import KnownIdentities, is_unknown
from tracking.enrolment.decision import MIN_MARGIN, SURE_PART
from tracking.enrolment.open_tracks import OpenTrack

__all__ = ["MAX_PROTOTYPES", "EntryBook", "SharedGallery", "surplus_entry"]

MAX_PROTOTYPES = 10
"""Most enrolled entries of an identity."""


@dataclass(frozen=True, slots=True)
class SharedGallery:
    """State that the enrollers share which fill one gallery in one run, one for each camera.

    Attributes:
        own: The entries that they stored: the identity of each, by id.
        dropped: Ids of entries that they removed, or left out, because others are like them.
        given: Names that they gave to unknown identities.
        open_tracks: The open tracks of each enroller, by the enroller's id.
    """

    own: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    given: set[str] = field(default_factory=set)
    open_tracks: dict[int, Iterable[OpenTrack]] = field(default_factory=dict)

    def reserved_elsewhere(
        self,
        track: OpenTrack,
        owner: int,
        threshold: float,
        adapt: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> str | None:
        """Return the name reserved for an unknown person in sight of another camera, if it is surely the same one.

        Args:
            track: The track that needs a name.
            owner: The id of its enroller.
            threshold: Largest cosine distance at which a name is given.
            adapt: See `KnownIdentities.adapt`.
        """
        mean = adapt(track.mean[None])[0]
        distances: dict[str, float] = {}
        for other_owner, tracks in self.open_tracks.items():
            for other in tracks if other_owner != owner else ():
                if other.reserved_name is None or other.identity is not None or other.class_name != track.class_name:
                    continue
                distance = 1.0 - float(mean @ adapt(other.mean[None])[0])
                distances[other.reserved_name] = min(distance, distances.get(other.reserved_name, distance))
        best = sorted(distances, key=lambda name: (distances[name], name))[:2]
        if not best or distances[best[0]] > SURE_PART * threshold:
            return None
        if len(best) > 1 and distances[best[1]] - distances[best[0]] < MIN_MARGIN:
            return None
        # A person in sight of this camera beside the track is another one.
        return None if any(other.reserved_name == best[0] for other in self.open_tracks[owner]) else best[0]


class EntryBook:
    """Keeps account of an enroller's entries and names, and of what others do with them meanwhile.

    Args:
        shared: State shared with the enrollers of other cameras.
        known: The known identities.
        earlier: What the same run stored before, by id, with embeddings.
        numbers: Numbers for the names of unknown identities.
        threshold: Largest cosine distance at which a name is given.

    Attributes:
        others_names: Names that are known by other entries than this run's own, and that the run did not give.
        shared_names: Names that the run gave, and that others have stored entries under since.
    """

    def __init__(
        self,
        shared: SharedGallery,
        known: KnownIdentities,
        earlier: Mapping[str, tuple[Entry, NDArray[np.float32]]],
        numbers: Iterator[int],
        threshold: float,
    ) -> None:
        self.others_names = set(known.identities)
        self.shared_names: set[str] = set()
        self.own, self.dropped, self.given = shared.own, shared.dropped, shared.given
        self._known = known
        self._earlier = dict(earlier)
        self._removed_by_others: set[str] = set()
        self._numbers = numbers
        self._threshold = threshold

    def is_removed(self, id_: str) -> bool:
        """Return whether a user has removed the entry that an earlier run stored under this id."""
        return id_ in self._removed_by_others

    def earlier_entry(self, id_: str, mean: NDArray[np.float32]) -> Entry | None:
        """Return the entry that an earlier run stored for the same track, if it looks the same."""
        found = self._earlier.get(id_)
        if found is None or 1.0 - float(found[1] @ mean) > SURE_PART * self._threshold:
            return None  # with other settings, the id belongs to another track
        return found[0]

    def new_name(self, earlier: Entry | None = None) -> str:
        """Return an unused name for an unknown identity; the one of an earlier run, where there is one."""
        if earlier is not None and is_unknown(earlier.identity) and earlier.identity not in self.given:
            return earlier.identity
        while (name := unknown_name(next(self._numbers))) in self._known.identities:
            pass  # a user has given it by hand since the numbers were reserved
        return name

    def note_change(self, id_: str, entry: Entry | None) -> bool:
        """Note what an entry has become in the gallery; None for removed.

        Returns:
            Whether others have changed an entry of this run's own.
        """
        if id_ in self.dropped and entry is None:
            return False
        if id_ in self.own:
            if entry is None:
                del self.own[id_]
                return True
            has_changed = entry.identity != self.own[id_]
            if has_changed or entry.identity not in self.given:  # another camera may have noted the change first
                self._note_foreign_name(entry.identity)
            if has_changed:
                self.own[id_] = entry.identity
            return has_changed
        if id_ in self._earlier:
            if entry is None:
                del self._earlier[id_]
                self._removed_by_others.add(id_)
            else:
                self._earlier[id_] = (entry, self._earlier[id_][1])
        elif entry is not None:
            self._note_foreign_name(entry.identity)
        return False

    def rename(self, old: str, new: str) -> Sequence[str]:
        """Note that others have renamed an identity.

        Returns:
            Ids of this run's own entries that were stored under the old name meanwhile.
        """
        self.others_names.discard(old)
        self.shared_names.discard(old)
        ids = [id_ for id_, name in self.own.items() if name == old]
        for id_ in ids:
            self.own[id_] = new
        return ids

    def _note_foreign_name(self, name: str) -> None:
        (self.shared_names if name in self.given else self.others_names).add(name)


def surplus_entry(entry: Entry, mean: NDArray[np.float32], known: KnownIdentities, book: EntryBook) -> str | None:
    """Return the id of the enrolled entry that is one too many with a new one: the one most like another.

    Args:
        entry: The new entry.
        mean: (D,) its vector in the space of the known identities.
        known: The known identities.
        book: The run's own entries.

    Returns:
        An id, which may be the new entry's; None where the identity has fewer than `MAX_PROTOTYPES`.
    """
    ids, vectors = known.enrolled(entry.identity, entry.class_name)
    kept = [row for row, id_ in enumerate(ids) if id_ not in book.dropped]
    if len(kept) < MAX_PROTOTYPES:
        return None
    candidates = [*(ids[row] for row in kept), entry.id]
    embeddings = np.concatenate([vectors[kept], mean[None]])
    own = np.array([id_ in book.own or id_ == entry.id for id_ in candidates])
    alike = embeddings @ embeddings.T
    np.fill_diagonal(alike, -np.inf)
    # The next run over the same video starts without this run's entries. Another run's entry must not be removed
    # because one of this run is like it.
    alike[np.ix_(~own, own)] = -np.inf
    closest = np.round(alike.max(axis=1), 6)
    return max(zip(closest.tolist(), own.tolist(), candidates, strict=True))[2]
