"""Writes enrolled entries into a gallery from a thread of its own, so that no frame waits for a disk."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
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
"""Folder of the enrolled entries' pictures, in the gallery's."""

_log = get_logger("enrolment")

_AT_ONCE = 64
_WAIT = 1.0
"""Seconds that a batch waits for more: a transaction costs a flush of the disk, whatever its size."""


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


class GalleryWriter:
    """An `EnrolmentSink` over a gallery that is open for writing.

    The first thing that goes wrong is kept for `finish`; a picture that cannot be written costs the entry its
    picture, a record that cannot be written ends all writing. What is in the record stays in it.

    Others may write to a served gallery at the same time. Where they have given an entry of this run another
    identity, or taken it out, that stands: it is neither named back nor stored again, nor removed as outdated.

    Args:
        gallery: Open for writing; from now on it is this object's alone, and closed by `finish` or `abort`.
        earlier: Entries that an earlier run of the same key stored; those not stored again are removed at the end.
        words: What the gallery's log says of the run, which is one operation there.
    """

    def __init__(self, gallery: Gallery, earlier: Sequence[Entry] = (), *, words: str = "enrol a run's tracks") -> None:
        self._gallery = gallery
        self._earlier = {entry.id: entry for entry in earlier}
        self._written: set[str] = set()
        self._said = {id_: entry.identity for id_, entry in self._earlier.items()}
        """Whose each entry is as far as this run knows; where the gallery says otherwise, somebody else has said it."""
        self._failure: GtrackError | None = None
        self._broken = False
        self._closed = False
        self._operation = ExitStack()
        self._operation.enter_context(gallery.operation("enrol", words))
        self._jobs: queue.Queue[_Put | _Remove | _Rename | None] = queue.Queue(maxsize=256)
        # A daemon: a process that is ended for good must not hang on its gallery.
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
        sync: bool = True,
        progress: Callable[[int, int], None] | None = None,
        check: Callable[[Gallery, frozenset[str]], None] | None = None,
    ) -> GtrackError | None:
        """Write what is waiting, remove what an earlier run stored and this one did not, and close the gallery.

        Args:
            last_frame: Of a run that was cut short: entries of later frames stay.
            sync: Bring the Chroma index up to date.
            progress: Called with (entries done, entries in all) meanwhile.
            check: Called with the gallery and the ids written, once all is stored.

        Returns:
            The first thing that went wrong, or None. It raises nothing for it: the run is complete without.
        """
        if self._closed:
            return self._failure
        try:
            self._stop()
            if not self._broken:
                try:
                    with suppress(GalleryError):  # what others did last is not overlooked, if it can be heard
                        self._gallery.catch_up()
                    self._remove_stale(last_frame)
                    if check is not None:
                        check(self._gallery, frozenset(self._written))
                    if sync:
                        self._gallery.sync_index(progress)
                except GtrackError as error:
                    self._note(error)
        finally:
            self.abort()
        return self._failure

    def abort(self) -> None:
        """Close the gallery with what is written; nothing happens after `finish`."""
        if self._closed:
            return
        self._closed = True
        self._stop()
        self._operation.close()
        self._gallery.close(sync=False)

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def _note(self, error: GtrackError) -> None:
        if self._failure is None:
            self._failure = error

    # -- in the thread ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        running = True
        while running:
            job = self._jobs.get()
            batch: list[_Put | _Remove | _Rename] = []
            until = time.monotonic() + _WAIT
            while job is not None:
                batch.append(job)
                if len(batch) >= _AT_ONCE:
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
            except Exception as error:  # noqa: BLE001 - whatever it is, the run must get to hear of it at its end
                self._note(GalleryError(f"The enrolled tracks cannot be stored: {error or type(error).__name__}."))
                self._broken = True

    def _write(self, batch: Sequence[_Put | _Remove | _Rename]) -> None:
        puts: dict[str, tuple[Entry, NDArray[np.float32]]] = {}
        removed: dict[str, None] = {}
        renamed: dict[str, _Rename] = {}
        for job in batch:
            if isinstance(job, _Rename):
                if job.id_ in puts:
                    entry, embedding = puts[job.id_]
                    puts[job.id_] = (_renamed(entry, job), embedding)
                else:
                    renamed[job.id_] = job
                continue
            if isinstance(job, _Remove):
                for id_ in job.ids:
                    puts.pop(id_, None)
                    renamed.pop(id_, None)
                    removed[id_] = None
                continue
            entry = job.entry
            if job.crop is not None and self._write_crop(entry.id, job.crop):
                entry = replace(entry, extra={**entry.extra, "crop": f"{CROPS}/{entry.id}.jpg"})
            puts[entry.id] = (entry, job.embedding)
        with self._gallery.transaction():
            # Within it, for others may write to a served gallery at the same time.
            there = self._gallery.by_ids([*puts, *removed, *renamed])
            gone = [id_ for id_ in removed if id_ in there]
            taken_out = [id_ for id_ in puts if id_ not in there and id_ in self._said]
            new = [pair for id_, pair in puts.items() if id_ not in there and id_ not in self._said]
            old = [
                (entry if self._is_mine(there[id_]) else _as_said(entry, there[id_]), embedding)
                for id_, (entry, embedding) in puts.items()
                if id_ in there
            ]
            renamed = {id_: job for id_, job in renamed.items() if id_ in there and self._is_mine(there[id_])}
            self._gallery.remove(gone)
            self._gallery.update([_renamed(there[id_], job) for id_, job in renamed.items()])
            self._add(new, self._gallery.add)
            same = [pair for pair in old if np.allclose(self._gallery.get(pair[0].id)[1], pair[1], atol=1e-6)]
            # A vector that is the same again need not go to the change log, nor to the index.
            self._gallery.update([entry for entry, _ in same])
            self._add([pair for pair in old if not any(pair is other for other in same)], self._gallery.replace)
        self._written.update(puts)
        self._written.difference_update(removed)
        self._said.update({id_: entry.identity for id_, (entry, _) in puts.items()})
        self._said.update({id_: job.identity for id_, job in renamed.items()})
        for id_ in removed:
            self._said.pop(id_, None)
        for id_ in (*removed, *taken_out):
            self._forget_crop(id_)

    def _is_mine(self, there: Entry) -> bool:
        return there.identity == self._said.get(there.id, there.identity)

    @staticmethod
    def _add(
        pairs: Sequence[tuple[Entry, NDArray[np.float32]]],
        how: Callable[[Sequence[Entry], NDArray[np.float32]], None],
    ) -> None:
        if pairs:
            how([entry for entry, _ in pairs], np.stack([embedding for _, embedding in pairs]))

    def _remove_stale(self, last_frame: int | None) -> None:
        stale = [
            entry.id
            for entry in self._earlier.values()
            if entry.id not in self._written
            and (last_frame is None or int(entry.extra.get("last_frame", 0)) <= last_frame)
        ]
        with self._gallery.transaction():
            there = self._gallery.by_ids(stale)
            stale = [id_ for id_ in stale if id_ not in there or there[id_] == self._earlier[id_]]
            self._gallery.remove([id_ for id_ in stale if id_ in there])
        for id_ in stale:
            self._forget_crop(id_)

    # -- pictures --------------------------------------------------------------------------------------------

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
                    hint="The tracks themselves are in the gallery; free the place and run again for the pictures.",
                )
            )
            return False
        return True

    def _forget_crop(self, id_: str) -> None:
        with suppress(OSError):
            self._crop_path(id_).unlink(missing_ok=True)


def _as_said(entry: Entry, there: Entry) -> Entry:
    """An entry as it is to be stored, but for what somebody has said of it."""
    said = {key: there.extra[key] for key in ("enrolled_as", "reviewed", NOT) if key in there.extra}
    return replace(entry, identity=there.identity, extra={**entry.extra, **said})


def _renamed(entry: Entry, job: _Rename) -> Entry:
    return replace(entry, identity=job.identity, extra={**entry.extra, "enrolled_as": job.enrolled_as})
