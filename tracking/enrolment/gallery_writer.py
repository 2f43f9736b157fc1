"""Writing of enrolled entries into a gallery, in a thread of its own, so that no frame waits for a disk."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db import Gallery
from gallery_db.atomic_files import atomic_path
from gallery_db.entry import Entry
from gallery_db.errors import GalleryError, GtrackError
from gallery_db.logs import get_logger
from gallery_db.rejections import NOT

__all__ = ["CROPS", "GalleryWriter"]

CROPS = "crops"
"""Name of the folder of the enrolled entries' crops, in the gallery's folder."""

_log = get_logger("enrolment")

_MAX_BATCH = 64
_MAX_WAIT = 1.0
"""Seconds that a batch waits for more jobs: a transaction costs a flush of the disk, whatever its size."""


@dataclass(frozen=True, slots=True)
class _Put:
    entry: Entry
    embedding: NDArray[np.float32]
    crop: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class _Remove:
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Rename:
    id_: str
    identity: str
    enrolled_as: str


@dataclass(slots=True)
class _Batch:
    """Merged jobs, by the ids of the entries."""

    puts: dict[str, tuple[Entry, NDArray[np.float32]]] = field(default_factory=dict)
    removed: dict[str, None] = field(default_factory=dict)
    renamed: dict[str, _Rename] = field(default_factory=dict)


class GalleryWriter:
    """Writes entries to a gallery that is open for writing; an `EnrolmentSink`.

    The first error is kept for `finish`. A crop that cannot be written costs the entry its crop; a record that cannot
    be written ends all writing. What is in the record stays in it.

    Others may write to a served gallery at the same time. Where they have moved an entry of this run to another
    identity, or removed it, that stands: it is neither moved back nor stored again, nor removed as outdated.

    Args:
        gallery: Open for writing; from now on only this object uses it, until `finish` or `abort` closes it.
        earlier: Entries that an earlier run of the same key stored; those not stored again are removed at the end.
        operation: Description of the run in the gallery's log, where it is one operation.
    """

    def __init__(
        self, gallery: Gallery, earlier: Sequence[Entry] = (), *, operation: str = "enrol a run's tracks"
    ) -> None:
        self._gallery = gallery
        self._earlier = {entry.id: entry for entry in earlier}
        self._written: set[str] = set()
        self._identities = {id_: entry.identity for id_, entry in self._earlier.items()}
        """The identity of each entry as this run stored it; another one in the gallery was given by another user."""
        self._failure: GtrackError | None = None
        self._broken = False
        self._closed = False
        self._operation = ExitStack()
        self._operation.enter_context(gallery.operation("enrol", operation))
        self._jobs: queue.Queue[_Put | _Remove | _Rename | None] = queue.Queue(maxsize=256)
        # A daemon: a process that is ended must not wait for its gallery.
        self._thread = threading.Thread(target=self._work, name="gtrack-enrolment", daemon=True)
        self._thread.start()

    @property
    def gallery(self) -> Gallery:
        """The gallery."""
        return self._gallery

    def put(self, entry: Entry, embedding: NDArray[np.float32], crop: NDArray[np.uint8] | None) -> None:
        """See `EnrolmentSink`."""
        _log.debug("a track ended: entry %s of %s", entry.id, entry.identity)
        self._jobs.put(_Put(entry, embedding, crop))

    def remove(self, ids: Sequence[str]) -> None:
        """See `EnrolmentSink`."""
        self._jobs.put(_Remove(tuple(ids)))

    def rename(self, id_: str, identity: str, *, enrolled_as: str | None = None) -> None:
        """See `EnrolmentSink`."""
        self._jobs.put(_Rename(id_, identity, enrolled_as or identity))

    def finish(
        self,
        *,
        last_frame: int | None = None,
        deliver: bool = True,
        check: Callable[[Gallery, frozenset[str]], None] | None = None,
    ) -> GtrackError | None:
        """Write what is waiting, remove what an earlier run stored and this one did not, and close the gallery.

        Args:
            last_frame: Last frame of a run that was cut short: entries of later frames stay. None for a complete run.
            deliver: Wait until a server has the entries; else they follow when the gallery is next opened.
            check: Called with the gallery and the ids written, once all is stored.

        Returns:
            The first error, or None. It is not raised: the run is complete without the entries.
        """
        if self._closed:
            return self._failure
        try:
            self._stop()
            if not self._broken:
                try:
                    with suppress(GalleryError):  # changes by others count, as far as the server answers
                        self._gallery.catch_up()
                    self._remove_stale(last_frame)
                    if check is not None:
                        check(self._gallery, frozenset(self._written))
                except GtrackError as error:
                    self._note(error)
        finally:
            self._close(deliver=deliver and self._failure is None)
        return self._failure

    def abort(self) -> None:
        """Close the gallery with what is written so far; nothing happens after `finish`."""
        self._close(deliver=False)

    def _close(self, *, deliver: bool) -> None:
        if self._closed:
            return
        self._closed = True
        self._stop()
        self._operation.close()
        self._gallery.close(sync=None if deliver else False)

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def _note(self, error: GtrackError) -> None:
        if self._failure is None:
            self._failure = error

    # -- the thread ------------------------------------------------------------------------------------------

    def _work(self) -> None:
        running = True
        while running:
            job = self._jobs.get()
            batch: list[_Put | _Remove | _Rename] = []
            until = time.monotonic() + _MAX_WAIT
            while job is not None:
                batch.append(job)
                if len(batch) >= _MAX_BATCH:
                    break
                try:
                    job = self._jobs.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    break
            running = job is not None
            if not batch or self._broken:
                continue
            try:
                self._write(batch)
            except GtrackError as error:
                self._note(error)
                self._broken = True
            except Exception as error:  # noqa: BLE001 - the run must report any error at its end
                self._note(GalleryError(f"The enrolled tracks cannot be stored: {error or type(error).__name__}."))
                self._broken = True

    def _write(self, jobs: Sequence[_Put | _Remove | _Rename]) -> None:
        """Write jobs in one transaction."""
        batch = self._merged(jobs)
        with self._gallery.transaction():
            # Read within the transaction, as others may write to a served gallery at the same time.
            existing = self._gallery.by_ids([*batch.puts, *batch.removed, *batch.renamed])
            removed_by_others = [id_ for id_ in batch.puts if id_ not in existing and id_ in self._identities]
            new = [pair for id_, pair in batch.puts.items() if id_ not in existing and id_ not in self._identities]
            old = [
                (entry if self._is_unchanged(existing[id_]) else _keeping_corrections(entry, existing[id_]), embedding)
                for id_, (entry, embedding) in batch.puts.items()
                if id_ in existing
            ]
            renamed = {
                id_: job for id_, job in batch.renamed.items() if id_ in existing and self._is_unchanged(existing[id_])
            }
            self._gallery.remove([id_ for id_ in batch.removed if id_ in existing])
            self._gallery.update([_renamed(existing[id_], job) for id_, job in renamed.items()])
            self._write_pairs(new, self._gallery.add)
            same = [pair for pair in old if np.allclose(self._gallery.get(pair[0].id)[1], pair[1], atol=1e-6)]
            # An unchanged embedding need not go to the change log, nor to the index.
            self._gallery.update([entry for entry, _ in same])
            self._write_pairs([pair for pair in old if not any(pair is other for other in same)], self._gallery.replace)
        self._written.update(batch.puts)
        self._written.difference_update(batch.removed)
        self._identities.update({id_: entry.identity for id_, (entry, _) in batch.puts.items()})
        self._identities.update({id_: job.identity for id_, job in renamed.items()})
        for id_ in batch.removed:
            self._identities.pop(id_, None)
        for id_ in (*batch.removed, *removed_by_others):
            self._delete_crop(id_)

    def _merged(self, jobs: Sequence[_Put | _Remove | _Rename]) -> _Batch:
        """Merge jobs, so that each entry is written once; writes the crops of the entries."""
        batch = _Batch()
        for job in jobs:
            if isinstance(job, _Rename):
                if job.id_ in batch.puts:
                    entry, embedding = batch.puts[job.id_]
                    batch.puts[job.id_] = (_renamed(entry, job), embedding)
                else:
                    batch.renamed[job.id_] = job
            elif isinstance(job, _Remove):
                for id_ in job.ids:
                    batch.puts.pop(id_, None)
                    batch.renamed.pop(id_, None)
                    batch.removed[id_] = None
            else:
                entry = job.entry
                if job.crop is not None and self._write_crop(entry.id, job.crop):
                    entry = replace(entry, extra={**entry.extra, "crop": f"{CROPS}/{entry.id}.jpg"})
                batch.puts[entry.id] = (entry, job.embedding)
        return batch

    def _is_unchanged(self, existing: Entry) -> bool:
        """Return whether an entry still has the identity that this run gave it."""
        return existing.identity == self._identities.get(existing.id, existing.identity)

    @staticmethod
    def _write_pairs(
        pairs: Sequence[tuple[Entry, NDArray[np.float32]]],
        write: Callable[[Sequence[Entry], NDArray[np.float32]], None],
    ) -> None:
        if pairs:
            write([entry for entry, _ in pairs], np.stack([embedding for _, embedding in pairs]))

    def _remove_stale(self, last_frame: int | None) -> None:
        stale = [
            entry.id
            for entry in self._earlier.values()
            if entry.id not in self._written
            and (last_frame is None or int(entry.extra.get("last_frame", 0)) <= last_frame)
        ]
        with self._gallery.transaction():
            existing = self._gallery.by_ids(stale)
            stale = [id_ for id_ in stale if id_ not in existing or existing[id_] == self._earlier[id_]]
            self._gallery.remove([id_ for id_ in stale if id_ in existing])
        for id_ in stale:
            self._delete_crop(id_)

    # -- crops -----------------------------------------------------------------------------------------------

    def _crop_path(self, id_: str) -> Path:
        return self._gallery.path / CROPS / f"{id_}.jpg"

    def _write_crop(self, id_: str, crop: NDArray[np.uint8]) -> bool:
        import cv2

        path = self._crop_path(id_)
        try:
            path.parent.mkdir(exist_ok=True)
            ok, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 90])
            if not ok:
                raise OSError(None, "OpenCV cannot encode it")
            with atomic_path(path) as beside:
                beside.write_bytes(data.tobytes())
        except OSError as error:
            self._note(
                GalleryError(
                    f"The picture {path} of an enrolled track cannot be written: {error.strerror or error}.",
                    hint="The tracks themselves are stored. Make the path writable, and run again for the pictures.",
                )
            )
            return False
        return True

    def _delete_crop(self, id_: str) -> None:
        with suppress(OSError):
            self._crop_path(id_).unlink(missing_ok=True)


def _keeping_corrections(entry: Entry, existing: Entry) -> Entry:
    """Return an entry as it is to be stored, with the corrections that a user has made to the existing one."""
    corrections = {key: existing.extra[key] for key in ("enrolled_as", "reviewed", NOT) if key in existing.extra}
    return replace(entry, identity=existing.identity, extra={**entry.extra, **corrections})


def _renamed(entry: Entry, job: _Rename) -> Entry:
    return replace(entry, identity=job.identity, extra={**entry.extra, "enrolled_as": job.enrolled_as})
