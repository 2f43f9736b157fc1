"""Find anomalies in a gallery from its embeddings alone.

There are four kinds: identities that may be one person, entries that may belong to another identity, identities that
may be two people, and nearly equal entries of different identities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gallery_db.analysis.class_comparison import NO_SIMILARITY, ClassComparison, block_rows, to_distance
from gallery_db.errors import GalleryError
from gallery_db.search.view import GalleryView

__all__ = ["Anomalies", "DuplicateEntries", "MislabelledEntry", "MixedIdentity", "SimilarIdentities", "find_anomalies"]

_MIN_PART_ENTRIES = 2  # a part of one entry is a mislabelled entry, not a second person
_MIN_NEARER_IDENTITIES = 2  # the nearest identity alone may be the same person under another name
_MAX_ROUNDS = 16  # of the power iteration, and of 2-means


@dataclass(frozen=True, slots=True)
class SimilarIdentities:
    """Two identities that may be the same person.

    Attributes:
        identity: The first identity.
        other: The second identity.
        class_name: Class of both.
        distance: Cosine distance of their mean embeddings.
        spread: Mean cosine distance of an entry to the mean of its own identity, averaged over both.
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
        entry_id: Id of the entry.
        identity: Its identity.
        other: The identity that it is nearer to.
        class_name: Class of both.
        own_distance: Cosine distance to the nearest other entry of its own identity.
        other_distance: Cosine distance to the nearest entry of `other`.
        nearest_id: Id of that nearest entry.
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
    """An identity that may be two people: its entries form two parts that are as far apart as different people are.

    One person in two different coats can look the same.

    Attributes:
        identity: The identity.
        class_name: Class of its entries.
        distance: Mean cosine distance between the entries of one part and those of the other.
        parts: Entry ids of each part, the larger part first.
        nearer: For each part, the number of other identities whose mean distance to it is below `distance`.
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
    """Two nearly equal entries of different identities.

    Attributes:
        entry_id: Id of the first entry.
        identity: Its identity.
        other_id: Id of the second entry.
        other: Its identity.
        class_name: Class of both.
        distance: Cosine distance between the two.
    """

    entry_id: str
    identity: str
    other_id: str
    other: str
    class_name: str
    distance: float


@dataclass(frozen=True, slots=True, repr=False)
class Anomalies:
    """The anomalies of a gallery; each list begins with the most suspicious one.

    Attributes:
        similar: Pairs of identities that may be the same person.
        mislabelled: Entries that may belong to another identity.
        mixed: Identities that may be two people.
        duplicates: Pairs of nearly equal entries of different identities.
    """

    similar: tuple[SimilarIdentities, ...]
    mislabelled: tuple[MislabelledEntry, ...]
    mixed: tuple[MixedIdentity, ...]
    duplicates: tuple[DuplicateEntries, ...]

    def __repr__(self) -> str:
        return (
            f"Anomalies({len(self.similar)} similar, {len(self.mislabelled)} mislabelled, {len(self.mixed)} mixed, "
            f"{len(self.duplicates)} duplicates)"
        )

    def __bool__(self) -> bool:
        """Return whether there is any anomaly."""
        return bool(self.similar or self.mislabelled or self.mixed or self.duplicates)

    def of_class(self, class_name: str) -> Anomalies:
        """Return the anomalies of one class; upper and lower case are the same."""
        folded = class_name.casefold()
        return Anomalies(
            tuple(one for one in self.similar if one.class_name.casefold() == folded),
            tuple(one for one in self.mislabelled if one.class_name.casefold() == folded),
            tuple(one for one in self.mixed if one.class_name.casefold() == folded),
            tuple(one for one in self.duplicates if one.class_name.casefold() == folded),
        )


def find_anomalies(
    view: GalleryView,
    *,
    similar_slack: float = 0.3,
    mislabelled_margin: float = 0.1,
    mixed_share: float = 0.05,
    duplicate_distance: float = 0.02,
) -> Anomalies:
    """Find probable labelling mistakes from the embeddings alone. Only entries of the same class are compared.

    - Two identities are *similar* when the distance of their means is hardly larger than chance would make it for
      two samples of one person: ``spread * (1 / n + 1 / m)`` for n and m entries with a mean distance `spread` to
      their own mean, plus ``similar_slack * spread``. The spread of an identity with few entries is drawn towards
      the median spread. Each identity is compared with the one that is nearest by this measure.
    - An entry is *mislabelled* when the nearest entry of another identity is nearer by `mislabelled_margin` than the
      nearest other entry of its own, and the nearest mean of another identity is nearer by the same margin than the
      mean of the rest of its own.
    - An identity is *mixed* when 2-means clustering parts its entries into two parts of at least two entries each, and
      at least a share `mixed_share` of the other identities (and at least two of them) are nearer to each part than
      the other part is, by mean distances. This needs at least three identities, and does not find two people who
      look alike.
    - Two entries of different identities are *duplicates* when their distance is at most `duplicate_distance`; each
      entry is compared with its nearest one.

    Args:
        view: The gallery's entries. All are compared with all others, a block at a time: 20,000 entries of 512
            dimensions take some seconds and 200 MiB of memory in addition to the view.
        similar_slack: A multiple of the spread, at least 0.
        mislabelled_margin: A cosine distance, at least 0.
        mixed_share: A share of the other identities, at least 0; above 1 no identity is mixed.
        duplicate_distance: A cosine distance, at least 0.

    Raises:
        GalleryError: A limit is negative or not a number.
    """
    limits = {
        "similar_slack": similar_slack,
        "mislabelled_margin": mislabelled_margin,
        "mixed_share": mixed_share,
        "duplicate_distance": duplicate_distance,
    }
    for name, value in limits.items():
        if not value >= 0:  # also refuses NaN
            raise GalleryError(f"Expected {name} to be at least 0, found {value}.")
    similar: list[SimilarIdentities] = []
    mislabelled: list[MislabelledEntry] = []
    mixed: list[MixedIdentity] = []
    duplicates: list[DuplicateEntries] = []
    folded = [name.casefold() for name in view.identity_classes]
    for class_name in sorted(set(folded)):
        columns = [column for column, name in enumerate(folded) if name == class_name]
        compared = ClassComparison(view, np.array(columns, np.intp))
        similar += _similar_identities(compared, similar_slack)
        mislabelled += _mislabelled_entries(compared, mislabelled_margin)
        mixed += _mixed_identities(compared, mixed_share)
        duplicates += _duplicate_entries(compared, duplicate_distance)
    return Anomalies(
        tuple(sorted(similar, key=lambda pair: (pair.distance - pair.spread, pair.identity))),
        tuple(sorted(mislabelled, key=lambda entry: (entry.other_distance - entry.own_distance, entry.entry_id))),
        tuple(sorted(mixed, key=lambda one: (-min(one.nearer) / one.others, one.identity))),
        tuple(sorted(duplicates, key=lambda pair: (pair.distance, pair.entry_id))),
    )


# -- identities that may be the same person --------------------------------------------------------------------


def _similar_identities(compared: ClassComparison, slack: float) -> list[SimilarIdentities]:
    """Return pairs of identities whose means are nearer to each other than their spread explains."""
    count = len(compared.names)
    if count < 2 or np.isnan(compared.spread).any():
        return []  # without a spread, no distance is known to be small
    pairs: set[tuple[int, int]] = set()
    block = block_rows(count)
    for start in range(0, count, block):
        stop = min(start + block, count)
        distances = 1.0 - compared.means[start:stop] @ compared.means.T
        distances[np.arange(stop - start), np.arange(start, stop)] = np.inf
        chance = 1.0 / compared.sizes[start:stop, None] + 1.0 / compared.sizes[None, :]
        limits = (slack + chance) * (compared.spread[start:stop, None] + compared.spread[None, :]) / 2
        nearest = (distances - limits).argmin(axis=1)
        rows = np.arange(stop - start)
        close = rows[distances[rows, nearest] <= limits[rows, nearest]]
        pairs.update((min(start + r, nearest[r]), max(start + r, nearest[r])) for r in close.tolist())
    return [
        SimilarIdentities(
            identity=compared.names[one],
            other=compared.names[two],
            class_name=compared.class_name,
            distance=to_distance(compared.means[one] @ compared.means[two]),
            spread=float(compared.spread[one] + compared.spread[two]) / 2,
            entries=(int(compared.sizes[one]), int(compared.sizes[two])),
        )
        for one, two in pairs
    ]


# -- entries that may belong to another identity ---------------------------------------------------------------


def _mislabelled_entries(compared: ClassComparison, margin: float) -> list[MislabelledEntry]:
    """Return the entries that are nearer to another identity than to the rest of their own."""
    # The similarity of x to the mean of the rest of its identity, with sum S: x (S - x) / |S - x|, where |x| = 1.
    sums = compared.sums[compared.identity_of]
    along = np.einsum("nd,nd->n", compared.embeddings, sums)
    rest_length = np.sqrt(np.maximum(np.einsum("nd,nd->n", sums, sums) - 2 * along + 1, 1e-12))
    own_mean = (along - 1) / rest_length
    is_mislabelled = (
        (compared.sizes[compared.identity_of] > 1)
        & (compared.other - compared.own >= margin)
        & (compared.other_mean - own_mean >= margin)
        & (compared.other > NO_SIMILARITY)
    )
    return [
        MislabelledEntry(
            entry_id=compared.ids[row],
            identity=compared.names[compared.identity_of[row]],
            other=compared.names[compared.identity_of[compared.nearest_other[row]]],
            class_name=compared.class_name,
            own_distance=to_distance(compared.own[row]),
            other_distance=to_distance(compared.other[row]),
            nearest_id=compared.ids[compared.nearest_other[row]],
        )
        for row in np.flatnonzero(is_mislabelled)
    ]


# -- identities that may be two people -------------------------------------------------------------------------


def _mixed_identities(compared: ClassComparison, share: float) -> list[MixedIdentity]:
    """Return the identities whose two parts are as far apart as different people are."""
    others = len(compared.names) - 1
    min_nearer = max(_MIN_NEARER_IDENTITIES, math.ceil(min(share, 2.0) * others))
    if others < min_nearer:
        return []
    splits: list[tuple[int, NDArray[np.bool_]]] = []
    means: list[NDArray[np.float32]] = []  # not of unit length, so that distances to them are mean distances
    for identity in np.flatnonzero(compared.sizes >= 2 * _MIN_PART_ENTRIES).tolist():
        embeddings = compared.embeddings[compared.rows_of(identity)]
        part = _split_in_two(embeddings)
        if part is not None and min(part.sum(), (~part).sum()) >= _MIN_PART_ENTRIES:
            splits.append((identity, part))
            means += [embeddings[part].mean(axis=0), embeddings[~part].mean(axis=0)]
    if not splits:
        return []
    nearer, distances = _count_nearer_identities(compared, np.stack(means), [identity for identity, _ in splits])
    found = []
    for (identity, part), counts, distance in zip(splits, nearer.tolist(), distances, strict=True):
        if min(counts) < min_nearer:
            continue
        ids = compared.ids[compared.rows_of(identity)]
        sides = [
            (tuple(id_ for id_, first in zip(ids, part, strict=True) if bool(first) is side), count)
            for side, count in zip((True, False), counts, strict=True)
        ]
        (larger, nearer_to_larger), (smaller, nearer_to_smaller) = sorted(sides, key=lambda side: -len(side[0]))
        found.append(
            MixedIdentity(
                identity=compared.names[identity],
                class_name=compared.class_name,
                distance=float(distance),
                parts=(larger, smaller),
                nearer=(nearer_to_larger, nearer_to_smaller),
                others=others,
            )
        )
    return found


def _split_in_two(vectors: NDArray[np.float32]) -> NDArray[np.bool_] | None:
    """Split (N, D) unit vectors into two clusters by spherical 2-means (Dhillon and Modha, 2001).

    The first guess are the two sides of the direction of largest variance, found by power iteration.

    Returns:
        (N,) whether each vector is in the first cluster; None where all vectors are the same.
    """
    centred = vectors - vectors.mean(axis=0)
    direction = centred[np.einsum("nd,nd->n", centred, centred).argmax()]
    for _ in range(_MAX_ROUNDS):
        direction = (centred @ direction) @ centred
        length = np.linalg.norm(direction)
        if length < 1e-12:
            return None
        direction = direction / length
    part: NDArray[np.bool_] = centred @ direction > 0
    for _ in range(_MAX_ROUNDS):
        if part.all() or not part.any():
            return None
        one, two = vectors[part].sum(axis=0), vectors[~part].sum(axis=0)
        moved = vectors @ (one / max(np.linalg.norm(one), 1e-9)) > vectors @ (two / max(np.linalg.norm(two), 1e-9))
        if (moved == part).all():
            break
        part = moved
    return part


def _count_nearer_identities(
    compared: ClassComparison, means: NDArray[np.float32], identities: list[int]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Count the identities that are nearer to each part of an identity than its other part is.

    Args:
        compared: The class.
        means: (2 S, D) means of the two parts of each of S identities, not of unit length.
        identities: S numbers of these identities.

    Returns:
        (S, 2) the counts, and (S,) the mean distances between the two parts.
    """
    centres = compared.sums / compared.sizes[:, None].astype(np.float32)
    between = np.einsum("sd,sd->s", means[0::2], means[1::2])
    nearer = np.zeros(len(means), np.intp)
    block = block_rows(len(compared.names))
    for start in range(0, len(means), block):
        rows = np.arange(start, min(start + block, len(means)))
        similarities = means[rows] @ centres.T
        similarities[rows - start, np.asarray(identities)[rows // 2]] = NO_SIMILARITY
        nearer[rows] = (similarities > between[rows // 2, None]).sum(axis=1)
    return nearer.reshape(-1, 2), np.clip(1.0 - between, 0.0, 2.0)


# -- nearly equal entries of different identities --------------------------------------------------------------


def _duplicate_entries(compared: ClassComparison, max_distance: float) -> list[DuplicateEntries]:
    """Return the pairs of entries of different identities that are not further apart than a distance."""
    rows = np.flatnonzero(compared.other >= 1.0 - max_distance - 1e-6)  # a margin for rounding in float32
    pairs = {(min(row, near), max(row, near)) for row, near in zip(rows, compared.nearest_other[rows], strict=True)}
    return [
        DuplicateEntries(
            entry_id=compared.ids[one],
            identity=compared.names[compared.identity_of[one]],
            other_id=compared.ids[two],
            other=compared.names[compared.identity_of[two]],
            class_name=compared.class_name,
            distance=to_distance(compared.embeddings[one] @ compared.embeddings[two]),
        )
        for one, two in pairs
    ]
