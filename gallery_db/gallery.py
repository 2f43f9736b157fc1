"""A persistent gallery of ReID embeddings: the class that users open, fill and search."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.content import CollectionContent
from gallery_db.errors import GalleryError, GalleryReadOnlyError
from gallery_db.media.entry_pictures import has_picture
from gallery_db.opening import create_backend, open_backend, open_or_create_backend
from gallery_db.search.nearest import Search
from gallery_db.search.query import CollectionSearch
from gallery_db.search.view import GalleryView
from gallery_db.spaces.adaptation import adapt_collection, keep_adapted
from gallery_db.spaces.stored import PLAIN, load_space, save_space
from gallery_db.statistics import CollectionInfo, GalleryStats, IdentitySummary, collection_stats, list_identities
from gallery_db.store.lock import DEFAULT_LOCK_TIMEOUT
from gallery_db.store.undo import redo_operations, undo_operations

if TYPE_CHECKING:
    from gallery_db.backend import Backend
    from gallery_db.entry import Entry, Match
    from gallery_db.index.base import Progress, VerifyReport
    from gallery_db.model import EmbeddingModel
    from gallery_db.spaces.space import EmbeddingSpace
    from gallery_db.store.changes import Change, HistoryStep, Operation
    from gallery_db.store.record import CollectionRow, Record

__all__ = ["Gallery"]


class Gallery:
    """An open gallery, with one of its collections selected.

    `create`, `open` or `open_or_create` opens it; `close`, or the end of a ``with`` block, closes it. Only one handle
    at a time may write, of all processes; any number of handles may read at the same time. Every change is safely in
    the record when the method that makes it returns. The Chroma index follows when it is next needed:
    at a search with ``"hnsw"``, or at `sync_index`. All other searches are exact and do not need it.

    Attributes:
        notices: What a user should know, a sentence each: repairs, fallbacks. The list grows as things happen.
    """

    def __init__(self, backend: Backend) -> None:
        """Wrap an open backend; for the constructors below."""
        self.notices = backend.notices
        self._backend = backend
        self._record = backend.record
        self._row = backend.row
        self._content = CollectionContent(backend.record, backend.row, backend.location)
        self._search = CollectionSearch(
            backend.record, backend.row, backend.index, backend.notices, writable=backend.writable
        )
        self._closed = False

    # -- opening and closing ---------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        model: EmbeddingModel,
        collection: str | None = None,
        *,
        lock_timeout: float = DEFAULT_LOCK_TIMEOUT,
    ) -> Gallery:
        """Make a gallery with an empty collection, and open it for writing.

        Args:
            path: A folder that does not exist or is empty, or a server's address.
            model: The model whose embeddings it will hold.
            collection: The collection's name, 3 to 512 of ``[a-zA-Z0-9._-]``.
            lock_timeout: Seconds to wait for another writer.

        Raises:
            GalleryError: There is a gallery already, or the name is not allowed.
            GalleryFormatError: The folder holds something else.
            GalleryReadOnlyError: The folder cannot be made or written.
            GalleryLockedError: Another process is making a gallery there at the same time.
            GalleryServerError: The server does not answer, or fails.
        """
        return cls(create_backend(path, model, collection, lock_timeout=lock_timeout))

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        model: EmbeddingModel | None = None,
        collection: str | None = None,
        write: bool = False,
        lock_timeout: float = DEFAULT_LOCK_TIMEOUT,
    ) -> Gallery:
        """Open a gallery.

        Args:
            path: Its folder; or where it is served, ``http://HOST:PORT[/COLLECTION]``, or ``cloud:[COLLECTION]`` for
                Chroma Cloud. Any number of processes may read and write a served gallery.
            model: Select the collection of this model; the oldest collection if neither `model` nor
                `collection` is given.
            collection: Select the collection of this name.
            write: Open it for writing, as its only writer.
            lock_timeout: Seconds to wait for another writer.

        Raises:
            GalleryNotFoundError: There is nothing at that path.
            GalleryFormatError: There is something else, a damaged gallery, or one of a newer gtrack.
            ModelMismatchError: No collection, or not the one of that name, belongs to that model.
            GalleryLockedError: Another process is writing, and `write` is true.
            GalleryReadOnlyError: `write` is true, and the folder cannot be written.
            GalleryServerError: The server does not answer, or fails.
            GalleryError: There is no collection of that name.
        """
        return cls(open_backend(path, model=model, collection=collection, write=write, lock_timeout=lock_timeout))

    @classmethod
    def open_or_create(
        cls,
        path: str | os.PathLike[str],
        model: EmbeddingModel,
        *,
        new_collection: bool = False,
        lock_timeout: float = DEFAULT_LOCK_TIMEOUT,
    ) -> Gallery:
        """Open the gallery at `path` for writing, or make it.

        A gallery in a folder that it makes, and that is closed with nothing stored in it, is removed again, so that
        what failed binds no gallery to a model.

        Args:
            path: Its folder, which for a new gallery does not exist or is empty; or a server's address.
            model: The model whose collection to select.
            new_collection: Start a further collection if none belongs to that model.
            lock_timeout: Seconds to wait for another writer.

        Raises:
            ModelMismatchError: The gallery has no collection of that model, and `new_collection` is false.
            GalleryError: See `create` and `open`.
        """
        return cls(open_or_create_backend(path, model, new_collection=new_collection, lock_timeout=lock_timeout))

    @property
    def is_provisional(self) -> bool:
        """Whether `open_or_create` made the gallery, and nothing has been stored in it yet."""
        return self._backend.record.provisional is not None

    def close(self, *, sync: bool | None = None) -> None:
        """Close the gallery, and let other writers in. Closing it twice is allowed.

        Args:
            sync: Bring the index up to date first, if the handle is open for writing. None: only bring to a server
                what it does not have; False: not even that, it follows at the next opening.

        Raises:
            GalleryIndexError: The index could not be brought up to date. The gallery is closed nevertheless,
                and the record holds everything.
        """
        if self._closed:
            return
        try:
            if sync is not False and self.writable:
                self.sync_index(wait=sync is not None)
        finally:
            self._closed = True
            self._backend.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error or Ctrl-C, do not wait for a server; the changes follow at the next opening.
        self.close(sync=None if kind is None else False)

    def __repr__(self) -> str:
        return f"Gallery({str(self.location)!r}, collection={self.collection!r}, writable={self.writable})"

    # -- properties ------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The gallery's folder; of a served gallery, the folder of its pictures and snapshots on this machine."""
        return self._backend.folder

    @property
    def location(self) -> Path | str:
        """The folder or the address that opens the gallery again."""
        return self._backend.location

    @property
    def collection(self) -> str:
        """Name of the selected collection."""
        return self._row.name

    @property
    def model(self) -> EmbeddingModel:
        """The model whose embeddings the selected collection holds."""
        return self._row.model

    @property
    def writable(self) -> bool:
        """Whether this handle may write."""
        return self._backend.writable

    @property
    def record(self) -> Record:
        """The record; only modules of `gallery_db` use it."""
        return self._record

    @property
    def collection_key(self) -> int:
        """The selected collection's key in the record; only modules of `gallery_db` use it."""
        return self._row.id

    @property
    def generation(self) -> int:
        """A number that grows with each change of the collection, by whatever process."""
        return self._record.generation(self._row.id)

    def __len__(self) -> int:
        """Return the number of entries in the selected collection."""
        return self._record.entries.count(self._row.id)

    def __bool__(self) -> bool:
        """Return true: an empty gallery is a gallery."""
        return True

    # -- summaries -------------------------------------------------------------------------------------------

    def collections(self) -> tuple[CollectionInfo, ...]:
        """Return all collections of the gallery, the oldest first."""
        return self._backend.collections()

    def identities(self) -> list[IdentitySummary]:
        """Return a summary of each identity and class, sorted."""
        return list_identities(self._record, self._row.id)

    def stats(self) -> GalleryStats:
        """Return the selected collection in numbers."""
        row = self._current_row()
        index_bytes, index_current = self._backend.index.state()
        return collection_stats(self._record, row, self.path, index_bytes=index_bytes, index_current=index_current)

    def history(self, limit: int = 50) -> list[Change]:
        """Return the last changes of the collection's entries, the newest first."""
        return self._record.log.changes(self._row.id, limit)

    def operations(self, limit: int = 50) -> list[Operation]:
        """Return the last operations on the collection, the newest first; `undo` undoes them."""
        return self._record.log.operations(self._row.id, limit)

    # -- entries ---------------------------------------------------------------------------------------------

    def entries(self, identity: str | None = None, class_name: str | None = None) -> Iterator[Entry]:
        """Yield the entries in the order of their arrival; few of them are in memory at a time.

        Args:
            identity: Only entries of this identity.
            class_name: Only entries of this class, in upper or lower case.
        """
        return self._content.entries(identity, class_name)

    def get(self, id: str) -> tuple[Entry, NDArray[np.float32]]:
        """Return an entry with its embedding (D,) float32.

        Raises:
            EntryNotFoundError: There is no entry of that id.
        """
        return self._content.get(id)

    def by_ids(self, ids: Sequence[str]) -> dict[str, Entry]:
        """Return those of the entries that the collection holds, by id."""
        return self._content.by_ids(ids)

    def with_prefix(self, prefix: str) -> tuple[list[Entry], NDArray[np.float32]]:
        """Return the entries whose ids begin with a prefix of ASCII text, with their embeddings.

        Returns:
            N entries sorted by id, and (N, D) float32.
        """
        return self._content.with_prefix(prefix)

    def add(self, entries: Sequence[Entry], embeddings: Any) -> None:
        """Add entries, all or none.

        Args:
            entries: N entries with ids that the collection does not hold yet.
            embeddings: (N, D) float, rows of unit length.

        Raises:
            EmbeddingError: The embeddings are not (N, D), not finite, or not of unit length.
            EntryExistsError: The collection holds an entry of that id already; `replace` changes it.
            GalleryError: An entry's fields cannot be stored, or an id occurs twice in `entries`.
            GalleryReadOnlyError: The handle is for reading only.
        """
        self._check_write()
        self._content.add(entries, embeddings)

    def replace(self, entries: Sequence[Entry], embeddings: Any) -> None:
        """Replace the fields and embeddings of entries, found by their ids, all or none.

        Args:
            entries: N entries with ids that the collection holds.
            embeddings: (N, D) float, rows of unit length.

        Raises:
            EmbeddingError: The embeddings are not (N, D), not finite, or not of unit length.
            EntryNotFoundError: The collection holds no entry of that id.
            GalleryError: An entry's fields cannot be stored, or an id occurs twice in `entries`.
            GalleryReadOnlyError: The handle is for reading only.
        """
        self._check_write()
        self._content.replace(entries, embeddings)

    def update(self, entries: Sequence[Entry]) -> int:
        """Change the fields of entries (identity, source, extra, ...), found by their ids, all or none.

        Returns:
            Number of entries that differ from what was stored.

        Raises:
            EntryNotFoundError: The collection holds no entry of that id.
            GalleryError: An entry's fields cannot be stored, or an id occurs twice in `entries`.
            GalleryReadOnlyError: The handle is for reading only.
        """
        self._check_write()
        return self._content.update(entries)

    def remove(self, ids: Sequence[str]) -> int:
        """Remove entries, all or none. The change log keeps them for `restore`.

        Returns:
            Number of removed entries.

        Raises:
            EntryNotFoundError: The collection holds no entry of that id.
            GalleryReadOnlyError: The handle is for reading only.
        """
        self._check_write()
        return self._content.remove(ids)

    def clear(self) -> int:
        """Remove all entries of the collection; return their number."""
        with self.operation("clear", f"clear the collection {self.collection}"):
            return self._content.remove_all()

    def restore(self, ids: Sequence[str]) -> int:
        """Add removed entries again as they were, all or none; return their number.

        Raises:
            EntryNotFoundError: The change log holds no removal of that id.
            EntryExistsError: The collection holds an entry of that id again.
            GalleryReadOnlyError: The handle is for reading only.
        """
        self._check_write()
        return self._content.restore(ids)

    def undo(self, count: int = 1) -> HistoryStep:
        """Undo the last operations on the collection that are not undone yet, exactly or not at all.

        Further calls walk back through the operations, of all processes: corrections, ingests, runs that enrol,
        restored snapshots. `redo` walks forward again, until a new operation is made.

        Args:
            count: Number of operations, at least 1.

        Returns:
            The operations, the number of entries that changed, and what the next undo and redo would do.

        Raises:
            UndoError: There are fewer operations, or they cannot be undone exactly; nothing was changed.
            GalleryError: `count` is less than 1, or an operation is open.
            GalleryReadOnlyError: The handle is for reading only.
        """
        self._check_write()
        return undo_operations(self._record, self._current_row(), count)

    def redo(self, count: int = 1) -> HistoryStep:
        """Do the operations again that were last undone, exactly or not at all.

        A new operation on the collection ends this: what was undone before it stays undone.

        Args:
            count: Number of operations, at least 1.

        Returns:
            The operations, the number of entries that changed, and what the next undo and redo would do.

        Raises:
            UndoError: Fewer operations were undone since the last new one, or they cannot be done again exactly;
                nothing was changed.
            GalleryError: `count` is less than 1, or an operation is open.
            GalleryReadOnlyError: The handle is for reading only.
        """
        self._check_write()
        return redo_operations(self._record, self._current_row(), count)

    # -- transactions and other processes --------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes inside, or none of them; no other change comes in between."""
        self._check_write()
        with self._record.transaction():
            yield

    @contextmanager
    def operation(self, action: str, words: str) -> Iterator[None]:
        """Record the changes inside as one operation of the log, in however many transactions they are made.

        Changes made outside of any operation are one operation for each transaction. An operation inside another
        belongs to that one.

        Args:
            action: One word for it, such as ``"rename"``.
            words: A description for readers of the log.
        """
        self._check_write()
        with self._record.operation(action, words):
            yield

    @contextmanager
    def delivered_together(self) -> Iterator[None]:
        """Deliver the changes made inside to the server together at the end, with the pictures kept by then.

        It makes a difference for a served gallery only.
        """
        with self._backend.delivered_together():
            yield

    def catch_up(self) -> None:
        """Take in now what others have changed in a served gallery, instead of within a second.

        Raises:
            GalleryServerError: The server does not answer.
        """
        self._check_open()
        self._backend.catch_up()

    def unknown_numbers(self) -> Iterator[int]:
        """Return an iterator of numbers for the names of unknown identities, which no other process is given.

        `gallery_db.names.unknown_name` makes a name of a number.
        """
        return self._backend.unknown_numbers()

    def last_unknown_number(self) -> int:
        """Return the highest number of an unknown identity that is used or reserved, as far as it is known here."""
        return self._backend.last_unknown_number()

    # -- the index -------------------------------------------------------------------------------------------

    def sync_index(self, progress: Progress | None = None, *, wait: bool = True) -> None:
        """Bring the Chroma index up to date with the record, and repair it after an unclean stop.

        Args:
            progress: Called with (entries done, entries in all).
            wait: If false, only bring to a server what it does not have: its index follows by itself, and that of a
                folder when it is needed.

        Raises:
            GalleryIndexError: Chroma fails, and a new index fails as well.
            GalleryReadOnlyError: The handle is for reading only.
        """
        self._check_write()
        if wait:
            self._backend.index.sync(progress)
        else:
            self._backend.index.deliver()

    def prepare_index(self, progress: Progress | None = None) -> None:
        """Bring the index up to date if needed, for searches with ``"hnsw"``, which else do it themselves.

        The handle may be open for reading only.

        Args:
            progress: Called with (entries done, entries in all).

        Raises:
            GalleryLockedError, GalleryReadOnlyError, GalleryIndexError: See `query` with ``"hnsw"``.
        """
        self._check_open()
        if len(self):
            self._backend.index.prepare(progress)

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Compare every vector of the index with the record, and check the record itself.

        Nothing is repaired; an index that fails is marked, so that its next use repairs it. Entries that have changed
        since the index was last brought up to date are no fault, see `VerifyReport.pending`.

        Args:
            progress: Called with (entries done, entries in all).

        Raises:
            GalleryLockedError: Another process is writing.
            GalleryReadOnlyError: The folder cannot be written, so that Chroma cannot open it.
        """
        self._check_open()
        return self._backend.index.verify(progress)

    def without_picture(self) -> tuple[str, ...]:
        """Return the ids of entries that name a picture, as their crop or source, that is not on this machine."""
        self._check_open()
        return tuple(
            entry.id
            for entry in self.entries()
            if (entry.source or entry.extra.get("crop")) and not has_picture(self.path, entry)
        )

    def rebuild(self, progress: Progress | None = None) -> None:
        """Make a new index of all collections from the record. After a kill on the way, the old one stays.

        Args:
            progress: Called with (entries done, entries in all).

        Raises:
            GalleryIndexError: Chroma fails.
            GalleryLockedError: Another process is writing.
            GalleryReadOnlyError: The folder cannot be written.
        """
        self._check_open()
        self._backend.index.rebuild(progress)

    # -- the space in which embeddings are compared ----------------------------------------------------------

    @property
    def space(self) -> EmbeddingSpace | None:
        """The space in which the collection's embeddings are compared; None where they are compared as they are."""
        self._check_open()
        return load_space(self._record, self._row.id, self._row.model)

    def adapt(self) -> EmbeddingSpace | None:
        """Learn the space of the collection from its entries, and store it.

        Views and runs that are open keep the space that they began with. An ingest and a run that enrols do this by
        themselves when the number of people has changed by a fifth.

        Returns:
            The space; None where there are too few people for one, and nothing is known of the model.

        Raises:
            GalleryReadOnlyError: The handle is for reading only.
        """
        self._check_write()
        space = adapt_collection(self._record, self._row.id, self._row.model)
        save_space(self._record, self._row.id, space if space is not None else "")
        return space

    def keep_adapted(self) -> EmbeddingSpace | None:
        """Do `adapt` if the number of people has changed much since it was done; return the space if it is new."""
        self._check_write()
        return keep_adapted(self._record, self._row.id, self._row.model)

    def reset_space(self, *, plain: bool = False) -> None:
        """Forget what `adapt` has learned.

        Args:
            plain: Compare embeddings as they are from now on, until the next `adapt`; else in the space that is known
                for the model, if any.

        Raises:
            GalleryReadOnlyError: The handle is for reading only.
        """
        self._check_write()
        save_space(self._record, self._row.id, PLAIN if plain else "")

    # -- searching -------------------------------------------------------------------------------------------

    def view(
        self,
        *,
        without: Collection[str] = (),
        search: Search = "auto",
        plain: bool = False,
        space: EmbeddingSpace | None = None,
    ) -> GalleryView:
        """Return a view of the collection in memory, for many searches a second.

        It can still be used after the gallery is closed, but can be refreshed only before.

        Args:
            without: Ids of entries that the view leaves out, now and after each refresh.
            search: How the view finds the nearest identities: ``"auto"`` and ``"exact"`` in memory, exactly;
                ``"hnsw"`` with Chroma, approximately. Chroma's index is brought up to date first if needed. While
                the index differs from what the view shows, or another process is writing, the view searches in
                memory, and says so once in `notices`. So it does where the collection has a space of its own.
            plain: Compare embeddings as they are, not in the collection's space; see `GalleryView.adapt`.
            space: Compare in this space instead of the collection's.

        Raises:
            GalleryError: `search` is none of the three.
            GalleryLockedError, GalleryReadOnlyError, GalleryIndexError: With ``"hnsw"``; see `query`.
        """
        self._check_open()
        return self._search.view(without=without, search=search, plain=plain, space=space)

    def query(
        self,
        probes: Any,
        *,
        top_k: int = 5,
        where: Mapping[str, str] | None = None,
        search: Search = "auto",
        rerank: bool = False,
    ) -> list[list[Match]]:
        """Return the entries nearest to each probe.

        Args:
            probes: (P, D) float, rows of unit length.
            top_k: Number of entries for each probe, at least 1.
            where: Only entries with these values; keys are ``class`` (in upper or lower case), ``identity``,
                ``origin`` and ``source``.
            search: ``"hnsw"`` asks Chroma, approximately, and repairs the index first if needed; ``"exact"``
                compares with every entry; ``"auto"`` is exact in a folder; of a large served gallery it takes
                hnsw if the index can be used now, else exact, and says so in `notices`.
            rerank: Search exactly, and rank the nearest `RERANK_CANDIDATES` entries again by the neighbours that they
                share with the probe; see `gallery_db.reranking.rerank_candidates`. Distances stay the cosine distances.

        Returns:
            P lists of at most `top_k` matches, the nearest first.

        Raises:
            EmbeddingError: The probes are not (P, D), not finite, or not of unit length.
            GalleryError: `where`, `top_k` or `search` is not valid, or `rerank` is given with ``"hnsw"``.
            GalleryLockedError: With ``"hnsw"``: another process is writing.
            GalleryReadOnlyError: With ``"hnsw"``: the folder cannot be written, so that Chroma cannot open it.
            GalleryIndexError: With ``"hnsw"``: the index fails.
        """
        return self._search.query(probes, top_k=top_k, where=where, search=search, rerank=rerank)

    # -- checks ----------------------------------------------------------------------------------------------

    def _current_row(self) -> CollectionRow:
        self._record.generation(self._row.id)  # raises if a restored snapshot does not have the collection
        return next(row for row in self._record.collections() if row.id == self._row.id)

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryError(f"The gallery {self.location} is closed.", hint="Open it again.")

    def _check_write(self) -> None:
        self._check_open()
        if not self.writable:
            raise GalleryReadOnlyError(
                f"The gallery {self.location} is open for reading only.", hint="Open it with `write=True`."
            )
