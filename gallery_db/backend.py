"""Where a gallery's collection is kept: the `Backend` protocol, and the backend of a gallery in a folder.

`gallery_db.opening` makes the backend for a location, and `gallery_db.gallery.Gallery` is a facade over it. The
backend of a served gallery is `gallery_db.served.gallery.ServedBackend`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gallery_db.index.embedded import EmbeddedIndex
from gallery_db.media.staged_pictures import STAGED_KEY, place_staged, remove_staged
from gallery_db.statistics import CollectionInfo, list_collections
from gallery_db.store.folder import remove_gallery, remove_leftovers

if TYPE_CHECKING:
    from gallery_db.index.base import SearchIndex
    from gallery_db.index.maintenance import IndexMaintenance
    from gallery_db.store.lock import WriterLock
    from gallery_db.store.record import CollectionRow, Record

__all__ = ["MADE_FOLDER", "MADE_RECORD", "Backend", "FolderBackend"]

MADE_FOLDER, MADE_RECORD = "folder", "record"
"""What was made for a provisional gallery (`Record.provisional`), and goes with it."""


class Backend(Protocol):
    """The storage of one collection, as a `Gallery` uses it.

    Attributes:
        folder: The gallery's folder; of a served gallery, the folder of its pictures and snapshots on this machine.
        location: What opens the gallery again: its folder, or its address.
        record: The record; of a served gallery, its replica on this machine.
        row: The selected collection, as it was when the gallery was opened.
        index: The approximate index of the collection.
        notices: What a user should know, a sentence each: repairs, fallbacks.
        writable: Whether the gallery was opened for writing.
    """

    folder: Path
    location: Path | str
    record: Record
    row: CollectionRow
    index: SearchIndex
    notices: list[str]
    writable: bool

    def collections(self) -> tuple[CollectionInfo, ...]:
        """Return all collections of the gallery, the oldest first."""
        ...

    def delivered_together(self) -> AbstractContextManager[None]:
        """Hold back the changes made inside, and deliver them to other processes together at the end."""
        ...

    def catch_up(self) -> None:
        """Take in now what other processes have changed.

        Raises:
            GalleryServerError: The server does not answer.
        """
        ...

    def unknown_numbers(self) -> Iterator[int]:
        """Yield numbers for the names of unknown identities, which no other process is given."""
        ...

    def last_unknown_number(self) -> int:
        """Return the highest number of an unknown identity that is used or reserved, as far as it is known here."""
        ...

    def close(self) -> None:
        """Close index and record, and let other writers in."""
        ...


class FolderBackend:
    """A gallery in a folder; see `Backend` for its attributes and methods.

    Args:
        folder: The gallery's folder.
        record: Its record, open for writing if there is a lock.
        row: The collection.
        lock: The writer lock, held, of a gallery that is open for writing; None for reading.
        maintenance: The maintenance of the folder's index.
        notices: The notices, to which `maintenance` adds.
    """

    def __init__(
        self,
        folder: Path,
        record: Record,
        row: CollectionRow,
        lock: WriterLock | None,
        maintenance: IndexMaintenance,
        notices: list[str],
    ) -> None:
        index = EmbeddedIndex(folder, record, row, lock, maintenance, notices)
        self.folder = folder
        self.location: Path | str = folder
        self.record = record
        self.row = row
        self.index: SearchIndex = index
        self.notices = notices
        self.writable = lock is not None
        record.entries.notices = notices
        if self.writable:
            remove_leftovers(folder)
            self._recover_pictures()
            index.recover()

    def _recover_pictures(self) -> None:
        """Place the pictures of entries whose import was killed, and remove those that have no entries."""
        if name := self.record.meta(STAGED_KEY):
            try:
                place_staged(self.folder, name)
            except OSError as error:
                self.notices.append(
                    f"Pictures of an import that was killed cannot be put in place: {error.strerror or error}."
                )
                return
            self.record.set_meta(STAGED_KEY, "")
        remove_staged(self.folder)

    def collections(self) -> tuple[CollectionInfo, ...]:
        """See `Backend`."""
        return list_collections(self.record)

    def delivered_together(self) -> AbstractContextManager[None]:
        """See `Backend`; other processes see a change in a folder as soon as it is made."""
        return nullcontext()

    def catch_up(self) -> None:
        """See `Backend`; there is nothing to do, as all processes read the same record."""

    def unknown_numbers(self) -> Iterator[int]:
        """See `Backend`; the writer lock keeps other processes from using the same numbers."""
        return count(self.last_unknown_number() + 1)

    def last_unknown_number(self) -> int:
        """See `Backend`."""
        return self.record.last_unknown_number(self.row.id)

    def close(self) -> None:
        """See `Backend`."""
        made = None
        try:
            self.index.close()
            made = self.record.provisional if self.writable else None
        finally:
            self.record.close()
            if made is not None:
                remove_gallery(self.folder)
            self.index.release()
            if made == MADE_FOLDER:
                with suppress(OSError):  # another process uses it by now
                    self.folder.rmdir()
