"""Ids of entries as people read and type them: the shortest beginning that stands for one entry only."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gallery_db.store.entries import EntryStore

__all__ = ["MIN_PREFIX", "ids_with_prefix", "short_ids"]

MIN_PREFIX = 4
"""Characters of an id that are needed to name an entry: fewer are a slip of the hand."""

_HASHED = re.compile(r"((?:[a-z]+-)?)[0-9a-f]{16,}")
_MIN_DIGITS = 8
_MANY = 500
"""From this number of ids on, all ids are read at once."""


def short_ids(entries: EntryStore | None, collections: Sequence[int], ids: Iterable[str]) -> dict[str, str]:
    """Return what to show for each id: of a hash, the shortest beginning of at least 8 digits that is unambiguous.

    Other ids stay whole, since all of them is to be read.

    Args:
        entries: The entries of the record among which the ids must be unambiguous; None for the ids alone.
        collections: Keys of the collections.
        ids: The ids.
    """
    wanted = list(dict.fromkeys(ids))
    shortest = {id_: id_[: match.end(1) + _MIN_DIGITS] for id_ in wanted if (match := _HASHED.fullmatch(id_))}
    known = set(shortest)
    if entries is not None:
        if len(shortest) >= _MANY:
            known.update(*(entries.ids(collection) for collection in collections))
        else:
            for start in set(shortest.values()):
                known.update(*(entries.ids_from(collection, start) for collection in collections))
    ordered = sorted(known)
    shown = {id_: id_ for id_ in wanted}
    for id_, start in shortest.items():
        at = bisect_left(ordered, id_)
        beside = [ordered[i] for i in (at - 1, at + 1) if 0 <= i < len(ordered)]
        length = max([len(start), *(_common(id_, other) + 1 for other in beside)])
        shown[id_] = id_[:length]
    return shown


def ids_with_prefix(entries: EntryStore, collection: int, prefix: str) -> list[str]:
    """Return the ids that begin with a prefix, sorted; none for a prefix that is too short to name an entry."""
    return entries.ids_from(collection, prefix) if len(prefix) >= MIN_PREFIX and prefix.isascii() else []


def _common(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
