"""Put a snapshot in the place of a gallery's record: completely, or not at all."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from gallery_db.atomic_files import atomic_path, fsync_folder
from gallery_db.errors import GalleryFormatError, GalleryReadOnlyError
from gallery_db.noted_lock import user_at_host
from gallery_db.store.changes import REPLACED
from gallery_db.store.database import sqlite_errors
from gallery_db.store.folder import holds_gallery
from gallery_db.store.record import Record
from gallery_db.store.restored_entries import restore_entries
from gallery_db.store.schema import FORMAT_VERSION, RECORD_NAME
from gallery_db.store.snapshot_files import (
    SNAPSHOT_FOLDER,
    drop_server_state,
    free_name,
    name_of_now,
    write_snapshot,
)
from gallery_db.times import utc_now

__all__ = ["is_newer_format", "restore_record"]

_UNKNOWN_GENERATIONS = 1 << 32  # more changes than a damaged record can have seen


def restore_record(folder: Path, source: Path, name: str, recover: Callable[[Record], None]) -> str | None:
    """Put a snapshot in the place of a gallery's record, after a snapshot of the present state.

    Args:
        folder: The gallery's folder, whose writer lock is held.
        source: The snapshot's file.
        name: The snapshot's name.
        recover: Called with the present record, to take in what clients of a killed server have stored.

    Returns:
        The snapshot of the present state; of a record too damaged for that, the file to which it was copied; None if
        there was no record.

    Raises:
        GalleryReadOnlyError: A file cannot be written.
    """
    prepared = folder / f".{RECORD_NAME}.restored"
    try:
        _remove_files(prepared)
        shutil.copyfile(source, prepared)
        Record.open(prepared, write=True).close()  # brings an older format up to date
        kept = _replace_content(folder, prepared, name, recover)
        return kept if kept is not None else _replace_file(folder, prepared, name)
    except OSError as error:
        raise GalleryReadOnlyError(
            f"The snapshot {name!r} cannot be restored: {error.strerror or error}.",
            hint="Check the folder's permissions and the space on its disk.",
        ) from error
    finally:
        with suppress(OSError):
            _remove_files(prepared)


def is_newer_format(path: Path) -> bool:
    """Return whether a record was written by a newer gtrack."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as record:
        return int(record.execute("PRAGMA user_version").fetchone()[0]) > FORMAT_VERSION
    return False


def _replace_content(folder: Path, prepared: Path, name: str, recover: Callable[[Record], None]) -> str | None:
    """Replace the content of a sound record; return the name of its snapshot, or None if it cannot be read."""
    try:
        present = Record.open(folder / RECORD_NAME, write=True) if holds_gallery(folder) else None
    except GalleryFormatError:
        present = None
    if present is None:
        return None
    try:
        recover(present)  # so that the snapshot of the present state has it
        kept = write_snapshot(folder, present, free_name(folder, "before-restore-" + name_of_now())).name
        words = f"restore the snapshot {name!r}"
        if restore_entries(present, prepared, words):
            return kept
        numbers = _highest_numbers(present)
        _advance(prepared, numbers, f"{words}; what was before is the snapshot {kept!r}")
        # Into the open file, as one transaction: processes that read it find a change, and not another file.
        with sqlite_errors(present.path), closing(sqlite3.connect(prepared)) as copy:
            present.take_over(copy)
        return kept
    except GalleryFormatError:
        return None  # so damaged that it cannot even be copied
    finally:
        present.close()


def _replace_file(folder: Path, prepared: Path, name: str) -> str | None:
    """Replace the file of a lost or damaged record; return the path of a copy of it in the gallery's folder."""
    record = folder / RECORD_NAME
    lost = None
    if record.exists():
        lost = f"{SNAPSHOT_FOLDER}/{free_name(folder, 'damaged-' + name_of_now(), '.damaged')}"
        # A copy, so that there is a record under its name at every moment.
        with atomic_path(folder / lost) as part:
            shutil.copyfile(record, part)
        for suffix in ("-wal", "-journal"):
            if (beside := record.with_name(record.name + suffix)).exists():
                shutil.copyfile(beside, folder / (lost + suffix))
    _advance(prepared, {}, f"restore the snapshot {name!r} in the place of a {'damaged' if lost else 'lost'} record")
    for suffix in ("-wal", "-shm", "-journal"):
        record.with_name(record.name + suffix).unlink(missing_ok=True)
    _fsync(prepared)
    prepared.replace(record)
    fsync_folder(folder)
    return lost


def _highest_numbers(record: Record) -> dict[str, int]:
    """Return the highest numbers that a record has given out, which its successor must not give out again."""
    numbers = {"generation": max(row.generation for row in record.collections())}
    numbers["index_stamp"] = int(record.meta("index_stamp") or 0)
    numbers.update(record.sequences())
    return numbers


def _advance(prepared: Path, numbers: dict[str, int], words: str) -> None:
    """Raise the numbers of a snapshot's copy above all that readers of the record may have seen."""
    with sqlite_errors(prepared), closing(sqlite3.connect(prepared, isolation_level=None)) as copy:
        drop_server_state(copy)
        copy.execute("BEGIN IMMEDIATE")
        own = int(copy.execute("SELECT MAX(generation) FROM collections").fetchone()[0])
        beyond = 1 + max(own, numbers.get("generation", own + _UNKNOWN_GENERATIONS))
        copy.execute("UPDATE collections SET generation = ?", (beyond,))
        stamp = copy.execute("SELECT value FROM meta WHERE key = 'index_stamp'").fetchone()
        stamp = 1 + max(int(stamp[0]) if stamp else 0, numbers.get("index_stamp", _UNKNOWN_GENERATIONS))
        # Dirty, so that the next writer checks the index against the record if no new one is made now.
        for key, value in (("index_stamp", str(stamp)), ("index_dirty", "1")):
            copy.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
        for table in ("collections", "entries", "changes", "operations", "file_changes", "setting_changes"):
            if (
                table in numbers
                and not copy.execute(
                    "UPDATE sqlite_sequence SET seq = MAX(seq, ?) WHERE name = ?", (numbers[table], table)
                ).rowcount
            ):
                copy.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, numbers[table]))
        copy.execute(
            "INSERT INTO operations (at, who, collection, action, words) SELECT ?, ?, id, ?, ? FROM collections",
            (utc_now(), user_at_host(), REPLACED, words),
        )
        copy.execute("COMMIT")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_files(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
