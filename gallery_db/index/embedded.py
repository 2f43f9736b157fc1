"""The index in a gallery's own folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import GalleryIndexError
from gallery_db.index.base import Progress, VerifyReport
from gallery_db.store.lock import DEFAULT_LOCK_TIMEOUT, WriterLock
from gallery_db.store.record import CollectionRow, Record

if TYPE_CHECKING:
    from gallery_db.index.chroma_index import ChromaIndex
    from gallery_db.index.maintenance import IndexMaintenance

__all__ = ["EmbeddedIndex"]


class EmbeddedIndex:
    """The index in a gallery's folder, used under the folder's lock; see `SearchIndex` for its methods.

    Args:
        path: The gallery's folder.
        record: The gallery's record, open for writing if there is a lock.
        row: The collection.
        lock: The lock, held, of a gallery that is open for writing; None for reading.
        maintenance: The maintenance of the folder's index.
        notices: Repairs are noted here for the user.
    """

    _PROBES_AT_ONCE = 256

    def __init__(
        self,
        path: Path,
        record: Record,
        row: CollectionRow,
        lock: WriterLock | None,
        maintenance: IndexMaintenance,
        notices: list[str],
    ) -> None:
        self._path = path
        self._record = record
        self._key = row.id
        self._lock = lock
        self._notices = notices
        self._maintenance = maintenance

    @property
    def folder(self) -> Path:
        """The folder of Chroma's files."""
        return self._maintenance.folder

    def recover(self) -> None:
        """Remove and take in what a killed writer or server left; needs the lock."""
        self._maintenance.remove_leftovers()
        self._maintenance.recover_served_log(self._record)

    def sync(self, progress: Progress | None = None) -> None:
        """See `SearchIndex`."""
        self._maintenance.sync(self._record, self._row(), progress)

    def deliver(self) -> None:
        """See `SearchIndex`; there is nothing to do, as the record has every change."""

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """See `SearchIndex`; an index with faults is marked, so that its next use repairs it."""
        with self._exclusive():
            report = self._maintenance.verify(self._record, self._row(), progress)
            if not report.ok and report.record_ok:
                with self._writing() as record:
                    self._maintenance.mark_unclean(record)
            return report

    def rebuild(self, progress: Progress | None = None) -> None:
        """See `SearchIndex`; for all collections. If the process is killed, the old index stays."""
        with self._exclusive(), self._writing() as record:
            self._maintenance.repair_entries(record)
            self._maintenance.rebuild(record, progress)

    def prefers_exact(self, entries: int, *, loaded: bool) -> bool:
        """See `SearchIndex`: the record answers exactly, in the time that Chroma takes to open its files."""
        return True

    def search(
        self, probes: NDArray[np.float32], count: int, *, repair: bool
    ) -> tuple[list[list[str]], list[list[float]]]:
        """See `SearchIndex`."""
        with self._opened(repair=repair) as (index, row):
            return self._query(index, probes, min(count, self._record.entries.count(row.id)))

    def prepare(self, progress: Progress | None = None) -> None:
        """See `SearchIndex`."""
        with self._opened(repair=True, progress=progress):
            pass

    def search_at(
        self, probes: NDArray[np.float32], count: int, generation: int
    ) -> tuple[list[list[str]], list[list[float]]] | None:
        """See `SearchIndex`."""
        if self._lock is not None and (opened := self._maintenance.opened) is not None:
            # No other process writes, and what this handle writes is appended to its view, too.
            return self._query(opened, probes, count)
        with self._opened(repair=False) as (index, row):
            return self._query(index, probes, count) if row.generation == generation else None

    @contextmanager
    def _opened(self, *, repair: bool, progress: Progress | None = None) -> Iterator[tuple[ChromaIndex, CollectionRow]]:
        """Open the Chroma index while other processes are kept out.

        Args:
            repair: Bring the index up to date, or rebuild it, where needed.
            progress: Called with (entries done, entries in all) meanwhile.

        Raises:
            GalleryIndexError: Without `repair`: the index is not up to date, or Chroma cannot open it.
        """
        with self._exclusive(DEFAULT_LOCK_TIMEOUT if repair else 0.0):
            row = self._row()
            if not self._maintenance.is_clean(self._record) or not self._maintenance.is_current(self._record, row):
                if not repair:
                    raise GalleryIndexError("the index is not up to date with the record.")
                with self._writing() as record:
                    self._maintenance.sync(record, row, progress)
                row = self._row()
            try:
                index = self._maintenance.open(self._record, row)
            except GalleryIndexError as error:
                if not repair:
                    raise
                self._notices.append(f"{error.message} The index is rebuilt.")
                with self._writing() as record:
                    self._maintenance.rebuild(record, progress)
                index = self._maintenance.open(self._record, row)
            yield index, row

    def _query(
        self, index: ChromaIndex, probes: NDArray[np.float32], count: int
    ) -> tuple[list[list[str]], list[list[float]]]:
        ids: list[list[str]] = []
        distances: list[list[float]] = []
        for start in range(0, len(probes), self._PROBES_AT_ONCE):
            some_ids, some_distances = index.query(probes[start : start + self._PROBES_AT_ONCE], count)
            ids += some_ids
            distances += some_distances
        return ids, distances

    def state(self) -> tuple[int, bool]:
        """See `SearchIndex`."""
        current = self._maintenance.is_clean(self._record) and self._maintenance.is_current(self._record, self._row())
        return _size_of(self._maintenance.folder), current

    def close(self) -> None:
        """See `SearchIndex`."""
        self._maintenance.close()

    def release(self) -> None:
        """See `SearchIndex`."""
        if self._lock is not None:
            self._lock.release()

    def _row(self) -> CollectionRow:
        self._record.generation(self._key)  # raises where a restored snapshot does not have the collection
        return next(row for row in self._record.collections() if row.id == self._key)

    @contextmanager
    def _exclusive(self, timeout: float = DEFAULT_LOCK_TIMEOUT) -> Iterator[None]:
        """Keep other processes out of the index: with the lock of this handle, or with a lock for the body."""
        if self._lock is not None:
            yield
            return
        from gallery_db.atomic_files import check_writable

        check_writable(self._path, self._record.path)
        lock = WriterLock(self._path)
        lock.acquire(timeout)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _writing(self) -> Iterator[Record]:
        """Return the record open for writing, while the lock is held: the gallery's own, or another for the body."""
        if self._lock is not None:
            yield self._record
            return
        record = Record.open(self._record.path, write=True)
        try:
            self._maintenance.recover_served_log(record)
            yield record
        finally:
            record.close()


def _size_of(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size
