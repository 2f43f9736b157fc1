"""Export a gallery's collection to a Parquet file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import atomic_path
from gallery_db.distribution import require_package
from gallery_db.entry import Entry
from gallery_db.errors import GalleryError, GalleryFormatError, GalleryLockedError, ImageError
from gallery_db.gallery import Gallery
from gallery_db.media.entry_pictures import find_picture
from gallery_db.transfer.parquet_format import BOX_COLUMNS, COLUMNS, CROP_COLUMN, ROWS_WITH_PICTURES, make_schema

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ExportReport", "export_parquet"]

_MAX_GROUP_ROWS = 4096
_MAX_GROUP_BYTES = 64 * 1024 * 1024  # of the pictures in one row group, to bound memory
_MAX_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The result of an export to Parquet.

    Attributes:
        path: The file.
        entries: Number of entries in it.
        pictures: Number of entries with a picture in it.
        missing: (id, reason) of each entry whose picture was requested and could not be read.
    """

    path: Path
    entries: int
    pictures: int
    missing: tuple[tuple[str, str], ...]


def export_parquet(
    gallery: Gallery,
    file: str | os.PathLike[str],
    *,
    pictures: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Export a gallery's collection to one Parquet file. An existing file is replaced when the new one is complete.

    Args:
        gallery: Open, with the collection selected.
        file: The file to write; its folder must exist.
        pictures: Also export the entries' pictures: the kept crop, or the bytes of the source image.
        progress: Called with (entries done, all entries).

    Raises:
        GalleryError: The file cannot be written.
        GalleryFormatError: The gallery's record lacks embeddings.
        GalleryLockedError: Another process kept changing the collection.
        MissingPackageError: pyarrow is not installed.
    """
    require_package("pyarrow", "parquet", "A Parquet file")
    import pyarrow as pa

    target = Path(file)
    if target.is_dir() or not target.absolute().parent.is_dir():
        found = "is a folder" if target.is_dir() else "is in a folder that does not exist"
        raise GalleryError(f"{target} {found}; expected the path of a file to write.")
    try:
        with atomic_path(target) as temporary:
            for _ in range(_MAX_ATTEMPTS):
                generation = gallery.generation
                report = _Export(gallery, target, temporary, pictures, progress).run()
                lost = len(gallery) - report.entries
                if gallery.generation != generation:
                    continue  # the collection changed meanwhile: what was written may be of two states
                if lost > 0:
                    raise GalleryFormatError(
                        f"The gallery's record in {gallery.location} lacks the vectors of {lost} entries.",
                        hint="Run `gtrack gallery verify` for details.",
                    )
                return report
            raise GalleryLockedError(
                f"Another process kept changing the gallery {gallery.location} while it was exported.",
                hint="Export it again when no other process writes to it.",
            )
    except (OSError, pa.ArrowException) as error:
        raise GalleryError(
            f"{target} cannot be written: {getattr(error, 'strerror', None) or error}.",
            hint="Check the folder's permissions and the free space on the disk.",
        ) from error


class _Export:
    """One attempt to write a collection to a temporary file."""

    def __init__(
        self,
        gallery: Gallery,
        target: Path,
        temporary: Path,
        pictures: bool,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._gallery = gallery
        self._target = target
        self._temporary = temporary
        self._with_pictures = pictures
        self._progress = progress
        self._schema = make_schema(gallery.model, gallery.collection, pictures)
        self._group: list[pa.RecordBatch] = []  # the row group to write next
        self._group_bytes = 0  # of the pictures in it
        self._pictures = 0
        self._missing: list[tuple[str, str]] = []

    def run(self) -> ExportReport:
        import pyarrow.parquet as pq

        columns = [name for name in COLUMNS if name != "embedding"] + ["embedding.list.element"]
        if self._with_pictures:
            columns.append(CROP_COLUMN)
        writer = pq.ParquetWriter(
            self._temporary,
            self._schema,
            # Embeddings and pictures do not get smaller by compression; the other columns repeat their values.
            compression={
                name: "NONE" if name in ("embedding.list.element", CROP_COLUMN) else "ZSTD" for name in columns
            },
            use_dictionary=["identity", "class_name", "origin", "created_at", "extra"],
            write_statistics=["identity", "class_name", "origin", "created_at"],
            write_page_checksum=True,
        )
        gallery = self._gallery
        total, done = len(gallery), 0
        page_rows = ROWS_WITH_PICTURES if self._with_pictures else _MAX_GROUP_ROWS
        with writer:
            for entries, vectors in gallery.record.entries.pages(
                gallery.collection_key, gallery.model.dimension, page_rows
            ):
                self._add_page(writer, entries, vectors)
                done += len(entries)
                if self._progress is not None:
                    self._progress(done, max(total, done))
            self._write_group(writer)
        return ExportReport(self._target, done, self._pictures, tuple(self._missing))

    def _add_page(self, writer: Any, entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
        """Add some entries to the row group, and write it whenever it is full."""
        crops: list[bytes | None] = []
        first = 0
        for number, entry in enumerate(entries if self._with_pictures else ()):
            crop = self._read_picture(entry)
            crops.append(crop)
            if crop is None:
                continue
            self._group_bytes += len(crop)
            if self._group_bytes >= _MAX_GROUP_BYTES:
                end = number + 1
                self._group.append(_to_batch(self._schema, entries[first:end], vectors[first:end], crops))
                self._write_group(writer)
                crops, first = [], end
        if first < len(entries):
            self._group.append(
                _to_batch(self._schema, entries[first:], vectors[first:], crops if self._with_pictures else None)
            )
        if sum(len(batch) for batch in self._group) >= _MAX_GROUP_ROWS:
            self._write_group(writer)

    def _read_picture(self, entry: Entry) -> bytes | None:
        try:
            data = find_picture(self._gallery.path, entry, self._gallery.record).data
        except ImageError as error:
            self._missing.append((entry.id, error.message))
            return None
        self._pictures += 1
        return data

    def _write_group(self, writer: Any) -> None:
        import pyarrow as pa

        if self._group:
            writer.write_table(pa.Table.from_batches(self._group, self._schema), row_group_size=_MAX_GROUP_ROWS)
        self._group = []
        self._group_bytes = 0


def _to_batch(
    schema: pa.Schema, entries: Sequence[Entry], vectors: NDArray[np.float32], crops: list[bytes | None] | None
) -> pa.RecordBatch:
    """Return N entries with their (N, D) embeddings, and N pictures if the schema has a column for them."""
    import pyarrow as pa

    same_name = ("id", "identity", "class_name", "origin", "source", "content_hash", "frame", "created_at")
    columns: dict[str, Any] = {name: [getattr(entry, name) for entry in entries] for name in same_name}
    columns["extra"] = [json.dumps(dict(e.extra), ensure_ascii=False) if e.extra else "{}" for e in entries]
    for number, name in enumerate(BOX_COLUMNS):
        columns[name] = [None if entry.box is None else float(entry.box[number]) for entry in entries]
    if crops is not None:
        columns[CROP_COLUMN] = crops
    arrays = {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
    arrays["embedding"] = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.reshape(-1)), type=schema.field("embedding").type
    )
    return pa.RecordBatch.from_arrays([arrays[field.name] for field in schema], schema=schema)
