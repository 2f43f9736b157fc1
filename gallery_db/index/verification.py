"""Compare the Chroma index in a gallery's folder with the record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import GalleryIndexError
from gallery_db.index.base import Progress, VerifyReport
from gallery_db.index.chroma_index import BATCH_SIZE, ChromaIndex, CollectionMissingError, IndexDifferences
from gallery_db.index.hnsw_check import find_damage
from gallery_db.store.intact_entries import damage_in_words

if TYPE_CHECKING:
    from gallery_db.store.record import CollectionRow, Record

__all__ = ["compare_with_record", "raise_on_damage", "verify_index"]

_SAMPLES = 32


Comparison = Callable[["Path", "Record", "CollectionRow", "Progress | None"], tuple[IndexDifferences, list[str]]]
"""Compares a collection with the record as `compare_with_record` does."""


def raise_on_damage(folder: Path) -> None:
    """Check Chroma's HNSW files before Chroma loads them: torn files end the process, at once or at a later search.

    Raises:
        GalleryIndexError: A file is damaged.
    """
    if damage := find_damage(folder):
        raise GalleryIndexError(damage[0])


def compare_with_record(
    folder: Path, record: Record, row: CollectionRow, progress: Progress | None, *, create: bool = False
) -> tuple[IndexDifferences, list[str]]:
    """Compare every id and every vector of a collection with the record, and search for some of the vectors.

    Args:
        folder: Chroma's folder.
        record: The record.
        row: The collection.
        progress: Called after each batch.
        create: Create the collection in the index if it does not exist.

    Returns:
        The differences, and a sentence for each other problem.

    Raises:
        GalleryIndexError: Chroma cannot open the collection.
    """
    ids = record.entries.ids(row.id)

    def batches() -> Iterator[tuple[Sequence[str], NDArray[np.float32]]]:
        for start in range(0, len(ids), BATCH_SIZE):
            part = ids[start : start + BATCH_SIZE]
            entries, vectors = record.entries.with_vectors(row.id, part, row.model.dimension)
            yield [entry.id for entry in entries], vectors

    index = ChromaIndex(folder, row.name, row.model, create=create)
    try:
        damaged = record.entries.damaged
        differences = index.compare(batches(), progress=progress, total=len(ids), damaged=damaged)
        problems = []
        absent = {*differences.missing, *differences.different, *damaged}
        sample = [id_ for id_ in ids[:: max(1, len(ids) // _SAMPLES)] if id_ not in absent]
        if sample:
            # All vectors may be there and the HNSW graph over them still be broken.
            _, distances = index.query(record.entries.with_vectors(row.id, sample, row.model.dimension)[1], 1)
            lost = sum(1 for found in distances if not found or found[0] > 1e-4)
            if lost:
                problems.append(
                    f"{lost} of {len(sample)} sampled entries are not found by a search for their own vector."
                )
        return differences, problems
    finally:
        index.close()


def verify_index(
    folder: Path,
    record: Record,
    row: CollectionRow,
    progress: Progress | None,
    *,
    compare: Comparison = compare_with_record,
    problems: Sequence[str] = (),
    pending: Collection[str] = (),
) -> VerifyReport:
    """Compare every id and every vector of a collection with the record; nothing is repaired.

    Args:
        folder: Chroma's folder; this process must have no index open in it.
        record: The record.
        row: The collection.
        progress: Called after each batch.
        compare: How index and record are compared: here, or in a child process.
        problems: What is known to be wrong already.
        pending: Ids of entries that changed since the index was last brought up to date, which may differ.
    """
    record_damage = record.check_integrity()
    damaged = record.entries.find_damaged(row.id, row.model.dimension)
    problems = [*(f"The record is damaged: {line}." for line in record_damage), *problems]
    if damaged:
        problems.append(f"{len(damaged)} entries of the record are damaged: {damage_in_words(damaged)}.")
    total = record.entries.count(row.id)
    differences = IndexDifferences((), (), (), False)
    if not (folder / "chroma.sqlite3").is_file():
        if total and row.applied_seq:
            differences = IndexDifferences(tuple(record.entries.ids(row.id)), (), (), True)
            problems.append(f"There is no Chroma index in {folder}.")
    else:
        try:
            raise_on_damage(folder)
            differences, found = compare(folder, record, row, progress)
            problems += found
        except CollectionMissingError as error:
            if total and row.applied_seq:  # else the index has just not been needed yet
                problems.append(error.message)
        except GalleryIndexError as error:
            if error.message not in problems:
                problems.append(error.message)
    if differences.unreadable and not problems:
        problems.append("Chroma cannot read vectors that the index should have.")
    return VerifyReport(
        row.name,
        total,
        _without(differences.missing, pending),
        _without(differences.extra, pending),
        _without(differences.different, pending),
        tuple(problems),
        not record_damage and not damaged,
        tuple(one.id for one in damaged),
        len(pending),
    )


def _without(ids: tuple[str, ...], pending: Collection[str]) -> tuple[str, ...]:
    return tuple(id_ for id_ in ids if id_ not in pending)
