"""Managing who is in a gallery: renaming, merging, splitting, moving, removing, and taking it back."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from shlex import quote
from typing import TYPE_CHECKING

from gallery_db.entry import Entry
from gallery_db.errors import (
    EntryNotFoundError,
    GalleryError,
    IdentityExistsError,
    IdentityNotFoundError,
    UndoError,
)
from gallery_db.names import unknown_name, validate_identity_name
from gallery_db.rejections import NOT, rejected_names
from gallery_db.store.undo import take_back
from gallery_db.times import parse_age, parse_time

if TYPE_CHECKING:
    from gallery_db.gallery import Gallery
    from gallery_db.store.change_log import Operation

__all__ = ["Curator"]

_MOST_NAMED = 5  # entry ids written out in the words of an operation


class Curator:
    """The identities of an open gallery's collection, and what a person may do to them.

    Each method that changes something is one transaction and one operation of the log, which `undo` takes
    back. An entry to which a person gave its identity is marked ``extra["reviewed"]``; no later ingest of its
    image's folder changes it back.

    Identities of one name and different classes are different ones: where a name stands for several, the
    class must be given.

    Args:
        gallery: Open; for writing, for whatever changes something.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    # -- finding ---------------------------------------------------------------------------------------------

    def classes_of(self, name: str) -> list[str]:
        """The classes of which there is an identity of that name, in lower case, sorted."""
        return sorted({entry.class_name.casefold() for entry in self._gallery.entries(identity=name)})

    def exists(self, name: str, class_name: str | None = None) -> bool:
        """Whether there is an identity of that name, of a class or of any."""
        classes = self.classes_of(name)
        return bool(classes) if class_name is None else class_name.casefold() in classes

    def entries(self, name: str, class_name: str | None = None) -> list[Entry]:
        """The entries of one identity, in the order of their arrival.

        Raises:
            IdentityNotFoundError: There is none.
            GalleryError: There are several, of different classes, and `class_name` is not given.
        """
        found = list(self._gallery.entries(identity=name, class_name=class_name))
        classes = sorted({entry.class_name.casefold() for entry in found})
        if not found:
            others = self._gallery.identities()
            of_class = f" of class {class_name!r}" if class_name is not None else ""
            near = difflib.get_close_matches(name, sorted({other.identity for other in others}), n=3)
            raise IdentityNotFoundError(
                f"The gallery {self._gallery.location} holds no identity {name!r}{of_class}.",
                hint=f"Did you mean {' or '.join(map(repr, near))}?"
                if near and not (name in near and class_name)
                else "`gtrack gallery list` shows the identities.",
            )
        if len(classes) > 1:
            raise GalleryError(
                f"{name!r} stands for identities of several classes: {', '.join(classes)}.", hint="Give the class."
            )
        return found

    def by_ids(self, ids: Iterable[str]) -> list[Entry]:
        """Entries by their ids, each once.

        Raises:
            EntryNotFoundError: One of them is not there.
            GalleryError: There are no ids.
        """
        unique = list(dict.fromkeys(ids))
        if not unique:
            raise GalleryError("Expected at least one entry id, found none.", hint="`gtrack gallery show` lists them.")
        found = self._gallery.record.entries.by_ids(self._gallery.collection_key, unique)
        for id_ in unique:
            if id_ not in found:
                raise EntryNotFoundError(
                    f"The gallery {self._gallery.location} holds no entry {id_!r}.",
                    hint="`gtrack gallery list --entries` shows them.",
                )
        return [found[id_] for id_ in unique]

    # -- changing --------------------------------------------------------------------------------------------

    def rename(self, old: str, new: str, *, merge: bool = False, class_name: str | None = None) -> int:
        """Give an identity another name; returns the number of its entries.

        Args:
            old: The identity.
            new: Its new name.
            merge: If there is an identity of that name and class already, make one of the two.
            class_name: The identity's class, where `old` stands for several.

        Raises:
            IdentityNotFoundError: There is no such identity.
            IdentityExistsError: There is one of the new name already, and `merge` is false.
            GalleryError: The new name cannot be one, or is the old one.
        """
        name = validate_identity_name(new)
        with self._gallery.transaction():
            entries = self.entries(old, class_name)
            if name == old:
                raise GalleryError(f"{old!r} is called so already.", hint="Give another name.")
            merging = self.exists(name, entries[0].class_name)
            if merging and not merge:
                raise IdentityExistsError(
                    f"The gallery {self._gallery.location} holds an identity {name!r} already.",
                    hint=f"To make one of the two: `gtrack gallery merge {quote(old)} --into {quote(name)}`.",
                )
            words = f"merge {old!r} into {name!r}" if merging else f"rename {old!r} to {name!r}"
            return self._assign("merge" if merging else "rename", words, entries, name, instead=(old,))

    def merge(self, names: Sequence[str], into: str, *, class_name: str | None = None) -> int:
        """Make one identity of several; returns the number of entries that changed hands.

        Args:
            names: The identities.
            into: The name for all of them; an existing identity of that name and class takes them in.
            class_name: Their class, where a name stands for several.

        Raises:
            IdentityNotFoundError: One of the identities is not there.
            GalleryError: They are of different classes, there is nothing to merge, or `into` is no name.
        """
        target = validate_identity_name(into)
        with self._gallery.transaction():
            parts = [name for name in dict.fromkeys(names) if name != target]
            if not parts:
                raise GalleryError(f"There is nothing to merge into {target!r}.", hint="Name further identities.")
            entries = [entry for name in parts for entry in self.entries(name, class_name)]
            classes = sorted({entry.class_name.casefold() for entry in entries})
            if len(classes) > 1:
                raise GalleryError(
                    f"Identities of different classes cannot be one: {', '.join(classes)}.",
                    hint="Merge those of one class at a time.",
                )
            words = f"merge {', '.join(map(repr, parts))} into {target!r}"
            return self._assign("merge", words, entries, target, instead=parts)

    def split(self, name: str, ids: Iterable[str], new: str) -> int:
        """Make a new identity of some of an identity's entries; returns how many.

        Raises:
            IdentityNotFoundError: There is no such identity.
            IdentityExistsError: There is one of the new name already; `move` is for that.
            GalleryError: An entry is another identity's, none would be left, or the new name cannot be one.
        """
        target = validate_identity_name(new)
        with self._gallery.transaction():
            chosen = self.by_ids(ids)
            for entry in chosen:
                if entry.identity != name:
                    raise GalleryError(
                        f"The entry {entry.id!r} is of {entry.identity!r}, not of {name!r}.",
                        hint=f"`gtrack gallery show {quote(name)}` lists its entries.",
                    )
            classes = {entry.class_name.casefold() for entry in chosen}
            if len(classes) > 1:
                raise GalleryError(f"The entries are of several classes: {', '.join(sorted(classes))}.")
            if self.exists(target, chosen[0].class_name):
                raise IdentityExistsError(
                    f"The gallery {self._gallery.location} holds an identity {target!r} already.",
                    hint=f"To give it the entries: `gtrack gallery move ID... --to {quote(target)}`.",
                )
            if len(chosen) == len(self.entries(name, chosen[0].class_name)):
                raise GalleryError(
                    f"These are all entries of {name!r}; nothing would be left.", hint="Rename the identity instead."
                )
            words = f"split {_ids(chosen)} from {name!r} as {target!r}"
            return self._assign("split", words, chosen, target)

    def move(self, ids: Iterable[str], to: str, *, new: bool = False) -> int:
        """Give entries to another identity; returns how many were not its own already.

        Args:
            ids: The entries.
            to: The identity.
            new: Whether it may be a new one.

        Raises:
            EntryNotFoundError: One of the entries is not there.
            IdentityNotFoundError: There is no identity of that name and of the entries' class, and `new` is
                false.
            GalleryError: The name cannot be one.
        """
        target = validate_identity_name(to)
        with self._gallery.transaction():
            chosen = self.by_ids(ids)
            if not new:
                for class_name in sorted({entry.class_name for entry in chosen}):
                    self.entries(target, class_name)
            return self._assign("move", f"move {_ids(chosen)} to {target!r}", chosen, target)

    def reject(self, ids: Iterable[str], name: str) -> tuple[int, str | None]:
        """Say of entries that they do not show an identity.

        It is kept in ``extra["not"]``. Whatever is nearer to such an entry than to the identity is not taken for it
        any more. Entries that are the identity's own leave it, together, as a new ``unknown-0007``.

        Args:
            ids: The entries.
            name: Whom they do not show.

        Returns:
            How many entries it is news for, and the new identity of those that left, or None.

        Raises:
            EntryNotFoundError: One of the entries is not there.
            IdentityNotFoundError: There is no identity of that name and of the entries' class.
            GalleryError: Nothing would be left of the identity.
        """
        with self._gallery.transaction():
            chosen = self.by_ids(ids)
            for class_name in sorted({entry.class_name for entry in chosen}):
                everybody = self.entries(name, class_name)
                if {entry.id for entry in everybody} <= {entry.id for entry in chosen}:
                    raise GalleryError(
                        f"These are all entries of {name!r}; nothing would be left.",
                        hint="Rename the identity instead, or remove it.",
                    )
            own = any(entry.identity == name for entry in chosen)
            leaves = self.unknown_name() if own else None
            changed = []
            for entry in chosen:
                names = rejected_names(entry)
                moved = entry if entry.identity != name or leaves is None else _reviewed(entry, leaves)
                if name not in names:
                    changed.append(replace(moved, extra={**moved.extra, NOT: sorted({*names, name})}))
                elif moved is not entry:
                    changed.append(moved)
            with self._gallery.operation("reject", f"{_ids(chosen)}: not {name!r}"):
                self._gallery.update(changed)
            return len(changed), leaves

    def unknown_name(self) -> str:
        """A name for a stranger that no identity has, and no run has reserved: the next ``unknown-0007``."""
        return unknown_name(self._gallery.last_unknown_number() + 1)

    def remove(self, ids: Iterable[str]) -> int:
        """Remove entries; returns how many.

        Raises:
            EntryNotFoundError: One of the entries is not there; none is removed.
        """
        with self._gallery.transaction():
            chosen = self.by_ids(ids)
            return self._remove("remove", f"remove {_ids(chosen)}", chosen)

    def remove_identity(self, name: str, class_name: str | None = None) -> int:
        """Remove all entries of an identity; returns how many.

        Raises:
            IdentityNotFoundError: There is none.
        """
        with self._gallery.transaction():
            return self._remove("remove", f"remove the identity {name!r}", self.entries(name, class_name))

    def older_than(self, moment: datetime, origin: str | None = "track") -> list[Entry]:
        """The entries made before a moment.

        Args:
            moment: With a time zone.
            origin: Only entries of this origin; None for all. The default leaves image files alone.
        """
        found = []
        for entry in self._gallery.entries():
            try:
                made = parse_time(entry.created_at)
            except ValueError:
                continue  # nobody knows how old it is
            if made < moment and (origin is None or entry.origin == origin):
                found.append(entry)
        return found

    def purge(self, older_than: str | datetime, origin: str | None = "track") -> int:
        """Remove the entries made before a moment; returns how many.

        Args:
            older_than: As of `parse_age`, or a time with a zone.
            origin: As of `older_than`.

        Raises:
            GalleryError: `older_than` makes no sense.
        """
        moment = parse_age(older_than) if isinstance(older_than, str) else older_than
        what = "all entries" if origin is None else f"entries of origin {origin!r}"
        with self._gallery.transaction():
            words = f"purge {what} older than {moment.isoformat(timespec='seconds')}"
            return self._remove("purge", words, self.older_than(moment, origin))

    def clear(self) -> int:
        """Remove all entries of the collection; returns how many."""
        return self._gallery.clear()

    # -- the log ---------------------------------------------------------------------------------------------

    def undo(self, count: int = 1) -> tuple[list[Operation], int]:
        """Take the last operations back, exactly or not at all.

        That is an operation itself: taking back the last one twice leaves all as it was.

        Args:
            count: How many, at least 1.

        Returns:
            The operations, the newest first, and the number of entries that are other than before.

        Raises:
            UndoError: The log holds fewer, or it cannot be done exactly; nothing was changed.
        """
        if count < 1:
            raise GalleryError(f"Expected to take back at least one operation, found {count}.", hint="Give 1 or more.")
        gallery = self._gallery
        with gallery.transaction():
            operations = gallery.operations(count)
            if len(operations) < count:
                raise UndoError(
                    f"The log holds {len(operations)} operations; {count} cannot be taken back.",
                    hint="`gtrack gallery log` shows them.",
                )
            newest, oldest = operations[0], operations[-1]
            words = (
                f"undo operation {newest.seq} ({newest.words})"
                if count == 1
                else f"undo operations {oldest.seq} to {newest.seq}"
            )
            row = next(row for row in gallery.record.collections() if row.id == gallery.collection_key)
            with gallery.operation("undo", words):
                return operations, take_back(gallery.record, row, operations)

    # -- helpers ---------------------------------------------------------------------------------------------

    def _assign(
        self, action: str, words: str, entries: Sequence[Entry], name: str, *, instead: Sequence[str] = ()
    ) -> int:
        changed = [_reviewed(entry, name) for entry in entries if entry.identity != name]
        # Whoever is not the one of the old name is not the same person under the new one.
        kinds = {entry.class_name.casefold() for entry in entries}
        known = {entry.id for entry in changed}
        others = [
            replace(entry, extra={**entry.extra, NOT: sorted({name if n in instead else n for n in names})})
            for entry in (self._gallery.entries() if instead else ())
            if (names := rejected_names(entry))
            and set(names) & set(instead)
            and entry.class_name.casefold() in kinds
            and entry.id not in known
            and entry.identity != name
        ]
        with self._gallery.operation(action, words):
            self._gallery.update(changed + others)
        return len(changed)

    def _remove(self, action: str, words: str, entries: Sequence[Entry]) -> int:
        with self._gallery.operation(action, words):
            return self._gallery.remove([entry.id for entry in entries])


def _reviewed(entry: Entry, identity: str) -> Entry:
    extra = {**entry.extra, "reviewed": True}
    if names := [name for name in rejected_names(entry) if name != identity]:
        extra[NOT] = names
    else:
        extra.pop(NOT, None)  # whoever puts it there now takes back that it is somebody else
    return replace(entry, identity=identity, extra=extra)


def _ids(entries: Sequence[Entry]) -> str:
    some = ", ".join(entry.id for entry in entries[:_MOST_NAMED])
    more = len(entries) - _MOST_NAMED
    return f"{some} and {more} more" if more > 0 else some
