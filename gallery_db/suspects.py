"""What looks wrong in a gallery: identities too alike, entries at the wrong one, pictures that are at two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import GalleryError
from gallery_db.view import GalleryView

__all__ = ["AlikeIdentities", "MisplacedEntry", "NearDuplicate", "Suspects", "find_suspects"]

_LEANING = 2  # entries' worth of the median spread in that of each identity
_NOBODY = np.float32(-3.0)  # less similar than anything
_CELLS = 1 << 24  # of one block of similarities: 64 MiB


@dataclass(frozen=True, slots=True)
class AlikeIdentities:
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
class MisplacedEntry:
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
class NearDuplicate:
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
class Suspects:
    """What looks wrong, the most suspicious first.

    Attributes:
        alike: Pairs of identities that may be one.
        misplaced: Entries that may be another identity's.
        duplicates: Pairs of entries that are nearly the same and of different identities.
    """

    alike: tuple[AlikeIdentities, ...]
    misplaced: tuple[MisplacedEntry, ...]
    duplicates: tuple[NearDuplicate, ...]

    def __bool__(self) -> bool:
        """Whether anything looks wrong."""
        return bool(self.alike or self.misplaced or self.duplicates)


def find_suspects(view: GalleryView, *, alike: float = 0.3, margin: float = 0.1, duplicate: float = 0.02) -> Suspects:
    """Look for mistakes in a gallery by its embeddings alone. Only things of one class are compared.

    - Two identities are *alike* when their means are hardly further apart than those of two samples of one
      person would be by chance: ``spread * (1 / n + 1 / m)`` for n and m entries whose mean distance to their
      mean is `spread`, and `alike` times the spread on top. The spread of few entries leans on the median
      of the others. Each identity is compared with the one that is nearest by this measure.
    - An entry is *misplaced* when both the nearest entry and the nearest mean of the others are nearer by
      `margin` than the nearest other entry and the mean of the rest of its own identity.
    - *Near duplicates* are entries of two identities not further apart than `duplicate`, each with its nearest.

    Args:
        view: What to look at. All entries are compared with all others, a block at a time: 20,000 entries of
            512 dimensions take some seconds, and no more memory than the view itself and 200 MiB.
        alike: At least 0.
        margin: Cosine distance, at least 0.
        duplicate: Cosine distance, at least 0.

    Raises:
        GalleryError: A limit is negative or not a number.
    """
    for name, value in (("alike", alike), ("margin", margin), ("duplicate", duplicate)):
        if not value >= 0:
            raise GalleryError(f"Expected {name} of at least 0, found {value}.")
    found_alike: list[AlikeIdentities] = []
    misplaced: list[MisplacedEntry] = []
    duplicates: list[NearDuplicate] = []
    folded = np.asarray([name.casefold() for name in view.identity_classes], dtype=object)
    for class_name in sorted(set(folded)):
        group = _Group(view, np.flatnonzero(folded == class_name))
        found_alike += group.alike(alike)
        misplaced += group.misplaced(margin)
        duplicates += group.duplicates(duplicate)
    return Suspects(
        tuple(sorted(found_alike, key=lambda pair: (pair.distance - pair.spread, pair.identity))),
        tuple(sorted(misplaced, key=lambda entry: (entry.other_distance - entry.own_distance, entry.entry_id))),
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

    def alike(self, slack: float) -> list[AlikeIdentities]:
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
            AlikeIdentities(
                self._names[one],
                self._names[two],
                self._class,
                _distance(self._means[one] @ self._means[two]),
                float(self._spread[one] + self._spread[two]) / 2,
                (int(self._sizes[one]), int(self._sizes[two])),
            )
            for one, two in pairs
        ]

    def misplaced(self, margin: float) -> list[MisplacedEntry]:
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
            MisplacedEntry(
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

    def duplicates(self, limit: float) -> list[NearDuplicate]:
        """Pairs of entries of different identities that are nearly the same."""
        rows = np.flatnonzero(self._other >= 1.0 - limit - 1e-6)
        pairs = {(min(row, near), max(row, near)) for row, near in zip(rows, self._nearest[rows], strict=True)}
        return [
            NearDuplicate(
                self._ids[one],
                self._names[self._of[one]],
                self._ids[two],
                self._names[self._of[two]],
                self._class,
                _distance(self._vectors[one] @ self._vectors[two]),
            )
            for one, two in pairs
        ]


def _distance(similarity: np.floating | float) -> float:
    return float(np.clip(1.0 - float(similarity), 0.0, 2.0))
