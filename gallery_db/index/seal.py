"""The seal of an index: checksums of its files, which its last writer leaves in the record.

Chroma trusts its files. A bit that flipped in one of them on a disk, or in a copy, ends the process with a
segmentation fault, or makes a search miss entries. So a writer that closes the index properly seals it, and every
process compares the seal before it opens the index for the first time.

The HNSW files are compared byte for byte. Chroma's database is compared by what its tables hold, because Chroma writes
to its file each time it is opened.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import orjson

from gallery_db.index.hnsw_check import element_files

__all__ = ["find_broken_seal", "seal"]

_DATABASE = "chroma.sqlite3"
_TABLES = ("collections", "collection_metadata", "segments", "embeddings", "embeddings_queue", "max_seq_id")
"""The tables from which Chroma answers: who is in a collection, and the vectors that are not in HNSW files yet."""

_BYTES_AT_ONCE = 1 << 20
_ROWS_AT_ONCE = 1000


def seal(folder: Path) -> str:
    """Return the checksums of an index as text; all its files are read.

    Args:
        folder: Chroma's folder, closed.

    Raises:
        OSError, sqlite3.Error: A file cannot be read.
    """
    return json.dumps(_checksums(folder), sort_keys=True)


def find_broken_seal(folder: Path, text: str) -> str | None:
    """Return a sentence about the first file that differs from its seal; None for none."""
    try:
        sealed = orjson.loads(text)
        if not isinstance(sealed, dict):
            raise ValueError("expected an object")
        found = _checksums(folder)
    except (OSError, sqlite3.Error, ValueError) as error:
        return f"{folder}: its files cannot be compared with their checksums: {error}."
    for name in sorted(sealed.keys() | found.keys()):
        if sealed.get(name) != found.get(name):
            return f"{folder / name}: the file differs from the checksum that its last writer left."
    return None


def _checksums(folder: Path) -> dict[str, int]:
    files = {path.relative_to(folder).as_posix(): _of_file(path) for path in element_files(folder)}
    if (folder / _DATABASE).is_file():
        files[_DATABASE] = _of_database(folder / _DATABASE)
    return files


def _of_file(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while part := file.read(_BYTES_AT_ONCE):
            value = zlib.crc32(part, value)
    return value


def _of_database(path: Path) -> int:
    value = 0
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.text_factory = bytes  # whatever is stored, damaged text too
        for table in _TABLES:
            rows = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
            while some := rows.fetchmany(_ROWS_AT_ONCE):
                value = zlib.crc32(repr(some).encode(), value)
    return value
