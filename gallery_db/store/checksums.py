"""Checksums of entries: a bit that flipped in a vector or a name must not give a wrong name silently.

SQLite does not notice when the content of a page changes by itself. So the table ``checksums`` has two CRC-32 values
for each entry: of its description, which decides what the entry is found as, and of its vector. They are written with
the entry, and compared whenever vectors are read.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import UNIT_TOLERANCE

__all__ = ["DamagedEntry", "add_functions", "entry_checksum", "find_damage", "text_checksum", "vector_checksum"]

_MASK = 0xFFFFFFFF


class DamagedEntry(NamedTuple):
    """An entry that is not as it was written.

    Attributes:
        seq: Its row number.
        id: Its id, which may be what is damaged.
        description: Whether its id, identity, class, origin or extra facts are damaged.
        vector: Whether its vector is damaged or lost.
    """

    seq: int
    id: str
    description: bool
    vector: bool


def entry_checksum(seq: int, collection: int, described: Sequence[Any]) -> int | None:
    """Return the checksum of an entry's description.

    Args:
        seq: Its row number.
        collection: Key of its collection.
        described: Its id, identity, class, origin and extra facts as they are stored.

    Returns:
        None where they are not text, as only a damaged row has it.
    """
    try:
        joined = "\x1f".join((str(collection), *described))
    except TypeError:
        return None
    return zlib.crc32(joined.encode("utf-8", "surrogatepass"), seq & _MASK)


def vector_checksum(seq: int, vector: bytes) -> int:
    """Return the checksum of a stored vector and the row number that it belongs to."""
    return zlib.crc32(vector, seq & _MASK)


def text_checksum(text: str) -> int:
    """Return the checksum of a text of the change log."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def add_functions(connection: sqlite3.Connection) -> None:
    """Make the checksums known to SQL, for the migration that computes those of older records."""
    connection.create_function(
        "entry_checksum", 7, lambda seq, collection, *described: entry_checksum(seq, collection, described)
    )
    connection.create_function("vector_checksum", 2, vector_checksum)


def find_damage(
    collection: int, rows: Sequence[Sequence[Any]], dimension: int, *, sealed: bool
) -> tuple[list[DamagedEntry], list[int], NDArray[np.float32]]:
    """Separate damaged rows from intact ones.

    Args:
        collection: Key of the collection.
        rows: N of (seq, id, identity, class_name, origin, extra, vector, checksum, checksum of the vector, ...).
        dimension: D.
        sealed: Whether there are checksums; without, only a vector that is not of unit length counts as damaged.

    Returns:
        The damaged entries, the K numbers of the intact rows, and their vectors (K, D).
    """
    size = 4 * dimension
    described = [sealed and (row[7] is None or row[7] != entry_checksum(row[0], collection, row[1:6])) for row in rows]
    broken = [
        not isinstance(row[6], bytes) or len(row[6]) != size or (sealed and row[8] != vector_checksum(row[0], row[6]))
        for row in rows
    ]
    whole = [number for number, bad in enumerate(broken) if not bad]
    joined = b"".join([rows[number][6] for number in whole])
    vectors = np.frombuffer(joined, dtype="<f4").astype(np.float32, copy=False).reshape(len(whole), dimension)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
        wrong = ~(np.abs(lengths - 1.0) <= UNIT_TOLERANCE)  # in this form, NaN counts as wrong
    if len(whole) == len(rows) and not wrong.any() and not any(described):
        return [], whole, vectors
    for place in np.flatnonzero(wrong).tolist():
        broken[whole[place]] = True
    damaged = [
        DamagedEntry(row[0], str(row[1]), description, vector)
        for row, description, vector in zip(rows, described, broken, strict=True)
        if description or vector
    ]
    kept = [place for place, number in enumerate(whole) if not (described[number] or broken[number])]
    return damaged, [whole[place] for place in kept], vectors[kept]
