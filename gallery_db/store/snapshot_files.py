"""The files of snapshots: consistent copies of a record, in the folder ``snapshots`` beside it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from gallery_db.atomic_files import atomic_path
from gallery_db.errors import GalleryError, GalleryFormatError, GalleryReadOnlyError, SnapshotError
from gallery_db.store.database import sqlite_errors
from gallery_db.store.record import Record
from gallery_db.store.server_tables import SERVER_TABLE_PREFIX

__all__ = [
    "SNAPSHOT_FOLDER",
    "Snapshot",
    "check_snapshot",
    "drop_server_state",
    "free_name",
    "name_of_now",
    "snapshot_path",
    "snapshots_in",
    "write_snapshot",
]

SNAPSHOT_FOLDER = "snapshots"
"""Name of the folder of snapshots in a gallery's folder."""

_SUFFIX = ".sqlite3"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of a gallery.

    Attributes:
        name: Its name.
        path: Its file.
        taken_at: When the file was written, ISO 8601 UTC.
        size: Size in bytes.
        entries: Number of entries in all its collections; None if it cannot be read.
    """

    name: str
    path: Path
    taken_at: str
    size: int
    entries: int | None


def snapshots_in(folder: Path) -> list[Snapshot]:
    """Return the snapshots in a gallery's folder, the oldest first."""
    files = (folder / SNAPSHOT_FOLDER).glob("*" + _SUFFIX)
    found = [_describe(file) for file in files if not file.name.startswith(".")]
    return sorted(found, key=lambda snapshot: (snapshot.taken_at, snapshot.name))


def write_snapshot(folder: Path, record: Record, name: str) -> Snapshot:
    """Copy a record, as of one moment, into a gallery's folder of snapshots.

    Raises:
        SnapshotError: There is a snapshot of that name, or the name is not allowed.
        GalleryReadOnlyError: The folder cannot be written.
    """
    target = snapshot_path(folder, name)
    if target.exists():
        raise SnapshotError(f"There is a snapshot {name!r} already: {target}.", hint="Choose another name.")
    try:
        target.parent.mkdir(exist_ok=True)
        with atomic_path(target) as temporary, sqlite_errors(target), closing(sqlite3.connect(temporary)) as copy:
            record.copy_to(copy)
            drop_server_state(copy)
            copy.execute("PRAGMA journal_mode = DELETE").fetchone()  # one file, which a read-only folder can serve
    except OSError as error:
        raise GalleryReadOnlyError(
            f"The snapshot {target} cannot be written: {error.strerror or error}.",
            hint="Check the folder's permissions and the space on its disk.",
        ) from error
    return _describe(target)


def drop_server_state(copy: sqlite3.Connection) -> None:
    """Remove from a copy of a record what ties it to a server: a copy neither follows one nor delivers to one."""
    tables = [row[0] for row in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for name in tables:
        if name.startswith(SERVER_TABLE_PREFIX):
            copy.execute(f"DROP TABLE {name}")
    copy.execute("DELETE FROM meta WHERE key = 'served_open'")
    copy.commit()


def check_snapshot(path: Path) -> int:
    """Return the number of entries of a snapshot.

    Raises:
        SnapshotError: It is damaged, or cannot be read.
    """
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


def snapshot_path(folder: Path, name: str) -> Path:
    """Return the path of a snapshot's file.

    Raises:
        SnapshotError: The name is not allowed.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise SnapshotError(
            f"{name!r} cannot be a snapshot's name.",
            hint="Use up to 100 of a-z, A-Z, 0-9, '.', '_' and '-', beginning with a letter or digit.",
        )
    return folder / SNAPSHOT_FOLDER / (name + _SUFFIX)


def free_name(folder: Path, name: str, suffix: str = "") -> str:
    """Return a name that no file in a gallery's folder of snapshots has, with a number at its end if needed.

    Args:
        folder: The gallery's folder.
        name: The wanted name.
        suffix: The suffix of the file, which becomes part of the result; by default the file is a snapshot.
    """
    number = 1
    free = name + suffix
    while (folder / SNAPSHOT_FOLDER / (free + ("" if suffix else _SUFFIX))).exists():
        number += 1
        free = f"{name}-{number}{suffix}"
    return free


def name_of_now() -> str:
    """Return the present time as it stands in the names of snapshots."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H-%M-%SZ")


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
