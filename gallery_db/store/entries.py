"""The entries of a record and their vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.entry import Entry
from gallery_db.errors import EntryExistsError, EntryNotFoundError, GalleryError, GalleryFormatError
from gallery_db.store.change_log import ChangeLog
from gallery_db.store.changes import LogLine
from gallery_db.store.checksums import find_damage
from gallery_db.store.database import Database
from gallery_db.store.entry_rows import ENTRY_COLUMNS, entry_from_row, row_of, vector_blob
from gallery_db.store.intact_entries import IntactEntries
from gallery_db.times import utc_now

if TYPE_CHECKING:
    from gallery_db.store.ingested_files import IngestedFiles

__all__ = ["EntryStore"]

_WHERE_COLUMNS = {"class": "class_name", "identity": "identity", "origin": "origin", "source": "source"}
_UPDATE = "UPDATE entries SET " + ", ".join(f"{column} = ?" for column in ENTRY_COLUMNS.split(", ")) + " WHERE seq = ?"
_PAGE = 1000


class EntryStore(IntactEntries):
    """The tables ``entries`` and ``vectors``. Each change is logged, in the same transaction.

    A `where` selects entries by the values of ``class`` (in upper or lower case), ``identity``, ``origin`` and
    ``source``; any other key raises GalleryError.
    """

    def __init__(self, database: Database, log: ChangeLog, files: IngestedFiles, format_version: int) -> None:
        super().__init__(database, format_version)
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

    def stored_rows(self, collection: int) -> Iterator[tuple[Any, ...]]:
        """Yield (row number, id, further columns, vector) of the entries as they are stored, by row number."""
        after = 0
        while True:
            rows = self._database.all(
                f"SELECT seq, {ENTRY_COLUMNS}, vector FROM entries LEFT JOIN vectors USING (seq) "
                f"WHERE +collection = ? AND seq > ? ORDER BY seq LIMIT {_PAGE}",
                (collection, after),
            )
            yield from rows
            if len(rows) < _PAGE:
                return
            after = rows[-1][0]

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

    def by_hash(self, collection: int, content_hashes: Sequence[str]) -> dict[str, Entry]:
        """Return the entries of known contents, by content hash; the oldest where several have the same content."""
        rows = self._database.among(
            f"SELECT {ENTRY_COLUMNS} FROM entries WHERE collection = ? AND content_hash IN ({{}}) ORDER BY seq DESC",
            (collection,),
            content_hashes,
        )
        return {row[5]: self._entry(row) for row in rows}

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
            blobs = [vector_blob(vector) for vector in vectors]
            self._database.execute_many("INSERT INTO vectors VALUES (?, ?)", zip(rows, blobs, strict=True))
            self._seal(collection, list(zip(rows, entries, strict=True)), blobs)
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
            self._database.execute_many("DELETE FROM checksums WHERE seq = ?", [(seq,) for seq, _, _ in old])
            # Their files are forgotten, so that a later ingest adds them again if they are still there.
            files = self._files.of_entries(collection, [entry.id for _, entry, _ in old])
            self._files.forget(collection, [file.path for file in files])
            entries = [entry for _, entry, _ in old]
            for entry in entries:
                self.damaged.pop(entry.id, None)
            self._finish("remove", collection, entries, None)
            return entries

    def update(self, collection: int, entries: Sequence[Entry]) -> int:
        """Change the fields of entries; their vectors stay. Return how many really changed.

        Raises:
            EntryNotFoundError: There is no entry of that id; then none is changed.
        """
        with self._database.transaction():
            old = self._stored(collection, [entry.id for entry in entries], intact=True)
            pairs = [(seq, was, now) for (seq, was, _), now in zip(old, entries, strict=True) if was != now]
            at = utc_now()
            self._log.write("update", collection, (LogLine(at, now.id, was, now) for _, was, now in pairs))
            self._database.execute_many(_UPDATE, [(*row_of(now), seq) for seq, _, now in pairs])
            self._seal(collection, [(seq, now) for seq, _, now in pairs], None)
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
            seqs = [seq for seq, _, _ in old]
            blobs = [vector_blob(vector) for vector in vectors]
            self._database.execute_many("INSERT OR REPLACE INTO vectors VALUES (?, ?)", zip(seqs, blobs, strict=True))
            self._seal(collection, list(zip(seqs, entries, strict=True)), blobs)
            for entry in entries:
                self.damaged.pop(entry.id, None)
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
        self, collection: int, ids: Sequence[str], *, intact: bool = False
    ) -> list[tuple[int, Entry, bytes | None]]:
        """Return (row number, entry, stored vector) of entries that must be there.

        The vector of a damaged entry is None: it does not get into the log, from where an undo would bring it back as
        if it were intact.

        Args:
            collection: The collection.
            ids: The entries.
            intact: Refuse entries whose description is damaged, as a change of it would be made of what is damaged.
        """
        rows = list(
            self._database.among(
                f"SELECT {self._stored_columns}, {ENTRY_COLUMNS} FROM {self._stored_tables} "
                "WHERE entries.collection = ? AND id IN ({})",
                (collection,),
                ids,
            )
        )
        width = max((len(row[6]) for row in rows if isinstance(row[6], bytes)), default=4)
        damaged = {one.seq: one for one in find_damage(collection, rows, width // 4, sealed=self._sealed)[0]}
        found: dict[str, tuple[int, Entry, bytes | None]] = {}
        for row in rows:
            one = damaged.get(row[0])
            if intact and one is not None and one.description:
                self.damaged[row[1]] = one
                self.check_intact(row[1])
            try:
                entry = self._entry(row[9:])
            except GalleryFormatError:
                if one is None:
                    raise
                id_, identity, class_name, origin = map(str, row[1:5])
                entry = Entry(id_, identity, class_name, origin)  # enough to remove or replace it
            found[row[1]] = (row[0], entry, None if one is not None and one.vector else row[6])
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
