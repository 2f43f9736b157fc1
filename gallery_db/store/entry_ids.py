"""Ids of entries as people read and type them: the shortest beginning that stands for one entry only."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gallery_db.store.entries import EntryStore

__all__ = ["MIN_PREFIX", "matching_ids", "short_ids"]

MIN_PREFIX = 4
"""Characters of an id that are needed to name an entry: fewer are a slip of the hand."""

_HASHED = re.compile(r"((?:[a-z]+-)?)([0-9a-f]{16,})((?:-.+)?)")
_SHORTENED = re.compile(r"((?:[a-z]+-)?)([0-9a-f]{4,})(-.+)")
_MIN_DIGITS = 8
_MANY = 500
"""From this number of ids on, all ids are read at once."""


def short_ids(entries: EntryStore | None, collections: Sequence[int], ids: Iterable[str]) -> dict[str, str]:
    """Return what to show for each id: of a hash in it, the fewest digits, at least 8, that are unambiguous.

    ``img-5d41402abc4b2a76b971`` becomes ``img-5d41402a``, and ``track-69bbf4aaeed304d6-person-000007`` becomes
    ``track-69bbf4aa-person-000007``. Other ids stay whole, since all of them is to be read.

    Args:
        entries: The entries of the record among which the ids must be unambiguous; None for the ids alone.
        collections: Keys of the collections.
        ids: The ids.
    """
    wanted = list(dict.fromkeys(ids))
    parts = {id_: match.groups() for id_ in wanted if (match := _HASHED.fullmatch(id_))}
    known = set(parts)
    if entries is not None:
        if len(parts) >= _MANY:
            known.update(*(entries.ids(collection) for collection in collections))
        else:
            for start in {head + digits[:_MIN_DIGITS] for head, digits, _ in parts.values()}:
                known.update(*(entries.ids_from(collection, start) for collection in collections))
    # An id without anything behind its digits is typed as a beginning, which any other id may have.
    rivals: dict[tuple[str, str], set[str]] = {}
    for id_ in known:
        if match := _HASHED.fullmatch(id_):
            head, digits, rest = match.groups()
            rivals.setdefault((head, rest), set()).add(digits)
            rivals.setdefault((head, ""), set()).add(digits)
    ordered = {key: sorted(some) for key, some in rivals.items()}
    shown = {id_: id_ for id_ in wanted}
    for id_, (head, digits, rest) in parts.items():
        others = ordered[head, rest]
        at = bisect_left(others, digits)
        beside = [others[i] for i in (at - 1, at + 1) if 0 <= i < len(others)]
        length = max([_MIN_DIGITS, *(_common(digits, other) + 1 for other in beside)])
        shown[id_] = head + digits[:length] + rest
    return shown


def matching_ids(entries: EntryStore, collection: int, word: str) -> list[str]:
    """Return the ids that begin with a word, or that `short_ids` may have shortened to it, sorted.

    A word that is too short to name an entry has none.
    """
    if len(word) < MIN_PREFIX or not word.isascii():
        return []
    found = entries.ids_from(collection, word)
    if found or not (match := _SHORTENED.fullmatch(word)):
        return found
    head, digits, rest = match.groups()
    candidates = ((id_, _HASHED.fullmatch(id_)) for id_ in entries.ids_from(collection, head + digits))
    return [id_ for id_, parts in candidates if parts is not None and parts[1] == head and parts[3] == rest]


def _common(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
