"""The vocabulary of enrolment: its modes and counts, what it reads from a gallery, and where it puts entries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.names import unknown_number

__all__ = ["EnrolMode", "EnrolmentCounts", "EnrolmentSink", "KnownIdentities", "is_unknown"]

EnrolMode = Literal["off", "unknown", "all"]
"""Which tracks become entries: none; those without a name in the gallery; those, and sure matches of named people."""


def is_unknown(identity: str) -> bool:
    """Whether a name is one that enrolment gave to a stranger, such as ``unknown-0007``."""
    return unknown_number(identity) is not None


class KnownIdentities(Protocol):
    """What enrolment asks of the known identities, and how it adds to them; `gallery_db.GalleryView` is one."""

    @property
    def identities(self) -> Sequence[str]:
        """Names, one a column of `identity_distances`. New ones may follow; none is renumbered."""
        ...

    def identity_distances(self, probes: NDArray[np.float32], class_names: Sequence[str | None]) -> NDArray[np.float32]:
        """(P, I) cosine distance of each probe to each identity's nearest entry; inf across classes."""
        ...

    def enrolled(self, identity: str, class_name: str) -> tuple[Sequence[str], NDArray[np.float32]]:
        """Ids and embeddings (N, D) of an identity's entries that were enrolled from videos."""
        ...

    def append(self, entries: Sequence[Entry], embeddings: NDArray[np.float32]) -> None:
        """Know further entries from now on."""
        ...


class EnrolmentSink(Protocol):
    """Where enrolled entries go. Its methods return at once and raise nothing for what goes wrong behind them."""

    def put(self, entry: Entry, embedding: NDArray[np.float32], crop: NDArray[np.uint8] | None) -> None:
        """Store an entry with its embedding (D,) and the picture of it, in place of an earlier one of its id."""
        ...

    def remove(self, ids: Sequence[str]) -> None:
        """Drop entries."""
        ...

    def rename(self, id_: str, identity: str, *, enrolled_as: str | None = None) -> None:
        """Give an entry that was put here before to another identity.

        Args:
            id_: The entry.
            identity: Whose it is from now on.
            enrolled_as: What the run itself called it, where somebody else has changed that; by default the identity.
        """
        ...


@dataclass(slots=True)
class EnrolmentCounts:
    """What became of the tracks that ended.

    Attributes:
        enrolled: Stored in the gallery.
        identities: New identities among them.
        too_short: Seen in too few frames, or looked at too seldom.
        too_poor: Of too little quality.
        unsure: Near a known identity, and not surely that one or another.
        redundant: Not stored, or taken out again, because their identity has enough that are like it, or because
            somebody took them out of the gallery meanwhile.
        named: Named, and nothing asked for prototypes of named people.
    """

    enrolled: int = 0
    identities: int = 0
    too_short: int = 0
    too_poor: int = 0
    unsure: int = 0
    redundant: int = 0
    named: int = 0
