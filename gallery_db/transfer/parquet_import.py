"""Import a Parquet file into a gallery, all of it or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from gallery_db.address import location_of
from gallery_db.entry import Entry
from gallery_db.errors import EntryExistsError, GalleryError, GalleryFormatError, ModelMismatchError
from gallery_db.gallery import Gallery
from gallery_db.media.entry_pictures import crop_path, detect_image_suffix, imported_picture_path
from gallery_db.media.staged_pictures import STAGED_KEY, StagedPictures
from gallery_db.opening import is_gallery
from gallery_db.store.picture_sources import IMPORT
from gallery_db.transfer.parquet_reader import ParquetReader, ParquetRows

__all__ = ["ImportReport", "import_parquet"]

Progress = Callable[[int, int], None]

_MAX_NAMED_IDS = 10  # in one message


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import from Parquet.

    Attributes:
        found: Entries in the file.
        added: Entries that are new in the gallery.
        unchanged: Entries that the gallery had already, with the same content.
        replaced: Entries that the gallery had with other content, which was replaced.
        pictures: Pictures that were written to the gallery's folder.
        collection: The collection that holds the entries.
        created: Whether the gallery was created for them.
    """

    found: int
    added: int
    unchanged: int
    replaced: int
    pictures: int
    collection: str
    created: bool


def import_parquet(
    path: str | os.PathLike[str],
    file: str | os.PathLike[str],
    *,
    replace: bool = False,
    new_collection: bool = False,
    index: bool = False,
    check_progress: Progress | None = None,
    progress: Progress | None = None,
    index_progress: Progress | None = None,
) -> ImportReport:
    """Import the entries of a Parquet file into a gallery, all of them or none.

    The file is read twice: first it is checked as a whole, then it is written in one transaction. Entries that the
    gallery has already with the same content are only counted. Pictures are written to the gallery's folder, to the
    path in ``extra["crop"]`` or into ``pictures/``; the entries do not change for that.

    Args:
        path: The gallery's folder; if it is absent or empty, a gallery of the file's model is created there.
        file: The Parquet file.
        replace: Replace entries that the gallery has with other content.
        new_collection: If the gallery belongs to another model, create another collection.
        index: Also bring the Chroma index up to date; otherwise its next use does.
        check_progress: Called with (rows checked, all rows).
        progress: Called with (rows imported, all rows).
        index_progress: Called with (entries done, all entries) while the index is updated.

    Raises:
        GalleryFormatError: The file is damaged, not a gallery's, or written by a newer gtrack; names file and row.
        EmbeddingError: An embedding has another dimension, is not finite, or not of unit length.
        ModelMismatchError: The gallery belongs to another model; names both.
        EntryExistsError: The gallery has entries with these ids and other content, and `replace` is false.
        GalleryError: See `Gallery.open` and `Gallery.create`.
    """
    with ParquetReader(file) as reader:
        _check_rows(reader, check_progress)
        location = location_of(path)
        created = not is_gallery(location)
        try:
            gallery = Gallery.open_or_create(location, reader.header.model, new_collection=new_collection)
        except ModelMismatchError as error:
            raise ModelMismatchError(
                f"{reader.path} cannot be imported: {error.message}",
                hint="Import it into another gallery, or into another collection with `new_collection=True`.",
            ) from None
        try:
            report = _Import(gallery, reader, replace).run(created, progress)
            gallery.keep_adapted()
        except BaseException:
            gallery.close(sync=False)
            raise
        try:
            gallery.sync_index(index_progress, wait=index)
        finally:
            gallery.close(sync=False)
        return report


def _check_rows(reader: ParquetReader, progress: Progress | None) -> None:
    """Check all rows of a file, and that no id occurs twice."""
    seen: set[str] = set()
    for rows in reader.rows(progress):
        for number, entry in enumerate(rows.entries, rows.first):
            if entry.id in seen:
                raise GalleryFormatError(f"{reader.position(number, entry.id)}: the id occurs twice in the file.")
            seen.add(entry.id)


class _Import:
    """One import into an open gallery."""

    def __init__(self, gallery: Gallery, reader: ParquetReader, replace: bool) -> None:
        self._gallery = gallery
        self._reader = reader
        self._replace = replace
        self._counts = {"added": 0, "unchanged": 0, "replaced": 0}
        self._conflicts: list[str] = []  # ids of entries with other content
        self._pictures = StagedPictures(gallery.path)

    def run(self, created: bool, progress: Progress | None) -> ImportReport:
        """Write all rows in one transaction, then put the pictures in place."""
        stored = False
        try:
            # As an import, so that the record can distinguish these entries and their paths from this machine's own.
            with (
                self._gallery.operation(IMPORT, f"import {self._reader.path}"),
                self._gallery.delivered_together(),
            ):
                with self._gallery.transaction():
                    for rows in self._reader.rows(progress):
                        self._import_rows(rows)
                    if self._conflicts:
                        self._refuse_conflicts()
                    if self._pictures:
                        self._gallery.record.set_meta(STAGED_KEY, self._pictures.seal())
                    if created:  # also by a file without entries
                        self._gallery.record.keep()
                stored = True
                # Only after the commit, so that a rollback leaves the pictures that were there before.
                if self._pictures:
                    self._pictures.place()
                    self._gallery.record.set_meta(STAGED_KEY, "")
        except OSError as error:
            raise GalleryError(
                f"A picture cannot be written to {self._gallery.location}: {error.strerror or error}.",
                hint="Check the folder's permissions and the free space on the disk.",
            ) from error
        finally:
            if not stored:
                self._pictures.discard()
        return ImportReport(
            found=sum(self._counts.values()),
            **self._counts,
            pictures=len(self._pictures),
            collection=self._gallery.collection,
            created=created,
        )

    def _import_rows(self, rows: ParquetRows) -> None:
        """Add new entries and replace others; after the first conflict, only look for further ones."""
        gallery = self._gallery
        known: dict[str, tuple[Entry, bytes]] = {}
        if len(gallery):
            entries, vectors = gallery.record.entries.with_vectors(
                gallery.collection_key, [entry.id for entry in rows.entries], gallery.model.dimension
            )
            known = {entry.id: (entry, row.tobytes()) for entry, row in zip(entries, vectors, strict=True)}
        new: list[int] = []
        replaced: list[int] = []
        for number, entry in enumerate(rows.entries):
            present = known.get(entry.id)
            if present is None and entry.id not in gallery.record.entries.damaged:
                new.append(number)
            elif present is not None and present[0] == entry and present[1] == rows.vectors[number].tobytes():
                self._counts["unchanged"] += 1
            elif self._replace:
                replaced.append(number)
            else:
                self._conflicts.append(entry.id)
        if self._conflicts:
            return
        for number, data in enumerate(rows.pictures):
            if data is not None:
                self._write_picture(
                    rows.entries[number],
                    data,
                    rows.first + number,
                    is_new=number in new,
                    is_replaced=number in replaced,
                )
        if new:
            gallery.add([rows.entries[number] for number in new], rows.vectors[new])
        if replaced:
            gallery.replace([rows.entries[number] for number in replaced], rows.vectors[replaced])
        self._counts["added"] += len(new)
        self._counts["replaced"] += len(replaced)

    def _write_picture(self, entry: Entry, data: bytes, row: int, *, is_new: bool, is_replaced: bool) -> None:
        """Stage an entry's picture, unless it is at its path already."""
        target = crop_path(self._gallery.path, entry)
        has_own_path = target is not None
        if target is None:
            target = imported_picture_path(self._gallery.path, entry, detect_image_suffix(data) or ".jpg")
        if target in self._pictures:
            return
        if target.is_file():
            if not (is_new or is_replaced) or target.read_bytes() == data:
                return
            if has_own_path and is_new and not self._replace:
                raise EntryExistsError(
                    f"{self._reader.position(row, entry.id)}: the gallery has another picture at {target}.",
                    hint="Use `replace=True` to replace it with the picture in the file.",
                )
        self._pictures.add(target, data)

    def _refuse_conflicts(self) -> None:
        count = len(self._conflicts)
        more = f" and {count - _MAX_NAMED_IDS} more" if count > _MAX_NAMED_IDS else ""
        raise EntryExistsError(
            f"The gallery {self._gallery.location} holds {count} of the entries in {self._reader.path} with other "
            f"content: {', '.join(self._conflicts[:_MAX_NAMED_IDS])}{more}. Nothing was imported.",
            hint="Use `replace=True` to replace them with the entries in the file.",
        )
