"""Compare an index with the record in a process of its own, for an index that may end the process that opens it.

An index that a killed writer left, or whose files differ from their checksums, may crash hnswlib although all its links
lead to elements that exist. The child opens it first, reads every vector and searches; a crash is then an answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gallery_db.child_python import child_python
from gallery_db.errors import GalleryIndexError, GtrackError
from gallery_db.index.base import Progress
from gallery_db.index.chroma_index import CollectionMissingError, IndexDifferences
from gallery_db.index.verification import compare_with_record

if TYPE_CHECKING:
    from gallery_db.store.record import CollectionRow, Record

__all__ = ["compare_apart"]


def compare_apart(
    folder: Path, record: Record, row: CollectionRow, progress: Progress | None, *, create: bool = False
) -> tuple[IndexDifferences, list[str]]:
    """Compare a collection with the record as `compare_with_record` does, in a child process.

    The caller holds the gallery's `WriterLock`, and is in no transaction.

    Raises:
        CollectionMissingError: There is no such collection.
        GalleryIndexError: Chroma cannot open the collection, or ended the child.
    """
    command = child_python(
        __name__, "answer", folder=str(folder), record=str(record.path), collection=row.id, create=create
    )
    last: dict[str, Any] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                last = json.loads(line)
                if progress is not None and "done" in last:
                    progress(*last["done"])
            # Only then may its standard input be closed, which would end it at once with code 1.
            child.wait()
        except BaseException:
            child.kill()
            raise
    if "error" in last:
        raise (CollectionMissingError if last["absent"] else GalleryIndexError)(str(last["error"]))
    if child.returncode or "differences" not in last:
        raise GalleryIndexError(f"A process that opened the Chroma index {folder} ended with code {child.returncode}.")
    missing, extra, different, unreadable = last["differences"]
    differences = IndexDifferences(tuple(missing), tuple(extra), tuple(different), bool(unreadable))
    return differences, list(last["problems"])


def answer(folder: str, record: str, collection: int, create: bool) -> None:
    """Compare, and print progress and result as JSON lines; the child's part of `compare_apart`."""
    from gallery_db.store.record import Record

    # The parent holds the lock; without it, the child must not touch the index any longer.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints does not get into the answer

    def send(**facts: object) -> None:
        print(json.dumps(facts), file=output, flush=True)

    try:
        opened = Record.open(Path(record), write=False)
        try:
            row = next(row for row in opened.collections() if row.id == collection)
            differences, problems = compare_with_record(
                Path(folder), opened, row, lambda done, total: send(done=[done, total]), create=create
            )
        finally:
            opened.close()
    except GtrackError as error:
        send(error=error.message, absent=isinstance(error, CollectionMissingError))
        return
    facts = [differences.missing, differences.extra, differences.different, differences.unreadable]
    send(differences=facts, problems=problems)


def _end_with_parent() -> None:
    while os.read(0, 1):  # not through sys.stdin, whose lock this thread would hold when Python ends
        pass
    os._exit(1)
