"""What looks wrong in a gallery: identities too alike, entries at the wrong one, two people at one, pictures at two."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import GalleryError
from gallery_db.search.view import GalleryView

__all__ = ["Anomalies", "DuplicateEntries", "MislabelledEntry", "MixedIdentity", "SimilarIdentities", "find_anomalies"]

_LEANING = 2  # entries' worth of the median spread in that of each identity
_NOBODY = np.float32(-3.0)  # less similar than anything
_CELLS = 1 << 24  # of one block of similarities: 64 MiB
_SMALLEST_PART = 2  # entries; a single one is misplaced, and no second person
_FEWEST_NEARER = 2  # identities; the one nearest may be the same person under another name
_ROUNDS = 16  # of power iteration, and at most of 2-means


@dataclass(frozen=True, slots=True)
class SimilarIdentities:
    """Two identities that may be one.

    Attributes:
        identity: The one.
        other: The other.
        class_name: Of both.
        distance: Cosine distance of their mean embeddings.
        spread: How far an entry is from the mean of its own identity, the mean of the two.
        entries: Number of entries of each.
    """

    identity: str
    other: str
    class_name: str
    distance: float
    spread: float
    entries: tuple[int, int]


@dataclass(frozen=True, slots=True)
class MislabelledEntry:
    """An entry that is nearer to another identity than to its own.

    Attributes:
        entry_id: The entry.
        identity: Its identity.
        other: The identity that it is nearer to.
        class_name: Of both.
        own_distance: To the nearest other entry of its own identity.
        other_distance: To the nearest entry of `other`.
        nearest_id: That entry.
    """

    entry_id: str
    identity: str
    other: str
    class_name: str
    own_distance: float
    other_distance: float
    nearest_id: str


@dataclass(frozen=True, slots=True)
class MixedIdentity:
    """An identity that may be two people: its entries are in two parts that belong together no more than strangers do.

    The same person in two coats looks like that, too.

    Attributes:
        identity: The identity.
        class_name: Of its entries.
        distance: Mean cosine distance of the entries of the one part to those of the other.
        parts: Ids of the entries of each, the larger part first.
        nearer: How many other identities are nearer than that to each part, in the mean.
        others: Number of other identities.
    """

    identity: str
    class_name: str
    distance: float
    parts: tuple[tuple[str, ...], tuple[str, ...]]
    nearer: tuple[int, int]
    others: int


@dataclass(frozen=True, slots=True)
class DuplicateEntries:
    """Two entries of different identities that are nearly the same.

    Attributes:
        entry_id: The one.
        identity: Its identity.
        other_id: The other.
        other: Its identity.
        class_name: Of both.
        distance: Cosine distance of the two.
    """

    entry_id: str
    identity: str
    other_id: str
    other: str
    class_name: str
    distance: float


@dataclass(frozen=True, slots=True)
class Anomalies:
    """What looks wrong, the most suspicious first.

    Attributes:
        alike: Pairs of identities that may be one.
        misplaced: Entries that may be another identity's.
        mixed: Identities that may be two people.
        duplicates: Pairs of entries that are nearly the same and of different identities.
    """

    alike: tuple[SimilarIdentities, ...]
    misplaced: tuple[MislabelledEntry, ...]
    mixed: tuple[MixedIdentity, ...]
    duplicates: tuple[DuplicateEntries, ...]

    def __bool__(self) -> bool:
        """Whether anything looks wrong."""
        return bool(self.alike or self.misplaced or self.mixed or self.duplicates)


def find_anomalies(
    view: GalleryView, *, alike: float = 0.3, margin: float = 0.1, mixed: float = 0.05, duplicate: float = 0.02
) -> Anomalies:
    """Look for mistakes in a gallery by its embeddings alone. Only things of one class are compared.

    - Two identities are *alike* when their means are hardly further apart than those of two samples of one
      person would be by chance: ``spread * (1 / n + 1 / m)`` for n and m entries whose mean distance to their
      mean is `spread`, and `alike` times the spread on top. The spread of few entries leans on the median
      of the others. Each identity is compared with the one that is nearest by this measure.
    - An entry is *misplaced* when both the nearest entry and the nearest mean of the others are nearer by
      `margin` than the nearest other entry and the mean of the rest of its own identity.
    - An identity is *mixed* when its entries, parted in two (2-means), make parts of at least two entries each, and
      to each part a share `mixed` of the other identities, at least two of them, are nearer than the other part is,
      by mean distances. It takes three identities or more, and does not see two people who look alike.
    - *Near duplicates* are entries of two identities not further apart than `duplicate`, each with its nearest.

    Args:
        view: What to look at. All entries are compared with all others, a block at a time: 20,000 entries of
            512 dimensions take some seconds, and no more memory than the view itself and 200 MiB.
        alike: At least 0.
        margin: Cosine distance, at least 0.
        mixed: A share of the other identities, at least 0; above 1 nothing is mixed.
        duplicate: Cosine distance, at least 0.

    Raises:
        GalleryError: A limit is negative or not a number.
    """
    for name, value in (("alike", alike), ("margin", margin), ("mixed", mixed), ("duplicate", duplicate)):
        if not value >= 0:
            raise GalleryError(f"Expected {name} of at least 0, found {value}.")
    found_alike: list[SimilarIdentities] = []
    misplaced: list[MislabelledEntry] = []
    found_mixed: list[MixedIdentity] = []
    duplicates: list[DuplicateEntries] = []
    folded = np.asarray([name.casefold() for name in view.identity_classes], dtype=object)
    for class_name in sorted(set(folded)):
        group = _Group(view, np.flatnonzero(folded == class_name))
        found_alike += group.alike(alike)
        misplaced += group.misplaced(margin)
        found_mixed += group.mixed(mixed)
        duplicates += group.duplicates(duplicate)
    return Anomalies(
        tuple(sorted(found_alike, key=lambda pair: (pair.distance - pair.spread, pair.identity))),
        tuple(sorted(misplaced, key=lambda entry: (entry.other_distance - entry.own_distance, entry.entry_id))),
        tuple(sorted(found_mixed, key=lambda one: (-min(one.nearer) / one.others, one.identity))),
        tuple(sorted(duplicates, key=lambda pair: (pair.distance, pair.entry_id))),
    )


class _Group:
    """The entries of one class, sorted by identity, and how near each is to its own and to the others."""

    def __init__(self, view: GalleryView, columns: NDArray[np.intp]) -> None:
        self._names = [view.identities[column] for column in columns]
        self._class = view.identity_classes[columns[0]]
        rows = np.flatnonzero(np.isin(view.row_columns, columns))
        whole = len(rows) == len(view)
        self._ids = [view.entry_ids[row] for row in rows]
        self._vectors = view.embeddings if whole else view.embeddings[rows]
        self._of = np.searchsorted(columns, view.row_columns[rows])  # (N,) 0 ... I-1, ascending
        self._starts = np.searchsorted(self._of, np.arange(len(columns)))
        self._sizes = np.diff(np.append(self._starts, len(rows)))
        self._sums = np.add.reduceat(self._vectors, self._starts, axis=0, dtype=np.float32)
        norms = np.linalg.norm(self._sums, axis=1)
        self._means = self._sums / np.maximum(norms, 1e-9)[:, None]
        # 1 - |sum| / n is the mean distance to the mean; n / (n - 1) makes up for their own part in it.
        many = self._sizes > 1
        spread = np.full(len(columns), np.nan)
        spread[many] = np.clip(1.0 - norms[many] / self._sizes[many], 0, None)
        spread[many] *= self._sizes[many] / (self._sizes[many] - 1)
        if many.any():
            # Few entries say little of their spread; it leans on that of the others.
            typical = np.median(spread[many])
            freedom = self._sizes - 1
            spread = (freedom * np.where(many, spread, 0.0) + _LEANING * typical) / (freedom + _LEANING)
        self._spread = spread
        self._compare()

    def _compare(self) -> None:
        count = len(self._ids)
        self._own = np.full(count, _NOBODY, np.float32)  # similarity to the nearest other entry of its own
        self._other = np.full(count, _NOBODY, np.float32)  # and of another identity
        self._nearest = np.zeros(count, np.intp)
        self._other_mean = np.full(count, _NOBODY, np.float32)
        block = max(1, min(1024, _CELLS // count))
        for start in range(0, count, block):
            stop = min(start + block, count)
            part = self._vectors[start:stop]
            to_all = part @ self._vectors.T
            to_means = part @ self._means.T
            for identity in range(self._of[start], self._of[stop - 1] + 1):
                first = self._starts[identity]
                last = first + self._sizes[identity]
                top, bottom = max(first, start), min(last, stop)
                own = to_all[top - start : bottom - start, first:last]
                own[np.arange(bottom - top), np.arange(top - first, bottom - first)] = _NOBODY
                self._own[top:bottom] = own.max(axis=1)
                own[:] = _NOBODY
                to_means[top - start : bottom - start, identity] = _NOBODY
            nearest = to_all.argmax(axis=1)
            self._nearest[start:stop] = nearest
            self._other[start:stop] = np.take_along_axis(to_all, nearest[:, None], axis=1)[:, 0]
            self._other_mean[start:stop] = to_means.max(axis=1)

    def alike(self, slack: float) -> list[SimilarIdentities]:
        """Pairs of identities whose means are nearer than their spread."""
        count = len(self._names)
        if count < 2 or np.isnan(self._spread).any():
            return []  # nothing is known of how far the pictures of one are apart
        pairs: set[tuple[int, int]] = set()
        block = max(1, min(1024, _CELLS // count))
        for start in range(0, count, block):
            stop = min(start + block, count)
            distances = 1.0 - self._means[start:stop] @ self._means.T
            distances[np.arange(stop - start), np.arange(start, stop)] = np.inf
            chance = 1.0 / self._sizes[start:stop, None] + 1.0 / self._sizes[None, :]
            limits = (slack + chance) * (self._spread[start:stop, None] + self._spread[None, :]) / 2
            nearest = (distances - limits).argmin(axis=1)
            rows = np.arange(stop - start)
            close = rows[distances[rows, nearest] <= limits[rows, nearest]]
            pairs.update((min(start + r, nearest[r]), max(start + r, nearest[r])) for r in close.tolist())
        return [
            SimilarIdentities(
                self._names[one],
                self._names[two],
                self._class,
                _distance(self._means[one] @ self._means[two]),
                float(self._spread[one] + self._spread[two]) / 2,
                (int(self._sizes[one]), int(self._sizes[two])),
            )
            for one, two in pairs
        ]

    def misplaced(self, margin: float) -> list[MislabelledEntry]:
        """Entries that are nearer to another identity than to the rest of their own."""
        # Similarity to the mean of the rest: x (S - x) / |S - x|, with |x| = 1.
        sums = self._sums[self._of]
        along = np.einsum("nd,nd->n", self._vectors, sums)
        rest = np.sqrt(np.maximum(np.einsum("nd,nd->n", sums, sums) - 2 * along + 1, 1e-12))
        own_mean = (along - 1) / rest
        wrong = (
            (self._sizes[self._of] > 1)
            & (self._other - self._own >= margin)
            & (self._other_mean - own_mean >= margin)
            & (self._other > _NOBODY)
        )
        return [
            MislabelledEntry(
                self._ids[row],
                self._names[self._of[row]],
                self._names[self._of[self._nearest[row]]],
                self._class,
                _distance(self._own[row]),
                _distance(self._other[row]),
                self._ids[self._nearest[row]],
            )
            for row in np.flatnonzero(wrong)
        ]

    def mixed(self, share: float) -> list[MixedIdentity]:
        """Identities whose two parts are as far apart as other people are."""
        others = len(self._names) - 1
        least = max(_FEWEST_NEARER, math.ceil(min(share, 2.0) * others))
        if others < least:
            return []
        splits: list[tuple[int, NDArray[np.bool_]]] = []
        means: list[NDArray[np.float32]] = []  # not of unit length: distances to them are means of distances
        for identity in np.flatnonzero(self._sizes >= 2 * _SMALLEST_PART).tolist():
            rows = self._rows(identity)
            part = _two_parts(self._vectors[rows])
            if part is not None and min(part.sum(), (~part).sum()) >= _SMALLEST_PART:
                splits.append((identity, part))
                means += [self._vectors[rows][part].mean(axis=0), self._vectors[rows][~part].mean(axis=0)]
        if not splits:
            return []
        nearer, distances = self._nearer_than_the_other_part(np.stack(means), [identity for identity, _ in splits])
        found = []
        for (identity, part), counts, distance in zip(splits, nearer.tolist(), distances, strict=True):
            if min(counts) < least:
                continue
            ids = self._ids[self._rows(identity)]
            sides = [
                (tuple(id_ for id_, first in zip(ids, part, strict=True) if bool(first) is side), count)
                for side, count in zip((True, False), counts, strict=True)
            ]
            (more, to_more), (fewer, to_fewer) = sorted(sides, key=lambda side: -len(side[0]))
            found.append(
                MixedIdentity(
                    self._names[identity], self._class, float(distance), (more, fewer), (to_more, to_fewer), others
                )
            )
        return found

    def _rows(self, identity: int) -> slice:
        return slice(int(self._starts[identity]), int(self._starts[identity] + self._sizes[identity]))

    def _nearer_than_the_other_part(
        self, means: NDArray[np.float32], identities: list[int]
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """For S identities and their (2 S, D) parts: (S, 2) identities nearer to each part than the other one is, and
        (S,) distances of the two."""
        centres = self._sums / self._sizes[:, None].astype(np.float32)
        between = np.einsum("sd,sd->s", means[0::2], means[1::2])
        nearer = np.zeros(len(means), np.intp)
        block = max(1, min(1024, _CELLS // len(self._names)))
        for start in range(0, len(means), block):
            rows = np.arange(start, min(start + block, len(means)))
            similar = means[rows] @ centres.T
            similar[rows - start, np.asarray(identities)[rows // 2]] = _NOBODY
            nearer[rows] = (similar > between[rows // 2, None]).sum(axis=1)
        return nearer.reshape(-1, 2), np.clip(1.0 - between, 0.0, 2.0)

    def duplicates(self, limit: float) -> list[DuplicateEntries]:
        """Pairs of entries of different identities that are nearly the same."""
        rows = np.flatnonzero(self._other >= 1.0 - limit - 1e-6)
        pairs = {(min(row, near), max(row, near)) for row, near in zip(rows, self._nearest[rows], strict=True)}
        return [
            DuplicateEntries(
                self._ids[one],
                self._names[self._of[one]],
                self._ids[two],
                self._names[self._of[two]],
                self._class,
                _distance(self._vectors[one] @ self._vectors[two]),
            )
            for one, two in pairs
        ]


def _two_parts(vectors: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Which of (N, D) unit vectors are in the first of two parts, by spherical 2-means; None where all are the same.

    It begins with the two sides of the direction in which they differ most.
    """
    centred = vectors - vectors.mean(axis=0)
    direction = centred[np.einsum("nd,nd->n", centred, centred).argmax()]
    for _ in range(_ROUNDS):
        direction = (centred @ direction) @ centred
        length = np.linalg.norm(direction)
        if length < 1e-12:
            return None
        direction = direction / length
    part: NDArray[np.bool_] = centred @ direction > 0
    for _ in range(_ROUNDS):
        if part.all() or not part.any():
            return None
        one, two = vectors[part].sum(axis=0), vectors[~part].sum(axis=0)
        ahead = vectors @ (one / max(np.linalg.norm(one), 1e-9)) > vectors @ (two / max(np.linalg.norm(two), 1e-9))
        if (ahead == part).all():
            break
        part = ahead
    return part


def _distance(similarity: np.floating | float) -> float:
    return float(np.clip(1.0 - float(similarity), 0.0, 2.0))
