"""The Parquet format of a gallery: its columns and its metadata. docs/reference/gallery-parquet.md describes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from gallery_db.errors import EmbeddingError, GalleryFormatError
from gallery_db.model import EmbeddingModel, model_problem
from gallery_db.visible_text import shorten

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "BOX_COLUMNS",
    "COLUMNS",
    "CROP_COLUMN",
    "PARQUET_VERSION",
    "REQUIRED_TEXT_COLUMNS",
    "ROWS_WITH_PICTURES",
    "SHOWN_CHARACTERS",
    "ParquetHeader",
    "make_schema",
    "parse_header",
]

PARQUET_VERSION = 1
"""The version of the Parquet format that is written, and the newest one that can be read."""

REQUIRED_TEXT_COLUMNS = ("id", "identity", "class_name", "origin", "source", "created_at", "extra")
"""Columns of text that are never null."""
BOX_COLUMNS = ("x1", "y1", "x2", "y2")
"""Columns of the box; all four are null for a whole image."""
COLUMNS = (
    *REQUIRED_TEXT_COLUMNS[:5],
    "content_hash",
    "frame",
    *BOX_COLUMNS,
    *REQUIRED_TEXT_COLUMNS[5:],
    "embedding",
)
"""All columns in the order of the file, but for the optional `CROP_COLUMN`."""
CROP_COLUMN = "crop"
"""The optional last column: image files."""

ROWS_WITH_PICTURES = 128
"""Rows to read or write at a time if they have pictures."""

_METADATA_KEY = b"gtrack"
_FORMAT_NAME = "gtrack-gallery"
SHOWN_CHARACTERS = 200
"""Characters of a value of the file that a message shows."""


@dataclass(frozen=True, slots=True)
class ParquetHeader:
    """The description of a gallery's Parquet file, from its metadata.

    Attributes:
        version: Version of the format.
        model: The model of the embeddings.
        collection: Name of the collection that was exported.
        entries: Number of rows.
        has_pictures: Whether the file has the column ``crop``.
    """

    version: int
    model: EmbeddingModel
    collection: str
    entries: int
    has_pictures: bool


def make_schema(model: EmbeddingModel, collection: str, pictures: bool) -> pa.Schema:
    """Return the schema, with metadata, of a file of a model's embeddings, with or without a column of pictures."""
    import pyarrow as pa

    header = {
        "format": _FORMAT_NAME,
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
    types = {name: pa.string() for name in COLUMNS}
    types |= {"frame": pa.int64(), **{name: pa.float64() for name in BOX_COLUMNS}}
    types["embedding"] = pa.list_(pa.field("element", pa.float32(), nullable=False), model.dimension)
    required = (*REQUIRED_TEXT_COLUMNS, "embedding")
    fields = [pa.field(name, types[name], nullable=name not in required) for name in COLUMNS]
    if pictures:
        fields.append(pa.field(CROP_COLUMN, pa.binary()))
    return pa.schema(fields, metadata={_METADATA_KEY: json.dumps(header, ensure_ascii=False).encode()})


def parse_header(path: Path, schema: pa.Schema, rows: int) -> ParquetHeader:
    """Check a file's metadata and the types of its columns, and return its description.

    Args:
        path: The file, for messages.
        schema: Its schema.
        rows: Its number of rows.

    Raises:
        GalleryFormatError: The file is not a gallery's, or was written by a newer gtrack.
        EmbeddingError: The model is none that a gallery can have, or the embeddings have another dimension.
    """
    raw = (schema.metadata or {}).get(_METADATA_KEY)
    if raw is None:
        raise GalleryFormatError(
            f"{path} is a Parquet file, but not of a gallery: its schema has no metadata 'gtrack'.",
            hint="pandas and polars drop it on saving; docs/reference/gallery-parquet.md shows how to keep it.",
        )
    try:
        facts = orjson.loads(raw)
        version = facts["version"]
        if facts["format"] != _FORMAT_NAME or type(version) is not int:
            raise ValueError(f"expected the format {_FORMAT_NAME!r} and a whole number as its version")
    except (ValueError, KeyError, TypeError) as error:
        raise GalleryFormatError(
            f"{path}: the metadata 'gtrack' is not that of a gallery: {shorten(str(error), SHOWN_CHARACTERS)}.",
            hint="Export the gallery again.",
        ) from error
    if version > PARQUET_VERSION:
        raise GalleryFormatError(
            f"{path} has format version {version}, written by a newer gtrack; this version of gtrack reads format "
            f"versions up to {PARQUET_VERSION}.",
            hint="Upgrade gtrack: `pip install -U gtrack-reid`.",
        )
    try:
        model = EmbeddingModel(**facts["model"])
        texts = (model.name, model.sha256, model.preprocessing, model.metric, model.path or "", facts["collection"])
        if type(model.dimension) is not int or not all(isinstance(text, str) for text in texts):
            raise ValueError("a field has a wrong type")
    except (ValueError, KeyError, TypeError) as error:
        raise GalleryFormatError(
            f"{path}: the metadata 'gtrack' describes no model: {shorten(str(error), SHOWN_CHARACTERS)}.",
            hint="Export the gallery again.",
        ) from error
    problem = model_problem(model)
    if problem is not None:
        raise EmbeddingError(f"{path}: the metadata 'gtrack' describes no model: {problem}.")
    _check_columns(path, schema, model)
    return ParquetHeader(version, model, facts["collection"], rows, CROP_COLUMN in schema.names)


def _check_columns(path: Path, schema: pa.Schema, model: EmbeddingModel) -> None:
    """Check that each column is there once, with a type that can be converted to that of the format."""
    from pyarrow import types

    def is_text(kind: pa.DataType) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind))

    def is_number(kind: pa.DataType) -> bool:
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind))

    def is_binary(kind: pa.DataType) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_null(kind))

    def is_vector(kind: pa.DataType) -> bool:
        is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
        return bool(is_list and types.is_floating(kind.value_type))

    for name in (*COLUMNS, *([CROP_COLUMN] if CROP_COLUMN in schema.names else [])):
        if schema.names.count(name) != 1:
            raise GalleryFormatError(
                f"{path}: expected one column {name!r}, found {schema.names.count(name)}.",
                hint="docs/reference/gallery-parquet.md describes the columns.",
            )
        kind = schema.field(name).type
        if name == "embedding":
            is_valid, expected = is_vector(kind), "lists of floats"
        elif name == CROP_COLUMN:
            is_valid, expected = is_binary(kind), "binary"
        elif name == "frame" or name in BOX_COLUMNS:
            is_valid, expected = is_number(kind), "numbers"
        else:
            is_valid, expected = is_text(kind), "text"
        if not is_valid:
            raise GalleryFormatError(
                f"{path}: expected {expected} in the column {name!r}, found {kind}.",
                hint="docs/reference/gallery-parquet.md describes the columns.",
            )
    kind = schema.field("embedding").type
    if types.is_fixed_size_list(kind) and kind.list_size != model.dimension:
        raise EmbeddingError(
            f"{path}: expected embeddings of dimension {model.dimension}, as its model {model.name} has, found "
            f"{kind.list_size}.",
            hint="Export the gallery again.",
        )
