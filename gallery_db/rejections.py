"""Rejections: identities that an entry does not show, as a user has stated ("this is not alice")."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry

__all__ = ["NOT", "Rejections", "is_rejected_pair", "rejected_names"]

NOT = "not"
"""Key of `Entry.extra` for the identities that the entry does not show."""


def rejected_names(entry: Entry) -> tuple[str, ...]:
    """Return the identities that a user has rejected for an entry."""
    names = entry.extra.get(NOT, ())
    return tuple(str(name) for name in names) if isinstance(names, (list, tuple)) else ()


def is_rejected_pair(one: Entry, other: Entry) -> bool:
    """Return whether the identity of one of two entries was rejected for the other."""
    return other.identity in rejected_names(one) or one.identity in rejected_names(other)


class Rejections:
    """Applies rejections to probes.

    A probe that is nearer to an entry with a rejected identity than to every entry of that identity does not show the
    identity either. That needs no threshold: if the identity is near enough to match, the entry is nearer still.

    Args:
        names: For each of R entries, the identities that were rejected for it.
        vectors: (R, D) float32, rows of unit length.
    """

    def __init__(self, names: Sequence[Sequence[str]], vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors
        rows: dict[str, list[int]] = {}
        for row, some in enumerate(names):
            for name in some:
                rows.setdefault(name, []).append(row)
        self._rows: Mapping[str, list[int]] = rows

    @property
    def names(self) -> Collection[str]:
        """The rejected identities."""
        return self._rows.keys()

    def exclude(
        self,
        probes: NDArray[np.float32],
        pairs: NDArray[np.intp],
        identities: Sequence[str],
        distances: NDArray[np.float32],
    ) -> NDArray[np.bool_]:
        """Return (M,) which pairs of a probe and an identity a rejection excludes.

        Args:
            probes: (P, D) float32, rows of unit length.
            pairs: (M,) numbers of probes.
            identities: M identities.
            distances: (M,) cosine distances.
        """
        excluded = np.zeros(len(pairs), bool)
        for number, identity in enumerate(identities):
            rows = self._rows.get(identity)
            if rows is not None:
                similarity = np.vecdot(self._vectors[rows], probes[pairs[number]]).max()
                excluded[number] = np.float32(1.0) - similarity < distances[number]
        return excluded

    def apply(self, probes: NDArray[np.float32], distances: NDArray[np.float32], identities: Sequence[str]) -> None:
        """Set distances to inf, in place, where a rejection excludes the identity.

        Args:
            probes: (P, D) float32, rows of unit length.
            distances: (P, I) cosine distances.
            identities: I identities.
        """
        columns: dict[str, list[int]] = {}
        for column, identity in enumerate(identities):
            if identity in self._rows:
                columns.setdefault(identity, []).append(column)
        if not columns:
            return
        own = np.float32(1.0) - probes @ self._vectors.T
        for identity, some in columns.items():
            nearest = own[:, self._rows[identity]].min(axis=1, initial=np.inf)
            for column in some:
                out = nearest < distances[:, column]
                distances[out, column] = np.inf
