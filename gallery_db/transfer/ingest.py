"""Ingest folders of images into a gallery."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gallery_db.entry import Entry
from gallery_db.errors import GalleryError, ModelMismatchError
from gallery_db.media.images import read_image_file
from gallery_db.store.ingested_files import FileRow
from gallery_db.transfer.embedding import enough_of_pictures
from gallery_db.transfer.folder_scan import LAYOUTS, ImageFile, Layout, check_image_tree, scan_folder
from gallery_db.transfer.ingest_batch import BatchWriter, IngestBatch
from gallery_db.transfer.read_ahead import PictureReader, ReadPicture, read_ahead

if TYPE_CHECKING:
    from gallery_db.gallery import Gallery
    from gallery_db.model import Embedder

__all__ = ["IngestReport", "image_entry_id", "ingest_folder"]


@dataclass(frozen=True, slots=True)
class IngestReport:
    """The result of an ingest.

    Attributes:
        found: Image files with an identity.
        added: Entries added, except those for replaced files.
        unchanged: Files known from an earlier ingest; they are read only if their modification time has changed.
        moved: Entries with another file, identity or class than before, and the same picture.
        replaced: Files whose picture has changed; a new entry took the place of the old one.
        duplicates: Files with the same content as another file of the same identity; not embedded again.
        pruned: Entries removed because their file is no longer in the folder.
        skipped: (path, reason) of each file that was left out.
        identities: Number of identities in the folder.
        kept: Files read whose entry keeps the identity that a person gave it, unlike the folder's or file's name.
        layout: How the folder was read.
        junk: Junk images of Market-1501 (person -1), which were left out.
        distractors: Distractors of Market-1501 (person 0000), which were left out.
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
    layout: Layout = "folders"
    junk: int = 0
    distractors: int = 0

    @property
    def layout_in_words(self) -> str | None:
        """How the folder was read and what was left out of it; None for a sub-folder for each identity."""
        if self.layout == "folders":
            return None
        if self.layout == "files":
            return f"one image a person: the name of each file is an identity, {self.identities} in all."
        left = [f"{self.junk} junk (-1)"] if self.junk else []
        left += [f"{self.distractors} distractors (0000)"] if self.distractors else []
        return (
            f"images named as in Market-1501, of {self.identities} identities, with their cameras"
            + (f"; left out: {' and '.join(left)}" if left else "")
            + "."
        )

    @property
    def changed(self) -> bool:
        """Whether the ingest changed the gallery."""
        return bool(self.added or self.moved or self.replaced or self.pruned)


def image_entry_id(content_hash: str) -> str:
    """Return the id of an image's entry; files with the same content have the same id."""
    return f"img-{content_hash[:20]}"


def ingest_folder(
    gallery: Gallery,
    folder: str | os.PathLike[str],
    embedder: Embedder,
    *,
    class_name: str = "person",
    layout: Layout | None = None,
    prune: bool = False,
    batch_size: int = 64,
    index: bool = False,
    progress: Callable[[int, int], None] | None = None,
    index_progress: Callable[[int, int], None] | None = None,
) -> IngestReport:
    """Bring a gallery up to date with a folder of images.

    With the layout ``"folders"``, each sub-folder is an identity of that name; the folders inside it belong to the same
    identity, and symbolic links are followed. With ``"market"``, the images are in the folder itself, named as in
    Market-1501 (Zheng et al., ICCV 2015): ``0001_c1s1_001051_03.jpg`` shows the identity ``0001``, and its entry has
    the camera ``"c1"`` as ``extra["source_id"]``; junk images (``-1``) and distractors (``0000``) are left out. With
    ``"files"``, each image in the folder is an identity, named as the file. Hidden files are ignored.

    Files that are unchanged since an earlier ingest (path, size, modification time) are not read, and pictures that
    the gallery has are not embedded again. An entry whose identity was given by a person (``extra["reviewed"]``) keeps
    it, whatever its folder's name. Each batch is one transaction: if the ingest is interrupted, what was committed
    stays, and the next ingest continues from there.

    Args:
        gallery: Open for writing, with the embedder's model.
        folder: The folder of images.
        embedder: Computes the embeddings.
        class_name: The class of all images in the folder.
        layout: How the folder is read. None recognizes it: a folder without sub-folders is read as ``"market"`` if
            all its images are named so, as ``"files"`` if no name has a digit in it, and refused otherwise.
        prune: Remove the entries that came from this folder and whose file is no longer there.
        batch_size: Number of images to embed at a time, at least 1.
        index: Also bring the Chroma index up to date; otherwise its next use does.
        progress: Called with (files done, all files).
        index_progress: Called with (entries done, all entries) while the index is updated.

    Raises:
        GalleryFormatError: `folder` is not a folder; its layout cannot be recognized; or it is not one of images, and
            was not ingested before (see `check_image_tree`).
        ModelMismatchError: The embedder's model is not the collection's.
        GalleryError: `batch_size` is below 1, or `class_name` is empty; see also `Gallery.add`.
    """
    if not gallery.model.same_space(embedder.model):
        raise ModelMismatchError(
            f"The collection {gallery.collection!r} of {gallery.location} holds embeddings of {gallery.model}, "
            f"and the embedder is {embedder.model}.",
            hint="Open the gallery with the embedder's model.",
        )
    if batch_size < 1:
        raise GalleryError(f"Expected a batch_size of at least 1, found {batch_size}.")
    if layout is not None and layout not in LAYOUTS:
        raise GalleryError(
            f"Expected {', '.join(map(repr, LAYOUTS))} or None as `layout`, found {layout!r}.", hint="Use one of these."
        )
    root = Path(os.path.realpath(folder))
    if not root.is_dir():
        check_image_tree(Path(folder))
    report = _Ingest(gallery, root, embedder, class_name, layout, batch_size, progress).run(prune=prune)
    gallery.sync_index(index_progress, wait=index)
    return report


class _Ingest:
    """Plans for each file what to do about it, and has the plans written in batches."""

    def __init__(
        self,
        gallery: Gallery,
        root: Path,
        embedder: Embedder,
        class_name: str,
        layout: Layout | None,
        batch_size: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._gallery = gallery
        self._record = gallery.record
        self._key = gallery.collection_key
        self._root = str(root)
        self._class_name = class_name
        self._layout = layout
        self._batch_size = batch_size
        self._progress = progress
        self._reader = PictureReader(self._is_known, enough_of_pictures(embedder))
        self._writer = BatchWriter(gallery, embedder)
        self._batch = IngestBatch()
        self._known: dict[str, FileRow] = {}  # the files of earlier ingests, by path
        self._new_ids: set[str] = set()  # of entries added by this ingest
        self._skipped: list[tuple[str, str]] = []
        self._unchanged = self._added = self._moved = self._replaced = self._duplicates = self._kept = 0

    def run(self, *, prune: bool) -> IngestReport:
        """Bring the gallery up to date, as one operation of its log."""
        # An empty transaction first: a gallery that is open for reading is refused before any work is done.
        with self._gallery.transaction():
            pass
        with self._gallery.operation("ingest", f"ingest {self._root} as {self._class_name}"):
            report = self._run(prune=prune)
        self._gallery.keep_adapted()
        return report

    def _run(self, *, prune: bool) -> IngestReport:
        scan = scan_folder(self._root, self._layout)
        self._skipped = scan.skipped
        self._known = self._record.files.under(self._key, self._root)
        if not self._known:
            check_image_tree(Path(self._root), self._layout)
        changed = [file for file in scan.files if not self._is_unchanged(file)]
        self._unchanged = done = len(scan.files) - len(changed)
        total = len(scan.files)
        self._report_progress(done, total)
        # Closed at once after an error, so that nobody reads any longer when the gallery is closed.
        with closing(read_ahead(changed, self._reader.read)) as pictures:
            for picture in pictures:
                self._plan_file(picture)
                done += 1
                if self._batch.is_full(self._batch_size):
                    self._write_batch()
                    self._report_progress(done, total)
        self._write_batch()
        present = {file.path for file in scan.files}
        missing = [row for path, row in self._known.items() if path not in present]
        pruned = self._writer.forget_missing(missing, prune=prune)
        self._report_progress(done, total)
        return IngestReport(
            found=len(scan.files),
            added=self._added,
            unchanged=self._unchanged,
            moved=self._moved,
            replaced=self._replaced,
            duplicates=self._duplicates,
            pruned=pruned,
            skipped=tuple(self._skipped),
            identities=len({file.identity for file in scan.files}),
            kept=self._kept,
            layout=scan.layout,
            junk=scan.junk,
            distractors=scan.distractors,
        )

    def _report_progress(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(done, total)

    def _write_batch(self) -> None:
        batch, self._batch = self._batch, IngestBatch()
        added, replaced = self._writer.write(batch)
        self._added += added
        self._replaced += replaced

    # -- planning ------------------------------------------------------------------------------------------------

    def _is_unchanged(self, file: ImageFile) -> bool:
        known = self._known.get(file.path)
        return (
            known is not None
            and known.size == file.size
            and known.mtime_ns == file.mtime_ns
            and known.class_name == self._class_name
        )

    def _is_known(self, content_hash: str) -> bool:
        return bool(self._record.entries.by_hash(self._key, [content_hash]))

    def _plan_file(self, picture: ReadPicture) -> None:
        """Add what to do about a file that is new or changed to the batch."""
        file, content_hash = picture.file, picture.content_hash
        if not content_hash:
            self._skipped.append((file.path, picture.problem or ""))
            return
        former = self._batch.files.get(file.path) or self._known.get(file.path)
        row = FileRow(file.path, file.size, file.mtime_ns, content_hash, self._class_name, image_entry_id(content_hash))
        entry = self._batch.by_hash.get(content_hash) or self._record.entries.by_hash(self._key, [content_hash]).get(
            content_hash
        )
        if entry is not None:
            entry = self._batch.updates.get(entry.id, entry)
            if self._plan_known_picture(file, row._replace(entry_id=entry.id), entry):
                self._note_replaced(former, content_hash)
            return
        if picture.crop is None and picture.problem is None:
            # The gallery had the picture when the file was read, and has it no longer; or a file like it failed.
            picture = self._reader.read(file, always=True)
            if picture.content_hash != content_hash:
                self._skipped.append((file.path, "was changed while it was read"))
                return
        if picture.crop is None:
            self._skipped.append((file.path, picture.problem or ""))
            return
        self._note_replaced(former, content_hash)
        entry = Entry(
            id=row.entry_id,
            identity=file.identity,
            class_name=self._class_name,
            origin="image",
            source=file.path,
            content_hash=content_hash,
            extra=_with_camera({}, file),
        )
        self._batch.add(entry, picture.crop, row)
        self._new_ids.add(entry.id)

    def _plan_known_picture(self, file: ImageFile, row: FileRow, entry: Entry) -> bool:
        """Plan a file whose picture the gallery has: a touched, copied or moved file, or a conflict.

        Returns:
            Whether there is no conflict.
        """
        others = self._other_files_of(entry, file.path)
        # The identity that a person has given stands, whatever folder the file is in.
        is_reviewed = bool(entry.extra.get("reviewed"))
        identity = entry.identity if is_reviewed else file.identity
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
        updated = replace(
            entry,
            identity=identity,
            class_name=self._class_name,
            source=entry.source if entry.source in others else file.path,
            extra=entry.extra if entry.source in others else _with_camera(entry.extra, file),
        )
        if others and file.path not in self._known:
            self._duplicates += 1
        elif updated == entry:
            self._unchanged += 1  # touched, with the same picture in the same place
        if updated != entry:
            self._moved += entry.id not in self._new_ids and entry.id not in self._batch.updates
            self._batch.update(updated)
        self._batch.files[file.path] = row
        return True

    def _other_files_of(self, entry: Entry, path: str) -> list[str]:
        """Return the existing files that show an entry's picture, except the one at `path`."""
        rows = {row.path: row for row in self._record.files.of_entries(self._key, [entry.id])}
        for planned_path, row in self._batch.files.items():
            if row.entry_id == entry.id:
                rows[planned_path] = row
            else:
                rows.pop(planned_path, None)
        rows.pop(path, None)
        found = []
        for other_path, row in rows.items():
            try:
                facts = Path(other_path).stat()
            except OSError:
                continue
            is_untouched = (facts.st_size, facts.st_mtime_ns) == (row.size, row.mtime_ns)
            if is_untouched or _hash_file(other_path) == row.content_hash:
                found.append(other_path)
        # An entry that was added by other means than an ingest has no row, only a source.
        has_only_source = not rows and entry.origin == "image" and entry.source not in ("", path)
        if has_only_source and _hash_file(entry.source) == entry.content_hash:
            found.append(entry.source)
        return found

    def _note_replaced(self, former: FileRow | None, content_hash: str) -> None:
        if former is not None and former.content_hash != content_hash:
            self._batch.replaced.append(former)


def _with_camera(extra: Mapping[str, Any], file: ImageFile) -> Mapping[str, Any]:
    """Return the further values of an entry, with the camera that its file's name says."""
    return extra if file.camera is None else {**extra, "source_id": file.camera}


def _hash_file(path: str) -> str | None:
    try:
        return hashlib.sha256(read_image_file(path)).hexdigest()
    except OSError:
        return None
