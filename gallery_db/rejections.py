"""What people said an entry does not show: "this is not alice"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry

__all__ = ["NOT", "Rejections", "is_rejected_pair", "rejected_names"]

NOT = "not"
"""Key of `Entry.extra`: the identities that the entry does not show."""


def rejected_names(entry: Entry) -> tuple[str, ...]:
    """The identities that a person said an entry does not show."""
    names = entry.extra.get(NOT, ())
    return tuple(str(name) for name in names) if isinstance(names, (list, tuple)) else ()


def is_rejected_pair(one: Entry, other: Entry) -> bool:
    """Whether a person said of one of two entries that it does not show the identity of the other."""
    return other.identity in rejected_names(one) or one.identity in rejected_names(other)


class Rejections:
    """Entries with the identities that they do not show, and what follows for others like them.

    A probe that is nearer to such an entry than to every entry of the identity is not that identity either. No
    threshold is needed: where the identity is near enough to be named, the entry is nearer still.

    Args:
        names: For each of R entries, the identities that it does not show.
        vectors: (R, D) float32, rows of unit length.
    """

    def __init__(self, names: Sequence[Sequence[str]], vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors
        rows: dict[str, list[int]] = {}
        for row, some in enumerate(names):
            for name in some:
                rows.setdefault(name, []).append(row)
        self._rows: Mapping[str, list[int]] = rows

    def apply(self, probes: NDArray[np.float32], distances: NDArray[np.float32], identities: Sequence[str]) -> None:
        """Set the distances (P, I) of probes (P, D) to inf, in place, where a rejection speaks against the identity."""
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
