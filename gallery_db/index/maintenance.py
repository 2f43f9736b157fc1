"""Keeps the derived Chroma index in step with the record, and notices when it is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import fsync_folder
from gallery_db.errors import GalleryError, GalleryIndexError
from gallery_db.index.chroma_client import chroma_version
from gallery_db.index.chroma_index import (
    BATCH_SIZE,
    ChromaIndex,
    IndexDifferences,
    Progress,
    remove_folder,
)
from gallery_db.index.hnsw_check import hnsw_damage
from gallery_db.logs import get_logger

if TYPE_CHECKING:
    from gallery_db.store.record import CollectionRow, Record

__all__ = ["IndexMaintenance", "VerifyReport", "follow_on_server"]

_log = get_logger("index")

_SAMPLES = 32
_REPAIRABLE = 0.5  # share of the entries; beyond it a fresh index is made sooner than the old one is mended


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification of a collection found.

    Attributes:
        collection: Name of the collection.
        entries: Number of entries in the record.
        missing: Ids that the index lacks, or whose vector it cannot give; also those not yet synced to it.
        extra: Ids of the index that the record lacks.
        different: Ids whose vector in the index differs from the record's.
        problems: What else is wrong, a sentence each.
        record_ok: Whether the record itself, the part that cannot be rebuilt, is sound.
    """

    collection: str
    entries: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]
    problems: tuple[str, ...]
    record_ok: bool

    @property
    def ok(self) -> bool:
        """Whether index and record agree and both are sound."""
        return self.record_ok and not (self.missing or self.extra or self.different or self.problems)


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What an index has to do to follow its record.

    Attributes:
        until: Number of the record's last change that it then follows.
        gone: Ids to take out.
        new: Ids to add, after that.
        described: Ids of which only what is said of them has changed.
    """

    until: int
    gone: list[str]
    new: list[str]
    described: list[str]


def plan_changes(record: Record, row: CollectionRow) -> IndexPlan:
    """What the index of a collection lacks."""
    until = record.log.last_change(row.id)
    first: dict[str, str] = {}
    rewritten: set[str] = set()
    for action, id_ in record.log.changes_after(row.id, row.applied_seq, until):
        first.setdefault(id_, action)
        if action != "update":
            rewritten.add(id_)
    present: set[str] = set()
    for start in range(0, len(first), BATCH_SIZE):
        present.update(record.entries.by_ids(row.id, list(first)[start : start + BATCH_SIZE]))
    # A vector that changed is taken out and appended: Chroma's upsert of an existing one is far slower.
    return IndexPlan(
        until,
        gone=[id_ for id_, action in first.items() if action != "add" and (id_ in rewritten)],
        new=[id_ for id_ in first if id_ in present and id_ in rewritten],
        described=[id_ for id_ in first if id_ in present and id_ not in rewritten],
    )


def follow_on_server(index: ChromaIndex, record: Record, row: CollectionRow) -> None:
    """Bring an index on a server up to date with a collection; again after whatever came in between."""
    if row.applied_seq >= record.log.last_change(row.id):
        return
    plan = plan_changes(record, row)
    index.delete([*plan.gone, *plan.new])
    for start in range(0, len(plan.described), BATCH_SIZE):
        index.update_metadata(list(record.entries.by_ids(row.id, plan.described[start : start + BATCH_SIZE]).values()))
    for start in range(0, len(plan.new), BATCH_SIZE):
        index.add(*record.entries.with_vectors(row.id, plan.new[start : start + BATCH_SIZE], row.model.dimension))
    record.note_applied(row.id, plan.until)


class IndexMaintenance:
    """The index in a gallery's folder. All methods but the state's need the writer lock held.

    The record notes ``index_dirty`` before Chroma is opened for writing, and takes it back after the client
    was closed and its files flushed. Whoever finds it set knows that a writer died on the way.

    Args:
        gallery: The gallery's folder.
        notices: Where repairs are noted for the user.
        recover_log: Called with (Chroma's folder, record, notices, killed) to take in what clients stored with a
            server of this gallery that was killed.
        forget_logs: Called with the record when the server's logs are gone with the old index.
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
        self._new = gallery / "chroma.new"
        self._old = gallery / "chroma.old"
        self._notices = notices
        self._recover_log = recover_log
        self._forget_logs = forget_logs
        self._reading: ChromaIndex | None = None
        self._reading_stamp: tuple[str, str | None] | None = None

    # -- state -----------------------------------------------------------------------------------------------

    def is_clean(self, record: Record) -> bool:
        """Whether the last writer closed the index as it should, and the index is there."""
        if record.meta("index_dirty") == "1":
            return False
        return (self.folder / "chroma.sqlite3").is_file() or all(not row.applied_seq for row in record.collections())

    @staticmethod
    def is_current(record: Record, row: CollectionRow) -> bool:
        """Whether the index follows all changes of a collection."""
        return row.applied_seq >= record.log.last_change(row.id)

    def mark_suspect(self, record: Record) -> None:
        """Note that the index is not to be trusted, so that its next use verifies it."""
        record.set_meta("index_dirty", "1")

    # -- writing ---------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, record: Record, applied: Sequence[tuple[int, int]]) -> Iterator[None]:
        self.close()
        record.set_meta("index_dirty", "1")
        try:
            yield
        finally:
            with suppress(GalleryIndexError):
                ChromaIndex.close_all(self.folder)
                ChromaIndex.close_all(self._new)
        with record.transaction():
            for collection, seq in applied:
                record.note_applied(collection, seq)
            record.set_meta("index_stamp", str(int(record.meta("index_stamp") or 0) + 1))
            record.set_meta("chromadb_version", chroma_version())
            record.set_meta("index_dirty", "0")

    def sync(self, record: Record, row: CollectionRow, progress: Progress | None = None) -> None:
        """Bring the index up to date with a collection, mending it where that is needed."""
        if not self.is_clean(record):
            self._notices.append(
                f"The index {self.folder} was not closed by its last writer; it is checked against the record."
            )
            self.mend(record, progress)
            return
        if self.is_current(record, row):
            return
        try:
            self._apply_changes(record, row, progress)
        except GalleryIndexError as error:
            self._notices.append(f"{error.message} It is made anew.")
            self.rebuild(record, progress)

    def _apply_changes(self, record: Record, row: CollectionRow, progress: Progress | None) -> None:
        plan = plan_changes(record, row)
        if len(plan.gone) > BATCH_SIZE and len(plan.gone) > _REPAIRABLE * record.entries.count(row.id):
            self.rebuild(record, progress)  # what is taken out stays in the HNSW graph as dead weight
            return
        with self._writing(record, [(row.id, plan.until)]):
            index = ChromaIndex(self.folder, row.name, row.model, create=True)
            index.delete(plan.gone)
            for start in range(0, len(plan.described), BATCH_SIZE):
                part = plan.described[start : start + BATCH_SIZE]
                index.update_metadata(list(record.entries.by_ids(row.id, part).values()))
            self._append(index, record, row, plan.new, progress)
            index.close()
            _flush(self.folder)
        _log.info(
            "index of collection %s synchronised: %d entries added, %d updated, %d removed",
            row.name,
            len(plan.new),
            len(plan.described),
            len(plan.gone),
        )

    def _append(
        self,
        index: ChromaIndex,
        record: Record,
        row: CollectionRow,
        ids: Sequence[str],
        progress: Progress | None,
        done: int = 0,
        total: int | None = None,
    ) -> None:
        total = len(ids) if total is None else total
        for start in range(0, len(ids), BATCH_SIZE):
            entries, vectors = record.entries.with_vectors(row.id, ids[start : start + BATCH_SIZE], row.model.dimension)
            index.add(entries, vectors)
            if progress is not None:
                progress(min(done + start + BATCH_SIZE, done + len(ids)), total)
        probe = np.zeros((1, row.model.dimension), np.float32)
        probe[0, 0] = 1.0
        index.settle(probe)

    def mend(self, record: Record, progress: Progress | None = None) -> None:
        """Compare the index of all collections with the record, put right what differs, and note it clean."""
        rows = record.collections()
        until = [(other.id, record.log.last_change(other.id)) for other in rows]
        try:
            self.close()
            record.set_meta("index_dirty", "1")
            self._refuse_damage()
            plans = []
            for other in rows:
                difference, problems = self._difference(record, other, None, create=True)
                wrong = len(difference.missing) + len(difference.extra) + len(difference.different)
                if difference.unreadable or problems:
                    raise GalleryIndexError(problems[0] if problems else "Chroma cannot read its vectors.")
                if wrong > max(_REPAIRABLE * record.entries.count(other.id), BATCH_SIZE):
                    raise GalleryIndexError(f"{wrong} entries differ from the record.")
                if wrong:
                    plans.append((other, difference))
            with self._writing(record, until):
                for other, difference in plans:
                    index = ChromaIndex(self.folder, other.name, other.model)
                    index.delete([*difference.extra, *difference.different])
                    self._append(index, record, other, [*difference.missing, *difference.different], progress)
                    index.close()
                    again, problems = self._difference(record, other, None)
                    if again.missing or again.extra or again.different or problems:
                        raise GalleryIndexError(f"the collection {other.name!r} still differs from the record.")
                    self._notices.append(f"The index of {other.name!r} was repaired.")
                self._refuse_damage()
                _flush(self.folder)
        except GalleryIndexError as error:
            self._notices.append(f"The index could not be repaired and is made anew: {error.message}")
            self.rebuild(record, progress)

    def _refuse_damage(self) -> None:
        """Keep files that a kill has torn from Chroma, which would end this process, now or at some later search."""
        if damage := hnsw_damage(self.folder):
            raise GalleryIndexError(damage[0])

    def rebuild(self, record: Record, progress: Progress | None = None) -> None:
        """Make the index of all collections anew, beside the old one, and put it in its place."""
        rows = record.collections()
        until = [(row.id, record.log.last_change(row.id)) for row in rows]
        total = sum(record.entries.count(row.id) for row in rows)
        done = 0
        with self._writing(record, until):
            ChromaIndex.close_all(self.folder)
            self.tidy()
            for row in rows:
                index = ChromaIndex(self._new, row.name, row.model, create=True)
                ids = record.entries.ids(row.id)
                self._append(index, record, row, ids, progress, done, total)
                done += len(ids)
                index.close()
            _flush(self._new)
            if self.folder.exists():
                self.folder.rename(self._old)
            self._new.rename(self.folder)
            fsync_folder(self.folder.parent)
            remove_folder(self._old)
            # With the old folder went the logs of its server; the next one makes them anew.
            self._forget_logs(record)

    def absorb(self, record: Record, *, killed: bool = True) -> None:
        """Take in what clients stored with a server that was killed; it stands in the log, in Chroma's folder."""
        if record.meta("served_open") == "1":
            self.close()
            self._recover_log(self.folder, record, self._notices, killed)

    def tidy(self) -> None:
        """Remove what a killed rebuild left."""
        remove_folder(self._new)
        remove_folder(self._old)

    # -- reading ---------------------------------------------------------------------------------------------

    def open(self, record: Record, row: CollectionRow) -> ChromaIndex:
        """The open index for searching; opened again when a writer has changed it since."""
        stamp = (row.name, record.meta("index_stamp"))
        if self._reading is None or not self._reading.is_open or self._reading_stamp != stamp:
            # Another process's new vectors are not seen by a client that was open before.
            ChromaIndex.close_all(self.folder)
            self._reading = ChromaIndex(self.folder, row.name, row.model)
            self._reading_stamp = stamp
        return self._reading

    @property
    def opened(self) -> ChromaIndex | None:
        """The index that `open` opened, while it is."""
        return self._reading if self._reading is not None and self._reading.is_open else None

    def close(self) -> None:
        """Close the index that `open` opened."""
        index, self._reading = self._reading, None
        if index is not None:
            index.close()

    def verify(self, record: Record, row: CollectionRow, progress: Progress | None = None) -> VerifyReport:
        """Compare every id and every vector of a collection with the record."""
        damage = record.check_integrity()
        problems = [f"The record is damaged: {line}." for line in damage]
        total = record.entries.count(row.id)
        difference = IndexDifferences((), (), (), False)
        if not (self.folder / "chroma.sqlite3").is_file():
            if total:
                difference = IndexDifferences(tuple(record.entries.ids(row.id)), (), (), True)
                problems.append(f"There is no Chroma index in {self.folder}.")
        else:
            self.close()
            try:
                self._refuse_damage()
                difference, found = self._difference(record, row, progress)
                problems += found
            except GalleryIndexError as error:
                problems.append(error.message)
        if difference.unreadable and not problems:
            problems.append("Chroma cannot read vectors that it should hold.")
        return VerifyReport(
            row.name, total, difference.missing, difference.extra, difference.different, tuple(problems), not damage
        )

    def _difference(
        self, record: Record, row: CollectionRow, progress: Progress | None, *, create: bool = False
    ) -> tuple[IndexDifferences, list[str]]:
        ids = record.entries.ids(row.id)

        def batches() -> Iterator[tuple[Sequence[str], NDArray[np.float32]]]:
            for start in range(0, len(ids), BATCH_SIZE):
                part = ids[start : start + BATCH_SIZE]
                yield part, record.entries.with_vectors(row.id, part, row.model.dimension)[1]

        index = ChromaIndex(self.folder, row.name, row.model, create=create)
        try:
            difference = index.compare(batches(), progress=progress, total=len(ids))
            problems = []
            absent = {*difference.missing, *difference.different}
            sample = [id_ for id_ in ids[:: max(1, len(ids) // _SAMPLES)] if id_ not in absent]
            if sample:
                # The vectors may all be there and the graph over them still be broken.
                _, distances = index.query(record.entries.with_vectors(row.id, sample, row.model.dimension)[1], 1)
                lost = sum(1 for row_ in distances if not row_ or row_[0] > 1e-4)
                if lost:
                    problems.append(
                        f"{lost} of {len(sample)} sampled entries are not found by a search for their own vector."
                    )
            return difference, problems
        finally:
            index.close()


def _flush(folder: Path) -> None:
    """Put Chroma's files on the disk; it does not do so itself."""
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
            f"The files of the Chroma index {folder} cannot be written out: {error.strerror or error}.",
            hint="Check the disk; the gallery's record is not concerned.",
        ) from error
    fsync_folder(folder)
