"""A persistent gallery of ReID embeddings: what users open, fill and ask."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from gallery_db.address import parse_address
from gallery_db.atomic_files import check_writable
from gallery_db.embeddings import unit_rows
from gallery_db.entry import Entry, Match
from gallery_db.errors import (
    EmbeddingError,
    EntryNotFoundError,
    GalleryError,
    GalleryFormatError,
    GalleryIndexError,
    GalleryLockedError,
    GalleryNotFoundError,
    GalleryReadOnlyError,
    GalleryServerError,
    ModelMismatchError,
)
from gallery_db.index.embedded import EmbeddedIndex
from gallery_db.model import EmbeddingModel
from gallery_db.search.nearest import Search
from gallery_db.search.view import GalleryView
from gallery_db.store.lock import DEFAULT_LOCK_TIMEOUT, LOCK_NAME, WriterLock
from gallery_db.store.record import RECORD_NAME, Change, CollectionRow, Operation, Record

if TYPE_CHECKING:
    from gallery_db.index.chroma_index import Progress
    from gallery_db.index.embedded import SearchIndex
    from gallery_db.index.maintenance import VerifyReport

__all__ = [
    "DEFAULT_COLLECTION",
    "CollectionInfo",
    "Gallery",
    "GalleryStats",
    "IdentitySummary",
    "Search",
    "is_gallery",
]

DEFAULT_COLLECTION = "person_embeddings"

_PROBES_AT_ONCE = 256
_MOST_SELECTIONS = 16


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection of a gallery: all entries of one embedding model.

    Attributes:
        name: Its name, also in Chroma.
        model: Whose embeddings it holds.
        entries: How many.
        created_at: ISO 8601 UTC.
    """

    name: str
    model: EmbeddingModel
    entries: int
    created_at: str


@dataclass(frozen=True, slots=True)
class IdentitySummary:
    """What a gallery holds of one identity of one class.

    Attributes:
        identity: The name.
        class_name: The class.
        entries: Number of entries.
        origins: Number of entries by origin, ``"image"`` and ``"track"``.
        sources: Number of files and videos that they are from.
        first_created: ISO 8601 UTC.
        last_created: ISO 8601 UTC.
    """

    identity: str
    class_name: str
    entries: int
    origins: Mapping[str, int]
    sources: int
    first_created: str
    last_created: str


@dataclass(frozen=True, slots=True)
class GalleryStats:
    """A gallery's open collection in numbers.

    Attributes:
        path: The gallery's folder.
        collection: Name of the open collection.
        model: Whose embeddings it holds.
        entries: Number of entries.
        identities: Number of identities.
        classes: Number of entries by class.
        origins: Number of entries by origin.
        sources: Number of files and videos that they are from.
        created_at: When the collection was made, ISO 8601 UTC.
        format_version: Of the record.
        record_bytes: Size of the record's files.
        index_bytes: Size of Chroma's files.
        index_current: Whether the index follows all changes and was closed as it should.
    """

    path: Path
    collection: str
    model: EmbeddingModel
    entries: int
    identities: int
    classes: Mapping[str, int]
    origins: Mapping[str, int]
    sources: int
    created_at: str
    format_version: int
    record_bytes: int
    index_bytes: int
    index_current: bool


def is_gallery(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a gallery, sound or not; or whether one is served at an address.

    Raises:
        GalleryServerError: Of an address: the server does not answer.
    """
    address = parse_address(path)
    if address is not None:
        from gallery_db.served.gallery import is_served

        return is_served(address)
    return (Path(path) / RECORD_NAME).is_file()


class Gallery:
    """An open gallery, with one of its collections selected.

    Opened by `create`, `open` or `open_or_create`, and closed by `close` or as a context manager. One
    handle at a time writes, of all processes; any number reads beside it. Every change is in the record,
    safely, when its method returns. The Chroma index follows at `sync_index`, at the latest when the handle
    is closed; until then searches are exact and slower.

    Attributes:
        notices: What a user should hear of, a sentence each: repairs, fallbacks. It grows as things happen.
    """

    def __init__(
        self,
        path: Path,
        record: Record,
        row: CollectionRow,
        index: SearchIndex,
        notices: list[str],
        *,
        writable: bool,
        location: Path | str | None = None,
    ) -> None:
        """For the constructors below."""
        self.notices = notices
        self._path = path
        self._location = path if location is None else location
        self._record = record
        self._row = row
        self._index = index
        self._writable = writable
        self._exact: GalleryView | None = None
        self._selected: dict[tuple[tuple[str, str], ...], NDArray[np.intp]] = {}
        self._closed = False

    @classmethod
    def _embedded(cls, path: Path, record: Record, row: CollectionRow, lock: WriterLock | None) -> Gallery:
        notices: list[str] = []
        index = EmbeddedIndex(path, record, row, lock, notices)
        if lock is not None:
            index.recover()
        return cls(path, record, row, index, notices, writable=lock is not None)

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
            path: A folder that is absent or empty, or a server's address.
            model: Whose embeddings it will hold.
            collection: The collection's name, 3 to 512 of ``[a-zA-Z0-9._-]``.
            lock_timeout: Seconds to wait for another writer.

        Raises:
            GalleryError: There is a gallery already, or the name is unsuitable.
            GalleryFormatError: The folder holds something else.
            GalleryReadOnlyError: The folder cannot be made or written.
            GalleryLockedError: Another process is just making a gallery there.
            GalleryServerError: The server does not answer, or fails.
        """
        _check_model(model)
        address = parse_address(path)
        if address is not None:
            from gallery_db.served.gallery import create_served

            name = _checked_name(collection or address.collection or DEFAULT_COLLECTION)
            return create_served(address.of(name), model)
        folder = Path(path)
        name = _checked_name(collection or DEFAULT_COLLECTION)
        if folder.exists() and not folder.is_dir():
            raise GalleryFormatError(f"{folder} is a file; a gallery is a folder.", hint="Choose another path.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GalleryReadOnlyError(
                f"The gallery {folder} cannot be made: {error.strerror or error}.", hint="Choose another path."
            ) from error
        if not is_gallery(folder):
            _check_empty(folder)
        check_writable(folder, folder / RECORD_NAME)
        lock = WriterLock(folder)
        lock.acquire(lock_timeout)
        try:
            if is_gallery(folder):
                raise GalleryError(f"{folder} holds a gallery already.", hint="Open it instead.")
            record = Record.create(folder / RECORD_NAME, name, model)
            return cls._embedded(folder, record, record.collections()[0], lock)
        except BaseException:
            lock.release()
            raise

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
                Chroma Cloud. Any number of processes read and write a served one.
            model: Select the collection of this model; the oldest collection if neither this nor
                `collection` is given.
            collection: Select the collection of this name.
            write: Open it for writing, alone.
            lock_timeout: Seconds to wait for another writer.

        Raises:
            GalleryNotFoundError: There is nothing at that path.
            GalleryFormatError: There is something else, or a damaged gallery, or one of a newer gtrack.
            ModelMismatchError: No collection (or not the one of that name) is of that model.
            GalleryLockedError: Another process is writing, and `write` was asked for.
            GalleryReadOnlyError: `write` was asked for, and the folder cannot be written.
            GalleryServerError: The server does not answer, or fails.
            GalleryError: There is no collection of that name.
        """
        address = parse_address(path)
        if address is not None:
            from gallery_db.served.gallery import open_served

            return open_served(address.of(collection or address.collection), model=model, write=write)
        folder = Path(path)
        check_is_gallery(folder)
        lock = None
        if write:
            check_writable(folder, folder / RECORD_NAME)
            lock = WriterLock(folder)
            lock.acquire(lock_timeout)
        try:
            record = Record.open(folder / RECORD_NAME, write=write)
            try:
                row = _select(folder, record.collections(), model, collection)
                if write and model is not None and model.path is not None and model.path != row.model.path:
                    record.note_weights_path(row.id, model.path)
                    row = _select(folder, record.collections(), model, collection)
                return cls._embedded(folder, record, row, lock)
            except BaseException:
                record.close()
                raise
        except BaseException:
            if lock is not None:
                lock.release()
            raise

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

        Args:
            path: Its folder, absent or empty for a new one; or a server's address.
            model: Whose collection to select.
            new_collection: Start a further collection where none is of that model.
            lock_timeout: Seconds to wait for another writer.

        Raises:
            ModelMismatchError: The gallery has no collection of that model, and `new_collection` is false.
            GalleryError: As of `create` and `open`.
        """
        if not is_gallery(path):
            try:
                return cls.create(path, model, lock_timeout=lock_timeout)
            except GalleryError:
                if not is_gallery(path):  # or another process has just made it
                    raise
        try:
            return cls.open(path, model=model, write=True, lock_timeout=lock_timeout)
        except ModelMismatchError:
            if not new_collection:
                raise
        _check_model(model)
        with cls.open(path, write=True, lock_timeout=lock_timeout) as gallery:
            names = {info.name for info in gallery.collections()}
            name = base = f"{DEFAULT_COLLECTION}-{model.sha256[:8]}"
            number = 2
            while name in names:
                name, number = f"{base}-{number}", number + 1
            address = parse_address(path)
            if address is not None:
                return cls.create(address.server, model, name)
            gallery._record.add_collection(_checked_name(name), model)
            gallery.close(sync=False)
        return cls.open(path, model=model, collection=name, write=True, lock_timeout=lock_timeout)

    def close(self, *, sync: bool = True) -> None:
        """Close it, and let other writers in. Closing twice is fine.

        Args:
            sync: Of a handle that writes: bring the index up to date first.

        Raises:
            GalleryIndexError: The index could not be brought up to date; the gallery is closed nevertheless,
                and the record holds everything.
        """
        if self._closed:
            return
        try:
            if sync and self._writable:
                self.sync_index()
        finally:
            self._closed = True
            try:
                self._index.close()
            finally:
                self._record.close()
                self._index.release()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error or Ctrl-C nobody wants to wait for the index; it follows at the next opening.
        self.close(sync=kind is None)

    def __repr__(self) -> str:
        return f"Gallery({str(self._location)!r}, collection={self._row.name!r}, writable={self.writable})"

    # -- what it is ------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The gallery's folder; of a served one, the folder of its pictures and snapshots on this machine."""
        return self._path

    @property
    def location(self) -> Path | str:
        """What opens it again: its folder, or its address."""
        return self._location

    @property
    def collection(self) -> str:
        """Name of the selected collection."""
        return self._row.name

    @property
    def model(self) -> EmbeddingModel:
        """Whose embeddings the selected collection holds."""
        return self._row.model

    @property
    def writable(self) -> bool:
        """Whether this handle may write."""
        return self._writable

    @property
    def record(self) -> Record:
        """The record, for this package's own modules."""
        return self._record

    @property
    def collection_key(self) -> int:
        """The selected collection's key in the record, for this package's own modules."""
        return self._row.id

    @property
    def generation(self) -> int:
        """A number that grows with each change of the collection, by whatever process."""
        return self._record.generation(self._row.id)

    def collections(self) -> tuple[CollectionInfo, ...]:
        """All collections of the gallery, the oldest first."""
        return tuple(
            CollectionInfo(row.name, row.model, self._record.count(row.id), row.created_at)
            for row in self._record.collections()
        )

    def __len__(self) -> int:
        """Number of entries in the selected collection."""
        return self._record.count(self._row.id)

    def __bool__(self) -> bool:
        """Always true: an empty gallery is a gallery."""
        return True

    def entries(self, identity: str | None = None, class_name: str | None = None) -> Iterator[Entry]:
        """The entries in the order of their arrival, as many as fit into memory at a time.

        Args:
            identity: Only those of this identity.
            class_name: Only those of this class, in upper or lower case.
        """
        where = {}
        if identity is not None:
            where["identity"] = identity
        if class_name is not None:
            where["class"] = class_name
        return self._record.entries(self._row.id, where)

    def get(self, id: str) -> tuple[Entry, NDArray[np.float32]]:
        """An entry with its embedding (D,) float32.

        Raises:
            EntryNotFoundError: There is none of that id.
        """
        entries, vectors = self._record.with_vectors(self._row.id, [id], self.model.dimension)
        if not entries:
            raise EntryNotFoundError(
                f"The gallery {self._location} holds no entry {id!r}.", hint="`gtrack gallery list` shows the entries."
            )
        return entries[0], vectors[0]

    def with_prefix(self, prefix: str) -> tuple[list[Entry], NDArray[np.float32]]:
        """The entries whose ids begin with a prefix of ASCII text, sorted by id, with their embeddings (N, D)."""
        ids = self._record.ids_from(self._row.id, prefix) if prefix else self._record.ids(self._row.id)
        return self._record.with_vectors(self._row.id, ids, self.model.dimension)

    def identities(self) -> list[IdentitySummary]:
        """What there is of each identity and class, sorted."""
        origins: dict[tuple[str, str], dict[str, int]] = {}
        for identity, class_name, origin, number in self._record.counts(self._row.id):
            origins.setdefault((identity, class_name), {})[origin] = number
        return [
            IdentitySummary(
                identity,
                class_name,
                sum(origins[identity, class_name].values()),
                origins[identity, class_name],
                sources,
                first,
                last,
            )
            for identity, class_name, sources, first, last in self._record.spans(self._row.id)
        ]

    def stats(self) -> GalleryStats:
        """The collection in numbers."""
        classes: dict[str, int] = {}
        origins: dict[str, int] = {}
        names = set()
        for identity, class_name, origin, number in self._record.counts(self._row.id):
            names.add(identity)
            classes[class_name] = classes.get(class_name, 0) + number
            origins[origin] = origins.get(origin, 0) + number
        row = self._fresh_row()
        index_bytes, index_current = self._index.state()
        return GalleryStats(
            path=self._path,
            collection=row.name,
            model=row.model,
            entries=sum(classes.values()),
            identities=len(names),
            classes=classes,
            origins=origins,
            sources=self._record.count_sources(row.id),
            created_at=row.created_at,
            format_version=self._record.format_version,
            record_bytes=sum(path.stat().st_size for path in self._record.path.parent.glob(RECORD_NAME + "*")),
            index_bytes=index_bytes,
            index_current=index_current,
        )

    def history(self, limit: int = 50) -> list[Change]:
        """The last changes of the collection's entries, one by one, the newest first."""
        return self._record.changes(self._row.id, limit)

    def operations(self, limit: int = 50) -> list[Operation]:
        """What was done to the collection, the newest first; `gallery_db.Curator.undo` takes it back."""
        return self._record.operations(self._row.id, limit)

    # -- changing it -----------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of the changes made inside; nobody else's come in between."""
        self._check_write()
        with self._record.transaction():
            yield

    @contextmanager
    def delivered_together(self) -> Iterator[None]:
        """Of a served gallery: bring what is changed inside to the server at the end, with the pictures there then."""
        yield

    def catch_up(self) -> None:
        """Of a served gallery: see now what others have done, and not within a second."""

    def unknown_numbers(self) -> Iterator[int]:
        """Numbers for the names of strangers (`gallery_db.stranger_name`), which nobody else is given."""
        return count(self.last_unknown_number() + 1)

    def last_unknown_number(self) -> int:
        """The highest number that a stranger's name has, or is reserved for one, as far as it is known here."""
        from gallery_db.curation import unknown_number

        numbers = (unknown_number(identity) or 0 for identity, _, _, _ in self._record.counts(self._row.id))
        return max(int(self._record.meta("reserved_numbers") or 0), max(numbers, default=0))

    @contextmanager
    def operation(self, action: str, words: str) -> Iterator[None]:
        """Make one operation of the log of the changes inside, in however many transactions.

        Changes made outside of any are an operation for each transaction. An operation inside another is
        part of that.

        Args:
            action: One word for it, such as ``"rename"``.
            words: The whole of it in words, for whoever reads the log.
        """
        self._check_write()
        with self._record.operation(action, words):
            yield

    def add(self, entries: Sequence[Entry], embeddings: Any) -> None:
        """Add entries, all or none.

        Args:
            entries: N entries with ids that the collection does not hold yet.
            embeddings: (N, D) float, rows of unit length.

        Raises:
            EmbeddingError: The embeddings are not (N, D), not finite, or not of unit length.
            EntryExistsError: An id is there already; `replace` is for that.
            GalleryError: An entry's fields cannot be stored, or an id stands twice in `entries`.
            GalleryReadOnlyError: The handle is for reading.
        """
        self._check_write()
        checked = _checked_entries(entries)
        vectors = unit_rows(embeddings, self.model.dimension, count=len(checked), what="embeddings")
        self._record.insert(self._row.id, checked, vectors)

    def replace(self, entries: Sequence[Entry], embeddings: Any) -> None:
        """Give entries that are there new embeddings and descriptions, all or none.

        Args and errors are those of `add`, with EntryNotFoundError for an id that is not there.
        """
        self._check_write()
        checked = _checked_entries(entries)
        vectors = unit_rows(embeddings, self.model.dimension, count=len(checked), what="embeddings")
        self._record.replace(self._row.id, checked, vectors)

    def update(self, entries: Sequence[Entry]) -> int:
        """Change what is said about entries (identity, source, extra, ...), found by their ids, all or none.

        Returns:
            How many really changed.

        Raises:
            EntryNotFoundError: An id is not there.
            GalleryError: An entry's fields cannot be stored, or an id stands twice in `entries`.
            GalleryReadOnlyError: The handle is for reading.
        """
        self._check_write()
        return self._record.update(self._row.id, _checked_entries(entries))

    def remove(self, ids: Sequence[str]) -> int:
        """Remove entries, all or none. The change log keeps them for `restore`.

        Returns:
            How many.

        Raises:
            EntryNotFoundError: An id is not there.
            GalleryReadOnlyError: The handle is for reading.
        """
        self._check_write()
        return len(self._record.delete(self._row.id, list(dict.fromkeys(ids))))

    def clear(self) -> int:
        """Remove all entries of the collection; returns how many."""
        with self.operation("clear", f"clear the collection {self.collection}"):
            return self.remove(self._record.ids(self._row.id))

    def restore(self, ids: Sequence[str]) -> int:
        """Bring removed entries back as they were, all or none; returns how many.

        Raises:
            EntryNotFoundError: The change log knows of no such removal.
            EntryExistsError: An id is there again.
            GalleryReadOnlyError: The handle is for reading.
        """
        self._check_write()
        entries, blobs = [], []
        for id_ in dict.fromkeys(ids):
            found = self._record.last_removed(self._row.id, id_)
            if found is None:
                raise EntryNotFoundError(
                    f"No entry {id_!r} was ever removed from the gallery {self._location}.",
                    hint="`gtrack gallery log` shows what was done.",
                )
            entries.append(found[0])
            blobs.append(np.frombuffer(found[1], dtype="<f4"))
        vectors = np.stack(blobs) if blobs else np.empty((0, self.model.dimension), np.float32)
        with self.operation("bring-back", f"bring back {len(entries)} removed entries"):
            self._record.insert(self._row.id, entries, np.asarray(vectors, dtype=np.float32))
        return len(entries)

    # -- the index -------------------------------------------------------------------------------------------

    def sync_index(self, progress: Progress | None = None) -> None:
        """Bring the Chroma index up to date with the record, mending it after an unclean stop.

        Args:
            progress: Called with (entries done, entries in all).

        Raises:
            GalleryIndexError: Chroma fails, and a fresh index fails as well.
            GalleryReadOnlyError: The handle is for reading.
        """
        self._check_write()
        self._index.sync(progress)

    def verify(self, progress: Progress | None = None) -> VerifyReport:
        """Compare every vector of the index with the record, and check the record itself.

        Nothing is mended; an index that fails is noted, so that its next use does so.

        Args:
            progress: Called with (entries done, entries in all).

        Raises:
            GalleryLockedError: Another process is writing.
            GalleryReadOnlyError: The folder cannot be written; Chroma cannot open it then.
        """
        self._check_open()
        return self._index.verify(progress)

    def rebuild(self, progress: Progress | None = None) -> None:
        """Make the index of all collections anew from the record. A kill on the way leaves the old one.

        Args:
            progress: Called with (entries done, entries in all).

        Raises:
            GalleryIndexError: Chroma fails.
            GalleryLockedError: Another process is writing.
            GalleryReadOnlyError: The folder cannot be written.
        """
        self._check_open()
        self._index.rebuild(progress)

    # -- asking ----------------------------------------------------------------------------------------------

    def view(self, *, without: Collection[str] = (), search: Search = "auto") -> GalleryView:
        """A view of the collection in memory, for answers many times a second.

        It stays usable after the gallery is closed, but can be refreshed only before.

        Args:
            without: Ids of entries that it shall not show, whatever happens to them.
            search: How the view answers who is near: ``"auto"`` and ``"exact"`` in memory, exactly;
                ``"hnsw"`` from Chroma, approximately. Chroma's index is brought up to date here if it must;
                where it no longer follows what the view shows, or another process is writing, the view
                answers in memory meanwhile, and says so once in `notices`.

        Raises:
            GalleryError: `search` is none of the three.
            GalleryLockedError, GalleryReadOnlyError, GalleryIndexError: Of ``"hnsw"``, as of `query`.
        """
        _check_search(search)
        index = None
        if search == "hnsw":
            self._check_open()
            if len(self):
                self._index.prepare()
            index = _ViewIndex(self)
        return GalleryView(
            self.model.dimension,
            record=self._record,
            collection=self._row.id,
            without=without,
            search=search,
            index=index,
        )

    def query(
        self,
        probes: Any,
        *,
        top_k: int = 5,
        where: Mapping[str, str] | None = None,
        search: Search = "auto",
    ) -> list[list[Match]]:
        """The entries nearest to each probe.

        Args:
            probes: (P, D) float, rows of unit length.
            top_k: How many for each, at least 1.
            where: Only entries with these values; keys are ``class`` (in upper or lower case), ``identity``,
                ``origin`` and ``source``.
            search: ``"hnsw"`` asks Chroma, approximately, and mends the index first if it must; ``"exact"``
                compares with every entry; ``"auto"`` takes hnsw where the index can be used now, else
                exact, and says so in `notices`.

        Returns:
            P lists of at most `top_k` matches, the nearest first.

        Raises:
            EmbeddingError: The probes are not (P, D), not finite, or not of unit length.
            GalleryError: `where`, `top_k` or `search` make no sense.
            GalleryLockedError: Of ``"hnsw"``: another process is writing.
            GalleryReadOnlyError: Of ``"hnsw"``: the folder cannot be written; Chroma cannot open it then.
            GalleryIndexError: Of ``"hnsw"``: the index fails.
        """
        array = unit_rows(probes, self.model.dimension, what="probes")
        if top_k < 1:
            raise GalleryError(f"Expected top_k of at least 1, found {top_k}.")
        _check_search(search)
        self._record.count(self._row.id, where)  # refuses keys of where that there are not
        if not len(self) or not len(array):
            return [[] for _ in array]
        auto = search == "auto"
        if search != "exact" and not (auto and self._index.prefers_exact(len(self), loaded=self._exact is not None)):
            self._check_open()
            try:
                found = self._query_hnsw(array, top_k, where, mend=search == "hnsw" or self.writable)
                if found is not None:
                    return found
            except (GalleryIndexError, GalleryLockedError, GalleryReadOnlyError, GalleryServerError) as error:
                if search == "hnsw":
                    raise
                self._notice(f"Searched exactly instead of in the index: {error.message}")
        return self._query_exact(array, top_k, where)

    def _query_hnsw(
        self, probes: NDArray[np.float32], top_k: int, where: Mapping[str, str] | None, *, mend: bool
    ) -> list[list[Match]] | None:
        """Matches from Chroma; None where the filter leaves too few of what was fetched."""
        generation = self._record.generation(self._row.id)
        total = self._record.count(self._row.id)
        # A filter inside Chroma costs far more than a few more neighbours.
        wanted = min(total, top_k if not where else max(50, 10 * top_k))
        ids, distances = self._index.search(probes, wanted, mend=mend)
        entries = self._record.by_ids(self._row.id, list({id_ for some in ids for id_ in some}))
        if any(len(some) < wanted for some in ids) or any(id_ not in entries for some in ids for id_ in some):
            if self._record.generation(self._row.id) == generation:
                self._notice("The index does not find all that it should; `gtrack gallery rebuild` makes it anew.")
            return None
        allowed = None if not where else _Filter(where)
        matches = [
            [
                Match(entries[id_], distance)
                for id_, distance in zip(some_ids, some_distances, strict=True)
                if allowed is None or allowed.takes(entries[id_])
            ][:top_k]
            for some_ids, some_distances in zip(ids, distances, strict=True)
        ]
        enough = min(top_k, self._record.count(self._row.id, where))
        return matches if all(len(some) >= enough for some in matches) else None

    def _query_exact(
        self, probes: NDArray[np.float32], top_k: int, where: Mapping[str, str] | None
    ) -> list[list[Match]]:
        if self._exact is None:
            self._exact = self.view()
        view = self._exact
        if view.refresh() or len(self._selected) > _MOST_SELECTIONS:
            self._selected.clear()
        rows: NDArray[np.intp] | None = None
        if where:
            rows = self._selected.get(key := tuple(sorted(where.items())))
            if rows is None:
                # The view knows classes and identities itself, and need not be told thousands of ids.
                rest = {name: value for name, value in where.items() if name not in ("class", "identity")}
                among = self._record.ids(self._row.id, rest) if rest else None
                rows = view.rows_of(class_name=where.get("class"), identity=where.get("identity"), ids=among)
                if self._record.generation(self._row.id) == view.generation:
                    self._selected[key] = rows
        matches: list[list[Match]] = []
        for start in range(0, len(probes), _PROBES_AT_ONCE):
            found, distances = view.nearest_of(probes[start : start + _PROBES_AT_ONCE], top_k, rows)
            ids = [[view.entry_ids[row] for row in some] for some in found]
            entries = self._record.by_ids(self._row.id, list({id_ for some in ids for id_ in some}))
            matches += [
                [Match(entries[id_], float(d)) for id_, d in zip(some, near, strict=True) if id_ in entries]
                for some, near in zip(ids, distances, strict=True)
            ]
        return matches

    # -- helpers ---------------------------------------------------------------------------------------------

    def _fresh_row(self) -> CollectionRow:
        self._record.generation(self._row.id)  # tells when a restored snapshot does not have the collection
        return next(row for row in self._record.collections() if row.id == self._row.id)

    def _notice(self, text: str) -> None:
        if text not in self.notices:
            self.notices.append(text)

    def _check_open(self) -> None:
        if self._closed:
            raise GalleryError(f"The gallery {self._location} is closed.", hint="Open it again.")

    def _check_write(self) -> None:
        self._check_open()
        if not self._writable:
            raise GalleryReadOnlyError(
                f"The gallery {self._location} is open for reading only.", hint="Open it with write=True."
            )


class _ViewIndex:
    """The Chroma index of a gallery, for its view."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._told = False

    def nearest(
        self, probes: NDArray[np.float32], count: int, generation: int
    ) -> tuple[list[list[str]], list[list[float]]] | None:
        """See `gallery_db.search.nearest.EntryIndex`."""
        try:
            return self._gallery._index.search_at(probes, count, generation)
        except GalleryError as error:
            if not self._told:  # once: who writes, and since when, is another sentence each time
                self._told = True
                self._gallery._notice(f"Searched in memory instead of in the index: {error.message}")
            return None


def _check_search(search: str) -> None:
    if search not in get_args(Search):
        raise GalleryError(f"Expected search of 'auto', 'hnsw' or 'exact', found {search!r}.")


class _Filter:
    """`where`, asked of an entry in memory."""

    def __init__(self, where: Mapping[str, str]) -> None:
        self._where = dict(where)
        if "class" in self._where:
            self._where["class"] = self._where["class"].lower()

    def takes(self, entry: Entry) -> bool:
        """Whether an entry is among those selected."""
        values = {
            "class": entry.class_name.lower(),
            "identity": entry.identity,
            "origin": entry.origin,
            "source": entry.source,
        }
        return all(values[key] == value for key, value in self._where.items())


def _checked_entries(entries: Sequence[Entry]) -> list[Entry]:
    checked = list(entries)
    seen: set[str] = set()
    for entry in checked:
        for field in ("id", "identity", "class_name", "origin"):
            value = getattr(entry, field)
            if not isinstance(value, str) or not value.strip():
                raise GalleryError(f"Entry {entry.id!r}: expected a {field} of some text, found {value!r}.")
        if entry.id in seen:
            raise GalleryError(f"Entry {entry.id!r} stands twice in what is to be stored.", hint="Give each id once.")
        seen.add(entry.id)
        for field in ("id", "identity", "class_name", "origin", "source"):
            try:
                getattr(entry, field).encode("utf-8")
            except UnicodeEncodeError:
                raise GalleryError(
                    f"Entry {entry.id!r}: {field} is no valid Unicode text: {getattr(entry, field)!r}.",
                    hint="Rename the file or folder that it comes from.",
                ) from None
        if entry.box is not None and (len(entry.box) != 4 or not np.isfinite(entry.box).all()):
            raise GalleryError(f"Entry {entry.id!r}: expected a box of four finite numbers, found {entry.box!r}.")
        if entry.extra:
            import json

            try:
                json.dumps(dict(entry.extra), allow_nan=False).encode("utf-8")
            except (TypeError, ValueError) as error:
                raise GalleryError(
                    f"Entry {entry.id!r}: extra is not of JSON type: {error}.", hint="Use plain str, int, float, list."
                ) from error
    return checked


def _checked_name(name: str) -> str:
    good = 3 <= len(name) <= 512 and all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
    if not good or not name[0].isalnum() or not name[-1].isalnum():
        raise GalleryError(
            f"{name!r} cannot be a collection's name.",
            hint="Use 3 to 512 of a-z, A-Z, 0-9, '.', '_' and '-', with a letter or digit at both ends.",
        )
    return name


def _check_model(model: EmbeddingModel) -> None:
    if model.dimension < 1 or model.metric != "cosine":
        raise EmbeddingError(f"Expected a model of dimension >= 1 and cosine metric, found {model!r}.")


def _select(
    folder: Path, rows: Sequence[CollectionRow], model: EmbeddingModel | None, collection: str | None
) -> CollectionRow:
    candidates = list(rows)
    if collection is not None:
        candidates = [row for row in rows if row.name == collection]
        if not candidates:
            raise GalleryError(
                f"The gallery {folder} has no collection {collection!r}.",
                hint=f"It has {', '.join(row.name for row in rows)}.",
            )
    if model is None:
        return candidates[0]
    for row in candidates:
        if row.model.same_space(model):
            return row
    lines = [f"{row.model} in the collection {row.name!r}" for row in candidates]
    message = f"The gallery {folder} holds embeddings of {'; '.join(lines)}, and the model given is {model}."
    for row in candidates:
        if row.model.sha256 == model.sha256:
            message += f" Their preprocessing differs: {row.model.preprocessing!r} and {model.preprocessing!r}."
    raise ModelMismatchError(
        message,
        hint="Use the gallery's own weights, or start a second collection for this model with "
        "`gtrack gallery ingest ... --new-collection`.",
    )


_OURS_BEFORE_THE_RECORD = (LOCK_NAME, LOCK_NAME + ".json", RECORD_NAME + ".new", RECORD_NAME + ".new-journal")


def _check_empty(folder: Path) -> None:
    others = sorted(path.name for path in folder.iterdir() if path.name not in _OURS_BEFORE_THE_RECORD)
    if others:
        raise GalleryFormatError(
            f"{folder} is not empty and holds no gallery (there is {others[0]!r}).",
            hint="Choose an empty or absent folder for a new gallery.",
        )


def check_is_gallery(folder: Path) -> None:
    if is_gallery(folder):
        return
    if not folder.exists():
        raise GalleryNotFoundError(
            f"There is no gallery at {folder}.", hint="`gtrack gallery ingest` makes one from folders of images."
        )
    if not folder.is_dir():
        raise GalleryFormatError(f"{folder} is a file; a gallery is a folder.", hint="Give the gallery's folder.")
    if (folder / "chroma.sqlite3").exists():
        raise GalleryFormatError(
            f"{folder} is a bare Chroma folder without gtrack's record ({RECORD_NAME}).",
            hint="Ingest the images that it was made from into a new gallery.",
        )
    raise GalleryFormatError(
        f"{folder} holds no gallery: there is no {RECORD_NAME} in it.",
        hint="`gtrack gallery ingest` makes a gallery from folders of images.",
    )
