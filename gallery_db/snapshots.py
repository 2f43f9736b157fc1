"""Snapshots of a gallery: take, list and restore them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gallery_db.address import is_address
from gallery_db.errors import SnapshotError
from gallery_db.gallery import Gallery
from gallery_db.served.absorb import index_maintenance
from gallery_db.store.folder import holds_gallery
from gallery_db.store.lock import DEFAULT_LOCK_TIMEOUT, WriterLock
from gallery_db.store.record import Record
from gallery_db.store.restore import is_newer_format, restore_record
from gallery_db.store.schema import RECORD_NAME
from gallery_db.store.snapshot_files import (
    check_snapshot,
    free_name,
    name_of_now,
    snapshot_path,
    snapshots_in,
    write_snapshot,
)
from gallery_db.suggestions import did_you_mean

if TYPE_CHECKING:
    from gallery_db.store.snapshot_files import Snapshot

__all__ = ["RestoreReport", "list_snapshots", "restore_snapshot", "take_snapshot"]


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """The result of restoring a snapshot.

    Attributes:
        name: The snapshot.
        entries: Number of entries in all collections now.
        kept_as: The snapshot of the state before; of a record too damaged for that, the file to which it was copied;
            None if there was no record.
    """

    name: str
    entries: int
    kept_as: str | None


def take_snapshot(gallery: Gallery, name: str | None = None) -> Snapshot:
    """Copy a gallery's record, as of one moment, into its folder ``snapshots``; others may write at the same time.

    Of a served gallery, the replica is copied, to this machine.

    Args:
        gallery: An open gallery.
        name: Letters, digits, '.', '_' and '-'; the present time by default.

    Raises:
        SnapshotError: There is a snapshot of that name, or the name is not allowed.
        GalleryReadOnlyError: The folder cannot be written.
    """
    name = free_name(gallery.path, name_of_now()) if name is None else name
    return write_snapshot(gallery.path, gallery.record, name)


def list_snapshots(path: str | os.PathLike[str]) -> list[Snapshot]:
    """Return the snapshots in a gallery's folder, the oldest first."""
    return snapshots_in(Path(path))


def restore_snapshot(
    path: str | os.PathLike[str],
    name: str,
    *,
    lock_timeout: float = DEFAULT_LOCK_TIMEOUT,
    progress: Callable[[int, int], None] | None = None,
) -> RestoreReport:
    """Make the content of a gallery that of a snapshot, after a snapshot of the current state.

    It happens completely or not at all, also if the process is killed. It is an operation of the log, which
    `Gallery.undo` undoes in each collection, and for processes that have the gallery open for reading one more change.
    A collection that the snapshot does not have loses its entries. Only if the record or the snapshot has damaged
    entries, or collections that do not fit, the snapshot replaces the whole record with its log, and no undo goes
    beyond that. A new Chroma index is made.

    Args:
        path: The gallery's folder; its record may be damaged.
        name: The snapshot.
        lock_timeout: Seconds to wait for another writer.
        progress: Called with (entries done, entries in all) while the index is made.

    Raises:
        SnapshotError: There is no such snapshot, or it is damaged; nothing was changed.
        GalleryFormatError: The gallery was written by a newer gtrack; nothing was changed.
        GalleryLockedError: Another process is writing.
        GalleryReadOnlyError: The folder cannot be written.
        GalleryIndexError: The index could not be made; the record is restored nevertheless.
    """
    if is_address(path):
        raise SnapshotError(
            f"A snapshot cannot be restored into a gallery that is served ({path}).",
            hint="Stop `gtrack gallery serve`, restore in the gallery's folder, and serve it again.",
        )
    folder = Path(path)
    if not folder.is_dir():
        Gallery.open(folder)  # raises the error that fits
    source = snapshot_path(folder, name)
    if not source.is_file():
        others = [snapshot.name for snapshot in list_snapshots(folder)]
        raise SnapshotError(
            f"The gallery {folder} has no snapshot {name!r}.",
            hint=did_you_mean(name, others, f"It has {', '.join(others)}.")
            if others
            else "It has none; `gtrack gallery snapshot` takes one.",
        )
    entries = check_snapshot(source)
    if holds_gallery(folder) and is_newer_format(folder / RECORD_NAME):
        Record.open(folder / RECORD_NAME, write=False)  # raises: the record is sound, and not to be replaced
    lock = WriterLock(folder)
    lock.acquire(lock_timeout)
    try:
        kept_as = restore_record(folder, source, name, index_maintenance(folder, []).recover_served_log)
    finally:
        lock.release()
    with Gallery.open(folder, write=True, lock_timeout=lock_timeout) as gallery:
        gallery.rebuild(progress)
    return RestoreReport(name, entries, kept_as)
