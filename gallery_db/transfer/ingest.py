"""Folders of images, one an identity, into a gallery."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.errors import EmbeddingError, GalleryError, GalleryFormatError, ImageError, ModelMismatchError
from gallery_db.media.images import IMAGE_SUFFIXES, read_image_bytes
from gallery_db.store.record import FileRow

if TYPE_CHECKING:
    from gallery_db.gallery import Gallery
    from gallery_db.model import Embedder

__all__ = ["IngestReport", "entry_id_of", "ingest_folder"]

_MOST_PIXELS = 64 * 1024 * 1024  # bytes of decoded pictures in one batch, whatever their number
_MOST_BOOKED = 1000  # files that need no embedding, before they are committed


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        found: Image files in the identities' folders.
        added: Entries added, other than for replaced files.
        unchanged: Files known from before; not even read, unless their time of change is another.
        moved: Entries whose file, identity or class is another now, while the picture is the same.
        replaced: Files whose picture is another now; the old entry gave way to a new one.
        duplicates: Files with the same content as another one of the same identity; not embedded again.
        pruned: Entries removed because their file has left the folder.
        skipped: (path, reason) of each file that was left out.
        identities: Number of identity folders that hold images.
        kept: Files read whose entry keeps the identity that a person gave it, other than the folder's name.
    """

    found: int
    added: int
    unchanged: int
    moved: int
    replaced: int
    duplicates: int
    pruned: int
    skipped: tuple[tuple[str, str], ...]
    identities: int
    kept: int = 0

    @property
    def changed(self) -> bool:
        """Whether the gallery is another than before."""
        return bool(self.added or self.moved or self.replaced or self.pruned)


def entry_id_of(content_hash: str) -> str:
    """The id of an image's entry: the same content gets the same one again."""
    return f"img-{content_hash[:20]}"


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    identity: str
    size: int
    mtime_ns: int


@dataclass(slots=True)
class _Scan:
    files: list[_File] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """What is to be committed together."""

    entries: list[Entry] = field(default_factory=list)
    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    pixels: int = 0
    by_hash: dict[str, Entry] = field(default_factory=dict)
    updates: dict[str, Entry] = field(default_factory=dict)
    files: dict[str, FileRow] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    replaced: list[FileRow] = field(default_factory=list)


def ingest_folder(
    gallery: Gallery,
    folder: str | os.PathLike[str],
    embedder: Embedder,
    *,
    class_name: str = "person",
    prune: bool = False,
    batch_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
    index_progress: Callable[[int, int], None] | None = None,
) -> IngestReport:
    """Bring a gallery up to date with a folder of images.

    Each sub-folder is an identity of that name; folders below it belong to it too. Symbolic links are
    followed, hidden files are not looked at. Files that are as they were at an earlier ingest (path, size,
    time of change) are not read; pictures that the gallery knows are not embedded again. An entry to which a
    person gave its identity (``extra["reviewed"]``) keeps that, whatever its folder's name. Each batch is one
    transaction: whatever stops the run, Ctrl-C or a kill, what was committed stays and the next run goes on.

    Args:
        gallery: Open for writing, of the embedder's model.
        folder: The folder of identity folders.
        embedder: What computes the embeddings.
        class_name: The class of all that is in the folder.
        prune: Remove the entries that came from this folder and whose file is no longer there.
        batch_size: Images to embed at a time, at least 1.
        progress: Called with (files done, files in all).
        index_progress: Called with (entries done, entries in all) while the index follows.

    Raises:
        GalleryFormatError: `folder` is no folder.
        ModelMismatchError: The embedder's model is not the collection's.
        GalleryError: As of `Gallery.add`; `batch_size` below 1; an empty `class_name`.
    """
    if not gallery.model.same_space(embedder.model):
        raise ModelMismatchError(
            f"The collection {gallery.collection!r} of {gallery.location} holds embeddings of {gallery.model}, "
            f"and the embedder is {embedder.model}.",
            hint="Open the gallery with the embedder's model.",
        )
    if batch_size < 1:
        raise GalleryError(f"Expected a batch_size of at least 1, found {batch_size}.")
    root = Path(os.path.realpath(folder))
    if not root.is_dir():
        raise GalleryFormatError(
            f"{folder} is no folder of images.", hint="Give a folder with a sub-folder for each identity."
        )
    return _Ingest(gallery, root, embedder, class_name, batch_size, progress, index_progress).run(prune=prune)


class _Ingest:
    def __init__(
        self,
        gallery: Gallery,
        root: Path,
        embedder: Embedder,
        class_name: str,
        batch_size: int,
        progress: Callable[[int, int], None] | None,
        index_progress: Callable[[int, int], None] | None,
    ) -> None:
        self._gallery = gallery
        self._record = gallery.record
        self._key = gallery.collection_key
        self._root = str(root)
        self._embedder = embedder
        self._class_name = class_name
        self._batch_size = batch_size
        self._progress = progress
        self._index_progress = index_progress
        self._batch = _Batch()
        self._unchanged = self._added = self._moved = self._replaced = self._duplicates = self._pruned = 0
        self._kept = 0
        self._skipped: list[tuple[str, str]] = []
        self._new_here: set[str] = set()

    def run(self, *, prune: bool) -> IngestReport:
        # The first write of all: a handle for reading is refused before any work is done.
        with self._gallery.transaction():
            pass
        with self._gallery.operation("ingest", f"ingest {self._root} as {self._class_name}"):
            return self._run(prune=prune)

    def _run(self, *, prune: bool) -> IngestReport:
        scan = _scan(self._root)
        self._skipped = scan.skipped
        self._known = self._record.files_under(self._key, self._root)
        changed = [file for file in scan.files if not self._is_unchanged(file)]
        self._unchanged = done = len(scan.files) - len(changed)
        total = len(scan.files)
        self._say(done, total)
        for file in changed:
            self._take(file)
            done += 1
            full = len(self._batch.crops) >= self._batch_size or self._batch.pixels >= _MOST_PIXELS
            if full or len(self._batch.files) + len(self._batch.forgotten) >= _MOST_BOOKED + self._batch_size:
                self._commit()
                self._say(done, total)
        self._commit()
        self._leave({file.path for file in scan.files}, prune=prune)
        self._say(done, total)
        self._gallery.sync_index(self._index_progress)
        return IngestReport(
            found=len(scan.files),
            added=self._added,
            unchanged=self._unchanged,
            moved=self._moved,
            replaced=self._replaced,
            duplicates=self._duplicates,
            pruned=self._pruned,
            skipped=tuple(self._skipped),
            identities=len({file.identity for file in scan.files}),
            kept=self._kept,
        )

    def _say(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(done, total)

    def _is_unchanged(self, file: _File) -> bool:
        known = self._known.get(file.path)
        return (
            known is not None
            and known.size == file.size
            and known.mtime_ns == file.mtime_ns
            and known.class_name == self._class_name
        )

    def _take(self, file: _File) -> None:
        """Find out what to do with one file that is new or changed."""
        try:
            data = Path(file.path).read_bytes()
        except OSError as error:
            self._skipped.append((file.path, f"cannot be read: {error.strerror or error}"))
            return
        content_hash = hashlib.sha256(data).hexdigest()
        was = self._batch.files.get(file.path) or self._known.get(file.path)
        row = FileRow(file.path, file.size, file.mtime_ns, content_hash, self._class_name, entry_id_of(content_hash))
        entry = self._batch.by_hash.get(content_hash) or self._record.by_hash(self._key, [content_hash]).get(
            content_hash
        )
        if entry is not None:
            entry = self._batch.updates.get(entry.id, entry)
            if self._take_known(file, row._replace(entry_id=entry.id), entry):
                self._note_replaced(was, content_hash)
            return
        try:
            crop = read_image_bytes(data, name=file.path)
        except ImageError as error:
            self._skipped.append((file.path, error.message.removeprefix(f"{file.path} ").rstrip(".")))
            return
        self._note_replaced(was, content_hash)
        entry = Entry(
            id=row.entry_id,
            identity=file.identity,
            class_name=self._class_name,
            origin="image",
            source=file.path,
            content_hash=content_hash,
        )
        self._batch.entries.append(entry)
        self._batch.crops.append(crop)
        self._batch.pixels += crop.nbytes
        self._batch.by_hash[content_hash] = entry
        self._batch.files[file.path] = row
        self._new_here.add(entry.id)

    def _take_known(self, file: _File, row: FileRow, entry: Entry) -> bool:
        """A picture that the gallery has: the same file touched, a copy, a move, or a conflict."""
        others = self._live_paths(entry, file.path)
        # What a person has said of a picture stands, whatever folder its file lies in.
        reviewed = bool(entry.extra.get("reviewed"))
        identity = entry.identity if reviewed else file.identity
        self._kept += identity != file.identity
        if others and entry.identity != identity:
            self._skipped.append(
                (
                    file.path,
                    f"the same picture is in the gallery as {entry.identity!r}, from {others[0]}; "
                    f"one of {entry.identity!r} and {file.identity!r} is wrong",
                )
            )
            return False
        now = replace(
            entry,
            identity=identity,
            class_name=self._class_name,
            source=entry.source if entry.source in others else file.path,
        )
        if others and file.path not in self._known:
            self._duplicates += 1
        elif now == entry:
            self._unchanged += 1  # touched, but the same picture in the same place
        if now != entry:
            self._moved += entry.id not in self._new_here and entry.id not in self._batch.updates
            self._amend(entry, now)
        self._batch.files[file.path] = row
        return True

    def _amend(self, entry: Entry, now: Entry) -> None:
        pending = self._batch.by_hash.get(entry.content_hash or "")
        if pending is not None and pending.id == entry.id:
            self._batch.entries[self._batch.entries.index(pending)] = now
            self._batch.by_hash[entry.content_hash or ""] = now
        else:
            self._batch.updates[entry.id] = now

    def _live_paths(self, entry: Entry, but: str) -> list[str]:
        """The files that still show an entry, but for one."""
        rows = {row.path: row for row in self._record.files_of(self._key, [entry.id])}
        for path, row in self._batch.files.items():
            if row.entry_id == entry.id:
                rows[path] = row
            else:
                rows.pop(path, None)
        rows.pop(but, None)
        live = []
        for path, row in rows.items():
            try:
                facts = Path(path).stat()
            except OSError:
                continue
            same = (facts.st_size, facts.st_mtime_ns) == (row.size, row.mtime_ns)
            if same or _hash_of(path) == row.content_hash:  # or only touched
                live.append(path)
        by_hand = not rows and entry.origin == "image" and entry.source not in ("", but)
        if by_hand and _hash_of(entry.source) == entry.content_hash:
            live.append(entry.source)
        return live

    def _note_replaced(self, was: FileRow | None, content_hash: str) -> None:
        if was is not None and was.content_hash != content_hash:
            self._batch.replaced.append(was)

    def _commit(self) -> None:
        """Embed what waits, and write it together with all that was booked; one transaction."""
        batch, self._batch = self._batch, _Batch()
        if not (batch.files or batch.forgotten):
            return
        vectors = None
        if batch.crops:
            vectors = self._embedder.embed(batch.crops)
            if np.shape(vectors)[:1] != (len(batch.crops),):
                raise EmbeddingError(
                    f"The embedder {self._embedder.model} was given {len(batch.crops)} images and returned an "
                    f"array of shape {np.shape(vectors)}."
                )
        with self._gallery.transaction():
            if vectors is not None:
                # Of a served gallery: another process may have brought the same pictures in the meantime.
                there = self._record.by_ids(self._key, [entry.id for entry in batch.entries])
                rows = [row for row, entry in enumerate(batch.entries) if entry.id not in there]
                self._gallery.add([batch.entries[row] for row in rows], vectors[rows])
                batch.entries = [batch.entries[row] for row in rows]
            if batch.updates:
                self._gallery.update(list(batch.updates.values()))
            self._record.put_files(self._key, list(batch.files.values()))
            # Only now is it known which files show the old pictures.
            self._drop_unshown([row.entry_id for row in batch.replaced])
        replaced = {row.path for row in batch.replaced}
        self._replaced += len(replaced)
        self._added += sum(entry.source not in replaced for entry in batch.entries)

    def _drop_unshown(self, entry_ids: list[str]) -> int:
        """Remove those entries that no file shows any more; give the others a source that there is."""
        unique = list(dict.fromkeys(entry_ids))
        shown: dict[str, str] = {}
        for row in self._record.files_of(self._key, unique):
            shown.setdefault(row.entry_id, row.path)
        present = self._record.by_ids(self._key, unique)
        gone = [id_ for id_ in unique if id_ in present and id_ not in shown]
        if gone:
            self._gallery.remove(gone)
        sources = {row.path for row in self._record.files_of(self._key, unique)}
        homeless = [
            replace(entry, source=shown[id_])
            for id_, entry in present.items()
            if id_ in shown and entry.source not in sources
        ]
        if homeless:
            self._gallery.update(homeless)
        return len(gone)

    def _leave(self, paths: set[str], *, prune: bool) -> None:
        """What to do about known files that have left the folder."""
        left = [row for path, row in self._known.items() if path not in paths]
        if not left:
            return
        with self._gallery.transaction():
            still = {row.path: row for row in self._record.files_of(self._key, [row.entry_id for row in left])}
            left = [row for row in left if row.path in still]
            ids = [row.entry_id for row in left]
            others = {row.entry_id for path, row in still.items() if path not in {row.path for row in left}}
            if prune:
                self._record.forget_files(self._key, [row.path for row in left])
                self._pruned += self._drop_unshown(ids)
            else:
                # The last file of an entry stays noted, so that a later prune still knows where it came from.
                self._record.forget_files(self._key, [row.path for row in left if row.entry_id in others])
                self._drop_unshown([id_ for id_ in ids if id_ in others])


def _hash_of(path: str) -> str | None:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return None


def _scan(root: str) -> _Scan:
    scan = _Scan()
    forbidden = set()
    above = Path(root)
    for folder in (above, *above.parents):
        facts = folder.stat()
        forbidden.add((facts.st_dev, facts.st_ino))
    for item in _listed(root, scan):
        if _is_folder(item):
            # Of its own for each identity: two may link to one folder, and neither may link to itself.
            _walk(item, item.name, set(forbidden), scan)
        elif _is_image_name(item.name):
            scan.skipped.append((item.path, "is not in an identity's folder"))
    return scan


def _walk(folder: os.DirEntry[str], identity: str, visited: set[tuple[int, int]], scan: _Scan) -> None:
    try:
        facts = folder.stat()
    except OSError as error:
        scan.skipped.append((folder.path, f"cannot be read: {error.strerror or error}"))
        return
    if (facts.st_dev, facts.st_ino) in visited:
        return
    visited.add((facts.st_dev, facts.st_ino))
    for item in _listed(folder.path, scan):
        if _is_folder(item):
            _walk(item, identity, visited, scan)
        elif _is_image_name(item.name):
            try:
                facts = item.stat()
            except OSError as error:  # such as a link to nowhere
                scan.skipped.append((item.path, f"cannot be read: {error.strerror or error}"))
                continue
            if not item.is_file():
                scan.skipped.append((item.path, "is no regular file"))
                continue
            scan.files.append(_File(item.path, identity, facts.st_size, facts.st_mtime_ns))


def _listed(folder: str, scan: _Scan) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            listed = sorted(items, key=lambda item: item.name)
    except OSError as error:
        scan.skipped.append((folder, f"cannot be read: {error.strerror or error}"))
        return
    for item in listed:
        if item.name.startswith("."):
            continue
        try:
            item.name.encode("utf-8")
        except UnicodeEncodeError:
            scan.skipped.append((item.path.encode("utf-8", "replace").decode(), "has a name that is no Unicode text"))
            continue
        yield item


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:
        return False


def _is_image_name(name: str) -> bool:
    return ("." + name.lower().rpartition(".")[2]) in IMAGE_SUFFIXES
