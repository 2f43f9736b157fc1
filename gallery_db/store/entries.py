"""The entries of a record and their vectors."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.errors import EntryExistsError, EntryNotFoundError, GalleryError
from gallery_db.store.change_log import ChangeLog
from gallery_db.store.changes import LogLine
from gallery_db.store.database import Database
from gallery_db.store.entry_rows import ENTRY_COLUMNS, decoding, entry_from_row, row_of, vector_blob, vector_matrix
from gallery_db.times import utc_now

if TYPE_CHECKING:
    from gallery_db.store.ingested_files import IngestedFiles

__all__ = ["EntryStore", "ViewRows"]

_WHERE_COLUMNS = {"class": "class_name", "identity": "identity", "origin": "origin", "source": "source"}
_UPDATE = "UPDATE entries SET " + ", ".join(f"{column} = ?" for column in ENTRY_COLUMNS.split(", ")) + " WHERE seq = ?"
_PAGE = 1000


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
        vectors: (N, D) float32.
    """

    generation: int
    change: int
    ids: list[str]
    identities: list[str]
    class_names: list[str]
    origins: list[str]
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
            self.vectors[kept],
        )


class EntryStore:
    """The tables ``entries`` and ``vectors``. Each change is logged, in the same transaction.

    A `where` selects entries by the values of ``class`` (in upper or lower case), ``identity``, ``origin`` and
    ``source``; any other key raises GalleryError.
    """

    def __init__(self, database: Database, log: ChangeLog, files: IngestedFiles) -> None:
        self._database = database
        self._log = log
        self._files = files

    # -- reading ---------------------------------------------------------------------------------------------

    def count(self, collection: int, where: Mapping[str, str] | None = None) -> int:
        """Return the number of entries."""
        condition, values = _condition(where)
        row = self._database.one(f"SELECT COUNT(*) FROM entries WHERE collection = ?{condition}", (collection, *values))
        return int(row[0])

    def all(self, collection: int, where: Mapping[str, str] | None = None) -> Iterator[Entry]:
        """Yield the entries in the order of their arrival, read a page at a time."""
        condition, values = _condition(where)
        after = 0
        while True:
            rows = self._database.all(
                f"SELECT {ENTRY_COLUMNS}, seq FROM entries WHERE collection = ? AND seq > ?{condition} "
                f"ORDER BY seq LIMIT {_PAGE}",
                (collection, after, *values),
            )
            for row in rows:
                yield self._entry(row)
            if len(rows) < _PAGE:
                return
            after = rows[-1][-1]

    def ids(self, collection: int, where: Mapping[str, str] | None = None) -> list[str]:
        """Return the ids of the entries, in the order of their arrival."""
        condition, values = _condition(where)
        rows = self._database.all(
            f"SELECT id FROM entries WHERE collection = ?{condition} ORDER BY seq", (collection, *values)
        )
        return [row[0] for row in rows]

    def ids_from(self, collection: int, prefix: str) -> list[str]:
        """Return the ids that begin with a prefix of ASCII text, sorted."""
        rows = self._database.all(
            "SELECT id FROM entries WHERE collection = ? AND id >= ? AND id < ? ORDER BY id",
            (collection, prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)),
        )
        return [row[0] for row in rows]

    def by_ids(self, collection: int, ids: Sequence[str]) -> dict[str, Entry]:
        """Return those of the entries that there are, by id."""
        rows = self._database.among(
            f"SELECT {ENTRY_COLUMNS} FROM entries WHERE collection = ? AND id IN ({{}})", (collection,), ids
        )
        return {row[0]: self._entry(row) for row in rows}

    def with_vectors(
        self, collection: int, ids: Sequence[str], dimension: int
    ) -> tuple[list[Entry], NDArray[np.float32]]:
        """Return those of the entries that there are, with their vectors (N, D), in the order of `ids`."""
        rows = self._database.among(
            f"SELECT {ENTRY_COLUMNS}, v.vector FROM entries JOIN vectors AS v USING (seq) "
            "WHERE collection = ? AND id IN ({})",
            (collection,),
            ids,
        )
        found: dict[str, tuple[Entry, bytes]] = {row[0]: (self._entry(row), row[-1]) for row in rows}
        present = [found[id_] for id_ in ids if id_ in found]
        return [entry for entry, _ in present], self._matrix([blob for _, blob in present], dimension)

    def by_hash(self, collection: int, content_hashes: Sequence[str]) -> dict[str, Entry]:
        """Return the entries of known contents, by content hash; the oldest where several have the same content."""
        rows = self._database.among(
            f"SELECT {ENTRY_COLUMNS} FROM entries WHERE collection = ? AND content_hash IN ({{}}) ORDER BY seq DESC",
            (collection,),
            content_hashes,
        )
        return {row[5]: self._entry(row) for row in rows}

    def pages(
        self, collection: int, dimension: int, size: int = _PAGE
    ) -> Iterator[tuple[list[Entry], NDArray[np.float32]]]:
        """Yield the entries in the order of their arrival with their vectors (N, D), N <= `size` at a time."""
        after = 0
        while True:
            rows = self._database.all(
                f"SELECT {ENTRY_COLUMNS}, seq, vector FROM entries JOIN vectors USING (seq) "
                "WHERE collection = ? AND seq > ? ORDER BY seq LIMIT ?",
                (collection, after, size),
            )
            if not rows:
                return
            yield (
                [self._entry(row) for row in rows],
                self._matrix([row[-1] for row in rows], dimension),
            )
            after = rows[-1][-2]

    # -- reading for views -----------------------------------------------------------------------------------

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
                rows = connection.execute(
                    "SELECT id, identity, class_name, origin, vector FROM entries JOIN vectors USING (seq) "
                    "WHERE collection = ? ORDER BY seq",
                    (collection,),
                ).fetchall()
            finally:
                if alone:
                    connection.execute("COMMIT")
        if not rows:
            return ViewRows(generation, change, [], [], [], [], np.empty((0, dimension), np.float32))
        ids, identities, class_names, origins, blobs = (list(column) for column in zip(*rows, strict=True))
        if not {type(text) for column in (ids, identities, class_names, origins) for text in column} <= {str}:
            with decoding(self._database.path):
                raise TypeError("an entry's id, identity, class or origin is not text")
        return ViewRows(generation, change, ids, identities, class_names, origins, self._matrix(blobs, dimension))

    def rejections(self, collection: int, dimension: int) -> tuple[list[tuple[str, ...]], NDArray[np.float32]]:
        """Return the rejected identities of each of the R entries that reject any, and (R, D) their vectors."""
        rows = self._database.all(
            "SELECT extra, vector FROM entries JOIN vectors USING (seq) "
            "WHERE collection = ? AND instr(extra, '\"not\": [') ORDER BY seq",
            (collection,),
        )
        with decoding(self._database.path):
            names = [tuple(map(str, json.loads(row[0]).get("not", ()))) for row in rows]
        return names, self._matrix([row[1] for row in rows], dimension)

    # -- statistics ------------------------------------------------------------------------------------------

    def counts(self, collection: int) -> list[tuple[str, str, str, int]]:
        """Return (identity, class_name, origin, number of entries) of every such group, sorted."""
        return self._database.all(
            "SELECT identity, class_name, origin, COUNT(*) FROM entries WHERE collection = ? "
            "GROUP BY identity, class_name, origin ORDER BY identity, class_name, origin",
            (collection,),
        )

    def spans(self, collection: int) -> list[tuple[str, str, int, str, str]]:
        """Return (identity, class_name, number of sources, first and last created_at), sorted."""
        return self._database.all(
            "SELECT identity, class_name, COUNT(DISTINCT source), MIN(created_at), MAX(created_at) "
            "FROM entries WHERE collection = ? GROUP BY identity, class_name ORDER BY identity, class_name",
            (collection,),
        )

    def count_sources(self, collection: int) -> int:
        """Return the number of files and videos that the entries come from."""
        row = self._database.one("SELECT COUNT(DISTINCT source) FROM entries WHERE collection = ?", (collection,))
        return int(row[0])

    # -- writing ---------------------------------------------------------------------------------------------

    def insert(
        self,
        collection: int,
        entries: Sequence[Entry],
        vectors: NDArray[np.float32],
        seqs: Sequence[int | None] | None = None,
    ) -> None:
        """Add entries with their vectors (N, D).

        Args:
            collection: The collection.
            entries: N entries.
            vectors: (N, D) float32.
            seqs: N row numbers, for entries that get their old ones again; None for a new one at the end.

        Raises:
            EntryExistsError: There is an entry of that id already; then none is added.
        """
        with self._database.transaction():
            self._check_absent(collection, [entry.id for entry in entries])
            at = utc_now()
            first = self._next_seq()
            rows = [
                first + number if seq is None else seq
                for number, seq in enumerate([None] * len(entries) if seqs is None else seqs)
            ]
            self._database.execute_many(
                f"INSERT INTO entries (seq, collection, {ENTRY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                ((seq, collection, *row_of(entry)) for seq, entry in zip(rows, entries, strict=True)),
            )
            self._database.execute_many(
                "INSERT INTO vectors VALUES (?, ?)",
                ((seq, vector_blob(vector)) for seq, vector in zip(rows, vectors, strict=True)),
            )
            self._log.write("add", collection, (LogLine(at, entry.id, after=entry) for entry in entries))
            self._finish("add", collection, entries, vectors)

    def delete(self, collection: int, ids: Sequence[str]) -> list[Entry]:
        """Remove entries; their vectors go to the change log.

        Raises:
            EntryNotFoundError: There is no entry of that id; then none is removed.
        """
        with self._database.transaction():
            old = self._stored(collection, ids)
            at = utc_now()
            self._log.write(
                "remove",
                collection,
                (LogLine(at, entry.id, before=entry, vector=blob, entry_seq=seq) for seq, entry, blob in old),
            )
            self._database.execute_many("DELETE FROM vectors WHERE seq = ?", [(seq,) for seq, _, _ in old])
            self._database.execute_many("DELETE FROM entries WHERE seq = ?", [(seq,) for seq, _, _ in old])
            # Their files are forgotten, so that a later ingest adds them again if they are still there.
            files = self._files.of_entries(collection, [entry.id for _, entry, _ in old])
            self._files.forget(collection, [file.path for file in files])
            entries = [entry for _, entry, _ in old]
            self._finish("remove", collection, entries, None)
            return entries

    def update(self, collection: int, entries: Sequence[Entry]) -> int:
        """Change the fields of entries; their vectors stay. Return how many really changed.

        Raises:
            EntryNotFoundError: There is no entry of that id; then none is changed.
        """
        with self._database.transaction():
            old = self._stored(collection, [entry.id for entry in entries], vectors=False)
            pairs = [(seq, was, now) for (seq, was, _), now in zip(old, entries, strict=True) if was != now]
            at = utc_now()
            self._log.write("update", collection, (LogLine(at, now.id, was, now) for _, was, now in pairs))
            self._database.execute_many(_UPDATE, [(*row_of(now), seq) for seq, _, now in pairs])
            self._finish("update", collection, [now for _, _, now in pairs], None)
            return len(pairs)

    def replace(self, collection: int, entries: Sequence[Entry], vectors: NDArray[np.float32]) -> None:
        """Change the fields and vectors (N, D) of entries; the old ones go to the change log.

        Raises:
            EntryNotFoundError: There is no entry of that id; then none is changed.
        """
        with self._database.transaction():
            old = self._stored(collection, [entry.id for entry in entries])
            at = utc_now()
            self._log.write(
                "replace",
                collection,
                (LogLine(at, now.id, was, now, blob) for (_, was, blob), now in zip(old, entries, strict=True)),
            )
            self._database.execute_many(
                _UPDATE, [(*row_of(now), seq) for (seq, _, _), now in zip(old, entries, strict=True)]
            )
            self._database.execute_many(
                "UPDATE vectors SET vector = ? WHERE seq = ?",
                ((vector_blob(vector), seq) for (seq, _, _), vector in zip(old, vectors, strict=True)),
            )
            self._finish("replace", collection, entries, vectors)

    # -- helpers ---------------------------------------------------------------------------------------------

    def _check_absent(self, collection: int, ids: Sequence[str]) -> None:
        statement = "SELECT id FROM entries WHERE collection = ? AND id IN ({}) LIMIT 1"
        known = next(self._database.among(statement, (collection,), ids), None)
        if known is not None:
            raise EntryExistsError(
                f"The gallery {self._database.place} holds an entry {known[0]!r} already.",
                hint="Replace it, or remove it first.",
            )

    def _stored(
        self, collection: int, ids: Sequence[str], *, vectors: bool = True
    ) -> list[tuple[int, Entry, bytes | None]]:
        """Return (row number, entry, stored vector or None) of entries that must be there."""
        vector, join = ("v.vector", "JOIN vectors AS v USING (seq) ") if vectors else ("NULL", "")
        rows = self._database.among(
            f"SELECT {ENTRY_COLUMNS}, seq, {vector} FROM entries {join}WHERE collection = ? AND id IN ({{}})",
            (collection,),
            ids,
        )
        found: dict[str, tuple[int, Entry, bytes | None]] = {
            row[0]: (row[-2], self._entry(row), row[-1]) for row in rows
        }
        for id_ in ids:
            if id_ not in found:
                raise EntryNotFoundError(
                    f"The gallery {self._database.place} holds no entry {id_!r}.",
                    hint="`gtrack gallery list --entries` shows the entries.",
                )
        return [found[id_] for id_ in ids]

    def _next_seq(self) -> int:
        row = self._database.one("SELECT seq FROM sqlite_sequence WHERE name = ?", ("entries",))
        return 1 if row is None else int(row[0]) + 1

    def _finish(
        self, action: str, collection: int, entries: Sequence[Entry], vectors: NDArray[np.float32] | None
    ) -> None:
        """Count a change that was made, and pass it on."""
        if entries:
            self._database.execute("UPDATE collections SET generation = generation + 1 WHERE id = ?", (collection,))
        self._log.pass_on(action, collection, entries, vectors)

    def _entry(self, row: Sequence[Any]) -> Entry:
        return entry_from_row(row, self._database.path)

    def _matrix(self, blobs: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
        return vector_matrix(blobs, dimension, self._database.path)


def _condition(where: Mapping[str, str] | None) -> tuple[str, tuple[str, ...]]:
    """Return the SQL condition of a `where`, and its values."""
    parts = []
    for key in where or {}:
        if key not in _WHERE_COLUMNS:
            raise GalleryError(
                f"Entries can be selected by {', '.join(_WHERE_COLUMNS)}; found {key!r}.",
                hint="Use one of these keys.",
            )
        # A class is the same in upper and lower case, as it is when a probe is matched.
        parts.append(f" AND {_WHERE_COLUMNS[key]} = ?" + (" COLLATE NOCASE" if key == "class" else ""))
    return "".join(parts), tuple((where or {}).values())
