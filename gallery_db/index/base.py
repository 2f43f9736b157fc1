"""What a gallery needs of an approximate index over its embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Progress", "SearchIndex", "VerifyReport"]

Progress = Callable[[int, int], None]
"""Called with (entries done, entries in all)."""


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of comparing a collection's index with the record.

    Attributes:
        collection: Name of the collection.
        entries: Number of entries in the record.
        missing: Ids that the index lacks, or whose vector it cannot read, although it should have them.
        extra: Ids in the index that the record does not have.
        different: Ids whose vector in the index differs from the record's.
        problems: Other faults, a sentence each.
        record_ok: Whether the record itself, which cannot be rebuilt, is intact.
        damaged: Ids of the record's entries that do not fit their checksums, or whose vector is not of unit length.
        pending: Number of entries that have changed since the index was last brought up to date; it follows when it
            is next needed, and in these entries it may differ.
    """

    collection: str
    entries: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]
    problems: tuple[str, ...]
    record_ok: bool
    damaged: tuple[str, ...] = ()
    pending: int = 0

    @property
    def ok(self) -> bool:
        """Whether index and record agree and both are intact."""
        return self.record_ok and not (self.missing or self.extra or self.different or self.problems)


class SearchIndex(Protocol):
    """An approximate index of one collection, derived from its record."""

    def sync(self, progress: Progress | None = None) -> None:
        """Bring the index up to date; only where the gallery is open for writing."""
        ...

    def deliver(self) -> None:
        """Bring to a server what it does not have; an index in a folder follows when it is needed."""
        ...

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Compare every vector with the record."""
        ...

    def rebuild(self, progress: Progress | None = None) -> None:
        """Build a new index from the record."""
        ...

    def prefers_exact(self, entries: int, *, loaded: bool) -> bool:
        """Return whether an exact search is faster.

        Args:
            entries: Number of entries.
            loaded: Whether the entries are in memory already.
        """
        ...

    def search(
        self, probes: NDArray[np.float32], count: int, *, repair: bool
    ) -> tuple[list[list[str]], list[list[float]]]:
        """Return the ids of the entries nearest to each probe and their cosine distances, the nearest first.

        Args:
            probes: (P, D) float32, rows of unit length.
            count: How many for each probe; fewer where there are fewer entries.
            repair: Bring the index up to date first if needed.
        """
        ...

    def prepare(self, progress: Progress | None = None) -> None:
        """Bring the index up to date if needed, for searches that are going to ask it."""
        ...

    def search_at(
        self, probes: NDArray[np.float32], count: int, generation: int
    ) -> tuple[list[list[str]], list[list[float]]] | None:
        """Search as `search` does, for a view of one generation; None where the collection has another by now."""
        ...

    def state(self) -> tuple[int, bool]:
        """Return the size in bytes, as far as known, and whether the index has all changes of the record."""
        ...

    def close(self) -> None:
        """Close the index, while the record is still open."""
        ...

    def release(self) -> None:
        """Let other processes in, after the record was closed."""
        ...
