"""Entries as rows of the record, and as JSON objects of its change log."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Box, Entry
from gallery_db.errors import GalleryFormatError

__all__ = [
    "ENTRY_COLUMNS",
    "decoding",
    "entry_from_facts",
    "entry_from_row",
    "facts_of",
    "row_of",
    "vector_blob",
    "vector_matrix",
]

ENTRY_COLUMNS = "id, identity, class_name, origin, source, content_hash, frame, box, created_at, extra"
"""The columns of an entry, in the order of `entry_from_row` and `row_of`."""


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Turn the errors of decoding stored values into one of the gallery.

    Args:
        path: The record's file, for messages.

    Raises:
        GalleryFormatError: A value is not what gtrack writes.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise GalleryFormatError(
            f"The gallery's record {path} holds a value that gtrack does not write: "
            f"{type(error).__name__}: {str(error)[:200]}.",
            hint="Restore a snapshot with `gtrack gallery restore`, or ingest the images into a new gallery.",
        ) from error


def entry_from_row(row: Sequence[Any], path: Path) -> Entry:
    """Return the entry of a row that begins with `ENTRY_COLUMNS`.

    Args:
        row: The row.
        path: The record's file, for messages.

    Raises:
        GalleryFormatError: A value is not what gtrack writes.
    """
    with decoding(path):
        texts = (row[0], row[1], row[2], row[3], row[4], row[8], row[9], row[5] or "")
        if not all(type(text) is str for text in texts) or not (row[6] is None or type(row[6]) is int):
            raise TypeError(f"a column of the entry {str(row[0])[:60]!r} has a value of another type")
        box: Box | None = None
        if row[7] is not None:
            x1, y1, x2, y2 = json.loads(row[7])
            if not all(map(math.isfinite, (x1, y1, x2, y2))):
                raise ValueError(f"the box of the entry {row[0][:60]!r} is not finite")
            box = (x1, y1, x2, y2)
        fixed = (row[0], row[1], row[2], row[3], row[4], row[5], row[6], box, row[8])
        if row[9] == "{}":
            return Entry(*fixed)
        extra = json.loads(row[9])
        if not isinstance(extra, dict):
            raise TypeError(f"extra of the entry {row[0][:60]!r} is not an object")
        return Entry(*fixed, extra=extra)


def row_of(entry: Entry) -> tuple[Any, ...]:
    """Return an entry's values of `ENTRY_COLUMNS`."""
    box = None if entry.box is None else json.dumps([float(value) for value in entry.box], allow_nan=False)
    extra = json.dumps(dict(entry.extra), ensure_ascii=False, allow_nan=False)
    return (
        entry.id,
        entry.identity,
        entry.class_name,
        entry.origin,
        entry.source,
        entry.content_hash,
        entry.frame,
        box,
        entry.created_at,
        extra,
    )


def facts_of(entry: Entry) -> dict[str, Any]:
    """Return an entry as the change log stores it."""
    return {
        "id": entry.id,
        "identity": entry.identity,
        "class_name": entry.class_name,
        "origin": entry.origin,
        "source": entry.source,
        "content_hash": entry.content_hash,
        "frame": entry.frame,
        "box": None if entry.box is None else [float(value) for value in entry.box],
        "created_at": entry.created_at,
        "extra": dict(entry.extra),
    }


def entry_from_facts(facts: Mapping[str, Any]) -> Entry:
    """Return the entry that the change log stores as `facts`."""
    known = dict(facts)
    if known["box"] is not None:
        x1, y1, x2, y2 = known["box"]
        known["box"] = (x1, y1, x2, y2)
    return Entry(**known)


def vector_blob(vector: NDArray[np.float32]) -> bytes:
    """Return a vector (D,) as the record stores it: little-endian float32."""
    return vector.astype("<f4").tobytes()


def vector_matrix(blobs: Sequence[bytes], dimension: int, path: Path) -> NDArray[np.float32]:
    """Return stored vectors as a matrix.

    Args:
        blobs: N vectors as the record stores them.
        dimension: D.
        path: The record's file, for messages.

    Returns:
        (N, D) float32.

    Raises:
        GalleryFormatError: A vector has another length.
    """
    with decoding(path):
        joined = b"".join(blobs)
    if len(joined) != len(blobs) * dimension * 4:
        raise GalleryFormatError(
            f"The gallery's record {path} holds vectors of another length than {dimension}.",
            hint="Restore it from a backup, or ingest the images into a new gallery.",
        )
    return np.frombuffer(joined, dtype="<f4").astype(np.float32, copy=False).reshape(len(blobs), dimension)
