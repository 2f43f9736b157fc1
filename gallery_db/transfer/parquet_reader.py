"""Read and check a gallery's Parquet file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from gallery_db.distribution import require_package
from gallery_db.embeddings import unit_rows
from gallery_db.entry import Box, Entry
from gallery_db.errors import EmbeddingError, GalleryError, GalleryFormatError
from gallery_db.media.entry_pictures import detect_image_suffix, is_hashed_image, sha256_hex
from gallery_db.names import validate_identity_name
from gallery_db.transfer.parquet_format import (
    BOX_COLUMNS,
    COLUMNS,
    CROP_COLUMN,
    REQUIRED_TEXT_COLUMNS,
    ROWS_WITH_PICTURES,
    SHOWN_CHARACTERS,
    ParquetHeader,
    parse_header,
)
from gallery_db.visible_text import shorten

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ParquetReader", "ParquetRows", "read_parquet_header"]

_ROWS_WITHOUT_PICTURES = 1000  # rows to read at a time


def read_parquet_header(file: str | os.PathLike[str]) -> ParquetHeader:
    """Return the description of a gallery's Parquet file, without reading its rows.

    Raises:
        GalleryError: There is no such file, or it cannot be read.
        GalleryFormatError: The file is not a Parquet file, is not of a gallery, or was written by a newer gtrack.
        EmbeddingError: The embeddings have another dimension than the model.
    """
    with ParquetReader(file) as reader:
        return reader.header


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """N consecutive rows of a file, checked.

    Attributes:
        first: Number of the first row, from 0.
        entries: N entries.
        vectors: (N, D) float32, rows of unit length.
        pictures: N image files; None for an entry without a picture.
    """

    first: int
    entries: list[Entry]
    vectors: NDArray[np.float32]
    pictures: list[bytes | None]


class ParquetReader:
    """An open Parquet file of a gallery, whose rows are checked while they are read.

    Attributes:
        path: The file.
        header: Its description.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        """Open a file and check its header; raises as `read_parquet_header` does."""
        require_package("pyarrow", "parquet", "A Parquet file")
        import pyarrow.parquet as pq

        self.path = Path(file)
        if not self.path.is_file():
            found = "is a folder" if self.path.is_dir() else "does not exist"
            raise GalleryError(f"{self.path} {found}; expected a Parquet file that `gtrack gallery export` wrote.")
        with self._arrow_errors("is damaged, or is not a Parquet file"):
            self._file = pq.ParquetFile(self.path, page_checksum_verification=True, memory_map=False)
        try:
            with self._arrow_errors("is damaged"):
                self.header = parse_header(self.path, self._file.schema_arrow, self._file.metadata.num_rows)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ParquetReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def position(self, row: int, id_: str | None = None) -> str:
        """Return the file, the row and the entry's id, for a message."""
        return f"{self.path}, row {row}" + (f" (id {shorten(id_, SHOWN_CHARACTERS)!r})" if id_ else "")

    def rows(self, progress: Callable[[int, int], None] | None = None) -> Iterator[ParquetRows]:
        """Yield all rows, a batch at a time, each checked.

        Args:
            progress: Called with (rows read, all rows).

        Raises:
            GalleryFormatError: The file is damaged, or a value is not as expected; names file and row.
            EmbeddingError: An embedding is not as expected; names file and row.
        """
        total = self.header.entries
        names = [*COLUMNS, *([CROP_COLUMN] if self.header.has_pictures else [])]
        size = ROWS_WITH_PICTURES if self.header.has_pictures else _ROWS_WITHOUT_PICTURES
        done = 0
        # Row group by row group: the writer bounds the size of the pictures in a row group.
        for group in range(self._file.metadata.num_row_groups):
            with self._arrow_errors("is damaged"):
                batches = self._file.iter_batches(size, [group], names, use_threads=False)
            while True:
                with self._arrow_errors("is damaged"):
                    batch = next(batches, None)
                    if batch is None:
                        break
                    rows = self._check_batch(batch, done)
                yield rows
                done += len(rows.entries)
                if progress is not None:
                    progress(done, total)
        if done != total:
            raise GalleryFormatError(f"{self.path} is damaged: {done} of {total} rows can be read.")

    @contextmanager
    def _arrow_errors(self, problem: str) -> Iterator[None]:
        """Turn errors of pyarrow and of the file system into errors of the gallery."""
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, PermissionError):
                raise GalleryError(f"{self.path} cannot be read: {error.strerror}.") from error
            text = " ".join(str(error).split()).rstrip(".")
            raise GalleryFormatError(
                f"{self.path} {problem}: {text}.", hint="Copy the file again, or export the gallery again."
            ) from error

    def _check_batch(self, batch: pa.RecordBatch, first: int) -> ParquetRows:
        """Convert a batch whose first row has the number `first`, and check all its values."""
        columns = {name: batch.column(name) for name in batch.schema.names}
        for name in (*REQUIRED_TEXT_COLUMNS, "embedding"):
            if columns[name].null_count:
                row = first + int(np.flatnonzero(columns[name].is_null().to_numpy(zero_copy_only=False))[0])
                raise GalleryFormatError(f"{self.position(row)}: expected a value in the column {name!r}, found null.")
        values: dict[str, list[Any]] = {
            name: column.to_pylist() for name, column in columns.items() if name != "embedding"
        }
        pictures = values.pop(CROP_COLUMN, [None] * len(batch))
        entries = [
            self._to_entry(first + number, dict(zip(values, row, strict=True)))
            for number, row in enumerate(zip(*values.values(), strict=True))
        ]
        for number, (entry, data) in enumerate(zip(entries, pictures, strict=True)):
            if data is not None and detect_image_suffix(data) is None:
                raise GalleryFormatError(f"{self.position(first + number, entry.id)}: its crop is not an image.")
            if data is not None and is_hashed_image(entry) and sha256_hex(data) != entry.content_hash:
                raise GalleryFormatError(
                    f"{self.position(first + number, entry.id)}: its crop is not the picture of its content_hash."
                )
        return ParquetRows(first, entries, self._to_vectors(columns["embedding"], entries, first), pictures)

    def _to_entry(self, row: int, values: dict[str, Any]) -> Entry:
        """Convert and check the values of one row."""

        def refuse(expected: str, found: object, cause: Exception | None = None) -> NoReturn:
            shown = shorten(repr(found), SHOWN_CHARACTERS)
            raise GalleryFormatError(
                f"{self.position(row, values['id'])}: expected {expected}, found {shown}."
            ) from cause

        for name in ("id", "identity", "class_name", "origin"):
            if not values[name].strip():
                refuse(f"some text in the column {name!r}", values[name])
        try:
            identity = validate_identity_name(values["identity"])
        except GalleryError as error:
            raise GalleryFormatError(
                f"{self.position(row, values['id'])}: {error.message}",
                hint="Rename the identity in the gallery that the file comes from, and export that again.",
            ) from None
        frame = values["frame"]
        if isinstance(frame, float):  # pandas turns whole numbers into floats where one of them is missing
            if not frame.is_integer():
                refuse("a whole number in the column 'frame'", frame)
            frame = int(frame)
        if frame is not None and not -(2**63) <= frame < 2**63:
            refuse("a frame number", frame)
        corners = [values[name] for name in BOX_COLUMNS]
        box: Box | None = None
        if any(corner is not None for corner in corners):
            if any(corner is None or not np.isfinite(corner) for corner in corners):
                refuse("a box of four finite numbers, or of four nulls", corners)
            x1, y1, x2, y2 = (float(corner) for corner in corners)
            box = (x1, y1, x2, y2)
        extra: Any = {}
        if values["extra"] != "{}":
            try:
                extra = json.loads(values["extra"], parse_constant=_refuse_constant)
                json.dumps(extra, ensure_ascii=False, allow_nan=False).encode()
            except (ValueError, RecursionError) as error:  # a lone surrogate is a ValueError too
                refuse("a JSON object in the column 'extra'", values["extra"][:80], error)
            if not isinstance(extra, dict):
                refuse("a JSON object in the column 'extra'", values["extra"][:80])
        return Entry(
            id=values["id"],
            identity=identity,
            class_name=values["class_name"],
            origin=values["origin"],
            source=values["source"],
            content_hash=values["content_hash"],
            frame=frame,
            box=box,
            created_at=values["created_at"],
            extra=extra,
        )

    def _to_vectors(self, column: Any, entries: Sequence[Entry], first: int) -> NDArray[np.float32]:
        """Return (N, D) embeddings of unit length; say which row is wrong if one is."""
        import pyarrow as pa
        import pyarrow.compute as pc

        dimension = self.header.model.dimension
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        for number in np.flatnonzero(lengths != dimension)[:1]:
            raise EmbeddingError(
                f"{self.position(first + int(number), entries[number].id)}: expected an embedding of dimension "
                f"{dimension}, as its model {self.header.model.name} has, found {lengths[number]}.",
                hint="Export the gallery again.",
            )
        flat = column.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)  # a null becomes NaN
        array = flat.reshape(len(entries), dimension)
        try:
            return unit_rows(array, dimension, count=len(entries), what="embeddings")
        except EmbeddingError:
            for number, entry in enumerate(entries):
                self._check_vector(array[number], first + number, entry.id)
            raise

    def _check_vector(self, vector: NDArray[np.float32], row: int, id_: str) -> None:
        """Raise if a (D,) embedding is not finite or not of unit length."""
        if not np.isfinite(vector).all():
            raise EmbeddingError(f"{self.position(row, id_)}: its embedding is not finite.") from None
        try:
            unit_rows(vector, len(vector), what="embeddings")
        except EmbeddingError:
            length = float(np.linalg.norm(vector.astype(np.float64)))
            raise EmbeddingError(
                f"{self.position(row, id_)}: its embedding has length {length:.4g}; expected 1.",
                hint="Divide each embedding by its L2 norm.",
            ) from None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
