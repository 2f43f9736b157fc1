"""Snapshots of a gallery's record: consistent copies beside it, and putting one back."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from gallery_db.address import is_address
from gallery_db.atomic_files import atomic_path, fsync_folder
from gallery_db.errors import GalleryError, GalleryFormatError, GalleryReadOnlyError, SnapshotError
from gallery_db.gallery import Gallery
from gallery_db.served.absorb import index_maintenance
from gallery_db.store.change_log import RESTORED
from gallery_db.store.database import sqlite_errors
from gallery_db.store.folder import holds_gallery
from gallery_db.store.lock import DEFAULT_LOCK_TIMEOUT, WriterLock, user_at_host
from gallery_db.store.record import Record
from gallery_db.store.schema import FORMAT_VERSION, RECORD_NAME

__all__ = ["RestoreReport", "Snapshot", "list_snapshots", "restore_snapshot", "take_snapshot"]

_FOLDER = "snapshots"
_SUFFIX = ".sqlite3"
_UNKNOWN_GENERATIONS = 1 << 32  # more changes than a damaged record can have seen


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a gallery.

    Attributes:
        name: Its name.
        path: Its file.
        taken_at: When the file was written, ISO 8601 UTC.
        size: In bytes.
        entries: Number of entries in all its collections; None where it cannot be read.
    """

    name: str
    path: Path
    taken_at: str
    size: int
    entries: int | None


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What putting a snapshot back did.

    Attributes:
        name: The snapshot.
        entries: Number of entries in all collections now.
        kept_as: The snapshot of the state before; of a record too damaged for that, the file that it was copied
            to; None where there was no record.
    """

    name: str
    entries: int
    kept_as: str | None


def take_snapshot(gallery: Gallery, name: str | None = None) -> Snapshot:
    """Copy a gallery's record, as of one moment, into its folder ``snapshots``; others may go on writing.

    Of a served gallery it is the replica that is copied, to this machine.

    Args:
        gallery: Open, for reading or writing.
        name: Letters, digits, '.', '_' and '-'; the time by default.

    Raises:
        SnapshotError: There is one of that name, or the name is unsuitable.
        GalleryReadOnlyError: The folder cannot be written.
    """
    return _take(gallery.path, gallery.record, name)


def list_snapshots(path: str | os.PathLike[str]) -> list[Snapshot]:
    """The snapshots in a gallery's folder, the oldest first."""
    folder = Path(path) / _FOLDER
    found = [_describe(file) for file in folder.glob("*" + _SUFFIX) if not file.name.startswith(".")]
    return sorted(found, key=lambda snapshot: (snapshot.taken_at, snapshot.name))


def restore_snapshot(
    path: str | os.PathLike[str],
    name: str,
    *,
    lock_timeout: float = DEFAULT_LOCK_TIMEOUT,
    progress: Callable[[int, int], None] | None = None,
) -> RestoreReport:
    """Put a snapshot in the place of a gallery's record, after taking one of the present state.

    It happens whole or not at all, also when it is killed. Whoever has the gallery open for reading sees it as
    one more change. The Chroma index is made anew.

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
            f"A snapshot cannot be put back into a gallery that is served ({path}).",
            hint="Stop `gtrack gallery serve`, restore in the gallery's folder, and serve it again.",
        )
    folder = Path(path)
    if not folder.is_dir():
        Gallery.open(folder)  # says in which way it is none
    source = _path_of(folder, name)
    if not source.is_file():
        others = [snapshot.name for snapshot in list_snapshots(folder)]
        raise SnapshotError(
            f"The gallery {folder} has no snapshot {name!r}.",
            hint=f"It has {', '.join(others)}." if others else "It has none; `gtrack gallery snapshot` takes one.",
        )
    entries = _check_sound(source)
    if holds_gallery(folder) and _is_newer(folder / RECORD_NAME):
        Record.open(folder / RECORD_NAME, write=False)  # refuses, for nothing is wrong with it
    lock = WriterLock(folder)
    lock.acquire(lock_timeout)
    prepared = folder / f".{RECORD_NAME}.restored"
    try:
        _remove_record(prepared)
        kept_as = _put_back(folder, source, prepared, name)
    except OSError as error:
        raise GalleryReadOnlyError(
            f"The snapshot {name!r} cannot be put back: {error.strerror or error}.",
            hint="Check the folder's permissions and the space on its disk.",
        ) from error
    finally:
        with suppress(OSError):
            _remove_record(prepared)
        lock.release()
    with Gallery.open(folder, write=True, lock_timeout=lock_timeout) as gallery:
        gallery.rebuild(progress)
    return RestoreReport(name, entries, kept_as)


def _put_back(folder: Path, source: Path, prepared: Path, name: str) -> str | None:
    shutil.copyfile(source, prepared)
    Record.open(prepared, write=True).close()  # brings an older format up to date
    try:
        present = Record.open(folder / RECORD_NAME, write=True) if holds_gallery(folder) else None
    except GalleryFormatError:
        present = None
    if present is not None:
        try:
            index_maintenance(folder, []).recover_served_log(
                present
            )  # what clients of a killed server stored is of before
            kept = _take(folder, present, _free_name(folder, "before-restore-" + _now_name())).name
            floors = _floors(present)
            _advance(prepared, floors, f"restore the snapshot {name!r}; what was before is the snapshot {kept!r}")
            # Into the open file, as one transaction: whoever reads it finds a change, and not another file.
            with sqlite_errors(present.path), closing(sqlite3.connect(prepared)) as copy:
                present.take_over(copy)
            return kept
        except GalleryFormatError:
            pass  # so damaged that it cannot even be copied
        finally:
            present.close()
    record = folder / RECORD_NAME
    lost = None
    if record.exists():
        lost = f"{_FOLDER}/{_free_name(folder, 'damaged-' + _now_name(), '.damaged')}"
        # A copy, so that there is a record under its name at every moment.
        shutil.copyfile(record, folder / lost)
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


def _is_newer(path: Path) -> bool:
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as record:
        return int(record.execute("PRAGMA user_version").fetchone()[0]) > FORMAT_VERSION
    return False


def _floors(record: Record) -> dict[str, int]:
    """The highest numbers that a record has given out, which its successor must not give out again."""
    floors = {"generation": max(row.generation for row in record.collections())}
    floors["index_stamp"] = int(record.meta("index_stamp") or 0)
    floors.update(record.sequences())
    return floors


def _advance(prepared: Path, floors: dict[str, int], words: str) -> None:
    """Bring a copy of a snapshot beyond all that readers of the record may have seen."""
    with sqlite_errors(prepared), closing(sqlite3.connect(prepared, isolation_level=None)) as copy:
        _strip(copy)
        copy.execute("BEGIN IMMEDIATE")
        own = int(copy.execute("SELECT MAX(generation) FROM collections").fetchone()[0])
        beyond = 1 + max(own, floors.get("generation", own + _UNKNOWN_GENERATIONS))
        copy.execute("UPDATE collections SET generation = ?", (beyond,))
        stamp = copy.execute("SELECT value FROM meta WHERE key = 'index_stamp'").fetchone()
        stamp = 1 + max(int(stamp[0]) if stamp else 0, floors.get("index_stamp", _UNKNOWN_GENERATIONS))
        # Dirty, so that whoever writes next checks the index against the record if it is not made anew now.
        for key, value in (("index_stamp", str(stamp)), ("index_dirty", "1")):
            copy.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
        for table in ("collections", "entries", "changes", "operations", "file_changes"):
            if (
                table in floors
                and not copy.execute(
                    "UPDATE sqlite_sequence SET seq = MAX(seq, ?) WHERE name = ?", (floors[table], table)
                ).rowcount
            ):
                copy.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, floors[table]))
        at = datetime.now(timezone.utc).replace(microsecond=0).isoformat()
        copy.execute(
            "INSERT INTO operations (at, who, collection, action, words) SELECT ?, ?, id, ?, ? FROM collections",
            (at, user_at_host(), RESTORED, words),
        )
        copy.execute("COMMIT")


def _take(folder: Path, record: Record, name: str | None) -> Snapshot:
    name = _free_name(folder, _now_name()) if name is None else name
    target = _path_of(folder, name)
    if target.exists():
        raise SnapshotError(f"There is a snapshot {name!r} already: {target}.", hint="Choose another name.")
    try:
        target.parent.mkdir(exist_ok=True)
        with atomic_path(target) as temporary, sqlite_errors(target), closing(sqlite3.connect(temporary)) as copy:
            record.copy_to(copy)
            _strip(copy)
            copy.execute("PRAGMA journal_mode = DELETE").fetchone()  # one file, which a read-only folder serves
    except OSError as error:
        raise GalleryReadOnlyError(
            f"The snapshot {target} cannot be written: {error.strerror or error}.",
            hint="Check the folder's permissions and the space on its disk.",
        ) from error
    return _describe(target)


def _strip(copy: sqlite3.Connection) -> None:
    """Take out how far a record follows the log of a server, and what it has to tell it: a copy does neither."""
    tables = [row[0] for row in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in tables:
        if name.startswith("served_"):
            copy.execute(f"DROP TABLE {name}")
    copy.execute("DELETE FROM meta WHERE key = 'served_open'")
    copy.commit()


def _describe(path: Path) -> Snapshot:
    facts = path.stat()
    entries = None
    with suppress(GalleryError):
        record = Record.open(path, write=False)
        try:
            entries = sum(record.entries.count(row.id) for row in record.collections())
        finally:
            record.close()
    taken_at = datetime.fromtimestamp(int(facts.st_mtime), timezone.utc).isoformat()
    return Snapshot(path.name.removesuffix(_SUFFIX), path, taken_at, facts.st_size, entries)


def _check_sound(path: Path) -> int:
    """The number of entries of a snapshot; SnapshotError for a damaged one."""
    try:
        record = Record.open(path, write=False)
        try:
            damage = record.check_integrity()
            entries = sum(record.entries.count(row.id) for row in record.collections())
        finally:
            record.close()
    except GalleryFormatError as error:
        raise SnapshotError(
            f"The snapshot {path} cannot be used: {error.message} Nothing was changed.", hint=error.hint
        ) from error
    if damage:
        raise SnapshotError(
            f"The snapshot {path} is damaged: {damage[0]}. Nothing was changed.", hint="Choose another snapshot."
        )
    return entries


def _path_of(folder: Path, name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise SnapshotError(
            f"{name!r} cannot be a snapshot's name.",
            hint="Use up to 100 of a-z, A-Z, 0-9, '.', '_' and '-', beginning with a letter or digit.",
        )
    return folder / _FOLDER / (name + _SUFFIX)


def _free_name(folder: Path, name: str, suffix: str = "") -> str:
    number = 1
    free = name + suffix
    while (folder / _FOLDER / (free + ("" if suffix else _SUFFIX))).exists():
        number += 1
        free = f"{name}-{number}{suffix}"
    return free


def _now_name() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H-%M-%SZ")


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_record(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
