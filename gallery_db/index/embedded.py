"""What a gallery asks of the index over its vectors, and the one that lies in the gallery's own folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import GalleryIndexError
from gallery_db.store.lock import DEFAULT_LOCK_TIMEOUT, WriterLock
from gallery_db.store.record import CollectionRow, Record

if TYPE_CHECKING:
    from gallery_db.index.chroma_index import ChromaIndex
    from gallery_db.index.maintenance import IndexMaintenance, VerifyReport

__all__ = ["EmbeddedIndex", "SearchIndex"]

Progress = Callable[[int, int], None]


class SearchIndex(Protocol):
    """An approximate index of one collection, derived from its record."""

    def sync(self, progress: Progress | None = None) -> None:
        """Bring it up to date; only where the gallery is open for writing."""
        ...

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Compare every vector with the record."""
        ...

    def rebuild(self, progress: Progress | None = None) -> None:
        """Make it anew from the record."""
        ...

    def prefers_exact(self, entries: int, *, loaded: bool) -> bool:
        """Whether an exact search is the quicker answer.

        Args:
            entries: Number of entries.
            loaded: Whether they are in memory already.
        """
        ...

    def search(
        self, probes: NDArray[np.float32], count: int, *, mend: bool
    ) -> tuple[list[list[str]], list[list[float]]]:
        """The ids nearest to each of the probes (P, D) and their cosine distances, the nearest first.

        Args:
            probes: (P, D) float32, of unit length.
            count: How many of each; less where there are fewer entries.
            mend: Bring the index up to date first if that is needed.
        """
        ...

    def prepare(self) -> None:
        """Bring it up to date if that is needed, for a view that is going to ask."""
        ...

    def search_at(
        self, probes: NDArray[np.float32], count: int, generation: int
    ) -> tuple[list[list[str]], list[list[float]]] | None:
        """`search` for a view that shows a generation of the collection; None where another one is there now."""
        ...

    def state(self) -> tuple[int, bool]:
        """Its size in bytes as far as known, and whether it follows all changes."""
        ...

    def close(self) -> None:
        """Let go of what it has open, while the record is open still."""
        ...

    def release(self) -> None:
        """Let others in, after the record was closed."""
        ...


class EmbeddedIndex:
    """The index in a gallery's folder, under the folder's lock; see `SearchIndex` for its methods.

    Args:
        path: The gallery's folder.
        record: The gallery's record, open for writing if there is a lock.
        row: The collection.
        lock: Held, of a gallery that is open for writing.
        maintenance: Of the files in that folder.
        notices: Where to say what a user should hear of.
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
        self._keeper = maintenance

    @property
    def folder(self) -> Path:
        """Of Chroma's files."""
        return self._keeper.folder

    def recover(self) -> None:
        """Put right what a killed writer or server left; needs the lock held."""
        self._keeper.tidy()
        self._keeper.absorb(self._record)

    def sync(self, progress: Progress | None = None) -> None:
        """See `SearchIndex`."""
        self._keeper.sync(self._record, self._row(), progress)

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """See `SearchIndex`; an index that fails is noted, so that its next use mends it."""
        with self._exclusive():
            report = self._keeper.verify(self._record, self._row(), progress)
            if not report.ok and report.record_ok:
                with self._writing() as record:
                    self._keeper.mark_suspect(record)
            return report

    def rebuild(self, progress: Progress | None = None) -> None:
        """See `SearchIndex`; of all collections. A kill on the way leaves the old one."""
        with self._exclusive(), self._writing() as record:
            self._keeper.rebuild(record, progress)

    def prefers_exact(self, entries: int, *, loaded: bool) -> bool:
        """See `SearchIndex`."""
        return False

    def search(
        self, probes: NDArray[np.float32], count: int, *, mend: bool
    ) -> tuple[list[list[str]], list[list[float]]]:
        """See `SearchIndex`."""
        with self._opened(mend=mend) as (index, row):
            return self._ask(index, probes, min(count, self._record.entries.count(row.id)))

    def prepare(self) -> None:
        """See `SearchIndex`."""
        with self._opened(mend=True):
            pass

    def search_at(
        self, probes: NDArray[np.float32], count: int, generation: int
    ) -> tuple[list[list[str]], list[list[float]]] | None:
        """See `SearchIndex`."""
        if self._lock is not None and (held := self._keeper.opened) is not None:
            # Nobody else writes. What this handle has written since, whoever wrote it tells its view.
            return self._ask(held, probes, count)
        with self._opened(mend=False) as (index, row):
            return self._ask(index, probes, count) if row.generation == generation else None

    @contextmanager
    def _opened(self, *, mend: bool) -> Iterator[tuple[ChromaIndex, CollectionRow]]:
        """The Chroma index, open and following the record, with other processes kept away meanwhile."""
        with self._exclusive(DEFAULT_LOCK_TIMEOUT if mend else 0.0):
            row = self._row()
            if not self._keeper.is_clean(self._record) or not self._keeper.is_current(self._record, row):
                if not mend:
                    raise GalleryIndexError("the index does not follow the record yet.")
                with self._writing() as record:
                    self._keeper.sync(record, row)
                row = self._row()
            try:
                index = self._keeper.open(self._record, row)
            except GalleryIndexError as error:
                if not mend:
                    raise
                self._notices.append(f"{error.message} It is made anew.")
                with self._writing() as record:
                    self._keeper.rebuild(record)
                index = self._keeper.open(self._record, row)
            yield index, row

    def _ask(
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
        current = self._keeper.is_clean(self._record) and self._keeper.is_current(self._record, self._row())
        return _size_of(self._keeper.folder), current

    def close(self) -> None:
        """See `SearchIndex`."""
        self._keeper.close()

    def release(self) -> None:
        """See `SearchIndex`."""
        if self._lock is not None:
            self._lock.release()

    def _row(self) -> CollectionRow:
        self._record.generation(self._key)  # tells when a restored snapshot does not have the collection
        return next(row for row in self._record.collections() if row.id == self._key)

    @contextmanager
    def _exclusive(self, timeout: float = DEFAULT_LOCK_TIMEOUT) -> Iterator[None]:
        """Keep other processes away from the index: this handle has the lock, or takes it for a moment."""
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
        """The record open for writing, for whoever has the lock: the gallery's own, or another for a moment."""
        if self._lock is not None:
            yield self._record
            return
        record = Record.open(self._record.path, write=True)
        try:
            self._keeper.absorb(record)
            yield record
        finally:
            record.close()


def _size_of(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size
