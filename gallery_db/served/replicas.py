"""Where a client keeps its replicas of served galleries, and their journals: one process, one replica."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from gallery_db.address import Address, state_dir
from gallery_db.atomic_files import atomic_path
from gallery_db.errors import GalleryError, GalleryLockedError, GalleryReadOnlyError
from gallery_db.served.log import LogInfo
from gallery_db.store.lock import WriterLock
from gallery_db.store.record import Record
from gallery_db.store.schema import RECORD_NAME

__all__ = [
    "Journal",
    "Replica",
    "gallery_dir",
    "journals",
    "note_address",
    "open_replica",
    "replicas_of",
    "take_replica",
    "waiting_in",
]

_ADDRESS = "server.json"
_WORTH_COPYING = 8 << 20
"""Bytes of a replica from which it is copied for a second process instead of read from the server again."""


class Replica:
    """A replica that this process alone uses.

    Attributes:
        record: Open for writing.
    """

    def __init__(self, record: Record, lock: WriterLock) -> None:
        self.record = record
        self._lock = lock
        record.leave_one_file = False  # nobody reads it from a read-only folder

    def release(self) -> None:
        """Close it, and let another process have it."""
        self.record.close()
        self._lock.release()


def galleries_dir() -> Path:
    """The folder of all served galleries that this machine knows."""
    return state_dir() / "served"


def gallery_dir(gallery: str) -> Path:
    """The folder of one gallery: pictures, snapshots, and the replicas of all its collections."""
    name = "".join(c for c in gallery if c.isalnum())[:40]
    if name != gallery:  # no name that a server gives may lead elsewhere
        name = f"{name}-{hashlib.sha256(gallery.encode()).hexdigest()[:16]}"
    return galleries_dir() / name


def _collection_dir(info: LogInfo) -> Path:
    key = hashlib.sha256(f"{info.collection}\0{info.model.sha256}\0{info.model.preprocessing}".encode()).hexdigest()
    return gallery_dir(info.gallery) / "replicas" / f"{info.collection[:60]}-{key[:12]}"


def replicas_of(info: LogInfo) -> list[Path]:
    """The folders of a collection's replicas; those with something in their journal first."""
    folders = [path.parent for path in _collection_dir(info).glob(f"*/{RECORD_NAME}")]
    return sorted(folders, key=lambda folder: (not waiting_in(folder), len(folder.name), folder.name))


@dataclass(frozen=True, slots=True)
class Journal:
    """What waits on this machine for one collection of a served gallery.

    Attributes:
        gallery: The gallery's unique id.
        server: Where it was served last.
        collection: Which collection.
        waiting: Number of changes that no server has acknowledged, over all replicas.
    """

    gallery: str
    server: str | None
    collection: str
    waiting: int


def journals() -> list[Journal]:
    """The journals on this machine that hold something."""
    found = []
    for folder in sorted(galleries_dir().glob("*")):
        facts = _last(folder)
        for home in sorted(folder.glob("replicas/*")):
            waiting = [(waiting_in(path.parent), path.parent) for path in sorted(home.glob(f"*/{RECORD_NAME}"))]
            waiting = [(number, path) for number, path in waiting if number]
            if waiting:
                name = _collection_in(waiting[0][1])
                number = sum(one for one, _ in waiting)
                found.append(Journal(facts.get("gallery", folder.name), facts.get("server"), name, number))
    return found


def _collection_in(folder: Path) -> str:
    path = (folder / RECORD_NAME).absolute()
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as replica:
        return str(replica.execute("SELECT name FROM collections").fetchone()[0])
    return "?"


def waiting_in(folder: Path) -> int:
    """Number of changes in a replica's journal that no server has acknowledged."""
    path = (folder / RECORD_NAME).absolute()
    with suppress(sqlite3.Error), closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as replica:
        return int(replica.execute("SELECT COALESCE(SUM(changes), 0) FROM served_outbox WHERE NOT sent").fetchone()[0])
    return 0


def note_address(gallery: str, address: Address) -> None:
    """Remember where a gallery was served last."""
    folder = gallery_dir(gallery)
    text = json.dumps({"gallery": gallery, "server": address.server})
    path = folder / _ADDRESS
    with suppress(OSError):
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        with atomic_path(path) as beside:
            beside.write_text(text, encoding="utf-8")


def _last(folder: Path) -> dict[str, str]:
    """Which gallery a folder is of, and where that was served last."""
    try:
        facts = orjson.loads((folder / _ADDRESS).read_bytes())
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}


def open_replica(folder: Path) -> Replica | None:
    """A replica, if no other process uses it.

    Raises:
        GalleryError: It cannot be used: damaged, of a newer gtrack, or not to be written.
    """
    lock = WriterLock(folder)
    try:
        lock.acquire(0.0)
    except GalleryLockedError:
        return None
    try:
        return Replica(Record.open(folder / RECORD_NAME, write=True), lock)
    except BaseException:
        lock.release()
        raise


def take_replica(info: LogInfo) -> Replica:
    """A replica that nobody else uses: a free one, a copy of another, or a new and empty one.

    Raises:
        GalleryReadOnlyError: The folder for them cannot be written.
        GalleryError: The one that has something in its journal cannot be used.
    """
    home = _collection_dir(info)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GalleryReadOnlyError(
            f"No replica of the served gallery can be made in {home}: {error.strerror or error}.",
            hint="Set GTRACK_STATE_DIR to a folder that can be written.",
        ) from error
    known = replicas_of(info)
    for folder in known:
        try:
            replica = open_replica(folder)
        except GalleryError:
            if waiting_in(folder):
                raise
            continue  # a damaged replica of what the server has is no loss
        if replica is not None:
            return replica
    number = 1
    while True:
        folder = home / str(number)
        number += 1
        folder.mkdir(exist_ok=True)
        lock = WriterLock(folder)
        try:
            lock.acquire(0.0)
        except GalleryLockedError:
            continue
        try:
            path = folder / RECORD_NAME
            if path.exists():  # one that just became free, or a damaged one
                lock.release()
                with suppress(GalleryError):
                    replica = open_replica(folder)
                    if replica is not None:
                        return replica
                continue
            if not any(_copy(source, path) for source in known):
                Record.create(path, info.collection, info.model).close()
            record = Record.open(path, write=True)
            record.note_created_at(info.created_at)
            return Replica(record, lock)
        except BaseException:
            lock.release()
            raise


def _copy(source: Path, path: Path) -> bool:
    """Copy a replica as of one moment; not where its journal holds something, which is not everybody's yet."""
    with suppress(sqlite3.Error, OSError):
        if (source / RECORD_NAME).stat().st_size < _WORTH_COPYING:
            return False
        beside = path.with_name(path.name + ".new")
        beside.unlink(missing_ok=True)
        try:
            uri = f"{(source / RECORD_NAME).absolute().as_uri()}?mode=ro"
            with (
                closing(sqlite3.connect(uri, uri=True, timeout=10)) as there,
                closing(sqlite3.connect(beside)) as here,
            ):
                there.backup(here)
                if here.execute("SELECT COUNT(*) FROM served_outbox").fetchone()[0]:
                    return False
                here.execute("PRAGMA journal_mode = DELETE").fetchone()
            beside.replace(path)
            return True
        finally:
            beside.unlink(missing_ok=True)
    return False
