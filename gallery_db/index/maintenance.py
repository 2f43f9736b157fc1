"""Keep the Chroma index in a gallery's folder up to date with the record: synchronise, repair, rebuild."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import fsync_folder
from gallery_db.errors import GalleryError, GalleryIndexError
from gallery_db.index.base import Progress, VerifyReport
from gallery_db.index.changes import add_from_record, pending_changes, pending_ids, update_from_record
from gallery_db.index.chroma_client import chroma_version
from gallery_db.index.chroma_index import BATCH_SIZE, ChromaIndex, IndexDifferences, remove_folder
from gallery_db.index.probe import compare_apart
from gallery_db.index.seal import find_broken_seal, seal
from gallery_db.index.verification import compare_with_record, raise_on_damage, verify_index
from gallery_db.logs import get_logger
from gallery_db.store.entry_repair import repair_entries
from gallery_db.store.intact_entries import damage_in_words

if TYPE_CHECKING:
    from gallery_db.store.record import CollectionRow, Record

__all__ = ["IndexMaintenance"]

_log = get_logger("index")

_MAX_REPAIRED_SHARE = 0.5
"""Share of the entries up to which an index is changed; beyond it, a new index is faster."""


class IndexMaintenance:
    """The index in a gallery's folder. All methods except those about its state need the writer lock.

    Before Chroma is opened for writing, ``index_dirty`` is set in the record. It is cleared after the client was closed
    and its files are on the disk. If it is set when a gallery is opened, a writer was killed while it wrote.

    An index is trusted where it was closed properly and its files are those that its last writer sealed, see
    `gallery_db.index.seal`. Any other is opened in a child process first, see `gallery_db.index.probe`.

    Args:
        gallery: The gallery's folder.
        notices: Repairs are noted here for the user.
        recover_log: Called with (Chroma's folder, record, notices, killed) to take in what clients stored with a
            server of this gallery that was killed.
        forget_logs: Called with the record when the server's logs were removed with the old index.

    Attributes:
        folder: The folder of Chroma's files.
    """

    def __init__(
        self,
        gallery: Path,
        notices: list[str],
        *,
        recover_log: Callable[[Path, Record, list[str], bool], None],
        forget_logs: Callable[[Record], None],
    ) -> None:
        self.folder = gallery / "chroma"
        self._new_folder = gallery / "chroma.new"
        self._old_folder = gallery / "chroma.old"
        self._notices = notices
        self._recover_log = recover_log
        self._forget_logs = forget_logs
        self._opened: ChromaIndex | None = None
        self._opened_stamp: tuple[str, str | None] | None = None
        self._checked_stamp: str | None = None  # the index that was compared with its seal, or written here

    # -- state -----------------------------------------------------------------------------------------------

    def is_clean(self, record: Record) -> bool:
        """Return whether the index exists, if there is anything to index, and its last writer closed and sealed it."""
        if record.meta("index_dirty") == "1":
            return False
        if self._has_database():
            return record.meta("index_seal") is not None
        return all(not row.applied_seq for row in record.collections())

    @staticmethod
    def is_current(record: Record, row: CollectionRow) -> bool:
        """Return whether the index has all changes of a collection."""
        return row.applied_seq >= record.log.last_change(row.id)

    def mark_unclean(self, record: Record) -> None:
        """Note in the record that the index is not reliable, so that its next use compares it with the record."""
        record.set_meta("index_dirty", "1")

    def check(self, record: Record) -> None:
        """Check the files of a clean index before it is opened for the first time, or after another process wrote it.

        Raises:
            GalleryIndexError: A file is damaged, or is not as its last writer left it.
        """
        stamp = record.meta("index_stamp")
        if not self._has_database() or stamp == self._checked_stamp:
            return
        raise_on_damage(self.folder)
        if broken := find_broken_seal(self.folder, record.meta("index_seal") or "{}"):
            raise GalleryIndexError(broken)
        self._checked_stamp = stamp

    def ensure_sound(self, record: Record, progress: Progress | None = None) -> None:
        """Check the files of a clean index, and build a new one in the place of a damaged one."""
        try:
            self.check(record)
        except GalleryIndexError as error:
            self._notices.append(f"{error.message} The index is rebuilt.")
            self.rebuild(record, progress)

    def _has_database(self) -> bool:
        return (self.folder / "chroma.sqlite3").is_file()

    # -- writing ---------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, record: Record, applied: Sequence[tuple[int, int]]) -> Iterator[None]:
        """Mark the index dirty while the body writes, and clean when it succeeded.

        Args:
            record: The record.
            applied: (collection, number of its last change) that the index has in the end.
        """
        self.close()
        record.set_meta("index_dirty", "1")
        try:
            yield
        finally:
            with suppress(GalleryIndexError):
                ChromaIndex.close_all(self.folder)
                ChromaIndex.close_all(self._new_folder)
        stamp = str(int(record.meta("index_stamp") or 0) + 1)
        sealed = _seal(self.folder)
        with record.transaction():
            for collection, seq in applied:
                record.note_applied(collection, seq)
            record.set_meta("index_stamp", stamp)
            record.set_meta("index_seal", sealed)
            record.set_meta("chromadb_version", chroma_version())
            record.set_meta("index_dirty", "0")
        self._checked_stamp = stamp

    def sync(self, record: Record, row: CollectionRow, progress: Progress | None = None) -> None:
        """Bring the index up to date with a collection; repair or rebuild it where needed."""
        if not self.is_clean(record):
            why = "was not closed by its last writer" if record.meta("index_dirty") == "1" else "has no checksums"
            self._notices.append(f"The index {self.folder} {why}; it is checked against the record.")
            self.repair(record, progress)
            return
        if self.is_current(record, row):
            return
        try:
            self.check(record)
            self._apply_changes(record, row, progress)
        except GalleryIndexError as error:
            self._notices.append(f"{error.message} The index is rebuilt.")
            self.rebuild(record, progress)

    def _apply_changes(self, record: Record, row: CollectionRow, progress: Progress | None) -> None:
        changes = pending_changes(record, row)
        removed = len(changes.removed)
        if removed > BATCH_SIZE and removed > _MAX_REPAIRED_SHARE * record.entries.count(row.id):
            self.rebuild(record, progress)  # removed entries stay in the HNSW graph and slow it down
            return
        with self._writing(record, [(row.id, changes.last_change)]):
            index = ChromaIndex(self.folder, row.name, row.model, create=True)
            index.delete(changes.removed)
            update_from_record(index, record, row, changes.updated)
            add_from_record(index, record, row, changes.added, progress)
            index.close()
            _flush_files(self.folder)
        _log.info(
            "index of collection %s synchronised: %d entries added, %d updated, %d removed",
            row.name,
            len(changes.added),
            len(changes.updated),
            removed,
        )

    def repair(self, record: Record, progress: Progress | None = None, *, trusted: bool = False) -> None:
        """Compare the index of all collections with the record and correct the differences, or rebuild it.

        Args:
            record: The record.
            progress: Called with (entries done, entries in all).
            trusted: Whether the index was closed properly, so that no child process needs to open it first.
        """
        rows = record.collections()
        last_changes = [(row.id, record.log.last_change(row.id)) for row in rows]
        try:
            self.close()
            record.set_meta("index_dirty", "1")
            raise_on_damage(self.folder)
            repairs = self._find_repairs(record, rows, trusted=trusted)
            with self._writing(record, last_changes):
                for row, differences in repairs:
                    self._repair_collection(record, row, differences, progress)
                raise_on_damage(self.folder)
                _flush_files(self.folder)
        except GalleryIndexError as error:
            self._notices.append(f"The index could not be repaired and is rebuilt: {error.message}")
            self.rebuild(record, progress)

    def _find_repairs(
        self, record: Record, rows: Sequence[CollectionRow], *, trusted: bool
    ) -> list[tuple[CollectionRow, IndexDifferences]]:
        """Return the collections that differ from the record, with their differences.

        Raises:
            GalleryIndexError: A rebuild is needed, or faster.
        """
        repairs = []
        compare = compare_with_record if trusted or not self._has_database() else compare_apart
        for row in rows:
            differences, problems = compare(self.folder, record, row, None, create=True)
            if differences.unreadable or problems:
                raise GalleryIndexError(problems[0] if problems else "Chroma cannot read its vectors.")
            if differences.count > max(_MAX_REPAIRED_SHARE * record.entries.count(row.id), BATCH_SIZE):
                raise GalleryIndexError(f"{differences.count} entries differ from the record.")
            if differences.count:
                repairs.append((row, differences))
        return repairs

    def _repair_collection(
        self, record: Record, row: CollectionRow, differences: IndexDifferences, progress: Progress | None
    ) -> None:
        index = ChromaIndex(self.folder, row.name, row.model)
        index.delete([*differences.extra, *differences.different])
        add_from_record(index, record, row, [*differences.missing, *differences.different], progress)
        index.close()
        left, problems = compare_with_record(self.folder, record, row, None)
        if left.count or problems:
            raise GalleryIndexError(f"The collection {row.name!r} still differs from the record.")
        self._notices.append(f"The index of {row.name!r} was repaired.")

    def repair_entries(self, record: Record) -> None:
        """Repair damaged entries of the record from snapshots, the log, and the index where that is intact."""
        for row in record.collections():
            repaired, left = repair_entries(record, row, partial(self._copies, record, row))
            if repaired:
                self._notices.append(
                    f"{len(repaired)} damaged entries of {row.name!r} were repaired: {damage_in_words(repaired)}."
                )
            if left:
                self._notices.append(
                    f"{len(left)} damaged entries of {row.name!r} cannot be repaired: {damage_in_words(left)}. "
                    "Restore a snapshot, or remove them and add them again."
                )

    def _copies(self, record: Record, row: CollectionRow, ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the vectors that an intact index has of entries, by id, as far as they have not changed since."""
        if not self._has_database() or not self.is_clean(record):
            return {}
        pending = pending_ids(record, row)
        ids = [id_ for id_ in ids if id_ not in pending]
        found: dict[str, NDArray[np.float32]] = {}
        with suppress(GalleryIndexError):
            index = self.open(record, row)
            for start in range(0, len(ids), BATCH_SIZE):
                found.update(index.vectors(ids[start : start + BATCH_SIZE]))
        self.close()
        return found

    def rebuild(self, record: Record, progress: Progress | None = None) -> None:
        """Build a new index of all collections beside the old one, then replace the old one by it."""
        rows = record.collections()
        last_changes = [(row.id, record.log.last_change(row.id)) for row in rows]
        total = sum(record.entries.count(row.id) for row in rows)
        done = 0
        with self._writing(record, last_changes):
            ChromaIndex.close_all(self.folder)
            self.remove_leftovers()
            for row in rows:
                index = ChromaIndex(self._new_folder, row.name, row.model, create=True)
                ids = record.entries.ids(row.id)
                add_from_record(index, record, row, ids, progress, done, total)
                done += len(ids)
                index.close()
            _flush_files(self._new_folder)
            if self.folder.exists():
                self.folder.rename(self._old_folder)
            self._new_folder.rename(self.folder)
            fsync_folder(self.folder.parent)
            remove_folder(self._old_folder)
            # The old folder had the logs of its server, too; the next server creates new ones.
            self._forget_logs(record)

    def recover_served_log(self, record: Record, *, killed: bool = True) -> None:
        """Take in what clients stored with a server that has ended; it is in a log in Chroma's folder.

        Args:
            record: The record.
            killed: Whether the server was killed.
        """
        if record.meta("served_open") == "1":
            self.close()
            self._recover_log(self.folder, record, self._notices, killed)

    def remove_leftovers(self) -> None:
        """Remove the folders that a killed rebuild left."""
        remove_folder(self._new_folder)
        remove_folder(self._old_folder)

    # -- reading ---------------------------------------------------------------------------------------------

    def open(self, record: Record, row: CollectionRow) -> ChromaIndex:
        """Return the open index for searching; it is opened again when a writer has changed it since."""
        stamp = (row.name, record.meta("index_stamp"))
        if self._opened is None or not self._opened.is_open or self._opened_stamp != stamp:
            # A client that was open before does not see the new vectors of another process.
            ChromaIndex.close_all(self.folder)
            self.check(record)
            self._opened = ChromaIndex(self.folder, row.name, row.model)
            self._opened_stamp = stamp
        return self._opened

    @property
    def opened(self) -> ChromaIndex | None:
        """The index that `open` returned, while it is open."""
        return self._opened if self._opened is not None and self._opened.is_open else None

    def close(self) -> None:
        """Close the index that `open` returned."""
        index, self._opened = self._opened, None
        if index is not None:
            index.close()

    def verify(self, record: Record, row: CollectionRow, progress: Progress | None = None) -> VerifyReport:
        """Compare every id and every vector of a collection with the record.

        An index that lacks the newest changes, or was killed while it took them in, is not damaged.
        """
        pending = pending_ids(record, row)
        if not self._has_database():
            return verify_index(self.folder, record, row, progress, pending=pending)
        self.close()
        broken: tuple[str, ...] = ()
        trusted = self.is_clean(record)
        if trusted:
            self._checked_stamp = None  # this is the command that looks at the files in any case
            try:
                self.check(record)
            except GalleryIndexError as error:
                trusted, broken = False, (error.message,)
        compare = compare_with_record if trusted else compare_apart
        return verify_index(self.folder, record, row, progress, compare=compare, problems=broken, pending=pending)


def _seal(folder: Path) -> str:
    try:
        return seal(folder)
    except (OSError, sqlite3.Error) as error:
        raise GalleryIndexError(f"The files of the Chroma index {folder} cannot be read: {error}.") from error


def _flush_files(folder: Path) -> None:
    """Write Chroma's files to the disk with fsync, which Chroma does not do."""
    try:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                descriptor = os.open(path, os.O_RDWR)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            else:
                fsync_folder(path)
    except OSError as error:
        raise GalleryError(
            f"The files of the Chroma index {folder} cannot be written to the disk: {error.strerror or error}.",
            hint="Check the disk. The gallery's record is not affected.",
        ) from error
    fsync_folder(folder)
