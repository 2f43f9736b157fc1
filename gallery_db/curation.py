"""Correct the identities of a gallery: rename, merge, split, move, reject and remove."""

from __future__ import annotations

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
)
from gallery_db.names import normal_name, unknown_name, validate_identity_name
from gallery_db.rejections import NOT, rejected_names
from gallery_db.suggestions import did_you_mean
from gallery_db.times import parse_age, parse_time
from gallery_db.visible_text import shorten, visible

if TYPE_CHECKING:
    from gallery_db.gallery import Gallery

__all__ = ["Curator"]

_MAX_LISTED_IDS = 5  # entry ids written out in the description of an operation


class Curator:
    """Finds and corrects the identities of an open gallery's collection.

    Each method that changes something is one transaction and one operation of the log, which `Gallery.undo` undoes. An
    entry that was given another identity is marked ``extra["reviewed"]``, so that no later ingest of its image's
    folder changes it back.

    Identities of the same name and different classes are different identities. If a name stands for several, the
    class must be given.

    Args:
        gallery: An open gallery; open for writing, for the methods that change something.
    """

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    # -- finding ---------------------------------------------------------------------------------------------

    def classes_of(self, name: str) -> list[str]:
        """Return the classes of all identities of that name, in lower case, sorted."""
        return sorted({entry.class_name.casefold() for entry in self._gallery.entries(identity=name)})

    def exists(self, name: str, class_name: str | None = None) -> bool:
        """Return whether there is an identity of that name, of one class or of any."""
        classes = self.classes_of(name)
        return bool(classes) if class_name is None else class_name.casefold() in classes

    def entries(self, name: str, class_name: str | None = None) -> list[Entry]:
        """Return the entries of one identity, in the order of their arrival.

        Raises:
            IdentityNotFoundError: There is no such identity.
            GalleryError: There are identities of that name of several classes, and `class_name` is not given.
        """
        name = self._stored(name)
        found = list(self._gallery.entries(identity=name, class_name=class_name))
        classes = sorted({entry.class_name.casefold() for entry in found})
        if not found:
            others = self._gallery.identities()
            of_class = f" of class {class_name!r}" if class_name is not None else ""
            names = sorted({other.identity for other in others} - {name})
            raise IdentityNotFoundError(
                f"The gallery {self._gallery.location} holds no identity {shorten(name, 300)!r}{of_class}.",
                hint=did_you_mean(name, names, "`gtrack gallery list` shows the identities."),
            )
        if len(classes) > 1:
            raise GalleryError(
                f"There are identities {name!r} of several classes: {', '.join(classes)}.", hint="Give the class."
            )
        return found

    def _stored(self, name: str) -> str:
        """Return a name as the gallery has it, where it was typed in another form, or as a table shows it."""
        if next(self._gallery.entries(identity=name), None) is not None:
            return name
        present = sorted({one.identity for one in self._gallery.identities()})
        normal = normal_name(name)
        return next((one for one in present if normal in {one, visible(one)} or normal == normal_name(one)), name)

    def by_ids(self, ids: Iterable[str]) -> list[Entry]:
        """Return entries by their ids, each entry once.

        Raises:
            EntryNotFoundError: There is no entry of that id.
            GalleryError: No id is given.
        """
        unique = list(dict.fromkeys(ids))
        if not unique:
            raise GalleryError("Expected at least one entry id, found none.", hint="`gtrack gallery show` lists them.")
        found = self._gallery.by_ids(unique)
        for id_ in unique:
            if id_ not in found:
                raise EntryNotFoundError(
                    f"The gallery {self._gallery.location} holds no entry {id_!r}.",
                    hint="`gtrack gallery list --entries` shows the entries.",
                )
        return [found[id_] for id_ in unique]

    # -- changing --------------------------------------------------------------------------------------------

    def rename(self, old: str, new: str, *, merge: bool = False, class_name: str | None = None) -> int:
        """Give an identity another name; return the number of its entries.

        Args:
            old: The identity.
            new: Its new name.
            merge: If there is an identity of the new name and the same class, merge the two.
            class_name: The identity's class, if there are several identities `old`.

        Raises:
            IdentityNotFoundError: There is no such identity.
            IdentityExistsError: There is an identity of the new name, and `merge` is false.
            GalleryError: The new name is not valid, or is the old name.
        """
        name = validate_identity_name(new)
        with self._gallery.transaction():
            old = self._stored(old)
            entries = self.entries(old, class_name)
            if name == old:
                raise GalleryError(f"{old!r} already has that name.", hint="Give another name.")
            merging = self.exists(name, entries[0].class_name)
            if merging and not merge:
                raise IdentityExistsError(
                    f"The gallery {self._gallery.location} holds an identity {name!r} already.",
                    hint=f"To merge the two: `gtrack gallery merge {quote(old)} --into {quote(name)}`.",
                )
            words = f"merge {old!r} into {name!r}" if merging else f"rename {old!r} to {name!r}"
            return self._assign("merge" if merging else "rename", words, entries, name, renamed=(old,))

    def merge(self, names: Sequence[str], into: str, *, class_name: str | None = None) -> int:
        """Merge identities into one; return the number of entries that have another identity now.

        Args:
            names: The identities.
            into: The name for all of them. If there is an identity of that name and class, it gets their entries.
            class_name: Their class, if there are identities of one name of several classes.

        Raises:
            IdentityNotFoundError: One of the identities does not exist.
            GalleryError: They are of different classes, there is nothing to merge, or `into` is not a valid name.
        """
        target = validate_identity_name(into)
        with self._gallery.transaction():
            parts = [name for name in dict.fromkeys(map(self._stored, names)) if name != target]
            if not parts:
                raise GalleryError(f"There is nothing to merge into {target!r}.", hint="Name further identities.")
            entries = [entry for name in parts for entry in self.entries(name, class_name)]
            classes = sorted({entry.class_name.casefold() for entry in entries})
            if len(classes) > 1:
                raise GalleryError(
                    f"Identities of different classes cannot be merged: {', '.join(classes)}.",
                    hint="Merge the identities of one class at a time.",
                )
            words = f"merge {', '.join(map(repr, parts))} into {target!r}"
            return self._assign("merge", words, entries, target, renamed=parts)

    def split(self, name: str, ids: Iterable[str], new: str) -> int:
        """Make some of an identity's entries a new identity; return their number.

        Args:
            name: The identity.
            ids: The entries.
            new: Name of the new identity.

        Raises:
            EntryNotFoundError: There is no entry of that id.
            IdentityExistsError: There is an identity of the new name; `move` gives it entries.
            GalleryError: An entry has another identity, no entry would be left, or the new name is not valid.
        """
        target = validate_identity_name(new)
        with self._gallery.transaction():
            name = self._stored(name)
            chosen = self.by_ids(ids)
            for entry in chosen:
                if entry.identity != name:
                    raise GalleryError(
                        f"The entry {entry.id!r} has the identity {entry.identity!r}, not {name!r}.",
                        hint=f"`gtrack gallery show {quote(name)}` lists its entries.",
                    )
            classes = {entry.class_name.casefold() for entry in chosen}
            if len(classes) > 1:
                raise GalleryError(f"The entries are of several classes: {', '.join(sorted(classes))}.")
            if self.exists(target, chosen[0].class_name):
                raise IdentityExistsError(
                    f"The gallery {self._gallery.location} holds an identity {target!r} already.",
                    hint=f"To give the entries to it: `gtrack gallery move ID... --to {quote(target)}`.",
                )
            if len(chosen) == len(self.entries(name, chosen[0].class_name)):
                raise GalleryError(
                    f"These are all entries of {name!r}; none would be left.", hint="Rename the identity instead."
                )
            words = f"split {_list_ids(chosen)} from {name!r} as {target!r}"
            return self._assign("split", words, chosen, target)

    def move(self, ids: Iterable[str], to: str, *, new: bool = False) -> int:
        """Give entries to another identity; return the number of entries that it did not have before.

        Args:
            ids: The entries.
            to: The identity.
            new: Allow a new identity.

        Raises:
            EntryNotFoundError: There is no entry of that id.
            IdentityNotFoundError: There is no identity of that name and of the entries' class, and `new` is
                false.
            GalleryError: The name is not valid.
        """
        target = validate_identity_name(to)
        with self._gallery.transaction():
            chosen = self.by_ids(ids)
            if not new:
                for class_name in sorted({entry.class_name for entry in chosen}):
                    self.entries(target, class_name)
            return self._assign("move", f"move {_list_ids(chosen)} to {target!r}", chosen, target)

    def reject(self, ids: Iterable[str], name: str) -> tuple[int, str | None]:
        """Record that entries do not show an identity.

        The identity's name is stored in ``extra["not"]``. From then on, a probe that is nearer to such an entry than
        to the identity does not match the identity. Entries that have the identity leave it, all together, as a new
        ``unknown-0007``.

        Args:
            ids: The entries.
            name: The identity that they do not show.

        Returns:
            Number of entries that changed, and the new identity of those that left, or None.

        Raises:
            EntryNotFoundError: There is no entry of that id.
            IdentityNotFoundError: There is no identity of that name and of the entries' class.
            GalleryError: No entry of the identity would be left.
        """
        with self._gallery.transaction():
            name = self._stored(name)
            chosen = self.by_ids(ids)
            for class_name in sorted({entry.class_name for entry in chosen}):
                own = self.entries(name, class_name)
                if {entry.id for entry in own} <= {entry.id for entry in chosen}:
                    raise GalleryError(
                        f"These are all entries of {name!r}; none would be left.",
                        hint="Rename the identity instead, or remove it.",
                    )
            leaving = any(entry.identity == name for entry in chosen)
            new_name = self.unknown_name() if leaving else None
            changed = []
            for entry in chosen:
                names = rejected_names(entry)
                moved = entry if entry.identity != name or new_name is None else _with_identity(entry, new_name)
                if name not in names:
                    changed.append(replace(moved, extra={**moved.extra, NOT: sorted({*names, name})}))
                elif moved is not entry:
                    changed.append(moved)
            with self._gallery.operation("reject", f"{_list_ids(chosen)}: not {name!r}"):
                self._gallery.update(changed)
            return len(changed), new_name

    def unknown_name(self) -> str:
        """Return the next name of an unknown identity, such as ``unknown-0007``, that is neither used nor reserved."""
        return unknown_name(self._gallery.last_unknown_number() + 1)

    def remove(self, ids: Iterable[str]) -> int:
        """Remove entries; return their number.

        Raises:
            EntryNotFoundError: There is no entry of that id; none is removed.
        """
        with self._gallery.transaction():
            chosen = self.by_ids(ids)
            return self._remove("remove", f"remove {_list_ids(chosen)}", chosen)

    def remove_identity(self, name: str, class_name: str | None = None) -> int:
        """Remove all entries of an identity; return their number.

        Raises:
            IdentityNotFoundError: There is no such identity.
        """
        with self._gallery.transaction():
            entries = self.entries(name, class_name)
            return self._remove("remove", f"remove the identity {entries[0].identity!r}", entries)

    def older_than(self, time: datetime, origin: str | None = "track") -> list[Entry]:
        """Return the entries that were made before a time.

        Args:
            time: A time with a zone.
            origin: Only entries of this origin; None for all. The default leaves out image files.
        """
        found = []
        for entry in self._gallery.entries():
            try:
                created = parse_time(entry.created_at)
            except ValueError:
                continue  # its age is not known
            if created < time and (origin is None or entry.origin == origin):
                found.append(entry)
        return found

    def purge(self, older_than: str | datetime, origin: str | None = "track") -> int:
        """Remove the entries that were made before a time; return their number.

        Args:
            older_than: An age or a date, see `gallery_db.times.parse_age`; or a time with a zone.
            origin: Only entries of this origin; None for all. The default leaves out image files.

        Raises:
            GalleryError: `older_than` is not valid.
        """
        time = parse_age(older_than) if isinstance(older_than, str) else older_than
        what = "all entries" if origin is None else f"entries of origin {origin!r}"
        with self._gallery.transaction():
            words = f"purge {what} older than {time.isoformat(timespec='seconds')}"
            return self._remove("purge", words, self.older_than(time, origin))

    def clear(self) -> int:
        """Remove all entries of the collection; return their number."""
        return self._gallery.clear()

    # -- helpers ---------------------------------------------------------------------------------------------

    def _assign(
        self, action: str, words: str, entries: Sequence[Entry], name: str, *, renamed: Sequence[str] = ()
    ) -> int:
        """Give entries an identity, as one operation; return how many did not have it.

        Args:
            action: The operation's action.
            words: The operation's description.
            entries: The entries.
            name: The identity.
            renamed: Identities that are called `name` from now on, also where other entries reject them.
        """
        changed = [_with_identity(entry, name) for entry in entries if entry.identity != name]
        others = self._with_renamed_rejections(entries, changed, name, renamed) if renamed else []
        with self._gallery.operation(action, words):
            self._gallery.update(changed + others)
        return len(changed)

    def _with_renamed_rejections(
        self, entries: Sequence[Entry], changed: Sequence[Entry], name: str, renamed: Sequence[str]
    ) -> list[Entry]:
        """Return the other entries that reject a renamed identity, changed to reject it under its new name."""
        classes = {entry.class_name.casefold() for entry in entries}
        changed_ids = {entry.id for entry in changed}
        return [
            replace(entry, extra={**entry.extra, NOT: sorted({name if n in renamed else n for n in names})})
            for entry in self._gallery.entries()
            if (names := rejected_names(entry))
            and set(names) & set(renamed)
            and entry.class_name.casefold() in classes
            and entry.id not in changed_ids
            and entry.identity != name
        ]

    def _remove(self, action: str, words: str, entries: Sequence[Entry]) -> int:
        with self._gallery.operation(action, words):
            return self._gallery.remove([entry.id for entry in entries])


def _with_identity(entry: Entry, identity: str) -> Entry:
    """Return an entry with another identity, marked as reviewed."""
    extra = {**entry.extra, "reviewed": True}
    if names := [name for name in rejected_names(entry) if name != identity]:
        extra[NOT] = names
    else:
        extra.pop(NOT, None)  # an entry cannot reject the identity that it has
    return replace(entry, identity=identity, extra=extra)


def _list_ids(entries: Sequence[Entry]) -> str:
    some = ", ".join(entry.id for entry in entries[:_MAX_LISTED_IDS])
    more = len(entries) - _MAX_LISTED_IDS
    return f"{some} and {more} more" if more > 0 else some
