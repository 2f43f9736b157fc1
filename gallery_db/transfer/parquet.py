"""A gallery to and from a Parquet file, which other tools read as well.

The Parquet format is described in docs/reference/gallery-parquet.md.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.address import location_of
from gallery_db.atomic_files import atomic_path
from gallery_db.embeddings import unit_rows
from gallery_db.entry import Box, Entry
from gallery_db.errors import (
    EmbeddingError,
    EntryExistsError,
    GalleryError,
    GalleryFormatError,
    GalleryLockedError,
    ImageError,
    ModelMismatchError,
)
from gallery_db.gallery import Gallery
from gallery_db.media.entry_pictures import (
    crop_path,
    detect_image_suffix,
    find_picture,
    imported_picture_path,
    is_hashed_image,
    sha256_hex,
)
from gallery_db.model import EmbeddingModel
from gallery_db.opening import is_gallery

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "PARQUET_VERSION",
    "ExportReport",
    "ImportReport",
    "ParquetHeader",
    "export_parquet",
    "import_parquet",
    "read_parquet_header",
]

PARQUET_VERSION = 1
"""The newest version of the Parquet format that is read, and the one that is written."""

Progress = Callable[[int, int], None]

_KEY = b"gtrack"
_FORMAT = "gtrack-gallery"
_TEXTS = ("id", "identity", "class_name", "origin", "source", "created_at", "extra")  # never null
_BOX = ("x1", "y1", "x2", "y2")
_COLUMNS = (*_TEXTS[:5], "content_hash", "frame", *_BOX, *_TEXTS[5:], "embedding")
_GROUP_ROWS = 4096
_GROUP_BYTES = 64 * 1024 * 1024  # of pictures in one row group, whatever their number
_ROWS = 1000  # read and written at a time
_ROWS_WITH_PICTURES = 128
_ATTEMPTS = 3
_NAMED = 10  # ids in one message


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export to Parquet wrote.

    Attributes:
        path: The file.
        entries: Number of entries.
        pictures: Of those, how many with their picture.
        missing: (id, reason) of each entry whose picture was asked for and could not be had.
    """

    path: Path
    entries: int
    pictures: int
    missing: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import from Parquet did.

    Attributes:
        found: Entries in the file.
        added: Entries that were new.
        unchanged: Entries that were there already, just so.
        replaced: Entries that were there with other content, which gave way.
        pictures: Pictures that were put into the gallery's folder.
        collection: The collection that they are in.
        created: Whether the gallery was made for them.
    """

    found: int
    added: int
    unchanged: int
    replaced: int
    pictures: int
    collection: str
    created: bool


@dataclass(frozen=True, slots=True)
class ParquetHeader:
    """What a gallery's Parquet file says of itself.

    Attributes:
        version: Of the format.
        model: Whose embeddings it holds.
        collection: The name of the collection that it was exported from.
        entries: Number of rows.
        has_pictures: Whether it has the column ``crop``.
    """

    version: int
    model: EmbeddingModel
    collection: str
    entries: int
    has_pictures: bool


# -- to Parquet ----------------------------------------------------------------------------------------------


def export_parquet(
    gallery: Gallery,
    file: str | os.PathLike[str],
    *,
    pictures: bool = False,
    progress: Progress | None = None,
) -> ExportReport:
    """Write a gallery's collection to one Parquet file, in place of what was there when it is complete.

    Args:
        gallery: Open, with the collection selected.
        file: The file; its folder must exist.
        pictures: Also the entries' pictures: the kept crop, or the source image's bytes.
        progress: Called with (entries done, entries in all).

    Raises:
        GalleryError: The file cannot be written.
        GalleryLockedError: Another process kept changing the collection.
    """
    import pyarrow as pa

    target = Path(file)
    if target.is_dir() or not target.absolute().parent.is_dir():
        what = "is a folder" if target.is_dir() else "is in a folder that does not exist"
        raise GalleryError(f"{target} {what}; expected the path of a file to write.")
    try:
        with atomic_path(target) as beside:
            for _ in range(_ATTEMPTS):
                generation = gallery.generation
                report = _write_parquet(gallery, target, beside, pictures, progress)
                lost = len(gallery) - report.entries
                if gallery.generation != generation:
                    continue
                if lost > 0:
                    raise GalleryFormatError(
                        f"The gallery's record in {gallery.location} lacks the vectors of {lost} entries.",
                        hint="`gtrack gallery verify` says more.",
                    )
                return report
            raise GalleryLockedError(
                f"Another process kept changing the gallery {gallery.location} while it was exported.",
                hint="Export it when nobody writes to it.",
            )
    except (OSError, pa.ArrowException) as error:
        raise GalleryError(
            f"{target} cannot be written: {getattr(error, 'strerror', None) or error}.",
            hint="Check the folder's permissions and the space on the disk.",
        ) from error


def _write_parquet(
    gallery: Gallery, target: Path, beside: Path, pictures: bool, progress: Progress | None
) -> ExportReport:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(gallery.model, gallery.collection, pictures)
    total = len(gallery)
    done = held = shown = 0
    missing: list[tuple[str, str]] = []
    group: list[pa.RecordBatch] = []
    writer = pq.ParquetWriter(
        beside,
        schema,
        # Floats and pictures do not get smaller; the rest does, and names come again and again.
        compression={
            name: "NONE" if name in ("embedding.list.element", "crop") else "ZSTD"
            for name in (*_COLUMNS[:-1], "embedding.list.element", *(["crop"] if pictures else []))
        },
        use_dictionary=["identity", "class_name", "origin", "created_at", "extra"],
        write_statistics=["identity", "class_name", "origin", "created_at"],
        write_page_checksum=True,
    )

    def flush() -> None:
        if group:
            writer.write_table(pa.Table.from_batches(group, schema), row_group_size=_GROUP_ROWS)
            group.clear()

    with writer:
        for entries, vectors in gallery.record.pages(
            gallery.collection_key, gallery.model.dimension, _ROWS_WITH_PICTURES if pictures else _GROUP_ROWS
        ):
            crops: list[bytes | None] = []
            first = 0
            for number, entry in enumerate(entries if pictures else ()):
                try:
                    data = find_picture(gallery.path, entry).data
                except ImageError as error:
                    crops.append(None)
                    missing.append((entry.id, error.message))
                    continue
                crops.append(data)
                shown += 1
                held += len(data)
                if held >= _GROUP_BYTES:
                    end = number + 1
                    group.append(_to_arrow(schema, entries[first:end], vectors[first:end], crops))
                    flush()
                    crops, first, held = [], end, 0
            if first < len(entries):
                group.append(_to_arrow(schema, entries[first:], vectors[first:], crops if pictures else None))
            if sum(len(batch) for batch in group) >= _GROUP_ROWS:
                flush()
                held = 0
            done += len(entries)
            if progress is not None:
                progress(done, max(total, done))
        flush()
    return ExportReport(target, done, shown, tuple(missing))


def _schema(model: EmbeddingModel, collection: str, pictures: bool) -> pa.Schema:
    import pyarrow as pa

    header = {
        "format": _FORMAT,
        "version": PARQUET_VERSION,
        "collection": collection,
        "model": {
            "name": model.name,
            "sha256": model.sha256,
            "dimension": model.dimension,
            "preprocessing": model.preprocessing,
            "metric": model.metric,
        },
    }
    types = {name: pa.string() for name in _COLUMNS}
    types |= {"frame": pa.int64(), **{name: pa.float64() for name in _BOX}}
    types["embedding"] = pa.list_(pa.field("element", pa.float32(), nullable=False), model.dimension)
    fields = [pa.field(name, types[name], nullable=name not in (*_TEXTS, "embedding")) for name in _COLUMNS]
    if pictures:
        fields.append(pa.field("crop", pa.binary()))
    return pa.schema(fields, metadata={_KEY: json.dumps(header, ensure_ascii=False).encode()})


def _to_arrow(
    schema: pa.Schema, entries: Sequence[Entry], vectors: NDArray[np.float32], crops: list[bytes | None] | None
) -> pa.RecordBatch:
    import pyarrow as pa

    columns: dict[str, Any] = {
        name: [getattr(entry, name) for entry in entries] for name in (*_COLUMNS[:7], "created_at")
    }
    columns["extra"] = [json.dumps(dict(e.extra), ensure_ascii=False) if e.extra else "{}" for e in entries]
    for number, name in enumerate(_BOX):
        columns[name] = [None if entry.box is None else float(entry.box[number]) for entry in entries]
    if crops is not None:
        columns["crop"] = crops
    arrays = {
        name: pa.array(values, schema.field(name).type) for name, values in columns.items() if name != "embedding"
    }
    arrays["embedding"] = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.reshape(-1)), type=schema.field("embedding").type
    )
    return pa.RecordBatch.from_arrays([arrays[item.name] for item in schema], schema=schema)


# -- from Parquet --------------------------------------------------------------------------------------------


def read_parquet_header(file: str | os.PathLike[str]) -> ParquetHeader:
    """What a gallery's Parquet file says of itself, without reading its rows.

    Raises:
        GalleryError: There is no such file, or it cannot be read.
        GalleryFormatError: It is no Parquet, not a gallery's, or of a newer gtrack.
        EmbeddingError: Its embeddings have another dimension than its model.
    """
    with _Reader(file) as reader:
        return reader.header


def import_parquet(
    path: str | os.PathLike[str],
    file: str | os.PathLike[str],
    *,
    replace: bool = False,
    new_collection: bool = False,
    index: bool = True,
    check_progress: Progress | None = None,
    progress: Progress | None = None,
    index_progress: Progress | None = None,
) -> ImportReport:
    """Bring the entries of a Parquet file into a gallery, all or none.

    The file is read twice: all of it is checked before anything is written, and then it is written in one
    transaction. Entries that the gallery has just so are counted. Pictures are put into the gallery's folder,
    where ``extra["crop"]`` says or under ``pictures/``; nothing in an entry changes for that.

    Args:
        path: The gallery's folder; absent or empty, it becomes a gallery of the file's model.
        file: The Parquet file.
        replace: Entries that the gallery has with other content give way.
        new_collection: If the gallery belongs to another model, start a further collection.
        index: Bring the Chroma index up to date as well; otherwise its next use does.
        check_progress: Called with (rows checked, rows in all).
        progress: Called with (rows imported, rows in all).
        index_progress: Called with (entries done, entries in all) while the index follows.

    Raises:
        GalleryFormatError: The file is damaged, not a gallery's, or of a newer gtrack; names file and row.
        EmbeddingError: An embedding is of another dimension, not finite, or not of unit length.
        ModelMismatchError: The gallery belongs to another model; names both.
        EntryExistsError: The gallery has entries of these ids with other content, and `replace` is false.
        GalleryError: As of `Gallery.open` and `Gallery.create`.
    """
    with _Reader(file) as reader:
        seen: set[str] = set()
        for rows in reader.rows(check_progress):
            for number, entry in enumerate(rows.entries, rows.first):
                if entry.id in seen:
                    raise GalleryFormatError(f"{reader.place(number, entry.id)}: the id stands there twice.")
                seen.add(entry.id)
        seen.clear()
        folder = location_of(path)
        created = not is_gallery(folder)
        made = isinstance(folder, Path) and not folder.exists()
        try:
            gallery = Gallery.open_or_create(folder, reader.header.model, new_collection=new_collection)
        except ModelMismatchError as error:
            raise ModelMismatchError(
                f"{reader.path} cannot be imported: {error.message}",
                hint="Import it into another gallery, or start a further collection there with --new-collection.",
            ) from None
        try:
            report = _Import(gallery, reader, replace).run(created, progress)
        except BaseException:
            gallery.close(sync=False)
            if created and isinstance(folder, Path):
                _unmake(folder, made)
            raise
        try:
            if index:
                gallery.sync_index(index_progress)
        finally:
            gallery.close(sync=False)
        return report


def _unmake(folder: Path, made: bool) -> None:
    """Take back a gallery that was made for an import that failed."""
    with suppress(GalleryError):
        with Gallery.open(folder) as gallery:
            if any(info.entries for info in gallery.collections()):
                return
        if made:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for item in folder.iterdir():
            if item.name.startswith("gallery."):
                item.unlink(missing_ok=True)
            elif item.name in ("chroma", "pictures"):
                shutil.rmtree(item, ignore_errors=True)


@dataclass(slots=True)
class _Rows:
    """Some rows of a file, checked.

    Attributes:
        first: Number of the first, from 0.
        entries: N entries.
        vectors: (N, D) float32, rows of unit length.
        pictures: N image files, where there are.
    """

    first: int
    entries: list[Entry]
    vectors: NDArray[np.float32]
    pictures: list[bytes | None]


class _Reader:
    """Reads a gallery's Parquet file, and says in gtrack's words what is wrong with it."""

    def __init__(self, file: str | os.PathLike[str]) -> None:
        import pyarrow.parquet as pq

        self.path = Path(file)
        if not self.path.is_file():
            what = "is a folder" if self.path.is_dir() else "does not exist"
            raise GalleryError(f"{self.path} {what}; expected a Parquet file that `gtrack gallery export` wrote.")
        with self._errors("is damaged or no Parquet file"):
            self._file = pq.ParquetFile(self.path, page_checksum_verification=True, memory_map=False)
        try:
            with self._errors("is damaged"):
                self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def place(self, row: int, id_: str | None = None) -> str:
        """Where in the file something is, for messages."""
        return f"{self.path}, row {row}" + (f" (id {id_!r})" if id_ else "")

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, PermissionError):
                raise GalleryError(f"{self.path} cannot be read: {error.strerror}.") from error
            text = " ".join(str(error).split())
            raise GalleryFormatError(f"{self.path} {what}: {text.rstrip('.')}.", hint="Copy or export it again.") from (
                error
            )

    def _read_header(self) -> ParquetHeader:
        schema = self._file.schema_arrow
        raw = (schema.metadata or {}).get(_KEY)
        if raw is None:
            raise GalleryFormatError(
                f"{self.path} is a Parquet file, but not of a gallery: its schema has no metadata 'gtrack'.",
                hint="pandas and polars drop it on saving; docs/reference/gallery-parquet.md shows how to keep it.",
            )
        try:
            facts = json.loads(raw)
            version = facts["version"]
            if facts["format"] != _FORMAT or type(version) is not int:
                raise ValueError("format or version is another")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise GalleryFormatError(
                f"{self.path}: the metadata 'gtrack' is not that of a gallery: {error}.", hint="Export it again."
            ) from error
        if version > PARQUET_VERSION:
            raise GalleryFormatError(
                f"{self.path} has format version {version}, written by a newer gtrack; this one reads versions up "
                f"to {PARQUET_VERSION}.",
                hint="Upgrade gtrack: `pip install -U gtrack`.",
            )
        try:
            model = EmbeddingModel(**facts["model"])
            texts = (model.name, model.sha256, model.preprocessing, model.metric, facts["collection"])
            if type(model.dimension) is not int or not all(isinstance(text, str) for text in texts):
                raise ValueError("a field is of another type")
        except (ValueError, KeyError, TypeError) as error:
            raise GalleryFormatError(
                f"{self.path}: the metadata 'gtrack' describes no model: {error}.", hint="Export it again."
            ) from error
        if model.dimension < 1 or model.metric != "cosine":
            raise EmbeddingError(f"{self.path}: expected a model of dimension >= 1 and cosine metric, found {model!r}.")
        self._check_columns(schema, model)
        return ParquetHeader(version, model, facts["collection"], self._file.metadata.num_rows, "crop" in schema.names)

    def _check_columns(self, schema: pa.Schema, model: EmbeddingModel) -> None:
        from pyarrow import types

        def text(kind: pa.DataType) -> bool:
            kind = kind.value_type if types.is_dictionary(kind) else kind
            return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind))

        def number(kind: pa.DataType) -> bool:
            return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind))

        def binary(kind: pa.DataType) -> bool:
            return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_null(kind))

        def vector(kind: pa.DataType) -> bool:
            lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
            return bool(lists and types.is_floating(kind.value_type))

        for name in (*_COLUMNS, *(["crop"] if "crop" in schema.names else [])):
            if schema.names.count(name) != 1:
                raise GalleryFormatError(
                    f"{self.path}: expected one column {name!r}, found {schema.names.count(name)}.",
                    hint="docs/reference/gallery-parquet.md describes the columns.",
                )
            kind = schema.field(name).type
            if name == "embedding":
                good, what = vector(kind), "lists of floats"
            elif name == "crop":
                good, what = binary(kind), "binary"
            elif name == "frame" or name in _BOX:
                good, what = number(kind), "numbers"
            else:
                good, what = text(kind), "text"
            if not good:
                raise GalleryFormatError(
                    f"{self.path}: expected {what} in the column {name!r}, found {kind}.",
                    hint="docs/reference/gallery-parquet.md describes the columns.",
                )
        kind = schema.field("embedding").type
        if types.is_fixed_size_list(kind) and kind.list_size != model.dimension:
            raise EmbeddingError(
                f"{self.path}: expected embeddings of dimension {model.dimension}, as its model {model.name} has, "
                f"found {kind.list_size}.",
                hint="Export it again.",
            )

    def rows(self, progress: Progress | None = None) -> Iterator[_Rows]:
        """All rows, some at a time, each checked.

        Raises:
            GalleryFormatError, EmbeddingError: Something is wrong; names file and row.
        """
        total = self.header.entries
        names = [*_COLUMNS, *(["crop"] if self.header.has_pictures else [])]
        size = _ROWS_WITH_PICTURES if self.header.has_pictures else _ROWS
        done = 0
        for group in range(self._file.metadata.num_row_groups):  # a batch across groups may be any number of pictures
            with self._errors("is damaged"):
                batches = self._file.iter_batches(size, [group], names, use_threads=False)
            while True:
                with self._errors("is damaged"):
                    batch = next(batches, None)
                    if batch is None:
                        break
                    rows = self._checked(batch, done)
                yield rows
                done += len(rows.entries)
                if progress is not None:
                    progress(done, total)
        if done != total:
            raise GalleryFormatError(f"{self.path} is damaged: {done} of {total} rows can be read.")

    def _checked(self, batch: pa.RecordBatch, first: int) -> _Rows:
        columns = {name: batch.column(name) for name in batch.schema.names}
        for name in (*_TEXTS, "embedding"):
            if columns[name].null_count:
                row = first + int(np.flatnonzero(columns[name].is_null().to_numpy(zero_copy_only=False))[0])
                raise GalleryFormatError(f"{self.place(row)}: expected a value in the column {name!r}, found null.")
        values: dict[str, list[Any]] = {
            name: column.to_pylist() for name, column in columns.items() if name != "embedding"
        }
        pictures = values.pop("crop", [None] * len(batch))
        entries = [
            self._entry(first + number, dict(zip(values, row, strict=True)))
            for number, row in enumerate(zip(*values.values(), strict=True))
        ]
        for number, (entry, data) in enumerate(zip(entries, pictures, strict=True)):
            if data is not None and detect_image_suffix(data) is None:
                raise GalleryFormatError(f"{self.place(first + number, entry.id)}: its crop is no image.")
            if data is not None and is_hashed_image(entry) and sha256_hex(data) != entry.content_hash:
                raise GalleryFormatError(
                    f"{self.place(first + number, entry.id)}: its crop is not the picture of its content_hash."
                )
        return _Rows(first, entries, self._vectors(columns["embedding"], entries, first), pictures)

    def _entry(self, row: int, values: dict[str, Any]) -> Entry:
        def wrong(expected: str, found: object) -> GalleryFormatError:
            return GalleryFormatError(f"{self.place(row, values['id'])}: expected {expected}, found {found!r}.")

        for name in ("id", "identity", "class_name", "origin"):
            if not values[name].strip():
                raise wrong(f"some text in the column {name!r}", values[name])
        frame = values["frame"]
        if isinstance(frame, float):  # as pandas keeps whole numbers among which one is missing
            if not frame.is_integer():
                raise wrong("a whole number in the column 'frame'", frame)
            frame = int(frame)
        if frame is not None and not -(2**63) <= frame < 2**63:
            raise wrong("a frame number", frame)
        corners = [values[name] for name in _BOX]
        box: Box | None = None
        if any(corner is not None for corner in corners):
            if any(corner is None or not np.isfinite(corner) for corner in corners):
                raise wrong("a box of four finite numbers, or of four nulls", corners)
            x1, y1, x2, y2 = (float(corner) for corner in corners)
            box = (x1, y1, x2, y2)
        extra: Any = {}
        if values["extra"] != "{}":
            try:
                extra = json.loads(values["extra"], parse_constant=_refuse)
                json.dumps(extra, ensure_ascii=False, allow_nan=False).encode()
            except (ValueError, RecursionError) as error:  # lone surrogates are a ValueError, too
                raise wrong("a JSON object in the column 'extra'", values["extra"][:80]) from error
            if not isinstance(extra, dict):
                raise wrong("a JSON object in the column 'extra'", values["extra"][:80])
        return Entry(
            id=values["id"],
            identity=values["identity"],
            class_name=values["class_name"],
            origin=values["origin"],
            source=values["source"],
            content_hash=values["content_hash"],
            frame=frame,
            box=box,
            created_at=values["created_at"],
            extra=extra,
        )

    def _vectors(self, column: Any, entries: Sequence[Entry], first: int) -> NDArray[np.float32]:
        import pyarrow as pa
        import pyarrow.compute as pc

        dimension = self.header.model.dimension
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        for number in np.flatnonzero(lengths != dimension)[:1]:
            raise EmbeddingError(
                f"{self.place(first + int(number), entries[number].id)}: expected an embedding of dimension "
                f"{dimension}, as its model {self.header.model.name} has, found {lengths[number]}.",
                hint="Export it again.",
            )
        flat = column.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)  # a null becomes NaN
        array = flat.reshape(len(entries), dimension)
        try:
            return unit_rows(array, dimension, count=len(entries), what="embeddings")
        except EmbeddingError:
            for number, entry in enumerate(entries):
                if not np.isfinite(array[number]).all():
                    raise EmbeddingError(
                        f"{self.place(first + number, entry.id)}: its embedding is not finite."
                    ) from None
                try:
                    unit_rows(array[number], dimension, what="embeddings")
                except EmbeddingError:
                    length = float(np.linalg.norm(array[number].astype(np.float64)))
                    raise EmbeddingError(
                        f"{self.place(first + number, entry.id)}: its embedding has length {length:.4g}; expected 1.",
                        hint="Divide each embedding by its L2 norm.",
                    ) from None
            raise


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


class _Import:
    """One import into an open gallery."""

    def __init__(self, gallery: Gallery, reader: _Reader, replace: bool) -> None:
        self._gallery = gallery
        self._reader = reader
        self._replace = replace
        self._counts = {"added": 0, "unchanged": 0, "replaced": 0}
        self._conflicts: list[str] = []
        self._pending: dict[Path, Path] = {}

    def run(self, created: bool, progress: Progress | None) -> ImportReport:
        try:
            with self._gallery.delivered_together():
                with self._gallery.transaction():
                    for rows in self._reader.rows(progress):
                        self._take(rows)
                    if self._conflicts:
                        self._refuse_conflicts()
                # Only now, for what was there before must not give way to what is rolled back.
                for place, beside in self._pending.items():
                    beside.replace(place)
        except OSError as error:
            raise GalleryError(
                f"A picture cannot be written to {self._gallery.location}: {error.strerror or error}.",
                hint="Check the folder's permissions and the space on the disk.",
            ) from error
        finally:
            for beside in self._pending.values():
                beside.unlink(missing_ok=True)
        return ImportReport(
            found=sum(self._counts.values()),
            **self._counts,
            pictures=len(self._pending),
            collection=self._gallery.collection,
            created=created,
        )

    def _take(self, rows: _Rows) -> None:
        gallery = self._gallery
        known: dict[str, tuple[Entry, bytes]] = {}
        if len(gallery):
            entries, vectors = gallery.record.with_vectors(
                gallery.collection_key, [entry.id for entry in rows.entries], gallery.model.dimension
            )
            known = {entry.id: (entry, row.tobytes()) for entry, row in zip(entries, vectors, strict=True)}
        new: list[int] = []
        other: list[int] = []
        for number, entry in enumerate(rows.entries):
            there = known.get(entry.id)
            if there is None:
                new.append(number)
            elif there[0] == entry and there[1] == rows.vectors[number].tobytes():
                self._counts["unchanged"] += 1
            elif self._replace:
                other.append(number)
            else:
                self._conflicts.append(entry.id)
        if self._conflicts:
            return
        for number, data in enumerate(rows.pictures):
            if data is not None:
                self._keep(rows.entries[number], data, rows.first + number, new=number in new, other=number in other)
        if new:
            gallery.add([rows.entries[number] for number in new], rows.vectors[new])
        if other:
            gallery.replace([rows.entries[number] for number in other], rows.vectors[other])
        self._counts["added"] += len(new)
        self._counts["replaced"] += len(other)

    def _keep(self, entry: Entry, data: bytes, row: int, *, new: bool, other: bool) -> None:
        place = crop_path(self._gallery.path, entry)
        own = place is not None
        if place is None:
            place = imported_picture_path(self._gallery.path, entry, detect_image_suffix(data) or ".jpg")
        if place in self._pending:
            return
        if place.is_file():
            if not (new or other) or place.read_bytes() == data:
                return
            if own and new and not self._replace:
                raise EntryExistsError(
                    f"{self._reader.place(row, entry.id)}: the gallery has another picture at {place}.",
                    hint="--replace takes the file's.",
                )
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = place.with_name(f".{sha256_hex(place.name)[:16]}.part{place.suffix}")
        self._pending[place] = beside
        beside.write_bytes(data)

    def _refuse_conflicts(self) -> None:
        count = len(self._conflicts)
        more = f" and {count - _NAMED} more" if count > _NAMED else ""
        raise EntryExistsError(
            f"The gallery {self._gallery.location} holds {count} of the entries in {self._reader.path} with other "
            f"content: {', '.join(self._conflicts[:_NAMED])}{more}. Nothing was imported.",
            hint="--replace lets the file's entries take their place.",
        )
