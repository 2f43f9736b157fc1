"""The entries of a gallery's collection: reading them, adding, changing and removing them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_rows
from gallery_db.entry import Entry
from gallery_db.errors import EntryNotFoundError, GalleryError
from gallery_db.names import name_problem, normal_name, validate_identity_name
from gallery_db.visible_text import is_text

if TYPE_CHECKING:
    from gallery_db.store.record import CollectionRow, Record

__all__ = ["CollectionContent", "validate_entries"]


class CollectionContent:
    """The entries of one collection, checked on their way into the record.

    The methods are those of `gallery_db.gallery.Gallery`, which documents their arguments and errors.

    Args:
        record: The gallery's record.
        row: The collection.
        location: The gallery's folder or address, for messages.
    """

    def __init__(self, record: Record, row: CollectionRow, location: Path | str) -> None:
        self._record = record
        self._key = row.id
        self._dimension = row.model.dimension
        self._location = location

    def entries(self, identity: str | None, class_name: str | None) -> Iterator[Entry]:
        """Yield the entries in the order of their arrival."""
        where = {}
        if identity is not None and not is_text(identity):
            return iter(())  # SQLite refuses to compare with it
        if identity is not None:
            where["identity"] = identity
        if class_name is not None:
            where["class"] = class_name
        return self._record.entries.all(self._key, where)

    def by_ids(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Return those of the entries that the collection holds, by id."""
        return self._record.entries.by_ids(self._key, ids)

    def get(self, id_: str) -> tuple[Entry, NDArray[np.float32]]:
        """Return an entry with its embedding (D,)."""
        entries, vectors = self._record.entries.with_vectors(self._key, [id_], self._dimension)
        if not entries:
            self._record.entries.check_intact(id_)
            raise EntryNotFoundError(
                f"The gallery {self._location} holds no entry {id_!r}.",
                hint="`gtrack gallery list --entries` shows the entries.",
            )
        return entries[0], vectors[0]

    def with_prefix(self, prefix: str) -> tuple[list[Entry], NDArray[np.float32]]:
        """Return the entries whose ids begin with a prefix, sorted by id, with their embeddings (N, D)."""
        ids = self._record.entries.ids_from(self._key, prefix) if prefix else self._record.entries.ids(self._key)
        return self._record.entries.with_vectors(self._key, ids, self._dimension)

    def add(self, entries: Sequence[Entry], embeddings: Any) -> None:
        """Add entries, all or none."""
        checked = validate_entries(entries, self._holds)
        vectors = unit_rows(embeddings, self._dimension, count=len(checked), what="embeddings")
        self._record.entries.insert(self._key, checked, vectors)

    def replace(self, entries: Sequence[Entry], embeddings: Any) -> None:
        """Replace descriptions and embeddings of entries, all or none."""
        checked = validate_entries(entries, self._holds)
        vectors = unit_rows(embeddings, self._dimension, count=len(checked), what="embeddings")
        self._record.entries.replace(self._key, checked, vectors)

    def update(self, entries: Sequence[Entry]) -> int:
        """Change descriptions of entries, all or none; return how many really changed."""
        return self._record.entries.update(self._key, validate_entries(entries, self._holds))

    def _holds(self, identity: str) -> bool:
        """Return whether the collection has an identity of that name."""
        return next(self._record.entries.all(self._key, {"identity": identity}), None) is not None

    def remove(self, ids: Sequence[str]) -> int:
        """Remove entries, all or none; return how many."""
        return len(self._record.entries.delete(self._key, list(dict.fromkeys(ids))))

    def remove_all(self) -> int:
        """Remove all entries; return how many."""
        return self.remove(self._record.entries.ids(self._key))

    def restore(self, ids: Sequence[str]) -> int:
        """Add removed entries again as they were, as one operation of the log; return how many."""
        entries, blobs = [], []
        for id_ in dict.fromkeys(ids):
            found = self._record.log.last_removed(self._key, id_)
            if found is None:
                raise EntryNotFoundError(
                    f"No entry {id_!r} was ever removed from the gallery {self._location}.",
                    hint="`gtrack gallery log` shows what was done.",
                )
            entries.append(found[0])
            blobs.append(np.frombuffer(found[1], dtype="<f4"))
        vectors = np.stack(blobs) if blobs else np.empty((0, self._dimension), np.float32)
        with self._record.operation("bring-back", f"bring back {len(entries)} removed entries"):
            self._record.entries.insert(self._key, entries, np.asarray(vectors, dtype=np.float32))
        return len(entries)


def validate_entries(entries: Sequence[Entry], is_stored: Callable[[str], bool] = lambda name: False) -> list[Entry]:
    """Return entries as a list, after a check that the record can store them; names become normal.

    Args:
        entries: The entries.
        is_stored: Whether the collection has an identity of that name. A name that it has stays as it is, although it
            may be older than today's rules.

    Raises:
        GalleryError: A field cannot be stored, or an id occurs twice.
    """
    checked: list[Entry] = []
    seen: set[str] = set()
    for entry in entries:
        for field in ("id", "identity", "class_name", "origin"):
            value = getattr(entry, field)
            if not isinstance(value, str) or not value.strip():
                raise GalleryError(f"Entry {entry.id!r}: expected {field} as text that is not empty, found {value!r}.")
        if entry.id in seen:
            raise GalleryError(f"The entry id {entry.id!r} occurs twice.", hint="Give each entry once.")
        seen.add(entry.id)
        for field in ("id", "class_name", "origin", "source"):
            if not is_text(getattr(entry, field)):
                raise GalleryError(
                    f"Entry {entry.id!r}: {field} is not valid Unicode text: {getattr(entry, field)!r}.",
                    hint="Rename the file or folder that it comes from.",
                )
        if entry.box is not None and (len(entry.box) != 4 or not np.isfinite(entry.box).all()):
            raise GalleryError(f"Entry {entry.id!r}: expected a box of four finite numbers, found {entry.box!r}.")
        if entry.extra:
            try:
                json.dumps(dict(entry.extra), allow_nan=False, ensure_ascii=False).encode("utf-8")
            except (TypeError, ValueError) as error:
                raise GalleryError(
                    f"Entry {entry.id!r}: extra is not of JSON type: {error}.", hint="Use plain str, int, float, list."
                ) from error
        checked.append(_with_valid_name(entry, is_stored))
    return checked


def _with_valid_name(entry: Entry, is_stored: Callable[[str], bool]) -> Entry:
    """Return an entry with a valid name of its identity; a name that is stored already stays."""
    name = entry.identity
    if name_problem(name) is None and name == normal_name(name):
        return entry
    if is_text(name) and is_stored(name):
        return entry
    try:
        return replace(entry, identity=validate_identity_name(name))
    except GalleryError as error:
        raise GalleryError(f"Entry {entry.id!r}: {error.message}", hint=error.hint) from None
