"""Reading entries with their vectors: only those that are as they were written."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.errors import GalleryFormatError
from gallery_db.store.checksums import DamagedEntry, entry_checksum, find_damage, vector_checksum
from gallery_db.store.database import Database, fetch_all
from gallery_db.store.entry_rows import ENTRY_COLUMNS, decoding, entry_from_row, row_of, vector_blob

__all__ = ["IntactEntries", "ViewRows", "damage_in_words"]

_PAGE = 1000
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class ViewRows:
    """All vectors of a collection at one moment, with what a view needs beside them.

    Attributes:
        generation: Generation of the collection at that moment.
        change: Number of its last change at that moment; 0 for none.
        ids: N entry ids.
        identities: N identity names.
        class_names: N class names.
        origins: N origins.
        sources: N sources, None where unknown.
        extras: N texts, JSON of what else is known of an entry.
        vectors: (N, D) float32.
    """

    generation: int
    change: int
    ids: list[str]
    identities: list[str]
    class_names: list[str]
    origins: list[str]
    sources: list[str | None]
    extras: list[str]
    vectors: NDArray[np.float32]

    def without(self, ids: Collection[str]) -> ViewRows:
        """Return the rows but for the entries of these ids."""
        kept = [row for row, id_ in enumerate(self.ids) if id_ not in ids]
        return ViewRows(
            self.generation,
            self.change,
            [self.ids[row] for row in kept],
            [self.identities[row] for row in kept],
            [self.class_names[row] for row in kept],
            [self.origins[row] for row in kept],
            [self.sources[row] for row in kept],
            [self.extras[row] for row in kept],
            self.vectors[kept],
        )


def damage_in_words(damaged: Sequence[DamagedEntry]) -> str:
    """Return the ids of damaged entries and what is damaged, the first of them."""
    parts = {(True, False): "description", (False, True): "vector", (True, True): "description and vector"}
    named = [f"{one.id!r} ({parts[one.description, one.vector]})" for one in damaged[:_MOST_NAMED]]
    more = len(damaged) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


class IntactEntries:
    """Reads entries with their vectors, and leaves out those that do not fit their checksums.

    A record of an older format has no checksums; there, only vectors that are not of unit length are left out.

    Attributes:
        notices: Where it is noted for the user which entries are left out; None for nowhere.
        damaged: The damaged entries that were found so far, by id.
    """

    def __init__(self, database: Database, format_version: int) -> None:
        self.notices: list[str] | None = None
        self.damaged: dict[str, DamagedEntry] = {}
        self._database = database
        self._sealed = format_version >= 3
        sums = "c.description, c.vector" if self._sealed else "NULL, NULL"
        self._stored_columns = f"seq, id, identity, class_name, origin, extra, v.vector, {sums}"
        join = " LEFT JOIN checksums AS c USING (seq)" if self._sealed else ""
        self._stored_tables = "entries LEFT JOIN vectors AS v USING (seq)" + join

    # -- reading ---------------------------------------------------------------------------------------------

    def with_vectors(
        self, collection: int, ids: Sequence[str], dimension: int
    ) -> tuple[list[Entry], NDArray[np.float32]]:
        """Return those of the entries that there are, with their vectors (N, D), in the order of `ids`."""
        found = self._database.among(
            f"SELECT {self._stored_columns}, {ENTRY_COLUMNS} FROM {self._stored_tables} "
            "WHERE entries.collection = ? AND id IN ({})",
            (collection,),
            ids,
        )
        rows = {row[1]: row for row in found}
        return self._intact(collection, [rows[id_] for id_ in ids if id_ in rows], dimension)

    def pages(
        self, collection: int, dimension: int, size: int = _PAGE
    ) -> Iterator[tuple[list[Entry], NDArray[np.float32]]]:
        """Yield the entries in the order of their arrival with their vectors (N, D), N <= `size` at a time."""
        for rows in self._pages(collection, size, ENTRY_COLUMNS):
            yield self._intact(collection, rows, dimension)

    def view_rows(self, collection: int, dimension: int) -> ViewRows:
        """Return all vectors of a collection with their identities, as of one moment."""
        with self._database.connection() as connection:
            alone = not connection.in_transaction
            if alone:
                connection.execute("BEGIN")
            try:
                generation = connection.execute(
                    "SELECT generation FROM collections WHERE id = ?", (collection,)
                ).fetchone()[0]
                change = connection.execute(
                    "SELECT COALESCE(MAX(seq), 0) FROM changes WHERE collection = ?", (collection,)
                ).fetchone()[0]
                # The + keeps SQLite from an index: the order of the table is the one that is wanted, in half the time.
                rows = fetch_all(
                    connection,
                    f"SELECT {self._stored_columns}, source FROM {self._stored_tables} "
                    "WHERE +entries.collection = ? ORDER BY seq",
                    (collection,),
                )
                lost = self.count_lost(collection, len(rows))
            finally:
                if alone:
                    connection.execute("COMMIT")
        if lost:
            self._note(f"{lost} entries are lost from the record of {self._database.place}. {_ADVICE}")
        damaged, intact, vectors = find_damage(collection, rows, dimension, sealed=self._sealed)
        self._leave_out(damaged)
        if damaged and not intact:
            raise GalleryFormatError(
                f"The gallery's record {self._database.path} holds no intact entry: {damage_in_words(damaged)}.",
                hint=_ADVICE,
            )
        if damaged:
            rows = [rows[number] for number in intact]
        if not {type(text) for row in rows for text in row[1:6]} <= {str}:
            with decoding(self._database.path):
                raise TypeError("an entry's id, identity, class, origin or extra is not text")
        return ViewRows(
            generation,
            change,
            [row[1] for row in rows],
            [row[2] for row in rows],
            [row[3] for row in rows],
            [row[4] for row in rows],
            [row[9] for row in rows],
            [row[5] for row in rows],
            vectors,
        )

    def rejections(self, collection: int, dimension: int) -> tuple[list[tuple[str, ...]], NDArray[np.float32]]:
        """Return the rejected identities of each of the R entries that reject any, and (R, D) their vectors."""
        rows = self._database.all(
            f"SELECT {self._stored_columns} FROM {self._stored_tables} "
            "WHERE entries.collection = ? AND instr(extra, '\"not\": [') ORDER BY seq",
            (collection,),
        )
        damaged, intact, vectors = find_damage(collection, rows, dimension, sealed=self._sealed)
        self._leave_out(damaged)
        with decoding(self._database.path):
            names = [tuple(map(str, json.loads(rows[number][5]).get("not", ()))) for number in intact]
        return names, vectors

    # -- damage ----------------------------------------------------------------------------------------------

    def find_damaged(self, collection: int, dimension: int) -> list[DamagedEntry]:
        """Compare all entries of a collection with their checksums; return those that do not fit."""
        found: list[DamagedEntry] = []
        for rows in self._pages(collection, _PAGE):
            found += find_damage(collection, rows, dimension, sealed=self._sealed)[0]
        return found

    def count_lost(self, collection: int, present: int | None = None) -> int:
        """Return the number of entries that the record had and has no more; 0 where it has no checksums.

        Args:
            collection: The collection.
            present: The number of its entries; None to count them.
        """
        if not self._sealed:
            return 0
        sealed = self._database.one("SELECT COUNT(*) FROM checksums WHERE collection = ?", (collection,))[0]
        if present is None:
            present = self._database.one("SELECT COUNT(*) FROM entries WHERE +collection = ?", (collection,))[0]
        return max(0, int(sealed) - present)

    def check_intact(self, id_: str) -> None:
        """Raise GalleryFormatError where an entry was left out because it is damaged."""
        if id_ in self.damaged:
            raise GalleryFormatError(
                f"The gallery {self._database.place} holds the entry {id_!r} damaged.", hint=_ADVICE
            )

    def repair(
        self, collection: int, one: DamagedEntry, entry: Entry | None, vector: NDArray[np.float32] | None
    ) -> None:
        """Write what a damaged entry was, within a transaction.

        Args:
            collection: Its collection.
            one: The entry.
            entry: Its fields; None where they are intact.
            vector: Its vector (D,); None where that is intact.
        """
        seq = one.seq
        if entry is not None:
            columns = ", ".join(f"{column} = ?" for column in ENTRY_COLUMNS.split(", "))
            self._database.execute(f"UPDATE entries SET {columns} WHERE seq = ?", (*row_of(entry), seq))
        if vector is not None:
            blob = vector_blob(vector)
            self._database.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?)", (seq, blob))
            self._database.execute("UPDATE checksums SET vector = ? WHERE seq = ?", (vector_checksum(seq, blob), seq))
        self._database.execute("UPDATE collections SET generation = generation + 1 WHERE id = ?", (collection,))
        self.damaged.pop(one.id, None)

    def sums_of(self, seq: int) -> tuple[int, int] | None:
        """Return the checksums of an entry's description and of its vector; None where they are lost, too."""
        row = self._database.one("SELECT description, vector FROM checksums WHERE seq = ?", (seq,))
        return None if row is None else (row[0], row[1])

    # -- helpers ---------------------------------------------------------------------------------------------

    def _pages(self, collection: int, size: int, more: str = "seq") -> Iterator[list[Any]]:
        after = 0
        while True:
            rows = self._database.all(
                f"SELECT {self._stored_columns}, {more} FROM {self._stored_tables} "
                "WHERE +entries.collection = ? AND seq > ? ORDER BY seq LIMIT ?",
                (collection, after, size),
            )
            if not rows:
                return
            yield rows
            after = rows[-1][0]

    def _intact(
        self, collection: int, rows: Sequence[Sequence[Any]], dimension: int
    ) -> tuple[list[Entry], NDArray[np.float32]]:
        """Return the entries of rows that have `ENTRY_COLUMNS` at their end, and their vectors."""
        damaged, intact, vectors = find_damage(collection, rows, dimension, sealed=self._sealed)
        self._leave_out(damaged)
        width = len(ENTRY_COLUMNS.split(", "))
        return [entry_from_row(rows[number][-width:], self._database.path) for number in intact], vectors

    def _leave_out(self, damaged: Sequence[DamagedEntry]) -> None:
        new = [one for one in damaged if one.id not in self.damaged]
        self.damaged.update({one.id: one for one in new})
        if new:
            are = "entry is" if len(new) == 1 else "entries are"
            self._note(
                f"{len(new)} {are} damaged in the record of {self._database.place} and left out: "
                f"{damage_in_words(new)}. {_ADVICE}"
            )

    def _note(self, text: str) -> None:
        if self.notices is not None and text not in self.notices:
            self.notices.append(text)

    def _seal(self, collection: int, rows: Sequence[tuple[int, Entry]], vectors: Sequence[bytes] | None) -> None:
        """Write the checksums of entries (row number, entry), and of their vectors where those are new."""
        described = []
        for seq, entry in rows:
            stored = row_of(entry)
            described.append(entry_checksum(seq, collection, (*stored[:4], stored[9])))
        if vectors is None:
            self._database.execute_many(
                "UPDATE checksums SET description = ? WHERE seq = ?",
                [(checksum, seq) for checksum, (seq, _) in zip(described, rows, strict=True)],
            )
            return
        self._database.execute_many(
            "INSERT OR REPLACE INTO checksums VALUES (?, ?, ?, ?)",
            [
                (seq, collection, checksum, vector_checksum(seq, vector))
                for checksum, (seq, _), vector in zip(described, rows, vectors, strict=True)
            ],
        )


_ADVICE = (
    "`gtrack gallery rebuild` repairs what it can; else restore a snapshot, or remove the entries and add them again."
)
