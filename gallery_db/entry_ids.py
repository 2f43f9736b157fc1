"""Find the entries that people name by the beginning of an id, and show ids as short as they may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gallery_db.errors import GalleryError
from gallery_db.store import entry_ids

if TYPE_CHECKING:
    from gallery_db.gallery import Gallery

__all__ = ["resolve_ids", "shown_ids"]

_MAX_CANDIDATES = 5


def resolve_ids(gallery: Gallery, words: Iterable[str]) -> list[str]:
    """Return the ids that words stand for: an id, as it is or as `shown_ids` shortens it, or a beginning of at
    least 4 characters that only one id has.

    A word that stands for no entry is returned as it is, for the error of whatever looks for the entry.

    Raises:
        GalleryError: Several ids have that beginning; the message lists some of them.
    """
    wanted = list(words)
    exact = gallery.by_ids(wanted)
    return [word if word in exact else _resolve(gallery, word) for word in wanted]


def shown_ids(gallery: Gallery, ids: Iterable[str]) -> dict[str, str]:
    """Return what to show for each id: of a hash in it, the fewest digits that are unambiguous."""
    return entry_ids.short_ids(gallery.record.entries, [gallery.collection_key], ids)


def _resolve(gallery: Gallery, word: str) -> str:
    found = entry_ids.matching_ids(gallery.record.entries, gallery.collection_key, word)
    if len(found) <= 1:
        return found[0] if found else word
    some = found[:_MAX_CANDIDATES]
    entries, shown = gallery.by_ids(some), shown_ids(gallery, some)
    listed = ", ".join(f"{shown[id_]} ({entries[id_].identity})" for id_ in some if id_ in entries)
    more = f" and {len(found) - len(some)} more" if len(found) > len(some) else ""
    raise GalleryError(
        f"Several entries of the gallery {gallery.location} have an id that begins with {word!r}: {listed}{more}.",
        hint="Give more characters of the id.",
    )
